#include "smtp/event_details.h"

#include "core/json.h"
#include "smtp/named_values.h"

/* --- members ---------------------------------------------------------------------------------- */

/* "name": with what comes before it; `before` is where member_end may go back to. */
static size_t member_begin(struct buf *buf, struct slice name)
{
    size_t before = buf->size;
    if (before > 0) {
        buf_put_byte(buf, ',');
    }
    json_put_string(buf, name);
    buf_put_byte(buf, ':');
    return before;
}

/* A member that does not fit is none. */
static void member_end(struct buf *buf, size_t before)
{
    if (buf->overflow) {
        buf->size = before;
        buf->overflow = false;
    }
}

static void put_text(struct buf *buf, struct slice name, struct slice text)
{
    if (text.size > 0) {
        size_t before = member_begin(buf, name);
        json_put_string(buf, text);
        member_end(buf, before);
    }
}

/* HTTP connections carry requests of many: their port says nothing. */
static void put_endpoint(struct buf *buf, struct slice name, const struct endpoint *endpoint,
                         bool with_port)
{
    uint8_t memory[ENDPOINT_TEXT_MAX];
    struct buf text;
    if (endpoint->port == 0) {
        return;
    }
    buf_init(&text, memory, sizeof(memory));
    if (with_port) {
        endpoint_put(&text, endpoint);
    } else {
        endpoint_put_address(&text, endpoint);
    }
    put_text(buf, name, buf_slice(&text));
}

/* --- meta ------------------------------------------------------------------------------------- */

enum known { PROTOCOL, FROM, VIA, HELLO, TENANT, CAMPAIGN, EXTRA, ORIGIN, KNOWN };

static const char *const known_names[KNOWN] = {
    [PROTOCOL] = "reception_protocol", [FROM] = "received_from", [VIA] = "received_via",
    [HELLO] = "ehlo_domain",           [TENANT] = "tenant",      [CAMPAIGN] = "campaign",
    [EXTRA] = "extra",                 [ORIGIN] = "orig_received_from",
};

static bool is_known(struct slice name)
{
    for (unsigned i = 0; i < KNOWN; i++) {
        if (slice_equal(name, slice_from_string(known_names[i]))) {
            return true;
        }
    }
    return false;
}

static void put_extra(struct buf *buf, struct slice name, struct slice list)
{
    struct named_value member;
    bool first = true;
    if (list.size == 0) {
        return;
    }
    size_t before = member_begin(buf, name);
    buf_put_byte(buf, '{');
    while (named_value_next(&list, &member)) {
        if (!first) {
            buf_put_byte(buf, ',');
        }
        first = false;
        json_put_string(buf, member.name);
        buf_put_byte(buf, ':');
        buf_put(buf, member.value);
    }
    buf_put_byte(buf, '}');
    member_end(buf, before);
}

static void put_known(struct buf *buf, enum known known, const struct metadata *metadata)
{
    struct slice name = slice_from_string(known_names[known]);
    bool with_port = !slice_equal(metadata->protocol, SLICE("HTTP"));
    switch (known) {
    case PROTOCOL:
        put_text(buf, name, metadata->protocol);
        break;
    case FROM:
        put_endpoint(buf, name, &metadata->peer, with_port);
        break;
    case VIA:
        put_endpoint(buf, name, &metadata->local, with_port);
        break;
    case HELLO:
        put_text(buf, name, metadata->hello);
        break;
    case TENANT:
        put_text(buf, name, metadata->tenant);
        break;
    case CAMPAIGN:
        put_text(buf, name, metadata->campaign);
        break;
    case EXTRA:
        put_extra(buf, name, metadata->extra);
        break;
    case ORIGIN:
    case KNOWN:
        break;
    }
}

void event_details_put_meta(struct buf *buf, const struct conf_names *names,
                            const struct metadata *metadata)
{
    struct slice list = metadata->extra;
    struct named_value member;
    for (unsigned i = 0; i < KNOWN; i++) {
        if (conf_names_have(names, slice_from_string(known_names[i]))) {
            put_known(buf, (enum known)i, metadata);
        }
    }
    while (named_value_next(&list, &member)) {
        if (!is_known(member.name) && conf_names_have(names, member.name) &&
            !slice_equal(member.value, SLICE("null"))) {
            size_t before = member_begin(buf, member.name);
            buf_put(buf, member.value);
            member_end(buf, before);
        }
    }
}

/* --- headers ---------------------------------------------------------------------------------- */

/* Fields of this name in the list; `once_out`: the value of the first. */
static unsigned count_fields(struct slice list, struct slice name, struct slice *once_out)
{
    struct named_value field;
    unsigned count = 0;
    while (named_value_next(&list, &field)) {
        if (slice_equal_nocase(field.name, name)) {
            *once_out = count == 0 ? field.value : *once_out;
            count++;
        }
    }
    return count;
}

static void put_all(struct buf *buf, struct slice list, struct slice name)
{
    struct named_value field;
    uint8_t before = '[';
    while (named_value_next(&list, &field)) {
        if (slice_equal_nocase(field.name, name)) {
            buf_put_byte(buf, before);
            json_put_string(buf, field.value);
            before = ',';
        }
    }
    buf_put_byte(buf, ']');
}

/* By the name that a field has first, a value or, where there are several, a list of them. */
static void put_headers(struct buf *buf, const struct conf_names *names, struct slice list)
{
    struct slice rest = list;
    struct named_value field;
    struct slice only;
    while (named_value_next(&rest, &field)) {
        size_t passed = (size_t)(field.name.data - 1 - list.data);
        if (!conf_names_have_nocase(names, field.name) ||
            count_fields(slice_first(list, passed), field.name, &only) > 0) {
            continue;
        }
        size_t before = member_begin(buf, field.name);
        if (count_fields(list, field.name, &only) == 1) {
            json_put_string(buf, only);
        } else {
            put_all(buf, list, field.name);
        }
        member_end(buf, before);
    }
}

void event_details_fill(struct event_details *details, const struct conf_log *log,
                        const struct metadata *metadata, struct event *event)
{
    struct buf buf;
    if (log->meta.count > 0) {
        buf_init(&buf, details->meta, sizeof(details->meta));
        event_details_put_meta(&buf, &log->meta, metadata);
        event->meta = buf_slice(&buf);
    }
    if (log->headers.count > 0) {
        buf_init(&buf, details->headers, sizeof(details->headers));
        put_headers(&buf, &log->headers, metadata->headers);
        event->headers = buf_slice(&buf);
    }
}
