/*
 * config_live.c - the keys that may change while the worker runs: those with
 * LIVE among their roles in config.def.
 */
#include <stdio.h>
#include <string.h>

#include "worker/config_private.h"

static bool lists_equal(const struct text_list *a, const struct text_list *b)
{
	if (a->len != b->len)
		return false;
	for (size_t i = 0; i < a->len; i++) {
		if (strcmp(a->items[i], b->items[i]) != 0)
			return false;
	}
	return true;
}

static bool equal(const struct config_key *key, const struct config *a, const struct config *b)
{
	const void *left = (const char *)a + key->offset;
	const void *right = (const char *)b + key->offset;

	switch (key->kind) {
	case CONFIG_TEXT:
		return strcmp(*(const char *const *)left, *(const char *const *)right) == 0;
	case CONFIG_INT:
	case CONFIG_SIZE:
	case CONFIG_DURATION:
		return *(const int64_t *)left == *(const int64_t *)right;
	case CONFIG_BOOL:
		return *(const bool *)left == *(const bool *)right;
	case CONFIG_LIST:
	case CONFIG_LINES:
		break;
	}
	return lists_equal(left, right);
}

static size_t size_of(const struct config_key *key)
{
	switch (key->kind) {
	case CONFIG_TEXT:
		return sizeof(const char *);
	case CONFIG_INT:
	case CONFIG_SIZE:
	case CONFIG_DURATION:
		return sizeof(int64_t);
	case CONFIG_BOOL:
		return sizeof(bool);
	case CONFIG_LIST:
	case CONFIG_LINES:
		break;
	}
	return sizeof(struct text_list);
}

static void add_name(const struct config_key *key, struct buf *names)
{
	if (names != NULL)
		buf_printf(names, "%s%s.%s", names->len == 0 ? "" : ", ", key->section, key->name);
}

unsigned config_changes(const struct config *old, const struct config *fresh, struct buf *ret_live,
			struct buf *ret_restart)
{
	unsigned roles = 0;

	for (size_t i = 0; i < config_keys_len; i++) {
		const struct config_key *key = &config_keys[i];
		bool live = (key->roles & ROLE_LIVE) != 0;

		if (equal(key, old, fresh))
			continue;
		add_name(key, live ? ret_live : ret_restart);
		if (live)
			roles |= key->roles & ~(unsigned)ROLE_LIVE;
	}
	return roles;
}

void config_take_live(struct config *config, const struct config *fresh)
{
	for (size_t i = 0; i < config_keys_len; i++) {
		const struct config_key *key = &config_keys[i];

		if ((key->roles & ROLE_LIVE) != 0)
			(void)memcpy((char *)config + key->offset,
				     (const char *)fresh + key->offset, size_of(key));
	}
}
