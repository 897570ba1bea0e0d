/*
 * field_private.h - the fields of messages as data.
 *
 * Every map of the wire is one table of fields (job_fields.c,
 * result_fields.c). A row says how a field is called, what kind of value it
 * has, where it lives in the C struct, its bounds and its default. Decoding,
 * validation, encoding, the hints for unknown keys, JSON's spelling of
 * binaries and the test of PROTOCOL.md all read these tables, so a new field
 * is one row and one line of the document.
 */
#ifndef SBX_SCHEMA_FIELD_PRIVATE_H
#define SBX_SCHEMA_FIELD_PRIVATE_H

#include "schema/job.h"
#include "schema/result.h"

enum field_kind {
	FIELD_VERSION, /* int, always `min`; not stored */
	FIELD_INT,     /* int64_t */
	FIELD_MILLI,   /* int64_t in thousandths of the wire's number */
	FIELD_BOOL,    /* bool */
	FIELD_MAYBE,   /* bool, and another one (`len_offset`) whether it was given */
	FIELD_CHOICE,  /* an enum: the index of one of `choices` */
	FIELD_FLAG,    /* bool: whether it is the second of two `choices` */
	FIELD_TEXT,    /* const char * */
	FIELD_SHA256,  /* char[65] */
	FIELD_MODE,    /* uint32_t, git's octal text on the wire */
	FIELD_BIN,     /* struct bytes */
	FIELD_TEXTS,   /* struct text_list */
	FIELD_PAIRS,   /* struct pair_list */
	FIELD_FILES,   /* struct file_list */
	FIELD_MAP,     /* a struct */
	FIELD_MAPS,    /* a pointer to structs, and their number */
};

/* What a text has to be, beyond its length. */
struct text_rule {
	bool (*holds)(const char *text);
	const char *expected; /* "a relative path without '..'" */
};

struct map;

struct field {
	const char *name;
	enum field_kind kind;
	size_t offset; /* FIELD_NOWHERE: validated, not stored */
	size_t len_offset;

	/* Must be there; when encoding: is there even with its default. */
	bool required;

	/* Anything but nil, false, 0 and empty is job.unsupported. */
	bool unbuilt;

	/* INT: the value; TEXT, BIN: bytes; TEXTS, PAIRS, FILES, MAPS: items. */
	int64_t min;
	int64_t max;
	int64_t item_min; /* TEXTS, PAIRS, FILES: bytes of each text or file */
	int64_t item_max;
	int64_t key_max; /* PAIRS, FILES: bytes of each key; 0: LIMIT_NAME_CHARS */

	int64_t fallback; /* INT: the value when absent */
	const char *fallback_text;
	const char *numbered; /* TEXT: default is this and the item's number */

	const char *const *choices; /* TEXT, CHOICE; NULL behind the last */
	size_t built;		    /* how many of them work; 0: all */
	bool open;		    /* texts beyond the choices: job.unsupported too */

	const struct text_rule *rule;	  /* TEXT, TEXTS, PAIRS' values */
	const struct text_rule *key_rule; /* PAIRS, FILES */
	const struct map *map;		  /* MAP, MAPS */
};

#define FIELD_NOWHERE SIZE_MAX

/* The place of a field; does not compile when the member has another type. */
#define FIELD_AT(type, member, ctype) \
	.offset = offsetof(type, member) + _Generic(((type *)NULL)->member, ctype : 0)
