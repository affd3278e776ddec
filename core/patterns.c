#include "core/patterns.h"

#include <hs/hs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "core/check.h"
#include "core/heap.h"
#include "core/pattern_size.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* Of one confirmation. Points where it may have to come back to, and KiB to remember them in. */
#define MATCHES_MAX   10000u
#define FRAMES_KIB    128u
#define CAPTURES_MAX  100u /* so that ten frames are no more than PCRE2 begins with */

/* HS_FLAG_SINGLEMATCH: that it matches is enough, once. HS_FLAG_DOTALL: a dot is any byte, which
 * makes of "A.*B" an automaton that is compiled and run in half the time. On one line that is the
 * same; of several lines it finds where a pattern might match. */
#define SCAN_FLAGS (HS_FLAG_SINGLEMATCH | HS_FLAG_ALLOWEMPTY | HS_FLAG_DOTALL)

struct patterns {
    struct heap heap;          /* of this struct */
    uint32_t count;
    uint32_t confirmed;
    hs_database_t *database;   /* null: there are none */
    pcre2_code **codes;        /* of each */
    bool *exact;               /* of each: on one line the scan says all */
};

/* --- compiling -------------------------------------------------------------------------------- */

struct compiling {
    const struct slice *texts;
    uint32_t count;
    patterns_refuse *refuse;
    void *context;
    bool refused;
    struct heap scratch;
    struct patterns *patterns;
    const char **strings; /* the texts with a NUL */
    unsigned *flags;
    unsigned *numbers;
};

static void refuse(struct compiling *compiling, uint32_t number, const char *why)
{
    uint8_t bytes[256];
    struct buf buf;
    buf_init(&buf, bytes, sizeof(bytes));
    for (size_t i = 0; why[i] != '\0' && i < sizeof(bytes); i++) {
        bool printable = why[i] >= ' ' && why[i] <= '~';
        buf_put_byte(&buf, printable ? (uint8_t)why[i] : '?');
    }
    compiling->refused = true;
    compiling->refuse(compiling->context, number, buf_slice(&buf));
}

/* All of them are looked at, so that all that is amiss is told at once. */
static void sizes_check(struct compiling *compiling)
{
    uint64_t sum = 0;
    if (compiling->count > PATTERNS_MAX) {
        refuse(compiling, compiling->count, "there are more than 8,192 patterns");
        return;
    }
    for (uint32_t i = 0; i < compiling->count; i++) {
        const char *why;
        uint32_t size = pattern_size(compiling->texts[i], &why);
        if (size == 0) {
            refuse(compiling, i, why);
        }
        sum += size;
    }
    if (sum > PATTERNS_POSITIONS_MAX) {
        refuse(compiling, compiling->count,
               "the patterns together are longer than 131,072 characters with repeats written out");
    }
}

/* PCRE2 judges the syntax of every pattern. Null, and it is told. */
static pcre2_code *code_make(struct compiling *compiling, uint32_t number)
{
    struct slice text = compiling->texts[number];
    uint8_t reason[128];
    char why[200];
    int error = 0;
    PCRE2_SIZE at = 0;
    pcre2_code *code = pcre2_compile(text.data, text.size, PCRE2_NEVER_UTF | PCRE2_NEVER_UCP,
                                     &error, &at, NULL);
    if (code == NULL) {
        pcre2_get_error_message(error, reason, sizeof(reason));
        snprintf(why, sizeof(why), "%s, at its character %zu", (const char *)reason, at + 1);
        refuse(compiling, number, why);
    }
    return code;
}

static bool scans(const char *string, unsigned flags)
{
    hs_expr_info_t *info = NULL;
    hs_compile_error_t *error = NULL;
    bool good = hs_expression_info(string, flags, &info, &error) == HS_SUCCESS;
    hs_free_compile_error(error);
    free(info);
    return good;
}

/* Of one pattern: can it be looked for exactly, or has PCRE2 to confirm it? */
static void pattern_add(struct compiling *compiling, uint32_t number)
{
    struct patterns *patterns = compiling->patterns;
    pcre2_code *code = code_make(compiling, number);
    uint32_t captures = 0;
    if (code == NULL) {
        return;
    }
    compiling->strings[number] =
        (const char *)heap_copy(&compiling->scratch, compiling->texts[number]).data;
    compiling->numbers[number] = number;
    compiling->flags[number] = SCAN_FLAGS;
    patterns->codes[number] = code;
    patterns->exact[number] = scans(compiling->strings[number], SCAN_FLAGS);
    if (patterns->exact[number]) {
        return;
    }
    patterns->confirmed++;
    compiling->flags[number] = SCAN_FLAGS | HS_FLAG_PREFILTER;
    pcre2_pattern_info(code, PCRE2_INFO_CAPTURECOUNT, &captures);
    if (captures > CAPTURES_MAX) {
        refuse(compiling, number, "it has more than 100 groups that capture");
    } else if (!scans(compiling->strings[number], compiling->flags[number])) {
        refuse(compiling, number, "it cannot be looked for in one pass");
    }
}

