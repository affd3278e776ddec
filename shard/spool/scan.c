#include "shard/spool/scan.h"

#include <errno.h>
#include <string.h>

#include "core/check.h"
#include "shard/boot.h"
#include "shard/spool/segment.h"

#define STUCK_MAX    16
#define PAUSE_NS     (16 * NS_PER_MS)
#define FAILURES_MAX 5 /* of a page; the pause doubles: half a second altogether */
/* Groups follow each other: after twice the longest one without any, the segment holds no more. */
#define QUIET_BYTES_MAX (2 * (uint64_t)RECORD_GROUP_BYTES_MAX)

enum { SCAN_OFF, SCAN_SEGMENT, SCAN_OPENING, SCAN_READING, SCAN_OVER };

static void scan_read_done(struct op *op);
static void scan_read_again(struct timer *timer);
static void scan_file_open(struct descriptor_wait *wait);
static void scan_rest(struct scan *scan);

static void scan_wake(struct deferred *deferred)
{
    struct scan *scan = CONTAINER_OF(deferred, struct scan, deferred);
    if (scan->state != SCAN_OFF) {
        scan->more(scan);
    }
}

static struct log_parser_options parser_options(const struct scan *scan)
{
    return (struct log_parser_options){.uuid = scan->uuid,
                                       .lane = scan->lane,
                                       .chunk_bytes = SCAN_CHUNK_BYTES,
                                       .reads = SCAN_READS};
}

int scan_init(struct scan *scan, struct shard *shard, void (*more)(struct scan *scan))
{
    *scan = (struct scan){.shard = shard, .more = more, .wait = {.done = scan_file_open}};
    deferred_init(&scan->deferred, scan_wake);
    for (unsigned i = 0; i < SCAN_READS; i++) {
        op_init(&scan->reads[i].op, scan_read_done);
        timer_init(&scan->reads[i].retry, scan_read_again);
        scan->reads[i].scan = scan;
    }
    struct log_parser_options options = parser_options(scan);
    scan->memory_bytes = log_parser_bytes(&options);
    scan->memory = boot_memory_take(scan->memory_bytes);
    return scan->memory == NULL ? -ENOMEM : 0;
}

static void scan_pauses_clear(struct scan *scan)
{
    for (unsigned i = 0; i < SCAN_READS; i++) {
        shard_timer_clear(scan->shard, &scan->reads[i].retry);
    }
}

void scan_fini(struct scan *scan)
{
    deferred_cancel(&scan->deferred);
    scan_pauses_clear(scan);
    boot_memory_give(scan->memory, scan->memory_bytes);
    scan->memory = NULL;
}

void scan_attach(struct scan *scan, struct segments *segments, uint64_t uuid)
{
    scan_attach_adopted(scan, segments, uuid, segments->options->lane, 0);
}

void scan_attach_adopted(struct scan *scan, struct segments *segments, uint64_t uuid,
                         unsigned lane, uint32_t shift)
{
    scan->segments = segments;
    scan->uuid = uuid;
    scan->lane = lane;
    scan->shift = shift;
    struct log_parser_options options = parser_options(scan);
    log_parser_init(&scan->parser, &options, scan->memory);
}

void scan_start(struct scan *scan, struct spool_position from, struct spool_position to,
                uint64_t durable_before)
{
    CHECK(scan_idle(scan) && scan->segment == NULL);
    scan->from = from;
    scan->to = to;
    scan->number = from.group.segment;
    scan->state = SCAN_SEGMENT;
    log_parser_start(&scan->parser, from.sequence, durable_before);
}

uint64_t scan_distance(const struct scan *scan, struct spool_position from,
                       struct spool_position to)
{
    uint64_t segments = to.group.segment - MIN_OF(from.group.segment, to.group.segment);
    uint64_t begin = (uint64_t)from.group.offset_64 * RECORD_PLACE_BYTES;
    uint64_t end = segments * scan->segments->options->segment_bytes +
                   (uint64_t)to.group.offset_64 * RECORD_PLACE_BYTES;
    return end > begin ? end - begin : 0;
}

