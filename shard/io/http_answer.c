#include "shard/io/http_answer.h"

#include "core/check.h"
#include "core/date.h"
#include "shard/io/http_codec.h"

/* Empty for one that we never answer with. */
static struct slice status_text(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } rows[] = {
        {200, "OK"},
        {202, "Accepted"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Unknown Method"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (rows[i].status == status) {
            return slice_from_string(rows[i].text);
        }
    }
    return SLICE_NONE;
}

static void put_allow(struct buf *buf, uint8_t methods)
{
    const char *separator = "Allow: ";
    for (unsigned bits = methods; bits != 0; bits &= bits - 1) {
        buf_put_string(buf, separator);
        buf_put_string(buf, http_method_name((enum http_method)(bits & -bits)));
        separator = ", ";
    }
    buf_put(buf, SLICE("\r\n"));
}

static void put_framing(struct buf *buf, const struct http_answer *answer)
{
    if (answer->chunked) {
        buf_put(buf, SLICE("Transfer-Encoding: chunked\r\n"));
    } else if (!answer->until_close && answer->status != 204 && answer->status != 304) {
        buf_put(buf, SLICE("Content-Length: "));
        buf_put_u64(buf, answer->length);
        buf_put(buf, SLICE("\r\n"));
    }
    if (answer->close) {
        buf_put(buf, SLICE("Connection: close\r\n"));
    } else if (answer->keep_alive) {
        buf_put(buf, SLICE("Connection: keep-alive\r\n"));
    }
}

void http_answer_put_head(struct buf *buf, const struct http_answer *answer, uint64_t wall_ns)
{
    CHECK(answer->type.size <= HTTP_ANSWER_TYPE_MAX);
    CHECK(answer->fields.size <= HTTP_ANSWER_FIELDS_MAX);
    CHECK(answer->status >= 200 && answer->status <= 599);
    buf_put(buf, SLICE("HTTP/1.1 "));
    buf_put_u64(buf, answer->status);
    buf_put_byte(buf, ' ');
    buf_put(buf, status_text(answer->status));
    buf_put(buf, SLICE("\r\nDate: "));
    date_put_http(buf, wall_ns);
    buf_put(buf, SLICE("\r\nServer: Ringpost\r\n"));
    if (answer->type.size > 0) {
        buf_put(buf, SLICE("Content-Type: "));
        buf_put(buf, answer->type);
        buf_put(buf, SLICE("\r\nX-Content-Type-Options: nosniff\r\n"));
    }
    put_framing(buf, answer);
    if (answer->allow != 0) {
        put_allow(buf, answer->allow);
    }
    if (answer->status == 503) { /* what is short now may not be in a moment */
        buf_put(buf, SLICE("Retry-After: "));
        buf_put_u64(buf, MAX_OF(answer->retry_after_s, 1u));
        buf_put(buf, SLICE("\r\n"));
    }
    buf_put(buf, answer->fields.size > 0 ? answer->fields : SLICE("Cache-Control: no-store\r\n"));
    buf_put(buf, SLICE("\r\n"));
}
