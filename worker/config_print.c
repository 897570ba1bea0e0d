/*
 * config_print.c - the table of keys as INI text: with values for a process
 * of another role, with defaults and explanations for the operator.
 *
 * What is printed for a role reads back as the same values: each item of a
 * list stands on a line of its own behind its key, so that no item is taken
 * for a comment, and an empty line of the key comes first to empty the list.
 */
#include <stdio.h>
#include <string.h>

#include "worker/config_private.h"

/* --- for a role ------------------------------------------------------- */

static void print_value(const struct config *config, const struct config_key *key, struct buf *out)
{
	const void *field = (const char *)config + key->offset;

	buf_printf(out, "%s = ", key->name);
	switch (key->kind) {
	case CONFIG_TEXT:
		buf_add_text(out, *(const char *const *)field);
		break;
	case CONFIG_INT:
	case CONFIG_SIZE:
	case CONFIG_DURATION:
		buf_printf(out, "%lld", (long long)*(const int64_t *)field);
		break;
	case CONFIG_BOOL:
		buf_add_text(out, *(const bool *)field ? "true" : "false");
		break;
	case CONFIG_LIST:
	case CONFIG_LINES: {
		const struct text_list *list = field;

		for (size_t i = 0; i < list->len; i++)
			buf_printf(out, "\n%s = %s", key->name, list->items[i]);
		break;
	}
	}
	buf_add_byte(out, '\n');
}

void config_role_text(const struct config *config, enum config_role role, struct buf *out)
{
	const char *section = "";

	for (size_t i = 0; i < config_keys_len; i++) {
		const struct config_key *key = &config_keys[i];

		if ((key->roles & role) == 0)
			continue;
		if (strcmp(section, key->section) != 0)
			buf_printf(out, "[%s]\n", key->section);
		section = key->section;
		print_value(config, key, out);
	}
}

/* --- for the operator ------------------------------------------------- */

static const char *const kind_words[] = {
	[CONFIG_TEXT] = "text",
	[CONFIG_INT] = "number",
	[CONFIG_SIZE] = "size (k, m, g)",
	[CONFIG_DURATION] = "duration (ms, s, m, h)",
	[CONFIG_BOOL] = "true or false",
	[CONFIG_LIST] = "list, separated by commas or one item a line",
	[CONFIG_LINES] = "list, one item a line",
};

static const char *section_doc(const char *section)
{
	static const struct {
		const char *section;
		const char *doc;
	} docs[] = {
		{"worker", "this worker"},
		{"queue", "the broker; keep this file readable for the worker only, for "
			  "the URL holds a password"},
		{"sources", "repositories that jobs may name; an empty list allows none"},
		{"commands", "what the steps of a job may run; an empty list allows nothing"},
		{"protect", "files that a diff may not touch"},
		{"sandbox", "where the steps run"},
		{"security", "how strong the boxes are; SECURITY.md has the modes"},
		{"limits", "what a job gets that does not ask"},
		{"max", "what a job may ask for; more is lowered and the result says so"},
		{"metrics", "counters and health over HTTP, for Prometheus and load balancers"},
		{"log", "lines on standard error"},
	};

	for (size_t i = 0; i < ARRAY_LEN(docs); i++) {
		if (strcmp(docs[i].section, section) == 0)
			return docs[i].doc;
	}
	return "";
}

static void print_key(const struct config_key *key, struct buf *out)
{
	const char *text = key->doc;

	buf_add_byte(out, '\n');
	/* Explanations are folded at 76 columns. */
	while (*text != '\0') {
		size_t len = strlen(text);

		if (len > 76) {
			for (len = 76; len > 0 && text[len] != ' '; len--)
				;
		}
		buf_printf(out, "# %.*s\n", (int)len, text);
		text += len;
		text += strspn(text, " ");
	}
	buf_printf(out, "# Kind: %s%s.\n", kind_words[key->kind],
		   (key->roles & ROLE_LIVE) == 0 ? "" : "; SIGHUP reloads it");
	buf_printf(out, "#%s =%s%s\n", key->name, *key->def == '\0' ? "" : " ", key->def);
}

void config_print_template(struct buf *out)
{
	const char *section = "";

	buf_add_text(out,
		     "# sbx-worker.ini - configuration of sbx-worker; see sbx-worker.ini(5).\n"
		     "#\n"
		     "# Keys are shown with their defaults. Comments stand on lines of their own.\n"
		     "# A list may go on over indented lines. Each key can also be given as an\n"
		     "# environment variable, SBX_<SECTION>_<KEY>, or as a flag, --set "
		     "section.key=value.\n"
		     "# `sbx-worker check` says what is wrong with it, and how to mend it.\n");
	for (size_t i = 0; i < config_keys_len; i++) {
		const struct config_key *key = &config_keys[i];

		if (strcmp(section, key->section) != 0)
			buf_printf(out, "\n[%s]\n# ==> %s\n", key->section,
				   section_doc(key->section));
		section = key->section;
		print_key(key, out);
	}
}
