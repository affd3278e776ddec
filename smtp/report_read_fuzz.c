/*
 * Reports of strangers: what is found lies within the message or the scratch memory, decoding needs
 * no more room than promised, and what is kept of values is on one line, clean, and bounded.
 */
#include "smtp/report_read.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/date.h"
#include "smtp/mime_part.h"
#include "smtp/report_arf.h"
#include "smtp/report_dsn.h"
#include "smtp/report_log.h"
#include "smtp/report_text.h"

#define JSON_BYTES (60 * KIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_within(struct slice part, struct slice a, struct slice b)
{
    if (part.size == 0) {
        return;
    }
    bool in_a = part.data >= a.data && part.data + part.size <= a.data + a.size;
    bool in_b = part.data >= b.data && part.data + part.size <= b.data + b.size;
    CHECK(in_a || in_b);
}

static void check_clean(struct slice text)
{
    CHECK(text.size <= REPORT_TEXT_BYTES_MAX && slice_is_utf8(text));
    for (size_t i = 0; i < text.size; i++) {
        CHECK(text.data[i] >= ' ' && text.data[i] != 0x7F);
    }
}

static void check_value(struct slice value)
{
    uint8_t memory[REPORT_TEXT_BYTES_MAX];
    struct buf buf;
    struct slice type;
    struct slice text;
    uint64_t wall_ns;
    buf_init(&buf, memory, sizeof(memory));
    report_put_text(&buf, value);
    CHECK(!buf.overflow);
    check_clean(buf_slice(&buf));
    buf_reset(&buf);
    report_put_address(&buf, value);
    CHECK(!buf.overflow);
    check_clean(buf_slice(&buf));
    report_split_typed(value, &type, &text);
    check_within(type, value, value);
    check_within(text, value, value);
    if (date_parse_rfc5322(value, &wall_ns)) {
        CHECK(date_from_ns(wall_ns).year <= 2200);
    }
}

static void check_delivery(struct slice fields)
{
    struct dsn_message message;
    struct dsn_recipient recipient;
    struct dsn_cursor cursor;
    dsn_open(fields, &message, &cursor);
    check_value(message.reporting_mta);
    check_value(message.original_envelope_id);
    check_value(message.arrival_date);
    while (dsn_next(&cursor, &recipient)) {
        struct dsn_diagnostic diagnostic = dsn_diagnostic_parse(recipient.diagnostic);
        CHECK(diagnostic.code == 0 || (diagnostic.code >= 200 && diagnostic.code <= 599));
        check_within(diagnostic.text, recipient.diagnostic, recipient.diagnostic);
        check_within(recipient.final_recipient, fields, fields);
        check_value(recipient.final_recipient);
        check_value(recipient.original_recipient);
        CHECK(recipient.status.class == 0 || recipient.status.class == 2 ||
              recipient.status.class == 4 || recipient.status.class == 5);
        CHECK(recipient.status.subject <= 999 && recipient.status.detail <= 999);
        CHECK(dsn_action_name(recipient.action) != NULL);
    }
    CHECK(cursor.count <= DSN_RECIPIENTS_MAX);
}

static void check_feedback(struct slice fields)
{
    struct arf arf;
    struct json json;
    struct buf buf;
    struct slice recipient;
    if (!arf_read(fields, &arf)) {
        return;
    }
    uint8_t *memory = malloc(JSON_BYTES);
    CHECK(memory != NULL);
    buf_init(&buf, memory, JSON_BYTES);
    json_init(&json, &buf);
    json_object(&json);
    arf_put_members(&json, &arf);
    json_object_end(&json);
    CHECK(!buf.overflow && slice_is_utf8(buf_slice(&buf)));
    free(memory);
    if (arf_recipient(&arf, &recipient)) {
        check_within(recipient, fields, fields);
        check_value(recipient);
    }
}

/* What is logged of it. */
static void check_log(struct slice message)
{
    struct report report;
    struct report_entry entry;
    struct slice reporter;
    struct buf scratch;
    struct buf buf;
    uint8_t *memory = malloc(message.size + 1);
    CHECK(memory != NULL);
    buf_init(&scratch, memory, message.size);
    if (report_log_read(message, true, &scratch, &report)) {
        size_t most = report_log_bytes_max(&report);
        uint8_t *out = malloc(most);
        CHECK(out != NULL);
        buf_init(&buf, out, most);
        uint32_t count = report_log_put(&buf, &report, SLICE_NONE, 100);
        struct slice said = buf_slice(&buf);
        CHECK(!buf.overflow && count <= 100);
        CHECK(report.kind != REPORT_FEEDBACK || (count == 1 && slice_is_utf8(said)));
        if (report.kind == REPORT_DELIVERY) {
            CHECK(report_said_open(&said, &reporter));
            for (; report_said_next(&said, &entry) == 1; count--) {
                CHECK(slice_is_utf8(entry.recipient) && slice_is_utf8(entry.content));
            }
            CHECK(count == 0 && said.size == 0);
        }
        free(out);
    }
    free(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice message = slice_make(data, size);
    struct report report;
    struct buf scratch;
    uint8_t *memory = malloc(size + 1);
    CHECK(memory != NULL);
    buf_init(&scratch, memory, size);
    if (report_read(message, true, &scratch, &report)) {
        CHECK(report.kind != REPORT_NONE && !scratch.overflow);
        check_within(report.fields, message, slice_make(memory, size));
        check_within(report.original, message, slice_make(memory, size));
        check_delivery(report.fields);
        check_feedback(report.fields);
    }
    check_log(message);
    /* Those who ask want any field, whatever the message is. */
    check_delivery(message);
    check_feedback(message);
    free(memory);
    return 0;
}
