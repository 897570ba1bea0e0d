/*
 * fuzz_binary.c - any bytes as a zlib stream, and as the lines of a binary
 * patch behind a header. Whatever is claimed, nothing is written beyond the
 * room that the claim was given.
 */
#include "base/buf.h"
#include "snapshots/binary.h"
#include "snapshots/inflate.h"
#include "tests/fuzz/fuzz.h"

enum { ROOM_BYTES = 1 << 16, ZLIB_BYTES_MIN = 8 /* header, a block, checksum */ };

static void inflate_all(struct bytes input)
{
	size_t claim = input.len > 1 ? input.data[0] * 256u + input.data[1] : 0;
	uint8_t *out = malloc(claim == 0 ? 1 : claim);

	require(out != NULL);
	if (input.len > 2 &&
	    inflate_zlib((struct bytes){input.data + 2, input.len - 2}, out, claim))
		require(input.len - 2 >= ZLIB_BYTES_MIN);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char header[] = "diff --git a/x b/x\nindex 1..2\nGIT binary patch\n";
	static const struct diff_limits limits = {.files = 1, .hunks = 1};
	struct bytes preimage = {(const uint8_t *)header, sizeof(header) - 1};
	struct reason reason = {0};
	struct err err = {0};
	struct arena arena;
	struct diff diff;
	struct bytes out;
	struct buf text;

	inflate_all((struct bytes){data, size});
	arena_init(&arena, 16 << 20);
	buf_init(&text, 16 << 20);
	buf_add_text(&text, header);
	buf_add(&text, data, size);
	if (diff_parse(&arena, buf_bytes(&text), 1, &limits, &diff, &reason, &err) == 0 &&
	    diff.files[0].data.kind != DIFF_BINARY_ABSENT &&
	    binary_apply(&arena, &diff.files[0], preimage, ROOM_BYTES, &out, &reason, &err) == 0)
		require(out.len <= ROOM_BYTES);
	buf_release(&text);
	arena_release(&arena);
	return 0;
}
