/* What the rest of the server sees of one lane; the work is done by its parts. */
#include "shard/spool/spool.h"

#include <errno.h>

#include "core/check.h"
#include "core/little.h"
#include "shard/boot.h"
#include "shard/shard.h"
#include "shard/spool/adopt.h"
#include "shard/spool/checkpoint_writer.h"
#include "shard/spool/commit.h"
#include "shard/spool/load.h"
#include "shard/spool/recover.h"

#define TICK_NS            NS_PER_S
#define CHECKPOINT_REST_NS NS_PER_S
#define CHECKPOINT_SHARE   8 /* of the log, a checkpoint is at most an eighth */

struct spool {
    struct shard *shard;
    struct spool_options options;
    struct spool_replay replay;
    struct spool_state state;
    struct segments segments;
    struct pieces pieces;
    struct commit commit;
    struct loads loads;
    struct quarantine quarantine;
    struct recover recover;
    struct adopt adopt;
    struct spool_recovery counts;
    struct checkpoint_writer writer;
    struct checkpoint_head head;      /* of the newest one, durable or being written */
    struct spool_position durable;    /* where the newest durable one begins */
    unsigned file;                    /* the next one goes there */
    uint32_t generation;              /* of the last one begun */
    enum { SOURCE_SEGMENTS, SOURCE_PIECES, SOURCE_ROWS } source; /* what is put next */
    uint32_t source_at;
    uint64_t checkpoint_written; /* of the log, when the newest one began */
    uint64_t checkpoint_rest_ns; /* none before then */
    struct timer tick;
    uint64_t event_next;
    uint32_t boot;
    bool recovering;
    bool stopping;
    bool ended; /* the last checkpoint is on its way, or was tried */
    bool again; /* a second checkpoint follows the one of an adoption: until then it stands alone */
    uint32_t epoch; /* of the next checkpoint */
    void (*adopted)(void *context, int error);
    void *adopted_context;
    void (*stopped)(void *context);
    void *stopped_context;
};

static void spool_end_when_idle(struct spool *spool);
static void spool_reserve(struct spool *spool);

/* --- start ------------------------------------------------------------------------------------ */

static void spool_segments_changed(struct segments *segments)
{
    commit_poke(&CONTAINER_OF(segments, struct spool, segments)->commit);
}

/* The next one goes over the older file; its generation is above both. */
static void spool_checkpoint_found(struct spool *spool, const struct checkpoint_reader *reader,
                                   unsigned newest)
{
    for (unsigned i = 0; i < CHECKPOINT_FILES; i++) {
        spool->writer.fds[i] = reader->fds[i];
        spool->generation = MAX_OF(spool->generation, reader->heads[i].generation);
    }
    spool->file = newest == 0 ? 1 : 0;
}

/* Of its own lane and of those that it adopts. */
static void spool_recovered_all(struct spool *spool, int error, const char *reason)
{
    struct recover *recover = &spool->recover;
    spool->boot = spool->counts.boots_seen;
    spool->event_next = MAX_OF(recover->event_next, 1);
    spool->recovering = false;
    if (error == 0) {
        commit_run(&spool->commit, recover_next_sequence(recover), recover_void_from(recover),
                   recover->cursor);
        spool->durable = recover->begin;
        spool->commit.written_bytes = recover->counts.bytes; /* the log since then */
        spool_checkpoint_found(spool, &recover->checkpoint, recover->checkpoint_file);
    }
    spool->replay.finished(spool->replay.context, error, slice_from_string(reason));
    recover_fini(recover);
}

static void spool_adopted_all(struct adopt *adopt)
{
    spool_recovered_all(CONTAINER_OF(adopt, struct spool, adopt), adopt->error, adopt->reason);
}

static void spool_recovered(struct recover *recover)
{
    struct spool *spool = CONTAINER_OF(recover, struct spool, recover);
    spool->counts = recover->counts;
    if (recover->error != 0 || spool->options.foreign_count == 0) {
        spool_recovered_all(spool, recover->error, recover->reason);
        return;
    }
    spool->adopt = (struct adopt){
        .shard = spool->shard,
        .options = &spool->options,
        .replay = &spool->replay,
        .segments = &spool->segments,
        .pieces = &spool->pieces,
        .quarantine = &spool->quarantine,
        .counts = &spool->counts,
        .uuid = recover->uuid,
    };
    adopt_start(&spool->adopt, spool_adopted_all);
}

