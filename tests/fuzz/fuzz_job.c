/*
 * fuzz_job.c - any bytes as a job. What is accepted must survive the way out
 * and in again, and its message must unpack to itself; what is refused must
 * have a reason that can be encoded.
 */
#include "schema/job.h"
#include "schema/limits.h"
#include "tests/fuzz/fuzz.h"

/* The shortest message of a tree. */
static void pack(const struct value *tree, struct buf *out)
{
	buf_init(out, LIMIT_MESSAGE_BYTES);
	value_pack(tree, out);
	require(!out->failed);
}

static void go_round(struct arena *arena, const struct job *job)
{
	struct reason reason = {0};
	struct err err = {0};
	struct job again;
	struct value *tree = job_to_value(arena, job);
	struct value *second;
	struct buf first;
	struct buf other;

	require(tree != NULL);
	pack(tree, &first);
	require(value_walk(first.data, first.len, &err) == 0);
	require(job_decode(arena, first.data, first.len, &again, &reason, &err) == 0);
	second = job_to_value(arena, &again);
	require(second != NULL);
	pack(second, &other);
	require(first.len == other.len && memcmp(first.data, other.data, first.len) == 0);
	require(strcmp(job->id, again.id) == 0 && job->steps_len == again.steps_len);
	buf_release(&first);
	buf_release(&other);
}

static void salvage(struct arena *arena, const uint8_t *data, size_t size)
{
	const char *id;
	const char *tenant;

	job_salvage(arena, data, size, &id, &tenant);
	require(id == NULL || text_is_id(id));
	require(tenant == NULL || text_is_utf8(tenant, strlen(tenant)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena;
	struct reason reason = {0};
	struct err err = {0};
	struct job job = {0};

	arena_init(&arena, LIMIT_ARENA_BYTES);
	switch (job_decode(&arena, data, size, &job, &reason, &err)) {
	case 0:
		go_round(&arena, &job);
		break;
	case REFUSED:
		require(reason.code != REASON_NONE && reason.message[0] != '\0');
		require(text_is_utf8(reason.message, strlen(reason.message)));
		require(text_is_utf8(reason.subject, strlen(reason.subject)));
		break;
	default:
		require(err.kind != ERR_NONE);
	}
	salvage(&arena, data, size);
	arena_release(&arena);
	return 0;
}
