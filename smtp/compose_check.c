#include "smtp/compose_check.h"

#include <string.h>

#include "core/base64.h"
#include "smtp/address.h"

#define FIELD_BYTES_MAX 64 /* of a name in a problem */

/* ---- problems */

/* "field.name: what", the name cut where it is long. */
static bool refuse(struct compose_problem *problem, const char *field, struct slice name,
                   const char *what)
{
    struct buf buf;
    buf_init(&buf, problem->text, sizeof(problem->text) - 1);
    buf_put_string(&buf, field);
    buf_put_shown(&buf, name, FIELD_BYTES_MAX);
    buf_put_string(&buf, ": ");
    buf_put_string(&buf, what);
    problem->text[buf.size] = '\0';
    return false;
}

/* Why this cannot stand in a header; null when it can. */
static const char *fault_of_text(struct slice text, size_t bytes_max)
{
    if (text.size > bytes_max) {
        return "too long";
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '\r' || text.data[i] == '\n') {
            return "holds a line end";
        }
        if (text.data[i] < ' ' || text.data[i] == 0x7F) {
            return "holds a control character";
        }
    }
    return slice_is_utf8(text) ? NULL : "not UTF-8";
}

/* ---- mailboxes */

bool compose_check_mailbox(const struct compose_mailbox *mailbox, const char *field,
                          struct compose_problem *problem)
{
    struct address address;
    if (!address_parse_bare(mailbox->email, false, &address)) {
        return refuse(problem, field, SLICE(".email"), "not an address");
    }
    const char *fault = fault_of_text(mailbox->name, COMPOSE_NAME_BYTES_MAX);
    return fault == NULL || refuse(problem, field, SLICE(".name"), fault);
}

/* ---- header fields that are given */

enum field_rule {
    FIELD_FREE,
    FIELD_ONCE,    /* RFC 5322 3.6 */
    FIELD_ADDRESS, /* once, and of mailboxes */
    FIELD_ASCII,   /* once, and ASCII: dates and message ids */
    FIELD_OURS,    /* says what the message is, or how it came */
};

static enum field_rule rule_of(struct slice name)
{
    static const struct {
        const char *name;
        enum field_rule rule;
    } rows[] = {
        {"Date", FIELD_ASCII},        {"Message-ID", FIELD_ASCII}, {"In-Reply-To", FIELD_ASCII},
        {"References", FIELD_ASCII},  {"From", FIELD_ADDRESS},     {"Sender", FIELD_ADDRESS},
        {"Reply-To", FIELD_ADDRESS},  {"To", FIELD_ADDRESS},       {"Cc", FIELD_ADDRESS},
        {"Subject", FIELD_ONCE},      {"Bcc", FIELD_OURS},         {"MIME-Version", FIELD_OURS},
        {"Received", FIELD_OURS},     {"Return-Path", FIELD_OURS},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (slice_equal_nocase(name, slice_from_string(rows[i].name))) {
            return rows[i].rule;
        }
    }
    struct slice content = SLICE("Content-");
    bool is_content = name.size >= content.size &&
                      slice_equal_nocase(slice_first(name, content.size), content);
    return is_content ? FIELD_OURS : FIELD_FREE;
}

bool compose_is_address_field(struct slice name)
{
    return rule_of(name) == FIELD_ADDRESS || slice_equal_nocase(name, SLICE("Bcc"));
}

bool compose_is_field_name(struct slice name)
{
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] <= ' ' || name.data[i] >= 0x7F || name.data[i] == ':') {
            return false;
        }
    }
    return name.size > 0 && name.size <= COMPOSE_HEADER_NAME_BYTES;
}

bool compose_has_long_word(struct slice value, size_t bytes_max)
{
    size_t size = 0;
    for (size_t i = 0; i < value.size; i++) {
        size = value.data[i] == ' ' ? 0 : size + 1;
        if (size > bytes_max) {
            return true;
        }
    }
    return false;
}

/* A name that is not ASCII is encoded; an address or a quoted name that is not cannot be. */
static bool is_address_text(struct slice value)
{
    bool quoted = false;
    for (size_t at = 0; at < value.size;) {
        struct slice rest = slice_skip(value, at);
        struct slice word = slice_first(rest, slice_find(rest, ' '));
        bool is_ascii = slice_is_ascii(word);
        for (size_t i = 0; i < word.size; i++) {
            bool is_quote = word.data[i] == '"' && (i == 0 || word.data[i - 1] != '\\');
            quoted = quoted != is_quote;
            bool is_special = strchr("<>@,;:()[]\\", word.data[i]) != NULL;
            if (!is_ascii && (quoted || is_quote || is_special)) {
                return false;
            }
        }
        at += word.size + 1;
    }
    return true;
}