static void database_make(struct compiling *compiling)
{
    struct patterns *patterns = compiling->patterns;
    hs_compile_error_t *error = NULL;
    size_t bytes = 0;
    if (hs_compile_multi(compiling->strings, compiling->flags, compiling->numbers,
                         compiling->count, HS_MODE_BLOCK, NULL, &patterns->database,
                         &error) != HS_SUCCESS) {
        bool one = error->expression >= 0 && (uint32_t)error->expression < compiling->count;
        refuse(compiling, one ? (uint32_t)error->expression : compiling->count, error->message);
        hs_free_compile_error(error);
        patterns->database = NULL;
        return;
    }
    if (hs_database_size(patterns->database, &bytes) != HS_SUCCESS || bytes > PATTERNS_BYTES_MAX) {
        refuse(compiling, compiling->count, "what the patterns compile to is larger than 64 MiB");
    }
}

static void compile(struct compiling *compiling)
{
    struct heap *heap = &compiling->scratch;
    size_t count = compiling->count;
    sizes_check(compiling);
    if (compiling->refused || count == 0) {
        return;
    }
    compiling->strings = heap_take_array(heap, count, sizeof(*compiling->strings));
    compiling->flags = heap_take_array(heap, count, sizeof(*compiling->flags));
    compiling->numbers = heap_take_array(heap, count, sizeof(*compiling->numbers));
    for (uint32_t i = 0; i < count; i++) {
        pattern_add(compiling, i);
    }
    if (!compiling->refused) {
        database_make(compiling);
    }
}

struct patterns *patterns_compile(const struct slice *texts, uint32_t count,
                                  patterns_refuse *refuse_one, void *context)
{
    struct heap heap;
    heap_init(&heap);
    struct patterns *patterns = heap_take(&heap, sizeof(*patterns));
    patterns->count = MIN_OF(count, PATTERNS_MAX);
    patterns->codes =
        heap_take_array(&heap, (size_t)patterns->count + 1, sizeof(struct pcre2_code *));
    patterns->exact = heap_take_array(&heap, (size_t)patterns->count + 1, sizeof(bool));
    patterns->heap = heap;
    struct compiling compiling = {
        .texts = texts,
        .count = count,
        .refuse = refuse_one,
        .context = context,
        .patterns = patterns,
    };
    heap_init(&compiling.scratch);
    compile(&compiling);
    heap_fini(&compiling.scratch);
    if (compiling.refused) {
        patterns_free(patterns);
        return NULL;
    }
    return patterns;
}

void patterns_free(struct patterns *patterns)
{
    if (patterns == NULL) {
        return;
    }
    struct heap heap = patterns->heap;
    for (uint32_t i = 0; i < patterns->count; i++) {
        pcre2_code_free(patterns->codes[i]);
    }
    hs_free_database(patterns->database);
    heap_fini(&heap);
}

uint32_t patterns_count(const struct patterns *patterns)
{
    return patterns->count;
}

uint32_t patterns_confirmed(const struct patterns *patterns)
{
    return patterns->confirmed;
}

/* --- what PCRE2 allocates --------------------------------------------------------------------- */

/* Frames of a match grow by doubling, from 20 KiB on, the old ones given back afterwards. */
static const size_t frame_bytes[] = {32 * KIB, 64 * KIB, FRAMES_KIB * KIB};

struct frames {
    uint8_t *memory;
    bool taken;
};

struct patterns_scratch {
    struct heap heap;              /* of this struct and all that is in it */
    const struct patterns *patterns;
    hs_scratch_t *scan;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    bool open;                     /* from now on PCRE2 gets frames and nothing else */
    struct frames frames[COUNT_OF(frame_bytes)];
    struct slice text;
    bool lines;                    /* the text has more than one */
    uint64_t *bits;                /* one for each pattern: it may match */
};

