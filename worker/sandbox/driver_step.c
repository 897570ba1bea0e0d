/*
 * driver_step.c - theory of operation.
 *
 *	sending --STARTED--> running --limit, watch or exit--> ending --DONE--> drained
 *	   \--DONE, not started
 *
 * One poll loop over the control socket, both streams and the caller's watch.
 * Deadlines are computed before each wait; counters that the kernel does not
 * tell of by itself are read every BOX_TICK_MS or sooner, so a step that is shorter
 * pays nothing. The first limit that is seen ends the step and is the one reported.
 *
 * Which limits the kernel enforces by itself are found out afterwards, because
 * a program may meet them and go on: an OOM kill always counts; a full layer,
 * a refused fork or a refused write only when the step failed as well. When it
 * did not, the outcome still says that a full layer or a refused fork was met.
 *
 * Memory: the control group holds memory and layer together, so that files in
 * the layer do not eat the program's memory. What the processes have
 * themselves (anonymous memory) is compared with the memory limit at each tick,
 * which comes the sooner the closer they are to it, and the kernel has the last
 * word on the sum. It cannot hold the two apart: it charges a page of a tmpfs to
 * the group of whoever writes it, and what a group has is one number.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "worker/sandbox/driver_private.h"

enum {
	CHUNK_BYTES = 64 << 10,
	DRAIN_US = 2 * 1000 * 1000, /* for pipes whose writers are all dead */
};

struct running {
	struct driver *driver;
	const struct driver_step *step;
	const struct driver_hooks *hooks;
	struct driver_outcome *outcome;
	int streams[2]; /* -1: at its end, or none */
	int64_t started_us;
	int64_t output_us; /* when the last output came */
	int64_t ticked_us;
	int64_t tick_us; /* from there to the next look */
	int64_t oom_before;
	int64_t refused_before;
	int64_t cpu_before_us;
	int64_t throttled_before_us;
	int64_t read_before, written_before;
	int64_t sampled_us;
	bool killed; /* WIRE_KILL was sent */
	int64_t killed_us;
	bool done;
	struct wire_done end;
	union driver_message *message;
	uint8_t *chunk;
};

/* --- asking for it ------------------------------------------------------------------- */

static size_t add_words(struct buf *words, const char *const *list)
{
	size_t len = 0;

	for (; list != NULL && list[len] != NULL; len++)
		buf_add(words, list[len], strlen(list[len]) + 1);
	return len;
}

static int send_step(struct driver *driver, struct wire_step *head, const struct buf *words,
		     int input_fd, struct err *err)
{
	CLEANUP(fd_cleanup) int words_fd = -1;
	uint8_t message[4096];
	int fds[2];
	size_t fds_len = 0, len = sizeof(*head);

	if (input_fd >= 0)
		fds[fds_len++] = input_fd;
	if (sizeof(*head) + words->len > sizeof(message)) {
		if (fd_memfd("step", words->data, words->len, &words_fd, err) < 0)
			return -1;
		head->flags |= WIRE_STEP_MEMFD;
		fds[fds_len++] = words_fd;
	} else {
		(void)memcpy(message + sizeof(*head), words->data, words->len);
		len += words->len;
	}
	(void)memcpy(message, head, sizeof(*head));
	return driver_send(driver, message, len, fds, fds_len, err);
}

