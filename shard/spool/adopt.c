#include "shard/spool/adopt.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BUSY_NS (16 * NS_PER_MS)

static void adopt_lane(struct deferred *deferred);
static void adopt_close(struct adopt *adopt);
static void adopt_close_segments(struct segments *foreign);

void adopt_fini(struct adopt *adopt)
{
    if (adopt->shard != NULL) {
        deferred_cancel(&adopt->step);
        shard_timer_clear(adopt->shard, &adopt->retry);
    }
    if (adopt->busy) {
        recover_fini(&adopt->recover);
        segments_fini(&adopt->foreign);
        adopt->busy = false;
    }
}

PRINTF(3, 4)
static void adopt_fail(struct adopt *adopt, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(adopt->reason, sizeof(adopt->reason), format, arguments);
    va_end(arguments);
    adopt->error = error;
}

/* --- what a lane leaves ----------------------------------------------------------------------- */

static void adopt_closed(struct work_job *job)
{
    adopt_close(CONTAINER_OF(job, struct adopt, job));
}

static void adopt_submit(struct adopt *adopt)
{
    adopt->job.done = adopt_closed;
    if (!work_submit(adopt->shard->work, adopt->shard, &adopt->job)) {
        shard_timer_set(adopt->shard, &adopt->retry, BUSY_NS);
    }
}

static void adopt_retry(struct timer *timer)
{
    adopt_submit(CONTAINER_OF(timer, struct adopt, retry));
}

/* Its checkpoints are read, or this is over: a job may be on its way with a file of it even so. */
static void adopt_close(struct adopt *adopt)
{
    while (adopt->closing < CHECKPOINT_FILES) {
        int fd = adopt->recover.checkpoint.fds[adopt->closing++];
        if (fd >= 0) {
            adopt->job = (struct work_job){.kind = WORK_CLOSE, .fd = fd};
            adopt_submit(adopt);
            return;
        }
    }
    adopt_close_segments(&adopt->foreign);
}

/* So are its segments; they are opened again as those of our own. Then the next lane. */
static void adopt_close_segments(struct segments *foreign)
{
    struct adopt *adopt = CONTAINER_OF(foreign, struct adopt, foreign);
    if (!segments_close_next(foreign, adopt_close_segments)) {
        adopt->at++;
        shard_defer(adopt->shard, &adopt->step);
    }
}

/* Its segments are ours from here on, as long as this process lives. False: too many. */
static bool adopt_segments(struct adopt *adopt)
{
    struct segments *foreign = &adopt->foreign;
    uint32_t shift = adopt->recover.shift;
    bool room = true;
    for (uint32_t i = 0; i < foreign->count && room; i++) {
        struct segment found = foreign->table[i];
        found.number += shift;
        found.shift += shift;
        if (found.state == SEGMENT_SEALED) {
            room = segments_adopt(adopt->segments, &found) != NULL;
        } else if (!found.gone) {
            room = segments_part(adopt->segments, &found) != NULL;
        }
    }
    adopt->segments->next_number =
        MAX_OF(adopt->segments->next_number, shift + foreign->next_number);
    return room;
}

/* Without a cursor there was nothing yet of which there are events. */
static void adopt_tail(struct adopt *adopt)
{
    const struct recover *recover = &adopt->recover;
    struct spool_position from = recover->cursor;
    uint64_t next = recover_next_sequence(recover);
    if (from.sequence == 0 || from.sequence >= next) {
        return;
    }
    from.group.segment += recover->shift;
    adopt->tails[adopt->tail_count++] = (struct spool_tail){
        .lane = adopt->foreign_options.lane,
        .shift = recover->shift,
        .from = from,
        .to = {.sequence = next,
               .group = {.segment = recover->shift + adopt->foreign.next_number}},
    };
}

static void adopt_count(struct adopt *adopt)
{
    const struct spool_recovery *found = &adopt->recover.counts;
    struct spool_recovery *counts = adopt->counts;
    counts->segments += found->segments;
    counts->bytes += found->bytes;
    counts->messages += found->messages;
    counts->outcomes += found->outcomes;
    counts->rows += found->rows;
    counts->torn_bytes += found->torn_bytes;
    counts->damaged_records += found->damaged_records;
    counts->checkpoint_lost = counts->checkpoint_lost || found->checkpoint_lost;
    counts->boots_seen = MAX_OF(counts->boots_seen, found->boots_seen);
}

static void adopt_recovered(struct recover *recover)
{
    struct adopt *adopt = CONTAINER_OF(recover, struct adopt, recover);
    unsigned lane = adopt->foreign_options.lane;
    if (recover->error != 0) {
        adopt_fail(adopt, recover->error, "%s", recover->reason);
    } else if (!adopt_segments(adopt)) {
        adopt_fail(adopt, -EMFILE, "spool: lane %u: with lane %u it has more than %u segments",
                   adopt->options->lane, lane, SEGMENTS_MAX);
    } else {
        adopt_tail(adopt);
        adopt_count(adopt);
    }
    adopt->closing = 0;
    adopt_close(adopt);
}

/* --- the next lane ---------------------------------------------------------------------------- */

static void adopt_lane(struct deferred *deferred)
{
    struct adopt *adopt = CONTAINER_OF(deferred, struct adopt, step);
    adopt_fini(adopt);
    if (adopt->error != 0 || adopt->at == adopt->options->foreign_count) {
        adopt->done(adopt);
        return;
    }
    adopt->foreign_options = *adopt->options;
    adopt->foreign_options.lane = adopt->options->foreign[adopt->at];
    adopt->foreign_options.files_kept = 1; /* beside those of our own */
    int error = segments_init(&adopt->foreign, adopt->shard, &adopt->foreign_options);
    if (error == 0) {
        error = recover_init(&adopt->recover, adopt->shard, &adopt->foreign, adopt->pieces,
                             &adopt->foreign_options, adopt->replay);
        if (error != 0) {
            segments_fini(&adopt->foreign);
        }
    }
    if (error != 0) {
        adopt_fail(adopt, error, "spool: lane %u: %s", adopt->foreign_options.lane,
                   strerror(-error));
        adopt->done(adopt);
        return;
    }
    adopt->busy = true;
    adopt->recover.foreign = true;
    adopt->recover.quarantine = adopt->quarantine;
    adopt->recover.shift = adopt->segments->next_number - 1;
    recover_start(&adopt->recover, adopt->uuid, adopt_recovered);
}

void adopt_start(struct adopt *adopt, void (*done)(struct adopt *adopt))
{
    adopt->done = done;
    adopt->at = 0;
    timer_init(&adopt->retry, adopt_retry);
    deferred_init(&adopt->step, adopt_lane);
    shard_defer(adopt->shard, &adopt->step);
}
