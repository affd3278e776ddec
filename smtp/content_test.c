/*
 * The pass is compared with a reference that has no states: it searches the whole wire text for the
 * end mark, cuts it at CRLF and looks at the lines. Input pieces stand in memory of exactly their
 * size, so that the address sanitizer sees any read beyond them.
 */
#include "smtp/content.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "smtp/limits.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES_MAX 20000
#define POOL_BYTES     (16 * MIB)

struct reference {
    bool ended;
    size_t consumed;
    uint64_t size;
    enum content_fault fault;
    uint32_t received_count;
    uint64_t header_bytes;
    size_t body_bytes;
    size_t dot_count;
    uint8_t body[TEXT_BYTES_MAX];
    uint32_t dots[TEXT_BYTES_MAX / 3];
};

struct bench {
    struct block_pool *pool;
    XXH3_state_t *hash;
    struct reference expected;
};

static const enum content_kernel kernels[] = {CONTENT_SCALAR, CONTENT_AVX2};

static size_t find(struct slice text, size_t from, struct slice needle)
{
    for (size_t at = from; at + needle.size <= text.size; at++) {
        if (memcmp(text.data + at, needle.data, needle.size) == 0) {
            return at;
        }
    }
    return text.size;
}

static bool has_bare(struct slice text, bool whole)
{
    for (size_t i = 0; i < text.size; i++) {
        bool last = i + 1 == text.size;
        if (text.data[i] == '\r' && (last ? whole : text.data[i + 1] != '\n')) {
            return true;
        }
        if (text.data[i] == '\n' && (i == 0 || text.data[i - 1] != '\r')) {
            return true;
        }
    }
    return false;
}

static bool is_received(struct slice line)
{
    size_t colon = slice_find(line, ':');
    return colon < line.size &&
           slice_equal_nocase(slice_trim(slice_first(line, colon)), SLICE("received")) &&
           line.data[0] != ' ' && line.data[0] != '\t';
}

/* `lines` is the content on the wire without the end mark. */
static void reference_lines(struct reference *ref, struct slice lines, bool unstuff, bool whole)
{
    bool header = true;
    size_t longest = 0;
    for (size_t at = 0; at < lines.size;) {
        size_t end = find(lines, at, SLICE("\r\n"));
        bool open = end == lines.size;
        struct slice line = slice_make(lines.data + at, (open ? end : end + 2) - at);
        at += line.size;
        bool dot = line.data[0] == '.';
        if (dot && unstuff) {
            if (open && !whole && (line.size == 1 || (line.size == 2 && line.data[1] == '\r'))) {
                return;
            }
            line = slice_skip(line, 1);
            dot = line.data[0] == '.';
        }
        if (dot) {
            ref->dots[ref->dot_count++] = (uint32_t)ref->body_bytes;
        }
        memcpy(ref->body + ref->body_bytes, line.data, line.size);
        ref->body_bytes += line.size;
        if (header) {
            ref->header_bytes = ref->body_bytes;
            ref->received_count += is_received(line);
            header = !slice_equal(line, SLICE("\r\n"));
        }
        bool half_open = open && line.data[line.size - 1] == '\r';
        longest = MAX_OF(longest, line.size - (open ? half_open : 2));
        ref->size = ref->body_bytes;
        if (ref->fault == CONTENT_OK && longest > CONTENT_LINE_BYTES_MAX) {
            ref->fault = CONTENT_LONG_LINE;
        }
    }
}

static void reference_run(struct reference *ref, struct slice wire, bool unstuff, uint64_t size_max)
{
    memset(ref, 0, offsetof(struct reference, body));
    struct slice lines = wire;
    ref->consumed = wire.size;
    if (unstuff && slice_starts_with(wire, SLICE(".\r\n"))) {
        ref->ended = true;
        ref->consumed = 3;
        lines = SLICE_NONE;
    } else if (unstuff) {
        size_t at = find(wire, 0, SLICE("\r\n.\r\n"));
        if (at < wire.size) {
            ref->ended = true;
            ref->consumed = at + 5;
            lines = slice_first(wire, at + 2);
        }
    }
    bool whole = ref->ended || !unstuff;
    reference_lines(ref, lines, unstuff, whole);
    if (has_bare(lines, whole)) {
        ref->fault = CONTENT_BARE_CR_LF;
    }
    if (ref->size > size_max) {
        ref->fault = CONTENT_TOO_LARGE;
    }
}

