/*
 * msgpack.c - the gateway to msgpack-c; nobody else includes msgpack.h.
 *
 * msgpack_unpack_next sees only what value_walk has let through: it reserves
 * memory by the counts that a message claims, accepts trailing bytes, twice
 * the same key, text that is not UTF-8 and NaN, and stops at a nesting of its
 * own. Its tree is copied into the arena as our own and freed at once; texts
 * and binaries keep pointing into the message.
 */
#include <assert.h>
#include <errno.h>
#include <msgpack.h>
#include <msgpack/timestamp.h>

#include "schema/value_private.h"

/* --- reading ---------------------------------------------------------- */

/* Lists and maps hold values, so these three call each other. */
static struct value *copy(struct arena *arena, const msgpack_object *from);

static struct value *copy_list(struct arena *arena, const msgpack_object_array *from)
{
	struct value *list = value_list_of(arena, from->size);

	for (uint32_t i = 0; list != NULL && i < from->size; i++) {
		list->list.items[i] = copy(arena, &from->ptr[i]);
		if (list->list.items[i] == NULL)
			return NULL;
	}
	return list;
}

static struct value *copy_map(struct arena *arena, const msgpack_object_map *from)
{
	struct value *map = value_map_of(arena, from->size);

	for (uint32_t i = 0; map != NULL && i < from->size; i++) {
		const msgpack_object_str *key = &from->ptr[i].key.via.str;

		map->map.keys[i] = (struct bytes){(const uint8_t *)key->ptr, key->size};
		map->map.items[i] = copy(arena, &from->ptr[i].val);
		if (map->map.items[i] == NULL)
			return NULL;
	}
	return map;
}

static struct value *copy_time(struct arena *arena, const msgpack_object *from)
{
	struct value *value = value_new(arena, VALUE_TIME);
	msgpack_timestamp time;
	bool is_time = msgpack_object_to_timestamp(from, &time);

	assert(is_time);
	if (value != NULL) {
		value->time.seconds = time.tv_sec;
		value->time.nanoseconds = time.tv_nsec;
	}
	return value;
}

static struct value *copy_bytes(struct arena *arena, enum value_kind kind, const char *data,
				size_t len)
{
	struct value *value = value_new(arena, kind);

	if (value != NULL)
		value->bytes = (struct bytes){(const uint8_t *)data, len};
	return value;
}

static struct value *copy_real(struct arena *arena, double real)
{
	struct value *value = value_new(arena, VALUE_REAL);

	if (value != NULL)
		value->real = real;
	return value;
}

/* Recursion is bounded: the walk has refused what is deeper than LIMIT_DEPTH. */
static struct value *copy(struct arena *arena, const msgpack_object *from)
{
	switch (from->type) {
	case MSGPACK_OBJECT_NIL:
		return value_new(arena, VALUE_NULL);
	case MSGPACK_OBJECT_BOOLEAN:
		return value_bool(arena, from->via.boolean);
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		return value_int(arena, (int64_t)from->via.u64);
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		return value_int(arena, from->via.i64);
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		return copy_real(arena, from->via.f64);
	case MSGPACK_OBJECT_STR:
		return copy_bytes(arena, VALUE_STR, from->via.str.ptr, from->via.str.size);
	case MSGPACK_OBJECT_BIN:
		return copy_bytes(arena, VALUE_BIN, from->via.bin.ptr, from->via.bin.size);
	case MSGPACK_OBJECT_ARRAY:
		return copy_list(arena, &from->via.array);
	case MSGPACK_OBJECT_MAP:
		return copy_map(arena, &from->via.map);
	case MSGPACK_OBJECT_EXT:
		return copy_time(arena, from);
	}
	assert(!"a kind that the walk lets through");
	return NULL;
}

int value_unpack(struct arena *arena, const void *data, size_t len, struct value **ret,
		 struct err *err)
{
	CLEANUP(msgpack_unpacked_destroy) msgpack_unpacked unpacked;
	size_t at = 0;
	msgpack_unpack_return result;
	struct value *tree;

