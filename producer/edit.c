/*
 * edit.c - the path becomes a list of keys and indexes, the value a tree of its
 * own, and only then the job is walked: it is changed in one place or nowhere,
 * but for maps and lists on the way that were missing.
 */
#include "producer/edit.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "producer/tree.h"
#include "schema/job_type.h"
#include "schema/limits.h"

/* Each index and each key deepens the job. */
enum { HOPS_MAX = 2 * LIMIT_DEPTH };

struct hop {
	const char *key; /* NULL: an index */
	size_t index;
};

struct hops {
	struct hop items[HOPS_MAX];
	size_t len;
};

/* --- the path --------------------------------------------------------- */

static int bad_path(const char *path, struct err *err)
{
	return err_set(err, ERR_INPUT,
		       "'%.128s' is no path such as limits.wall_ms or steps[0].run[1]", path);
}

static int add_hop(struct hops *hops, struct hop hop, const char *path, struct err *err)
{
	if (hops->len == HOPS_MAX)
		return err_set(err, ERR_INPUT, "'%.128s' goes deeper than a job may", path);
	hops->items[hops->len++] = hop;
	return 0;
}

static int add_indexes(struct hops *hops, const char **at, const char *path, struct err *err)
{
	while (**at == '[') {
		size_t digits = strspn(*at + 1, "0123456789");
		char *end;
		struct hop hop = {.index = strtoul(*at + 1, &end, 10)};

		if (digits == 0 || digits > 6 || *end != ']')
			return bad_path(path, err);
		*at = end + 1;
		if (add_hop(hops, hop, path, err) < 0)
			return -1;
	}
	return 0;
}

static int parse_path(struct arena *arena, const char *path, struct hops *hops, struct err *err)
{
	const char *at = path;

	for (;;) {
		size_t len = strcspn(at, ".[");
		char *key = arena_memdup(arena, at, len);

		if (key == NULL)
			return err_set(err, ERR_LIMIT, "out of memory");
		if (len == 0)
			return bad_path(path, err);
		at += len;
		if (add_hop(hops, (struct hop){.key = key}, path, err) < 0 ||
		    add_indexes(hops, &at, path, err) < 0)
			return -1;
		if (*at == '\0')
			return 0;
		if (*at++ != '.')
			return bad_path(path, err);
	}
}

/* --- the value -------------------------------------------------------- */

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text);
	size_t end_len = strlen(end);

	return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static int parse_int(struct arena *arena, const char *path, const char *text, struct value **ret,
		     struct err *err)
{
	int64_t number;

	if (!text_parse_int(text, &number) &&
	    !(ends_with(path, "_bytes") && text_parse_size(text, &number)) &&
	    !(ends_with(path, "_ms") && text_parse_duration_ms(text, &number)))
		return err_set(err, ERR_INPUT, "'%.64s' is no whole number%s", text,
			       ends_with(path, "_bytes") ? " or size such as 512m"
			       : ends_with(path, "_ms")	 ? " or duration such as 5m"
							 : "");
	*ret = value_int(arena, number);
	return 0;
}

static int parse_number(struct arena *arena, const char *text, struct value **ret, struct err *err)
{
	char *end;
	double number = strtod(text, &end);

	if (strspn(text, "0123456789.") != strlen(text) || *end != '\0')
		return err_set(err, ERR_INPUT, "'%.64s' is no number such as 2 or 0.5", text);
	*ret = tree_real(arena, number);
	return 0;
}

