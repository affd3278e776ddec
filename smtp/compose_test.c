#include "smtp/compose.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kit/compose_judge.h"

#define OUTPUT_BYTES MIB
#define WALL_NS      1764500000000000000u

struct fixture {
    struct block_pool *pool;
    struct buf out;
    struct compose compose;
    struct compose_problem problem;
    bool utf8;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    void *memory = malloc(OUTPUT_BYTES);
    assert_true(fixture != NULL && memory != NULL);
    buf_init(&fixture->out, memory, OUTPUT_BYTES);
    fixture->pool = block_pool_open(4 * MIB);
    fixture->compose = (struct compose){
        .from = {.email = SLICE("from@example.com")},
        .text_body = SLICE("Hello\n"),
        .id = SLICE("0190f3c2a7b84d5e8f000000000000ff"),
        .hostname = SLICE("mx.example.net"),
        .wall_ns = WALL_NS,
    };
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    block_pool_close(fixture->pool);
    free(fixture->out.data);
    free(fixture);
    return 0;
}

/* The message, judged; or the test fails with the problem. */
static struct slice compose(struct fixture *fixture)
{
    buf_reset(&fixture->out);
    fixture->out.capacity = compose_bytes_max(&fixture->compose);
    if (!compose_put(&fixture->compose, &fixture->out, &fixture->utf8, &fixture->problem)) {
        fail_msg("%s", fixture->problem.text);
    }
    assert_false(fixture->out.overflow);
    compose_judge(&fixture->compose, buf_slice(&fixture->out), fixture->pool);
    return buf_slice(&fixture->out);
}

/* Refused, with this problem. */
static void assert_refused(struct fixture *fixture, const char *problem)
{
    buf_reset(&fixture->out);
    bool good =
        compose_put(&fixture->compose, &fixture->out, &fixture->utf8, &fixture->problem);
    if (good || strcmp(fixture->problem.text, problem) != 0) {
        fail_msg("wanted %s, got %s", problem, fixture->problem.text);
    }
    assert_int_equal(fixture->out.size, 0);
}

static void a_small_message_is_what_it_is(void **state)
{
    struct fixture *fixture = *state;
    const struct compose_header headers[] = {{SLICE("X-Campaign"), SLICE("  spring sale ")}};
    fixture->compose.from.name = SLICE("O'Hara");
    fixture->compose.to =
        (struct compose_mailbox){SLICE("to@example.org"), SLICE("Ann \"A\" Lee")};
    fixture->compose.subject = SLICE("Gr\xC3\xBC\xC3\x9F" "e to all");
    fixture->compose.headers = headers;
    fixture->compose.header_count = 1;
    const char *wanted = "Date: Sun, 30 Nov 2025 10:53:20 +0000\r\n"
                         "From: O'Hara <from@example.com>\r\n"
                         "To: \"Ann \\\"A\\\" Lee\" <to@example.org>\r\n"
                         "Subject: =?utf-8?b?R3LDvMOfZQ==?= to all\r\n"
                         "Message-ID: <0190f3c2a7b84d5e8f000000000000ff@mx.example.net>\r\n"
                         "X-Campaign: spring sale\r\n"
                         "MIME-Version: 1.0\r\n"
                         "Content-Type: text/plain; charset=utf-8\r\n"
                         "Content-Transfer-Encoding: 7bit\r\n"
                         "\r\n"
                         "Hello\r\n";
    struct slice message = compose(fixture);
    if (!slice_equal(message, slice_from_string(wanted))) {
        fail_msg("%.*s", (int)message.size, (const char *)message.data);
    }
    assert_false(fixture->utf8);
}

