/*
 * bench_worker.c - no-op jobs through a running worker, from the producer's
 * side: jobs are sent with confirms, results read from the shared queue.
 *
 *	bench_worker URL PREFIX drain JOBS	sends all, says "queued", waits for the
 *						results of a worker started then
 *	bench_worker URL PREFIX paced JOBS RATE	sends so many a second, and measures
 *						the time from sending to the result
 *	bench_worker URL PREFIX queue JOBS	only sends
 *
 * One line with the figures at the end. A job has a label that makes its message
 * about 1 KiB.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "queue/carrier.h"
#include "schema/job.h"

enum { MESSAGE_BYTES = 4096, FILLER_BYTES = 900, TOGETHER = 128 };

struct bench {
	struct carrier_config config;
	struct consumer *consumer;
	struct publisher *publisher;
	struct buf message;
	size_t id_at; /* of the digits of the id within the message */
	size_t jobs;
	unsigned series; /* so that no worker has seen these ids before */
	int64_t *sent_us;
	int64_t *took_us; /* 0: no result yet */
	size_t results;
	int64_t first_us, last_us;
};

static void die(const char *what, const struct err *err)
{
	(void)fprintf(stderr, "bench_worker: %s: %s\n", what, err->message);
	exit(1);
}

/* --- jobs ------------------------------------------------------------- */

static void make_message(struct bench *bench)
{
	char filler[FILLER_BYTES + 1];
	struct arena arena;
	struct value *job;
	struct value *labels;

	(void)memset(filler, 'x', FILLER_BYTES);
	filler[FILLER_BYTES] = '\0';
	arena_init(&arena, 1 << 20);
	buf_init(&bench->message, MESSAGE_BYTES);
	job = value_map(&arena);
	labels = value_map(&arena);
	value_put(&arena, labels, "filler", value_str(&arena, filler));
	value_put(&arena, job, "v", value_int(&arena, JOB_VERSION));
	value_put(&arena, job, "id", value_str(&arena, "bench-00000000-00000000"));
	value_put(&arena, job, "labels", labels);
	value_pack(job, &bench->message);
	bench->id_at = (size_t)(strstr(buf_text(&bench->message) + 4, "00000000-") -
				buf_text(&bench->message));
	arena_release(&arena);
}

static void send_job(struct bench *bench, size_t number)
{
	char id[32];
	struct message message = {.body = buf_bytes(&bench->message), .id = id};
	struct publisher_fate fate;
	struct err err = {0};

	(void)snprintf(id, sizeof(id), "bench-%08zu-%08x", number, bench->series);
	(void)memcpy(bench->message.data + bench->id_at, id + 6, 17);
	bench->sent_us[number] = clock_mono_us();
	if (publisher_send(bench->publisher, ROUTE_JOB, &message, number, &err) < 0)
		die("send", &err);
	/* A look for fates is what sends them off where the queue is a file. */
	if (number % TOGETHER != TOGETHER - 1)
		return;
	while (publisher_next(bench->publisher, 0, &fate, &err) == 1) {
		if (!fate.confirmed)
			die("not confirmed", &err);
	}
}

static void send_all(struct bench *bench)
{
	int64_t start_us = clock_mono_us();
	struct publisher_fate fate;
	struct err err = {0};

	for (size_t i = 0; i < bench->jobs; i++)
		send_job(bench, i);
	if (publisher_flush(bench->publisher, 60000, &err) < 0)
		die("confirms", &err);
	while (publisher_next(bench->publisher, 0, &fate, &err) == 1)
		continue;
	(void)printf("queued %.0f\n",
		     (double)bench->jobs * 1e6 / (double)(clock_mono_us() - start_us));
	(void)fflush(stdout);
}

/* --- results ---------------------------------------------------------- */

static void on_result(void *ctx, const struct delivery *delivery)
{
	struct bench *bench = ctx;
	int64_t now_us = clock_mono_us();
	struct err err = {0};
	size_t number = bench->jobs;

	if (delivery->id != NULL && strncmp(delivery->id, "bench-", 6) == 0)
		number = strtoul(delivery->id + 6, NULL, 10);
	if (number < bench->jobs && bench->took_us[number] == 0) {
		bench->took_us[number] = now_us - bench->sent_us[number];
		if (bench->results++ == 0)
			bench->first_us = now_us;
		bench->last_us = now_us;
	}
	if (consumer_ack(bench->consumer, delivery->epoch, delivery->tag, &err) < 0)
		die("ack", &err);
}

