# make            build/cria, build/libcria.a, build/libcria.so
# make test       all tests            make check     layers, format, lint
# make asan|tsan  tests with sanitizers
# make bench      timings              make help      this list and more
SHELL := /bin/bash
.SUFFIXES:
.DELETE_ON_ERROR:

CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
B ?= build
ARCH := $(shell $(CC) -dumpmachine | cut -d- -f1)

WARN := -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wvla
HARDEN := -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
ifeq ($(ARCH),x86_64)
HARDEN += -fcf-protection
endif
OPT ?= -O2 -g
SAN ?=
PKGS := jansson libpcre2-8 libutf8proc openssl libcurl sqlite3 libedit
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
# -ffp-contract=off: a*b+c is fused only where the code says so, so every build gives the same bits.
CFLAGS_ALL = -std=c11 -D_GNU_SOURCE $(OPT) $(WARN) $(HARDEN) -ffp-contract=off $(SAN) -Isrc -Iinclude \
	$(PKG_CFLAGS) $(CFLAGS)
LDFLAGS_ALL = $(SAN) -Wl,-z,relro,-z,now $(LDFLAGS)
LIBS := $(PKG_LIBS) -lpthread -lm

# Folders that read bytes from outside are also free of implicit conversions.
PARSER_DIRS := src/base src/gguf src/text

ISA_x86_64 := avx2 avx512
ISA_aarch64 := neon
ISA := $(ISA_$(ARCH))
SRC_DIRS := base gguf quant net text backend cpu cpu/ref $(ISA:%=cpu/%) model model/arch sample engine
LIB_SRC := $(foreach d,$(SRC_DIRS),$(wildcard src/$(d)/*.c))
CLI_SRC := $(wildcard src/cli/*.c)
LIB_OBJ := $(LIB_SRC:src/%.c=$B/obj/%.o)
CLI_OBJ := $(CLI_SRC:src/%.c=$B/obj/%.o)
TEST_SRC := $(wildcard tests/test_*.c)
TEST_BIN := $(TEST_SRC:tests/%.c=$B/tests/%)

.PHONY: FORCE all lib tests test check asan tsan bench format install clean help
all: $B/cria lib

lib: $B/libcria.a $B/libcria.so

$B/cria: $(CLI_OBJ) $B/libcria.a
	$(CC) -pie $(LDFLAGS_ALL) -o $@ $(CLI_OBJ) $B/libcria.a $(LIBS)

$B/libcria.a: $(LIB_OBJ)
	@rm -f $@
	ar rcs $@ $(LIB_OBJ)

$B/libcria.so: $(LIB_OBJ)
	$(CC) -shared -Wl,-soname,libcria.so.0 -Wl,--no-undefined $(LDFLAGS_ALL) -o $@ $(LIB_OBJ) $(LIBS)

# Flags by folder.
$B/obj/cpu/%.o: OPT_DIR := -O3
$B/obj/quant/%.o: OPT_DIR := -O3
$B/obj/cpu/avx2/%.o: ISA_FLAGS := -mavx2 -mfma -mf16c
$B/obj/cpu/avx512/%.o: ISA_FLAGS := -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq \
	-mavx512vnni -mavx512bf16 -mavx512vbmi -mprefer-vector-width=512
$B/obj/cpu/neon/%.o: ISA_FLAGS := -march=armv8.2-a+dotprod+fp16
# The library's objects serve libcria.a and libcria.so; only what include/cria.h marks is exported.
$B/obj/%.o: PIC := -fPIC -fvisibility=hidden
$B/obj/cli/%.o: PIC := -fPIE
$(foreach d,$(PARSER_DIRS),$(eval $B/obj/$(d:src/%=%)/%.o: CONV := -Wconversion -Wno-sign-conversion))

# Changes with the flags and the compiler, so that everything is rebuilt then.
$B/flags: FORCE
	@mkdir -p $B
	@echo '$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL)' | cmp -s - $@ || echo '$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL)' > $@
FORCE:

$B/obj/%.o: src/%.c $B/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(PIC) $(OPT_DIR) $(ISA_FLAGS) $(CONV) -MMD -MP -c -o $@ $<

$B/tests/%: tests/%.c $B/libcria.a $(wildcard tests/support.c) $B/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -fPIE -Itests -MMD -MP -pie $(LDFLAGS_ALL) -o $@ $< $(wildcard tests/support.c) $B/libcria.a -lcmocka $(LIBS)

tests: $(TEST_BIN)

-include $(LIB_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(TEST_BIN:=.d)

clean:
	rm -rf $B
