/*
 * supervisor.c - theory: one loop, no threads. Every descriptor has a handler
 * in intake.c or dispatch*.c; what is due by time is looked at once a turn.
 *
 *	serving --SIGTERM--> draining --no job left, or out of time--> ended
 *	                        |
 *	                        +--SIGTERM again--> jobs handed back --> ended
 *
 * The loss of one of its processes ends the worker: unacked jobs come again.
 */
#include "worker/supervisor.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/lifecycle.h"
#include "worker/status.h"
#include "worker/supervisor_private.h"

enum {
	TURN_MS = 1000,
	FLUSH_US = 5 * 1000 * 1000,
	TIDY_EVERY_US = 60 * 1000 * 1000,
	ASK_EVERY_US = 10 * 1000 * 1000,
	SUPERVISOR_ARENA_BYTES = 16 << 20,
};

/* --- tasks ------------------------------------------------------------ */

void supervisor_die(struct supervisor *self, const struct err *why)
{
	if (self->dying)
		return;
	self->dying = true;
	self->fatal = *why;
}

struct task *task_new(struct supervisor *self)
{
	struct task *task = calloc(1, sizeof(*task));
	struct err err = {0};

	if (task == NULL) {
		(void)err_set(&err, ERR_LIMIT, "out of memory for a job");
		supervisor_die(self, &err);
		return NULL;
	}
	task->supervisor = self;
	task->id = ++self->next_id;
	task->received_mono_us = clock_mono_us();
	arena_init(&task->arena, TASK_ARENA_BYTES);
	task->next = self->tasks;
	self->tasks = task;
	return task;
}

struct task *task_find(struct supervisor *self, uint64_t id)
{
	struct task *task = self->tasks;

	while (task != NULL && task->id != id)
		task = task->next;
	return task;
}

void task_free(struct task *task)
{
	assert(task->slot == NULL);
	for (struct task **at = &task->supervisor->tasks; *at != NULL; at = &(*at)->next) {
		if (*at == task) {
			*at = task->next;
			break;
		}
	}
	fd_unmap(&task->body);
	arena_release(&task->arena);
	free(task);
}

void task_move(struct task *task, enum job_state state, int64_t at_us)
{
	assert(state == STATE_received || lifecycle_allows(task->state, state));
	if (state != STATE_received)
		meter_state(&task->supervisor->meter, state,
			    at_us - task->state_at_us[task->state]);
	task->state = state;
	task->state_at_us[state] = at_us;
	finish_event_state(task, state, at_us);
	log_debug("job state", "job", task->job.id, "state", job_state_name(state), NULL);
}

/* --- slots ------------------------------------------------------------ */

static int make_slots(struct supervisor *self, struct err *err)
{
	self->slots_len = pool_boxes(self->config);
	pool_init(self);
	self->slots = arena_array(&self->arena, self->slots_len, sizeof(*self->slots));
	self->missing.items = arena_array(&self->arena, MISSING_MAX, sizeof(char *));
	if (self->arena.exhausted)
		return err_set(err, ERR_LIMIT, "out of memory");
	for (size_t i = 0; i < self->slots_len; i++) {
		self->slots[i].supervisor = self;
		self->slots[i].number = (unsigned)i;
		outbox_init(&self->slots[i].executor, &self->loop, -1);
	}
	return 0;
}
/* --- signals ---------------------------------------------------------- */

static void hand_back_all(struct supervisor *self)
{
	struct task *next;

	for (size_t i = 0; i < self->slots_len; i++) {
		struct slot *slot = &self->slots[i];

		if (slot->task == NULL)
			continue;
		slot->task->slot = NULL;
		slot->task = NULL;
		outbox_release(&slot->executor);
		dispatch_kill(slot);
	}
	for (struct task *task = self->tasks; task != NULL; task = next) {
		next = task->next;
		if (task->confirms_due == 0)
			finish_handback(task);
	}
}