static int request(struct running *running, struct err *err)
{
	const struct driver_step *step = running->step;
	struct wire_step head = {.kind = WIRE_STEP};
	CLEANUP(fd_cleanup) int stdin_fd = -1;
	struct buf words;
	int result = -1, input_fd = -1;

	buf_init(&words, WIRE_STEP_BYTES);
	buf_add_text(&words, BOX_WORKSPACE "/");
	if (step->cwd != NULL)
		buf_add_text(&words, step->cwd);
	buf_add_byte(&words, '\0');
	head.argc = (uint32_t)add_words(&words, step->argv);
	head.envc = (uint32_t)add_words(&words, step->env);
	if (step->own_tty) {
		head.flags |= WIRE_STEP_OWN_TTY;
		head.rows = step->tty_rows;
		head.columns = step->tty_columns;
	} else if (step->tty_fd >= 0) {
		head.flags |= WIRE_STEP_TTY;
		input_fd = step->tty_fd;
	} else if (step->pass_stdin) {
		head.flags |= WIRE_STEP_STDIN;
		input_fd = STDIN_FILENO;
	} else if (step->stdin_bytes.len > 0) {
		if (fd_memfd("stdin", step->stdin_bytes.data, step->stdin_bytes.len, &stdin_fd,
			     err) < 0)
			goto out;
		(void)lseek(stdin_fd, 0, SEEK_SET);
		head.flags |= WIRE_STEP_STDIN;
		input_fd = stdin_fd;
	}
	if (words.failed || head.argc == 0 || head.argc > WIRE_STEP_WORDS ||
	    head.envc > WIRE_STEP_WORDS)
		(void)err_set(err, ERR_LIMIT,
			      "cannot start a step: no command, or more than %d bytes of arguments "
			      "and environment",
			      WIRE_STEP_BYTES);
	else
		result = send_step(running->driver, &head, &words, input_fd, err);
out:
	buf_release(&words);
	return result;
}

/* --- ending it -------------------------------------------------------------------------- */

static int kill_step(struct running *running, struct err *err)
{
	uint32_t kind = WIRE_KILL;

	if (running->killed || running->done)
		return 0;
	running->killed = true;
	running->killed_us = clock_mono_us();
	return driver_send(running->driver, &kind, sizeof(kind), NULL, 0, err);
}

static int hit(struct running *running, enum box_limit limit, int64_t value, struct err *err)
{
	struct driver_outcome *outcome = running->outcome;

	if (outcome->limit == BOX_LIMIT_NONE && !outcome->stopped) {
		outcome->limit = limit;
		outcome->limit_value = value;
	}
	return kill_step(running, err);
}

/* --- output ------------------------------------------------------------------------------- */

static int deliver(struct running *running, enum driver_stream stream, size_t len, struct err *err)
{
	struct driver *driver = running->driver;
	size_t given = len;

	running->output_us = clock_mono_us();
	running->outcome->output_bytes += (int64_t)len;
	if (driver->limits.output_bytes > 0 && (int64_t)len > driver->output_left_bytes)
		given = (size_t)driver->output_left_bytes;
	if (given > 0 && running->hooks->output != NULL)
		running->hooks->output(running->hooks->ctx, stream, running->chunk, given);
	if (driver->limits.output_bytes == 0)
		return 0;
	driver->output_left_bytes -= (int64_t)given;
	running->outcome->dropped_bytes += (int64_t)(len - given);
	if (given == len)
		return 0;
	return hit(running, BOX_LIMIT_OUTPUT,
		   driver->limits.output_bytes + running->outcome->dropped_bytes, err);
}

static int read_stream(struct running *running, int i, struct err *err)
{
	ssize_t n = read(running->streams[i], running->chunk, CHUNK_BYTES);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		fd_cleanup(&running->streams[i]);
		return 0;
	}
	return deliver(running, i == 0 ? DRIVER_STDOUT : DRIVER_STDERR, (size_t)n, err);
}

/* --- clocks and counters ---------------------------------------------------------------------- */

static int check_clocks(struct running *running, int64_t now, struct err *err)
{
	const struct box_limits *limits = &running->driver->limits;
	int64_t all_us = now - running->driver->started_mono_us;
	int64_t step_us = now - running->started_us;
	int64_t idle_us = now - running->output_us;

	if (limits->wall_ms > 0 && all_us >= limits->wall_ms * 1000)
		return hit(running, BOX_LIMIT_WALL, all_us / 1000, err);
	if (running->step->timeout_ms > 0 && step_us >= running->step->timeout_ms * 1000)
		return hit(running, BOX_LIMIT_STEP_WALL, step_us / 1000, err);
	if (limits->idle_ms > 0 && running->step->tty_fd < 0 && idle_us >= limits->idle_ms * 1000)
		return hit(running, BOX_LIMIT_IDLE, idle_us / 1000, err);
	return 0;
}

