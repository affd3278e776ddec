#include "shard/spool/commit.h"

#include <errno.h>
#include <string.h>

#include "core/check.h"
#include "shard/boot.h"

#define OUTCOME_WAIT_NS    (5 * NS_PER_MS)
#define OUTCOME_WAIT_BYTES (64 * KIB)
#define STUCK_MAX          16
#define CURSOR_WAIT_NS     NS_PER_S
#define TRIAL_NS           NS_PER_S
#define MESSAGES_MAX(capacity) ((capacity) / RECORD_MESSAGE_BYTES + 1)
/* Messages of both groups may be refused while they are written. */
#define VOIDS_MAX(capacity) (4 * MESSAGES_MAX(capacity))

static void commit_drive(struct deferred *deferred);
static void commit_deadline(struct timer *timer);
static void commit_written(struct op *op);
static void commit_cursor_fire(struct timer *timer);
static void commit_trial_fire(struct timer *timer);
static void commit_break(struct commit *commit, struct list *failed);

static uint32_t commit_capacity(const struct spool_options *options)
{
    uint64_t room = options->segment_bytes - RECORD_PAGE_BYTES;
    return (uint32_t)MIN_OF(MIN_OF((uint64_t)options->group_bytes, room), RECORD_GROUP_BYTES_MAX);
}

/* --- life ------------------------------------------------------------------------------------- */

int commit_init(struct commit *commit, struct shard *shard, const struct spool_options *options,
                struct segments *segments, uint64_t uuid)
{
    *commit = (struct commit){
        .shard = shard,
        .options = options,
        .segments = segments,
        .uuid = uuid,
        .capacity = commit_capacity(options),
    };
    list_init(&commit->waiting);
    list_init(&commit->refused);
    op_init(&commit->op, commit_written);
    deferred_init(&commit->deferred, commit_drive);
    timer_init(&commit->deadline_timer, commit_deadline);
    timer_init(&commit->cursor_timer, commit_cursor_fire);
    timer_init(&commit->trial_timer, commit_trial_fire);
    histogram_init(&commit->ns);
    histogram_init(&commit->messages);
    uint32_t capacity = commit->capacity;
    commit->page = boot_memory_take(RECORD_PAGE_BYTES);
    commit->late = boot_memory_take(MESSAGES_MAX(capacity) * sizeof(*commit->late));
    commit->voids = boot_memory_take(VOIDS_MAX(capacity) * sizeof(*commit->voids));
    bool whole = commit->page != NULL && commit->late != NULL && commit->voids != NULL;
    for (unsigned i = 0; i < 2; i++) {
        list_init(&commit->groups[i].writes);
        commit->groups[i].size = RECORD_GROUP_BYTES;
        commit->groups[i].memory = boot_memory_take(capacity);
        whole = whole && commit->groups[i].memory != NULL;
    }
    if (!whole) {
        commit_fini(commit);
        return -ENOMEM;
    }
    return 0;
}

void commit_fini(struct commit *commit)
{
    uint32_t capacity = commit->capacity;
    deferred_cancel(&commit->deferred);
    shard_alarm_clear(commit->shard);
    shard_timer_clear(commit->shard, &commit->deadline_timer);
    shard_timer_clear(commit->shard, &commit->cursor_timer);
    shard_timer_clear(commit->shard, &commit->trial_timer);
    boot_memory_give(commit->page, RECORD_PAGE_BYTES);
    boot_memory_give(commit->late, MESSAGES_MAX(capacity) * sizeof(*commit->late));
    boot_memory_give(commit->voids, VOIDS_MAX(capacity) * sizeof(*commit->voids));
    for (unsigned i = 0; i < 2; i++) {
        boot_memory_give(commit->groups[i].memory, capacity);
    }
}

void commit_run(struct commit *commit, uint64_t sequence, uint64_t void_from,
                struct spool_position cursor)
{
    commit->groups[commit->open].sequence = sequence;
    commit->next_sequence = sequence + 1;
    commit->void_from = void_from;
    commit->cursor = cursor.sequence != 0 ? cursor : commit_position(commit);
    commit->cursor_told = commit->cursor.sequence;
    commit->last_events = sequence - 1;
    commit->running = true;
    shard_defer(commit->shard, &commit->deferred);
}

void commit_poke(struct commit *commit)
{
    shard_defer(commit->shard, &commit->deferred);
}

