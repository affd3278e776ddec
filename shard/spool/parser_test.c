#include "shard/spool/parser.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/prng.h"
#include "tests/kit/spool_log.h"

#define UUID 0xFEEDFACECAFEBEEFull
#define LANE 2

/* What a parser said, one word each: group G, message M, outcome O, void V, body B, other R,
 * torn T (voided: X), damage D, newer N, with sequence, place or count. */
struct trace {
    char text[64 * KIB];
    size_t size;
    XXH3_state_t *bodies; /* of all bytes of all records */
    unsigned records;
    uint64_t tail_offset; /* of the group in doubt; 0: none */
    struct log_range range; /* of the last damage */
};

static struct trace *trace_make(void)
{
    struct trace *trace = calloc(1, sizeof(*trace));
    assert_non_null(trace);
    trace->bodies = XXH3_createState();
    assert_non_null(trace->bodies);
    assert_int_equal(XXH3_64bits_reset(trace->bodies), XXH_OK);
    return trace;
}

static void trace_free(struct trace *trace)
{
    XXH3_freeState(trace->bodies);
    free(trace);
}

PRINTF(2, 3)
static void trace_add(struct trace *trace, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(trace->text + trace->size, sizeof(trace->text) - trace->size, format,
                         arguments);
    va_end(arguments);
    assert_true(size > 0 && trace->size + (size_t)size < sizeof(trace->text));
    trace->size += (size_t)size;
}

static void trace_record(struct trace *trace, const struct log_item *item)
{
    static const char names[] = {
        [RECORD_MESSAGE] = 'M', [RECORD_BODY] = 'B', [RECORD_OUTCOME] = 'O', [RECORD_VOID] = 'V'};
    uint8_t kind = item->record.kind;
    char name = kind < sizeof(names) && names[kind] != 0 ? names[kind] : 'R';
    trace_add(trace, " %c%u:%u", name, item->location.segment, item->location.offset_64);
    trace->records++;
    assert_int_equal(XXH3_64bits_update(trace->bodies, item->record.head.data,
                                        item->record.head.size), XXH_OK);
    assert_int_equal(XXH3_64bits_update(trace->bodies, item->record.tail.data,
                                        item->record.tail.size), XXH_OK);
    assert_int_equal(item->group->segment, item->segment);
}

/* False: there is no more. */
static bool trace_item(struct trace *trace, const struct log_item *item)
{
    switch (item->step) {
    case LOG_MORE:
    case LOG_END:
        return false;
    case LOG_NEWER:
        trace_add(trace, " N%u", item->version > 0 ? item->version : item->record.kind);
        return false;
    case LOG_GROUP:
        trace_add(trace, " G%llu", (unsigned long long)item->group->sequence);
        break;
    case LOG_RECORD:
        trace_record(trace, item);
        break;
    case LOG_TORN:
        trace_add(trace, " %c%llu", item->voided ? 'X' : 'T',
                  (unsigned long long)item->group->sequence);
        break;
    case LOG_DAMAGE:
        trace_add(trace, " D%u:%llu/%llu", item->segment, (unsigned long long)item->offset,
                  (unsigned long long)item->records);
        trace->range = item->range;
        break;
    }
    return true;
}

static bool trace_drain(struct trace *trace, struct log_parser *parser)
{
    struct log_item item;
    while (log_parser_next(parser, &item) != LOG_NEWER && trace_item(trace, &item)) {
    }
    if (item.step == LOG_NEWER) {
        (void)trace_item(trace, &item);
    }
    return item.step == LOG_MORE;
}

/* How a log is given to the parser. */
struct feed {
    uint32_t chunk_bytes;
    uint32_t reads;
    uint64_t sequence;       /* of the first group; 0: not known */
    unsigned segment;        /* index of the first one */
    size_t begin;            /* of the first segment; 0: after its header */
    size_t end;              /* of the last segment; 0: all of it */
    uint64_t durable_before;
};

