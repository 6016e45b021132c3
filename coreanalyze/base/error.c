/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base.h"
#include "format.h"

#include <stdlib.h>

struct ca_error *ca_error_make(enum ca_status status, const char *what, const char *advice,
			       const char *why_format, ...)
{
	struct ca_error *err = ca_alloc(sizeof(*err));
	va_list args;

	va_start(args, why_format);
	*err = (struct ca_error){
		.status = status,
		.what = ca_strdup(what ? what : ""),
		.why = ca_format_args(why_format, args),
		.advice = ca_strdup(advice ? advice : ""),
	};
	va_end(args);
	return err;
}

void ca_error_free(struct ca_error *err)
{
	if (!err)
		return;
	free(err->what);
	free(err->why);
	free(err->advice);
	free(err);
}
