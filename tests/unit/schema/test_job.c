/* test_job.c - jobs: every bound and rule, defaults, both directions. */
#include "kit.h"

#include <stdlib.h>

#include "base/text.h"
#include "schema/job.h"

#define SOURCE "'source': {'repo': '/r', 'commit': 'c'}"
#define HEAD   "{'v': 1, 'id': 'a', " SOURCE ", "
#define STEP   HEAD "'steps': [{'run': ['true'], "

/* --- refusals --------------------------------------------------------- */

static const struct {
	const char *job;
	enum reason_code code; /* REASON_NONE: valid */
	const char *message;
} rows[] = {
	/* the map itself and its version */
	{"[]", REASON_JOB_MALFORMED, "expected a map, found list"},
	{"7", REASON_JOB_MALFORMED, "expected a map, found int"},
	{"{'id': 'a'}", REASON_JOB_VERSION, "v: is missing; expected int"},
	{"{'v': null}", REASON_JOB_VERSION, "v: is missing; expected int"},
	{"{'v': '1'}", REASON_JOB_VERSION, "v: expected int, found str"},
	{"{'v': 2, 'id': 7}", REASON_JOB_VERSION, "v: 2 is not known here; expected 1"},

	/* who and what for */
	{"{'v': 1, 'id': 'a'}", REASON_NONE, NULL},
	{"{'v': 1}", REASON_JOB_INVALID, "id: is missing; expected str"},
	{"{'v': 1, 'id': 5}", REASON_JOB_INVALID, "id: expected str, found int"},
	{"{'v': 1, 'id': ''}", REASON_JOB_INVALID, "id: 0 bytes is below the minimum 1"},
	{"{'v': 1, 'id': 'a b'}", REASON_JOB_INVALID,
	 "id: 'a b' is not 1-64 characters of A-Za-z0-9._-"},
	{"{'v': 1, 'id': 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'}",
	 REASON_JOB_INVALID, "id: 65 bytes is above the maximum 64"},
	{HEAD "'tenant': ''}", REASON_JOB_INVALID, "tenant: 0 bytes is below the minimum 1"},
	{HEAD "'tenant': 'a\\nb'}", REASON_JOB_INVALID,
	 "tenant: 'a?b' is not free of control characters"},
	{HEAD "'stage': 'a\\u0000'}", REASON_JOB_INVALID, "stage: holds a NUL byte"},
	{HEAD "'labels': ['x']}", REASON_JOB_INVALID,
	 "labels: expected map str to str, found list"},
	{HEAD "'labels': {'x': 1}}", REASON_JOB_INVALID, "labels.x: expected str, found int"},
	{HEAD "'labels': {'': 'x'}}", REASON_JOB_INVALID,
	 "labels.: 0 bytes is below the minimum 1"},
	{HEAD "'labels': {'x\\n': 'x'}}", REASON_JOB_INVALID,
	 "labels.x?: 'x?' is not free of control characters"},
	{HEAD "'labels': {'x': ''}}", REASON_NONE, NULL},
	{HEAD "'traceparent': 5}", REASON_JOB_INVALID, "traceparent: expected str, found int"},
	{HEAD "'tenant': null, 'stage': null, 'labels': null, 'steps': null}", REASON_NONE, NULL},
	{HEAD "'no_such_field': [1, {'x': 2}]}", REASON_NONE, NULL},

	/* source */
	{"{'v': 1, 'id': 'a', 'source': 'x'}", REASON_JOB_INVALID,
	 "source: expected map, found str"},
	{"{'v': 1, 'id': 'a', 'source': {}}", REASON_JOB_INVALID,
	 "source.repo: is missing; expected str, or 'bundle' or 'files'"},
	{"{'v': 1, 'id': 'a', 'source': {'repo': '/r'}}", REASON_JOB_INVALID,
	 "source.commit: is missing; expected str"},
	{"{'v': 1, 'id': 'a', 'source': {'repo': '/r\\n', 'commit': 'c'}}", REASON_JOB_INVALID,
	 "source.repo: '/r?' is not free of control characters"},
	{"{'v': 1, 'id': 'a', 'source': {'repo': '', 'commit': 'c'}}", REASON_JOB_INVALID,
	 "source.repo: 0 bytes is below the minimum 1"},
	{"{'v': 1, 'id': 'a', 'source': {'repo': '/r', 'commit': 'c', 'subdir': '../x'}}",
	 REASON_JOB_INVALID, "source.subdir: '../x' is not a relative path without '..'"},
	{"{'v': 1, 'id': 'a', 'source': {'repo': '/r', 'commit': 'c', 'subdir': 'a..b/..c'}}",
	 REASON_NONE, NULL},
	{"{'v': 1, 'id': 'a', 'source': {'template': 't'}}", REASON_JOB_UNSUPPORTED,
	 "source.template: is not supported by this version"},
	{"{'v': 1, 'id': 'a', 'source': {'files': {'a': 'b', 'd/e.sh': {'base64': 'AAH/'}}, "
	 "'executable': ['d/e.sh'], 'links': {'l': 'a'}, 'subdir': 'd'}}",
	 REASON_NONE, NULL},
	{"{'v': 1, 'id': 'a', 'source': {'files': {'a': ''}}}", REASON_NONE, NULL},
	{"{'v': 1, 'id': 'a', 'source': {'bundle': 'x', 'commit': 'c', 'subdir': 'd'}}",
	 REASON_NONE, NULL},
	{"{'v': 1, 'id': 'a', 'source': {'bundle': 'x'}}", REASON_JOB_INVALID,
	 "source.commit: is missing; expected str"},
	{"{'v': 1, 'id': 'a', 'source': {'bundle': '', 'commit': 'c'}}", REASON_JOB_INVALID,
	 "source.bundle: 0 bytes is below the minimum 1"},
	{"{'v': 1, 'id': 'a', 'source': {'bundle': 'x', 'repo': '/r', 'commit': 'c'}}",
	 REASON_JOB_INVALID, "source: expected either 'repo' or 'bundle', found both"},
	{"{'v': 1, 'id': 'a', 'source': {'bundle': 'x', 'files': {'a': ''}}}", REASON_JOB_INVALID,
	 "source: expected either 'files', or 'repo' or 'bundle' and 'commit', found both"},
	{"{'v': 1, 'id': 'a', 'source': {'bundle': 'x', 'commit': 'c', 'links': {'a': 'b'}}}",
	 REASON_JOB_INVALID, "source: 'executable' and 'links' go with 'files', found none"},
	{"{'v': 1, 'id': 'a', 'source': {'files': {}}}", REASON_JOB_INVALID,
	 "source.files: 0 items is below the minimum 1"},
	{"{'v': 1, 'id': 'a', 'source': {'files': ['a']}}", REASON_JOB_INVALID,
	 "source.files: expected map str to bin, found list"},
	{"{'v': 1, 'id': 'a', 'source': {'files': {'a': 7}}}", REASON_JOB_INVALID,
	 "source.files.a: expected bin, found int"},
	{"{'v': 1, 'id': 'a', 'source': {'files': {'a': {'base64': '?'}}}}", REASON_JOB_INVALID,
	 "source.files.a: 'base64' does not hold base64 text"},
	{"{'v': 1, 'id': 'a', 'source': {'files': {'': 'x'}}}", REASON_JOB_INVALID,
	 "source.files.: 0 bytes is below the minimum 1"},
	{"{'v': 1, 'id': 'a', 'source': {'files': {'a/../b': 'x'}}}", REASON_JOB_INVALID,
	 "source.files.a/../b: 'a/../b' is not a relative path without '..'"},
	{"{'v': 1, 'id': 'a', 'source': {'files': {'/etc/x': 'x'}}}", REASON_JOB_INVALID,
	 "source.files./etc/x: '/etc/x' is not a relative path without '..'"},
	{"{'v': 1, 'id': 'a', 'source': {'files': {'a': 'b'}, 'repo': '/r', 'commit': 'c'}}",
	 REASON_JOB_INVALID,
	 "source: expected either 'files', or 'repo' or 'bundle' and 'commit', found both"},
	{"{'v': 1, 'id': 'a', 'source': {'files': {'a': 'b'}, 'commit': 'c'}}", REASON_JOB_INVALID,
	 "source: expected either 'files', or 'repo' or 'bundle' and 'commit', found both"},
	{"{'v': 1, 'id': 'a', 'source': {'files': {'a': 'b'}, 'executable': ['b']}}",
	 REASON_JOB_INVALID, "source.executable[0]: 'b' is not among the files"},
	{"{'v': 1, 'id': 'a', 'source': {'files': {'a': 'b'}, 'links': {'a': 'b'}}}",
	 REASON_JOB_INVALID, "source.links: 'a' is among the files too"},
	{"{'v': 1, 'id': 'a', 'source': {'files': {'a': 'b'}, 'links': {'b': ''}}}",
	 REASON_JOB_INVALID, "source.links.b: 0 bytes is below the minimum 1"},
	{"{'v': 1, 'id': 'a', 'source': {'links': {'b': 'c'}}}", REASON_JOB_INVALID,
	 "source: 'executable' and 'links' go with 'files', found none"},
	{"{'v': 1, 'id': 'a', 'source': {'job': 'b', 'at': 'final'}}", REASON_JOB_UNSUPPORTED,
	 "source.job: is not supported by this version"},
	{"{'v': 1, 'id': 'a', 'steps': [{'run': ['true']}]}", REASON_JOB_INVALID,
	 "source: is missing; a job with steps needs one"},
	{"{'v': 1, 'id': 'a', 'patch': {'diff': ''}}", REASON_JOB_INVALID,
	 "source: is missing; a job with a patch needs one"},

	/* patch */
	{HEAD "'patch': {}}", REASON_JOB_INVALID, "patch.diff: is missing; expected bin"},
	{HEAD "'patch': {'diff': 7}}", REASON_JOB_INVALID, "patch.diff: expected bin, found int"},
	{HEAD "'patch': {'diff': {'base64': 'x'}}}", REASON_JOB_INVALID,
	 "patch.diff: 'base64' does not hold base64 text"},
	{HEAD "'patch': {'diff': {'base64': 'YQ=='}}}", REASON_NONE, NULL},
	{HEAD "'patch': {'diff': {'base64': 'YQ==', 'x': 1}}}", REASON_JOB_INVALID, "patch.diff:"},
	{HEAD "'patch': {'diff': '', 'strip': -1}}", REASON_JOB_INVALID,
	 "patch.strip: -1 is below the minimum 0"},
	{HEAD "'patch': {'diff': '', 'strip': 65}}", REASON_JOB_INVALID,
	 "patch.strip: 65 is above the maximum 64"},
	{HEAD "'patch': {'diff': '', 'mode': 'strict'}}", REASON_NONE, NULL},
	{HEAD "'patch': {'diff': '', 'mode': 'recover'}}", REASON_NONE, NULL},
	{HEAD "'patch': {'diff': '', 'mode': 'fuzzy'}}", REASON_JOB_INVALID,
	 "patch.mode: 'fuzzy' is not one of: strict, recover"},

	/* protect */
	{HEAD "'protect': {'paths': 'x'}}", REASON_JOB_INVALID,
	 "protect.paths: expected list of str, found str"},
	{HEAD "'protect': {'paths': ['x', 1]}}", REASON_JOB_INVALID,
	 "protect.paths[1]: expected str, found int"},
	{HEAD "'protect': {'allow': ['/etc/*']}}", REASON_JOB_INVALID,
	 "protect.allow[0]: '/etc/*' is not a relative glob without '..'"},
	{HEAD "'protect': {'restore': ['x/../y']}}", REASON_JOB_INVALID, "protect.restore[0]: "},
	{HEAD "'protect': {'restore': ['']}}", REASON_JOB_INVALID,
	 "protect.restore[0]: 0 bytes is below the minimum 1"},
	{HEAD "'protect': {'paths': [], 'restore': ['tests/**']}}", REASON_NONE, NULL},

	/* steps */
	{HEAD "'steps': {}}", REASON_JOB_INVALID, "steps: expected list of map, found map"},
	{HEAD "'steps': ['true']}", REASON_JOB_INVALID, "steps[0]: expected map, found str"},
	{HEAD "'steps': [null]}", REASON_JOB_INVALID, "steps[0]: expected map, found nil"},
	{HEAD "'steps': [{}]}", REASON_JOB_INVALID,
	 "steps[0]: expected exactly one of 'run' and 'shell', found none"},
	{STEP "'shell': 'true'}]}", REASON_JOB_INVALID,
	 "steps[0]: expected exactly one of 'run' and 'shell', found both"},
	{HEAD "'steps': [{'run': []}]}", REASON_JOB_INVALID,
	 "steps[0].run: 0 items is below the minimum 1"},
	{HEAD "'steps': [{'run': 'make test'}]}", REASON_JOB_INVALID,
	 "steps[0].run: expected list of str, found str"},
	{HEAD "'steps': [{'run': ['']}]}", REASON_JOB_INVALID,
	 "steps[0].run[0]: is empty; expected a program"},
	{HEAD "'steps': [{'run': ['echo', '']}]}", REASON_NONE, NULL},
	{HEAD "'steps': [{'run': ['a\\u0000b']}]}", REASON_JOB_INVALID,
	 "steps[0].run[0]: holds a NUL byte"},
	{HEAD "'steps': [{'shell': ''}]}", REASON_JOB_INVALID,
	 "steps[0].shell: 0 bytes is below the minimum 1"},
	{HEAD "'steps': [{'shell': 'a'}, {'shell': 'b'}, {'shell': 'c', 'timeout_ms': 0}]}",
	 REASON_JOB_INVALID, "steps[2].timeout_ms: 0 is below the minimum 1"},
	{STEP "'timeout_ms': 604800001}]}", REASON_JOB_INVALID,
	 "steps[0].timeout_ms: 604800001 is above the maximum 604800000"},
	{STEP "'timeout_ms': 1.5}]}", REASON_JOB_INVALID,
	 "steps[0].timeout_ms: expected int, found real"},
	{STEP "'expect_exit': 256}]}", REASON_JOB_INVALID,
	 "steps[0].expect_exit: 256 is above the maximum 255"},
	{STEP "'expect_exit': 0}]}", REASON_NONE, NULL},
	{STEP "'always': 1}]}", REASON_JOB_INVALID, "steps[0].always: expected bool, found int"},
	{STEP "'cwd': '/tmp'}]}", REASON_JOB_INVALID,
	 "steps[0].cwd: '/tmp' is not a relative path without '..'"},
	{STEP "'cwd': 'a/..'}]}", REASON_JOB_INVALID, "steps[0].cwd: "},
	{STEP "'cwd': 'a//../b'}]}", REASON_JOB_INVALID, "steps[0].cwd: "},
	{STEP "'cwd': '.'}]}", REASON_NONE, NULL},
	{STEP "'env': {'A-B': 'x'}}]}", REASON_JOB_INVALID,
	 "steps[0].env.A-B: 'A-B' is not a name of A-Za-z0-9_ (no digit first)"},
	{STEP "'env': {'1A': 'x'}}]}", REASON_JOB_INVALID, "steps[0].env.1A: "},
	{STEP "'env': {'A=B': 'x'}}]}", REASON_JOB_INVALID, "steps[0].env.A=B: "},
	{STEP "'env': {'A': 'x\\u0000'}}]}", REASON_JOB_INVALID,
	 "steps[0].env.A: holds a NUL byte"},
	{STEP "'env': {'A': '', '_b9': 'x y'}}]}", REASON_NONE, NULL},
	{STEP "'name': 'a\\u001b[1m'}]}", REASON_JOB_INVALID, "steps[0].name: 'a?[1m' is not"},
	{STEP "'stdin': [1]}]}", REASON_JOB_INVALID, "steps[0].stdin: expected bin, found list"},

	/* tests */
	{HEAD "'tests': {}}", REASON_JOB_INVALID,
	 "tests: expected steps that run them, found none"},
	{STEP "'x': 1}], 'tests': {'format': 'xml'}}", REASON_JOB_INVALID,
	 "tests.format: 'xml' is not one of: auto, junit, tap, exit"},
	{STEP "'x': 1}], 'tests': {'retries': 1}}", REASON_JOB_UNSUPPORTED,
	 "tests.retries: is not supported by this version"},
	{STEP "'x': 1}], 'tests': {'retries': 0, 'format': 'tap'}}", REASON_NONE, NULL},
	{STEP "'x': 1}], 'tests': {'report': ['../x.xml']}}", REASON_JOB_INVALID,
	 "tests.report[0]: '../x.xml' is not a relative glob without '..'"},
	{STEP "'x': 1}], 'tests': {'fail_to_pass': ['']}}", REASON_JOB_INVALID,
	 "tests.fail_to_pass[0]: 0 bytes is below the minimum 1"},

	/* limits */
	{HEAD "'limits': 5}", REASON_JOB_INVALID, "limits: expected map, found int"},
	{HEAD "'limits': {'preset': 'default'}}", REASON_NONE, NULL},
	{HEAD "'limits': {'preset': 'large'}}", REASON_NONE, NULL},
	{HEAD "'limits': {'preset': 'a b'}}", REASON_JOB_INVALID,
	 "limits.preset: 'a b' is not 1-64"},
	{HEAD "'limits': {'wall_ms': 0}}", REASON_JOB_INVALID,
	 "limits.wall_ms: 0 is below the minimum 1"},
	{HEAD "'limits': {'memory_bytes': -5}}", REASON_JOB_INVALID,
	 "limits.memory_bytes: -5 is below the minimum 1"},
	{HEAD "'limits': {'cpus': 0}}", REASON_JOB_INVALID,
	 "limits.cpus: 0 is below the minimum 0.001"},
	{HEAD "'limits': {'cpus': 1024.001}}", REASON_JOB_INVALID,
	 "limits.cpus: 1024 is above the maximum 1024"},
	{HEAD "'limits': {'cpus': 1e300}}", REASON_JOB_INVALID, "limits.cpus: 1e+300 is above"},
	{HEAD "'limits': {'cpus': '2'}}", REASON_JOB_INVALID,
	 "limits.cpus: expected number, found str"},

	/* what this version does not build */
	{HEAD "'code': {'language': 'python'}}", REASON_JOB_UNSUPPORTED,
	 "code: is not supported by this version"},
	{HEAD "'code': {}, 'cost': null}", REASON_NONE, NULL},
	{HEAD "'cost': {'budget': {}}}", REASON_JOB_UNSUPPORTED,
	 "cost: is not supported by this version"},
	{HEAD "'cache': 'off', 'security': 'auto', 'network': {'policy': 'none', 'allow': []}}",
	 REASON_NONE, NULL},
	{HEAD "'security': 'sandboxed'}", REASON_NONE, NULL},
	{HEAD "'security': 'trusted'}", REASON_NONE, NULL},
	{HEAD "'security': 'isolated'}", REASON_NONE, NULL},
	{HEAD "'security': 'off'}", REASON_JOB_INVALID,
	 "security: 'off' is not one of: auto, sandboxed, trusted, isolated"},
	{HEAD "'cache': 'use'}", REASON_JOB_UNSUPPORTED, "cache: 'use' is not supported"},
	{HEAD "'cache': 'on'}", REASON_JOB_INVALID, "cache: 'on' is not one of: off, use, refresh"},
	{HEAD "'network': {'policy': 'internet'}}", REASON_JOB_UNSUPPORTED,
	 "network.policy: 'internet' is not supported by this version, only: none"},
	{HEAD "'network': {'policy': 'ours'}}", REASON_JOB_UNSUPPORTED, "network.policy: 'ours'"},
	{HEAD "'network': {'policy': 5}}", REASON_JOB_INVALID,
	 "network.policy: expected str, found int"},
	{HEAD "'network': {'allow': ['a']}}", REASON_JOB_UNSUPPORTED,
	 "network.allow: is not supported by this version"},
	{HEAD "'artifacts': {'tree': true}}", REASON_JOB_UNSUPPORTED,
	 "artifacts.tree: is not supported by this version"},
	{HEAD "'artifacts': {'tree': false, 'paths': ['build/*.xml']}}", REASON_NONE, NULL},
	{HEAD "'artifacts': {'paths': ['/etc/passwd']}}", REASON_JOB_INVALID,
	 "artifacts.paths[0]: "},
	{HEAD "'artifacts': {'max_bytes': 0}}", REASON_JOB_INVALID,
	 "artifacts.max_bytes: 0 is below the minimum 1"},

	/* the queue's side */
	{HEAD "'on_failure': 'keep'}", REASON_NONE, NULL},
	{HEAD "'on_failure': 'explode'}", REASON_JOB_INVALID,
	 "on_failure: 'explode' is not one of: rollback, keep"},
	{HEAD "'priority': 'urgent'}", REASON_JOB_INVALID,
	 "priority: 'urgent' is not one of: normal, high, low"},
	{HEAD "'priority': 1}", REASON_JOB_INVALID, "priority: expected str, found int"},
	{HEAD "'deadline_ms': 0}", REASON_JOB_INVALID, "deadline_ms: 0 is below the minimum 1"},
	{HEAD "'max_attempts': 0}", REASON_JOB_INVALID, "max_attempts: 0 is below the minimum 1"},
	{HEAD "'max_attempts': 101}", REASON_JOB_INVALID,
	 "max_attempts: 101 is above the maximum 100"},
	{HEAD "'run': 0}", REASON_JOB_INVALID, "run: 0 is below the minimum 1"},
	{HEAD "'replayed_from': 'a.1'}", REASON_NONE, NULL},
};

