/*
 * reports.c - gathers the cases of all reports of a job.
 *
 * Theory: one entry an id, found by an open hash with a seed of its own, for
 * ids are hostile. The ids that the job waits for are entered first, as
 * missing, so they always have room; others are kept within LIMIT_CASES and
 * REPORTS_ID_BYTES, and the rest is only counted. What an entry becomes when its id comes again is
 * decided in one function, merge.
 */
#include "worker/reports.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "worker/reports_entries.h"

/* --- notes ------------------------------------------------------------ */

/* False when the list is full; its last note then says that there are more. */
static bool has_room(struct reports *reports, struct text_list *list)
{
	if (list->items == NULL)
		list->items = arena_array(reports->arena, REPORTS_NOTES + 1, sizeof(*list->items));
	if (list->items == NULL || list->len >= REPORTS_NOTES)
		return false;
	if (list->len == REPORTS_NOTES - 1)
		list->items[list->len++] = "and more";
	return list->len < REPORTS_NOTES;
}

static void note(struct text_list *list, const char *text)
{
	if (text != NULL)
		list->items[list->len++] = text;
}

static void on_problem(void *ctx, const char *text)
{
	struct reports *reports = ctx;
	struct text_list *list = reports->in_file ? &reports->problems : &reports->stream_problems;

	if (has_room(reports, list))
		note(list, arena_printf(reports->arena, "%.200s: %s", reports->origin, text));
}

static void conflict(struct reports *reports, const struct report_case *entry,
		     enum case_status other, const char *what)
{
	if (has_room(reports, &reports->conflicts))
		note(&reports->conflicts, arena_printf(reports->arena, "%s: %s and %s, %s",
						       entry->id, report_status_name(entry->status),
						       report_status_name(other), what));
}

/* --- ids -------------------------------------------------------------- */

/*
 * pytest's node id as its JUnit XML has it: the directories and the classes
 * are joined by dots, the function is the name. Brackets may hold anything.
 */
static void canonical_id(const char *id, char ret[CASE_ID_BYTES])
{
	const char *file_end = strstr(id, ".py::");
	const char *bracket = strchr(id, '[');
	const char *name;
	size_t len = 0;

	(void)report_text((struct bytes){(const uint8_t *)id, strlen(id)}, ret, CASE_ID_BYTES);
	if (file_end == NULL || (bracket != NULL && bracket < file_end))
		return;
	id = ret;
	file_end = strstr(id, ".py::");
	if (file_end == NULL)
		return;
	bracket = strchr(id, '[');
	name = file_end + strlen(".py::");
	for (const char *next = name; (next = strstr(next, "::")) != NULL;) {
		if (bracket != NULL && next > bracket)
			break;
		next += 2;
		name = next;
	}
	/* In place: what is written is never longer than what was read. */
	for (const char *at = id; at < name - 2;) {
		if (at == file_end) {
			at += strlen(".py");
		} else if (at > file_end && at[0] == ':' && at[1] == ':') {
			ret[len++] = '.';
			at += 2;
		} else {
			ret[len++] = at < file_end && *at == '/' ? '.' : *at;
			at++;
		}
	}
	(void)memmove(ret + len, name - 2, strlen(name - 2) + 1);
}

/* --- the hash --------------------------------------------------------- */

static uint64_t hash_id(const struct reports *reports, const char *id)
{
	uint64_t hash = reports->seed;

	for (; *id != '\0'; id++) {
		hash = (hash ^ (uint8_t)*id) * 0x9e3779b97f4a7c15u;
		hash ^= hash >> 29;
	}
	return hash;
}

/* The place of this id, or the free one where it belongs. */
static uint32_t *find_place(const struct reports *reports, const char *canonical)
{
	uint64_t hash = hash_id(reports, canonical);
	size_t at = hash & reports->index_mask;

	for (;; at = (at + 1) & reports->index_mask) {
		uint32_t *place = &reports->index[at];

		if (*place == 0)
			return place;
		if (reports->cases[*place - 1].hash == hash &&
		    strcmp(reports->cases[*place - 1].canonical, canonical) == 0)
			return place;
	}
}

/* NULL when the arena is exhausted. */
static struct report_case *enter(struct reports *reports, const char *id, const char *canonical,
				 uint32_t *place)
{
	struct report_case *entry = &reports->cases[reports->cases_len];
	char clean[CASE_ID_BYTES];

	assert(reports->cases_len < reports->cases_capacity);
	(void)report_text((struct bytes){(const uint8_t *)id, strlen(id)}, clean, sizeof(clean));
	*entry = (struct report_case){.hash = hash_id(reports, canonical),
				      .canonical = arena_strdup(reports->arena, canonical),
				      .status = CASE_missing};
	if (entry->canonical == NULL)
		return NULL;
	entry->id = strcmp(clean, canonical) == 0 ? entry->canonical
						  : arena_strdup(reports->arena, clean);
	if (entry->id == NULL)
		return NULL;
	*place = (uint32_t)++reports->cases_len;
	return entry;
}

static void enter_wanted(struct reports *reports, const struct text_list *ids, unsigned list)
{
	for (size_t i = 0; i < ids->len; i++) {
		char canonical[CASE_ID_BYTES];
		struct report_case *entry;
		uint32_t *place;

		canonical_id(ids->items[i], canonical);
		place = find_place(reports, canonical);
		entry = *place != 0 ? &reports->cases[*place - 1]
				    : enter(reports, ids->items[i], canonical, place);
		if (entry == NULL)
			return;
		entry->wanted |= list;
	}
}

