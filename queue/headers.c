/*
 * headers.c - theory: NUL-terminated texts in a row need no lengths, and what is
 * torn off at the end loses at most its last pair.
 */
#include "queue/headers.h"

#include <string.h>

void headers_pack(const struct pair_list *headers, struct buf *out)
{
	for (size_t i = 0; i < headers->len; i++) {
		const struct pair *pair = &headers->items[i];
		size_t bytes = strlen(pair->key) + strlen(pair->value) + 2;

		if (strncmp(pair->key, "x-sbx-", 6) == 0 || strncmp(pair->key, "x-death", 7) == 0 ||
		    out->len + bytes > HEADERS_BYTES)
			continue;
		buf_add(out, pair->key, strlen(pair->key) + 1);
		buf_add(out, pair->value, strlen(pair->value) + 1);
	}
}

void headers_unpack(struct arena *arena, const void *data, size_t len, struct pair_list *ret)
{
	const char *text = arena_memdup(arena, data == NULL ? "" : data, len);
	size_t nuls = 0;
	size_t at = 0;

	for (size_t i = 0; text != NULL && i < len; i++)
		nuls += text[i] == '\0';
	*ret = (struct pair_list){.items = arena_array(arena, nuls / 2 + 1, sizeof(*ret->items))};
	if (text == NULL || ret->items == NULL)
		return;
	for (size_t i = 0; i < nuls / 2; i++) {
		const char *key = text + at;
		const char *value = key + strlen(key) + 1;

		ret->items[ret->len++] = (struct pair){key, value};
		at = (size_t)(value - text) + strlen(value) + 1;
	}
}
