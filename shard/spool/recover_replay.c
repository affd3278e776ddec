#include "shard/spool/recover_replay.h"

#include <errno.h>
#include <string.h>

#include "core/little.h"

static void recover_no_memory(struct recover *recover)
{
    recover_fail(recover, -ENOMEM, "spool: lane %u: the spool needs more than memory.limit allows",
                 recover->options->lane);
}

/* --- damage ----------------------------------------------------------------------------------- */

/* Named at the end: what lies in segments that are no part of the log any more is no damage. */
static void recover_damaged(struct recover *recover, const struct recover_damage *damage)
{
    recover->counts.damaged_records += MAX_OF(damage->records, 1);
    if (recover->damage_count < RECOVER_DAMAGES_MAX) {
        recover->damages[recover->damage_count++] = *damage;
    }
}

/* By the number that the segment has, or will have once its lane is adopted. */
static void recover_copy_aside(struct recover *recover, const struct recover_damage *damage)
{
    struct log_range range = damage->range;
    range.segment += recover->shift;
    quarantine_put(recover->quarantine, &range,
                   damage->records > 0 ? QUARANTINE_RECORD : QUARANTINE_GROUP);
}

void recover_replay_end(struct recover *recover)
{
    for (unsigned i = 0; i < recover->damage_count; i++) {
        const struct recover_damage *damage = &recover->damages[i];
        if (damage->segment < recover->durable_first) {
            recover->counts.damaged_records -= MAX_OF(damage->records, 1);
            continue;
        }
        spool_note(recover->options, "spool: lane %u segment %u offset %llu: damaged, %s",
                   recover->options->lane, damage->segment, (unsigned long long)damage->offset,
                   damage->records > 0 ? "records are lost" : "a group is lost");
        recover_copy_aside(recover, damage);
    }
}

/* --- records ---------------------------------------------------------------------------------- */

/* As the rest of the server calls it. */
static struct spool_location recover_place(const struct recover *recover,
                                           struct spool_location location)
{
    bool sound = location.segment != 0 && location.segment <= UINT32_MAX - recover->shift;
    location.segment = sound ? location.segment + recover->shift : 0;
    return location;
}

/* An entry for a message with pieces, to be placed; PIECES_NONE: there is one, or no memory. */
static uint32_t recover_pieces_new(struct recover *recover, struct spool_location location)
{
    if (pieces_find(recover->pieces, location) != PIECES_NONE) {
        return PIECES_NONE;
    }
    uint32_t handle = pieces_new(recover->pieces);
    if (handle == PIECES_NONE) {
        recover_no_memory(recover);
    }
    return handle;
}

static void recover_pieces_add(struct recover *recover, uint32_t handle, uint32_t segment)
{
    const struct spool_location there = {.segment = segment};
    if (!pieces_add(recover->pieces, handle, recover_place(recover, there).segment)) {
        recover_no_memory(recover);
    }
}

static void recover_parts(struct recover *recover, struct spool_location location,
                          struct slice parts)
{
    uint32_t handle = recover_pieces_new(recover, location);
    if (handle == PIECES_NONE) {
        return;
    }
    struct spool_part part;
    for (size_t at = 0; at + sizeof(part) <= parts.size; at += sizeof(part)) {
        memcpy(&part, parts.data + at, sizeof(part));
        recover_pieces_add(recover, handle, part.location.segment);
    }
    pieces_place(recover->pieces, handle, location, 0);
}

static void recover_message(struct recover *recover, const struct log_item *item)
{
    struct spool_location location = item->location;
    const struct record_message *message = &item->is.message;
    struct spool_found found = {
        .location = recover_place(recover, location),
        .id = message->id,
        .created_ns = message->created_ns,
        .event_sequence = message->event_sequence,
        .moved_from = recover_place(recover, message->moved_from),
        .body_bytes = message->body_bytes,
        .flags = message->flags,
        .envelope = message->sections[SECTION_ENVELOPE],
        .metadata = message->sections[SECTION_METADATA],
    };
    recover->counts.messages++;
    recover->counts.boots_seen = MAX_OF(recover->counts.boots_seen, id_boot(&message->id));
    recover->event_next = MAX_OF(recover->event_next,
                                 message->event_sequence + message->recipient_count);
    struct segment *segment = segments_find(recover->segments, location.segment);
    if (segment != NULL) {
        segment->rows_total += message->recipient_count;
    }
    if ((message->flags & SPOOL_MESSAGE_PARTS) != 0) {
        recover_parts(recover, found.location, message->sections[SECTION_BODY]);
    }
    if (!recover->replay->message(recover->replay->context, &found)) {
        const struct recover_damage damage = {
            .segment = item->segment,
            .offset = item->offset,
            .records = 1,
            .range = {item->segment, item->offset, item->record.bytes},
        };
        recover_damaged(recover, &damage);
    }
}

