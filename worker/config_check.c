/*
 * config_check.c - the second half of reading a configuration: what depends
 * on the machine is filled in, and values are held against each other.
 *
 * Each rule is a small function that fills a struct err when it is broken.
 * config_finish wants the first broken one, `sbx-worker check` all of them.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "queue/carrier.h"
#include "schema/limits.h"
#include "worker/config_private.h"
#include "worker/metrics.h"
#include "worker/mode.h"
#include "worker/pool.h"
#include "worker/preset.h"
#include "worker/role.h"
#include "worker/roots.h"

enum {
	UID_SYSTEM_MAX = 65535,
	HEARTBEAT_MIN_MS = 1000,
	HEARTBEAT_MAX_MS = 600000,
	KEEP_REFS_MIN_MS = 24 * 3600 * 1000,
};

/* --- what depends on the machine -------------------------------------- */

static int derive_name(struct config *config, struct err *err)
{
	char host[HOST_NAME_MAX + 1] = "";

	if (*config->worker_name != '\0')
		return 0;
	if (gethostname(host, sizeof(host) - 1) < 0)
		return err_sys(err, "cannot read the host's name");
	config->worker_name = arena_strdup(config->arena, *host == '\0' ? "worker" : host);
	return config->worker_name == NULL ? err_set(err, ERR_LIMIT, "out of memory") : 0;
}

static void derive_slots(struct config *config)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (config->worker_slots == 0)
		config->worker_slots = cpus < 1 ? 1 : cpus > ROLE_SLOTS_MAX ? ROLE_SLOTS_MAX : cpus;
}

static int derive_state_dir(struct config *config, struct err *err)
{
	const char *path;

	if (*config->worker_state_dir != '\0')
		return 0;
	path = carrier_default_dir(config->arena, err);
	if (path == NULL)
		return err_prefix(err, "worker.state_dir");
	config->worker_state_dir = path;
	return 0;
}

/* Beside the default state directory, whatever this worker's own is: producers
 * that name no queue look for it there, and workers share it. */
static int derive_queue(struct config *config, struct err *err)
{
	const char *url;

	if (*config->queue_url != '\0')
		return 0;
	url = carrier_default_url(config->arena, err);
	if (url == NULL)
		return err_prefix(err, "queue.url");
	config->queue_url = url;
	return 0;
}

/* Wanted only where a root is named without a directory. */
static int derive_roots_dir(struct config *config, struct err *err)
{
	const char *path;

	if (*config->sandbox_roots_dir != '\0' || config->sandbox_roots.len == 0)
		return 0;
	path = roots_default_dir(config->arena, err);
	if (path == NULL)
		return -1;
	config->sandbox_roots_dir = path;
	return 0;
}

int config_derive(struct config *config, struct err *err)
{
	derive_slots(config);
	if (derive_roots_dir(config, err) < 0)
		return -1;
	if (derive_name(config, err) < 0 || derive_state_dir(config, err) < 0)
		return -1;
	return derive_queue(config, err);
}

/* --- rules ------------------------------------------------------------ */

static int in_range(const char *key, int64_t value, int64_t low, int64_t high, struct err *err)
{
	if (value >= low && value <= high)
		return 0;
	return err_set(err, ERR_INPUT, "%s: %lld is not between %lld and %lld", key,
		       (long long)value, (long long)low, (long long)high);
}

static int rule_name(const struct config *config, struct err *err)
{
	size_t len = strlen(config->worker_name);

	return len <= LIMIT_NAME_CHARS
		       ? 0
		       : err_set(err, ERR_INPUT, "worker.name: longer than %d characters",
				 LIMIT_NAME_CHARS);
}

static int rule_slots(const struct config *config, struct err *err)
{
	return in_range("worker.slots", config->worker_slots, 0, ROLE_SLOTS_MAX, err);
}

static int rule_pool(const struct config *config, struct err *err)
{
	if (in_range("sandbox.pool_least", config->sandbox_pool_least, 0, ROLE_SLOTS_MAX, err) <
		    0 ||
	    in_range("sandbox.pool_most", config->sandbox_pool_most, 0, ROLE_SLOTS_MAX, err) < 0 ||
	    in_range("sandbox.pool_idle (ms)", config->sandbox_pool_idle, 1000, LIMIT_TIME_MS,
		     err) < 0)
		return -1;
	if ((size_t)config->sandbox_pool_least > pool_most(config))
		return err_set(
			err, ERR_INPUT,
			"sandbox.pool_least: %lld is above the most that may wait, %zu; raise "
			"sandbox.pool_most",
			(long long)config->sandbox_pool_least, pool_most(config));
	return 0;
}

static int rule_uid_base(const struct config *config, struct err *err)
{
	return in_range("worker.uid_base", config->worker_uid_base, UID_SYSTEM_MAX + 1,
			(int64_t)UINT32_MAX - 1 - ROLE_UID_SANDBOX - ROLE_BOXES_MAX, err);
}

