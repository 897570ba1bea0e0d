/* test_artifacts.c - real files in a directory of their own; what was packed
 * is unpacked again with zstd(1)'s library and compared. */
#include "worker/artifacts.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/text.h"
#include "schema/limits.h"

static struct arena arena;
static struct artifacts artifacts;
static struct err err;
static char directory[64];

static int setup(void **state)
{
	(void)state;
	arena_init(&arena, 64 << 20);
	err = (struct err){0};
	(void)snprintf(directory, sizeof(directory), "/tmp/sbx-artifacts-XXXXXX");
	if (mkdtemp(directory) == NULL)
		return -1;
	return artifacts_init(&artifacts, &arena, 0, &err);
}

static int teardown(void **state)
{
	(void)state;
	arena_release(&arena);
	return rmdir(directory);
}

/* An open file with this content and no name any more. */
static int file_of(const void *data, size_t len)
{
	CLEANUP(fd_cleanup) int fd = -1;
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/file", directory);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(fd_write_all(fd, data, len, &err), 0);
	return fd_take(&fd);
}

static int add(const char *path, const void *data, size_t len)
{
	CLEANUP(fd_cleanup) int fd = file_of(data, len);

	return artifacts_add(&artifacts, path, fd, &err);
}

/* Bytes that do not compress. */
static uint8_t *noise(size_t len)
{
	uint8_t *data = malloc(len);
	uint64_t x = 88172645463325252u;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		data[i] = (uint8_t)(x >> 24);
	}
	return data;
}