static void on_stop(struct supervisor *self)
{
	struct err err = {0};

	if (++self->stop_signals > 2)
		return;
	if (self->local != NULL) {
		(void)err_set(&err, ERR_CONFLICT, "stopped by a signal");
		supervisor_die(self, &err);
		return;
	}
	if (self->stop_signals == 1) {
		log_info("draining: running jobs finish, no new ones start", NULL);
		self->drain_until_us = clock_mono_us() + self->config->worker_drain * 1000;
		if (consumer_stop(self->consumer, &err) < 0)
			log_warn("cannot stop deliveries", "error", err.message, NULL);
		intake_drop_waiting(self, true);
		return;
	}
	log_warn("stopping hard: running jobs are handed back", NULL);
	hand_back_all(self);
	self->drain_until_us = clock_mono_us() + FLUSH_US;
}

static void on_signal(void *ctx, int fd, uint32_t events)
{
	struct supervisor *self = ctx;
	struct signalfd_siginfo info;

	(void)events;
	while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo != SIGHUP)
			on_stop(self);
		else if (self->source != NULL)
			supervisor_reload(self);
	}
}

static int watch_signals(struct supervisor *self, struct err *err)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return err_sys(err, "cannot block signals");
	self->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (self->signal_fd < 0)
		return err_sys(err, "cannot watch signals");
	return loop_add(&self->loop, self->signal_fd, EPOLLIN, on_signal, self, err);
}

/* --- the broker ------------------------------------------------------- */

static void on_lost(void *ctx, const struct err *why)
{
	struct supervisor *self = ctx;

	log_warn("consuming connection lost", "error", why->message, NULL);
	self->meter.lost++;
	self->consuming = (struct connection){.epoch = self->consuming.epoch};
	ipc_text(self->consuming.why, why->message);
	self->consumer_moved = true;
	/* What has not started will be delivered again, here or elsewhere. */
	intake_drop_waiting(self, false);
}

static void on_connected(void *ctx, uint64_t epoch)
{
	struct supervisor *self = ctx;

	self->consumer_moved = true;
	self->consuming = (struct connection){.connected = true, .epoch = epoch};
	cancel_connected(self);
	log_info("consuming connection up", NULL);
}

/* There is no mark to be waited for. */
static void on_deaf(void *ctx, const char *why)
{
	struct supervisor *self = ctx;

	self->caught_up = true;
	log_error("cancels are not heard: the broker has lost the control stream; see TROUBLE in "
		  "sbx-worker(1)",
		  "error", why, NULL);
}

static void on_blocked(void *ctx, bool blocked, const char *why)
{
	struct supervisor *self = ctx;

	self->consuming.blocked = blocked;
	ipc_text(self->consuming.why, blocked ? why : "");
	log_warn(blocked ? "broker blocks publishers" : "broker takes messages again", "why", why,
		 NULL);
}

static void on_depth(void *ctx, const char *queue, int64_t messages)
{
	struct supervisor *self = ctx;
	const char *suffix = queue + strlen(self->config->queue_prefix) + 1;

	for (size_t i = 0; i < DEPTHS; i++) {
		struct depth *depth = &self->depths[i];

		if (*depth->queue != '\0' && strcmp(depth->queue, suffix) != 0)
			continue;
		ipc_text(depth->queue, suffix);
		depth->messages = messages;
		return;
	}
}

static int connect_broker(struct supervisor *self, struct err *err)
{
	struct consumer_hooks hooks = {.delivered = intake_delivered,
				       .lost = on_lost,
				       .connected = on_connected,
				       .blocked = on_blocked,
				       .control = cancel_heard,
				       .deaf = on_deaf,
				       .depth = on_depth,
				       .ctx = self};

	self->carrier = role_carrier(self->config, &self->arena, "consumer");
	if (carrier_declare(&self->carrier, err) < 0)
		return -1;
	return consumer_open(&self->consumer, &self->carrier, SOURCE_JOBS, NULL, &hooks, err);
}

static void on_consumer(void *ctx, int fd, uint32_t events)
{
	(void)ctx;
	(void)fd;
	(void)events; /* dispatched once a turn, whatever woke the loop */
}

/* The descriptor changes with every new connection. */
static int watch_consumer(struct supervisor *self, struct err *err)
{
	int fd = consumer_fd(self->consumer);

	if (fd == self->consumer_fd && !self->consumer_moved)
		return 0;
	loop_remove(&self->loop, self->consumer_fd);
	self->consumer_fd = fd;
	self->consumer_moved = false;
	return fd < 0 ? 0 : loop_add(&self->loop, fd, EPOLLIN, on_consumer, self, err);
}

