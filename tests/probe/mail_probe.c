/*
 * Puts templates and messages in the hands of tests that know other programs for the same: reads
 * requests as JSON, one a line, and answers each with a line.
 *
 *   {"do": "render", "dialect": "jinja", "html": false, "template": "…", "context": {…}}
 *       {"text": "…"} or {"fault": 4, "line": 1, "column": 8, "problem": "…"}
 *   {"do": "compose", "from": {"email": "…", "name": "…"}, "headers": {"X-A": "…"}, …} with the
 *   fields of the builder, "to" and "id"
 *       {"message": "…", "to_header": "…", "utf8": false} or {"problem": "…"}
 *   {"do": "report", "message": "…"}
 *       {"kind": "none"}, {"kind": "delivery", "recipients": […], …} or {"kind": "feedback", …}
 *   {"do": "report_make", "recipients": [{"address": "…", "text": "…", …}], "message": "…", …}
 *       {"message": "…", "eightbit": false, "smtputf8": false}
 *
 * usage: mail-probe < REQUESTS      exit 2 at the first line that is no request
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/json.h"
#include "smtp/compose.h"
#include "smtp/template.h"
#include "tests/probe/probe_report.h"

#define MEMORY_BYTES (64u * MIB)
#define OUTPUT_BYTES (8u * MIB)
#define STEPS        1000000
#define WALL_NS      1764500000000000000 /* of every message */

struct probe {
    struct json_reader *reader;
    struct arena arena; /* the request, and what is made of it */
    struct arena scratch;
    struct buf text; /* what was made */
    struct buf answer;
};

static void *need(size_t bytes)
{
    void *memory = malloc(bytes);
    if (memory == NULL) {
        fputs("mail-probe: no memory\n", stderr);
        exit(2);
    }
    return memory;
}

static struct slice text_at(const struct json_value *object, const char *key)
{
    const struct json_value *value = json_value_member(object, slice_from_string(key));
    return value != NULL && value->kind == JSON_STRING ? json_value_text(value) : SLICE_NONE;
}

static bool flag_at(const struct json_value *object, const char *key)
{
    const struct json_value *value = json_value_member(object, slice_from_string(key));
    return value != NULL && value->kind == JSON_BOOL && value->boolean;
}

static enum template_dialect dialect_of(struct slice name)
{
    return slice_equal(name, SLICE("jinja"))        ? TEMPLATE_JINJA
           : slice_equal(name, SLICE("handlebars")) ? TEMPLATE_HANDLEBARS
                                                    : TEMPLATE_STATIC;
}

static void put_problem(struct json *json, const struct template_problem *problem)
{
    json_key(json, "fault");
    json_u64(json, problem->fault);
    json_key(json, "line");
    json_u64(json, problem->line);
    json_key(json, "column");
    json_u64(json, problem->column);
    json_key(json, "problem");
    json_string(json, slice_from_string(problem->text));
}

static void answer_render(struct probe *probe, const struct json_value *request, struct json *json)
{
    struct template_problem problem;
    struct template_run run = {
        .scopes = {json_value_member(request, SLICE("context"))},
        .scratch = &probe->scratch,
        .steps = STEPS,
    };
    buf_reset(&probe->text);
    const struct template *template = template_compile(
        text_at(request, "template"), dialect_of(text_at(request, "dialect")),
        flag_at(request, "html") ? TEMPLATE_HTML : TEMPLATE_TEXT, &probe->arena, &problem);
    if (template == NULL || !template_render(template, &run, &probe->text, &problem)) {
        put_problem(json, &problem);
        return;
    }
    json_key(json, "text");
    json_string(json, buf_slice(&probe->text));
}

static struct compose_mailbox mailbox_at(const struct json_value *request, const char *key)
{
    struct compose_mailbox mailbox = {0};
    const struct json_value *value = json_value_member(request, slice_from_string(key));
    if (value != NULL) {
        mailbox.email = text_at(value, "email");
        mailbox.name = text_at(value, "name");
    }
    return mailbox;
}

static const struct compose_header *headers_at(struct probe *probe,
                                               const struct json_value *request,
                                               uint32_t *count_out)
{
    const struct json_value *value = json_value_member(request, SLICE("headers"));
    *count_out = value == NULL ? 0 : value->size;
    struct compose_header *headers = arena_take(&probe->arena, *count_out, sizeof(*headers));
    for (uint32_t i = 0; i < *count_out && headers != NULL; i++) {
        headers[i].name = json_value_text(&value->members[i].key);
        headers[i].value = json_value_text(&value->members[i].value);
    }
    return headers;
}