static void look(struct bench *bench, int most_ms)
{
	struct pollfd items[] = {
		{.fd = consumer_fd(bench->consumer), .events = POLLIN},
		{.fd = publisher_fd(bench->publisher), .events = POLLIN},
	};
	struct publisher_fate fate;
	struct err err = {0};
	int own_ms = consumer_timeout_ms(bench->consumer);

	(void)poll(items, ARRAY_LEN(items), own_ms >= 0 && own_ms < most_ms ? own_ms : most_ms);
	if (consumer_dispatch(bench->consumer, &err) < 0)
		die("consume", &err);
	while (publisher_next(bench->publisher, 0, &fate, &err) == 1)
		continue;
}

static void open_consumer(struct bench *bench)
{
	const struct consumer_hooks hooks = {.delivered = on_result, .ctx = bench};
	struct err err = {0};

	bench->config.prefetch = 1000;
	if (consumer_open(&bench->consumer, &bench->config, SOURCE_RESULTS, NULL, &hooks, &err) < 0)
		die("open a consumer", &err);
}

/* --- modes ------------------------------------------------------------ */

static int by_time(const void *a, const void *b)
{
	int64_t left = *(const int64_t *)a;
	int64_t right = *(const int64_t *)b;

	return left < right ? -1 : left > right;
}

static void drain(struct bench *bench)
{
	send_all(bench);
	open_consumer(bench);
	while (bench->results < bench->jobs)
		look(bench, 1000);
	(void)printf("rate %.0f\n",
		     (double)(bench->jobs - 1) * 1e6 / (double)(bench->last_us - bench->first_us));
}

static void paced(struct bench *bench, double rate)
{
	int64_t start_us;
	size_t sent = 0;

	open_consumer(bench);
	start_us = clock_mono_us();
	while (bench->results < bench->jobs) {
		size_t due = (size_t)((double)(clock_mono_us() - start_us) * rate / 1e6);

		for (; sent < due && sent < bench->jobs; sent++)
			send_job(bench, sent);
		look(bench, 1);
	}
	qsort(bench->took_us, bench->jobs, sizeof(*bench->took_us), by_time);
	(void)printf("p50 %.3f p99 %.3f max %.3f\n", (double)bench->took_us[bench->jobs / 2] / 1e3,
		     (double)bench->took_us[bench->jobs * 99 / 100] / 1e3,
		     (double)bench->took_us[bench->jobs - 1] / 1e3);
}

int main(int argc, char **argv)
{
	struct bench bench = {.config = {.name = "bench"}};
	struct err err = {0};

	if (argc < 5) {
		(void)fputs("usage: bench_worker URL PREFIX drain|paced|queue JOBS [RATE]\n",
			    stderr);
		return 2;
	}
	bench.config.url = argv[1];
	bench.config.prefix = argv[2];
	bench.series = (unsigned)clock_wall_us();
	bench.jobs = strtoul(argv[4], NULL, 10);
	bench.sent_us = calloc(bench.jobs + 1, sizeof(*bench.sent_us));
	bench.took_us = calloc(bench.jobs + 1, sizeof(*bench.took_us));
	if (bench.sent_us == NULL || bench.took_us == NULL || bench.jobs == 0)
		return 1;
	make_message(&bench);
	if (publisher_open(&bench.publisher, &bench.config, &err) < 0)
		die("open a publisher", &err);
	if (strcmp(argv[3], "drain") == 0)
		drain(&bench);
	else if (strcmp(argv[3], "paced") == 0)
		paced(&bench, argc > 5 ? strtod(argv[5], NULL) : 1000);
	else
		send_all(&bench);
	publisher_close(bench.publisher);
	consumer_close(bench.consumer);
	buf_release(&bench.message);
	free(bench.sent_us);
	free(bench.took_us);
	return 0;
}
