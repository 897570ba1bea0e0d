/*
 * sbx-patch - the patch engine by hand: what a worker would say about a diff,
 * without queue, sandbox or working tree.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "schema/limits.h"
#include "worker/patch_batch.h"
#include "worker/patch_print.h"

enum { EXIT_OK = 0, EXIT_USAGE = 2, EXIT_REJECTED = 3, EXIT_ERROR = 6 };
enum { MAIN_ARENA_BYTES = 1 << 30, GLOBS_MAX = 256 };

static const char help[] =
	"Usage: sbx-patch check|apply|stat|show|guard [OPTION]... [DIFF]\n"
	"       sbx-patch guard --list [--json]\n"
	"       sbx-patch --batch [OPTION]...\n"
	"Judge and apply a diff on git objects, as a worker does. DIFF is a file; '-' or\n"
	"nothing reads standard input.\n"
	"\n"
	"  check   apply in memory, print the verdict and the tree that would result\n"
	"  apply   the same, and write the objects into the repository\n"
	"  stat    lines added and deleted in each file\n"
	"  show    what the diff says, file by file and hunk by hunk\n"
	"  guard   which protection each file of the diff has; --list shows all rules\n"
	"\n"
	"      --repo PATH        the repository (default '.')\n"
	"      --commit COMMIT    oid or ref name of the base (default HEAD); HEAD~2 works\n"
	"      --strip N          leading path components to take off (default 1)\n"
	"      --mode MODE        strict (default), or recover: mend a damaged diff where\n"
	"                         only one reading and one place are possible\n"
	"      --ref NAME         apply: make a commit and set this ref to it\n"
	"      --protect GLOB     protect these files too; may be repeated\n"
	"      --allow GLOB       lift the default protection of these; may be repeated\n"
	"      --no-protect       without the default list of protected files\n"
	"      --no-gitlinks      refuse changes of submodule entries, as a worker does\n"
	"      --json             answer in JSON\n"
	"      --batch            read lines {id, repo, commit, strip, mode, diff_base64},\n"
	"                         answer each with {id, ok, tree, reason, adjusted}\n"
	"  -h, --help             this text\n"
	"      --version          the version\n"
	"\n"
	"Exit status: 0 the diff applies, 2 usage, 3 the diff is refused, 6 error (the\n"
	"repository or the diff cannot be read). --batch: 0 unless its input or output fails.\n";

struct options {
	const char *command;
	const char *repo;
	const char *commit;
	const char *ref;
	const char *diff_path;
	struct patch_policy policy;
	const char *protect[GLOBS_MAX];
	const char *allow[GLOBS_MAX];
	bool json;
	bool batch;
	bool list;
};

/* --- options ---------------------------------------------------------------- */

enum {
	OPT_REPO = 256,
	OPT_COMMIT,
	OPT_STRIP,
	OPT_MODE,
	OPT_REF,
	OPT_PROTECT,
	OPT_ALLOW,
	OPT_NO_PROTECT,
	OPT_NO_GITLINKS,
	OPT_JSON,
	OPT_BATCH,
	OPT_LIST,
	OPT_VERSION
};