/* Reads of one segment; the bytes come when all are out, so nothing may be written over. */
static bool feed_segment(const struct feed *feed, struct log_parser *parser, struct trace *trace,
                         struct slice bytes)
{
    uint8_t *places[16];
    size_t at = 0;
    unsigned out = 0;
    bool more = true;
    while (more && (at < bytes.size || out > 0)) {
        while (out < feed->reads) {
            places[out] = log_parser_place(parser);
            memset(places[out++], 0xA5, feed->chunk_bytes);
        }
        size_t size = MIN_OF(feed->chunk_bytes, bytes.size - at);
        memcpy(places[0], bytes.data + at, size);
        memmove(places, places + 1, sizeof(places) - sizeof(places[0]));
        out--;
        at += size;
        log_parser_take(parser, (uint32_t)size);
        more = trace_drain(trace, parser);
        while (at == bytes.size && out > 0 && more) {
            log_parser_take(parser, feed->chunk_bytes * (size < feed->chunk_bytes ? 1u : 0u));
            out--;
        }
    }
    return more;
}

/* The group in doubt is given as it stands in its segment, up to the end of its last page. */
static void trace_tail(struct trace *trace, const struct spool_log *log,
                       const struct log_parser *parser)
{
    struct log_tail tail;
    if (!log_parser_tail(parser, &tail)) {
        return;
    }
    trace->tail_offset = tail.offset;
    assert_int_equal(tail.bytes % RECORD_PAGE_BYTES, 0);
    for (unsigned i = 0; i < log->count; i++) {
        if (log->segments[i].number == tail.segment) {
            assert_true(tail.offset + tail.bytes <= log->segments[i].size);
            assert_memory_equal(tail.data, log->segments[i].bytes + tail.offset, tail.bytes);
        }
    }
}

static struct trace *trace_of(const struct spool_log *log, const struct feed *feed)
{
    struct log_parser_options options = {
        .uuid = UUID, .lane = LANE, .chunk_bytes = feed->chunk_bytes, .reads = feed->reads};
    struct log_parser parser;
    struct trace *trace = trace_make();
    /* The exact size, so that a step beside it is seen. */
    void *memory = malloc(log_parser_bytes(&options));
    assert_non_null(memory);
    log_parser_init(&parser, &options, memory);
    log_parser_start(&parser, feed->sequence, feed->durable_before);
    bool more = true;
    for (unsigned i = feed->segment; i < log->count && more; i++) {
        size_t begin = i == feed->segment && feed->begin > 0 ? feed->begin : RECORD_PAGE_BYTES;
        size_t end =
            i + 1 == log->count && feed->end > 0 ? feed->end : log->segments[i].size;
        log_parser_segment(&parser, log->segments[i].number, begin);
        more = feed_segment(feed, &parser, trace,
                            slice_make(log->segments[i].bytes + begin, end - begin));
        if (more) {
            log_parser_segment_end(&parser);
            more = trace_drain(trace, &parser);
        }
    }
    if (more) {
        log_parser_end(&parser);
        assert_false(trace_drain(trace, &parser));
        trace_tail(trace, log, &parser);
    }
    free(memory);
    return trace;
}

static const struct feed plain = {.chunk_bytes = 4096, .reads = 1};

static void check_trace(const struct spool_log *log, const struct feed *feed, const char *expected)
{
    struct trace *trace = trace_of(log, feed);
    assert_string_equal(trace->text, expected);
    trace_free(trace);
}

static struct spool_location add_message(struct spool_log *log, uint32_t number, size_t body_bytes)
{
    static uint8_t body[5 * MIB];
    assert_true(body_bytes <= sizeof(body));
    memset(body, (int)(number % 251 + 1), body_bytes);
    struct slice sections[SECTIONS] = {[SECTION_ENVELOPE] = SLICE("envelope"),
                                       [SECTION_BODY] = slice_make(body, body_bytes)};
    return spool_log_message(log, number, sections);
}

/* Groups 1, 2, 3, each with one message; every mark is the sequence before. */
static void three_groups(struct spool_log *log)
{
    spool_log_init(log, UUID, LANE, 64 * KIB);
    spool_log_segment(log, 5, 1);
    for (uint64_t sequence = 1; sequence <= 3; sequence++) {
        spool_log_group(log, sequence, sequence, 0);
        add_message(log, (uint32_t)sequence, 100);
        spool_log_seal(log);
    }
}

/* --- what is said ----------------------------------------------------------------------------- */

