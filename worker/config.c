/*
 * config.c - theory: config.def is the only list of keys. It becomes the
 * fields of struct config and the table below, which holds each field's
 * offset, so that reading, printing and handing on are loops over one table.
 * A value is parsed when it is set, whatever it comes from, so a wrong one is
 * an error at its own line. What depends on other values or on the machine is
 * looked at in config_check.c.
 */
#include "worker/config_private.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

/* --- the table -------------------------------------------------------- */

enum {
	S = ROLE_SUPERVISOR,
	P = ROLE_PUBLISHER,
	K = ROLE_STOREKEEPER,
	Z = ROLE_ZYGOTE,
	LIVE = ROLE_LIVE
};

const struct config_key config_keys[] = {
#define KEY(section, name, kind, def, roles, doc) \
	{#section,                                \
	 #name,                                   \
	 CONFIG_##kind,                           \
	 def,                                     \
	 roles,                                   \
	 doc,                                     \
	 offsetof(struct config, section##_##name)},
#include "worker/config.def"
#undef KEY
};
const size_t config_keys_len = ARRAY_LEN(config_keys);

/* --- finding a key ---------------------------------------------------- */

enum { NEAR_EDITS = 3, DOTTED_BYTES = 64 };

static void dotted(const struct config_key *key, char ret[DOTTED_BYTES])
{
	(void)snprintf(ret, DOTTED_BYTES, "%s.%s", key->section, key->name);
}

static bool section_exists(const char *section)
{
	for (size_t i = 0; i < config_keys_len; i++) {
		if (strcmp(config_keys[i].section, section) == 0)
			return true;
	}
	return false;
}

/* The key whose dotted name is nearest; a key of the same name in another
 * section comes next. NULL when nothing is near. */
static const struct config_key *nearest_key(const char *wanted, const char *name)
{
	const struct config_key *near = NULL;
	size_t near_edits = NEAR_EDITS + 1;

	for (size_t i = 0; i < config_keys_len; i++) {
		char text[DOTTED_BYTES];
		size_t edits;

		dotted(&config_keys[i], text);
		edits = text_distance(wanted, text);
		if (edits < near_edits) {
			near = &config_keys[i];
			near_edits = edits;
		}
	}
	for (size_t i = 0; near == NULL && i < config_keys_len; i++) {
		if (strcmp(config_keys[i].name, name) == 0)
			near = &config_keys[i];
	}
	return near;
}

static int unknown_section(const char *section, struct err *err)
{
	const char *near = NULL;
	size_t near_edits = NEAR_EDITS + 1;

	for (size_t i = 0; i < config_keys_len; i++) {
		size_t edits = text_distance(section, config_keys[i].section);

		if (edits < near_edits) {
			near = config_keys[i].section;
			near_edits = edits;
		}
	}
	if (near == NULL)
		return err_set(err, ERR_INPUT, "unknown section [%.40s]", section);
	return err_set(err, ERR_INPUT, "unknown section [%.40s]; did you mean [%s]?", section,
		       near);
}

static int unknown_key(const char *section, const char *name, struct err *err)
{
	char wanted[DOTTED_BYTES];
	const struct config_key *near;

	if (*section == '\0')
		return err_set(err, ERR_INPUT, "key '%.40s' stands before any [section]", name);
	if (!section_exists(section))
		return unknown_section(section, err);
	(void)snprintf(wanted, sizeof(wanted), "%.20s.%.40s", section, name);
	near = nearest_key(wanted, name);
	if (near == NULL)
		return err_set(err, ERR_INPUT, "unknown key '%s'", wanted);
	return err_set(err, ERR_INPUT, "unknown key '%s'; did you mean '%s.%s'?", wanted,
		       near->section, near->name);
}

const struct config_key *config_find(const char *section, const char *name, struct err *err)
{
	for (size_t i = 0; i < config_keys_len; i++) {
		if (strcmp(config_keys[i].section, section) == 0 &&
		    strcmp(config_keys[i].name, name) == 0)
			return &config_keys[i];
	}
	(void)unknown_key(section, name, err);
	return NULL;
}

/* --- values ----------------------------------------------------------- */

void config_shown(const char *value, char ret_shown[CONFIG_SHOWN_BYTES])
{
	const char *scheme_end = strstr(value, "://");
	const char *at = scheme_end == NULL ? NULL : strrchr(scheme_end, '@');

	if (at == NULL)
		(void)snprintf(ret_shown, CONFIG_SHOWN_BYTES, "%s", value);
	else
		(void)snprintf(ret_shown, CONFIG_SHOWN_BYTES, "%.*s://***%s",
			       (int)(scheme_end - value), value, at);
}

static int wrong(const struct config_key *key, const char *value, const char *expected,
		 struct err *err)
{
	char shown[CONFIG_SHOWN_BYTES];

	config_shown(value, shown);
	return err_set(err, ERR_INPUT, "%s.%s: '%s' is not %s", key->section, key->name, shown,
		       expected);
}

static bool parse_bool(const char *value, bool *ret)
{
	static const struct {
		const char *word;
		bool boolean;
	} words[] = {{"true", true}, {"false", false}, {"yes", true}, {"no", false},
		     {"on", true},   {"off", false},   {"1", true},   {"0", false}};

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strcasecmp(value, words[i].word) == 0) {
			*ret = words[i].boolean;
			return true;
		}
	}
	return false;
}

