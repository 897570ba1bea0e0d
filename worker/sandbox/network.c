/*
 * network.c - theory of operation.
 *
 * Each box gets a network namespace that no other has had. Making one takes the
 * kernel half a millisecond and clearing it away as much again, so a host may be
 * told to use one anew (box_config.reuse_networks), when it can be shown to be
 * as it was made:
 *
 *	- no process is left: all of the box were in its pid namespace, whose
 *	  init has been reaped
 *	- no socket is left, of any family, bound, connected, unbound, listening
 *	  or on its way in another one's queue: the namespace counts those of
 *	  users ("sockets: used" of sockstat), and each protocol counts its own
 *	- no connection waits for its end ("tw", and no fragment is kept)
 *	- no neighbour is known
 *	- what else /proc/net shows reads, byte by byte, as in a
 *	  namespace that nobody has used: addresses, routes, multicast groups, flow
 *	  labels, and all counters of devices and protocols. So whoever sent as
 *	  much as a packet has had it for the last time.
 *	- its settings are not looked at: changing one takes CAP_NET_ADMIN over the
 *	  user namespace that owns it, which is the host's
 *
 * It is looked at when the next box needs it, not when the last one ends: what
 * the kernel puts off (the collection of sockets that hold each other, for one)
 * is over by then, or the namespace is let go of. A list of what is not compared,
 * and why, is below. What cannot be compared is the namespace's number.
 *
 * What the files of an unused one say is read once, in one that no box gets; when
 * none passes any more the machine has changed, and it is read again.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "worker/sandbox/sandbox_private.h"

enum {
	FILE_BYTES = 64 << 10,
	DEPTH = 2,	       /* of folders below /proc/net */
	REFUSED_IN_A_ROW = 16, /* of namespaces, until an unused one is read again */
};

/* --- making ------------------------------------------------------------------- */

static int raise_loopback(struct err *err)
{
	CLEANUP(fd_cleanup) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		return err_sys(err, "cannot raise the loopback interface");
	return 0;
}

/* A host half without its network would be of no use. */
static void go_home(const struct box_host *host)
{
	if (setns(host->own_net_ns_fd, CLONE_NEWNET) < 0)
		abort();
}

/* This process visits the new namespace for as long as that takes, or stays
 * when there is nothing to come back for. */
static int make(const struct box_host *host, int *ret_fd, struct err *err)
{
	CLEANUP(fd_cleanup) int fd = -1;
	int result;

	if (unshare(CLONE_NEWNET) < 0)
		return err_sys(err, "cannot make a network namespace");
	result = raise_loopback(err);
	fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (!host->once)
		go_home(host);
	if (fd < 0)
		return err_sys(err, "cannot open '/proc/self/ns/net'");
	*ret_fd = fd_take(&fd);
	return result;
}

/* --- what is read --------------------------------------------------------------- */

/* What is not compared. Everything else is, whatever a kernel may have there. */
static const struct {
	const char *path;
	const char *why;
} skipped[] = {
#define SOCKETS "of sockets: sockstat and protocols count them"
#define ADMIN	"takes CAP_NET_ADMIN to change"
#define MACHINE "of the machine, not of the namespace"
	{"tcp", SOCKETS "; walks all connections of the machine"},
	{"tcp6", SOCKETS "; walks all connections of the machine"},
	{"udp", SOCKETS},
	{"udp6", SOCKETS},
	{"udplite", SOCKETS},
	{"udplite6", SOCKETS},
	{"raw", SOCKETS},
	{"raw6", SOCKETS},
	{"icmp", SOCKETS},
	{"icmp6", SOCKETS},
	{"packet", SOCKETS},
	{"netlink", SOCKETS "; has numbers of the kernel's own"},
	{"mcfilter", SOCKETS},
	{"mcfilter6", SOCKETS},
	{"anycast6", SOCKETS},
	{"nf_conntrack", "walks the table of the machine; stat/nf_conntrack counts"},
	{"nf_conntrack_expect", "of connections that stat/nf_conntrack counts"},
	{"route", "fib_trie has it"},
	{"fib_triestat", "fib_trie has it"},
	{"rt6_stats", "ipv6_route has it"},
	{"rt_cache", "empty since Linux 3.6"},
	{"psched", "a constant"},
	{"arp", "of neighbours, which are asked for"},
	{"dev_snmp6", "snmp6 counts the same for all devices"},
	{"xfrm_stat", ADMIN},
	{"stat/synproxy", ADMIN},
	{"dev_mcast", ADMIN},
	{"ip_mr_vif", ADMIN},
	{"ip_mr_cache", ADMIN},
	{"ip6_mr_vif", ADMIN},
	{"ip6_mr_cache", ADMIN},
	{"ip_tables_names", ADMIN},
	{"ip6_tables_names", ADMIN},
	{"arp_tables_names", ADMIN},
	{"netfilter", ADMIN},
	{"ptype", ADMIN},
	{"softnet_stat", MACHINE},
	{"rt_acct", MACHINE},
	{"stat/rt_cache", MACHINE},
	{"ip_tables_matches", MACHINE},
	{"ip_tables_targets", MACHINE},
	{"ip6_tables_matches", MACHINE},
	{"ip6_tables_targets", MACHINE},
	{"arp_tables_matches", MACHINE},
	{"arp_tables_targets", MACHINE},
	{"rpc", MACHINE},
};

