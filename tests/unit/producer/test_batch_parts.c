/* test_batch_parts.c - what a batch is made of: lines, ids, the journal. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "producer/ids.h"
#include "producer/journal.h"
#include "producer/lines.h"

static char folder[64];
static char path[96];

static int make_folder(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof(folder), "/tmp/sbx-batch-XXXXXX");
	assert_non_null(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/file", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	(void)unlink(path);
	return rmdir(folder);
}

static void write_file(const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, data, len, NULL), 0);
	fd_close(fd);
}

/* --- lines ------------------------------------------------------------ */

static void assert_line(struct lines *lines, const char *wanted)
{
	struct bytes line;

	assert_int_equal(lines_next(lines, &line, NULL), LINES_LINE);
	assert_int_equal(line.len, strlen(wanted));
	assert_string_equal((const char *)line.data, wanted);
}

static void lines_are_counted_and_whole(void **state)
{
	static const char text[] = "one\n\ntwo \r\nlast";
	struct lines lines;
	struct bytes line;

	(void)state;
	write_file(text, strlen(text));
	assert_int_equal(lines_open(&lines, path, 100, NULL), 0);
	assert_int_equal(lines.size, strlen(text));
	assert_true(lines_wait(&lines, 0));
	assert_line(&lines, "one");
	assert_line(&lines, "");
	assert_line(&lines, "two \r");
	assert_line(&lines, "last");
	assert_int_equal(lines.number, 4);
	assert_int_equal(lines_next(&lines, &line, NULL), LINES_END);
	assert_int_equal(lines_next(&lines, &line, NULL), LINES_END);
	lines_close(&lines);
	assert_int_equal(lines_open(&lines, "/no/such/file", 100, NULL), -1);
	lines_close(&lines);
}

/* Lines of all lengths around the size of a read, and some beyond the limit. */
static void long_lines_are_passed_over(void **state)
{
	enum { LIMIT = 300000, COUNT = 40 };
	struct buf text;
	struct lines lines;
	struct bytes line;

	(void)state;
	buf_init(&text, 64 << 20);
	for (size_t i = 0; i < COUNT; i++) {
		for (size_t k = 0; k < i * 16384 + i; k++)
			buf_add_byte(&text, (uint8_t)('a' + i % 26));
		buf_add_byte(&text, '\n');
	}
	write_file(text.data, text.len);
	assert_int_equal(lines_open(&lines, path, LIMIT, NULL), 0);
	for (size_t i = 0; i < COUNT; i++) {
		size_t len = i * 16384 + i;

		assert_int_equal(lines_next(&lines, &line, NULL),
				 len > LIMIT ? LINES_TOO_LONG : LINES_LINE);
		assert_int_equal(lines.number, i + 1);
		if (len > LIMIT)
			continue;
		assert_int_equal(line.len, len);
		for (size_t k = 0; k < len; k++)
			assert_int_equal(line.data[k], 'a' + i % 26);
	}
	assert_int_equal(lines_next(&lines, &line, NULL), LINES_END);
	assert_true(lines.held.capacity <= LIMIT + (1u << 20));
	lines_close(&lines);
	buf_release(&text);
}

/* --- ids -------------------------------------------------------------- */

static void ids_are_found_again(void **state)
{
	struct ids ids;
	char id[16];
	bool fresh;

	(void)state;
	ids_init(&ids);
	assert_null(ids_find(&ids, "x"));
	for (int i = 0; i < 20000; i++) {
		struct ids_entry *entry;

		(void)snprintf(id, sizeof(id), "id-%d", i);
		entry = ids_put(&ids, id, &fresh);
		assert_non_null(entry);
		assert_true(fresh);
		entry->number = i;
	}
	assert_int_equal(ids.len, 20000);
	for (int i = 0; i < 20000; i++) {
		(void)snprintf(id, sizeof(id), "id-%d", i);
		assert_int_equal(ids_find(&ids, id)->number, i);
		assert_int_equal(ids_put(&ids, id, &fresh)->number, i);
		assert_false(fresh);
	}
	assert_null(ids_find(&ids, "id-20000"));
	ids_release(&ids);
}

