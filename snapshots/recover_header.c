/*
 * recover_header.c - headers of files that lost lines or prefixes.
 *
 * A header is collected as it is, then written as it should have been. Which
 * file is meant is never guessed: a name without a/ and b/ is taken whole only
 * where the base (or a twin on the other side) says so, and is refused when
 * both readings name a file.
 */
#include <stdio.h>
#include <string.h>

#include "snapshots/recover_private.h"

static const char *const words[] = {
	"old mode ",  "new mode ",  "new file mode ", "deleted file mode ", "rename from ",
	"rename to ", "copy from ", "copy to ",	      "similarity index ",  "dissimilarity index ",
	"index ",
};

enum { OID_DIGITS_LEAST = 7 };

/* --- reading ----------------------------------------------------------- */

bool recover_is_fence(struct bytes text)
{
	while (text.len > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
		text = diff_after(text, 1);
	return diff_starts(text, "```") || diff_starts(text, "~~~");
}

static bool next_starts(const struct recover_reader *reader, const struct diff_raw *line,
			const char *word)
{
	struct diff_raw next;

	return diff_raw_at(&reader->in, line->next, &next) && diff_starts(next.text, word);
}

bool recover_starts_file(const struct recover_reader *reader, const struct diff_raw *line)
{
	if (diff_starts(line->text, "diff --git "))
		return true;
	if (diff_starts(line->text, "--- "))
		return next_starts(reader, line, "+++ ") || next_starts(reader, line, "@@");
	return diff_starts(line->text, "+++ ") && next_starts(reader, line, "@@");
}

static bool is_word(struct bytes text)
{
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (diff_starts(text, words[i]))
			return true;
	}
	return false;
}

static size_t oid_len(struct bytes text)
{
	size_t len = 0;

	while (len < text.len && memchr("0123456789abcdef", text.data[len], 16) != NULL)
		len++;
	return len;
}

/* "<oid>..<oid>[ <mode>]", as git writes it. */
static bool is_index(struct bytes text)
{
	size_t len = oid_len(text);

	text = diff_after(text, len);
	if (len < 4 || len > 40 || !diff_starts(text, ".."))
		return false;
	text = diff_after(text, 2);
	len = oid_len(text);
	text = diff_after(text, len);
	if (len < 4 || len > 40)
		return false;
	return text.len == 0 || (text.len == 7 && text.data[0] == ' ');
}

static int add_word(struct recover_reader *reader, struct recover_header *header, struct bytes text)
{
	if (diff_starts(text, "index ") && !is_index(diff_after(text, 6))) {
		reader->ret->mended = true;
		return recover_note(reader->in.arena, &reader->ret->notes,
				    "line %zu: an index line without two oids was ignored",
				    reader->in.line)
			       ? 0
			       : diff_exhausted(&reader->in);
	}
	if (header->words_len == RECOVER_WORDS_MAX)
		return diff_refuse_here(&reader->in, REASON_PATCH_MALFORMED,
					"too many header lines for one file");
	header->word_lines[header->words_len] = reader->in.line;
	header->words[header->words_len++] = text;
	return 0;
}

static void add_side(struct recover_reader *reader, struct recover_header *header, size_t side,
		     struct bytes text)
{
	header->side[side] = diff_after(text, 4);
	header->side_lines[side] = reader->in.line;
}

/* Goes over blank lines within a header; false when it does not go on behind
 * them. */
static bool skip_blanks(struct recover_reader *reader, const struct recover_header *header)
{
	bool sides = header->side[0].data != NULL || header->side[1].data != NULL;
	struct diff_parser ahead = reader->in;
	struct diff_raw next;

	for (;;) {
		if (!diff_peek(&ahead, &next))
			return false;
		if (next.text.len > 0 && !diff_equals(next.text, "\r"))
			break;
		diff_skip(&ahead, &next);
	}
	if (!diff_starts(next.text, "@@") &&
	    !(header->side[1].data == NULL && diff_starts(next.text, "+++ ")) &&
	    (sides || !(is_word(next.text) || diff_starts(next.text, "--- "))))
		return false;
	reader->in = ahead;
	reader->ret->mended = true;
	return true;
}

