#include "bench/response.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

static const struct row {
    const char *text; /* two responses would follow each other: the next begins at `behind` */
    const char *behind;
    enum response_status status;
    unsigned code;
    uint64_t retry_after_s;
    bool close;
    bool counts; /* success_count is there … */
    uint64_t taken; /* … and this */
} rows[] = {
    {OK_HEAD "Content-Length: 35\r\n\r\n{\"success_count\":12,\"fail_count\":0}", "HTTP/1.1 503",
     RESPONSE_WHOLE, 200, 0, false, true, 12},
    {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n14\r\n{\"success_count\":12,\r\n"
             "f\r\n\"fail_count\":0}\r\n0\r\n\r\n", "",
     RESPONSE_WHOLE, 200, 0, false, true, 12},
    {"HTTP/1.1 503 Service Unavailable\r\nretry-AFTER: 7\r\nContent-Length: 0\r\n"
     "Connection: close\r\n\r\n", "", RESPONSE_WHOLE, 503, 7, true, false, 0},
    {"HTTP/1.1 503 Service Unavailable\r\nRetry-After: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
     "Content-Length: 2\r\n\r\nno", "x", RESPONSE_WHOLE, 503, 0, false, false, 0},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "", RESPONSE_PARTIAL, 0, 0, false, false,
     0},
    {"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "", RESPONSE_FAULT, 0, 0, false, false, 0},
    {"220 mta.test ESMTP\r\n", "", RESPONSE_FAULT, 0, 0, false, false, 0},
};

/* In pieces of `piece` bytes; what is left over is checked. */
static enum response_status feed(struct response *response, const struct row *row, size_t piece)
{
    char text[1024];
    size_t size = strlen(row->text);
    memcpy(text, row->text, size);
    memcpy(text + size, row->behind, strlen(row->behind));
    struct slice all = slice_make(text, size + strlen(row->behind));
    enum response_status status = RESPONSE_PARTIAL;
    response_begin(response);
    while (all.size > 0 && status == RESPONSE_PARTIAL) {
        struct slice input = slice_first(all, MIN_OF(piece, all.size));
        size_t before = input.size;
        status = response_feed(response, &input);
        all = slice_skip(all, before - input.size);
    }
    if (status == RESPONSE_WHOLE) {
        assert_true(slice_equal(all, slice_from_string(row->behind)));
    }
    return status;
}

static void a_response_is_the_same_in_pieces_of_any_size(void **state)
{
    (void)state;
    struct response response;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct row *row = &rows[i];
        for (size_t piece = 1; piece < 200; piece++) {
            uint64_t taken = 0;
            assert_int_equal(feed(&response, row, piece), row->status);
            if (row->status == RESPONSE_WHOLE) {
                assert_int_equal(response.code, row->code);
                assert_int_equal(response.retry_after_s, row->retry_after_s);
                assert_int_equal(response.close, row->close);
                assert_int_equal(response_number(&response, "success_count", &taken), row->counts);
                assert_int_equal(taken, row->taken);
            }
        }
    }
}

static void a_long_body_is_taken_and_its_beginning_kept(void **state)
{
    (void)state;
    static char text[100000];
    struct response response;
    static const char head[] = OK_HEAD "Content-Length: 99000\r\n\r\n";
    memset(text, 'a', sizeof(text));
    memcpy(text, head, strlen(head));
    struct slice input = slice_make(text, strlen(head) + 99000);
    response_begin(&response);
    assert_int_equal(response_feed(&response, &input), RESPONSE_WHOLE);
    assert_int_equal(input.size, 0);
    assert_int_equal(response.body_bytes, RESPONSE_BODY_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_response_is_the_same_in_pieces_of_any_size),
        cmocka_unit_test(a_long_body_is_taken_and_its_beginning_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
