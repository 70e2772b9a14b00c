# peft-*: parameter-efficient fine-tuning as a shell pipeline.
#
#   make            build the tools into build/bin
#   make deps       install what building needs, if something is missing
#   make demo       make deps, build, adapt the carried model to a task
#   make test       unit, golden and command tests, then all again under sanitizers
#   make check      the same, once, of one build (SAN=1: with sanitizers)
#   make test-faults  each cut and each flipped byte on each tool, fuzzing, kills: an hour
#   make lint       folder floors, file sizes, man pages
#   make bench      speed against this machine's own peak (PYTHON=... adds HF PEFT)
#   make bench-gpu  training on a GPU, beside HF PEFT
#   make install    DESTDIR, PREFIX honoured
#
# BUILD=dir builds elsewhere; SAN=1 builds with address and undefined-behaviour
# sanitizers (into build/san); V=1 shows command lines. CC, CFLAGS, CPPFLAGS,
# LDFLAGS are honoured.

SHELL := /bin/sh
VERSION := 0.1.0
ifeq ($(origin CC),default)
CC := cc
endif
ifeq ($(origin AR),default)
AR := ar
endif
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

PKGS := libzstd zlib libcjson libarchive libpcre2-8 libutf8proc libxxhash
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null)

CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wvla -Werror=implicit-function-declaration
HARDEN := -fstack-protector-strong -fPIE -Wformat=2 -Werror=format-security
ifeq ($(SAN),)
# The C library warns of FORTIFY without optimisation, and of a second value.
ifneq ($(filter -O1 -O2 -O3 -Os -Og -Ofast,$(CFLAGS)),)
ifeq ($(findstring _FORTIFY_SOURCE,$(CFLAGS) $(CPPFLAGS)),)
HARDEN += -D_FORTIFY_SOURCE=2
endif
endif
else
CFLAGS := -O1 -g
HARDEN := -fPIE -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDSAN := -fsanitize=address,undefined
endif
ALL_CFLAGS = -std=c11 -D_POSIX_C_SOURCE=200809L -D_DEFAULT_SOURCE -Ilib -Itools $(WARN) $(HARDEN) \
	-ffp-contract=off -fno-math-errno -fopenmp -ffile-prefix-map=$(CURDIR)=. \
	-DPT_VERSION='"$(VERSION)"' -DPT_LIBDIR='"$(LIBDIR)"' $(PKG_CFLAGS) $(CPPFLAGS) $(CFLAGS)
ALL_LDFLAGS = -pie -Wl,--as-needed -Wl,-z,relro,-z,now -fopenmp $(LDSAN) $(LDFLAGS)
# OpenMP's library statically where it is to be had (lib/device/cpu/cpu.c, set_spin).
GOMP := $(filter /%,$(shell $(CC) -print-file-name=libgomp.a 2>/dev/null))
LIBS := $(PKG_LIBS) $(GOMP) -lm -ldl