static void digests_are_sha256(void **state)
{
	char hex[65];

	(void)state;
	sha256_hex((struct bytes){NULL, 0}, hex);
	assert_string_equal(hex,
			    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	sha256_hex((struct bytes){(const uint8_t *)"abc", 3}, hex);
	assert_string_equal(hex,
			    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void small_files_go_as_they_are(void **state)
{
	(void)state;
	assert_int_equal(add("a.txt", "abc", 3), 0);
	assert_int_equal(add("empty", "", 0), 0);
	assert_int_equal(artifacts.len, 2);
	assert_string_equal(artifacts.items[0].path, "a.txt");
	assert_string_equal(artifacts.items[0].encoding, "identity");
	assert_int_equal(artifacts.items[0].size_bytes, 3);
	assert_memory_equal(artifacts.items[0].data.data, "abc", 3);
	assert_string_equal(artifacts.items[0].sha256,
			    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_string_equal(artifacts.items[1].encoding, "identity");
	assert_int_equal(artifacts.items[1].data.len, 0);
	assert_false(artifacts.truncated);
	assert_int_equal(artifacts.total_bytes, 3);
}

static void what_shrinks_is_packed(void **state)
{
	enum { LEN = 3 << 20 };
	uint8_t *data = malloc(LEN);
	uint8_t *back = malloc(LEN);
	const struct result_artifact *item = &artifacts.items[0];
	char hex[65];

	(void)state;
	for (size_t i = 0; i < LEN; i++)
		data[i] = (uint8_t) "some words again and again\n"[i % 27];
	assert_int_equal(add("log", data, LEN), 0);
	assert_string_equal(item->encoding, "zstd");
	assert_int_equal(item->size_bytes, LEN);
	assert_true(item->data.len < LEN / 100);
	assert_int_equal(ZSTD_decompress(back, LEN, item->data.data, item->data.len), LEN);
	assert_memory_equal(back, data, LEN);
	sha256_hex((struct bytes){data, LEN}, hex);
	assert_string_equal(item->sha256, hex);
	assert_int_equal(artifacts.inline_bytes, item->data.len);
	free(data);
	free(back);
}

static void sizes_at_the_bound(void **state)
{
	static const struct {
		size_t len;
		const char *encoding;
	} rows[] = {
		{LIMIT_ARTIFACT_INLINE_BYTES - 1, "identity"},
		{LIMIT_ARTIFACT_INLINE_BYTES, "identity"},
		{LIMIT_ARTIFACT_INLINE_BYTES + 1, "omitted"},
	};
	uint8_t *data = noise(LIMIT_ARTIFACT_INLINE_BYTES + 1);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char name[16];
		char hex[65];

		(void)snprintf(name, sizeof(name), "%zu", i);
		assert_int_equal(add(name, data, rows[i].len), 0);
		assert_string_equal(artifacts.items[i].encoding, rows[i].encoding);
		sha256_hex((struct bytes){data, rows[i].len}, hex);
		assert_string_equal(artifacts.items[i].sha256, hex);
		assert_int_equal(artifacts.items[i].size_bytes, rows[i].len);
	}
	assert_null(artifacts.items[2].data.data);
	assert_true(artifacts.truncated);
	free(data);
}

static void all_together_are_bounded(void **state)
{
	enum { LEN = 200 << 10 };
	uint8_t *data = noise(LEN);
	size_t bytes = 0;

	(void)state;
	for (int i = 0; i < 20; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "%d", i);
		data[0] = (uint8_t)i;
		assert_int_equal(add(name, data, LEN), 0);
	}
	assert_int_equal(artifacts.len, 20);
	for (size_t i = 0; i < artifacts.len; i++)
		bytes += artifacts.items[i].data.len;
	assert_true(bytes <= LIMIT_ARTIFACTS_INLINE_BYTES && bytes == artifacts.inline_bytes);
	assert_true(bytes > LIMIT_ARTIFACTS_INLINE_BYTES - LEN);
	assert_string_equal(artifacts.items[19].encoding, "omitted");
	assert_int_equal(strlen(artifacts.items[19].sha256), 64);
	assert_true(artifacts.truncated);
	/* a small one still fits behind a large one that did not */
	assert_int_equal(add("small", "x", 1), 0);
	assert_string_equal(artifacts.items[20].encoding, "identity");
	free(data);
}

static void the_job_has_a_bound_of_its_own(void **state)
{
	(void)state;
	assert_int_equal(artifacts_init(&artifacts, &arena, 5, &err), 0);
	assert_int_equal(add("a", "abc", 3), 0);
	assert_int_equal(add("b", "abc", 3), 0);
	assert_int_equal(add("c", "ab", 2), 0);
	assert_string_equal(artifacts.items[0].encoding, "identity");
	assert_string_equal(artifacts.items[1].encoding, "omitted");
	assert_string_equal(artifacts.items[2].encoding, "identity");
	assert_int_equal(artifacts.total_bytes, 5);
	assert_true(artifacts.truncated);
}

static void a_path_counts_once_and_their_number_is_bounded(void **state)
{
	(void)state;
	assert_int_equal(add("a", "1", 1), 0);
	assert_int_equal(add("a", "2", 1), 0);
	assert_int_equal(artifacts.len, 1);
	assert_memory_equal(artifacts.items[0].data.data, "1", 1);
	for (int i = 0; i < LIMIT_ARTIFACTS + 5; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "%d", i);
		assert_int_equal(add(name, "x", 1), 0);
	}
	assert_int_equal(artifacts.len, LIMIT_ARTIFACTS);
	assert_true(artifacts.truncated);
}

static void names_are_made_harmless(void **state)
{
	static const struct {
		const char *path;
		const char *shown;
	} rows[] = {
		{"dir/h\xc3\xa9.txt", "dir/h\xc3\xa9.txt"},
		{"bad\xff\xc3.txt", "bad\\xff\\xc3.txt"},
		{"new\nline\x1b[31m", "new\\x0aline\\x1b[31m"},
		{"\xe2\x82", "\\xe2\\x82"},
		{"--flag", "--flag"},
		{"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(add(rows[i].path, "x", 1), 0);
		assert_string_equal(artifacts.items[i].path, rows[i].shown);
		assert_true(text_is_utf8(artifacts.items[i].path, strlen(artifacts.items[i].path)));
	}
}

static void the_offset_does_not_matter(void **state)
{
	CLEANUP(fd_cleanup) int fd = file_of("abcdef", 6);

	(void)state;
	assert_int_equal(lseek(fd, 4, SEEK_SET), 4);
	assert_int_equal(artifacts_add(&artifacts, "a", fd, &err), 0);
	assert_int_equal(artifacts.items[0].size_bytes, 6);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 4);
}

static void sparse_files_do_not_keep_us_busy(void **state)
{
	CLEANUP(fd_cleanup) int fd = file_of("", 0);
	CLEANUP(fd_cleanup) int small = file_of("", 0);

	(void)state;
	assert_int_equal(ftruncate(fd, ARTIFACTS_READ_BYTES + 1), 0);
	assert_int_equal(artifacts_add(&artifacts, "huge", fd, &err), 0);
	assert_int_equal(artifacts.len, 0);
	assert_true(artifacts.truncated);
	artifacts.read_bytes = ARTIFACTS_READ_BYTES - 10;
	assert_int_equal(ftruncate(small, 11), 0);
	assert_int_equal(artifacts_add(&artifacts, "more", small, &err), 0);
	assert_int_equal(artifacts.len, 0);
	assert_int_equal(ftruncate(small, 10), 0);
	assert_int_equal(artifacts_add(&artifacts, "fits", small, &err), 0);
	assert_int_equal(artifacts.len, 1);
	assert_int_equal(artifacts.read_bytes, ARTIFACTS_READ_BYTES);
}

static void only_regular_files_are_read(void **state)
{
	CLEANUP(fd_cleanup) int dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(fd_cleanup) int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CLEANUP(fd_cleanup) int path = open("/etc/passwd", O_PATH | O_CLOEXEC);
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(artifacts_add(&artifacts, "d", dir, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	assert_int_equal(artifacts_add(&artifacts, "n", null, &err), -1);
	assert_int_equal(artifacts_add(&artifacts, "p", ends[0], &err), -1);
	assert_int_equal(artifacts_add(&artifacts, "x", path, &err), -1);
	assert_int_equal(err.kind, ERR_SYSTEM);
	assert_int_equal(artifacts_add(&artifacts, "c", -1, &err), -1);
	assert_int_equal(artifacts.len, 0);
	fd_close(ends[0]);
	fd_close(ends[1]);
}

static void exhausted_memory_is_an_error(void **state)
{
	struct arena small;
	uint8_t *data = noise(64);

	(void)state;
	arena_init(&small, 100);
	assert_int_equal(artifacts_init(&artifacts, &small, 0, &err), -1);
	arena_release(&small);
	arena_init(&small, LIMIT_ARTIFACTS * sizeof(struct result_artifact) + 100);
	assert_int_equal(artifacts_init(&artifacts, &small, 0, &err), 0);
	assert_int_equal(add("a", data, 64), 0);
	assert_int_equal(add("b", data, 64), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	assert_int_equal(artifacts.len, 1);
	arena_release(&small);
	free(data);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(digests_are_sha256),
		T(small_files_go_as_they_are),
		T(what_shrinks_is_packed),
		T(sizes_at_the_bound),
		T(all_together_are_bounded),
		T(the_job_has_a_bound_of_its_own),
		T(a_path_counts_once_and_their_number_is_bounded),
		T(names_are_made_harmless),
		T(the_offset_does_not_matter),
		T(sparse_files_do_not_keep_us_busy),
		T(only_regular_files_are_read),
		T(exhausted_memory_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
