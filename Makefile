# Cria.  `make help` lists the targets; ./quickstart installs what they need.
#
# Sources are found by folder: a new src/<folder>/<file>.c, tests/test_<module>.c or
# examples/<name>.c needs no line here.
SHELL := /bin/bash
MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:

ifeq ($(origin CC),default)
CC := gcc
endif
AR ?= ar
OBJCOPY ?= objcopy
B ?= build
PREFIX ?= /usr/local
DESTDIR ?=
V ?= 0
Q := $(if $(filter 0,$V),@)
say = $(if $(filter 0,$V),@printf '  %-4s %s\n' $(1) '$(2)')

VERSION := $(shell sed -n 's/.*CRIA_VERSION "\(.*\)"/\1/p' src/base/version.h)
ARCH := $(shell $(CC) -dumpmachine | cut -d- -f1)

# --- libraries ---
LIB_PKGS := libpcre2-8 libutf8proc libcrypto jansson
PKGS := $(LIB_PKGS) libcurl libedit libevent libevent_openssl libssl zlib libzstd sqlite3 inih
ifneq ($(filter-out clean help format,$(or $(MAKECMDGOALS),all)),)
MISSING := $(shell for p in $(PKGS); do pkg-config --exists $$p 2>/dev/null || echo $$p; done)
ifneq ($(MISSING),)
$(error pkg-config does not find: $(MISSING). ./quickstart installs what is missing)
endif
endif
# Parts that are built where their library is there.
OPT_PKGS := $(if $(PKGS),$(shell for p in hiredis; do pkg-config --exists $$p 2>/dev/null && echo $$p; done))
PKG_CFLAGS := $(if $(PKGS),$(shell pkg-config --cflags $(PKGS) $(OPT_PKGS))) $(if $(filter hiredis,$(OPT_PKGS)),-DWITH_REDIS)
PKG_LIBS := $(if $(PKGS),$(shell pkg-config --libs $(PKGS) $(OPT_PKGS)))
LIBS := $(PKG_LIBS) -lpthread -lm

# --- flags ---
WARN := -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wvla
HARDEN := -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
ifeq ($(ARCH),x86_64)
HARDEN += -fcf-protection
endif
OPT ?= -O2 -g
SAN ?=
# -ffp-contract=off: a*b+c is fused only where the code says so, so every build gives the same bits.
CFLAGS_ALL = -std=c11 -D_GNU_SOURCE $(OPT) $(WARN) $(HARDEN) -ffp-contract=off $(SAN) -Isrc -Iinclude \
	$(PKG_CFLAGS) $(CFLAGS)
# --build-id: what a prefix cache on disk keeps apart one build's rounding from another's by.
LDFLAGS_ALL = $(SAN) -Wl,--build-id=sha1,-z,relro,-z,now,-z,noexecstack,--as-needed $(LDFLAGS)

# Flags by folder.  Not more for the sanitizers' builds: the largest kernel file takes 14 s at -O1, 66 s
# at -O3 then.
$B/obj/%.o: PIC := -fPIC -fvisibility=hidden
$B/obj/cli/%.o: PIC := -fPIE
$B/obj/cpu/%.o: OPT_DIR := $(if $(SAN),,-O3)
$B/obj/quant/%.o: OPT_DIR := $(if $(SAN),,-O3)
$B/obj/sample/%.o: OPT_DIR := $(if $(SAN),,-O3)
# sqrtf without errno is one instruction, of vectors too.
$B/obj/train/%.o: OPT_DIR := $(if $(SAN),,-O3) -fno-math-errno
$B/obj/cpu/avx2/%.o: ISA_FLAGS := -mavx2 -mfma -mf16c
$B/obj/cpu/avx512/%.o: ISA_FLAGS := -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq \
	-mavx512vnni -mavx512bf16 -mavx512vbmi -mprefer-vector-width=512
