/*
 * Three steps to a head: http_guard_byte looks at each byte as it comes, http_head_parse shows the
 * whole to llhttp, http_head_check decides what frames the body. The library has had holes that the
 * guard closes whatever its version: it took a CR alone in a value for the end of the line.
 */
#include "shard/io/http_codec.h"

#include <llhttp.h>

#include <assert.h>
#include <string.h>

#include "core/check.h"

static_assert(HTTP_HEAD_BYTES_MAX <= UINT16_MAX, "places in a head are 16 bits");

/* The library's own statuses and methods have other prefixes; these are ours to answer with. */
enum {
    STATUS_BAD_REQUEST = 400,
    STATUS_NOT_ALLOWED = 405,
    STATUS_TOO_LARGE = 413,
    STATUS_TARGET_TOO_LONG = 414,
    STATUS_EXPECTATION_FAILED = 417,
    STATUS_FIELDS_TOO_LARGE = 431,
    STATUS_NO_SUCH_METHOD = 501,
    STATUS_NO_SUCH_VERSION = 505,
};

static bool refuse(struct http_codec *codec, unsigned status, const char *reason)
{
    codec->state = HTTP_CODEC_REFUSED;
    codec->status = (uint16_t)status;
    codec->reason = reason;
    return false;
}

/* tchar of RFC 9110 5.6.2. */
static bool is_token(uint8_t byte)
{
    bool digit = byte >= '0' && byte <= '9';
    bool letter = ascii_lower(byte) >= 'a' && ascii_lower(byte) <= 'z';
    return digit || letter || (byte != '\0' && strchr("!#$%&'*+-.^_`|~", byte) != NULL);
}

/* --- the guard ------------------------------------------------------------------------------ */

static bool guard_first(struct http_codec *codec, uint8_t byte)
{
    struct http_guard *guard = &codec->guard;
    guard->empty = byte == '\r';
    if (guard->empty) {
        guard->state = HTTP_GUARD_CR;
        return true;
    }
    if (guard->begun && (byte == ' ' || byte == '\t')) {
        return refuse(codec, STATUS_BAD_REQUEST, "A folded header line");
    }
    if (!is_token(byte)) {
        return refuse(codec, STATUS_BAD_REQUEST, "A line that begins with no name");
    }
    if (++guard->lines > HTTP_FIELDS_MAX + 1) {
        return refuse(codec, STATUS_FIELDS_TOO_LARGE, "Too many header fields");
    }
    guard->state = guard->begun ? HTTP_GUARD_NAME : HTTP_GUARD_TEXT;
    guard->begun = true;
    return true;
}

static bool guard_text(struct http_codec *codec, uint8_t byte)
{
    struct http_guard *guard = &codec->guard;
    bool request_line = guard->lines == 1;
    if (byte == '\r') {
        guard->state = HTTP_GUARD_CR;
        return true;
    }
    if ((byte < ' ' && (byte != '\t' || request_line)) || byte == 0x7F) {
        return refuse(codec, STATUS_BAD_REQUEST, "A control character");
    }
    return !request_line || byte < 0x80 ||
           refuse(codec, STATUS_BAD_REQUEST, "A request line that is not ASCII");
}

/* One byte of a line of the head or the trailers. False: refused. */
static bool guard_byte(struct http_codec *codec, uint8_t byte)
{
    struct http_guard *guard = &codec->guard;
    switch ((enum http_guard_state)guard->state) {
    case HTTP_GUARD_LINE:
        return guard_first(codec, byte);
    case HTTP_GUARD_NAME:
        if (byte == ':') {
            guard->state = HTTP_GUARD_TEXT;
            return true;
        }
        return is_token(byte) || refuse(codec, STATUS_BAD_REQUEST, "A bad header name");
    case HTTP_GUARD_TEXT:
        return guard_text(codec, byte);
    case HTTP_GUARD_CR:
        guard->state = HTTP_GUARD_LINE;
        return byte == '\n' || refuse(codec, STATUS_BAD_REQUEST, "CR without LF");
    }
    CHECK(false);
}

/* Has an empty line just ended? */
static bool guard_ended(const struct http_guard *guard)
{
    return guard->state == HTTP_GUARD_LINE && guard->empty;
}

/* --- what llhttp finds ---------------------------------------------------------------------- */

struct reading {
    struct http_head *head;
    struct slice target;
    bool complete;
};

static uint16_t place(const struct http_head *head, const void *at)
{
    size_t offset = (size_t)((const uint8_t *)at - head->bytes);
    CHECK(offset <= HTTP_HEAD_BYTES_MAX);
    return (uint16_t)offset;
}

