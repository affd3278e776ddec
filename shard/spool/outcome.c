#include "shard/spool/outcome.h"

#include "core/little.h"

#define HEAD_BYTES      32
#define CONNECTED_BYTES 52
#define RECIPIENT_BYTES 15

static void put_text(struct buf *buf, struct slice text, size_t bytes_max)
{
    struct slice kept = slice_first(text, MIN_OF(text.size, bytes_max));
    uint8_t *size = buf_reserve(buf, 2);
    if (size != NULL) {
        little_put_u16(size, (uint16_t)kept.size);
    }
    buf_put(buf, kept);
}

/* Takes a text off the front of `rest`. */
static bool take_text(struct slice *rest, size_t bytes_max, struct slice *text_out)
{
    if (rest->size < 2) {
        return false;
    }
    size_t size = little_u16(rest->data);
    if (size > bytes_max || size > rest->size - 2) {
        return false;
    }
    *text_out = slice_make(rest->data + 2, size);
    *rest = slice_skip(*rest, 2 + size);
    return true;
}

static void put_endpoint(uint8_t *at, const struct endpoint *endpoint)
{
    memcpy(at, endpoint->address, sizeof(endpoint->address));
    little_put_u16(at + 16, endpoint->port);
}

static struct endpoint get_endpoint(const uint8_t *at)
{
    struct endpoint endpoint = {.port = little_u16(at + 16)};
    memcpy(endpoint.address, at, sizeof(endpoint.address));
    return endpoint;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    uint8_t all = 0;
    for (size_t i = 0; i < size; i++) {
        all |= bytes[i];
    }
    return all == 0;
}

void outcome_put(struct outcome_writer *writer, struct buf *buf, const struct outcome *outcome)
{
    *writer = (struct outcome_writer){.buf = buf};
    uint8_t connection[CONNECTED_BYTES];
    put_endpoint(connection, &outcome->peer);
    put_endpoint(connection + 18, &outcome->source);
    memcpy(connection + 36, outcome->session.bytes, 16);
    bool connected = !is_zero(connection, sizeof(connection));

    uint8_t *head = buf_reserve(buf, HEAD_BYTES);
    if (head == NULL) {
        return;
    }
    little_put_u32(head, outcome->message.segment);
    little_put_u32(head + 4, outcome->message.offset_64);
    little_put_u64(head + 8, outcome->event_sequence);
    little_put_u64(head + 16, outcome->wall_ns);
    little_put_u32(head + 24, outcome->delivery_ms);
    little_put_u16(head + 28, outcome->recipient_count);
    little_put_u16(head + 30, connected ? OUTCOME_CONNECTED : 0);
    if (connected) {
        buf_put(buf, slice_make(connection, sizeof(connection)));
    }
    put_text(buf, outcome->peer_name, OUTCOME_NAME_BYTES_MAX);
    put_text(buf, outcome->site, OUTCOME_NAME_BYTES_MAX);
    put_text(buf, outcome->pool, OUTCOME_NAME_BYTES_MAX);
    put_text(buf, outcome->source_name, OUTCOME_NAME_BYTES_MAX);
}

/* The texts of the last recipient are borrowed: the caller keeps them until the next one is put. */
void outcome_put_recipient(struct outcome_writer *writer,
                           const struct outcome_recipient *recipient)
{
    bool same_command = slice_equal(recipient->command, writer->last_command);
    bool same_response = slice_equal(recipient->response, writer->last_response);
    uint8_t *at = buf_reserve(writer->buf, RECIPIENT_BYTES);
    if (at == NULL) {
        return;
    }
    little_put_u16(at, recipient->index);
    at[2] = recipient->disposition;
    at[3] = (uint8_t)((recipient->uncertain ? OUTCOME_UNCERTAIN : 0) |
                      (same_command ? OUTCOME_SAME_COMMAND : 0) |
                      (same_response ? OUTCOME_SAME_RESPONSE : 0));
    little_put_u16(at + 4, recipient->attempts);
    little_put_u32(at + 6, recipient->due_s);
    little_put_u16(at + 10, recipient->code);
    memcpy(at + 12, recipient->enhanced, 3);
    if (!same_command) {
        put_text(writer->buf, recipient->command, OUTCOME_COMMAND_BYTES_MAX);
        writer->last_command = recipient->command;
    }
    if (!same_response) {
        put_text(writer->buf, recipient->response, OUTCOME_RESPONSE_BYTES_MAX);
        writer->last_response = recipient->response;
    }
}