/* What `content` says and holds against the reference. */
static void compare(struct content *content, const struct reference *ref)
{
    assert_int_equal(content->fault, ref->fault);
    assert_int_equal(content->size, ref->size);
    if (ref->fault != CONTENT_OK) {
        assert_int_equal(content->body.size, 0);
        assert_int_equal(content->dots.size, 0);
        assert_int_equal(block_pool_used(content->pool), 0);
        return;
    }
    static uint8_t body[TEXT_BYTES_MAX];
    assert_int_equal(content->body.size, ref->body_bytes);
    chain_copy_out(&content->body, 0, ref->body_bytes, body);
    assert_memory_equal(body, ref->body, ref->body_bytes);
    assert_int_equal(content->dots.size, ref->dot_count * 4);
    for (size_t i = 0; i < ref->dot_count; i++) {
        uint8_t at[4];
        chain_copy_out(&content->dots, i * 4, 4, at);
        assert_int_equal((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16,
                         ref->dots[i]);
    }
    assert_int_equal(content->header.received_count, ref->received_count);
    assert_int_equal(content->header.bytes, ref->header_bytes);
    XXH128_hash_t hash = content_hash(content);
    assert_true(XXH128_isEqual(hash, XXH3_128bits(ref->body, ref->body_bytes)));
    assert_true(XXH128_isEqual(hash, content_hash(content)));
}

/* Feeds `piece` from memory of its own; returns whether the end was met, with what was used. */
static bool feed(struct content *content, enum content_kernel kernel, bool unstuff,
                 struct slice piece, size_t *used_out)
{
    uint8_t *copy = malloc(MAX_OF(piece.size, (size_t)1));
    assert_non_null(copy);
    memcpy(copy, piece.data, piece.size);
    struct slice input = slice_make(copy, piece.size);
    bool ended = false;
    if (unstuff) {
        ended = content_data_with(kernel, content, &input);
        assert_true(ended || input.size == 0);
    } else {
        content_bdat_with(kernel, content, input);
        input.size = 0;
    }
    *used_out = piece.size - input.size;
    free(copy);
    return ended;
}

/* Feeds the wire cut at `cuts` (ascending) and compares. */
static void run_cut(struct bench *bench, enum content_kernel kernel, struct slice wire,
                    bool unstuff, const size_t *cuts, size_t cut_count)
{
    struct content content;
    content_begin(&content, bench->pool, bench->hash, TEXT_BYTES_MAX, 0, NULL);
    size_t consumed = 0;
    bool ended = false;
    for (size_t i = 0; i <= cut_count && !ended; i++) {
        size_t to = i < cut_count ? cuts[i] : wire.size;
        struct slice piece = slice_make(wire.data + consumed, to - consumed);
        size_t used = 0;
        ended = feed(&content, kernel, unstuff, piece, &used);
        consumed += used;
    }
    if (!unstuff) {
        content_bdat_end(&content);
    }
    assert_int_equal(ended, bench->expected.ended);
    assert_int_equal(consumed, bench->expected.consumed);
    compare(&content, &bench->expected);
    content_drop(&content);
    content_drop(&content);
    assert_int_equal(block_pool_used(bench->pool), 0);
}

/* Both kernels at every split position; at every pair of positions when the wire is short. */
static void run_all_splits(struct bench *bench, struct slice wire, bool unstuff)
{
    reference_run(&bench->expected, wire, unstuff, TEXT_BYTES_MAX);
    for (size_t k = 0; k < COUNT_OF(kernels); k++) {
        if (!content_kernel_supported(kernels[k])) {
            continue;
        }
        size_t pairs_max = wire.size <= 48 ? wire.size : 0;
        for (size_t one = 0; one <= wire.size; one++) {
            run_cut(bench, kernels[k], wire, unstuff, &one, 1);
            for (size_t two = one; two <= pairs_max; two++) {
                run_cut(bench, kernels[k], wire, unstuff, (const size_t[]){one, two}, 2);
            }
        }
    }
}

/* Joins the parts into static memory. */
static struct slice joined(const struct slice *parts, size_t count)
{
    static uint8_t text[TEXT_BYTES_MAX];
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(size + parts[i].size <= sizeof(text));
        memcpy(text + size, parts[i].data, parts[i].size);
        size += parts[i].size;
    }
    return slice_make(text, size);
}

