/*
 * The memory: room for a held group, room before the first chunk, the chunks. Chunks are used in
 * turn; what is not parsed when the last one has been taken moves to just before the first, so that
 * every group is contiguous. A group is not longer than either room.
 */
#include "shard/spool/parser.h"

#include <string.h>

#include "core/check.h"

enum { STATE_FIND, STATE_DECIDE, STATE_RECORDS, STATE_NEXT, STATE_NEWER, STATE_OVER };

/* --- memory ----------------------------------------------------------------------------------- */

/* An unparsed group may lie in so many chunks while `reads` are out. */
static uint32_t chunk_count(const struct log_parser_options *options)
{
    return RECORD_GROUP_BYTES_MAX / options->chunk_bytes + 1 + options->reads;
}

uint64_t log_parser_bytes(const struct log_parser_options *options)
{
    return 2ull * RECORD_GROUP_BYTES_MAX + (uint64_t)chunk_count(options) * options->chunk_bytes;
}

void log_parser_init(struct log_parser *parser, const struct log_parser_options *options,
                     void *memory)
{
    CHECK(options->chunk_bytes > 0 && options->chunk_bytes % RECORD_PAGE_BYTES == 0);
    CHECK(options->reads > 0);
    *parser = (struct log_parser){
        .uuid = options->uuid,
        .lane = (uint16_t)options->lane,
        .held_memory = memory,
        .chunks = (uint8_t *)memory + 2ull * RECORD_GROUP_BYTES_MAX,
        .chunk_bytes = options->chunk_bytes,
        .chunk_count = chunk_count(options),
        .reads = options->reads,
    };
    log_parser_start(parser, 0, 0);
}

void log_parser_start(struct log_parser *parser, uint64_t sequence, uint64_t durable_before)
{
    parser->sequence_max = 0;
    parser->last_sequence = sequence > 0 ? sequence - 1 : 0;
    parser->durable_before = durable_before;
    parser->expecting = sequence > 0;
    parser->state = STATE_FIND;
    parser->segment_ended = true;
    parser->log_ended = false;
    parser->unproven = false;
    parser->placed = 0;
    parser->next_chunk = 0;
    parser->at = parser->chunks;
    parser->end = parser->chunks;
    parser->held.any = false;
    parser->next.any = false;
}

/* The held group leaves a place that is about to be written. */
static void log_parser_save(struct log_parser *parser, const uint8_t *begin, const uint8_t *end)
{
    struct log_group *held = &parser->held;
    if (held->any && held->data < end && begin < held->data + held->size) {
        memcpy(parser->held_memory, held->data, held->size);
        held->data = parser->held_memory;
    }
}

/* What is not parsed moves to just before the first chunk. */
static void log_parser_wrap(struct log_parser *parser)
{
    size_t left = (size_t)(parser->end - parser->at);
    uint8_t *to = parser->chunks - left;
    log_parser_save(parser, to, parser->chunks);
    memmove(to, parser->at, left);
    parser->at = to;
    parser->end = parser->chunks;
}

void log_parser_segment(struct log_parser *parser, uint32_t number, uint64_t offset)
{
    CHECK(parser->state == STATE_FIND && parser->segment_ended && parser->placed == 0);
    CHECK(offset % RECORD_PAGE_BYTES == 0);
    parser->segment = number;
    parser->segment_ended = false;
    parser->short_chunk = false;
    parser->at = parser->end;
    parser->at_offset = offset;
    parser->segment_offset = offset;
}

uint8_t *log_parser_place(struct log_parser *parser)
{
    CHECK(parser->state == STATE_FIND && !parser->segment_ended);
    CHECK(parser->placed < parser->reads);
    if (parser->placed == 0 && parser->end - parser->at <= (ptrdiff_t)parser->chunk_bytes) {
        /* As little memory as possible is touched by a caller that reads one chunk at a time. */
        log_parser_wrap(parser);
        parser->next_chunk = 0;
    } else if (parser->next_chunk == parser->chunk_count) {
        parser->next_chunk = 0;
    }
    uint8_t *place = parser->chunks + (size_t)parser->next_chunk * parser->chunk_bytes;
    CHECK(place + parser->chunk_bytes <= parser->at || place >= parser->end);
    log_parser_save(parser, place, place + parser->chunk_bytes);
    parser->next_chunk++;
    parser->placed++;
    return place;
}