/* --- reading ---------------------------------------------------------------------------------- */

static void scan_read_submit(struct scan_read *read)
{
    uint32_t size = read->careful ? RECORD_PAGE_BYTES : read->size - read->filled;
    ring_read(read->scan->shard->ring, &read->op, read->scan->segment->fd,
              read->data + read->filled, size, read->offset + read->filled);
}

static void scan_read_begin(struct scan *scan)
{
    struct scan_read *read = &scan->reads[(scan->first + scan->placed) % SCAN_READS];
    read->data = log_parser_place(&scan->parser);
    read->offset = scan->read_at;
    read->size = (uint32_t)MIN_OF(scan->read_end - scan->read_at, (uint64_t)SCAN_CHUNK_BYTES);
    read->filled = 0;
    read->stuck = 0;
    read->failures = 0;
    read->careful = false;
    read->ended = false;
    scan->read_at += read->size;
    scan->placed++;
    scan_read_submit(read);
}

static void scan_read_done(struct op *op)
{
    struct scan_read *read = CONTAINER_OF(op, struct scan_read, op);
    struct scan *scan = read->scan;
    int result = op->result;
    bool again = result == -EINTR || result == -EAGAIN;
    if (scan->state == SCAN_OFF) {
        read->ended = true;
        scan_rest(scan);
        return;
    }
    if (again) {
        read->stuck++;
        scan_read_submit(read);
        return;
    }
    if (result < 0 && read->failures < FAILURES_MAX) {
        read->careful = true;
        shard_timer_set(scan->shard, &read->retry, PAUSE_NS << read->failures);
        read->failures++;
        return;
    }
    if (result < 0) {
        /* This page cannot be read: what stood in it is missed, and counts as damage. */
        memset(read->data + read->filled, 0, RECORD_PAGE_BYTES);
        result = (int)RECORD_PAGE_BYTES;
    }
    read->failures = 0;
    /* A short read is continued at a whole page; at the end of the file it brings nothing. */
    uint32_t before = read->filled;
    read->filled = (read->filled + (uint32_t)result) & ~(RECORD_PAGE_BYTES - 1);
    read->stuck = read->filled > before ? 0 : read->stuck + 1;
    read->ended = result == 0 || read->stuck > STUCK_MAX || read->filled == read->size;
    if (!read->ended) {
        scan_read_submit(read);
        return;
    }
    shard_defer(scan->shard, &scan->deferred);
}

static void scan_read_again(struct timer *timer)
{
    scan_read_submit(CONTAINER_OF(timer, struct scan_read, retry));
}

bool scan_idle(const struct scan *scan)
{
    bool idle = true;
    for (unsigned i = 0; i < SCAN_READS; i++) {
        idle = idle && op_idle(&scan->reads[i].op);
    }
    return idle;
}

static void scan_unpin(struct scan *scan)
{
    if (scan->segment != NULL) {
        struct segment *segment = scan->segment;
        scan->segment = NULL;
        segments_unpin(scan->segments, segment);
    }
}

void scan_cancel(struct scan *scan)
{
    scan->state = SCAN_OFF;
    scan->placed = 0;
    deferred_cancel(&scan->deferred);
    scan_pauses_clear(scan);
    descriptors_withdraw(&scan->wait);
    scan_rest(scan);
}

/* Cancelled: the segment stays open until the last read has come. */
static void scan_rest(struct scan *scan)
{
    if (scan_idle(scan)) {
        scan_unpin(scan);
    }
}

/* --- the way through the segments ------------------------------------------------------------- */

/* The lane's first segment from this number on; some may have left the log. */
static struct segment *scan_find(const struct scan *scan, uint32_t number)
{
    const struct segments *segments = scan->segments;
    for (uint32_t i = segments_index(segments, number); i < segments->log.count; i++) {
        struct segment *segment = segments_at(segments, i);
        if (segment->lane == scan->lane) {
            return segment;
        }
    }
    return NULL;
}