static void parts_stand_in_their_order(void **state)
{
    struct fixture *fixture = *state;
    const struct compose_attachment attachments[] = {
        {.data = SLICE("one"), .content_type = SLICE("a/b"), .file_name = SLICE("x.bin")},
        {.data = SLICE("AAEC"), .content_type = SLICE("image/png"), .content_id = SLICE("<logo>"),
         .is_base64 = true},
    };
    fixture->compose.html_body = SLICE("<img src=\"cid:logo\">");
    fixture->compose.amp_html_body = SLICE("<html amp4email>");
    fixture->compose.attachments = attachments;
    fixture->compose.attachment_count = 2;
    static const char *const order[] = {
        "multipart/mixed", "multipart/related", "type=\"multipart/alternative\"",
        "multipart/alternative", "text/plain", "text/x-amp-html", "text/html", "\r\n--=_a",
        "image/png", "inline", "Content-ID: <logo>\r\n", "AAEC\r\n", "\r\n--=_r",
        "a/b", "attachment; filename=\"x.bin\"\r\n", "b25l\r\n", "\r\n--=_m",
    };
    struct slice rest = compose(fixture);
    for (size_t i = 0; i < COUNT_OF(order); i++) {
        struct slice part = slice_from_string(order[i]);
        const uint8_t *found = memmem(rest.data, rest.size, part.data, part.size);
        if (found == NULL) {
            fail_msg("%s is missing, or out of its order", order[i]);
        }
        rest = slice_skip(rest, (size_t)(found - rest.data) + part.size);
    }
}

static void h10_controls_are_refused_in_every_field_that_is_named(void **state)
{
    const struct slice evil[] = {
        SLICE("x\r\nBcc: b@c"), SLICE("x\ny"), SLICE("x\ry"), SLICE("x\0y"), SLICE("\x1B[m"),
        SLICE("\x7F"), SLICE("x\t"), SLICE("\xFF"),
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < COUNT_OF(evil); i++) {
        bool line = i < 3;
        bool control = i > 2 && i < 7;
        const char *fault = line ? "holds a line end" : control ? "holds a control character"
                                                                : "not UTF-8";
        struct compose_header header = {SLICE("X-A"), evil[i]};
        struct compose_attachment attachment = {SLICE(""), SLICE("a/b"), evil[i], SLICE(""), false};
        char wanted[64];
        struct compose clean = fixture->compose;
        struct compose *compose = &fixture->compose;
        compose->subject = evil[i];
        snprintf(wanted, sizeof(wanted), "subject: %s", fault);
        assert_refused(fixture, wanted);
        *compose = clean;
        compose->from.name = evil[i];
        snprintf(wanted, sizeof(wanted), "from.name: %s", fault);
        assert_refused(fixture, wanted);
        *compose = clean;
        compose->headers = &header;
        compose->header_count = 1;
        snprintf(wanted, sizeof(wanted), "headers.X-A: %s", fault);
        assert_refused(fixture, wanted);
        *compose = clean;
        compose->attachments = &attachment;
        compose->attachment_count = 1;
        snprintf(wanted, sizeof(wanted), "attachments[0].content_id: %s", fault);
        assert_refused(fixture, wanted);
        attachment.file_name = evil[i];
        attachment.content_id = SLICE_NONE;
        snprintf(wanted, sizeof(wanted), "attachments[0].file_name: %s", fault);
        assert_refused(fixture, wanted);
        *compose = clean;
    }
}

static void h10_header_fields_that_cannot_be_given_are_refused(void **state)
{
    const struct {
        struct compose_header header;
        const char *problem;
    } cases[] = {
        {{SLICE("Bcc"), SLICE("a@b")}, "headers.Bcc: cannot be given"},
        {{SLICE("received"), SLICE("x")}, "headers.received: cannot be given"},
        {{SLICE("Return-Path"), SLICE("<>")}, "headers.Return-Path: cannot be given"},
        {{SLICE("MIME-Version"), SLICE("1.0")}, "headers.MIME-Version: cannot be given"},
        {{SLICE("content-type"), SLICE("a/b")}, "headers.content-type: cannot be given"},
        {{SLICE("Content-Foo"), SLICE("x")}, "headers.Content-Foo: cannot be given"},
        {{SLICE("From"), SLICE("a@b")}, "headers.From: given twice"},
        {{SLICE("SUBJECT"), SLICE("x")}, "headers.SUBJECT: given twice"},
        {{SLICE(""), SLICE("x")}, "headers.: not a name of a header field"},
        {{SLICE("X A"), SLICE("x")}, "headers.X?A: not a name of a header field"},
        {{SLICE("X-A:"), SLICE("x")}, "headers.X-A:: not a name of a header field"},
        {{SLICE("X-\xC3\xBC"), SLICE("x")}, "headers.X-\?\?: not a name of a header field"},
        {{SLICE("X-A\r\nBcc"), SLICE("x")}, "headers.X-A\?\?Bcc: not a name of a header field"},
        {{SLICE("To"), SLICE("")}, "headers.To: empty"},
        {{SLICE("Date"), SLICE("   ")}, "headers.Date: empty"},
        {{SLICE("Date"), SLICE("\xC3\xBC")}, "headers.Date: not ASCII"},
        {{SLICE("To"), SLICE("\"\xC3\xBC\" <a@b>")},
         "headers.To: not ASCII in an address or a quoted name"},
        {{SLICE("Cc"), SLICE("<\xC3\xBC@b>")},
         "headers.Cc: not ASCII in an address or a quoted name"},
    };
    struct fixture *fixture = *state;
    fixture->compose.subject = SLICE("x");
    fixture->compose.header_count = 1;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        fixture->compose.headers = &cases[i].header;
        assert_refused(fixture, cases[i].problem);
    }
}

