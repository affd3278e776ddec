/* All of a spool is read, bodies too, and everything that does not check is named. */
#include "tools/cmd_spool.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "shard/spool/quarantine_name.h"
#include "shard/spool/spool.h"
#include "smtp/envelope.h"
#include "smtp/metadata.h"
#include "tools/exit_codes.h"
#include "tools/readable.h"

struct lane_check {
    struct spool_run *run;
    struct spool_lane *lane;
    struct lane_state state;
    struct spool_begin begin;
    bool *needed;  /* by place in lane->files: holds something of a queued message */
    bool tail;     /* of what is being read: it changes the state */
    uint64_t segments;
    uint64_t spares;
    uint64_t groups;
    uint64_t messages;
    uint64_t bodies;
    uint64_t outcomes;
    uint64_t bytes;
    uint64_t torn_bytes;
    uint64_t damages_before;
    uint32_t lost_messages; /* queued, but their segments are not there: a start drops them */
    uint64_t lost_rows;
};

/* Null: the content of a record that checks makes sense, too. */
static const char *message_fault(const struct log_item *item)
{
    const struct record_message *message = &item->is.message;
    struct envelope_cursor cursor;
    struct envelope_recipient recipient;
    struct metadata metadata;
    struct slice sender;
    uint32_t recipients = 0;
    int step = -1;
    if (!record_message_sound(message)) {
        return "a message with dots or cuts outside its body";
    }
    if (envelope_open(message->sections[SECTION_ENVELOPE], &sender, &cursor)) {
        for (step = envelope_next(&cursor, &recipient); step == 1;
             step = envelope_next(&cursor, &recipient)) {
            recipients++;
        }
    }
    if (step < 0 || recipients != message->recipient_count) {
        return "a message with an envelope that makes no sense";
    }
    return metadata_parse(message->sections[SECTION_METADATA], &metadata)
               ? NULL
               : "a message with metadata that makes no sense";
}

static const char *outcome_fault(const struct log_item *item)
{
    struct outcome outcome;
    struct outcome_cursor cursor;
    struct outcome_recipient recipient;
    if (!outcome_open(record_payload(&item->record), &outcome, &cursor)) {
        return "an outcome that makes no sense";
    }
    int step = outcome_next(&cursor, &recipient);
    while (step == 1) {
        step = outcome_next(&cursor, &recipient);
    }
    return step == 0 ? NULL : "an outcome that makes no sense";
}

static void check_record(struct lane_check *check, const struct log_item *item)
{
    const char *fault = NULL;
    if (item->record.kind == RECORD_MESSAGE) {
        check->messages++;
        fault = message_fault(item);
    } else if (item->record.kind == RECORD_BODY) {
        check->bodies++;
    } else if (item->record.kind == RECORD_OUTCOME) {
        check->outcomes++;
        fault = outcome_fault(item);
    }
    if (fault == NULL && !record_body_matches(&item->record)) {
        fault = "a body that is not what was received";
    }
    if (fault != NULL) {
        spool_run_damage(check->run, check->lane->lane, item->segment, item->offset, fault);
    }
    if (check->tail) {
        lane_state_record(&check->state, item);
    }
}

static bool check_item(void *context, const struct log_item *item)
{
    struct lane_check *check = context;
    switch (item->step) {
    case LOG_GROUP:
        check->groups++;
        break;
    case LOG_RECORD:
        check_record(check, item);
        break;
    case LOG_TORN:
        check->torn_bytes += item->bytes;
        break;
    case LOG_DAMAGE:
    case LOG_NEWER:
        spool_run_item_damage(check->run, check->lane->lane, item);
        break;
    case LOG_MORE:
    case LOG_END:
        break;
    }
    return true;
}

static void check_unreadable(void *context, uint32_t segment, uint64_t offset, int error)
{
    struct lane_check *check = context;
    char what[96];
    snprintf(what, sizeof(what), "cannot be read: %s", strerror(-error));
    spool_run_damage(check->run, check->lane->lane, segment, offset, what);
}

static void check_progress(void *context, uint64_t bytes)
{
    struct lane_check *check = context;
    check->bytes += bytes;
    spool_run_progress(check->run, bytes);
}

static void check_queued_fault(struct lane_check *check, struct spool_location location,
                               const char *what)
{
    spool_run_damage(check->run, check->lane->lane, location.segment,
                     (uint64_t)location.offset_64 * RECORD_PLACE_BYTES, what);
}

