/*
 * source.c - names of repositories, brought to one spelling and then compared
 * with the operator's list.
 *
 * Normalising is what makes the comparison mean something: "HTTPS://Host:443/
 * a/../b" and "https://host/b" are one place and must be judged as one. The
 * syntax is that of RFC 3986 without what a repository has no use for (query,
 * fragment, password). A URL is split into a struct place; entries of the list
 * go through the same function, so both sides agree by construction.
 */
#include "snapshots/source.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "snapshots/gitdb.h"

enum { URL_BYTES_MAX = 2048, HOST_BYTES_MAX = 255, SLUG_BYTES = 40 };

struct place {
	const char *scheme; /* "https", "ssh", or NULL for a local path */
	char user[64];
	char host[HOST_BYTES_MAX + 8]; /* with ":port" unless that is the default */
	bool wildcard;		       /* host is what follows "*." */
	char path[PATH_MAX]; /* absolute, no '.', '..' or empty parts, no '/' at its end */
};

/* --- the parts of a URL ------------------------------------------------ */

static int bad(struct err *err, const char *url, const char *why)
{
	return err_set(err, ERR_INPUT, "bad source '%.200s': %s", url, why);
}

static bool is_unreserved(unsigned char c)
{
	return isascii(c) && (isalnum(c) || strchr("-._~", c) != NULL);
}

/* Decodes what needs no escape, spells the others in capitals. For a local
 * path everything is decoded. False for what must not be there at all. */
static bool unescape(const char *text, bool local, char *ret, size_t size)
{
	size_t len = 0;

	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;
		bool escaped = c == '%';

		if (len + 4 > size)
			return false;
		if (escaped) {
			int byte = text_hex_byte(text + 1);

			if (byte < 0)
				return false;
			c = (unsigned char)byte;
			text += 2;
		}
		if (c < 0x20 || c == 0x7f || (escaped && c == '/'))
			return false;
		if (local || is_unreserved(c) ||
		    (!escaped && strchr("/!$&'()*+,;=:@", c) != NULL)) {
			ret[len++] = (char)c;
		} else if (escaped || c >= 0x80) {
			(void)snprintf(ret + len, 4, "%%%02X", c);
			len += 3;
		} else {
			return false;
		}
	}
	ret[len] = '\0';
	return true;
}

/* Removes '.', '..' and empty parts; '..' stops at the top. In place. */
static void clean_path(char *path)
{
	char *out = path;

	for (const char *at = path; *at != '\0';) {
		size_t len;

		at += strspn(at, "/");
		len = strcspn(at, "/");
		if (len == 2 && at[0] == '.' && at[1] == '.') {
			while (out > path && *--out != '/') {
			}
		} else if (len > 0 && !(len == 1 && at[0] == '.')) {
			*out++ = '/';
			(void)memmove(out, at, len);
			out += len;
		}
		at += len;
	}
	*out = '\0';
}

static bool host_valid(const char *host)
{
	size_t len = strlen(host);

	if (len == 0 || len > HOST_BYTES_MAX || host[0] == '-' || host[0] == '.' ||
	    strstr(host, "..") != NULL)
		return false;
	if (host[0] == '[')
		return len > 3 && strspn(host + 1, "0123456789abcdef:.") == len - 2 &&
		       host[len - 1] == ']';
	return strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789-._") == len;
}

/* "user@host:port" of `len` bytes. */
static const char *parse_authority(const char *text, size_t len, struct place *ret)
{
	const char *at_sign = memchr(text, '@', len);
	char host[HOST_BYTES_MAX + 1];
	int64_t port = 0;
	char *colon;

	if (at_sign != NULL) {
		size_t user_len = (size_t)(at_sign - text);

		if (strcmp(ret->scheme, "ssh") != 0 || memchr(text, ':', user_len) != NULL)
			return "credentials do not belong into the address";
		if (user_len == 0 || user_len >= sizeof(ret->user) || text[0] == '-')
			return "bad user name";
		(void)memcpy(ret->user, text, user_len);
		ret->user[user_len] = '\0';
		if (!text_is_id(ret->user))
			return "bad user name";
		text += user_len + 1;
		len -= user_len + 1;
	}
	if (len > HOST_BYTES_MAX)
		return "bad host";
	for (size_t i = 0; i < len; i++)
		host[i] = (char)tolower((unsigned char)text[i]);
	host[len] = '\0';
	colon = strrchr(host, ':');
	if (colon != NULL && strchr(colon, ']') == NULL) {
		if (colon[1] != '\0' &&
		    (!isdigit((unsigned char)colon[1]) || !text_parse_int(colon + 1, &port) ||
		     port < 1 || port > 65535))
			return "bad port";
		*colon = '\0';
	}
	len = strlen(host);
	if (len > 1 && host[len - 1] == '.')
		host[len - 1] = '\0';
	ret->wildcard = strncmp(host, "*.", 2) == 0;
	if (!host_valid(ret->wildcard ? host + 2 : host))
		return "bad host";
	if (port == (strcmp(ret->scheme, "ssh") == 0 ? 22 : 443))
		port = 0;
	(void)snprintf(ret->host, sizeof(ret->host), "%s", ret->wildcard ? host + 2 : host);
	if (port != 0)
		(void)snprintf(ret->host + strlen(ret->host), 7, ":%d", (int)port);
	return NULL;
}

