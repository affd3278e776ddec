#include "smtp/inject_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_BYTES (32u * MIB)

struct fixture {
    struct json_reader *reader;
    struct arena arena;
    struct inject_request request;
    struct inject_problem problem;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    void *memory = malloc(ARENA_BYTES);
    assert_true(fixture != NULL && memory != NULL);
    fixture->reader = json_reader_open();
    arena_init(&fixture->arena, memory, ARENA_BYTES);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    json_reader_close(fixture->reader);
    free(fixture->arena.data);
    free(fixture);
    return 0;
}

static bool read_text(struct fixture *fixture, struct slice text)
{
    struct json_problem problem;
    arena_rewind(&fixture->arena, 0);
    const struct json_value *root =
        json_value_read(fixture->reader, text, &fixture->arena, &problem);
    if (root == NULL) {
        fail_msg("%s: %.*s", json_fault_text(problem.fault), (int)text.size,
                 (const char *)text.data);
    }
    return inject_request_read(root, &fixture->arena, &fixture->request, &fixture->problem);
}

static void assert_text(struct slice text, const char *wanted)
{
    assert_true(slice_equal(text, slice_from_string(wanted)));
}

static void the_least_request_has_the_defaults(void **state)
{
    struct fixture *fixture = *state;
    const struct inject_request *request = &fixture->request;
    assert_true(read_text(fixture, SLICE("{\"envelope_sender\":\"\",\"recipients\":[{\"email\":"
                                         "\"a@b\"}],\"content\":\"Subject: x\\n\\nbody\"}")));
    assert_int_equal(request->envelope_sender.size, 0);
    assert_int_equal(request->recipient_count, 1);
    assert_text(request->recipients[0].mailbox.email, "a@b");
    assert_null(request->recipients[0].mailbox.name.data);
    assert_null(request->recipients[0].substitutions);
    assert_true(request->recipients[0].is_valid);
    assert_text(request->raw, "Subject: x\n\nbody");
    assert_null(request->substitutions);
    assert_int_equal(request->dialect, TEMPLATE_JINJA);
    assert_false(request->deferred_spool);
    assert_false(request->deferred_generation);
    assert_false(request->trace.received_header);
    assert_false(request->trace.supplemental.supplemental_header);
    assert_text(request->trace.supplemental.header_name, "X-KumoRef");
    assert_int_equal(request->trace.supplemental.meta.count, 0);
}