static void each_rule_names_field_and_expectation(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct arena arena;
		struct bytes message;
		struct reason reason = {0};
		struct err err = {0};
		struct job job = {0};
		int r;

		kit_arena(&arena);
		message = kit_message(&arena, rows[i].job);
		r = job_decode(&arena, message.data, message.len, &job, &reason, &err);
		if (r != (rows[i].code == REASON_NONE ? 0 : REFUSED) || reason.code != rows[i].code)
			fail_msg("%s: %d %s", rows[i].job, r, reason.message);
		if (r == REFUSED &&
		    strncmp(reason.message, rows[i].message, strlen(rows[i].message)) != 0)
			fail_msg("%s: %s", rows[i].job, reason.message);
		/* The subject is the path alone. */
		if (r == REFUSED &&
		    strncmp(reason.message, reason.subject, strlen(reason.subject)) != 0)
			fail_msg("%s: subject %s", rows[i].job, reason.subject);
		if (r == REFUSED)
			assert_null(job.id);
		arena_release(&arena);
	}
}

/* `count` times `item`, with a number for its '#'. */
static char *repeat(struct arena *arena, const char *before, const char *item, size_t count,
		    const char *after)
{
	struct buf out;
	char *text;

	buf_init(&out, LIMIT_JSON_BYTES);
	buf_add_text(&out, before);
	for (size_t i = 0; i < count; i++) {
		buf_add_text(&out, i == 0 ? "" : ",");
		buf_add(&out, item, (size_t)(strchr(item, '#') - item));
		buf_printf(&out, "%zu%s", i, strchr(item, '#') + 1);
	}
	buf_add_text(&out, after);
	text = arena_strdup(arena, buf_text(&out));
	buf_release(&out);
	return text;
}