void log_parser_take(struct log_parser *parser, uint32_t size)
{
    CHECK(parser->state == STATE_FIND && parser->placed > 0);
    CHECK(size <= parser->chunk_bytes && size % RECORD_PAGE_BYTES == 0);
    uint32_t oldest =
        (parser->next_chunk + parser->chunk_count - parser->placed) % parser->chunk_count;
    parser->placed--;
    if (parser->short_chunk) {
        return;
    }
    if (oldest == 0 && parser->end != parser->chunks) {
        log_parser_wrap(parser);
    }
    parser->end += size;
    parser->short_chunk = size < parser->chunk_bytes;
}

void log_parser_segment_end(struct log_parser *parser)
{
    CHECK(parser->state == STATE_FIND && parser->placed == 0);
    parser->segment_ended = true;
}

void log_parser_end(struct log_parser *parser)
{
    CHECK(parser->state == STATE_FIND && parser->segment_ended);
    parser->log_ended = true;
}

/* --- groups ----------------------------------------------------------------------------------- */

static uint64_t log_parser_before(const struct log_parser *parser)
{
    return parser->held.any ? parser->held.header.sequence : parser->last_sequence;
}

static void log_item_set(struct log_item *item, enum log_step step, const struct log_group *group,
                         uint64_t offset)
{
    item->step = step;
    item->segment = group->header.segment;
    item->offset = offset;
    item->group = &group->header;
}

/* The group that begins at `at`, complete or cut by the segment's end. */
static void log_parser_found(struct log_parser *parser, const struct record_group *header)
{
    size_t present = (size_t)(parser->end - parser->at);
    parser->next = (struct log_group){
        .header = *header,
        .data = parser->at,
        .offset = parser->at_offset,
        .size = (uint32_t)MIN_OF(header->bytes, present),
        .any = true,
    };
    /* A cut or torn group may hide later ones only in its own bytes. */
    size_t bytes = (size_t)MIN_OF(align_up(header->bytes, RECORD_PAGE_BYTES), present);
    parser->at += bytes;
    parser->at_offset += bytes;
    parser->durable_before = MAX_OF(parser->durable_before, header->durable_before);
    parser->state = STATE_DECIDE;
}

static bool log_parser_newer(struct log_parser *parser, struct log_item *item)
{
    parser->newer = *item;
    parser->state = STATE_NEWER;
    return true;
}

static bool log_parser_more(struct log_parser *parser, struct log_item *item)
{
    if (parser->log_ended) {
        parser->state = STATE_DECIDE;
        return false;
    }
    item->step = LOG_MORE;
    return true;
}

/* Looks for a GROUP header of this segment, later than those before. */
static bool log_parser_find(struct log_parser *parser, struct log_item *item)
{
    uint64_t before = log_parser_before(parser);
    for (; parser->end - parser->at >= (ptrdiff_t)RECORD_PAGE_BYTES;
         parser->at += RECORD_PAGE_BYTES, parser->at_offset += RECORD_PAGE_BYTES) {
        struct slice rest = slice_make(parser->at, (size_t)(parser->end - parser->at));
        struct record_group header;
        if (!record_group_get(rest, parser->uuid, &header) || header.segment != parser->segment ||
            header.lane != parser->lane || header.sequence <= before) {
            continue;
        }
        if (header.version > RECORD_VERSION) {
            parser->next.header = header;
            log_item_set(item, LOG_NEWER, &parser->next, parser->at_offset);
            item->version = header.version;
            return log_parser_newer(parser, item);
        }
        if (align_up(header.bytes, RECORD_PAGE_BYTES) > rest.size && !parser->segment_ended) {
            break;
        }
        log_parser_found(parser, &header);
        return false;
    }
    return log_parser_more(parser, item);
}

static void log_parser_open(struct log_parser *parser)
{
    record_open(&parser->cursor, slice_make(parser->held.data, parser->held.size), parser->uuid,
                parser->held.header.sequence);
    parser->found = 0;
    parser->bad_end = 0;
}

/* Every record of the held group is there and checks, the bodies included. */
static bool log_parser_whole(struct log_parser *parser)
{
    struct record record;
    if (parser->held.size < parser->held.header.bytes) {
        return false;
    }
    log_parser_open(parser);
    for (enum record_step step = record_next(&parser->cursor, &record); step != RECORD_END;
         step = record_next(&parser->cursor, &record)) {
        if (step == RECORD_DAMAGED || !record_body_matches(&record)) {
            return false;
        }
        parser->found++;
    }
    return parser->found == parser->held.header.records;
}