static int found_target(llhttp_t *parser, const char *at, size_t size)
{
    ((struct reading *)parser->data)->target = slice_make(at, size);
    return 0;
}

static int found_name(llhttp_t *parser, const char *at, size_t size)
{
    struct http_head *head = ((struct reading *)parser->data)->head;
    if (head->field_count == HTTP_FIELDS_MAX) {
        return -1;
    }
    head->fields[head->field_count] =
        (struct http_field){.name = place(head, at), .name_bytes = (uint16_t)size};
    return 0;
}

static int found_value(llhttp_t *parser, const char *at, size_t size)
{
    struct http_head *head = ((struct reading *)parser->data)->head;
    struct slice value = slice_trim(slice_make(at, size));
    struct http_field *field = &head->fields[head->field_count];
    field->value = value.size > 0 ? place(head, value.data) : 0;
    field->value_bytes = (uint16_t)value.size;
    return 0;
}

static int found_field(llhttp_t *parser)
{
    ((struct reading *)parser->data)->head->field_count++;
    return 0;
}

static int found_all(llhttp_t *parser)
{
    ((struct reading *)parser->data)->complete = true;
    return 0;
}

/*
 * The head ends with its empty line, so one call reads it all and nothing is called back in parts.
 * What llhttp and the guard count differently is refused.
 */
static bool head_read(const struct http_codec *codec, struct http_head *head, struct slice target)
{
    struct reading reading = {.head = head};
    llhttp_settings_t settings;
    llhttp_t parser;
    llhttp_settings_init(&settings);
    settings.on_url = found_target;
    settings.on_header_field = found_name;
    settings.on_header_value = found_value;
    settings.on_header_value_complete = found_field;
    settings.on_headers_complete = found_all;
    llhttp_init(&parser, HTTP_REQUEST, &settings);
    parser.data = &reading;
    head->field_count = 0;
    llhttp_errno_t error = llhttp_execute(&parser, (const char *)head->bytes, head->size);
    /* It stops where another protocol may begin: that is to be the end of the head. */
    const char *end = (const char *)head->bytes + head->size;
    bool read = error == HPE_OK ||
                (error == HPE_PAUSED_UPGRADE && llhttp_get_error_pos(&parser) == end);
    return read && reading.complete && slice_equal(reading.target, target) &&
           head->field_count + 1 == codec->guard.lines;
}

/* --- the request line ----------------------------------------------------------------------- */

static const struct {
    struct slice name;
    enum http_method method; /* 0: known, and never served */
} methods[] = {
    {{(const uint8_t *)"GET", 3}, HTTP_METHOD_GET},
    {{(const uint8_t *)"HEAD", 4}, HTTP_METHOD_HEAD},
    {{(const uint8_t *)"POST", 4}, HTTP_METHOD_POST},
    {{(const uint8_t *)"PUT", 3}, HTTP_METHOD_PUT},
    {{(const uint8_t *)"DELETE", 6}, HTTP_METHOD_DELETE},
    {{(const uint8_t *)"PATCH", 5}, HTTP_METHOD_PATCH},
    {{(const uint8_t *)"OPTIONS", 7}, HTTP_METHOD_OPTIONS},
    {{(const uint8_t *)"CONNECT", 7}, 0},
    {{(const uint8_t *)"TRACE", 5}, 0},
};

const char *http_method_name(enum http_method method)
{
    for (size_t i = 0; i < COUNT_OF(methods); i++) {
        if (methods[i].method == method) {
            return (const char *)methods[i].name.data;
        }
    }
    CHECK(false);
}

static bool set_method(struct http_codec *codec, struct http_head *head, struct slice name)
{
    for (size_t i = 0; i < COUNT_OF(methods); i++) {
        if (slice_equal(name, methods[i].name)) {
            head->method = (uint8_t)methods[i].method;
            return head->method != 0 ||
                   refuse(codec, STATUS_NOT_ALLOWED, "This server is no proxy");
        }
    }
    return refuse(codec, STATUS_NO_SUCH_METHOD, "An unknown method");
}