/* Of messages that turned out to be finished. */
static void spool_drop_pieces(struct spool *spool)
{
    uint32_t handle = pieces_walk(&spool->pieces, 0);
    while (handle != PIECES_NONE) {
        if (*pieces_rows(&spool->pieces, handle) == 0) {
            pieces_give(&spool->pieces, handle);
        }
        handle = pieces_walk(&spool->pieces, handle + 1);
    }
}

void spool_begin(struct spool *spool, const struct spool_state *state)
{
    spool->state = *state;
    spool_drop_pieces(spool);
    spool_reserve(spool);
    quarantine_run(&spool->quarantine);
    segments_settle(&spool->segments, commit_position(&spool->commit).sequence - 1,
                    spool->durable, spool->commit.cursor);
    shard_timer_set(spool->shard, &spool->tick, TICK_NS);
}

/* --- checkpoints ------------------------------------------------------------------------------ */

/* By number, for some may leave between two turns. True: the block is full. */
static bool put_segments(struct spool *spool, struct checkpoint_block *block)
{
    uint32_t index = segments_index(&spool->segments, spool->source_at);
    for (; index < spool->segments.log.count; index++) {
        const struct segment *segment = segments_at(&spool->segments, index);
        const struct checkpoint_segment entry = {
            .number = segment->number,
            .slot = segment->slot,
            .lane = segment->lane,
            .lane_number = segment->number - segment->shift,
            .rows_total = segment->rows_total,
        };
        /* Adopted ones as long as they are wanted at all: nothing else says where they stand. */
        bool wanted = segment->live > 0 || segments_foreign(&spool->segments, segment);
        if (wanted && !checkpoint_put_segment(block, &entry)) {
            return true;
        }
        spool->source_at = segment->number + 1;
    }
    return false;
}

/* The same. */
static bool put_pieces(struct spool *spool, struct checkpoint_block *block)
{
    uint32_t numbers[PIECES_SEGMENTS_MAX];
    uint8_t bytes[PIECES_SEGMENTS_MAX * 4];
    for (;;) {
        uint32_t handle = pieces_walk(&spool->pieces, spool->source_at);
        if (handle == PIECES_NONE) {
            return false;
        }
        uint32_t count = pieces_segments(&spool->pieces, handle, numbers);
        for (uint32_t i = 0; i < count; i++) {
            little_put_u32(bytes + (size_t)i * 4, numbers[i]);
        }
        const struct checkpoint_pieces entry = {
            .location = pieces_location(&spool->pieces, handle),
            .count = count,
            .segments = slice_make(bytes, (size_t)count * 4),
        };
        if (!checkpoint_put_pieces(block, &entry)) {
            return true;
        }
        spool->source_at = handle + 1;
    }
}

/* What the writer asks for a block at a time; true: there is more. */
static bool spool_source_put(struct checkpoint_writer *writer, struct checkpoint_block *block)
{
    struct spool *spool = CONTAINER_OF(writer, struct spool, writer);
    if (spool->source == SOURCE_SEGMENTS) {
        if (put_segments(spool, block)) {
            return true;
        }
        spool->source = SOURCE_PIECES;
        spool->source_at = 0;
    }
    if (spool->source == SOURCE_PIECES) {
        if (put_pieces(spool, block)) {
            return true;
        }
        spool->source = SOURCE_ROWS;
        spool->state.begin(spool->state.context);
    }
    return spool->state.put(spool->state.context, block);
}

static void spool_checkpoint(struct spool *spool)
{
    spool->head = (struct checkpoint_head){
        .begin = commit_position(&spool->commit),
        .cursor = spool->commit.cursor,
        .event_sequence = spool->event_next,
        .next_segment = spool->segments.next_number,
        .boot = spool->boot,
        .epoch = spool->epoch,
        .wall_ns = spool->shard->wall_ns,
    };
    spool->source = SOURCE_SEGMENTS;
    spool->source_at = 0;
    spool->checkpoint_written = spool->commit.written_bytes;
    spool->generation++;
    spool->again = false;
    checkpoint_writer_start(&spool->writer, spool->file, spool->generation);
}

