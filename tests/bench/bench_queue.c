/*
 * bench_queue.c - no-op jobs through a consumer and a publisher, as a worker
 * moves them: a job is delivered, its result published and confirmed, then the
 * job is acked. One process does both sides here; a worker has two.
 *
 *	bench_queue URL [JOBS [BYTES [PREFETCH]]]
 *
 * The queues get a prefix of their own and are removed at the end. Prints how
 * fast the jobs were enqueued, how fast they were moved, and the time from
 * delivery to ack.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/unit/queue/remove.h"

struct bench {
	struct consumer *consumer;
	struct publisher *publisher;
	uint64_t *tags; /* of the delivery, by number */
	int64_t *came_us;
	int64_t *took_us;
	uint64_t epoch;
	size_t delivered;
	size_t settled;
};

static void die(const char *what, const struct err *err)
{
	(void)fprintf(stderr, "bench_queue: %s: %s\n", what, err->message);
	exit(1);
}

static void settle_known(struct bench *bench)
{
	struct publisher_fate fate;
	struct err err = {0};
	int got;

	while ((got = publisher_next(bench->publisher, 0, &fate, &err)) == 1) {
		if (!fate.confirmed) {
			(void)snprintf(err.message, sizeof(err.message), "%s", fate.why);
			die("a result was not confirmed", &err);
		}
		if (consumer_ack(bench->consumer, bench->epoch, bench->tags[fate.tag], &err) < 0)
			die("ack", &err);
		bench->took_us[fate.tag] = clock_mono_us() - bench->came_us[fate.tag];
		bench->settled++;
	}
	if (got < 0)
		die("confirms", &err);
}

static void on_job(void *ctx, const struct delivery *delivery)
{
	struct bench *bench = ctx;
	struct message result = {.body = delivery->body, .id = delivery->id, .key = "bench.job"};
	struct err err = {0};
	size_t number = bench->delivered++;

	bench->epoch = delivery->epoch;
	bench->tags[number] = delivery->tag;
	bench->came_us[number] = clock_mono_us();
	if (publisher_send(bench->publisher, ROUTE_RESULT, &result, number, &err) < 0)
		die("send a result", &err);
}

static void enqueue(const struct carrier_config *with, size_t jobs, size_t bytes)
{
	struct publisher *publisher;
	struct publisher_fate fate;
	struct err err = {0};
	uint8_t *body = calloc(1, bytes + 1);
	int64_t start_us;

	if (body == NULL || publisher_open(&publisher, with, &err) < 0)
		die("open a publisher", &err);
	start_us = clock_mono_us();
	for (size_t i = 0; i < jobs; i++) {
		char id[32];
		struct message job = {.body = {body, bytes}, .id = id};

		(void)snprintf(id, sizeof(id), "bench-%zu", i);
		if (publisher_send(publisher, ROUTE_JOB, &job, i, &err) < 0)
			die("enqueue", &err);
		while (publisher_next(publisher, 0, &fate, &err) == 1)
			;
	}
	if (publisher_flush(publisher, 30000, &err) < 0)
		die("enqueue", &err);
	(void)printf("enqueued %zu jobs of %zu bytes, confirmed: %.0f/s\n", jobs, bytes,
		     (double)jobs * 1e6 / (double)(clock_mono_us() - start_us));
	publisher_close(publisher);
	free(body);
}

static int by_time(const void *a, const void *b)
{
	int64_t left = *(const int64_t *)a;
	int64_t right = *(const int64_t *)b;

	return left < right ? -1 : left > right;
}

static void move(struct bench *bench, const struct carrier_config *with, size_t jobs)
{
	struct consumer_hooks hooks = {.delivered = on_job, .ctx = bench};
	struct err err = {0};
	int64_t start_us;

	if (publisher_open(&bench->publisher, with, &err) < 0)
		die("open a publisher", &err);
	start_us = clock_mono_us();
	if (consumer_open(&bench->consumer, with, SOURCE_JOBS, NULL, &hooks, &err) < 0)
		die("open a consumer", &err);
	while (bench->settled < jobs) {
		struct pollfd items[] = {
			{.fd = consumer_fd(bench->consumer), .events = POLLIN},
			{.fd = publisher_fd(bench->publisher), .events = POLLIN},
		};

		(void)poll(items, ARRAY_LEN(items), consumer_timeout_ms(bench->consumer));
		if (consumer_dispatch(bench->consumer, &err) < 0)
			die("consume", &err);
		settle_known(bench);
	}
	(void)printf("moved: %.0f jobs/s\n",
		     (double)jobs * 1e6 / (double)(clock_mono_us() - start_us));
	qsort(bench->took_us, jobs, sizeof(*bench->took_us), by_time);
	(void)printf("delivery to ack: p50 %.2f ms, p99 %.2f ms\n",
		     (double)bench->took_us[jobs / 2] / 1e3,
		     (double)bench->took_us[jobs * 99 / 100] / 1e3);
	consumer_close(bench->consumer);
	publisher_close(bench->publisher);
}

int main(int argc, char **argv)
{
	size_t jobs = argc > 2 ? strtoul(argv[2], NULL, 10) : 20000;
	size_t bytes = argc > 3 ? strtoul(argv[3], NULL, 10) : 1024;
	unsigned prefetch = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 64;
	char prefix[32];
	struct carrier_config config = {.prefix = prefix, .prefetch = prefetch, .name = "bench"};
	struct bench bench = {0};

	if (argc < 2 || jobs == 0) {
		(void)fputs("usage: bench_queue URL [JOBS [BYTES [PREFETCH]]]\n", stderr);
		return 2;
	}
	config.url = argv[1];
	(void)snprintf(prefix, sizeof(prefix), "sbxb-%d", (int)getpid());
	bench.tags = calloc(jobs, sizeof(*bench.tags));
	bench.came_us = calloc(jobs, sizeof(*bench.came_us));
	bench.took_us = calloc(jobs, sizeof(*bench.took_us));
	if (bench.tags == NULL || bench.came_us == NULL || bench.took_us == NULL)
		return 1;
	enqueue(&config, jobs, bytes);
	move(&bench, &config, jobs);
	if (!remove_topology_of(config.url, prefix))
		(void)fprintf(stderr, "bench_queue: the queues '%s.*' are left\n", prefix);
	return 0;
}
