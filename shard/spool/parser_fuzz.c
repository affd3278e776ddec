/*
 * A lane's log of any bytes. The input is pages, each u16 size and so many bytes, zeros behind them
 * to 4096; a size of 0xFFFF ends a segment. The first byte says how the log is given and whether
 * GROUP headers and records get checksums that are right.
 */
#include "shard/spool/parser.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/little.h"

#define UUID      7
#define LANE      0
#define PAGES_MAX 64
#define SEALED    1
#define DURABLE   2
#define EXPECTING 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Pages of up to PAGES_MAX segments, one after another. */
struct log {
    uint8_t *pages; /* PAGES_MAX of them */
    uint32_t count;
    uint32_t ends[PAGES_MAX + 1]; /* of each segment, in pages */
    uint32_t segments;
    uint8_t how;
};

/* Every header and record that stands where one may stand gets its checksum. */
static void seal_page(uint8_t *page)
{
    struct record_group group;
    uint32_t head;
    uint32_t bytes;
    if (memcmp(page, "Rpg1", 4) != 0) {
        return;
    }
    /* Written again by the codec, which knows where the checksum goes. */
    group = (struct record_group){
        .version = little_u16(page + 4), .lane = little_u16(page + 6),
        .segment = little_u32(page + 8), .bytes = little_u32(page + 12),
        .sequence = little_u64(page + 16), .durable_before = little_u64(page + 24),
        .records = little_u32(page + 32), .log_first = little_u32(page + 36),
        .void_from = little_u64(page + 40), .wall_ns = little_u64(page + 48)};
    record_group_put(page, &group, UUID);
    for (uint32_t at = RECORD_GROUP_BYTES; at + RECORD_HEAD_BYTES <= RECORD_PAGE_BYTES; at += 8) {
        if (record_peek(slice_make(page + at, RECORD_PAGE_BYTES - at), &head, &bytes) &&
            head <= RECORD_PAGE_BYTES - at) {
            record_seal(page + at, group.sequence, UUID);
            at += (uint32_t)align_up(head, 8) - 8;
        }
    }
}

static void log_make(struct log *log, const uint8_t *data, size_t size)
{
    size_t at = 1;
    *log = (struct log){.pages = calloc(PAGES_MAX, RECORD_PAGE_BYTES), .how = data[0]};
    CHECK(log->pages != NULL);
    while (at + 2 <= size && log->count < PAGES_MAX) {
        uint16_t bytes = little_u16(data + at);
        at += 2;
        if (bytes == UINT16_MAX) {
            log->ends[log->segments++] = log->count;
            if (log->segments == PAGES_MAX) {
                break;
            }
            continue;
        }
        size_t present = MIN_OF(MIN_OF((size_t)bytes, size - at), (size_t)RECORD_PAGE_BYTES);
        uint8_t *page = log->pages + (size_t)log->count++ * RECORD_PAGE_BYTES;
        memcpy(page, data + at, present);
        at += present;
        if ((log->how & SEALED) != 0) {
            seal_page(page);
        }
    }
    log->ends[log->segments++] = log->count;
}

/* What is said must be so; returns a hash of all of it. */
struct judge {
    uint64_t hash;
    uint64_t sequence; /* of the last group that was said */
    uint64_t end;      /* of the last thing in its group */
    uint32_t bytes;    /* of the group */
    uint64_t begin;
};

static void judge_add(struct judge *judge, const void *data, size_t size)
{
    judge->hash = XXH3_64bits_withSeed(data, size, judge->hash + 1);
}

static void judge_item(struct judge *judge, const struct log_item *item)
{
    uint64_t said[] = {item->step, item->segment, item->offset};
    judge_add(judge, said, sizeof(said));
    if (item->step == LOG_GROUP || item->step == LOG_TORN) {
        CHECK(item->group->sequence > judge->sequence);
        CHECK(item->group->segment == item->segment && item->offset % RECORD_PAGE_BYTES == 0);
        judge->sequence = item->group->sequence;
        judge->bytes = item->group->bytes;
        judge->begin = item->offset;
        judge->end = item->offset + RECORD_GROUP_BYTES;
    } else if (item->step == LOG_RECORD) {
        CHECK(item->offset >= judge->end);
        judge->end = item->offset + item->record.bytes;
        CHECK(judge->end <= judge->begin + judge->bytes);
        CHECK(item->record.head.size + item->record.tail.size == item->record.bytes);
        judge_add(judge, item->record.head.data, item->record.head.size);
        judge_add(judge, item->record.tail.data, item->record.tail.size);
    }
}

/* False: the end. */
static bool judge_drain(struct judge *judge, struct log_parser *parser)
{
    struct log_item item;
    for (;;) {
        enum log_step step = log_parser_next(parser, &item);
        if (step == LOG_MORE || step == LOG_END) {
            return step == LOG_MORE;
        }
        judge_item(judge, &item);
        if (step == LOG_NEWER) {
            CHECK(log_parser_next(parser, &item) == LOG_NEWER);
            return false;
        }
    }
}

static bool judge_segment(struct judge *judge, struct log_parser *parser, struct slice bytes)
{
    size_t at = 0;
    bool more = true;
    while (at < bytes.size && more) {
        size_t size = MIN_OF((size_t)parser->chunk_bytes, bytes.size - at);
        memcpy(log_parser_place(parser), bytes.data + at, size);
        log_parser_take(parser, (uint32_t)size);
        at += size;
        more = judge_drain(judge, parser);
    }
    if (more) {
        log_parser_segment_end(parser);
        more = judge_drain(judge, parser);
    }
    return more;
}

static uint64_t judge_log(const struct log *log, uint32_t chunk_bytes)
{
    struct log_parser_options options = {
        .uuid = UUID, .lane = LANE, .chunk_bytes = chunk_bytes, .reads = 1};
    struct judge judge = {0};
    struct log_parser parser;
    void *memory = malloc(log_parser_bytes(&options));
    CHECK(memory != NULL);
    log_parser_init(&parser, &options, memory);
    log_parser_start(&parser, (log->how & EXPECTING) != 0 ? 1 : 0,
                     (log->how & DURABLE) != 0 ? UINT64_MAX : 0);
    bool more = true;
    for (uint32_t i = 0, begin = 0; i < log->segments && more; begin = log->ends[i++]) {
        log_parser_segment(&parser, i + 1, RECORD_PAGE_BYTES);
        more = judge_segment(&judge, &parser,
                             slice_make(log->pages + (size_t)begin * RECORD_PAGE_BYTES,
                                        (size_t)(log->ends[i] - begin) * RECORD_PAGE_BYTES));
    }
    if (more) {
        log_parser_end(&parser);
        CHECK(!judge_drain(&judge, &parser));
    }
    free(memory);
    return judge.hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct log log;
    if (size < 1) {
        return 0;
    }
    log_make(&log, data, size);
    uint64_t hash = judge_log(&log, PAGES_MAX * RECORD_PAGE_BYTES);
    CHECK(judge_log(&log, RECORD_PAGE_BYTES) == hash);
    CHECK(judge_log(&log, 3 * RECORD_PAGE_BYTES) == hash);
    free(log.pages);
    return 0;
}
