#include "smtp/http_console.h"

#include "core/check.h"

#define TAG_BYTES_MAX 64

/* RFC 9110 8.4.1, 12.5.3; what is beside is 15.4.5's, or keeps the page to itself. */
#define FIELDS                                                                                     \
    "Vary: Accept-Encoding\r\n"                                                                    \
    "Cache-Control: no-cache\r\n"                                                                  \
    "Referrer-Policy: no-referrer\r\n"                                                             \
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "           \
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "                    \
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'\r\n"

static const struct console_file *file_of(struct slice path)
{
    for (size_t i = 0; i < console_file_count; i++) {
        if (slice_equal(path, slice_from_string(console_files[i].path))) {
            return &console_files[i];
        }
    }
    return NULL;
}

/* The next item of a list with commas; false: there is none. */
static bool next_item(struct slice *list, struct slice *item_out)
{
    if (list->size == 0) {
        return false;
    }
    size_t end = slice_find(*list, ',');
    *item_out = slice_trim(slice_first(*list, end));
    *list = slice_skip(*list, end < list->size ? end + 1 : end);
    return true;
}

/* Is a weight of 0 given, "q=0" or "q=0.000" (RFC 9110 12.4.2)? */
static bool is_refused(struct slice parameters)
{
    struct slice weight = slice_trim(parameters);
    if (weight.size < 3 || !slice_equal_nocase(slice_first(weight, 2), SLICE("q="))) {
        return false;
    }
    for (size_t i = 2; i < weight.size; i++) {
        if (weight.data[i] != '0' && weight.data[i] != '.') {
            return false;
        }
    }
    return true;
}

static bool takes_gzip(const struct http_head *head)
{
    struct slice list = SLICE_NONE;
    struct slice item = SLICE_NONE;
    if (!http_head_field(head, SLICE("Accept-Encoding"), &list)) {
        return false;
    }
    while (next_item(&list, &item)) {
        size_t end = slice_find(item, ';');
        if (slice_equal_nocase(slice_trim(slice_first(item, end)), SLICE("gzip"))) {
            return end == item.size || !is_refused(slice_skip(item, end + 1));
        }
    }
    return false;
}

/* Has the client what `tag` names (RFC 9110 13.1.2)? Weak and strong ones are compared alike. */
static bool has_it(const struct http_head *head, struct slice tag)
{
    struct slice list = SLICE_NONE;
    struct slice item = SLICE_NONE;
    if (!http_head_field(head, SLICE("If-None-Match"), &list)) {
        return false;
    }
    while (next_item(&list, &item)) {
        if (slice_starts_with(item, SLICE("W/"))) {
            item = slice_skip(item, 2);
        }
        if (slice_equal(item, tag) || slice_equal(item, SLICE("*"))) {
            return true;
        }
    }
    return false;
}

void http_console(struct http_exchange *exchange)
{
    const struct console_file *file = file_of(exchange->head->path);
    uint8_t tag_memory[TAG_BYTES_MAX];
    uint8_t memory[HTTP_ANSWER_FIELDS_MAX];
    struct buf tag;
    struct buf fields;
    CHECK(file != NULL); /* a route of its own has led here */
    bool gzip = takes_gzip(exchange->head);
    buf_init(&tag, tag_memory, sizeof(tag_memory));
    buf_printf(&tag, "\"%s%s\"", file->tag, gzip ? "-gzip" : "");
    buf_init(&fields, memory, sizeof(memory));
    buf_printf(&fields, "ETag: %.*s\r\n", (int)tag.size, (const char *)tag.data);
    buf_put(&fields, SLICE(FIELDS));
    if (has_it(exchange->head, buf_slice(&tag))) {
        CHECK(!fields.overflow);
        http_answer_fields(exchange, 304, SLICE_NONE, buf_slice(&fields), SLICE_NONE);
        return;
    }
    if (gzip) {
        buf_put(&fields, SLICE("Content-Encoding: gzip\r\n"));
    }
    CHECK(!fields.overflow);
    http_answer_fields(exchange, 200, slice_from_string(file->type), buf_slice(&fields),
                       gzip ? file->gzip : file->plain);
}