static const struct option long_options[] = {
	{"repo", required_argument, NULL, OPT_REPO},
	{"commit", required_argument, NULL, OPT_COMMIT},
	{"strip", required_argument, NULL, OPT_STRIP},
	{"mode", required_argument, NULL, OPT_MODE},
	{"ref", required_argument, NULL, OPT_REF},
	{"protect", required_argument, NULL, OPT_PROTECT},
	{"allow", required_argument, NULL, OPT_ALLOW},
	{"no-protect", no_argument, NULL, OPT_NO_PROTECT},
	{"no-gitlinks", no_argument, NULL, OPT_NO_GITLINKS},
	{"json", no_argument, NULL, OPT_JSON},
	{"batch", no_argument, NULL, OPT_BATCH},
	{"list", no_argument, NULL, OPT_LIST},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static int usage(const char *message, const char *value)
{
	(void)fprintf(stderr, "sbx-patch: %s%s%s%s\nTry 'sbx-patch --help'.\n", message,
		      value == NULL ? "" : " '", value == NULL ? "" : value,
		      value == NULL ? "" : "'");
	return EXIT_USAGE;
}

static int add_glob(struct text_list *list, const char **items)
{
	if (list->len == GLOBS_MAX)
		return usage("too many globs, the last is", optarg);
	items[list->len++] = optarg;
	list->items = items;
	return -1;
}

static int parse_mode(struct options *options)
{
	options->policy.recover = strcmp(optarg, "recover") == 0;
	if (!options->policy.recover && strcmp(optarg, "strict") != 0)
		return usage("unknown mode", optarg);
	return -1;
}

static int parse_strip(struct options *options)
{
	int64_t strip;

	if (!text_parse_int(optarg, &strip) || strip < 0 || strip > LIMIT_PATH_DEPTH)
		return usage("--strip: expected a number from 0 to 64, not", optarg);
	options->policy.strip = (unsigned)strip;
	return -1;
}

/* The options that are one word or switch; -1 to go on, else an exit code. */
static int parse_simple(struct options *options, int option)
{
	switch (option) {
	case OPT_NO_PROTECT:
		options->policy.unprotected = true;
		return -1;
	case OPT_NO_GITLINKS:
		options->policy.gitlinks = false;
		return -1;
	case OPT_JSON:
		options->json = true;
		return -1;
	case OPT_BATCH:
		options->batch = true;
		return -1;
	case OPT_LIST:
		options->list = true;
		return -1;
	case OPT_VERSION:
		(void)puts("sbx-patch " SBX_VERSION);
		return EXIT_OK;
	case 'h':
		(void)fputs(help, stdout);
		return EXIT_OK;
	default:
		(void)fputs("Try 'sbx-patch --help'.\n", stderr);
		return EXIT_USAGE;
	}
}

static int parse_option(struct options *options, int option)
{
	switch (option) {
	case OPT_REPO:
		options->repo = optarg;
		return -1;
	case OPT_COMMIT:
		options->commit = optarg;
		return -1;
	case OPT_STRIP:
		return parse_strip(options);
	case OPT_MODE:
		return parse_mode(options);
	case OPT_REF:
		options->ref = optarg;
		return -1;
	case OPT_PROTECT:
		return add_glob(&options->policy.protect, options->protect);
	case OPT_ALLOW:
		return add_glob(&options->policy.allow, options->allow);
	default:
		return parse_simple(options, option);
	}
}

static int parse_arguments(struct options *options, int argc, char **argv)
{
	static const char *const commands[] = {"check", "apply", "stat", "show", "guard"};
	int option;

	while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
		int code = parse_option(options, option);

		if (code >= 0)
			return code;
	}
	if (options->batch)
		return optind == argc ? -1 : usage("--batch takes no argument", argv[optind]);
	if (optind == argc)
		return usage("which command? check, apply, stat, show or guard", NULL);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (strcmp(argv[optind], commands[i]) == 0)
			options->command = commands[i];
	}
	if (options->command == NULL)
		return usage("unknown command", argv[optind]);
	if (options->ref != NULL && strcmp(options->command, "apply") != 0)
		return usage("--ref belongs to apply", NULL);
	if (argc - optind > 2)
		return usage("one diff at a time, not", argv[optind + 2]);
	options->diff_path = argc - optind == 2 ? argv[optind + 1] : "-";
	return -1;
}

/* --- commands ------------------------------------------------------------------ */

static int fault(const char *context, const struct err *err)
{
	(void)fprintf(stderr, "sbx-patch: %s%s\n", context, err->message);
	return EXIT_ERROR;
}

static int print(const struct buf *text)
{
	if (text->failed || fwrite(buf_text(text), 1, text->len, stdout) != text->len ||
	    fflush(stdout) != 0) {
		(void)fputs("sbx-patch: cannot write the answer\n", stderr);
		return EXIT_ERROR;
	}
	return EXIT_OK;
}

static int read_diff(const char *path, struct buf *out, struct err *err)
{
	if (strcmp(path, "-") == 0)
		return fd_read_all(STDIN_FILENO, out, err);
	return fd_read_file(path, out->limit_bytes, out, err);
}

/* With --ref: a commit on top of the base, and the ref. */
static int make_commit(const struct options *options, struct gitdb *db, const struct oid *base,
		       const struct oid *tree, struct oid *ret, struct err *err)
{
	if (gitdb_commit_write(db, tree, base, "sbx-patch apply\n", time(NULL), ret, err) < 0)
		return -1;
	return gitdb_ref_set(db, options->ref, ret, err);
}