static bool set_version(struct http_codec *codec, struct http_head *head, struct slice version)
{
    const struct slice prefix = SLICE("HTTP/");
    bool form = version.size == prefix.size + 3 && slice_starts_with(version, prefix) &&
                version.data[6] == '.' && version.data[5] >= '0' && version.data[5] <= '9' &&
                version.data[7] >= '0' && version.data[7] <= '9';
    if (!form) {
        return refuse(codec, STATUS_BAD_REQUEST, "A request line without a version of HTTP");
    }
    head->minor = (uint8_t)(version.data[7] - '0');
    return (version.data[5] == '1' && head->minor <= 1) ||
           refuse(codec, STATUS_NO_SUCH_VERSION, "Only HTTP/1.0 and HTTP/1.1 are spoken here");
}

/* Origin form, "*" of OPTIONS, or absolute form, whose authority then is `authority_out`. */
static bool set_target(struct http_codec *codec, struct http_head *head, struct slice target,
                       struct slice *authority_out)
{
    const struct slice scheme = SLICE("http://");
    *authority_out = SLICE_NONE;
    if (target.size > HTTP_TARGET_BYTES_MAX) {
        return refuse(codec, STATUS_TARGET_TOO_LONG, "The target is too long");
    }
    if (target.size > scheme.size &&
        slice_equal_nocase(slice_first(target, scheme.size), scheme)) {
        target = slice_skip(target, scheme.size);
        size_t end = slice_find(target, '/');
        *authority_out = slice_first(target, end);
        target = end < target.size ? slice_skip(target, end) : SLICE("/");
    }
    bool asterisk = slice_equal(target, SLICE("*")) && head->method == HTTP_METHOD_OPTIONS;
    if (!asterisk && (target.size == 0 || target.data[0] != '/')) {
        return refuse(codec, STATUS_BAD_REQUEST, "A target that is no path");
    }
    if (slice_find(target, '#') < target.size) {
        return refuse(codec, STATUS_BAD_REQUEST, "A target with a fragment");
    }
    size_t mark = slice_find(target, '?');
    head->path = slice_first(target, mark);
    head->query = mark < target.size ? slice_skip(target, mark + 1) : SLICE_NONE;
    return true;
}

/* --- what frames the body ------------------------------------------------------------------- */

static bool set_host(struct http_codec *codec, struct http_head *head, struct slice authority)
{
    unsigned count = http_head_count(head, SLICE("Host"));
    head->host = SLICE_NONE;
    if (count > 1 || (count == 0 && head->minor > 0)) {
        return refuse(codec, STATUS_BAD_REQUEST, "Not one Host");
    }
    if (count == 1 && !http_head_field(head, SLICE("Host"), &head->host)) {
        return refuse(codec, STATUS_BAD_REQUEST, "Not one Host");
    }
    for (size_t i = 0; i < head->host.size; i++) {
        uint8_t byte = head->host.data[i];
        if (byte <= ' ' || byte >= 0x7F || strchr("/?#@\\,;\"<>", byte) != NULL) {
            return refuse(codec, STATUS_BAD_REQUEST, "A bad Host");
        }
    }
    return authority.size == 0 || slice_equal_nocase(authority, head->host) ||
           refuse(codec, STATUS_BAD_REQUEST, "Host and target differ");
}

static bool set_framing(struct http_codec *codec, struct http_head *head)
{
    const struct slice length_name = SLICE("Content-Length");
    const struct slice coding_name = SLICE("Transfer-Encoding");
    unsigned lengths = http_head_count(head, length_name);
    unsigned codings = http_head_count(head, coding_name);
    struct slice value;
    head->length = 0;
    head->chunked = codings > 0;
    if (lengths + codings > 1) {
        return refuse(codec, STATUS_BAD_REQUEST, "More than one length of the body");
    }
    if (lengths == 1) {
        bool valid = http_head_field(head, length_name, &value) && value.size > 0 &&
                     slice_parse_u64(value, &head->length) && head->length <= INT64_MAX;
        return valid || refuse(codec, STATUS_BAD_REQUEST, "A bad Content-Length");
    }
    if (codings == 1) {
        bool valid = http_head_field(head, coding_name, &value) && head->minor > 0 &&
                     slice_equal_nocase(value, SLICE("chunked"));
        return valid || refuse(codec, STATUS_BAD_REQUEST, "A bad Transfer-Encoding");
    }
    return true;
}

/* Is `token` one of the elements of all fields of that name? */
static bool has_token(const struct http_head *head, struct slice name, struct slice token)
{
    for (unsigned i = 0; i < head->field_count; i++) {
        const struct http_field *field = &head->fields[i];
        if (!slice_equal_nocase(slice_make(head->bytes + field->name, field->name_bytes), name)) {
            continue;
        }
        struct slice rest = slice_make(head->bytes + field->value, field->value_bytes);
        while (rest.size > 0) {
            size_t comma = slice_find(rest, ',');
            if (slice_equal_nocase(slice_trim(slice_first(rest, comma)), token)) {
                return true;
            }
            rest = slice_skip(rest, MIN_OF(comma + 1, rest.size));
        }
    }
    return false;
}

