#include "bench/body.h"

#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "core/check.h"
#include "core/prng.h"

#define WINDOW_LINES 1009u /* where bodies may begin; a prime */
#define TEXT_SEED    20260101u

#define NUMBER_DIGITS 10
#define SIZE_DIGITS   8
#define HASH_DIGITS   16
#define LINE_OF_FIELD (sizeof(BODY_FIELD) - 1 + NUMBER_DIGITS + 1 + SIZE_DIGITS + 1 + HASH_DIGITS)

enum stage { STAGE_HEADER, STAGE_HASH, STAGE_FOREIGN };

static const char letters[] = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ,0123456789";

/* --- making ----------------------------------------------------------------------------------- */

bool body_maker_init(struct body_maker *maker, size_t size)
{
    CHECK(size >= BODY_SIZE_MIN && size <= BODY_SIZE_MAX);
    size_t lines = WINDOW_LINES + size / BODY_LINE_BYTES + 1;
    *maker = (struct body_maker){
        .text = malloc(lines * BODY_LINE_BYTES),
        .lines = WINDOW_LINES,
        .size = size,
        .state = XXH3_createState(),
    };
    if (maker->text == NULL || maker->state == NULL) {
        body_maker_fini(maker);
        return false;
    }
    struct prng prng;
    prng_seed(&prng, TEXT_SEED);
    for (size_t i = 0; i < lines * BODY_LINE_BYTES; i++) {
        maker->text[i] = (uint8_t)letters[prng_next(&prng) % (sizeof(letters) - 1)];
    }
    for (size_t line = 0; line < lines; line++) {
        memcpy(maker->text + (line + 1) * BODY_LINE_BYTES - 2, "\r\n", 2);
    }
    return true;
}

void body_maker_fini(struct body_maker *maker)
{
    free(maker->text);
    (void)XXH3_freeState(maker->state);
    *maker = (struct body_maker){0};
}

/* Subject is as long as is needed for whole lines to follow. */
static void put_fields(struct buf *buf, uint64_t number, size_t size)
{
    buf_put_string(buf, "From: <bench@source.test>\r\nTo: <bench@sink.test>\r\n"
                        "Date: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <");
    buf_put_padded(buf, number, NUMBER_DIGITS);
    buf_put_string(buf, "@bench.source.test>\r\nSubject: ");
    size_t without = LINE_OF_FIELD + 2 + buf->size + 4;
    size_t padding = (size - without - 1) % BODY_LINE_BYTES + 1;
    for (size_t i = 0; i < padding; i++) {
        buf_put_byte(buf, '-');
    }
    buf_put_string(buf, "\r\n\r\n");
}

void body_put_values(struct buf *buf, uint64_t number, uint64_t size, uint64_t hash)
{
    XXH64_canonical_t canonical;
    XXH64_canonicalFromHash(&canonical, hash);
    buf_put_padded(buf, number, NUMBER_DIGITS);
    buf_put_byte(buf, ' ');
    buf_put_padded(buf, size, SIZE_DIGITS);
    buf_put_byte(buf, ' ');
    buf_put_hex(buf, slice_make(canonical.digest, sizeof(canonical.digest)));
}

uint64_t body_make(struct body_maker *maker, uint64_t number, uint8_t *header,
                   struct slice *header_out, struct slice *lines_out)
{
    struct buf fields;
    buf_init(&fields, header + LINE_OF_FIELD + 2, BODY_HEADER_BYTES_MAX - LINE_OF_FIELD - 2);
    put_fields(&fields, number, maker->size);
    size_t header_bytes = LINE_OF_FIELD + 2 + fields.size;
    CHECK(!fields.overflow && header_bytes <= maker->size);
    size_t begin = (size_t)(number * 257 % maker->lines);
    *lines_out =
        slice_make(maker->text + begin * BODY_LINE_BYTES, maker->size - header_bytes);
    XXH3_64bits_reset_withSeed(maker->state, number);
    XXH3_64bits_update(maker->state, fields.data, fields.size);
    XXH3_64bits_update(maker->state, lines_out->data, lines_out->size);
    uint64_t hash = XXH3_64bits_digest(maker->state);
    struct buf first;
    buf_init(&first, header, LINE_OF_FIELD + 2);
    buf_put_string(&first, BODY_FIELD);
    body_put_values(&first, number, maker->size, hash);
    buf_put_string(&first, "\r\n");
    CHECK(!first.overflow && first.size == LINE_OF_FIELD + 2);
    *header_out = slice_make(header, header_bytes);
    return hash;
}