static bool is_skipped(const char *path)
{
	for (size_t i = 0; i < ARRAY_LEN(skipped); i++)
		if (strcmp(skipped[i].path, path) == 0)
			return true;
	return false;
}

/* "TCP: inuse 0 orphan 4 tw 0 alloc 31 mem 0": three of these count the machine's. */
static void drop_machine_words(char *text)
{
	static const char *const words[] = {" orphan ", " alloc ", " mem "};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		for (char *at = text; (at = strstr(at, words[i])) != NULL;) {
			char *rest = at + strlen(words[i]);

			rest += strcspn(rest, " \n");
			(void)memmove(at, rest, strlen(rest) + 1);
		}
}

/* Of each line the protocol and how many sockets it has: the rest is the machine's. */
static void keep_socket_counts(char *text)
{
	char *out = text, *next;

	for (char *line = text; *line != '\0'; line = next) {
		char name[32], count[32];

		next = strchrnul(line, '\n');
		next += *next == '\n';
		if (sscanf(line, "%31s %*s %31s", name, count) == 2)
			out += snprintf(out, (size_t)(next - out), "%s %s\n", name, count);
	}
	*out = '\0';
}

/* Reads a file of the namespace that this process visits. NULL: it cannot be read.
 * Valid until the next call. */
static char *read_text(int dir_fd, const char *path)
{
	static char text[FILE_BYTES];
	CLEANUP(fd_cleanup) int fd = openat(dir_fd, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	size_t len = 0;
	ssize_t n = fd < 0 ? -1 : 0;

	while (fd >= 0 && len < sizeof(text) - 1 &&
	       (n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	if (n > 0)
		errno = EFBIG;
	if (n != 0)
		return NULL; /* larger ones, too: nothing in an unused one is that large */
	text[len] = '\0';
	if (strncmp(path, "sockstat", 8) == 0)
		drop_machine_words(text);
	else if (strcmp(path, "protocols") == 0)
		keep_socket_counts(text);
	return text;
}

/* --- an unused one ---------------------------------------------------------------- */

static void forget(struct networks *self)
{
	for (size_t i = 0; i < self->files_len; i++)
		free(self->files[i].text);
	self->files_len = 0;
}

static int note_file(struct networks *self, int dir_fd, const char *path, struct err *err)
{
	struct network_file *file = &self->files[self->files_len];
	const char *text = read_text(dir_fd, path);

	/* A user's own root may not read what is for root: jobs even less. */
	if (text == NULL && errno == EACCES)
		return 0;
	if (text == NULL)
		return err_sys(err, "cannot read '/proc/net/%s'", path);
	if (self->files_len == NETWORK_FILES_MAX || strlen(path) >= sizeof(file->path))
		return err_set(err, ERR_LIMIT, "/proc/net has more files than are compared");
	(void)snprintf(file->path, sizeof(file->path), "%s", path);
	file->text = strdup(text);
	if (file->text == NULL)
		return err_set(err, ERR_SYSTEM, "out of memory");
	self->files_len++;
	return 0;
}

/* What tells most: read before all else, and never missing. */
static const char *const first[] = {"sockstat", "protocols", "snmp", "netstat", "dev", "unix"};

static bool is_first(const char *path)
{
	for (size_t i = 0; i < ARRAY_LEN(first); i++)
		if (strcmp(first[i], path) == 0)
			return true;
	return false;
}

static int note_folder(struct networks *self, int dir_fd, const char *path, int depth,
		       struct err *err)
{
	CLEANUP(fd_cleanup)
	int fd = openat(dir_fd, *path == '\0' ? "." : path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	int result = 0;

	if (dir == NULL)
		return err_sys(err, "cannot list '/proc/net/%s'", path);
	(void)fd_take(&fd);
	for (const struct dirent *entry; result == 0 && (entry = readdir(dir)) != NULL;) {
		char name[300];

		(void)snprintf(name, sizeof(name), "%s%s%s", path, *path == '\0' ? "" : "/",
			       entry->d_name);
		if (entry->d_name[0] == '.' || is_first(name) || is_skipped(name))
			continue;
		if (entry->d_type == DT_DIR && depth < DEPTH)
			result = note_folder(self, dir_fd, name, depth + 1, err);
		else if (entry->d_type == DT_REG)
			result = note_file(self, dir_fd, name, err);
	}
	(void)closedir(dir);
	return result;
}

static int note_all(struct networks *self, struct err *err)
{
	CLEANUP(fd_cleanup) int dir_fd = open("/proc/self/net", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir_fd < 0)
		return err_sys(err, "cannot open '/proc/self/net'");
	for (size_t i = 0; i < ARRAY_LEN(first); i++)
		if (note_file(self, dir_fd, first[i], err) < 0)
			return -1;
	return note_folder(self, dir_fd, "", 0, err);
}

static int read_unused(struct box_host *host, struct err *err)
{
	CLEANUP(fd_cleanup) int fd = -1;
	int result;

	forget(&host->networks);
	if (make(host, &fd, err) < 0)
		return -1;
	if (setns(fd, CLONE_NEWNET) < 0)
		return err_sys(err, "cannot enter a network namespace");
	result = note_all(&host->networks, err);
	go_home(host);
	if (result < 0)
		forget(&host->networks);
	return result;
}

/* --- the proof ----------------------------------------------------------------------- */

/* /proc/net shows none of those that need no address, as loopback's do not. */
static bool has_neighbours(void)
{
	struct {
		struct nlmsghdr head;
		struct ndmsg body;
	} ask = {.head = {.nlmsg_len = sizeof(ask),
			  .nlmsg_type = RTM_GETNEIGH,
			  .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP}};
	_Alignas(struct nlmsghdr) char room[8192];
	const struct nlmsghdr *reply = (const struct nlmsghdr *)(const void *)room;
	CLEANUP(fd_cleanup) int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0 || send(fd, &ask, sizeof(ask), 0) != sizeof(ask) ||
	    recv(fd, room, sizeof(room), 0) < (ssize_t)sizeof(*reply))
		return true;
	return reply->nlmsg_type != NLMSG_DONE;
}

/* On a visit. */
static bool reads_as_unused(const struct networks *self)
{
	CLEANUP(fd_cleanup) int dir_fd = open("/proc/self/net", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; dir_fd >= 0 && i < self->files_len; i++) {
		const char *text = read_text(dir_fd, self->files[i].path);

		if (text == NULL || strcmp(text, self->files[i].text) != 0)
			return false;
	}
	return dir_fd >= 0 && !has_neighbours();
}

static bool is_unused(const struct box_host *host, int fd)
{
	bool unused;

	if (setns(fd, CLONE_NEWNET) < 0)
		return false;
	unused = reads_as_unused(&host->networks);
	go_home(host);
	return unused;
}

/* --- the pool ------------------------------------------------------------------------- */

int networks_open(struct box_host *host, struct err *err)
{
	struct networks *self = &host->networks;

	assert(!host->once);
	self->files = calloc(NETWORK_FILES_MAX, sizeof(self->files[0]));
	if (self->files == NULL)
		return err_set(err, ERR_SYSTEM, "cannot open the host of sandboxes: out of memory");
	self->reuse = true;
	return read_unused(host, err);
}

void networks_close(struct networks *self)
{
	while (self->kept_len > 0)
		fd_close(self->kept[--self->kept_len]);
	if (self->files != NULL)
		forget(self);
	free(self->files);
	self->files = NULL;
}

static bool take_kept(struct box_host *host, int *ret_fd)
{
	struct networks *self = &host->networks;

	while (self->kept_len > 0) {
		int fd = self->kept[--self->kept_len];

		if (is_unused(host, fd)) {
			self->refused_in_row = 0;
			self->counts.reused++;
			*ret_fd = fd;
			return true;
		}
		fd_close(fd);
		self->counts.refused++;
		self->refused_in_row++;
	}
	return false;
}

int networks_take(struct box_host *host, int *ret_fd, struct err *err)
{
	struct networks *self = &host->networks;

	if (take_kept(host, ret_fd))
		return 0;
	if (self->refused_in_row >= REFUSED_IN_A_ROW) {
		self->refused_in_row = 0;
		NEGLECT(read_unused(host, NULL)); /* or none will pass, and all are made */
	}
	self->counts.made++;
	return make(host, ret_fd, err);
}

void networks_give(struct box_host *host, int *fd)
{
	struct networks *self = &host->networks;

	if (*fd < 0)
		return;
	if (self->files_len > 0 && self->kept_len < NETWORKS_MAX)
		self->kept[self->kept_len++] = fd_take(fd);
	else
		fd_cleanup(fd);
}
