/*
 * test_broker_node.c - what only a broker of one's own can show: restarts,
 * kills, alarms, users, TLS. The node is started with contrib/broker/sbx-broker
 * in a directory of its own (SBX_BROKER names another script), so nothing else
 * is disturbed; it is stopped at the end.
 */
#include "tests/unit/queue/broker.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

static char node_dir[64] = "/tmp/sbx-test-node-XXXXXX";
static char node_url[256];
static int tls_port;

/* --- the node --------------------------------------------------------- */

static int run(const char *fmt, ...) PRINTF_LIKE(1, 2);

static int run(const char *fmt, ...)
{
	char command[1500];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	return system(command);
}

static const char *script(void)
{
	const char *path = getenv("SBX_BROKER");

	return path == NULL ? "contrib/broker/sbx-broker" : path;
}

static void broker(const char *command)
{
	assert_int_equal(run("%s %s %s >/dev/null", script(), command, node_dir), 0);
}

static void ctl(const char *arguments)
{
	assert_int_equal(
		run("%s ctl %s -q %s >%s/ctl.out", script(), node_dir, arguments, node_dir), 0);
}

static void read_url(void)
{
	char command[200];
	FILE *pipe;

	(void)snprintf(command, sizeof(command), "%s url %s", script(), node_dir);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	assert_non_null(fgets(node_url, sizeof(node_url), pipe));
	node_url[strcspn(node_url, "\n")] = '\0';
	assert_int_equal(pclose(pipe), 0);
}

static int free_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	(void)close(fd);
	return ntohs(address.sin_port);
}

/* A CA of our own, one that signed nothing, and a certificate for 127.0.0.1. */
static void make_certificates(void)
{
	assert_int_equal(
		run("cd %s && exec 2>openssl.log && "
		    "for ca in ca other; do openssl req -x509 -newkey ec "
		    "-pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=$ca "
		    "-keyout $ca.key -out $ca.pem || exit 1; done && "
		    "openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
		    "-subj /CN=node -keyout node.key -out node.csr && "
		    "printf 'subjectAltName=IP:127.0.0.1' >ext && "
		    "openssl x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial "
		    "-days 2 -extfile ext -out node.pem",
		    node_dir),
		0);
}

static int start_node(void **state)
{
	char path[128];
	FILE *extra;

	(void)state;
	assert_non_null(mkdtemp(node_dir));
	make_certificates();
	tls_port = free_port();
	(void)snprintf(path, sizeof(path), "%s/extra.conf", node_dir);
	extra = fopen(path, "we");
	assert_non_null(extra);
	(void)fprintf(extra,
		      "listeners.ssl.1 = 127.0.0.1:%d\nssl_options.cacertfile = %s/ca.pem\n"
		      "ssl_options.certfile = %s/node.pem\nssl_options.keyfile = %s/node.key\n"
		      "ssl_options.verify = verify_none\n",
		      tls_port, node_dir, node_dir, node_dir);
	assert_int_equal(fclose(extra), 0);
	broker("start");
	read_url();
	config = test_config(node_url);
	config.heartbeat_s = 5;
	assert_done(carrier_declare(&config, &err));
	return 0;
}

static int stop_node(void **state)
{
	(void)state;
	broker("stop");
	return run("rm -rf %s", node_dir);
}

static pid_t node_pid(void)
{
	char path[128];
	FILE *file;
	int pid = 0;

	(void)snprintf(path, sizeof(path), "%s/pid", node_dir);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%d", &pid), 1);
	(void)fclose(file);
	return pid;
}

/* A URL with other parts than the node's own. */
static void other_url(char ret[256], const char *scheme, const char *user, const char *host,
		      int port, const char *vhost)
{
	char rest[128];
	const char *at = strchr(node_url, '@');

	(void)snprintf(rest, sizeof(rest), "%.*s", (int)(at - node_url - 7), node_url + 7);
	if (port == 0)
		port = (int)strtol(strchr(at, ':') + 1, NULL, 10);
	(void)snprintf(ret, 256, "%s://%s@%s:%d/%s", scheme, user == NULL ? rest : user, host, port,
		       vhost);
}

/* --- definitions ------------------------------------------------------ */