static void lists_are_bounded(void **state)
{
	static const struct {
		const char *before;
		const char *item;
		const char *after;
		size_t max;
		const char *message;
	} lists[] = {
		{HEAD "'steps': [", "{'run': ['#']}", "]}", LIMIT_STEPS,
		 "steps: 65 items is above the maximum 64"},
		{HEAD "'steps': [{'run': [", "'#'", "]}]}", LIMIT_ARGV,
		 "steps[0].run: 1025 items is above the maximum 1024"},
		{STEP "'env': {", "'E#': ''", "}}]}", LIMIT_ENV,
		 "steps[0].env: 257 items is above the maximum 256"},
		{HEAD "'labels': {", "'l#': ''", "}}", LIMIT_LABELS,
		 "labels: 65 items is above the maximum 64"},
		{HEAD "'protect': {'paths': [", "'p#'", "]}}", LIMIT_GLOBS,
		 "protect.paths: 257 items is above the maximum 256"},
		{STEP "'x': 1}], 'tests': {'pass_to_pass': [", "'t#'", "]}}", LIMIT_TEST_IDS,
		 "tests.pass_to_pass: 20001 items is above the maximum 20000"},
		{"{'v': 1, 'id': 'a', 'source': {'files': {", "'d/f#': ''", "}}}", LIMIT_FILES,
		 "source.files: 2001 items is above the maximum 2000"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		struct arena arena;
		struct reason reason = {0};
		struct job job;
		struct value *tree;

		arena_init(&arena, (size_t)2 * LIMIT_ARENA_BYTES);
		tree = kit_tree(&arena, repeat(&arena, lists[i].before, lists[i].item, lists[i].max,
					       lists[i].after));
		if (job_from_value(&arena, tree, &job, &reason, NULL) != 0)
			fail_msg("%s", reason.message);
		tree = kit_tree(&arena, repeat(&arena, lists[i].before, lists[i].item,
					       lists[i].max + 1, lists[i].after));
		assert_int_equal(job_from_value(&arena, tree, &job, &reason, NULL), REFUSED);
		assert_string_equal(reason.message, lists[i].message);
		arena_release(&arena);
	}
}

static void argv_and_env_are_bounded_as_a_whole(void **state)
{
	static const char *const parts[][2] = {
		{HEAD "'steps': [{'run': ['true','", "']}]}"},
		{STEP "'env': {'A': '", "'}}]}"},
		{HEAD "'steps': [{'shell': '", "'}]}"},
	};
	/* "true" and two NULs; "A=" and a NUL; a NUL */
	static const size_t room[] = {LIMIT_ARGV_BYTES - 6, LIMIT_ENV_BYTES - 3,
				      LIMIT_ARGV_BYTES - 1};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		for (size_t more = 0; more < 2; more++) {
			struct arena arena;
			struct reason reason = {0};
			struct job job;
			char *long_text;
			const char *text;

			kit_arena(&arena);
			long_text = arena_alloc(&arena, room[i] + more + 1);
			assert_non_null(long_text);
			(void)memset(long_text, 'x', room[i] + more);
			text = arena_printf(&arena, "%s%s%s", parts[i][0], long_text, parts[i][1]);
			assert_int_equal(
				job_from_value(&arena, kit_tree(&arena, text), &job, &reason, NULL),
				more == 0 ? 0 : REFUSED);
			arena_release(&arena);
		}
	}
}

