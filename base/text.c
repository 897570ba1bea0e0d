/*
 * text.c - theory: every function is a single forward pass over its input,
 * but for the glob, which fills one row of booleans a pattern character and
 * so cannot be made to backtrack.
 */
#include "base/text.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"

/* --- UTF-8 ------------------------------------------------------------ */

/* Length of the sequence that starts with `lead`, 0 when none does; `ret_low`
 * and `ret_high` bound its second byte (RFC 3629, section 4). */
static size_t sequence_len(uint8_t lead, uint8_t *ret_low, uint8_t *ret_high)
{
	*ret_low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
	*ret_high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
	if (lead < 0x80)
		return 1;
	if (lead >= 0xc2 && lead <= 0xdf)
		return 2;
	if (lead >= 0xe0 && lead <= 0xef)
		return 3;
	if (lead >= 0xf0 && lead <= 0xf4)
		return 4;
	return 0;
}

bool text_is_utf8(const void *data, size_t len)
{
	const uint8_t *at = data;

	for (size_t i = 0; i < len;) {
		uint8_t low;
		uint8_t high;
		size_t n = sequence_len(at[i], &low, &high);

		if (n == 0 || n > len - i)
			return false;
		if (n > 1 && (at[i + 1] < low || at[i + 1] > high))
			return false;
		for (size_t k = 2; k < n; k++) {
			if ((at[i + k] & 0xc0) != 0x80)
				return false;
		}
		i += n;
	}
	return true;
}

/* --- numbers ---------------------------------------------------------- */

static bool parse_prefix(const char *text, int64_t *ret, const char **ret_end)
{
	char *end;
	long long value;

	if (!(*text == '-' && text[1] >= '0' && text[1] <= '9') && !(*text >= '0' && *text <= '9'))
		return false;
	errno = 0;
	value = strtoll(text, &end, 10);
	if (errno != 0)
		return false;
	*ret = value;
	*ret_end = end;
	return true;
}

bool text_parse_int(const char *text, int64_t *ret)
{
	const char *end;
	int64_t value;

	if (!parse_prefix(text, &value, &end) || *end != '\0')
		return false;
	*ret = value;
	return true;
}

struct unit {
	const char *suffix;
	int64_t factor;
};

static bool parse_unit(const char *text, const struct unit *units, size_t units_len, int64_t *ret)
{
	const char *end;
	int64_t value;

	if (!parse_prefix(text, &value, &end) || value < 0)
		return false;
	for (size_t i = 0; i < units_len; i++) {
		if (strcmp(end, units[i].suffix) == 0)
			return !__builtin_mul_overflow(value, units[i].factor, ret);
	}
	return false;
}

bool text_parse_size(const char *text, int64_t *ret)
{
	static const struct unit units[] = {{"", 1},	    {"k", 1 << 10}, {"K", 1 << 10},
					    {"m", 1 << 20}, {"M", 1 << 20}, {"g", 1 << 30},
					    {"G", 1 << 30}};

	return parse_unit(text, units, ARRAY_LEN(units), ret);
}