static const char *fault_of_value(enum field_rule rule, struct slice value)
{
    const char *fault = fault_of_text(value, SIZE_MAX);
    if (fault != NULL) {
        return fault;
    }
    bool is_ascii = slice_is_ascii(value);
    bool is_text = rule == FIELD_FREE || rule == FIELD_ONCE;
    if (slice_trim(value).size == 0 && !is_text) {
        return "empty";
    }
    if (compose_has_long_word(value, COMPOSE_WORD_BYTES_MAX) && is_ascii) {
        return "holds a word too long for a line";
    }
    if (rule == FIELD_ASCII && !is_ascii) {
        return "not ASCII";
    }
    if (rule == FIELD_ADDRESS && !is_address_text(value)) {
        return "not ASCII in an address or a quoted name";
    }
    return NULL;
}

const struct compose_header *compose_find_header(const struct compose *compose,
                                                 const char *name)
{
    for (uint32_t i = 0; i < compose->header_count; i++) {
        if (slice_equal_nocase(compose->headers[i].name, slice_from_string(name))) {
            return &compose->headers[i];
        }
    }
    return NULL;
}

static bool is_twice(const struct compose *compose, uint32_t index)
{
    struct slice name = compose->headers[index].name;
    for (uint32_t i = 0; i < index; i++) {
        if (slice_equal_nocase(compose->headers[i].name, name)) {
            return true;
        }
    }
    const struct {
        struct slice given;
        struct slice name;
    } fields[] = {
        {compose->subject, SLICE("Subject")},
        {compose->from.email, SLICE("From")},
        {compose->reply_to.email, SLICE("Reply-To")},
    };
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        if (compose_is_given(fields[i].given) && slice_equal_nocase(name, fields[i].name)) {
            return true;
        }
    }
    return false;
}

static bool check_header(const struct compose *compose, uint32_t index,
                         struct compose_problem *problem)
{
    const struct compose_header *header = &compose->headers[index];
    if (!compose_is_field_name(header->name)) {
        return refuse(problem, "headers.", header->name, "not a name of a header field");
    }
    enum field_rule rule = rule_of(header->name);
    if (rule == FIELD_OURS) {
        return refuse(problem, "headers.", header->name, "cannot be given");
    }
    if (rule != FIELD_FREE && is_twice(compose, index)) {
        return refuse(problem, "headers.", header->name, "given twice");
    }
    const char *fault = fault_of_value(rule, header->value);
    return fault == NULL || refuse(problem, "headers.", header->name, fault);
}

/* ---- attachments */

static bool is_token(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (byte <= ' ' || byte >= 0x7F || strchr("()<>@,;:\\\"/[]?=", byte) != NULL) {
            return false;
        }
    }
    return text.size > 0;
}

/* A token, or a quoted string without escapes. */
static bool is_parameter_value(struct slice text)
{
    if (text.size < 2 || text.data[0] != '"' || text.data[text.size - 1] != '"') {
        return is_token(text);
    }
    struct slice inside = slice_make(text.data + 1, text.size - 2);
    return slice_find(inside, '"') == inside.size && slice_find(inside, '\\') == inside.size;
}

/* "type/subtype" and parameters. */
static bool is_content_type(struct slice text)
{
    struct slice type = slice_first(text, slice_find(text, ';'));
    struct slice rest = slice_skip(text, type.size);
    type = slice_trim(type);
    size_t slash = slice_find(type, '/');
    if (slash == type.size || !is_token(slice_first(type, slash)) ||
        !is_token(slice_skip(type, slash + 1))) {
        return false;
    }
    while (rest.size > 0) {
        rest = slice_skip(rest, 1);
        struct slice parameter = slice_first(rest, slice_find(rest, ';'));
        rest = slice_skip(rest, parameter.size);
        parameter = slice_trim(parameter);
        size_t equals = slice_find(parameter, '=');
        if (equals == parameter.size || !is_token(slice_first(parameter, equals)) ||
            !is_parameter_value(slice_skip(parameter, equals + 1))) {
            return false;
        }
    }
    return true;
}

static const char *fault_of_content_type(struct slice type)
{
    const char *fault = fault_of_text(type, COMPOSE_CONTENT_TYPE_BYTES_MAX);
    if (fault != NULL) {
        return fault;
    }
    if (!slice_is_ascii(type) || !is_content_type(type)) {
        return "not a content type";
    }
    struct slice main_type = slice_first(type, slice_find(type, '/'));
    /* Their content may not be encoded (RFC 2045 6.4). */
    return slice_equal_nocase(main_type, SLICE("multipart")) ||
                   slice_equal_nocase(main_type, SLICE("message"))
               ? "not a type of an attachment"
               : NULL;
}

