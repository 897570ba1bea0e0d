/*
 * test_binary.c - zlib streams whole, cut and damaged, and binary patches as git
 * writes them and as nobody should.
 */
#include "tests/unit/snapshots/patch_kit.h"

#include "snapshots/inflate.h"

static const uint8_t stored[] = {
	0x78, 0x01, 0x01, 0x0f, 0x00, 0xf0, 0xff, 0x73, 0x74, 0x6f, 0x72, 0x65, 0x64,
	0x20, 0x61, 0x73, 0x20, 0x69, 0x74, 0x20, 0x69, 0x73, 0x2d, 0xed, 0x05, 0x7f,
};

static const uint8_t fixed[] = {
	0x78, 0x01, 0x4b, 0x4c, 0x4a, 0x4e, 0x84, 0x21, 0x00, 0x1d, 0xe0, 0x04, 0x99,
};

static const uint8_t dynamic[] = {
	0x78, 0xda, 0x5d, 0x8f, 0xbb, 0x0d, 0x80, 0x30, 0x0c, 0x44, 0x7b, 0xa6, 0x60, 0x04,
	0xf2, 0xb3, 0x9d, 0x81, 0x28, 0x90, 0x10, 0xfb, 0x97, 0x80, 0xfc, 0xae, 0x80, 0xea,
	0xe4, 0xcb, 0xfd, 0x72, 0x1e, 0xd7, 0xbe, 0x6e, 0xcb, 0xf9, 0x42, 0x49, 0xe8, 0x09,
	0x13, 0xd2, 0x12, 0xeb, 0x48, 0x6c, 0xdc, 0x9d, 0x77, 0x43, 0x1e, 0xb8, 0x1b, 0x72,
	0xe8, 0xee, 0x89, 0x5e, 0xe1, 0x51, 0xa1, 0x36, 0xee, 0xa9, 0x74, 0xec, 0xae, 0x49,
	0xbc, 0x0f, 0xf8, 0xa9, 0x76, 0x8d, 0xd4, 0x66, 0xbd, 0xc3, 0x0f, 0xfc, 0x41, 0x0d,
	0xf1, 0x95, 0x35, 0x01, 0x3f, 0x90, 0x57, 0x6a, 0x42, 0x9f, 0xd2, 0x67, 0xf0, 0x15,
	0xee, 0xa0, 0xde, 0x34, 0x83, 0x9c, 0x86, 0xbf, 0xa8, 0x8f, 0x35, 0xac, 0x0a, 0x62,
	0x9c, 0x78, 0xd7, 0xdd, 0x7e, 0xf8, 0xd3, 0xc9, 0xa7, 0x1c, 0xfb, 0xb6, 0xa8, 0x55,
	0x2b, 0xb4, 0xea, 0x59, 0x79, 0x03, 0x7c, 0x7a, 0x84, 0x26,
};

enum { ROOM_BYTES = 1024 };

/* What `dynamic` holds: 60 lines of squares modulo 97. */
static size_t squares(char ret[ROOM_BYTES])
{
	size_t len = 0;

	for (unsigned i = 0; i < 60; i++)
		len += (size_t)snprintf(ret + len, ROOM_BYTES - len, "line %u\n", i * i % 97);
	return len;
}

static void inflates(const uint8_t *stream, size_t len, const char *want, size_t want_len)
{
	uint8_t out[ROOM_BYTES + 1];
	uint8_t copy[ROOM_BYTES] = {0};

	assert_true(inflate_zlib((struct bytes){stream, len}, out, want_len));
	assert_memory_equal(out, want, want_len);
	assert_false(inflate_zlib((struct bytes){stream, len}, out, want_len + 1));
	assert_false(inflate_zlib((struct bytes){stream, len}, out, want_len - 1));
	for (size_t cut = 0; cut < len; cut++)
		assert_false(inflate_zlib((struct bytes){stream, cut}, out, want_len));
	for (size_t bit = 16; bit < 8 * len; bit++) {
		(void)memcpy(copy, stream, len);
		copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
		/* The bits between the last block and the checksum mean nothing. */
		if (inflate_zlib((struct bytes){copy, len}, out, want_len))
			assert_memory_equal(out, want, want_len);
	}
	(void)memcpy(copy, stream, len);
	assert_false(inflate_zlib((struct bytes){copy, len + 1}, out, want_len));
}

static void test_streams(void **state)
{
	char want[ROOM_BYTES];
	size_t len = squares(want);

	(void)state;
	inflates(stored, sizeof(stored), "stored as it is", 15);
	inflates(fixed, sizeof(fixed), "abcabcabcabc", 12);
	inflates(dynamic, sizeof(dynamic), want, len);
}

/* --- whole patches -------------------------------------------------------- */