LIB_SRC := $(sort $(wildcard lib/*/*.c lib/device/*/*.c))
# Kernels of the CPU are compiled once for each instruction set (lib/device/cpu/cpu.h).
ISA_SRC := $(sort $(wildcard lib/device/cpu/kernels/*.c))
ISAS := generic
ifneq ($(filter x86_64-%,$(shell $(CC) -dumpmachine)),)
ISAS += avx2 avx512
endif
ISA_avx2 := -mavx2 -mfma -mf16c -mbmi2
ISA_avx512 := $(ISA_avx2) -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512
ISA_CFLAGS := -ffp-contract=fast -fno-trapping-math $(if $(filter -O2,$(CFLAGS)),-O3)
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/%.o) \
	$(foreach isa,$(ISAS),$(ISA_SRC:lib/device/cpu/kernels/%.c=$(BUILD)/lib/device/cpu/$(isa)/%.o))
LIB := $(BUILD)/libpeft.a
TOOL_SRC := $(sort $(wildcard tools/peft-*.c))
TOOL_AUX := $(filter-out $(TOOL_SRC),$(sort $(wildcard tools/*.c)))
TOOL_LIB := $(BUILD)/tools/aux.a
TOOLS := $(TOOL_SRC:tools/%.c=$(BUILD)/bin/%)
UNIT_SRC := $(sort $(wildcard tests/unit/*.c))
UNITS := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/tests/unit/%)
AUX_SRC := $(sort $(wildcard tests/aux/*.c))
AUX := $(AUX_SRC:tests/aux/%.c=$(BUILD)/tests/aux/%)
PAGES := $(sort $(wildcard man/*.[1-9]))

# The GPU's plug-in, where nvcc is (CUDA_HOME, PATH, /usr/local/cuda); CUDA_ARCH="90a" for those processors alone.
# Under sanitizers there is none: they would watch only the host's half of it.
# NVCC= leaves it out.
ifneq ($(SAN),)
NVCC :=
else
NVCC ?= $(shell sh .ci/nvcc find)
endif
ifneq ($(NVCC),)
CUDA_SRC := $(sort $(wildcard lib/device/cuda/*.cu))
CUDA_OBJ := $(CUDA_SRC:%.cu=$(BUILD)/%.o)
PLUGIN := $(BUILD)/lib/peft/peft-cuda.so
NVCCFLAGS ?= -O3 -lineinfo
CUDA_LIB := $(abspath $(dir $(NVCC))/../lib64)
endif

# What plug-ins and programs must agree on: the text of the headers that both read.
ABI_H := lib/device/device.h lib/device/kernels.h lib/device/open.h
ABI_H += $(sort $(shell sed -n 's,^\#include "\(base/.*\)",lib/\1,p' $(ABI_H) 2>/dev/null))
ABI = -DPT_DEVICE_ABI=$(firstword $(shell cat $(ABI_H) | cksum))u

# V=1 shows whole command lines.
ifeq ($(V),)
say = @echo "  $(1)  $@";
endif

.PHONY: FORCE all tools demo features units check test test-faults bench bench-gpu lint clean deps deps-dev install uninstall
all: features tools $(PLUGIN)
tools: $(TOOLS)

# For a command of one word: on all cores, unless -j is given.
ALL_CORES = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 2))

# Twice: what deps has just installed must be seen anew. A GPU is not needed: its
# plug-in, which takes minutes, is left to make.
demo:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory $(ALL_CORES) NVCC= tools
	@PATH="$(abspath $(BUILD))/bin:$$PATH" sh pipelines/demo/run $(BUILD)/demo

# One line for each optional thing that is left out, and for what cannot be.
features:
	@NVCC='$(NVCC)' sh .ci/deps report

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC  )$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

define isa_rule
$(BUILD)/lib/device/cpu/$(1)/%.o: lib/device/cpu/kernels/%.c
	@mkdir -p $$(@D)
	$$(call say,CC  )$$(CC) $$(ALL_CFLAGS) $$(ISA_CFLAGS) $$(ISA_$(1)) -DPT_ISA=$(1) -MMD -MP -c -o $$@ $$<
endef
$(foreach isa,$(ISAS),$(eval $(call isa_rule,$(isa))))

$(LIB): $(LIB_OBJ)
	@rm -f $@
	$(call say,AR  )$(AR) Dcr $@ $(LIB_OBJ)

# An archive, so that a filter does not carry what only training tools use.
$(TOOL_LIB): $(TOOL_AUX:%.c=$(BUILD)/%.o)
	@rm -f $@
	$(call say,AR  )$(AR) Dcr $@ $^

$(BUILD)/bin/%: $(BUILD)/tools/%.o $(TOOL_LIB) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka $(LIBS)

# Programs that command tests run, built as tools are.
$(BUILD)/tests/aux/%: $(BUILD)/tests/aux/%.o $(TOOL_LIB) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

# Which processors nvcc has code for is tried once for each CUDA_ARCH.
$(BUILD)/cuda-arch: .ci/nvcc $(BUILD)/cuda-arch-asked
	@mkdir -p $(@D)
	@CUDA_ARCH='$(CUDA_ARCH)' sh .ci/nvcc arch $(NVCC) >$@

$(BUILD)/cuda-arch-asked: FORCE
	@mkdir -p $(@D)
	@echo '$(CUDA_ARCH)' | cmp -s - $@ || echo '$(CUDA_ARCH)' >$@

FORCE:

$(BUILD)/lib/device/plugin.o $(BUILD)/lib/device/cuda/cuda.o: $(ABI_H)
$(BUILD)/lib/device/plugin.o: ALL_CFLAGS += $(ABI)

$(BUILD)/lib/device/cuda/%.o: lib/device/cuda/%.cu $(BUILD)/cuda-arch
	@mkdir -p $(@D)
	$(call say,NVCC)$(NVCC) -std=c++17 $(NVCCFLAGS) $$(cat $(BUILD)/cuda-arch) -Ilib $(ABI) \
		-Xcompiler -fPIC,-fvisibility=hidden,-Wall -MD -MF $(@:.o=.d) -c -o $@ $<

$(BUILD)/lib/peft/peft-cuda.so: $(CUDA_OBJ)
	@mkdir -p $(@D)
	$(call say,LINK)$(NVCC) -shared -Xlinker --exclude-libs,ALL -Xlinker -z,defs -Xlinker -rpath,$(CUDA_LIB) -o $@ $^ -lcublasLt

# Speed as a share of this machine's own peak, and beside HF PEFT where PYTHON=... is given.
$(BUILD)/tests/bench/%: $(BUILD)/tests/bench/%.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

bench: all $(BUILD)/tests/bench/kernels
	$(BUILD)/tests/bench/kernels
	BUILD=$(BUILD) PYTHON=$(PYTHON) sh tests/bench/step.sh

# A GPU's speed on random weights of a real shape (135m, 1b, 8b), beside HF PEFT where python3 has it (FORMS).
MODEL ?= 1b
SEQUENCES ?= 4
LENGTH ?= 2048
FORMS ?= plain
bench-gpu: all units $(BUILD)/tests/bench/gpu $(BUILD)/tests/bench/attn $(BUILD)/tests/bench/linear
	BUILD=$(BUILD) sh .ci/pack-gpu $(BUILD)/gpu
	sh $(BUILD)/gpu/run bench $(MODEL) $(SEQUENCES) $(LENGTH) 10 $(FORMS)

# The independent reader of formats/ shares nothing with the library.
$(BUILD)/tests/aux/read_stream: $(BUILD)/formats/read_stream.o
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lzstd -lxxhash

units: $(UNITS) $(AUX) $(BUILD)/tests/aux/read_stream

# Every unit test (tests/unit/*.c, cmocka) and every tests/t*.sh, see tests/README.md.
check: all units
	BUILD=$(BUILD) sh tests/run

# The last line is "N passed, N failed", over both builds.
test: deps-dev
	@rm -f build/tests/result build/san/tests/result
	@status=0; \
	$(MAKE) --no-print-directory $(ALL_CORES) BUILD=build SAN= check || status=1; \
	$(MAKE) --no-print-directory $(ALL_CORES) BUILD=build/san SAN=1 check || status=1; \
	sh tests/run --sum $$status build build/san

# What make test samples, in full. FAULTS is for tests that can do more than they have time for.
test-faults: all units
	FAULTS=1 PEFT_FUZZ=600 TEST_TIMEOUT=14400 BUILD=$(BUILD) sh tests/run stream data_archive t0102 t0403

lint:
	sh tests/lint

deps:
	@sh .ci/deps build

deps-dev: deps
	@sh .ci/deps test

install: all
	install -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(MANDIR)/man1' '$(DESTDIR)$(DATADIR)'
	install -m 755 $(TOOLS) '$(DESTDIR)$(BINDIR)'
	$(if $(PLUGIN),install -d '$(DESTDIR)$(LIBDIR)/peft' && install -m 755 $(PLUGIN) '$(DESTDIR)$(LIBDIR)/peft')
	for p in $(PAGES); do \
		install -d '$(DESTDIR)$(MANDIR)'/man$${p##*.} && \
		install -m 644 $$p '$(DESTDIR)$(MANDIR)'/man$${p##*.} || exit 1; \
	done
	rm -rf '$(DESTDIR)$(DATADIR)/pipelines' '$(DESTDIR)$(DATADIR)/formats'
	cp -R pipelines formats '$(DESTDIR)$(DATADIR)'

uninstall:
	for t in $(notdir $(TOOLS)); do rm -f '$(DESTDIR)$(BINDIR)'/$$t; done
	for p in $(notdir $(PAGES)); do rm -f '$(DESTDIR)$(MANDIR)'/man$${p##*.}/$$p; done
	rm -rf '$(DESTDIR)$(DATADIR)/pipelines' '$(DESTDIR)$(DATADIR)/formats'
	rm -f '$(DESTDIR)$(LIBDIR)/peft/peft-cuda.so'
	-rmdir '$(DESTDIR)$(DATADIR)' '$(DESTDIR)$(LIBDIR)/peft' 2>/dev/null

clean:
	rm -rf build

.SECONDARY:
.DELETE_ON_ERROR:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
