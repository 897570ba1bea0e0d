/*
 * gitdb_bundle.c - a source that is one file: a bundle of git, that is a list
 * of refs and a pack (gitformat-bundle(5)).
 *
 *	# v2 git bundle
 *	[@object-format=sha1]		v3 only, and the only capability we know
 *	[-<oid> <comment>]		what the pack needs to be there: refused
 *	<oid> <ref>
 *
 *	PACK...
 *
 * The pack goes to libgit2's indexer, which hashes every object; the commit is
 * checked by the caller like any other.
 */
#include "snapshots/gitdb_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

enum { HEADER_BYTES_MAX = 4 << 20, CHUNK_BYTES = 1 << 16 };

static const char *const versions[] = {"# v2 git bundle\n", "# v3 git bundle\n"};

/* --- the file ---------------------------------------------------------- */

bool gitdb_is_bundle(const char *path)
{
	CLEANUP(fd_cleanup) int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	char start[16];
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    read(fd, start, sizeof(start)) != (ssize_t)sizeof(start))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
		if (memcmp(start, versions[i], sizeof(start)) == 0)
			return true;
	}
	return false;
}

static int open_bundle(const char *path, int64_t max_bytes, int *ret_fd, struct err *err)
{
	CLEANUP(fd_cleanup) int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(err, "cannot open bundle '%s'", path);
	if (st.st_size > max_bytes)
		return err_set(err, ERR_LIMIT, "bundle '%s' has more than %lld bytes", path,
			       (long long)max_bytes);
	*ret_fd = fd_take(&fd);
	return 0;
}

/* Reads up to the empty line; `fd` then stands at the pack. */
static int read_header(int fd, struct buf *out, struct err *err)
{
	off_t at = 0;

	buf_init(out, HEADER_BYTES_MAX);
	for (;;) {
		uint8_t *room = buf_reserve(out, CHUNK_BYTES);
		ssize_t len = room == NULL ? -1 : read(fd, room, CHUNK_BYTES);
		uint8_t *end;

		if (room == NULL)
			return err_set(err, ERR_INPUT, "its list of refs is too long");
		if (len < 0)
			return err_sys(err, "cannot read bundle");
		if (len == 0)
			return err_set(err, ERR_INPUT, "it is cut off");
		buf_commit(out, (size_t)len);
		end = memmem(out->data, out->len, "\n\n", 2);
		if (end == NULL)
			continue;
		at = (off_t)(end + 2 - out->data);
		out->len = (size_t)at - 1;
		out->data[out->len] = 0;
		return lseek(fd, at, SEEK_SET) < 0 ? err_sys(err, "cannot read bundle") : 0;
	}
}

/* --- the list ---------------------------------------------------------- */

static int check_line(const char *line, size_t len, struct err *err)
{
	char hex[OID_HEX_BYTES];
	struct oid oid;

	if (line[0] == '@')
		return len == 19 && memcmp(line, "@object-format=sha1", 19) == 0
			       ? 0
			       : err_set(err, ERR_UNSUPPORTED, "it needs '%.*s'",
					 len < 64 ? (int)len : 64, line + 1);
	if (line[0] == '-')
		return err_set(err, ERR_UNSUPPORTED,
			       "it holds a part of the history only; make a whole one with "
			       "git bundle create FILE REF");
	(void)snprintf(hex, sizeof(hex), "%.40s", line);
	if (len < 2 * OID_BYTES + 2 || line[2 * OID_BYTES] != ' ' || !oid_parse(hex, &oid))
		return err_set(err, ERR_INPUT, "its list of refs is damaged");
	return 0;
}

/* The oid of a ref of the list, by its long or short name. Returns 1 when there
 * is none. */
static int find_ref(const char *text, const char *name, struct oid *ret, struct err *err)
{
	static const char *const places[] = {"", "refs/", "refs/tags/", "refs/heads/"};
	size_t best = ARRAY_LEN(places);

	for (const char *line = text; *line != '\0';) {
		size_t len = strcspn(line, "\n");
		const char *ref = line + 2 * OID_BYTES + 1;

		if (check_line(line, len, err) < 0)
			return -1;
		for (size_t i = 0; line[0] != '@' && i < best; i++) {
			size_t place = strlen(places[i]);
			char hex[OID_HEX_BYTES];

			if (len != 2 * OID_BYTES + 1 + place + strlen(name) ||
			    strncmp(ref, places[i], place) != 0 ||
			    strncmp(ref + place, name, strlen(name)) != 0)
				continue;
			(void)snprintf(hex, sizeof(hex), "%.40s", line);
			(void)oid_parse(hex, ret);
			best = i;
		}
		line += len + (line[len] == '\n');
	}
	return best == ARRAY_LEN(places);
}

/* --- the pack ---------------------------------------------------------- */

static int write_pack(struct gitdb *to, int fd, struct err *err)
{
	static uint8_t chunk[CHUNK_BYTES];
	git_indexer_progress progress = {0};
	git_odb_writepack *pack = NULL;
	int code = git_odb_write_pack(&pack, to->odb, NULL, NULL);
	ssize_t len = 0;

	while (code == 0 && (len = read(fd, chunk, sizeof(chunk))) > 0)
		code = pack->append(pack, chunk, (size_t)len, &progress);
	if (code == 0 && len == 0)
		code = pack->commit(pack, &progress);
	if (pack != NULL)
		pack->free(pack);
	if (code < 0)
		return gitdb_fail(err, code == GIT_ENOTFOUND ? -1 : code, "cannot read its pack");
	return len < 0 ? err_sys(err, "cannot read bundle") : 0;
}

int gitdb_fetch_bundle(struct gitdb *to, const char *path, const char *commit, int64_t max_bytes,
		       struct oid *ret, struct err *err)
{
	CLEANUP(buf_release) struct buf header = {0};
	CLEANUP(fd_cleanup) int fd = -1;
	char hex[OID_HEX_BYTES];
	struct oid oid;
	bool digits = strspn(commit, "0123456789abcdefABCDEF") == strlen(commit);
	int got;

	assert(to->mode == GITDB_WRITE);
	if (open_bundle(path, max_bytes, &fd, err) < 0)
		return -1;
	if (read_header(fd, &header, err) < 0)
		return err_prefix(err, "bundle '%s'", path);
	got = find_ref(buf_text(&header) + strlen(versions[0]), commit, &oid, err);
	if (got < 0)
		return err_prefix(err, "bundle '%s'", path);
	if (got == 1 && !digits)
		return err_set(err, ERR_NOT_FOUND, "cannot resolve '%.200s': no such ref", commit);
	if (got == 0)
		oid_hex(&oid, hex);
	if (write_pack(to, fd, err) < 0)
		return err_prefix(err, "bundle '%s'", path);
	return gitdb_resolve(to, got == 0 ? hex : commit, ret, err);
}