static void records_come_in_order_with_their_places(void **state)
{
    (void)state;
    struct spool_log log;
    spool_log_init(&log, UUID, LANE, 64 * KIB);
    spool_log_segment(&log, 5, 1);
    spool_log_group(&log, 1, 1, 0);
    struct spool_location first = add_message(&log, 1, 100);
    struct spool_location second = add_message(&log, 2, 5000);
    spool_log_seal(&log);
    spool_log_group(&log, 2, 2, 0);
    spool_log_body(&log, SLICE("a piece"));
    spool_log_outcome(&log, first);
    spool_log_void(&log, second);
    spool_log_record(&log, RECORD_EVENT, SLICE("12345678abcdefgh0000----and what is said"));
    spool_log_seal(&log);
    check_trace(&log, &plain, " G1 M5:65 M5:69 G2 B5:193 O5:194 V5:195 R5:195");
    spool_log_fini(&log);
}

static void an_empty_log_has_an_end(void **state)
{
    (void)state;
    struct spool_log log;
    spool_log_init(&log, UUID, LANE, 64 * KIB);
    check_trace(&log, &plain, "");
    spool_log_segment(&log, 5, 1);
    check_trace(&log, &plain, "");
    spool_log_fini(&log);
}

static void a_group_is_held_back_until_its_successor_is_known(void **state)
{
    (void)state;
    struct log_parser_options options = {
        .uuid = UUID, .lane = LANE, .chunk_bytes = 4096, .reads = 1};
    struct log_parser parser;
    struct log_item item;
    struct spool_log log;
    three_groups(&log);
    void *memory = malloc(log_parser_bytes(&options));
    log_parser_init(&parser, &options, memory);
    log_parser_segment(&parser, 5, 4096);
    memcpy(log_parser_place(&parser), log.segments[0].bytes + 4096, 4096);
    log_parser_take(&parser, 4096);
    assert_int_equal(log_parser_next(&parser, &item), LOG_MORE);
    memcpy(log_parser_place(&parser), log.segments[0].bytes + 8192, 4096);
    log_parser_take(&parser, 4096);
    assert_int_equal(log_parser_next(&parser, &item), LOG_GROUP);
    assert_int_equal(item.group->sequence, 1);
    assert_int_equal(log_parser_next(&parser, &item), LOG_RECORD);
    assert_int_equal(item.is.message.id.bytes[4], 1);
    assert_int_equal(log_parser_next(&parser, &item), LOG_MORE);
    free(memory);
    spool_log_fini(&log);
}

static void the_successor_may_stand_in_the_next_segment(void **state)
{
    (void)state;
    struct spool_log log;
    three_groups(&log);
    spool_log_segment(&log, 6, 5);
    spool_log_group(&log, 5, 3, 3);
    add_message(&log, 4, 100);
    spool_log_seal(&log);
    check_trace(&log, &plain, " G1 M5:65 G2 M5:129 X3 G5 M6:65");
    spool_log_fini(&log);
}

static void voided_groups_do_not_count_however_whole(void **state)
{
    (void)state;
    struct spool_log log;
    spool_log_init(&log, UUID, LANE, 64 * KIB);
    spool_log_segment(&log, 5, 1);
    static const struct {
        uint64_t sequence;
        uint64_t void_from;
    } groups[] = {{1, 0}, {2, 0}, {3, 2}, {4, 4}, {7, 5}, {8, 0}};
    for (size_t i = 0; i < COUNT_OF(groups); i++) {
        spool_log_group(&log, groups[i].sequence, groups[i].sequence, groups[i].void_from);
        add_message(&log, 1, 100);
        spool_log_seal(&log);
    }
    /* 5 and 6 are missing, and said to be nothing. */
    check_trace(&log, &plain, " G1 M5:65 X2 G3 M5:193 G4 M5:257 G7 M5:321 G8 M5:385");
    spool_log_fini(&log);
}

static uint64_t tail_of(const struct spool_log *log)
{
    struct trace *trace = trace_of(log, &plain);
    uint64_t offset = trace->tail_offset;
    trace_free(trace);
    return offset;
}

