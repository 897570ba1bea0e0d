/*
 * diff_binary.c - the frame of a "GIT binary patch": one or two runs of lines,
 * forward and reverse, each headed by kind and size and ended by a blank line.
 *
 * A line is a letter for its length (A-Z: 1-26 bytes, a-z: 27-52) and five
 * digits for every four bytes. Only the frame is checked here; binary.h decodes
 * the forward half when the file's turn comes, and the reverse one is skipped.
 */
#include <string.h>

#include "snapshots/diff_private.h"

static bool line_fits(struct bytes text)
{
	size_t bytes;

	if (text.len == 0)
		return false;
	if (text.data[0] >= 'A' && text.data[0] <= 'Z')
		bytes = (size_t)(text.data[0] - 'A') + 1;
	else if (text.data[0] >= 'a' && text.data[0] <= 'z')
		bytes = (size_t)(text.data[0] - 'a') + 27;
	else
		return false;
	return text.len == 1 + (bytes + 3) / 4 * 5;
}

static bool take_size(struct bytes text, uint64_t *ret)
{
	uint64_t size = 0;

	if (text.len == 0)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < '0' || text.data[i] > '9' || size > UINT64_MAX / 10 - 1)
			return false;
		size = size * 10 + (uint64_t)(text.data[i] - '0');
	}
	*ret = size;
	return true;
}

static bool take_head(struct bytes text, struct diff_binary *ret)
{
	bool literal = diff_starts(text, "literal ");

	if (!literal && !diff_starts(text, "delta "))
		return false;
	ret->kind = literal ? DIFF_BINARY_LITERAL : DIFF_BINARY_DELTA;
	return take_size(diff_after(text, literal ? 8 : 6), &ret->size);
}

static int cut_off(struct diff_parser *parser)
{
	return diff_refuse_here(parser, REASON_PATCH_TRUNCATED,
				"the diff ends inside a binary patch");
}

static int take_half(struct diff_parser *parser, struct diff_binary *ret)
{
	const uint8_t *start;
	struct diff_raw line;

	if (!diff_peek(parser, &line) || !line.whole)
		return cut_off(parser);
	if (!take_head(line.text, ret))
		return diff_refuse_here(parser, REASON_PATCH_MALFORMED,
					"a binary patch goes on with 'literal <size>' or 'delta "
					"<size>'");
	diff_skip(parser, &line);
	start = parser->at;
	for (;;) {
		if (!diff_peek(parser, &line) || !line.whole)
			return cut_off(parser);
		if (line.text.len == 0)
			break;
		if (!line_fits(line.text))
			return diff_refuse_here(parser, REASON_PATCH_MALFORMED,
						"not a line of a binary patch");
		diff_skip(parser, &line);
	}
	ret->text = (struct bytes){start, (size_t)(parser->at - start)};
	diff_skip(parser, &line);
	return 0;
}

int diff_binary_patch(struct diff_parser *parser, struct diff_file *file)
{
	struct diff_binary reverse;
	struct diff_raw line = {0};
	int code;

	(void)diff_peek(parser, &line);
	diff_skip(parser, &line);
	file->binary = true;
	code = take_half(parser, &file->data);
	if (code == 0 && diff_peek(parser, &line) && take_head(line.text, &reverse))
		code = take_half(parser, &reverse);
	return code;
}