static void recover_outcome(struct recover *recover, const struct log_item *item)
{
    const struct outcome *outcome = &item->is.outcome;
    recover->counts.outcomes++;
    recover->event_next =
        MAX_OF(recover->event_next, outcome->event_sequence + outcome->recipient_count);
    recover->replay->outcome(recover->replay->context, recover_place(recover, outcome->message),
                             record_payload(&item->record));
}

static void recover_record(struct recover *recover, const struct log_item *item)
{
    switch ((enum record_kind)item->record.kind) {
    case RECORD_MESSAGE:
        recover_message(recover, item);
        break;
    case RECORD_OUTCOME:
        recover_outcome(recover, item);
        break;
    case RECORD_VOID:
        recover->replay->void_message(recover->replay->context,
                                      recover_place(recover, item->is.voids));
        break;
    case RECORD_CURSOR:
        if (item->is.cursor.sequence > recover->cursor.sequence) {
            recover->cursor = item->is.cursor;
        }
        break;
    case RECORD_EVENT:
        recover->event_next = MAX_OF(recover->event_next,
                                     item->is.event.event_sequence + item->is.event.count);
        break;
    case RECORD_BODY:
    case RECORD_ADOPT:
    case RECORD_NOTHING:
        break;
    }
}

static void recover_newer(struct recover *recover, const struct log_item *item)
{
    if (item->version != 0) {
        recover_fail(recover, -EPROTO, "spool: lane %u segment %u is of format version %u, newer",
                     recover->options->lane, item->segment, item->version);
    } else {
        recover_fail(recover, -EPROTO,
                     "spool: lane %u segment %u holds records of a newer version (kind %u)",
                     recover->options->lane, item->segment, item->record.kind);
    }
}

bool recover_replay_log(struct recover *recover)
{
    struct log_item item;
    for (;;) {
        switch (log_parser_next(&recover->reader.parser, &item)) {
        case LOG_GROUP:
            recover->durable_first = MAX_OF(recover->durable_first, item.group->log_first);
            break;
        case LOG_RECORD:
            recover_record(recover, &item);
            break;
        case LOG_TORN:
            recover->counts.torn_bytes += item.bytes;
            break;
        case LOG_DAMAGE:
            recover_damaged(recover, &(struct recover_damage){item.segment, item.offset,
                                                              item.records, item.range});
            break;
        case LOG_NEWER:
            recover_newer(recover, &item);
            return false;
        case LOG_MORE:
        case LOG_END:
            return recover->error == 0;
        }
    }
}

/* --- the checkpoint --------------------------------------------------------------------------- */

static void recover_entry_pieces(struct recover *recover, const struct checkpoint_pieces *pieces)
{
    struct spool_location place = recover_place(recover, pieces->location);
    uint32_t handle = recover_pieces_new(recover, place);
    if (handle == PIECES_NONE) {
        return;
    }
    for (uint32_t i = 0; i < pieces->count; i++) {
        recover_pieces_add(recover, handle, little_u32(pieces->segments.data + 4 * (size_t)i));
    }
    pieces_place(recover->pieces, handle, place, 0);
}

static void recover_entry_row(struct recover *recover, struct checkpoint_row row)
{
    recover->counts.rows++;
    row.location = recover_place(recover, row.location);
    recover->replay->row(recover->replay->context, &row);
}

static void recover_entry_segment(struct recover *recover, const struct checkpoint_segment *entry)
{
    struct segment *segment = segments_find(recover->segments, entry->number);
    if (entry->lane != recover->options->lane) {
        adopted_found(&recover->adopted, entry);
    } else if (segment != NULL) {
        segment->rows_total = entry->rows_total;
    }
}

void recover_replay_entry(struct recover *recover, const struct checkpoint_entry *entry)
{
    const struct spool_replay *replay = recover->replay;
    switch (entry->kind) {
    case CHECKPOINT_ROW:
        recover_entry_row(recover, entry->row);
        break;
    case CHECKPOINT_QUEUE:
        replay->queue(replay->context, entry->queue.number, entry->queue.name);
        break;
    case CHECKPOINT_PIECES:
        recover_entry_pieces(recover, &entry->pieces);
        break;
    case CHECKPOINT_SEGMENT:
        recover_entry_segment(recover, &entry->segment);
        break;
    case CHECKPOINT_END:
        break;
    }
}

void recover_replay_forget(struct recover *recover)
{
    uint32_t handle = pieces_walk(recover->pieces, 0);
    while (handle != PIECES_NONE) {
        if (pieces_location(recover->pieces, handle).segment > recover->shift) {
            pieces_give(recover->pieces, handle);
        }
        handle = pieces_walk(recover->pieces, handle + 1);
    }
    for (uint32_t i = 0; i < recover->files.order_count; i++) {
        recover->segments->table[recover->files.order[i]].rows_total = 0;
    }
    adopted_forget(&recover->adopted);
    recover->counts.rows = 0;
    recover->replay->reset(recover->replay->context, recover->shift);
}
