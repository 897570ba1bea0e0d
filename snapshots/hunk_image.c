/*
 * hunk_image.c - the preimage: a cursor that only moves forward, and an index
 * of its lines for the hunks that are not where they say.
 *
 * Most diffs never need the index: their hunks are in order and at their
 * lines, so one walk with memchr places them all. The index is a counting sort
 * of line numbers by a hash of the line. A search takes the line of the hunk
 * whose bucket is smallest and compares at its few places only; a budget, in
 * proportion to file and hunks, bounds what a file of repeated lines can cost.
 */
#include <string.h>

#include "snapshots/hunk_private.h"

enum { PICKED_LINES_MAX = 512, VOTES_MAX = 64 };

/* --- sides ------------------------------------------------------------- */

bool hunk_line_on(const struct diff_line *line, enum hunk_side side)
{
	return line->kind != (side == HUNK_OLD ? DIFF_ADD : DIFF_REMOVE);
}

size_t hunk_side_len(const struct diff_hunk *hunk, enum hunk_side side)
{
	return side == HUNK_OLD ? hunk->old_len : hunk->new_len;
}

size_t hunk_stated(const struct diff_hunk *hunk, enum hunk_side side)
{
	size_t start = side == HUNK_OLD ? hunk->old_start : hunk->new_start;

	return hunk_side_len(hunk, side) > 0 && start > 0 ? start - 1 : start;
}

/* --- the cursor -------------------------------------------------------- */

/* The byte behind the line that starts at `at`. */
static size_t line_end(const struct hunk_image *image, size_t at)
{
	const uint8_t *start = image->bytes.data + at;
	const uint8_t *newline = memchr(start, '\n', image->bytes.len - at);

	return newline == NULL ? image->bytes.len : (size_t)(newline - image->bytes.data) + 1;
}

bool hunk_seek(struct hunk_image *image, size_t line, size_t *ret_at)
{
	if (line < image->line) {
		image->line = 0;
		image->at = 0;
	}
	if (image->indexed) {
		if (line > image->index.lines)
			return false;
		image->line = line;
		image->at = image->index.starts[line];
	}
	while (image->line < line) {
		if (image->at == image->bytes.len)
			return false;
		image->at = line_end(image, image->at);
		image->line++;
	}
	*ret_at = image->at;
	return true;
}

/* --- comparing --------------------------------------------------------- */

static bool line_is(const struct hunk_image *image, size_t at, const struct diff_line *line,
		    size_t *ret_end)
{
	size_t left = image->bytes.len - at;
	size_t len = line->text.len;

	if (len > left || memcmp(image->bytes.data + at, line->text.data, len) != 0)
		return false;
	*ret_end = at + len + !line->no_newline;
	if (line->no_newline)
		return len > 0 && len == left;
	return len < left && image->bytes.data[at + len] == '\n';
}

bool hunk_match(const struct hunk_image *image, size_t at, const struct diff_hunk *hunk,
		enum hunk_side side, size_t *ret_end, size_t *ret_matched)
{
	*ret_matched = 0;
	*ret_end = at;
	for (size_t i = 0; i < hunk->lines_len; i++) {
		if (!hunk_line_on(&hunk->lines[i], side))
			continue;
		if (at == image->bytes.len || !line_is(image, at, &hunk->lines[i], &at))
			return false;
		++*ret_matched;
		*ret_end = at;
	}
	return true;
}

/* --- the index --------------------------------------------------------- */