static struct commit_group *commit_open(struct commit *commit)
{
    return &commit->groups[commit->open];
}

static struct commit_group *commit_flying(struct commit *commit)
{
    return &commit->groups[1 - commit->open];
}

static bool group_empty(const struct commit_group *group)
{
    return group->records == 0;
}

static void group_reset(struct commit_group *group, uint64_t sequence)
{
    CHECK(list_empty(&group->writes));
    group->size = RECORD_GROUP_BYTES;
    group->records = 0;
    group->messages = 0;
    group->sequence = sequence;
    group->outcome_ns = 0;
    group->events = false;
    group->urgent = false;
}

/* --- answers ---------------------------------------------------------------------------------- */

static void write_answer(struct commit *commit, struct spool_write *write,
                         enum spool_status status)
{
    if (write->pieces != PIECES_NONE && status != SPOOL_STORED) {
        pieces_give(commit->pieces, write->pieces);
    }
    write->status = status;
    write->in_flight = false;
    write->done(write);
}

/* The answer comes from the deferred step: never inside a put. */
static void commit_refuse(struct commit *commit, struct spool_write *write,
                          enum spool_status status)
{
    write->status = status;
    list_push_back(&commit->refused, &write->link);
    shard_defer(commit->shard, &commit->deferred);
}

static void commit_answer_all(struct commit *commit, struct list *writes,
                              enum spool_status status)
{
    for (struct list *node = list_pop_front(writes); node != NULL; node = list_pop_front(writes)) {
        write_answer(commit, CONTAINER_OF(node, struct spool_write, link), status);
    }
}

/* --- into the open group ---------------------------------------------------------------------- */

static uint8_t *chain_copy(uint8_t *to, const struct chain *chain)
{
    for (struct list *node = chain->blocks.next; node != &chain->blocks; node = node->next) {
        const struct block *block = CONTAINER_OF(node, struct block, link);
        memcpy(to, block->data, block->size);
        to += block->size;
    }
    return to;
}

/* Zeros from `end` to the next multiple of 8: padding is never what stood there before. */
static void pad(uint8_t *end, const uint8_t *from)
{
    while ((end - from) % 8 != 0) {
        *end++ = 0;
    }
}

static void copy_section(uint8_t *record, uint32_t offset, struct slice bytes)
{
    if (bytes.size > 0) {
        memcpy(record + offset, bytes.data, bytes.size);
        pad(record + offset + bytes.size, record);
    }
}

static bool message_parts(const struct spool_message *message)
{
    return (message->flags & SPOOL_MESSAGE_PARTS) != 0;
}

static struct record_message_size message_size(const struct spool_message *message)
{
    bool parts = message_parts(message);
    uint64_t sizes[SECTIONS] = {
        [SECTION_ENVELOPE] = message->envelope.size,
        [SECTION_METADATA] = message->metadata.size,
        [SECTION_PREPEND] = message->prepend.size,
        [SECTION_BODY] = parts ? message->part_count * sizeof(struct spool_part)
                               : message->body_bytes,
        [SECTION_DOTS] = message->dots == NULL ? 0 : message->dots->size,
        [SECTION_CUTS] = message->cuts.size,
    };
    return record_message_size(sizes, message->flags);
}

/* One copy: from the message's blocks into the group. */
static void put_message(uint8_t *at, const struct spool_write *write)
{
    const struct spool_message *message = write->what;
    bool parts = message_parts(message);
    struct slice listed = slice_make(message->parts, message->part_count * sizeof(*message->parts));
    struct record_message_size size = message_size(message);
    struct record_message header = {
        .id = message->id,
        .created_ns = message->created_ns,
        .event_sequence = write->event_sequence,
        .flags = message->flags,
        .recipient_count = message->recipient_count,
        .moved_from = message->moved_from,
        .body_hash = message->body_hash,
        .sections = {
            [SECTION_ENVELOPE] = message->envelope,
            [SECTION_METADATA] = message->metadata,
            [SECTION_PREPEND] = message->prepend,
            [SECTION_BODY] = {NULL, parts ? listed.size : message->body_bytes},
            [SECTION_DOTS] = {NULL, message->dots == NULL ? 0 : message->dots->size},
            [SECTION_CUTS] = message->cuts,
        },
    };
    record_message_put(at, &header, &size);
    copy_section(at, size.offsets[SECTION_ENVELOPE], message->envelope);
    copy_section(at, size.offsets[SECTION_METADATA], message->metadata);
    copy_section(at, size.offsets[SECTION_PREPEND], message->prepend);
    copy_section(at, size.offsets[SECTION_CUTS], message->cuts);
    if (message->dots != NULL && message->dots->size > 0) {
        pad(chain_copy(at + size.offsets[SECTION_DOTS], message->dots), at);
    }
    if (parts) {
        copy_section(at, size.offsets[SECTION_BODY], listed);
    } else if (message->body != NULL && message->body->size > 0) {
        pad(chain_copy(at + size.offsets[SECTION_BODY], message->body), at);
    }
}