static void h10_other_fields_are_refused_with_their_names(void **state)
{
    const struct {
        struct compose_attachment attachment;
        const char *problem;
    } cases[] = {
        {{.content_type = SLICE("")}, "content_type: not a content type"},
        {{.content_type = SLICE("text")}, "content_type: not a content type"},
        {{.content_type = SLICE("a/b; c")}, "content_type: not a content type"},
        {{.content_type = SLICE("a/b;")}, "content_type: not a content type"},
        {{.content_type = SLICE("a/b c=d")}, "content_type: not a content type"},
        {{.content_type = SLICE("a/b; c=\"d\"e\"")}, "content_type: not a content type"},
        {{.content_type = SLICE("a/\xC3\xBC")}, "content_type: not a content type"},
        {{.content_type = SLICE("multipart/mixed")}, "content_type: not a type of an attachment"},
        {{.content_type = SLICE("Message/rfc822")}, "content_type: not a type of an attachment"},
        {{.content_type = SLICE("a/b"), .content_id = SLICE("")}, "content_id: empty"},
        {{.content_type = SLICE("a/b"), .content_id = SLICE("<>")}, "content_id: empty"},
        {{.content_type = SLICE("a/b"), .content_id = SLICE("a>b")},
         "content_id: not a content id"},
        {{.content_type = SLICE("a/b"), .content_id = SLICE("\xC3\xBC")},
         "content_id: not a content id"},
        {{.content_type = SLICE("a/b"), .data = SLICE("x"), .is_base64 = true},
         "data: not base64"},
    };
    struct fixture *fixture = *state;
    fixture->compose.attachment_count = 1;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char wanted[80];
        snprintf(wanted, sizeof(wanted), "attachments[0].%s", cases[i].problem);
        fixture->compose.attachments = &cases[i].attachment;
        assert_refused(fixture, wanted);
    }
}

static void h11_an_address_that_smtp_would_not_take_is_refused(void **state)
{
    const struct slice bad[] = {
        SLICE(""), SLICE("a"), SLICE("postmaster"), SLICE("a@"), SLICE("@b"), SLICE("a@b>"),
        SLICE("<a@b>"), SLICE("a@b\r\nRCPT TO:<c@d>"), SLICE("a@b c@d"), SLICE("@x:a@b"),
        SLICE("a\0@b"), SLICE("a@-b"), SLICE("\"a@b"), SLICE("a@b, c@d"),
    };
    const struct slice good[] = {
        SLICE("a@b"), SLICE("\"a b\"@example.com"), SLICE("a@[192.0.2.1]"), SLICE("x%y!z@b"),
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        fixture->compose.to.email = bad[i];
        assert_refused(fixture, "recipient.email: not an address");
    }
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        fixture->compose.to.email = good[i];
        compose(fixture);
    }
    fixture->compose.from.email = SLICE("a\n@b");
    assert_refused(fixture, "from.email: not an address");
}