static void every_field_arrives(void **state)
{
    struct fixture *fixture = *state;
    const struct inject_request *request = &fixture->request;
    assert_true(read_text(fixture, SLICE(
        "{\"envelope_sender\":\"s@x\",\"recipients\":[{\"email\":\"a@b\",\"name\":\"A\","
        "\"substitutions\":{\"k\":1},\"metadata\":{\"m\":2}},{\"email\":\"nobody\"},"
        "{\"email\":\"c@d\",\"name\":null}],"
        "\"content\":{\"text_body\":\"t\",\"html_body\":\"h\",\"amp_html_body\":\"m\","
        "\"subject\":\"s\",\"from\":{\"email\":\"f@g\",\"name\":\"F\"},"
        "\"reply_to\":{\"email\":\"r@g\"},\"headers\":{\"X-B\":\"2\",\"X-A\":\"1\"},"
        "\"attachments\":[{\"data\":\"d\",\"content_type\":\"a/b\",\"content_id\":\"i\","
        "\"file_name\":\"n\",\"base64\":true},{\"data\":\"\",\"content_type\":\"c/d\"}]},"
        "\"substitutions\":{\"g\":3},\"template_dialect\":\"Handlebars\",\"deferred_spool\":true,"
        "\"deferred_generation\":true,\"trace_headers\":{\"received_header\":true,"
        "\"supplemental_header\":true,\"header_name\":\"X-R\",\"include_meta_names\":[\"q\"]}}")));
    assert_int_equal(request->recipient_count, 3);
    assert_text(request->recipients[0].mailbox.name, "A");
    assert_int_equal(json_value_member(request->recipients[0].substitutions, SLICE("k"))->integer,
                     1);
    assert_int_equal(json_value_member(request->recipients[0].metadata, SLICE("m"))->integer, 2);
    assert_false(request->recipients[1].is_valid);
    assert_true(request->recipients[2].is_valid);
    assert_null(request->raw.data);
    assert_text(request->parts.text_body, "t");
    assert_text(request->parts.html_body, "h");
    assert_text(request->parts.amp_html_body, "m");
    assert_text(request->parts.subject, "s");
    assert_text(request->parts.from.email, "f@g");
    assert_text(request->parts.from.name, "F");
    assert_text(request->parts.reply_to.email, "r@g");
    assert_int_equal(request->parts.header_count, 2);
    assert_text(request->parts.headers[0].name, "X-B");
    assert_text(request->parts.headers[1].value, "1");
    assert_int_equal(request->parts.attachment_count, 2);
    assert_text(request->parts.attachments[0].file_name, "n");
    assert_true(request->parts.attachments[0].is_base64);
    assert_null(request->parts.attachments[1].content_id.data);
    assert_int_equal(json_value_member(request->substitutions, SLICE("g"))->integer, 3);
    assert_int_equal(request->dialect, TEMPLATE_HANDLEBARS);
    assert_true(request->deferred_spool && request->deferred_generation);
    const struct conf_trace *trace = &request->trace.supplemental;
    assert_true(request->trace.received_header && trace->supplemental_header);
    assert_text(trace->header_name, "X-R");
    assert_int_equal(trace->meta.count, 1);
    assert_true(conf_names_have(&trace->meta, SLICE("q")));
}

static void what_is_no_request_is_refused_with_the_path_of_the_field(void **state)
{
#define SENDER  "\"envelope_sender\":\"s@x\","
#define TO      "\"recipients\":[{\"email\":\"a@b\"}],"
#define CONTENT "\"content\":\"x\""
    static const char *const cases[][2] = {
        {"[]", "request: not an object"},
        {"{" TO CONTENT "}", "envelope_sender: missing"},
        {"{" SENDER CONTENT "}", "recipients: missing"},
        {"{" SENDER TO "\"content\":null}", "content: missing"},
        {"{" SENDER TO CONTENT ",\"foo\":1}", "foo: unknown field"},
        {"{" SENDER TO CONTENT ",\"a\\nb \":1}", "a?b?: unknown field"},
        {"{\"envelope_sender\":1," TO CONTENT "}", "envelope_sender: not a string"},
        {"{\"envelope_sender\":\"x\"," TO CONTENT "}", "envelope_sender: not an address"},
        {"{\"envelope_sender\":\"<>\"," TO CONTENT "}", "envelope_sender: not an address"},
        {"{\"envelope_sender\":\"a@b\\r\\nDATA\"," TO CONTENT "}",
         "envelope_sender: not an address"},
        {"{" SENDER "\"recipients\":{}," CONTENT "}", "recipients: not a list"},
        {"{" SENDER "\"recipients\":[]," CONTENT "}", "recipients: empty"},
        {"{" SENDER "\"recipients\":[{\"email\":\"a@b\"},5]," CONTENT "}",
         "recipients[1].: not an object"},
        {"{" SENDER "\"recipients\":[{\"name\":\"x\"}]," CONTENT "}",
         "recipients[0].email: missing"},
        {"{" SENDER "\"recipients\":[{\"email\":\"a@b\",\"x\":1}]," CONTENT "}",
         "recipients[0].x: unknown field"},
        {"{" SENDER "\"recipients\":[{\"email\":\"a@b\",\"substitutions\":[]}]," CONTENT "}",
         "recipients[0].substitutions: not an object"},
        {"{" SENDER TO "\"content\":5}", "content: neither a string nor an object"},
        {"{" SENDER TO "\"content\":\"\"}", "content: empty"},
        {"{" SENDER TO "\"content\":{\"body\":\"x\"}}", "content.body: unknown field"},
        {"{" SENDER TO "\"content\":{\"subject\":[]}}", "content.subject: not a string"},
        {"{" SENDER TO "\"content\":{\"from\":{\"name\":\"x\"}}}", "content.from.email: missing"},
        {"{" SENDER TO "\"content\":{\"headers\":{\"X-A\":1}}}",
         "content.headers.X-A: not a string"},
        {"{" SENDER TO "\"content\":{\"attachments\":[{\"data\":\"\"}]}}",
         "content.attachments[0].content_type: missing"},
        {"{" SENDER TO "\"content\":{\"attachments\":[{\"base64\":1}]}}",
         "content.attachments[0].base64: neither true nor false"},
        {"{" SENDER TO CONTENT ",\"template_dialect\":\"jinja\"}",
         "template_dialect: none of Jinja, Handlebars, Static"},
        {"{" SENDER TO CONTENT ",\"trace_headers\":{\"x\":1}}", "trace_headers.x: unknown field"},
        {"{" SENDER TO CONTENT ",\"trace_headers\":{\"include_meta_names\":[1]}}",
         "trace_headers.include_meta_names: not a list of strings"},
        {"{" SENDER TO CONTENT ",\"trace_headers\":{\"header_name\":\"X\\r\\nY\"}}",
         "trace_headers.header_name: not the name of a header field"},
        {"{" SENDER TO CONTENT ",\"trace_headers\":{\"header_name\":\"\"}}",
         "trace_headers.header_name: not the name of a header field"},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        bool good = read_text(fixture, slice_from_string(cases[i][0]));
        if (good || strcmp(fixture->problem.text, cases[i][1]) != 0) {
            fail_msg("%s: %s", cases[i][0], fixture->problem.text);
        }
    }
}

