/*
 * gitdb_check.c - whether objects that somebody else made are what git would
 * make: the form of one tree, and its names.
 */
#include "snapshots/gitdb_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- names ------------------------------------------------------------- */

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
}

/* Length of a code point at `at` that HFS+ ignores in names, or 0. */
static size_t hfs_ignored(const uint8_t *at, size_t left)
{
	uint32_t point;

	if (left < 3 || (at[0] & 0xf0) != 0xe0)
		return 0;
	point = (uint32_t)(at[0] & 0x0f) << 12 | (uint32_t)(at[1] & 0x3f) << 6 | (at[2] & 0x3f);
	return (point >= 0x200c && point <= 0x200f) || (point >= 0x202a && point <= 0x202e) ||
			       (point >= 0x206a && point <= 0x206f) || point == 0xfeff
		       ? 3
		       : 0;
}

static bool is_hfs_dotgit(const uint8_t *name, size_t len)
{
	const char *want = ".git";
	size_t at = 0;

	while (at < len) {
		size_t ignored = hfs_ignored(name + at, len - at);

		if (ignored > 0) {
			at += ignored;
		} else if (*want != '\0' && lower(name[at]) == (uint8_t)*want) {
			want++;
			at++;
		} else {
			return false;
		}
	}
	return *want == '\0';
}

/* NTFS drops trailing dots and spaces and what follows a colon, and gives
 * ".git" the short name "git~1". */
static bool is_ntfs_dotgit(const uint8_t *name, size_t len)
{
	static const char *const stems[] = {".git", "git~1"};

	for (size_t i = 0; i < ARRAY_LEN(stems); i++) {
		size_t at = 0;

		while (at < len && stems[i][at] != '\0' && lower(name[at]) == (uint8_t)stems[i][at])
			at++;
		if (stems[i][at] != '\0')
			continue;
		while (at < len && (name[at] == '.' || name[at] == ' '))
			at++;
		if (at == len || name[at] == ':' || name[at] == '\\')
			return true;
	}
	return false;
}

bool tree_name_valid(const char *name, size_t len)
{
	const uint8_t *bytes = (const uint8_t *)name;

	if (len == 0 || memchr(name, '/', len) != NULL || memchr(name, 0, len) != NULL)
		return false;
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return false;
	return !is_hfs_dotgit(bytes, len) && !is_ntfs_dotgit(bytes, len);
}

bool gitdb_name_valid(const char *name)
{
	return tree_name_valid(name, strlen(name));
}

/* --- trees ------------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
	const struct tree_item *left = a;
	const struct tree_item *right = b;
	size_t len = left->name_len < right->name_len ? left->name_len : right->name_len;
	int order = memcmp(left->name, right->name, len);

	if (order == 0 && left->name_len != right->name_len)
		order = left->name_len < right->name_len ? -1 : 1;
	return order;
}

/* A file and a directory of one name need not be neighbours. */
static int check_duplicates(struct tree_item *items, size_t len, struct err *err)
{
	qsort(items, len, sizeof(*items), compare_names);
	for (size_t i = 1; i < len; i++) {
		if (compare_names(&items[i - 1], &items[i]) == 0)
			return err_set(err, ERR_INPUT, "bad tree: '%.200s' is there twice",
				       items[i].name);
	}
	return 0;
}

int tree_check(struct bytes tree, struct err *err)
{
	/* The shortest entry is "40000 x\0" and an oid. */
	size_t most = tree.len / (8 + OID_BYTES) + 1;
	struct tree_item *items = calloc(most, sizeof(*items));
	size_t len = 0;
	int got = 0;

	if (items == NULL)
		return gitdb_oom(err, "cannot check tree");
	while ((got = tree_next(&tree, &items[len], err)) == 1) {
		const struct tree_item *item = &items[len];

		if (!tree_name_valid(item->name, item->name_len))
			got = err_set(err, ERR_INPUT, "bad tree: no entry may be named '%.200s'",
				      item->name);
		else if (len > 0 && tree_compare(&items[len - 1], item) >= 0)
			got = err_set(err, ERR_INPUT, "bad tree: '%.200s' is not in order",
				      item->name);
		if (got < 0 || ++len == most)
			break;
	}
	if (got == 1)
		got = err_set(err, ERR_INPUT, "bad tree: an entry is too short");
	if (got == 0)
		got = check_duplicates(items, len, err);
	free(items);
	return got;
}