static uint32_t hash_line(const uint8_t *text, size_t len)
{
	uint64_t hash = len * UINT64_C(0x9e3779b97f4a7c15);

	for (; len >= 8; text += 8, len -= 8) {
		uint64_t word;

		(void)memcpy(&word, text, 8);
		hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
		hash ^= hash >> 32;
	}
	for (; len > 0; text++, len--)
		hash = (hash ^ *text) * UINT64_C(0x100000001b3);
	hash = (hash ^ hash >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	return (uint32_t)(hash >> 32);
}

static bool is_white(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

struct bytes hunk_trim_end(struct bytes text)
{
	while (text.len > 0 && is_white(text.data[text.len - 1]))
		text.len--;
	return text;
}

struct bytes hunk_trim(struct bytes text)
{
	text = hunk_trim_end(text);
	while (text.len > 0 && is_white(text.data[0]))
		text = (struct bytes){text.data + 1, text.len - 1};
	return text;
}

uint32_t hunk_hash(const struct hunk_index *index, struct bytes text)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	if (!index->trims)
		return hash_line(text.data, text.len);
	for (size_t i = 0; i < text.len; i++) {
		if (!is_white(text.data[i]))
			hash = (hash ^ text.data[i]) * UINT64_C(0x100000001b3);
	}
	hash = (hash ^ hash >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	return (uint32_t)(hash >> 32);
}

bool hunk_equal_but_white(struct bytes a, struct bytes b)
{
	size_t i = 0, k = 0;

	a = hunk_trim(a);
	b = hunk_trim(b);
	while (i < a.len && k < b.len) {
		bool white = is_white(a.data[i]);

		if (white != is_white(b.data[k]) || (!white && a.data[i] != b.data[k]))
			return false;
		i++;
		k++;
		for (; white && is_white(a.data[i]); i++)
			;
		for (; white && is_white(b.data[k]); k++)
			;
	}
	return i == a.len && k == b.len;
}

static size_t count_lines(const struct hunk_image *image)
{
	size_t lines = 0;

	for (size_t at = 0; at < image->bytes.len; at = line_end(image, at)) {
		if (++lines > HUNK_INDEX_LINES_MAX)
			break;
	}
	return lines;
}

static bool index_alloc(struct hunk_image *image, size_t lines)
{
	struct hunk_index *index = &image->index;

	index->lines = lines;
	for (index->buckets = 16; index->buckets < lines;)
		index->buckets *= 2;
	index->starts = arena_array(image->arena, lines + 1, sizeof(uint32_t));
	index->hashes = arena_array(image->arena, lines, sizeof(uint32_t));
	index->order = arena_array(image->arena, lines, sizeof(uint32_t));
	index->bucket_ends = arena_array(image->arena, index->buckets, sizeof(uint32_t));
	return !image->arena->exhausted;
}

bool hunk_index_lines(struct hunk_image *image)
{
	struct hunk_index *index = &image->index;
	size_t lines, at = 0;
	uint32_t total = 0;

	if (image->indexed || image->unindexable)
		return image->indexed;
	lines = count_lines(image);
	image->unindexable = lines > HUNK_INDEX_LINES_MAX || image->bytes.len >= UINT32_MAX ||
			     !index_alloc(image, lines);
	if (image->unindexable)
		return false;
	for (size_t i = 0; i < lines; i++) {
		size_t end = line_end(image, at);
		const uint8_t *text = image->bytes.data + at;

		index->starts[i] = (uint32_t)at;
		index->hashes[i] = hunk_hash(
			index,
			(struct bytes){text, end - at - (image->bytes.data[end - 1] == '\n')});
		index->bucket_ends[index->hashes[i] & (index->buckets - 1)]++;
		at = end;
	}
	index->starts[lines] = (uint32_t)at;
	for (size_t i = 0; i < index->buckets; i++) {
		uint32_t count = index->bucket_ends[i];

		index->bucket_ends[i] = total;
		total += count;
	}
	/* Each start of a bucket moves up to its end as the bucket fills. */
	for (size_t i = 0; i < lines; i++)
		index->order[index->bucket_ends[index->hashes[i] & (index->buckets - 1)]++] =
			(uint32_t)i;
	image->indexed = true;
	return true;
}

size_t hunk_bucket(const struct hunk_index *index, uint32_t hash, size_t *ret_start)
{
	size_t bucket = hash & (index->buckets - 1);

	*ret_start = bucket == 0 ? 0 : index->bucket_ends[bucket - 1];
	return index->bucket_ends[bucket] - *ret_start;
}

/* The bucket where `line` would be. */
static size_t bucket_of(const struct hunk_index *index, const struct diff_line *line,
			uint32_t *ret_hash, size_t *ret_start)
{
	*ret_hash = hunk_hash(index, line->text);
	return hunk_bucket(index, *ret_hash, ret_start);
}

/* --- searching --------------------------------------------------------- */

/* The line of the side with the fewest candidates. */
struct pick {
	uint32_t hash;
	size_t start, len; /* of its bucket */
	size_t number;	   /* in the side, from 0 */
};

static struct pick pick_line(const struct hunk_index *index, const struct diff_hunk *hunk,
			     enum hunk_side side)
{
	struct pick best = {.len = SIZE_MAX};
	size_t number = 0;

	for (size_t i = 0; i < hunk->lines_len && number < PICKED_LINES_MAX; i++) {
		struct pick pick = {.number = number};

		if (!hunk_line_on(&hunk->lines[i], side))
			continue;
		pick.len = bucket_of(index, &hunk->lines[i], &pick.hash, &pick.start);
		if (pick.len < best.len)
			best = pick;
		number++;
	}
	return best;
}

/* Compares at one place and keeps it when it fits. */
static void try_place(struct hunk_image *image, const struct diff_hunk *hunk, enum hunk_side side,
		      size_t line, struct hunk_search *search)
{
	size_t start = image->index.starts[line];
	size_t end, matched;
	bool fits = hunk_match(image, start, hunk, side, &end, &matched);

	image->budget -= matched < image->budget ? matched + 1 : image->budget;
	if (!fits)
		return;
	if (search->found < 2)
		search->places[search->found++] =
			(struct hunk_place){.line = line, .start = start, .end = end};
}

void hunk_search(struct hunk_image *image, const struct diff_hunk *hunk, enum hunk_side side,
		 size_t from, struct hunk_search *ret)
{
	const struct hunk_index *index = &image->index;
	size_t len = hunk_side_len(hunk, side);
	struct pick pick;

	*ret = (struct hunk_search){.gave_up = !hunk_index_lines(image)};
	if (ret->gave_up || len == 0)
		return;
	pick = pick_line(index, hunk, side);
	for (size_t i = 0; i < pick.len && ret->found < 2 && !ret->gave_up; i++) {
		uint32_t line = index->order[pick.start + i];

		if (index->hashes[line] != pick.hash || line < pick.number ||
		    line - pick.number < from || line - pick.number + len > index->lines)
			continue;
		ret->gave_up = image->budget == 0;
		if (!ret->gave_up)
			try_place(image, hunk, side, line - pick.number, ret);
	}
}

/* --- the nearest real lines -------------------------------------------- */

size_t hunk_nearest(struct hunk_image *image, const struct diff_hunk *hunk, size_t fallback)
{
	struct {
		size_t line;
		size_t votes;
	} places[VOTES_MAX];
	size_t len = 0, best = 0, number = 0;

	if (!hunk_index_lines(image))
		return fallback;
	for (size_t i = 0; i < hunk->lines_len && len < VOTES_MAX; i++) {
		size_t start, k = 0;
		uint32_t hash;

		if (!hunk_line_on(&hunk->lines[i], HUNK_OLD))
			continue;
		if (bucket_of(&image->index, &hunk->lines[i], &hash, &start) == 1 &&
		    image->index.hashes[image->index.order[start]] == hash &&
		    image->index.order[start] >= number) {
			size_t line = image->index.order[start] - number;

			while (k < len && places[k].line != line)
				k++;
			if (k == len)
				places[len++].votes = 0;
			places[k].line = line;
			places[k].votes++;
		}
		number++;
	}
	for (size_t i = 1; i < len; i++) {
		if (places[i].votes > places[best].votes)
			best = i;
	}
	return len == 0 ? fallback : places[best].line;
}