static void files_are_bounded_as_a_whole(void **state)
{
	(void)state;
	for (size_t more = 0; more < 2; more++) {
		struct arena arena;
		struct reason reason = {0};
		struct job job;
		char *half;
		const char *text;

		kit_arena(&arena);
		half = arena_alloc(&arena, LIMIT_FILES_BYTES / 2 + 1);
		assert_non_null(half);
		(void)memset(half, 'x', LIMIT_FILES_BYTES / 2);
		text = arena_printf(&arena,
				    "{'v': 1, 'id': 'a', 'source': {'files': "
				    "{'a': '%s', 'b': '%s%s'}}}",
				    half, half, more == 0 ? "" : "x");
		assert_non_null(text);
		assert_int_equal(
			job_from_value(&arena, kit_tree(&arena, text), &job, &reason, NULL),
			more == 0 ? 0 : REFUSED);
		if (more == 1)
			assert_string_equal(
				reason.message,
				"source.files: 6291457 bytes is above the maximum 6291456");
		arena_release(&arena);
	}
}

/* --- content ---------------------------------------------------------- */

static void absent_fields_have_defaults(void **state)
{
	struct arena arena;
	struct reason reason = {0};
	struct job job;

	(void)state;
	kit_arena(&arena);
	assert_int_equal(job_from_value(&arena,
					kit_tree(&arena, HEAD "'steps': [{'run': ['a']}, "
							      "{'shell': 'b', 'name': 'n'}]}"),
					&job, &reason, NULL),
			 0);
	assert_string_equal(job.tenant, "default");
	assert_null(job.stage);
	assert_false(job.patch.present);
	assert_string_equal(job.patch.mode, "strict");
	assert_int_equal(job.patch.strip, 1);
	assert_int_equal(job.steps_len, 2);
	assert_string_equal(job.steps[0].name, "step-1");
	assert_string_equal(job.steps[0].run.items[0], "a");
	assert_null(job.steps[0].run.items[1]);
	assert_null(job.steps[0].shell);
	assert_string_equal(job.steps[1].name, "n");
	assert_int_equal(job.steps[1].expect_exit, 0);
	assert_false(job.tests.present);
	assert_string_equal(job.tests.format, "auto");
	assert_string_equal(job.limits.preset, "default");
	assert_int_equal(job.limits.millicpus, 0);
	assert_int_equal(job.max_attempts, 5);
	assert_int_equal(job.run, 1);
	assert_int_equal(job.priority, PRIORITY_NORMAL);
	assert_false(job.keep_on_failure);
	arena_release(&arena);
}

