#include "smtp/inject_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_BYTES  (4u * MIB)
#define OUTPUT_BYTES (256u * KIB)
#define STEPS        100000u

struct fixture {
    struct json_reader *reader;
    struct arena arena;
    struct arena texts;
    struct arena scratch;
    struct buf out;
    struct inject_request request;
    struct inject_templates templates;
    struct inject_problem problem;
    bool utf8;
    uint64_t work; /* of the last make */
};

static void *need(size_t bytes)
{
    void *memory = malloc(bytes);
    assert_non_null(memory);
    return memory;
}

static int setup(void **state)
{
    struct fixture *fixture = need(sizeof(*fixture));
    *fixture = (struct fixture){.reader = json_reader_open()};
    arena_init(&fixture->arena, need(ARENA_BYTES), ARENA_BYTES);
    arena_init(&fixture->texts, need(OUTPUT_BYTES), OUTPUT_BYTES);
    arena_init(&fixture->scratch, need(OUTPUT_BYTES), OUTPUT_BYTES);
    buf_init(&fixture->out, need(OUTPUT_BYTES), OUTPUT_BYTES);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    json_reader_close(fixture->reader);
    free(fixture->arena.data);
    free(fixture->texts.data);
    free(fixture->scratch.data);
    free(fixture->out.data);
    free(fixture);
    return 0;
}

/* A request to these recipients with this content: both JSON. */
static bool compile(struct fixture *fixture, const char *recipients, const char *content)
{
    struct json_problem problem;
    struct buf buf;
    arena_rewind(&fixture->arena, 0);
    buf_init(&buf, need(OUTPUT_BYTES), OUTPUT_BYTES);
    buf_put_string(&buf, "{\"envelope_sender\":\"s@x\",\"substitutions\":{\"who\":\"all\","
                         "\"name\":\"none\",\"greeting\":\"Hi\"},\"recipients\":[");
    buf_put_string(&buf, recipients);
    buf_put_string(&buf, "],\"content\":");
    buf_put_string(&buf, content);
    buf_put_string(&buf, "}");
    const struct json_value *root =
        json_value_read(fixture->reader, buf_slice(&buf), &fixture->arena, &problem);
    free(buf.data);
    assert_non_null(root);
    if (!inject_request_read(root, &fixture->arena, &fixture->request, &fixture->problem)) {
        fail_msg("%s", fixture->problem.text);
    }
    return inject_compile(&fixture->request, &fixture->arena, &fixture->templates,
                          &fixture->problem);
}

static bool make(struct fixture *fixture, uint32_t recipient)
{
    struct inject_maker maker = {
        .templates = &fixture->templates,
        .texts = &fixture->texts,
        .scratch = &fixture->scratch,
        .id = SLICE("0190f3c2a7b84d5e8f000000000000ff"),
        .hostname = SLICE("mx.example.net"),
        .wall_ns = 1764500000000000000u,
        .steps = STEPS,
    };
    buf_reset(&fixture->out);
    bool good = inject_make(&maker, &fixture->request.recipients[recipient], &fixture->out,
                            &fixture->utf8, &fixture->problem);
    assert_int_equal(arena_mark(&fixture->texts), 0);
    assert_int_equal(arena_mark(&fixture->scratch), 0);
    assert_true(good || fixture->out.size == 0);
    assert_true(maker.steps <= STEPS);
    assert_true(maker.work >= fixture->out.size);
    fixture->work = maker.work;
    return good;
}

static void assert_message(struct fixture *fixture, uint32_t recipient, const char *wanted)
{
    if (!make(fixture, recipient)) {
        fail_msg("%s", fixture->problem.text);
    }
    if (!slice_equal(buf_slice(&fixture->out), slice_from_string(wanted))) {
        fail_msg("%.*s", (int)fixture->out.size, (const char *)fixture->out.data);
    }
}

