/* lifecycle.c - the table: one row a state, a bit for each that may follow. */
#include "worker/lifecycle.h"

#include <assert.h>
#include <stdint.h>

#define TO(name) (UINT32_C(1) << STATE_##name)
#define ENDS	 (TO(refused) | TO(stopped) | TO(faulted))

static_assert(STATE_COUNT <= 32, "a row holds every state");

static const uint32_t table[STATE_COUNT] = {
	[STATE_received] = TO(admitted) | ENDS,
	[STATE_admitted] = TO(fetched) | TO(snapshotted) | TO(prepared) | TO(settled) | ENDS,
	[STATE_fetched] = TO(snapshotted) | ENDS,
	[STATE_snapshotted] = TO(checked) | TO(prepared) | TO(settled) | ENDS,
	[STATE_checked] = TO(patched) | ENDS,
	[STATE_patched] = TO(prepared) | TO(settled) | ENDS,
	[STATE_prepared] = TO(running) | ENDS,
	[STATE_running] = TO(reported) | ENDS,
	[STATE_reported] = TO(collected) | TO(settled) | ENDS,
	[STATE_collected] = TO(settled) | ENDS,
	[STATE_settled] = TO(published) | TO(faulted),
	[STATE_refused] = TO(published),
	[STATE_stopped] = TO(published),
	[STATE_faulted] = TO(published),
	[STATE_published] = TO(done),
	[STATE_done] = 0,
};

static const uint32_t executor_states =
	TO(checked) | TO(patched) | TO(prepared) | TO(running) | TO(reported) | TO(collected);

bool lifecycle_allows(enum job_state state, enum job_state next)
{
	assert((unsigned)state < STATE_COUNT && (unsigned)next < STATE_COUNT);
	return (table[state] & UINT32_C(1) << next) != 0;
}

bool lifecycle_executor_allows(enum job_state state, enum job_state next)
{
	return (unsigned)next < STATE_COUNT && (executor_states & UINT32_C(1) << next) != 0 &&
	       lifecycle_allows(state, next);
}

enum job_state lifecycle_end(enum verdict verdict)
{
	switch (verdict) {
	case VERDICT_passed:
	case VERDICT_failed:
		return STATE_settled;
	case VERDICT_rejected:
		return STATE_refused;
	case VERDICT_limit:
	case VERDICT_cancelled:
	case VERDICT_expired:
		return STATE_stopped;
	case VERDICT_error:
	case VERDICT_COUNT:
		break;
	}
	return STATE_faulted;
}
