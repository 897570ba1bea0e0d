/*
 * roots.c - theory: the settings name roots in three ways, NAME=/directory, NAME
 * for one below roots_dir, and "host". What [sandbox] root says is the first of
 * the list, by name or as a directory of its own, so that a job without a word
 * about it gets number 0. A name leads to one directory for as long as the
 * worker runs.
 */
#include "worker/roots.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAME_CHARS = 64 };

#define ROOTS_SYSTEM_DIR "/var/lib/sbx-roots"

/* --- names ------------------------------------------------------------ */

bool roots_is_name(const char *text)
{
	size_t len = strlen(text);

	if (len == 0 || len > NAME_CHARS || text[0] == '.' || text[0] == '_' || text[0] == '-')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!islower((unsigned char)text[i]) && !isdigit((unsigned char)text[i]) &&
		    strchr("._-", text[i]) == NULL)
			return false;
	return true;
}

bool roots_find(const struct roots *roots, const char *name, unsigned *ret_index)
{
	if (name == NULL || *name == '\0') {
		*ret_index = 0;
		return true;
	}
	for (size_t i = 0; i < roots->len; i++)
		if (strcmp(roots->items[i].name, name) == 0) {
			*ret_index = (unsigned)i;
			return true;
		}
	return false;
}

void roots_names(const struct roots *roots, struct buf *out)
{
	for (size_t i = 0; i < roots->len; i++)
		buf_printf(out, "%s%s", i == 0 ? "" : ", ", roots->items[i].name);
}

/* --- directories ------------------------------------------------------ */

/* Not below the worker's state directory, which its unprivileged part owns. */
const char *roots_default_dir(struct arena *arena, struct err *err)
{
	const char *home = getenv("HOME");
	const char *path;

	if (geteuid() != 0 && (home == NULL || *home != '/')) {
		(void)err_set(err, ERR_INPUT,
			      "sandbox.roots_dir: HOME is not set; name a directory");
		return NULL;
	}
	path = geteuid() == 0 ? arena_strdup(arena, ROOTS_SYSTEM_DIR)
			      : arena_printf(arena, "%s/.local/share/sbx-roots", home);
	if (path == NULL)
		(void)err_set(err, ERR_LIMIT, "out of memory");
	return path;
}

/* The separators of an overlay's options cannot be in it. */
static bool is_directory(const char *path)
{
	return *path == '/' && strpbrk(path, ":,\\") == NULL && strlen(path) < ROOTS_PATH_BYTES;
}

const char *roots_locate(const char *name, struct arena *arena, struct err *err)
{
	const char *dirs[2] = {roots_default_dir(arena, NULL), ROOTS_SYSTEM_DIR};

	if (strchr(name, '/') != NULL)
		return name;
	if (strcmp(name, ROOTS_HOST) == 0)
		return "/";
	if (!roots_is_name(name)) {
		(void)err_set(err, ERR_INPUT, "'%.64s' is neither a directory nor a name", name);
		return NULL;
	}
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		const char *path =
			dirs[i] == NULL ? NULL : arena_printf(arena, "%s/%s", dirs[i], name);

		if (path != NULL && access(path, F_OK) == 0)
			return root_check(path, err) < 0 ? NULL : path;
	}
	(void)err_set(err, ERR_NOT_FOUND, "no root '%s' in %s; make one with mkroot", name,
		      dirs[0] == NULL ? dirs[1] : dirs[0]);
	return NULL;
}

/* --- the settings ----------------------------------------------------- */

static int add(struct roots *roots, const char *name, const char *path, struct err *err)
{
	unsigned index;

	if (roots->len > 0 && roots_find(roots, name, &index))
		return err_set(err, ERR_INPUT, "sandbox.roots: '%.64s' is named twice", name);
	if (roots->len == ROOTS_MAX)
		return err_set(err, ERR_INPUT, "sandbox.roots: more than %d", ROOTS_MAX);
	roots->items[roots->len++] =
		(struct root){.name = name, .path = strcmp(path, "/") == 0 ? "" : path};
	return 0;
}

/* An item of the list, or [sandbox] root. */
static int add_item(const struct config *config, struct arena *arena, const char *item,
		    struct roots *roots, struct err *err)
{
	size_t len = strcspn(item, "=");
	char *name = arena_printf(arena, "%.*s", (int)len, item);
	const char *path = item[len] == '=' ? item + len + 1 : NULL;

	if (name == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	if (!roots_is_name(name))
		return err_set(err, ERR_INPUT,
			       "sandbox.roots: '%.64s' is no name: expected 1-%d of a-z, 0-9, '.', "
			       "'_' and '-'",
			       name, NAME_CHARS);
	if (strcmp(name, ROOTS_HOST) == 0) {
		if (path != NULL)
			return err_set(err, ERR_INPUT,
				       "sandbox.roots: '" ROOTS_HOST "' is the machine's own, no "
				       "directory can be given for it");
		return add(roots, name, "", err);
	}
	if (path == NULL)
		path = arena_printf(arena, "%s/%s", config->sandbox_roots_dir, name);
	if (path == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	if (!is_directory(path))
		return err_set(err, ERR_INPUT,
			       "sandbox.roots: %s: expected an absolute path without ':', ',' or "
			       "'\\', found '%.128s'",
			       name, path);
	return add(roots, name, path, err);
}

/* The one that jobs get that name none. When it is among those that have a name,
 * that entry is it. */
static int add_first(const struct config *config, struct arena *arena, struct roots *roots,
		     struct err *err)
{
	const char *root = config->sandbox_root;
	const struct text_list *list = &config->sandbox_roots;
	size_t len = strlen(root);

	if (*root == '\0')
		return add(roots, ROOTS_HOST, "", err);
	if (*root == '/') {
		if (!is_directory(root))
			return err_set(err, ERR_INPUT,
				       "sandbox.root: expected an absolute path without ':', ',' "
				       "or '\\', found '%.128s'",
				       root);
		return add(roots, "default", root, err);
	}
	for (size_t i = 0; i < list->len; i++)
		if (strncmp(list->items[i], root, len) == 0 &&
		    (list->items[i][len] == '\0' || list->items[i][len] == '='))
			return add_item(config, arena, list->items[i], roots, err);
	if (strcmp(root, ROOTS_HOST) == 0)
		return add(roots, ROOTS_HOST, "", err);
	return err_set(err, ERR_INPUT,
		       "sandbox.root: '%.64s' is neither a directory nor a name of sandbox.roots",
		       root);
}

int roots_read(const struct config *config, struct arena *arena, struct roots *ret, struct err *err)
{
	const struct text_list *list = &config->sandbox_roots;
	bool named = *config->sandbox_root != '/'; /* the first may be in the list too */
	size_t first;

	*ret = (struct roots){.len = 0};
	if (add_first(config, arena, ret, err) < 0)
		return -1;
	first = strlen(ret->items[0].name);
	for (size_t i = 0; i < list->len; i++) {
		const char *item = list->items[i];

		if (named && strncmp(item, ret->items[0].name, first) == 0 &&
		    (item[first] == '\0' || (item[first] == '=' && *ret->items[0].path != '\0'))) {
			named = false;
			continue;
		}
		if (add_item(config, arena, item, ret, err) < 0)
			return -1;
	}
	return 0;
}
