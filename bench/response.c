#include "bench/response.h"

#include <string.h>

#include "core/buf.h"

/* --- what llhttp tells ------------------------------------------------------------------------ */

static void keep(char *into, size_t *size, const char *at, size_t count)
{
    if (*size + count <= RESPONSE_FIELD_BYTES_MAX) {
        memcpy(into + *size, at, count);
    }
    *size += count;
}

static int on_name(llhttp_t *parser, const char *at, size_t count)
{
    struct response *response = parser->data;
    keep(response->name, &response->name_bytes, at, count);
    return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t count)
{
    struct response *response = parser->data;
    keep(response->value, &response->value_bytes, at, count);
    return 0;
}

static int on_value_complete(llhttp_t *parser)
{
    struct response *response = parser->data;
    if (response->name_bytes <= RESPONSE_FIELD_BYTES_MAX &&
        response->value_bytes <= RESPONSE_FIELD_BYTES_MAX &&
        slice_equal_nocase(slice_make(response->name, response->name_bytes),
                           SLICE("Retry-After")) &&
        !slice_parse_u64(slice_make(response->value, response->value_bytes),
                         &response->retry_after_s)) {
        response->retry_after_s = 0;
    }
    response->name_bytes = 0;
    response->value_bytes = 0;
    return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t count)
{
    struct response *response = parser->data;
    size_t kept = MIN_OF(count, sizeof(response->body) - response->body_bytes);
    memcpy(response->body + response->body_bytes, at, kept);
    response->body_bytes += kept;
    return 0;
}

/* Paused, so that no byte behind is taken. */
static int on_whole(llhttp_t *parser)
{
    struct response *response = parser->data;
    response->code = parser->status_code;
    response->close = !llhttp_should_keep_alive(parser);
    response->whole = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_body = on_body,
    .on_message_complete = on_whole,
};

/* --- the whole -------------------------------------------------------------------------------- */

void response_begin(struct response *response)
{
    llhttp_init(&response->parser, HTTP_RESPONSE, &settings);
    response->parser.data = response;
    response->code = 0;
    response->retry_after_s = 0;
    response->close = false;
    response->body_bytes = 0;
    response->whole = false;
    response->name_bytes = 0;
    response->value_bytes = 0;
}

enum response_status response_feed(struct response *response, struct slice *input)
{
    const char *text = (const char *)input->data;
    llhttp_errno_t error = llhttp_execute(&response->parser, text, input->size);
    if (error == HPE_OK) {
        *input = slice_skip(*input, input->size);
        return RESPONSE_PARTIAL;
    }
    if (error != HPE_PAUSED || !response->whole) {
        return RESPONSE_FAULT;
    }
    *input = slice_skip(*input, (size_t)(llhttp_get_error_pos(&response->parser) - text));
    return RESPONSE_WHOLE;
}

bool response_number(const struct response *response, const char *name, uint64_t *value_out)
{
    char key[64];
    struct buf buf;
    buf_init(&buf, key, sizeof(key));
    buf_printf(&buf, "\"%s\":", name);
    struct slice body = slice_make(response->body, response->body_bytes);
    while (body.size > 0 && !slice_starts_with(body, buf_slice(&buf))) {
        body = slice_skip(body, 1);
    }
    body = slice_skip(body, MIN_OF(buf.size, body.size));
    size_t digits = 0;
    while (digits < body.size && body.data[digits] >= '0' && body.data[digits] <= '9') {
        digits++;
    }
    return digits > 0 && digits < body.size &&
           slice_parse_u64(slice_first(body, digits), value_out);
}
