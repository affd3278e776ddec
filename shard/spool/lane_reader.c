#include "shard/spool/lane_reader.h"

#include <errno.h>
#include <string.h>

#include "shard/boot.h"

#define READ_BYTES MIB
#define STUCK_MAX  16 /* reads in a row that brought no whole page: the end of the file */

static void lane_reader_read_done(struct op *op);

int lane_reader_init(struct lane_reader *reader, struct shard *shard, unsigned lane)
{
    struct log_parser_options options = {
        .lane = lane, .chunk_bytes = READ_BYTES, .reads = LANE_READS};
    *reader = (struct lane_reader){.shard = shard, .memory_bytes = log_parser_bytes(&options)};
    for (unsigned i = 0; i < LANE_READS; i++) {
        op_init(&reader->reads[i].op, lane_reader_read_done);
        reader->reads[i].reader = reader;
    }
    reader->memory = boot_memory_take(reader->memory_bytes);
    if (reader->memory == NULL) {
        return -ENOMEM;
    }
    log_parser_init(&reader->parser, &options, reader->memory);
    return 0;
}

void lane_reader_fini(struct lane_reader *reader)
{
    boot_memory_give(reader->memory, reader->memory_bytes);
    reader->memory = NULL;
}

static void lane_reader_submit(struct lane_reader *reader, struct lane_read *read)
{
    uint32_t size = read->careful ? RECORD_PAGE_BYTES : READ_BYTES - read->filled;
    reader->reading++;
    ring_read(reader->shard->ring, &read->op, reader->fd, read->data + read->filled, size,
              read->offset + read->filled);
}

static void lane_reader_begin(struct lane_reader *reader, struct lane_read *read)
{
    read->data = log_parser_place(&reader->parser);
    read->offset = reader->offset;
    read->filled = 0;
    read->stuck = 0;
    read->asked = true;
    read->careful = false;
    read->ended = false;
    reader->offset += READ_BYTES;
    lane_reader_submit(reader, read);
}

void lane_reader_segment(struct lane_reader *reader, int fd, uint32_t number, uint64_t offset)
{
    reader->fd = fd;
    reader->offset = offset;
    reader->ended = false;
    reader->stopped = false;
    reader->next = 0;
    log_parser_segment(&reader->parser, number, offset);
    for (unsigned i = 0; i < LANE_READS; i++) {
        lane_reader_begin(reader, &reader->reads[i]);
    }
}

static void lane_reader_take(struct lane_reader *reader, struct lane_read *read)
{
    read->asked = false;
    if (reader->stopped) {
        return;
    }
    reader->bytes += reader->ended ? 0 : read->filled;
    reader->ended = reader->ended || read->ended;
    log_parser_take(&reader->parser, read->filled);
    reader->stopped = !reader->more(reader);
}

/* Takes what has come, in order, and asks for more. */
static void lane_reader_pump(struct lane_reader *reader)
{
    for (;;) {
        struct lane_read *read = &reader->reads[reader->next];
        if (!op_idle(&read->op) || !read->asked) {
            break;
        }
        lane_reader_take(reader, read);
        reader->next = (reader->next + 1) % LANE_READS;
        if (!reader->ended && !reader->stopped) {
            lane_reader_begin(reader, read);
        }
    }
    if (reader->reading > 0) {
        return;
    }
    if (!reader->stopped) {
        log_parser_segment_end(&reader->parser);
        reader->stopped = !reader->more(reader);
    }
    reader->over(reader);
}

static void lane_reader_read_done(struct op *op)
{
    struct lane_read *read = CONTAINER_OF(op, struct lane_read, op);
    struct lane_reader *reader = read->reader;
    reader->reading--;
    int result = op->result;
    if (result == -EINTR || result == -EAGAIN) {
        lane_reader_submit(reader, read);
        return;
    }
    if (result < 0 && !read->careful) {
        read->careful = true;
        read->filled &= ~(RECORD_PAGE_BYTES - 1);
        lane_reader_submit(reader, read);
        return;
    }
    if (result < 0) {
        /* This page cannot be read: it counts as damage if a group is missed. */
        memset(read->data + read->filled, 0, RECORD_PAGE_BYTES);
        result = (int)RECORD_PAGE_BYTES;
    }
    /* A short read is continued at a whole page; at the end of the file it brings nothing new. */
    uint32_t before = read->filled;
    uint32_t got = before + (uint32_t)result;
    read->filled = got & ~(RECORD_PAGE_BYTES - 1);
    read->stuck = read->filled > before ? 0 : read->stuck + 1;
    read->ended = result == 0 || read->stuck > STUCK_MAX;
    if (read->ended && got > read->filled) {
        /* A file that was cut: what its last page lacks is zeros. */
        read->filled += RECORD_PAGE_BYTES;
        memset(read->data + got, 0, read->filled - got);
    }
    if (!read->ended && read->filled < READ_BYTES) {
        lane_reader_submit(reader, read);
        return;
    }
    lane_reader_pump(reader);
}
