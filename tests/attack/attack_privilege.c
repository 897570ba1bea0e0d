/*
 * attack_privilege.c - becomes somebody else: by set-user-id programs of the
 * system and of its own, by capabilities, by ids.
 */
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>

#include "attack.h"

static void try_ids(void)
{
	gid_t groups[] = {0};
	gid_t kept[64];
	int len = getgroups(64, kept);

	must_fail("setuid", setuid(0));
	must_fail("setresuid", setresuid(-1, 0, -1));
	must_fail("setgid", setgid(0));
	must_fail("setgroups", setgroups(1, groups));
	for (int i = 0; i < len; i++) /* those without a name here give no right to any file */
		if (kept[i] != 1000 && kept[i] != 65534)
			escaped("group %u was kept", kept[i]);
	must_fail("chown", chown("/work", 0, 0));
}

static void try_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	(void)memset(data, 0xff, sizeof(data));
	must_fail("capset", syscall(SYS_capset, &header, data));
	must_fail("ambient", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0));
	must_fail("securebits", prctl(PR_SET_SECUREBITS, 0));
	must_fail("no_new_privs off", prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		escaped("no_new_privs is off");
	for (int cap = 0; cap < 41; cap++)
		if (prctl(PR_CAPBSET_READ, cap) == 1)
			escaped("capability %d is in the bounding set", cap);
}

/* A copy of this program with both set-id bits, run as another process. */
static void try_set_id(char **argv)
{
	char command[512];

	(void)snprintf(command, sizeof(command),
		       "cp '%s' /work/setid && chmod 6755 /work/setid && /work/setid look",
		       argv[0]);
	if (run_shell(command) != 0)
		escaped("a set-id copy had other ids");
	if (access("/usr/bin/su", X_OK) == 0 &&
	    run_shell("echo | su -c true root 2>/dev/null") == 0)
		escaped("su worked");
	if (access("/usr/bin/sudo", X_OK) == 0 && run_shell("sudo -n true 2>/dev/null") == 0)
		escaped("sudo worked");
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return getuid() == 1000 && geteuid() == 1000 && getegid() == 1000 ? 0 : 1;
	try_ids();
	try_capabilities();
	try_set_id(argv);
	contained();
}
