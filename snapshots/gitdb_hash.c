/*
 * gitdb_hash.c - the names of objects: SHA-1 over "<type> <size>\0" and the
 * content.
 *
 * Two ways, for two kinds of callers. libgit2's code also tells whether the
 * content is one half of a collision that somebody has computed, which nobody
 * may bring into the store: whatever is written to disk is named so. It does not
 * use what the processor has for SHA-1, and takes 2.7 times as long as OpenSSL's,
 * by which everything else is named: objects of a quarantine, and the proofs of
 * an index line. A job gains nothing by a collision there. Its objects are
 * hashed anew when they are imported, and then they are found out.
 *
 * OpenSSL's low-level calls are meant here, although EVP is recommended: EVP
 * reads a configuration when it is first used, which an executor must not, and
 * costs more than the hash of a small file.
 */
#define OPENSSL_API_COMPAT 0x10100000L

#include "snapshots/gitdb_private.h"

#include <openssl/sha.h>

#include <assert.h>
#include <stdio.h>
#include <string.h>

static_assert(SHA_DIGEST_LENGTH == OID_BYTES, "both are SHA-1");

void object_oid(git_object_t type, struct bytes content, struct oid *ret)
{
	char head[32];
	int len = snprintf(head, sizeof(head), "%s %zu", git_object_type2string(type), content.len);
	SHA_CTX sha;
	int good = SHA1_Init(&sha);

	assert(len > 0 && len < (int)sizeof(head));
	good &= SHA1_Update(&sha, head, (size_t)len + 1);
	if (content.len > 0)
		good &= SHA1_Update(&sha, content.data, content.len);
	good &= SHA1_Final(ret->raw, &sha);
	assert(good == 1);
}

int object_oid_safe(git_object_t type, struct bytes content, struct oid *ret, struct err *err)
{
	git_oid oid;
	int code = git_odb_hash(&oid, content.len > 0 ? (const void *)content.data : "",
				content.len, type);

	if (code < 0)
		return gitdb_fail(err, code, "cannot name a %s", git_object_type2string(type));
	(void)memcpy(ret->raw, oid.id, OID_BYTES);
	return 0;
}

void gitdb_blob_oid(struct bytes content, struct oid *ret)
{
	object_oid(GIT_OBJECT_BLOB, content, ret);
}
