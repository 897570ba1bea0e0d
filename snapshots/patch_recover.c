/*
 * patch_recover.c - the hunks of one file of a damaged diff.
 *
 * An index line whose old oid is the base's makes its new oid a proof, and a
 * proof makes it safe to try: the stated lines first, then the ladder, then
 * the two things that a diff can lose without a trace (line ends of added
 * lines, the mark of a missing last newline). Nothing is tried without it.
 */
#include <string.h>

#include "snapshots/hunk_private.h"
#include "snapshots/patch_private.h"

/* The first trials differ in what a diff can lose, then in where lost lines
 * stood, one hunk at a time and all together, then in places. */
enum {
	PROOF_DIGITS = 7,
	ENDS_TRIALS = 12,
	READINGS_MAX = 64,
	ALL_READINGS_MAX = 128,
	CHOICES_MAX = 32,
	TRIALS = ENDS_TRIALS + READINGS_MAX + ALL_READINGS_MAX + CHOICES_MAX,
	LINE_BYTES = 64 /* a line of the diff costs a trial as much as so many bytes of the file */
};

struct trial {
	struct patch_run *run;
	const struct diff_file *file;
	struct bytes preimage;
	bool proves; /* the index line can */
	bool cut;    /* what came out may lack a part */
	struct hunk_image image;
};

/* --- trials -------------------------------------------------------------- */

static bool is_proven(const struct trial *trial, struct bytes postimage)
{
	struct oid oid;

	gitdb_blob_oid(postimage, &oid);
	return trial->proves && patch_oid_is(trial->file->new_oid, &oid);
}

static int apply(const struct trial *trial, const struct diff_file *file, struct bytes *ret)
{
	struct hunk_request request = {.file = file,
				       .preimage = trial->preimage,
				       .trusted = true,
				       .limit_bytes = trial->run->max_file_bytes};
	struct hunk_result result;
	int code = hunk_apply(trial->run->arena, &request, &result, trial->run->reason,
			      trial->run->err);

	if (code == 0)
		*ret = result.postimage;
	return code;
}

static bool has_doubt(const struct diff_file *file, unsigned doubt)
{
	for (size_t i = 0; i < file->hunks_len; i++) {
		if (file->hunks[i].doubts & doubt)
			return true;
	}
	return false;
}

/* Whether a hunk that may have been cut off lacks lines that can all have been
 * context: then a whole result of this file says nothing about the files that
 * may have come behind. */
static bool lacks_context(const struct diff_file *file)
{
	const struct diff_hunk *last = &file->hunks[file->hunks_len - 1];

	return (last->doubts & DIFF_DOUBT_CUT) && last->lacking > 0;
}

/* Finds places, rewrites the hunks, applies them as any others. */
static int try_ladder(struct trial *trial, const struct hunk_recovery *how, struct bytes *ret)
{
	struct patch_run *run = trial->run;
	struct hunk_request request = {.file = trial->file,
				       .preimage = trial->preimage,
				       .limit_bytes = run->max_file_bytes};
	struct diff_file mended;
	int code = hunk_recover(run->arena, &request, how, &mended, &run->outcome->adjusted,
				run->reason, run->err);

	if (code != 0)
		return code;
	trial->cut = has_doubt(&mended, DIFF_DOUBT_CUT);
	return apply(trial, &mended, ret);
}

/* Takes the cost of one more reading of the file off what the diff may cost. */
static bool spend(const struct trial *trial)
{
	size_t cost = trial->preimage.len;

	for (size_t i = 0; i < trial->file->hunks_len; i++)
		cost += LINE_BYTES * trial->file->hunks[i].lines_len;
	if (cost > trial->run->recover_bytes)
		return false;
	trial->run->recover_bytes -= cost;
	return true;
}

/* What the trial tries; false: nothing new. `open` is what the first one left
 * open. */
static bool choose_trial(size_t trial, const struct hunk_open *open, struct hunk_recovery *how)
{
	if (trial < ENDS_TRIALS) {
		how->ends = trial / 3;
		how->newline = HUNK_NEWLINE_KEPT + trial % 3;
		return true;
	}
	trial -= ENDS_TRIALS;
	if (trial < READINGS_MAX) {
		how->reading = trial + 1;
		return how->reading <= open->readings;
	}
	trial -= READINGS_MAX;
	if (trial < ALL_READINGS_MAX) {
		how->reading = trial + 1;
		how->all_readings = true;
		return open->readings > 1;
	}
	how->choice = trial - ALL_READINGS_MAX + 1;
	return true;
}

/* Everything that the proof can tell right from wrong. 0: proven; else what
 * the first trial said. */
static int try_all(struct trial *trial, struct bytes *ret)
{
	struct patch_run *run = trial->run;
	struct text_list notes = run->outcome->adjusted;
	struct hunk_open open = {0};
	struct reason first = {0};
	int code = REFUSED;

	if (!has_doubt(trial->file, DIFF_DOUBT_LINES) && !lacks_context(trial->file)) {
		code = apply(trial, trial->file, ret);
		if (code < 0 || (code == 0 && is_proven(trial, *ret)))
			return code;
	}
	for (size_t i = 0; i < TRIALS; i++) {
		struct hunk_recovery how = {
			.line_ends = run->recovered->line_ends,
			.trusted = true,
			.newline = HUNK_NEWLINE_KEPT,
			.open = i == 0 ? &open : NULL,
			.image = &trial->image,
			.shape = run->shape,
			.budget = &run->recover_budget,
		};

		if (!choose_trial(i, &open, &how))
			continue;
		if (i > 0 && !spend(trial))
			break;
		run->outcome->adjusted = notes;
		code = try_ladder(trial, &how, ret);
		if (code < 0 || (code == 0 && is_proven(trial, *ret)))
			return code;
		if (code == 0)
			(void)patch_refuse(run, REASON_PATCH_RESULT, trial->file->at_line,
					   trial->file->new_path,
					   "no reading of the hunks gives the blob %s that the "
					   "index line names",
					   trial->file->new_oid);
		if (i == 0)
			first = *run->reason;
		if (open.hopeless)
			break;
	}
	run->outcome->adjusted = notes;
	*run->reason = first;
	return REFUSED;
}

