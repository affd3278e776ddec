#include "smtp/inject_request.h"

#include <stddef.h>

#include "smtp/address.h"
#include "smtp/compose_check.h"

#define PATH_BYTES_MAX 128 /* of the fields around the one that is read */
#define NAME_BYTES_MAX 64  /* of a key in a problem */

enum field_kind { FIELD_STRING, FIELD_BOOL, FIELD_OBJECT, FIELD_LIST, FIELD_ANY };

/* A key of an object, and where in a struct its value goes: a slice, a bool, or a pointer. */
struct field {
    const char *name;
    enum field_kind kind;
    bool required;
    size_t offset;
};

struct reader {
    struct arena *arena;
    struct inject_problem *problem;
    struct buf path; /* "recipients[3]." */
    uint8_t path_bytes[PATH_BYTES_MAX];
};

/* ---- problems and paths */

static bool refuse(struct reader *reader, struct slice name, const char *what)
{
    struct buf buf;
    buf_init(&buf, reader->problem->text, sizeof(reader->problem->text) - 1);
    buf_put(&buf, buf_slice(&reader->path));
    buf_put_shown(&buf, name, NAME_BYTES_MAX);
    buf_put_string(&buf, ": ");
    buf_put_string(&buf, what);
    reader->problem->text[buf.size] = '\0';
    return false;
}

/* What `name` holds is read next; path_leave with what this returns when that is done. */
static size_t path_enter(struct reader *reader, const char *name)
{
    size_t before = reader->path.size;
    buf_put_string(&reader->path, name);
    buf_put_byte(&reader->path, '.');
    return before;
}

static size_t path_enter_element(struct reader *reader, const char *name, uint32_t index)
{
    size_t before = reader->path.size;
    buf_printf(&reader->path, "%s[%u].", name, index);
    return before;
}

static void path_leave(struct reader *reader, size_t before)
{
    reader->path.size = before;
}

/* ---- objects by table */

static bool is_kind(const struct json_value *value, enum field_kind kind)
{
    switch (kind) {
    case FIELD_STRING:
        return value->kind == JSON_STRING;
    case FIELD_BOOL:
        return value->kind == JSON_BOOL;
    case FIELD_OBJECT:
        return value->kind == JSON_OBJECT;
    case FIELD_LIST:
        return value->kind == JSON_ARRAY;
    case FIELD_ANY:
        break;
    }
    return true;
}

static const char *wanted_kind(enum field_kind kind)
{
    switch (kind) {
    case FIELD_STRING:
        return "not a string";
    case FIELD_BOOL:
        return "neither true nor false";
    case FIELD_OBJECT:
        return "not an object";
    case FIELD_LIST:
        return "not a list";
    case FIELD_ANY:
        break;
    }
    return "";
}

static void store(void *target, const struct field *field, const struct json_value *value)
{
    void *at = (char *)target + field->offset;
    switch (field->kind) {
    case FIELD_STRING:
        *(struct slice *)at = json_value_text(value);
        break;
    case FIELD_BOOL:
        *(bool *)at = value->boolean;
        break;
    case FIELD_OBJECT:
    case FIELD_LIST:
    case FIELD_ANY:
        *(const struct json_value **)at = value;
        break;
    }
}

static const struct field *find_field(const struct field *fields, size_t count, struct slice name)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_equal(name, slice_from_string(fields[i].name))) {
            return &fields[i];
        }
    }
    return NULL;
}

/* Null counts as not given. */
static bool read_field(struct reader *reader, const struct field *field,
                       const struct json_member *member, void *target)
{
    struct slice name = json_value_text(&member->key);
    if (field == NULL) {
        return refuse(reader, name, "unknown field");
    }
    if (member->value.kind == JSON_NULL) {
        return true;
    }
    if (!is_kind(&member->value, field->kind)) {
        return refuse(reader, name, wanted_kind(field->kind));
    }
    store(target, field, &member->value);
    return true;
}

