# SPDX-License-Identifier: GPL-3.0-or-later
#
#   make            the command and both libraries, in build/
#   make check      every test
#   make soak       tests as often as it takes hours: ARGS= names of tests
#   make demo       a tour over the samples
#   make install    PREFIX=/usr/local DESTDIR=
#   make bench, make layouts, make clean
#
#   V=1             show the commands
#   DEVELOPER=1     more warnings, and all of them are errors
#   SANITIZE=address,undefined      builds in build-asan
#   BUILD=, CC=, CFLAGS=, LDFLAGS=, PYTHON=, ARGS= (of bench, soak, demo and layouts)
#
# `check` and `demo` start with tools/setup.sh, which installs what is missing
# when it runs as root. They build in a make of their own, after that.

VERSION := 0.1.0
SOVERSION := 0

comma := ,
SANITIZE ?=
sanitized := $(if $(findstring address,$(SANITIZE)),asan,$(subst $(comma),-,$(SANITIZE)))
BUILD ?= build$(if $(SANITIZE),-$(sanitized))
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
PYTHON ?= python3
AR ?= ar
INSTALL ?= install

# ---- flags: CFLAGS and LDFLAGS are the caller's, these are ours

CFLAGS ?= -O3 -g
warnings := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wpointer-arith -Wundef
ifdef DEVELOPER
warnings += -Werror -Wold-style-definition -Wvla -Wwrite-strings -Wformat-security
endif
# Bits are counted everywhere; each x86-64 processor since 2008 has an instruction for it.
machine_cflags := $(if $(filter x86_64%,$(shell $(CC) -dumpmachine)),-mpopcnt)
our_cflags := -std=gnu11 -D_GNU_SOURCE -DCA_VERSION='"$(VERSION)"' -Iinclude $(warnings) \
	-fPIC -fvisibility=hidden -pthread $(machine_cflags)
our_ldflags := -pthread -Wl,--as-needed
ifneq ($(SANITIZE),)
our_cflags += -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
our_ldflags += -fsanitize=$(SANITIZE)
endif
libraries := -lbfd -larchive -lzstd -lsmartcols -ljansson -lunicorn -lseccomp -lpthread -lm

# ---- what there is: a layer is a folder