static const char full[] =
	"{'v':1,'id':'a.b-1','tenant':'t','stage':'s','labels':{'k':'v','l':''},"
	"'source':{'repo':'https://h/r','commit':'main','subdir':'d/e'},"
	"'patch':{'diff':{'base64':'/w=='},'strip':0},"
	"'protect':{'paths':['a'],'allow':['b'],'restore':['c/**']},"
	"'steps':[{'name':'n','run':['a','b'],'cwd':'x','env':{'A':'1'},'stdin':'i',"
	"'timeout_ms':5,'expect_exit':3,'always':true},{'shell':'true'}],"
	"'tests':{'format':'tap','report':['r'],'fail_to_pass':['f'],'pass_to_pass':['p']},"
	"'limits':{'wall_ms':1,'cpu_ms':2,'idle_ms':3,'memory_bytes':4,'disk_bytes':5,"
	"'inodes':6,'processes':7,'open_files':8,'file_bytes':9,'output_bytes':10,'cpus':1.5},"
	"'artifacts':{'paths':['o'],'max_bytes':11},'on_failure':'keep','deadline_ms':12,"
	"'priority':'low','max_attempts':13,'run':14,'replayed_from':'q','traceparent':'00'}";

static void every_field_arrives(void **state)
{
	struct arena arena;
	struct reason reason = {0};
	struct job job;

	(void)state;
	kit_arena(&arena);
	if (job_from_value(&arena, kit_tree(&arena, full), &job, &reason, NULL) != 0)
		fail_msg("%s", reason.message);
	assert_string_equal(job.labels.items[0].value, "v");
	assert_string_equal(job.source.subdir, "d/e");
	assert_true(job.patch.present);
	assert_int_equal(job.patch.diff.len, 1);
	assert_int_equal(job.patch.diff.data[0], 0xff);
	assert_int_equal(job.patch.strip, 0);
	assert_string_equal(job.protect.restore.items[0], "c/**");
	assert_string_equal(job.steps[0].env.items[0].key, "A");
	assert_int_equal(job.steps[0].stdin_bytes.len, 1);
	assert_int_equal(job.steps[0].expect_exit, 3);
	assert_true(job.steps[0].always);
	assert_string_equal(job.steps[1].name, "step-2");
	assert_string_equal(job.steps[1].shell, "true");
	assert_true(job.tests.present);
	assert_string_equal(job.tests.pass_to_pass.items[0], "p");
	assert_int_equal(job.limits.output_bytes, 10);
	assert_int_equal(job.limits.millicpus, 1500);
	assert_int_equal(job.artifacts.max_bytes, 11);
	assert_true(job.keep_on_failure);
	assert_int_equal(job.deadline_ms, 12);
	assert_int_equal(job.priority, PRIORITY_LOW);
	assert_string_equal(job_priority_name(job.priority), "low");
	assert_int_equal(job.run, 14);
	assert_string_equal(job.replayed_from, "q");
	arena_release(&arena);
}