static void put_body(uint8_t *at, const struct chain *piece)
{
    pad(chain_copy(at + RECORD_BODY_BYTES, piece), at);
    record_body_put(at, piece->size, XXH3_128bits(at + RECORD_BODY_BYTES, piece->size));
}

static uint64_t write_bytes(const struct spool_write *write)
{
    if (write->kind == RECORD_MESSAGE) {
        return message_size(write->what).bytes;
    }
    if (write->kind == RECORD_BODY) {
        const struct chain *piece = write->what;
        return RECORD_BODY_BYTES + align_up(piece->size, 8);
    }
    return record_bytes(((const struct slice *)write->what)->size);
}

/* Where a record of this kind would begin in the group. */
static uint64_t group_next(const struct commit_group *group, uint8_t kind)
{
    bool placed = kind == RECORD_MESSAGE || kind == RECORD_BODY;
    return placed ? align_up(group->size, RECORD_PLACE_BYTES) : group->size;
}

static uint8_t *group_reserve(struct commit_group *group, uint8_t kind, uint64_t bytes)
{
    uint64_t at = group_next(group, kind);
    memset(group->memory + group->size, 0, at - group->size);
    group->size = (uint32_t)(at + bytes);
    group->records++;
    return group->memory + at;
}

static bool commit_fits(struct commit *commit, uint8_t kind, uint64_t bytes)
{
    return group_next(commit_open(commit), kind) + bytes <= commit->capacity;
}

static void commit_copy(struct commit *commit, struct spool_write *write, uint64_t bytes)
{
    struct commit_group *group = commit_open(commit);
    uint8_t *at = group_reserve(group, write->kind, bytes);
    if (write->kind == RECORD_MESSAGE) {
        group->messages++;
        put_message(at, write);
    } else if (write->kind == RECORD_BODY) {
        put_body(at, write->what);
    } else if (write->kind == RECORD_EVENT) {
        record_put(at, RECORD_EVENT, *(const struct slice *)write->what);
    } else {
        record_put(at, RECORD_OUTCOME, *(const struct slice *)write->what);
        group->outcome_ns = group->outcome_ns == 0 ? write->put_ns : group->outcome_ns;
    }
    record_seal(at, group->sequence, commit->uuid);
    group->urgent = group->urgent || write->kind != RECORD_OUTCOME;
    group->events = group->events || write->kind != RECORD_BODY;
    write->location = (struct spool_location){.segment = (uint32_t)(at - group->memory)};
    list_push_back(&group->writes, &write->link);
}

/* Read back into one block, so no longer than that (shard/spool/load.c). */
static bool commit_head_fits(const struct spool_write *write)
{
    return write->kind != RECORD_MESSAGE || message_size(write->what).head <= SPOOL_HEAD_BYTES_MAX;
}

/* Of a client that waits, and could come again. */
static bool is_mail(const struct spool_write *write)
{
    return write->kind != RECORD_OUTCOME;
}

/* Without space for more segments the last ones are kept for outcomes: they make room. */
static bool commit_full_for(const struct commit *commit, const struct spool_write *write,
                            uint64_t bytes)
{
    return commit->segments->no_space && is_mail(write) &&
           commit_room(commit) < align_up(bytes, RECORD_PAGE_BYTES) + RECORD_PAGE_BYTES;
}

/* What the message will keep besides its own segment. False: no memory. */
static bool commit_pieces(struct commit *commit, struct spool_write *write)
{
    const struct spool_message *message = write->what;
    if (write->kind != RECORD_MESSAGE || !message_parts(message)) {
        return true;
    }
    uint32_t handle = pieces_new(commit->pieces);
    bool whole = handle != PIECES_NONE;
    for (uint32_t i = 0; i < message->part_count && whole; i++) {
        whole = pieces_add(commit->pieces, handle, message->parts[i].location.segment);
    }
    if (!whole && handle != PIECES_NONE) {
        pieces_give(commit->pieces, handle);
    }
    write->pieces = whole ? handle : PIECES_NONE;
    return whole;
}

