/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The table of commands. */
#include <string.h>

#include "command.h"

extern const struct ca_command ca_command_capture;
extern const struct ca_command ca_command_cycles;
extern const struct ca_command ca_command_diff;
extern const struct ca_command ca_command_gc;
extern const struct ca_command ca_command_info;
extern const struct ca_command ca_command_object;
extern const struct ca_command ca_command_owners;
extern const struct ca_command ca_command_retained;
extern const struct ca_command ca_command_save;
extern const struct ca_command ca_command_serve;
extern const struct ca_command ca_command_suspects;
extern const struct ca_command ca_command_types;
extern const struct ca_command ca_command_verify;
extern const struct ca_command ca_command_watch;

const struct ca_command *const ca_commands[] = {
	&ca_command_report,
	&ca_command_info,
	&ca_command_types,
	&ca_command_diff,
	&ca_command_object,
	&ca_command_suspects,
	&ca_command_owners,
	&ca_command_retained,
	&ca_command_gc,
	&ca_command_cycles,
	&ca_command_verify,
	&ca_command_save,
	&ca_command_capture,
	&ca_command_watch,
	&ca_command_serve,
};
const size_t ca_command_count = CA_COUNT(ca_commands);

const struct ca_command *ca_command_find(const char *name)
{
	for (size_t i = 0; i < ca_command_count; i++)
		if (strcmp(ca_commands[i]->name, name) == 0)
			return ca_commands[i];
	return NULL;
}