/* --- the journal ------------------------------------------------------ */

static int open_journal(struct journal *journal, struct ids *ids, struct err *err)
{
	ids_init(ids);
	return journal_open(journal, path, ids, err);
}

static void close_journal(struct journal *journal, struct ids *ids)
{
	journal_close(journal);
	ids_release(ids);
}

static void a_journal_remembers(void **state)
{
	struct journal journal;
	struct ids ids;
	struct err err = {0};
	char batch[TEXT_UUID_BYTES];

	(void)state;
	(void)unlink(path);
	assert_int_equal(open_journal(&journal, &ids, &err), 0);
	memcpy(batch, journal.batch, sizeof(batch));
	journal_add(&journal, "a", 1);
	journal_add(&journal, "b", UINT64_MAX);
	assert_int_equal(journal_flush(&journal, &err), 0);
	close_journal(&journal, &ids);
	assert_int_equal(open_journal(&journal, &ids, &err), 0);
	assert_string_equal(journal.batch, batch);
	assert_int_equal(ids.len, 2);
	assert_true(ids_find(&ids, "a")->done);
	assert_true(ids_find(&ids, "b")->digest == UINT64_MAX);
	close_journal(&journal, &ids);
}

/* Whatever a crash leaves of the file, what is whole in it counts, and it can
 * be written on. */
static void a_torn_journal_is_cut_to_what_is_whole(void **state)
{
	static const char text[] = "sbx-batch 1 0190c5f2-7d3a-7c11-9d7e-2f6f0a4c9b1e\n"
				   "a 0000000000000001\nb 0000000000000002\n";

	(void)state;
	for (size_t len = 0; len <= strlen(text); len++) {
		struct journal journal;
		struct ids ids;
		struct err err = {0};

		write_file(text, len);
		for (size_t turn = 0; turn < 2; turn++) {
			if (open_journal(&journal, &ids, &err) < 0)
				fail_msg("%zu bytes: %s", len, err.message);
			assert_int_equal(ids.len, (len >= 68) + (len >= 87) + turn);
			journal_add(&journal, "c", 3);
			assert_int_equal(journal_flush(&journal, &err), 0);
			close_journal(&journal, &ids);
		}
	}
}

static void what_is_no_journal_is_left_alone(void **state)
{
	static const char *const texts[] = {
		"x",
		"my notes\n",
		"sbx-batch 2 0190c5f2-7d3a-7c11-9d7e-2f6f0a4c9b1e\n",
		"sbx-batch 1 short\n",
		"sbx-batch 1 0190c5f2-7d3a-7c11-9d7e-2f6f0a4c9b1e\na\n",
		"sbx-batch 1 0190c5f2-7d3a-7c11-9d7e-2f6f0a4c9b1e\na xyz\n",
		"sbx-batch 1 0190c5f2-7d3a-7c11-9d7e-2f6f0a4c9b1e\na 1 2\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct journal journal;
		struct ids ids;
		struct err err = {0};
		struct buf text;

		write_file(texts[i], strlen(texts[i]));
		assert_int_equal(open_journal(&journal, &ids, &err), -1);
		assert_int_equal(err.kind, ERR_INPUT);
		close_journal(&journal, &ids);
		buf_init(&text, 4096);
		assert_int_equal(fd_read_file(path, 4096, &text, NULL), 0);
		assert_string_equal(buf_text(&text), texts[i]);
		buf_release(&text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_counted_and_whole),
		cmocka_unit_test(long_lines_are_passed_over),
		cmocka_unit_test(ids_are_found_again),
		cmocka_unit_test(a_journal_remembers),
		cmocka_unit_test(a_torn_journal_is_cut_to_what_is_whole),
		cmocka_unit_test(what_is_no_journal_is_left_alone),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