static void a_whole_message_is_made_for_each_recipient(void **state)
{
    struct fixture *fixture = *state;
    assert_true(compile(fixture,
                        "{\"email\":\"a@b\",\"name\":\"Ann, Lee\"},{\"email\":\"c@d\","
                        "\"substitutions\":{\"who\":\"you\"}},{\"email\":\"e@f\",\"name\":\"E\","
                        "\"substitutions\":{\"name\":\"mine\",\"email\":\"other\"}}",
                        "\"To: {{ to_header }}\\nSubject: {{ greeting }} {{ name }}\\r\\n"
                        "X-Who: {{ who }},\\n {{ email }}\\n\\nDear {{ name }}\\n.\""));
    assert_message(fixture, 0,
                   "To: \"Ann, Lee\" <a@b>\r\nSubject: Hi Ann, Lee\r\nX-Who: all,\r\n a@b\r\n\r\n"
                   "Dear Ann, Lee\r\n.\r\n");
    assert_message(fixture, 1,
                   "To: c@d\r\nSubject: Hi none\r\nX-Who: you,\r\n c@d\r\n\r\nDear none\r\n.\r\n");
    assert_message(fixture, 2,
                   "To: E <e@f>\r\nSubject: Hi mine\r\nX-Who: all,\r\n other\r\n\r\n"
                   "Dear mine\r\n.\r\n");
}

static void parts_are_templates_and_html_is_escaped(void **state)
{
    struct fixture *fixture = *state;
    assert_true(compile(fixture, "{\"email\":\"a@b\",\"name\":\"<A>\"}",
                        "{\"text_body\":\"t {{ name }}\",\"html_body\":\"h {{ name }}\","
                        "\"subject\":\"s {{ name }}\",\"from\":{\"email\":\"f@g\"},"
                        "\"headers\":{\"X-A\":\"{{ greeting }} {{ name }}\",\"X-B\":"
                        "\"{{ missing }}\"}}"));
    assert_true(make(fixture, 0));
    static const char *const wanted[] = {
        "To: \"<A>\" <a@b>\r\n", "Subject: s <A>\r\n", "X-A: Hi <A>\r\n", "X-B:\r\n",
        "\r\n\r\nt <A>\r\n", "\r\n\r\nh &lt;A&gt;\r\n",
    };
    for (size_t i = 0; i < COUNT_OF(wanted); i++) {
        if (memmem(fixture->out.data, fixture->out.size, wanted[i], strlen(wanted[i])) == NULL) {
            fail_msg("%s: %.*s", wanted[i], (int)fixture->out.size,
                     (const char *)fixture->out.data);
        }
    }
}

static void h13_a_template_that_is_wrong_is_refused_with_its_field(void **state)
{
    static const char *const cases[][2] = {
        {"\"A: b\\n\\n{{ x\"", "content: line 3, column 3: the tag is not closed"},
        {"{\"text_body\":\"{{ x|y }}\"}",
         "content.text_body: line 1, column 6: unknown filter 'y'"},
        {"{\"html_body\":\"{% x %}\"}", "content.html_body: line 1, column 1: unknown tag 'x'"},
        {"{\"text_body\":\"\",\"amp_html_body\":\"{{ }}\"}",
         "content.amp_html_body: line 1, column 4: a value is missing"},
        {"{\"subject\":\"\\n {{ }}\"}", "content.subject: line 2, column 5: a value is missing"},
        {"{\"headers\":{\"X-A\":\"{% endif %}\"}}",
         "content.headers.X-A: line 1, column 1: no block is open for 'endif'"},
        {"{\"attachments\":[{\"data\":\"\",\"content_type\":\"x\"}]}",
         "content.attachments[0].content_type: not a content type"},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        bool good = compile(fixture, "{\"email\":\"a@b\"}", cases[i][0]);
        if (good || strcmp(fixture->problem.text, cases[i][1]) != 0) {
            fail_msg("%s: %s", cases[i][0], fixture->problem.text);
        }
    }
}