/* Little room is left, and a checkpoint would make some. */
static bool spool_tight(const struct spool *spool)
{
    return spool->segments.no_space &&
           commit_room(&spool->commit) < spool->options.segment_bytes &&
           segments_waiting(&spool->segments) > 0;
}

/*
 * Little room is left, nothing is ready to go, and it is the open segment that holds what is dead:
 * the next one is begun, out of those kept in reserve, so that this one may be emptied.
 */
static bool spool_cornered(const struct spool *spool)
{
    const struct commit *commit = &spool->commit;
    const struct segments *segments = &spool->segments;
    return segments->no_space && segments->spares.count >= SEGMENT_SPARES &&
           commit->segment != NULL && commit->used >= spool->options.segment_bytes / 2 &&
           commit->segment->live_bytes < commit->used / 2 &&
           commit_room(commit) < spool->options.segment_bytes && segments_waiting(segments) == 0;
}

/* After so much log; at once when that is how space comes back. */
static bool spool_checkpoint_due(struct spool *spool)
{
    if (spool->stopping || spool->commit.broken || !checkpoint_writer_idle(&spool->writer) ||
        spool->shard->now_ns < spool->checkpoint_rest_ns) {
        return false;
    }
    if (spool->again) {
        return true;
    }
    uint64_t log_bytes = spool->commit.written_bytes - spool->checkpoint_written;
    if (log_bytes >= spool->options.checkpoint_bytes &&
        log_bytes >= CHECKPOINT_SHARE * spool->state.bytes(spool->state.context)) {
        return true;
    }
    return spool_tight(spool);
}

/* Rows are never ahead of the log: they change when what changes them is stored. */
static void spool_checkpoint_synced(struct checkpoint_writer *writer)
{
    struct spool *spool = CONTAINER_OF(writer, struct spool, writer);
    checkpoint_writer_finish(writer, &spool->head);
}

static void spool_checkpoint_done(struct checkpoint_writer *writer, int error)
{
    struct spool *spool = CONTAINER_OF(writer, struct spool, writer);
    if (error == 0) {
        counters_add(&spool->shard->counters, COUNTER_checkpoints, 1);
        spool->durable = spool->head.begin;
        spool->file = (spool->file + 1) % CHECKPOINT_FILES;
        segments_checkpointed(&spool->segments, spool->durable);
    } else {
        spool->checkpoint_rest_ns = spool->shard->now_ns + CHECKPOINT_REST_NS;
        counters_add(&spool->shard->counters, COUNTER_checkpoint_failures, 1);
        spool_note(&spool->options, "spool: lane %u: a checkpoint could not be written: error %d",
                   spool->options.lane, -error);
    }
    if (spool->adopted != NULL) {
        void (*adopted)(void *context, int error) = spool->adopted;
        spool->adopted = NULL;
        spool->again = true;
        adopted(spool->adopted_context, error);
    } else {
        spool_end_when_idle(spool);
    }
}

void spool_adopt(struct spool *spool, const struct spool_state *state,
                 void (*done)(void *context, int error), void *context)
{
    spool->state = *state;
    spool->epoch = spool->options.epoch + 1;
    spool->adopted = done;
    spool->adopted_context = context;
    spool_drop_pieces(spool);
    spool_checkpoint(spool);
}

const struct spool_tail *spool_tails(const struct spool *spool, unsigned *count_out)
{
    *count_out = spool->adopt.tail_count;
    return spool->adopt.tails;
}

bool spool_holds(const struct spool *spool, unsigned lane, uint32_t slot)
{
    for (uint32_t i = 0; i < spool->segments.count; i++) {
        const struct segment *segment = &spool->segments.table[i];
        if (segment->lane == lane && segment->slot == slot && !segment->gone) {
            return true;
        }
    }
    return false;
}