layers := base image watch runtime capture heap object open graph store analysis report
library_sources := $(foreach layer,$(layers),$(sort $(wildcard coreanalyze/$(layer)/*.c))) \
	$(wildcard coreanalyze/session.c coreanalyze/library.c)
command_sources := $(sort $(wildcard coreanalyze/command/*.c))
unit_sources := $(sort $(wildcard tests/unit/*.c tests/support/*.c))
fuzz_sources := $(sort $(wildcard tests/fuzz/*.c))
relayout_sources := tests/relayout/relayout.c
unit_suites := $(patsubst tests/unit/test_%.c,%,$(filter tests/unit/test_%,$(unit_sources)))

objects_of = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
library_objects := $(call objects_of,$(library_sources))
command_objects := $(call objects_of,$(command_sources))
main_object := $(BUILD)/obj/coreanalyze/main.o
unit_objects := $(call objects_of,$(unit_sources))
fuzz_objects := $(call objects_of,$(fuzz_sources))
relayout_objects := $(call objects_of,$(relayout_sources))
slow_objects := $(call objects_of,$(wildcard tests/slow/*.c))
objects := $(library_objects) $(command_objects) $(main_object) $(unit_objects) $(fuzz_objects) \
	$(relayout_objects) $(slow_objects)

command := $(BUILD)/coreanalyze
static := $(BUILD)/libcoreanalyze.a
soname := libcoreanalyze.so.$(SOVERSION)
shared := $(BUILD)/libcoreanalyze.so
exports := coreanalyze/coreanalyze.map
unit := $(BUILD)/tests/unit
fuzz := $(BUILD)/tests/fuzz
relayout := $(BUILD)/tests/relayout
slow := $(BUILD)/tests/slow

quiet = $(if $(V),,@printf '  %-4s %s\n' $(1) $@;)

.PHONY: all unit fuzz check soak demo bench layouts install clean FORCE
.DELETE_ON_ERROR:

all: $(command) $(static) $(shared)
unit: $(unit) $(relayout) $(slow)
fuzz: $(fuzz)

# ---- build

$(command): $(main_object) $(command_objects) $(static)
	$(call quiet,LINK)$(CC) $(our_ldflags) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(libraries)

$(static): $(library_objects)
	$(call quiet,AR)rm -f $@ && $(AR) rcs $@ $^

$(shared): $(library_objects) $(exports)
	$(call quiet,LINK)$(CC) -shared $(our_ldflags) -Wl,-soname,$(soname) \
		-Wl,--version-script=$(exports) $(CFLAGS) $(LDFLAGS) -o $@ $(library_objects) $(libraries)
	@ln -sf $(@F) $(BUILD)/$(soname)

$(unit): $(unit_objects) $(command_objects) $(static)
	@mkdir -p $(@D)
	$(call quiet,LINK)$(CC) $(our_ldflags) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcunit $(libraries)

$(relayout): $(relayout_objects) $(static)
	@mkdir -p $(@D)
	$(call quiet,LINK)$(CC) $(our_ldflags) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(libraries)

$(fuzz): $(fuzz_objects) $(static)
	@mkdir -p $(@D)
	$(call quiet,LINK)$(CC) $(our_ldflags) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(libraries)

$(slow): $(slow_objects) $(static)
	@mkdir -p $(@D)
	$(call quiet,LINK)$(CC) $(our_ldflags) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(libraries)

$(BUILD)/obj/tests/%.o: private our_cflags += -I$(BUILD)/generated
$(BUILD)/obj/%.o: %.c $(BUILD)/flags | $(BUILD)/packages
	@mkdir -p $(@D)
	$(call quiet,CC)$(CC) $(our_cflags) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# Says what to install, and stops, before the compiler stumbles over it.
$(BUILD)/packages: tools/setup.sh
	@mkdir -p $(@D)
	@tools/setup.sh need build
	@touch $@

# Files whose time changes only when their content does: other flags build all
# anew, another test file makes the table of suites anew.
keep_if_same = if cmp -s $@.$$$$ $@; then rm $@.$$$$; else mv $@.$$$$ $@; fi

$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(CC) $(our_cflags) $(CPPFLAGS) $(CFLAGS)' >$@.$$$$; $(keep_if_same)

$(BUILD)/generated/suites.def: FORCE
	@mkdir -p $(@D)
	@printf 'SUITE(%s)\n' $(unit_suites) >$@.$$$$; $(keep_if_same)

$(BUILD)/obj/tests/unit/main.o: $(BUILD)/generated/suites.def

-include $(objects:.o=.d)

# ---- use

jobs = $(if $(filter -j%,$(MAKEFLAGS)),,-j$$(nproc))
submake = +@$(MAKE) --no-print-directory $(jobs)
environment := BUILD=$(abspath $(BUILD)) CA_BIN=$(abspath $(command)) \
	CA_FUZZ=$(abspath $(BUILD)-asan/tests/fuzz) PYTHON=$(PYTHON)
suite := @$(environment) tests/suite.sh $(BUILD)/results

# Of the tests on living processes, those that take seconds and no note of how much memory
# we have. The others, but for such, may be run so by hand.
live_asan := live/test_states.py 'live/test_watch.py: test_fork' 'live/test_watch.py: test_compress' \
	'live/test_save.py: test_compressed'

# Every suite runs, whatever fails; the summary is the last line and the status.
check:
	@tools/setup.sh install build check
	$(submake) all unit
	$(submake) BUILD=$(BUILD)-asan SANITIZE=address,undefined all unit fuzz
	@rm -f $(BUILD)/results
	$(suite) layers tests/layers.sh
	$(suite) unit $(unit)
	$(suite) unit-asan $(BUILD)-asan/tests/unit
	$(suite) live-asan env CA_BIN=$(abspath $(BUILD)-asan/coreanalyze) $(PYTHON) tests/run.py $(live_asan)
	$(suite) run.py $(PYTHON) tests/run.py
	@tests/summary.sh $(BUILD)/results

soak: all unit
	@$(environment) CA_SOAK=1 $(PYTHON) tests/run.py --job-limit 14400 --total-limit 86400 $(ARGS)

demo:
	@tools/setup.sh install build demo
	$(submake) all
	@$(environment) samples/demo.sh $(ARGS)

bench: all unit
	@$(environment) $(PYTHON) tests/bench.py $(ARGS)

layouts:
	$(PYTHON) tools/layouts.py $(ARGS)

install: all
	$(INSTALL) -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(LIBDIR)/pkgconfig
	$(INSTALL) -m 755 $(command) $(DESTDIR)$(PREFIX)/bin/coreanalyze
	$(INSTALL) -d $(DESTDIR)$(PREFIX)/share/coreanalyze/gdb/coreanalyze
	$(INSTALL) -m 644 gdb/coreanalyze-gdb.py $(DESTDIR)$(PREFIX)/share/coreanalyze/gdb/
	$(INSTALL) -m 644 gdb/coreanalyze/*.py $(DESTDIR)$(PREFIX)/share/coreanalyze/gdb/coreanalyze/
	$(INSTALL) -m 644 include/coreanalyze.h $(DESTDIR)$(PREFIX)/include/coreanalyze.h
	$(INSTALL) -m 644 $(static) $(DESTDIR)$(LIBDIR)/libcoreanalyze.a
	$(INSTALL) -m 755 $(shared) $(DESTDIR)$(LIBDIR)/libcoreanalyze.so.$(VERSION)
	ln -sf libcoreanalyze.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(soname)
	ln -sf $(soname) $(DESTDIR)$(LIBDIR)/libcoreanalyze.so
	printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(LIBDIR)' 'includedir=$${prefix}/include' '' \
		'Name: coreanalyze' 'Description: Reads CPython heaps from ELF core files' \
		'Version: $(VERSION)' 'Libs: -L$${libdir} -lcoreanalyze' \
		'Libs.private: $(libraries)' 'Cflags: -I$${includedir}' \
		>$(DESTDIR)$(LIBDIR)/pkgconfig/coreanalyze.pc

clean:
	rm -rf $(BUILD) $(BUILD)-asan
