/*
 * check_queue.c - the broker: reachable, known, its queues there, and nothing
 * about it that would take a running job back. Or the file of the embedded
 * queue: the worker's to use.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/carrier.h"
#include "worker/check_private.h"
#include "worker/role.h"

enum {
	HEARTBEAT_WISE_MS = 5000,
	BROKER_TIMEOUT_MS = 30 * 60 * 1000, /* rabbitmq.conf's own default */
	OLDEST_MAJOR = 3,
	OLDEST_MINOR = 10,
};

static const char embedded_scheme[] = "sqlite:";

/* --- without a connection --------------------------------------------- */

static void check_file(const char *key, const char *path, struct check_report *report)
{
	if (*path != '\0' && access(path, R_OK) < 0)
		check_add(report, CHECK_FAIL, key, "correct the path, or let the worker read it",
			  "'%s' cannot be read", path);
}

static bool is_loopback(const char *url)
{
	static const char *const names[] = {"localhost", "127.", "[::1]"};
	const char *start = strstr(url, "://");
	const char *at;

	if (start == NULL)
		return false;
	start += strlen("://");
	at = strrchr(start, '@');
	start = at == NULL ? start : at + 1;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (strncmp(start, names[i], strlen(names[i])) == 0)
			return true;
	}
	return false;
}

static void check_settings(const struct config *config, struct check_report *report)
{
	check_file("queue.ca_file", config->queue_ca_file, report);
	check_file("queue.cert_file", config->queue_cert_file, report);
	check_file("queue.key_file", config->queue_key_file, report);
	if (strncmp(config->queue_url, "amqp://", 7) == 0 && !is_loopback(config->queue_url))
		check_add(report, CHECK_WARN, "queue.url",
			  "use amqps:// with the broker's TLS port",
			  "the password and all jobs cross the network unencrypted");
	if (config->queue_heartbeat < HEARTBEAT_WISE_MS)
		check_add(report, CHECK_WARN, "queue.heartbeat", "set it to 5s or more",
			  "%lld ms: a busy machine is taken for a dead connection",
			  (long long)config->queue_heartbeat);
}

/* --- with one --------------------------------------------------------- */

static const char *connection_fix(enum err_kind kind, bool embedded)
{
	switch (kind) {
	case ERR_PEER:
	case ERR_TIMEOUT:
	case ERR_SYSTEM:
		return "start the broker, open the way to it, or correct [queue] url";
	case ERR_UNSUPPORTED:
		if (embedded)
			return "give the file to the worker's user, or name another one";
		return "give the worker's user the rights of contrib/broker/README.md";
	case ERR_NOT_FOUND:
		return "create the virtual host, or correct [queue] url";
	case ERR_CONFLICT:
		if (embedded)
			return "move the file away, or name another one in [queue] url";
		return "delete the queue it names, or choose another [queue] prefix";
	default:
		return "correct [queue] url and prefix";
	}
}

/* The worker uses the file as another user than root, who asks here. */
static void check_file_owner(const struct config *config, const char *path,
			     struct check_report *report)
{
	uid_t uid = geteuid() == 0 ? (uid_t)config->worker_uid_base : geteuid();
	char *place = arena_strdup(report->arena, path);
	struct err err = {0};
	struct stat st;

	if (stat(path, &st) < 0 && place != NULL && !check_place(place, &err))
		check_add(report, CHECK_FAIL, "queue",
			  "make its directory for the worker's user, or name another file in "
			  "[queue] url",
			  "'%s' is not there and cannot be made: %s", path, err.message);
	else if (stat(path, &st) < 0)
		check_add(report, CHECK_OK, "queue", "", "embedded: '%s' is made by its first user",
			  path);
	else if (st.st_uid == uid || (geteuid() == 0 && st.st_uid == 0))
		check_add(report, CHECK_OK, "queue", "", "embedded: '%s'", path);
	else
		check_add(report, CHECK_FAIL, "queue",
			  "name a file in a directory of the worker's user, or of root's",
			  "'%s' belongs to uid %u, the worker runs as %u", path, st.st_uid, uid);
}