static void the_definitions_file_is_what_we_declare(void **state)
{
	char url[256];
	struct carrier_config fresh = config;

	(void)state;
	ctl("add_vhost fresh");
	ctl("set_permissions -p fresh sbx '.*' '.*' '.*'");
	other_url(url, "amqp", NULL, "127.0.0.1", 0, "fresh");
	fresh.url = url;
	fresh.prefix = "sbx";
	assert_done(carrier_declare(&fresh, &err));
	assert_int_equal(
		run("%s ctl %s -q export_definitions %s/all.json", script(), node_dir, node_dir),
		0);
	assert_int_equal(run("/usr/bin/python3 tests/system/definitions_equal.py "
			     "contrib/broker/definitions.json %s/all.json fresh",
			     node_dir),
			 0);
	/* And an operator may really import it; then nothing is left to do. */
	fresh.url = node_url;
	fresh.passive = true;
	assert_int_equal(run("%s ctl %s -q import_definitions contrib/broker/definitions.json",
			     script(), node_dir),
			 0);
	assert_done(carrier_declare(&fresh, &err));
	fresh.passive = false;
	assert_done(carrier_declare(&fresh, &err));
	raw_remove(node_url, "sbx");
	ctl("delete_vhost fresh");
}

static int take_it(void *ctx, const struct delivery *delivery)
{
	assert_null(ctx);
	assert_string_equal(delivery->id, "rights");
	return 1;
}

/* --- users ------------------------------------------------------------ */

/* Returns whether nobody was there at all. */
static bool expect_refusal(const struct carrier_config *wrong, enum err_kind kind, const char *text)
{
	struct consumer_hooks hooks = {.delivered = on_delivered};
	struct consumer *consumer;
	struct publisher *publisher;
	struct err why = {0};

	assert_int_equal(consumer_open(&consumer, wrong, SOURCE_JOBS, NULL, &hooks, &why), -1);
	if (why.kind != kind || strstr(why.message, text) == NULL)
		fail_msg("%s: %s", err_kind_name(why.kind), why.message);
	why = (struct err){0};
	if (publisher_open(&publisher, wrong, &why) == 0)
		publisher_close(publisher);
	else if (why.kind != kind || strstr(why.message, text) == NULL)
		fail_msg("%s: %s", err_kind_name(why.kind), why.message);
	return err_is_unreachable(&why);
}

static void a_wrong_url_says_what_is_wrong(void **state)
{
	char url[256];
	struct carrier_config wrong = config;

	(void)state;
	wrong.url = url;
	other_url(url, "amqp", "sbx:wrong", "127.0.0.1", 0, "");
	assert_false(expect_refusal(&wrong, ERR_UNSUPPORTED, "check user name and password"));
	other_url(url, "amqp", NULL, "127.0.0.1", 0, "nowhere");
	assert_false(expect_refusal(&wrong, ERR_NOT_FOUND, "virtual host"));
	other_url(url, "amqp", NULL, "127.0.0.1", free_port(), "");
	assert_true(expect_refusal(&wrong, ERR_PEER, "is the broker running?"));
	other_url(url, "amqp", NULL, "no-such-host.invalid", 0, "");
	assert_true(expect_refusal(&wrong, ERR_PEER, "no-such-host.invalid"));
	other_url(url, "amqp", NULL, "127.0.0.1", tls_port, "");
	assert_false(expect_refusal(&wrong, ERR_PEER, "cannot"));
}

static void a_user_without_configure_works_passively(void **state)
{
	char url[256];
	struct carrier_config user = config;
	struct message message = test_message("least");
	struct watcher *watcher;
	struct err why = {0};

	(void)state;
	ctl("add_user least secret");
	ctl("set_permissions -p / least '' '.*' '.*'");
	other_url(url, "amqp", "least:secret", "127.0.0.1", 0, "");
	user.url = url;
	assert_int_equal(carrier_declare(&user, &why), -1);
	assert_int_equal(why.kind, ERR_UNSUPPORTED);
	assert_non_null(strstr(why.message, "passive"));
	assert_null(strstr(why.message, "secret"));
	user.passive = true;
	assert_done(carrier_declare(&user, &err));
	watcher = watcher_new(&user, SOURCE_JOBS, NULL);
	send_now(&user, ROUTE_JOB, &message);
	watcher_expect(watcher, 1);
	watcher_ack(watcher, 0);
	watcher_free(watcher);

	/* Not even reading: refused when it consumes. */
	ctl("set_permissions -p / least '' '.*' ''");
	(void)expect_refusal(&user, ERR_UNSUPPORTED, "permission");
}

