/*
 * fuzz_source.c - any text as the repository of a job, and as an entry of the
 * operator's list. The oracle knows four allowed places by their letters: what
 * is let through must lie in one of them as it is spelled then, must be spelled
 * so for good, and no server may send it on to another host.
 *
 *	REPO \n REDIRECT \n ENTRY
 */
#include <limits.h>

#include "snapshots/source.h"
#include "tests/fuzz/fuzz.h"

#define HTTPS "https://good.example/a"
#define PORT  "https://good.example:8443/b"
#define WILD  ".wild.example"
#define SSH   "ssh://git@good.example/r"
#define LOCAL "/usr/share"

static bool below(const char *url, const char *place)
{
	size_t len = strlen(place);

	return strncmp(url, place, len) == 0 && (url[len] == '/' || url[len] == '\0');
}

static bool is_wild(const char *url)
{
	const char *host = url + strlen("https://"), *path = strchr(host, '/');
	size_t len = path == NULL ? 0 : (size_t)(path - host);

	return strncmp(url, "https://", 8) == 0 && len > strlen(WILD) &&
	       strncmp(path - strlen(WILD), WILD, strlen(WILD)) == 0 &&
	       strcspn(host, "@:") >= len && below(path, "/w");
}

static void check(struct arena *arena, const struct text_list *allow,
		  const struct source_url *source)
{
	struct reason reason = {0};
	struct source_url again;
	struct err err = {0};

	require(source->local == (source->url[0] == '/'));
	require(below(source->url, HTTPS) || below(source->url, PORT) || is_wild(source->url) ||
		below(source->url, SSH) || below(source->url, LOCAL));
	require(strstr(source->url, "/../") == NULL && strstr(source->url, "/./") == NULL);
	require(strstr(source->url + strlen("https://"), "//") == NULL);
	for (const char *at = source->url; *at != '\0'; at++)
		require(*at >= 0x20 && *at != 0x7f && (source->local || *at > 0x20));
	require(strchr(source->name, '/') == NULL && source->name[0] != '.');
	if (source_normalise(arena, source->url, allow, &again, &reason, &err) != 0)
		/* nobody spells a '%' of a local path, so it may only be one */
		require(source->local);
	else
		require(source->local || (strcmp(again.url, source->url) == 0 &&
					  strcmp(again.name, source->name) == 0));
}

/* Where an https server may send on to lies on its own host, by whatever
 * spelling; ours tells the host's letters from the rest. */
static void check_redirect(struct arena *arena, const struct text_list *allow,
			   const struct source_url *source, const char *target)
{
	struct reason reason = {0};
	struct source_url place;
	struct err err = {0};

	if (!source_may_redirect(source, target))
		return;
	require(!source->local && !source->ssh);
	require(source_normalise(arena, target, allow, &place, &reason, &err) == 0);
	require(!place.local && !place.ssh && strcmp(place.host, source->host) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *entries[] = {HTTPS "/", PORT, "https://*.wild.example/w", SSH, LOCAL};
	const struct text_list allow = {entries, ARRAY_LEN(entries)};
	struct bytes input = {data, size};
	char *repo = fuzz_text(fuzz_until(&input, '\n'));
	char *target = fuzz_text(fuzz_until(&input, '\n'));
	char *entry = fuzz_text(input);
	struct source_url source;
	struct reason reason = {0};
	struct err err = {0};
	struct arena arena;

	arena_init(&arena, 1 << 20);
	switch (source_normalise(&arena, repo, &allow, &source, &reason, &err)) {
	case 0:
		check(&arena, &allow, &source);
		check_redirect(&arena, &allow, &source, target);
		break;
	case REFUSED:
		require(text_is_utf8(reason.message, strlen(reason.message)));
		break;
	default: /* a path that does not exist */
		require(err.kind != ERR_NONE);
	}
	if (source_allow_check(entry, &err) == 0) {
		const struct text_list one = {(const char *[]){entry}, 1};

		require(source_normalise(&arena, repo, &one, &source, &reason, &err) >= 0 ||
			err.kind != ERR_NONE);
	}
	free(repo);
	free(target);
	free(entry);
	arena_release(&arena);
	return 0;
}
