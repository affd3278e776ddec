#include "smtp/report_make.h"

#include <string.h>

#include "core/check.h"
#include "core/date.h"
#include "smtp/mime_field.h"
#include "smtp/xtext.h"

#define LINE_BYTES      76
#define ADDRESS_BYTES   320  /* more is cut */

static const char *const subjects[] = {
    [DSN_FAILED] = "Undelivered mail",  [DSN_DELAYED] = "Delayed mail",
    [DSN_DELIVERED] = "Delivered mail", [DSN_RELAYED] = "Relayed mail",
    [DSN_EXPANDED] = "Relayed mail",
};

static const char *const stories[] = {
    [DSN_FAILED] = "could not be delivered",
    [DSN_DELAYED] = "has not been delivered yet; we go on trying",
    [DSN_DELIVERED] = "was delivered",
    [DSN_RELAYED] = "was passed on to a server that sends no notifications",
    [DSN_EXPANDED] = "was passed on to several recipients",
};

/* --- words ------------------------------------------------------------------------------------ */

/* A field, or a line for people, that is being written. */
struct line {
    struct buf *buf; /* borrowed */
    size_t column;
};

static uint8_t shown(uint8_t byte)
{
    return byte >= ' ' && byte < 0x7F ? byte : '?';
}

static void put_shown(struct line *line, struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        buf_put_byte(line->buf, shown(text.data[i]));
    }
    line->column += text.size;
}

/* Words with folds between them: of REPORT_REPLY_BYTES_MAX at most any line has room for one. */
static void put_words(struct line *line, struct slice text)
{
    text = slice_first(text, MIN_OF(text.size, (size_t)REPORT_REPLY_BYTES_MAX));
    while (text.size > 0) {
        size_t size = slice_find(text, ' ');
        if (line->column + 1 + size > LINE_BYTES) {
            buf_put(line->buf, SLICE("\r\n"));
            line->column = 0;
        }
        if (size > 0) {
            buf_put_byte(line->buf, ' ');
            line->column++;
            put_shown(line, slice_first(text, size));
        }
        text = slice_skip(text, MIN_OF(size + 1, text.size));
    }
}

static struct line line_begin(struct buf *buf, const char *name)
{
    buf_put_string(buf, name);
    return (struct line){buf, strlen(name)};
}

static void line_end(struct line *line)
{
    buf_put(line->buf, SLICE("\r\n"));
}

/* --- values ----------------------------------------------------------------------------------- */

/* The character at the start of `text`, which is UTF-8: its bytes. */
static size_t character_at(struct slice text, uint32_t *point_out)
{
    uint8_t lead = text.data[0];
    size_t size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    *point_out = size == 1 ? lead : lead & (0xFFu >> (size + 1));
    for (size_t i = 1; i < size; i++) {
        *point_out = *point_out << 6 | (text.data[i] & 0x3F);
    }
    return size;
}

/* In ASCII, with its type; what is beyond, as RFC 6533 3 has it. */
static void put_typed_address(struct buf *buf, struct slice address)
{
    struct line line = {buf, 0};
    address = slice_first(address, MIN_OF(address.size, (size_t)ADDRESS_BYTES));
    if (slice_is_ascii(address) || !slice_is_utf8(address)) {
        buf_put(buf, SLICE("rfc822;"));
        put_shown(&line, address);
        return;
    }
    buf_put(buf, SLICE("utf-8;"));
    while (address.size > 0) {
        uint32_t point;
        size_t size = character_at(address, &point);
        if (point > ' ' && point < 0x7F && point != '+' && point != '=' && point != '\\') {
            buf_put_byte(buf, (uint8_t)point);
        } else {
            buf_printf(buf, "\\x{%02X}", point);
        }
        address = slice_skip(address, size);
    }
}

/* What an xtext says, on one line. */
static void put_decoded(struct buf *buf, struct slice xtext)
{
    uint8_t memory[XTEXT_BYTES_MAX];
    struct buf decoded;
    struct line line = {buf, 0};
    buf_init(&decoded, memory, sizeof(memory));
    if (xtext_decode(xtext, &decoded)) {
        put_shown(&line, buf_slice(&decoded));
    } else {
        put_shown(&line, slice_first(xtext, MIN_OF(xtext.size, (size_t)XTEXT_BYTES_MAX)));
    }
}

static void put_status(struct buf *buf, const struct report_recipient *recipient)
{
    bool given = recipient->enhanced[0] != 0;
    unsigned class = given ? recipient->enhanced[0] : recipient->code / 100u;
    if (class != 2 && class != 4 && class != 5) {
        class = recipient->action == DSN_FAILED ? 5 : recipient->action == DSN_DELAYED ? 4 : 2;
    }
    buf_printf(buf, "%u.%u.%u", class, given ? recipient->enhanced[1] : 0u,
               given ? recipient->enhanced[2] : 0u);
}

