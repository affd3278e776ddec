#include "shard/io/http_response.h"

#include "core/check.h"

enum { STATUS_SWITCHING = 101, STATUS_FIRST_FINAL = 200 };

static struct http_response *of_parser(llhttp_t *parser)
{
    return parser->data;
}

/* A new one: what a response of 1xx said before it is nothing. */
static int begun(llhttp_t *parser)
{
    struct http_response *response = of_parser(parser);
    buf_reset(&response->body);
    buf_reset(&response->accept);
    buf_reset(&response->name);
    buf_reset(&response->value);
    response->retry_after_s = 0;
    response->in_body = false;
    return 0;
}

static int found_name(llhttp_t *parser, const char *at, size_t size)
{
    buf_put(&of_parser(parser)->name, slice_make(at, size));
    return 0;
}

static int found_value(llhttp_t *parser, const char *at, size_t size)
{
    buf_put(&of_parser(parser)->value, slice_make(at, size));
    return 0;
}

/* One that is too long to be looked at is none of those that are. */
static int found_field(llhttp_t *parser)
{
    struct http_response *response = of_parser(parser);
    struct slice name = buf_slice(&response->name);
    struct slice value = slice_trim(buf_slice(&response->value));
    bool whole = !response->name.overflow && !response->value.overflow;
    if (whole && slice_equal_nocase(name, SLICE("Retry-After"))) {
        uint64_t seconds;
        response->retry_after_s = slice_parse_u64(value, &seconds) ? seconds : 0;
    }
    if (whole && slice_equal_nocase(name, SLICE("Sec-WebSocket-Accept"))) {
        buf_reset(&response->accept);
        buf_put(&response->accept, value);
    }
    buf_reset(&response->name);
    buf_reset(&response->value);
    return 0;
}

static int found_head(llhttp_t *parser)
{
    of_parser(parser)->in_body = true;
    return 0;
}

static int found_body(llhttp_t *parser, const char *at, size_t size)
{
    struct buf *body = &of_parser(parser)->body;
    buf_put(body, slice_make(at, MIN_OF(size, buf_room(body))));
    return 0;
}

static int found_end(llhttp_t *parser)
{
    struct http_response *response = of_parser(parser);
    response->status = (unsigned)llhttp_get_status_code(parser);
    if (response->status < STATUS_FIRST_FINAL && response->status != STATUS_SWITCHING) {
        return 0;
    }
    response->whole = true;
    response->keeps = llhttp_should_keep_alive(parser) != 0;
    if (response->status == STATUS_SWITCHING) {
        return parser->upgrade != 0 ? 0 : HPE_USER; /* to nothing: no other answer may follow */
    }
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_message_begin = begun,
    .on_header_field = found_name,
    .on_header_value = found_value,
    .on_header_value_complete = found_field,
    .on_headers_complete = found_head,
    .on_body = found_body,
    .on_message_complete = found_end,
};

void http_response_init(struct http_response *response, void *memory, size_t bytes)
{
    *response = (struct http_response){0};
    llhttp_init(&response->parser, HTTP_RESPONSE, &settings);
    response->parser.data = response;
    buf_init(&response->body, memory, bytes);
    buf_init(&response->accept, response->accept_bytes, sizeof(response->accept_bytes));
    buf_init(&response->name, response->name_bytes, sizeof(response->name_bytes));
    buf_init(&response->value, response->value_bytes, sizeof(response->value_bytes));
}

static enum http_response_step refuse(struct http_response *response)
{
    response->bad = true;
    return HTTP_RESPONSE_BAD;
}

enum http_response_step http_response_feed(struct http_response *response, struct slice *input)
{
    if (response->bad || response->whole) {
        return refuse(response);
    }
    const char *data = (const char *)input->data;
    llhttp_errno_t error = llhttp_execute(&response->parser, data, input->size);
    size_t taken = input->size;
    if (error == HPE_PAUSED || error == HPE_PAUSED_UPGRADE) {
        taken = (size_t)(llhttp_get_error_pos(&response->parser) - data);
    }
    response->bytes += taken;
    if ((error != HPE_OK && error != HPE_PAUSED && error != HPE_PAUSED_UPGRADE) ||
        response->bytes > HTTP_RESPONSE_BYTES_MAX ||
        (!response->in_body && response->bytes > HTTP_RESPONSE_HEAD_MAX)) {
        return refuse(response);
    }
    *input = slice_skip(*input, taken);
    if (!response->whole) {
        return error == HPE_OK ? HTTP_RESPONSE_MORE : refuse(response);
    }
    if (response->status == STATUS_SWITCHING) {
        return error == HPE_PAUSED_UPGRADE ? HTTP_RESPONSE_UPGRADED : refuse(response);
    }
    return input->size == 0 ? HTTP_RESPONSE_WHOLE : refuse(response);
}

enum http_response_step http_response_end(struct http_response *response)
{
    bool may_end = !response->bad && !response->whole && response->in_body;
    if (!may_end) {
        return refuse(response);
    }
    llhttp_errno_t error = llhttp_finish(&response->parser);
    bool ended = (error == HPE_OK || error == HPE_PAUSED) && response->whole;
    response->keeps = false;
    return ended ? HTTP_RESPONSE_WHOLE : refuse(response);
}
