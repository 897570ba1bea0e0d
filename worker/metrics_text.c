/*
 * metrics_text.c - Prometheus' text format 0.0.4. Counters that are still 0 are
 * left out where there are many, for each verdict and reason and each state.
 */
#include <stdio.h>

#include "base/clock.h"
#include "worker/metrics.h"
#include "worker/status.h"
#include "worker/supervisor_private.h"

/* --- lines ------------------------------------------------------------ */

static void add_head(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_printf(out, "# HELP sbx_%s %s\n# TYPE sbx_%s %s\n", name, help, name, type);
}

static void add_label(struct buf *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\n')
			buf_add_text(out, "\\n");
		else if (*text == '"' || *text == '\\')
			buf_printf(out, "\\%c", *text);
		else
			buf_add_byte(out, (uint8_t)*text);
	}
}

static void add_one(struct buf *out, const char *name, const char *type, const char *help,
		    uint64_t number)
{
	add_head(out, name, type, help);
	buf_printf(out, "sbx_%s %llu\n", name, (unsigned long long)number);
}

/* Seconds, exactly as the microseconds have it. */
static void add_seconds(struct buf *out, int64_t us)
{
	buf_printf(out, "%lld.%06lld", (long long)us / 1000000, (long long)us % 1000000);
}

/* --- groups ----------------------------------------------------------- */

static void add_worker(struct buf *out, const struct supervisor *self)
{
	const char *why;

	add_head(out, "info", "gauge", "Version and name of the worker.");
	buf_add_text(out, "sbx_info{version=\"" SBX_VERSION "\",worker=\"");
	add_label(out, self->config->worker_name);
	buf_add_text(out, "\"} 1\n");
	add_head(out, "uptime_seconds", "gauge", "Since the worker started.");
	buf_add_text(out, "sbx_uptime_seconds ");
	add_seconds(out, clock_mono_us() - self->started_mono_us);
	buf_add_byte(out, '\n');
	add_one(out, "ready", "gauge", "Whether it takes jobs and can answer them.",
		status_ready(self, &why));
}

static void add_jobs(struct buf *out, const struct meter *meter)
{
	add_one(out, "jobs_received_total", "counter", "Messages taken from the queue.",
		meter->received);
	add_head(out, "jobs_finished_total", "counter", "Results, by verdict and reason.");
	for (int verdict = 0; verdict < VERDICT_COUNT; verdict++) {
		for (int reason = 0; reason < REASON_COUNT; reason++) {
			uint64_t count = meter->finished[verdict][reason];

			if (count == 0)
				continue;
			buf_printf(out,
				   "sbx_jobs_finished_total{verdict=\"%s\",reason=\"%s\"} %llu\n",
				   verdict_name((enum verdict)verdict),
				   reason_code_name((enum reason_code)reason),
				   (unsigned long long)count);
		}
	}
	add_one(out, "jobs_retried_total", "counter", "Attempts put off after a fault.",
		meter->retried);
	add_one(out, "jobs_put_aside_total", "counter",
		"Times that a job waited elsewhere for its tenant or concurrency key.",
		meter->put_aside);
	add_one(out, "jobs_dead_total", "counter", "Dead letters.", meter->dead);
	add_one(out, "results_resent_total", "counter", "Stored results sent once more.",
		meter->resent);
	add_one(out, "executors_lost_total", "counter", "Executors that ended before their job.",
		meter->executors_lost);
}

static void add_times(struct buf *out, const char *state, const struct meter_times *times)
{
	uint64_t sum = 0;

	for (int i = 0; i < METER_BUCKETS - 1; i++) {
		sum += times->buckets[i];
		buf_printf(out, "sbx_state_seconds_bucket{state=\"%s\",le=\"%g\"} %llu\n", state,
			   (double)meter_bounds_us[i] / 1e6, (unsigned long long)sum);
	}
	buf_printf(out, "sbx_state_seconds_bucket{state=\"%s\",le=\"+Inf\"} %llu\n", state,
		   (unsigned long long)times->count);
	buf_printf(out, "sbx_state_seconds_sum{state=\"%s\"} ", state);
	add_seconds(out, times->sum_us);
	buf_printf(out, "\nsbx_state_seconds_count{state=\"%s\"} %llu\n", state,
		   (unsigned long long)times->count);
}

