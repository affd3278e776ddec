#include "smtp/report_log.h"

#include <string.h>

#include "core/check.h"
#include "core/event.h"
#include "core/json.h"
#include "smtp/mime_field.h"
#include "smtp/reply.h"
#include "smtp/report_arf.h"
#include "smtp/report_dsn.h"
#include "smtp/report_text.h"

#define CODE_FAILED     550 /* where the report has none (KumoMTA) */
#define ENTRY_OVERHEAD  16
#define ENTRY_BYTES_MIN 14 /* of the fields that lead to one: "Action:failed" and its line end */

bool report_log_may_be(struct slice beginning)
{
    struct slice header;
    struct slice body;
    struct slice content_type;
    mime_split(beginning, &header, &body);
    if (mime_field_find(header, SLICE("content-type"), &content_type)) {
        return mime_value_is(content_type, SLICE("multipart/report")) ||
               mime_skip_blank(content_type).size == 0;
    }
    return body.size == 0;
}

bool report_log_read(struct slice message, bool whole, struct buf *scratch,
                     struct report *report_out)
{
    struct arf arf;
    return report_read(message, whole, scratch, report_out) &&
           (report_out->kind != REPORT_FEEDBACK || arf_read(report_out->fields, &arf));
}

size_t report_log_bytes_max(const struct report *report)
{
    size_t entries = report->fields.size / ENTRY_BYTES_MIN + 1;
    return report->kind == REPORT_FEEDBACK
               ? EVENT_FEEDBACK_BYTES_MAX
               : report->fields.size +
                     MIN_OF(entries, (size_t)REPORT_RECORDS_MAX) * ENTRY_OVERHEAD;
}

/* --- notifications ---------------------------------------------------------------------------- */

static void fill_status(struct report_entry *entry, const struct dsn_status *status)
{
    if (status->class != 0 && status->subject <= UINT8_MAX && status->detail <= UINT8_MAX) {
        entry->enhanced[0] = status->class;
        entry->enhanced[1] = (uint8_t)status->subject;
        entry->enhanced[2] = (uint8_t)status->detail;
    }
}

/* The text of the diagnostic without its codes; the status counts before the code there. */
static void fill_diagnostic(struct report_entry *entry, struct buf *text,
                            const struct dsn_recipient *recipient)
{
    struct dsn_diagnostic diagnostic = dsn_diagnostic_parse(recipient->diagnostic);
    uint8_t enhanced[3];
    entry->code = diagnostic.code != 0 ? diagnostic.code : CODE_FAILED;
    report_put_text(text, diagnostic.text);
    entry->content = buf_slice(text);
    if (enhanced_code_parse(&entry->content, enhanced) && entry->enhanced[0] == 0) {
        memcpy(entry->enhanced, enhanced, sizeof(enhanced));
    }
}

static void fill_recipient(struct report_entry *entry, struct buf *text,
                           const struct dsn_recipient *recipient)
{
    report_put_address(text, recipient->original_recipient);
    if (text->size == 0) {
        report_put_address(text, recipient->final_recipient);
    }
    entry->recipient = buf_slice(text);
}

static bool put_entry(struct buf *buf, const struct dsn_recipient *recipient)
{
    uint8_t address_memory[REPORT_TEXT_BYTES_MAX];
    uint8_t text_memory[REPORT_TEXT_BYTES_MAX];
    struct buf address;
    struct buf text;
    struct report_entry entry = {0};
    buf_init(&address, address_memory, sizeof(address_memory));
    buf_init(&text, text_memory, sizeof(text_memory));
    fill_recipient(&entry, &address, recipient);
    fill_status(&entry, &recipient->status);
    fill_diagnostic(&entry, &text, recipient);
    return report_said_put(buf, &entry);
}

static uint32_t put_delivery(struct buf *buf, struct slice fields, uint32_t entries_max)
{
    uint8_t memory[REPORT_TEXT_BYTES_MAX];
    struct buf reporter;
    struct dsn_message message;
    struct dsn_recipient recipient;
    struct dsn_cursor cursor;
    struct slice type;
    struct slice name;
    uint32_t count = 0;
    dsn_open(fields, &message, &cursor);
    buf_init(&reporter, memory, sizeof(memory));
    report_split_typed(message.reporting_mta, &type, &name);
    report_put_text(&reporter, name);
    bool room = report_said_begin(buf, buf_slice(&reporter));
    while (room && count < entries_max && dsn_next(&cursor, &recipient)) {
        if (recipient.action == DSN_FAILED) {
            room = put_entry(buf, &recipient);
            count += room;
        }
    }
    return count;
}

/* --- complaints ------------------------------------------------------------------------------- */

/* As much of it as is a string of so many bytes: mostly its header. */
static struct slice original_kept(struct slice original)
{
    size_t room = REPORT_ORIGINAL_BYTES_MAX;
    size_t size = 0;
    while (size < original.size) {
        size_t plain = json_plain_bytes(slice_skip(original, size));
        size_t bytes = plain > 0 ? plain : JSON_STRING_GROWTH;
        if (bytes > room) {
            break;
        }
        room -= bytes;
        size += plain > 0 ? plain : 1;
    }
    return slice_first(original, size);
}

static void put_object(struct buf *buf, const struct arf *arf, struct slice original,
                       struct slice trace)
{
    struct json json;
    json_init(&json, buf);
    json_object(&json);
    arf_put_members(&json, arf);
    json_key(&json, "original_message");
    if (original.size > 0) {
        json_string(&json, original_kept(original));
    } else {
        json_null(&json);
    }
    json_key(&json, "supplemental_trace");
    if (trace.size > 0) {
        json_raw(&json, trace);
    } else {
        json_null(&json);
    }
    json_object_end(&json);
}

/* Of one that says more than there is room for, in characters that grow: its type, which has. */
static void put_feedback(struct buf *buf, const struct report *report, struct slice trace)
{
    struct arf arf;
    struct buf object;
    uint8_t *at = buf->data + buf->size;
    size_t room = MIN_OF(buf_room(buf), (size_t)EVENT_FEEDBACK_BYTES_MAX);
    CHECK(arf_read(report->fields, &arf));
    buf_init(&object, at, room);
    put_object(&object, &arf, report->original, trace);
    if (object.overflow) {
        const struct arf least = {.feedback_type = arf.feedback_type};
        buf_init(&object, at, room);
        put_object(&object, &least, SLICE_NONE, trace);
    }
    CHECK(!object.overflow);
    buf->size += object.size;
}

uint32_t report_log_put(struct buf *buf, const struct report *report, struct slice trace,
                        uint32_t entries_max)
{
    if (report->kind == REPORT_DELIVERY) {
        return put_delivery(buf, report->fields, entries_max);
    }
    put_feedback(buf, report, trace);
    return 1;
}
