/* The queued messages of a stopped spool, by where they stand. */
#include "tools/cmd_spool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/date.h"
#include "smtp/envelope.h"
#include "tools/clock.h"
#include "tools/exit_codes.h"
#include "tools/readable.h"

#define ADDRESS_BYTES_MAX 320
#define RECIPIENTS_SHOWN  20 /* for people */

struct lane_list {
    struct spool_run *run;
    struct spool_lane *lane;
    struct lane_state state;
    uint64_t now_s;
};

/* A recipient that is open. */
struct open_recipient {
    struct slice address;
    const struct state_row *row;
};

static const struct state_row *row_of(const struct lane_list *list,
                                      const struct state_message *message, uint16_t recipient)
{
    uint32_t at = message->first;
    while (at != STATE_NONE && list->state.rows[at].recipient != recipient) {
        at = list->state.rows[at].next;
    }
    return at == STATE_NONE ? NULL : &list->state.rows[at];
}

static bool domain_wanted(const struct spool_run *run, struct slice address)
{
    if (run->domain == NULL) {
        return true;
    }
    struct slice domain = slice_from_string(run->domain);
    return address.size > domain.size && slice_ends_with(address, domain) &&
           address.data[address.size - domain.size - 1] == '@';
}

/* The next recipient of the envelope that is open and wanted. */
static bool next_open(const struct lane_list *list, const struct state_message *message,
                      struct envelope_cursor *cursor, struct open_recipient *out)
{
    struct envelope_recipient recipient;
    while (envelope_next(cursor, &recipient) == 1) {
        out->address = recipient.address;
        out->row = row_of(list, message, recipient.index);
        if (out->row != NULL && domain_wanted(list->run, recipient.address)) {
            return true;
        }
    }
    return false;
}

static struct slice shortened(struct slice address)
{
    return slice_first(address, MIN_OF(address.size, (size_t)ADDRESS_BYTES_MAX));
}

static void due_put(struct buf *buf, const struct lane_list *list, const struct state_row *row)
{
    if (row->due_s <= list->now_s) {
        buf_put_string(buf, "now");
    } else {
        date_put_rfc3339(buf, (uint64_t)row->due_s * NS_PER_S);
    }
}

static void print_message(struct lane_list *list, const struct state_message *message,
                          const struct record_message *record, struct envelope_cursor cursor,
                          struct slice sender)
{
    uint8_t bytes[128];
    char size[32];
    struct buf buf;
    struct open_recipient recipient;
    unsigned shown = 0;
    buf_init(&buf, bytes, sizeof(bytes));
    id_put(&buf, &record->id);
    uint64_t created_s = record->created_ns / NS_PER_S;
    printf("%.*s %llus %s %u:%u:%llu <", (int)buf.size, (const char *)buf.data,
           (unsigned long long)(list->now_s > created_s ? list->now_s - created_s : 0),
           readable_size(size, record->body_bytes), list->lane->lane, message->location.segment,
           (unsigned long long)message->location.offset_64 * RECORD_PLACE_BYTES);
    readable_print(stdout, sender);
    printf(">\n");
    while (next_open(list, message, &cursor, &recipient)) {
        if (shown++ >= RECIPIENTS_SHOWN) {
            printf("    and more\n");
            break;
        }
        buf_reset(&buf);
        due_put(&buf, list, recipient.row);
        printf("    <");
        readable_print(stdout, recipient.address);
        printf("> attempts %u due %.*s\n", recipient.row->attempts, (int)buf.size,
               (const char *)buf.data);
    }
}

/* One line a message; of many recipients as many as a line holds, and their number. */
static void print_message_json(struct lane_list *list, const struct state_message *message,
                               const struct record_message *record, struct envelope_cursor cursor,
                               struct slice sender)
{
    struct spool_run *run = list->run;
    struct open_recipient recipient;
    struct json json;
    uint64_t open_count = 0;
    spool_run_json(run, &json, "message");
    spool_json_id(&json, &record->id);
    spool_json_number(&json, "lane", list->lane->lane);
    spool_json_number(&json, "segment", message->location.segment);
    spool_json_number(&json, "offset",
                      (uint64_t)message->location.offset_64 * RECORD_PLACE_BYTES);
    spool_json_number(&json, "created_ms", record->created_ns / NS_PER_MS);
    spool_json_number(&json, "body_bytes", record->body_bytes);
    spool_json_text(&json, "sender", shortened(sender));
    json_key(&json, "recipients");
    json_array(&json);
    while (next_open(list, message, &cursor, &recipient)) {
        open_count++;
        if (buf_room(&run->text) < ADDRESS_BYTES_MAX * JSON_STRING_GROWTH + 512) {
            continue;
        }
        json_object(&json);
        spool_json_text(&json, "address", shortened(recipient.address));
        spool_json_number(&json, "index", recipient.row->recipient);
        spool_json_number(&json, "attempts", recipient.row->attempts);
        spool_json_number(&json, "due_s", recipient.row->due_s);
        json_object_end(&json);
    }
    json_array_end(&json);
    spool_json_number(&json, "recipient_count", open_count);
    spool_run_json_end(run, &json);
}

static void list_message(struct lane_list *list, const struct state_message *message)
{
    struct record record;
    struct record_message found;
    struct envelope_cursor cursor;
    struct open_recipient recipient;
    struct slice sender;
    if (spool_lane_record(list->lane, message->location, false, &record) != SPOOL_RECORD_GOOD ||
        !record_message_get(&record, &found) ||
        !envelope_open(found.sections[SECTION_ENVELOPE], &sender, &cursor)) {
        spool_run_damage(list->run, list->lane->lane, message->location.segment,
                         (uint64_t)message->location.offset_64 * RECORD_PLACE_BYTES,
                         "a queued message is not there");
        return;
    }
    struct envelope_cursor first = cursor;
    if (!next_open(list, message, &first, &recipient)) {
        return; /* of another domain */
    }
    if (list->run->as_json) {
        print_message_json(list, message, &found, cursor, sender);
    } else {
        print_message(list, message, &found, cursor, sender);
    }
}

static bool list_item(void *context, const struct log_item *item)
{
    struct lane_list *list = context;
    if (item->step == LOG_RECORD) {
        lane_state_record(&list->state, item);
    } else if (item->step == LOG_DAMAGE || item->step == LOG_NEWER) {
        spool_run_item_damage(list->run, list->lane->lane, item);
    }
    return true;
}

static void list_progress(void *context, uint64_t bytes)
{
    spool_run_progress(((struct lane_list *)context)->run, bytes);
}

static void list_lane(struct spool_run *run, struct spool_lane *lane)
{
    struct lane_list list = {.run = run, .lane = lane};
    struct spool_visitor visitor = {
        .context = &list, .item = list_item, .progress = list_progress};
    struct spool_begin begin;
    list.now_s = clock_wall_ns() / NS_PER_S;
    lane_state_init(&list.state);
    spool_begin_read(lane, &list.state, &begin);
    spool_run_begin_damage(run, lane, &begin);
    (void)spool_lane_walk(lane, begin.begin, &visitor);
    uint32_t *order = lane_state_order(&list.state);
    for (uint32_t i = 0; i < list.state.live_messages && ferror(stdout) == 0; i++) {
        list_message(&list, &list.state.messages[order[i]]);
    }
    free(order);
    lane_state_fini(&list.state);
}

int spool_list(struct spool_run *run)
{
    bool good = spool_run_lanes(run, list_lane);
    return good && run->damages == 0 ? EXIT_FINE : EXIT_FAILED;
}
