/*
 * config.h - the worker's configuration, from (later wins) the defaults, a
 * file, the environment (SBX_QUEUE_URL for [queue] url) and flags.
 *
 *	config_init(&config, &arena);
 *	config_read_file(&config, "/etc/sbx/worker.ini", &err);
 *	config_read_env(&config, environ, &err);
 *	config_set(&config, "worker.slots", "4", &err);
 *	config_finish(&config, &err);
 *
 * Each key stands once, in config.def. A process of another role is given
 * config_role_text: only the keys of its role, so that the broker's
 * credentials never reach a process that must not have them.
 */
#ifndef SBX_WORKER_CONFIG_H
#define SBX_WORKER_CONFIG_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "schema/job.h"

enum config_role {
	ROLE_SUPERVISOR = 1,
	ROLE_PUBLISHER = 2,
	ROLE_STOREKEEPER = 4,
	ROLE_ZYGOTE = 8,
	ROLE_LIVE = 16, /* no role: the key may change while the worker runs */
};

#define CONFIG_TYPE_TEXT     const char *
#define CONFIG_TYPE_INT	     int64_t
#define CONFIG_TYPE_SIZE     int64_t
#define CONFIG_TYPE_DURATION int64_t /* milliseconds */
#define CONFIG_TYPE_BOOL     bool
#define CONFIG_TYPE_LIST     struct text_list
#define CONFIG_TYPE_LINES    struct text_list

struct config {
	struct arena *arena;
#define KEY(section, name, kind, def, roles, doc) CONFIG_TYPE_##kind section##_##name;
#include "worker/config.def"
#undef KEY
};

int config_init(struct config *config, struct arena *arena, struct err *err) MUST_CHECK;

/*
 * Unknown sections and keys are errors that name file and line, with the
 * nearest known key. A key may stand once in a file, a list key several times
 * or with several indented lines: the items are joined. A list in a later
 * source replaces the one of an earlier source. Comments stand on lines of
 * their own and start with '#' or ';'. Messages never show what stands before
 * the '@' of a URL.
 */
int config_read_file(struct config *config, const char *path, struct err *err) MUST_CHECK;
int config_read_text(struct config *config, const char *text, const char *origin,
		     struct err *err) MUST_CHECK;

/* Variables that start with SBX_ and name no key are errors, but for those of
 * other programs listed in config_file.c. A list is separated by commas or
 * newlines, [commands] allow by newlines only. */
int config_read_env(struct config *config, char *const *env, struct err *err) MUST_CHECK;
int config_set(struct config *config, const char *key, const char *value,
	       struct err *err) MUST_CHECK;

/* Fills what depends on the machine (name, slots, state_dir) and checks that
 * values fit together; the first misfit is the error. */
int config_finish(struct config *config, struct err *err) MUST_CHECK;

/*
 * For `sbx-worker check`, which wants all problems and not the first: as
 * config_read_file (`path` may be NULL), config_read_env, config_set for each
 * "section.name=value" of `sets`, and config_finish; but each problem is told
 * to `found`, and reading goes on. -1 only when memory is exhausted.
 */
struct config_sink {
	void (*found)(void *ctx, const char *problem);
	void *ctx;
};
struct config_origins {
	const char *path;
	char *const *env;
	const char *const *sets;
	size_t sets_len;
};
int config_load(struct config *config, const struct config_origins *origins,
		const struct config_sink *sink, struct err *err) MUST_CHECK;

/* The keys of one role as INI text for config_read_text. */
void config_role_text(const struct config *config, enum config_role role, struct buf *out);

/*
 * For SIGHUP: adds the names of the keys that differ, those that may change
 * while the worker runs and those that need a restart. Returns which roles are
 * given one of the former.
 */
unsigned config_changes(const struct config *old, const struct config *fresh, struct buf *ret_live,
			struct buf *ret_restart);

/* Takes over the keys that may change. Texts and lists are borrowed from where
 * `fresh` has them. */
void config_take_live(struct config *config, const struct config *fresh);

/* All keys with kinds, defaults and docs, as a commented INI file. */
void config_print_template(struct buf *out);

/* The limits of one job: what it asks for, else what its preset says, else the
 * defaults, clamped to the maxima. Each that was lowered is listed in
 * `ret_clamped`, by the names of the wire: "wall_ms: 7200000 lowered to
 * 3600000". REFUSED with POLICY_PRESET when there is no such preset. */
int config_limits(const struct config *config, const struct job_limits *asked, struct arena *arena,
		  struct job_limits *ret, struct text_list *ret_clamped, struct reason *ret_reason,
		  struct err *err) MUST_CHECK;

/* Whether any of them is above its maximum; then which, by its name on the wire. */
bool config_above_max(const struct config *config, const struct job_limits *limits,
		      const char **ret_name, int64_t *ret_max);

#endif