static struct carrier_config limited_user(char url[256], const char *name, const char *configure,
					  const char *write, const char *read)
{
	struct carrier_config user = config;
	char login[64];

	assert_int_equal(run("%s ctl %s -q add_user %s pw && "
			     "%s ctl %s -q set_permissions -p / %s '%s' '%s' '%s'",
			     script(), node_dir, name, script(), node_dir, name, configure, write,
			     read),
			 0);
	(void)snprintf(login, sizeof(login), "%s:pw", name);
	other_url(url, "amqp", login, "127.0.0.1", 0, "");
	user.url = url;
	user.passive = true;
	return user;
}

/* The rights that contrib/broker/README.md names, for another prefix. */
static void the_documented_rights_suffice(void **state)
{
	char urls[2][256];
	char patterns[4][160];
	struct carrier_config worker;
	struct carrier_config producer;
	struct watcher *jobs;
	struct watcher *results;
	struct message message = test_message("rights");
	static const enum route routes[] = {ROUTE_DEAD, ROUTE_RETRY, ROUTE_RESULT, ROUTE_REPLY};

	(void)state;
	(void)snprintf(patterns[0], 160, "^(%s(\\..+)?|amq\\.default)$", test_prefix);
	(void)snprintf(patterns[1], 160, "^%s\\..+$", test_prefix);
	(void)snprintf(patterns[2], 160, "^%s\\.reply\\..+$", test_prefix);
	(void)snprintf(patterns[3], 160, "^%s(\\..+)?$", test_prefix);
	worker = limited_user(urls[0], "worker", "", patterns[0], patterns[1]);
	producer = limited_user(urls[1], "producer", patterns[2], patterns[3], patterns[1]);

	results = watcher_new(&producer, SOURCE_RESULTS, "t.rights");
	send_now(&producer, ROUTE_JOB, &message);
	jobs = watcher_new(&worker, SOURCE_JOBS, NULL);
	watcher_expect(jobs, 1);
	message.key = "t.rights";
	message.reply_to = "unused";
	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		if (routes[i] == ROUTE_REPLY) {
			watcher_expect(results, 1);
			message.reply_to = results->seen[0].queue;
		}
		send_now(&worker, routes[i], &message);
	}
	watcher_expect(results, 2);
	watcher_ack(jobs, 0);
	watcher_free(jobs);
	watcher_free(results);
	assert_done(carrier_visit_dead(&producer, take_it, NULL, &err));
	raw_purge(node_url);
}

static void a_password_changed_meanwhile_ends_the_consumer(void **state)
{
	char url[256];
	struct carrier_config user = config;
	struct watcher *watcher;
	struct err why = {0};
	int64_t end_us = clock_mono_us() + 20000000;

	(void)state;
	ctl("add_user rotated before");
	ctl("set_permissions -p / rotated '' '.*' '.*'");
	other_url(url, "amqp", "rotated:before", "127.0.0.1", 0, "");
	user.url = url;
	user.passive = true;
	watcher = watcher_new(&user, SOURCE_JOBS, NULL);
	ctl("change_password rotated after");
	ctl("close_all_connections --vhost / rotated");
	while (why.kind == ERR_NONE && clock_mono_us() < end_us) {
		struct pollfd item = {.fd = consumer_fd(watcher->consumer), .events = POLLIN};

		(void)poll(&item, 1, consumer_timeout_ms(watcher->consumer));
		(void)!consumer_dispatch(watcher->consumer, &why);
	}
	assert_int_equal(why.kind, ERR_UNSUPPORTED);
	assert_non_null(strstr(why.message, "check user name and password"));
	assert_int_equal(watcher->lost, 1);
	watcher_free(watcher);
}

/* The last connection's queue may outlive it for a while: that is no reason to
 * give up. */
static void a_queue_still_held_is_waited_for(void **state)
{
	struct watcher *watcher = watcher_new(&config, SOURCE_EVENTS, "job.held.*");
	struct message message = test_message("held.1");
	amqp_connection_state_t raw;

	(void)state;
	message.key = "job.held.state";
	send_now(&config, ROUTE_EVENT, &message);
	watcher_expect(watcher, 1);
	ctl("close_all_connections --vhost / cut");
	raw = raw_open(node_url);
	(void)amqp_queue_declare(raw, 1, amqp_cstring_bytes(watcher->seen[0].queue), 0, 0, 1, 1,
				 amqp_empty_table);
	raw_done(raw);
	assert_true(watcher_until(watcher, &watcher->lost, 2, 15000));
	assert_non_null(strstr(watcher->lost_why.message, "another connection holds it"));
	raw_close(raw);
	assert_true(watcher_until(watcher, &watcher->connected, 2, 15000));
	send_now(&config, ROUTE_EVENT, &message);
	watcher_expect(watcher, 2);
	watcher_free(watcher);
}

