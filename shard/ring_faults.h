/*
 * Faults that a test orders from the real ring: "the n-th operation of this kind on that file
 * fails, is short, or is late". Only the seam of tests/faults is built with RINGPOST_FAULTS; in
 * any other build RING_FAULTS is 0, the ring holds none of this and reads no variable.
 *
 * The environment variable RINGPOST_FAULTS holds rules, separated by semicolons:
 *
 *     KIND FILE COUNT ACTION [if=PATH]
 *
 * KIND    the beginning of the ring's name of the operation: accept, connect, recv, send, read,
 *         write, fsync, async_cancel, close; `*` is any
 * FILE    a pattern (fnmatch; a star goes over slashes) for what /proc says the descriptor is:
 *         `*segment-*`, `socket:*`
 * COUNT   which of them: 5, 5-7, or 5+ for the fifth and all after it; each ring counts for itself
 * ACTION  error=EIO    it ends so, and the kernel never sees it
 *         after=EIO    it is done, and then ends so; read, write and fsync alone
 *         short=BYTES  at most so much is asked of the kernel; read, write and send alone. One that
 *                      gathers is also cut at the end of its first piece
 *         late=2ms     it begins so much later; not accept and recv. Cancelling does not find it
 *                      before it has begun
 *         kill         the process is killed before it begins
 * if=PATH the rule holds, and counts, while this file exists
 *
 * The first rule that applies is taken. Each rule says on standard error when it is taken for the
 * first time: `event=fault op=write file=… n=5 action=error=EIO`.
 */
#ifndef RINGPOST_SHARD_RING_FAULTS_H
#define RINGPOST_SHARD_RING_FAULTS_H

#include <time.h>

#include "core/buf.h"

#ifdef RINGPOST_FAULTS
#define RING_FAULTS 1
#else
#define RING_FAULTS 0
#endif

struct ring_faults;

/* One of these; the others are 0. */
struct ring_fault {
    int32_t error; /* a negative errno */
    int32_t after; /* the same */
    uint32_t bytes_max;
    struct timespec late;
};

/* The rules of the environment, null when there are none. 0, or -EINVAL with a line in `reason`. */
MUST_USE int ring_faults_open(struct ring_faults **faults_out, struct buf *reason_out);
void ring_faults_close(struct ring_faults *faults);
/* What is to become of this operation; null: nothing. Valid until the rules are closed. */
const struct ring_fault *ring_faults_next(struct ring_faults *faults, const char *name, int fd);

#endif