static void f04_the_last_group_alone_is_in_doubt_unless_a_later_one_was_begun(void **state)
{
    (void)state;
    struct spool_log log;
    spool_log_init(&log, UUID, LANE, 64 * KIB);
    spool_log_segment(&log, 5, 1);
    assert_int_equal(tail_of(&log), 0);
    spool_log_group(&log, 1, 1, 0);
    add_message(&log, 1, 20000);
    spool_log_seal(&log);
    assert_int_equal(tail_of(&log), 4096);
    size_t second = log.segments[0].size;
    spool_log_group(&log, 2, 2, 0);
    add_message(&log, 2, 100);
    spool_log_seal(&log);
    assert_int_equal(tail_of(&log), second);
    /* Torn, but it was begun when the second one was durable. */
    spool_log_group(&log, 3, 3, 0);
    add_message(&log, 3, 5000);
    size_t third = spool_log_seal(&log);
    assert_int_equal(tail_of(&log), third);
    log.segments[0].bytes[third + 300] ^= 1;
    assert_int_equal(tail_of(&log), 0);
    /* Voided by the next one. */
    spool_log_segment(&log, 6, 5);
    spool_log_group(&log, 5, 5, 3);
    add_message(&log, 4, 100);
    spool_log_seal(&log);
    assert_int_equal(tail_of(&log), 4096);
    spool_log_fini(&log);
}

/* --- torn, damaged, missing ------------------------------------------------------------------- */

