/* Every record of the log, one a line; or one message, as it would be sent. */
#include "tools/cmd_spool.h"

#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "core/date.h"
#include "core/little.h"
#include "shard/spool/spool.h"
#include "smtp/envelope.h"
#include "tools/exit_codes.h"

#define ADDRESS_BYTES_MAX 320
#define RECIPIENTS_SHOWN  100

struct dump {
    struct spool_run *run;
    struct spool_lane *lane;
    struct spool_begin begin;
    bool found; /* the message that was asked for */
};

static const char *kind_name(uint8_t kind)
{
    static const char *const names[] = {
        [RECORD_MESSAGE] = "message", [RECORD_BODY] = "body",     [RECORD_OUTCOME] = "outcome",
        [RECORD_EVENT] = "event",     [RECORD_VOID] = "void",     [RECORD_CURSOR] = "cursor",
        [RECORD_ADOPT] = "adopt",     [RECORD_NOTHING] = "nothing"};
    return kind < COUNT_OF(names) && names[kind] != NULL ? names[kind] : "unknown";
}

static const char *disposition_name(uint8_t disposition)
{
    switch ((enum disposition)disposition) {
    case DISPOSITION_DELIVERED:
        return "delivered";
    case DISPOSITION_DEFERRED:
        return "deferred";
    case DISPOSITION_BOUNCED:
        return "bounced";
    case DISPOSITION_EXPIRED:
        return "expired";
    case DISPOSITION_ADMIN_BOUNCED:
        return "admin_bounced";
    }
    return "unknown";
}

static void json_time(struct json *json, const char *key, uint64_t wall_ns)
{
    uint8_t bytes[32];
    struct buf buf;
    buf_init(&buf, bytes, sizeof(bytes));
    date_put_rfc3339(&buf, wall_ns);
    spool_json_text(json, key, buf_slice(&buf));
}

static void json_place(struct json *json, struct spool_location location)
{
    spool_json_number(json, "segment", location.segment);
    spool_json_number(json, "offset", (uint64_t)location.offset_64 * RECORD_PLACE_BYTES);
}

static void json_location(struct json *json, const char *key, struct spool_location location)
{
    json_key(json, key);
    json_object(json);
    json_place(json, location);
    json_object_end(json);
}

/* --- fields of each kind ---------------------------------------------------------------------- */

static void message_fields(struct json *json, const struct record_message *message)
{
    struct envelope_cursor cursor;
    struct envelope_recipient recipient;
    struct slice sender;
    spool_json_id(json, &message->id);
    json_time(json, "created", message->created_ns);
    spool_json_number(json, "flags", message->flags);
    spool_json_number(json, "body_bytes", message->body_bytes);
    if ((message->flags & SPOOL_MESSAGE_MOVED) != 0) {
        json_location(json, "moved_from", message->moved_from);
    }
    if (message->event_sequence > 0) {
        spool_json_number(json, "event_sequence", message->event_sequence);
    }
    spool_json_number(json, "recipient_count", message->recipient_count);
    if (!envelope_open(message->sections[SECTION_ENVELOPE], &sender, &cursor)) {
        return;
    }
    spool_json_text(json, "sender", slice_first(sender, MIN_OF(sender.size,
                                                               (size_t)ADDRESS_BYTES_MAX)));
    json_key(json, "recipients");
    json_array(json);
    for (unsigned i = 0; i < RECIPIENTS_SHOWN && envelope_next(&cursor, &recipient) == 1; i++) {
        json_string(json, slice_first(recipient.address, MIN_OF(recipient.address.size,
                                                                (size_t)ADDRESS_BYTES_MAX)));
    }
    json_array_end(json);
}

static void outcome_fields(struct json *json, const struct log_item *item)
{
    struct outcome outcome;
    struct outcome_cursor cursor;
    struct outcome_recipient recipient;
    if (!outcome_open(record_payload(&item->record), &outcome, &cursor)) {
        return;
    }
    json_location(json, "message", item->is.outcome.message);
    json_time(json, "time", outcome.wall_ns);
    spool_json_number(json, "event_sequence", outcome.event_sequence);
    spool_json_number(json, "recipient_count", outcome.recipient_count);
    json_key(json, "recipients");
    json_array(json);
    for (unsigned i = 0; i < RECIPIENTS_SHOWN && outcome_next(&cursor, &recipient) == 1; i++) {
        json_object(json);
        spool_json_number(json, "index", recipient.index);
        spool_json_text(json, "disposition",
                        slice_from_string(disposition_name(recipient.disposition)));
        spool_json_number(json, "attempts", recipient.attempts);
        if (recipient.disposition == DISPOSITION_DEFERRED) {
            json_time(json, "due", (uint64_t)recipient.due_s * NS_PER_S);
        }
        spool_json_number(json, "code", recipient.code);
        json_object_end(json);
    }
    json_array_end(json);
}

