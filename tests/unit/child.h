/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CHILD_H
#define CHILD_H

/* What unit is called with to be what test_process.c analyses, instead of running tests. */
#define CA_TEST_CHILD "--child"
int ca_test_child(void);

#endif