/* Space for both files as they would be now: their HEADs, what the spool itself puts, and rows. */
static void spool_reserve(struct spool *spool)
{
    spool->segments.reserve_bytes =
        CHECKPOINT_FILES *
        (2 * CHECKPOINT_BLOCK_BYTES + spool->state.bytes(spool->state.context));
}

static void spool_tick(struct timer *timer)
{
    struct spool *spool = CONTAINER_OF(timer, struct spool, tick);
    spool_reserve(spool);
    if (spool_checkpoint_due(spool)) {
        spool_checkpoint(spool);
    } else if (!spool->commit.broken && spool_cornered(spool)) {
        commit_roll(&spool->commit);
    }
    segments_tend(&spool->segments);
    shard_timer_set(spool->shard, timer, TICK_NS);
}

static void spool_progress(struct commit *commit)
{
    struct spool *spool = CONTAINER_OF(commit, struct spool, commit);
    if (spool_checkpoint_due(spool)) {
        spool_checkpoint(spool);
    }
}

int spool_start(struct shard *shard, const struct spool_options *options, uint64_t spool_uuid,
                const struct spool_replay *replay, struct spool **spool_out)
{
    CHECK(options->segment_bytes % RECORD_PAGE_BYTES == 0 &&
          options->segment_bytes >= 4 * RECORD_PAGE_BYTES);
    struct spool *spool = boot_memory_take(sizeof(*spool));
    if (spool == NULL) {
        return -ENOMEM;
    }
    spool->shard = shard;
    spool->options = *options;
    spool->replay = *replay;
    spool->epoch = options->epoch;
    spool->recovering = true;
    timer_init(&spool->tick, spool_tick);
    int results[] = {
        segments_init(&spool->segments, shard, &spool->options),
        pieces_init(&spool->pieces, &shard->memory),
        checkpoint_writer_init(&spool->writer, shard, &spool->options, spool->segments.lane_path,
                               spool_uuid),
        commit_init(&spool->commit, shard, &spool->options, &spool->segments, spool_uuid),
        loads_init(&spool->loads, shard, &spool->options, &spool->segments, spool_uuid),
        quarantine_init(&spool->quarantine, shard, &spool->options, &spool->segments),
        recover_init(&spool->recover, shard, &spool->segments, &spool->pieces, &spool->options,
                     &spool->replay),
    };
    for (size_t i = 0; i < COUNT_OF(results); i++) {
        if (results[i] < 0) {
            spool_close(spool);
            return results[i];
        }
    }
    spool->segments.changed = spool_segments_changed;
    spool->writer.put = spool_source_put;
    spool->writer.synced = spool_checkpoint_synced;
    spool->writer.done = spool_checkpoint_done;
    spool->commit.pieces = &spool->pieces;
    spool->loads.quarantine = &spool->quarantine;
    spool->recover.quarantine = &spool->quarantine;
    spool->commit.progress = spool_progress;
    spool->commit.event_next = &spool->event_next;
    spool->commit.boot = &spool->boot;
    recover_start(&spool->recover, spool_uuid, spool_recovered);
    *spool_out = spool;
    return 0;
}

const struct spool_recovery *spool_recovery(const struct spool *spool)
{
    return spool->recovering ? &spool->recover.counts : &spool->counts;
}

/* --- stop ------------------------------------------------------------------------------------- */

static void spool_files_closed(struct segments *segments)
{
    struct spool *spool = CONTAINER_OF(segments, struct spool, segments);
    if (spool->stopped != NULL && !segments_close_next(segments, spool_files_closed)) {
        void (*stopped)(void *context) = spool->stopped;
        spool->stopped = NULL;
        stopped(spool->stopped_context);
    }
}

static void spool_checkpoints_closed(struct checkpoint_writer *writer)
{
    spool_files_closed(&CONTAINER_OF(writer, struct spool, writer)->segments);
}

/* Everything is stored: one more checkpoint, if there is anything new, then the files. */
static void spool_end(struct spool *spool)
{
    uint64_t sequence = commit_position(&spool->commit).sequence;
    if (!spool->commit.broken && spool->durable.sequence < sequence && !spool->ended) {
        spool->ended = true;
        spool_checkpoint(spool);
        return;
    }
    shard_timer_clear(spool->shard, &spool->tick);
    checkpoint_writer_close(&spool->writer, spool_checkpoints_closed);
}