/* True: the file of its segment is open. Else `wait` will say so. */
static bool scan_file_use(struct scan *scan)
{
    bool open = descriptors_use(&scan->segments->descriptors, &scan->wait, scan->segment);
    scan->state = open ? SCAN_READING : SCAN_OPENING;
    return open;
}

static void scan_file_open(struct descriptor_wait *wait)
{
    struct scan *scan = CONTAINER_OF(wait, struct scan, wait);
    if (descriptors_may_pass(wait->error) && !scan_file_use(scan)) {
        return;
    }
    if (wait->error != 0) {
        /* A file that is gone is passed over: what stood in it is missed, and counts as damage. */
        scan->read_end = scan->read_at;
    }
    scan->state = SCAN_READING;
    shard_defer(scan->shard, &scan->deferred);
}

/* The next segment of the stretch; false: there is none. */
static bool scan_segment_begin(struct scan *scan)
{
    struct segment *segment = scan_find(scan, scan->number);
    if (segment == NULL || segment->number > scan->to.group.segment) {
        return false;
    }
    scan->number = segment->number;
    bool first = scan->number == scan->from.group.segment;
    bool last = scan->number == scan->to.group.segment;
    uint64_t begin = first ? (uint64_t)scan->from.group.offset_64 * RECORD_PLACE_BYTES : 0;
    uint64_t end = last ? (uint64_t)scan->to.group.offset_64 * RECORD_PLACE_BYTES
                        : scan->segments->options->segment_bytes;
    segment->pins++;
    scan->segment = segment;
    scan->read_at = MAX_OF(begin, (uint64_t)RECORD_PAGE_BYTES);
    scan->read_end = MAX_OF(end, scan->read_at);
    scan->quiet_bytes = 0;
    scan->sequence_seen = scan->parser.sequence_max;
    scan->first = 0;
    scan->placed = 0;
    log_parser_segment(&scan->parser, scan->number - scan->shift, scan->read_at);
    (void)scan_file_use(scan);
    return true;
}

/* The parser wants more of this segment. True: it has got some, or has been told the end. */
static bool scan_feed(struct scan *scan)
{
    struct scan_read *read = &scan->reads[scan->first];
    if (scan->placed > 0 && read->ended) {
        log_parser_take(&scan->parser, read->filled);
        scan->quiet_bytes += read->filled;
        if (read->filled < read->size) {
            scan->read_end = scan->read_at;
        }
        scan->first = (scan->first + 1) % SCAN_READS;
        scan->placed--;
        return true;
    }
    if (scan->parser.sequence_max != scan->sequence_seen) {
        scan->sequence_seen = scan->parser.sequence_max;
        scan->quiet_bytes = 0;
    }
    if (scan->quiet_bytes >= QUIET_BYTES_MAX) {
        scan->read_end = scan->read_at;
    }
    while (scan->placed < SCAN_READS && scan->read_at < scan->read_end) {
        scan_read_begin(scan);
    }
    if (scan->placed > 0) {
        return false;
    }
    log_parser_segment_end(&scan->parser);
    scan_unpin(scan);
    scan->number++;
    scan->state = SCAN_SEGMENT;
    return true;
}

enum log_step scan_next(struct scan *scan, struct log_item *item_out)
{
    CHECK(scan->state != SCAN_OFF);
    for (;;) {
        enum log_step step = log_parser_next(&scan->parser, item_out);
        if (step != LOG_MORE) {
            log_item_shift(item_out, scan->shift);
            return step;
        }
        if (scan->state == SCAN_OPENING || (scan->state == SCAN_READING && !scan_feed(scan))) {
            return LOG_MORE;
        }
        if (scan->state == SCAN_SEGMENT && !scan_segment_begin(scan)) {
            scan->state = SCAN_OVER;
            log_parser_end(&scan->parser);
        }
    }
}
