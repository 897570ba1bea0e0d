/*
 * gitdb_stream.c - objects on their way from an executor's quarantine to the
 * store.
 *
 *   stream := "sbxobj1\n" object* 'e' count
 *   object := ('b' | 't' | 'c') length content
 *
 * count and length are 64-bit little-endian; an object stands after those it
 * refers to. No oid travels: the receiver computes them. An import first puts
 * the whole stream into the quarantine of the receiving database, judging each
 * object there, and writes only when all of it is good; in the stream's order,
 * so that a crash leaves no object whose parts are missing.
 */
#include "snapshots/gitdb_private.h"

#include <assert.h>
#include <string.h>

#include "base/text.h"

enum { MAGIC_BYTES = 8, NUMBER_BYTES = 8 };

static const char MAGIC[MAGIC_BYTES + 1] = "sbxobj1\n";

/* --- out --------------------------------------------------------------- */

static void add_number(struct buf *out, uint64_t number)
{
	for (unsigned i = 0; i < NUMBER_BYTES; i++)
		buf_add_byte(out, (uint8_t)(number >> (8 * i)));
}

static char type_letter(git_object_t type)
{
	return type == GIT_OBJECT_BLOB ? 'b' : type == GIT_OBJECT_TREE ? 't' : 'c';
}

int gitdb_export(struct gitdb *db, struct buf *out, struct err *err)
{
	const struct quarantine *q = &db->quarantine;

	assert(db->mode == GITDB_QUARANTINE);
	buf_add(out, MAGIC, MAGIC_BYTES);
	for (size_t i = 0; i < q->len; i++) {
		buf_add_byte(out, (uint8_t)type_letter(q->objects[i].type));
		add_number(out, q->objects[i].len);
		buf_add(out, q->objects[i].data, q->objects[i].len);
	}
	buf_add_byte(out, 'e');
	add_number(out, q->len);
	if (out->failed)
		return err_set(err, ERR_LIMIT, "cannot export %zu objects: more than %zu bytes",
			       q->len, out->limit_bytes);
	return 0;
}

/* --- judging ----------------------------------------------------------- */

static int check_reference(struct gitdb *db, const struct oid *oid, git_object_t want,
			   struct err *err)
{
	char hex[OID_HEX_BYTES];
	git_object_t type;
	size_t size;

	if (object_header(db, oid, &type, &size, err) < 0)
		return -1;
	if (type == want)
		return 0;
	oid_hex(oid, hex);
	return err_set(err, ERR_INPUT, "it refers to %s as a %s, which is a %s", hex,
		       git_object_type2string(want), git_object_type2string(type));
}

static int check_tree(struct gitdb *db, struct bytes tree, struct err *err)
{
	struct tree_item item;
	int got;

	if (tree_check(tree, err) < 0)
		return -1;
	while ((got = tree_next(&tree, &item, err)) == 1) {
		if (!item.canonical)
			return err_set(err, ERR_INPUT, "bad tree: '%.200s' has an odd mode",
				       item.name);
		if (item.entry.mode != MODE_GITLINK &&
		    check_reference(db, &item.entry.oid,
				    item.entry.mode == MODE_TREE ? GIT_OBJECT_TREE
								 : GIT_OBJECT_BLOB,
				    err) < 0)
			return -1;
	}
	return got;
}

/* Takes `text` off the front. */
static bool take_text(struct bytes *left, const char *text)
{
	size_t len = strlen(text);

	if (left->len < len || memcmp(left->data, text, len) != 0)
		return false;
	*left = (struct bytes){left->data + len, left->len - len};
	return true;
}

static bool take_oid(struct bytes *left, struct oid *ret)
{
	char hex[OID_HEX_BYTES];

	if (left->len < 2 * OID_BYTES)
		return false;
	(void)memcpy(hex, left->data, 2 * OID_BYTES);
	hex[2 * OID_BYTES] = '\0';
	*left = (struct bytes){left->data + 2 * OID_BYTES, left->len - 2 * OID_BYTES};
	return oid_parse(hex, ret);
}

static bool take_time(struct bytes *left)
{
	size_t digits = 0;

	while (digits < left->len && digits < 12 && left->data[digits] >= '0' &&
	       left->data[digits] <= '9')
		digits++;
	*left = (struct bytes){left->data + digits, left->len - digits};
	return digits > 0 && take_text(left, " +0000\n");
}

/* The base, or what this stream has made of it: nobody claims another's work. */
static int check_parent(struct gitdb *db, const struct oid *parent, const struct oid *base,
			struct err *err)
{
	const struct quarantine_object *before = quarantine_find(&db->quarantine, parent);

	if (before != NULL && before->type == GIT_OBJECT_COMMIT)
		return 0;
	if (base == NULL || !oid_equal(parent, base))
		return err_set(err, ERR_INPUT, "bad commit: its parent is not the base");
	return check_reference(db, parent, GIT_OBJECT_COMMIT, err);
}

/* Only the form that gitdb_commit_write writes: nobody forges an author. */
static int check_commit(struct gitdb *db, struct bytes text, const struct oid *base,
			struct err *err)
{
	bool has_parent;
	struct oid oid;

