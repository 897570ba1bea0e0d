/*
 * gitdb_fetch.c - the network: one commit of a remote repository, through
 * libgit2's transports.
 *
 * The server is asked for its refs, then for the one commit: by a ref that has
 * it, or by its oid; a server that refuses that for its branches and tags.
 * Objects are only downloaded: no ref of ours is written, the caller marks
 * what it has checked. Proxies and credentials of the environment are not
 * used, only what the caller gives; certificates and host keys are verified. A
 * redirect to another host is refused by libgit2, one within the same host is
 * judged by gitdb_tls.c.
 * libgit2 1.5 has no timeouts, so this runs in a child process that its parent
 * kills.
 */
#include "snapshots/gitdb_private.h"

#include <stdio.h>
#include <string.h>

struct progress {
	int64_t max_bytes;
	bool exceeded;
	const struct gitdb_fetch *fetch;
	bool told; /* who is there */
};

/* --- what libgit2 calls ------------------------------------------------ */

static int on_progress(const git_indexer_progress *stats, void *payload)
{
	struct progress *progress = payload;

	progress->exceeded = stats->received_bytes > (uint64_t)progress->max_bytes;
	return progress->exceeded ? -1 : 0;
}

static int no_credentials(const char *why)
{
	git_error_set_str(GIT_ERROR_NET, why);
	return GIT_EAUTH;
}

/* Asked for again when the server does not take them. The agent of ssh is never
 * asked: only the key that was given counts. */
static int on_credentials(git_credential **ret, const char *url, const char *user,
			  unsigned int allowed, void *payload)
{
	struct progress *progress = payload;
	const struct gitdb_fetch *fetch = progress->fetch;
	bool told = progress->told;

	if ((allowed & GIT_CREDENTIAL_USERNAME) != 0)
		return no_credentials("name a user: ssh://user@host/path");
	progress->told = true;
	if (told)
		return no_credentials("the server does not accept the credentials");
	if (fetch->secret == NULL)
		return no_credentials("the server asks for credentials and there are none");
	if (strncmp(url, "https://", 8) == 0 && (allowed & GIT_CREDENTIAL_USERPASS_PLAINTEXT) != 0)
		return git_credential_userpass_plaintext_new(ret, fetch->login, fetch->secret);
	if (strncmp(url, "ssh://", 6) == 0 && (allowed & GIT_CREDENTIAL_SSH_MEMORY) != 0)
		return git_credential_ssh_key_memory_new(ret, user, NULL, fetch->secret, NULL);
	return no_credentials("the server asks for credentials of another kind");
}

/* Certificates and host keys: what libgit2 finds valid is, nothing else. */
static int on_certificate(git_cert *certificate, int valid, const char *host, void *payload)
{
	(void)host;
	(void)payload;
	if (valid == 1)
		return 0;
	git_error_set_str(GIT_ERROR_NET,
			  certificate->cert_type == GIT_CERT_HOSTKEY_LIBSSH2
				  ? "its host key is not the one in the known_hosts file"
				  : "its certificate is not valid");
	return GIT_ECERTIFICATE;
}

/* --- one connection ---------------------------------------------------- */

struct session {
	git_repository *repo;
	git_remote *remote;
	struct progress progress;
	const struct gitdb_fetch *fetch;
};

static void session_release(struct session *session)
{
	git_remote_free(session->remote);
	git_repository_free(session->repo);
	*session = (struct session){0};
}

static bool has_exceeded(const struct session *session)
{
	return session->progress.exceeded || tls_exceeded();
}

/* Faults of the connection are the peer's, whatever part of libgit2 says so. */
static int session_fail(const struct session *session, int code, const char *what, struct err *err)
{
	const git_error *last = git_error_last();
	int klass = last != NULL ? last->klass : GIT_ERROR_NONE;

	if (has_exceeded(session))
		return err_set(err, ERR_LIMIT, "cannot %s '%s': more than %lld bytes arrived", what,
			       session->fetch->url, (long long)session->fetch->max_bytes);
	(void)gitdb_fail(err, code == GIT_ENOTFOUND ? -1 : code, "cannot %s '%s'", what,
			 session->fetch->url);
	if (err != NULL && err->kind == ERR_INPUT && klass != GIT_ERROR_INDEXER &&
	    klass != GIT_ERROR_ZLIB && klass != GIT_ERROR_ODB && klass != GIT_ERROR_OBJECT)
		err->kind = ERR_PEER;
	return -1;
}

static void set_callbacks(struct session *session, git_remote_callbacks *callbacks)
{
	callbacks->transfer_progress = on_progress;
	callbacks->credentials = on_credentials;
	callbacks->certificate_check = on_certificate;
	callbacks->payload = &session->progress;
}

static int session_open(struct session *session, struct err *err)
{
	git_remote_create_options create;
	git_remote_connect_options connect;
	unsigned flags = GIT_REPOSITORY_OPEN_NO_SEARCH | GIT_REPOSITORY_OPEN_BARE |
			 GIT_REPOSITORY_OPEN_NO_DOTGIT;
	int code = git_remote_create_options_init(&create, GIT_REMOTE_CREATE_OPTIONS_VERSION);

	if (code == 0)
		code = git_remote_connect_options_init(&connect,
						       GIT_REMOTE_CONNECT_OPTIONS_VERSION);
	if (code == 0)
		code = tls_begin(session->fetch);
	if (code == 0)
		code = git_repository_open_ext(&session->repo, session->fetch->path, flags, NULL);
	if (code < 0)
		return gitdb_fail(err, code, "cannot open '%s'", session->fetch->path);
	create.repository = session->repo;
	create.flags = GIT_REMOTE_CREATE_SKIP_INSTEADOF | GIT_REMOTE_CREATE_SKIP_DEFAULT_FETCHSPEC;
	code = git_remote_create_with_opts(&session->remote, session->fetch->url, &create);
	if (code < 0)
		return gitdb_fail(err, code, "cannot fetch '%s'", session->fetch->url);
	set_callbacks(session, &connect.callbacks);
	connect.proxy_opts.type = GIT_PROXY_NONE;
	connect.follow_redirects = GIT_REMOTE_REDIRECT_NONE;
	code = git_remote_connect_ext(session->remote, GIT_DIRECTION_FETCH, &connect);
	return code < 0 ? session_fail(session, code, "connect to", err) : 0;
}

