#include "smtp/recovery.h"

#include <string.h>

#include "core/check.h"
#include "shard/boot.h"
#include "smtp/envelope.h"
#include "smtp/metadata.h"
#include "smtp/queue_of.h"
#include "smtp/schedule.h"

#define NUMBERS_MIN 1024u
#define NUMBERS_MAX (1u << 26)
/* Handles looked at in a turn. */
#define PLACE_MAX 2048u

/* --- rows ------------------------------------------------------------------------------------- */

/* A row that is not there yet, in the index. Null: no memory, and the start will fail. */
static struct row *row_add(struct recovery *recovery, uint32_t queue,
                           struct spool_location location, uint16_t recipient)
{
    struct queues *queues = recovery->queues;
    uint32_t handle = queue == QUEUE_NONE ? ROW_NONE : queues_row_again(queues, queue);
    if (handle == ROW_NONE) {
        recovery->lost_rows++;
        return NULL;
    }
    struct row *row = row_at(&queues->rows, handle);
    row->segment = location.segment;
    row->offset_64 = location.offset_64;
    row->recipient = recipient;
    recovery_index_add(&recovery->index, handle);
    return row;
}

static void row_drop(struct recovery *recovery, uint32_t handle)
{
    recovery_index_remove(&recovery->index, handle);
    queues_row_done(recovery->queues, handle);
}

/* --- the checkpoint --------------------------------------------------------------------------- */

static void found_checkpoint(void *context, uint64_t rows)
{
    struct recovery *recovery = context;
    uint64_t most = recovery->queues->rows.capacity;
    recovery_index_reserve(&recovery->index, (uint32_t)MIN_OF(rows, most));
}

static void found_queue(void *context, uint32_t number, struct slice name)
{
    struct recovery *recovery = context;
    if (number >= NUMBERS_MAX) {
        return; /* its rows are of a queue without a name */
    }
    if (number >= recovery->number_count) {
        uint32_t count = MAX_OF(recovery->number_count, NUMBERS_MIN);
        while (count <= number) {
            count *= 2;
        }
        uint32_t *numbers = boot_memory_take(count * sizeof(*numbers));
        CHECK(numbers != NULL);
        if (recovery->number_count > 0) {
            memcpy(numbers, recovery->numbers, recovery->number_count * sizeof(*numbers));
        }
        boot_memory_give(recovery->numbers, recovery->number_count * sizeof(*numbers));
        recovery->numbers = numbers;
        recovery->number_count = count;
    }
    /* Its routing domain is what the configuration says now. */
    const struct conf_queue_key key = queue_name_parse(name);
    uint32_t ours = queue_of(recovery->queues, recovery->conf, &key);
    recovery->numbers[number] = ours + 1;
    recovery->lost_rows += ours == QUEUE_NONE;
}

static void found_row(void *context, const struct checkpoint_row *found)
{
    struct recovery *recovery = context;
    uint32_t ours = found->queue < recovery->number_count ? recovery->numbers[found->queue] : 0;
    if (ours == 0) {
        recovery->unnamed_rows++;
        return;
    }
    struct row *row = row_add(recovery, ours - 1, found->location, found->recipient);
    if (row != NULL) {
        row->attempts = found->attempts;
        row->due_s = found->due_s;
        row->created_s = found->created_s;
        row->size_64 = found->size_64;
        row->urgent = found->urgent;
        row->scheduled = found->scheduled;
    }
}

static void found_damage(void *context, uint32_t segment)
{
    struct recovery *recovery = context;
    struct slab *rows = &recovery->queues->rows;
    for (uint32_t handle = 0; handle < rows->fresh; handle++) {
        const struct row *row = row_at(rows, handle);
        if (row->state != ROW_FREE && row->segment > segment) {
            row_drop(recovery, handle);
        }
    }
    if (segment > 0) {
        return; /* what other lanes had stays counted */
    }
    if (recovery->number_count > 0) {
        memset(recovery->numbers, 0, recovery->number_count * sizeof(*recovery->numbers));
    }
    recovery->unnamed_rows = 0;
    recovery->lost_rows = 0;
}

/* --- the log ---------------------------------------------------------------------------------- */

/*
 * Does the recipient have its row at this place already? One that stood elsewhere comes here as it
 * is; when there are two, the one here was copied into the checkpoint after the move, and the other
 * is what the log says of the time before.
 */
