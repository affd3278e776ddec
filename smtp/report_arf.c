#include "smtp/report_arf.h"

#include <arpa/inet.h>
#include <string.h>

#include "core/date.h"
#include "smtp/mime_field.h"
#include "smtp/report_text.h"

/* Fields that stand once; then those that may be repeated, each a list under the same key. */
static const char *const singles[] = {
    "feedback-type",      "user-agent",   "version",       "original-envelope-id",
    "original-mail-from", "arrival-date", "received-date", "reporting-mta",
    "source-ip",          "incidents",
};

struct list_row {
    const char *name;
    const char *key;
    bool address;
};

static const struct list_row lists[] = {
    {"authentication-results", "authentication_results", false},
    {"original-rcpt-to", "original_rcpto_to", true}, /* KumoMTA spells it so */
    {"reported-domain", "reported_domain", false},
    {"reported-uri", "reported_uri", false},
};

static bool name_is(struct slice name, const char *expected)
{
    return slice_equal_nocase(name, slice_from_string(expected));
}

bool arf_read(struct slice fields, struct arf *arf_out)
{
    struct slice received = SLICE_NONE;
    struct mime_field field;
    *arf_out = (struct arf){.fields = fields};
    struct slice *const places[COUNT_OF(singles)] = {
        &arf_out->feedback_type, &arf_out->user_agent,         &arf_out->version,
        &arf_out->original_envelope_id, &arf_out->original_mail_from, &arf_out->arrival_date,
        &received,               &arf_out->reporting_mta,      &arf_out->source_ip,
        &arf_out->incidents,
    };
    for (unsigned n = 0; n < ARF_FIELDS_MAX && mime_field_next(&fields, &field); n++) {
        for (size_t i = 0; i < COUNT_OF(singles); i++) {
            if (places[i]->data == NULL && name_is(field.name, singles[i])) {
                *places[i] = field.value;
            }
        }
    }
    if (arf_out->arrival_date.data == NULL) {
        arf_out->arrival_date = received;
    }
    return mime_skip_blank(arf_out->feedback_type).size > 0;
}

bool arf_recipient(const struct arf *arf, struct slice *value_out)
{
    struct slice rest = arf->fields;
    struct mime_field field;
    for (unsigned n = 0; n < ARF_FIELDS_MAX && mime_field_next(&rest, &field); n++) {
        if (name_is(field.name, "original-rcpt-to")) {
            *value_out = field.value;
            return true;
        }
    }
    return false;
}

/* --- JSON ------------------------------------------------------------------------------------- */

static void put_clean(struct json *json, struct slice value, bool address)
{
    uint8_t memory[REPORT_TEXT_BYTES_MAX];
    struct buf text;
    buf_init(&text, memory, sizeof(memory));
    if (address) {
        report_put_address(&text, value);
    } else {
        report_put_text(&text, value);
    }
    json_string(json, buf_slice(&text));
}

static void put_member(struct json *json, const char *key, struct slice value, bool address)
{
    json_key(json, key);
    if (value.data == NULL) {
        json_null(json);
    } else {
        put_clean(json, value, address);
    }
}

/* "1", and "0.1" of the drafts; "" for anything that is no version. */
static void put_version(struct json *json, struct slice value)
{
    struct slice text = slice_trim(mime_skip_blank(value));
    bool sound = text.size > 0 && text.size <= 8;
    for (size_t i = 0; i < text.size && sound; i++) {
        sound = (text.data[i] >= '0' && text.data[i] <= '9') || (i > 0 && text.data[i] == '.');
    }
    json_key(json, "version");
    json_string(json, sound ? text : SLICE(""));
}

static void put_date(struct json *json, struct slice value)
{
    uint8_t memory[32];
    struct buf text;
    uint64_t wall_ns;
    json_key(json, "arrival_date");
    if (!date_parse_rfc5322(value, &wall_ns)) {
        json_null(json);
        return;
    }
    buf_init(&text, memory, sizeof(memory));
    date_put_rfc3339(&text, wall_ns);
    json_string(json, buf_slice(&text));
}