static void s02_no_look_alike_ends_the_content(void **state)
{
    const struct {
        struct slice look_alike;
        enum content_fault fault;
    } cases[] = {
        {SLICE("\n.\n"), CONTENT_BARE_CR_LF},       {SLICE("\n.\r\n"), CONTENT_BARE_CR_LF},
        {SLICE("\r\n.\n"), CONTENT_BARE_CR_LF},     {SLICE("\r.\r"), CONTENT_BARE_CR_LF},
        {SLICE("\r.\r\n"), CONTENT_BARE_CR_LF},     {SLICE("\r\n.\r"), CONTENT_BARE_CR_LF},
        {SLICE("\r\n.\r\r\n"), CONTENT_BARE_CR_LF}, {SLICE("\n.\r\r\n"), CONTENT_BARE_CR_LF},
        {SLICE("\r\n\0.\r\n"), CONTENT_OK},         {SLICE("\r\n.\0\r\n"), CONTENT_OK},
        {SLICE("\n\n.\r\n"), CONTENT_BARE_CR_LF},   {SLICE("\r\r\n.\n"), CONTENT_BARE_CR_LF},
        {SLICE("\r\n .\r\n"), CONTENT_OK},          {SLICE("\r\n. \r\n"), CONTENT_OK},
        {SLICE("\r\n..\r\n"), CONTENT_OK},
    };
    uint8_t padding[80];
    memset(padding, 'x', sizeof(padding));
    padding[1] = ':';
    struct bench *bench = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        /* The padding moves the look-alike over every place in a 64-byte group. */
        for (size_t pad = 0; pad < 66; pad++) {
            const struct slice parts[] = {
                slice_make(padding, pad + 4),
                SLICE("\r\n\r\nfirst"),
                cases[i].look_alike,
                SLICE("MAIL FROM:<b@example.net>\r\nRCPT TO:<c@example.net>\r\nDATA\r\n"
                      "Subject: second\r\n\r\nsecond\r\n.\r\n"),
                SLICE("MAIL FROM:<d@example.net>\r\n"),
            };
            struct slice wire = joined(parts, COUNT_OF(parts));
            reference_run(&bench->expected, wire, true, TEXT_BYTES_MAX);
            assert_true(bench->expected.ended);
            assert_int_equal(bench->expected.fault, cases[i].fault);
            assert_int_equal(wire.size - bench->expected.consumed, parts[4].size);
            for (size_t k = 0; k < COUNT_OF(kernels); k++) {
                run_cut(bench, kernels[k], wire, true, NULL, 0);
            }
            if (pad % 22 == 0) {
                run_all_splits(bench, wire, true);
            }
        }
    }
}

static void s04_dots_are_unstuffed_and_listed_at_every_split(void **state)
{
    const struct slice cases[] = {
        SLICE(".\r\nQUIT\r\n"),
        SLICE("..\r\n.\r\n"),
        SLICE("..x\r\n.\r\n"),
        SLICE(".x\r\n.\r\n"),
        SLICE("...\r\n.\r\n"),
        SLICE("\r\n.\r\n"),
        SLICE("\r\n..\r\n\r\n.\r\nRSET\r\n"),
        SLICE("a\r\n..\r\n..\r\n..\r\n.\r\n"),
        SLICE("a.b\r\n.c\r\n..d\r\n.\r\n"),
        SLICE("a\r\n.\r\r\n.\r\n"),
        SLICE(".\r.\r\n.\r\n"),
        SLICE(".\n.\r\n\r\n.\r\n"),
        SLICE("..\r\n"),
        SLICE("."),
        SLICE(".\r"),
        SLICE("a\r\n."),
        SLICE("a\r\n.\r"),
        SLICE("a\r"),
        SLICE(""),
    };
    struct bench *bench = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        run_all_splits(bench, cases[i], true);
    }
    run_all_splits(bench, SLICE("..x\r\nb\r\n...\r\n.\r\n"), true);
    assert_int_equal(bench->expected.dot_count, 2);
    assert_int_equal(bench->expected.dots[1], 7);
    assert_memory_equal(bench->expected.body, ".x\r\nb\r\n..\r\n", 11);
}

