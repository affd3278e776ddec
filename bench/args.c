#include "bench/args.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Decimal digits, commas between them allowed. */
static bool parse_number(const char *text, uint64_t *value_out)
{
    char digits[32];
    size_t size = 0;
    for (const char *at = text; *at != 0; at++) {
        if (*at == ',' && at != text) {
            continue;
        }
        if (size == sizeof(digits)) {
            return false;
        }
        digits[size++] = *at;
    }
    return slice_parse_u64(slice_make(digits, size), value_out);
}

static bool parse_percent(const char *text, uint64_t *per_mille_out)
{
    struct slice value = slice_from_string(text);
    if (slice_ends_with(value, SLICE("%"))) {
        value = slice_first(value, value.size - 1);
    }
    size_t point = slice_find(value, '.');
    uint64_t tenth = 0;
    if (point < value.size) {
        struct slice fraction = slice_skip(value, point + 1);
        if (fraction.size != 1 || !slice_parse_u64(fraction, &tenth)) {
            return false;
        }
        value = slice_first(value, point);
    }
    uint64_t whole = 0;
    if (!slice_parse_u64(value, &whole) || whole > 100) {
        return false;
    }
    *per_mille_out = whole * 10 + tenth;
    return *per_mille_out <= 1000;
}

static bool arg_set(const struct arg *arg, const char *text)
{
    switch (arg->kind) {
    case ARG_FLAG:
        *(bool *)arg->value = true;
        return true;
    case ARG_U64:
        return parse_number(text, arg->value);
    case ARG_TEXT:
        *(const char **)arg->value = text;
        return true;
    case ARG_PERCENT:
        return parse_percent(text, arg->value);
    }
    return false;
}

static const struct arg *arg_find(const struct arg *table, size_t table_count, struct slice name)
{
    for (size_t i = 0; i < table_count; i++) {
        if (slice_equal(name, slice_from_string(table[i].name))) {
            return &table[i];
        }
    }
    return NULL;
}

static bool arg_in_limits(const struct arg *arg, struct buf *reason)
{
    if (arg->kind != ARG_U64) {
        return true;
    }
    uint64_t value = *(const uint64_t *)arg->value;
    if (value < arg->min || value > arg->max) {
        buf_printf(reason, "%s: %" PRIu64 " to %" PRIu64, arg->name, arg->min, arg->max);
        return false;
    }
    return true;
}

bool args_parse(const struct arg *table, size_t table_count, int argc, char **argv,
                struct buf *reason_out)
{
    for (int i = 0; i < argc; i++) {
        struct slice word = slice_from_string(argv[i]);
        size_t equals = slice_find(word, '=');
        const struct arg *arg = arg_find(table, table_count, slice_first(word, equals));
        if (arg == NULL) {
            buf_printf(reason_out, "unknown option %s", argv[i]);
            return false;
        }
        const char *text = equals < word.size ? argv[i] + equals + 1 : NULL;
        if (arg->kind != ARG_FLAG && text == NULL && i + 1 < argc) {
            text = argv[++i];
        }
        if ((arg->kind != ARG_FLAG && text == NULL) || !arg_set(arg, text)) {
            buf_printf(reason_out, "%s wants %s", arg->name, arg->help);
            return false;
        }
        if (!arg_in_limits(arg, reason_out)) {
            return false;
        }
    }
    return true;
}

/* " (4096)", " (0.5%)", " (pipelined)"; nothing for what is 0, empty or a flag. */
static void print_default(const struct arg *arg)
{
    if (arg->kind == ARG_TEXT) {
        const char *text = *(const char *const *)arg->value;
        if (text != NULL && text[0] != 0) {
            printf(" (%s)", text);
        }
        return;
    }
    uint64_t value = arg->kind == ARG_FLAG ? 0 : *(const uint64_t *)arg->value;
    if (value == 0) {
        return;
    }
    if (arg->kind == ARG_U64) {
        printf(" (%" PRIu64 ")", value);
    } else if (value % 10 == 0) {
        printf(" (%" PRIu64 "%%)", value / 10);
    } else {
        printf(" (%" PRIu64 ".%" PRIu64 "%%)", value / 10, value % 10);
    }
}

void args_help(const struct arg *table, size_t table_count)
{
    for (size_t i = 0; i < table_count; i++) {
        printf("  %-15s %s", table[i].name, table[i].help);
        print_default(&table[i]);
        printf("\n");
    }
}

bool args_want_help(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

bool args_read_file(const char *path, size_t bytes_max, char **text_out, size_t *size_out,
                    struct buf *reason_out)
{
    FILE *file = fopen(path, "re");
    char *text = malloc(bytes_max + 1);
    if (file == NULL || text == NULL) {
        buf_printf(reason_out, "%s: %s", path, strerror(errno));
        if (file != NULL) {
            (void)fclose(file);
        }
        free(text);
        return false;
    }
    size_t size = fread(text, 1, bytes_max + 1, file);
    bool whole = ferror(file) == 0 && size <= bytes_max;
    (void)fclose(file);
    if (!whole) {
        buf_printf(reason_out, "%s: cannot be read, or has more than %zu bytes", path, bytes_max);
        free(text);
        return false;
    }
    *text_out = text;
    *size_out = size;
    return true;
}
