# sbx: `make help` lists what there is.
#
# B is the build directory, V=1 shows the commands: `make SAN=1` builds everything
# with AddressSanitizer and UBSan into build/san. Objects of all floors are
# found by wildcard; each test links only its own floor and those below it, so
# a wrong include upwards does not even link.

CC      ?= gcc
Q       := $(if $(V),,@)
PREFIX  ?= /usr/local
SAN     ?=
B       ?= $(if $(SAN),build/san,build)
VERSION := 0.1.0

WARN    := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
           -Wformat=2 -Wpointer-arith -Wcast-qual -Wundef
HARDEN  := -fstack-protector-strong -fPIE -fno-strict-aliasing -fno-delete-null-pointer-checks
ifeq ($(SAN),)
HARDEN  += -D_FORTIFY_SOURCE=2
else
HARDEN  += -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
endif
LINK    := -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed
CFLAGS  ?= -O2 -g
ALL_CFLAGS := -std=gnu17 -D_GNU_SOURCE -DSBX_VERSION='"$(VERSION)"' -I. $(WARN) $(HARDEN) $(CFLAGS) -MMD -MP

# --- floors: sources, what each stands on, and the libraries its gateways use
base_SRC      := $(wildcard base/*.c)
schema_SRC    := $(wildcard schema/*.c)
queue_SRC     := $(wildcard queue/*.c)
snapshots_SRC := $(wildcard snapshots/*.c)
sandbox_SRC   := $(wildcard worker/sandbox/*.c)
worker_SRC    := $(wildcard worker/*.c)
producer_SRC  := $(wildcard producer/*.c)
FLOORS        := base schema queue snapshots sandbox worker producer

base_ON      := base
schema_ON    := schema base
queue_ON     := queue schema base
snapshots_ON := snapshots schema base
sandbox_ON   := sandbox base
worker_ON    := worker sandbox snapshots queue schema base
producer_ON  := producer queue schema base

base_LIBS      :=
schema_LIBS    := -lmsgpackc -ljansson
queue_LIBS     := $(schema_LIBS) -lrabbitmq -lssl -lcrypto -lsqlite3
snapshots_LIBS := $(schema_LIBS) -lgit2 -lutf8proc -lssl -lcrypto -lmd
sandbox_LIBS   := -lseccomp
worker_LIBS    := $(queue_LIBS) $(snapshots_LIBS) $(sandbox_LIBS) -linih -lexpat -lzstd -lsqlite3 -lmd -lmicrohttpd
producer_LIBS  := $(queue_LIBS)

DEPS := gcc make pkg-config git patch ca-certificates libmsgpack-dev libjansson-dev librabbitmq-dev \
        libssl-dev libgit2-dev libmd-dev libutf8proc-dev libseccomp-dev libinih-dev libexpat1-dev libzstd-dev \
        libsqlite3-dev libmicrohttpd-dev libcmocka-dev openssl rabbitmq-server python3 python3-pika python3-msgpack \
        clang clang-format bubblewrap busybox-static

# --- programs: worker/bin/NAME.c and producer/bin/NAME.c
WORKER_BIN   := $(patsubst worker/bin/%.c,$(B)/bin/%,$(wildcard worker/bin/*.c))
PRODUCER_BIN := $(patsubst producer/bin/%.c,$(B)/bin/%,$(wildcard producer/bin/*.c))
PROGRAMS     := $(WORKER_BIN) $(PRODUCER_BIN)

.PHONY: all
all: $(PROGRAMS)

.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:

$(B)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $@"
	$(Q)$(CC) $(ALL_CFLAGS) -c $< -o $@

define floor_rules
$(B)/lib$(1).a: $(patsubst %.c,$(B)/%.o,$($(1)_SRC))
	@mkdir -p $$(@D)
	@rm -f $$@
	$$(Q)$$(AR) rcs $$@ $$^
$(1)_ARCHIVES := $(foreach f,$($(1)_ON),$(B)/lib$(f).a)
$(B)/tests/unit/$(1)/%: $(B)/tests/unit/$(1)/%.o $(foreach f,$($(1)_ON),$(B)/lib$(f).a)
	@echo "  LD    $$@"
	$$(Q)$$(CC) $$(ALL_CFLAGS) $(LINK) $$^ $($(1)_LIBS) -lcmocka -o $$@
UNIT_TESTS += $(patsubst %.c,$(B)/%,$(wildcard tests/unit/$(1)/test_*.c))
endef
$(foreach f,$(FLOORS),$(eval $(call floor_rules,$(f))))

# Started anew for every command, and on libc alone: linked statically it skips
# the loader, a tenth of its whole time.
ifeq ($(SAN),)
$(B)/bin/sbx-box: LINK := -static-pie -Wl,-z,relro,-z,now,-z,noexecstack
$(B)/bin/sbx-box: worker_LIBS :=
endif
$(B)/bin/%: $(B)/worker/bin/%.o $(worker_ARCHIVES)
	@mkdir -p $(@D)
	@echo "  LD    $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(LINK) $^ $(worker_LIBS) -o $@
$(B)/bin/%: $(B)/producer/bin/%.o $(producer_ARCHIVES)
	@mkdir -p $(@D)
	@echo "  LD    $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(LINK) $^ $(producer_LIBS) -o $@

# --- libsbx: one object with all it needs, of which only sbx_* can be seen
OBJCOPY ?= objcopy
$(B)/libsbx.a: $(B)/producer/sbx.o $(B)/producer/sbx_results.o $(producer_ARCHIVES)
	@echo "  AR    $@"
	$(Q)$(CC) -r -nostdlib $(B)/producer/sbx.o $(B)/producer/sbx_results.o $(producer_ARCHIVES) -o $(B)/libsbx.o
	$(Q)$(OBJCOPY) --wildcard --keep-global-symbol='sbx_*' $(B)/libsbx.o
	@rm -f $@
	$(Q)$(AR) rcs $@ $(B)/libsbx.o

-include $(patsubst %.c,$(B)/%.d,$(foreach f,$(FLOORS),$($(f)_SRC)) $(wildcard worker/bin/*.c producer/bin/*.c tests/unit/*/*.c tests/bench/*.c tests/fuzz/*.c))

# --- attacks: each tries one thing inside a box and says "escaped" when it wins
ATTACKS := $(patsubst %.c,$(B)/%,$(wildcard tests/attack/attack_*.c))
$(B)/tests/attack/%: tests/attack/%.c
	@mkdir -p $(@D)
	@echo "  LD    $@"
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE -I. $(WARN) -O1 -static $< -o $@

# --- benchmarks
BENCHES := $(patsubst tests/bench/%.c,$(B)/tests/bench/%,$(wildcard tests/bench/*.c))
$(B)/tests/bench/%: $(B)/tests/bench/%.o $(worker_ARCHIVES)
	@mkdir -p $(@D)
	@echo "  LD    $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(LINK) $^ $(worker_LIBS) -o $@

# --- fuzzing: libFuzzer with a corpus each; clang only. Every target links what it
# needs out of one archive, so that a change costs one file and not the program.
# FUZZ names the targets to run, COV=1 counts what their corpora reach instead.
FUZZERS := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ    ?= $(FUZZERS)
TIME    ?= 30
COV     ?=
F       := $(if $(COV),build/cov,build/fuzz)
FUZZ_FLAGS := -g -O1 $(if $(COV),-fprofile-instr-generate -fcoverage-mapping,-fsanitize=address,undefined -fno-sanitize-recover=all)
FUZZ_OBJ := $(patsubst %.c,$(F)/obj/%.o,$(foreach f,$(worker_ON) producer,$($(f)_SRC)))
$(F)/obj/%.o: %.c
	@mkdir -p $(@D)
	@echo "  FUZZ  $@"
	$(Q)clang -std=gnu17 -D_GNU_SOURCE -DSBX_VERSION='"$(VERSION)"' -I. $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c $< -o $@
$(F)/libsbx.a: $(FUZZ_OBJ)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^
$(F)/fuzz_%: $(F)/obj/tests/fuzz/fuzz_%.o $(F)/libsbx.a
	@echo "  LD    $@"
	$(Q)clang $(FUZZ_FLAGS) -fsanitize=fuzzer $^ $(worker_LIBS) -o $@
-include $(FUZZ_OBJ:.o=.d) $(patsubst %,$(F)/obj/tests/fuzz/fuzz_%.d,$(FUZZERS))

.PHONY: fuzz
fuzz: $(addprefix $(F)/fuzz_,$(FUZZ))
	@for name in $(FUZZ); do \
		echo "fuzzing $$name for $(TIME) s"; mkdir -p build/fuzz/found/$$name; \
		build/fuzz/fuzz_$$name -max_total_time=$(TIME) -timeout=10 -print_final_stats=0 -verbosity=0 \
			-artifact_prefix=build/fuzz/ build/fuzz/found/$$name tests/fuzz/corpus/$$name || exit 1; \
	done

# Which lines the corpora reach, of the files named by COVER.
COVER ?= snapshots
.PHONY: fuzz-coverage
fuzz-coverage:
	@$(MAKE) --no-print-directory COV=1 $(addprefix build/cov/fuzz_,$(FUZZ))
	@for name in $(FUZZ); do \
		found=""; if [ -d build/fuzz/found/$$name ]; then found=build/fuzz/found/$$name; fi; \
		LLVM_PROFILE_FILE=build/cov/$$name.profraw build/cov/fuzz_$$name -runs=0 -verbosity=0 -artifact_prefix=build/cov/ \
			tests/fuzz/corpus/$$name $$found || exit 1; \
	done
	@llvm-profdata merge -o build/cov/all.profdata $(patsubst %,build/cov/%.profraw,$(FUZZ))
	@llvm-cov report -instr-profile build/cov/all.profdata $(patsubst %,build/cov/fuzz_%,$(firstword $(FUZZ))) \
		$(patsubst %,-object build/cov/fuzz_%,$(wordlist 2,99,$(FUZZ))) $(COVER)

# The corpora without a fuzzer, as tests.
REPLAYS := $(patsubst %,$(B)/tests/fuzz/replay_%,$(FUZZERS))
$(B)/tests/fuzz/replay_%: $(B)/tests/fuzz/fuzz_%.o $(B)/tests/fuzz/replay.o $(B)/libproducer.a $(worker_ARCHIVES)
	@echo "  LD    $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(LINK) $^ $(worker_LIBS) -o $@

# --- what a person calls
.PHONY: help
help:
	@echo "make            build all programs into $(B)/bin"
	@echo "make deps       install the Debian packages that are missing"
	@echo "make demo       build, start a broker and a worker, run three jobs, show their verdicts"
	@echo "make test       build and run every test (also with sanitizers)"
	@echo "make test-vm    the sandbox under Debian's kernel with cgroup v2 alone (15 to 30 minutes; not in test)"
	@echo "make chaos      kills, cuts, full disks and alarms, the long form; prints the figures (an hour; not in test)"
	@echo "make check-style  only the house style"
	@echo "make bench      measure against bubblewrap, crun, runc, git and patch in one run"
	@echo "make fuzz       every fuzz target (or FUZZ=\"diff hunk\") for TIME=$(TIME) seconds each (clang)"
	@echo "make fuzz-coverage  what their corpora reach, in percent of the files in COVER=$(COVER) (llvm)"
	@echo "make install    into PREFIX=$(PREFIX) (and DESTDIR)"
	@echo "make clean      remove build/"
	@echo "Variables: CC=clang, SAN=1 (sanitizers, into build/san), B=DIR (build directory)"

.PHONY: deps
deps:
	@missing=""; for p in $(DEPS) $(MORE_DEPS); do \
		dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; \
	done; \
	if [ -z "$$missing" ]; then echo "make deps: all packages are installed"; exit 0; fi; \
	sudo=""; if [ "$$(id -u)" != 0 ]; then sudo=sudo; \
		command -v sudo >/dev/null || { echo "make deps: needs root or sudo to install:$$missing" >&2; exit 1; }; fi; \
	echo "make deps: installing$$missing"; \
	$$sudo apt-get update -q && \
	$$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -q --no-install-recommends $$missing || exit 1; \
	case "$$missing" in *openssh-server*) $$sudo systemctl -q disable --now ssh 2>/dev/null || true;; esac

.PHONY: unit-tests
unit-tests: $(UNIT_TESTS) $(REPLAYS)

.PHONY: all-tests
all-tests: all $(UNIT_TESTS) $(REPLAYS) $(ATTACKS)

.PHONY: test
test chaos: MORE_DEPS := openssh-server mmdebstrap umoci skopeo iproute2 apparmor gdb strace g++ sqlite3 python3-pytest libclang-rt-14-dev
test: deps
	$(MAKE) all-tests
	$(MAKE) SAN=1 unit-tests
	tests/run --build $(B) --san build/san

.PHONY: chaos
chaos: deps all
	SBX_CHAOS_SCALE=10 SBX_CHAOS_SECONDS=300 tests/run --build $(B) -v --patience 12 --only 'system/test_3[5789]*'

.PHONY: test-vm
test-vm: MORE_DEPS := qemu-system-x86 e2fsprogs apparmor systemd
test-vm: deps all $(filter $(B)/tests/unit/sandbox/%,$(UNIT_TESTS)) $(ATTACKS)
	tests/vm/run --timeout 3600 -- tests/vm/suite $(B)

.PHONY: check-style
check-style:
	tests/style/check_style.py --self-test
	tests/style/check_style.py

.PHONY: demo
demo: deps
	$(MAKE) all
	contrib/demo --bin $(B)/bin

.PHONY: bench
bench: MORE_DEPS := crun runc
bench: deps
	$(MAKE) all $(BENCHES)
	tests/bench/run --build $(B)

# What a C program needs that enqueues jobs; pkg-config knows it as sbx
.PHONY: install-lib
install-lib: $(B)/libsbx.a
	install -d $(DESTDIR)$(PREFIX)/include/sbx $(DESTDIR)$(PREFIX)/lib/pkgconfig \
		$(DESTDIR)$(PREFIX)/share/man/man3 $(DESTDIR)$(PREFIX)/share/doc/sbx/examples
	install -m 644 producer/sbx.h $(DESTDIR)$(PREFIX)/include/sbx
	install -m 644 $(B)/libsbx.a $(DESTDIR)$(PREFIX)/lib
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' -e 's|@LIBS@|$(producer_LIBS)|' \
		contrib/sbx.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/sbx.pc
	install -m 644 $(wildcard contrib/man/*.3) $(DESTDIR)$(PREFIX)/share/man/man3
	install -m 644 contrib/examples/enqueue.c contrib/examples/results.c $(DESTDIR)$(PREFIX)/share/doc/sbx/examples

.PHONY: install
install: all install-lib
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man5 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/doc/sbx
	install -m 755 $(PROGRAMS) $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(wildcard contrib/man/*.1) $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 $(wildcard contrib/man/*.5) $(DESTDIR)$(PREFIX)/share/man/man5
	install -m 644 $(wildcard contrib/completions/*) $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -m 644 contrib/apparmor/sbx-worker $(DESTDIR)$(PREFIX)/share/doc/sbx/apparmor-sbx-worker
	install -d $(DESTDIR)$(PREFIX)/lib/sbx/roots
	install -m 755 contrib/roots/mkroot $(DESTDIR)$(PREFIX)/lib/sbx/roots
	install -m 644 $(wildcard contrib/roots/*.py) $(DESTDIR)$(PREFIX)/lib/sbx/roots
	ln -sf ../lib/sbx/roots/mkroot $(DESTDIR)$(PREFIX)/bin/mkroot
	install -m 644 README.md ARCHITECTURE.md SECURITY.md LICENSE schema/PROTOCOL.md contrib/sbx-worker.ini \
		contrib/prometheus/alerts.yml contrib/systemd/sbx-worker.service \
		$(DESTDIR)$(PREFIX)/share/doc/sbx

.PHONY: clean
clean:
	rm -rf build
