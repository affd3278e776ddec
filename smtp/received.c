#include "smtp/received.h"

#include "core/date.h"
#include "smtp/address.h"

#define LINE_BYTES_WANTED 78 /* RFC 5322 2.1.1 */
#define LITERAL_BYTES_MAX (ENDPOINT_TEXT_MAX + 8)

_Static_assert(RECEIVED_BYTES_MAX >= 2 * ADDRESS_DOMAIN_BYTES_MAX + ADDRESS_BYTES_MAX +
                                         2 * LITERAL_BYTES_MAX + 256,
               "every part at its longest");

/* Writes words with a space or a fold before each. */
struct folder {
    struct buf *buf;
    size_t column;
};

static void put_clean(struct buf *buf, struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        bool control = text.data[i] < ' ' || text.data[i] == 0x7F;
        buf_put_byte(buf, control ? '?' : text.data[i]);
    }
}

/* One word that is not folded: `before`, `text`, `after`. */
static void fold_word(struct folder *folder, const char *before, struct slice text,
                      const char *after)
{
    struct slice head = slice_from_string(before);
    struct slice tail = slice_from_string(after);
    size_t size = head.size + text.size + tail.size;
    if (folder->column + 1 + size > LINE_BYTES_WANTED) {
        buf_put(folder->buf, SLICE("\r\n"));
        folder->column = 0;
    }
    buf_put_byte(folder->buf, ' ');
    buf_put(folder->buf, head);
    put_clean(folder->buf, text);
    buf_put(folder->buf, tail);
    folder->column += 1 + size;
}

/* The next word begins a line, so that the field reads as four lines when its names are short. */
static void fold_line(struct folder *folder)
{
    folder->column = LINE_BYTES_WANTED;
}

/* "[192.0.2.1]" or "[IPv6:2001:db8::1]" (RFC 5321 4.1.3). */
static struct slice literal_of(const struct endpoint *endpoint, uint8_t *memory)
{
    struct buf buf;
    buf_init(&buf, memory, LITERAL_BYTES_MAX);
    buf_put_string(&buf, endpoint_is_v4(endpoint) ? "[" : "[IPv6:");
    endpoint_put_address(&buf, endpoint);
    buf_put_byte(&buf, ']');
    return buf_slice(&buf);
}

struct slice received_protocol(bool extended, bool smtputf8)
{
    if (smtputf8) {
        return SLICE("UTF8SMTP");
    }
    return extended ? SLICE("ESMTP") : SLICE("SMTP");
}

void received_put(struct buf *buf, const struct received *received)
{
    uint8_t memory[LITERAL_BYTES_MAX];
    uint8_t date_bytes[40];
    struct folder folder = {.buf = buf};
    struct buf date;
    bool has_recipient = received->recipient.size > 0;
    bool named = received->hello.size > 0;
    buf_put(buf, SLICE("Received:"));
    folder.column = sizeof("Received:") - 1;
    fold_word(&folder, "from ", named ? received->hello : SLICE("unknown"), "");
    fold_word(&folder, "(", literal_of(received->peer, memory), ")");
    fold_line(&folder);
    fold_word(&folder, "by ", received->hostname, "");
    if (received->local->port == 0) {
        fold_word(&folder, "", SLICE("(Ringpost)"), "");
    } else {
        fold_word(&folder, "(Ringpost ", literal_of(received->local, memory), ")");
    }
    fold_line(&folder);
    fold_word(&folder, "with ", received->protocol, "");
    fold_word(&folder, "id ", received->id, has_recipient ? "" : ";");
    if (has_recipient) {
        fold_word(&folder, "for <", received->recipient, ">;");
    }
    buf_init(&date, date_bytes, sizeof(date_bytes));
    date_put_rfc5322(&date, received->wall_ns);
    fold_line(&folder);
    fold_word(&folder, "", buf_slice(&date), "");
    buf_put(buf, SLICE("\r\n"));
}