/* The one protocol that may be asked for; any other is refused, not ignored (H-04). */
static bool asks_for_websocket(const struct http_head *head)
{
    struct slice value;
    return head->method == HTTP_METHOD_GET && head->minor > 0 && !head->chunked &&
           head->length == 0 && !head->expects &&
           http_head_field(head, SLICE("Upgrade"), &value) &&
           slice_equal_nocase(value, SLICE("websocket")) &&
           has_token(head, SLICE("Connection"), SLICE("upgrade"));
}

static bool set_wishes(struct http_codec *codec, struct http_head *head)
{
    struct slice value;
    unsigned expectations = http_head_count(head, SLICE("Expect"));
    head->close = head->minor == 0 ? !has_token(head, SLICE("Connection"), SLICE("keep-alive"))
                                   : has_token(head, SLICE("Connection"), SLICE("close"));
    head->expects = expectations > 0 && head->minor > 0;
    head->websocket = asks_for_websocket(head);
    if (http_head_count(head, SLICE("Upgrade")) > 0 && !head->websocket) {
        return refuse(codec, STATUS_BAD_REQUEST, "No other protocol is spoken here");
    }
    return expectations == 0 ||
           (http_head_field(head, SLICE("Expect"), &value) &&
            slice_equal_nocase(value, SLICE("100-continue"))) ||
           refuse(codec, STATUS_EXPECTATION_FAILED, "An unknown expectation");
}

/* The whole head is there, with its empty line. */
static bool head_check(struct http_codec *codec, struct http_head *head)
{
    struct slice line = slice_make(head->bytes, head->size);
    struct slice authority;
    line = slice_first(line, slice_find(line, '\r'));
    size_t first = slice_find(line, ' ');
    if (first == line.size) {
        return refuse(codec, STATUS_BAD_REQUEST, "A request line without a version of HTTP");
    }
    struct slice rest = slice_skip(line, first + 1);
    size_t second = slice_find(rest, ' ');
    struct slice target = slice_first(rest, second);
    struct slice version = second < rest.size ? slice_skip(rest, second + 1) : SLICE_NONE;
    if (!set_version(codec, head, version) ||
        !set_method(codec, head, slice_first(line, first)) ||
        !set_target(codec, head, target, &authority)) {
        return false;
    }
    if (!head_read(codec, head, target)) {
        return refuse(codec, STATUS_BAD_REQUEST, "A malformed request");
    }
    return set_host(codec, head, authority) && set_framing(codec, head) &&
           set_wishes(codec, head);
}

/* --- the head ------------------------------------------------------------------------------- */

static enum http_step head_whole(struct http_codec *codec, struct http_head *head)
{
    if (!head_check(codec, head)) {
        return HTTP_STEP_REFUSED;
    }
    codec->guard = (struct http_guard){.begun = true, .lines = 1}; /* for trailers */
    codec->left = head->length;
    codec->line_bytes = 0;
    if (head->chunked) {
        codec->state = HTTP_CODEC_CHUNK_SIZE;
        codec->left = 0;
    } else {
        codec->state = head->length > 0 ? HTTP_CODEC_COUNTED : HTTP_CODEC_ENDED;
    }
    return HTTP_STEP_HEAD;
}

static bool head_too_large(struct http_codec *codec, const struct http_head *head)
{
    if (codec->guard.lines == 1 && codec->guard.state == HTTP_GUARD_TEXT &&
        head->size > HTTP_TARGET_BYTES_MAX + HTTP_CHUNK_LINE_MAX) {
        return !refuse(codec, STATUS_TARGET_TOO_LONG, "The request line is too long");
    }
    return head->size == HTTP_HEAD_BYTES_MAX &&
           !refuse(codec, STATUS_FIELDS_TOO_LARGE, "The header is too large");
}

