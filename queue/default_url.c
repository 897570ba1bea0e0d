/*
 * default_url.c - the queue of who names none: a file where the worker keeps
 * its state. Decided here alone, so that a producer and a worker of the same
 * user meet without either being told.
 */
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#include "queue/carrier.h"

static const char *home_dir(void)
{
	const char *home = getenv("HOME");
	const struct passwd *entry;

	if (home != NULL && *home == '/')
		return home;
	entry = getpwuid(geteuid());
	return entry == NULL || *entry->pw_dir != '/' ? NULL : entry->pw_dir;
}

const char *carrier_default_dir(struct arena *arena, struct err *err)
{
	const char *state = getenv("XDG_STATE_HOME");
	const char *home;
	const char *path;

	if (geteuid() == 0) {
		path = arena_strdup(arena, "/var/lib/sbx");
	} else if (state != NULL && *state == '/') {
		path = arena_printf(arena, "%s/sbx", state);
	} else {
		home = home_dir();
		if (home == NULL) {
			(void)err_set(err, ERR_INPUT, "no home directory known; give a path");
			return NULL;
		}
		path = arena_printf(arena, "%s/.local/state/sbx", home);
	}
	if (path == NULL)
		(void)err_set(err, ERR_LIMIT, "out of memory");
	return path;
}

const char *carrier_default_url(struct arena *arena, struct err *err)
{
	const char *dir = carrier_default_dir(arena, err);
	const char *url = dir == NULL ? NULL : arena_printf(arena, "sqlite:%s/queue.db", dir);

	if (dir != NULL && url == NULL)
		(void)err_set(err, ERR_LIMIT, "out of memory");
	return url;
}
