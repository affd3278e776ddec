#include "smtp/envelope.h"

#include "core/check.h"

static void store_u16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static uint16_t load_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

/*
 * Where the domain begins; address.size when there is none. A domain has no '@' and no quotes, so
 * the last '@' is the one before it, unless the address ends as a quoted string does.
 */
static size_t domain_begin(struct slice address)
{
    if (address.size > 0 && address.data[address.size - 1] == '"') {
        return address.size;
    }
    size_t at = address.size;
    while (at > 0 && address.data[at - 1] != '@') {
        at--;
    }
    return at == 0 ? address.size : at;
}

static void store_address(uint8_t *out, struct slice address)
{
    size_t domain = domain_begin(address);
    for (size_t i = 0; i < address.size; i++) {
        out[i] = i < domain ? address.data[i] : ascii_lower(address.data[i]);
    }
}

void envelope_put_sender(struct buf *buf, struct slice sender)
{
    CHECK(sender.size <= UINT16_MAX);
    uint8_t *at = buf_reserve(buf, 2 + sender.size);
    if (at != NULL) {
        store_u16(at, sender.size);
        store_address(at + 2, sender);
    }
}

void envelope_put_recipient(struct buf *buf, uint16_t index, struct slice address)
{
    CHECK(address.size > 0 && address.size <= UINT16_MAX);
    uint8_t *at = buf_reserve(buf, ENVELOPE_RECIPIENT_OVERHEAD + address.size);
    if (at != NULL) {
        store_u16(at, index);
        store_u16(at + 2, address.size);
        store_address(at + ENVELOPE_RECIPIENT_OVERHEAD, address);
    }
}

/* Nothing that would end a command line. */
static bool one_line(struct slice address)
{
    for (size_t i = 0; i < address.size; i++) {
        uint8_t byte = address.data[i];
        if (byte == '\n' || byte == '\r' || byte == 0) {
            return false;
        }
    }
    return true;
}

bool envelope_open(struct slice section, struct slice *sender_out,
                   struct envelope_cursor *cursor_out)
{
    if (section.size < 2) {
        return false;
    }
    size_t size = load_u16(section.data);
    section = slice_skip(section, 2);
    if (size > section.size) {
        return false;
    }
    *sender_out = slice_first(section, size);
    cursor_out->rest = slice_skip(section, size);
    return one_line(*sender_out);
}

int envelope_next(struct envelope_cursor *cursor, struct envelope_recipient *recipient_out)
{
    struct slice rest = cursor->rest;
    if (rest.size == 0) {
        return 0;
    }
    if (rest.size < ENVELOPE_RECIPIENT_OVERHEAD) {
        return -1;
    }
    size_t size = load_u16(rest.data + 2);
    recipient_out->index = load_u16(rest.data);
    rest = slice_skip(rest, ENVELOPE_RECIPIENT_OVERHEAD);
    if (size == 0 || size > rest.size) {
        return -1;
    }
    recipient_out->address = slice_first(rest, size);
    if (!one_line(recipient_out->address)) {
        return -1;
    }
    cursor->rest = slice_skip(rest, size);
    return 1;
}

bool envelope_sound(struct slice section)
{
    struct envelope_cursor cursor;
    struct envelope_recipient recipient;
    struct slice sender;
    if (!envelope_open(section, &sender, &cursor)) {
        return false;
    }
    int step = envelope_next(&cursor, &recipient);
    while (step == 1) {
        step = envelope_next(&cursor, &recipient);
    }
    return step == 0;
}
