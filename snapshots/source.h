/*
 * source.h - which repositories a job may name.
 *
 * A URL is normalised first, then compared with the operator's allowlist, and
 * only the normalised form is ever used. Entries of the allowlist:
 *
 *	/srv/git/		local paths below this directory
 *	file:///srv/git/	the same
 *	https://host/path/	this host (and port), paths below
 *	https, with the host "*.example.org": all hosts below this domain
 *	ssh://git@host/path/
 *
 * An empty list allows nothing. Local paths are resolved (realpath) before
 * they are compared, so a link does not lead out of an allowed directory.
 */
#ifndef SBX_SNAPSHOTS_SOURCE_H
#define SBX_SNAPSHOTS_SOURCE_H

#include "base/arena.h"
#include "schema/job.h"
#include "schema/reason.h"

struct source_url {
	const char *url; /* normalised: what libgit2 is given */
	bool local;	 /* `url` is an absolute path */
	bool ssh;
	const char *host;	       /* with ":port" unless that is the usual one; NULL: local */
	const struct text_list *allow; /* as source_normalise was given it; borrowed */
	const char *name; /* of its repository in the store: stable, safe as a file name */
	/* For a server that asks who is there; source_normalise leaves them NULL. The
	 * secret is a password or token, or the text of a private key for ssh.
	 * Borrowed. */
	const char *login;
	const char *secret;
	const char *known_hosts; /* ssh: the text of such a file (sshd(8)) */
};

/* Where the store keeps what comes with jobs (files.h). Its name is no URL's. */
struct source_url source_of_files(void);

/* REFUSED with SOURCE_URL or SOURCE_FORBIDDEN. No network, no object read. */
int source_normalise(struct arena *arena, const char *repo, const struct text_list *allow,
		     struct source_url *ret, struct reason *ret_reason, struct err *err) MUST_CHECK;

/* Whether an https server may send who asks for `source` on to `url`: the same
 * host and port, and allowed by itself. */
bool source_may_redirect(const struct source_url *source, const char *url);

/* Validates one entry of the allowlist, for `check`. */
int source_allow_check(const char *entry, struct err *err) MUST_CHECK;

#endif
