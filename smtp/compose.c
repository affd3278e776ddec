#include "smtp/compose.h"

#include "core/base64.h"
#include "core/check.h"
#include "core/date.h"
#include "smtp/compose_body.h"
#include "smtp/compose_check.h"
#include "smtp/compose_header.h"

#define PART_HEADER_BYTES 256 /* of a part, without what its fields hold */

size_t compose_bytes_max(const struct compose *compose)
{
    size_t bytes = 2048 + 6 * compose->subject.size + body_bytes_max(compose->text_body) +
                   body_bytes_max(compose->html_body) + body_bytes_max(compose->amp_html_body) +
                   compose->hostname.size;
    const struct compose_mailbox *mailboxes[] = {&compose->from, &compose->reply_to, &compose->to};
    for (size_t i = 0; i < COUNT_OF(mailboxes); i++) {
        bytes += compose_mailbox_bytes_max(mailboxes[i]);
    }
    for (uint32_t i = 0; i < compose->header_count; i++) {
        bytes += compose->headers[i].name.size + 6 * compose->headers[i].value.size + 64;
    }
    for (uint32_t i = 0; i < compose->attachment_count; i++) {
        const struct compose_attachment *attachment = &compose->attachments[i];
        bytes += base64_lines_size(attachment->data.size) + attachment->content_type.size +
                 attachment->content_id.size + 6 * attachment->file_name.size +
                 PART_HEADER_BYTES;
    }
    return bytes;
}

size_t compose_mailbox_bytes_max(const struct compose_mailbox *mailbox)
{
    /* A character that is escaped in base64 or "Q" words, each with its overhead, or quoted. */
    return 6 * mailbox->name.size + mailbox->email.size + 128;
}

bool compose_put_mailbox(const struct compose_mailbox *mailbox, const char *field, struct buf *out,
                         struct compose_problem *problem_out)
{
    uint8_t memory[8 * COMPOSE_NAME_BYTES_MAX];
    struct header_writer writer = {.folds = false};
    struct buf line;
    problem_out->text[0] = '\0';
    if (!compose_check_mailbox(mailbox, field, problem_out)) {
        return false;
    }
    buf_init(&line, memory, sizeof(memory));
    writer.buf = &line;
    header_mailbox(&writer, mailbox);
    CHECK(!line.overflow);
    buf_put(out, slice_skip(buf_slice(&line), 1)); /* the space before its first word */
    return true;
}

/* ---- header of the message */

static void put_field(struct buf *out, const char *name, struct slice word)
{
    struct header_writer writer;
    header_begin(&writer, out, slice_from_string(name));
    header_word(&writer, word);
    header_end(&writer);
}

static void put_mailbox_field(struct buf *out, const char *name,
                              const struct compose_mailbox *mailbox)
{
    struct header_writer writer;
    if (compose_is_given(mailbox->email)) {
        header_begin(&writer, out, slice_from_string(name));
        header_mailbox(&writer, mailbox);
        header_end(&writer);
    }
}

static void put_date(const struct compose *compose, struct buf *out)
{
    uint8_t memory[64];
    struct buf date;
    buf_init(&date, memory, sizeof(memory));
    date_put_rfc5322(&date, compose->wall_ns);
    put_field(out, "Date", buf_slice(&date));
}

static void put_message_id(const struct compose *compose, struct buf *out)
{
    buf_put(out, SLICE("Message-ID: <"));
    buf_put(out, compose->id);
    buf_put_byte(out, '@');
    buf_put(out, compose->hostname);
    buf_put(out, SLICE(">\r\n"));
}

static void put_subject(const struct compose *compose, struct buf *out)
{
    struct header_writer writer;
    if (compose_is_given(compose->subject)) {
        header_begin(&writer, out, SLICE("Subject"));
        header_text(&writer, compose->subject);
        header_end(&writer);
    }
}