static void a_full_queue_refuses(void **state)
{
	struct message message = test_message("too many");
	struct publisher *publisher;
	struct publisher_fate fate;
	struct err why = {0};

	(void)state;
	assert_done(publisher_open(&publisher, &config, &err));
	assert_int_equal(run("%s ctl %s -q set_policy full '^%s[.]jobs$' '{\"max-length\":1}' "
			     "--apply-to queues",
			     script(), node_dir, test_prefix),
			 0);
	for (int i = 0; i < 100 && why.kind == ERR_NONE; i++) {
		if (publisher_send_wait(publisher, ROUTE_JOB, &message, 10000, &why) < 0)
			assert_int_equal(why.kind, ERR_LIMIT);
	}
	assert_non_null(strstr(why.message, "full"));
	assert_done(publisher_send(publisher, ROUTE_JOB, &message, 5, &err));
	assert_int_equal(publisher_next(publisher, 10000, &fate, &why), 1);
	assert_int_equal(fate.tag, 5);
	assert_false(fate.confirmed);
	publisher_close(publisher);
	ctl("clear_policy full");
	raw_purge(node_url);
}

/* --- TLS -------------------------------------------------------------- */

static void tls_verifies_chain_and_host(void **state)
{
	char url[256];
	char ca[128];
	struct carrier_config tls = config;
	struct message message = test_message("sealed");
	struct watcher *watcher;

	(void)state;
	(void)snprintf(ca, sizeof(ca), "%s/ca.pem", node_dir);
	other_url(url, "amqps", NULL, "127.0.0.1", tls_port, "");
	tls.url = url;
	tls.ca_file = ca;
	watcher = watcher_new(&tls, SOURCE_JOBS, NULL);
	send_now(&tls, ROUTE_JOB, &message);
	watcher_expect(watcher, 1);
	watcher_ack(watcher, 0);
	watcher_free(watcher);

	tls.ca_file = NULL;
	(void)expect_refusal(&tls, ERR_UNSUPPORTED, "certificate was refused");
	(void)snprintf(ca, sizeof(ca), "%s/other.pem", node_dir);
	tls.ca_file = ca;
	(void)expect_refusal(&tls, ERR_UNSUPPORTED, "certificate was refused");
	(void)snprintf(ca, sizeof(ca), "%s/ca.pem", node_dir);
	other_url(url, "amqps", NULL, "localhost", tls_port, "");
	(void)expect_refusal(&tls, ERR_UNSUPPORTED, "hostname mismatch");
	tls.insecure = true;
	assert_done(carrier_declare(&tls, &err));
	tls.insecure = false;

	other_url(url, "amqps", NULL, "127.0.0.1", 0, "");
	(void)expect_refusal(&tls, ERR_PEER, "speak TLS?");
	other_url(url, "amqps", NULL, "127.0.0.1", tls_port, "");
	(void)snprintf(ca, sizeof(ca), "%s/missing.pem", node_dir);
	(void)expect_refusal(&tls, ERR_INPUT, "missing.pem");
	(void)snprintf(ca, sizeof(ca), "%s/ca.pem", node_dir);
	tls.cert_file = ca;
	(void)expect_refusal(&tls, ERR_INPUT, "key");
}

static void large_messages_pass_through_tls(void **state)
{
	char url[256];
	char ca[128];
	struct carrier_config tls = config;
	uint8_t *body = calloc(1, LIMIT_MESSAGE_BYTES);
	struct message message = {.id = "big", .body = {body, LIMIT_MESSAGE_BYTES}};
	struct watcher *watcher;

	(void)state;
	assert_non_null(body);
	(void)snprintf(ca, sizeof(ca), "%s/ca.pem", node_dir);
	other_url(url, "amqps", NULL, "127.0.0.1", tls_port, "");
	tls.url = url;
	tls.ca_file = ca;
	watcher = watcher_new(&tls, SOURCE_JOBS, NULL);
	for (size_t i = 0; i < 3; i++) {
		body[LIMIT_MESSAGE_BYTES - 1] = (uint8_t)i;
		send_now(&tls, ROUTE_JOB, &message);
		watcher_expect(watcher, i + 1);
		assert_int_equal(watcher->seen[i].body_len, LIMIT_MESSAGE_BYTES);
		assert_int_equal(watcher->seen[i].body_last, i);
		watcher_ack(watcher, i);
	}
	watcher_free(watcher);
	free(body);
}

