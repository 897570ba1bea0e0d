/*
 * ledger_kit.h - a directory for a ledger's file, and nothing left of it after.
 */
#ifndef SBX_TESTS_LEDGER_KIT_H
#define SBX_TESTS_LEDGER_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "worker/ledger.h"

static char ledger_dir[64];
static char ledger_path[96];

static int ledger_dir_make(void)
{
	(void)snprintf(ledger_dir, sizeof(ledger_dir), "/tmp/sbx-ledger.XXXXXX");
	if (mkdtemp(ledger_dir) == NULL)
		return -1;
	(void)snprintf(ledger_path, sizeof(ledger_path), "%s/ledger.db", ledger_dir);
	return 0;
}

static void ledger_remove_files(void)
{
	static const char *const tails[] = {"", "-wal", "-shm"};
	char name[128];

	for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
		(void)snprintf(name, sizeof(name), "%s%s", ledger_path, tails[i]);
		(void)unlink(name);
	}
}

static int ledger_dir_remove(void)
{
	ledger_remove_files();
	return rmdir(ledger_dir);
}

#endif
