#include "smtp/body_cursor.h"

#include <string.h>

#include "core/check.h"
#include "core/little.h"

enum body_stage { BODY_STAGE_PREPEND, BODY_STAGE_BODY, BODY_STAGE_CLOSING, BODY_STAGE_DONE };

static const char closing[] = "\r\n.\r\n";

/* What one call fills. */
struct fill {
    struct iovec *iovecs;
    unsigned capacity;
    unsigned count;
    size_t room; /* bytes */
};

static uint32_t cut_count(const struct message *message)
{
    return (uint32_t)(message->cuts.size / 8);
}

uint64_t body_size(const struct message *message)
{
    return message_sent_bytes(message->prepend, message->body_bytes, message->cuts);
}

static void enter_chain(struct body_cursor *cursor, const struct chain *chain)
{
    cursor->chain = chain;
    cursor->chain_end = cursor->offset + chain->size;
    cursor->block = list_empty(&chain->blocks)
                        ? NULL
                        : CONTAINER_OF(chain->blocks.next, const struct block, link);
    cursor->block_offset = 0;
}

void body_cursor_init(struct body_cursor *cursor, const struct message *message,
                      enum body_mode mode)
{
    *cursor = (struct body_cursor){
        .message = message, .mode = mode, .line_start = true, .last_byte = '\n'};
    if (message->part_count == 0) {
        CHECK(message->body.size == message->body_bytes);
        enter_chain(cursor, &message->body);
    }
}

void body_cursor_give(struct body_cursor *cursor, const struct chain *chain)
{
    CHECK(cursor->chain == NULL && cursor->part < cursor->message->part_count);
    CHECK(chain->size == cursor->message->parts[cursor->part].size);
    enter_chain(cursor, chain);
}

static bool full(const struct fill *fill)
{
    return fill->count == fill->capacity || fill->room == 0;
}

/* As much of the bytes as there is room for; at least one, when not full. */
static size_t put(struct fill *fill, const void *data, size_t size)
{
    size_t taken = MIN_OF(size, fill->room);
    fill->iovecs[fill->count++] = (struct iovec){(void *)(uintptr_t)data, taken};
    fill->room -= taken;
    return taken;
}

/* Passes `count` bytes of the body, all of them in the chain at hand. */
static void pass(struct body_cursor *cursor, uint64_t count)
{
    cursor->offset += count;
    while (count > 0) {
        uint64_t here = MIN_OF(count, (uint64_t)(cursor->block->size - cursor->block_offset));
        cursor->block_offset += (uint32_t)here;
        count -= here;
        if (count > 0) {
            cursor->block = CONTAINER_OF(cursor->block->link.next, const struct block, link);
            cursor->block_offset = 0;
        }
    }
}

/* True when the bytes at hand begin with a cut, which is then passed. */
static bool pass_cut(struct body_cursor *cursor, uint64_t *next_cut_out)
{
    const struct message *message = cursor->message;
    *next_cut_out = UINT64_MAX;
    while (cursor->cut < cut_count(message)) {
        const uint8_t *cut = message->cuts.data + (size_t)cursor->cut * 8;
        uint64_t start = little_u32(cut);
        uint64_t end = start + little_u32(cut + 4);
        if (cursor->offset < start) {
            *next_cut_out = start;
            return false;
        }
        if (cursor->offset < end) {
            pass(cursor, MIN_OF(end, cursor->chain_end) - cursor->offset);
            return true;
        }
        cursor->cut++;
    }
    return false;
}

/* The listed dot at or after the place at hand. */
static uint64_t next_listed_dot(struct body_cursor *cursor)
{
    const struct slice dots = cursor->message->dots;
    while ((size_t)cursor->dot * 4 + 4 <= dots.size) {
        uint64_t at = little_u32(dots.data + (size_t)cursor->dot * 4);
        if (at >= cursor->offset) {
            return at;
        }
        cursor->dot++;
    }
    return UINT64_MAX;
}

/*
 * How many of the `size` bytes at hand may go out before a dot has to be put in; 0: one is due now,
 * and counts as put in from here on.
 */
