/*
 * hunk_ladder.c - the places that a damaged hunk may have meant.
 *
 * Lines are indexed by a hash without their white space, so one index serves all
 * rungs. Every rung needs all lines next to a change; the rarest of
 * those is the anchor, and only the places where it stands are compared, from
 * the anchor outwards. Comparing costs of a budget in proportion to file and
 * diff: a hunk whose lines repeat too often is given up, not searched for ever.
 */
#include "snapshots/hunk_ladder.h"

#include <string.h>

#include "snapshots/recover.h"

enum {
	ANCHORS_MAX = 512,
	BYTES_OF_A_LINE = 8,
	TELLING_BYTES = 4,
	TELLING_LINES = 2,
	HEADING_LINES_MAX = 2000,
	HEADING_BYTES_MAX = 80
};

/* --- lines ------------------------------------------------------------- */

struct bytes ladder_line(const struct ladder *ladder, size_t line, bool *ret_newline)
{
	const struct hunk_index *index = &ladder->image.index;
	struct bytes text = {ladder->image.bytes.data + index->starts[line],
			     index->starts[line + 1] - index->starts[line]};

	*ret_newline = text.len > 0 && text.data[text.len - 1] == '\n';
	text.len -= *ret_newline;
	return text;
}

static bool equal(struct bytes a, struct bytes b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static void spend(struct ladder *ladder, size_t budget)
{
	ladder->image.budget -= budget < ladder->image.budget ? budget : ladder->image.budget;
}

enum ladder_match ladder_compare(struct ladder *ladder, size_t number, size_t line)
{
	const struct diff_line *wanted = ladder->lines[number];
	struct bytes found;
	bool newline;

	spend(ladder, 1);
	if (line >= ladder->image.index.lines ||
	    ladder->image.index.hashes[line] != ladder->hashes[number])
		return MATCH_NONE;
	found = ladder_line(ladder, line, &newline);
	spend(ladder, (found.len + wanted->text.len) / BYTES_OF_A_LINE);
	if (newline && wanted->no_newline)
		return MATCH_NONE;
	if (equal(found, wanted->text))
		return newline == !wanted->no_newline ? MATCH_SAME : MATCH_ENDS;
	if (ladder->open_end && number == ladder->len - 1)
		return MATCH_NONE;
	if (equal(hunk_trim_end(found), hunk_trim_end(wanted->text)))
		return MATCH_ENDS;
	if (wanted->kind == DIFF_CONTEXT && hunk_equal_but_white(found, wanted->text))
		return MATCH_INDENT;
	return MATCH_NONE;
}

/* --- a side ------------------------------------------------------------ */

void ladder_take_side(struct ladder *ladder, const struct diff_hunk *hunk, enum hunk_side side)
{
	ladder->len = 0;
	for (size_t i = 0; i < hunk->lines_len; i++) {
		if (!hunk_line_on(&hunk->lines[i], side))
			continue;
		ladder->lines[ladder->len] = &hunk->lines[i];
		ladder->numbers[ladder->len] = i;
		ladder->hashes[ladder->len++] =
			hunk_hash(&ladder->image.index, hunk->lines[i].text);
	}
	ladder->core_from = 0;
	ladder->core_to = ladder->len;
	ladder->gaps_max = 0;
	ladder->may_fuzz = false;
	ladder->open_end = false;
}

/* Whether a line was written for HTML: then so were the lines that the hunk
 * adds, unless the file has it so. */
static bool is_escaped(struct bytes text)
{
	static const char *const names[] = {"&lt;", "&gt;", "&amp;", "&quot;", "&#39;"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (memmem(text.data, text.len, names[i], strlen(names[i])) != NULL)
			return true;
	}
	return false;
}

/* Whether a line must be in the file, for it stands for others, or its damage
 * is that of all lines; then nothing is fuzzed. */
static bool must_be_whole(const struct ladder *ladder)
{
	for (size_t i = 0; i < ladder->len; i++) {
		struct bytes text = ladder->lines[i]->text;

		if (ladder->lines[i]->kind == DIFF_CONTEXT &&
		    (recover_is_elision(text) || is_escaped(text)))
			return true;
	}
	return false;
}

static void take_old_side(struct ladder *ladder, const struct diff_hunk *hunk)
{
	ladder_take_side(ladder, hunk, HUNK_OLD);
	ladder->open_end = (hunk->doubts & DIFF_DOUBT_LAST) != 0 &&
			   hunk->lines[hunk->lines_len - 1].kind != DIFF_ADD;
	if (must_be_whole(ladder))
		return;
	ladder->may_fuzz = true;
	ladder->gaps_max = hunk->lacking == LADDER_GAPS_MAX ? LADDER_GAPS_MAX : 1;
	ladder->core_from = hunk->leading > 0 ? hunk->leading - 1 : 0;
	if (!ladder->open_end)
		ladder->core_to = ladder->len - (hunk->trailing > 0 ? hunk->trailing - 1 : 0);
}

size_t ladder_pick_anchor(const struct ladder *ladder, size_t *ret_start, size_t *ret_len)
{
	size_t anchor = ladder->core_from;

	*ret_len = SIZE_MAX;
	for (size_t i = ladder->core_from;
	     i < ladder->core_to && i < ladder->core_from + ANCHORS_MAX; i++) {
		size_t start;
		size_t len = hunk_bucket(&ladder->image.index, ladder->hashes[i], &start);

		if (len < *ret_len) {
			anchor = i;
			*ret_len = len;
			*ret_start = start;
		}
	}
	return anchor;
}

/* --- one place --------------------------------------------------------- */

static void count(struct ladder_place *place, enum ladder_match match)
{
	place->ends += match == MATCH_ENDS;
	place->indent += match == MATCH_INDENT;
}

/* Whether `line` of the file may be passed over between old lines i - 1 and i. */
static bool gap_fits(const struct ladder *ladder, const struct ladder_place *place, size_t i,
		     size_t line)
{
	return i > 0 && i < ladder->len && place->gaps_len < ladder->gaps_max &&
	       line < ladder->image.index.lines && !(ladder->open_end && i == ladder->len - 1);
}

/* Passes it over. Which line is missing, and where it stood, is open where
 * something is added, or the line is like one of the two. */
static void add_gap(const struct ladder *ladder, struct ladder_place *place, size_t i, size_t line)
{
	uint32_t hash = ladder->image.index.hashes[line];

	place->gaps[place->gaps_len++] = i;
	if (ladder->numbers[i] != ladder->numbers[i - 1] + 1 || hash == ladder->hashes[i - 1] ||
	    hash == ladder->hashes[i] ||
	    (ladder->lines[i - 1]->kind != DIFF_CONTEXT && ladder->lines[i]->kind != DIFF_CONTEXT))
		place->open = true;
}

/* Whether a context line that is not where it should be is a little farther:
 * then it is no other context that was altered, but lines are missing. */
static bool is_shifted(struct ladder *ladder, size_t i, size_t one, size_t other)
{
	return !ladder->trusted && (ladder_compare(ladder, i, one) != MATCH_NONE ||
				    ladder_compare(ladder, i, other) != MATCH_NONE);
}

static bool go_on(struct ladder *ladder, size_t anchor, size_t line, struct ladder_place *place)
{
	for (size_t i = anchor + 1; i < ladder->len; i++) {
		enum ladder_match match = ladder_compare(ladder, i, ++line);

		if (match == MATCH_NONE && gap_fits(ladder, place, i, line)) {
			match = ladder_compare(ladder, i, line + 1);
			if (match != MATCH_NONE) {
				add_gap(ladder, place, i, line);
				line++;
			}
		}
		if (match == MATCH_NONE) {
			place->to = i;
			return ladder->may_fuzz && i >= ladder->core_to &&
			       ladder->len - i <= LADDER_FUZZ_MAX &&
			       !is_shifted(ladder, i, line + 1, line + 2);
		}
		count(place, match);
	}
	place->to = ladder->len;
	return true;
}

static bool go_back(struct ladder *ladder, size_t anchor, size_t line, struct ladder_place *place)
{
	for (size_t i = anchor; i > 0; i--) {
		enum ladder_match match =
			line == 0 ? MATCH_NONE : ladder_compare(ladder, i - 1, line - 1);

		if (match == MATCH_NONE && line > 1 && gap_fits(ladder, place, i, line - 1)) {
			match = ladder_compare(ladder, i - 1, line - 2);
			if (match != MATCH_NONE) {
				add_gap(ladder, place, i, line - 1);
				line--;
			}
		}
		if (match == MATCH_NONE) {
			place->from = i;
			place->line = line;
			return ladder->may_fuzz && i <= ladder->core_from && i <= LADDER_FUZZ_MAX &&
			       !is_shifted(ladder, i - 1, line > 1 ? line - 2 : SIZE_MAX,
					   line > 2 ? line - 3 : SIZE_MAX);
		}
		count(place, match);
		line--;
	}
	place->from = 0;
	place->line = line;
	return true;
}

/* So many lines that say something must be there. */
static bool is_telling(const struct ladder *ladder, const struct ladder_place *place, size_t wanted)
{
	size_t telling = 0;

	for (size_t i = place->from; i < place->to && telling < wanted; i++)
		telling += hunk_trim(ladder->lines[i]->text).len >= TELLING_BYTES;
	return ladder->trusted || telling == wanted;
}

/* The rung that a place reaches; RUNGS: none. */
static enum ladder_rung rung_of(const struct ladder *ladder, const struct ladder_place *place,
				bool stated)
{
	size_t behind = ladder->len - place->to;
	size_t fuzz = place->from > behind ? place->from : behind;

	if (fuzz == 0 && place->gaps_len == 0 && place->indent == 0)
		return place->ends > 0 ? RUNG_ENDS : RUNG_EXACT;
	if ((fuzz > 0) + (place->gaps_len > 0) + (place->indent > 0) > 1 ||
	    !is_telling(ladder, place, stated ? 1 : TELLING_LINES))
		return RUNGS;
	if (place->indent > 0)
		return RUNG_INDENT;
	return place->gaps_len > 0 ? RUNG_GAP : fuzz == 1 ? RUNG_FUZZ_1 : RUNG_FUZZ_2;
}

static bool has_context(const struct diff_hunk *hunk)
{
	for (size_t i = 0; i < hunk->lines_len; i++) {
		if (hunk->lines[i].kind == DIFF_CONTEXT)
			return true;
	}
	return false;
}

/* A hunk that lacks context on one side belongs to that end of the file; one
 * without any needs removed lines that say where it is, and added ones that
 * would say that it was applied, unless it is where it says. */
static bool is_tied(const struct ladder *ladder, const struct diff_hunk *hunk,
		    const struct ladder_place *place, bool stated)
{
	size_t matched = place->to - place->from + place->gaps_len;

	if (hunk->leading + hunk->trailing == 0 && !has_context(hunk))
		return is_telling(ladder, place, ladder->len > 1 ? TELLING_LINES : 1) &&
		       (stated || hunk->new_len > 0 || ladder->trusted);
	if (hunk->leading == 0 && place->line > 0)
		return ladder->trusted;
	if (hunk->trailing == 0 && place->line + matched < ladder->image.index.lines)
		return ladder->trusted;
	return true;
}

static void keep(struct ladder_places *places, const struct ladder_place *place, bool stated)
{
	enum ladder_rung lowest = RUNG_EXACT;

	while (lowest < place->rung && places->counts[lowest] == 0)
		lowest++;
	places->counts[place->rung]++;
	if (stated) {
		places->stated = *place;
		places->has_stated = true;
	}
	if (lowest < place->rung)
		return;
	if (places->counts[place->rung] == 1)
		places->best_len = 0;
	if (places->best_len < LADDER_KEPT)
		places->best[places->best_len++] = *place;
}

/* --- all places --------------------------------------------------------- */

void ladder_search(struct ladder *ladder, const struct diff_hunk *hunk, struct ladder_places *ret)
{
	const struct hunk_index *index = &ladder->image.index;
	size_t stated = hunk_stated(hunk, HUNK_OLD);
	size_t start = 0, len, anchor;
	bool at_stated;

	*ret = (struct ladder_places){.best = ladder->kept};
	take_old_side(ladder, hunk);
	if (ladder->len == 0)
		return;
	anchor = ladder_pick_anchor(ladder, &start, &len);
	for (size_t i = 0; i < len; i++) {
		struct ladder_place place = {0};
		size_t line = index->order[start + i];
		enum ladder_match match = ladder_compare(ladder, anchor, line);

		ret->gave_up = ladder->image.budget == 0;
		if (ret->gave_up)
			return;
		if (match == MATCH_NONE)
			continue;
		count(&place, match);
		if (!go_on(ladder, anchor, line, &place) || !go_back(ladder, anchor, line, &place))
			continue;
		place.start = place.line - (place.from < place.line ? place.from : place.line);
		at_stated = place.start == stated && !(hunk->doubts & DIFF_DOUBT_LINES);
		place.rung = rung_of(ladder, &place, at_stated);
		place.telling = is_telling(ladder, &place, 1);
		if (place.rung < RUNGS && is_tied(ladder, hunk, &place, at_stated))
			keep(ret, &place, at_stated);
		else
			ret->untied += place.rung < RUNGS;
	}
}

/* The same line, but for white space at its end, or for CR there alone. */
static bool is_new_line(struct ladder *ladder, size_t number, size_t line, bool any_white)
{
	struct bytes wanted = ladder->lines[number]->text;
	struct bytes found;
	bool newline;

	if (ladder_compare(ladder, number, line) > MATCH_ENDS)
		return false;
	if (any_white)
		return true;
	found = ladder_line(ladder, line, &newline);
	while (wanted.len > 0 && wanted.data[wanted.len - 1] == '\r')
		wanted.len--;
	while (found.len > 0 && found.data[found.len - 1] == '\r')
		found.len--;
	return equal(wanted, found) && newline != ladder->lines[number]->no_newline;
}

size_t ladder_find_new_side(struct ladder *ladder, const struct diff_hunk *hunk, size_t from,
			    size_t to)
{
	const struct hunk_index *index = &ladder->image.index;
	size_t start = 0, len, anchor;

	ladder_take_side(ladder, hunk, HUNK_NEW);
	if (ladder->len == 0)
		return ladder->image.bytes.len == 0 ? 0 : SIZE_MAX;
	anchor = ladder_pick_anchor(ladder, &start, &len);
	for (size_t i = 0; i < len; i++) {
		size_t line = index->order[start + i];
		size_t same = 0;

		if (ladder->image.budget == 0)
			return from; /* nobody knows */
		if (line < anchor || line - anchor < from || line - anchor > to)
			continue;
		while (same < ladder->len &&
		       is_new_line(ladder, same, line - anchor + same, from < to))
			same++;
		if (same == ladder->len)
			return line - anchor;
	}
	return SIZE_MAX;
}

/* --- headings ---------------------------------------------------------- */

static bool is_heading(struct bytes text)
{
	uint8_t c = text.len > 0 ? text.data[0] : 0;

	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$';
}

/* Whether a line is the one that a hunk's header cites, cut as git cuts it. */
static bool is_cited(struct bytes text, struct bytes heading)
{
	if (text.len > HEADING_BYTES_MAX)
		text.len = HEADING_BYTES_MAX;
	return equal(hunk_trim_end(text), hunk_trim_end(heading));
}

bool ladder_heading_is(struct ladder *ladder, const struct diff_hunk *hunk, size_t line)
{
	bool newline;

	for (size_t i = 0; line > 0 && i < HEADING_LINES_MAX && ladder->image.budget > 0; i++) {
		struct bytes text = ladder_line(ladder, --line, &newline);

		ladder->image.budget--;
		if (is_heading(text))
			return is_cited(text, hunk->heading);
	}
	return false;
}

bool hunk_contradicts_heading(struct bytes preimage, const struct diff_hunk *hunk, size_t at)
{
	struct bytes last = {0};
	bool cited = false;

	if (!is_heading(hunk->heading))
		return false;
	for (size_t start = 0; start < preimage.len;) {
		const uint8_t *from = preimage.data + start;
		const uint8_t *newline = memchr(from, '\n', preimage.len - start);
		struct bytes text = {from, newline == NULL ? preimage.len - start
							   : (size_t)(newline - from)};

		if (is_heading(text)) {
			cited = cited || is_cited(text, hunk->heading);
			if (start < at)
				last = text;
		}
		start += text.len + 1;
	}
	return cited && !(last.data != NULL && is_cited(last, hunk->heading));
}