static int64_t oom_kills(const struct running *running)
{
	return driver_meter(running->driver, BOX_METER_MEMORY_EVENTS, "oom_kill");
}

/* Version 1 counts the children's with "total_"; there are none. */
static int64_t own_memory(const struct running *running)
{
	int64_t anon = driver_meter(running->driver, BOX_METER_MEMORY_STAT, "anon");

	return anon >= 0 ? anon : driver_meter(running->driver, BOX_METER_MEMORY_STAT, "rss");
}

/* When to look again: before the processes could have come from here to the limit,
 * as fast as a machine hands out memory. -1: what they have is not known. */
static int64_t next_tick_us(const struct running *running, int64_t memory)
{
	enum { LEAST_US = 2000, BYTES_EACH_US = 4096 };
	int64_t room = running->driver->limits.memory_bytes + BOX_INIT_MEMORY_BYTES - memory;
	int64_t soon_us = room / BYTES_EACH_US;

	if (memory < 0 || soon_us > BOX_TICK_MS * 1000)
		return BOX_TICK_MS * 1000;
	return soon_us < LEAST_US ? LEAST_US : soon_us;
}

static int check_counters(struct running *running, struct err *err)
{
	const struct box_limits *limits = &running->driver->limits;
	int64_t cpu_us = driver_cpu_us(running->driver), memory = own_memory(running);

	running->tick_us = next_tick_us(running, memory);
	cpu_us -= running->driver->cpu_base_us;
	if (oom_kills(running) > running->oom_before) {
		/* What was too much is gone with who was killed for it. */
		int64_t peak = driver_meter(running->driver, BOX_METER_MEMORY_PEAK, NULL);

		return hit(running, BOX_LIMIT_MEMORY, peak >= 0 ? peak : memory, err);
	}
	if (limits->cpu_ms > 0 && cpu_us >= limits->cpu_ms * 1000)
		return hit(running, BOX_LIMIT_CPU, cpu_us / 1000, err);
	if (memory > limits->memory_bytes + BOX_INIT_MEMORY_BYTES)
		return hit(running, BOX_LIMIT_MEMORY, memory, err);
	return 0;
}

static void take_sample(struct running *running, int64_t now)
{
	const struct driver_hooks *hooks = running->hooks;
	int64_t cpu_us = driver_cpu_us(running->driver);
	struct driver_sample sample = {
		.wall_us = now - running->started_us,
		.cpu_us = cpu_us < 0 ? -1 : cpu_us - running->cpu_before_us,
		.memory_bytes = own_memory(running),
		.output_bytes = running->outcome->output_bytes,
	};

	running->sampled_us = now;
	hooks->sample(hooks->ctx, &sample);
}

static int64_t sooner(int64_t a_us, int64_t b_us)
{
	return a_us < b_us ? a_us : b_us;
}

/* How long to wait for anything, in ms, rounded up. */
static int wait_ms(const struct running *running, int64_t now)
{
	const struct box_limits *limits = &running->driver->limits;
	int64_t at = running->ticked_us + running->tick_us;

	if (running->killed)
		return BOX_TICK_MS;
	if (limits->wall_ms > 0)
		at = sooner(at, running->driver->started_mono_us + limits->wall_ms * 1000);
	if (running->step->timeout_ms > 0)
		at = sooner(at, running->started_us + running->step->timeout_ms * 1000);
	if (limits->idle_ms > 0 && running->step->tty_fd < 0)
		at = sooner(at, running->output_us + limits->idle_ms * 1000);
	return at <= now ? 0 : (int)((at - now + 999) / 1000);
}

