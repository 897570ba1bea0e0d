/*
 * fuzz_config.c - any text as a configuration, a setting and a variable; globs,
 * sizes and durations, and the address of a broker. What is read must be what
 * other roles are told of it; a glob must match what a matcher that tries
 * everything matches; and no message may show a password.
 *
 *	d configuration, e key and value, f glob and path, g number, h address;
 *	parts end in a newline
 */
#include "queue/carrier.h"
#include "queue/url.h"
#include "tests/fuzz/fuzz.h"
#include "worker/config.h"

#define SECRET "hunter2hunter2"

enum { ARENA_BYTES = 8 << 20, PATTERN_MAX = 12, PATH_BYTES_MAX = 16 };

/* --- the secret ------------------------------------------------------------ */

/* Whether it stands in the text as a password and nowhere else, so that a message
 * may not show it. */
static bool is_password(const char *text)
{
	const char *at = strstr(text, SECRET);

	return at != NULL && strstr(at + 1, SECRET) == NULL &&
	       at - text >= (ptrdiff_t)strlen("://user:") &&
	       strncmp(at - strlen("://user:"), "://user:", strlen("://user:")) == 0 &&
	       at[strlen(SECRET)] == '@';
}

static void require_silence(const char *text, const char *message)
{
	require(!is_password(text) || strstr(message, SECRET) == NULL);
}

/* --- configuration --------------------------------------------------------- */

/* What is told to a role is read again by it, and is told the same. */
static void check_role(const struct config *config, enum config_role role)
{
	struct config again;
	struct err err = {0};
	struct arena arena;
	struct buf text, other;

	arena_init(&arena, ARENA_BYTES);
	buf_init(&text, 1 << 20);
	buf_init(&other, 1 << 20);
	config_role_text(config, role, &text);
	require(!text.failed && config_init(&again, &arena, &err) == 0);
	require(config_read_text(&again, buf_text(&text), "role", &err) == 0);
	config_role_text(&again, role, &other);
	require(text.len == other.len &&
		(text.len == 0 || memcmp(text.data, other.data, text.len) == 0));
	buf_release(&text);
	buf_release(&other);
	arena_release(&arena);
}

static void read_config(struct arena *arena, struct bytes input)
{
	static const enum config_role roles[] = {ROLE_SUPERVISOR, ROLE_PUBLISHER, ROLE_STOREKEEPER,
						 ROLE_ZYGOTE};
	char *text = fuzz_text(input);
	struct config config;
	struct err err = {0};

	require(config_init(&config, arena, &err) == 0);
	if (config_read_text(&config, text, "fuzz.ini", &err) < 0) {
		require(err.kind != ERR_NONE && strlen(err.message) > 0);
		require_silence(text, err.message);
	} else {
		for (size_t i = 0; i < ARRAY_LEN(roles); i++)
			check_role(&config, roles[i]);
		if (config_finish(&config, &err) < 0)
			require_silence(text, err.message);
	}
	free(text);
}

static void set_key(struct arena *arena, struct bytes input)
{
	char *key = fuzz_text(fuzz_until(&input, '\n'));
	char *value = fuzz_text(input);
	struct config config;
	struct err err = {0};

	require(config_init(&config, arena, &err) == 0);
	if (config_set(&config, key, value, &err) == 0)
		check_role(&config, ROLE_SUPERVISOR);
	free(key);
	free(value);
}

/* --- globs ----------------------------------------------------------------- */

/* By trying everything: no classes, no escapes, no '**'. */
static bool matches(const char *pattern, const char *path)
{
	if (*pattern == '\0')
		return *path == '\0';
	if (*pattern == '*')
		return matches(pattern + 1, path) ||
		       (*path != '\0' && *path != '/' && matches(pattern, path + 1));
	if (*path == '\0' || (*pattern == '?' ? *path == '/' : *pattern != *path))
		return false;
	return matches(pattern + 1, path + 1);
}

static void match_glob(struct arena *arena, struct bytes input)
{
	char *pattern = fuzz_text(fuzz_until(&input, '\n'));
	char *path = fuzz_text(input);
	bool found = text_glob_match(pattern, path);

	(void)arena;
	if (strlen(pattern) <= PATTERN_MAX && strlen(path) <= PATH_BYTES_MAX &&
	    strpbrk(pattern, "[]\\!") == NULL && strstr(pattern, "**") == NULL &&
	    strchr(pattern, '/') != NULL && strchr(pattern, '/') != pattern &&
	    strstr(pattern, "//") == NULL && strstr(path, "//") == NULL && path[0] != '/')
		require(found == matches(pattern, path));
	free(pattern);
	free(path);
}

/* --- numbers and addresses ------------------------------------------------- */

static void read_numbers(struct arena *arena, struct bytes input)
{
	char *text = fuzz_text(input);
	int64_t number = -1;

	(void)arena;
	if (text_parse_size(text, &number) || text_parse_duration_ms(text, &number))
		require(number >= 0);
	(void)text_parse_int(text, &number);
	(void)text_distance(text, "worker.slots");
	free(text);
}

/* The secret stands where a password stands: it never comes out. */
static void read_url(struct arena *arena, struct bytes input)
{
	char *scheme = fuzz_text(fuzz_until(&input, '\n'));
	char *rest = fuzz_text(input);
	char *text = arena_printf(arena, "%s://user:" SECRET "@%s", scheme, rest);
	const char *shown;
	struct err err = {0};
	struct url url;
	char cut[40];

	require(text != NULL);
	shown = carrier_url_redacted(arena, text);
	require_silence(text, shown == NULL ? "" : shown);
	url_redact(text, cut, sizeof(cut));
	require(strlen(cut) < sizeof(cut));
	require_silence(text, cut);
	if (url_parse(arena, text, &url, &err) < 0)
		require_silence(text, err.message);
	else
		require(url.port > 0 && url.port <= 65535 && url.host[0] != '\0');
	free(scheme);
	free(rest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static fuzz_taker *const takers[] = {read_config, set_key, match_glob, read_numbers,
					     read_url};

	fuzz_choose(takers, ARRAY_LEN(takers), ARENA_BYTES, (struct bytes){data, size});
	return 0;
}
