/*
 * config_private.h - the table of keys, for the files of config only.
 */
#ifndef SBX_WORKER_CONFIG_PRIVATE_H
#define SBX_WORKER_CONFIG_PRIVATE_H

#include "worker/config.h"

enum {
	CONFIG_FILE_BYTES = 1 << 20,
	CONFIG_VALUE_BYTES = 4096, /* one value, or one item of a list */
	CONFIG_ITEMS = 10000,	   /* of one list */
	CONFIG_SHOWN_BYTES = 128,
};

enum config_kind {
	CONFIG_TEXT,
	CONFIG_INT,
	CONFIG_SIZE,
	CONFIG_DURATION,
	CONFIG_BOOL,
	CONFIG_LIST,
	CONFIG_LINES,
};

struct config_key {
	const char *section;
	const char *name;
	enum config_kind kind;
	const char *def;
	unsigned roles;
	const char *doc;
	size_t offset;
};

extern const struct config_key config_keys[];
extern const size_t config_keys_len;

/* NULL and `err` filled with the nearest known name when there is none. */
const struct config_key *config_find(const char *section, const char *name, struct err *err);

static inline bool config_is_list(const struct config_key *key)
{
	return key->kind == CONFIG_LIST || key->kind == CONFIG_LINES;
}

/* Parses and stores a value; a list is emptied first unless `append`. */
int config_assign(struct config *config, const struct config_key *key, const char *value,
		  bool append, struct err *err) MUST_CHECK;

/* A value as messages may show it: cut, and without a URL's credentials. */
void config_shown(const char *value, char ret_shown[CONFIG_SHOWN_BYTES]);

/* config_check.c: the two halves of config_finish. */
int config_derive(struct config *config, struct err *err) MUST_CHECK;
void config_misfits(const struct config *config, const struct config_sink *sink);

#endif