static int session_download(struct session *session, char **specs, size_t len, struct err *err)
{
	git_fetch_options options;
	const git_strarray array = {specs, len};
	int code = git_fetch_options_init(&options, GIT_FETCH_OPTIONS_VERSION);

	if (code < 0)
		return gitdb_fail(err, code, "cannot fetch '%s'", session->fetch->url);
	set_callbacks(session, &options.callbacks);
	options.download_tags = GIT_REMOTE_DOWNLOAD_TAGS_NONE;
	options.update_fetchhead = 0;
	options.proxy_opts.type = GIT_PROXY_NONE;
	options.follow_redirects = GIT_REMOTE_REDIRECT_NONE;
	code = git_remote_download(session->remote, &array, &options);
	return code < 0 ? session_fail(session, code, "fetch", err) : 0;
}

/* --- what to ask for --------------------------------------------------- */

enum { REF_BYTES = 1100 };

/* A ref that the server advertises: by its name, long or short, or else by the
 * oid that it has. Returns 1 when there is none. */
static int find_ref(struct session *session, const char *name, const struct oid *oid,
		    char ret_name[REF_BYTES], struct oid *ret, struct err *err)
{
	static const char *const places[] = {"", "refs/", "refs/tags/", "refs/heads/"};
	const git_remote_head **heads;
	char full[REF_BYTES];
	size_t len;
	int code = git_remote_ls(&heads, &len, session->remote);

	if (code < 0)
		return session_fail(session, code, "list the refs of", err);
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		if (snprintf(full, sizeof(full), "%s%s", places[i], name) >= (int)sizeof(full))
			return 1;
		for (size_t j = 0; j < len; j++) {
			bool named = oid == NULL && strcmp(heads[j]->name, full) == 0;
			bool same =
				oid != NULL && memcmp(heads[j]->oid.id, oid->raw, OID_BYTES) == 0;

			if (!named && !same)
				continue;
			(void)memcpy(ret->raw, heads[j]->oid.id, OID_BYTES);
			(void)snprintf(ret_name, REF_BYTES, "%s", heads[j]->name);
			/* A tag is advertised a second time as what it leads to. */
			if (strlen(ret_name) > 3 &&
			    strcmp(ret_name + strlen(ret_name) - 3, "^{}") == 0)
				ret_name[strlen(ret_name) - 3] = '\0';
			return 0;
		}
	}
	return 1;
}

static int download_one(struct session *session, const char *what, struct err *err)
{
	char spec[REF_BYTES + 32];
	char *specs[] = {spec};

	(void)snprintf(spec, sizeof(spec), "+%s:refs/sbx-fetched", what);
	return session_download(session, specs, 1, err);
}

static int download_all(struct session *session, struct err *err)
{
	static char heads[] = "+refs/heads/*:refs/sbx-fetched/heads/*";
	static char tags[] = "+refs/tags/*:refs/sbx-fetched/tags/*";
	char *specs[] = {heads, tags};

	return session_download(session, specs, ARRAY_LEN(specs), err);
}

/* Asks for the one commit: by a ref that leads to it, else by its oid. Servers
 * may refuse an oid that no ref has, and do not know abbreviations; then they
 * are asked for everything. `ret` is set when `*ret_known` is. */
static int download(struct session *session, const char *commit, struct oid *ret, bool *ret_known,
		    struct err *err)
{
	const struct gitdb_fetch *fetch = session->fetch;
	bool by_oid = oid_parse(commit, ret);
	char ref[REF_BYTES];
	int got = find_ref(session, commit, by_oid ? ret : NULL, ref, ret, err);

	*ret_known = by_oid || got == 0;
	if (got <= 0)
		return got < 0 ? -1 : download_one(session, ref, err);
	if (by_oid && (download_one(session, commit, err) == 0 || has_exceeded(session)))
		return has_exceeded(session) ? -1 : 0;
	session_release(session);
	*session = (struct session){.fetch = fetch,
				    .progress = {.max_bytes = fetch->max_bytes, .fetch = fetch}};
	return session_open(session, err) < 0 ? -1 : download_all(session, err);
}

int gitdb_fetch(const struct gitdb_fetch *fetch, struct oid *ret, struct err *err)
{
	struct session session = {.fetch = fetch,
				  .progress = {.max_bytes = fetch->max_bytes, .fetch = fetch}};
	struct gitdb *db = NULL;
	char hex[OID_HEX_BYTES];
	struct oid oid;
	bool known = false;
	int result;

	if (gitdb_library_init(err) < 0)
		return -1;
	result = session_open(&session, err);
	if (result == 0)
		result = download(&session, fetch->commit, &oid, &known, err);
	session_release(&session);
	if (result < 0 || gitdb_open(fetch->path, GITDB_READ, &db, err) < 0)
		return -1;
	if (known)
		oid_hex(&oid, hex);
	result = gitdb_resolve(db, known ? hex : fetch->commit, ret, err);
	gitdb_close(db);
	return result;
}