static void h12_a_from_header_needs_an_author_and_content_a_body(void **state)
{
    struct fixture *fixture = *state;
    const struct compose_header header = {SLICE("From"), SLICE("J\xC3\xB6rg Mann <j@example.com>")};
    fixture->compose.from.email = SLICE_NONE;
    assert_refused(fixture, "from: missing");
    fixture->compose.headers = &header;
    fixture->compose.header_count = 1;
    struct slice message = compose(fixture);
    struct slice wanted = SLICE("From: =?utf-8?b?SsO2cmc=?= Mann <j@example.com>\r\n");
    assert_non_null(memmem(message.data, message.size, wanted.data, wanted.size));
    fixture->compose.text_body = SLICE_NONE;
    fixture->compose.amp_html_body = SLICE("x");
    assert_refused(fixture, "content: neither text_body nor html_body");
    fixture->compose.html_body = SLICE("\xC0\x80");
    assert_refused(fixture, "html_body: not UTF-8");
}

static void a_body_has_the_encoding_that_suits_it(void **state)
{
    static char lines[3000];
    memset(lines, 'x', sizeof(lines));
    const struct {
        struct slice text;
        const char *encoding;
        const char *encoded;
    } cases[] = {
        {SLICE(""), "7bit", ""},
        {SLICE("a\rb\nc\r\nd\n\r"), "7bit", "a\r\nb\r\nc\r\nd\r\n\r\n"},
        {SLICE("tab\t \n"), "7bit", "tab\t \r\n"},
        {slice_make(lines, 998), "7bit", NULL},
        {slice_make(lines, 999), "quoted-printable", NULL},
        {SLICE("a =_ b \nx=\t\n"), "quoted-printable", "a =3D_ b=20\r\nx=3D=09\r\n"},
        {SLICE("--=_m0190f3c2a7b84d5e8f000000000000ff--\n"), "quoted-printable",
         "--=3D_m0190f3c2a7b84d5e8f000000000000ff--\r\n"},
        {SLICE("a caf\xC3\xA9 and more"), "quoted-printable", "a caf=C3=A9 and more\r\n"},
        {SLICE("\x01 is a control"), "quoted-printable", "=01 is a control\r\n"},
        {SLICE("\xE6\x97\xA5\xE6\x9C\xAC\n"), "base64", "5pel5pysDQo=\r\n"},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char wanted[256];
        fixture->compose.text_body = cases[i].text;
        struct slice message = compose(fixture);
        int size = snprintf(wanted, sizeof(wanted), "Content-Transfer-Encoding: %s\r\n\r\n%s",
                            cases[i].encoding, cases[i].encoded == NULL ? "" : cases[i].encoded);
        const uint8_t *found = memmem(message.data, message.size, wanted, (size_t)size);
        bool whole = found != NULL && found + size == message.data + message.size;
        if (found == NULL || (cases[i].encoded != NULL && !whole)) {
            fail_msg("%zu: %.*s", i, (int)message.size, (const char *)message.data);
        }
    }
}

static void what_does_not_fit_overflows_and_is_no_fault(void **state)
{
    struct fixture *fixture = *state;
    size_t enough = compose(fixture).size;
    for (size_t size = 0; size < enough; size++) {
        buf_reset(&fixture->out);
        fixture->out.capacity = size;
        assert_true(
            compose_put(&fixture->compose, &fixture->out, &fixture->utf8, &fixture->problem));
        assert_true(fixture->out.overflow);
    }
}

static void too_many_headers_or_attachments_are_refused(void **state)
{
    static const struct compose_header headers[COMPOSE_HEADERS_MAX + 1];
    static const struct compose_attachment attachments[COMPOSE_ATTACHMENTS_MAX + 1];
    struct fixture *fixture = *state;
    fixture->compose.headers = headers;
    fixture->compose.header_count = COUNT_OF(headers);
    assert_refused(fixture, "headers: too many");
    fixture->compose.header_count = 0;
    fixture->compose.attachments = attachments;
    fixture->compose.attachment_count = COUNT_OF(attachments);
    assert_refused(fixture, "attachments: too many");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_small_message_is_what_it_is),
        TEST(parts_stand_in_their_order),
        TEST(h10_controls_are_refused_in_every_field_that_is_named),
        TEST(h10_header_fields_that_cannot_be_given_are_refused),
        TEST(h10_other_fields_are_refused_with_their_names),
        TEST(h11_an_address_that_smtp_would_not_take_is_refused),
        TEST(h12_a_from_header_needs_an_author_and_content_a_body),
        TEST(a_body_has_the_encoding_that_suits_it),
        TEST(what_does_not_fit_overflows_and_is_no_fault),
        TEST(too_many_headers_or_attachments_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
