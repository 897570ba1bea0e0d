/*
 * publisher.h - the process that publishes. It may block under a broker's
 * alarm, and loses nothing: what is not confirmed is kept and sent again.
 */
#ifndef SBX_WORKER_PUBLISHER_H
#define SBX_WORKER_PUBLISHER_H

/* The main function of role "publisher"; returns an exit code. */
int publisher_main(void);

#endif
