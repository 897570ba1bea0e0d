/*
 * artifacts.c - the gateway to libmd and zstd.
 *
 * A file is read in one pass of fixed pieces. Each piece goes to the digest;
 * to a copy, as long as the file would fit uncompressed; and to the
 * compressor, as long as its output fits. Which of the two is taken is decided
 * at the end.
 */
#include "worker/artifacts.h"

#include <assert.h>
#include <errno.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "base/buf.h"
#include "base/text.h"
#include "schema/limits.h"

enum { PIECE_BYTES = 64 * 1024, LEVEL = 3, WINDOW_LOG = 20 };

/* --- digests ---------------------------------------------------------- */

static void digest_text(SHA2_CTX *context, char ret_hex[65])
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	SHA256Final(digest, context);
	text_hex(digest, sizeof(digest), ret_hex);
}

void sha256_hex(struct bytes content, char ret_hex[65])
{
	SHA2_CTX context;

	SHA256Init(&context);
	if (content.len > 0)
		SHA256Update(&context, content.data, content.len);
	digest_text(&context, ret_hex);
}

/* --- names ------------------------------------------------------------ */

/* Length of the character at the start of `text` that may be shown as it is. */
static size_t plain_len(const char *text)
{
	for (size_t len = 1; len <= 4 && text[len - 1] != '\0'; len++) {
		if (text_is_utf8(text, len))
			return len == 1 && ((uint8_t)*text < ' ' || *text == '\x7f') ? 0 : len;
	}
	return 0;
}

static const char *harmless_name(struct arena *arena, const char *path)
{
	char *copy = arena_alloc(arena, strlen(path) * 4 + 1);
	char *to = copy;

	if (copy == NULL)
		return NULL;
	while (*path != '\0') {
		size_t len = plain_len(path);

		if (len == 0) {
			to += snprintf(to, sizeof("\\xff"), "\\x%02x", (uint8_t)*path++);
			continue;
		}
		(void)memcpy(to, path, len);
		to += len;
		path += len;
	}
	*to = '\0';
	return copy;
}

/* --- one file --------------------------------------------------------- */

struct reading {
	SHA2_CTX digest;
	struct buf plain; /* failed: the file is too large to go inline as it is */
	struct buf packed;
	ZSTD_CCtx *zstd; /* NULL: not tried, or given up */
	int64_t size;
};

static void give_up_packing(struct reading *reading)
{
	(void)ZSTD_freeCCtx(reading->zstd);
	reading->zstd = NULL;
}

/* `expected` sizes the compressor's tables: they are small for a small file. */
static int reading_init(struct reading *reading, size_t inline_bytes, int64_t expected,
			struct err *err)
{
	*reading = (struct reading){0};
	SHA256Init(&reading->digest);
	buf_init(&reading->plain, inline_bytes);
	buf_init(&reading->packed, inline_bytes);
	if (expected == 0)
		return 0;
	reading->zstd = ZSTD_createCCtx();
	if (reading->zstd == NULL)
		return err_set(err, ERR_LIMIT, "cannot compress: out of memory");
	(void)ZSTD_CCtx_setParameter(reading->zstd, ZSTD_c_compressionLevel, LEVEL);
	(void)ZSTD_CCtx_setParameter(reading->zstd, ZSTD_c_windowLog, WINDOW_LOG);
	(void)ZSTD_CCtx_setPledgedSrcSize(reading->zstd, (unsigned long long)expected);
	return 0;
}

static void reading_release(struct reading *reading)
{
	give_up_packing(reading);
	buf_release(&reading->plain);
	buf_release(&reading->packed);
}

/* A failure of the compressor, such as a size other than announced, only
 * costs the compression. */
static void pack(struct reading *reading, const uint8_t *data, size_t len, bool end)
{
	ZSTD_inBuffer in = {.src = data, .size = len};
	size_t left;

	while (reading->zstd != NULL) {
		uint8_t piece[16 * 1024];
		ZSTD_outBuffer out = {.dst = piece, .size = sizeof(piece)};

		left = ZSTD_compressStream2(reading->zstd, &out, &in,
					    end ? ZSTD_e_end : ZSTD_e_continue);
		if (!ZSTD_isError(left))
			buf_add(&reading->packed, piece, out.pos);
		if (ZSTD_isError(left) || reading->packed.failed)
			give_up_packing(reading);
		else if (end ? left == 0 : in.pos == in.size)
			return;
	}
}

static int read_piece(int fd, uint8_t *into, int64_t offset, size_t *ret_len, struct err *err)
{
	ssize_t n;

	do
		n = pread(fd, into, PIECE_BYTES, offset);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_sys(err, "cannot read artifact");
	*ret_len = (size_t)n;
	return 0;
}