static int rule_attempts(const struct config *config, struct err *err)
{
	if (in_range("worker.max_attempts", config->worker_max_attempts, 1, LIMIT_ATTEMPTS, err) <
	    0)
		return -1;
	return in_range("worker.poison_cap", config->worker_poison_cap, 1, LIMIT_ATTEMPTS, err);
}

static int rule_fairness(const struct config *config, struct err *err)
{
	if (in_range("worker.max_per_tenant", config->worker_max_per_tenant, 0, ROLE_SLOTS_MAX,
		     err) < 0)
		return -1;
	return in_range("worker.max_per_key", config->worker_max_per_key, 0, ROLE_SLOTS_MAX, err);
}

static int absolute(const char *key, const char *path, struct err *err)
{
	if (*path == '\0' || *path == '/')
		return 0;
	return err_set(err, ERR_INPUT, "%s: '%.128s' is not an absolute path", key, path);
}

static int rule_paths(const struct config *config, struct err *err)
{
	if (absolute("worker.state_dir", config->worker_state_dir, err) < 0 ||
	    absolute("queue.ca_file", config->queue_ca_file, err) < 0 ||
	    absolute("queue.cert_file", config->queue_cert_file, err) < 0 ||
	    absolute("queue.key_file", config->queue_key_file, err) < 0 ||
	    absolute("sandbox.roots_dir", config->sandbox_roots_dir, err) < 0)
		return -1;
	return 0;
}

static int rule_url(const struct config *config, struct err *err)
{
	char shown[CONFIG_SHOWN_BYTES];

	if (*config->queue_url == '\0' || strncmp(config->queue_url, "amqp://", 7) == 0 ||
	    strncmp(config->queue_url, "amqps://", 8) == 0 ||
	    strncmp(config->queue_url, "sqlite:/", 8) == 0)
		return 0;
	config_shown(config->queue_url, shown);
	return err_set(err, ERR_INPUT,
		       "queue.url: '%s' does not start with amqps://, amqp:// or sqlite:/",
		       strstr(config->queue_url, "://") == NULL ? "..." : shown);
}

static int rule_prefix(const struct config *config, struct err *err)
{
	if (text_is_id(config->queue_prefix))
		return 0;
	return err_set(err, ERR_INPUT, "queue.prefix: '%.64s' is not 1-64 of A-Za-z0-9._-",
		       config->queue_prefix);
}

static int rule_heartbeat(const struct config *config, struct err *err)
{
	return in_range("queue.heartbeat (ms)", config->queue_heartbeat, HEARTBEAT_MIN_MS,
			HEARTBEAT_MAX_MS, err);
}

static int rule_certificate(const struct config *config, struct err *err)
{
	if ((*config->queue_cert_file == '\0') != (*config->queue_key_file == '\0'))
		return err_set(err, ERR_INPUT,
			       "queue.cert_file and queue.key_file: only one of them is given");
	return 0;
}

/* Whatever is not of this form may be the secret itself, put into the wrong
 * place: none of it is repeated. */
static int check_host_files(const char *key, const struct text_list *list, struct err *err)
{
	for (size_t i = 0; i < list->len; i++) {
		const char *item = list->items[i];
		size_t host = strcspn(item, "=");

		if (host == 0 || item[host] == '\0' || item[host + 1] != '/')
			return err_set(err, ERR_INPUT, "%s: item %zu is not host=/path/of/file",
				       key, i + 1);
	}
	return 0;
}

static int rule_credentials(const struct config *config, struct err *err)
{
	if (check_host_files("sources.credentials", &config->sources_credentials, err) < 0 ||
	    check_host_files("sources.ssh_keys", &config->sources_ssh_keys, err) < 0)
		return -1;
	if (*config->sources_known_hosts != '\0' && *config->sources_known_hosts != '/')
		return err_set(err, ERR_INPUT,
			       "sources.known_hosts: '%.100s' is not an absolute path",
			       config->sources_known_hosts);
	if (config->sources_ssh_keys.len > 0 && *config->sources_known_hosts == '\0')
		return err_set(err, ERR_INPUT,
			       "sources.ssh_keys: no host is trusted without sources.known_hosts");
	return 0;
}

static int rule_sources(const struct config *config, struct err *err)
{
	if (in_range("sources.fetch_timeout (ms)", config->sources_fetch_timeout, 1, LIMIT_TIME_MS,
		     err) < 0 ||
	    in_range("sources.max_repo", config->sources_max_repo, 1, INT64_MAX, err) < 0 ||
	    in_range("sources.max_files", config->sources_max_files, 1, INT64_MAX, err) < 0 ||
	    in_range("sources.max_checkout", config->sources_max_checkout, 1, INT64_MAX, err) < 0 ||
	    in_range("sources.max_store", config->sources_max_store, 1, INT64_MAX, err) < 0)
		return -1;
	/* A job that runs needs its base, however long it takes. */
	return in_range("sources.keep_refs (ms)", config->sources_keep_refs, KEEP_REFS_MIN_MS,
			INT64_MAX, err);
}

static int rule_roots(const struct config *config, struct err *err)
{
	struct roots roots;

	return roots_read(config, config->arena, &roots, err);
}

