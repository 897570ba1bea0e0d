/*
 * results.c - reads everybody's results with libsbx, each once: one line of JSON
 * a result, until none has come for so many seconds.
 *
 *	cc results.c $(pkg-config --cflags --libs sbx) -o results
 *	SBX_QUEUE_URL=amqp://user:password@host/vhost results [SECONDS]
 *
 * A result is taken off the queue when it is written; what the program was
 * killed over comes again, with the same job and run.
 */
#include <stdio.h>
#include <stdlib.h>

#include <sbx/sbx.h>

enum { FAILURE = 6 };

static int copy_all(struct sbx_results *results, int idle_ms, struct sbx_error *error)
{
	struct sbx_result result;
	int rc;

	while ((rc = sbx_results_next(results, idle_ms, &result, error)) != 0) {
		if (rc < 0 && error->failure != SBX_USAGE)
			return -1;
		if (rc < 0)
			(void)fprintf(stderr, "results: passed over: %s\n", error->message);
		else if (puts(result.json) < 0 || fflush(stdout) != 0)
			return 0; /* whoever reads us is gone: leave it in the queue */
		sbx_results_done(results);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct sbx_options options = {.name = "results", .prefix = getenv("SBX_PREFIX")};
	int idle_ms = argc > 1 ? (int)strtol(argv[1], NULL, 10) * 1000 : -1;
	struct sbx_results *results = NULL;
	struct sbx_error error = {0};
	struct sbx *sbx = NULL;
	int rc;

	rc = sbx_open(&sbx, &options, &error);
	if (rc == 0)
		rc = sbx_results_open(&results, sbx, &error);
	if (rc == 0)
		rc = copy_all(results, idle_ms, &error);
	if (rc < 0)
		(void)fprintf(stderr, "results: %s\n", error.message);
	sbx_results_close(results);
	sbx_close(sbx);
	return rc < 0 ? FAILURE : 0;
}