/* What is not given in `headers` is made from the rest. */
static void put_header(const struct compose *compose, struct buf *out)
{
    struct header_writer writer;
    if (compose_find_header(compose, "Date") == NULL) {
        put_date(compose, out);
    }
    put_mailbox_field(out, "From", &compose->from);
    put_mailbox_field(out, "Reply-To", &compose->reply_to);
    if (compose_find_header(compose, "To") == NULL) {
        put_mailbox_field(out, "To", &compose->to);
    }
    put_subject(compose, out);
    if (compose_find_header(compose, "Message-ID") == NULL) {
        put_message_id(compose, out);
    }
    for (uint32_t i = 0; i < compose->header_count; i++) {
        header_begin(&writer, out, compose->headers[i].name);
        header_raw(&writer, compose->headers[i].value);
        header_end(&writer);
    }
    buf_put(out, SLICE("MIME-Version: 1.0\r\n"));
}

/* ---- parts */

enum level { LEVEL_MIXED, LEVEL_RELATED, LEVEL_ALTERNATIVE, LEVELS };

static const struct {
    const char *type;
    uint8_t mark; /* in its boundary */
} level_rows[LEVELS] = {
    {"multipart/mixed", 'm'},
    {"multipart/related", 'r'},
    {"multipart/alternative", 'a'},
};

struct layout {
    const struct compose *compose;
    struct buf *out;
    bool levels[LEVELS];
};

/* "=_" stands in no body: none is written in 7bit that holds it, the other encodings cannot. */
static void put_boundary(const struct layout *layout, enum level level)
{
    buf_put(layout->out, SLICE("=_"));
    buf_put_byte(layout->out, level_rows[level].mark);
    buf_put(layout->out, layout->compose->id);
}

static void put_delimiter(const struct layout *layout, enum level level, const char *end)
{
    buf_put(layout->out, SLICE("\r\n--"));
    put_boundary(layout, level);
    buf_put_string(layout->out, end);
    buf_put(layout->out, SLICE("\r\n"));
}

/* The next level inside of this one that there is, or LEVELS. */
static enum level inner_level(const struct layout *layout, enum level level)
{
    enum level inner = level + 1;
    while (inner < LEVELS && !layout->levels[inner]) {
        inner++;
    }
    return inner;
}

/* The field that says what the level holds, and the delimiter before its first part. */
static void open_level(const struct layout *layout, enum level level)
{
    struct buf *out = layout->out;
    enum level inner = inner_level(layout, level);
    buf_put(out, SLICE("Content-Type: "));
    buf_put_string(out, level_rows[level].type);
    if (level == LEVEL_RELATED) {
        /* RFC 2387 3.1: the type of the part that the others belong to. */
        bool is_html = !compose_is_given(layout->compose->text_body);
        const char *type = inner < LEVELS ? level_rows[inner].type
                           : is_html      ? "text/html"
                                          : "text/plain";
        buf_put(out, SLICE(";\r\n type=\""));
        buf_put_string(out, type);
        buf_put_byte(out, '"');
    }
    buf_put(out, SLICE(";\r\n boundary=\""));
    put_boundary(layout, level);
    buf_put(out, SLICE("\"\r\n"));
    put_delimiter(layout, level, "");
}

static void put_body(const struct layout *layout, struct slice text, const char *type)
{
    enum body_encoding encoding = body_encoding_for(text);
    buf_put(layout->out, SLICE("Content-Type: "));
    buf_put_string(layout->out, type);
    buf_put(layout->out, SLICE("; charset=utf-8\r\nContent-Transfer-Encoding: "));
    buf_put(layout->out, body_encoding_name(encoding));
    buf_put(layout->out, SLICE("\r\n\r\n"));
    body_put(layout->out, text, encoding);
}

/* In the order in which they grow richer (RFC 2046 5.1.4). */
static void put_bodies(const struct layout *layout)
{
    const struct {
        struct slice body;
        const char *type;
    } rows[] = {
        {layout->compose->text_body, "text/plain"},
        {layout->compose->amp_html_body, "text/x-amp-html"},
        {layout->compose->html_body, "text/html"},
    };
    bool first = true;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (!compose_is_given(rows[i].body)) {
            continue;
        }
        if (!first) {
            put_delimiter(layout, LEVEL_ALTERNATIVE, "");
        }
        first = false;
        put_body(layout, rows[i].body, rows[i].type);
    }
}