	if (!take_text(&text, "tree ") || !take_oid(&text, &oid) || !take_text(&text, "\n"))
		return err_set(err, ERR_INPUT, "bad commit: no tree");
	if (check_reference(db, &oid, GIT_OBJECT_TREE, err) < 0)
		return -1;
	has_parent = take_text(&text, "parent ");
	if (has_parent && (!take_oid(&text, &oid) || !take_text(&text, "\n")))
		return err_set(err, ERR_INPUT, "bad commit: bad parent");
	if (has_parent && check_parent(db, &oid, base, err) < 0)
		return -1;
	if (!has_parent && base != NULL)
		return err_set(err, ERR_INPUT, "bad commit: it does not stand on the base");
	if (!take_text(&text, "author sbx <sbx@localhost> ") || !take_time(&text) ||
	    !take_text(&text, "committer sbx <sbx@localhost> ") || !take_time(&text) ||
	    !take_text(&text, "\n"))
		return err_set(err, ERR_INPUT, "bad commit: not of the form sbx writes");
	if (text.len == 0 || text.data[text.len - 1] != '\n' ||
	    memchr(text.data, 0, text.len) != NULL || !text_is_utf8(text.data, text.len))
		return err_set(err, ERR_INPUT, "bad commit: bad message");
	return 0;
}

/* --- in ---------------------------------------------------------------- */

static bool take_number(struct bytes *left, uint64_t *ret)
{
	uint64_t number = 0;

	if (left->len < NUMBER_BYTES)
		return false;
	for (unsigned i = 0; i < NUMBER_BYTES; i++)
		number |= (uint64_t)left->data[i] << (8 * i);
	*left = (struct bytes){left->data + NUMBER_BYTES, left->len - NUMBER_BYTES};
	*ret = number;
	return true;
}

static int take_object(struct gitdb *db, char letter, struct bytes content, const struct oid *base,
		       struct err *err)
{
	git_object_t type;
	struct oid oid;
	int good;

	switch (letter) {
	case 'b':
		type = GIT_OBJECT_BLOB;
		good = 0;
		break;
	case 't':
		type = GIT_OBJECT_TREE;
		good = content.len > GITDB_TREE_BYTES_MAX
			       ? err_set(err, ERR_LIMIT, "bad tree: too large")
			       : check_tree(db, content, err);
		break;
	case 'c':
		type = GIT_OBJECT_COMMIT;
		good = content.len > GITDB_COMMIT_BYTES_MAX
			       ? err_set(err, ERR_LIMIT, "bad commit: too large")
			       : check_commit(db, content, base, err);
		break;
	default:
		return err_set(err, ERR_INPUT, "unknown kind of object");
	}
	if (good < 0)
		return -1;
	if (object_oid_safe(type, content, &oid, err) < 0)
		return -1;
	if (quarantine_find(&db->quarantine, &oid) != NULL)
		return err_set(err, ERR_INPUT, "an object is there twice");
	return quarantine_add(&db->quarantine, &oid, type, content, QUARANTINE_BORROWS, err);
}

static int take_stream(struct gitdb *db, struct bytes stream, const struct oid *base,
		       struct err *err)
{
	uint64_t number;

	if (!take_text(&stream, MAGIC))
		return err_set(err, ERR_INPUT, "bad start");
	while (stream.len > 0) {
		char letter = (char)stream.data[0];

		stream = (struct bytes){stream.data + 1, stream.len - 1};
		if (!take_number(&stream, &number))
			return err_set(err, ERR_INPUT, "it is cut off");
		if (letter == 'e' && number == db->quarantine.len && stream.len == 0)
			return 0;
		if (letter == 'e')
			return err_set(err, ERR_INPUT, "its end does not fit");
		if (number > stream.len)
			return err_set(err, ERR_INPUT, "it is cut off");
		if (take_object(db, letter, (struct bytes){stream.data, number}, base, err) < 0)
			return -1;
		stream = (struct bytes){stream.data + number, stream.len - number};
	}
	return err_set(err, ERR_INPUT, "it is cut off");
}

static int check_keep(struct gitdb *db, const struct oid *base, const struct oid *keep,
		      struct err *err)
{
	const struct quarantine_object *object = quarantine_find(&db->quarantine, keep);
	char hex[OID_HEX_BYTES];

	if ((object != NULL && object->type == GIT_OBJECT_COMMIT) ||
	    (base != NULL && oid_equal(keep, base)))
		return 0;
	oid_hex(keep, hex);
	return err_set(err, ERR_INPUT, "%s is neither the base nor among them", hex);
}

int gitdb_import(struct gitdb *db, struct bytes stream, const struct oid *base,
		 const struct oid *keep, struct err *err)
{
	struct quarantine taken;
	struct oid oid;
	int result;

	assert(db->mode == GITDB_WRITE && db->quarantine.len == 0);
	result = take_stream(db, stream, base, err);
	if (result == 0 && keep != NULL)
		result = check_keep(db, base, keep, err);
	/* From here on the objects must be found on disk, not in memory. */
	taken = db->quarantine;
	db->quarantine = (struct quarantine){0};
	for (size_t i = 0; result == 0 && i < taken.len; i++) {
		result = object_write(db, taken.objects[i].type,
				      (struct bytes){taken.objects[i].data, taken.objects[i].len},
				      &oid, err);
	}
	quarantine_release(&taken);
	if (result < 0)
		(void)err_prefix(err, "cannot import objects");
	return result;
}
