/* SPDX-License-Identifier: GPL-3.0-or-later */
/* runtime, inside: steps of ca_runtime_open(). */
#ifndef CA_RUNTIME_LOCATE_H
#define CA_RUNTIME_LOCATE_H

#include "runtime.h"

/* As ca_runtime_open(), but no other tables than these are known. */
struct ca_error *ca_runtime_open_with(struct ca_context *ctx, const struct ca_image *image,
				      const struct ca_layout_table *tables, size_t table_count,
				      struct ca_runtime **out);

/* sys.hexversion, read from the interpreter's sys dict with this layout; false when it does not hold. */
bool ca_read_hexversion(const struct ca_image *image, const struct ca_layout *layout,
			ca_addr interp, uint32_t *hexversion);
/* A str-keyed dict's value, read with this layout; 0 when absent. Of few entries: sys's, a module's. */
ca_addr ca_read_key(const struct ca_image *image, const struct ca_layout *layout, ca_addr dict,
		    const char *name);
/* Fills the interpreters and threads; false when a list is broken at its first link. */
bool ca_read_interps(struct ca_runtime *rt);
/*
 * Where a runtime may be in a module's writable data, by its shape; 0: nowhere.
 * *from is where to look on; 0 at first.
 */
ca_addr ca_find_runtime(const struct ca_runtime *rt, const struct ca_module *module, ca_addr *from);
/* Replaces offsets that the target's own _Py_DebugOffsets gives. */
void ca_apply_debug_offsets(struct ca_runtime *rt);
/* True when the cookie of _Py_DebugOffsets is at addr; gives its version and build. */
bool ca_debug_offsets_at(const struct ca_image *image, ca_addr addr, uint32_t *hexversion,
			 bool *free_threaded);

/* ---- several copies (copies.c) --------------------------------------------- */

/* _PyRuntime in a module that is as large as one with a runtime is; 0: none. */
ca_addr ca_runtime_symbol(const struct ca_module *module);
/* How many objects the collectors of a runtime that was found track. */
uint64_t ca_count_tracked(const struct ca_runtime *rt);
/* Fills rt->copies, and warns of those among `living` that are not rt. */
void ca_find_copies(struct ca_runtime *rt, const struct ca_runtime *living, size_t count);
/* Of a runtime beside rt: what is known of it. */
void ca_warn_other(const struct ca_runtime *rt, const char *what);

#endif
