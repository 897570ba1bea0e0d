/*
 * dispatch_mode.c - theory: the mode is looked at twice. When the source is
 * there, so that a job whose request cannot be granted ends before any work;
 * and when the diff has been read, for its findings may ask for more. Only
 * the second choice counts.
 *
 * The findings come from an executor, which may lie once it has read a diff
 * that took it over. It gains what its source and its producer could have had
 * anyway: no choice is wider than that for a diff without findings.
 */
#include "worker/dispatch_private.h"

static int choose(const struct task *task, const int64_t findings[SEVERITY_COUNT],
		  struct mode_choice *ret, struct reason *ret_reason)
{
	const struct supervisor *self = task->supervisor;
	struct mode_facts facts = {.asked = task->job.security,
				   .trusted_source = task->trusted_source,
				   .missing = &self->missing,
				   .least = self->config->security_least,
				   .isolate = self->config->security_isolate};

	for (size_t i = 0; i < SEVERITY_COUNT; i++) {
		int64_t most = findings[i] > LIMIT_FINDINGS ? LIMIT_FINDINGS : findings[i];

		facts.findings[i] = most < 0 ? 0 : most;
	}
	return mode_choose(&facts, ret, ret_reason);
}

int dispatch_mode_check(const struct task *task, struct reason *ret_reason)
{
	static const int64_t none[SEVERITY_COUNT];
	struct mode_choice choice;

	return task_needs_slot(task) ? choose(task, none, &choice, ret_reason) : 0;
}

int dispatch_mode(struct task *task, const int64_t findings[SEVERITY_COUNT],
		  struct reason *ret_reason, struct err *err)
{
	struct text_list clamped = task->clamped;
	struct job_limits limits = task->wanted;
	struct mode_choice choice;

	if (choose(task, findings, &choice, ret_reason) == REFUSED)
		return REFUSED;
	if (mode_lower(choice.mode, &task->arena, &limits, &clamped, err) < 0)
		return -1;
	task->mode = choice;
	task->limits = intake_box_limits(&limits);
	task->limits.profile = choice.mode->profile;
	task->clamped = clamped;
	return 0;
}
