/*
 * compose.h - a job's tree from the words of a command line.
 *
 *	struct compose compose;
 *	compose_init(&compose, &arena, tree);	// NULL, or a job from a file
 *	compose_options(&compose, groups);
 *	options_parse(groups, COMPOSE_GROUPS, ...);
 *	compose_finish(&compose, &err);		// tree is ready for job_prepare
 *
 * Options change what the file says: plain fields replace, lists and maps
 * grow. Nothing is validated here that job_prepare validates better.
 */
#ifndef SBX_PRODUCER_COMPOSE_H
#define SBX_PRODUCER_COMPOSE_H

#include "producer/options.h"

struct compose {
	struct arena *arena;
	struct value *tree;
	const char *patch_path;	 /* "-" is standard input */
	const char *files_path;	 /* a directory whose files are the source */
	const char *bundle_path; /* a bundle of git that is */
	bool repo_given;
	struct value *env; /* for every step */
	bool touched;	   /* an option has changed the tree */
};

/* The options that write into `compose`. */
enum { COMPOSE_GROUPS = 4 };
void compose_options(struct compose *compose, struct option_group ret_groups[COMPOSE_GROUPS]);

/* False when the arena is exhausted. */
bool compose_init(struct compose *compose, struct arena *arena, struct value *tree) MUST_CHECK;

/* Reads the patch and spreads the environment over the steps. */
int compose_finish(struct compose *compose, struct err *err) MUST_CHECK;

#endif