static int look(struct running *running, struct err *err)
{
	int64_t now = clock_mono_us();

	if (running->killed) {
		if (now - running->killed_us > (int64_t)WIRE_REPLY_MS * 1000)
			return err_set(err, ERR_TIMEOUT, "the init of the sandbox does not answer");
		return 0;
	}
	if (check_clocks(running, now, err) < 0)
		return -1;
	if (now - running->ticked_us < running->tick_us)
		return 0;
	running->ticked_us = now;
	if (running->hooks->sample_ms > 0 && running->outcome->started &&
	    now - running->sampled_us >= running->hooks->sample_ms * 1000)
		take_sample(running, now);
	return check_counters(running, err);
}

/* --- messages
 * ------------------------------------------------------------------------------------- */

/* init died with the step: of the OOM killer, or nobody knows why. */
static int on_death(struct running *running, struct err *err)
{
	if (oom_kills(running) <= running->oom_before)
		return err_set(err, ERR_PEER, "the init of the sandbox died");
	(void)hit(running, BOX_LIMIT_MEMORY, running->driver->limits.memory_bytes, NULL);
	running->end = (struct wire_done){.started = 1, .status = SIGKILL};
	running->done = true;
	return 0;
}

static int on_started(struct running *running, int *fds, size_t fds_len, struct err *err)
{
	const struct driver_step *step = running->step;
	size_t expected = step->own_tty ? 1 : step->tty_fd >= 0 ? 0 : 2;

	if (running->outcome->started || fds_len != expected) {
		for (size_t i = 0; i < fds_len; i++)
			fd_close(fds[i]);
		return err_set(err, ERR_PEER, "the init of the sandbox answers out of turn");
	}
	running->outcome->started = true;
	for (size_t i = 0; i < fds_len; i++) {
		running->streams[i] = fds[i];
		if (fd_set_nonblocking(fds[i], true, err) < 0)
			return -1;
	}
	if (step->own_tty && running->hooks->tty != NULL)
		running->hooks->tty(running->hooks->ctx, running->streams[0]);
	return 0;
}

static int on_message(struct running *running, struct err *err)
{
	int fds[FD_PASS_MAX];
	size_t fds_len = 0, len = 0;
	struct err local = {0};

	if (driver_recv(running->driver, WIRE_REPLY_MS, running->message, &len, fds, &fds_len,
			&local) < 0) {
		if (local.kind == ERR_PEER)
			return on_death(running, err);
		if (err != NULL)
			*err = local;
		return -1;
	}
	if (running->message->kind == WIRE_STARTED)
		return on_started(running, fds, fds_len, err);
	for (size_t i = 0; i < fds_len; i++)
		fd_close(fds[i]);
	if (running->message->kind != WIRE_DONE || len != sizeof(running->end))
		return err_set(err, ERR_PEER, "the init of the sandbox answers out of turn");
	running->end = running->message->done;
	running->done = true;
	return 0;
}

/* --- the loop
 * ---------------------------------------------------------------------------------------- */

static int turn(struct running *running, struct err *err)
{
	const struct driver_hooks *hooks = running->hooks;
	struct pollfd fds[] = {
		{.fd = running->driver->handle.control_fd, .events = POLLIN},
		{.fd = running->streams[0], .events = POLLIN},
		{.fd = running->streams[1], .events = POLLIN},
		{.fd = running->killed || hooks->watch == NULL ? -1 : hooks->watch_fd,
		 .events = POLLIN},
	};
	int n = poll(fds, ARRAY_LEN(fds), wait_ms(running, clock_mono_us()));

	if (n < 0 && errno != EINTR)
		return err_sys(err, "cannot wait for a step");
	for (int i = 0; i < 2 && n > 0; i++)
		if (fds[1 + i].revents != 0 && read_stream(running, i, err) < 0)
			return -1;
	if (n > 0 && fds[0].revents != 0 && on_message(running, err) < 0)
		return -1;
	if (n > 0 && fds[3].revents != 0 && hooks->watch(hooks->ctx)) {
		running->outcome->stopped = running->outcome->limit == BOX_LIMIT_NONE;
		if (kill_step(running, err) < 0)
			return -1;
	}
	return running->done ? 0 : look(running, err);
}

