/*
 * test_metrics.c - where metrics may listen, and what is counted.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#include "base/clock.h"
#include "worker/metrics.h"
#include "worker/status.h"
#include "worker/supervisor_private.h"

static void must(int rc, const struct err *err)
{
	if (rc != 0)
		fail_msg("%s", err->message);
}

/* --- addresses -------------------------------------------------------- */

static void loopback_and_paths_are_addresses(void **state)
{
	struct metrics_address where;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct err err = {0};

	(void)state;
	must(metrics_address("127.0.0.1:9464", &where, &err), &err);
	(void)memcpy(&v4, &where.address, sizeof(v4));
	assert_int_equal(v4.sin_family, AF_INET);
	assert_int_equal(ntohs(v4.sin_port), 9464);
	assert_int_equal(ntohl(v4.sin_addr.s_addr), INADDR_LOOPBACK);
	assert_null(where.path);
	must(metrics_address("[::1]:1", &where, &err), &err);
	(void)memcpy(&v6, &where.address, sizeof(v6));
	assert_int_equal(v6.sin6_family, AF_INET6);
	assert_memory_equal(&v6.sin6_addr, &in6addr_loopback, sizeof(in6addr_loopback));
	must(metrics_address("/run/sbx/metrics.sock", &where, &err), &err);
	assert_int_equal(where.address.ss_family, AF_UNIX);
	assert_string_equal(where.path, "/run/sbx/metrics.sock");
}

static void what_others_reach_is_none(void **state)
{
	static const char *const texts[] = {
		"",
		"9464",
		":9464",
		"0.0.0.0:9464",
		"192.0.2.1:9464",
		"[::]:1",
		"::1:9464",
		"localhost:9464",
		"127.0.0.1:0",
		"127.0.0.1:65536",
		"127.1:1",
		"127.0.0.1",
		"127.0.0.1:http",
		"run/metrics.sock",
		"[2001:db8::1]:9464",
		"128.0.0.1:9464",
	};
	char path[200];
	struct metrics_address where;
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		err = (struct err){0};
		assert_int_equal(metrics_address(texts[i], &where, &err), -1);
		assert_int_equal(err.kind, ERR_INPUT);
	}
	(void)memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(metrics_address(path, &where, &err), -1);
}

/* --- counting --------------------------------------------------------- */

static void times_fall_into_buckets(void **state)
{
	struct meter meter = {0};
	const struct meter_times *times = &meter.states[STATE_running];

	(void)state;
	meter_state(&meter, STATE_running, -5);
	meter_state(&meter, STATE_running, 1000);
	meter_state(&meter, STATE_running, 1001);
	meter_state(&meter, STATE_running, INT64_C(7200) * 1000000);
	assert_int_equal(times->buckets[0], 2);
	assert_int_equal(times->buckets[1], 1);
	assert_int_equal(times->buckets[METER_BUCKETS - 1], 1);
	assert_int_equal(times->count, 4);
	assert_int_equal(times->sum_us, INT64_C(7200) * 1000000 + 2001);
	for (int i = 1; i < METER_BUCKETS - 1; i++)
		assert_true(meter_bounds_us[i - 1] < meter_bounds_us[i]);
}

static void assert_line(const char *text, const char *line)
{
	const char *found = strstr(text, line);

	if (found == NULL || found == text || found[-1] != '\n' || found[strlen(line)] != '\n')
		fail_msg("no line '%s' in:\n%s", line, text);
}

static void the_text_has_all_that_was_counted(void **state)
{
	static struct supervisor self;
	struct config config = {.worker_name = "a\"b\\c\nd", .worker_slots = 3};
	struct buf out;

	(void)state;
	self = (struct supervisor){.config = &config, .consuming = {.connected = true}};
	self.meter.finished[VERDICT_rejected][REASON_PATCH_CONFLICT] = 7;
	self.meter.finished[VERDICT_passed][REASON_NONE] = 2;
	meter_state(&self.meter, STATE_prepared, 30000);
	buf_init(&out, 1 << 20);
	metrics_text(&self, &out);
	assert_false(out.failed);
	assert_line(buf_text(&out),
		    "sbx_info{version=\"" SBX_VERSION "\",worker=\"a\\\"b\\\\c\\nd\"} 1");
	assert_line(buf_text(&out), "sbx_jobs_finished_total{verdict=\"rejected\","
				    "reason=\"patch.conflict\"} 7");
	assert_line(buf_text(&out), "sbx_jobs_finished_total{verdict=\"passed\",reason=\"\"} 2");
	assert_line(buf_text(&out), "sbx_state_seconds_bucket{state=\"prepared\",le=\"0.01\"} 0");
	assert_line(buf_text(&out), "sbx_state_seconds_bucket{state=\"prepared\",le=\"0.05\"} 1");
	assert_line(buf_text(&out), "sbx_state_seconds_bucket{state=\"prepared\",le=\"3600\"} 1");
	assert_line(buf_text(&out), "sbx_state_seconds_bucket{state=\"prepared\",le=\"+Inf\"} 1");
	assert_line(buf_text(&out), "sbx_state_seconds_sum{state=\"prepared\"} 0.030000");
	assert_line(buf_text(&out), "sbx_slots 3");
	assert_line(buf_text(&out), "sbx_connection_up{connection=\"consuming\"} 1");
	assert_line(buf_text(&out), "sbx_connection_up{connection=\"publishing\"} 0");
	assert_line(buf_text(&out), "sbx_ready 0");
	buf_release(&out);
}

/* --- ready ------------------------------------------------------------ */

static void ready_is_who_takes_jobs_and_can_answer(void **state)
{
	static struct supervisor self;
	const char *why;

	(void)state;
	self = (struct supervisor){.consuming.connected = true, .publishing.connected = true};
	assert_false(status_ready(&self, &why));
	assert_string_equal(why, "starting");
	self.host_known = true;
	assert_true(status_ready(&self, &why));
	assert_null(why);
	self.trouble_since_us = self.trouble_last_us = clock_mono_us();
	assert_false(status_ready(&self, &why));
	self.trouble_last_us -= 2 * TROUBLE_GAP_US;
	assert_true(status_ready(&self, &why));
	self.publishing.connected = false;
	assert_false(status_ready(&self, &why));
	assert_string_equal(why, "cannot publish results");
	self.consuming.connected = false;
	assert_false(status_ready(&self, &why));
	assert_string_equal(why, "not connected to the queue");
	self.stop_signals = 1;
	assert_false(status_ready(&self, &why));
	assert_string_equal(why, "draining");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loopback_and_paths_are_addresses),
		cmocka_unit_test(what_others_reach_is_none),
		cmocka_unit_test(times_fall_into_buckets),
		cmocka_unit_test(the_text_has_all_that_was_counted),
		cmocka_unit_test(ready_is_who_takes_jobs_and_can_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
