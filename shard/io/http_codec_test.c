/*
 * Everything a client may send is fed whole, in every pair of parts, and byte by byte; what comes
 * out is written down as a line of text and must be the same each time.
 */
#include "shard/io/http_codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "core/check.h"

#define STORY_BYTES (64 * KIB)
#define BODY_MAX    100

/* Of one reading: what has been found so far. */
struct story {
    struct http_codec codec;
    struct http_head *head;
    struct buf text;
    bool over;
    uint8_t memory[STORY_BYTES];
};

static struct http_head *head_take(uint32_t capacity)
{
    struct http_head *head = malloc(sizeof(*head) + capacity);
    CHECK(head != NULL);
    http_head_init(head, capacity);
    return head;
}

static struct story *story_take(void)
{
    struct story *story = malloc(sizeof(*story));
    CHECK(story != NULL);
    story->head = head_take(16);
    story->over = false;
    buf_init(&story->text, story->memory, sizeof(story->memory));
    http_codec_init(&story->codec);
    return story;
}

static void story_give(struct story *story)
{
    free(story->head);
    free(story);
}

static void story_head(struct story *story)
{
    const struct http_head *head = story->head;
    struct buf *text = &story->text;
    buf_put_string(text, http_method_name(head->method));
    buf_put_byte(text, ' ');
    buf_put(text, head->path);
    if (head->query.size > 0) {
        buf_put_byte(text, '?');
        buf_put(text, head->query);
    }
    buf_printf(text, "%s%s%s ", head->minor == 0 ? " 1.0" : "", head->close ? " close" : "",
               head->expects ? " expects" : "");
    if (!http_codec_limit(&story->codec, BODY_MAX)) {
        buf_printf(text, "%u", story->codec.status);
        story->over = true;
    }
}

static void story_step(struct story *story, enum http_step step, struct slice piece)
{
    switch (step) {
    case HTTP_STEP_MORE:
        return;
    case HTTP_STEP_ROOM: {
        struct http_head *head = head_take(story->head->capacity * 2);
        http_head_move(head, story->head->capacity * 2, story->head);
        free(story->head);
        story->head = head;
        return;
    }
    case HTTP_STEP_HEAD:
        story_head(story);
        return;
    case HTTP_STEP_BODY:
        buf_put(&story->text, piece);
        return;
    case HTTP_STEP_END:
        buf_put_byte(&story->text, ';');
        http_codec_init(&story->codec);
        http_head_init(story->head, story->head->capacity);
        return;
    case HTTP_STEP_REFUSED:
        buf_printf(&story->text, "%u", story->codec.status);
        assert_non_null(story->codec.reason);
        story->over = true;
        return;
    }
}

/* Every part is a block of its own, so that a read past its end is seen. */
static void story_feed(struct story *story, struct slice part)
{
    uint8_t *copy = malloc(part.size + 1);
    CHECK(copy != NULL);
    memcpy(copy, part.data, part.size);
    struct slice rest = slice_make(copy, part.size);
    bool more = true;
    while (more && !story->over) {
        enum http_step step;
        struct slice piece;
        size_t taken = http_codec_feed(&story->codec, story->head, rest, &step, &piece);
        rest = slice_skip(rest, taken);
        story_step(story, step, piece);
        more = rest.size > 0 || (step != HTTP_STEP_MORE && step != HTTP_STEP_BODY &&
                                 !http_codec_idle(&story->codec)) ||
               story->codec.state == HTTP_CODEC_ENDED;
    }
    free(copy);
}

static void assert_story(const struct story *story, const char *expected)
{
    assert_false(story->text.overflow);
    if (story->text.size != strlen(expected) ||
        memcmp(story->text.data, expected, story->text.size) != 0) {
        fail_msg("\"%.*s\" is not \"%s\"", (int)story->text.size, (const char *)story->text.data,
                 expected);
    }
}

static void assert_bytes(struct slice bytes, const char *expected)
{
    for (size_t split = 0; split <= bytes.size; split++) {
        struct story *story = story_take();
        story_feed(story, slice_first(bytes, split));
        story_feed(story, slice_skip(bytes, split));
        assert_story(story, expected);
        story_give(story);
    }
    struct story *story = story_take();
    for (size_t i = 0; i < bytes.size; i++) {
        story_feed(story, slice_make(bytes.data + i, 1));
    }
    assert_story(story, expected);
    story_give(story);
}

