/* cli.c - see cli.h. */
#include "worker/cli.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "worker/publisher.h"
#include "worker/storekeeper.h"
#include "worker/zygote.h"

static const char default_path[] = "/etc/sbx/worker.ini";

/* --- roles ------------------------------------------------------------ */

static const struct {
	const char *name;
	int (*main)(void);
} roles[] = {
	{"publisher", publisher_main},
	{"storekeeper", storekeeper_main},
	{"zygote", zygote_main},
};

void cli_role(int argc, char **argv)
{
	if (argc != 3 || strcmp(argv[1], "--role") != 0)
		return;
	for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
		if (strcmp(argv[2], roles[i].name) == 0)
			exit(roles[i].main());
	}
	exit(EXIT_USAGE);
}

/* --- configuration ---------------------------------------------------- */

const char *cli_config_path(const char *path)
{
	return path == NULL && access(default_path, F_OK) == 0 ? default_path : path;
}

static int apply_set(struct config *config, struct arena *arena, const char *set, struct err *err)
{
	const char *equals = strchr(set, '=');
	const char *key;

	if (equals == NULL)
		return err_set(err, ERR_INPUT, "--set '%s': expected section.name=value", set);
	key = arena_memdup(arena, set, (size_t)(equals - set));
	if (key == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	return config_set(config, key, equals + 1, err);
}

static int read_all(struct config *config, struct arena *arena, const struct cli_source *source,
		    struct err *err)
{
	const char *path = cli_config_path(source->path);

	if (config_init(config, arena, err) < 0)
		return -1;
	if (path != NULL && config_read_file(config, path, err) < 0)
		return -1;
	if (config_read_env(config, environ, err) < 0)
		return -1;
	for (size_t i = 0; i < source->sets_len; i++) {
		if (apply_set(config, arena, source->sets[i], err) < 0)
			return -1;
	}
	return 0;
}

int cli_config(struct config *config, struct arena *arena, const char *program, const char *path,
	       const char *const *sets, size_t sets_len, struct err *err)
{
	const struct cli_source source = {path, sets, sets_len};
	enum log_level level;

	log_init(program, LOG_INFO, false);
	if (read_all(config, arena, &source, err) < 0 || config_finish(config, err) < 0)
		return -1;
	if (log_level_parse(config->log_level, &level))
		log_init(program, level, config->log_json);
	return 0;
}

static void keep_if_empty(const char **text, const char *old)
{
	if (**text == '\0')
		*text = old;
}

int cli_config_again(const struct cli_source *source, const struct config *old, struct config *ret,
		     struct arena *arena, struct err *err)
{
	if (read_all(ret, arena, source, err) < 0)
		return -1;
	keep_if_empty(&ret->worker_name, old->worker_name);
	keep_if_empty(&ret->worker_state_dir, old->worker_state_dir);
	keep_if_empty(&ret->queue_url, old->queue_url);
	if (ret->worker_slots == 0)
		ret->worker_slots = old->worker_slots;
	return config_finish(ret, err);
}