static bool read_object(struct reader *reader, const struct json_value *object,
                        const struct field *fields, size_t count, void *target)
{
    if (object->kind != JSON_OBJECT) {
        return refuse(reader, SLICE(""), "not an object");
    }
    for (uint32_t i = 0; i < object->size; i++) {
        const struct json_member *member = &object->members[i];
        const struct field *field = find_field(fields, count, json_value_text(&member->key));
        if (!read_field(reader, field, member, target)) {
            return false;
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct slice name = slice_from_string(fields[i].name);
        const struct json_value *value = json_value_member(object, name);
        if (fields[i].required && (value == NULL || value->kind == JSON_NULL)) {
            return refuse(reader, name, "missing");
        }
    }
    return true;
}

/* Memory for the elements of a list; refused when there is none. */
static void *take_list(struct reader *reader, const char *name, size_t count, size_t bytes)
{
    void *memory = arena_take(reader->arena, count, bytes);
    if (memory == NULL) {
        refuse(reader, slice_from_string(name), "too many for the memory of a request");
    }
    return memory;
}

/* ---- parts of a request */

static bool read_mailbox(struct reader *reader, const char *name, const struct json_value *value,
                         struct compose_mailbox *mailbox)
{
    static const struct field fields[] = {
        {"email", FIELD_STRING, true, offsetof(struct compose_mailbox, email)},
        {"name", FIELD_STRING, false, offsetof(struct compose_mailbox, name)},
    };
    if (value == NULL) {
        return true;
    }
    size_t before = path_enter(reader, name);
    bool good = read_object(reader, value, fields, COUNT_OF(fields), mailbox);
    path_leave(reader, before);
    return good;
}

static bool read_recipient(struct reader *reader, const struct json_value *value,
                           struct inject_recipient *recipient)
{
    static const struct field fields[] = {
        {"email", FIELD_STRING, true, offsetof(struct inject_recipient, mailbox.email)},
        {"name", FIELD_STRING, false, offsetof(struct inject_recipient, mailbox.name)},
        {"substitutions", FIELD_OBJECT, false, offsetof(struct inject_recipient, substitutions)},
        {"metadata", FIELD_OBJECT, false, offsetof(struct inject_recipient, metadata)},
    };
    *recipient = (struct inject_recipient){0};
    if (!read_object(reader, value, fields, COUNT_OF(fields), recipient)) {
        return false;
    }
    struct address address;
    recipient->is_valid = address_parse_bare(recipient->mailbox.email, false, &address);
    return true;
}

static bool read_recipients(struct reader *reader, const struct json_value *list,
                            struct inject_request *request)
{
    if (list->size == 0 || list->size > INJECT_RECIPIENTS_MAX) {
        return refuse(reader, SLICE("recipients"), list->size == 0 ? "empty" : "too many");
    }
    struct inject_recipient *recipients =
        take_list(reader, "recipients", list->size, sizeof(*recipients));
    if (recipients == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < list->size; i++) {
        size_t before = path_enter_element(reader, "recipients", i);
        bool good = read_recipient(reader, &list->elements[i], &recipients[i]);
        path_leave(reader, before);
        if (!good) {
            return false;
        }
    }
    request->recipients = recipients;
    request->recipient_count = list->size;
    return true;
}

static bool read_headers(struct reader *reader, const struct json_value *object,
                         struct compose *parts)
{
    if (object == NULL) {
        return true;
    }
    if (object->size > COMPOSE_HEADERS_MAX) {
        return refuse(reader, SLICE("headers"), "too many");
    }
    struct compose_header *headers =
        take_list(reader, "headers", object->size, sizeof(*headers));
    if (headers == NULL) {
        return false;
    }
    size_t before = path_enter(reader, "headers");
    for (uint32_t i = 0; i < object->size; i++) {
        const struct json_member *member = &object->members[i];
        headers[i].name = json_value_text(&member->key);
        if (member->value.kind != JSON_STRING) {
            return refuse(reader, headers[i].name, "not a string");
        }
        headers[i].value = json_value_text(&member->value);
    }
    path_leave(reader, before);
    parts->headers = headers;
    parts->header_count = object->size;
    return true;
}

static bool read_attachments(struct reader *reader, const struct json_value *list,
                             struct compose *parts)
{
    static const struct field fields[] = {
        {"data", FIELD_STRING, true, offsetof(struct compose_attachment, data)},
        {"content_type", FIELD_STRING, true, offsetof(struct compose_attachment, content_type)},
        {"content_id", FIELD_STRING, false, offsetof(struct compose_attachment, content_id)},
        {"file_name", FIELD_STRING, false, offsetof(struct compose_attachment, file_name)},
        {"base64", FIELD_BOOL, false, offsetof(struct compose_attachment, is_base64)},
    };
    if (list == NULL) {
        return true;
    }
    if (list->size > COMPOSE_ATTACHMENTS_MAX) {
        return refuse(reader, SLICE("attachments"), "too many");
    }
    struct compose_attachment *attachments =
        take_list(reader, "attachments", list->size, sizeof(*attachments));
    if (attachments == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < list->size; i++) {
        size_t before = path_enter_element(reader, "attachments", i);
        attachments[i] = (struct compose_attachment){0};
        if (!read_object(reader, &list->elements[i], fields, COUNT_OF(fields), &attachments[i])) {
            return false;
        }
        path_leave(reader, before);
    }
    parts->attachments = attachments;
    parts->attachment_count = list->size;
    return true;
}

/* The builder's fields as they come; then the objects and lists among them. */
struct builder {
    struct compose parts;
    const struct json_value *from;
    const struct json_value *reply_to;
    const struct json_value *headers;
    const struct json_value *attachments;
};

static bool read_builder(struct reader *reader, const struct json_value *content,
                         struct inject_request *request)
{
    static const struct field fields[] = {
        {"text_body", FIELD_STRING, false, offsetof(struct builder, parts.text_body)},
        {"html_body", FIELD_STRING, false, offsetof(struct builder, parts.html_body)},
        {"amp_html_body", FIELD_STRING, false, offsetof(struct builder, parts.amp_html_body)},
        {"subject", FIELD_STRING, false, offsetof(struct builder, parts.subject)},
        {"from", FIELD_OBJECT, false, offsetof(struct builder, from)},
        {"reply_to", FIELD_OBJECT, false, offsetof(struct builder, reply_to)},
        {"headers", FIELD_OBJECT, false, offsetof(struct builder, headers)},
        {"attachments", FIELD_LIST, false, offsetof(struct builder, attachments)},
    };
    struct builder builder = {0};
    size_t before = path_enter(reader, "content");
    bool good = read_object(reader, content, fields, COUNT_OF(fields), &builder) &&
                read_mailbox(reader, "from", builder.from, &builder.parts.from) &&
                read_mailbox(reader, "reply_to", builder.reply_to, &builder.parts.reply_to) &&
                read_headers(reader, builder.headers, &builder.parts) &&
                read_attachments(reader, builder.attachments, &builder.parts);
    path_leave(reader, before);
    request->parts = builder.parts;
    return good;
}

static bool read_content(struct reader *reader, const struct json_value *content,
                         struct inject_request *request)
{
    if (content->kind == JSON_STRING) {
        request->raw = json_value_text(content);
        return request->raw.size > 0 || refuse(reader, SLICE("content"), "empty");
    }
    if (content->kind != JSON_OBJECT) {
        return refuse(reader, SLICE("content"), "neither a string nor an object");
    }
    return read_builder(reader, content, request);
}

static bool read_dialect(struct reader *reader, struct slice name, enum template_dialect *dialect)
{
    static const struct {
        const char *name;
        enum template_dialect dialect;
    } rows[] = {
        {"Jinja", TEMPLATE_JINJA},
        {"Handlebars", TEMPLATE_HANDLEBARS},
        {"Static", TEMPLATE_STATIC},
    };
    *dialect = TEMPLATE_JINJA;
    for (size_t i = 0; i < COUNT_OF(rows) && name.data != NULL; i++) {
        if (slice_equal(name, slice_from_string(rows[i].name))) {
            *dialect = rows[i].dialect;
            return true;
        }
    }
    return name.data == NULL || refuse(reader, SLICE("template_dialect"),
                                       "none of Jinja, Handlebars, Static");
}

static bool read_meta_names(struct reader *reader, struct inject_trace *trace)
{
    const struct json_value *list = trace->include_meta_names;
    if (list == NULL || list->size == 0) {
        return true;
    }
    struct slice *names = take_list(reader, "include_meta_names", list->size, sizeof(*names));
    for (uint32_t i = 0; i < list->size && names != NULL; i++) {
        if (list->elements[i].kind != JSON_STRING) {
            return refuse(reader, SLICE("include_meta_names"), "not a list of strings");
        }
        names[i] = json_value_text(&list->elements[i]);
    }
    trace->supplemental.meta = (struct conf_names){.names = names, .count = list->size};
    return names != NULL;
}

static bool read_trace(struct reader *reader, const struct json_value *object,
                       struct inject_trace *trace)
{
    static const struct field fields[] = {
        {"received_header", FIELD_BOOL, false, offsetof(struct inject_trace, received_header)},
        {"supplemental_header", FIELD_BOOL, false,
         offsetof(struct inject_trace, supplemental.supplemental_header)},
        {"header_name", FIELD_STRING, false,
         offsetof(struct inject_trace, supplemental.header_name)},
        {"include_meta_names", FIELD_LIST, false,
         offsetof(struct inject_trace, include_meta_names)},
    };
    *trace = (struct inject_trace){.supplemental = {.header_name = SLICE(CONF_TRACE_HEADER)}};
    if (object == NULL) {
        return true;
    }
    size_t before = path_enter(reader, "trace_headers");
    if (!read_object(reader, object, fields, COUNT_OF(fields), trace)) {
        return false;
    }
    struct slice name = trace->supplemental.header_name;
    if (name.size > CONF_TRACE_NAME_BYTES_MAX || !compose_is_field_name(name)) {
        return refuse(reader, SLICE("header_name"), "not the name of a header field");
    }
    if (!read_meta_names(reader, trace)) {
        return false;
    }
    path_leave(reader, before);
    return true;
}

/* The fields of a request as they come. */
struct whole {
    struct inject_request request;
    const struct json_value *recipients;
    const struct json_value *content;
    const struct json_value *trace;
    struct slice dialect;
};

static bool read_whole(struct reader *reader, const struct json_value *root, struct whole *whole)
{
    static const struct field fields[] = {
        {"envelope_sender", FIELD_STRING, true, offsetof(struct whole, request.envelope_sender)},
        {"recipients", FIELD_LIST, true, offsetof(struct whole, recipients)},
        {"content", FIELD_ANY, true, offsetof(struct whole, content)},
        {"substitutions", FIELD_OBJECT, false, offsetof(struct whole, request.substitutions)},
        {"template_dialect", FIELD_STRING, false, offsetof(struct whole, dialect)},
        {"deferred_spool", FIELD_BOOL, false, offsetof(struct whole, request.deferred_spool)},
        {"deferred_generation", FIELD_BOOL, false,
         offsetof(struct whole, request.deferred_generation)},
        {"trace_headers", FIELD_OBJECT, false, offsetof(struct whole, trace)},
    };
    struct inject_request *request = &whole->request;
    if (!read_object(reader, root, fields, COUNT_OF(fields), whole)) {
        return false;
    }
    struct address sender;
    if (!address_parse_bare(request->envelope_sender, true, &sender)) {
        return refuse(reader, SLICE("envelope_sender"), "not an address");
    }
    return read_dialect(reader, whole->dialect, &request->dialect) &&
           read_trace(reader, whole->trace, &request->trace) &&
           read_recipients(reader, whole->recipients, request) &&
           read_content(reader, whole->content, request);
}

bool inject_request_read(const struct json_value *root, struct arena *arena,
                         struct inject_request *request_out, struct inject_problem *problem_out)
{
    struct reader reader = {.arena = arena, .problem = problem_out};
    struct whole whole = {0};
    buf_init(&reader.path, reader.path_bytes, sizeof(reader.path_bytes));
    problem_out->text[0] = '\0';
    if (root->kind != JSON_OBJECT) {
        return refuse(&reader, SLICE("request"), "not an object");
    }
    if (!read_whole(&reader, root, &whole)) {
        return false;
    }
    *request_out = whole.request;
    return true;
}
