#include "core/logline.h"

#include <string.h>

#include "core/date.h"

void logline_begin(struct logline *line, const char *event)
{
    /* One byte is kept for the line end. */
    buf_init(&line->buf, line->bytes, sizeof(line->bytes) - 1);
    buf_put(&line->buf, SLICE("event="));
    buf_put_string(&line->buf, event);
}

static bool is_bare(struct slice value)
{
    for (size_t i = 0; i < value.size; i++) {
        uint8_t byte = value.data[i];
        if (byte <= 0x20 || byte >= 0x7F || byte == '"' || byte == '=' || byte == '\\') {
            return false;
        }
    }
    return value.size > 0;
}

static void put_quoted(struct buf *buf, struct slice value)
{
    buf_put_byte(buf, '"');
    for (size_t i = 0; i < value.size; i++) {
        uint8_t byte = value.data[i];
        if (byte < 0x20 || byte >= 0x7F) {
            buf_put(buf, SLICE("\\x"));
            buf_put_hex(buf, slice_make(&byte, 1));
            continue;
        }
        if (byte == '"' || byte == '\\') {
            buf_put_byte(buf, '\\');
        }
        buf_put_byte(buf, byte);
    }
    buf_put_byte(buf, '"');
}

/* Takes back what was written from `before` on when it did not fit: the rest of the line stays. */
static void settle(struct buf *buf, size_t before)
{
    if (buf->overflow) {
        buf->size = before;
        buf->overflow = false;
    }
}

static void put_key(struct buf *buf, const char *key)
{
    buf_put_byte(buf, ' ');
    buf_put_string(buf, key);
    buf_put_byte(buf, '=');
}

void logline_text(struct logline *line, const char *key, struct slice value)
{
    size_t before = line->buf.size;
    put_key(&line->buf, key);
    if (is_bare(value)) {
        buf_put(&line->buf, value);
    } else {
        put_quoted(&line->buf, value);
    }
    settle(&line->buf, before);
}

void logline_string(struct logline *line, const char *key, const char *value)
{
    logline_text(line, key, slice_from_string(value));
}

void logline_u64(struct logline *line, const char *key, uint64_t value)
{
    size_t before = line->buf.size;
    put_key(&line->buf, key);
    buf_put_u64(&line->buf, value);
    settle(&line->buf, before);
}

void logline_i64(struct logline *line, const char *key, int64_t value)
{
    size_t before = line->buf.size;
    put_key(&line->buf, key);
    buf_put_i64(&line->buf, value);
    settle(&line->buf, before);
}

void logline_time(struct logline *line, const char *key, uint64_t wall_ns)
{
    size_t before = line->buf.size;
    put_key(&line->buf, key);
    date_put_rfc3339(&line->buf, wall_ns);
    settle(&line->buf, before);
}

void logline_endpoint(struct logline *line, const char *key, const struct endpoint *value)
{
    size_t before = line->buf.size;
    put_key(&line->buf, key);
    endpoint_put(&line->buf, value);
    settle(&line->buf, before);
}

void logline_end(struct logline *line, const struct log_sink *sink)
{
    line->buf.capacity = sizeof(line->bytes);
    buf_put_byte(&line->buf, '\n');
    sink->put(sink->context, buf_slice(&line->buf));
}
