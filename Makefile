# peft-*: parameter-efficient fine-tuning as a shell pipeline.
#
#   make            build the tools into build/bin
#   make demo       install what is missing, build, train on the carried model
#   make test       unit, golden and command tests, also under sanitizers
#   make lint       folder floors, file sizes, man pages
#   make bench      speed against this machine's own peak (PYTHON=... adds HF PEFT)
#   make install    DESTDIR, PREFIX honoured
#
# BUILD=dir builds elsewhere; SAN=1 builds with address and undefined-behaviour
# sanitizers (into build/san).

SHELL := /bin/sh
VERSION := 0.1.0
CC ?= cc
ifeq ($(origin CC),default)
CC := cc
endif
AR ?= ar
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
MANDIR ?= $(PREFIX)/share/man
DATADIR ?= $(PREFIX)/share/peft
SAN ?=
ifeq ($(SAN),)
BUILD ?= build
else
BUILD ?= build/san
endif

PKGS := libzstd libcjson libarchive libpcre2-8 libutf8proc libxxhash
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null)

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wvla -Werror=implicit-function-declaration
HARDEN := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE -Wformat=2 -Werror=format-security
CFLAGS ?= -O2 -g
ifneq ($(SAN),)
CFLAGS := -O1 -g
HARDEN := -fPIE -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDSAN := -fsanitize=address,undefined
endif
ALL_CFLAGS := -std=c11 -D_POSIX_C_SOURCE=200809L -D_DEFAULT_SOURCE -Ilib $(WARN) $(HARDEN) \
	-ffp-contract=off -fno-math-errno -fopenmp -ffile-prefix-map=$(CURDIR)=. \
	-DPT_VERSION='"$(VERSION)"' $(PKG_CFLAGS) $(CFLAGS)
ALL_LDFLAGS := -pie -Wl,--as-needed -Wl,-z,relro,-z,now -fopenmp $(LDSAN) $(LDFLAGS)
LIBS := $(PKG_LIBS) -lm -ldl

LIB_SRC := $(sort $(wildcard lib/*/*.c lib/device/*/*.c))
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/%.o)
LIB := $(BUILD)/libpeft.a
TOOL_SRC := $(sort $(wildcard tools/peft-*.c))
TOOL_AUX := $(filter-out $(TOOL_SRC),$(sort $(wildcard tools/*.c)))
TOOLS := $(TOOL_SRC:tools/%.c=$(BUILD)/bin/%)
UNIT_SRC := $(sort $(wildcard tests/unit/*.c))
UNITS := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/tests/unit/%)

.PHONY: all clean test lint demo deps deps-dev bench install uninstall units
all: $(TOOLS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(LIB_OBJ)
	@rm -f $@
	$(AR) Dcr $@ $(LIB_OBJ)

$(BUILD)/bin/%: $(BUILD)/tools/%.o $(TOOL_AUX:%.c=$(BUILD)/%.o) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka $(LIBS)

units: $(UNITS)

# Each runs every unit test (tests/unit/*.c, cmocka) and every tests/t*.sh (TAP) and closes with "N passed, N failed".
test: deps-dev
	$(MAKE) all units
	BUILD=$(BUILD) sh tests/run

lint:
	sh tests/lint

clean:
	rm -rf build

.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