int recover_read_header(struct recover_reader *reader, struct recover_header *ret)
{
	struct recover_header header = {.at_line = reader->in.line};
	struct diff_raw line;
	int code = 0;

	while (code == 0 && diff_peek(&reader->in, &line)) {
		struct bytes text = recover_trim(reader, line.text);
		bool sides = header.side[0].data != NULL || header.side[1].data != NULL;

		if (text.len == 0) {
			if (!skip_blanks(reader, &header))
				break;
			continue;
		} else if (diff_starts(text, "diff --git ")) {
			if (header.git.data != NULL || sides)
				break;
			header.git = diff_after(text, 11);
		} else if (header.git.data != NULL && !sides && is_word(text)) {
			if (!line.whole)
				return diff_refuse_here(&reader->in, REASON_PATCH_TRUNCATED,
							"the diff ends inside a header");
			code = add_word(reader, &header, text);
		} else if (diff_starts(text, "--- ") && !sides) {
			add_side(reader, &header, 0, text);
		} else if (diff_starts(text, "+++ ") && header.side[1].data == NULL) {
			add_side(reader, &header, 1, text);
		} else {
			break;
		}
		if (code == 0)
			diff_skip(&reader->in, &line);
	}
	*ret = header;
	return code;
}

/* --- prefixes ---------------------------------------------------------- */

static bool has(const struct recover_header *header, const char *word)
{
	for (size_t i = 0; i < header->words_len; i++) {
		if (diff_starts(header->words[i], word))
			return true;
	}
	return false;
}

/* The name of a side, without a timestamp. */
static struct bytes name_of(struct bytes side)
{
	const uint8_t *tab = side.data == NULL ? NULL : memchr(side.data, '\t', side.len);

	if (tab != NULL)
		side.len = (size_t)(tab - side.data);
	return side;
}

static bool exists(struct recover_reader *reader, struct bytes name)
{
	const char *path = arena_memdup(reader->in.arena, name.data, name.len);

	return path != NULL && name.len > 0 && memchr(name.data, 0, name.len) == NULL &&
	       name.data[0] != '/' && reader->request->exists(reader->request->ctx, path);
}

