/*
 * config_limits.c - the limits of one job. One row a limit: where struct
 * config has its default and its maximum, where struct job_limits has what the
 * job asks for, and what the wire calls it. What the job does not ask for is
 * what its preset says, and what that does not say is the default.
 *
 * A CPU quota is the only limit that may be absent. A maximum that all CPUs of
 * this machine together cannot pass needs no quota either, so that hosts
 * without a cpu controller can run with the defaults.
 */
#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "worker/config_private.h"
#include "worker/mode.h"
#include "worker/preset.h"

enum unit { PLAIN, THOUSANDTHS };

struct row {
	const char *name; /* on the wire */
	enum unit unit;
	size_t asked;
	size_t def;
	size_t max;
};

#define ROW(wire, unit, asked, key)                                                               \
	{                                                                                         \
		wire, unit, offsetof(struct job_limits, asked),                                   \
			offsetof(struct config, limits_##key), offsetof(struct config, max_##key) \
	}

static const struct row rows[] = {
	ROW("wall_ms", PLAIN, wall_ms, wall),
	ROW("cpu_ms", PLAIN, cpu_ms, cpu),
	ROW("idle_ms", PLAIN, idle_ms, idle),
	ROW("memory_bytes", PLAIN, memory_bytes, memory),
	ROW("disk_bytes", PLAIN, disk_bytes, disk),
	ROW("inodes", PLAIN, inodes, inodes),
	ROW("processes", PLAIN, processes, processes),
	ROW("open_files", PLAIN, open_files, open_files),
	ROW("file_bytes", PLAIN, file_bytes, file),
	ROW("output_bytes", PLAIN, output_bytes, output),
	ROW("cpus", THOUSANDTHS, millicpus, millicpus),
};

/* --- one limit -------------------------------------------------------- */

static int64_t number_at(const void *base, size_t offset)
{
	return *(const int64_t *)((const char *)base + offset);
}

/* 0 stays 0 where the machine itself is below the maximum. */
static int64_t quota_without_asking(int64_t max)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	return max == 0 || (cpus > 0 && max >= (int64_t)cpus * 1000) ? 0 : max;
}

static void number_text(enum unit unit, int64_t value, char ret[32])
{
	int end;

	if (unit == PLAIN) {
		(void)snprintf(ret, 32, "%lld", (long long)value);
		return;
	}
	end = snprintf(ret, 32, "%lld.%03d", (long long)(value / 1000), (int)(value % 1000));
	while (ret[end - 1] == '0')
		ret[--end] = '\0';
	if (ret[end - 1] == '.')
		ret[end - 1] = '\0';
}

/* `wanted` is what job or preset ask for, 0 when neither does. */
static int64_t settle(const struct row *row, const struct config *config, int64_t wanted)
{
	int64_t max = number_at(config, row->max);
	int64_t value = wanted != 0 ? wanted : number_at(config, row->def);

	assert(wanted >= 0);
	if (row->unit == THOUSANDTHS && value == 0)
		return quota_without_asking(max);
	return max != 0 && value > max ? max : value;
}

static const char *lowered(struct arena *arena, const struct row *row, const char *preset,
			   int64_t wanted, int64_t value)
{
	char from[32];
	char to[32];

	number_text(row->unit, wanted, from);
	number_text(row->unit, value, to);
	if (preset == NULL)
		return arena_printf(arena, "%s: %s lowered to %s", row->name, from, to);
	return arena_printf(arena, "%s: %s of the preset '%s' lowered to %s", row->name, from,
			    preset, to);
}

/* --- all -------------------------------------------------------------- */

enum { NAMES_BYTES = 1024 };

static int unknown_preset(const struct config *config, const char *name, struct reason *ret)
{
	CLEANUP(buf_release) struct buf names;

	buf_init(&names, NAMES_BYTES);
	preset_names(&config->limits_presets, &names);
	return reason_set(ret, REASON_POLICY_PRESET, "limits.preset",
			  "this worker has no preset '%s', only: %s", name,
			  names.failed ? "too many to list" : buf_text(&names));
}

int config_limits(const struct config *config, const struct job_limits *asked, struct arena *arena,
		  struct job_limits *ret, struct text_list *ret_clamped, struct reason *ret_reason,
		  struct err *err)
{
	struct job_limits limits = {.preset = asked->preset};
	struct text_list clamped = {
		.items = arena_array(arena, ARRAY_LEN(rows) + 1, sizeof(*clamped.items))};
	struct preset preset = {0};

	if (asked->preset != NULL && !preset_find(&config->limits_presets, asked->preset, &preset))
		return unknown_preset(config, asked->preset, ret_reason);
	if (clamped.items == NULL)
		return err_set(err, ERR_LIMIT, "cannot set limits: out of memory");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t own = number_at(asked, rows[i].asked);
		int64_t wanted = own != 0 ? own : number_at(&preset.limits, rows[i].asked);
		int64_t value = settle(&rows[i], config, wanted);

		*(int64_t *)((char *)&limits + rows[i].asked) = value;
		if (wanted == 0 || value >= wanted)
			continue;
		clamped.items[clamped.len] =
			lowered(arena, &rows[i], own != 0 ? NULL : preset.name, wanted, value);
		if (clamped.items[clamped.len++] == NULL)
			return err_set(err, ERR_LIMIT, "cannot set limits: out of memory");
	}
	*ret = limits;
	*ret_clamped = clamped;
	return 0;
}

/* The list of before is the arena's; a longer one takes its place. */
static int add_clamped(struct arena *arena, struct text_list *clamped, const char *text,
		       struct err *err)
{
	const char **items = arena_array(arena, clamped->len + 2, sizeof(*items));

	if (items == NULL || text == NULL)
		return err_set(err, ERR_LIMIT, "cannot set limits: out of memory");
	if (clamped->len > 0)
		(void)memcpy(items, clamped->items, clamped->len * sizeof(*items));
	items[clamped->len++] = text;
	clamped->items = items;
	return 0;
}

int mode_lower(const struct mode *mode, struct arena *arena, struct job_limits *limits,
	       struct text_list *clamped, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t *place = (int64_t *)((char *)limits + rows[i].asked);
		int64_t most = number_at(&mode->most, rows[i].asked);
		char from[32];
		char to[32];

		if (most == 0 || *place <= most)
			continue;
		number_text(rows[i].unit, *place, from);
		number_text(rows[i].unit, most, to);
		*place = most;
		if (add_clamped(arena, clamped,
				arena_printf(arena, "%s: %s lowered to %s by the mode %s",
					     rows[i].name, from, to, mode->name),
				err) < 0)
			return -1;
	}
	return 0;
}

bool config_above_max(const struct config *config, const struct job_limits *limits,
		      const char **ret_name, int64_t *ret_max)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t max = number_at(config, rows[i].max);

		if (max == 0 || number_at(limits, rows[i].asked) <= max)
			continue;
		*ret_name = rows[i].name;
		*ret_max = max;
		return true;
	}
	return false;
}