bool outcome_open(struct slice payload, struct outcome *outcome_out,
                  struct outcome_cursor *cursor_out)
{
    *cursor_out = (struct outcome_cursor){0};
    if (payload.size < HEAD_BYTES) {
        return false;
    }
    const uint8_t *head = payload.data;
    struct outcome outcome = {
        .message = {.segment = little_u32(head), .offset_64 = little_u32(head + 4)},
        .event_sequence = little_u64(head + 8),
        .wall_ns = little_u64(head + 16),
        .delivery_ms = little_u32(head + 24),
        .recipient_count = little_u16(head + 28),
    };
    uint16_t flags = little_u16(head + 30);
    struct slice rest = slice_skip(payload, HEAD_BYTES);
    if ((flags & OUTCOME_CONNECTED) != 0) {
        if (rest.size < CONNECTED_BYTES) {
            return false;
        }
        outcome.peer = get_endpoint(rest.data);
        outcome.source = get_endpoint(rest.data + 18);
        memcpy(outcome.session.bytes, rest.data + 36, 16);
        rest = slice_skip(rest, CONNECTED_BYTES);
    }
    if (!take_text(&rest, OUTCOME_NAME_BYTES_MAX, &outcome.peer_name) ||
        !take_text(&rest, OUTCOME_NAME_BYTES_MAX, &outcome.site) ||
        !take_text(&rest, OUTCOME_NAME_BYTES_MAX, &outcome.pool) ||
        !take_text(&rest, OUTCOME_NAME_BYTES_MAX, &outcome.source_name)) {
        return false;
    }
    *outcome_out = outcome;
    *cursor_out = (struct outcome_cursor){.rest = rest, .left = outcome.recipient_count};
    return flags <= OUTCOME_CONNECTED;
}

/* -1 from here on. */
static int damaged(struct outcome_cursor *cursor)
{
    cursor->rest = slice_make("", 1);
    cursor->left = 0;
    return -1;
}

int outcome_next(struct outcome_cursor *cursor, struct outcome_recipient *recipient_out)
{
    if (cursor->left == 0) {
        return cursor->rest.size == 0 ? 0 : damaged(cursor);
    }
    if (cursor->rest.size < RECIPIENT_BYTES) {
        return damaged(cursor);
    }
    const uint8_t *at = cursor->rest.data;
    uint8_t flags = at[3];
    struct outcome_recipient recipient = {
        .index = little_u16(at),
        .disposition = at[2],
        .uncertain = (flags & OUTCOME_UNCERTAIN) != 0,
        .attempts = little_u16(at + 4),
        .due_s = little_u32(at + 6),
        .code = little_u16(at + 10),
        .enhanced = {at[12], at[13], at[14]},
    };
    if (recipient.disposition < DISPOSITION_DELIVERED ||
        recipient.disposition > DISPOSITION_ADMIN_BOUNCED || flags > 7) {
        return damaged(cursor);
    }
    cursor->rest = slice_skip(cursor->rest, RECIPIENT_BYTES);
    if ((flags & OUTCOME_SAME_COMMAND) == 0 &&
        !take_text(&cursor->rest, OUTCOME_COMMAND_BYTES_MAX, &cursor->last_command)) {
        return damaged(cursor);
    }
    if ((flags & OUTCOME_SAME_RESPONSE) == 0 &&
        !take_text(&cursor->rest, OUTCOME_RESPONSE_BYTES_MAX, &cursor->last_response)) {
        return damaged(cursor);
    }
    recipient.command = cursor->last_command;
    recipient.response = cursor->last_response;
    cursor->left--;
    *recipient_out = recipient;
    return 1;
}