static void *match_malloc(size_t bytes, void *context)
{
    struct patterns_scratch *scratch = context;
    if (!scratch->open) {
        return heap_take(&scratch->heap, bytes);
    }
    for (size_t i = 0; i < COUNT_OF(frame_bytes); i++) {
        if (!scratch->frames[i].taken && bytes <= frame_bytes[i]) {
            scratch->frames[i].taken = true;
            return scratch->frames[i].memory;
        }
    }
    return NULL;
}

/* What was taken before `open` goes with the heap. */
static void match_free(void *memory, void *context)
{
    struct patterns_scratch *scratch = context;
    for (size_t i = 0; i < COUNT_OF(frame_bytes); i++) {
        if (scratch->frames[i].memory != NULL && scratch->frames[i].memory == memory) {
            scratch->frames[i].taken = false;
        }
    }
}

static void match_open(struct patterns_scratch *scratch)
{
    pcre2_general_context *general =
        pcre2_general_context_create(match_malloc, match_free, scratch);
    scratch->match = pcre2_match_data_create(1, general);
    scratch->limits = pcre2_match_context_create(general);
    pcre2_set_match_limit(scratch->limits, MATCHES_MAX);
    pcre2_set_heap_limit(scratch->limits, FRAMES_KIB);
    for (size_t i = 0; i < COUNT_OF(frame_bytes); i++) {
        scratch->frames[i].memory = heap_take(&scratch->heap, frame_bytes[i]);
    }
}

/* --- scanning --------------------------------------------------------------------------------- */

struct patterns_scratch *patterns_scratch_open(const struct patterns *patterns)
{
    struct heap heap;
    heap_init(&heap);
    struct patterns_scratch *scratch = heap_take(&heap, sizeof(*scratch));
    scratch->heap = heap;
    scratch->patterns = patterns;
    scratch->bits =
        heap_take_array(&scratch->heap, patterns->count / 64 + 1, sizeof(*scratch->bits));
    if (patterns->count > 0) {
        match_open(scratch);
    }
    if (patterns->database != NULL) {
        CHECK(hs_alloc_scratch(patterns->database, &scratch->scan) == HS_SUCCESS);
    }
    scratch->open = true;
    return scratch;
}

void patterns_scratch_close(struct patterns_scratch *scratch)
{
    if (scratch == NULL) {
        return;
    }
    struct heap heap = scratch->heap;
    hs_free_scratch(scratch->scan);
    heap_fini(&heap);
}

static int note_match(unsigned number, unsigned long long from, unsigned long long to,
                      unsigned flags, void *context)
{
    struct patterns_scratch *scratch = context;
    (void)from;
    (void)to;
    (void)flags;
    scratch->bits[number / 64] |= 1ull << number % 64;
    return 0;
}

void patterns_scan(struct patterns_scratch *scratch, struct slice text)
{
    const struct patterns *patterns = scratch->patterns;
    scratch->text = slice_first(text, MIN_OF(text.size, PATTERNS_TEXT_BYTES_MAX));
    if (scratch->text.data == NULL) {
        scratch->text = SLICE("");
    }
    scratch->lines = slice_find(scratch->text, '\n') < scratch->text.size;
    memset(scratch->bits, 0, (patterns->count / 64 + 1) * sizeof(*scratch->bits));
    if (patterns->database != NULL) {
        CHECK(hs_scan(patterns->database, (const char *)scratch->text.data,
                      (unsigned)scratch->text.size, 0, scratch->scan, note_match,
                      scratch) == HS_SUCCESS);
    }
}

static bool is_confirmed(struct patterns_scratch *scratch, uint32_t number)
{
    const struct patterns *patterns = scratch->patterns;
    const pcre2_code *code = patterns->codes[number];
    bool told = patterns->exact[number] && !scratch->lines;
    return told || pcre2_match(code, scratch->text.data, scratch->text.size, 0, 0, scratch->match,
                               scratch->limits) >= 0;
}

uint32_t patterns_next_below(struct patterns_scratch *scratch, uint32_t from, uint32_t end)
{
    while (from < end) {
        uint64_t left = scratch->bits[from / 64] >> from % 64;
        if (left == 0) {
            from = (from / 64 + 1) * 64;
            continue;
        }
        from += (uint32_t)__builtin_ctzll(left);
        if (from < end && is_confirmed(scratch, from)) {
            return from;
        }
        from++;
    }
    return end;
}

uint32_t patterns_next(struct patterns_scratch *scratch, uint32_t from)
{
    return patterns_next_below(scratch, from, scratch->patterns->count);
}