static uint64_t random_seed(void)
{
	uint64_t seed;

	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed))
		seed = (uint64_t)(uintptr_t)&seed * 0x9e3779b97f4a7c15u;
	return seed | 1;
}

void reports_init(struct reports *reports, struct arena *arena, const struct job_tests *wanted)
{
	size_t places = 1024;

	*reports = (struct reports){.arena = arena, .wanted = wanted, .seed = random_seed()};
	if (!wanted->present)
		return;
	reports->cases_capacity = LIMIT_CASES + wanted->fail_to_pass.len + wanted->pass_to_pass.len;
	while (places < reports->cases_capacity * 2)
		places *= 2;
	reports->index_mask = places - 1;
	reports->index = arena_array(arena, places, sizeof(*reports->index));
	reports->cases = arena_array(arena, reports->cases_capacity, sizeof(*reports->cases));
	if (reports->index == NULL || reports->cases == NULL)
		return;
	enter_wanted(reports, &wanted->fail_to_pass, WANTED_TO_PASS);
	enter_wanted(reports, &wanted->pass_to_pass, WANTED_TO_STAY);
	reports->wanted_len = reports->cases_len;
}

/* --- cases ------------------------------------------------------------ */

/* What is not bad may fill half of the room only. */
static const char *keep_message(struct reports *reports, const struct found_case *found)
{
	size_t room =
		report_status_bad(found->status) ? REPORTS_TEXT_BYTES : REPORTS_TEXT_BYTES / 2;
	size_t len = found->message == NULL ? 0 : strlen(found->message);

	if (len == 0 || reports->message_bytes + len > room)
		return NULL;
	reports->message_bytes += len;
	return arena_strdup(reports->arena, found->message);
}

static void take(struct reports *reports, struct report_case *entry, const struct found_case *found)
{
	entry->seen = true;
	entry->from_file = reports->in_file;
	entry->status = found->status;
	entry->duration_us = found->duration_us;
	entry->message = keep_message(reports, found);
}

static void merge(struct reports *reports, struct report_case *entry,
		  const struct found_case *found)
{
	bool differ = entry->status != found->status;

	if (!entry->seen) {
		take(reports, entry, found);
	} else if (entry->from_file != reports->in_file) {
		if (differ)
			conflict(reports, entry, found->status,
				 "in a report and in the output; "
				 "the report counts");
		if (reports->in_file)
			take(reports, entry, found);
	} else {
		if (differ)
			conflict(reports, entry, found->status, "given twice; the worse counts");
		if (found->status > entry->status)
			take(reports, entry, found);
	}
}

static void on_found(void *ctx, const struct found_case *found)
{
	struct reports *reports = ctx;
	char canonical[CASE_ID_BYTES];
	struct report_case *entry;
	uint32_t *place;

	canonical_id(found->id, canonical);
	place = find_place(reports, canonical);
	if (*place != 0) {
		merge(reports, &reports->cases[*place - 1], found);
		return;
	}
	if (reports->cases_len - reports->wanted_len >= LIMIT_CASES ||
	    reports->id_bytes >= REPORTS_ID_BYTES) {
		report_count(&reports->beyond, found->status);
		reports->beyond_bad = reports->beyond_bad || report_status_bad(found->status);
		return;
	}
	reports->id_bytes += strlen(found->id) + strlen(canonical);
	entry = enter(reports, found->id, canonical, place);
	if (entry != NULL)
		take(reports, entry, found);
}

/* --- sources ---------------------------------------------------------- */

static bool has_format(const struct reports *reports, const char *format)
{
	return strcmp(reports->wanted->format, format) == 0;
}

static bool is_reading(const struct reports *reports)
{
	return reports->wanted->present && !has_format(reports, "exit") && reports->cases != NULL &&
	       reports->index != NULL;
}

void reports_stream(struct reports *reports, struct bytes text)
{
	const struct report_sink sink = {.found = on_found, .problem = on_problem, .ctx = reports};

	if (!is_reading(reports) || has_format(reports, "junit") || !tap_looks_like(text))
		return;
	reports->origin = "output";
	reports->in_file = false;
	reports->any_report = true;
	(void)tap_parse(text, &sink);
}

void reports_file(struct reports *reports, const char *path, struct bytes content)
{
	const struct report_sink sink = {.found = on_found, .problem = on_problem, .ctx = reports};
	char clean[256];
	bool readable = false;

	if (!is_reading(reports))
		return;
	(void)report_text((struct bytes){(const uint8_t *)path, strlen(path)}, clean,
			  sizeof(clean));
	reports->origin = clean;
	reports->in_file = true;
	reports->any_file = true;
	if (content.len > LIMIT_REPORT_BYTES)
		on_problem(reports, "the report is too large");
	else if (has_format(reports, "junit") ||
		 (has_format(reports, "auto") && junit_looks_like(content)))
		readable = junit_parse(content, &sink);
	else if (tap_looks_like(content))
		readable = tap_parse(content, &sink);
	else
		on_problem(reports, has_format(reports, "tap") ? "it is no TAP"
							       : "it is neither JUnit XML nor TAP");
	reports->any_report = reports->any_report || readable;
	reports->origin = "";
}
