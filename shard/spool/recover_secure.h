/*
 * The end of a start. What was read may be in caches only, or be what a failed write or sync left
 * behind (F-04): it can be read now, no later sync saves it, and a loss of power undoes it. From
 * now on promises follow from it. Known to be durable is what something written later says so of:
 * all groups but the last, all blocks of a checkpoint but its HEAD. These two, and the SEGMENT
 * header when it came in the same write as that group, are written again where they stand, the same
 * bytes, durably. Power that is lost meanwhile leaves them as they were, or undone like before.
 *
 * Groups that were written with sync = "none" say nothing of each other: their files are synced.
 * A write that fails is begun again from its first byte a few times, with pauses, before the start
 * fails for it: an error of the device may pass. A sync is not: what a failed one has lost, the
 * next one says is there.
 *
 * Part of recovery.
 */
#ifndef RINGPOST_SHARD_SPOOL_RECOVER_SECURE_H
#define RINGPOST_SHARD_SPOOL_RECOVER_SECURE_H

#include "shard/spool/recover.h"

/* With the recovery's own beginning and end. */
void recover_secure_init(struct recover *recover);
void recover_secure_fini(struct recover *recover);
/* All is read. Ends in recover->done, from the loop; a failure is in recover->error. */
void recover_secure(struct recover *recover);

#endif