static void body_fields(struct json *json, const struct record *record)
{
    XXH128_hash_t hash;
    uint64_t bytes;
    if (record_body_get(record, &bytes, &hash)) {
        spool_json_number(json, "body_bytes", bytes);
    }
}

static void record_fields(struct json *json, const struct log_item *item)
{
    switch ((enum record_kind)item->record.kind) {
    case RECORD_MESSAGE:
        message_fields(json, &item->is.message);
        break;
    case RECORD_OUTCOME:
        outcome_fields(json, item);
        break;
    case RECORD_BODY:
        body_fields(json, &item->record);
        break;
    case RECORD_VOID:
        json_location(json, "message", item->is.voids);
        break;
    case RECORD_CURSOR:
        spool_json_number(json, "sequence", item->is.cursor.sequence);
        json_location(json, "position", item->is.cursor.group);
        break;
    case RECORD_EVENT:
        json_time(json, "time", item->is.event.wall_ns);
        spool_json_number(json, "event_sequence", item->is.event.event_sequence);
        spool_json_number(json, "event_count", item->is.event.count);
        break;
    case RECORD_ADOPT:
    case RECORD_NOTHING:
        break;
    }
}

/* --- lines ------------------------------------------------------------------------------------ */

/* For people the same fields, from the JSON: {"type":"outcome","lane":0 …} without its frame. */
static void print_line(struct dump *dump, struct json *json)
{
    if (dump->run->as_json) {
        spool_run_json_end(dump->run, json);
        return;
    }
    json_object_end(json);
    CHECK(!dump->run->text.overflow);
    const uint8_t *text = dump->run->text.data;
    bool quoted = false;
    for (size_t i = 1; i + 1 < dump->run->text.size; i++) {
        bool escaped = quoted && text[i] == '\\';
        quoted = text[i] == '"' ? !quoted : quoted;
        if (escaped) {
            fputc(text[i++], stdout);
            fputc(text[i], stdout);
        } else if (!quoted && (text[i] == ',' || text[i] == ':')) {
            fputc(text[i] == ',' ? ' ' : '=', stdout);
        } else if (text[i] != '"') {
            fputc(text[i], stdout);
        }
    }
    fputc('\n', stdout);
}

static void dump_place(struct dump *dump, struct json *json, const struct log_item *item)
{
    spool_json_number(json, "lane", dump->lane->lane);
    spool_json_number(json, "segment", item->segment);
    spool_json_number(json, "offset", item->offset);
    spool_json_number(json, "group", item->group->sequence);
}

/* Where no start reads: what stood there has left the log, and its file is used again. */
static bool gap_by_reuse(const struct dump *dump, const struct log_item *item)
{
    const struct spool_location *begin = &dump->begin.begin.group;
    bool before = item->segment < begin->segment ||
                  (item->segment == begin->segment &&
                   item->offset <= (uint64_t)begin->offset_64 * RECORD_PLACE_BYTES);
    return item->step == LOG_DAMAGE && item->records == 0 && before;
}

static bool dump_item(void *context, const struct log_item *item)
{
    struct dump *dump = context;
    struct spool_run *run = dump->run;
    struct json json;
    if (gap_by_reuse(dump, item)) {
        return true;
    }
    if (item->step == LOG_DAMAGE || item->step == LOG_NEWER) {
        spool_run_item_damage(run, dump->lane->lane, item);
        return true;
    }
    if (item->step == LOG_TORN) {
        spool_run_json(run, &json, item->voided ? "voided" : "torn");
        dump_place(dump, &json, item);
        spool_json_number(&json, "bytes", item->bytes);
    } else if (item->step == LOG_RECORD) {
        spool_run_json(run, &json, kind_name(item->record.kind));
        dump_place(dump, &json, item);
        spool_json_number(&json, "bytes", item->record.bytes);
        record_fields(&json, item);
    } else {
        return true;
    }
    print_line(dump, &json);
    return ferror(stdout) == 0;
}

static void dump_unreadable(void *context, uint32_t segment, uint64_t offset, int error)
{
    struct dump *dump = context;
    char what[96];
    snprintf(what, sizeof(what), "cannot be read: %s", strerror(-error));
    spool_run_damage(dump->run, dump->lane->lane, segment, offset, what);
}