/* "550 5.1.1 No such user" */
static void put_reply(struct line *line, const struct report_recipient *recipient)
{
    uint8_t memory[32];
    struct buf codes;
    buf_init(&codes, memory, sizeof(memory));
    buf_put_u64(&codes, recipient->code);
    if (recipient->enhanced[0] != 0) {
        buf_put_byte(&codes, ' ');
        put_status(&codes, recipient);
    }
    put_words(line, buf_slice(&codes));
    put_words(line, recipient->text);
}

/* --- parts ------------------------------------------------------------------------------------ */

static enum dsn_action worst_of(const struct report_facts *facts)
{
    enum dsn_action worst = DSN_EXPANDED;
    for (uint32_t i = 0; i < facts->recipient_count; i++) {
        worst = MIN_OF(worst, facts->recipients[i].action);
    }
    CHECK(worst != DSN_UNKNOWN);
    return worst;
}

static void put_boundary(struct buf *buf, const struct report_facts *facts, const char *end)
{
    buf_put(buf, SLICE("--=_r"));
    buf_put(buf, facts->id);
    buf_put_string(buf, end);
}

static void put_header(const struct report_facts *facts, struct buf *out)
{
    buf_put(out, SLICE("Date: "));
    date_put_rfc5322(out, facts->wall_ns);
    buf_put(out, SLICE("\r\nFrom: Mail Delivery System <MAILER-DAEMON@"));
    buf_put(out, facts->hostname);
    buf_put(out, SLICE(">\r\nTo: <"));
    buf_put(out, facts->sender);
    buf_put(out, SLICE(">\r\nSubject: "));
    buf_put_string(out, subjects[worst_of(facts)]);
    buf_put(out, SLICE("\r\nMessage-ID: <"));
    buf_put(out, facts->id);
    buf_put_byte(out, '@');
    buf_put(out, facts->hostname);
    buf_put(out, SLICE(">\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
                       "Content-Type: multipart/report; report-type=delivery-status;\r\n"
                       "\tboundary=\"=_r"));
    buf_put(out, facts->id);
    buf_put(out, SLICE("\"\r\n\r\n"));
}

static void put_story(const struct report_recipient *recipient, struct buf *out)
{
    struct line line = {out, 0};
    buf_put(out, SLICE("\r\n<"));
    put_shown(&line, slice_first(recipient->address,
                                 MIN_OF(recipient->address.size, (size_t)ADDRESS_BYTES)));
    buf_put(out, SLICE(">\r\n"));
    line.column = 0;
    put_words(&line, slice_from_string(stories[recipient->action]));
    line_end(&line);
    if (recipient->code != 0) {
        line = line_begin(out, "    ");
        if (recipient->remote.size > 0) {
            put_words(&line, recipient->remote);
            put_words(&line, SLICE("said:"));
        }
        put_reply(&line, recipient);
        line_end(&line);
    }
}

static void put_text(const struct report_facts *facts, struct buf *out)
{
    uint32_t told = MIN_OF(facts->recipient_count, REPORT_TOLD_MAX);
    put_boundary(out, facts, "\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n");
    buf_put(out, SLICE("This is the mail system at "));
    buf_put(out, facts->hostname);
    buf_put(out, SLICE(".\r\n\r\nIt is about a message of yours, which came here\r\non "));
    date_put_rfc5322(out, facts->arrival_ns);
    buf_put(out, SLICE(".\r\n"));
    for (uint32_t i = 0; i < told; i++) {
        put_story(&facts->recipients[i], out);
    }
    if (told < facts->recipient_count) {
        buf_put(out, SLICE("\r\nAnd "));
        buf_put_u64(out, facts->recipient_count - told);
        buf_put(out, SLICE(" more recipients, which the next part lists.\r\n"));
    }
    buf_put(out, SLICE("\r\n"));
}

static void put_original(struct slice original, struct buf *out)
{
    original = slice_first(original, MIN_OF(original.size, (size_t)XTEXT_BYTES_MAX));
    size_t type = slice_find(original, ';');
    struct line line = line_begin(out, "Original-Recipient: ");
    put_shown(&line, slice_first(original, type));
    buf_put_byte(out, ';');
    put_decoded(out, slice_skip(original, MIN_OF(type + 1, original.size)));
    line_end(&line);
}