bool text_parse_duration_ms(const char *text, int64_t *ret)
{
	static const struct unit units[] = {
		{"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};

	return parse_unit(text, units, ARRAY_LEN(units), ret);
}

void text_hex(const void *data, size_t len, char *ret)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *at = data;

	for (size_t i = 0; i < len; i++) {
		*ret++ = digits[at[i] >> 4];
		*ret++ = digits[at[i] & 15];
	}
	*ret = '\0';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int text_hex_byte(const char *digits)
{
	int high = hex_digit(digits[0]);
	int low = high < 0 ? -1 : hex_digit(digits[1]);

	return low < 0 ? -1 : high << 4 | low;
}

/* --- globs ------------------------------------------------------------ */

/* One pattern character, as compiled. */
struct token {
	enum { ANY_DEEP, ANY_RUN, ANY_ONE, CLASS, LITERAL } kind;
	char literal;
	const char *class_text; /* after '[' */
};

/* Whether `c` is in the class; `*at` is left behind its ']'. */
static bool class_has(const char *class_text, char c, const char **ret_end)
{
	const char *at = class_text;
	bool negate = *at == '!' || *at == '^';
	bool found = false;

	if (negate)
		at++;
	for (const char *first = at; *at != '\0' && (*at != ']' || at == first); at++) {
		if (at[1] == '-' && at[2] != ']' && at[2] != '\0') {
			found = found || (c >= at[0] && c <= at[2]);
			at += 2;
		} else {
			found = found || c == *at;
		}
	}
	*ret_end = *at == ']' ? at + 1 : NULL;
	return found != negate && c != '/';
}

static const char *next_token(const char *at, bool at_component, struct token *ret)
{
	const char *end;

	if (at_component && at[0] == '*' && at[1] == '*' && (at[2] == '/' || at[2] == '\0')) {
		*ret = (struct token){.kind = ANY_DEEP};
		return at[2] == '/' ? at + 3 : at + 2;
	}
	if (*at == '*' || *at == '?') {
		*ret = (struct token){.kind = *at == '*' ? ANY_RUN : ANY_ONE};
		return at + 1;
	}
	if (*at == '[') {
		(void)class_has(at + 1, 'x', &end);
		if (end != NULL) {
			*ret = (struct token){.kind = CLASS, .class_text = at + 1};
			return end;
		}
	}
	if (*at == '\\' && at[1] != '\0')
		at++;
	*ret = (struct token){.kind = LITERAL, .literal = *at};
	return at + 1;
}

/*
 * reach[i]: the pattern so far matches the first i characters of the path.
 * ANY_DEEP keeps every reachable place and adds the start of each later
 * component; at the pattern's end it takes all the rest.
 */
static void step(const struct token *token, bool last, const char *path, size_t len, bool *reach)
{
	const char *unused;
	bool carry = false;

	switch (token->kind) {
	case ANY_RUN:
		for (size_t i = 0; i <= len; i++) {
			carry = reach[i] || (carry && i > 0 && path[i - 1] != '/');
			reach[i] = carry;
		}
		return;
	case ANY_DEEP:
		for (size_t i = 0; i <= len; i++) {
			carry = carry || reach[i];
			reach[i] = reach[i] || (carry && (last || (i > 0 && path[i - 1] == '/')));
		}
		return;
	case ANY_ONE:
	case CLASS:
	case LITERAL:
		for (size_t i = len; i > 0; i--) {
			char c = path[i - 1];
			bool hit = token->kind == ANY_ONE ? c != '/'
				   : token->kind == CLASS ? class_has(token->class_text, c, &unused)
							  : c == token->literal;

			reach[i] = reach[i - 1] && hit;
		}
		reach[0] = false;
		return;
	}
}

enum { GLOB_PATH_MAX = 4096 };

bool text_glob_match(const char *pattern, const char *path)
{
	bool reach[GLOB_PATH_MAX + 1] = {true};
	bool anchored = strchr(pattern, '/') != NULL;
	size_t len;
	bool at_component = true;

	if (!anchored && strrchr(path, '/') != NULL)
		path = strrchr(path, '/') + 1;
	if (*pattern == '/')
		pattern++;
	len = strlen(path);
	if (len > GLOB_PATH_MAX)
		return false;
	while (*pattern != '\0') {
		struct token token;
		const char *next = next_token(pattern, at_component, &token);

		step(&token, *next == '\0', path, len, reach);
		at_component = next[-1] == '/';
		pattern = next;
	}
	return reach[len];
}

/* --- likeness --------------------------------------------------------- */

size_t text_distance(const char *a, const char *b)
{
	size_t row[TEXT_DISTANCE_CHARS + 1];
	size_t a_len = strnlen(a, TEXT_DISTANCE_CHARS + 1);
	size_t b_len = strnlen(b, TEXT_DISTANCE_CHARS + 1);

	if (a_len > TEXT_DISTANCE_CHARS || b_len > TEXT_DISTANCE_CHARS)
		return SIZE_MAX;
	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			best = row[j] + 1 < best ? row[j] + 1 : best;
			row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
		}
	}
	return row[b_len];
}

/* --- identifiers ------------------------------------------------------ */

bool text_is_id(const char *id)
{
	size_t len = strlen(id);

	return len >= 1 && len <= 64 &&
	       strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
		       len;
}

void text_uuid7(char ret_uuid[TEXT_UUID_BYTES])
{
	uint64_t ms = (uint64_t)(clock_wall_us() / 1000);
	uint8_t raw[16];
	char hex[33];

	for (size_t got = 0; got < sizeof(raw);) {
		ssize_t n = getrandom(raw + got, sizeof(raw) - got, 0);

		assert(n > 0 || errno == EINTR);
		got += n > 0 ? (size_t)n : 0;
	}
	for (int i = 0; i < 6; i++)
		raw[i] = (uint8_t)(ms >> (40 - 8 * i));
	raw[6] = (uint8_t)(0x70 | (raw[6] & 0x0f));
	raw[8] = (uint8_t)(0x80 | (raw[8] & 0x3f));
	text_hex(raw, sizeof(raw), hex);
	(void)snprintf(ret_uuid, TEXT_UUID_BYTES, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8,
		       hex + 12, hex + 16, hex + 20);
}
