/*
 * preset.c - theory: presets are few and seldom looked up, so an operator's
 * own are kept as the lines they were written as and parsed again for each
 * look. config_check.c has parsed every line once, so a line that does not
 * parse later is one that the configuration refused.
 */
#include "worker/preset.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/text.h"
#include "worker/limits_row.h"

/* --- the table -------------------------------------------------------- */

static const struct preset builtin[] = {
#define PRESET(label, wall, cpu, idle, memory, disk, inode, process, files, file, output, why) \
	{.name = #label,                                                                       \
	 .doc = why,                                                                           \
	 .limits =                                                                             \
		 LIMITS_ROW(wall, cpu, idle, memory, disk, inode, process, files, file, output)},
#include "worker/preset.def"
#undef PRESET
};

size_t preset_builtin(const struct preset **ret)
{
	*ret = builtin;
	return ARRAY_LEN(builtin);
}

/* --- a line of the operator's ------------------------------------------- */

static const struct {
	const char *key; /* as in [limits] */
	bool (*parse)(const char *text, int64_t *ret);
	size_t offset;
	int64_t most;
} keys[] = {
	{"wall", text_parse_duration_ms, offsetof(struct job_limits, wall_ms), LIMIT_TIME_MS},
	{"cpu", text_parse_duration_ms, offsetof(struct job_limits, cpu_ms), LIMIT_TIME_MS},
	{"idle", text_parse_duration_ms, offsetof(struct job_limits, idle_ms), LIMIT_TIME_MS},
	{"memory", text_parse_size, offsetof(struct job_limits, memory_bytes), LIMIT_SIZE_BYTES},
	{"disk", text_parse_size, offsetof(struct job_limits, disk_bytes), LIMIT_SIZE_BYTES},
	{"inodes", text_parse_int, offsetof(struct job_limits, inodes), LIMIT_COUNT},
	{"processes", text_parse_int, offsetof(struct job_limits, processes), LIMIT_COUNT},
	{"open_files", text_parse_int, offsetof(struct job_limits, open_files), LIMIT_COUNT},
	{"file", text_parse_size, offsetof(struct job_limits, file_bytes), LIMIT_SIZE_BYTES},
	{"output", text_parse_size, offsetof(struct job_limits, output_bytes), LIMIT_SIZE_BYTES},
	{"millicpus", text_parse_int, offsetof(struct job_limits, millicpus), LIMIT_CPUS * 1000},
};

enum { WORD_BYTES = 96 };

static const char blanks[] = " \t";

/* Takes the next word off the line. False at its end; `ret` is cut, and then
 * no word of ours. */
static bool next_word(const char **line, char ret[WORD_BYTES])
{
	size_t len;

	*line += strspn(*line, blanks);
	len = strcspn(*line, blanks);
	(void)snprintf(ret, WORD_BYTES, "%.*s", (int)(len < WORD_BYTES ? len : WORD_BYTES), *line);
	*line += len;
	return len > 0;
}

static int set_key(struct preset *preset, const char *word, struct err *err)
{
	size_t len = strcspn(word, "=");

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		int64_t *place = (int64_t *)(void *)((char *)&preset->limits + keys[i].offset);
		int64_t value;

		if (strlen(keys[i].key) != len || strncmp(keys[i].key, word, len) != 0)
			continue;
		if (*place != 0)
			return err_set(err, ERR_INPUT, "'%s' is given twice", keys[i].key);
		if (word[len] != '=' || !keys[i].parse(word + len + 1, &value) || value < 1 ||
		    value > keys[i].most)
			return err_set(err, ERR_INPUT,
				       "'%s' is no limit; expected %s=VALUE, above 0", word,
				       keys[i].key);
		*place = value;
		return 0;
	}
	return err_set(err, ERR_INPUT, "'%.*s' is no key of [limits]", (int)len, word);
}

int preset_parse(const char *line, struct preset *ret, struct err *err)
{
	struct preset preset = {.doc = ""};
	char word[WORD_BYTES];

	if (!next_word(&line, word) || !text_is_id(word))
		return err_set(err, ERR_INPUT,
			       "'%.64s' is no name of a preset; expected NAME KEY=VALUE...", word);
	if (strcmp(word, builtin[0].name) == 0)
		return err_set(err, ERR_INPUT, "the preset 'default' is what [limits] says");
	(void)snprintf(preset.name, sizeof(preset.name), "%.*s", LIMIT_ID_CHARS, word);
	if (line[strspn(line, blanks)] == '\0')
		return err_set(err, ERR_INPUT, "'%s' sets no limit; expected NAME KEY=VALUE...",
			       preset.name);
	while (next_word(&line, word)) {
		if (set_key(&preset, word, err) < 0)
			return err_prefix(err, "preset '%s'", preset.name);
	}
	*ret = preset;
	return 0;
}

/* --- looking for one ---------------------------------------------------- */

bool preset_find(const struct text_list *own, const char *name, struct preset *ret)
{
	for (size_t i = 0; i < own->len; i++) {
		struct preset preset;

		if (preset_parse(own->items[i], &preset, NULL) == 0 &&
		    strcmp(preset.name, name) == 0) {
			*ret = preset;
			return true;
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(builtin); i++) {
		if (strcmp(builtin[i].name, name) == 0) {
			*ret = builtin[i];
			return true;
		}
	}
	return false;
}

static bool is_builtin(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(builtin); i++) {
		if (strcmp(builtin[i].name, name) == 0)
			return true;
	}
	return false;
}

void preset_names(const struct text_list *own, struct buf *out)
{
	for (size_t i = 0; i < ARRAY_LEN(builtin); i++)
		buf_printf(out, "%s%s", i == 0 ? "" : ", ", builtin[i].name);
	for (size_t i = 0; i < own->len; i++) {
		struct preset preset;

		if (preset_parse(own->items[i], &preset, NULL) == 0 && !is_builtin(preset.name))
			buf_printf(out, ", %s", preset.name);
	}
}