static void s04_a_million_lines_of_one_dot(void **state)
{
    struct bench *bench = *state;
    enum { LINES = 1000000, PIECE = 4096 };
    static uint8_t piece[PIECE];
    for (size_t i = 0; i < PIECE; i += 4) {
        memcpy(piece + i, "..\r\n", 4);
    }
    for (size_t k = 0; k < COUNT_OF(kernels); k++) {
        struct content content;
        content_begin(&content, bench->pool, bench->hash, 100 * MIB, 0, NULL);
        for (size_t left = (size_t)LINES * 4; left > 0;) {
            struct slice input = slice_make(piece, MIN_OF(left, (size_t)PIECE));
            left -= input.size;
            assert_false(content_data_with(kernels[k], &content, &input));
        }
        struct slice end = SLICE(".\r\n");
        assert_true(content_data_with(kernels[k], &content, &end));
        assert_int_equal(content.fault, CONTENT_OK);
        assert_int_equal(content.body.size, LINES * 3);
        assert_int_equal(content.dots.size, LINES * 4);
        uint8_t last[4];
        chain_copy_out(&content.dots, content.dots.size - 4, 4, last);
        assert_int_equal(last[0] | last[1] << 8 | last[2] << 16, LINES * 3 - 3);
        content_drop(&content);
    }
}

/* Lines around the limit, the last byte of which lies everywhere in a group. */
static void s09_lines_of_998_octets_pass_and_of_999_do_not(void **state)
{
    static uint8_t text[1100];
    memset(text, 'x', sizeof(text));
    struct bench *bench = *state;
    for (size_t before = 0; before < 130; before++) {
        for (size_t length = 997; length <= 999; length++) {
            for (unsigned stuffed = 0; stuffed < 2; stuffed++) {
                const struct slice parts[] = {
                    slice_make(text, before),
                    SLICE("\r\n"),
                    stuffed != 0 ? SLICE("..") : SLICE("yy"),
                    slice_make(text, length - 2 + stuffed),
                    SLICE("\r\nx\r\n.\r\n"),
                };
                struct slice wire = joined(parts, COUNT_OF(parts));
                reference_run(&bench->expected, wire, true, TEXT_BYTES_MAX);
                assert_int_equal(bench->expected.fault,
                                 length > 998 ? CONTENT_LONG_LINE : CONTENT_OK);
                for (size_t k = 0; k < COUNT_OF(kernels); k++) {
                    size_t cut = before * 8 + length - 990;
                    run_cut(bench, kernels[k], wire, true, NULL, 0);
                    run_cut(bench, kernels[k], wire, true, &cut, 1);
                }
            }
        }
    }
}

static void s09_a_long_line_is_found_at_every_split(void **state)
{
    static uint8_t text[999];
    memset(text, 'x', sizeof(text));
    for (size_t length = 998; length <= 999; length++) {
        const struct slice parts[] = {slice_make(text, length), SLICE("\r\n.\r\n")};
        struct slice wire = joined(parts, COUNT_OF(parts));
        run_all_splits(*state, wire, true);
        run_all_splits(*state, slice_first(wire, length + 2), false);
        run_all_splits(*state, slice_first(wire, length), false);
    }
}

/* Pseudo-random; the seed is printed by those who use it. */
static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed >> 16;
}

/* Text of CR LF . a; the clean kind has only whole CRLF. */
static struct slice random_text(uint64_t *seed, uint8_t *text, size_t size_max)
{
    static const uint8_t letters[] = {'\r', '\n', '.', 'a'};
    bool clean = next_random(seed) % 4 != 0;
    size_t wanted = next_random(seed) % size_max;
    size_t size = 0;
    while (size < wanted) {
        uint64_t kind = next_random(seed) % 8;
        size_t run = 1 + next_random(seed) % (next_random(seed) % 4 == 0 ? 90 : 4);
        run = MIN_OF(run, size_max - size);
        if (!clean && kind < 3) {
            text[size++] = letters[next_random(seed) % 4];
        } else if (kind < 4 && size + 3 <= size_max) {
            memcpy(text + size, "\r\n.", 3);
            size += 2 + next_random(seed) % 2;
        } else {
            memset(text + size, kind == 4 ? '.' : 'a', run);
            size += run;
        }
    }
    return slice_make(text, size);
}