static void put_incidents(struct json *json, struct slice value)
{
    uint64_t incidents;
    json_key(json, "incidents");
    if (slice_parse_u64(slice_trim(mime_skip_blank(value)), &incidents) &&
        incidents <= UINT32_MAX) {
        json_u64(json, incidents);
    } else {
        json_null(json);
    }
}

static void put_source_ip(struct json *json, struct slice value)
{
    char text[INET6_ADDRSTRLEN] = "";
    uint8_t address[16];
    struct slice shown = slice_trim(mime_skip_blank(value));
    json_key(json, "source_ip");
    if (shown.size == 0 || shown.size >= sizeof(text)) {
        json_null(json);
        return;
    }
    memcpy(text, shown.data, shown.size);
    if (inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1) {
        json_string(json, slice_from_string(text));
    } else {
        json_null(json);
    }
}

static void put_reporting_mta(struct json *json, struct slice value)
{
    struct slice type;
    struct slice name;
    json_key(json, "reporting_mta");
    if (value.data == NULL) {
        json_null(json);
        return;
    }
    report_split_typed(value, &type, &name);
    json_object(json);
    json_key(json, "mta_type");
    put_clean(json, type, false);
    json_key(json, "name");
    put_clean(json, name, false);
    json_object_end(json);
}

/* All values of the fields of this name, from `rest` on, as long as there is room for them. */
static void put_list(struct json *json, struct slice rest, struct slice name, bool address,
                     size_t *room)
{
    struct mime_field field;
    unsigned count = 0;
    json_array(json);
    for (unsigned n = 0; n < ARF_FIELDS_MAX && mime_field_next(&rest, &field); n++) {
        if (slice_equal_nocase(field.name, name) && count < ARF_VALUES_MAX &&
            field.value.size <= *room) {
            *room -= field.value.size;
            count++;
            put_clean(json, field.value, address);
        }
    }
    json_array_end(json);
}

static bool is_known(struct slice name)
{
    for (size_t i = 0; i < COUNT_OF(singles); i++) {
        if (name_is(name, singles[i])) {
            return true;
        }
    }
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        if (name_is(name, lists[i].name)) {
            return true;
        }
    }
    return false;
}

/* Does a field of this name stand before the end of `before`? */
static bool stands_in(struct slice before, struct slice name)
{
    struct slice value;
    return mime_field_find(before, name, &value);
}

static void put_extension_key(struct json *json, struct slice name)
{
    uint8_t lower[128];
    for (size_t i = 0; i < name.size; i++) {
        lower[i] = ascii_lower(name.data[i]);
    }
    json_key_text(json, slice_make(lower, name.size));
}

static void put_extensions(struct json *json, const struct arf *arf, size_t *room)
{
    struct slice rest = arf->fields;
    struct mime_field field;
    json_key(json, "extensions");
    json_object(json);
    const uint8_t *begin = rest.data;
    for (unsigned n = 0; n < ARF_FIELDS_MAX; n++) {
        struct slice here = rest;
        if (!mime_field_next(&rest, &field)) {
            break;
        }
        struct slice before = slice_make(begin, (size_t)(here.data - begin));
        if (field.name.size > 128 || field.name.size > *room || is_known(field.name) ||
            stands_in(before, field.name)) {
            continue;
        }
        *room -= field.name.size;
        put_extension_key(json, field.name);
        put_list(json, here, field.name, false, room);
    }
    json_object_end(json);
}

void arf_put_members(struct json *json, const struct arf *arf)
{
    size_t room = ARF_LISTS_BYTES_MAX;
    put_member(json, "feedback_type", arf->feedback_type, false);
    put_member(json, "user_agent", arf->user_agent, false);
    put_version(json, arf->version);
    put_date(json, arf->arrival_date);
    put_incidents(json, arf->incidents);
    put_member(json, "original_envelope_id", arf->original_envelope_id, false);
    put_member(json, "original_mail_from", arf->original_mail_from, true);
    put_reporting_mta(json, arf->reporting_mta);
    put_source_ip(json, arf->source_ip);
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        json_key(json, lists[i].key);
        put_list(json, arf->fields, slice_from_string(lists[i].name), lists[i].address, &room);
    }
    put_extensions(json, arf, &room);
}
