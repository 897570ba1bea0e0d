/*
 * guard_path.c - what a path may be.
 *
 * Git checks names when it writes a work tree, on the system it runs on. A job
 * pool does not know where its results go next, so a name is refused when any
 * common file system would see more in it: NTFS cuts at ':' and drops trailing
 * dots and spaces and has 8.3 names, HFS+ and ext4 ignore some characters, all of
 * them ignore case. The comparison therefore runs on the folded form of
 * guard_fold.h.
 */
#include <ctype.h>
#include <string.h>

#include "base/text.h"
#include "schema/limits.h"
#include "snapshots/guard.h"
#include "snapshots/guard_fold.h"

/* --- characters -------------------------------------------------------- */

/* One character of valid UTF-8; `text` moves behind it. */
static uint32_t take_character(struct bytes *text)
{
	const uint8_t *at = text->data;
	size_t len = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
	uint32_t value = len == 1 ? at[0] : at[0] & (0xffu >> (len + 1));

	if (len > text->len)
		len = text->len;
	for (size_t i = 1; i < len; i++)
		value = value << 6 | (at[i] & 0x3f);
	*text = (struct bytes){at + len, text->len - len};
	return value;
}

/* --- names with a meaning ----------------------------------------------- */

enum { PLAIN_BYTES = 24 };

/* The folded name as NTFS reads it: up to ':', without trailing dots and
 * spaces. False when it is not short plain ASCII: then it is none of ours. */
static bool plain_form(struct bytes name, char ret[PLAIN_BYTES])
{
	uint32_t folded[FOLD_CHARACTERS];
	size_t len = 0;

	while (name.len > 0) {
		size_t count = guard_fold_character(take_character(&name), folded);

		for (size_t i = 0; i < count; i++) {
			if (folded[i] == ':')
				name.len = count = 0;
			else if (folded[i] > 127)
				return false;
			else if (len < PLAIN_BYTES - 1)
				ret[len++] = (char)folded[i];
			else if (folded[i] != '.' && folded[i] != ' ')
				return false;
		}
	}
	while (len > 0 && (ret[len - 1] == '.' || ret[len - 1] == ' '))
		len--;
	ret[len] = '\0';
	return true;
}

static const char *const git_files[] = {".gitmodules", ".gitattributes", ".gitignore", ".mailmap"};

/* What NTFS calls these and .git in its 8.3 form, before the '~'. */
static const char *const short_names[] = {"git",    "gitmod", "gitatt", "gitign", "mailma",
					  "gi7eba", "gi7d29", "gi250a", "maba30"};

/* One of these with any number behind '~', or cut to make room for a longer
 * one within eight characters, as in "gi7e~123". */
static bool is_short_name(const char *plain)
{
	const char *tilde = strchr(plain, '~');
	size_t len = strlen(plain);
	size_t stem;

	if (tilde == NULL || tilde[1] == '\0' ||
	    strspn(tilde + 1, "0123456789") != strlen(tilde + 1))
		return false;
	stem = (size_t)(tilde - plain);
	for (size_t i = 0; i < ARRAY_LEN(short_names); i++) {
		if (strncmp(short_names[i], plain, stem) == 0 &&
		    (short_names[i][stem] == '\0' || (stem > 0 && len == 8)))
			return true;
	}
	return false;
}

/* Why a component means something to git, or NULL. */
static const char *git_meaning(struct bytes name)
{
	char plain[PLAIN_BYTES];

	if (!plain_form(name, plain))
		return NULL;
	if (strcmp(plain, ".git") == 0)
		return "a component that file systems take for .git";
	if (is_short_name(plain))
		return "a component that NTFS takes for one of git's own files";
	for (size_t i = 0; i < ARRAY_LEN(git_files); i++) {
		if (strcmp(plain, git_files[i]) == 0 &&
		    (name.len != strlen(plain) || memcmp(name.data, plain, name.len) != 0))
			return "a component that disguises one of git's own files";
	}
	return NULL;
}