static void h10_no_substitution_makes_a_header_field(void **state)
{
    static const char *const cases[][2] = {
        {"\"Subject: {{ evil }}\\n\\nbody\"",
         "content: line 1, column 10: a value with a line end in the header"},
        {"\"Subject: x{% for e in [evil] %}{{ e|trim }}{% endfor %}\\n\\nbody\"",
         "content: line 1, column 32: a value with a line end in the header"},
        {"\"{{ evil }}\\n\\nbody\"",
         "content: line 1, column 1: a value with a line end in the header"},
        {"\"A: b\\r\\nB: {{ evil }}\\r\\n\\r\\n\"",
         "content: line 2, column 4: a value with a line end in the header"},
        {"{\"text_body\":\"x\",\"from\":{\"email\":\"f@g\"},\"subject\":\"{{ evil }}\"}",
         "content.subject: holds a line end"},
        {"{\"text_body\":\"x\",\"from\":{\"email\":\"f@g\"},\"headers\":{\"X-A\":\"{{ evil }}\"}}",
         "content.headers.X-A: holds a line end"},
    };
    static const char *const evils[] = {"x\\r\\nBcc: v@w", "x\\nBcc: v@w", "x\\rBcc: v@w"};
    struct fixture *fixture = *state;
    for (size_t i = 0; i < COUNT_OF(cases) * COUNT_OF(evils); i++) {
        const char *const *row = cases[i / COUNT_OF(evils)];
        char recipient[128];
        snprintf(recipient, sizeof(recipient),
                 "{\"email\":\"a@b\",\"substitutions\":{\"evil\":\"%s\"}}",
                 evils[i % COUNT_OF(evils)]);
        assert_true(compile(fixture, recipient, row[0]));
        if (make(fixture, 0) || strcmp(fixture->problem.text, row[1]) != 0) {
            fail_msg("%s: %s", row[0], fixture->problem.text);
        }
    }
    static const char *const starts[][2] = {
        {"\"{{ v }}: x\\n\\nbody\"", "content: line 1, column 1: "},
        {"\"A: b\\n{{ v }}\\nSubject: x\\n\\nbody\"", "content: line 2, column 1: "},
        {"\"A: b\\r\\n{{ v|trim }}\\r\\n\\r\\nbody\"", "content: line 2, column 1: "},
        {"\"A: b\\r{% if v %}{{ missing }}{{ v }}{% endif %}\\n\\nbody\"",
         "content: line 1, column 29: "},
    };
    static const char *const values[] = {"Bcc: v@w", "x", " x", ":"};
    for (size_t i = 0; i < COUNT_OF(starts) * COUNT_OF(values); i++) {
        const char *const *row = starts[i / COUNT_OF(values)];
        char recipient[128];
        char problem[128];
        snprintf(recipient, sizeof(recipient),
                 "{\"email\":\"a@b\",\"substitutions\":{\"v\":\"%s\"}}",
                 values[i % COUNT_OF(values)]);
        snprintf(problem, sizeof(problem), "%sa value at the start of a line in the header",
                 row[1]);
        assert_true(compile(fixture, recipient, row[0]));
        if (make(fixture, 0) || strcmp(fixture->problem.text, problem) != 0) {
            fail_msg("%s: %s", row[0], fixture->problem.text);
        }
    }
    /* Behind the header line ends are what they are. */
    assert_true(compile(fixture, "{\"email\":\"a@b\",\"substitutions\":{\"e\":\"1\\n2\"}}",
                        "\"A: b\\n\\n{{ e }}\""));
    assert_message(fixture, 0, "A: b\r\n\r\n1\r\n2\r\n");
    /* An empty value leaves the line to what follows; with nothing else it ends the header. */
    assert_true(compile(fixture, "{\"email\":\"a@b\"}",
                        "\"{{ missing }}A: b\\n {{ email }}\\n\\n\""));
    assert_message(fixture, 0, "A: b\r\n a@b\r\n\r\n");
    assert_true(compile(fixture, "{\"email\":\"a@b\",\"substitutions\":{\"e\":\"1\\n2\"}}",
                        "\"A: b\\n{{ missing }}\\n{{ e }}\""));
    assert_message(fixture, 0, "A: b\r\n\r\n1\r\n2\r\n");
}