	msgpack_unpacked_init(&unpacked);
	if (value_walk(data, len, err) < 0)
		return -1;
	result = msgpack_unpack_next(&unpacked, data, len, &at);
	if (result == MSGPACK_UNPACK_NOMEM_ERROR) {
		errno = ENOMEM;
		return err_sys(err, "cannot unpack a message of %zu bytes", len);
	}
	assert(result == MSGPACK_UNPACK_SUCCESS && at == len);
	tree = copy(arena, &unpacked.data);
	if (tree == NULL)
		return value_exhausted(arena, err);
	*ret = tree;
	return 0;
}

/* --- writing ---------------------------------------------------------- */

static int write_to_buf(void *data, const char *bytes, size_t len)
{
	struct buf *out = data;

	buf_add(out, bytes, len);
	return out->failed ? -1 : 0;
}

static int write_to_count(void *data, const char *bytes, size_t len)
{
	size_t *count = data;

	(void)bytes;
	*count += len;
	return 0;
}

/* Failures stick in the buffer, so the packer's own results are not needed. */
static void pack(msgpack_packer *packer, const struct value *value);

static void pack_text(msgpack_packer *packer, struct bytes text)
{
	(void)msgpack_pack_str(packer, text.len);
	(void)msgpack_pack_str_body(packer, text.data, text.len);
}

static void pack_pairs(msgpack_packer *packer, const struct value *map)
{
	for (size_t i = 0; i < map->map.len; i++) {
		pack_text(packer, map->map.keys[i]);
		pack(packer, map->map.items[i]);
	}
}

static void pack_time(msgpack_packer *packer, const struct value *value)
{
	msgpack_timestamp time = {.tv_sec = value->time.seconds,
				  .tv_nsec = value->time.nanoseconds};

	(void)msgpack_pack_timestamp(packer, &time);
}

static void pack(msgpack_packer *packer, const struct value *value)
{
	switch (value->kind) {
	case VALUE_NULL:
		(void)msgpack_pack_nil(packer);
		return;
	case VALUE_BOOL:
		(void)(value->boolean ? msgpack_pack_true(packer) : msgpack_pack_false(packer));
		return;
	case VALUE_INT:
		(void)msgpack_pack_int64(packer, value->integer);
		return;
	case VALUE_REAL:
		(void)msgpack_pack_double(packer, value->real);
		return;
	case VALUE_STR:
		pack_text(packer, value->bytes);
		return;
	case VALUE_BIN:
		(void)msgpack_pack_bin(packer, value->bytes.len);
		(void)msgpack_pack_bin_body(packer, value->bytes.data, value->bytes.len);
		return;
	case VALUE_LIST:
		(void)msgpack_pack_array(packer, value->list.len);
		for (size_t i = 0; i < value->list.len; i++)
			pack(packer, value->list.items[i]);
		return;
	case VALUE_MAP:
		(void)msgpack_pack_map(packer, value->map.len);
		pack_pairs(packer, value);
		return;
	case VALUE_TIME:
		pack_time(packer, value);
		return;
	}
	assert(!"a value has a kind");
}

void value_pack(const struct value *value, struct buf *out)
{
	msgpack_packer packer;

	msgpack_packer_init(&packer, out, write_to_buf);
	pack(&packer, value);
}

size_t value_packed_size(const struct value *value)
{
	msgpack_packer packer;
	size_t size = 0;

	msgpack_packer_init(&packer, &size, write_to_count);
	pack(&packer, value);
	return size;
}

void value_pack_map_head(size_t pairs, struct buf *out)
{
	msgpack_packer packer;

	msgpack_packer_init(&packer, out, write_to_buf);
	(void)msgpack_pack_map(&packer, pairs);
}

void value_pack_pairs(const struct value *map, struct buf *out)
{
	msgpack_packer packer;

	assert(map->kind == VALUE_MAP);
	msgpack_packer_init(&packer, out, write_to_buf);
	pack_pairs(&packer, map);
}