bool guard_is_git_file(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash == NULL ? path : slash + 1;

	for (size_t i = 0; i < ARRAY_LEN(git_files); i++) {
		if (strcmp(name, git_files[i]) == 0)
			return true;
	}
	return false;
}

/* COM and LPT with a superscript digit (U+00B9, U+00B2, U+00B3) are devices as
 * those with the digit are. */
static bool is_superscript_device(struct bytes stem)
{
	static const char digits[] = "\xb9\xb2\xb3";
	char plain[PLAIN_BYTES];

	if (stem.len < 5 || stem.data[3] != 0xc2 || strchr(digits, stem.data[4]) == NULL ||
	    !plain_form((struct bytes){stem.data, 3}, plain))
		return false;
	for (size_t i = 5; i < stem.len && stem.data[i] != ':'; i++) {
		if (stem.data[i] != ' ')
			return false;
	}
	return strcmp(plain, "com") == 0 || strcmp(plain, "lpt") == 0;
}

static bool is_device(struct bytes name)
{
	static const char *const devices[] = {"con", "prn", "aux", "nul", "conin$", "conout$"};
	char plain[PLAIN_BYTES];
	struct bytes stem = name;
	const uint8_t *dot = memchr(name.data, '.', name.len);
	size_t len;

	if (dot != NULL)
		stem.len = (size_t)(dot - name.data);
	if (is_superscript_device(stem))
		return true;
	if (!plain_form(stem, plain))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
		if (strcmp(plain, devices[i]) == 0)
			return true;
	}
	len = strlen(plain);
	return len == 4 && (memcmp(plain, "com", 3) == 0 || memcmp(plain, "lpt", 3) == 0) &&
	       plain[3] >= '0' && plain[3] <= '9';
}

/* --- components --------------------------------------------------------- */

/* Takes the first component off; false at the end. */
static bool take_component(const char **path, struct bytes *ret)
{
	size_t len;

	if (*path == NULL)
		return false;
	len = strcspn(*path, "/");
	*ret = (struct bytes){(const uint8_t *)*path, len};
	*path = (*path)[len] == '/' ? *path + len + 1 : NULL;
	return true;
}

/* With trailing spaces or a stream, as NTFS would drop or cut them. */
static bool is_dots(struct bytes name)
{
	const uint8_t *colon = memchr(name.data, ':', name.len);
	size_t len = colon == NULL ? name.len : (size_t)(colon - name.data);

	while (len > 0 && name.data[len - 1] == ' ')
		len--;
	return (len == 1 && name.data[0] == '.') ||
	       (len == 2 && name.data[0] == '.' && name.data[1] == '.');
}

static const char *component_fault(struct bytes name)
{
	if (name.len == 0)
		return "an empty component";
	if (is_dots(name))
		return "a component '.' or '..'";
	if (name.len > LIMIT_NAME_BYTES)
		return "a component is too long";
	return git_meaning(name);
}

/* --- whole paths -------------------------------------------------------- */

static bool has_control(struct bytes text)
{
	while (text.len > 0) {
		uint32_t c = take_character(&text);

		if (c < 0x20 || (c >= 0x7f && c <= 0x9f))
			return true;
	}
	return false;
}

static const char *path_fault(const char *path)
{
	struct bytes text = {(const uint8_t *)path, strlen(path)};
	struct bytes name;
	size_t depth = 0;

	if (text.len == 0)
		return "it is empty";
	if (text.len > LIMIT_PATH_BYTES)
		return "it is too long";
	if (path[0] == '/')
		return "it is absolute";
	if (!text_is_utf8(path, text.len))
		return "it is not UTF-8";
	if (has_control(text))
		return "it holds a control character";
	if (strchr(path, '\\') != NULL)
		return "it holds a backslash";
	while (take_component(&path, &name)) {
		const char *fault = component_fault(name);

		if (fault != NULL)
			return fault;
		if (++depth > LIMIT_PATH_DEPTH)
			return "it has too many components";
	}
	return NULL;
}

/* A path for a message: what is not printable is '?', the rest is cut. */
static void show(const char *path, char ret[160])
{
	size_t len = strnlen(path, 150);

	for (size_t i = 0; i < len; i++)
		ret[i] = path[i] > 0 && path[i] < ' ' ? '?' : path[i];
	(void)memcpy(ret + len, path[len] == '\0' ? "" : "...", path[len] == '\0' ? 1 : 4);
}