/* The held group's successor is known, or there is none. */
static bool log_parser_decide(struct log_parser *parser, struct log_item *item)
{
    const struct log_group *held = &parser->held;
    if (!held->any) {
        parser->state = STATE_NEXT;
        return false;
    }
    uint64_t sequence = held->header.sequence;
    uint64_t void_from = parser->next.any ? parser->next.header.void_from : 0;
    bool voided = void_from != 0 && sequence >= void_from;
    if (voided || (sequence >= parser->durable_before && !log_parser_whole(parser))) {
        log_item_set(item, LOG_TORN, held, held->offset);
        item->bytes = held->size;
        item->voided = voided;
        parser->state = STATE_NEXT;
        return true;
    }
    parser->last_sequence = sequence;
    parser->unproven = !parser->next.any && sequence >= parser->durable_before;
    log_parser_open(parser);
    log_item_set(item, LOG_GROUP, held, held->offset);
    parser->state = STATE_RECORDS;
    return true;
}

/* Sequences between the group before and this one are missing: torn, voided, or lost. */
static bool log_gap_lost(uint64_t before, const struct record_group *group)
{
    if (group->sequence <= before + 1 || before + 1 >= group->durable_before) {
        return false;
    }
    return group->void_from == 0 || group->void_from > before + 1;
}

/*
 * Where the groups missing between these two stood: before the second one, or, when it is the first
 * of its segment, at the end of the one before.
 */
static struct log_range log_gap_range(const struct log_parser *parser,
                                      const struct log_group *before,
                                      const struct log_group *group)
{
    uint64_t end = before->offset + align_up(before->header.bytes, RECORD_PAGE_BYTES);
    bool same = before->any && before->header.segment == group->header.segment;
    uint64_t from = same ? end : parser->segment_offset;
    if (from < group->offset) {
        return (struct log_range){group->header.segment, from, group->offset - from};
    }
    bool next = before->any && before->header.segment + 1 == group->header.segment;
    return (struct log_range){before->header.segment, end, next ? UINT64_MAX : 0};
}

/* All of the held group is said: its successor takes its place. */
static bool log_parser_step(struct log_parser *parser, struct log_item *item)
{
    if (!parser->next.any) {
        parser->held.any = false;
        parser->state = STATE_OVER;
        return false;
    }
    uint64_t sequence = log_parser_before(parser);
    struct log_group before = parser->held;
    bool expecting = parser->expecting;
    parser->expecting = true;
    parser->held = parser->next;
    parser->next.any = false;
    parser->sequence_max = MAX_OF(parser->sequence_max, parser->held.header.sequence);
    parser->state = STATE_FIND;
    if (!expecting || !log_gap_lost(sequence, &parser->held.header)) {
        return false;
    }
    log_item_set(item, LOG_DAMAGE, &parser->held, parser->held.offset);
    item->range = log_gap_range(parser, &before, &parser->held);
    item->group = NULL;
    item->records = 0;
    return true;
}

/* --- records ---------------------------------------------------------------------------------- */

/* False: the record is whole and yet makes no sense. */
static bool log_record_open(struct log_item *item)
{
    struct outcome_cursor recipients;
    struct slice said;
    switch ((enum record_kind)item->record.kind) {
    case RECORD_MESSAGE:
        return record_message_get(&item->record, &item->is.message);
    case RECORD_OUTCOME:
        return outcome_open(record_payload(&item->record), &item->is.outcome, &recipients);
    case RECORD_VOID:
        return record_void_get(&item->record, &item->is.voids);
    case RECORD_CURSOR:
        return record_cursor_get(&item->record, &item->is.cursor);
    case RECORD_EVENT:
        return record_event_get(record_payload(&item->record), &item->is.event, &said);
    case RECORD_BODY:
    case RECORD_ADOPT:
    case RECORD_NOTHING:
        break;
    }
    return true;
}

static bool log_record_known(const struct record *record)
{
    switch ((enum record_kind)record->kind) {
    case RECORD_MESSAGE:
    case RECORD_OUTCOME:
    case RECORD_VOID:
    case RECORD_BODY:
    case RECORD_EVENT:
    case RECORD_CURSOR:
    case RECORD_NOTHING:
        return true;
    case RECORD_ADOPT:
        break;
    }
    return (record->flags & RECORD_SKIPPABLE) != 0;
}