static size_t head_feed(struct http_codec *codec, struct http_head *head, struct slice input,
                        enum http_step *step_out)
{
    struct http_guard *guard = &codec->guard;
    for (size_t i = 0; i < input.size; i++) {
        if (head_too_large(codec, head)) {
            *step_out = HTTP_STEP_REFUSED;
            return i;
        }
        if (head->size == head->capacity) {
            *step_out = HTTP_STEP_ROOM;
            return i;
        }
        if (!guard_byte(codec, input.data[i])) {
            *step_out = HTTP_STEP_REFUSED;
            return i;
        }
        if (guard->begun) {
            head->bytes[head->size++] = input.data[i];
        }
        if (!guard_ended(guard)) {
            continue;
        }
        if (guard->begun) {
            *step_out = head_whole(codec, head);
            return i + 1;
        }
        if (guard->skipped) {
            (void)refuse(codec, STATUS_BAD_REQUEST, "Empty lines before the request");
            *step_out = HTTP_STEP_REFUSED;
            return i;
        }
        guard->skipped = true;
        guard->empty = false;
    }
    *step_out = HTTP_STEP_MORE;
    return input.size;
}

/* --- the body ------------------------------------------------------------------------------- */

/* A piece of what is counted: the body, or a chunk. */
static size_t count_feed(struct http_codec *codec, struct slice input, enum http_step *step_out,
                         struct slice *piece_out)
{
    size_t size = (size_t)MIN_OF((uint64_t)input.size, codec->left);
    *piece_out = slice_first(input, size);
    codec->left -= size;
    codec->body_bytes += size;
    if (codec->left == 0) {
        codec->state = codec->state == HTTP_CODEC_COUNTED ? HTTP_CODEC_ENDED
                                                          : HTTP_CODEC_CHUNK_END;
    }
    *step_out = HTTP_STEP_BODY;
    return size;
}

static bool chunk_size(struct http_codec *codec, uint8_t byte)
{
    int digit = ascii_hex_value(byte);
    if (digit >= 0) {
        if (++codec->line_bytes > 16) {
            return refuse(codec, STATUS_BAD_REQUEST, "A chunk's size is too long");
        }
        codec->left = codec->left << 4 | (uint64_t)digit;
        return true;
    }
    if (codec->line_bytes == 0 || (byte != '\r' && byte != ';')) {
        return refuse(codec, STATUS_BAD_REQUEST, "A bad chunk size");
    }
    codec->state = byte == '\r' ? HTTP_CODEC_CHUNK_LF : HTTP_CODEC_CHUNK_LINE;
    return true;
}

static bool chunk_extension(struct http_codec *codec, uint8_t byte)
{
    if (byte == '\r') {
        codec->state = HTTP_CODEC_CHUNK_LF;
        return true;
    }
    if ((byte < ' ' && byte != '\t') || byte >= 0x7F) {
        return refuse(codec, STATUS_BAD_REQUEST, "A control character in a chunk's line");
    }
    return ++codec->line_bytes <= HTTP_CHUNK_LINE_MAX ||
           refuse(codec, STATUS_TOO_LARGE, "A chunk's line is too long");
}

static bool chunk_begins(struct http_codec *codec, uint8_t byte)
{
    if (byte != '\n') {
        return refuse(codec, STATUS_BAD_REQUEST, "CR without LF");
    }
    codec->line_bytes = 0;
    codec->state = codec->left > 0 ? HTTP_CODEC_CHUNK_DATA : HTTP_CODEC_TRAILER;
    return codec->left <= codec->body_max - codec->body_bytes ||
           refuse(codec, STATUS_TOO_LARGE, "The body is too large");
}

static bool trailer_byte(struct http_codec *codec, uint8_t byte)
{
    if (++codec->trailer_bytes > HTTP_TRAILER_BYTES_MAX) {
        return refuse(codec, STATUS_FIELDS_TOO_LARGE, "The trailers are too large");
    }
    if (!guard_byte(codec, byte)) {
        return false;
    }
    if (guard_ended(&codec->guard)) {
        codec->state = HTTP_CODEC_ENDED;
    }
    return true;
}

/* A byte of what stands between the data of chunks. */
static bool frame_byte(struct http_codec *codec, uint8_t byte)
{
    switch ((enum http_codec_state)codec->state) {
    case HTTP_CODEC_CHUNK_SIZE:
        return chunk_size(codec, byte);
    case HTTP_CODEC_CHUNK_LINE:
        return chunk_extension(codec, byte);
    case HTTP_CODEC_CHUNK_LF:
        return chunk_begins(codec, byte);
    case HTTP_CODEC_CHUNK_END:
        codec->state = HTTP_CODEC_CHUNK_END_LF;
        return byte == '\r' || refuse(codec, STATUS_BAD_REQUEST, "A chunk longer than its size");
    case HTTP_CODEC_CHUNK_END_LF:
        codec->state = HTTP_CODEC_CHUNK_SIZE;
        return byte == '\n' || refuse(codec, STATUS_BAD_REQUEST, "A chunk longer than its size");
    case HTTP_CODEC_TRAILER:
        return trailer_byte(codec, byte);
    case HTTP_CODEC_HEAD:
    case HTTP_CODEC_COUNTED:
    case HTTP_CODEC_CHUNK_DATA:
    case HTTP_CODEC_ENDED:
    case HTTP_CODEC_REFUSED:
        break;
    }
    CHECK(false);
}