static bool row_is_here(struct recovery *recovery, const struct spool_found *found,
                        uint16_t recipient)
{
    bool here = recovery_index_find(&recovery->index, found->location, recipient) != ROW_NONE;
    if ((found->flags & SPOOL_MESSAGE_MOVED) == 0) {
        return here;
    }
    uint32_t handle = recovery_index_find(&recovery->index, found->moved_from, recipient);
    if (handle == ROW_NONE) {
        return here;
    }
    if (here) {
        row_drop(recovery, handle);
        return true;
    }
    struct row *row = row_at(&recovery->queues->rows, handle);
    recovery_index_remove(&recovery->index, handle);
    row->segment = found->location.segment;
    row->offset_64 = found->location.offset_64;
    recovery_index_add(&recovery->index, handle);
    return true;
}

/* A row that has come from another place: its queue is what the metadata say here. */
static void row_follow(struct recovery *recovery, const struct spool_found *found,
                       uint16_t recipient, const struct conf_queue_key *key, bool urgent)
{
    struct queues *queues = recovery->queues;
    uint32_t handle = recovery_index_find(&recovery->index, found->location, recipient);
    uint32_t queue = queue_of(queues, recovery->conf, key);
    if (queue == QUEUE_NONE) {
        recovery->lost_rows++;
        return;
    }
    queues_row_move(queues, handle, queue);
    row_at(&queues->rows, handle)->urgent = urgent;
}

/* Those that were never tried are due when their message says. */
static void row_schedule(const struct recovery *recovery, struct row *row,
                         const struct metadata *metadata)
{
    struct schedule schedule;
    if (metadata->schedule.size > 0 && schedule_get(metadata->schedule, &schedule)) {
        row->scheduled = true;
        row->due_s = schedule_first_due_s(&schedule, recovery->conf, row->created_s, 0);
    }
}

static bool found_message(void *context, const struct spool_found *found)
{
    struct recovery *recovery = context;
    struct queues *queues = recovery->queues;
    struct envelope_cursor cursor;
    struct envelope_recipient recipient;
    struct slice sender;
    struct metadata metadata;
    if (!metadata_parse(found->metadata, &metadata)) {
        metadata = (struct metadata){0}; /* bulk, of nobody; it is delivered all the same */
    }
    struct conf_queue_key key = {.campaign = metadata.campaign, .tenant = metadata.tenant};
    if (!envelope_sound(found->envelope) || !envelope_open(found->envelope, &sender, &cursor)) {
        return false;
    }
    while (envelope_next(&cursor, &recipient) == 1) {
        bool here = row_is_here(recovery, found, recipient.index);
        key.domain = address_domain(recipient.address);
        if (here && (found->flags & SPOOL_MESSAGE_MOVED) != 0) {
            row_follow(recovery, found, recipient.index, &key, metadata.urgent);
        }
        if (here) {
            continue;
        }
        uint32_t queue = queue_of(queues, recovery->conf, &key);
        struct row *row = row_add(recovery, queue, found->location, recipient.index);
        if (row == NULL) {
            continue;
        }
        row->created_s = (uint32_t)(found->created_ns / NS_PER_S);
        row->size_64 = (uint32_t)MIN_OF((found->body_bytes + 63) / 64, UINT32_MAX);
        row->urgent = metadata.urgent;
        row_schedule(recovery, row, &metadata);
    }
    return true;
}

static void found_outcome(void *context, struct spool_location message, struct slice payload)
{
    struct recovery *recovery = context;
    struct outcome outcome;
    struct outcome_cursor cursor;
    struct outcome_recipient result;
    if (!outcome_open(payload, &outcome, &cursor)) {
        return;
    }
    while (outcome_next(&cursor, &result) == 1) {
        uint32_t handle = recovery_index_find(&recovery->index, message, result.index);
        if (handle == ROW_NONE) {
            continue; /* finished before */
        }
        if (result.disposition != DISPOSITION_DEFERRED) {
            row_drop(recovery, handle);
            continue;
        }
        struct row *row = row_at(&recovery->queues->rows, handle);
        row->attempts = result.attempts;
        row->due_s = result.due_s;
    }
}