static const char with_files[] =
	"{'v':1,'id':'a','source':{'files':{'a':{'base64':'/w=='},'d/b':'x'},"
	"'executable':['d/b'],'links':{'l':'d/b'}}}";

static void files_arrive(void **state)
{
	struct arena arena;
	struct reason reason = {0};
	struct job job;

	(void)state;
	kit_arena(&arena);
	if (job_from_value(&arena, kit_tree(&arena, with_files), &job, &reason, NULL) != 0)
		fail_msg("%s", reason.message);
	assert_true(job_has_source(&job));
	assert_null(job.source.repo);
	assert_int_equal(job.source.files.len, 2);
	assert_string_equal(job.source.files.items[0].path, "a");
	assert_int_equal(job.source.files.items[0].content.data[0], 0xff);
	assert_string_equal(job.source.files.items[1].path, "d/b");
	assert_string_equal(job.source.executable.items[0], "d/b");
	assert_string_equal(job.source.links.items[0].value, "d/b");
	arena_release(&arena);
}

/* Out and in again: the same tree, and nothing in it that is a default. */
static void jobs_come_back_as_they_were(void **state)
{
	static const char *const jobs[] = {
		full,
		with_files,
		"{'v':1,'id':'a'}",
		"{'v':1,'id':'a','source':{'repo':'/r','commit':'c'},'patch':{'diff':''},"
		"'steps':[{'shell':'x'}],'tests':{},'limits':{'cpus':2},'priority':'high'}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
		struct arena arena;
		struct reason reason = {0};
		struct job job;
		struct value *tree;
		struct buf out;
		char *expected;

		kit_arena(&arena);
		if (job_from_value(&arena, kit_tree(&arena, jobs[i]), &job, &reason, NULL) != 0)
			fail_msg("%s", reason.message);
		tree = job_to_value(&arena, &job);
		assert_non_null(tree);
		buf_init(&out, LIMIT_JSON_BYTES);
		value_to_json(tree, 0, &out);
		expected = arena_strdup(&arena, jobs[i]);
		for (char *at = expected; *at != '\0'; at++)
			*at = *at == '\'' ? '"' : *at;
		assert_string_equal(buf_text(&out), expected);
		buf_release(&out);
		arena_release(&arena);
	}
}

