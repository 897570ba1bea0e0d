/*
 * storekeeper.h - the process that alone writes the store: it fetches commits,
 * builds checkouts, imports what executors made and moves refs. Long tasks
 * run in a child each, so that a slow repository delays no other job.
 */
#ifndef SBX_WORKER_STOREKEEPER_H
#define SBX_WORKER_STOREKEEPER_H

/* The main function of role "storekeeper"; returns an exit code. */
int storekeeper_main(void);

#endif