/* check and apply. */
static int judge(const struct options *options, struct arena *arena, struct patch_report *report,
		 struct err *err)
{
	bool writes = strcmp(options->command, "apply") == 0;
	struct oid commit, tree;
	struct gitdb *db;
	int code;

	if (gitdb_open(options->repo, writes ? GITDB_WRITE : GITDB_QUARANTINE, &db, err) < 0)
		return -1;
	code = gitdb_resolve_ancestor(db, options->commit, &commit, err);
	if (code == 0)
		code = gitdb_commit_tree(db, &commit, &tree, err);
	if (code == 0)
		code = patch_apply(arena, db, &tree, report->diff, &options->policy,
				   &report->outcome, &report->reason, err);
	if (code == 0 && options->ref != NULL) {
		code = make_commit(options, db, &commit, &report->outcome.tree, &report->commit,
				   err);
		report->has_commit = code == 0;
	}
	gitdb_close(db);
	return code;
}

/* stat, show and guard: what the diff says by itself. */
static int parse(const struct options *options, struct arena *arena, struct patch_report *report,
		 struct err *err)
{
	struct diff_limits limits = {.files = LIMIT_DIFF_FILES, .hunks = LIMIT_DIFF_HUNKS};

	return diff_parse(arena, report->diff, options->policy.strip, &limits, &report->parsed,
			  &report->reason, err);
}

static int run_command(const struct options *options, struct arena *arena,
		       struct patch_report *report, struct buf *out)
{
	bool judges =
		strcmp(options->command, "check") == 0 || strcmp(options->command, "apply") == 0;
	struct err err = {0};
	int code =
		judges ? judge(options, arena, report, &err) : parse(options, arena, report, &err);

	if (code < 0)
		return fault("", &err);
	report->refused = code == REFUSED;
	if (options->json)
		patch_print_json(arena, report, options->command, out);
	else
		patch_print(report, options->command, out);
	if (print(out) != EXIT_OK)
		return EXIT_ERROR;
	return code == REFUSED ? EXIT_REJECTED : EXIT_OK;
}

static int run_with_diff(const struct options *options)
{
	struct patch_report report = {.name = options->diff_path};
	struct arena arena;
	struct buf diff, out;
	struct err err = {0};
	int code;

	arena_init(&arena, MAIN_ARENA_BYTES);
	buf_init(&diff, LIMIT_DIFF_BYTES + 1);
	buf_init(&out, 64 << 20);
	if (read_diff(options->diff_path, &diff, &err) < 0 && err.kind != ERR_LIMIT) {
		code = fault("cannot read the diff: ", &err);
	} else {
		report.refused =
			err.kind == ERR_LIMIT &&
			reason_set(&report.reason, REASON_PATCH_TOO_LARGE, NULL,
				   "the diff has more than %u bytes", LIMIT_DIFF_BYTES) == REFUSED;
		report.diff = (struct bytes){(const uint8_t *)buf_text(&diff), diff.len};
		code = run_command(options, &arena, &report, &out);
	}
	buf_release(&out);
	buf_release(&diff);
	arena_release(&arena);
	return code;
}

static int list_rules(const struct options *options)
{
	struct arena arena;
	struct buf out;
	int code;

	arena_init(&arena, MAIN_ARENA_BYTES);
	buf_init(&out, 1 << 20);
	patch_print_rules(&arena, options->json, &out);
	code = print(&out);
	buf_release(&out);
	arena_release(&arena);
	return code;
}

int main(int argc, char **argv)
{
	struct options options = {
		.repo = ".",
		.commit = "HEAD",
		.policy = {.strip = 1, .gitlinks = true},
	};
	struct err err = {0};
	const char *permitted[] = {"**", NULL};
	int code = parse_arguments(&options, argc, argv);

	if (code >= 0)
		return code;
	/* Whoever calls this program is the operator. */
	options.policy.allow_permitted = permitted;
	if (gitdb_library_init(&err) < 0)
		return fault("", &err);
	if (options.batch)
		return patch_batch(stdin, stdout, &options.policy, &err) < 0 ? fault("", &err)
									     : EXIT_OK;
	if (options.list)
		return list_rules(&options);
	return run_with_diff(&options);
}