$B/obj/cpu/neon/%.o: ISA_FLAGS := -march=armv8.2-a+dotprod+fp16
$B/obj/cpu/i8mm/%.o: ISA_FLAGS := -march=armv8.2-a+dotprod+fp16+i8mm
# Folders that read bytes from outside are also free of implicit conversions.
PARSER_DIRS := base gguf text net store create policy server
$(foreach d,$(PARSER_DIRS),$(eval $B/obj/$(d)/%.o: CONV := -Wconversion -Wno-sign-conversion))

# --- sources ---
ISA_x86_64 := avx2 avx512
ISA_aarch64 := neon i8mm
ISA := $(ISA_$(ARCH))
KERNEL_DIRS := base quant backend cpu cpu/ref $(ISA:%=cpu/%)
SRC_DIRS ?= $(KERNEL_DIRS) gguf text text/chat text/grammar model model/arch sample engine
# What the program has and libcria has not.
APP_DIRS ?= net store train create policy server
# What needs a library but libc is left out where there is none (neon); single files join a part (fuzz).
SKIP_SRC ?=
MORE_SRC ?=
LIB_SRC := $(filter-out $(SKIP_SRC),$(foreach d,$(SRC_DIRS),$(wildcard src/$(d)/*.c))) $(MORE_SRC)
CLI_SRC := $(wildcard src/cli/*.c)
LIB_OBJ := $(LIB_SRC:src/%.c=$B/obj/%.o)
APP_OBJ := $(patsubst src/%.c,$B/obj/%.o,$(foreach d,$(APP_DIRS),$(wildcard src/$(d)/*.c)))
CLI_OBJ := $(CLI_SRC:src/%.c=$B/obj/%.o)
TEST_SRC := $(wildcard tests/test_*.c)
TEST_BIN := $(TEST_SRC:tests/%.c=$B/tests/%)
KERN_BIN := $(if $(wildcard tests/checkkern.c),$B/tests/checkkern)
EXAMPLES := $(patsubst examples/%.c,$B/examples/%,$(wildcard examples/*.c))
EXAMPLE_BIN := $(EXAMPLES) $(EXAMPLES:=.static)
SRC_TREES = $(wildcard src include tests bench examples fuzz tools)
C_SRC = $(shell find $(SRC_TREES) -name "*.[ch]" ! -name "*_data.c" | sort)
HEADERS = $(shell find $(wildcard src include) -name "*.h" | sort)

.PHONY: FORCE all lib tests test check asan asan-build tsan tsan-build neon bench compare fuzz guide format install uninstall \
	template-campaign store-campaign train-campaign server-campaign cache-campaign command-campaign pull-campaign push-campaign quality-campaign container-campaign adapter-campaign chaos-campaign memory-campaign isolation-campaign \
	clean help

all: $B/cria lib ##       build/cria, build/libcria.a, build/libcria.so (the default)

lib: $B/libcria.a $B/libcria.so $B/libcria.pc

# Changes with the flags and the compiler, so that everything is rebuilt then.
$B/flags: FORCE
	@mkdir -p $B
	@printf '%s\n' '$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL)' | cmp -s - $@ || \
		printf '%s\n' '$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL)' > $@
FORCE:

$B/obj/%.o: src/%.c $B/flags
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$Q$(CC) $(CFLAGS_ALL) $(PIC) $(OPT_DIR) $(ISA_FLAGS) $(CONV) -MMD -MP -c -o $@ $<

# The list of objects is a prerequisite: a source that is gone leaves the library.
$B/lib.list: FORCE
	@mkdir -p $B
	@echo '$(LIB_OBJ) $(APP_OBJ)' | cmp -s - $@ || echo '$(LIB_OBJ) $(APP_OBJ)' > $@

# Stands in for the parts that are not there.
$B/obj/server/standin.o: $(wildcard src/server/*.c src/engine/gen*.c)

# For cria and the tests: every object with all its names.
INTERNAL := $B/obj/libinternal.a
$(INTERNAL): $(LIB_OBJ) $(APP_OBJ) $B/lib.list
	$(call say,ar,$@)
	@rm -f $@
	$Q$(AR) rcs $@ $(LIB_OBJ) $(APP_OBJ)

# For programs outside: one object whose only global names are those of cria.h.  Ours have no prefix
# and would clash with the program's, or be taken for those of another library.
$B/libcria.a: $(LIB_OBJ) $B/lib.list
	$(call say,ar,$@)
	@rm -f $@
	$Q$(CC) -r -nostdlib -o $B/obj/libcria.o $(LIB_OBJ)
	$Q$(OBJCOPY) --localize-hidden $B/obj/libcria.o
	$Q$(AR) rcs $@ $B/obj/libcria.o

$B/libcria.so: $(LIB_OBJ) $B/lib.list
	$(call say,ld,$@)
	$Q$(CC) -shared -Wl,-soname,libcria.so.0 -Wl,--no-undefined $(LDFLAGS_ALL) -o $@ $(LIB_OBJ) $(LIBS)
	@ln -sf libcria.so $@.0

$B/cria: $(CLI_OBJ) $(INTERNAL)
	$(call say,ld,$@)
	$Q$(CC) -pie $(LDFLAGS_ALL) -o $@ $(CLI_OBJ) $(INTERNAL) $(LIBS)

$B/libcria.pc: packaging/libcria.pc.in FORCE
	@mkdir -p $B
	@sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' -e 's|@PKGS@|$(LIB_PKGS)|' $< > $@

# What tests share: every other file in tests/.
TEST_HELP := $(patsubst tests/%.c,$B/tests/%.o,$(filter-out tests/test_% tests/checkkern%,$(wildcard tests/*.c)))

$(TEST_HELP): $B/tests/%.o: tests/%.c $B/flags
	@mkdir -p $(@D)
	$Q$(CC) $(CFLAGS_ALL) -fPIE -Itests -MMD -MP -c -o $@ $<

$B/tests/test_%: tests/test_%.c $(TEST_HELP) $(INTERNAL)
	@mkdir -p $(@D)
	$(call say,test,$@)
	$Q$(CC) $(CFLAGS_ALL) -fPIE -Itests -MMD -MP -pie $(LDFLAGS_ALL) -o $@ $< $(TEST_HELP) \
		$(INTERNAL) -lcmocka $(LIBS)

$B/tests/checkkern: $(wildcard tests/checkkern*.c tests/checkkern*.h) $(INTERNAL)
	@mkdir -p $(@D)
	$(call say,test,$@)
	$Q$(CC) $(CFLAGS_ALL) -fPIE -Itests -pie $(LDFLAGS_ALL) -o $@ $(filter %.c,$^) $(INTERNAL) $(LIBS)

# What an example uses besides.
$B/examples/search $B/examples/search.static: EXAMPLE_LIBS := $(shell pkg-config --libs sqlite3) -lm

# Against the shared library, as a program outside would be (sanitized builds: the static one), and
# against the static one.
$B/examples/%.static: examples/%.c include/cria.h $B/libcria.a
	@mkdir -p $(@D)
	$(call say,ld,$@)
	$Q$(CC) -std=c11 $(OPT) $(WARN) $(SAN) -Iinclude $(CFLAGS) $(LDFLAGS) -o $@ $< $B/libcria.a $(EXAMPLE_LIBS) $(LIBS)

$B/examples/%: examples/%.c include/cria.h $B/libcria.so $B/libcria.a
	@mkdir -p $(@D)
	$(call say,ld,$@)
	$Q$(CC) -std=c11 $(OPT) $(WARN) $(SAN) -Iinclude $(CFLAGS) $(LDFLAGS) -o $@ $< \
		$(if $(SAN),$B/libcria.a $(LIBS),-L$B -lcria -Wl$(comma)-rpath$(comma)'$$ORIGIN/..') \
		$(EXAMPLE_LIBS)
comma := ,

# Fuzz targets: under a fuzzer (make fuzz), and over the files that were worth keeping (make test).
FUZZ := $(patsubst fuzz/fuzz_%.c,%,$(wildcard fuzz/fuzz_*.c))
REPLAY_BIN := $(FUZZ:%=$B/fuzz/replay_%)
FUZZ_SECONDS ?= 60
# What the targets need beside the parsers' folders.
FUZZ_MORE := $(patsubst %,src/engine/%.c,prefix_file wire wire_event wire_open) \
	$(patsubst %,src/store/%.c,archive_index config digest manifest modelfile name tar) \
	$(patsubst %,src/create/%.c,convert_tokens convert_spm) \
	$(wildcard src/policy/pii*.c) \
	$(patsubst %,src/train/%.c,bpe_file bpe_learn bpe_train bpe_words checkpoint example example_message lines log_read params plot plot_spark) \
	$(patsubst %,src/net/%.c,http_head http_chunk address) \
	$(patsubst %,src/policy/%.c,answer_record answer_redis_url answer_seal) \
	$(patsubst %,src/policy/%.c,audit_entry audit_key audit_lines audit_read audit_sqlite audit_store audit_verify) \
	$(patsubst %,src/server/%.c,decode origin field remote_answer openai_messages openai_request anthropic_messages responses_input)

$B/fuzz/replay_%: fuzz/fuzz_%.c fuzz/replay.c $(INTERNAL)
	@mkdir -p $(@D)
	$(call say,test,$@)
	$Q$(CC) $(CFLAGS_ALL) -fPIE -pie $(LDFLAGS_ALL) -o $@ $(filter %.c,$^) $(INTERNAL) $(LIBS)

$B/fuzz/fuzz_%: fuzz/fuzz_%.c $(INTERNAL)
	@mkdir -p $(@D)
	$(call say,ld,$@)
	$Q$(CC) $(CFLAGS_ALL) -fPIE -pie $(LDFLAGS_ALL) -fsanitize=fuzzer -o $@ $< $(INTERNAL) $(LIBS)

# Without the kernels and what needs them: parsers only, and a quick build.
fuzz: ##      every fuzz target for FUZZ_SECONDS (60), with clang
	@$(MAKE) B=$B/fuzzing CC=clang OPT="-O1 -g" APP_DIRS= \
		SRC_DIRS="base gguf quant text text/chat text/grammar sample" MORE_SRC="$(FUZZ_MORE)" \
		SAN="-fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined" \
		$(FUZZ:%=$B/fuzzing/fuzz/fuzz_%)
	@for t in $(FUZZ); do echo "--- $$t"; mkdir -p $B/fuzzing/found_$$t; \
		$B/fuzzing/fuzz/fuzz_$$t -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 \
			-artifact_prefix=$B/fuzzing/$$t- $$(test ! -f fuzz/$$t.dict || echo -dict=fuzz/$$t.dict) \
			$B/fuzzing/found_$$t fuzz/corpus/$$t || exit 1; done

tests: $(TEST_BIN) $(KERN_BIN) $(EXAMPLE_BIN) $(REPLAY_BIN) $B/tools/mkmodel $B/tools/guide $B/tools/exam

-include $(LIB_OBJ:.o=.d) $(APP_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(TEST_BIN:=.d) $(TEST_HELP:.o=.d)

test: all tests ##      all tests
	@B=$B tests/run

check: all ##     layers, format, lint, headers, hardening, manual page
	@tools/check_layers
	@tools/check_source
	@tools/check_headers $(CC) $(CFLAGS_ALL) -- $(HEADERS)
	@tools/check_binary $B
	@tools/check_man $B

# -g1: lines for the reports; all of -g makes every test program 68 MB.
# TIMEOUT: on a machine with others on it test_cli takes 290 s under ASan.
SAN_OPT := -O1 -g1
asan-build:
	@$(MAKE) B=$B/asan OPT="$(SAN_OPT)" SAN="-fsanitize=address,undefined -fno-sanitize-recover=undefined" \
		$B/asan/cria tests

asan: asan-build ##      all tests under AddressSanitizer and UBSan
	@B=$B/asan ORDER=$B/seconds TIMEOUT=900 tests/run

store-campaign: $B/tests/test_store_faults ##    kill -9, full disks and races of the store, many rounds
	@CRIA_CAMPAIGN=1 $B/tests/test_store_faults

train-campaign: all $B/tests/test_tune_stop ##    fine-tunes killed at 100 random moments: the same bits
	@CRIA=$B/cria TUNE_KILLS=$(or $(COUNT),100) $B/tests/test_tune_stop

server-campaign: all $B/tests/test_crowd $B/tests/test_drip $B/tests/test_fair $B/tests/test_train_beside $B/tests/test_server_faults ##   crowds, drips, fairness, leaving clients, kills, drains, wrk
	@CRIA_CAMPAIGN=1 $B/tests/test_crowd
	@CRIA_CAMPAIGN=1 CRIA=$B/cria $B/tests/test_drip
	@CRIA_CAMPAIGN=1 CRIA=$B/cria $B/tests/test_fair
	@CRIA_CAMPAIGN=1 CRIA=$B/cria $B/tests/test_train_beside
	@CRIA=$B/cria CRIA_CAMPAIGN=1 $B/tests/test_server_faults
	@B=$B tests/wrk_campaign

memory-campaign: all $B/tests/test_memory_limit $B/tools/mkmodel ##    200 mixed requests under OLLAMA_MEMORY=4g, models of 0.5B to 8B (7 GB in build/bench)
	@CRIA_CAMPAIGN=1 CRIA=$B/cria $B/tests/test_memory_limit

chaos-campaign: all $B/tests/test_chaos ##    engines killed every 5 s under 8 clients, a chain of two (SECONDS=600)
	@CRIA=$B/cria CHAOS_SECONDS=$(or $(SECONDS),600) $B/tests/test_chaos

cache-campaign: all $B/tests/test_response_flight ##    a hit of the response cache within 2 ms (p99): on a machine at rest
	@CRIA_CAMPAIGN=1 CRIA=$B/cria $B/tests/test_response_flight

command-campaign: all ##    commands killed, disks that fill, a store that is read-only
	@B=$B tests/command_campaign

template-campaign: all ##  random templates and schemas beside python3-jinja2, python3-jsonschema, node, golang-go (SEED, COUNT)
	-@/usr/bin/python3 tests/template_campaign/jinja.py $B/cria $(or $(SEED),1) $(or $(COUNT),5000)
	-@/usr/bin/python3 tests/template_campaign/gotmpl.py $B/cria $(or $(SEED),1) $(or $(COUNT),5000)
	@/usr/bin/python3 tests/template_campaign/schema.py $B/cria $(or $(SEED),1) $(or $(COUNT),1000)

pull-campaign: all ##    pulls that are killed, and 2 GB beside curl (docker-registry)
	@B=$B tests/pull_campaign

push-campaign: all ##    2 GB to docker-registry beside curl, in turns
	@B=$B tests/pull_campaign push

quality-campaign: all $B/tests/test_train_parity $B/tools/exam $B/tools/guide ##    what fine-tuning does: facts, JSON, what is kept, QLoRA (ONLY=facts)
	@B=$B tests/quality_campaign $(ONLY)

container-campaign: all ##    image, compose files and systemd units for real (root, Docker, debootstrap, nspawn)
	@B=$B tests/container_campaign

isolation-campaign: all tests ##   the server's tests, isolated: under strace, and in an empty network (strace, iproute2)
	@B=$B tests/isolation_campaign

adapter-campaign: all ##  a model trained, tuned, merged; its adapter in llama.cpp (MODULES=node_modules)
	@B=$B tests/adapter_campaign/merged
	@$(if $(MODULES),B=$B tests/adapter_campaign/run $(MODULES))

TSAN_TESTS := $(filter $(addprefix test_,answer_cache ask audit% base api api_train child constrain engine% gen% life linear model models prefix% registry response% \
	scheduler serve% server share stream team), \
	$(notdir $(TEST_BIN)))
tsan-build:
	@$(MAKE) B=$B/tsan OPT="$(SAN_OPT)" SAN="-fsanitize=thread" $B/tsan/cria \
		$(TSAN_TESTS:%=$B/tsan/tests/%) $(EXAMPLE_BIN:$B/%=$B/tsan/%)

tsan: tsan-build ##      tests of threads and engine under ThreadSanitizer
	@B=$B/tsan ORDER=$B/seconds TIMEOUT=900 tests/run $(TSAN_TESTS)

# Kernels only: they need no library but libc, so no foreign packages are needed.
QEMU := qemu-aarch64 -L /usr/aarch64-linux-gnu
neon: ##      cross-build the ARM kernels and run checkkern under qemu-user
	@for t in aarch64-linux-gnu-gcc qemu-aarch64; do command -v $$t >/dev/null || \
		{ echo "$$t is missing; ./quickstart tools installs it"; exit 1; }; done
	@$(MAKE) B=$B/neon CC=aarch64-linux-gnu-gcc AR=aarch64-linux-gnu-ar PKGS= APP_DIRS= \
		SKIP_SRC="src/base/sha256.c src/base/json.c" SRC_DIRS="base quant backend cpu cpu/ref cpu/neon cpu/i8mm" $B/neon/obj/libinternal.a $(KERN_BIN:$B/%=$B/neon/%)
	@$(if $(KERN_BIN),B=$B/neon RUNNER="$(QEMU)" tests/run checkkern)
	@# Processors with and without i8mm, and without dot products: what one lacks must not run there.
	@for t in "max --level i8mm --have ref_neon_i8mm mat_levels" \
		"cortex-a76 --level neon --have ref_neon mat_mul" "cortex-a72 --have ref mat_encode"; do \
		echo "-cpu $$t"; $(QEMU) -cpu $${t%% *} $B/neon/tests/checkkern $${t#* } || exit 1; done

# Programs for measurements, not installed: mkmodel.
MKMODEL_SRC := $(wildcard tools/mkmodel/*.c)
$B/tools/mkmodel: $(MKMODEL_SRC) $(wildcard tools/mkmodel/*.h) $(INTERNAL)
	@mkdir -p $(@D)
	$(call say,ld,$@)
	$Q$(CC) $(CFLAGS_ALL) -fPIE -pie $(LDFLAGS_ALL) -o $@ $(MKMODEL_SRC) $(INTERNAL) $(LIBS)

# Questions to a model, answers counted: for quality-campaign.
EXAM_SRC := $(wildcard tools/exam/*.c)
$B/tools/exam: $(EXAM_SRC) tools/exam/exam.h $(INTERNAL)
	@mkdir -p $(@D)
	$(call say,ld,$@)
	$Q$(CC) $(CFLAGS_ALL) -fPIE -pie $(LDFLAGS_ALL) -o $@ $(EXAM_SRC) $(INTERNAL) $(LIBS)

# The corpus of the guide, the model that ships: models/guide/README.md.
GUIDE_SRC := $(wildcard tools/guide/*.c)
$B/tools/guide: $(GUIDE_SRC) $(wildcard tools/guide/*.h) $(INTERNAL)
	@mkdir -p $(@D)
	$(call say,ld,$@)
	$Q$(CC) $(CFLAGS_ALL) -fPIE -pie $(LDFLAGS_ALL) -o $@ $(GUIDE_SRC) $(INTERNAL) $(LIBS)

# Models of real shapes with random weights are made in $B/bench when they are missing; a model is
# SHAPE:TYPE (build/tools/mkmodel --list) or a file.
BENCH_MODELS ?= qwen2.5-0.5b:Q4_K_M llama3.2-1b:Q4_K_M llama3.2-1b:Q8_0
BENCH_ARGS ?=
PEERS ?=
bench_file = $(if $(findstring :,$(1)),$B/bench/$(subst :,-,$(1)).gguf,$(1))
BENCH_FILES = $(foreach m,$(BENCH_MODELS),$(call bench_file,$(m)))

# The shape is in the name up to the last "-", the type behind it.
$B/bench/%.gguf: | $B/tools/mkmodel
	@mkdir -p $(@D)
	$(call say,make,$@)
	$Q$B/tools/mkmodel "$$(sed 's/-[^-]*$$//' <<<'$*')" $@ --type "$$(sed 's/.*-//' <<<'$*')"

bench: all $(filter $B/bench/%,$(BENCH_FILES)) ##     speed and limits of BENCH_MODELS (BENCH_ARGS="--pp 512 --tg 128")
	@for m in $(BENCH_FILES); do $B/cria bench $(BENCH_ARGS) "$$m" || exit 1; done

# bench/compare --help says what BENCH_ARGS may be.
compare: all $(filter $B/bench/%,$(BENCH_FILES)) ##   the same beside PEERS="NAME=PATH/llama-bench ...", in turns
	@bench/compare --cria $B/cria $(PEERS:%=--peer %) $(BENCH_ARGS) $(BENCH_FILES)

guide: all $B/tools/guide ##     train models/guide.gguf, the model that ships, anew
	@models/guide/recipe $B

format: ##    clang-format over all sources
	clang-format -i $(C_SRC)

install: all ##   into $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/{bin,include,lib/pkgconfig,share/man/man1,share/cria} \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -s -m 755 $B/cria $(DESTDIR)$(PREFIX)/bin/cria
	install -m 644 models/guide.gguf $(DESTDIR)$(PREFIX)/share/cria/guide.gguf
	install -m 644 include/cria.h $(DESTDIR)$(PREFIX)/include/cria.h
	install -m 644 $B/libcria.a $(DESTDIR)$(PREFIX)/lib/libcria.a
	install -m 755 $B/libcria.so $(DESTDIR)$(PREFIX)/lib/libcria.so.0
	ln -sf libcria.so.0 $(DESTDIR)$(PREFIX)/lib/libcria.so
	install -m 644 $B/libcria.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig/libcria.pc
	install -m 644 packaging/cria.1 $(DESTDIR)$(PREFIX)/share/man/man1/cria.1
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|@PREFIX@|$(PREFIX)|' packaging/systemd/cria.service > \
		$(DESTDIR)$(PREFIX)/lib/systemd/system/cria.service
	install -m 644 packaging/systemd/isolated.conf $(DESTDIR)$(PREFIX)/share/cria/isolated.conf
	install -m 644 packaging/systemd/cria.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/cria.socket
	install -m 644 packaging/completion.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/cria

uninstall: ## what install put there
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/,bin/cria share/cria/guide.gguf share/cria/isolated.conf include/cria.h lib/libcria.a lib/libcria.so.0 \
		lib/libcria.so lib/pkgconfig/libcria.pc share/man/man1/cria.1 share/bash-completion/completions/cria \
		lib/systemd/system/cria.service lib/systemd/system/cria.socket)

clean: ##     remove the build folder
	rm -rf $B

help: ##      this list
	@echo 'make [TARGET] [CC=clang] [B=folder] [OPT=-O3] [V=1] [PREFIX=/usr/local] [DESTDIR=]'
	@sed -n 's/^\([a-z-]*\):.*## *\(.*\)/  \1	\2/p' Makefile | expand -t 18