/* All writers are dead: what is left in the pipes comes at once. */
static int drain(struct running *running, struct err *err)
{
	int64_t until = clock_mono_us() + DRAIN_US;

	for (int i = 0; i < 2; i++)
		while (running->streams[i] >= 0 && clock_mono_us() < until) {
			struct pollfd readable = {.fd = running->streams[i], .events = POLLIN};

			if (poll(&readable, 1, BOX_TICK_MS) < 0 && errno != EINTR)
				return err_sys(err, "cannot wait for output");
			if (readable.revents != 0 && read_stream(running, i, err) < 0)
				return -1;
		}
	return 0;
}

/* --- the outcome
 * ------------------------------------------------------------------------------------------ */

static void blame(struct running *running, enum box_limit limit, int64_t value)
{
	if (running->outcome->limit != BOX_LIMIT_NONE || running->outcome->stopped)
		return;
	running->outcome->limit = limit;
	running->outcome->limit_value = value;
}

/* A shell tells of its child's death by a signal in its own exit code. */
static bool died_of(const struct driver_outcome *outcome, int signal)
{
	return outcome->signal == signal || outcome->exit_code == 128 + signal;
}

/* A limit that the kernel held the step to, which a step that failed failed for. */
static void meet(struct running *running, enum box_limit limit, int64_t value)
{
	struct driver_outcome *outcome = running->outcome;

	if (outcome->exit_code != 0 && outcome->syscall[0] == '\0')
		blame(running, limit, value);
	outcome->met[limit] = outcome->limit != limit;
}

static void find_limit(struct running *running)
{
	const struct box_limits *limits = &running->driver->limits;
	struct driver_outcome *outcome = running->outcome;
	int64_t cpu_us = driver_cpu_us(running->driver) - running->driver->cpu_base_us;
	int64_t refused = driver_meter(running->driver, BOX_METER_PROCESSES_EVENTS, "max");

	if (oom_kills(running) > running->oom_before)
		blame(running, BOX_LIMIT_MEMORY,
		      driver_meter(running->driver, BOX_METER_MEMORY_PEAK, NULL));
	if (limits->cpu_ms > 0 && (cpu_us >= limits->cpu_ms * 1000 || died_of(outcome, SIGXCPU)))
		blame(running, BOX_LIMIT_CPU,
		      (cpu_us > outcome->cpu_us ? cpu_us : outcome->cpu_us) / 1000);
	if (limits->file_bytes > 0 && died_of(outcome, SIGXFSZ))
		blame(running, BOX_LIMIT_FILE, limits->file_bytes);
	if (refused > running->refused_before)
		meet(running, BOX_LIMIT_PROCESSES, limits->processes);
	if (running->end.inodes_full != 0)
		meet(running, BOX_LIMIT_INODES, limits->inodes);
	if (running->end.disk_full != 0)
		meet(running, BOX_LIMIT_DISK, limits->disk_bytes);
}

/* How much a counter went up, or `otherwise` where there is none. */
static int64_t since(int64_t before, int64_t now, int64_t otherwise)
{
	return before < 0 || now < before ? otherwise : now - before;
}

static void fill_use(struct running *running)
{
	const struct driver *driver = running->driver;
	struct driver_outcome *outcome = running->outcome;
	const struct wire_done *end = &running->end;

	outcome->user_us = end->user_us;
	outcome->system_us = end->system_us;
	outcome->context_switches = end->switches;
	outcome->page_faults = end->faults;
	outcome->disk_faults = end->disk_faults;
	outcome->io_read_bytes =
		since(running->read_before, driver_io_bytes(driver, "rbytes"), end->read_bytes);
	outcome->io_write_bytes =
		since(running->written_before, driver_io_bytes(driver, "wbytes"), end->write_bytes);
	outcome->throttled_us =
		since(running->throttled_before_us, driver_throttled_us(driver), -1);
	outcome->processes_peak = driver_processes_peak(driver);
}

