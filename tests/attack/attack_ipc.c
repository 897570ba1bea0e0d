/*
 * attack_ipc.c - finds what the host has made to talk by: shared memory, whose
 * key is given, message queues, semaphores, POSIX ones too.
 */
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "attack.h"

int main(int argc, char **argv)
{
	key_t key = argc > 1 ? (key_t)strtol(argv[1], NULL, 0) : 1;
	struct shm_info info;

	must_fail("shared memory of the host", shmget(key, 0, 0));
	must_fail("a queue of the host", msgget(key, 0));
	must_fail("semaphores of the host", semget(key, 0, 0));
	must_fail("a POSIX queue of the host", mq_open("/sbx-attack", O_RDONLY));
	if (shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&info) >= 0 && info.used_ids != 0)
		escaped("%d segments can be seen", info.used_ids);
	contained();
}