void commit_put(struct commit *commit, struct spool_write *write)
{
    CHECK(commit->running && !write->in_flight);
    write->in_flight = true;
    write->put_ns = commit->shard->now_ns;
    write->pieces = PIECES_NONE;
    uint64_t bytes = write_bytes(write);
    if (commit->broken) {
        commit_refuse(commit, write, SPOOL_FAILED);
        return;
    }
    if (RECORD_GROUP_BYTES + bytes > commit->capacity || !commit_head_fits(write) ||
        commit_full_for(commit, write, bytes) || !commit_pieces(commit, write)) {
        commit_refuse(commit, write, SPOOL_FULL);
        return;
    }
    if (list_empty(&commit->waiting) && commit_fits(commit, write->kind, bytes)) {
        commit_copy(commit, write, bytes);
    } else {
        list_push_back(&commit->waiting, &write->link);
        commit->waiting_bytes += bytes;
    }
    if (is_mail(write) && !timer_is_set(&commit->deadline_timer)) {
        shard_timer_set(commit->shard, &commit->deadline_timer, commit->options->deadline_ns);
    }
    shard_defer(commit->shard, &commit->deferred);
}

/* Is there anything behind the CURSOR on the disk of which there are events? */
static bool cursor_wanted(const struct commit *commit)
{
    uint64_t told = MAX_OF(commit->cursor_told, commit->cursor_flying);
    return commit->cursor.sequence > told && commit->last_events >= told;
}

/* The cursor rides on a group that goes anyway; alone it waits a second for one. */
static void commit_fill_cursor(struct commit *commit, struct commit_group *group)
{
    if (!cursor_wanted(commit) || !commit_fits(commit, RECORD_CURSOR, RECORD_CURSOR_BYTES)) {
        return;
    }
    uint8_t *at = group_reserve(group, RECORD_CURSOR, RECORD_CURSOR_BYTES);
    record_put_cursor(at, commit->cursor);
    record_seal(at, group->sequence, commit->uuid);
    commit->cursor_flying = commit->cursor.sequence;
    commit->cursor_there = commit->cursor;
    commit->cursor_due = false;
    shard_timer_clear(commit->shard, &commit->cursor_timer);
}

static bool cursor_due(const struct commit *commit)
{
    return (commit->cursor_due || commit->idle != NULL) && cursor_wanted(commit);
}

static void cursor_wait(struct commit *commit)
{
    if (cursor_wanted(commit) && !timer_is_set(&commit->cursor_timer)) {
        shard_timer_set(commit->shard, &commit->cursor_timer, CURSOR_WAIT_NS);
    }
}

static void commit_cursor_fire(struct timer *timer)
{
    struct commit *commit = CONTAINER_OF(timer, struct commit, cursor_timer);
    commit->cursor_due = true;
    shard_defer(commit->shard, &commit->deferred);
}

void commit_cursor_set(struct commit *commit, struct spool_position cursor)
{
    if (cursor.sequence <= commit->cursor.sequence) {
        return;
    }
    commit->cursor = cursor;
    /* Segments go by what a start would find: their messages are read for the events behind it. */
    if (commit->last_events < commit->cursor_told) {
        segments_cursor(commit->segments, cursor);
    }
    cursor_wait(commit);
}

/* Those refused after they had been written, then those that found no room, in order. */
static void commit_fill(struct commit *commit)
{
    struct commit_group *group = commit_open(commit);
    while (commit->void_count > 0 && commit_fits(commit, RECORD_VOID, RECORD_VOID_BYTES)) {
        uint8_t *at = group_reserve(group, RECORD_VOID, RECORD_VOID_BYTES);
        record_put_void(at, commit->voids[--commit->void_count]);
        record_seal(at, group->sequence, commit->uuid);
        group->urgent = true;
    }
    while (!list_empty(&commit->waiting)) {
        struct list *node = commit->waiting.next;
        struct spool_write *write = CONTAINER_OF(node, struct spool_write, link);
        uint64_t bytes = write_bytes(write);
        if (!commit_fits(commit, write->kind, bytes)) {
            return;
        }
        list_remove(node);
        commit->waiting_bytes -= bytes;
        commit_copy(commit, write, bytes);
    }
}

