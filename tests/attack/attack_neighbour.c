/*
 * attack_neighbour.c - two boxes at once, each run by another tenant: "first"
 * leaves a mark in every place that could be common to both, waits, and watches
 * whether anybody else touches the files it can see; "second" looks for the
 * marks. A place where one finds the other is a way around the box.
 */
#include <arpa/inet.h>
#include <mqueue.h>
#include <stddef.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "attack.h"

enum { KEY = 0x5b5b0001, PORT = 47123, WATCH_MS = 2500 };

/* Files and directories that come from the host, or look as if they did. */
static const char *const shared[] = {
	"/",
	"/usr",
	"/usr/bin/env",
	"/usr/lib",
	"/etc",
	"/etc/passwd",
	"/etc/ld.so.cache",
	"/etc/alternatives",
	"/dev/null",
	"/dev/zero",
	"/dev/full",
	"/dev/random",
	"/dev/tty",
	"/dev/pts",
	"/dev/urandom",
	"/etc/ssl/certs/ca-certificates.crt",
	"/dev/shm",
	"/tmp",
	"/work",
	"/etc/ssl/certs",
	"/proc",
	"/proc/sys",
	"/proc/self/mounts",
	"/sys",
};

enum { SHARED = sizeof(shared) / sizeof(shared[0]) };

static struct sockaddr_un abstract_name(void)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};

	(void)snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "sbx-neighbour");
	return name;
}

static struct sockaddr_in loopback(void)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(PORT)};

	name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return name;
}

/* As an ordinary user the device nodes are the host's own. */
static bool skip_devices;

static int open_shared(int i)
{
	if (skip_devices && strncmp(shared[i], "/dev/", 5) == 0)
		return -1;
	return open(shared[i], O_RDONLY | O_NONBLOCK);
}

/* --- the first ------------------------------------------------------------ */

static void leave_marks(void)
{
	struct sockaddr_un local = abstract_name();
	struct sockaddr_in internet = loopback();
	int unix_fd = socket(AF_UNIX, SOCK_STREAM, 0), tcp_fd = socket(AF_INET, SOCK_STREAM, 0);

	if (shmget(KEY, 4096, IPC_CREAT | 0666) < 0 || msgget(KEY, IPC_CREAT | 0666) < 0 ||
	    semget(KEY, 1, IPC_CREAT | 0666) < 0 ||
	    shm_open("/sbx-neighbour", O_CREAT | O_RDWR, 0666) < 0 ||
	    mq_open("/sbx-neighbour", O_CREAT | O_RDWR, 0666, NULL) == (mqd_t)-1)
		_exit(1);
	if (bind(unix_fd, (struct sockaddr *)&local, sizeof(local)) < 0 || listen(unix_fd, 1) < 0 ||
	    bind(tcp_fd, (struct sockaddr *)&internet, sizeof(internet)) < 0 ||
	    listen(tcp_fd, 1) < 0)
		_exit(1);
}

/* Every lock that a file open for reading can have; a lease delays who opens it. */
static void lock_all(void)
{
	for (int i = 0; i < SHARED; i++) {
		struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
		int fd = open_shared(i);

		if (fd < 0)
			continue;
		(void)flock(fd, LOCK_EX | LOCK_NB);
		(void)fcntl(fd, F_OFD_SETLK, &lock);
		(void)fcntl(open_shared(i), F_SETLEASE, F_RDLCK);
	}
}

static volatile sig_atomic_t noticed;

static void notice(int number)
{
	noticed = number;
}

/* The older way to watch a directory: by a signal. */
static void watch_by_signal(int i)
{
	int fd = open_shared(i);

	if (fd >= 0)
		(void)fcntl(fd, F_NOTIFY, DN_ACCESS | DN_CREATE | DN_MODIFY | DN_MULTISHOT);
}

/* Holds everything for a while, and tells at the end what was seen meanwhile. */
static void watch_all(void)
{
	int watches[SHARED] = {0}, fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	_Alignas(struct inotify_event) char room[4096];
	const struct inotify_event *event = (const struct inotify_event *)room;
	const struct sigaction action = {.sa_handler = notice};

	(void)sigaction(SIGIO, &action, NULL);
	for (int i = 0; i < SHARED; i++)
		watch_by_signal(i);
	for (int i = 0; i < SHARED; i++)
		if (!skip_devices || strncmp(shared[i], "/dev/", 5) != 0)
			watches[i] = inotify_add_watch(fd, shared[i], IN_ALL_EVENTS);
	noticed = 0;
	(void)puts("ready");
	(void)fflush(stdout);
	for (int left = WATCH_MS; left > 0 && noticed == 0; left -= WATCH_MS / 10)
		pause_ms(WATCH_MS / 10);
	if (noticed != 0)
		escaped("others' use of a directory raises a signal");
	if (read(fd, room, sizeof(room)) <= 0)
		return;
	for (int i = 0; i < SHARED; i++)
		if (watches[i] == event->wd)
			escaped("others' use of '%s' can be watched", shared[i]);
	escaped("others can be watched");
}

/* --- the second ------------------------------------------------------------- */

static void look_for_marks(void)
{
	struct sockaddr_un local = abstract_name();
	struct sockaddr_in internet = loopback();

	must_fail("shared memory", shmget(KEY, 0, 0));
	must_fail("a message queue", msgget(KEY, 0));
	must_fail("a semaphore", semget(KEY, 0, 0));
	must_fail("POSIX shared memory", shm_open("/sbx-neighbour", O_RDWR, 0));
	must_fail("a POSIX queue", mq_open("/sbx-neighbour", O_RDWR));
	must_fail("an abstract socket", connect(socket(AF_UNIX, SOCK_STREAM, 0),
						(struct sockaddr *)&local, sizeof(local)));
	must_fail("a port", connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&internet,
				    sizeof(internet)));
}

static void look_for_locks(void)
{
	for (int i = 0; i < SHARED; i++) {
		int fd = open_shared(i);

		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
			escaped("a lock on '%s' is seen by the neighbour", shared[i]);
		if (fd >= 0)
			(void)close(fd);
	}
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 1;
	skip_devices = argc > 2;
	if (strcmp(argv[1], "first") == 0) {
		leave_marks();
		lock_all();
		watch_all();
	} else {
		look_for_marks();
		look_for_locks();
	}
	contained();
}