#define H "Host: a\r\n"

static void requests_are_read_the_same_however_they_come(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        const char *story;
    } rows[] = {
        {"GET / HTTP/1.1\r\n" H "\r\n", "GET / ;"},
        {"\r\nGET / HTTP/1.1\r\n" H "\r\n", "GET / ;"},
        {"GET /a/b?c=d?e HTTP/1.1\r\n" H "\r\n", "GET /a/b?c=d?e ;"},
        {"HEAD / HTTP/1.0\r\n\r\n", "HEAD / 1.0 close ;"},
        {"GET / HTTP/1.0\r\nConnection: x, Keep-Alive\r\n\r\n", "GET / 1.0 ;"},
        {"GET / HTTP/1.1\r\n" H "connection: x ,close\r\n\r\n", "GET / close ;"},
        {"OPTIONS * HTTP/1.1\r\n" H "\r\n", "OPTIONS * ;"},
        {"GET http://a/b HTTP/1.1\r\n" H "\r\n", "GET /b ;"},
        {"GET HTTP://A HTTP/1.1\r\n" H "\r\n", "GET / ;"},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc", "POST / abc;"},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", "POST / ;"},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabcGET /x HTTP/1.1\r\n" H "\r\n",
         "POST / abc;GET /x ;"},
        {"PUT / HTTP/1.1\r\n" H "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\na",
         "PUT / expects a;"},
        {"PATCH / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
         "3\r\nabc\r\n0a;x=\"y\"\r\n0123456789\r\n0\r\n\r\nDELETE / HTTP/1.1\r\n" H "\r\n",
         "PATCH / abc0123456789;DELETE / ;"},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n",
         "POST / a;"},
        {"POST / HTTP/1.1\r\n" H "X-Text: \xC3\xA4\t b\r\nX-Empty:\r\nContent-Length: 1\r\n\r\na",
         "POST / a;"},
        {"GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / ;"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_bytes(slice_from_string(rows[i].bytes), rows[i].story);
    }
}

