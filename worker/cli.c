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

int cli_config(struct config *config, struct arena *arena, const char *program, const char *path,
	       const char *const *sets, size_t sets_len, struct err *err)
{
	enum log_level level;

	log_init(program, LOG_INFO, false);
	if (config_init(config, arena, err) < 0)
		return -1;
	path = cli_config_path(path);
	if (path != NULL && config_read_file(config, path, err) < 0)
		return -1;
	if (config_read_env(config, environ, err) < 0)
		return -1;
	for (size_t i = 0; i < sets_len; i++) {
		if (apply_set(config, arena, sets[i], err) < 0)
			return -1;
	}
	if (config_finish(config, err) < 0)
		return -1;
	if (log_level_parse(config->log_level, &level))
		log_init(program, level, config->log_json);
	return 0;
}