/* Three groups; a byte of group 2 is spoiled; what the third says of it. */
static void what_does_not_check_is_torn_or_damage_by_the_highest_mark(void **state)
{
    (void)state;
    static const struct {
        size_t spoiled;
        uint64_t mark; /* of group 3 */
        const char *expected;
    } cases[] = {
        {8192 + 64 + 130, 2, " G1 M5:65 T2 G3 M5:193"},             /* head of the record */
        {8192 + 64 + 130, 3, " G1 M5:65 G2 D5:8256/1 G3 M5:193"},
        {8192 + 64 + 150, 2, " G1 M5:65 T2 G3 M5:193"},             /* body */
        {8192 + 64 + 150, 3, " G1 M5:65 G2 M5:129 G3 M5:193"},      /* found when it is sent */
        {8192 + 20, 2, " G1 M5:65 G3 M5:193"},                      /* GROUP header */
        {8192 + 20, 3, " G1 M5:65 D5:12288/0 G3 M5:193"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct spool_log log;
        three_groups(&log);
        log.segments[0].size = 8192 + 4096;
        spool_log_group(&log, 3, cases[i].mark, 0);
        add_message(&log, 3, 100);
        spool_log_seal(&log);
        log.segments[0].bytes[cases[i].spoiled] ^= 0x40;
        check_trace(&log, &plain, cases[i].expected);
        spool_log_fini(&log);
    }
}

static void records_after_a_damaged_one_are_found(void **state)
{
    (void)state;
    struct spool_log log;
    spool_log_init(&log, UUID, LANE, 64 * KIB);
    spool_log_segment(&log, 5, 1);
    spool_log_group(&log, 1, 1, 0);
    add_message(&log, 1, 100);
    struct spool_location spoiled = add_message(&log, 2, 100);
    add_message(&log, 3, 100);
    spool_log_seal(&log);
    log.segments[0].bytes[spoiled.offset_64 * 64 + 30] ^= 1;
    struct feed feed = plain;
    check_trace(&log, &feed, " T1");
    feed.durable_before = 2;
    check_trace(&log, &feed, " G1 M5:65 M5:73 D5:4416/1");
    spool_log_fini(&log);
}

/* Five groups of three messages of 256 bytes: 1 to 3 in segment 5, the others in `second`. */
static void two_segments(struct spool_log *log, uint32_t second)
{
    spool_log_init(log, UUID, LANE, 64 * KIB);
    spool_log_segment(log, 5, 1);
    for (uint64_t sequence = 1; sequence <= 5; sequence++) {
        if (sequence == 4) {
            spool_log_segment(log, second, 4);
        }
        spool_log_group(log, sequence, sequence, 0);
        for (uint32_t i = 0; i < 3; i++) {
            add_message(log, i, 100);
        }
        spool_log_seal(log);
    }
}

static void f28_damage_says_which_bytes_do_not_check(void **state)
{
    (void)state;
    enum { HEAD = 64, RECORD = 256, GROUP = HEAD + 2 * RECORD + 240 };
    static const struct {
        uint32_t second;
        unsigned segment; /* by index: where a byte is changed … */
        size_t spoiled;
        size_t zeros;     /* … or so many become zeros */
        const char *damage;
        struct log_range range;
    } rows[] = {
        {6, 0, 8192 + HEAD + 30, 0, " D5:8256/1 ", {5, 8192 + HEAD, RECORD}},
        {6, 0, 8192 + HEAD + RECORD + 30, 0, " D5:8512/1 ", {5, 8192 + HEAD + RECORD, RECORD}},
        {6, 0, 8192 + HEAD + 2 * RECORD + 30, 0, " D5:8768/1 ",
         {5, 8192 + HEAD + 2 * RECORD, 240}},
        /* Nothing there is wrong but that it is missing: it may be anywhere in the group. */
        {6, 0, 8192 + HEAD, RECORD, " D5:8192/1 ", {5, 8192, GROUP}},
        /* A whole group, before another one, … */
        {6, 0, 8192 + 20, 0, " D5:12288/0 ", {5, 8192, 4096}},
        {6, 1, 4096 + 20, 0, " D6:8192/0 ", {6, 4096, 4096}},
        /* … and the last one of a segment; with a segment missing it may be in no file. */
        {6, 0, 12288 + 20, 0, " D6:4096/0 ", {5, 12288, UINT64_MAX}},
        {7, 0, 12288 + 20, 0, " D7:4096/0 ", {5, 12288, 0}},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct spool_log log;
        two_segments(&log, rows[i].second);
        uint8_t *bytes = log.segments[rows[i].segment].bytes + rows[i].spoiled;
        memset(bytes, 0, rows[i].zeros);
        *bytes ^= rows[i].zeros == 0;
        struct trace *trace = trace_of(&log, &plain);
        assert_non_null(strstr(trace->text, rows[i].damage));
        assert_int_equal(trace->range.segment, rows[i].range.segment);
        assert_int_equal(trace->range.offset, rows[i].range.offset);
        assert_int_equal(trace->range.bytes, rows[i].range.bytes);
        trace_free(trace);
        spool_log_fini(&log);
    }
}

/* From the first to the last of them, and what is good between them. */
static void f28_several_damaged_records_of_a_group_are_one_range(void **state)
{
    (void)state;
    struct spool_log log;
    two_segments(&log, 6);
    log.segments[0].bytes[8192 + 64 + 30] ^= 1;
    log.segments[0].bytes[8192 + 64 + 512 + 30] ^= 1;
    struct trace *trace = trace_of(&log, &plain);
    assert_non_null(strstr(trace->text, " G2 M5:133 D5:8256/2 G3 "));
    assert_int_equal(trace->range.segment, 5);
    assert_int_equal(trace->range.offset, 8256);
    assert_int_equal(trace->range.bytes, 512 + 240);
    trace_free(trace);
    spool_log_fini(&log);
}

static void b05_a_record_without_sense_is_damage_and_one_of_a_newer_kind_an_end(void **state)
{
    (void)state;
    static const struct {
        uint8_t kind;
        uint8_t flags;
        const char *expected;
    } cases[] = {
        {RECORD_OUTCOME, 0, " G1 D5:4160/1 G2 M5:129"},
        {RECORD_VOID, 0, " G1 D5:4160/1 G2 M5:129"},
        {RECORD_CURSOR, 0, " G1 D5:4160/1 G2 M5:129"},
        {RECORD_MESSAGE, 0, " G1 D5:4160/1 G2 M5:129"},
        {RECORD_EVENT, 0, " G1 D5:4160/1 G2 M5:129"},
        {RECORD_NOTHING, RECORD_SKIPPABLE, " G1 R5:65 G2 M5:129"},
        {99, RECORD_SKIPPABLE, " G1 R5:65 G2 M5:129"},
        {99, 0, " G1 N99"},
        {RECORD_ADOPT, 0, " G1 N7"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct spool_log log;
        spool_log_init(&log, UUID, LANE, 64 * KIB);
        spool_log_segment(&log, 5, 1);
        spool_log_group(&log, 1, 1, 0);
        spool_log_record(&log, RECORD_EVENT, SLICE("12"));
        uint8_t *record = log.segments[0].bytes + 4096 + 64;
        record[10] = cases[i].kind;
        record[11] = cases[i].flags;
        spool_log_reseal(&log, record, 1);
        spool_log_seal(&log);
        spool_log_group(&log, 2, 2, 0);
        add_message(&log, 1, 100);
        spool_log_seal(&log);
        check_trace(&log, &plain, cases[i].expected);
        spool_log_fini(&log);
    }
}

static void b11_a_group_of_a_newer_version_ends_the_reading(void **state)
{
    (void)state;
    struct spool_log log;
    three_groups(&log);
    spool_log_group(&log, 4, 4, 0);
    log.group.version = RECORD_VERSION + 1;
    spool_log_seal(&log);
    struct trace *trace = trace_of(&log, &plain);
    char expected[64];
    snprintf(expected, sizeof(expected), " G1 M5:65 G2 M5:129 N%u", RECORD_VERSION + 1);
    assert_string_equal(trace->text, expected);
    trace_free(trace);
    spool_log_fini(&log);
}

static void a_group_cut_by_the_end_of_its_segment_hides_nothing_else(void **state)
{
    (void)state;
    struct spool_log log;
    spool_log_init(&log, UUID, LANE, 64 * KIB);
    spool_log_segment(&log, 5, 1);
    spool_log_group(&log, 1, 1, 0);
    add_message(&log, 1, 100);
    add_message(&log, 2, 20000);
    spool_log_seal(&log);
    log.segments[0].size = 12288;
    spool_log_segment(&log, 6, 2);
    spool_log_group(&log, 2, 1, 0);
    add_message(&log, 3, 100);
    spool_log_seal(&log);
    check_trace(&log, &plain, " T1 G2 M6:65");
    struct feed durable = {.chunk_bytes = 8192, .reads = 2, .durable_before = 3};
    log.segments[1].size = 4096;
    check_trace(&log, &durable, " G1 M5:65 D5:4416/1");
    spool_log_fini(&log);
}

/* --- parts of a log --------------------------------------------------------------------------- */

static void a_stretch_of_durable_groups_is_read_again(void **state)
{
    (void)state;
    struct spool_log log;
    three_groups(&log);
    struct feed feed = {.chunk_bytes = 8192, .reads = 2, .sequence = 2, .begin = 8192,
                        .end = 12288, .durable_before = 3};
    struct trace *trace = trace_of(&log, &feed);
    assert_string_equal(trace->text, " G2 M5:129");
    assert_int_equal(trace->tail_offset, 0); /* it is known to be durable */
    trace_free(trace);
    /* The first group is not the one that was expected. */
    feed.begin = 12288;
    feed.end = 16384;
    feed.durable_before = 4;
    check_trace(&log, &feed, " D5:12288/0 G3 M5:193");
    feed = (struct feed){.chunk_bytes = 4096, .reads = 1, .sequence = 1, .begin = 8192,
                         .end = 12288, .durable_before = 3};
    check_trace(&log, &feed, " D5:8192/0 G2 M5:129");
    /* Nothing was expected. */
    feed.sequence = 0;
    check_trace(&log, &feed, " G2 M5:129");
    /* One before the position stays out. */
    feed = (struct feed){.chunk_bytes = 4096, .reads = 1, .sequence = 3};
    check_trace(&log, &feed, " G3 M5:193");
    spool_log_fini(&log);
}

static void a_caller_stops_and_goes_on_where_it_was(void **state)
{
    (void)state;
    struct log_parser_options options = {
        .uuid = UUID, .lane = LANE, .chunk_bytes = 16 * KIB, .reads = 1};
    struct log_parser parser;
    struct log_item item;
    struct spool_log log;
    spool_log_init(&log, UUID, LANE, 64 * KIB);
    spool_log_segment(&log, 5, 1);
    for (uint64_t sequence = 1; sequence <= 2; sequence++) {
        spool_log_group(&log, sequence, sequence, 0);
        for (uint32_t i = 0; i < 20; i++) {
            add_message(&log, i, 10);
        }
        spool_log_seal(&log);
    }
    void *memory = malloc(log_parser_bytes(&options));
    log_parser_init(&parser, &options, memory);
    log_parser_segment(&parser, 5, 4096);
    memcpy(log_parser_place(&parser), log.segments[0].bytes + 4096, 16 * KIB);
    log_parser_take(&parser, 16 * KIB);
    log_parser_segment_end(&parser);
    unsigned records = 0;
    while (records < 7) {
        records += log_parser_next(&parser, &item) == LOG_RECORD ? 1 : 0;
    }
    /* Another parser may work meanwhile; all of this one's state is its own. */
    struct log_parser later = parser;
    while (log_parser_next(&later, &item) != LOG_MORE) {
        records += item.step == LOG_RECORD ? 1 : 0;
    }
    assert_int_equal(records, 20);
    free(memory);
    spool_log_fini(&log);
}

/* --- the window ------------------------------------------------------------------------------- */

/* Segments full of groups of any size up to the largest, with some damage. */
static void random_log(struct spool_log *log, uint64_t seed)
{
    struct prng prng;
    prng_seed(&prng, seed);
    spool_log_init(log, UUID, LANE, 24 * MIB);
    uint64_t sequence = 1;
    for (uint32_t number = 1; number <= 3; number++) {
        spool_log_segment(log, number, sequence);
        size_t largest = number == 1 ? 20 * KIB : RECORD_GROUP_BYTES_MAX - 8 * KIB;
        size_t full = number == 1 ? 200 * KIB : 14 * MIB;
        while (log->segments[number - 1].size < full) {
            spool_log_group(log, sequence, sequence - prng_below(&prng, 2), 0);
            size_t left = prng_below(&prng, largest);
            for (uint32_t i = 0; i < 3; i++) {
                size_t body = prng_below(&prng, left + 1);
                add_message(log, (uint32_t)sequence + i, body);
                left -= body;
            }
            size_t at = spool_log_seal(log);
            uint8_t *bytes = log->segments[number - 1].bytes;
            if (prng_chance(&prng, 100)) {
                bytes[at + prng_below(&prng, log->group.bytes)] ^= 1;
            }
            sequence += prng_chance(&prng, 50) ? 2 : 1;
        }
    }
}

static void how_the_bytes_come_changes_nothing(void **state)
{
    (void)state;
    static const struct feed feeds[] = {
        {.chunk_bytes = 4 * KIB, .reads = 1},   {.chunk_bytes = 64 * KIB, .reads = 1},
        {.chunk_bytes = 64 * KIB, .reads = 3},  {.chunk_bytes = MIB, .reads = 4},
        {.chunk_bytes = 3 * MIB, .reads = 2},   {.chunk_bytes = 12 * KIB, .reads = 16},
        {.chunk_bytes = 16 * MIB, .reads = 1},
    };
    for (uint64_t seed = 1; seed <= 2; seed++) {
        struct spool_log log;
        random_log(&log, seed);
        struct feed whole = {.chunk_bytes = 32 * MIB, .reads = 1};
        struct trace *expected = trace_of(&log, &whole);
        assert_true(expected->records > 30);
        assert_non_null(strstr(expected->text, "T"));
        for (size_t i = 0; i < COUNT_OF(feeds); i++) {
            struct trace *trace = trace_of(&log, &feeds[i]);
            assert_string_equal(trace->text, expected->text);
            assert_true(XXH3_64bits_digest(trace->bodies) ==
                        XXH3_64bits_digest(expected->bodies));
            trace_free(trace);
        }
        trace_free(expected);
        spool_log_fini(&log);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_in_order_with_their_places),
        cmocka_unit_test(an_empty_log_has_an_end),
        cmocka_unit_test(a_group_is_held_back_until_its_successor_is_known),
        cmocka_unit_test(the_successor_may_stand_in_the_next_segment),
        cmocka_unit_test(voided_groups_do_not_count_however_whole),
        cmocka_unit_test(f04_the_last_group_alone_is_in_doubt_unless_a_later_one_was_begun),
        cmocka_unit_test(what_does_not_check_is_torn_or_damage_by_the_highest_mark),
        cmocka_unit_test(records_after_a_damaged_one_are_found),
        cmocka_unit_test(f28_damage_says_which_bytes_do_not_check),
        cmocka_unit_test(f28_several_damaged_records_of_a_group_are_one_range),
        cmocka_unit_test(b05_a_record_without_sense_is_damage_and_one_of_a_newer_kind_an_end),
        cmocka_unit_test(b11_a_group_of_a_newer_version_ends_the_reading),
        cmocka_unit_test(a_group_cut_by_the_end_of_its_segment_hides_nothing_else),
        cmocka_unit_test(a_stretch_of_durable_groups_is_read_again),
        cmocka_unit_test(a_caller_stops_and_goes_on_where_it_was),
        cmocka_unit_test(how_the_bytes_come_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