/* Takes "scheme://" off. Returns what is wrong with it, or NULL. */
static const char *parse_scheme(const char **url, struct place *ret)
{
	static const char *const schemes[] = {"https", "ssh"};
	const char *end = strstr(*url, "://");
	size_t len = end != NULL ? (size_t)(end - *url) : 0;

	if ((*url)[0] == '/')
		return NULL;
	if (end == NULL)
		return strchr(*url, ':') != NULL
			       ? "write it as ssh://user@host/path"
			       : "a local repository is named by its absolute path";
	for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
		if (len == strlen(schemes[i]) && strncasecmp(*url, schemes[i], len) == 0)
			ret->scheme = schemes[i];
	}
	if (ret->scheme == NULL && !(len == 4 && strncasecmp(*url, "file", 4) == 0))
		return "only https, ssh and local paths are allowed";
	*url = end + 3;
	return NULL;
}

/* What git is told over ssh goes through a shell at the other end, and libgit2
 * escapes nothing of it. */
static bool ssh_path_valid(const char *path)
{
	for (; *path != '\0'; path++) {
		if (!is_unreserved((unsigned char)*path) && strchr("/+@=,", *path) == NULL)
			return false;
	}
	return true;
}

/* --- a whole place ----------------------------------------------------- */

static int parse_place(const char *url, struct place *ret, struct err *err)
{
	const char *at = url;
	const char *why = NULL;
	size_t len = strlen(url);

	*ret = (struct place){0};
	if (len == 0 || len > URL_BYTES_MAX)
		return bad(err, url, len == 0 ? "it is empty" : "it is too long");
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)url[i] < 0x20 || url[i] == 0x7f)
			return bad(err, url, "it holds a control character");
	}
	if (!text_is_utf8(url, len))
		return bad(err, url, "it is not UTF-8");
	why = parse_scheme(&at, ret);
	if (why != NULL)
		return bad(err, url, why);
	if (ret->scheme == NULL) {
		if (url[0] == '/') {
			if (snprintf(ret->path, sizeof(ret->path), "%s", at) >=
			    (int)sizeof(ret->path))
				return bad(err, url, "its path is too long");
			return 0;
		}
		if (strncasecmp(at, "localhost/", 10) == 0)
			at += 9;
		if (at[0] != '/' || !unescape(at, true, ret->path, sizeof(ret->path)))
			return bad(err, url, "write file:///path");
		return 0;
	}
	len = strcspn(at, "/");
	if (strpbrk(at, "?#") != NULL)
		return bad(err, url, "'?' and '#' have no place in it");
	why = parse_authority(at, len, ret);
	if (why == NULL && !unescape(at + len, false, ret->path, sizeof(ret->path)))
		why = "bad path";
	if (why == NULL && strcmp(ret->scheme, "ssh") == 0 && !ssh_path_valid(ret->path))
		why = "over ssh a path is made of A-Za-z0-9._~/+@=,-";
	if (why != NULL)
		return bad(err, url, why);
	clean_path(ret->path);
	return 0;
}

/* The path without any link. Of one that does not exist the part that does is
 * resolved, so the answer tells nothing about what a link leads to. Returns
 * whether it exists; errno says why not. */
static bool resolve_local(struct place *place)
{
	char rest[PATH_MAX] = "";
	char joined[2 * PATH_MAX];
	char real[PATH_MAX];
	int why = 0;

	while (realpath(place->path[0] != '\0' ? place->path : "/", real) == NULL) {
		char *slash = strrchr(place->path, '/');

		why = why == 0 ? errno : why;
		if (slash == NULL)
			break;
		(void)snprintf(joined, sizeof(joined), "%s%s", slash, rest);
		(void)memcpy(rest, joined, strlen(joined) + 1);
		*slash = '\0';
	}
	(void)snprintf(joined, sizeof(joined), "%s%s", real, rest);
	clean_path(joined);
	(void)snprintf(place->path, sizeof(place->path), "%.*s", PATH_MAX - 1, joined);
	errno = why;
	return why == 0;
}

/* --- comparing --------------------------------------------------------- */