/* How many places a list of `len` items has: their number and the NULL behind
 * them, rounded up to a power of two, so that growth is seldom. */
static size_t list_places(size_t len)
{
	size_t places = 8;

	while (places < len + 1)
		places *= 2;
	return places;
}

static int list_append(struct arena *arena, struct text_list *list, const char *item,
		       struct err *err)
{
	if (list->len >= CONFIG_ITEMS)
		return err_set(err, ERR_LIMIT, "more than %d items", CONFIG_ITEMS);
	if (list->items == NULL || list_places(list->len + 1) != list_places(list->len)) {
		const char **items = arena_array(arena, list_places(list->len + 1), sizeof(*items));

		if (items == NULL)
			return err_set(err, ERR_LIMIT, "out of memory");
		if (list->len > 0)
			(void)memcpy(items, list->items, list->len * sizeof(*items));
		list->items = items;
	}
	list->items[list->len++] = item;
	return 0;
}

/* A copy without the blanks around it; NULL with `err` filled. */
static char *trimmed(struct arena *arena, const char *text, size_t len, struct err *err)
{
	char *copy;

	while (len > 0 && (*text == ' ' || *text == '\t' || *text == '\r')) {
		text++;
		len--;
	}
	while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t' || text[len - 1] == '\r'))
		len--;
	if (len > CONFIG_VALUE_BYTES) {
		(void)err_set(err, ERR_LIMIT, "longer than %d bytes", CONFIG_VALUE_BYTES);
		return NULL;
	}
	for (size_t i = 0; i < len; i++) {
		if (((uint8_t)text[i] < ' ' && text[i] != '\t') || text[i] == '\x7f') {
			(void)err_set(err, ERR_INPUT, "holds a control character");
			return NULL;
		}
	}
	copy = arena_memdup(arena, text, len);
	if (copy == NULL)
		(void)err_set(err, ERR_LIMIT, "out of memory");
	return copy;
}

static int list_add(struct config *config, const struct config_key *key, const char *value,
		    struct text_list *list, struct err *err)
{
	const char *separators = key->kind == CONFIG_LIST ? ",\n" : "\n";

	for (;;) {
		size_t len = strcspn(value, separators);
		char *item = trimmed(config->arena, value, len, err);

		if (item == NULL ||
		    (*item != '\0' && list_append(config->arena, list, item, err) < 0))
			return err_prefix(err, "%s.%s", key->section, key->name);
		if (value[len] == '\0')
			return 0;
		value += len + 1;
	}
}

static int assign_scalar(void *field, const struct config_key *key, char *text, struct err *err)
{
	switch (key->kind) {
	case CONFIG_TEXT:
		*(const char **)field = text;
		return 0;
	case CONFIG_INT:
		if (!text_parse_int(text, field) || *(int64_t *)field < 0)
			return wrong(key, text, "a whole number, 0 or more", err);
		return 0;
	case CONFIG_SIZE:
		if (!text_parse_size(text, field))
			return wrong(key, text, "a size, such as 512m or 2g", err);
		return 0;
	case CONFIG_DURATION:
		if (!text_parse_duration_ms(text, field))
			return wrong(key, text, "a duration, such as 500ms, 30s, 10m or 2h", err);
		return 0;
	case CONFIG_BOOL:
		if (!parse_bool(text, field))
			return wrong(key, text, "true or false", err);
		return 0;
	case CONFIG_LIST:
	case CONFIG_LINES:
		break;
	}
	assert(!"a list is no scalar");
	return -1;
}

int config_assign(struct config *config, const struct config_key *key, const char *value,
		  bool append, struct err *err)
{
	void *field = (char *)config + key->offset;
	char *text;

	if (!text_is_utf8(value, strlen(value)))
		return err_set(err, ERR_INPUT, "%s.%s: the value is not UTF-8", key->section,
			       key->name);
	if (config_is_list(key)) {
		struct text_list *list = field;

		if (!append)
			*list = (struct text_list){0};
		return list_add(config, key, value, list, err);
	}
	text = trimmed(config->arena, value, strlen(value), err);
	if (text == NULL)
		return err_prefix(err, "%s.%s", key->section, key->name);
	return assign_scalar(field, key, text, err);
}

/* --- the public half -------------------------------------------------- */

int config_init(struct config *config, struct arena *arena, struct err *err)
{
	*config = (struct config){.arena = arena};
	for (size_t i = 0; i < config_keys_len; i++) {
		if (config_assign(config, &config_keys[i], config_keys[i].def, false, err) < 0)
			return err_prefix(err, "default");
	}
	return 0;
}

int config_set(struct config *config, const char *key, const char *value, struct err *err)
{
	const char *dot = strchr(key, '.');
	char section[DOTTED_BYTES];
	const struct config_key *found;

	if (dot == NULL || (size_t)(dot - key) >= sizeof(section))
		return err_set(err, ERR_INPUT, "'%.64s' is no key; write section.key=value", key);
	(void)snprintf(section, sizeof(section), "%.*s", (int)(dot - key), key);
	found = config_find(section, dot + 1, err);
	if (found == NULL)
		return -1;
	return config_assign(config, found, value, false, err);
}