/* --- the commit ------------------------------------------------------------------------------- */

static void commit_submit(struct commit *commit)
{
    unsigned count = 0;
    uint64_t skip = commit->done;
    for (unsigned i = 0; i < 2; i++) {
        const struct iovec *whole = &commit->iovecs[i];
        if (skip >= whole->iov_len) {
            skip -= whole->iov_len;
            continue;
        }
        commit->rest[count++] = (struct iovec){.iov_base = (uint8_t *)whole->iov_base + skip,
                                               .iov_len = whole->iov_len - skip};
        skip = 0;
    }
    const struct ring_extent extent = {
        .iovecs = commit->rest, .count = count, .offset = commit->offset + commit->done};
    ring_write(commit->shard->ring, &commit->op, commit->segment->fd, &extent,
               commit->options->sync);
}

/* The header of a fresh segment goes in the same write as its first group. */
static void commit_segment_page(struct commit *commit, const struct commit_group *group)
{
    struct record_segment header = {
        .version = RECORD_VERSION,
        .lane = (uint16_t)commit->options->lane,
        .number = commit->segment->number,
        .uuid = commit->uuid,
        .wall_ns = commit->shard->wall_ns,
        .sequence = group->sequence,
        .event_sequence = *commit->event_next,
        .log_first = commit->segments->checkpoint.group.segment,
        .boot = *commit->boot,
    };
    memset(commit->page, 0, RECORD_PAGE_BYTES);
    record_segment_put(commit->page, &header);
}

static void commit_group_header(struct commit *commit, struct commit_group *group)
{
    struct record_group header = {
        .version = RECORD_VERSION,
        .lane = (uint16_t)commit->options->lane,
        .segment = commit->segment->number,
        .bytes = group->size,
        .sequence = group->sequence,
        .durable_before = commit->options->sync ? group->sequence : 0,
        .records = group->records,
        .log_first = commit->segments->checkpoint.group.segment,
        .void_from = commit->void_from,
        .wall_ns = commit->shard->wall_ns,
    };
    record_group_put(group->memory, &header, commit->uuid);
}

/* A segment with room for the group; false: none yet. */
static bool commit_place(struct commit *commit, uint64_t bytes)
{
    if (!commit->rolling && commit->segment != NULL &&
        commit->used + bytes <= commit->options->segment_bytes) {
        return true;
    }
    struct segment *segment = segments_begin(commit->segments);
    segments_tend(commit->segments);
    if (segment == NULL) {
        return false;
    }
    commit->segment = segment;
    commit->used = 0;
    commit->rolling = false;
    return true;
}

/*
 * No segment, and none can be made for another reason than space: after a failed write, or when it
 * is so again, that is the second failure in a row.
 */
static void commit_give_up(struct commit *commit)
{
    uint32_t failures = commit->segments->failures;
    if (commit->broken || failures == 0 || commit->failures + failures < 2) {
        return;
    }
    struct list failed;
    list_init(&failed);
    commit->failures++;
    commit_break(commit, &failed);
    commit_answer_all(commit, &failed, SPOOL_FAILED);
    commit->progress(commit);
}

static void commit_start(struct commit *commit)
{
    struct commit_group *group = commit_open(commit);
    commit_fill_cursor(commit, group);
    uint64_t bytes = align_up(group->size, RECORD_PAGE_BYTES);
    if (!commit_place(commit, bytes)) {
        commit_give_up(commit);
        return;
    }
    memset(group->memory + group->size, 0, bytes - group->size);
    commit_group_header(commit, group);
    commit->iovecs[0] = (struct iovec){.iov_base = commit->page};
    if (commit->used == 0) {
        commit_segment_page(commit, group);
        commit->iovecs[0].iov_len = RECORD_PAGE_BYTES;
    }
    commit->iovecs[1] = (struct iovec){.iov_base = group->memory, .iov_len = bytes};
    commit->offset = commit->used;
    commit->total = commit->iovecs[0].iov_len + bytes;
    commit->used += commit->total;
    commit->done = 0;
    commit->stuck = 0;
    commit->started_ns = ring_monotonic_ns(commit->shard->ring);
    commit->in_flight = true;
    commit->open = 1 - commit->open;
    group_reset(commit_open(commit), commit->next_sequence++);
    shard_alarm_clear(commit->shard);
    commit_submit(commit);
}