static void h11_an_address_that_smtp_would_not_take_is_marked(void **state)
{
    static const char *const bad[] = {"", "a", "a@", "@b", "<a@b>", "a@b>", "a@b c@d", "a@b,c@d",
                                      "a@b\\r\\nRCPT TO:<c@d>", "@x:a@b", "a@b\\n", " a@b"};
    struct fixture *fixture = *state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        char text[256];
        snprintf(text, sizeof(text),
                 "{\"envelope_sender\":\"\",\"recipients\":[{\"email\":\"%s\"},{\"email\":\"a@b\"}"
                 "],\"content\":\"x\"}", bad[i]);
        assert_true(read_text(fixture, slice_from_string(text)));
        assert_false(fixture->request.recipients[0].is_valid);
        assert_true(fixture->request.recipients[1].is_valid);
    }
}

static void a_hundred_thousand_recipients_are_read_and_more_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct buf buf;
    void *memory = malloc(4 * MIB);
    assert_non_null(memory);
    for (uint32_t more = 0; more < 2; more++) {
        buf_init(&buf, memory, 4 * MIB);
        buf_put_string(&buf, "{\"envelope_sender\":\"\",\"content\":\"x\",\"recipients\":[");
        for (uint32_t i = 0; i < INJECT_RECIPIENTS_MAX + more; i++) {
            buf_printf(&buf, "%s{\"email\":\"user%u@b\"}", i == 0 ? "" : ",", i);
        }
        buf_put_string(&buf, "]}");
        assert_false(buf.overflow);
        assert_int_equal(read_text(fixture, buf_slice(&buf)), more == 0);
    }
    assert_string_equal(fixture->problem.text, "recipients: too many");
    free(memory);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_least_request_has_the_defaults),
        TEST(every_field_arrives),
        TEST(what_is_no_request_is_refused_with_the_path_of_the_field),
        TEST(h11_an_address_that_smtp_would_not_take_is_marked),
        TEST(a_hundred_thousand_recipients_are_read_and_more_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