/* Pieces of bodies stand in records of their own, in other segments maybe. */
static void check_parts(struct lane_check *check, struct spool_location location,
                        const struct spool_part *parts, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct record record;
        XXH128_hash_t hash;
        check->needed[spool_lane_find(check->lane, parts[i].location.segment)] = true;
        uint64_t bytes;
        if (spool_lane_record(check->lane, parts[i].location, true, &record) !=
                SPOOL_RECORD_GOOD ||
            !record_body_get(&record, &bytes, &hash) || bytes != parts[i].size ||
            !record_body_matches(&record)) {
            check_queued_fault(check, location, "a queued message lacks a piece of its body");
            return;
        }
    }
}

static void count_lost(struct lane_check *check, const struct state_message *queued)
{
    const struct state_row *rows = check->state.rows;
    for (uint32_t at = queued->first; at != STATE_NONE; at = rows[at].next) {
        check->lost_rows++;
    }
    check->lost_messages++;
}

/* A queued message is there, with all of its body. */
static void check_queued(struct lane_check *check, const struct state_message *queued)
{
    struct record record;
    struct record_message message;
    struct spool_location location = queued->location;
    uint32_t file = spool_lane_find(check->lane, location.segment);
    check->needed[file] = true;
    if (file == check->lane->count) {
        count_lost(check, queued);
    }
    if (spool_lane_record(check->lane, location, true, &record) != SPOOL_RECORD_GOOD ||
        !record_message_get(&record, &message)) {
        check_queued_fault(check, location, "a queued message is not there");
        return;
    }
    if (!record_body_matches(&record)) {
        check_queued_fault(check, location, "a queued message's body is not what was received");
    }
    if ((message.flags & SPOOL_MESSAGE_PARTS) == 0) {
        return;
    }
    struct slice listed = message.sections[SECTION_BODY];
    struct spool_part *parts = malloc(listed.size + 1);
    CHECK(parts != NULL);
    memcpy(parts, listed.data, listed.size);
    uint32_t count = (uint32_t)(listed.size / sizeof(*parts));
    for (uint32_t i = 0; i < count; i++) {
        parts[i].location.segment += check->lane->files[file].shift;
    }
    check_parts(check, location, parts, count);
    free(parts);
}

/* Segments that the tail does not reach, and that hold something that is queued. */
static void check_older(struct lane_check *check, const struct spool_visitor *visitor)
{
    const struct spool_location *begin = &check->begin.begin.group;
    check->tail = false;
    for (uint32_t i = 0; i < check->lane->count; i++) {
        uint32_t number = check->lane->files[i].number;
        uint64_t end = number == begin->segment
                           ? (uint64_t)begin->offset_64 * RECORD_PLACE_BYTES : 0;
        bool older = spool_lane_adopted(check->lane, i) || number < begin->segment ||
                     (number == begin->segment && end > RECORD_PAGE_BYTES);
        if (number != 0 && older && check->needed[i]) {
            (void)spool_lane_walk_file(check->lane, i, end, false, visitor);
        }
    }
}

static void count_files(struct lane_check *check)
{
    const struct spool_lane *lane = check->lane;
    bool all = check->begin.begin.sequence == 0;
    uint32_t first = all ? lane->log_first : check->begin.begin.group.segment;
    for (uint32_t i = 0; i < lane->count; i++) {
        const struct spool_file *file = &lane->files[i];
        bool in_log = spool_lane_adopted(lane, i) || (file->number != 0 && file->number >= first);
        check->segments += !file->gone && (in_log || check->needed[i]) ? 1 : 0;
        check->spares += in_log || check->needed[i] ? 0 : 1;
    }
}

static void print_lane(const struct lane_check *check)
{
    const struct lane_state *state = &check->state;
    char bytes[32];
    uint64_t finished = check->messages > state->live_messages
                            ? check->messages - state->live_messages : 0;
    printf("lane %u: %llu segments, %llu spares, %s read; %llu messages: %u queued "
           "(%llu recipients), %llu finished; %llu outcomes; %llu torn bytes; %llu damages\n",
           check->lane->lane, (unsigned long long)check->segments,
           (unsigned long long)check->spares, readable_size(bytes, check->bytes),
           (unsigned long long)check->messages, state->live_messages - check->lost_messages,
           (unsigned long long)(state->live_rows - check->lost_rows),
           (unsigned long long)finished,
           (unsigned long long)check->outcomes, (unsigned long long)check->torn_bytes,
           (unsigned long long)(check->run->damages - check->damages_before));
}

