#include "smtp/inject_message.h"

#include "core/check.h"
#include "smtp/compose_check.h"
#include "smtp/compose_raw.h"

#define PREDEFINED 3 /* email, name, to_header */

/* ---- problems: of templates and messages, with the path of the field before them */

static bool refuse(struct inject_problem *problem, const char *text)
{
    struct buf buf;
    buf_init(&buf, problem->text, sizeof(problem->text) - 1);
    buf_put_string(&buf, text);
    problem->text[buf.size] = '\0';
    return false;
}

static bool refuse_template(struct inject_problem *problem, const char *path, struct slice name,
                            const struct template_problem *fault)
{
    struct buf buf;
    buf_init(&buf, problem->text, sizeof(problem->text) - 1);
    buf_put_string(&buf, path);
    buf_put_shown(&buf, name, COMPOSE_HEADER_NAME_BYTES);
    buf_put_string(&buf, ": line ");
    buf_put_u64(&buf, fault->line);
    buf_put_string(&buf, ", column ");
    buf_put_u64(&buf, fault->column);
    buf_put_string(&buf, ": ");
    buf_put_string(&buf, fault->text);
    problem->text[buf.size] = '\0';
    return false;
}

static bool refuse_message(struct inject_problem *problem, const struct compose_problem *fault)
{
    struct slice text = slice_from_string(fault->text);
    bool is_path = slice_starts_with(text, SLICE("content")) ||
                   slice_starts_with(text, SLICE("recipient"));
    struct buf buf;
    buf_init(&buf, problem->text, sizeof(problem->text) - 1);
    buf_put_string(&buf, is_path ? "" : "content.");
    buf_put(&buf, text);
    problem->text[buf.size] = '\0';
    return false;
}

/* ---- compiling */

struct compiling {
    struct arena *arena;
    enum template_dialect dialect;
    struct inject_problem *problem;
};

/* True, and no program, where there is no text. */
static bool compile(struct compiling *compiling, struct slice text, enum template_kind kind,
                    const char *path, const struct template **template_out)
{
    struct template_problem fault;
    *template_out = NULL;
    if (text.data == NULL) {
        return true;
    }
    *template_out = template_compile(text, compiling->dialect, kind, compiling->arena, &fault);
    return *template_out != NULL ||
           refuse_template(compiling->problem, path, SLICE(""), &fault);
}

static bool compile_headers(struct compiling *compiling, const struct compose *parts,
                            struct inject_templates *templates)
{
    templates->headers =
        arena_take(compiling->arena, parts->header_count, sizeof(*templates->headers));
    if (templates->headers == NULL) {
        return refuse(compiling->problem, "content.headers: too many for the memory of a request");
    }
    for (uint32_t i = 0; i < parts->header_count; i++) {
        struct template_problem fault;
        templates->headers[i] = template_compile(parts->headers[i].value, compiling->dialect,
                                                 TEMPLATE_TEXT, compiling->arena, &fault);
        if (templates->headers[i] == NULL) {
            return refuse_template(compiling->problem, "content.headers.", parts->headers[i].name,
                                   &fault);
        }
    }
    return true;
}

bool inject_compile(const struct inject_request *request, struct arena *arena,
                    struct inject_templates *templates_out, struct inject_problem *problem_out)
{
    struct compiling compiling = {
        .arena = arena, .dialect = request->dialect, .problem = problem_out};
    const struct compose *parts = &request->parts;
    struct compose_problem fault;
    problem_out->text[0] = '\0';
    *templates_out = (struct inject_templates){.request = request};
    if (request->raw.data != NULL) {
        return compile(&compiling, request->raw, TEMPLATE_MESSAGE, "content",
                       &templates_out->raw);
    }
    if (!compose_check_attachments(parts, &fault)) {
        return refuse_message(problem_out, &fault);
    }
    return compile(&compiling, parts->text_body, TEMPLATE_TEXT, "content.text_body",
                   &templates_out->text_body) &&
           compile(&compiling, parts->html_body, TEMPLATE_HTML, "content.html_body",
                   &templates_out->html_body) &&
           compile(&compiling, parts->amp_html_body, TEMPLATE_HTML, "content.amp_html_body",
                   &templates_out->amp_html_body) &&
           compile(&compiling, parts->subject, TEMPLATE_TEXT, "content.subject",
                   &templates_out->subject) &&
           compile_headers(&compiling, parts, templates_out);
}

/* ---- making */

struct making {
    struct inject_maker *maker;
    struct template_run run;
    struct json_value predefined;
    struct json_member members[PREDEFINED];
    struct inject_problem *problem;
};

/* The text that a template makes, in the arena of texts; SLICE_NONE of none. */
static bool render(struct making *making, const struct template *template, const char *path,
                   struct slice name, struct slice *text_out)
{
    struct arena *texts = making->maker->texts;
    struct template_problem fault;
    struct buf buf;
    *text_out = SLICE_NONE;
    if (template == NULL) {
        return true;
    }
    buf_init(&buf, texts->data + texts->size, texts->capacity - texts->size);
    if (!template_render(template, &making->run, &buf, &fault)) {
        return refuse_template(making->problem, path, name, &fault);
    }
    *text_out = slice_make(arena_take_bytes(texts, buf.size), buf.size);
    return true;
}

