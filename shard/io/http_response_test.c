/* What a client makes of answers, wherever their bytes are cut. */
#include "shard/io/http_response.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define BODY_BYTES 16

struct row {
    const char *bytes;
    enum http_response_step step;
    unsigned status;
    const char *body;
    bool keeps;
    uint64_t retry_after_s;
};

static const struct row rows[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", HTTP_RESPONSE_WHOLE, 200, "hi", true, 0},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n",
     HTTP_RESPONSE_WHOLE, 200, "hi!", true, 0},
    {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", HTTP_RESPONSE_WHOLE, 200,
     "", false, 0},
    {"HTTP/1.0 503 Busy\r\nretry-after:  7 \r\n\r\nlater", HTTP_RESPONSE_WHOLE, 503, "later", false,
     7},
    {"HTTP/1.1 429 No\r\nRetry-After: Fri, 31 Dec 1999\r\nContent-Length: 0\r\n\r\n",
     HTTP_RESPONSE_WHOLE, 429, "", true, 0},
    {"HTTP/1.1 100 Continue\r\nRetry-After: 9\r\n\r\nHTTP/1.1 204 None\r\n\r\n",
     HTTP_RESPONSE_WHOLE, 204, "", true, 0},
    {"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n0123456789abcdefghij", HTTP_RESPONSE_WHOLE, 200,
     "0123456789abcdef", true, 0},
    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh", HTTP_RESPONSE_BAD, 0, "", false, 0},
    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!", HTTP_RESPONSE_BAD, 0, "", false, 0},
    {"HTTP/1.1 200 OK\r\nContent-Len", HTTP_RESPONSE_BAD, 0, "", false, 0},
    {"220 mx.test ESMTP\r\n", HTTP_RESPONSE_BAD, 0, "", false, 0},
    {"", HTTP_RESPONSE_BAD, 0, "", false, 0},
    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!", HTTP_RESPONSE_BAD, 0,
     "", false, 0},
    {"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
     "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nnext",
     HTTP_RESPONSE_UPGRADED, 101, "", true, 0},
    {"HTTP/1.1 101 Go\r\n\r\n", HTTP_RESPONSE_BAD, 0, "", false, 0},
    {"HTTP/1.1 101 Go\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", HTTP_RESPONSE_BAD, 0, "", false, 0},
};

static struct http_response response;
static uint8_t body[BODY_BYTES];

static enum http_response_step read_parts(struct slice bytes, size_t part, struct slice *rest_out)
{
    enum http_response_step step = HTTP_RESPONSE_MORE;
    http_response_init(&response, body, sizeof(body));
    *rest_out = SLICE_NONE;
    while (bytes.size > 0 && step == HTTP_RESPONSE_MORE) {
        struct slice piece = slice_first(bytes, MIN_OF(part, bytes.size));
        bytes = slice_skip(bytes, piece.size);
        step = http_response_feed(&response, &piece);
        *rest_out = slice_make(piece.data, piece.size + bytes.size);
    }
    if (step == HTTP_RESPONSE_WHOLE && bytes.size > 0) {
        return http_response_feed(&response, &bytes); /* behind the end */
    }
    return step == HTTP_RESPONSE_MORE ? http_response_end(&response) : step;
}

static void answers_are_the_same_wherever_they_are_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice bytes = slice_from_string(rows[i].bytes);
        for (size_t part = 1; part <= bytes.size + 1; part++) {
            struct slice rest;
            enum http_response_step step = read_parts(bytes, part, &rest);
            if (step != rows[i].step) {
                fail_msg("row %zu in parts of %zu: %d", i, part, (int)step);
            }
            if (step == HTTP_RESPONSE_BAD) {
                continue;
            }
            assert_int_equal(response.status, rows[i].status);
            assert_int_equal(response.retry_after_s, rows[i].retry_after_s);
            assert_true(slice_equal(buf_slice(&response.body), slice_from_string(rows[i].body)));
            assert_true(step == HTTP_RESPONSE_UPGRADED || response.keeps == rows[i].keeps);
            if (step == HTTP_RESPONSE_UPGRADED) {
                assert_true(slice_equal(rest, SLICE("next")));
                assert_true(slice_equal(buf_slice(&response.accept),
                                        SLICE("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
            }
        }
    }
}

static void an_answer_without_an_end_ends(void **state)
{
    static const char *const beginnings[] = {
        "HTTP/1.1 200 OK\r\nX: ",                             /* a field */
        "HTTP/1.1 200 OK\r\n\r\n",                            /* a body */
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", /* an extension */
    };
    static uint8_t filler[4 * KIB];
    (void)state;
    memset(filler, 'x', sizeof(filler));
    for (size_t i = 0; i < COUNT_OF(beginnings); i++) {
        struct slice bytes = slice_from_string(beginnings[i]);
        enum http_response_step step;
        uint64_t fed = 0;
        http_response_init(&response, body, sizeof(body));
        step = http_response_feed(&response, &bytes);
        while (step == HTTP_RESPONSE_MORE) {
            bytes = slice_make(filler, sizeof(filler));
            step = http_response_feed(&response, &bytes);
            fed += sizeof(filler);
            assert_true(fed <= HTTP_RESPONSE_BYTES_MAX + sizeof(filler));
        }
        assert_int_equal(step, HTTP_RESPONSE_BAD);
        assert_true(i > 0 || fed <= HTTP_RESPONSE_HEAD_MAX + sizeof(filler));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_the_same_wherever_they_are_cut),
        cmocka_unit_test(an_answer_without_an_end_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