/* --- checking --------------------------------------------------------------------------------- */

bool body_check_init(struct body_check *check)
{
    *check = (struct body_check){.state = XXH3_createState()};
    return check->state != NULL;
}

void body_check_fini(struct body_check *check)
{
    (void)XXH3_freeState(check->state);
    check->state = NULL;
}

void body_check_begin(struct body_check *check)
{
    check->number = 0;
    check->size = 0;
    check->hash = 0;
    check->seen = 0;
    check->stage = STAGE_HEADER;
    check->line_size = 0;
}

static bool parse_hash(struct slice digits, uint64_t *hash_out)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < digits.size; i++) {
        uint8_t digit = digits.data[i];
        if (digit >= '0' && digit <= '9') {
            hash = hash << 4 | (uint64_t)(digit - '0');
        } else if (digit >= 'a' && digit <= 'f') {
            hash = hash << 4 | (uint64_t)(digit - 'a' + 10);
        } else {
            return false;
        }
    }
    *hash_out = hash;
    return true;
}

/* `line` with its line end, whole unless it is longer than any line of ours. */
static bool parse_field(struct body_check *check, struct slice line)
{
    if (line.size != LINE_OF_FIELD + 2 || !slice_starts_with(line, SLICE(BODY_FIELD))) {
        return false;
    }
    struct slice values = slice_skip(line, sizeof(BODY_FIELD) - 1);
    struct slice number = slice_first(values, NUMBER_DIGITS);
    struct slice size = slice_first(slice_skip(values, NUMBER_DIGITS + 1), SIZE_DIGITS);
    struct slice hash =
        slice_first(slice_skip(values, NUMBER_DIGITS + SIZE_DIGITS + 2), HASH_DIGITS);
    bool spaced = number.data[NUMBER_DIGITS] == ' ' && size.data[SIZE_DIGITS] == ' ';
    return spaced && slice_ends_with(line, SLICE("\r\n")) &&
           slice_parse_u64(number, &check->number) &&
           slice_parse_u64(size, &check->size) && parse_hash(hash, &check->hash);
}

static void line_end(struct body_check *check)
{
    struct slice line = slice_make(check->line, check->line_size);
    if (check->line_size > sizeof(check->line)) {
        return; /* longer than any of ours */
    }
    if (parse_field(check, line)) {
        check->stage = STAGE_HASH;
        check->seen = line.size;
        XXH3_64bits_reset_withSeed(check->state, check->number);
    } else if (line.size <= 2) {
        check->stage = STAGE_FOREIGN;
    }
}

static void feed_header(struct body_check *check, struct slice *bytes)
{
    size_t at = slice_find(*bytes, '\n');
    size_t count = at < bytes->size ? at + 1 : at;
    for (size_t i = 0; i < count; i++) {
        if (check->line_size < sizeof(check->line)) {
            check->line[check->line_size] = bytes->data[i];
        }
        check->line_size += check->line_size <= sizeof(check->line);
    }
    if (at < bytes->size) {
        line_end(check);
        check->line_size = 0;
    }
    *bytes = slice_skip(*bytes, count);
}

void body_check_feed(struct body_check *check, struct slice bytes)
{
    while (bytes.size > 0 && check->stage == STAGE_HEADER) {
        feed_header(check, &bytes);
    }
    if (check->stage == STAGE_HASH && bytes.size > 0) {
        XXH3_64bits_update(check->state, bytes.data, bytes.size);
        check->seen += bytes.size;
    }
}

enum body_verdict body_check_end(struct body_check *check)
{
    if (check->stage != STAGE_HASH) {
        return BODY_FOREIGN;
    }
    if (check->seen != check->size || XXH3_64bits_digest(check->state) != check->hash) {
        return BODY_DIFFERS;
    }
    return BODY_GOOD;
}
