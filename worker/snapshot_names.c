/* snapshot_names.c - see snapshot_names.h. */
#include "worker/snapshot_names.h"

#include <string.h>

#include "schema/value.h"
#include "snapshots/gitdb.h"

static const char *commit(struct arena *arena, const struct value *map, const char *name)
{
	const char *text = value_text(arena, value_get(map, name));

	/* An executor has made the body: what is no commit is not told. */
	if (text == NULL || strlen(text) != OID_HEX_BYTES - 1 ||
	    strspn(text, "0123456789abcdef") != OID_HEX_BYTES - 1)
		return NULL;
	return text;
}

struct ledger_snapshots snapshot_names(struct arena *arena, struct bytes result)
{
	struct value *tree;
	const struct value *map;

	if (value_unpack(arena, result.data, result.len, &tree, NULL) < 0)
		return (struct ledger_snapshots){0};
	map = value_get(tree, "snapshots");
	return (struct ledger_snapshots){
		.initial = commit(arena, map, "initial"),
		.before_patch = commit(arena, map, "before_patch"),
		.after_patch = commit(arena, map, "after_patch"),
		.final = commit(arena, map, "final"),
	};
}
