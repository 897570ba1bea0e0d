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

/* --- credentials ------------------------------------------------------ */

void keeper_login_cleanup(struct keeper_login *login)
{
	explicit_bzero(login->text, sizeof(login->text));
}

/* "login:token", or a token alone; the file is read at each fetch, so that it
 * may change. */
static int read_login(const char *path, struct keeper_login *ret, struct source_url *source,
		      struct err *err)
{
	CLEANUP(fd_cleanup) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, ret->text, sizeof(ret->text) - 1);
	char *colon;

	if (len < 0)
		return err_sys(err, "cannot read credentials '%s'", path);
	ret->text[len] = '\0';
	ret->text[strcspn(ret->text, "\r\n")] = '\0';
	if (ret->text[0] == '\0')
		return err_set(err, ERR_INPUT, "cannot read credentials '%s': it is empty", path);
	colon = strchr(ret->text, ':');
	source->login = colon != NULL ? ret->text : "x-access-token";
	source->secret = colon != NULL ? colon + 1 : ret->text;
	if (colon != NULL)
		*colon = '\0';
	return 0;
}

int keeper_login(const struct keeper *keeper, struct keeper_login *login, struct source_url *source,
		 struct err *err)
{
	const struct text_list *list = &keeper->config->sources_credentials;
	size_t len = source->host == NULL ? 0 : strlen(source->host);

	for (size_t i = 0; source->host != NULL && i < list->len; i++) {
		if (strncasecmp(list->items[i], source->host, len) == 0 &&
		    list->items[i][len] == '=')
			return read_login(list->items[i] + len + 1, login, source, err);
	}
	return 0;
}