static void add_states(struct buf *out, const struct meter *meter)
{
	add_head(out, "state_seconds", "histogram",
		 "How long the work took that a state of a job stands for.");
	for (int state = 0; state < STATE_COUNT; state++) {
		if (meter->states[state].count > 0)
			add_times(out, job_state_name((enum job_state)state),
				  &meter->states[state]);
	}
}

static void add_slots(struct buf *out, const struct supervisor *self,
		      const struct status_counts *counts)
{
	add_one(out, "slots", "gauge", "Jobs that may run at the same time.",
		(uint64_t)self->config->worker_slots);
	add_one(out, "slots_busy", "gauge", "Slots with a job.", counts->busy);
	add_one(out, "executors_ready", "gauge", "Executors that wait for a job.", counts->ready);
	add_one(out, "jobs_waiting", "gauge", "Jobs taken that wait for their base or a slot.",
		counts->waiting);
	add_one(out, "sandboxes", "gauge", "Sandboxes with a job, waiting or being made.",
		pool_kept(self));
	add_one(out, "sandboxes_wanted_waiting", "gauge", "Sandboxes that are to wait for jobs.",
		self->pool.want);
	add_one(out, "sandboxes_made_total", "counter", "Sandboxes made.", self->pool.made);
	add_one(out, "sandboxes_missed_total", "counter",
		"Jobs that might have started, had a sandbox been ready.", self->pool.missed);
	add_one(out, "sandbox_networks_made_total", "counter", "Network namespaces made.",
		self->pool.networks.made);
	add_one(out, "sandbox_networks_reused_total", "counter",
		"Network namespaces used anew, which showed no trace of use.",
		self->pool.networks.reused);
	add_one(out, "sandbox_networks_refused_total", "counter",
		"Network namespaces that showed a trace of use.", self->pool.networks.refused);
	add_one(out, "sandbox_layers_missing", "gauge", "Layers that sandboxes here lack.",
		self->missing.len);
}

static void add_outbox(struct buf *out, const struct supervisor *self,
		       const struct status_counts *counts)
{
	add_one(out, "outbox_unconfirmed", "gauge", "Jobs whose last message is not confirmed yet.",
		counts->unconfirmed);
	add_head(out, "outbox_oldest_seconds", "gauge", "How long the oldest of them waits.");
	buf_add_text(out, "sbx_outbox_oldest_seconds ");
	add_seconds(out, counts->oldest_unconfirmed_us);
	buf_add_byte(out, '\n');
	add_one(out, "outbox_queued_messages", "gauge", "Messages the publisher has not taken.",
		self->publisher.len);
	add_one(out, "outbox_queued_bytes", "gauge", "Their bytes.", self->publisher.bytes);
}

static void add_connections(struct buf *out, const struct supervisor *self)
{
	add_head(out, "connection_up", "gauge", "Whether a connection to the queue is up.");
	buf_printf(out,
		   "sbx_connection_up{connection=\"consuming\"} %d\n"
		   "sbx_connection_up{connection=\"publishing\"} %d\n",
		   self->consuming.connected, self->publishing.connected);
	add_head(out, "connection_blocked", "gauge", "Whether the broker takes no messages.");
	buf_printf(out,
		   "sbx_connection_blocked{connection=\"consuming\"} %d\n"
		   "sbx_connection_blocked{connection=\"publishing\"} %d\n",
		   self->consuming.blocked, self->publishing.blocked);
	add_one(out, "connections_lost_total", "counter", "Consuming connections that were lost.",
		self->meter.lost);
}

/* Every worker sees the same queues: take one of them, not their sum. */
static void add_depths(struct buf *out, const struct supervisor *self)
{
	add_head(out, "queue_messages", "gauge",
		 "Messages ready in a queue, as this worker saw it.");
	for (size_t i = 0; i < DEPTHS && *self->depths[i].queue != '\0'; i++)
		buf_printf(out, "sbx_queue_messages{queue=\"%s\"} %lld\n", self->depths[i].queue,
			   (long long)self->depths[i].messages);
}

void metrics_text(const struct supervisor *self, struct buf *out)
{
	struct status_counts counts = status_count(self);

	add_worker(out, self);
	add_jobs(out, &self->meter);
	add_states(out, &self->meter);
	add_slots(out, self, &counts);
	add_outbox(out, self, &counts);
	add_connections(out, self);
	add_depths(out, self);
}