/* May the open group wait a little for company? Only outcomes may. */
static bool commit_due(struct commit *commit)
{
    const struct commit_group *group = commit_open(commit);
    if (group->urgent || group->size >= OUTCOME_WAIT_BYTES || commit->idle != NULL ||
        !list_empty(&commit->waiting)) {
        return true;
    }
    uint64_t due_ns = group->outcome_ns + OUTCOME_WAIT_NS;
    if (commit->shard->now_ns >= due_ns) {
        return true;
    }
    shard_alarm_set(commit->shard, &commit->deferred, due_ns);
    return false;
}

static void commit_drive(struct deferred *deferred)
{
    struct commit *commit = CONTAINER_OF(deferred, struct commit, deferred);
    for (struct list *node = list_pop_front(&commit->refused); node != NULL;
         node = list_pop_front(&commit->refused)) {
        struct spool_write *write = CONTAINER_OF(node, struct spool_write, link);
        write_answer(commit, write, write->status);
    }
    if (commit->trying && commit->running && !commit->in_flight && commit->idle == NULL) {
        commit_start(commit);
        return;
    }
    if (!commit->running || commit->broken) {
        if (commit->idle != NULL && !commit->in_flight) {
            commit->idle(commit);
        }
        return;
    }
    commit_fill(commit);
    bool due = !group_empty(commit_open(commit)) && commit_due(commit);
    if (!commit->in_flight && (due || cursor_due(commit) || commit->rolling)) {
        commit_start(commit);
        commit_fill(commit);
    }
    if (commit->idle != NULL && !commit->in_flight && group_empty(commit_open(commit)) &&
        !cursor_wanted(commit) && list_empty(&commit->waiting) && list_empty(&commit->refused)) {
        commit->idle(commit);
    }
}

/* --- its end ---------------------------------------------------------------------------------- */

/* Offset of a record in the group in flight → its place in the log. */
static struct spool_location commit_location(const struct commit *commit, uint32_t offset)
{
    uint64_t at = commit->offset + commit->iovecs[0].iov_len + offset;
    return (struct spool_location){.segment = commit->segment->number,
                                   .offset_64 = (uint32_t)(at / RECORD_PLACE_BYTES)};
}

static void commit_count_rows(struct commit *commit, const struct spool_write *write)
{
    const struct spool_message *message = write->what;
    segment_rows_live(commit->segment, message->recipient_count,
                      message_parts(message) ? 0 : message->body_bytes);
    commit->segment->rows_total += message->recipient_count;
    if (write->pieces != PIECES_NONE) {
        pieces_place(commit->pieces, write->pieces, write->location, message->recipient_count);
        CHECK(segments_keep_bodies(commit->segments, commit->pieces, write->pieces));
    }
}

/* The end of trouble. */
static void commit_mend(struct commit *commit)
{
    commit->failures = 0;
    commit->trying = false;
    if (commit->broken) {
        commit->broken = false;
        spool_note(commit->options, "spool: lane %u: writes succeed again", commit->options->lane);
    }
}

static void commit_stored(struct commit *commit)
{
    struct commit_group *group = commit_flying(commit);
    struct counters *counters = &commit->shard->counters;
    counters_add(counters, COUNTER_commits, 1);
    counters_add(counters, COUNTER_commit_records, group->records);
    counters_add(counters, COUNTER_commit_bytes, commit->total);
    histogram_record(&commit->ns, ring_monotonic_ns(commit->shard->ring) - commit->started_ns);
    if (group->messages > 0) {
        histogram_record(&commit->messages, group->messages);
    }
    commit->void_from = 0;
    commit_mend(commit);
    if (group->events) {
        commit->last_events = group->sequence;
    }
    if (commit->cursor_flying != 0) {
        commit->cursor_told = commit->cursor_flying;
        commit->cursor_flying = 0;
        segments_cursor(commit->segments, commit->cursor_there);
    }
    cursor_wait(commit);
    for (uint32_t i = 0; i < commit->late_count; i++) {
        CHECK(commit->void_count < VOIDS_MAX(commit->capacity));
        commit->voids[commit->void_count++] = commit_location(commit, commit->late[i]);
    }
    commit->late_count = 0;
    struct list stored;
    list_init(&stored);
    list_append_all(&stored, &group->writes);
    for (struct list *node = stored.next; node != &stored; node = node->next) {
        struct spool_write *write = CONTAINER_OF(node, struct spool_write, link);
        write->location = commit_location(commit, write->location.segment);
        if (write->kind == RECORD_MESSAGE) {
            commit_count_rows(commit, write);
        } else if (write->kind == RECORD_BODY) {
            commit->segment->pins++;
        }
    }
    group->outcome_ns = 0;
    commit->written_bytes += commit->total;
    commit->answering = commit_position(commit);
    commit->in_flight = false;
    commit_answer_all(commit, &stored, SPOOL_STORED);
    commit->answering.sequence = 0;
    commit->progress(commit);
}

