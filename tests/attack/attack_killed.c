/*
 * attack_killed.c - makes the one call that its argument names, for which the
 * filter kills: "i386" and "x32" are the same call by another way in.
 */
#include "attack.h"

static long by_interrupt(long number)
{
	long result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(0) : "memory");
	return result;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		long number;
	} calls[] = {
		{"reboot", SYS_reboot},
		{"kexec_load", SYS_kexec_load},
		{"init_module", SYS_init_module},
		{"finit_module", SYS_finit_module},
		{"delete_module", SYS_delete_module},
		{"swapon", SYS_swapon},
		{"swapoff", SYS_swapoff},
		{"open_by_handle_at", SYS_open_by_handle_at},
		{"pivot_root", SYS_pivot_root},
		{"iopl", SYS_iopl},
		{"ioperm", SYS_ioperm},
		{"acct", SYS_acct},
		{"settimeofday", SYS_settimeofday},
		{"kexec_file_load", SYS_kexec_file_load},
		{"x32", 0x40000000L | SYS_getpid},
	};

	for (size_t i = 0; argc > 1 && i < sizeof(calls) / sizeof(calls[0]); i++)
		if (strcmp(argv[1], calls[i].name) == 0) {
			(void)syscall(calls[i].number, 0, 0, 0, 0, 0);
			escaped("survived %s", argv[1]);
		}
	if (argc > 1 && strcmp(argv[1], "i386") == 0)
		escaped("survived int 0x80: %ld", by_interrupt(20));
	return 1;
}
