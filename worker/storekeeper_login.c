/*
 * storekeeper_login.c - theory: what a repository's host wants to know is read
 * from a file for one fetch, given to the child that makes it, and wiped.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "worker/storekeeper_private.h"

void keeper_login_cleanup(struct keeper_login *login)
{
	explicit_bzero(login->secret, sizeof(login->secret));
}

/* A whole file; it is read at each fetch, so that it may change. */
static int read_text(const char *path, char *ret, size_t size, struct err *err)
{
	CLEANUP(fd_cleanup) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	size_t len = 0;
	ssize_t got = fd < 0 ? -1 : 1;

	while (got > 0 && len < size) {
		got = read(fd, ret + len, size - len);
		len += got > 0 ? (size_t)got : 0;
	}
	if (got < 0)
		return err_sys(err, "cannot read '%s'", path);
	if (len == size)
		return err_set(err, ERR_LIMIT, "cannot read '%s': more than %zu bytes", path,
			       size - 1);
	ret[len] = '\0';
	if (len == 0 || strlen(ret) != len)
		return err_set(err, ERR_INPUT, "cannot read '%s': it is %s", path,
			       len == 0 ? "empty" : "no text");
	return 0;
}

/* The file that a list has for this host, or NULL. */
static const char *find_file(const struct text_list *list, const char *host)
{
	size_t len = strlen(host);

	for (size_t i = 0; i < list->len; i++) {
		if (strncasecmp(list->items[i], host, len) == 0 && list->items[i][len] == '=')
			return list->items[i] + len + 1;
	}
	return NULL;
}

/* "login:token", or a token alone. */
static void split_login(char *text, struct source_url *source)
{
	char *colon;

	text[strcspn(text, "\r\n")] = '\0';
	colon = strchr(text, ':');
	source->login = colon != NULL ? text : "x-access-token";
	source->secret = colon != NULL ? colon + 1 : text;
	if (colon != NULL)
		*colon = '\0';
}

int keeper_login(const struct keeper *keeper, struct keeper_login *login, struct source_url *source,
		 struct err *err)
{
	const struct config *config = keeper->config;
	const char *path;

	if (source->host == NULL)
		return 0;
	if (source->ssh && *config->sources_known_hosts != '\0') {
		if (read_text(config->sources_known_hosts, login->known_hosts,
			      sizeof(login->known_hosts), err) < 0)
			return -1;
		source->known_hosts = login->known_hosts;
	}
	path = find_file(source->ssh ? &config->sources_ssh_keys : &config->sources_credentials,
			 source->host);
	if (path == NULL)
		return 0;
	if (read_text(path, login->secret, sizeof(login->secret), err) < 0)
		return err_prefix(err, "credentials");
	if (source->ssh)
		source->secret = login->secret;
	else
		split_login(login->secret, source);
	return 0;
}