/* --- alarms ----------------------------------------------------------- */

static void under_an_alarm_acks_flow_and_publishing_waits(void **state)
{
	struct watcher *watcher = watcher_new(&config, SOURCE_JOBS, NULL);
	struct message message = test_message("held");
	struct publisher *publisher;
	struct publisher_fate fate;
	const char *blocked_why;
	struct err why = {0};

	(void)state;
	assert_done(publisher_open(&publisher, &config, &err));
	assert_done(publisher_send_wait(publisher, ROUTE_JOB, &message, 10000, &err));
	watcher_expect(watcher, 1);
	ctl("set_vm_memory_high_watermark absolute 1");
	for (int i = 0; i < 100 && !publisher_blocked(publisher, NULL); i++) {
		why.kind = ERR_NONE;
		if (publisher_send_wait(publisher, ROUTE_EVENT,
					&(struct message){.id = "e", .key = "job.e.x"}, 100,
					&why) < 0)
			assert_int_equal(why.kind, ERR_TIMEOUT);
	}
	assert_true(publisher_blocked(publisher, &blocked_why));
	assert_non_null(strstr(blocked_why, "memory"));
	assert_int_equal(publisher_send_wait(publisher, ROUTE_JOB, &message, 300, &why), -1);
	assert_int_equal(why.kind, ERR_TIMEOUT);
	assert_non_null(strstr(why.message, "memory"));
	/* Settling goes on, on the other connection: it comes again. */
	assert_done(consumer_handback(watcher->consumer, watcher->seen[0].epoch,
				      watcher->seen[0].tag, &err));
	watcher_expect(watcher, 2);
	watcher_ack(watcher, 1);
	ctl("set_vm_memory_high_watermark 0.6");
	assert_done(publisher_send_wait(publisher, ROUTE_JOB, &message, 20000, &err));
	assert_false(publisher_blocked(publisher, NULL));
	assert_int_equal(publisher_next(publisher, 0, &fate, NULL), 0);
	watcher_expect(watcher, 3);
	watcher_ack(watcher, 2);
	publisher_close(publisher);
	watcher_free(watcher);
	expect_depth(&config, "jobs", 0);
}

/* --- restarts and kills ----------------------------------------------- */

static void a_restart_is_survived(void **state)
{
	struct watcher *watcher = watcher_new(&config, SOURCE_JOBS, NULL);
	struct message message = test_message("before");
	struct publisher *publisher;
	struct publisher_fate fate;
	struct err why = {0};

	(void)state;
	assert_done(publisher_open(&publisher, &config, &err));
	assert_done(publisher_send_wait(publisher, ROUTE_JOB, &message, 10000, &err));
	watcher_expect(watcher, 1);
	broker("restart");
	assert_true(watcher_until(watcher, &watcher->connected, 2, 30000));
	assert_true(watcher->lost >= 1);
	/* The old tag is void and the message is here again. */
	watcher_ack(watcher, 0);
	watcher_expect(watcher, 2);
	assert_string_equal(watcher->seen[1].id, "before");
	assert_true(watcher->seen[1].epoch > watcher->seen[0].epoch);
	watcher_ack(watcher, 1);
	while (publisher_next(publisher, 1000, &fate, &why) == 0)
		;
	assert_int_equal(why.kind, ERR_PEER);
	assert_int_equal(publisher_send(publisher, ROUTE_JOB, &message, 0, &why), -1);
	assert_int_equal(why.kind, ERR_PEER);
	publisher_close(publisher);
	watcher_free(watcher);
	expect_depth(&config, "jobs", 0);
}

/* A broker that is there but does not move is noticed by its silence. */
static void a_frozen_broker_is_noticed(void **state)
{
	struct carrier_config quick = config;
	struct watcher *watcher;
	int64_t frozen_us;

	(void)state;
	quick.heartbeat_s = 1;
	watcher = watcher_new(&quick, SOURCE_JOBS, NULL);
	watcher_run(watcher, 500);
	assert_int_equal(kill(node_pid(), SIGSTOP), 0);
	frozen_us = clock_mono_us();
	assert_true(watcher_until(watcher, &watcher->lost, 1, 10000));
	assert_in_range(clock_mono_us() - frozen_us, 0, 4000000);
	assert_int_equal(kill(node_pid(), SIGCONT), 0);
	assert_true(watcher_until(watcher, &watcher->connected, 2, 30000));
	watcher_free(watcher);
}