static void a_recipient_for_whom_there_is_no_message_is_refused_with_the_field(void **state)
{
    static const char *const cases[][3] = {
        {"{\"email\":\"a@b\",\"name\":\"x\\ny\"}", "\"A: b\\n\\n\"",
         "recipient.name: holds a line end"},
        {"{\"email\":\"a@b\"}", "\"A: b\\n\\n{{ x.y }}\"",
         "content: line 3, column 7: what stands before the dot is undefined: '.y'"},
        {"{\"email\":\"a@b\"}", "\"no header\\n\\nx\"", "content: line 1: no header field"},
        {"{\"email\":\"a@b\"}", "{\"text_body\":\"x\"}", "content.from: missing"},
        {"{\"email\":\"a@b\"}", "{\"from\":{\"email\":\"x\"},\"text_body\":\"x\"}",
         "content.from.email: not an address"},
        {"{\"email\":\"a@b\"}", "{\"from\":{\"email\":\"f@g\"}}",
         "content: neither text_body nor html_body"},
        {"{\"email\":\"a@b\"}",
         "\"A: b\\n\\n{% for a in 'abcdefghijklmnopqrst'|list %}"
         "{% for b in 'abcdefghijklmnopqrst'|list %}{% for c in 'abcdefghijklmnopqrst'|list %}"
         "0123456789012345678901234567890123456789{% endfor %}{% endfor %}{% endfor %}\"",
         "content: line 3, column 127: the template writes too much"},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_true(compile(fixture, cases[i][0], cases[i][1]));
        if (make(fixture, 0) || strcmp(fixture->problem.text, cases[i][2]) != 0) {
            fail_msg("%s: %s", cases[i][1], fixture->problem.text);
        }
    }
}

static void h13_what_fails_late_has_worked_as_much_as_what_succeeds(void **state)
{
    /* 10,000 bytes each: faults of a template, of the whole message, and of the parts of one. */
    static const char *const cases[][3] = {
        {"\"A: b\\n\\n", "{{ x.y }}\"", "content: line 23, column 16: "},
        {"\"A: b\\n\\n", "\\n{% for a in 'abcdefghijklmnopqrst'|list %}"
                           "{% for b in 'abcdefghijklmnopqrst'|list %}{{ s }}"
                           "{% endfor %}{% endfor %}\"", "content: line 24: more than 998 bytes"},
        {"{\"text_body\":\"", "\",\"from\":{\"email\":\"x\"}}", "content.from.email: "},
        {"{\"text_body\":\"", "\",\"from\":{\"email\":\"a@b\"},\"subject\":\"{{ x.y }}\"}",
         "content.subject: "},
        {"{\"attachments\":[{\"content_type\":\"a/b\",\"data\":\"",
         "\"}],\"from\":{\"email\":\"a@b\"},\"text_body\":\"{{ x.y }}\"}", "content.text_body: "},
    };
    struct fixture *fixture = *state;
    char *content = need(12000);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buf buf;
        buf_init(&buf, content, 12000);
        buf_put_string(&buf, cases[i][0]);
        for (unsigned k = 0; k < 1000; k++) {
            buf_put_string(&buf, k % 50 == 49 ? "\\n........." : "..........");
        }
        buf_put_string(&buf, cases[i][1]);
        buf_put_byte(&buf, '\0');
        assert_false(buf.overflow);
        assert_true(compile(fixture, "{\"email\":\"a@b\",\"substitutions\":{\"s\":\"0123456789"
                                     "0123456789012345678901234567890123456789\"}}", content));
        assert_false(make(fixture, 0));
        if (strncmp(fixture->problem.text, cases[i][2], strlen(cases[i][2])) != 0 ||
            fixture->work < 10000) {
            fail_msg("case %zu: %u bytes: %s", i, (unsigned)fixture->work, fixture->problem.text);
        }
    }
    free(content);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_whole_message_is_made_for_each_recipient),
        TEST(parts_are_templates_and_html_is_escaped),
        TEST(h13_a_template_that_is_wrong_is_refused_with_its_field),
        TEST(h10_no_substitution_makes_a_header_field),
        TEST(a_recipient_for_whom_there_is_no_message_is_refused_with_the_field),
        TEST(h13_what_fails_late_has_worked_as_much_as_what_succeeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
