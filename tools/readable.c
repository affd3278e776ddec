#include "tools/readable.h"

#include <langinfo.h>
#include <locale.h>
#include <string.h>
#include <wchar.h>

#include "core/json.h"

#define PIECE_BYTES 1024u /* of a text, escaped at once */

void readable_init(void)
{
    /* Names are UTF-8 wherever we run; a login without a locale is common on servers. */
    if (setlocale(LC_CTYPE, "") == NULL || strcmp(nl_langinfo(CODESET), "UTF-8") != 0) {
        (void)setlocale(LC_CTYPE, "C.UTF-8");
    }
}

/* --- texts ------------------------------------------------------------------------------------ */

void readable_put(struct buf *buf, struct slice text)
{
    size_t start = buf->size;
    size_t to = start;
    json_put_string(buf, text);
    if (buf->overflow) {
        return;
    }
    /* Without the quotes around it, and with those inside as they are: nothing ends there. */
    for (size_t at = start + 1; at + 1 < buf->size; at++) {
        bool escapes = buf->data[at] == '\\';
        if (!escapes || buf->data[at + 1] != '"') {
            buf->data[to++] = buf->data[at];
        }
        if (escapes) {
            buf->data[to++] = buf->data[++at];
        }
    }
    buf->size = to;
}

/* Of a text, not more than `size` bytes, and no part of a character at the end. */
static size_t piece_of(struct slice text, size_t size)
{
    if (text.size <= size) {
        return text.size;
    }
    size_t end = size;
    while (end > size - 4 && (text.data[end] & 0xC0) == 0x80) {
        end--;
    }
    return end > size - 4 ? end : size;
}

void readable_print(FILE *out, struct slice text)
{
    uint8_t bytes[PIECE_BYTES * JSON_STRING_GROWTH + 2];
    struct buf buf;
    while (text.size > 0) {
        size_t size = piece_of(text, PIECE_BYTES);
        buf_init(&buf, bytes, sizeof(bytes));
        readable_put(&buf, slice_first(text, size));
        fwrite(buf.data, 1, buf.size, out);
        text = slice_skip(text, size);
    }
}

/* A line without its end. */
static void print_line(FILE *out, struct slice line)
{
    while (line.size > 0) {
        size_t tab = slice_find(line, '\t');
        readable_print(out, slice_first(line, tab));
        line = slice_skip(line, tab);
        if (line.size > 0) {
            fputc('\t', out);
            line = slice_skip(line, 1);
        }
    }
    fputc('\n', out);
}

void readable_lines(FILE *out, struct slice text)
{
    while (text.size > 0) {
        size_t end = slice_find(text, '\n');
        size_t size = end > 0 && end < text.size && text.data[end - 1] == '\r' ? end - 1 : end;
        print_line(out, slice_first(text, size));
        text = slice_skip(text, MIN_OF(end + 1, text.size));
    }
}

/* Bytes of the first character, or of what is none; `text` is not empty. */
static size_t character_bytes(struct slice text)
{
    size_t size = 1;
    while (size < MIN_OF(text.size, 4u) && (text.data[size] & 0xC0) == 0x80) {
        size++;
    }
    return size;
}

void readable_json(FILE *out, struct slice json)
{
    while (json.size > 0) {
        size_t size = character_bytes(json);
        uint8_t first = json.data[0];
        if (size == 1 && ((first >= ' ' && first < 0x7F) || first == '\n')) {
            fputc(first, out);
        } else {
            readable_print(out, slice_first(json, size));
        }
        if (json.size == size && first != '\n') {
            fputc('\n', out);
        }
        json = slice_skip(json, size);
    }
}

/* --- quantities ------------------------------------------------------------------------------- */

const char *readable_count(char out[READABLE_BYTES], uint64_t count)
{
    char digits[READABLE_BYTES];
    int size = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)count);
    size_t at = 0;
    for (int i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0) {
            out[at++] = ',';
        }
        out[at++] = digits[i];
    }
    out[at] = 0;
    return out;
}

const char *readable_duration(char out[READABLE_BYTES], uint64_t ms)
{
    static const struct {
        uint64_t ms;
        char name;
    } units[] = {{86400000, 'd'}, {3600000, 'h'}, {60000, 'm'}, {1000, 's'}};
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        unsigned long long whole = ms / units[i].ms;
        unsigned long long rest = 0;
        if (whole == 0) {
            continue;
        }
        if (i + 1 < COUNT_OF(units)) {
            rest = ms % units[i].ms / units[i + 1].ms;
        }
        if (rest > 0) {
            snprintf(out, READABLE_BYTES, "%llu%c %llu%c", whole, units[i].name, rest,
                     units[i + 1].name);
        } else {
            snprintf(out, READABLE_BYTES, "%llu%c", whole, units[i].name);
        }
        return out;
    }
    snprintf(out, READABLE_BYTES, "%llums", (unsigned long long)ms);
    return out;
}

const char *readable_size(char out[READABLE_BYTES], uint64_t bytes)
{
    static const char *const units[] = {"", " KiB", " MiB", " GiB", " TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < COUNT_OF(units)) {
        value /= 1024;
        unit++;
    }
    snprintf(out, READABLE_BYTES, unit == 0 ? "%.0f%s" : "%.1f%s", value, units[unit]);
    return out;
}

const char *readable_rate(char out[READABLE_BYTES], double per_second)
{
    if (per_second < 99.95) {
        snprintf(out, READABLE_BYTES, "%.1f", per_second);
    } else {
        readable_count(out, (uint64_t)(per_second + 0.5));
    }
    return out;
}

/* --- widths ----------------------------------------------------------------------------------- */

/* Bytes of the first character of `text`, which is not empty; its columns. */
static size_t character(struct slice text, unsigned *columns_out)
{
    wchar_t wide = 0;
    mbstate_t state = {0};
    size_t size = mbrtowc(&wide, (const char *)text.data, text.size, &state);
    if (size == 0 || size > text.size) { /* no character: it counts as one */
        *columns_out = 1;
        return 1;
    }
    int columns = wcwidth(wide);
    *columns_out = columns < 0 ? 1 : (unsigned)columns;
    return size;
}

unsigned readable_width(struct slice text)
{
    unsigned width = 0;
    while (text.size > 0) {
        unsigned columns;
        text = slice_skip(text, character(text, &columns));
        width += columns;
    }
    return width;
}

size_t readable_fit(struct slice text, unsigned columns)
{
    size_t fits = 0;
    while (fits < text.size) {
        unsigned width;
        size_t size = character(slice_skip(text, fits), &width);
        if (width > columns) {
            break;
        }
        columns -= width;
        fits += size;
    }
    return fits;
}