static size_t run_to_dot(struct body_cursor *cursor, const uint8_t *data, size_t size)
{
    if (cursor->mode == BODY_BDAT) {
        return size;
    }
    if ((cursor->message->flags & SPOOL_MESSAGE_DOTS_UNLISTED) == 0) {
        uint64_t dot = next_listed_dot(cursor);
        if (dot == cursor->offset) {
            cursor->dot++;
            return 0;
        }
        return (size_t)MIN_OF((uint64_t)size, dot - cursor->offset);
    }
    if (cursor->line_start && data[0] == '.') {
        cursor->line_start = false;
        return 0;
    }
    const uint8_t *found = memmem(data, size, "\n.", 2);
    return found == NULL ? size : (size_t)(found - data) + 1;
}

/* One run, cut or dot of the body. */
static void body_step(struct body_cursor *cursor, struct fill *fill)
{
    uint64_t next_cut;
    if (pass_cut(cursor, &next_cut)) {
        return;
    }
    while (cursor->block_offset == cursor->block->size) {
        cursor->block = CONTAINER_OF(cursor->block->link.next, const struct block, link);
        cursor->block_offset = 0;
    }
    const uint8_t *data = cursor->block->data + cursor->block_offset;
    size_t size = cursor->block->size - cursor->block_offset;
    size = (size_t)MIN_OF((uint64_t)size, next_cut - cursor->offset);
    size = MIN_OF(size, fill->room);
    size_t run = run_to_dot(cursor, data, size);
    if (run == 0) {
        put(fill, ".", 1);
        return;
    }
    size_t taken = put(fill, data, run);
    cursor->last_byte = data[taken - 1];
    cursor->line_start = cursor->last_byte == '\n';
    pass(cursor, taken);
}

static enum body_status fill_body(struct body_cursor *cursor, struct fill *fill)
{
    while (cursor->offset < cursor->message->body_bytes) {
        if (cursor->chain != NULL && cursor->offset == cursor->chain_end) {
            cursor->chain = NULL;
            cursor->part++;
        }
        if (cursor->chain == NULL) {
            return fill->count > 0 ? BODY_MORE : BODY_NEED_PART;
        }
        if (full(fill)) {
            return BODY_MORE;
        }
        body_step(cursor, fill);
    }
    cursor->stage = BODY_STAGE_CLOSING;
    return BODY_END;
}

static bool fill_prepend(struct body_cursor *cursor, struct fill *fill)
{
    const struct slice prepend = cursor->message->prepend;
    /* Until the body begins, `offset` counts bytes of the prepend section. */
    if (cursor->offset < prepend.size) {
        if (full(fill)) {
            return false;
        }
        cursor->offset += put(fill, prepend.data + cursor->offset, prepend.size - cursor->offset);
        if (cursor->offset < prepend.size) {
            return false;
        }
        cursor->last_byte = prepend.data[prepend.size - 1];
    }
    cursor->offset = 0;
    cursor->stage = BODY_STAGE_BODY;
    return true;
}

static bool fill_closing(struct body_cursor *cursor, struct fill *fill)
{
    if (cursor->mode == BODY_DATA) {
        size_t skip = cursor->last_byte == '\n' ? 2 : 0;
        size_t size = sizeof(closing) - 1 - skip;
        if (fill->count == fill->capacity || fill->room < size) {
            return false;
        }
        put(fill, closing + skip, size);
    }
    cursor->stage = BODY_STAGE_DONE;
    return true;
}

enum body_status body_cursor_next(struct body_cursor *cursor, struct iovec *iovecs,
                                  unsigned capacity, size_t bytes_max, unsigned *count_out)
{
    CHECK(capacity > 0 && bytes_max >= 16);
    struct fill fill = {.iovecs = iovecs, .capacity = capacity, .room = bytes_max};
    enum body_status status = BODY_MORE;
    if (cursor->stage != BODY_STAGE_PREPEND || fill_prepend(cursor, &fill)) {
        status = BODY_END;
        if (cursor->stage == BODY_STAGE_BODY) {
            status = fill_body(cursor, &fill);
        }
        if (cursor->stage == BODY_STAGE_CLOSING && !fill_closing(cursor, &fill)) {
            status = BODY_MORE;
        }
    }
    *count_out = fill.count;
    return status;
}