static void add_member(struct making *making, struct slice name, struct slice text)
{
    making->members[making->predefined.size++] = (struct json_member){
        .key = json_value_string(name), .value = json_value_string(text)};
}

/* Names that every template knows. */
static bool predefine(struct making *making, const struct compose_mailbox *mailbox)
{
    struct arena *texts = making->maker->texts;
    size_t room = compose_mailbox_bytes_max(mailbox);
    uint8_t *memory = arena_take_bytes(texts, room);
    struct compose_problem fault;
    struct buf buf;
    if (memory == NULL) {
        return refuse(making->problem, "recipient.name: too long");
    }
    buf_init(&buf, memory, room);
    if (!compose_put_mailbox(mailbox, "recipient", &buf, &fault)) {
        return refuse_message(making->problem, &fault);
    }
    making->predefined.kind = JSON_OBJECT;
    making->predefined.members = making->members;
    add_member(making, SLICE("email"), mailbox->email);
    add_member(making, SLICE("to_header"), buf_slice(&buf));
    if (mailbox->name.data != NULL) {
        add_member(making, SLICE("name"), mailbox->name);
    }
    CHECK(json_members_seal(making->members, making->predefined.size) == NULL);
    return true;
}

static bool make_raw(struct making *making, struct buf *out, bool *utf8_out)
{
    struct inject_maker *maker = making->maker;
    struct compose_problem fault;
    struct slice text;
    return render(making, maker->templates->raw, "content", SLICE(""), &text) &&
           (compose_raw_put(text, maker->scratch, out, utf8_out, &fault) ||
            refuse_message(making->problem, &fault));
}

static bool render_headers(struct making *making, struct compose *parts)
{
    const struct inject_templates *templates = making->maker->templates;
    struct compose_header *headers =
        arena_take(making->maker->texts, parts->header_count, sizeof(*headers));
    if (headers == NULL) {
        return refuse(making->problem, "content.headers: too large");
    }
    for (uint32_t i = 0; i < parts->header_count; i++) {
        headers[i].name = parts->headers[i].name;
        if (!render(making, templates->headers[i], "content.headers.", headers[i].name,
                    &headers[i].value)) {
            return false;
        }
    }
    parts->headers = headers;
    return true;
}

static bool make_parts(struct making *making, const struct compose_mailbox *to, struct buf *out,
                       bool *utf8_out)
{
    const struct inject_templates *templates = making->maker->templates;
    struct compose parts = templates->request->parts;
    struct compose_problem fault;
    parts.to = *to;
    parts.id = making->maker->id;
    parts.hostname = making->maker->hostname;
    parts.wall_ns = making->maker->wall_ns;
    parts.attachments_are_checked = true;
    for (uint32_t i = 0; i < parts.attachment_count; i++) {
        making->run.work += parts.attachments[i].data.size;
    }
    return render(making, templates->text_body, "content.text_body", SLICE(""),
                  &parts.text_body) &&
           render(making, templates->html_body, "content.html_body", SLICE(""),
                  &parts.html_body) &&
           render(making, templates->amp_html_body, "content.amp_html_body", SLICE(""),
                  &parts.amp_html_body) &&
           render(making, templates->subject, "content.subject", SLICE(""), &parts.subject) &&
           render_headers(making, &parts) &&
           (compose_put(&parts, out, utf8_out, &fault) ||
            refuse_message(making->problem, &fault));
}

bool inject_make(struct inject_maker *maker, const struct inject_recipient *recipient,
                 struct buf *out, bool *utf8_out, struct inject_problem *problem_out)
{
    struct making making = {
        .maker = maker,
        .problem = problem_out,
        .run = {
            .scopes = {recipient->substitutions, NULL, maker->templates->request->substitutions},
            .scratch = maker->scratch,
            .steps = maker->steps,
            .work = maker->work,
        },
    };
    size_t mark = arena_mark(maker->texts);
    struct buf before = *out;
    bool good = false;
    CHECK(recipient->is_valid);
    problem_out->text[0] = '\0';
    *utf8_out = false;
    making.run.scopes[1] = &making.predefined;
    if (predefine(&making, &recipient->mailbox)) {
        good = maker->templates->raw != NULL
                   ? make_raw(&making, out, utf8_out)
                   : make_parts(&making, &recipient->mailbox, out, utf8_out);
    }
    maker->work = making.run.work + out->size - before.size;
    maker->steps = making.run.steps;
    if (good && out->overflow) {
        good = refuse(problem_out, "content: the message is too large");
    }
    if (!good) {
        *out = before;
    }
    arena_rewind(maker->texts, mark);
    return good;
}