static void h01_a_body_has_one_length_or_none(void **state)
{
    (void)state;
    static const char *const fields[] = {
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\ncontent-length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 9223372036854775808\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: \r\n",
        "Content-Length:\r\n",
        "Content-Length: 5a\r\n",
        "Content-Length: \"5\"\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunkedx\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: \x0b" "chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding:\r\n",
    };
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        char bytes[256];
        (void)snprintf(bytes, sizeof(bytes), "POST / HTTP/1.1\r\n" H "%s\r\n5\r\nGET /", fields[i]);
        assert_bytes(slice_from_string(bytes), "400");
    }
    assert_bytes(SLICE("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "400");
}

static void h02_chunks_are_framed_exactly(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        const char *story; /* behind "POST / " */
    } rows[] = {
        {"0x5\r\nabcde\r\n0\r\n\r\n", "400"},
        {"+5\r\nabcde\r\n0\r\n\r\n", "400"},
        {"-5\r\nabcde\r\n0\r\n\r\n", "400"},
        {" 5\r\nabcde\r\n0\r\n\r\n", "400"},
        {"5 \r\nabcde\r\n0\r\n\r\n", "400"},
        {"\r\nabcde\r\n0\r\n\r\n", "400"},
        {";x\r\nabcde\r\n0\r\n\r\n", "400"},
        {"g\r\n", "400"},
        {"10000000000000000\r\nabcde", "400"},
        {"00000000000000005\r\nabcde", "400"},
        {"ffffffffffffffff\r\nabcde", "413"},
        {"65\r\nabcde", "413"},
        {"64\r\n", ""},
        {"5\nabcde\r\n0\r\n\r\n", "400"},
        {"5\r\rabcde\r\n0\r\n\r\n", "400"},
        {"5;a\nb\r\nabcde\r\n0\r\n\r\n", "400"},
        {"5;a\rb\r\nabcde\r\n0\r\n\r\n", "400"},
        {"5;a\x01\r\nabcde\r\n0\r\n\r\n", "400"},
        {"5\r\nabcdef\r\n0\r\n\r\n", "abcde400"},
        {"5\r\nabcd\r\n0\r\n\r\n", "abcd\r400"},
        {"5\r\nabcde\n0\r\n\r\n", "abcde400"},
        {"5\r\nabcde\r0\r\n\r\n", "abcde400"},
        {"0\r\nX: y\r\n Z: w\r\n\r\n", "400"},
        {"0\r\nX : y\r\n\r\n", "400"},
        {"0\r\nX: y\rZ: w\r\n\r\n", "400"},
        {"0\r\nGET / HTTP/1.1\r\n\r\n", "400"},
        {"0\r\n\n", "400"},
        {"0\r\n\rX", "400"},
        {"0\r\n", ""},
        {"0\r\n\r", ""},
        {"0\r\nX: y\tz\r\n\r\n", ";"},
        {"0\r\nX: \xC3\xA4\r\n\r\n", ";"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char bytes[256];
        char story[64];
        (void)snprintf(bytes, sizeof(bytes),
                       "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n%s",
                       rows[i].body);
        (void)snprintf(story, sizeof(story), "POST / %s", rows[i].story);
        assert_bytes(slice_from_string(bytes), story);
    }
}

/* `head`, then `unit` so many times, then `tail`, in pieces of 1,000 bytes. */
static void assert_long(const char *head, const char *unit, size_t count, const char *expected)
{
    size_t size = strlen(head) + strlen(unit) * count;
    char *bytes = malloc(size + 1);
    assert_non_null(bytes);
    char *at = stpcpy(bytes, head);
    for (size_t i = 0; i < count; i++) {
        at = stpcpy(at, unit);
    }
    struct story *story = story_take();
    for (size_t i = 0; i < size; i += 1000) {
        story_feed(story, slice_make(bytes + i, MIN_OF(size - i, 1000)));
    }
    assert_story(story, expected);
    story_give(story);
    free(bytes);
}

static void h02_h03_what_is_too_long_is_refused_and_not_kept(void **state)
{
    (void)state;
    static const char *const chunked =
        "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n";
    char body[128];
    assert_long("GET / HTTP/1.1\r\n" H, "X: y\r\n", 98, "");
    assert_long("GET / HTTP/1.1\r\n" H, "X: y\r\n", 10000, "431");
    assert_long("GET / HTTP/1.1\r\n" H "X: ", "0123456789", 100000, "431");
    assert_long("GET / HTTP/1.1\r\n" H, "0123456789", 100000, "431");
    assert_long("GET /", "0123456789", 6400, "414");
    assert_long("", "0123456789", 6400, "414");
    assert_long("", "\r\n", 1000, "400");
    (void)snprintf(body, sizeof(body), "%s5;", chunked);
    assert_long(body, "0123456789", 100000, "POST / 413");
    (void)snprintf(body, sizeof(body), "%s0\r\n", chunked);
    assert_long(body, "X: y\r\n", 100, "POST / ");
    assert_long(body, "X: y\r\n", 101, "POST / 431");
    assert_long(body, "X: y\r\n", 100000, "POST / 431");
    assert_long(body, "0123456789", 100000, "POST / 431");
}

static void h03_a_target_may_have_8_kib(void **state)
{
    (void)state;
    static const struct {
        size_t size;
        const char *story;
    } rows[] = {{HTTP_TARGET_BYTES_MAX, ";"}, {HTTP_TARGET_BYTES_MAX + 1, "414"}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct story *story = story_take();
        char *bytes = malloc(rows[i].size);
        assert_non_null(bytes);
        memset(bytes, 'a', rows[i].size);
        bytes[0] = '/';
        story_feed(story, SLICE("GET "));
        story_feed(story, slice_make(bytes, rows[i].size));
        story_feed(story, SLICE(" HTTP/1.1\r\n" H "\r\n"));
        size_t known = strlen(rows[i].story);
        assert_true(story->text.size >= known);
        assert_memory_equal(story->text.data + story->text.size - known, rows[i].story, known);
        free(bytes);
        story_give(story);
    }
}

static void h03_header_lines_are_exact(void **state)
{
    (void)state;
    const struct {
        struct slice bytes;
    } rows[] = {
        {SLICE("GET / HTTP/1.1\r\nHost : a\r\n\r\n")},
        {SLICE("GET / HTTP/1.1\r\nHost\t: a\r\n\r\n")},
        {SLICE("GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n")},
        {SLICE("GET / HTTP/1.1\r\n" H "X: a\r\n\tb\r\n\r\n")},
        {SLICE("GET / HTTP/1.1\r\n Host: a\r\n\r\n")},
        {SLICE("GET / HTTP/1.1\r\n" H "X: a\rY: b\r\n\r\n")},
        {SLICE("GET / HTTP/1.1\r\n" H "\rX: a\r\n\r\n")},
        {SLICE("GET / HTTP/1.1\r\n" H "X: a\nY: b\r\n\r\n")},
        {SLICE("GET / HTTP/1.1\n" H "\r\n")},
        {SLICE("GET / HTTP/1.1\r\n" H "\n")},
        {SLICE("GET / HTTP/1.1\r\n" H "X: a\0b\r\n\r\n")},
        {SLICE("GET / HTTP/1.1\r\n" H "X\0: a\r\n\r\n")},
        {SLICE("GET /\0 HTTP/1.1\r\n" H "\r\n")},
        {SLICE("GET / HTTP/1.1\r\n" H ": a\r\n\r\n")},
        {SLICE("GET / HTTP/1.1\r\n" H "X\x80: a\r\n\r\n")},
        {SLICE("GET / HTTP/1.1\r\n" H "X(: a\r\n\r\n")},
        {SLICE("GET / HTTP/1.1\r\n" H "Xa\r\n\r\n")},
        {SLICE("GET / HTTP/1.1\r\n" H "X: \x7F\r\n\r\n")},
        {SLICE("GET / HTTP/1.1\r\n" H "X: \x0B\r\n\r\n")},
        {SLICE("\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n")},
        {SLICE("\nGET / HTTP/1.1\r\n" H "\r\n")},
        {SLICE(" GET / HTTP/1.1\r\n" H "\r\n")},
        {SLICE("GET /\x80 HTTP/1.1\r\n" H "\r\n")},
        {SLICE("GET /\tHTTP/1.1\r\n" H "\r\n")},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_bytes(rows[i].bytes, "400");
    }
}

static void h04_only_plain_http_1_is_spoken(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        const char *story;
    } rows[] = {
        {"GET / HTTP/1.1\r\n\r\n", "400"},
        {"GET / HTTP/1.1\r\n" H H "\r\n", "400"},
        {"GET / HTTP/1.1\r\n" H "host: b\r\n\r\n", "400"},
        {"GET / HTTP/1.0\r\n" H H "\r\n", "400"},
        {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400"},
        {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"},
        {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "400"},
        {"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "400"},
        {"GET http://b/ HTTP/1.1\r\n" H "\r\n", "400"},
        {"GET https://a/ HTTP/1.1\r\n" H "\r\n", "400"},
        {"GET http://u@a/ HTTP/1.1\r\n" H "\r\n", "400"},
        {"GET a:80 HTTP/1.1\r\n" H "\r\n", "400"},
        {"GET x HTTP/1.1\r\n" H "\r\n", "400"},
        {"GET * HTTP/1.1\r\n" H "\r\n", "400"},
        {"GET /#a HTTP/1.1\r\n" H "\r\n", "400"},
        {"GET  / HTTP/1.1\r\n" H "\r\n", "400"},
        {"GET /  HTTP/1.1\r\n" H "\r\n", "400"},
        {"GET / x HTTP/1.1\r\n" H "\r\n", "400"},
        {"GET / HTTP/1.1 \r\n" H "\r\n", "400"},
        {"GET /\r\n\r\n", "400"},
        {"GET\r\n\r\n", "400"},
        {"GET / HTTP/1\r\n" H "\r\n", "400"},
        {"GET / http/1.1\r\n" H "\r\n", "400"},
        {"GET / HTTPS/1.1\r\n" H "\r\n", "400"},
        {"GET / ICY/1.1\r\n" H "\r\n", "400"},
        {"GET / HTTP/1.2\r\n" H "\r\n", "505"},
        {"GET / HTTP/0.9\r\n" H "\r\n", "505"},
        {"GET / HTTP/2.0\r\n" H "\r\n", "505"},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"},
        {"CONNECT a:80 HTTP/1.1\r\n" H "\r\n", "405"},
        {"TRACE / HTTP/1.1\r\n" H "\r\n", "405"},
        {"MKCOL / HTTP/1.1\r\n" H "\r\n", "501"},
        {"get / HTTP/1.1\r\n" H "\r\n", "501"},
        {"GET / HTTP/1.1\r\n" H "Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "400"},
        {"GET / HTTP/1.1\r\n" H "Upgrade: websocket\r\n\r\n", "400"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_bytes(slice_from_string(rows[i].bytes), rows[i].story);
    }
}

static void h07_no_other_expectation_is_met(void **state)
{
    (void)state;
    static const char *const fields[] = {
        "Expect: other\r\n", "Expect:\r\n", "Expect: 100-continue, other\r\n",
        "Expect: 100-continue\r\nExpect: 100-continue\r\n",
    };
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        char bytes[256];
        (void)snprintf(bytes, sizeof(bytes), "POST / HTTP/1.1\r\n" H "%s\r\n", fields[i]);
        assert_bytes(slice_from_string(bytes), "417");
    }
    assert_bytes(SLICE("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"), "POST / 1.0 close ;");
}

/* Of two parsers measured, these were read as two requests, or with a body, or without one. */
static void h01_h03_smuggling_probes_find_nothing(void **state)
{
    (void)state;
    static const char *const probes[] = {
        "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        "POST / HTTP/1.1\r\n" H "\rContent-Length: 5\r\n\r\nabcde",
        "POST / HTTP/1.1\r\n" H " Content-Length: 5\r\n\r\nabcde",
        "POST / HTTP/1.1\r\n" H "X-Abc: \rxTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
    };
    for (size_t i = 0; i < COUNT_OF(probes); i++) {
        assert_bytes(slice_from_string(probes[i]), "400");
    }
}

static void a_body_over_the_limit_is_refused_before_it_comes(void **state)
{
    (void)state;
    assert_bytes(SLICE("POST / HTTP/1.1\r\n" H "Content-Length: 101\r\n\r\n"), "POST / 413");
    assert_bytes(SLICE("POST / HTTP/1.1\r\n" H "Content-Length: 9223372036854775807\r\n\r\n"),
                 "POST / 413");
    assert_bytes(SLICE("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
                       "3\r\nabc\r\n62\r\n"),
                 "POST / abc413");
}

static void fields_are_found_by_name(void **state)
{
    (void)state;
    struct story *story = story_take();
    struct slice value;
    struct slice bytes = SLICE("GET / HTTP/1.1\r\n" H "A-b:  c d \t\r\nX: 1\r\nx: 2\r\nE:\r\n");
    story_feed(story, bytes);
    story_feed(story, SLICE("\r"));
    enum http_step step;
    struct slice piece;
    assert_int_equal(http_codec_feed(&story->codec, story->head, SLICE("\n"), &step, &piece), 1);
    assert_int_equal(step, HTTP_STEP_HEAD);
    assert_true(http_head_field(story->head, SLICE("a-B"), &value));
    assert_true(slice_equal(value, SLICE("c d")));
    assert_true(http_head_field(story->head, SLICE("e"), &value));
    assert_int_equal(value.size, 0);
    assert_false(http_head_field(story->head, SLICE("X"), &value));
    assert_int_equal(http_head_count(story->head, SLICE("X")), 2);
    assert_int_equal(http_head_count(story->head, SLICE("Y")), 0);
    assert_true(slice_equal(story->head->host, SLICE("a")));
    story_give(story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_read_the_same_however_they_come),
        cmocka_unit_test(h01_a_body_has_one_length_or_none),
        cmocka_unit_test(h02_chunks_are_framed_exactly),
        cmocka_unit_test(h02_h03_what_is_too_long_is_refused_and_not_kept),
        cmocka_unit_test(h03_a_target_may_have_8_kib),
        cmocka_unit_test(h03_header_lines_are_exact),
        cmocka_unit_test(h04_only_plain_http_1_is_spoken),
        cmocka_unit_test(h07_no_other_expectation_is_met),
        cmocka_unit_test(h01_h03_smuggling_probes_find_nothing),
        cmocka_unit_test(a_body_over_the_limit_is_refused_before_it_comes),
        cmocka_unit_test(fields_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