static void print_lane_json(struct lane_check *check)
{
    const struct lane_state *state = &check->state;
    struct json json;
    bool any = check->begin.newest < SPOOL_CHECKPOINTS;
    spool_run_json(check->run, &json, "lane");
    spool_json_number(&json, "lane", check->lane->lane);
    spool_json_number(&json, "segments", check->segments);
    spool_json_number(&json, "spares", check->spares);
    spool_json_number(&json, "bytes", check->bytes);
    spool_json_number(&json, "groups", check->groups);
    spool_json_number(&json, "messages", check->messages);
    spool_json_number(&json, "queued_messages", state->live_messages - check->lost_messages);
    spool_json_number(&json, "queued_recipients", state->live_rows - check->lost_rows);
    spool_json_number(&json, "pieces", check->bodies);
    spool_json_number(&json, "outcomes", check->outcomes);
    spool_json_number(&json, "checkpoint",
                      any ? check->begin.checkpoints[check->begin.newest].head.generation : 0);
    spool_json_number(&json, "torn_bytes", check->torn_bytes);
    spool_json_number(&json, "damages", check->run->damages - check->damages_before);
    spool_run_json_end(check->run, &json);
}

static void check_lane(struct spool_run *run, struct spool_lane *lane)
{
    struct lane_check check = {.run = run, .lane = lane, .tail = true,
                               .damages_before = run->damages};
    struct spool_visitor visitor = {.context = &check, .item = check_item,
                                    .unreadable = check_unreadable, .progress = check_progress};
    lane_state_init(&check.state);
    spool_begin_read(lane, &check.state, &check.begin);
    check.needed = calloc(lane->count + 1, sizeof(*check.needed));
    CHECK(check.needed != NULL);
    spool_run_begin_damage(run, lane, &check.begin);
    (void)spool_lane_walk(lane, check.begin.begin, &visitor);
    uint32_t *order = lane_state_order(&check.state);
    for (uint32_t i = 0; i < check.state.live_messages; i++) {
        check_queued(&check, &check.state.messages[order[i]]);
    }
    count_files(&check);
    check_older(&check, &visitor);
    if (run->as_json) {
        print_lane_json(&check);
    } else {
        print_lane(&check);
    }
    free(order);
    free(check.needed);
    lane_state_fini(&check.state);
}

/* --- copies of damage ------------------------------------------------------------------------- */

static void print_copy(struct spool_run *run, const struct quarantine_name *name, const char *file)
{
    struct json json;
    if (!run->as_json) {
        printf("lane %u segment %u offset %llu: %llu damaged bytes (%s) were copied to "
               QUARANTINE_FOLDER "/%s\n", name->lane, name->segment,
               (unsigned long long)name->offset, (unsigned long long)name->bytes,
               quarantine_word(name->reason), file);
        return;
    }
    spool_run_json(run, &json, "quarantine");
    spool_json_number(&json, "lane", name->lane);
    spool_json_number(&json, "segment", name->segment);
    spool_json_number(&json, "offset", name->offset);
    spool_json_number(&json, "bytes", name->bytes);
    spool_json_text(&json, "what", slice_from_string(quarantine_word(name->reason)));
    spool_json_text(&json, "file", slice_from_string(file));
    spool_run_json_end(run, &json);
}

/* What the server has copied aside, by name; it is no damage of the spool any more. */
static bool print_copies(struct spool_run *run)
{
    char path[SPOOL_PATH_BYTES];
    struct dirent **names;
    int size = snprintf(path, sizeof(path), "%s/" QUARANTINE_FOLDER, run->path);
    int count = size > 0 && (size_t)size < sizeof(path) ? scandir(path, &names, NULL, alphasort)
                                                        : -1;
    if (count < 0) {
        if (errno == ENOENT) {
            return true;
        }
        fprintf(stderr, "ringpost: spool: %s: %s\n", path, strerror(errno));
        return false;
    }
    for (int i = 0; i < count; i++) {
        struct quarantine_name name;
        if (quarantine_name_parse(slice_from_string(names[i]->d_name), &name) &&
            (!run->one_lane || run->lane == name.lane)) {
            print_copy(run, &name, names[i]->d_name);
        }
        free(names[i]);
    }
    free(names);
    return true;
}

int spool_check(struct spool_run *run)
{
    bool good = spool_run_lanes(run, check_lane);
    good = print_copies(run) && good;
    return good && run->damages == 0 ? EXIT_FINE : EXIT_FAILED;
}
