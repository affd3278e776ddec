#include "smtp/envelope.h"

#include <string.h>

#include "core/check.h"

/* In the size of an address: behind it stands what was asked for about notifications. */
#define DSN_MARK 0x8000u

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

/* The size field of an address, with its mark. */
static uint16_t marked_size(struct slice address, const struct envelope_dsn *dsn)
{
    CHECK(address.size < DSN_MARK);
    return (uint16_t)(address.size | (envelope_dsn_asks(dsn) ? DSN_MARK : 0));
}

static size_t dsn_bytes(const struct envelope_dsn *dsn)
{
    return envelope_dsn_asks(dsn) ? ENVELOPE_DSN_OVERHEAD + dsn->text.size : 0;
}

static void store_dsn(uint8_t *out, const struct envelope_dsn *dsn)
{
    if (!envelope_dsn_asks(dsn)) {
        return;
    }
    CHECK(dsn->text.size <= UINT16_MAX);
    out[0] = dsn->word;
    store_u16(out + 1, dsn->text.size);
    if (dsn->text.size > 0) {
        memcpy(out + ENVELOPE_DSN_OVERHEAD, dsn->text.data, dsn->text.size);
    }
}

void envelope_put_sender(struct buf *buf, struct slice sender, const struct envelope_dsn *dsn)
{
    uint16_t size = marked_size(sender, dsn);
    uint8_t *at = buf_reserve(buf, 2 + sender.size + dsn_bytes(dsn));
    if (at != NULL) {
        store_u16(at, size);
        store_address(at + 2, sender);
        store_dsn(at + 2 + sender.size, dsn);
    }
}

void envelope_put_recipient(struct buf *buf, uint16_t index, struct slice address,
                            const struct envelope_dsn *dsn)
{
    CHECK(address.size > 0);
    uint16_t size = marked_size(address, dsn);
    uint8_t *at = buf_reserve(buf, ENVELOPE_RECIPIENT_OVERHEAD + address.size + dsn_bytes(dsn));
    if (at != NULL) {
        store_u16(at, index);
        store_u16(at + 2, size);
        store_address(at + ENVELOPE_RECIPIENT_OVERHEAD, address);
        store_dsn(at + ENVELOPE_RECIPIENT_OVERHEAD + address.size, dsn);
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

/* Nothing that would be a parameter of its own. */
static bool one_word(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] <= ' ' || text.data[i] == 0x7F) {
            return false;
        }
    }
    return true;
}

/* An address of this size field, and what was asked for with it, off the start of `rest`. */
static bool take_address(struct slice *rest, size_t size, struct slice *address_out,
                         struct envelope_dsn *dsn_out)
{
    bool asks = (size & DSN_MARK) != 0;
    size &= DSN_MARK - 1;
    if (size > rest->size) {
        return false;
    }
    *address_out = slice_first(*rest, size);
    *rest = slice_skip(*rest, size);
    *dsn_out = (struct envelope_dsn){0};
    if (!asks) {
        return one_line(*address_out);
    }
    if (rest->size < ENVELOPE_DSN_OVERHEAD) {
        return false;
    }
    size_t bytes = load_u16(rest->data + 1);
    dsn_out->word = rest->data[0];
    *rest = slice_skip(*rest, ENVELOPE_DSN_OVERHEAD);
    if (bytes > rest->size) {
        return false;
    }
    dsn_out->text = slice_first(*rest, bytes);
    *rest = slice_skip(*rest, bytes);
    return envelope_dsn_asks(dsn_out) && one_line(*address_out) && one_word(dsn_out->text);
}

bool envelope_open(struct slice section, struct slice *sender_out,
                   struct envelope_cursor *cursor_out)
{
    if (section.size < 2) {
        return false;
    }
    cursor_out->rest = slice_skip(section, 2);
    return take_address(&cursor_out->rest, load_u16(section.data), sender_out,
                        &cursor_out->dsn) &&
           cursor_out->dsn.word <= ENVELOPE_RETURN_HDRS;
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
    if (!take_address(&rest, size, &recipient_out->address, &recipient_out->dsn) ||
        recipient_out->address.size == 0 || recipient_out->dsn.word > ENVELOPE_NOTIFY_ALL) {
        return -1;
    }
    cursor->rest = rest;
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
