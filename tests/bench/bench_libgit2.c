/*
 * bench_libgit2.c - the peer that sbx-patch is measured against: libgit2's own
 * parser and git_apply_to_tree, warm and in one process. It is no part of sbx.
 *
 *	bench_libgit2 REPO
 *
 * reads lines "COMMIT FILE", applies the diff of the file to the commit's tree,
 * and answers each with a line of JSON: the tree, or why there is none. New
 * objects stay in memory (a mempack), as those of sbx-patch do. Some valid
 * diffs make this library free what it never allocated: the caller starts the
 * program again.
 */
#include <git2.h>
#include <git2/sys/mempack.h>
#include <git2/sys/odb_backend.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "base/fd.h"

enum { DIFF_BYTES_MAX = 64 << 20, LINE_BYTES_MAX = 8192, MEMPACK_PRIORITY = 999 };

struct peer {
	git_repository *repo;
	git_odb_backend *memory;
};

static NORETURN void fail(const char *what)
{
	const git_error *last = git_error_last();

	(void)fprintf(stderr, "bench_libgit2: %s: %s\n", what,
		      last == NULL ? "failed" : last->message);
	exit(1);
}

static void open_all(struct peer *peer, const char *path)
{
	git_odb *odb = NULL;

	if (git_libgit2_init() < 0 || git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0) < 0 ||
	    git_repository_open(&peer->repo, path) < 0 ||
	    git_repository_odb(&odb, peer->repo) < 0 || git_mempack_new(&peer->memory) < 0 ||
	    git_odb_add_backend(odb, peer->memory, MEMPACK_PRIORITY) < 0)
		fail("open");
	git_odb_free(odb);
}

static int apply(struct peer *peer, const char *commit_hex, struct bytes text, git_oid *ret)
{
	git_commit *commit = NULL;
	git_index *index = NULL;
	git_tree *tree = NULL;
	git_diff *diff = NULL;
	git_oid oid;
	int code = git_oid_fromstr(&oid, commit_hex);

	if (code == 0)
		code = git_diff_from_buffer(&diff, (const char *)text.data, text.len);
	if (code == 0)
		code = git_commit_lookup(&commit, peer->repo, &oid);
	if (code == 0)
		code = git_commit_tree(&tree, commit);
	if (code == 0)
		code = git_apply_to_tree(&index, peer->repo, tree, diff, NULL);
	if (code == 0)
		code = git_index_write_tree_to(ret, index, peer->repo);
	git_index_free(index);
	git_diff_free(diff);
	git_tree_free(tree);
	git_commit_free(commit);
	return code;
}

static void answer(struct peer *peer, char *line)
{
	char *path = strchr(line, ' ');
	struct buf text;
	struct err err = {0};
	char hex[GIT_OID_HEXSZ + 1];
	git_oid oid;

	if (path == NULL)
		fail("a line is COMMIT FILE");
	*path++ = '\0';
	buf_init(&text, DIFF_BYTES_MAX);
	if (fd_read_file(path, DIFF_BYTES_MAX, &text, &err) < 0)
		fail(err.message);
	if (apply(peer, line, buf_bytes(&text), &oid) == 0)
		(void)printf("{\"tree\": \"%s\"}\n", git_oid_tostr(hex, sizeof(hex), &oid));
	else
		(void)printf("{\"refused\": true}\n");
	(void)fflush(stdout);
	buf_release(&text);
	(void)git_mempack_reset(peer->memory);
}

int main(int argc, char **argv)
{
	static char line[LINE_BYTES_MAX];
	struct peer peer = {0};

	if (argc != 2)
		fail("usage: bench_libgit2 REPO");
	open_all(&peer, argv[1]);
	while (fgets(line, sizeof(line), stdin) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		answer(&peer, line);
	}
	git_repository_free(peer.repo);
	(void)git_libgit2_shutdown();
	return 0;
}
