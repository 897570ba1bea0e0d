/*
 * gitdb_packed.c - refs that are lines of packed-refs.
 *
 *	# pack-refs with: peeled fully-peeled sorted
 *	<oid> <name>
 *	^<oid>			what the tag above leads to
 *
 * Every git since 2.15 writes them in order of their names and says so. In such
 * a file a name is found by halving, with a few reads however long it is; since
 * the file may be anybody's, what is not found so is looked for in every line -
 * unless the caller only peeks.
 */
#include "snapshots/gitdb_private.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

enum {
	HEADER_BYTES_MAX = 256,
	LINE_BYTES_MAX = 2048, /* an oid and the longest name */
	SPAN_BYTES = 16 << 10, /* is read and looked through */
};

bool packed_line(const char *line, size_t len, const char *name, struct oid *ret)
{
	char hex[OID_HEX_BYTES];
	size_t name_len = strlen(name);

	if (len != 2 * OID_BYTES + 1 + name_len || line[2 * OID_BYTES] != ' ' ||
	    memcmp(line + 2 * OID_BYTES + 1, name, name_len) != 0)
		return false;
	(void)memcpy(hex, line, 2 * OID_BYTES);
	hex[2 * OID_BYTES] = '\0';
	return oid_parse(hex, ret);
}

/* --- every line ---------------------------------------------------------- */

/* 0 when one of the whole lines is the ref's, else 1. */
static int scan(const char *text, size_t len, const char *name, struct oid *ret)
{
	const char *end = text + len;

	while (text < end) {
		const char *stop = memchr(text, '\n', (size_t)(end - text));
		size_t line = (size_t)((stop == NULL ? end : stop) - text);

		if (packed_line(text, line, name, ret))
			return 0;
		text += line + 1;
	}
	return 1;
}

static int scan_all(int fd, const char *name, struct oid *ret, struct err *err)
{
	CLEANUP(buf_release) struct buf text = {0};

	buf_init(&text, PACKED_REFS_BYTES_MAX);
	if (lseek(fd, 0, SEEK_SET) < 0)
		return err_sys(err, "cannot read packed-refs");
	if (fd_read_all(fd, &text, err) < 0)
		return err_prefix(err, "packed-refs");
	return scan(buf_text(&text), text.len, name, ret);
}

/* --- halving --------------------------------------------------------------- */

/* Where the lines begin, of a file that says that they are sorted; else 0. */
static off_t sorted_from(int fd)
{
	static const char trait[] = " sorted";
	char text[HEADER_BYTES_MAX + 1];
	ssize_t got = pread(fd, text, HEADER_BYTES_MAX, 0);
	const char *found;
	char *end;

	if (got <= 0)
		return 0;
	text[got] = '\0';
	end = strchr(text, '\n');
	if (end == NULL || text[0] != '#')
		return 0;
	*end = '\0';
	found = strstr(text, trait);
	if (found == NULL || strchr(" ", found[sizeof(trait) - 1]) == NULL)
		return 0;
	return end + 1 - text;
}

/* The first ref that begins at `at` or behind. */
struct line {
	off_t start, end;
	int order; /* of the name that is looked for, against its own */
};

/* False when there is none in reach. */
static bool compare_at(int fd, off_t at, const char *name, struct line *ret)
{
	char text[2 * LINE_BYTES_MAX + 1];
	ssize_t got = pread(fd, text, sizeof(text) - 1, at - 1);
	char *line, *end;

	if (got <= 0)
		return false;
	text[got] = '\0';
	for (line = strchr(text, '\n'); line != NULL && line[1] == '^';)
		line = strchr(line + 1, '\n');
	end = line == NULL ? NULL : strchr(line + 1, '\n');
	if (end == NULL || end - line < 2 * OID_BYTES + 3)
		return false;
	*end = '\0';
	*ret = (struct line){.start = at + (line - text),
			     .end = at + (end - text),
			     .order = strcmp(name, line + 1 + 2 * OID_BYTES + 1)};
	return true;
}

/* 0, or 1 when it is not where it should be, or the file is not as it says. */
static int halve(int fd, off_t from, off_t to, const char *name, struct oid *ret)
{
	char text[SPAN_BYTES + LINE_BYTES_MAX];
	struct line line = {.order = 1};
	ssize_t got;

	/* The ref begins within [from, to). */
	while (to - from > SPAN_BYTES && line.order != 0) {
		off_t middle = from + (to - from) / 2;

		if (!compare_at(fd, middle, name, &line))
			return 1;
		if (line.order < 0)
			to = middle;
		else
			from = line.order == 0 ? line.start : line.end;
	}
	got = pread(fd, text, sizeof(text), from);
	return got <= 0 ? 1 : scan(text, (size_t)got, name, ret);
}

/* --- either ------------------------------------------------------------------ */

int packed_read(int fd, const char *name, bool peek, struct oid *ret, struct err *err)
{
	struct stat st;
	off_t from;

	if (fstat(fd, &st) < 0)
		return err_sys(err, "cannot look at packed-refs");
	if (st.st_size <= PEEK_BYTES_MAX)
		return scan_all(fd, name, ret, err);
	from = sorted_from(fd);
	if (from > 0 && halve(fd, from, st.st_size, name, ret) == 0)
		return 0;
	return peek ? 1 : scan_all(fd, name, ret, err);
}
