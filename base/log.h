/*
 * log.h - one line an event, to standard error.
 *
 *	log_init("sbx-worker", LOG_INFO, false);
 *	log_info("job finished", "job", id, LOG_INT("run_us", 1200), NULL);
 *
 * gives, in one line,
 *
 *	ts=2026-01-31T12:34:56.789Z level=info program=sbx-worker msg="job finished"
 *		job=7 run_us=1200
 *
 * or the same as one JSON object, in which what LOG_INT gives is a number and all
 * else is text: a job that calls itself 7 is "7" there. Only programs log; library
 * code returns errors. Values are escaped, so hostile text cannot forge a line.
 */
#ifndef SBX_BASE_LOG_H
#define SBX_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* `program` is borrowed for the life of the process. */
void log_init(const char *program, enum log_level level, bool json);

/* Finds a level by its name; false when there is none. */
bool log_level_parse(const char *text, enum log_level *ret);

/* Pairs of key and value, both text, or LOG_INT, ended by one NULL. A NULL value
 * is left out together with its key. */
void log_line(enum log_level level, const char *message, ...) __attribute__((sentinel));

/* A pair whose value is a whole number: what stands before the key says so. */
extern const char log_int_follows[];
#define LOG_INT(key, value) log_int_follows, (key), (int64_t)(value)

#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)

#endif