static void put_recipient(const struct report_recipient *recipient, struct buf *out)
{
    struct line line;
    buf_put(out, SLICE("\r\n"));
    if (recipient->original.size > 0) {
        put_original(recipient->original, out);
    }
    line = line_begin(out, "Final-Recipient: ");
    put_typed_address(out, recipient->address);
    line_end(&line);
    line = line_begin(out, "Action: ");
    buf_put_string(out, dsn_action_name(recipient->action));
    buf_put(out, SLICE("\r\nStatus: "));
    put_status(out, recipient);
    line_end(&line);
    if (recipient->remote.size > 0) {
        line = line_begin(out, "Remote-MTA: dns;");
        put_words(&line, recipient->remote);
        line_end(&line);
    }
    if (recipient->code != 0) {
        line = line_begin(out, "Diagnostic-Code: smtp;");
        put_reply(&line, recipient);
        line_end(&line);
    }
    if (recipient->action == DSN_DELAYED && recipient->retry_until_ns > 0) {
        line = line_begin(out, "Will-Retry-Until: ");
        date_put_rfc5322(out, recipient->retry_until_ns);
        line_end(&line);
    }
}

static void put_fields(const struct report_facts *facts, struct buf *out)
{
    put_boundary(out, facts, "\r\nContent-Type: message/delivery-status\r\n\r\n");
    if (facts->envelope_id.size > 0) {
        struct line line = line_begin(out, "Original-Envelope-Id: ");
        put_decoded(out, facts->envelope_id);
        line_end(&line);
    }
    buf_put(out, SLICE("Reporting-MTA: dns;"));
    buf_put(out, facts->hostname);
    buf_put(out, SLICE("\r\nArrival-Date: "));
    date_put_rfc5322(out, facts->arrival_ns);
    buf_put(out, SLICE("\r\n"));
    for (uint32_t i = 0; i < facts->recipient_count; i++) {
        put_recipient(&facts->recipients[i], out);
    }
    buf_put(out, SLICE("\r\n"));
}

/* --- what is returned ------------------------------------------------------------------------- */

/* Whole lines of it, as many as may be returned. */
static struct slice header_to_return(struct slice message)
{
    struct slice header;
    struct slice body;
    mime_split(message, &header, &body);
    header.size = MIN_OF(header.size, (size_t)REPORT_RETURN_BYTES_MAX);
    while (header.size > 0 && header.data[header.size - 1] != '\n') {
        header.size--;
    }
    return header;
}

static bool has_boundary(const struct report_facts *facts, struct slice text)
{
    uint8_t memory[64];
    struct buf boundary;
    buf_init(&boundary, memory, sizeof(memory));
    put_boundary(&boundary, facts, "");
    return text.size > 0 && memmem(text.data, text.size, memory, boundary.size) != NULL;
}

static void put_returned(const struct report_facts *facts, struct buf *out,
                         struct report_needs *needs)
{
    bool whole = facts->full && facts->message.size == facts->message_bytes &&
                 facts->message_bytes <= REPORT_RETURN_BYTES_MAX;
    struct slice text = whole ? facts->message : header_to_return(facts->message);
    if (text.size == 0 || has_boundary(facts, text)) {
        return;
    }
    bool ascii = slice_is_ascii(text);
    put_boundary(out, facts, "\r\nContent-Type: ");
    if (whole) {
        buf_put_string(out, facts->smtputf8 ? "message/global" : "message/rfc822");
    } else {
        buf_put_string(out, facts->smtputf8 ? "message/global-headers" : "text/rfc822-headers");
    }
    buf_put_string(out, ascii ? "\r\n" : "\r\nContent-Transfer-Encoding: 8bit\r\n");
    buf_put(out, SLICE("\r\n"));
    buf_put(out, text);
    buf_put_string(out, slice_ends_with(text, SLICE("\r\n")) ? "" : "\r\n");
    needs->eightbit = !ascii;
}

size_t report_make_bytes_max(const struct report_facts *facts)
{
    return REPORT_BYTES_FOR(facts->recipient_count) - REPORT_RETURN_BYTES_MAX +
           MIN_OF(facts->message.size, (size_t)REPORT_RETURN_BYTES_MAX);
}

void report_make_put(const struct report_facts *facts, struct buf *out,
                     struct report_needs *needs_out)
{
    CHECK(facts->recipient_count > 0 && facts->id.size <= 40);
    *needs_out = (struct report_needs){.smtputf8 = !slice_is_ascii(facts->sender)};
    put_header(facts, out);
    put_text(facts, out);
    put_fields(facts, out);
    put_returned(facts, out, needs_out);
    needs_out->eightbit = needs_out->eightbit || needs_out->smtputf8;
    put_boundary(out, facts, "--\r\n");
}