/* --- index lines that are made up ------------------------------------------ */

/* The empty blob, or digits that count or repeat: what is written when nobody
 * asked git. */
static bool is_made_up(const char *hex)
{
	static const char *const known[] = {"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
					    "0123456789abcdef",
					    "123456789abcdef",
					    "abcdef0123456789",
					    "abcdef123456789",
					    "abc123abc123",
					    "abc1234567",
					    "deadbeef"};

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (strncmp(hex, known[i], strlen(hex)) == 0)
			return true;
	}
	return strspn(hex, (char[]){hex[0], '\0'}) == strlen(hex);
}

/* --- the whole -------------------------------------------------------------- */

static int refuse_cut(const struct trial *trial)
{
	return patch_refuse(trial->run, REASON_PATCH_TRUNCATED, trial->file->at_line,
			    trial->file->new_path,
			    "the last hunk ends before its counts or its last line do, and nothing "
			    "proves that the diff was not cut off there");
}

static bool has_cr(const struct diff_file *file, bool old_side)
{
	for (size_t i = 0; i < file->hunks_len; i++) {
		for (size_t k = 0; k < file->hunks[i].lines_len; k++) {
			const struct diff_line *line = &file->hunks[i].lines[k];

			if ((line->kind != DIFF_ADD) == old_side && line->text.len > 0 &&
			    line->text.data[line->text.len - 1] == '\r')
				return true;
		}
	}
	return false;
}

/* CR that the hunks of one file have and their file has not is damage; then
 * nothing tells whether the CR of a new file is. */
static int judge_ends(const struct trial *trial, bool creates)
{
	struct patch_run *run = trial->run;

	if (creates && !trial->proves && has_cr(trial->file, false))
		run->cr_made = trial->file;
	if (!creates && trial->preimage.len > 0 && has_cr(trial->file, true) &&
	    memchr(trial->preimage.data, '\r', trial->preimage.len) == NULL)
		run->cr_damaged = true;
	if (run->cr_made == NULL || !run->cr_damaged || run->recovered->line_ends)
		return 0;
	return patch_refuse(run, REASON_PATCH_AMBIGUOUS, run->cr_made->at_line,
			    run->cr_made->new_path,
			    "the diff has CR LF where files of the base have LF, so those of the "
			    "new file '%s' may be damage too",
			    run->cr_made->new_path);
}

static int refuse_blank(const struct trial *trial)
{
	return patch_refuse(trial->run, REASON_PATCH_AMBIGUOUS, trial->file->at_line,
			    trial->file->new_path,
			    "by its counts some blank line of a hunk lost its '+' or '-', and "
			    "nothing proves which, or that the counts are wrong");
}

static int try_unproven(struct trial *trial, struct bytes *ret)
{
	struct hunk_recovery how = {.line_ends = trial->run->recovered->line_ends,
				    .shape = trial->run->shape,
				    .budget = &trial->run->recover_budget};

	if (has_doubt(trial->file, DIFF_DOUBT_BLANK))
		return refuse_blank(trial);
	return try_ladder(trial, &how, ret);
}

int patch_recover_hunks(struct patch_run *run, const struct diff_file *file, const char *path,
			const struct oid *before, struct bytes preimage, bool *trusted,
			struct bytes *ret)
{
	const char *new_oid = file->new_oid;
	struct trial trial = {.run = run, .file = file, .preimage = preimage};
	int code;

	trial.proves = *trusted && new_oid != NULL && strlen(new_oid) >= PROOF_DIGITS &&
		       file->change != DIFF_DELETE;
	if (!*trusted && before != NULL && patch_oid_is(new_oid, before))
		return patch_refuse(run, REASON_PATCH_APPLIED, file->at_line, path,
				    "'%s' has the content that the diff makes already", path);
	if (trial.proves && before == NULL && is_made_up(new_oid)) {
		trial.proves = false;
		*trusted = false;
	}
	if (!spend(&trial))
		return patch_refuse(run, REASON_PATCH_TOO_LARGE, file->at_line, path,
				    "the damaged diff changes more and larger files than can be "
				    "searched for where its hunks belong");
	code = trial.proves ? try_all(&trial, ret) : try_unproven(&trial, ret);
	if (code == 0)
		code = judge_ends(&trial, before == NULL);
	if (code == 0 && trial.cut && (!trial.proves || lacks_context(file)))
		return refuse_cut(&trial);
	if (code != 0 || before == NULL || ret->len != preimage.len ||
	    memcmp(ret->data, preimage.data, preimage.len) != 0)
		return code;
	return patch_refuse(run, REASON_PATCH_EMPTY, file->at_line, path,
			    "the hunks leave '%s' as it is", path);
}