static void fill_outcome(struct running *running)
{
	struct driver_outcome *outcome = running->outcome;
	struct wire_done *end = &running->end;
	int64_t peak = driver_meter(running->driver, BOX_METER_MEMORY_PEAK, NULL);
	int64_t cpu_us = driver_cpu_us(running->driver);

	end->start_error[sizeof(end->start_error) - 1] = '\0';
	end->syscall[sizeof(end->syscall) - 1] = '\0';
	outcome->exit_code = -1;
	outcome->wall_us = clock_mono_us() - running->started_us;
	if (end->started == 0) {
		(void)memcpy(outcome->start_error, end->start_error, sizeof(outcome->start_error));
		return;
	}
	outcome->started = true;
	(void)memcpy(outcome->syscall, end->syscall, sizeof(outcome->syscall));
	if (WIFEXITED(end->status))
		outcome->exit_code = WEXITSTATUS(end->status);
	else if (WIFSIGNALED(end->status))
		outcome->signal = WTERMSIG(end->status);
	if (outcome->syscall[0] != '\0') { /* init's SIGKILL stands for the filter's */
		outcome->exit_code = -1;
		outcome->signal = SIGSYS;
	}
	outcome->cpu_us =
		cpu_us >= 0 ? cpu_us - running->cpu_before_us : end->user_us + end->system_us;
	outcome->memory_is_groups = peak >= 0;
	outcome->memory_peak_bytes = peak >= 0 ? peak : end->max_rss_bytes;
	fill_use(running);
	if (outcome->limit == BOX_LIMIT_OUTPUT) /* as much as was seen until all were dead */
		outcome->limit_value =
			running->driver->limits.output_bytes + outcome->dropped_bytes;
	find_limit(running);
}

/* --- the whole
 * -----------------------------------------------------------------------------------------------
 */

static int run(struct running *running, struct err *err)
{
	struct driver *driver = running->driver;
	int64_t cpu_us = driver_cpu_us(driver);

	running->started_us = clock_mono_us();
	running->output_us = running->ticked_us = running->started_us;
	if (driver->started_mono_us == 0) {
		driver->started_mono_us = running->started_us;
		driver->cpu_base_us = cpu_us < 0 ? 0 : cpu_us;
	}
	running->cpu_before_us = cpu_us;
	running->sampled_us = running->started_us;
	running->tick_us =
		next_tick_us(running, driver->handle.meter_fds[BOX_METER_MEMORY_STAT] < 0 ? -1 : 0);
	running->throttled_before_us = driver_throttled_us(driver);
	running->read_before = driver_io_bytes(driver, "rbytes");
	running->written_before = driver_io_bytes(driver, "wbytes");
	running->oom_before = oom_kills(running);
	running->refused_before = driver_meter(driver, BOX_METER_PROCESSES_EVENTS, "max");
	if (request(running, err) < 0)
		return -1;
	while (!running->done)
		if (turn(running, err) < 0)
			return -1;
	if (drain(running, err) < 0)
		return -1;
	fill_outcome(running);
	return 0;
}

int driver_step(struct driver *driver, const struct driver_step *step,
		const struct driver_hooks *hooks, struct driver_outcome *ret, struct err *err)
{
	struct driver_outcome outcome = {.exit_code = -1};
	struct running running = {.driver = driver,
				  .step = step,
				  .hooks = hooks,
				  .outcome = &outcome,
				  .streams = {-1, -1},
				  .message = malloc(sizeof(*running.message)),
				  .chunk = malloc(CHUNK_BYTES)};
	int result;

	assert(!driver->finished && step->argv != NULL);
	if (running.message == NULL || running.chunk == NULL)
		result = err_set(err, ERR_SYSTEM, "cannot run a step: out of memory");
	else
		result = run(&running, err);
	for (int i = 0; i < 2; i++)
		fd_close(running.streams[i]);
	free(running.message);
	free(running.chunk);
	if (result == 0)
		*ret = outcome;
	return result;
}
