/*
 * limits.h - every bound of the wire, in one place. Bounds that follow from
 * each other say so with static_assert.
 */
#ifndef SBX_SCHEMA_LIMITS_H
#define SBX_SCHEMA_LIMITS_H

#include <assert.h>

/* the message */
/* a message that is too large is still carried whole to the dead letters, with
 * a reason, up to LIMIT_CARRIED_BYTES (what brokers take by default) */
#define LIMIT_CARRIED_BYTES (16u << 20)
#define LIMIT_MESSAGE_BYTES (8u << 20)
#define LIMIT_DEPTH	    16
#define LIMIT_NODES	    (512u << 10) /* values and keys in one message */
#define LIMIT_OPEN_KEYS	    4096	 /* keys of all maps that are open at one place */
#define LIMIT_ARENA_BYTES   (64u << 20)	 /* memory to decode one */
#define LIMIT_JSON_BYTES    (64u << 20)	 /* the same message spelled as JSON */

/* the job */
#define LIMIT_ID_CHARS	  64
#define LIMIT_NAME_CHARS  128 /* tenant, stage, step names */
#define LIMIT_TEXT_CHARS  4096
#define LIMIT_LABELS	  64
#define LIMIT_STEPS	  64
#define LIMIT_ARGV	  1024
#define LIMIT_ARGV_BYTES  (128u << 10)
#define LIMIT_ENV	  256
#define LIMIT_ENV_BYTES	  (128u << 10)
#define LIMIT_GLOBS	  256
#define LIMIT_TEST_IDS	  20000
#define LIMIT_STDIN_BYTES (4u << 20)
#define LIMIT_FILES	  2000		  /* of a source that comes inline; of its links */
#define LIMIT_FILES_BYTES (6u << 20)	  /* of all of them together */
#define LIMIT_DEADLINE_MS 253402300799999 /* the end of the year 9999 */
#define LIMIT_TIME_MS	  604800000	  /* one week: the most a job may ask for */
#define LIMIT_SIZE_BYTES  (1ll << 40)	  /* likewise, of memory or disk */
#define LIMIT_COUNT	  (1 << 22)	  /* likewise, of processes, inodes, open files */
#define LIMIT_CPUS	  1024
#define LIMIT_ATTEMPTS	  100
#define LIMIT_RUN	  1000000
#define LIMIT_STRIP	  64

/* the diff */
#define LIMIT_DIFF_BYTES    (6u << 20)
#define LIMIT_DIFF_FILES    5000
#define LIMIT_DIFF_HUNKS    100000
#define LIMIT_DAMAGED_HUNKS 20000 /* of a diff that recover mode mends */
#define LIMIT_PATH_BYTES    1024
#define LIMIT_PATH_DEPTH    64
#define LIMIT_NAME_BYTES    255
#define LIMIT_FILE_BYTES    (64u << 20) /* one pre- or postimage */

/* the result */
#define LIMIT_STREAM_HEAD_BYTES	     (64u << 10) /* kept from the start of a stream */
#define LIMIT_STREAM_TAIL_BYTES	     (64u << 10) /* kept from its end */
#define LIMIT_STREAMS_TOTAL_BYTES    (2u << 20)	 /* all steps together */
#define LIMIT_FINDINGS		     500
#define LIMIT_CASES		     20000
#define LIMIT_CASE_MESSAGE_BYTES     2048
#define LIMIT_CHANGES		     5000
#define LIMIT_ARTIFACTS		     256
#define LIMIT_ARTIFACT_INLINE_BYTES  (256u << 10) /* one, after compression */
#define LIMIT_ARTIFACTS_INLINE_BYTES (3u << 20)	  /* all together */
#define LIMIT_REPORT_BYTES	     (32u << 20)  /* one test report that is parsed */
#define LIMIT_RESULT_BYTES	     (8u << 20)
#define LIMIT_BODY_BYTES	     (7u << 20) /* of it, what the executor found out */

static_assert(LIMIT_DIFF_BYTES < LIMIT_MESSAGE_BYTES, "a diff travels inside a message");
static_assert(LIMIT_STDIN_BYTES < LIMIT_MESSAGE_BYTES, "so does an input");
static_assert(LIMIT_FILES_BYTES < LIMIT_MESSAGE_BYTES, "so do files");
static_assert(LIMIT_FILES < LIMIT_OPEN_KEYS / 2, "the names of files are keys of one map");
static_assert(LIMIT_STREAMS_TOTAL_BYTES + LIMIT_ARTIFACTS_INLINE_BYTES < LIMIT_RESULT_BYTES,
	      "a result holds its streams and artifacts");
static_assert(LIMIT_RESULT_BYTES <= LIMIT_MESSAGE_BYTES, "the walk bounds both");
static_assert(LIMIT_BODY_BYTES + 2 * LIMIT_LABELS * LIMIT_TEXT_CHARS + (64u << 10) <
		      LIMIT_RESULT_BYTES,
	      "beside a body there is room for labels and all else of the head");
static_assert(LIMIT_CASES * 9 + LIMIT_CHANGES * 15 + LIMIT_DIFF_FILES * 13 + LIMIT_FINDINGS * 13 <
		      LIMIT_NODES * 3 / 4,
	      "the largest lists of a result fit into one message together");
static_assert(2 * LIMIT_TEST_IDS < LIMIT_NODES / 2, "so do those of a job");
static_assert(LIMIT_NAME_BYTES < LIMIT_PATH_BYTES, "a name is part of a path");

#endif