/* --- memory ----------------------------------------------------------- */

/* Whatever bound the arena has: a fault of the host, never a wrong job. */
static void exhaustion_is_a_fault(void **state)
{
	struct arena arena;
	struct bytes message;
	size_t limit = 0;
	int r;

	(void)state;
	kit_arena(&arena);
	message = kit_message(&arena, full);
	do {
		struct arena small;
		struct err err = {0};
		struct reason reason = {0};
		struct job job = {0};

		arena_init(&small, limit++);
		r = job_decode(&small, message.data, message.len, &job, &reason, &err);
		if (r == REFUSED)
			fail_msg("bound %zu: %s", limit, reason.message);
		if (r < 0) {
			assert_int_equal(err.kind, ERR_LIMIT);
			assert_null(job.id);
		}
		arena_release(&small);
	} while (r < 0);
	assert_in_range(limit, 1000, 20000);
	arena_release(&arena);
}

static void encoding_exhausts_cleanly(void **state)
{
	struct arena arena;
	struct reason reason;
	struct job job;
	struct value *tree;
	size_t limit = 0;

	(void)state;
	kit_arena(&arena);
	assert_int_equal(job_from_value(&arena, kit_tree(&arena, full), &job, &reason, NULL), 0);
	do {
		struct arena small;

		arena_init(&small, limit);
		limit += 8;
		tree = job_to_value(&small, &job);
		arena_release(&small);
	} while (tree == NULL);
	assert_in_range(limit, 1000, 20000);
	arena_release(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_rule_names_field_and_expectation),
		cmocka_unit_test(lists_are_bounded),
		cmocka_unit_test(argv_and_env_are_bounded_as_a_whole),
		cmocka_unit_test(files_are_bounded_as_a_whole),
		cmocka_unit_test(files_arrive),
		cmocka_unit_test(absent_fields_have_defaults),
		cmocka_unit_test(every_field_arrives),
		cmocka_unit_test(jobs_come_back_as_they_were),
		cmocka_unit_test(exhaustion_is_a_fault),
		cmocka_unit_test(encoding_exhausts_cleanly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