static void dump_lane(struct spool_run *run, struct spool_lane *lane)
{
    struct dump dump = {.run = run, .lane = lane};
    struct spool_visitor visitor = {
        .context = &dump, .item = dump_item, .unreadable = dump_unreadable};
    struct spool_position all = {0};
    spool_begin_read(lane, NULL, &dump.begin); /* it names segments of adopted lanes */
    for (uint32_t i = 0; i < lane->count && !run->one_segment; i++) {
        if (spool_lane_adopted(lane, i) && !lane->files[i].gone) {
            (void)spool_lane_walk_file(lane, i, 0, false, &visitor);
        }
    }
    if (!run->one_segment) {
        (void)spool_lane_walk(lane, all, &visitor);
        return;
    }
    uint32_t file = spool_lane_find(lane, (uint32_t)run->segment);
    if (file < lane->count) {
        (void)spool_lane_walk_file(lane, file, 0, false, &visitor);
    } else {
        fprintf(stderr, "ringpost: lane %u has no segment %llu\n", lane->lane,
                (unsigned long long)run->segment);
    }
}

/* --- one message ------------------------------------------------------------------------------ */

/* A part of the body that begins at `at` of the whole, without what is cut out of it. */
static void write_body(const struct record_message *message, uint64_t at, struct slice part)
{
    struct slice cuts = message->sections[SECTION_CUTS];
    uint64_t end = at + part.size;
    uint64_t from = at;
    for (size_t i = 0; i + 8 <= cuts.size; i += 8) {
        uint64_t cut = little_u32(cuts.data + i);
        uint64_t cut_end = cut + little_u32(cuts.data + i + 4);
        if (cut_end <= from || cut >= end) {
            continue;
        }
        if (cut > from) {
            fwrite(part.data + (from - at), 1, (size_t)(cut - from), stdout);
        }
        from = MIN_OF(cut_end, end);
    }
    fwrite(part.data + (from - at), 1, (size_t)(end - from), stdout);
}

static bool write_parts(struct dump *dump, const struct record_message *message, uint32_t segment)
{
    uint32_t shift = dump->lane->files[spool_lane_find(dump->lane, segment)].shift;
    struct slice listed = message->sections[SECTION_BODY];
    uint64_t at = 0;
    bool good = true;
    for (size_t i = 0; i + sizeof(struct spool_part) <= listed.size;
         i += sizeof(struct spool_part)) {
        struct spool_part part;
        struct record record;
        memcpy(&part, listed.data + i, sizeof(part));
        part.location.segment += shift;
        if (spool_lane_record(dump->lane, part.location, true, &record) != SPOOL_RECORD_GOOD ||
            record.kind != RECORD_BODY || record.tail.size < part.size) {
            fprintf(stderr, "ringpost: %u bytes of the body are not there\n", part.size);
            good = false;
        } else {
            good = record_body_matches(&record) && good;
            write_body(message, at, slice_first(record.tail, part.size));
        }
        at += part.size;
    }
    return good;
}

static bool is_wanted(const struct spool_run *run, const struct record_message *message)
{
    struct id wanted = id_with_index(run->message, ID_INDEX_MESSAGE);
    struct id here = id_with_index(message->id, ID_INDEX_MESSAGE);
    return memcmp(&wanted, &here, sizeof(here)) == 0;
}

static bool rescue_item(void *context, const struct log_item *item)
{
    struct dump *dump = context;
    if (item->step != LOG_RECORD || item->record.kind != RECORD_MESSAGE ||
        !is_wanted(dump->run, &item->is.message)) {
        return true;
    }
    const struct record_message *message = &item->is.message;
    struct slice prepend = message->sections[SECTION_PREPEND];
    struct slice body = message->sections[SECTION_BODY];
    bool good = true;
    dump->found = true;
    fwrite(prepend.data, 1, prepend.size, stdout);
    if ((message->flags & SPOOL_MESSAGE_PARTS) != 0) {
        good = write_parts(dump, message, item->segment);
    } else if (body.data != NULL) {
        good = record_body_matches(&item->record);
        write_body(message, 0, body);
    }
    if (!good) {
        fprintf(stderr, "ringpost: the body is not what was received\n");
        dump->run->damages++;
    }
    return false;
}

/* Every file by itself: what a start would not read any more may still be there. */
static void rescue_lane(struct spool_run *run, struct spool_lane *lane)
{
    struct dump dump = {.run = run, .lane = lane};
    struct spool_visitor visitor = {.context = &dump, .item = rescue_item};
    spool_begin_read(lane, NULL, &dump.begin);
    for (uint32_t i = lane->count; i > 0 && !dump.found && !run->found; i--) {
        if (lane->files[i - 1].number != 0 && !lane->files[i - 1].gone) {
            (void)spool_lane_walk_file(lane, i - 1, 0, true, &visitor);
        }
    }
    run->found = run->found || dump.found;
}

int spool_dump(struct spool_run *run)
{
    bool good = spool_run_lanes(run, run->one_message ? rescue_lane : dump_lane);
    if (run->one_message && !run->found) {
        fprintf(stderr, "ringpost: the spool holds no such message\n");
        return EXIT_FAILED;
    }
    return good && run->damages == 0 ? EXIT_FINE : EXIT_FAILED;
}
