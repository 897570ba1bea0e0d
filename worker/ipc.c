/* ipc.c - the one helper that every sender needs. */
#include "worker/ipc.h"

#include <stdio.h>

void ipc_copy_text(char *dst, size_t size, const char *src)
{
	(void)snprintf(dst, size, "%s", src == NULL ? "" : src);
}