/* The end waits for all that is under way. */
static void spool_end_when_idle(struct spool *spool)
{
    if (spool->stopping && !spool->commit.running && checkpoint_writer_idle(&spool->writer) &&
        quarantine_idle(&spool->quarantine)) {
        spool_end(spool);
    }
}

static void spool_drained(struct commit *commit)
{
    commit->idle = NULL;
    commit->running = false;
    spool_end_when_idle(CONTAINER_OF(commit, struct spool, commit));
}

static void spool_copied(struct quarantine *quarantine)
{
    spool_end_when_idle(CONTAINER_OF(quarantine, struct spool, quarantine));
}

void spool_stop(struct spool *spool, void (*stopped)(void *context), void *context)
{
    CHECK(!spool->stopping && !spool->recovering && loads_idle(&spool->loads));
    spool->stopping = true;
    spool->stopped = stopped;
    spool->stopped_context = context;
    spool->commit.idle = spool_drained;
    quarantine_stop(&spool->quarantine, spool_copied);
    commit_poke(&spool->commit);
}

void spool_close(struct spool *spool)
{
    shard_timer_clear(spool->shard, &spool->tick);
    recover_fini(&spool->recover);
    adopt_fini(&spool->adopt);
    checkpoint_writer_fini(&spool->writer);
    quarantine_fini(&spool->quarantine);
    loads_fini(&spool->loads);
    commit_fini(&spool->commit);
    pieces_fini(&spool->pieces);
    segments_fini(&spool->segments);
    boot_memory_give(spool, sizeof(*spool));
}

/* --- writing ---------------------------------------------------------------------------------- */

void spool_put_message(struct spool *spool, struct spool_write *write,
                       const struct spool_message *message)
{
    write->kind = RECORD_MESSAGE;
    write->what = message;
    write->event_sequence = spool_message_is_told(message->flags)
                                ? spool_event_sequence(spool, message->recipient_count)
                                : 0;
    spool->boot = MAX_OF(spool->boot, id_boot(&message->id));
    commit_put(&spool->commit, write);
}

void spool_put_body(struct spool *spool, struct spool_write *write, const struct chain *piece)
{
    write->kind = RECORD_BODY;
    write->what = piece;
    commit_put(&spool->commit, write);
}

void spool_part_drop(struct spool *spool, const struct spool_part *part)
{
    struct segment *segment = segments_find(&spool->segments, part->location.segment);
    CHECK(segment != NULL);
    segments_unpin(&spool->segments, segment);
}

void spool_put_outcome(struct spool *spool, struct spool_write *write, const struct slice *payload)
{
    write->kind = RECORD_OUTCOME;
    write->what = payload;
    commit_put(&spool->commit, write);
}

void spool_put_event(struct spool *spool, struct spool_write *write, const struct slice *payload)
{
    write->kind = RECORD_EVENT;
    write->what = payload;
    commit_put(&spool->commit, write);
}

uint64_t spool_event_sequence(struct spool *spool, unsigned count)
{
    uint64_t first = spool->event_next;
    spool->event_next += count;
    return first;
}

enum spool_status spool_admission(const struct spool *spool, uint64_t size_bytes)
{
    if (spool->commit.broken) {
        return SPOOL_FAILED;
    }
    bool full = spool->segments.no_space &&
                commit_room(&spool->commit) < size_bytes + 2 * RECORD_PAGE_BYTES;
    return full ? SPOOL_FULL : SPOOL_STORED;
}

const struct histogram *spool_commit_ns(const struct spool *spool)
{
    return &spool->commit.ns;
}

const struct histogram *spool_commit_messages(const struct spool *spool)
{
    return &spool->commit.messages;
}

uint64_t spool_outcome_age_ns(const struct spool *spool)
{
    return commit_outcome_age_ns(&spool->commit);
}

/* --- liveness --------------------------------------------------------------------------------- */

