/*
 * text.h - small, pure functions on text and bytes.
 */
#ifndef SBX_BASE_TEXT_H
#define SBX_BASE_TEXT_H

#include <stdbool.h>

#include "base/defs.h"

/* Whether the bytes are UTF-8 as RFC 3629 has it: no overlong form, no
 * surrogate, nothing above U+10FFFF. NUL is valid. */
bool text_is_utf8(const void *data, size_t len);

/* Whole decimal number, optional minus, no blanks, no overflow. */
bool text_parse_int(const char *text, int64_t *ret);

/* A whole number with an optional suffix: k, m, g (1024-based), for sizes. */
bool text_parse_size(const char *text, int64_t *ret);

/* A whole number of milliseconds, or with a suffix: ms, s, m, h. */
bool text_parse_duration_ms(const char *text, int64_t *ret);

/* Lowercase hexadecimal; `ret` has room for 2 * len + 1. */
void text_hex(const void *data, size_t len, char *ret);

/* The byte that two hexadecimal digits of either case spell, or -1: also where the
 * text ends before them. */
int text_hex_byte(const char *digits);

/*
 * A glob against a '/'-separated path: '?' and '*' stop at '/', '**' as a
 * whole component crosses any number of components (none too), '[a-z]',
 * '[!a]', and '\' escapes. A pattern without '/' matches the last component
 * at any depth, as .gitignore has it; a leading '/' ties it to the top. Time
 * is bounded by len(pattern) * len(path).
 */
bool text_glob_match(const char *pattern, const char *path);

/* How many characters must be inserted, removed or replaced to make `b` of
 * `a` (Levenshtein): for "did you mean". SIZE_MAX when either is longer than
 * TEXT_DISTANCE_CHARS. */
enum { TEXT_DISTANCE_CHARS = 64 };
size_t text_distance(const char *a, const char *b);

/* Whether `id` is 1-64 of A-Za-z0-9._- */
bool text_is_id(const char *id);

/* UUID version 7 (RFC 9562) in its 36-character form. */
enum { TEXT_UUID_BYTES = 37 };
void text_uuid7(char ret_uuid[TEXT_UUID_BYTES]);

#endif