static const struct kit_file files[] = {
	{"x", MODE_FILE,
	 "fd3feb3c9250b7974a9b528b69636321a461b55ef55b7beafd809a9a9e925b79a6342fa0fdb8b294d97fc6103"
	 "d92089b25fa5e039f52a8e8a95f64d6589c1f7844066542ec38008d331dfd3b272416317694e2fe860397b774"
	 "306378b5437d8a755622d6d7a0b48cb048f279829caa652af899a3e1f16bdc\n"},
	{NULL, 0, NULL}};

#define LITERAL                                                                                \
	"diff --git a/new b/new\n"                                                             \
	"new file mode 100644\n"                                                               \
	"index "                                                                               \
	"0000000000000000000000000000000000000000..8526bc792fa4c63286869b871b13dd0c233caae1\n" \
	"GIT binary patch\n"                                                                   \
	"literal 40\n"                                                                         \
	"vcmZQzWMXDvWn<^y<l^Sx<>MC+6cQE@6%&_`l#-T_m6KOcR8m$^RZ|B5Da->6\n"                      \
	"\n"                                                                                   \
	"literal 0\n"                                                                          \
	"HcmV\?d00001\n"                                                                       \
	"\n"

#define DELTA                                                                                 \
	"diff --git a/x b/x\n"                                                                \
	"index "                                                                              \
	"0eaa4b6bd035c6833d28ea773ee282fab532840c..4e7b77804da832f9551ab38044b8d7453e227e5e " \
	"100644\n"                                                                            \
	"GIT binary patch\n"                                                                  \
	"delta 12\n"                                                                          \
	"Tcmey!_>yr#3KIk4#Jpwz9^\?d8\n"                                                       \
	"\n"                                                                                  \
	"delta 20\n"                                                                          \
	"bcmaFK_>pl!3YTfBfw5(psZpZE#I$ArOV|eS\n"                                              \
	"\n"

static int open_files(void **state)
{
	static struct kit kit;

	kit_open(&kit, files);
	*state = &kit;
	return 0;
}

static int close_files(void **state)
{
	kit_close(*state);
	return 0;
}

/* `diff` with one text replaced by another of any length. */
static struct bytes changed(const char *diff, const char *from, const char *to, char ret[4096])
{
	const char *at = strstr(diff, from);

	assert_non_null(at);
	(void)snprintf(ret, 4096, "%.*s%s%s", (int)(at - diff), diff, to, at + strlen(from));
	return kit_text(ret);
}

static void test_literal_and_delta(void **state)
{
	struct kit *kit = *state;

	assert_int_equal(kit_apply(kit, TEXT(LITERAL)), 0);
	assert_int_equal(kit->outcome.edits_len, 1);
	assert_string_equal(kit->outcome.edits[0].path, "new");
	assert_int_equal(kit_apply(kit, TEXT(DELTA)), 0);
	assert_string_equal(kit->outcome.edits[0].path, "x");
}

static void test_claims_are_held_against_what_is_there(void **state)
{
	struct kit *kit = *state;
	char text[4096];
	static const struct {
		const char *diff, *from, *to;
		enum reason_code code;
		const char *word;
	} lies[] = {
		{LITERAL, "literal 40", "literal 99999999999999999999", REASON_PATCH_MALFORMED,
		 "literal <size>"},
		{LITERAL, "literal 40", "literal 999999999999999999", REASON_PATCH_TOO_LARGE,
		 "are allowed"},
		{LITERAL, "literal 40", "literal 3", REASON_PATCH_MALFORMED, "claims"},
		{LITERAL, "literal 40", "literal 30000000", REASON_PATCH_MALFORMED, "claims"},
		{LITERAL, "..8526bc792fa4c63286869b871b13dd0c233caae1",
		 "..1234567890123456789012345678901234567890", REASON_PATCH_RESULT, "'new'"},
		{LITERAL, "..8526bc792fa4c63286869b871b13dd0c233caae1", "..8526bc7",
		 REASON_PATCH_MALFORMED, "whole oids"},
		{DELTA, "index 0eaa4b6bd035c6833d28ea773ee282fab532840c",
		 "index 1234567890123456789012345678901234567890", REASON_PATCH_CONFLICT,
		 "1234567890"},
		{DELTA, "delta ", "literal ", REASON_PATCH_RESULT, "'x'"},
		{LITERAL, "literal ", "delta ", REASON_PATCH_MALFORMED, "delta"},
	};

	for (size_t i = 0; i < ARRAY_LEN(lies); i++)
		kit_refuses(kit, changed(lies[i].diff, lies[i].from, lies[i].to, text),
			    lies[i].code, lies[i].word);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_literal_and_delta),
		cmocka_unit_test(test_claims_are_held_against_what_is_there),
	};

	return cmocka_run_group_tests(tests, open_files, close_files);
}