static void random_wires_agree_with_the_reference_however_they_are_cut(void **state)
{
    struct bench *bench = *state;
    uint64_t seed = 0x2545F4914F6CDD1Dull;
    print_message("seed %llx\n", (unsigned long long)seed);
    static uint8_t text[4096];
    unsigned ended = 0;
    unsigned clean = 0;
    for (unsigned round = 0; round < 6000; round++) {
        struct slice wire = random_text(&seed, text, round % 8 == 0 ? sizeof(text) : 300);
        bool unstuff = round % 4 != 3;
        reference_run(&bench->expected, wire, unstuff, TEXT_BYTES_MAX);
        ended += bench->expected.ended;
        clean += bench->expected.fault == CONTENT_OK;
        size_t cuts[3];
        for (size_t i = 0, from = 0; i < COUNT_OF(cuts); i++) {
            cuts[i] = from + next_random(&seed) % (wire.size - from + 1);
            from = cuts[i];
        }
        for (size_t k = 0; k < COUNT_OF(kernels); k++) {
            /* Cuts behind the end mark do not matter: nothing is fed after it. */
            run_cut(bench, kernels[k], wire, unstuff, cuts, COUNT_OF(cuts));
        }
    }
    assert_true(ended > 1000 && clean > 1000);
}

static void s03_what_goes_out_restuffed_is_what_came_in(void **state)
{
    struct bench *bench = *state;
    uint64_t seed = 0x853C49E6748FEA9Bull;
    print_message("seed %llx\n", (unsigned long long)seed);
    static uint8_t text[600];
    static uint8_t out[1200];
    unsigned checked = 0;
    for (unsigned round = 0; round < 4000; round++) {
        struct content content;
        content_begin(&content, bench->pool, bench->hash, TEXT_BYTES_MAX, 0, NULL);
        content_bdat(&content, random_text(&seed, text, sizeof(text)));
        content_bdat(&content, SLICE("\r\n"));
        content_bdat_end(&content);
        if (content.fault == CONTENT_OK) {
            size_t size = 0;
            size_t dot = 0;
            for (uint32_t at = 0; at < content.body.size; at++) {
                uint8_t next[4] = {0};
                if (dot < content.dots.size) {
                    chain_copy_out(&content.dots, dot, 4, next);
                    if ((next[0] | next[1] << 8) == (int)at) {
                        out[size++] = '.';
                        dot += 4;
                    }
                }
                chain_copy_out(&content.body, at, 1, &out[size++]);
            }
            memcpy(out + size, ".\r\n", 3);
            struct slice wire = slice_make(out, size + 3);
            /* One message, all of it, the same bytes, nothing bare. */
            assert_false(has_bare(wire, true));
            reference_run(&bench->expected, wire, true, TEXT_BYTES_MAX);
            assert_int_equal(bench->expected.consumed, wire.size);
            compare(&content, &bench->expected);
            checked++;
        }
        content_drop(&content);
    }
    assert_true(checked > 1000);
}

static void s25_bdat_beyond_the_limit_is_consumed_and_refused(void **state)
{
    struct bench *bench = *state;
    static uint8_t text[50000];
    memset(text, '\n', sizeof(text));
    for (size_t k = 0; k < COUNT_OF(kernels); k++) {
        struct content content;
        content_begin(&content, bench->pool, bench->hash, 10, 4, NULL);
        content_bdat_with(kernels[k], &content, SLICE("12345678\r\n"));
        assert_int_equal(content.fault, CONTENT_OK);
        content_bdat_with(kernels[k], &content, SLICE("x"));
        assert_int_equal(content.fault, CONTENT_TOO_LARGE);
        assert_int_equal(block_pool_used(bench->pool), 0);
        /* Nothing of what follows is kept, and no other fault takes its place. */
        content_bdat_with(kernels[k], &content, slice_make(text, sizeof(text)));
        content_bdat_end(&content);
        assert_int_equal(content.fault, CONTENT_TOO_LARGE);
        assert_int_equal(content.size, 11 + sizeof(text));
        assert_int_equal(block_pool_used(bench->pool), 0);
        content_drop(&content);
        /* Larger outranks bare, whichever came first. */
        content_begin(&content, bench->pool, bench->hash, 10, 0, NULL);
        content_bdat_with(kernels[k], &content, SLICE("a\n"));
        assert_int_equal(content.fault, CONTENT_BARE_CR_LF);
        content_bdat_with(kernels[k], &content, SLICE("123456789"));
        assert_int_equal(content.fault, CONTENT_TOO_LARGE);
        content_drop(&content);
    }
}