static int rule_allow_missing(const struct config *config, struct err *err)
{
	const struct text_list *list = &config->sandbox_allow_missing;

	for (size_t i = 0; i < list->len; i++) {
		if (strcmp(list->items[i], "cgroup") != 0)
			return err_set(err, ERR_INPUT,
				       "sandbox.allow_missing: '%.40s' cannot be missing; only "
				       "'cgroup' can",
				       list->items[i]);
	}
	return 0;
}

static int rule_metrics(const struct config *config, struct err *err)
{
	struct metrics_address address;

	if (*config->metrics_listen == '\0' ||
	    metrics_address(config->metrics_listen, &address, err) == 0)
		return 0;
	return err_prefix(err, "metrics.listen");
}

static int rule_log(const struct config *config, struct err *err)
{
	enum log_level level;

	if (log_level_parse(config->log_level, &level))
		return 0;
	return err_set(err, ERR_INPUT, "log.level: '%.40s' is not debug, info, warn or error",
		       config->log_level);
}

/* A default of 0 would mean "no limit", and above its maximum it could never
 * hold. A quota of CPUs may be absent. */
static int rule_limits(const struct config *config, struct err *err)
{
#define FITS(name, most)                                                                       \
	if (in_range("limits." #name, config->limits_##name, 1, most, err) < 0 ||              \
	    in_range("max." #name, config->max_##name, 1, most, err) < 0)                      \
		return -1;                                                                     \
	if (config->limits_##name > config->max_##name)                                        \
		return err_set(err, ERR_INPUT, "limits.%s: %lld is above max.%s, %lld", #name, \
			       (long long)config->limits_##name, #name,                        \
			       (long long)config->max_##name);
	FITS(wall, LIMIT_TIME_MS)
	FITS(cpu, LIMIT_TIME_MS)
	FITS(idle, LIMIT_TIME_MS)
	FITS(memory, LIMIT_SIZE_BYTES)
	FITS(disk, LIMIT_SIZE_BYTES)
	FITS(inodes, LIMIT_COUNT)
	FITS(processes, LIMIT_COUNT)
	FITS(open_files, LIMIT_COUNT)
	FITS(file, LIMIT_SIZE_BYTES)
	FITS(output, LIMIT_SIZE_BYTES)
#undef FITS
	return 0;
}

/* What the operator writes must hold as it is written; only the presets that
 * come with the program may be above the maxima, and are lowered. */
static int rule_presets(const struct config *config, struct err *err)
{
	const struct text_list *own = &config->limits_presets;

	for (size_t i = 0; i < own->len; i++) {
		struct preset preset, first;
		const char *name;
		int64_t max;

		if (preset_parse(own->items[i], &preset, err) < 0)
			return err_prefix(err, "limits.presets");
		(void)preset_find(own, preset.name, &first);
		if (memcmp(&first.limits, &preset.limits, sizeof(first.limits)) != 0)
			return err_set(err, ERR_INPUT, "limits.presets: '%s' is given twice",
				       preset.name);
		if (config_above_max(config, &preset.limits, &name, &max))
			return err_set(err, ERR_INPUT,
				       "limits.presets: '%s': %s is above its maximum, %lld",
				       preset.name, name, (long long)max);
	}
	return 0;
}

static int rule_security(const struct config *config, struct err *err)
{
	if (mode_find(config->security_least) == NULL)
		return err_set(err, ERR_INPUT,
			       "security.least: '%.40s' is not trusted, sandboxed or isolated",
			       config->security_least);
	if (!mode_isolate_valid(config->security_isolate))
		return err_set(err, ERR_INPUT,
			       "security.isolate: '%.40s' is not info, warning, error or never",
			       config->security_isolate);
	return 0;
}

static int rule_quota(const struct config *config, struct err *err)
{
	if (in_range("limits.millicpus", config->limits_millicpus, 0, LIMIT_CPUS * 1000, err) < 0 ||
	    in_range("max.millicpus", config->max_millicpus, 0, LIMIT_CPUS * 1000, err) < 0)
		return -1;
	if (config->max_millicpus != 0 && config->limits_millicpus > config->max_millicpus)
		return err_set(
			err, ERR_INPUT, "limits.millicpus: %lld is above max.millicpus, %lld",
			(long long)config->limits_millicpus, (long long)config->max_millicpus);
	return 0;
}

static int (*const rules[])(const struct config *config, struct err *err) = {
	rule_name,	  rule_slots,	rule_pool,   rule_uid_base,    rule_attempts,
	rule_fairness,	  rule_paths,	rule_url,    rule_prefix,      rule_heartbeat,
	rule_certificate, rule_sources, rule_roots,  rule_credentials, rule_allow_missing,
	rule_log,	  rule_metrics, rule_limits, rule_quota,       rule_presets,
	rule_security,
};

void config_misfits(const struct config *config, const struct config_sink *sink)
{
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		struct err err = {0};

		if (rules[i](config, &err) < 0)
			sink->found(sink->ctx, err.message);
	}
}

int config_finish(struct config *config, struct err *err)
{
	if (config_derive(config, err) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		if (rules[i](config, err) < 0)
			return -1;
	}
	return 0;
}