int guard_path(const char *path, struct reason *reason)
{
	const char *fault = path_fault(path);
	char shown[160];

	if (fault == NULL)
		return 0;
	show(path, shown);
	return reason_set(reason, REASON_PATCH_PATH, shown, "the path '%s' is not allowed: %s",
			  shown, fault);
}

int guard_new_path(const char *path, struct reason *reason)
{
	const char *rest = path;
	struct bytes name;
	int code = guard_path(path, reason);

	while (code == 0 && take_component(&rest, &name)) {
		if (is_device(name))
			return reason_set(reason, REASON_PATCH_PATH, path,
					  "the path '%s' is not allowed: '%.*s' is a device on "
					  "other systems",
					  path, (int)name.len, (const char *)name.data);
	}
	return code;
}

/* --- modes and links ---------------------------------------------------- */

int guard_mode(uint32_t mode, const char *path, struct reason *reason)
{
	if (mode == 0100644 || mode == 0100755 || mode == 0120000 || mode == 0160000)
		return 0;
	return reason_set(reason, REASON_PATCH_MODE, path, "mode %06o of '%s' is not allowed", mode,
			  path);
}

/* The path that the walk over a target has reached. */
struct walk {
	char path[LIMIT_PATH_BYTES + LIMIT_TEXT_CHARS + 2];
	size_t len;
	bool named; /* its last component came from the target */
};

static bool walk_up(struct walk *walk)
{
	if (walk->len == 0)
		return false;
	while (walk->len > 0 && walk->path[walk->len - 1] != '/')
		walk->len--;
	if (walk->len > 0)
		walk->len--;
	walk->path[walk->len] = '\0';
	return true;
}

static void walk_down(struct walk *walk, struct bytes name)
{
	if (walk->len > 0)
		walk->path[walk->len++] = '/';
	(void)memcpy(walk->path + walk->len, name.data, name.len);
	walk->len += name.len;
	walk->path[walk->len] = '\0';
}

static int bad_link(const char *path, const char *fault, struct reason *reason)
{
	return reason_set(reason, REASON_PATCH_SYMLINK, path, "the link '%s' is not allowed: %s",
			  path, fault);
}

int guard_link(const char *path, struct bytes target, int (*is_link)(void *ctx, const char *path),
	       void *ctx, struct reason *reason)
{
	char text[LIMIT_TEXT_CHARS];
	const char *rest = text;
	struct walk walk = {0};
	struct bytes name;

	if (target.len == 0 || target.len >= sizeof(text) ||
	    memchr(target.data, 0, target.len) != NULL)
		return bad_link(path, "its target is empty, too long or holds a NUL byte", reason);
	(void)memcpy(text, target.data, target.len);
	text[target.len] = '\0';
	if (text[0] == '/' || text[0] == '\\' || (isalpha((uint8_t)text[0]) && text[1] == ':'))
		return bad_link(path, "its target is absolute", reason);
	if (strchr(text, '\\') != NULL)
		return bad_link(path, "its target holds a backslash", reason);
	walk_down(&walk, (struct bytes){(const uint8_t *)path, strlen(path)});
	(void)walk_up(&walk);
	while (take_component(&rest, &name)) {
		bool up = name.len == 2 && memcmp(name.data, "..", 2) == 0;

		if (name.len == 0 || (name.len == 1 && name.data[0] == '.'))
			continue;
		if (up && walk.named) {
			int link = is_link(ctx, walk.path);

			if (link < 0)
				return -1;
			if (link > 0)
				return bad_link(path, "'..' follows another link", reason);
		}
		if (up && !walk_up(&walk))
			return bad_link(path, "its target is outside of the repository", reason);
		if (!up && git_meaning(name) != NULL)
			return bad_link(path, "its target is inside of .git", reason);
		if (!up)
			walk_down(&walk, name);
		walk.named = walk.named || !up;
	}
	return 0;
}
