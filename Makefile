# sbx: `make help` lists what there is.
#
# B is the build directory and V the variant: `make SAN=1` builds everything
# with AddressSanitizer and UBSan into build/san. Objects of all floors are
# found by wildcard; each test links only its own floor and those below it, so
# a wrong include upwards does not even link.

CC      ?= gcc
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
queue_LIBS     := $(schema_LIBS) -lrabbitmq -lssl -lcrypto
snapshots_LIBS := $(schema_LIBS) -lgit2 -lmd
sandbox_LIBS   := -lseccomp
worker_LIBS    := $(queue_LIBS) $(snapshots_LIBS) $(sandbox_LIBS) -linih -lexpat -lzstd -lsqlite3 -lmd
producer_LIBS  := $(queue_LIBS)

DEPS := gcc make pkg-config git patch ca-certificates libmsgpack-dev libjansson-dev librabbitmq-dev \
        libssl-dev libgit2-dev libmd-dev libseccomp-dev libinih-dev libexpat1-dev libzstd-dev \
        libsqlite3-dev libcmocka-dev rabbitmq-server python3 python3-pika python3-msgpack \
        clang clang-format bubblewrap

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
	$(CC) $(ALL_CFLAGS) -c $< -o $@

define floor_rules
$(B)/lib$(1).a: $(patsubst %.c,$(B)/%.o,$($(1)_SRC))
	@mkdir -p $$(@D)
	@rm -f $$@
	$$(AR) rcs $$@ $$^
$(1)_ARCHIVES := $(foreach f,$($(1)_ON),$(B)/lib$(f).a)
$(B)/tests/unit/$(1)/%: $(B)/tests/unit/$(1)/%.o $(foreach f,$($(1)_ON),$(B)/lib$(f).a)
	$$(CC) $$(ALL_CFLAGS) $(LINK) $$^ $($(1)_LIBS) -lcmocka -o $$@
UNIT_TESTS += $(patsubst %.c,$(B)/%,$(wildcard tests/unit/$(1)/test_*.c))
endef
$(foreach f,$(FLOORS),$(eval $(call floor_rules,$(f))))

$(B)/bin/%: $(B)/worker/bin/%.o $(worker_ARCHIVES)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LINK) $^ $(worker_LIBS) -o $@
$(B)/bin/%: $(B)/producer/bin/%.o $(producer_ARCHIVES)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LINK) $^ $(producer_LIBS) -o $@

-include $(patsubst %.c,$(B)/%.d,$(foreach f,$(FLOORS),$($(f)_SRC)) $(wildcard worker/bin/*.c producer/bin/*.c tests/unit/*/*.c))

.PHONY: unit-tests
unit-tests: $(UNIT_TESTS)

.PHONY: clean
clean:
	rm -rf build
