/*
 * control.c - theory: a map of a few fields, written and read through trees.
 * What a later version says is told apart from what is broken, because workers
 * of both versions hear the same messages.
 */
#include "schema/control.h"

#include <string.h>

#include "base/text.h"
#include "schema/job.h"
#include "schema/limits.h"
#include "schema/value.h"

static const char *const kinds[] = {[CONTROL_CANCEL] = "cancel", [CONTROL_MARK] = "mark"};

void control_pack(struct arena *arena, const struct control *control, struct buf *out)
{
	struct value *map = value_map(arena);

	value_put(arena, map, "v", value_int(arena, JOB_VERSION));
	value_put(arena, map, "kind", value_str(arena, kinds[control->kind]));
	value_put(arena, map, "id", value_str(arena, control->id));
	if (control->kind == CONTROL_CANCEL)
		value_put(arena, map, "run", value_int(arena, control->run));
	if (arena->exhausted)
		out->failed = true;
	else
		value_pack(map, out);
}

static int64_t int_at(const struct value *map, const char *key, int64_t absent)
{
	const struct value *value = value_get(map, key);

	if (value == NULL)
		return absent;
	return value->kind == VALUE_INT ? value->integer : -1;
}

int control_decode(struct arena *arena, const void *data, size_t len, struct control *ret,
		   struct err *err)
{
	struct control control = {.kind = CONTROL_CANCEL};
	struct value *map;
	const char *kind;

	if (value_unpack(arena, data, len, &map, err) < 0)
		return -1;
	if (int_at(map, "v", -1) != JOB_VERSION)
		return err_set(err, ERR_UNSUPPORTED, "a control message of another version");
	kind = value_text(arena, value_get(map, "kind"));
	if (kind == NULL)
		return err_set(err, ERR_INPUT, "a control message without kind");
	if (strcmp(kind, kinds[CONTROL_MARK]) == 0)
		control.kind = CONTROL_MARK;
	else if (strcmp(kind, kinds[CONTROL_CANCEL]) != 0)
		return err_set(err, ERR_UNSUPPORTED, "a control message of the kind '%.32s'", kind);
	control.id = value_text(arena, value_get(map, "id"));
	control.run = int_at(map, "run", 1);
	if (control.id == NULL || !text_is_id(control.id) || control.run < 1 ||
	    control.run > LIMIT_RUN)
		return err_set(err, ERR_INPUT, "a control message without a valid id and run");
	*ret = control;
	return 0;
}
