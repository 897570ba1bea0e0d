/*
 * reload.c - SIGHUP: the configuration is read again, whole and checked, before
 * anything of it is taken. What cannot change while the worker runs is named
 * and stays; a file that is wrong changes nothing.
 *
 * Texts of the settings in use live in one arena of two: the next reading goes
 * into the other, which then takes its place. Other roles are sent the text of
 * their settings as at their start. Executors that wait for a job were made
 * with the old ones: they are made anew, which the number in BOX_READY tells.
 */
#include <string.h>

#include "base/log.h"
#include "worker/supervisor_private.h"

enum { RELOAD_ARENA_BYTES = 16 << 20, NAMES_BYTES = 8 * 1024, ROLE_TEXT_BYTES = 128 * 1024 };

/* --- to the other roles ----------------------------------------------- */

static int send_role(const struct supervisor *self, enum config_role role, struct outbox *outbox,
		     struct err *err)
{
	struct ipc_config message = {.kind = IPC_CONFIG};
	CLEANUP(fd_cleanup) int fd = -1;
	struct buf text;
	int rc;

	buf_init(&text, ROLE_TEXT_BYTES);
	config_role_text(self->config, role, &text);
	rc = text.failed ? err_set(err, ERR_LIMIT, "configuration is too large")
			 : fd_memfd("sbx-config", text.data, text.len, &fd, err);
	buf_release(&text);
	return rc < 0 ? rc : outbox_send(outbox, &message, sizeof(message), fd, err);
}

/* Those that have a job keep it, and their old settings. */
static void renew_executors(struct supervisor *self)
{
	for (size_t i = 0; i < self->slots_len; i++) {
		struct slot *slot = &self->slots[i];

		if (slot->task != NULL || slot->executor.socket < 0)
			continue;
		outbox_release(&slot->executor);
		dispatch_kill(slot);
	}
}

static int send_roles(struct supervisor *self, unsigned roles, struct err *err)
{
	if ((roles & ROLE_PUBLISHER) != 0 &&
	    send_role(self, ROLE_PUBLISHER, &self->publisher, err) < 0)
		return -1;
	if ((roles & ROLE_STOREKEEPER) != 0 &&
	    send_role(self, ROLE_STOREKEEPER, &self->storekeeper, err) < 0)
		return -1;
	if ((roles & ROLE_ZYGOTE) == 0)
		return 0;
	if (send_role(self, ROLE_ZYGOTE, &self->zygote, err) < 0)
		return -1;
	self->zygote_config++;
	renew_executors(self);
	return 0;
}

/* --- taking it -------------------------------------------------------- */

static void take(struct supervisor *self, const struct config *fresh, struct commands *commands,
		 struct arena *arena)
{
	enum log_level level;

	config_take_live(self->config, fresh);
	self->commands = commands;
	arena_release(&self->live);
	self->live = *arena;
	if (log_level_parse(self->config->log_level, &level))
		log_init("sbx-worker", level, self->config->log_json);
}

static void tell(const struct buf *live, const struct buf *restart)
{
	if (restart->len > 0)
		log_warn("settings that need a restart have changed, the old ones stay", "keys",
			 buf_text(restart), NULL);
	log_info("configuration read again", "changed", live->len == 0 ? "nothing" : buf_text(live),
		 NULL);
}

void supervisor_reload(struct supervisor *self)
{
	struct config fresh;
	struct commands *commands;
	struct arena arena;
	struct buf live, restart;
	struct err err = {0};
	unsigned roles;

	arena_init(&arena, RELOAD_ARENA_BYTES);
	if (self->source->load(self->source->ctx, self->config, &fresh, &arena, &err) < 0 ||
	    commands_compile(&arena, &fresh.commands_allow, &commands, &err) < 0) {
		log_error("configuration is wrong, the old one stays", "error", err.message, NULL);
		arena_release(&arena);
		return;
	}
	buf_init(&live, NAMES_BYTES);
	buf_init(&restart, NAMES_BYTES);
	roles = config_changes(self->config, &fresh, &live, &restart);
	take(self, &fresh, commands, &arena);
	tell(&live, &restart);
	if (send_roles(self, roles, &err) < 0)
		supervisor_die(self, &err);
	buf_release(&live);
	buf_release(&restart);
}