/* As the only item of a list, so that a bare number or word is JSON too. */
static int parse_json(struct arena *arena, const char *text, struct value **ret, struct err *err)
{
	const char *listed = arena_printf(arena, "[%s]", text);
	struct err local = {0};
	struct value *list;

	if (listed == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	if (value_from_json(arena, listed, strlen(listed), &list, &local) < 0 ||
	    list->list.len != 1)
		return err_set(err, ERR_INPUT, "'%.64s' is not JSON, as this field takes it", text);
	*ret = list->list.items[0];
	return 0;
}

/* What somebody put into JSON's quotes for once is meant without them. */
static struct value *parse_text(struct arena *arena, const char *text)
{
	struct value *quoted;

	if (*text == '"' && parse_json(arena, text, &quoted, NULL) == 0 &&
	    quoted->kind == VALUE_STR)
		return quoted;
	return value_str(arena, text);
}

static int parse_value(struct arena *arena, const char *path, const char *text, struct value **ret,
		       struct err *err)
{
	enum job_type type = job_type_at(path);

	if (!text_is_utf8(text, strlen(text)))
		return err_set(err, ERR_INPUT, "the value is not UTF-8");
	switch (type) {
	case JOB_TYPE_INT:
		return parse_int(arena, path, text, ret, err);
	case JOB_TYPE_NUMBER:
		return parse_number(arena, text, ret, err);
	case JOB_TYPE_OTHER:
		return parse_json(arena, text, ret, err);
	case JOB_TYPE_BIN:
		*ret = value_bin(arena, (struct bytes){(const uint8_t *)text, strlen(text)});
		return 0;
	case JOB_TYPE_UNKNOWN:
		if (parse_json(arena, text, ret, NULL) == 0)
			return 0;
		break;
	case JOB_TYPE_TEXT:
		break;
	}
	*ret = parse_text(arena, text);
	return 0;
}

/* --- both ------------------------------------------------------------- */

struct edit {
	const char *path;
	struct hops hops;
	struct value *value; /* NULL: what is there is taken away */
};

static int parse(struct arena *arena, const char *assignment, struct edit *ret, struct err *err)
{
	const char *equals = strchr(assignment, '=');

	if (equals == NULL || equals == assignment)
		return err_set(err, ERR_INPUT, "'%.128s' is not PATH=VALUE", assignment);
	ret->path = arena_memdup(arena, assignment, (size_t)(equals - assignment));
	if (ret->path == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	if (strcmp(ret->path, "run") == 0 || strcmp(ret->path, "replayed_from") == 0 ||
	    strcmp(ret->path, "v") == 0)
		return err_set(err, ERR_INPUT, "'%s' is set by the replay itself", ret->path);
	if (parse_path(arena, ret->path, &ret->hops, err) < 0 ||
	    (equals[1] != '\0' && parse_value(arena, ret->path, equals + 1, &ret->value, err) < 0))
		return -1;
	if (arena->exhausted)
		return err_set(err, ERR_LIMIT, "out of memory");
	return 0;
}

int edit_check(const char *assignment, struct err *err)
{
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct edit edit = {0};

	arena_init(&arena, LIMIT_ARENA_BYTES);
	return parse(&arena, assignment, &edit, err);
}

bool edit_is_unknown(const char *assignment)
{
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct edit edit = {0};

	arena_init(&arena, LIMIT_ARENA_BYTES);
	return parse(&arena, assignment, &edit, NULL) == 0 && edit.value != NULL &&
	       job_type_at(edit.path) == JOB_TYPE_UNKNOWN;
}

/* --- the job ---------------------------------------------------------- */

static int enter_list(struct arena *arena, struct value *list, const struct edit *edit, size_t at,
		      struct value *fresh, struct value **ret, struct err *err)
{
	size_t index = edit->hops.items[at].index;

	if (list->kind != VALUE_LIST)
		return err_set(err, ERR_INPUT, "'%s': there is a %s, not a list", edit->path,
			       value_kind_name(list->kind));
	if (index > list->list.len)
		return err_set(err, ERR_INPUT, "'%s': the list has only %zu %s", edit->path,
			       list->list.len, list->list.len == 1 ? "item" : "items");
	if (index == list->list.len)
		value_append(arena, list, fresh);
	else if (at + 1 == edit->hops.len || list->list.items[index]->kind == VALUE_NULL)
		list->list.items[index] = fresh;
	if (arena->exhausted)
		return err_set(err, ERR_LIMIT, "out of memory");
	*ret = list->list.items[index];
	return 0;
}

static int enter_map(struct arena *arena, struct value *map, const struct edit *edit, size_t at,
		     struct value *fresh, struct value **ret, struct err *err)
{
	const char *key = edit->hops.items[at].key;
	struct value *item;

	if (map->kind != VALUE_MAP)
		return err_set(err, ERR_INPUT, "'%s': there is a %s, not a map with '%s'",
			       edit->path, value_kind_name(map->kind), key);
	item = tree_item(map, key);
	if (at + 1 == edit->hops.len || item == NULL || item->kind == VALUE_NULL) {
		value_put(arena, map, key, fresh);
		item = fresh;
	}
	if (arena->exhausted)
		return err_set(err, ERR_LIMIT, "out of memory");
	*ret = item;
	return 0;
}

/* The map or list that holds the last hop; NULL when it is not there. */
static struct value *holder_of(struct value *tree, const struct edit *edit)
{
	for (size_t at = 0; tree != NULL && at + 1 < edit->hops.len; at++) {
		const struct hop *hop = &edit->hops.items[at];

		if (hop->key != NULL)
			tree = tree_item(tree, hop->key);
		else if (tree->kind == VALUE_LIST && hop->index < tree->list.len)
			tree = tree->list.items[hop->index];
		else
			tree = NULL;
	}
	return tree;
}

static void take_away(struct value *tree, const struct edit *edit)
{
	const struct hop *last = &edit->hops.items[edit->hops.len - 1];
	struct value *holder = holder_of(tree, edit);

	if (holder == NULL)
		return;
	if (last->key != NULL && holder->kind == VALUE_MAP)
		tree_remove_key(holder, last->key);
	else if (last->key == NULL && holder->kind == VALUE_LIST)
		tree_remove_item(holder, last->index);
}

int edit_apply(struct arena *arena, struct value *tree, const char *assignment, struct err *err)
{
	struct edit edit = {0};

	if (parse(arena, assignment, &edit, err) < 0)
		return -1;
	if (edit.value == NULL)
		take_away(tree, &edit);
	for (size_t at = 0; edit.value != NULL && at < edit.hops.len; at++) {
		bool is_last = at + 1 == edit.hops.len;
		struct value *fresh = is_last				    ? edit.value
				      : edit.hops.items[at + 1].key != NULL ? value_map(arena)
									    : value_list(arena);
		int rc;

		if (edit.hops.items[at].key != NULL)
			rc = enter_map(arena, tree, &edit, at, fresh, &tree, err);
		else
			rc = enter_list(arena, tree, &edit, at, fresh, &tree, err);
		if (rc < 0)
			return -1;
	}
	return 0;
}
