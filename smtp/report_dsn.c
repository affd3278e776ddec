#include "smtp/report_dsn.h"

#include "smtp/mime_field.h"
#include "smtp/report_text.h"

static const char *const action_names[] = {
    [DSN_UNKNOWN] = "unknown",     [DSN_FAILED] = "failed",   [DSN_DELAYED] = "delayed",
    [DSN_DELIVERED] = "delivered", [DSN_RELAYED] = "relayed", [DSN_EXPANDED] = "expanded",
};

const char *dsn_action_name(enum dsn_action action)
{
    return action_names[action];
}

static enum dsn_action action_parse(struct slice value)
{
    for (unsigned i = DSN_FAILED; i < COUNT_OF(action_names); i++) {
        if (mime_value_is(value, slice_from_string(action_names[i]))) {
            return (enum dsn_action)i;
        }
    }
    return DSN_UNKNOWN;
}

/* --- values ----------------------------------------------------------------------------------- */

/* One to `most` digits, taken off. */
static bool take_number(struct slice *rest, size_t most, uint16_t *value_out)
{
    uint64_t value = 0;
    size_t size = 0;
    while (size < rest->size && rest->data[size] >= '0' && rest->data[size] <= '9') {
        size++;
    }
    if (size == 0 || size > most || !slice_parse_u64(slice_first(*rest, size), &value)) {
        return false;
    }
    *rest = slice_skip(*rest, size);
    *value_out = (uint16_t)value;
    return true;
}

static bool take_dot(struct slice *rest)
{
    bool there = rest->size > 0 && rest->data[0] == '.';
    *rest = slice_skip(*rest, there ? 1 : 0);
    return there;
}

struct dsn_status dsn_status_parse(struct slice value)
{
    struct dsn_status status = {0};
    struct slice rest = mime_skip_blank(value);
    uint16_t class;
    if (!take_number(&rest, 1, &class) || (class != 2 && class != 4 && class != 5) ||
        !take_dot(&rest) || !take_number(&rest, 3, &status.subject) || !take_dot(&rest) ||
        !take_number(&rest, 3, &status.detail) || mime_skip_blank(rest).size > 0) {
        return (struct dsn_status){0};
    }
    status.class = (uint8_t)class;
    return status;
}

struct dsn_diagnostic dsn_diagnostic_parse(struct slice value)
{
    struct dsn_diagnostic diagnostic = {0};
    struct slice type;
    report_split_typed(value, &type, &diagnostic.text);
    struct slice rest = diagnostic.text;
    uint16_t code;
    if (slice_equal_nocase(type, SLICE("smtp")) && take_number(&rest, 3, &code) && code >= 200 &&
        code <= 599 && (rest.size == 0 || rest.data[0] == ' ' || rest.data[0] == '-')) {
        diagnostic.code = code;
        diagnostic.text = slice_skip(rest, MIN_OF(rest.size, (size_t)1));
    }
    return diagnostic;
}

/* --- groups ----------------------------------------------------------------------------------- */

/* The next lines that are not empty. */
static bool group_next(struct slice *rest, struct slice *group_out)
{
    while (rest->size > 0) {
        struct slice body;
        mime_split(*rest, group_out, &body);
        *rest = body;
        if (group_out->size > 0) {
            return true;
        }
    }
    return false;
}

struct field_place {
    const char *name;
    struct slice *value;
};

/* Sets the values of those fields that stand in `group`; true when one did. */
static bool read_fields(struct slice group, const struct field_place *places, size_t count)
{
    struct mime_field field;
    bool any = false;
    while (mime_field_next(&group, &field)) {
        for (size_t i = 0; i < count; i++) {
            if (places[i].value->data == NULL &&
                slice_equal_nocase(field.name, slice_from_string(places[i].name))) {
                *places[i].value = field.value;
                any = true;
            }
        }
    }
    return any;
}

static bool read_recipient(struct slice group, struct dsn_recipient *recipient)
{
    *recipient = (struct dsn_recipient){0};
    struct slice action = SLICE_NONE;
    struct slice status = SLICE_NONE;
    const struct field_place places[] = {
        {"original-recipient", &recipient->original_recipient},
        {"final-recipient", &recipient->final_recipient},
        {"action", &action},
        {"status", &status},
        {"remote-mta", &recipient->remote_mta},
        {"diagnostic-code", &recipient->diagnostic},
    };
    bool any = read_fields(group, places, COUNT_OF(places));
    recipient->action = action_parse(action);
    recipient->status = dsn_status_parse(status);
    return any;
}

void dsn_open(struct slice fields, struct dsn_message *message_out, struct dsn_cursor *cursor_out)
{
    struct slice group = SLICE_NONE;
    struct slice rest = fields;
    struct dsn_recipient recipient;
    *message_out = (struct dsn_message){0};
    const struct field_place places[] = {
        {"reporting-mta", &message_out->reporting_mta},
        {"original-envelope-id", &message_out->original_envelope_id},
        {"arrival-date", &message_out->arrival_date},
    };
    bool any = group_next(&rest, &group);
    (void)read_fields(group, places, COUNT_OF(places));
    /* Some leave the empty line out, or all fields of the message. */
    *cursor_out = (struct dsn_cursor){any && read_recipient(group, &recipient) ? fields : rest, 0};
}

bool dsn_next(struct dsn_cursor *cursor, struct dsn_recipient *recipient_out)
{
    struct slice group;
    while (cursor->count < DSN_RECIPIENTS_MAX && group_next(&cursor->rest, &group)) {
        if (read_recipient(group, recipient_out)) {
            cursor->count++;
            return true;
        }
    }
    return false;
}