enum { LEDGER = 200000 };

static uint8_t ledger_confirmed[LEDGER];
static uint8_t ledger_seen[LEDGER];

static int collect(struct publisher *publisher, struct err *why)
{
	struct publisher_fate fate;
	int count = 0;
	int got;

	while ((got = publisher_next(publisher, 0, &fate, why)) == 1) {
		if (fate.confirmed) {
			ledger_confirmed[fate.tag] = 1;
			count++;
		}
	}
	return got < 0 ? -1 : count;
}

static void on_ledger(void *ctx, const struct delivery *delivery)
{
	struct watcher *watcher = ctx;

	ledger_seen[strtoul(delivery->id, NULL, 10)] = 1;
	watcher->seen_len++;
	assert_done(consumer_ack(watcher->consumer, delivery->epoch, delivery->tag, &err));
}

/* Publishes until the node, killed in the midst of it, is gone. */
static uint64_t publish_until_killed(void)
{
	struct publisher *publisher;
	struct err why = {0};
	uint64_t sent = 0;
	int confirmed = 0;
	bool killed = false;

	assert_done(publisher_open(&publisher, &config, &err));
	for (; sent < LEDGER; sent++) {
		char id[16];
		struct message message = test_message(id);
		int got;

		(void)snprintf(id, sizeof(id), "%llu", (unsigned long long)sent);
		message.body.len = strlen(id);
		if (publisher_send(publisher, ROUTE_JOB, &message, sent, &why) < 0)
			break;
		got = collect(publisher, &why);
		if (got < 0)
			break;
		confirmed += got;
		if (confirmed > 2000 && !killed) {
			killed = true;
			assert_int_equal(kill(node_pid(), SIGKILL), 0);
		}
	}
	assert_true(killed);
	assert_int_equal(why.kind, ERR_PEER);
	(void)collect(publisher, NULL);
	publisher_close(publisher);
	return sent;
}

static void what_was_confirmed_survives_a_kill(void **state)
{
	struct consumer_hooks hooks = {.delivered = on_ledger};
	struct watcher watcher = {0};
	struct carrier_config many = config;
	uint64_t sent = publish_until_killed();
	size_t lost = 0;
	size_t confirmed = 0;
	size_t before = SIZE_MAX;

	(void)state;
	broker("restart");
	many.prefetch = 500;
	hooks.ctx = &watcher;
	assert_done(consumer_open(&watcher.consumer, &many, SOURCE_JOBS, NULL, &hooks, &err));
	while (watcher.seen_len != before) {
		before = watcher.seen_len;
		watcher_run(&watcher, 1500);
	}
	consumer_close(watcher.consumer);
	for (uint64_t i = 0; i < sent; i++) {
		confirmed += ledger_confirmed[i];
		lost += ledger_confirmed[i] > ledger_seen[i];
	}
	print_message("confirmed %zu, seen %zu, lost %zu\n", confirmed, watcher.seen_len, lost);
	assert_true(confirmed > 2000);
	assert_int_equal(lost, 0);
	expect_depth(&config, "jobs", 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_definitions_file_is_what_we_declare),
		cmocka_unit_test(a_wrong_url_says_what_is_wrong),
		cmocka_unit_test(a_user_without_configure_works_passively),
		cmocka_unit_test(the_documented_rights_suffice),
		cmocka_unit_test(a_password_changed_meanwhile_ends_the_consumer),
		cmocka_unit_test(a_queue_still_held_is_waited_for),
		cmocka_unit_test(a_full_queue_refuses),
		cmocka_unit_test(tls_verifies_chain_and_host),
		cmocka_unit_test(large_messages_pass_through_tls),
		cmocka_unit_test(under_an_alarm_acks_flow_and_publishing_waits),
		cmocka_unit_test(a_restart_is_survived),
		cmocka_unit_test(a_frozen_broker_is_noticed),
		cmocka_unit_test(what_was_confirmed_survives_a_kill),
	};

	return cmocka_run_group_tests(tests, start_node, stop_node);
}
