/*
 * sender.c - a loop of attempts with one deadline. Only the loss of the
 * connection is worth another attempt: what the broker refuses once it
 * refuses again.
 */
#include "producer/sender.h"

#include <limits.h>
#include <time.h>

#include "base/clock.h"

enum { PAUSE_FIRST_MS = 100, PAUSE_MOST_MS = 2000 };

int sender_open(struct sender *sender, const struct carrier_config *config, struct err *err)
{
	*sender = (struct sender){.config = *config};
	return publisher_open(&sender->publisher, &sender->config, err);
}

void sender_close(struct sender *sender)
{
	if (sender->publisher != NULL)
		publisher_close(sender->publisher);
	sender->publisher = NULL;
}

static void pause_ms(int64_t ms)
{
	struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	while (nanosleep(&left, &left) < 0)
		;
}

static int attempt(struct sender *sender, enum route route, const struct message *message,
		   int64_t left_ms, struct err *err)
{
	int timeout_ms = left_ms > INT_MAX ? INT_MAX : (int)left_ms;

	if (sender->publisher == NULL &&
	    publisher_open(&sender->publisher, &sender->config, err) < 0) {
		sender->publisher = NULL;
		return -1;
	}
	return publisher_send_wait(sender->publisher, route, message, timeout_ms, err);
}

int sender_send(struct sender *sender, enum route route, const struct message *message,
		int64_t timeout_ms, struct err *err)
{
	int64_t deadline_us = clock_mono_us() + timeout_ms * 1000;
	int64_t pause = PAUSE_FIRST_MS;

	for (;;) {
		struct err local = {0};
		int64_t left_ms = (deadline_us - clock_mono_us()) / 1000;

		if (attempt(sender, route, message, left_ms > 1 ? left_ms : 1, &local) == 0)
			return 0;
		if (local.kind == ERR_PEER || local.kind == ERR_TIMEOUT)
			sender_close(sender);
		left_ms = (deadline_us - clock_mono_us()) / 1000;
		if (local.kind != ERR_PEER || left_ms <= pause) {
			if (err != NULL)
				*err = local;
			return -1;
		}
		pause_ms(pause);
		pause = 2 * pause < PAUSE_MOST_MS ? 2 * pause : PAUSE_MOST_MS;
	}
}

void sender_idle(struct sender *sender, int64_t ms)
{
	int64_t until_us = clock_mono_us() + ms * 1000;

	for (;;) {
		int64_t left_ms = (until_us - clock_mono_us() + 999) / 1000;
		struct publisher_fate fate;

		if (left_ms <= 0)
			return;
		if (sender->publisher == NULL) {
			pause_ms(left_ms);
			return;
		}
		if (publisher_next(sender->publisher, left_ms > INT_MAX ? INT_MAX : (int)left_ms,
				   &fate, NULL) < 0)
			sender_close(sender);
	}
}
