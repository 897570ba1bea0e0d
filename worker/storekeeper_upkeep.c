/*
 * storekeeper_upkeep.c - theory: the store is brought within its bounds by a
 * child: at the start, which also looks for damage, now and then, and some
 * time after something was built.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/storekeeper_private.h"

enum {
	UPKEEP_NICE = 10, /* jobs go first */
	UPKEEP_EVERY_S = 600,
	UPKEEP_AFTER_BUILD_S = 30,
	RECENT_MS = 60 * 1000,
};

static void on_damage(void *ctx, const char *what)
{
	(void)ctx;
	log_error("store damaged", "what", what, NULL);
}

static NORETURN void upkeep_main(struct keeper *keeper)
{
	const struct store_policy policy = {
		.max_bytes = keeper->config->sources_max_store,
		.recent_ms = RECENT_MS,
		.keep_refs_ms = keeper->config->sources_keep_refs,
	};
	struct store_verified verified;
	struct store_upkept upkept;
	struct err err = {0};

	fd_close(ROLE_SOCKET);
	(void)setpriority(PRIO_PROCESS, 0, UPKEEP_NICE);
	if ((!keeper->upkeep.looked &&
	     store_verify(keeper->store, STORE_LOOK, on_damage, NULL, &verified, &err) < 0) ||
	    store_upkeep(keeper->store, &policy, &upkept, &err) < 0) {
		log_error("store upkeep failed", "error", err.message, NULL);
		_exit(1);
	}
	_exit(0);
}

void keeper_upkeep_start(struct keeper *keeper)
{
	struct keeper_upkeep *upkeep = &keeper->upkeep;
	pid_t parent = getpid();
	int ends[2];

	upkeep->next_us = clock_mono_us() + (int64_t)UPKEEP_EVERY_S * 1000000;
	keeper_release_pins(keeper, clock_mono_us());
	if (pipe2(ends, O_CLOEXEC) < 0)
		return;
	upkeep->pid = fork();
	if (upkeep->pid == 0) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
			_exit(1);
		upkeep_main(keeper);
	}
	fd_close(ends[1]);
	if (upkeep->pid < 0) {
		fd_close(ends[0]);
		upkeep->pid = 0;
		return;
	}
	upkeep->end = ends[0];
	upkeep->looked = true;
}

void keeper_upkeep_ended(struct keeper *keeper)
{
	while (waitpid(keeper->upkeep.pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	keeper->upkeep.pid = 0;
	fd_cleanup(&keeper->upkeep.end);
}

void keeper_upkeep_soon(struct keeper *keeper)
{
	int64_t at_us = clock_mono_us() + (int64_t)UPKEEP_AFTER_BUILD_S * 1000000;

	if (at_us < keeper->upkeep.next_us)
		keeper->upkeep.next_us = at_us;
}

/* How long the loop may wait: while something is fetched there is no upkeep. */
int keeper_upkeep_wait_ms(const struct keeper *keeper)
{
	int64_t left_us = keeper->upkeep.next_us - clock_mono_us();

	if (keeper->upkeep.pid != 0 || keeper->children_len > 0)
		return -1;
	return left_us <= 0 ? 0 : (int)(left_us / 1000) + 1;
}