/* The same path, or one below it. */
static bool path_within(const char *path, const char *allowed)
{
	size_t len = strlen(allowed);

	return strncmp(path, allowed, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static bool host_within(const struct place *place, const struct place *allowed)
{
	size_t len = strlen(place->host);
	size_t allowed_len = strlen(allowed->host);

	if (!allowed->wildcard)
		return strcmp(place->host, allowed->host) == 0;
	return len > allowed_len + 1 && place->host[len - allowed_len - 1] == '.' &&
	       strcmp(place->host + len - allowed_len, allowed->host) == 0;
}

static bool place_allowed(const struct place *place, const struct place *allowed)
{
	if (place->scheme != allowed->scheme)
		return false;
	if (place->scheme == NULL)
		return path_within(place->path, allowed->path);
	return strcmp(place->user, allowed->user) == 0 && host_within(place, allowed) &&
	       path_within(place->path, allowed->path);
}

/* 1, 0, or -1 when an entry of the list is none. */
static int is_allowed(const struct place *place, const struct text_list *allow, struct err *err)
{
	struct place allowed;

	for (size_t i = 0; i < allow->len; i++) {
		if (parse_place(allow->items[i], &allowed, err) < 0)
			return -1;
		if (allowed.scheme == NULL)
			(void)resolve_local(&allowed);
		if (place_allowed(place, &allowed))
			return 1;
	}
	return 0;
}

int source_allow_check(const char *entry, struct err *err)
{
	struct place place;

	return parse_place(entry, &place, err);
}

/* --- the name in the store --------------------------------------------- */

/* Readable, but it is the hash that keeps two sources apart. */
static char *make_name(struct arena *arena, const char *url)
{
	const char *last = strrchr(url, '/');
	char hex[OID_HEX_BYTES];
	char slug[SLUG_BYTES + 1];
	size_t len = 0;
	struct oid oid;

	assert(last != NULL);
	gitdb_blob_oid((struct bytes){(const uint8_t *)url, strlen(url)}, &oid);
	oid_hex(&oid, hex);
	for (last++; *last != '\0' && len < SLUG_BYTES; last++)
		slug[len++] = isascii((unsigned char)*last) && isalnum((unsigned char)*last) ? *last
											     : '-';
	slug[len] = '\0';
	return arena_printf(arena, "%s-%s", len > 0 ? slug : "root", hex);
}

struct source_url source_of_files(void)
{
	return (struct source_url){.url = "the files of the job", .local = true, .name = "files"};
}

static int fill(struct arena *arena, const struct place *place, struct source_url *ret,
		struct err *err)
{
	const char *url;

	if (place->scheme == NULL)
		url = arena_strdup(arena, place->path[0] != '\0' ? place->path : "/");
	else
		url = arena_printf(arena, "%s://%s%s%s%s", place->scheme, place->user,
				   place->user[0] != '\0' ? "@" : "", place->host, place->path);
	if (url != NULL && gitdb_library_init(err) < 0)
		return -1;
	*ret = (struct source_url){
		.url = url,
		.local = place->scheme == NULL,
		.ssh = place->scheme != NULL && strcmp(place->scheme, "ssh") == 0,
	};
	ret->name = url != NULL ? make_name(arena, url) : NULL;
	ret->host = place->scheme != NULL ? arena_strdup(arena, place->host) : NULL;
	if (ret->name == NULL || (place->scheme != NULL && ret->host == NULL)) {
		errno = ENOMEM;
		return err_sys(err, "cannot normalise source");
	}
	return 0;
}

int source_normalise(struct arena *arena, const char *repo, const struct text_list *allow,
		     struct source_url *ret, struct reason *ret_reason, struct err *err)
{
	struct place place;
	struct err why = {0};
	int good;

	if (parse_place(repo, &place, &why) < 0)
		return reason_set(ret_reason, REASON_SOURCE_URL, "source.repo", "%s", why.message);
	if (place.wildcard || (place.scheme != NULL && place.path[0] == '\0'))
		return reason_set(ret_reason, REASON_SOURCE_URL, "source.repo",
				  "bad source '%.200s': it names no repository", repo);
	/* What a job may not see, it may not learn the existence of either. */
	if (place.scheme == NULL && !resolve_local(&place))
		(void)err_sys(&why, "cannot open repository '%s'", place.path);
	good = is_allowed(&place, allow, err);
	if (good < 0)
		return -1;
	if (good == 0)
		return reason_set(ret_reason, REASON_SOURCE_FORBIDDEN, "source.repo",
				  "'%.200s' is not among the sources this worker may read", repo);
	if (why.kind != ERR_NONE)
		return err_set(err, why.kind, "%s", why.message);
	if (fill(arena, &place, ret, err) < 0)
		return -1;
	ret->allow = allow;
	return 0;
}

bool source_may_redirect(const struct source_url *source, const char *url)
{
	struct place place;

	return parse_place(url, &place, NULL) == 0 && place.scheme != NULL && !place.wildcard &&
	       strcmp(place.scheme, "https") == 0 && source->host != NULL &&
	       strcmp(place.host, source->host) == 0 &&
	       is_allowed(&place, source->allow, NULL) == 1;
}
