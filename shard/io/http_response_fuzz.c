/*
 * Answers of a server: read whole and in two parts, they are the same; the body stays within its
 * memory, and nothing is taken that was not there.
 */
#include "shard/io/http_response.h"

#include <string.h>

#include "core/check.h"

#define BODY_BYTES 100

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct reading {
    struct http_response response;
    uint8_t body[BODY_BYTES];
    enum http_response_step step;
};

static void feed(struct reading *reading, struct slice input)
{
    if (reading->step == HTTP_RESPONSE_MORE && input.size > 0) {
        struct slice rest = input;
        reading->step = http_response_feed(&reading->response, &rest);
        CHECK(rest.size <= input.size && rest.data + rest.size == input.data + input.size);
        CHECK(reading->step != HTTP_RESPONSE_MORE || rest.size == 0);
        CHECK(reading->response.body.size <= BODY_BYTES && !reading->response.body.overflow);
    }
}

static void read_all(struct reading *reading, const uint8_t *data, size_t split, size_t size)
{
    http_response_init(&reading->response, reading->body, sizeof(reading->body));
    reading->step = HTTP_RESPONSE_MORE;
    feed(reading, slice_make(data, split));
    feed(reading, slice_make(data + split, size - split));
    if (reading->step == HTTP_RESPONSE_MORE) {
        reading->step = http_response_end(&reading->response);
        CHECK(reading->step == HTTP_RESPONSE_WHOLE || reading->step == HTTP_RESPONSE_BAD);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct reading whole;
    static struct reading split;
    size_t at = size > 0 ? data[size - 1] * size / 256 : 0;
    read_all(&whole, data, size, size);
    read_all(&split, data, at, size);
    if (whole.step == HTTP_RESPONSE_WHOLE || whole.step == HTTP_RESPONSE_UPGRADED) {
        CHECK(split.step == whole.step && split.response.status == whole.response.status);
        CHECK(split.response.retry_after_s == whole.response.retry_after_s);
        CHECK(slice_equal(buf_slice(&split.response.body), buf_slice(&whole.response.body)));
        CHECK(slice_equal(buf_slice(&split.response.accept), buf_slice(&whole.response.accept)));
    }
    return 0;
}
