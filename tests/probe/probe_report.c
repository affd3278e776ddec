#include "tests/probe/probe_report.h"

#include <stdio.h>
#include <stdlib.h>

#include "smtp/report_arf.h"
#include "smtp/report_make.h"
#include "smtp/report_read.h"
#include "smtp/report_text.h"

#define WALL_NS 1795366150000000000 /* of every report */

static void put_text(struct json *json, const char *key, struct slice value, bool address)
{
    uint8_t memory[REPORT_TEXT_BYTES_MAX];
    struct buf text;
    buf_init(&text, memory, sizeof(memory));
    if (address) {
        report_put_address(&text, value);
    } else {
        report_put_text(&text, value);
    }
    json_key(json, key);
    json_string(json, buf_slice(&text));
}

static void put_recipient(struct json *json, const struct dsn_recipient *recipient)
{
    struct dsn_diagnostic diagnostic = dsn_diagnostic_parse(recipient->diagnostic);
    json_object(json);
    put_text(json, "final", recipient->final_recipient, true);
    put_text(json, "original", recipient->original_recipient, true);
    put_text(json, "remote", recipient->remote_mta, true);
    json_key(json, "action");
    json_string(json, slice_from_string(dsn_action_name(recipient->action)));
    json_key(json, "status");
    json_array(json);
    json_u64(json, recipient->status.class);
    json_u64(json, recipient->status.subject);
    json_u64(json, recipient->status.detail);
    json_array_end(json);
    json_key(json, "code");
    json_u64(json, diagnostic.code);
    put_text(json, "text", diagnostic.text, false);
    json_object_end(json);
}

static void put_delivery(struct json *json, struct slice fields)
{
    struct dsn_message message;
    struct dsn_cursor cursor;
    struct dsn_recipient recipient;
    dsn_open(fields, &message, &cursor);
    put_text(json, "reporting_mta", message.reporting_mta, true);
    put_text(json, "envelope_id", message.original_envelope_id, false);
    json_key(json, "recipients");
    json_array(json);
    while (dsn_next(&cursor, &recipient)) {
        put_recipient(json, &recipient);
    }
    json_array_end(json);
}

void probe_report(struct slice message, struct buf *scratch, struct json *json)
{
    struct report report;
    struct arf arf;
    bool found = report_read(message, true, scratch, &report);
    bool feedback = found && report.kind == REPORT_FEEDBACK && arf_read(report.fields, &arf);
    json_key(json, "kind");
    if (feedback) {
        json_string(json, SLICE("feedback"));
        arf_put_members(json, &arf);
    } else if (found && report.kind == REPORT_DELIVERY) {
        json_string(json, SLICE("delivery"));
        put_delivery(json, report.fields);
    } else {
        json_string(json, SLICE("none"));
    }
    json_key(json, "original");
    json_string(json, found ? report.original : SLICE_NONE);
}

/* --- making ----------------------------------------------------------------------------------- */

static struct slice text_at(const struct json_value *object, const char *key)
{
    const struct json_value *value = json_value_member(object, slice_from_string(key));
    return value != NULL && value->kind == JSON_STRING ? json_value_text(value) : SLICE_NONE;
}

static bool flag_at(const struct json_value *object, const char *key)
{
    const struct json_value *value = json_value_member(object, slice_from_string(key));
    return value != NULL && value->kind == JSON_BOOL && value->boolean;
}

static uint16_t number_at(const struct json_value *object, const char *key)
{
    const struct json_value *value = json_value_member(object, slice_from_string(key));
    return value != NULL && value->kind == JSON_INTEGER ? (uint16_t)value->integer : 0;
}

static enum dsn_action action_at(const struct json_value *object)
{
    struct slice name = text_at(object, "action");
    for (unsigned i = DSN_FAILED; i <= DSN_EXPANDED; i++) {
        if (slice_equal(name, slice_from_string(dsn_action_name((enum dsn_action)i)))) {
            return (enum dsn_action)i;
        }
    }
    return DSN_FAILED;
}

static struct report_recipient recipient_at(const struct json_value *value)
{
    return (struct report_recipient){
        .action = action_at(value),
        .address = text_at(value, "address"),
        .original = text_at(value, "original"),
        .code = number_at(value, "code"),
        .enhanced = {(uint8_t)number_at(value, "class"), (uint8_t)number_at(value, "subject"),
                     (uint8_t)number_at(value, "detail")},
        .text = text_at(value, "text"),
        .remote = text_at(value, "remote"),
    };
}

void probe_report_make(const struct json_value *request, struct arena *arena, struct buf *text,
                       struct json *json)
{
    const struct json_value *list = json_value_member(request, SLICE("recipients"));
    uint32_t count = list == NULL || list->kind != JSON_ARRAY ? 0 : list->size;
    struct report_recipient *recipients = arena_take(arena, count, sizeof(*recipients));
    if (count == 0 || recipients == NULL) {
        fputs("mail-probe: a report about nobody\n", stderr);
        exit(2);
    }
    for (uint32_t i = 0; i < count; i++) {
        recipients[i] = recipient_at(&list->elements[i]);
    }
    struct report_facts facts = {
        .hostname = SLICE("mx.example.net"),
        .id = text_at(request, "id"),
        .wall_ns = WALL_NS,
        .arrival_ns = WALL_NS,
        .sender = text_at(request, "sender"),
        .envelope_id = text_at(request, "envelope_id"),
        .full = flag_at(request, "full"),
        .smtputf8 = flag_at(request, "utf8"),
        .message = text_at(request, "message"),
        .recipients = recipients,
        .recipient_count = count,
    };
    facts.message_bytes = facts.message.size;
    struct report_needs needs;
    text->capacity = MIN_OF(text->capacity, report_make_bytes_max(&facts));
    report_make_put(&facts, text, &needs);
    json_key(json, "message");
    json_string(json, buf_slice(text));
    json_key(json, "overflow");
    json_bool(json, text->overflow);
    json_key(json, "eightbit");
    json_bool(json, needs.eightbit);
    json_key(json, "smtputf8");
    json_bool(json, needs.smtputf8);
}
