/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to base: formatting into memory of the right size. */
#ifndef CA_FORMAT_H
#define CA_FORMAT_H

#include "base.h"

/* The formatted text, to be freed by the caller. */
char *ca_format_args(const char *format, va_list args) CA_PRINTF(1, 0);
/* Says so on stderr and ends the program. */
_Noreturn void ca_out_of_memory(void);

#endif