static void s26_one_byte_chunks_store_what_one_chunk_does(void **state)
{
    struct bench *bench = *state;
    struct slice line = SLICE("Subject: chunks of one byte\r\n.\r\n\r\n..x\r\n");
    for (size_t k = 0; k < COUNT_OF(kernels); k++) {
        struct content content;
        content_begin(&content, bench->pool, bench->hash, 10 * MIB, 0, NULL);
        for (size_t i = 0; i < 5000 * line.size; i++) {
            content_bdat_with(kernels[k], &content, slice_make(line.data + i % line.size, 1));
        }
        content_bdat_end(&content);
        assert_int_equal(content.fault, CONTENT_OK);
        assert_int_equal(content.body.size, 5000 * line.size);
        assert_int_equal(content.dots.size, 10000 * 4);
        assert_true(block_pool_used(bench->pool) <= 2 * content.body.size + 64 * KIB);
        XXH128_hash_t one = content_hash(&content);
        content_drop(&content);
        content_begin(&content, bench->pool, bench->hash, 10 * MIB, 0, NULL);
        for (size_t i = 0; i < 5000; i++) {
            content_bdat_with(kernels[k], &content, line);
        }
        assert_true(XXH128_isEqual(one, content_hash(&content)));
        content_drop(&content);
    }
}

static void s27_bdat_takes_end_marks_as_text_and_refuses_bare_ends(void **state)
{
    const struct {
        struct slice text;
        enum content_fault fault;
    } cases[] = {
        {SLICE("a\r\n.\r\nb\r\n"), CONTENT_OK},
        {SLICE(".\r\n"), CONTENT_OK},
        {SLICE(".."), CONTENT_OK},
        {SLICE("no line end"), CONTENT_OK},
        {SLICE("a\0b\xFF\xFE\r\n"), CONTENT_OK},
        {SLICE("bare\nLF\r\n"), CONTENT_BARE_CR_LF},
        {SLICE("bare\rCR\r\n"), CONTENT_BARE_CR_LF},
        {SLICE("CR last\r"), CONTENT_BARE_CR_LF},
        {SLICE("\n"), CONTENT_BARE_CR_LF},
        {SLICE(".\r"), CONTENT_BARE_CR_LF},
    };
    struct bench *bench = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        run_all_splits(bench, cases[i].text, false);
        assert_int_equal(bench->expected.fault, cases[i].fault);
    }
}

static void s39_received_fields_are_counted_up_to_the_empty_line(void **state)
{
    const struct {
        struct slice wire;
        uint32_t count;
        uint64_t header_bytes;
    } cases[] = {
        {SLICE("Received: a\r\nrEcEiVeD: b\r\n c\r\nreceived :d\r\n\r\nReceived: e\r\n.\r\n"), 3,
         45},
        {SLICE("Received-SPF: a\r\nXReceived: b\r\n Received: c\r\nReceive\r\n\r\n.\r\n"), 0, 56},
        {SLICE("\r\nReceived: a\r\n.\r\n"), 0, 2},
        {SLICE("Received: a\r\n.\r\n"), 1, 13},
        {SLICE("..Received: a\r\nReceived\t: a\r\n.\r\n"), 1, 28},
        {SLICE("Received\r\n: a\r\nReceived x:\r\n\r\n.\r\n"), 0, 30},
    };
    struct bench *bench = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        run_all_splits(bench, cases[i].wire, true);
        assert_int_equal(bench->expected.received_count, cases[i].count);
        assert_int_equal(bench->expected.header_bytes, cases[i].header_bytes);
    }
}