static size_t frame_feed(struct http_codec *codec, struct slice input, enum http_step *step_out)
{
    for (size_t i = 0; i < input.size; i++) {
        if (!frame_byte(codec, input.data[i])) {
            *step_out = HTTP_STEP_REFUSED;
            return i;
        }
        if (codec->state == HTTP_CODEC_CHUNK_DATA || codec->state == HTTP_CODEC_ENDED) {
            *step_out = codec->state == HTTP_CODEC_ENDED ? HTTP_STEP_END : HTTP_STEP_MORE;
            return i + 1;
        }
    }
    *step_out = HTTP_STEP_MORE;
    return input.size;
}

size_t http_codec_feed(struct http_codec *codec, struct http_head *head, struct slice input,
                       enum http_step *step_out, struct slice *piece_out)
{
    *piece_out = SLICE_NONE;
    switch ((enum http_codec_state)codec->state) {
    case HTTP_CODEC_HEAD:
        return head_feed(codec, head, input, step_out);
    case HTTP_CODEC_COUNTED:
    case HTTP_CODEC_CHUNK_DATA:
        if (input.size == 0) {
            *step_out = HTTP_STEP_MORE;
            return 0;
        }
        return count_feed(codec, input, step_out, piece_out);
    case HTTP_CODEC_CHUNK_SIZE:
    case HTTP_CODEC_CHUNK_LINE:
    case HTTP_CODEC_CHUNK_LF:
    case HTTP_CODEC_CHUNK_END:
    case HTTP_CODEC_CHUNK_END_LF:
    case HTTP_CODEC_TRAILER:
        return frame_feed(codec, input, step_out);
    case HTTP_CODEC_ENDED:
        *step_out = HTTP_STEP_END;
        return 0;
    case HTTP_CODEC_REFUSED:
        *step_out = HTTP_STEP_REFUSED;
        return 0;
    }
    CHECK(false);
}

bool http_codec_limit(struct http_codec *codec, uint64_t body_bytes_max)
{
    codec->body_max = body_bytes_max;
    return codec->left <= body_bytes_max ||
           refuse(codec, STATUS_TOO_LARGE, "The body is too large");
}

bool http_codec_idle(const struct http_codec *codec)
{
    return codec->state == HTTP_CODEC_HEAD && !codec->guard.begun;
}

void http_codec_init(struct http_codec *codec)
{
    *codec = (struct http_codec){.state = HTTP_CODEC_HEAD};
}

/* --- what stands in a head ------------------------------------------------------------------ */

void http_head_init(struct http_head *head, uint32_t capacity)
{
    head->size = 0;
    head->minor = 1; /* until it is known */
    head->capacity = MIN_OF(capacity, HTTP_HEAD_BYTES_MAX);
    head->field_count = 0;
}

void http_head_move(struct http_head *to, uint32_t capacity, const struct http_head *from)
{
    CHECK(capacity >= from->size);
    http_head_init(to, capacity);
    to->size = from->size;
    memcpy(to->bytes, from->bytes, from->size);
}

static struct slice field_name(const struct http_head *head, unsigned index)
{
    return slice_make(head->bytes + head->fields[index].name, head->fields[index].name_bytes);
}

static struct slice field_value(const struct http_head *head, unsigned index)
{
    return slice_make(head->bytes + head->fields[index].value, head->fields[index].value_bytes);
}

unsigned http_head_count(const struct http_head *head, struct slice name)
{
    unsigned count = 0;
    for (unsigned i = 0; i < head->field_count; i++) {
        count += slice_equal_nocase(field_name(head, i), name);
    }
    return count;
}

bool http_head_field(const struct http_head *head, struct slice name, struct slice *value_out)
{
    unsigned count = 0;
    for (unsigned i = 0; i < head->field_count; i++) {
        if (slice_equal_nocase(field_name(head, i), name)) {
            *value_out = field_value(head, i);
            count++;
        }
    }
    return count == 1;
}