/* REFUSED when the file holds more than `bound` bytes. */
static int read_file(struct reading *reading, int fd, int64_t bound, struct err *err)
{
	uint8_t *piece = malloc(PIECE_BYTES);
	int rc = 0;

	if (piece == NULL)
		return err_set(err, ERR_LIMIT, "cannot read artifact: out of memory");
	for (;;) {
		size_t len = 0;

		rc = read_piece(fd, piece, reading->size, &len, err);
		if (rc < 0 || len == 0)
			break;
		reading->size += (int64_t)len;
		if (reading->size > bound) {
			rc = REFUSED;
			break;
		}
		SHA256Update(&reading->digest, piece, len);
		if (!reading->plain.failed)
			buf_add(&reading->plain, piece, len);
		pack(reading, piece, len, false);
	}
	free(piece);
	if (rc == 0)
		pack(reading, NULL, 0, true);
	return rc;
}

/* --- the list --------------------------------------------------------- */

int artifacts_init(struct artifacts *artifacts, struct arena *arena, int64_t max_bytes,
		   struct err *err)
{
	*artifacts = (struct artifacts){.arena = arena, .max_bytes = max_bytes};
	artifacts->items = arena_array(arena, LIMIT_ARTIFACTS, sizeof(*artifacts->items));
	if (artifacts->items == NULL)
		return err_set(err, ERR_LIMIT, "cannot collect artifacts: out of memory");
	return 0;
}

static bool is_there(const struct artifacts *artifacts, const char *name)
{
	for (size_t i = 0; i < artifacts->len; i++) {
		if (strcmp(artifacts->items[i].path, name) == 0)
			return true;
	}
	return false;
}

/* Bytes that one more artifact may put into the result. */
static size_t inline_room(const struct artifacts *artifacts)
{
	size_t room = LIMIT_ARTIFACTS_INLINE_BYTES - artifacts->inline_bytes;

	return room < LIMIT_ARTIFACT_INLINE_BYTES ? room : LIMIT_ARTIFACT_INLINE_BYTES;
}

/* Puts the content into `item`, in the shorter of its two spellings. */
static int fill_item(struct artifacts *artifacts, struct reading *reading,
		     struct result_artifact *item, struct err *err)
{
	bool packed = reading->zstd != NULL &&
		      (reading->plain.failed || reading->packed.len < reading->plain.len);
	const struct buf *from = packed ? &reading->packed : &reading->plain;

	item->size_bytes = reading->size;
	digest_text(&reading->digest, item->sha256);
	item->encoding = packed ? "zstd" : "identity";
	if (from->failed || (artifacts->max_bytes > 0 &&
			     reading->size > artifacts->max_bytes - artifacts->total_bytes)) {
		item->encoding = "omitted";
		artifacts->truncated = true;
		return 0;
	}
	item->data = (struct bytes){
		(const uint8_t *)arena_memdup(artifacts->arena, from->data, from->len), from->len};
	if (item->data.data == NULL)
		return err_set(err, ERR_LIMIT, "cannot collect artifacts: out of memory");
	artifacts->inline_bytes += from->len;
	artifacts->total_bytes += reading->size;
	return 0;
}

int artifacts_add(struct artifacts *artifacts, const char *path, int fd, struct err *err)
{
	const char *name = harmless_name(artifacts->arena, path);
	struct result_artifact item = {.path = name};
	CLEANUP(reading_release) struct reading reading = {0};
	struct stat st;
	int rc;

	if (name == NULL)
		return err_set(err, ERR_LIMIT, "cannot collect artifacts: out of memory");
	if (is_there(artifacts, name))
		return 0;
	if (fstat(fd, &st) < 0)
		return err_sys(err, "cannot stat artifact '%.128s'", name);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INPUT, "artifact '%.128s' is no regular file", name);
	if (artifacts->len >= LIMIT_ARTIFACTS || strlen(name) > LIMIT_PATH_BYTES ||
	    st.st_size > ARTIFACTS_READ_BYTES - artifacts->read_bytes) {
		artifacts->truncated = true;
		return 0;
	}
	if (reading_init(&reading, inline_room(artifacts), st.st_size, err) < 0)
		return -1;
	rc = read_file(&reading, fd, ARTIFACTS_READ_BYTES - artifacts->read_bytes, err);
	artifacts->read_bytes += reading.size;
	if (artifacts->read_bytes > ARTIFACTS_READ_BYTES)
		artifacts->read_bytes = ARTIFACTS_READ_BYTES;
	if (rc < 0)
		return err_prefix(err, "'%.128s'", name);
	if (rc == REFUSED) {
		artifacts->truncated = true;
		return 0;
	}
	if (fill_item(artifacts, &reading, &item, err) < 0)
		return -1;
	artifacts->items[artifacts->len++] = item;
	return 0;
}