static void put_attachment(const struct layout *layout, const struct compose_attachment *attachment)
{
    struct header_writer writer;
    struct base64_lines lines;
    bool is_inline = compose_is_given(attachment->content_id);
    header_begin(&writer, layout->out, SLICE("Content-Type"));
    header_word(&writer, slice_trim(attachment->content_type));
    header_end(&writer);
    buf_put(layout->out, SLICE("Content-Transfer-Encoding: base64\r\n"));
    header_begin(&writer, layout->out, SLICE("Content-Disposition"));
    header_word(&writer, is_inline ? SLICE("inline") : SLICE("attachment"));
    if (attachment->file_name.size > 0) {
        header_parameter(&writer, "filename", attachment->file_name);
    }
    header_end(&writer);
    if (is_inline) {
        buf_put(layout->out, SLICE("Content-ID: <"));
        buf_put(layout->out, compose_content_id(attachment->content_id));
        buf_put(layout->out, SLICE(">\r\n"));
    }
    buf_put(layout->out, SLICE("\r\n"));
    if (attachment->is_base64) {
        base64_put_again(layout->out, attachment->data);
        return;
    }
    base64_lines_begin(&lines, layout->out);
    base64_lines_put(&lines, attachment->data);
    base64_lines_end(&lines);
}

static void put_attachments(const struct layout *layout, enum level level)
{
    for (uint32_t i = 0; i < layout->compose->attachment_count; i++) {
        const struct compose_attachment *attachment = &layout->compose->attachments[i];
        if (compose_is_given(attachment->content_id) == (level == LEVEL_RELATED)) {
            put_delimiter(layout, level, "");
            put_attachment(layout, attachment);
        }
    }
}

static void put_parts(struct layout *layout)
{
    const struct compose *compose = layout->compose;
    int bodies = compose_is_given(compose->text_body) + compose_is_given(compose->html_body) +
                 compose_is_given(compose->amp_html_body);
    layout->levels[LEVEL_ALTERNATIVE] = bodies > 1;
    for (uint32_t i = 0; i < compose->attachment_count; i++) {
        bool is_inline = compose_is_given(compose->attachments[i].content_id);
        layout->levels[is_inline ? LEVEL_RELATED : LEVEL_MIXED] = true;
    }
    for (enum level level = LEVEL_MIXED; level < LEVELS; level++) {
        if (layout->levels[level]) {
            open_level(layout, level);
        }
    }
    put_bodies(layout);
    for (enum level level = LEVELS; level-- > LEVEL_MIXED;) {
        if (layout->levels[level]) {
            if (level != LEVEL_ALTERNATIVE) {
                put_attachments(layout, level);
            }
            put_delimiter(layout, level, "--");
        }
    }
}

static bool is_utf8_mailbox(const struct compose_mailbox *mailbox)
{
    return !slice_is_ascii(mailbox->email);
}

bool compose_put(const struct compose *compose, struct buf *out, bool *utf8_out,
                 struct compose_problem *problem_out)
{
    struct layout layout = {.compose = compose, .out = out};
    CHECK(compose->id.size > 0 && compose->id.size <= COMPOSE_ID_BYTES_MAX);
    problem_out->text[0] = '\0';
    *utf8_out = is_utf8_mailbox(&compose->from) || is_utf8_mailbox(&compose->reply_to) ||
                (is_utf8_mailbox(&compose->to) && compose_find_header(compose, "To") == NULL);
    if (!compose_check(compose, problem_out)) {
        return false;
    }
    put_header(compose, out);
    put_parts(&layout);
    if (!slice_ends_with(buf_slice(out), SLICE("\r\n"))) {
        buf_put(out, SLICE("\r\n"));
    }
    return true;
}
