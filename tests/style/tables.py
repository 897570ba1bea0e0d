"""What the rules of check_style.py consult. Every exclusion carries its reason."""

COLUMNS = 100
FILE_LINES = 700
FUNCTION_LINES = 70

# Folders, and the folders that their files may include.
_CORE = {"base", "schema"}
FLOORS = {
    "base": {"base"},
    "schema": _CORE,
    "queue": _CORE | {"queue"},
    "snapshots": _CORE | {"snapshots"},
    "worker/sandbox": {"base", "worker/sandbox"},
    "worker": _CORE | {"queue", "snapshots", "worker", "worker/sandbox"},
    "producer": _CORE | {"queue", "producer"},
}
_PUBLIC = dict(FLOORS)
for _floor, _below in _PUBLIC.items():
    FLOORS["tests/unit/" + _floor.rsplit("/", maxsplit=1)[-1]] = _below | {"tests"}
FLOORS["tests"] = set(FLOORS) | {"tests"}
for _floor in list(FLOORS):
    if _floor.startswith("tests/unit/"):
        FLOORS[_floor] = FLOORS[_floor] | {_floor}

# Unit tests see the private header of the floor they test, and no other.
TESTED = {"tests/unit/" + floor.rsplit("/", maxsplit=1)[-1]: floor for floor in _PUBLIC}

# Header (or folder of headers): the files and folders that alone may include it. The units of
# a gateway may look past it, with the library's own eyes; a benchmark measures against it.
_AMQP = ["queue/amqp*", "tests/unit/queue/"]
GATEWAYS = {
    "amqp.h": _AMQP,
    "amqp_framing.h": _AMQP,
    "amqp_tcp_socket.h": _AMQP,
    "amqp_ssl_socket.h": _AMQP,
    "openssl": _AMQP + ["snapshots/gitdb_tls.c", "snapshots/gitdb_hash.c"],
    "msgpack.h": ["schema/"],
    "msgpack": ["schema/"],
    "jansson.h": ["schema/"],
    "git2.h": ["snapshots/gitdb*", "snapshots/transport*", "tests/bench/bench_libgit2.c"],
    "git2": ["snapshots/gitdb*", "snapshots/transport*", "tests/bench/bench_libgit2.c"],
    "utf8proc.h": ["snapshots/guard_fold.c"],
    "seccomp.h": ["worker/sandbox/", "tests/bench/bench_filter.c"],
    "sqlite3.h": ["worker/ledger*", "queue/sqlite*", "tests/unit/worker/", "tests/unit/queue/"],
    "microhttpd.h": ["worker/metrics.c"],
    "ini.h": ["worker/config*"],
    "expat.h": ["worker/junit*"],
    "zstd.h": ["worker/artifacts.c", "tests/unit/worker/"],
    "sha2.h": ["worker/artifacts.c", "snapshots/"],
    "cmocka.h": ["tests/"],
    # Only programs log; library code returns.
    "base/log.h": ["base/log.c", "worker/*", "worker/bin/", "producer/*", "producer/bin/",
                   "tests/"],
}

_BOUND = "writes without a bound; use snprintf, a struct buf or an arena"
_SHELL = "runs a shell; use posix_spawn or fork and exec with an argv"
_PARSE = "cannot tell an error from 0; use text_parse_int"
_RANDOM = "is predictable; use getrandom or text_uuid7"
_STATIC = "answers in static storage; use the _r form or clock_text"
_RACE = "names a file that another may make first; use mkstemp, mkdtemp or O_TMPFILE"
_WAIT = "waiting is no synchronisation; poll a condition with a deadline"

BANNED_C = {
    "strcpy": _BOUND, "strcat": _BOUND, "sprintf": _BOUND, "vsprintf": _BOUND, "gets": _BOUND,
    "stpcpy": _BOUND, "wcscpy": _BOUND,
    "strncpy": "may leave no NUL; use snprintf or memcpy with a checked length",
    "strncat": _BOUND,
    "strtok": "has hidden state and writes its input; use strchr or strsep",
    "system": _SHELL, "popen": _SHELL,
    "alloca": "has no bound and no failure; use an arena",
    "atoi": _PARSE, "atol": _PARSE, "atoll": _PARSE, "atof": _PARSE,
    "signal": "differs between systems; use sigaction, better signalfd",
    "rand": _RANDOM, "srand": _RANDOM, "random": _RANDOM, "drand48": _RANDOM,
    "asctime": _STATIC, "ctime": _STATIC, "gmtime": _STATIC, "localtime": _STATIC,
    "tmpnam": _RACE, "tempnam": _RACE, "mktemp": _RACE,
    "usleep": _WAIT, "sleep": _WAIT,
}

BANNED_PYTHON = {
    "time.sleep": _WAIT,
    "os.system": _SHELL,
    "eval": "runs text as code",
}

# Units run git and the broker's own tools by command lines of their own, on nobody's input.
ALLOWED = {"tests/unit/": {"system", "popen"}}

# (rule, file, word): reason
EXCUSES = {
    ("banned", "tests/system/sbxtest.py", "time.sleep"):
        "the pause between two looks of the one polling helper",
    ("banned", "tests/system/client.py", "time.sleep"):
        "the pause between two tries to connect",
    ("banned", "tests/system/test_wire_pika.py", "time.sleep"):
        "the pause between two looks at a queue",
    ("banned", "tests/runner/leftovers.py", "time.sleep"):
        "the pause between two looks at what is dying",
}

HOST_PATHS = r"/work/(main|shared)\b|/tmp/sbx/|/home/(?!user\b|you\b|sbx\b)[a-z]\w*/"

TOP_FOLDERS = {"base", "schema", "queue", "snapshots", "worker", "producer", "tests", "contrib",
               ".ci"}

# Not judged: fixtures and inputs of fuzzers are wrong on purpose, licences are others' words.
NOT_JUDGED = ("build/", ".git/", "tests/style/", "tests/fuzz/corpus/", "LICENSE")
