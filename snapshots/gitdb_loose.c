/*
 * gitdb_loose.c - small loose objects, written with as little as will do.
 *
 * Most of what a job makes is small: a blob, a few trees, a commit. Whatever a
 * file holds it takes a block on disk, so these are not compressed: a zlib
 * stream (RFC 1950) of stored blocks (RFC 1951, 3.2.4), which everybody reads.
 * The file has no name before it is whole (O_TMPFILE), so no other name has to
 * be made and removed; a kill leaves nothing.
 *
 *	78 01 | 01 LEN NLEN "blob 5\0hello" | ADLER32
 *
 * Where a file system has no such files, libgit2 writes them all.
 */
#include "snapshots/gitdb_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

enum {
	CONTENT_MAX = 3900,
	FRAME_BYTES = 64,
	STORED_BYTES = 7,
	ADLER_BYTES = 4,
	ADLER_BASE = 65521
};

static uint32_t adler32(const uint8_t *data, size_t len)
{
	uint32_t a = 1;
	uint32_t b = 0;

	for (size_t i = 0; i < len; i++) {
		a = (a + data[i]) % ADLER_BASE;
		b = (b + a) % ADLER_BASE;
	}
	return b << 16 | a;
}

/* The whole file. Returns its length. */
static size_t compose(uint8_t room[CONTENT_MAX + FRAME_BYTES], git_object_t type,
		      struct bytes content)
{
	uint8_t *body = room + STORED_BYTES;
	size_t len = (size_t)snprintf((char *)body, FRAME_BYTES - STORED_BYTES - ADLER_BYTES,
				      "%s %zu", git_object_type2string(type), content.len) +
		     1;
	uint32_t sum;

	if (content.len > 0)
		(void)memcpy(body + len, content.data, content.len);
	len += content.len;
	room[0] = 0x78;
	room[1] = 0x01;
	room[2] = 0x01; /* the last block, stored */
	room[3] = (uint8_t)len;
	room[4] = (uint8_t)(len >> 8);
	room[5] = (uint8_t)~room[3];
	room[6] = (uint8_t)~room[4];
	sum = adler32(body, len);
	for (unsigned i = 0; i < ADLER_BYTES; i++)
		body[len + i] = (uint8_t)(sum >> (8 * (ADLER_BYTES - 1 - i)));
	return STORED_BYTES + len + ADLER_BYTES;
}

/* Gives the open file its name, in a directory that may have to be made. */
static bool give_name(int fd, const char *dir, const char *hex)
{
	char self[64], path[PATH_MAX];

	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (snprintf(path, sizeof(path), "%s/objects/%.2s/%s", dir, hex, hex + 2) >=
	    (int)sizeof(path))
		return false;
	for (int i = 0; i < 2; i++) {
		if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0 ||
		    errno == EEXIST)
			return true;
		if (errno != ENOENT)
			return false;
		path[strlen(path) - strlen(hex) + 1] = '\0';
		if (mkdir(path, GITDB_DIR_MODE) < 0 && errno != EEXIST)
			return false;
		path[strlen(path)] = '/';
	}
	return false;
}

bool loose_write_small(const struct gitdb *db, const struct oid *oid, git_object_t type,
		       struct bytes content)
{
	CLEANUP(fd_cleanup) int fd = -1;
	uint8_t room[CONTENT_MAX + FRAME_BYTES];
	char path[PATH_MAX], hex[OID_HEX_BYTES];

	if (content.len > CONTENT_MAX ||
	    snprintf(path, sizeof(path), "%s/objects", db->dir) >= (int)sizeof(path))
		return false;
	fd = open(path, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0444);
	if (fd < 0 || fd_write_all(fd, room, compose(room, type, content), NULL) < 0)
		return false;
	oid_hex(oid, hex);
	return give_name(fd, db->dir, hex);
}