static const struct compose_attachment *attachments_at(struct probe *probe,
                                                       const struct json_value *request,
                                                       uint32_t *count_out)
{
    const struct json_value *value = json_value_member(request, SLICE("attachments"));
    *count_out = value == NULL ? 0 : value->size;
    struct compose_attachment *parts = arena_take(&probe->arena, *count_out, sizeof(*parts));
    for (uint32_t i = 0; i < *count_out && parts != NULL; i++) {
        const struct json_value *part = &value->elements[i];
        parts[i] = (struct compose_attachment){
            .data = text_at(part, "data"),
            .content_type = text_at(part, "content_type"),
            .content_id = text_at(part, "content_id"),
            .file_name = text_at(part, "file_name"),
            .is_base64 = flag_at(part, "base64"),
        };
    }
    return parts;
}

static void put_message(struct probe *probe, const struct compose *compose, struct json *json)
{
    struct compose_problem problem;
    bool utf8;
    buf_reset(&probe->text);
    probe->text.capacity = MIN_OF(compose_bytes_max(compose), OUTPUT_BYTES);
    bool good = compose_put(compose, &probe->text, &utf8, &problem);
    json_key(json, good ? "message" : "problem");
    json_string(json, good ? buf_slice(&probe->text) : slice_from_string(problem.text));
    if (!good) {
        return;
    }
    json_key(json, "overflow");
    json_bool(json, probe->text.overflow);
    json_key(json, "utf8");
    json_bool(json, utf8);
    buf_reset(&probe->text);
    if (compose->to.email.data != NULL &&
        compose_put_mailbox(&compose->to, "to", &probe->text, &problem)) {
        json_key(json, "to_header");
        json_string(json, buf_slice(&probe->text));
    }
}

static void answer_compose(struct probe *probe, const struct json_value *request,
                           struct json *json)
{
    struct compose compose = {
        .from = mailbox_at(request, "from"),
        .reply_to = mailbox_at(request, "reply_to"),
        .to = mailbox_at(request, "to"),
        .subject = text_at(request, "subject"),
        .text_body = text_at(request, "text_body"),
        .html_body = text_at(request, "html_body"),
        .amp_html_body = text_at(request, "amp_html_body"),
        .id = text_at(request, "id"),
        .hostname = SLICE("mx.example.net"),
        .wall_ns = WALL_NS,
    };
    compose.headers = headers_at(probe, request, &compose.header_count);
    compose.attachments = attachments_at(probe, request, &compose.attachment_count);
    put_message(probe, &compose, json);
}

static bool answer(struct probe *probe, struct slice line)
{
    struct json_problem problem;
    struct json json;
    arena_rewind(&probe->arena, 0);
    const struct json_value *request =
        json_value_read(probe->reader, line, &probe->arena, &problem);
    if (request == NULL) {
        fprintf(stderr, "mail-probe: %s\n", json_fault_text(problem.fault));
        return false;
    }
    buf_reset(&probe->answer);
    json_init(&json, &probe->answer);
    json_object(&json);
    if (slice_equal(text_at(request, "do"), SLICE("render"))) {
        answer_render(probe, request, &json);
    } else if (slice_equal(text_at(request, "do"), SLICE("compose"))) {
        answer_compose(probe, request, &json);
    } else if (slice_equal(text_at(request, "do"), SLICE("report"))) {
        buf_reset(&probe->text);
        probe->text.capacity = OUTPUT_BYTES;
        probe_report(text_at(request, "message"), &probe->text, &json);
    } else if (slice_equal(text_at(request, "do"), SLICE("report_make"))) {
        buf_reset(&probe->text);
        probe->text.capacity = OUTPUT_BYTES;
        probe_report_make(request, &probe->arena, &probe->text, &json);
    } else {
        fputs("mail-probe: a request for nothing that is known\n", stderr);
        return false;
    }
    json_object_end(&json);
    fwrite(probe->answer.data, 1, probe->answer.size, stdout);
    putchar('\n');
    return !probe->answer.overflow;
}

int main(void)
{
    struct probe probe = {.reader = json_reader_open()};
    char *line = NULL;
    size_t room = 0;
    bool good = true;
    arena_init(&probe.arena, need(MEMORY_BYTES), MEMORY_BYTES);
    arena_init(&probe.scratch, need(OUTPUT_BYTES), OUTPUT_BYTES);
    buf_init(&probe.text, need(OUTPUT_BYTES), OUTPUT_BYTES);
    buf_init(&probe.answer, need(JSON_STRING_GROWTH * OUTPUT_BYTES),
             JSON_STRING_GROWTH * OUTPUT_BYTES);
    for (ssize_t size = getline(&line, &room, stdin); good && size > 0;
         size = getline(&line, &room, stdin)) {
        good = answer(&probe, slice_make(line, (size_t)size));
    }
    free(line);
    free(probe.arena.data);
    free(probe.scratch.data);
    free(probe.text.data);
    free(probe.answer.data);
    json_reader_close(probe.reader);
    return good ? 0 : 2;
}
