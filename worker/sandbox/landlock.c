/*
 * landlock.c - theory of operation.
 *
 * Reading and executing is allowed everywhere in the root of the box, which
 * holds nothing secret; writing only where a table says so. A device can be
 * made nowhere, so no job forges the whiteouts of an overlay. Where the kernel
 * knows scopes, no signal reaches init, nor an abstract socket that was made
 * outside the step.
 *
 * The kernel's interface grows by versions: a right that it does not know may
 * not be asked for. Names that the headers may lack are given here.
 */
#include "worker/sandbox/landlock.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "worker/sandbox/box.h"

/* --- the kernel's words -------------------------------------------------- */

enum { ABI_TRUNCATE = 3, ABI_NET = 4, ABI_SCOPES = LANDLOCK_ABI_SCOPES };

#define RIGHT_TRUNCATE	(1ULL << 14) /* LANDLOCK_ACCESS_FS_TRUNCATE, since ABI 3 */
#define SCOPE_ABSTRACT	(1ULL << 0)  /* LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET, since ABI 6 */
#define SCOPE_SIGNAL	(1ULL << 1)  /* LANDLOCK_SCOPE_SIGNAL, since ABI 6 */
#define RIGHTS_OF_ABI_2 ((LANDLOCK_ACCESS_FS_REFER << 1) - 1)

/* struct landlock_ruleset_attr as of ABI 6. */
struct ruleset {
	uint64_t files, net, scopes;
};

static size_t ruleset_size(int abi)
{
	return abi >= ABI_SCOPES ? 3 * sizeof(uint64_t)
	       : abi >= ABI_NET	 ? 2 * sizeof(uint64_t)
				 : sizeof(uint64_t);
}

/* --- the table ----------------------------------------------------------- */

#define READS \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITES	(LANDLOCK_ACCESS_FS_WRITE_FILE | RIGHT_TRUNCATE)
#define DEVICES (LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK)
#define OWNS	((RIGHTS_OF_ABI_2 | RIGHT_TRUNCATE) & ~(uint64_t)DEVICES)

static const struct {
	const char *path;
	uint64_t rights;
	bool with_work; /* mounted when the work is known */
} rules[] = {
	{"/", READS, false},
	{"/dev", READS | WRITES, false}, /* null, zero, terminals: none is made there */
	{"/dev/mqueue", OWNS, false},	 /* of the box's ipc namespace */
	{BOX_WORKSPACE, OWNS, true},
	{"/tmp", OWNS, true},
	{"/dev/shm", OWNS, true},
};

/* --- using it -------------------------------------------------------------- */

int landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return abi < 0 ? 0 : (int)abi;
}

static uint64_t known_rights(int abi)
{
	return RIGHTS_OF_ABI_2 | (abi >= ABI_TRUNCATE ? RIGHT_TRUNCATE : 0);
}

static int add_rules(int abi, int fd, bool with_work, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		CLEANUP(fd_cleanup) int place = -1;
		struct landlock_path_beneath_attr rule = {.allowed_access = rules[i].rights &
									    known_rights(abi)};

		if (rules[i].with_work != with_work)
			continue;
		place = open(rules[i].path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		rule.parent_fd = place;
		if (place < 0 ||
		    syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
			return err_sys(err, "cannot make the landlock rule of '%s'", rules[i].path);
	}
	return 0;
}

int landlock_prepare(int abi, int *ret_fd, struct err *err)
{
	struct ruleset attr = {.files = known_rights(abi), .scopes = SCOPE_ABSTRACT | SCOPE_SIGNAL};
	CLEANUP(fd_cleanup)
	int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, ruleset_size(abi), 0);

	if (fd < 0)
		return err_sys(err, "cannot make rules for landlock");
	if (add_rules(abi, fd, false, err) < 0)
		return -1;
	*ret_fd = fd_take(&fd);
	return 0;
}

int landlock_complete(int abi, int fd, struct err *err)
{
	return add_rules(abi, fd, true, err);
}

int landlock_allow(int abi, int fd, const char *path, struct err *err)
{
	CLEANUP(fd_cleanup) int place = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = {.allowed_access = OWNS & known_rights(abi),
						  .parent_fd = place};
	struct stat st;

	if (place < 0 || fstat(place, &st) < 0)
		return err_sys(err, "cannot open '%s'", path);
	if (!S_ISDIR(st.st_mode))
		rule.allowed_access &=
			WRITES | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_EXECUTE;
	if (syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return err_sys(err, "cannot make the landlock rule of '%s'", path);
	return 0;
}

int landlock_confine(int fd)
{
	return (int)syscall(SYS_landlock_restrict_self, fd, 0);
}