#define FIELD_LIST_AT(type, member, ctype)                   \
	FIELD_AT(type, member, ctype),                       \
		.len_offset = offsetof(type, member##_len) + \
			      _Generic(((type *)NULL)->member##_len, size_t : 0)

struct decoder;
struct path;

struct map {
	const struct field *fields;
	size_t len;
	size_t size;	  /* of the struct; 0: nothing is stored */
	bool has_present; /* the struct starts with `bool present` */

	/* Rules between fields, once each of them holds; NULL: none. */
	int (*check)(struct decoder *decoder, const struct path *path, const void *at);
};

extern const struct map job_map;
extern const struct map result_head_map; /* struct result_wire */
extern const struct map result_body_map; /* struct result_body */

/* struct result_head as its table sees it: names instead of enums. */
struct result_wire_reason {
	bool present;
	const char *code;
	const char *message;
	const char *subject;
	const char *hint;
};

struct result_wire_state {
	const char *state;
	int64_t at_us;
};

struct result_wire_security {
	bool present;
	const char *mode;
	const char *profile;
	const char *reason;
	const char *root;
};

struct result_wire {
	const char *job;
	int64_t run;
	int64_t attempt;
	const char *worker;
	const char *tenant;
	const char *stage;
	struct pair_list labels;
	const char *traceparent;
	const char *verdict;
	struct result_wire_reason reason;
	struct result_wire_state *states;
	size_t states_len;
	struct result_metrics metrics;
	struct result_wire_security security;
	struct text_list missing;
	struct text_list clamped;
};

/* --- errors (field.c) ------------------------------------------------- */

/* Where a decoder is: a list linked through the callers' frames. */
struct path {
	const struct path *up;
	const char *name;
	size_t index; /* PATH_NO_INDEX: not an item of a list */
};

#define PATH_NO_INDEX SIZE_MAX

enum { PATH_TEXT_BYTES = 256 };

/* "steps[2].timeout_ms" */
void path_text(const struct path *path, char ret_text[PATH_TEXT_BYTES]);

struct decoder {
	struct arena *arena;
	struct reason *reason;
	struct err *err;
};

/* Fills the reason: "PATH: message". Returns REFUSED. */
int decoder_refuse(struct decoder *decoder, enum reason_code code, const struct path *path,
		   const char *fmt, ...) PRINTF_LIKE(4, 5);

/* The arena is exhausted. Returns -1. */
int decoder_exhausted(struct decoder *decoder);

/* job.invalid: "expected int, found str". */
int decoder_wrong_kind(struct decoder *decoder, const struct field *field,
		       const struct value *value, const struct path *path);

/* 0, or job.invalid: "0 is below the minimum 1". `unit` is "", " bytes" or
 * " items". */
int decoder_check_range(struct decoder *decoder, const struct path *path, int64_t number,
			int64_t min, int64_t max, const char *unit) MUST_CHECK;

/* A text of the message made fit for an error: short, no control characters. */
enum { QUOTE_BYTES = 80 };
void quote_text(struct bytes text, char ret_text[QUOTE_BYTES]);

/* The words of PROTOCOL.md: "int", "number", "list of str", "map", ... */
const char *field_type_name(const struct field *field);

/* The row called `name`, or NULL. */
const struct field *map_find(const struct map *map, struct bytes name);

/* --- directions ------------------------------------------------------- */

/* field_scalar.c: a field of one value into its place; `ret` is NULL when it
 * is not stored. 0, REFUSED or -1. */
int scalar_decode(struct decoder *decoder, const struct field *field, const struct value *value,
		  const struct path *path, void *ret) MUST_CHECK;

/* field_scalar.c: the bytes of a str as a checked C string; `rule` may be NULL. */
int string_decode(struct decoder *decoder, struct bytes bytes, const struct path *path, int64_t min,
		  int64_t max, const struct text_rule *rule, const char **ret) MUST_CHECK;

/*
 * field_decode.c: fills the struct at `at` from `tree`; with NULL or nil, from
 * the defaults. 0, REFUSED or -1.
 */
int map_decode(struct decoder *decoder, const struct map *map, const struct value *tree,
	       const struct path *path, void *at) MUST_CHECK;

/* field_encode.c: the tree of a struct. NULL when exhausted. */
struct value *map_encode(struct arena *arena, const struct map *map, const void *at);

/* field_names.c: turns JSON's spelling of the binaries that the table knows
 * into bin, in place; what cannot be turned is left for map_decode to refuse. */
void map_make_binaries(struct arena *arena, const struct map *map, struct value *tree);

/* field_names.c: appends "PATH: unknown field; did you mean 'x'?" for each key
 * that the table does not have. */
void map_list_unknown(struct arena *arena, const struct map *map, const struct value *tree,
		      const struct path *path, struct value *list);

#endif
