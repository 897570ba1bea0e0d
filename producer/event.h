/*
 * event.h - live events of a job: what a worker publishes while it works, and
 * how a person reads it.
 *
 * An event is one msgpack map: v, id, run, kind ("state", "output" or "sample"),
 * at_us; for a state its name; for output the step, the stream and the data; for
 * a sample the step and what it has used so far. Events are a courtesy: they
 * may be lost, and nothing is decided by them.
 */
#ifndef SBX_PRODUCER_EVENT_H
#define SBX_PRODUCER_EVENT_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum event_kind { EVENT_STATE, EVENT_OUTPUT, EVENT_SAMPLE };

struct event {
	enum event_kind kind;
	const char *id;
	int64_t run;   /* 1 when the event does not say */
	int64_t at_us; /* Unix time; 0: not said */
	const char *state;
	const char *step; /* EVENT_OUTPUT, EVENT_SAMPLE; "" when not said */
	bool is_stderr;
	struct bytes data;
	int64_t wall_us, cpu_us, memory_bytes; /* EVENT_SAMPLE; -1: not counted */
};

/* Returns 0, or -1 with ERR_INPUT for what is no event this version knows.
 * Borrows from `data` and the arena. */
int event_decode(struct arena *arena, const void *data, size_t len, struct event *ret,
		 struct err *err) MUST_CHECK;

/*
 * The running text of a job. Output comes in pieces that end anywhere, so a
 * line is kept until it is whole; each stream has its own.
 *
 *	12:34:56.789 running: the steps have ended
 *	unit | 17 tests
 *	unit ! warning: unused variable
 *	12:34:59.789 unit: 10 s, cpu 9.7 s, memory 120 MiB
 */
enum { TRANSCRIPT_LINE_BYTES = 4096, TRANSCRIPT_STEP_BYTES = 128 };

struct transcript {
	char step[TRANSCRIPT_STEP_BYTES + 1]; /* of the lines that are kept */
	struct buf lines[2];		      /* standard output, standard error */
	bool color;
};

void transcript_init(struct transcript *transcript, bool color);
void transcript_release(struct transcript *transcript);

/* Appends the lines that `event` completes, harmless to a terminal. */
void transcript_add(struct transcript *transcript, const struct event *event, struct buf *out);

/* Appends what is left without a line end. */
void transcript_finish(struct transcript *transcript, struct buf *out);

#endif