/* --- what is due by time ---------------------------------------------- */

static void kill_overdue(struct supervisor *self, int64_t now_us)
{
	for (size_t i = 0; i < self->slots_len; i++) {
		struct slot *slot = &self->slots[i];

		if (slot->task == NULL || slot->task->kill_at_mono_us == 0 ||
		    slot->task->kill_at_mono_us > now_us)
			continue;
		log_error(slot->task->stop_sent ? "executor did not stop, killed"
						: "executor overran its limits, killed",
			  "job", slot->task->job.id, NULL);
		slot->task->kill_at_mono_us = INT64_MAX;
		dispatch_kill(slot);
	}
}

/* A ledger that cannot be tidied now is tried again; jobs go on. */
static void keep_ledger(struct supervisor *self, int64_t now_us)
{
	int64_t before_us = clock_wall_us() - self->config->worker_keep_history * 1000;
	struct err err = {0};
	int rc = ledger_trim(self->ledger, self->config->worker_history_bytes, &err);

	if (rc == 0 && now_us >= self->tidy_at_us) {
		self->tidy_at_us = now_us + TIDY_EVERY_US;
		rc = ledger_tidy(self->ledger, before_us, &err);
	}
	if (rc < 0)
		log_warn("cannot tidy the ledger", "error", err.message, NULL);
}

static void look_at_clock(struct supervisor *self)
{
	int64_t now_us = clock_mono_us();

	kill_overdue(self, now_us);
	roles_look_at_clock(self, now_us);
	cancel_look_at_clock(self, now_us);
	if (self->stop_signals == 1 && now_us > self->drain_until_us)
		on_stop(self);
	if (self->ledger != NULL)
		keep_ledger(self, now_us);
	if (self->consumer != NULL && self->stop_signals == 0 && now_us >= self->ask_at_us) {
		self->ask_at_us = now_us + ASK_EVERY_US;
		consumer_ask(self->consumer);
	}
}

static bool is_over(const struct supervisor *self)
{
	if (self->dying)
		return true;
	if (self->local != NULL)
		return self->local_done == self->local->jobs_len;
	if (self->stop_signals == 0)
		return false;
	return self->tasks == NULL ||
	       (self->stop_signals > 1 && clock_mono_us() > self->drain_until_us);
}

/* How long nothing has to be killed. */
static int until_kill_ms(const struct supervisor *self, int most_ms)
{
	int64_t now_us = clock_mono_us();
	int64_t least_ms = most_ms;

	for (size_t i = 0; i < self->slots_len; i++) {
		const struct task *task = self->slots[i].task;
		int64_t left_ms;

		if (task == NULL || task->kill_at_mono_us == 0)
			continue;
		left_ms = (task->kill_at_mono_us - now_us) / 1000 + 1;
		if (left_ms < least_ms)
			least_ms = left_ms < 0 ? 0 : left_ms;
	}
	return (int)least_ms;
}

/* Before the loop sleeps: what this turn has noted is written, and only then
 * do others hear what follows from it. */
static int conclude(struct supervisor *self, struct err *err)
{
	if (self->ledger == NULL)
		return 0;
	if (ledger_commit(self->ledger, err) < 0 || outbox_let_go(&self->publisher, err) < 0)
		return -1;
	return 0;
}

static int turn(struct supervisor *self, struct err *err)
{
	int timeout_ms = fairness_timeout_ms(self, until_kill_ms(self, TURN_MS));

	if (self->consumer != NULL) {
		int due_ms = consumer_timeout_ms(self->consumer);

		timeout_ms = due_ms >= 0 && due_ms < timeout_ms ? due_ms : timeout_ms;
		if (watch_consumer(self, err) < 0)
			return -1;
	}
	if (conclude(self, err) < 0 || loop_wait(&self->loop, timeout_ms, err) < 0)
		return -1;
	if (self->ledger != NULL)
		outbox_hold(&self->publisher);
	if (self->consumer != NULL && !self->dying && consumer_dispatch(self->consumer, err) < 0)
		return -1;
	look_at_clock(self);
	if (self->server != NULL)
		self->server->turn(self);
	intake_pump(self);
	pool_fit(self);
	return 0;
}