static void log_parser_bad(struct log_parser *parser, const struct record *record)
{
    uint64_t offset = parser->held.offset + record->offset;
    if (parser->bad_end == 0) {
        parser->bad_offset = offset;
    }
    parser->bad_end = offset + record->bytes;
}

/* Records of the held group are lost. */
static void log_parser_damage(struct log_parser *parser, struct log_item *item)
{
    const struct log_group *held = &parser->held;
    if (parser->bad_end == 0) { /* there are only too few */
        parser->bad_offset = held->offset;
        parser->bad_end = held->offset + held->size;
    }
    log_item_set(item, LOG_DAMAGE, held, parser->bad_offset);
    item->records = held->header.records - parser->found;
    item->range = (struct log_range){held->header.segment, parser->bad_offset,
                                     parser->bad_end - parser->bad_offset};
}

/* The next record of the held group; those that do not check are one damage, said at its end. */
static bool log_parser_record(struct log_parser *parser, struct log_item *item)
{
    const struct log_group *held = &parser->held;
    for (enum record_step step = record_next(&parser->cursor, &item->record); step != RECORD_END;
         step = record_next(&parser->cursor, &item->record)) {
        if (step == RECORD_DAMAGED || !log_record_open(item)) {
            log_parser_bad(parser, &item->record);
            continue;
        }
        uint64_t offset = held->offset + item->record.offset;
        parser->found++;
        log_item_set(item, LOG_RECORD, held, offset);
        item->location = (struct spool_location){
            .segment = item->segment, .offset_64 = (uint32_t)(offset / RECORD_PLACE_BYTES)};
        if (log_record_known(&item->record)) {
            return true;
        }
        item->step = LOG_NEWER;
        item->version = 0;
        return log_parser_newer(parser, item);
    }
    parser->state = STATE_NEXT;
    if (parser->found >= held->header.records) {
        return false;
    }
    log_parser_damage(parser, item);
    return true;
}

static bool log_parser_over(struct log_parser *parser, struct log_item *item)
{
    if (parser->state == STATE_NEWER) {
        *item = parser->newer;
    } else {
        item->step = LOG_END;
    }
    return true;
}

enum log_step log_parser_next(struct log_parser *parser, struct log_item *item_out)
{
    static bool (*const steps[])(struct log_parser *, struct log_item *) = {
        [STATE_FIND] = log_parser_find,      [STATE_DECIDE] = log_parser_decide,
        [STATE_RECORDS] = log_parser_record, [STATE_NEXT] = log_parser_step,
        [STATE_NEWER] = log_parser_over,     [STATE_OVER] = log_parser_over,
    };
    while (!steps[parser->state](parser, item_out)) {
    }
    return item_out->step;
}

bool log_parser_tail(const struct log_parser *parser, struct log_tail *tail_out)
{
    const struct log_group *held = &parser->held;
    if (parser->state != STATE_OVER || !parser->unproven) {
        return false;
    }
    uint32_t bytes = (uint32_t)align_up(held->size, RECORD_PAGE_BYTES);
    uint8_t *data = parser->held_memory;
    if (held->data != data) {
        memcpy(data, held->data, held->size);
    }
    /* Copied is a group without its padding, which is zeros. */
    memset(data + held->size, 0, bytes - held->size);
    *tail_out = (struct log_tail){
        .segment = held->header.segment, .offset = held->offset, .data = data, .bytes = bytes};
    return true;
}

/* --- adopted lanes ---------------------------------------------------------------------------- */

static void place_shift(struct spool_location *place, uint32_t shift)
{
    bool sound = place->segment != 0 && place->segment <= UINT32_MAX - shift;
    place->segment = sound ? place->segment + shift : 0;
}

void log_item_shift(struct log_item *item, uint32_t shift)
{
    if (shift == 0 || item->step == LOG_MORE || item->step == LOG_END) {
        return;
    }
    item->segment += shift;
    if (item->step != LOG_RECORD) {
        return;
    }
    place_shift(&item->location, shift);
    switch ((enum record_kind)item->record.kind) {
    case RECORD_MESSAGE:
        place_shift(&item->is.message.moved_from, shift);
        break;
    case RECORD_OUTCOME:
        place_shift(&item->is.outcome.message, shift);
        break;
    case RECORD_VOID:
        place_shift(&item->is.voids, shift);
        break;
    case RECORD_CURSOR:
        place_shift(&item->is.cursor.group, shift);
        break;
    case RECORD_BODY:
    case RECORD_EVENT:
    case RECORD_ADOPT:
    case RECORD_NOTHING:
        break;
    }
}
