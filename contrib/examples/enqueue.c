/*
 * enqueue.c - one job from a C program, with libsbx: reads the job as JSON,
 * sends it, waits a while for the result and prints it.
 *
 *	cc enqueue.c $(pkg-config --cflags --libs sbx) -o enqueue
 *	SBX_QUEUE_URL=amqp://user:password@host/vhost enqueue job.json [SECONDS]
 *
 * Ends as sbx-submit --wait does: 0 passed, 1 failed, ... 6 error.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sbx/sbx.h>

enum { TEXT_BYTES = 1 << 20, USAGE = 2, FAILURE = 6 };

static int fail(const struct sbx_error *error)
{
	(void)fprintf(stderr, "enqueue: %s\n", error->message);
	return FAILURE;
}

/* Opens the wait first, so that the result cannot be missed. */
static int send_and_wait(struct sbx *sbx, const struct sbx_job *job, int timeout_ms)
{
	struct sbx_error error = {0};
	struct sbx_wait *wait = NULL;
	struct sbx_result result;
	int code = FAILURE;
	int rc;

	if (sbx_wait_open(&wait, sbx, job, &error) < 0)
		return fail(&error);
	rc = sbx_submit(sbx, job, &error);
	if (rc == 0) {
		(void)fprintf(stderr, "queued %s\n", sbx_job_id(job));
		rc = sbx_wait_next(wait, timeout_ms, &result, &error);
		if (rc > 0) {
			(void)puts(result.json);
			code = result.exit_code;
		} else if (rc == 0) {
			(void)fprintf(stderr, "enqueue: no result yet\n");
		}
	}
	if (rc < 0)
		code = fail(&error);
	sbx_wait_close(wait);
	return code;
}

static int run(const char *text, size_t len, int timeout_ms)
{
	const struct sbx_options options = {.name = "enqueue", .prefix = getenv("SBX_PREFIX")};
	struct sbx_error error = {0};
	struct sbx_job *job = NULL;
	struct sbx *sbx = NULL;
	int code;

	if (sbx_job_from_json(&job, text, len, &error) < 0)
		return fail(&error);
	for (size_t i = 0; sbx_job_warning(job, i) != NULL; i++)
		(void)fprintf(stderr, "enqueue: warning: %s\n", sbx_job_warning(job, i));
	if (sbx_open(&sbx, &options, &error) < 0)
		code = fail(&error);
	else
		code = send_and_wait(sbx, job, timeout_ms);
	sbx_close(sbx);
	sbx_job_free(job);
	return code;
}

int main(int argc, char **argv)
{
	static char text[TEXT_BYTES];
	FILE *file;
	size_t len;

	if (argc < 2) {
		(void)fprintf(stderr, "usage: enqueue job.json [SECONDS]\n");
		return USAGE;
	}
	file = fopen(argv[1], "r");
	if (file == NULL) {
		perror(argv[1]);
		return USAGE;
	}
	len = fread(text, 1, sizeof(text), file);
	(void)fclose(file);
	return run(text, len, argc > 2 ? (int)strtol(argv[2], NULL, 10) * 1000 : 60000);
}