static bool bytes_equal(struct bytes a, struct bytes b)
{
	return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

/* Both names of a git line without quotes and prefixes are one. */
static bool is_twin(struct bytes names, struct bytes *ret)
{
	size_t half = names.len / 2;

	*ret = (struct bytes){names.data, half};
	return names.len % 2 == 1 && names.data[half] == ' ' &&
	       memcmp(names.data, names.data + half + 1, half) == 0;
}

/* Both names of a git line are one behind prefixes that differ: "c/name i/name",
 * as git writes them when told so. */
static bool has_own_prefixes(struct bytes names)
{
	size_t half = names.len / 2, prefix;
	const uint8_t *second, *slash;

	if (names.len % 2 == 0)
		return false; /* also when there is no such line */
	second = names.data + half + 1;
	slash = memchr(names.data, '/', half);
	prefix = slash == NULL ? 0 : (size_t)(slash - names.data);
	return prefix > 0 && names.data[0] != '"' && names.data[half] == ' ' &&
	       memcmp(slash, second + prefix, half - prefix) == 0 &&
	       memcmp(names.data, second, prefix) != 0 && memchr(second, '/', prefix) == NULL;
}

/* The name that is in doubt: one that both sides have, or the only one. */
static bool doubtful_name(const struct recover_header *header, struct bytes *ret)
{
	struct bytes old_name = name_of(header->side[0]);
	struct bytes new_name = name_of(header->side[1]);
	bool old_is = old_name.data != NULL && !diff_is_null(header->side[0]);
	bool new_is = new_name.data != NULL && !diff_is_null(header->side[1]);

	if (!old_is && !new_is)
		return header->git.data != NULL && is_twin(header->git, ret);
	if (old_is && new_is && !bytes_equal(old_name, new_name))
		return false;
	*ret = new_is ? new_name : old_name;
	if (old_is != new_is && diff_starts(*ret, new_is ? "b/" : "a/"))
		return false;
	return true;
}

/* Whether the file of that name is the one of the index line's old side. */
static bool is_indexed(struct recover_reader *reader, const struct recover_header *header,
		       struct bytes name)
{
	const char *path = arena_memdup(reader->in.arena, name.data, name.len);

	for (size_t i = 0; i < header->words_len && reader->request->is_blob != NULL; i++) {
		struct bytes oid = diff_after(header->words[i], strlen("index "));
		const char *hex;

		if (!diff_starts(header->words[i], "index ") || oid_len(oid) < OID_DIGITS_LEAST)
			continue;
		hex = arena_memdup(reader->in.arena, oid.data, oid_len(oid));
		return path != NULL && hex != NULL &&
		       reader->request->is_blob(reader->request->ctx, path, hex);
	}
	return false;
}

/* Whether the header's names have no prefix to strip. REFUSED: both readings
 * name a file, and the index line does not tell which. */
static int lacks_prefix(struct recover_reader *reader, const struct recover_header *header,
			bool *ret)
{
	struct bytes name, rest;
	const uint8_t *slash;
	bool whole, stripped, both;

	*ret = false;
	if (reader->request->strip != 1 || !doubtful_name(header, &name) || name.len == 0 ||
	    name.data[0] == '"' || name.data[0] == '/')
		return 0;
	slash = memchr(name.data, '/', name.len);
	*ret = slash == NULL;
	if (slash == NULL)
		return 0;
	/* a rename from one directory to another has no two prefixes */
	if (has_own_prefixes(header->git) && !has(header, "rename ") && !has(header, "copy "))
		return 0;
	rest = diff_after(name, (size_t)(slash - name.data) + 1);
	whole = exists(reader, name);
	stripped = exists(reader, rest);
	both = whole && stripped;
	if (both) {
		whole = is_indexed(reader, header, name);
		stripped = is_indexed(reader, header, rest);
	}
	if (both && whole == stripped)
		return diff_refuse(&reader->in, REASON_PATCH_AMBIGUOUS, header->at_line, name,
				   "with and without its first component the name is a file of the "
				   "base; write the prefixes a/ and b/");
	*ret = whole || (!stripped && !diff_starts(name, "a/") && !diff_starts(name, "b/"));
	return 0;
}

/* --- writing ----------------------------------------------------------- */

static void emit_text(struct recover_reader *reader, size_t origin, const char *text)
{
	recover_emit(reader, origin, text, (struct bytes){0});
}

static void emit_git(struct recover_reader *reader, const struct recover_header *header,
		     bool unprefixed)
{
	struct bytes name;
	char text[16];

	if (!unprefixed || !doubtful_name(header, &name)) {
		recover_emit(reader, header->at_line, "diff --git ", header->git);
		return;
	}
	(void)snprintf(text, sizeof(text), "diff --git a/");
	buf_add_text(&reader->text, text);
	buf_add(&reader->text, name.data, name.len);
	recover_emit(reader, header->at_line, " b/", name);
}

static void emit_side(struct recover_reader *reader, const struct recover_header *header,
		      size_t side, bool null, bool unprefixed)
{
	static const char *const marks[] = {"--- ", "+++ "};
	static const char *const prefixed[] = {"--- a/", "+++ b/"};
	static const char *const nulls[] = {"--- /dev/null", "+++ /dev/null"};
	static const char *const letters[] = {"a/", "b/"};
	const struct bytes *text = &header->side[side];
	const struct bytes *other = &header->side[1 - side];
	size_t origin =
		text->data != NULL ? header->side_lines[side] : header->side_lines[1 - side];

	if (null || (text->data != NULL && diff_is_null(*text))) {
		emit_text(reader, origin, nulls[side]);
	} else if (text->data == NULL) {
		/* the lost one of the two names what the other does */
		bool cuts = !unprefixed && diff_starts(*other, letters[1 - side]);

		recover_emit(reader, origin, unprefixed || cuts ? prefixed[side] : marks[side],
			     cuts ? diff_after(*other, 2) : *other);
	} else {
		recover_emit(reader, origin, unprefixed ? prefixed[side] : marks[side], *text);
	}
}

static int note(struct recover_reader *reader, const struct recover_header *header,
		const char *what)
{
	reader->ret->mended = true;
	if (!recover_note(reader->in.arena, &reader->ret->notes, "line %zu: %s", header->at_line,
			  what))
		return diff_exhausted(&reader->in);
	return 0;
}

/* What the header says of creation and deletion, and what it must say. */
struct claims {
	bool unprefixed;
	bool null[2];	  /* "/dev/null" is due on this side */
	const char *word; /* a header line that is due */
};

/* A file of one hunk without old lines, where the base has none: it is new. */
static bool is_new(struct recover_reader *reader, const struct recover_header *header,
		   const struct recover_hunk *hunks, size_t hunks_len, bool unprefixed)
{
	struct bytes name = name_of(header->side[1]);

	if (hunks_len != 1 || hunks[0].old_found > 0 || hunks[0].new_found == 0 ||
	    name.data == NULL || name.len == 0 || name.data[0] == '"' ||
	    diff_is_null(header->side[1]) || has(header, "rename ") || has(header, "copy ") ||
	    has(header, "old mode "))
		return false;
	if (!unprefixed && reader->request->strip == 1) {
		const uint8_t *slash = memchr(name.data, '/', name.len);

		if (slash == NULL)
			return false;
		name = diff_after(name, (size_t)(slash - name.data) + 1);
	}
	return reader->request->strip <= 1 && !exists(reader, name);
}

static int judge(struct recover_reader *reader, const struct recover_header *header,
		 const struct recover_hunk *hunks, size_t hunks_len, struct claims *ret)
{
	bool git = header->git.data != NULL;
	bool old_null = header->side[0].data != NULL && diff_is_null(header->side[0]);
	bool new_null = header->side[1].data != NULL && diff_is_null(header->side[1]);
	bool creates = has(header, "new file mode ");
	bool deletes = has(header, "deleted file mode ");
	bool sides = header->side[0].data != NULL || header->side[1].data != NULL;
	int code = lacks_prefix(reader, header, &ret->unprefixed);

	if (code == 0 && ret->unprefixed)
		code = note(reader, header, "the names lack their prefixes a/ and b/");
	if (code == 0 && sides && (header->side[0].data == NULL || header->side[1].data == NULL))
		code = note(reader, header, "one of the lines '---' and '+++' is missing");
	if (code != 0 || !git || !sides)
		return code;
	if (!creates && !old_null && is_new(reader, header, hunks, hunks_len, ret->unprefixed)) {
		ret->null[0] = old_null = true;
		code = note(reader, header, "the file is new, and the header does not say so");
	}
	if (code == 0 && old_null && !creates && !deletes && !new_null) {
		ret->word = "new file mode 100644";
		if (!ret->null[0])
			code = note(reader, header, "a new file without mode is made with 100644");
	}
	if (code == 0 && new_null && !deletes && !creates && !old_null) {
		ret->word = "deleted file mode 100644";
		code = note(reader, header, "a deleted file without its mode");
	}
	if (code == 0 && creates && !old_null) {
		ret->null[0] = true;
		code = note(reader, header, "the old side of a new file is /dev/null");
	}
	if (code == 0 && deletes && !new_null) {
		ret->null[1] = true;
		code = note(reader, header, "the new side of a deleted file is /dev/null");
	}
	return code;
}

int recover_emit_header(struct recover_reader *reader, const struct recover_header *header,
			const struct recover_hunk *hunks, size_t hunks_len)
{
	struct claims claims = {0};
	int code = judge(reader, header, hunks, hunks_len, &claims);

	if (code != 0)
		return code;
	if (header->git.data != NULL)
		emit_git(reader, header, claims.unprefixed);
	if (claims.word != NULL)
		emit_text(reader, header->at_line, claims.word);
	for (size_t i = 0; i < header->words_len; i++)
		recover_emit(reader, header->word_lines[i], "", header->words[i]);
	if (header->side[0].data == NULL && header->side[1].data == NULL)
		return 0;
	emit_side(reader, header, 0, claims.null[0], claims.unprefixed);
	emit_side(reader, header, 1, claims.null[1], claims.unprefixed);
	return 0;
}