void spool_row_dead(struct spool *spool, struct spool_location location, unsigned count,
                    uint64_t bytes)
{
    struct segment *segment = segments_find(&spool->segments, location.segment);
    uint64_t sequence = commit_position(&spool->commit).sequence;
    uint32_t handle = pieces_find(&spool->pieces, location);
    CHECK(segment != NULL);
    segment_rows_dead(segment, count, handle == PIECES_NONE ? bytes : 0);
    segments_eased(&spool->segments, segment, sequence);
    if (handle == PIECES_NONE) {
        return;
    }
    uint32_t *rows = pieces_rows(&spool->pieces, handle);
    CHECK(*rows >= count);
    *rows -= count;
    if (*rows == 0) {
        segments_drop_bodies(&spool->segments, &spool->pieces, handle, sequence);
        pieces_give(&spool->pieces, handle);
    }
}

bool spool_row_live(struct spool *spool, struct spool_location location, uint64_t bytes)
{
    struct segment *segment = segments_find(&spool->segments, location.segment);
    uint32_t handle = pieces_find(&spool->pieces, location);
    if (segment == NULL) {
        return false;
    }
    segment_rows_live(segment, 1, handle == PIECES_NONE ? bytes : 0);
    if (handle != PIECES_NONE && ++*pieces_rows(&spool->pieces, handle) == 1) {
        /* A piece that is missing is found out when the message is read. */
        (void)segments_keep_bodies(&spool->segments, &spool->pieces, handle);
    }
    return true;
}

bool spool_round_due(const struct spool *spool)
{
    return segments_round_due(&spool->segments);
}

bool spool_victim(const struct spool *spool, uint32_t *segment_out)
{
    return segments_victim(&spool->segments, segment_out);
}

void spool_victim_done(struct spool *spool, uint32_t segment)
{
    struct segment *found = segments_find(&spool->segments, segment);
    if (found != NULL) {
        found->tried_ns = spool->shard->now_ns;
    }
}

/* --- the way of events ------------------------------------------------------------------------ */

struct spool_position spool_position(const struct spool *spool)
{
    return commit_position(&spool->commit);
}

struct spool_position spool_answering(const struct spool *spool)
{
    CHECK(spool->commit.answering.sequence != 0);
    return spool->commit.answering;
}

void spool_cursor_set(struct spool *spool, struct spool_position cursor)
{
    if (cursor.sequence > spool->commit.cursor.sequence) {
        commit_cursor_set(&spool->commit, cursor);
    }
}

unsigned spool_lane(const struct spool *spool)
{
    return spool->options.lane;
}

struct segments *spool_segments(struct spool *spool)
{
    return &spool->segments;
}

struct spool_position spool_cursor(const struct spool *spool)
{
    return spool->commit.cursor;
}

uint64_t spool_memory(const struct spool *spool)
{
    return spool_memory_for(spool->commit.capacity);
}

uint64_t spool_memory_for(uint64_t group_bytes)
{
    return COMMIT_GROUPS * group_bytes + SPOOL_LOADS_BYTES + CHECKPOINT_WRITER_BYTES;
}

uint64_t spool_backlog_bytes(const struct spool *spool)
{
    struct spool_position end = commit_position(&spool->commit);
    struct spool_position begin = spool->commit.cursor;
    uint64_t segments = end.group.segment - begin.group.segment;
    uint64_t bytes = segments * spool->options.segment_bytes + end.group.offset_64 * 64ull;
    uint64_t passed = begin.group.offset_64 * 64ull;
    return bytes > passed ? bytes - passed : 0;
}

/* --- reading ---------------------------------------------------------------------------------- */

void spool_load(struct spool *spool, struct spool_load *load, struct spool_location location)
{
    load->location = location;
    load->head = NULL;
    load->parts = NULL;
    load->part_count = 0;
    chain_init(&load->body);
    loads_put(&spool->loads, load, NULL);
}

void spool_load_part(struct spool *spool, struct spool_load *load, const struct spool_part *part)
{
    chain_clear(&load->body, spool->options.pool);
    loads_put(&spool->loads, load, part);
}

void spool_load_drop(struct spool *spool, struct spool_load *load)
{
    chain_clear(&load->body, spool->options.pool);
    if (load->head != NULL) {
        block_give(spool->options.pool, load->head);
        load->head = NULL;
    }
}