struct slice compose_content_id(struct slice id)
{
    bool has = id.size >= 2 && id.data[0] == '<' && id.data[id.size - 1] == '>';
    return has ? slice_make(id.data + 1, id.size - 2) : id;
}

static const char *fault_of_content_id(struct slice id)
{
    const char *fault = fault_of_text(id, COMPOSE_CONTENT_ID_BYTES_MAX);
    id = compose_content_id(id);
    for (size_t i = 0; i < id.size && fault == NULL; i++) {
        if (id.data[i] >= 0x7F || strchr(" <>\"()\\,;:", id.data[i]) != NULL) {
            fault = "not a content id";
        }
    }
    return fault == NULL && id.size == 0 ? "empty" : fault;
}

/* "attachments[3].content_type: …" */
static bool refuse_attachment(struct compose_problem *problem, uint32_t index, const char *field,
                              const char *what)
{
    uint8_t memory[FIELD_BYTES_MAX];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    buf_put_byte(&buf, '[');
    buf_put_u64(&buf, index);
    buf_put_string(&buf, "].");
    buf_put_string(&buf, field);
    return refuse(problem, "attachments", buf_slice(&buf), what);
}

static bool check_attachment(const struct compose_attachment *attachment, uint32_t index,
                             struct compose_problem *problem)
{
    const char *fault = fault_of_content_type(attachment->content_type);
    if (fault != NULL) {
        return refuse_attachment(problem, index, "content_type", fault);
    }
    if (compose_is_given(attachment->content_id)) {
        fault = fault_of_content_id(attachment->content_id);
        if (fault != NULL) {
            return refuse_attachment(problem, index, "content_id", fault);
        }
    }
    fault = fault_of_text(attachment->file_name, COMPOSE_FILE_NAME_BYTES_MAX);
    if (fault != NULL) {
        return refuse_attachment(problem, index, "file_name", fault);
    }
    return !attachment->is_base64 || base64_is_valid(attachment->data) ||
           refuse_attachment(problem, index, "data", "not base64");
}

bool compose_check_attachments(const struct compose *compose, struct compose_problem *problem)
{
    if (compose->attachment_count > COMPOSE_ATTACHMENTS_MAX) {
        return refuse(problem, "attachments", SLICE(""), "too many");
    }
    for (uint32_t i = 0; i < compose->attachment_count; i++) {
        if (!check_attachment(&compose->attachments[i], i, problem)) {
            return false;
        }
    }
    return true;
}

/* ---- the whole before it is written */

static bool check_mailboxes(const struct compose *compose, struct compose_problem *problem)
{
    const struct {
        const struct compose_mailbox *mailbox;
        const char *field;
    } rows[] = {
        {&compose->from, "from"}, {&compose->reply_to, "reply_to"}, {&compose->to, "recipient"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (compose_is_given(rows[i].mailbox->email) &&
            !compose_check_mailbox(rows[i].mailbox, rows[i].field, problem)) {
            return false;
        }
    }
    return true;
}

static bool check_bodies(const struct compose *compose, struct compose_problem *problem)
{
    const struct {
        struct slice body;
        const char *field;
    } rows[] = {
        {compose->text_body, "text_body"},
        {compose->html_body, "html_body"},
        {compose->amp_html_body, "amp_html_body"},
    };
    if (!compose_is_given(compose->text_body) && !compose_is_given(compose->html_body)) {
        return refuse(problem, "content", SLICE(""), "neither text_body nor html_body");
    }
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (!slice_is_utf8(rows[i].body)) {
            return refuse(problem, rows[i].field, SLICE(""), "not UTF-8");
        }
    }
    return true;
}

bool compose_check(const struct compose *compose, struct compose_problem *problem)
{
    const char *fault = fault_of_text(compose->subject, SIZE_MAX);
    if (fault != NULL) {
        return refuse(problem, "subject", SLICE(""), fault);
    }
    if (compose->header_count > COMPOSE_HEADERS_MAX) {
        return refuse(problem, "headers", SLICE(""), "too many");
    }
    for (uint32_t i = 0; i < compose->header_count; i++) {
        if (!check_header(compose, i, problem)) {
            return false;
        }
    }
    if (!compose->attachments_are_checked && !compose_check_attachments(compose, problem)) {
        return false;
    }
    if (!compose_is_given(compose->from.email) && compose_find_header(compose, "From") == NULL) {
        return refuse(problem, "from", SLICE(""), "missing");
    }
    return check_mailboxes(compose, problem) && check_bodies(compose, problem);
}