static void check_version(const struct carrier_report *broker, struct check_report *report)
{
	unsigned major;
	unsigned minor;

	if (sscanf(broker->server, "RabbitMQ %u.%u", &major, &minor) != 2)
		check_add(report, CHECK_WARN, "broker_version", "use RabbitMQ 3.10 or later",
			  "'%s' is not a broker that sbx is tested with", broker->server);
	else if (major < OLDEST_MAJOR || (major == OLDEST_MAJOR && minor < OLDEST_MINOR))
		check_add(report, CHECK_FAIL, "broker_version", "upgrade to RabbitMQ 3.10 or later",
			  "%s is too old", broker->server);
	else
		check_add(report, CHECK_OK, "broker_version", "", "%s", broker->server);
}

static void check_queues(const struct config *config, const struct carrier_report *broker,
			 struct check_report *report)
{
	size_t missing = 0;
	const char *first = "";

	for (size_t i = 0; i < broker->queues_len; i++) {
		if (broker->queues[i].messages >= 0)
			continue;
		if (missing++ == 0)
			first = broker->queues[i].name;
	}
	if (missing > 0 && config->queue_passive)
		check_add(report, CHECK_FAIL, "queues",
			  "import contrib/broker/definitions.json, or set [queue] passive = false",
			  "%zu of %zu are missing, '%s' first", missing, broker->queues_len, first);
	else if (missing > 0)
		check_add(report, CHECK_OK, "queues", "",
			  "%zu of %zu are not there yet; the worker declares them", missing,
			  broker->queues_len);
	else
		check_add(report, CHECK_OK, "queues", "", "all %zu are there", broker->queues_len);
}

static void check_letters(const struct config *config, const struct carrier_report *broker,
			  struct check_report *report)
{
	const char *dead = arena_printf(report->arena, "%s.dead", config->queue_prefix);

	for (size_t i = 0; dead != NULL && i < broker->queues_len; i++) {
		if (strcmp(broker->queues[i].name, dead) == 0 && broker->queues[i].messages > 0)
			check_add(report, CHECK_WARN, "dead_letters",
				  "sbx-submit dead list tells why", "%lld wait in '%s'",
				  (long long)broker->queues[i].messages, dead);
	}
}

static void check_embedded(const struct config *config, const struct carrier_config *carrier,
			   struct check_report *report)
{
	struct carrier_report found = {0};
	struct err err = {0};

	check_file_owner(config, config->queue_url + strlen(embedded_scheme), report);
	if (carrier_inspect(report->arena, carrier, &found, &err) < 0) {
		check_add(report, CHECK_FAIL, "queue", connection_fix(err.kind, true), "%s",
			  err.message);
		return;
	}
	check_queues(config, &found, report);
	check_letters(config, &found, report);
}

/* A job holds its delivery from its fetch to its result. */
static void check_timeout(const struct config *config, const struct carrier_report *broker,
			  struct check_report *report)
{
	int64_t longest = config->max_wall + config->sources_fetch_timeout;

	if (broker->queue_timeouts || longest < BROKER_TIMEOUT_MS)
		return;
	check_add(report, CHECK_WARN, "consumer_timeout",
		  "set consumer_timeout = 608400000 in rabbitmq.conf, or keep [max] wall below 25m",
		  "a job may take %lld min, but this broker takes deliveries back after 30 unless "
		  "its own configuration says otherwise",
		  (long long)longest / 60000);
}

void check_queue(const struct config *config, struct check_report *report)
{
	const struct carrier_config carrier = role_carrier(config, report->arena, "check");
	struct carrier_report broker = {0};
	const char *shown;
	struct err err = {0};

	if (*config->queue_url == '\0') {
		check_add(report, CHECK_FAIL, "broker",
			  "set [queue] url or SBX_QUEUE_URL: amqp://user:password@host/vhost",
			  "no queue is configured");
		return;
	}
	if (strncmp(config->queue_url, embedded_scheme, strlen(embedded_scheme)) == 0) {
		check_embedded(config, &carrier, report);
		return;
	}
	check_settings(config, report);
	shown = carrier_url_redacted(report->arena, config->queue_url);
	if (carrier_inspect(report->arena, &carrier, &broker, &err) < 0) {
		check_add(report, CHECK_FAIL, "broker", connection_fix(err.kind, false), "%s",
			  err.message);
		return;
	}
	check_add(report, CHECK_OK, "broker", "", "reached %s", shown == NULL ? "it" : shown);
	check_version(&broker, report);
	check_queues(config, &broker, report);
	check_letters(config, &broker, report);
	check_timeout(config, &broker, report);
}