/* Which recipients it had is not said: every bucket is looked at. There are few such messages. */
static void found_void(void *context, struct spool_location location)
{
    struct recovery *recovery = context;
    for (uint32_t bucket = 0; bucket <= UINT16_MAX / INDEX_BUCKET_ROWS; bucket++) {
        uint32_t handle = recovery_index_any(&recovery->index, location, bucket);
        while (handle != ROW_NONE) {
            row_drop(recovery, handle);
            handle = recovery_index_any(&recovery->index, location, bucket);
        }
    }
}

static void replay_finished(void *context, int error, struct slice reason)
{
    struct recovery *recovery = context;
    if (error == 0 && recovery->lost_rows > 0) {
        error = -1;
        reason = SLICE("the spool holds more recipients than memory.limit allows");
    } else if (error == 0 && recovery->unnamed_rows > 0) {
        error = -1;
        reason = SLICE("the checkpoint has rows of a queue that it does not name");
    }
    recovery->finished(recovery, error, reason);
}

/* --- to their places -------------------------------------------------------------------------- */

/*
 * Due by now: at once, but not all in the same second; recipients of one message stay together.
 * Deferred: as written, within reason.
 */
static uint32_t due_of(const struct recovery *recovery, const struct row *row, uint32_t now_s)
{
    const struct queue_options *options = queue_options_of(recovery->queues, row->queue);
    if (row->due_s <= now_s) {
        uint64_t seconds = recovery->conf->spool.recovery_spread_ns / NS_PER_S + 1;
        uint64_t mixed = ((uint64_t)row->segment << 32 | row->offset_64) * 0x9E3779B97F4A7C15ull;
        return now_s + (uint32_t)((mixed >> 32) * seconds >> 32);
    }
    uint64_t latest = now_s + options->max_age_ns / NS_PER_S;
    if (row->scheduled) {
        latest = MAX_OF(latest, now_s + SCHEDULE_AHEAD_S_MAX);
    }
    return (uint32_t)MIN_OF(row->due_s, latest);
}

static void place_run(struct deferred *deferred)
{
    struct recovery *recovery = CONTAINER_OF(deferred, struct recovery, step);
    struct queues *queues = recovery->queues;
    struct slab *rows = &queues->rows;
    uint32_t now_s = (uint32_t)(queues_now_ns(queues) / NS_PER_S);
    uint32_t end = MIN_OF(recovery->next + PLACE_MAX, rows->fresh);
    for (; recovery->next < end; recovery->next++) {
        struct row *row = row_at(rows, recovery->next);
        if (row->state == ROW_FREE) {
            continue;
        }
        if (!spool_row_live(recovery->spool, row_location(row), row->size_64 * 64ull)) {
            queues_row_done(queues, recovery->next);
            recovery->missing_rows++;
            continue;
        }
        row->due_s = due_of(recovery, row, now_s);
        recovery->recipients++;
        queues_row_wait(queues, recovery->next);
    }
    if (end < rows->fresh) {
        shard_defer(recovery->shard, &recovery->step);
        return;
    }
    recovery->placed(recovery);
}

void recovery_fini(struct recovery *recovery)
{
    recovery_index_fini(&recovery->index);
    boot_memory_give(recovery->numbers, recovery->number_count * sizeof(*recovery->numbers));
    recovery->numbers = NULL;
    recovery->number_count = 0;
}

void recovery_place(struct recovery *recovery, struct spool *spool)
{
    recovery_fini(recovery);
    recovery->spool = spool;
    shard_defer(recovery->shard, &recovery->step);
}

void recovery_init(struct recovery *recovery, struct spool_replay *replay_out)
{
    CHECK(recovery->queues->rows.used == 0);
    recovery_index_init(&recovery->index, &recovery->queues->rows);
    recovery->numbers = NULL;
    recovery->number_count = 0;
    recovery->unnamed_rows = 0;
    recovery->lost_rows = 0;
    recovery->missing_rows = 0;
    recovery->recipients = 0;
    recovery->next = 0;
    deferred_init(&recovery->step, place_run);
    *replay_out = (struct spool_replay){
        .context = recovery,
        .checkpoint = found_checkpoint,
        .queue = found_queue,
        .row = found_row,
        .reset = found_damage,
        .message = found_message,
        .outcome = found_outcome,
        .void_message = found_void,
        .finished = replay_finished,
    };
}