static void commit_break(struct commit *commit, struct list *failed)
{
    bool news = !commit->broken;
    commit->broken = true;
    commit->trying = false;
    shard_timer_set(commit->shard, &commit->trial_timer, TRIAL_NS);
    list_append_all(failed, &commit_open(commit)->writes);
    list_append_all(failed, &commit->waiting);
    commit->waiting_bytes = 0;
    group_reset(commit_open(commit), commit->next_sequence++);
    if (news) {
        spool_note(commit->options,
                   "spool: lane %u: a second write failed: nothing is stored until one succeeds",
                   commit->options->lane);
    }
}

/* An empty group on a fresh segment: when it is stored, what failed before is void. */
static void commit_trial_fire(struct timer *timer)
{
    struct commit *commit = CONTAINER_OF(timer, struct commit, trial_timer);
    commit->trying = true;
    shard_defer(commit->shard, &commit->deferred);
}

/* Nobody of the group is told "stored"; what the disk holds of it is voided by the next group. */
static void commit_failed(struct commit *commit, int error)
{
    struct commit_group *group = commit_flying(commit);
    counters_add(&commit->shard->counters, COUNTER_commit_failures, 1);
    spool_note(commit->options, "spool: lane %u segment %u offset %llu: write failed: error %d",
               commit->options->lane, commit->segment->number,
               (unsigned long long)commit->offset, error);
    if (commit->failures == 0) {
        commit->failed_at = commit_position(commit);
    }
    commit->segment->state = SEGMENT_POISONED;
    commit->segment = NULL;
    commit->void_from = commit->void_from == 0 ? group->sequence : commit->void_from;
    commit->late_count = 0;
    commit->cursor_flying = 0;
    commit->failures++;
    struct list failed;
    list_init(&failed);
    list_append_all(&failed, &group->writes);
    group->outcome_ns = 0;
    commit->in_flight = false;
    if (commit->failures >= 2) {
        commit_break(commit, &failed);
    }
    commit_answer_all(commit, &failed, SPOOL_FAILED);
    commit->progress(commit);
}

static void commit_written(struct op *op)
{
    struct commit *commit = CONTAINER_OF(op, struct commit, op);
    shard_defer(commit->shard, &commit->deferred);
    int result = op->result;
    if (result < 0 && result != -EINTR && result != -EAGAIN) {
        commit_failed(commit, -result);
        return;
    }
    uint64_t before = commit->done;
    commit->done += result > 0 ? (uint64_t)result : 0;
    if (commit->done >= commit->total) {
        commit_stored(commit);
        return;
    }
    /* Short: go on at a whole page; what of it is written twice is the same. */
    commit->done &= ~(uint64_t)(RECORD_PAGE_BYTES - 1);
    commit->stuck = commit->done > before ? 0 : commit->stuck + 1;
    if (commit->stuck > STUCK_MAX) {
        commit_failed(commit, EIO);
        return;
    }
    commit_submit(commit);
}

/* --- the store deadline ----------------------------------------------------------------------- */

/* Nobody waits for a message that is moved, and it may never be voided: its rows came along. */
static bool write_waited_for(const struct spool_write *write)
{
    if (write->kind == RECORD_MESSAGE) {
        return (((const struct spool_message *)write->what)->flags & SPOOL_MESSAGE_MOVED) == 0;
    }
    return is_mail(write);
}

static bool write_late(const struct commit *commit, const struct spool_write *write)
{
    return write_waited_for(write) &&
           commit->shard->now_ns - write->put_ns >= commit->options->deadline_ns;
}