/* --- start and end ---------------------------------------------------- */

static int start(struct supervisor *self, struct err *err)
{
	const struct config *config = self->config;
	uid_t uid = (uid_t)config->worker_uid_base;

	/* A result on its way holds a descriptor, and so does each executor. The other
	 * processes inherit the bound, which is above that of the jobs (host.c). */
	fd_raise_bound();
	if (loop_init(&self->loop, err) < 0 || watch_signals(self, err) < 0 ||
	    commands_compile(&self->arena, &config->commands_allow, &self->commands, err) < 0 ||
	    roots_read(config, &self->arena, &self->roots, err) < 0 || make_slots(self, err) < 0 ||
	    supervisor_prepare_state(self, err) < 0)
		return -1;
	if (self->local == NULL && supervisor_lock(self, err) < 0)
		return -1;
	if (roles_start(self, err) < 0 || role_drop(uid, uid, 0, err) < 0)
		return -1;
	pool_fit(self);
	if (self->local != NULL)
		return 0;
	if (supervisor_open_ledger(self, err) < 0)
		return -1;
	ledger_group(self->ledger);
	if (connect_broker(self, err) < 0)
		return -1;
	if (status_open(self, err) < 0 || self->server->open(self, err) < 0)
		return -1;
	return finish_unsent(self, err);
}

static void release(struct supervisor *self)
{
	status_close(self);
	if (self->server != NULL)
		self->server->close(self);
	consumer_close(self->consumer);
	for (size_t i = 0; i < self->slots_len; i++) {
		if (self->slots[i].task != NULL)
			self->slots[i].task->slot = NULL;
	}
	while (self->tasks != NULL)
		task_free(self->tasks);
	roles_end(self);
	ledger_close(self->ledger);
	fd_close(self->signal_fd);
	loop_release(&self->loop);
	arena_release(&self->live);
	arena_release(&self->arena);
}

static struct supervisor *new_supervisor(struct config *config,
					 const struct supervisor_local *local)
{
	static struct supervisor self;

	self = (struct supervisor){.config = config,
				   .local = local,
				   .caught_up = true,
				   .started_mono_us = clock_mono_us(),
				   .status_fd = -1,
				   .consumer_fd = -1,
				   .signal_fd = -1,
				   .role_fds = {-1, -1, -1},
				   .loop = {.epoll_fd = -1}};
	arena_init(&self.arena, SUPERVISOR_ARENA_BYTES);
	arena_init(&self.live, 0);
	outbox_init(&self.publisher, &self.loop, -1);
	outbox_init(&self.storekeeper, &self.loop, -1);
	outbox_init(&self.zygote, &self.loop, -1);
	return &self;
}

/* As many jobs as there are slots, so that one's time holds no waiting. */
static void feed_local(struct supervisor *self)
{
	while (self->local != NULL && !self->dying && self->host_known &&
	       self->local_next < self->local->jobs_len &&
	       self->local_next - self->local_done < (size_t)self->config->worker_slots)
		intake_local(self, self->local_next++);
}

static int run(struct supervisor *self, struct err *err)
{
	int rc = start(self, err);
	bool said = false;

	while (rc == 0 && !is_over(self)) {
		if (!said && self->host_known) {
			log_info("ready", NULL);
			said = true;
		}
		feed_local(self);
		if (!is_over(self))
			rc = turn(self, err);
	}
	if (rc == 0)
		rc = conclude(self, err);
	if (rc == 0 && self->dying) {
		*err = self->fatal;
		rc = -1;
	}
	release(self);
	return rc;
}

int supervisor_serve(struct config *config, const struct supervisor_source *source,
		     const struct supervisor_server *server, struct err *err)
{
	struct supervisor *self = new_supervisor(config, NULL);

	self->source = source;
	self->server = server;
	return run(self, err);
}

int supervisor_run(struct config *config, const struct supervisor_local *local, struct err *err)
{
	return run(new_supervisor(config, local), err);
}