static void the_hash_is_of_the_whole_body_also_after_spills(void **state)
{
    struct bench *bench = *state;
    static uint8_t text[700 * 1024];
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = i % 76 == 74 ? '\r' : i % 76 == 75 ? '\n' : (uint8_t)('a' + i % 23);
    }
    static const size_t pieces[] = {1000, 4096, 65536, sizeof(text)};
    for (size_t round = 0; round < COUNT_OF(pieces) * 4; round++) {
        size_t piece = pieces[round % COUNT_OF(pieces)];
        bool spill = (round / COUNT_OF(pieces)) % 2 == 1;
        uint64_t hint = round / COUNT_OF(pieces) >= 2 ? sizeof(text) : 0;
        struct content content;
        struct chain spilled;
        chain_init(&spilled);
        content_begin(&content, bench->pool, bench->hash, MIB, hint, NULL);
        for (size_t at = 0; at < sizeof(text); at += piece) {
            content_bdat(&content, slice_make(text + at, MIN_OF(piece, sizeof(text) - at)));
            if (spill && content.body.size > SPILL_BYTES) {
                content_spill(&content, &spilled);
                assert_int_equal(content.body.size, 0);
                assert_int_equal(spilled.size, content.size);
            }
        }
        assert_int_equal(content.fault, CONTENT_OK);
        assert_int_equal(content.size, sizeof(text));
        assert_true(XXH128_isEqual(content_hash(&content), XXH3_128bits(text, sizeof(text))));
        chain_move(&spilled, &content.body);
        static uint8_t back[sizeof(text)];
        chain_copy_out(&spilled, 0, sizeof(back), back);
        assert_memory_equal(back, text, sizeof(text));
        chain_clear(&spilled, bench->pool);
        content_drop(&content);
        assert_int_equal(block_pool_used(bench->pool), 0);
    }
}

static void an_exhausted_pool_is_a_fault_and_the_end_is_still_found(void **state)
{
    struct bench *bench = *state;
    for (size_t k = 0; k < COUNT_OF(kernels); k++) {
        struct block_pool *small = block_pool_open(1);
        assert_non_null(small);
        static uint8_t line[64];
        memset(line, 'x', sizeof(line));
        memcpy(line + 62, "\r\n", 2);
        struct content content;
        content_begin(&content, small, bench->hash, MIB, 0, NULL);
        for (unsigned i = 0; i < 5000; i++) {
            struct slice input = slice_make(line, sizeof(line));
            assert_false(content_data_with(kernels[k], &content, &input));
        }
        assert_int_equal(content.fault, CONTENT_NO_MEMORY);
        assert_int_equal(block_pool_used(small), 0);
        struct slice end = SLICE("bare\n..\r\n.\r\nQUIT\r\n");
        assert_true(content_data_with(kernels[k], &content, &end));
        assert_true(slice_equal(end, SLICE("QUIT\r\n")));
        assert_int_equal(content.fault, CONTENT_NO_MEMORY);
        content_drop(&content);
        block_pool_close(small);
    }
}

static int bench_open(void **state)
{
    static struct bench bench;
    bench.pool = block_pool_open(POOL_BYTES);
    bench.hash = XXH3_createState();
    *state = &bench;
    return bench.pool == NULL || bench.hash == NULL ? -1 : 0;
}

static int bench_close(void **state)
{
    struct bench *bench = *state;
    block_pool_close(bench->pool);
    XXH3_freeState(bench->hash);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s02_no_look_alike_ends_the_content),
        cmocka_unit_test(s03_what_goes_out_restuffed_is_what_came_in),
        cmocka_unit_test(s04_dots_are_unstuffed_and_listed_at_every_split),
        cmocka_unit_test(s04_a_million_lines_of_one_dot),
        cmocka_unit_test(s09_lines_of_998_octets_pass_and_of_999_do_not),
        cmocka_unit_test(s09_a_long_line_is_found_at_every_split),
        cmocka_unit_test(s25_bdat_beyond_the_limit_is_consumed_and_refused),
        cmocka_unit_test(s26_one_byte_chunks_store_what_one_chunk_does),
        cmocka_unit_test(s27_bdat_takes_end_marks_as_text_and_refuses_bare_ends),
        cmocka_unit_test(s39_received_fields_are_counted_up_to_the_empty_line),
        cmocka_unit_test(random_wires_agree_with_the_reference_however_they_are_cut),
        cmocka_unit_test(the_hash_is_of_the_whole_body_also_after_spills),
        cmocka_unit_test(an_exhausted_pool_is_a_fault_and_the_end_is_still_found),
    };
    return cmocka_run_group_tests(tests, bench_open, bench_close);
}