/* Moves the late ones to `late`; true when others remain that may become late. */
static bool take_late(struct commit *commit, struct list *writes, struct list *late)
{
    bool remain = false;
    struct list *next;
    for (struct list *node = writes->next; node != writes; node = next) {
        next = node->next;
        struct spool_write *write = CONTAINER_OF(node, struct spool_write, link);
        if (write_late(commit, write)) {
            list_remove(node);
            list_push_back(late, node);
        } else {
            remain = remain || write_waited_for(write);
        }
    }
    return remain;
}

static void commit_deadline(struct timer *timer)
{
    struct commit *commit = CONTAINER_OF(timer, struct commit, deadline_timer);
    struct list waiting;
    struct list open;
    struct list flying;
    list_init(&waiting);
    list_init(&open);
    list_init(&flying);
    bool remain = take_late(commit, &commit->waiting, &waiting);
    remain = take_late(commit, &commit_open(commit)->writes, &open) || remain;
    remain = take_late(commit, &commit_flying(commit)->writes, &flying) || remain;
    for (struct list *node = waiting.next; node != &waiting; node = node->next) {
        commit->waiting_bytes -= write_bytes(CONTAINER_OF(node, struct spool_write, link));
    }
    for (struct list *node = open.next; node != &open; node = node->next) {
        struct spool_write *write = CONTAINER_OF(node, struct spool_write, link);
        uint8_t *at = commit_open(commit)->memory + write->location.segment;
        record_withdraw(at);
        record_seal(at, commit_open(commit)->sequence, commit->uuid);
    }
    for (struct list *node = flying.next; node != &flying; node = node->next) {
        struct spool_write *write = CONTAINER_OF(node, struct spool_write, link);
        if (write->kind == RECORD_MESSAGE) {
            commit->late[commit->late_count++] = write->location.segment;
        }
    }
    if (remain) {
        shard_timer_set(commit->shard, timer, MAX_OF(commit->options->deadline_ns / 8, NS_PER_MS));
    }
    list_append_all(&waiting, &open);
    list_append_all(&waiting, &flying);
    commit_answer_all(commit, &waiting, SPOOL_LATE);
}

/* --- questions -------------------------------------------------------------------------------- */

void commit_roll(struct commit *commit)
{
    commit->rolling = true;
    shard_defer(commit->shard, &commit->deferred);
}

struct spool_position commit_position(const struct commit *commit)
{
    if (commit->answering.sequence != 0) {
        return commit->answering;
    }
    if (commit->failures > 0) {
        return commit->failed_at;
    }
    struct spool_position position = {.sequence = commit->groups[commit->open].sequence};
    uint64_t offset = commit->used;
    if (commit->in_flight) {
        position.sequence = commit->groups[1 - commit->open].sequence;
        offset = commit->offset;
    }
    if (commit->void_from != 0) {
        /* Until a group says so what is torn is void for this life alone: nothing passes it. */
        position.sequence = commit->void_from;
    }
    position.group.segment = commit->segments->next_number;
    if (commit->segment != NULL) {
        position.group.segment = commit->segment->number;
        position.group.offset_64 = (uint32_t)(offset / RECORD_PLACE_BYTES);
    }
    return position;
}

uint64_t commit_room(const struct commit *commit)
{
    const struct segments *segments = commit->segments;
    uint64_t segment_bytes = commit->options->segment_bytes;
    if (segments->spares.count < SEGMENT_SPARES) {
        return 0;
    }
    uint64_t room = commit->segment == NULL ? 0 : segment_bytes - commit->used;
    room += (segments->spares.count - SEGMENT_SPARES) * (segment_bytes - commit->capacity);
    uint64_t taken = commit->groups[commit->open].size + commit->waiting_bytes;
    return room > taken ? room - taken : 0;
}

uint64_t commit_outcome_age_ns(const struct commit *commit)
{
    uint64_t now = commit->shard->now_ns;
    uint64_t oldest = now;
    if (commit->broken) {
        return UINT64_MAX;
    }
    for (unsigned i = 0; i < 2; i++) {
        if (commit->groups[i].outcome_ns != 0) {
            oldest = MIN_OF(oldest, commit->groups[i].outcome_ns);
        }
    }
    if (!list_empty(&commit->waiting)) {
        struct list *first = commit->waiting.next;
        oldest = MIN_OF(oldest, CONTAINER_OF(first, struct spool_write, link)->put_ns);
    }
    return now - oldest;
}
