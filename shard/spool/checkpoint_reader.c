#include "shard/spool/checkpoint_reader.h"

#include <errno.h>

#include "core/check.h"
#include "shard/boot.h"

#define MEMORY_BYTES (CHECKPOINT_READS * CHECKPOINT_BLOCK_BYTES)
#define PAGE_BYTES   4096u
#define TRIES_MAX    16
#define ERRORS_MAX   2 /* more tries; then the checkpoint before this one counts */

static void reader_read(struct op *op);

int checkpoint_reader_init(struct checkpoint_reader *reader, struct shard *shard, unsigned lane)
{
    *reader = (struct checkpoint_reader){
        .shard = shard, .lane = (uint16_t)lane, .fds = {-1, -1}};
    reader->memory = boot_memory_take(MEMORY_BYTES);
    for (unsigned i = 0; i < CHECKPOINT_READS; i++) {
        struct checkpoint_read *read = &reader->reads[i];
        op_init(&read->op, reader_read);
        read->reader = reader;
        read->data = reader->memory + (size_t)i * CHECKPOINT_BLOCK_BYTES;
    }
    return reader->memory == NULL ? -ENOMEM : 0;
}

void checkpoint_reader_fini(struct checkpoint_reader *reader)
{
    boot_memory_give(reader->memory, MEMORY_BYTES);
    reader->memory = NULL;
}

unsigned checkpoint_reader_newest(const struct checkpoint_reader *reader)
{
    unsigned newest = CHECKPOINT_FILES;
    for (unsigned i = 0; i < CHECKPOINT_FILES; i++) {
        if (reader->valid[i] &&
            (newest == CHECKPOINT_FILES ||
             reader->heads[i].generation > reader->heads[newest].generation)) {
            newest = i;
        }
    }
    return newest;
}

/* --- reading ---------------------------------------------------------------------------------- */

static uint32_t read_bytes(const struct checkpoint_reader *reader)
{
    return reader->heading ? CHECKPOINT_HEAD_BYTES : CHECKPOINT_BLOCK_BYTES;
}

static void reader_submit(struct checkpoint_reader *reader, struct checkpoint_read *read)
{
    reader->reading++;
    ring_read(reader->shard->ring, &read->op, reader->fds[reader->file],
              read->data + read->filled, read_bytes(reader) - read->filled,
              (uint64_t)read->number * CHECKPOINT_BLOCK_BYTES + read->filled);
}

static void reader_begin(struct checkpoint_reader *reader, struct checkpoint_read *read,
                         uint32_t number)
{
    read->number = number;
    read->filled = 0;
    read->tries = 0;
    read->ready = false;
    read->failed = false;
    reader_submit(reader, read);
}

/* Heads: one file after the other. */
static void reader_next_head(struct checkpoint_reader *reader)
{
    while (reader->file < CHECKPOINT_FILES && reader->fds[reader->file] < 0) {
        reader->file++;
    }
    if (reader->file == CHECKPOINT_FILES) {
        reader->done(reader, 0);
        return;
    }
    reader_begin(reader, &reader->reads[0], 0);
}

static void reader_take_head(struct checkpoint_reader *reader, const struct checkpoint_read *read)
{
    struct checkpoint_head *head = &reader->heads[reader->file];
    reader->valid[reader->file] =
        !read->failed &&
        checkpoint_head_get(slice_make(read->data, read->filled), reader->uuid, head) &&
        head->lane == reader->lane;
    reader->file++;
    reader_next_head(reader);
}

static void reader_take_block(struct checkpoint_reader *reader, const struct checkpoint_read *read)
{
    const struct checkpoint_head *head = &reader->heads[reader->file];
    struct slice block = slice_make(read->data, read->filled);
    struct checkpoint_cursor cursor;
    struct checkpoint_entry entry;
    int step = -1;
    if (!read->failed && checkpoint_open(block, reader->uuid, head, read->number, &cursor)) {
        for (step = checkpoint_next(&cursor, &entry); step == 1;
             step = checkpoint_next(&cursor, &entry)) {
            reader->entry(reader, &entry);
        }
    }
    if (step < 0) {
        reader->error = -EBADMSG;
    }
}

/* Looks at what has come, in order, and asks for more. */
static void reader_pump(struct checkpoint_reader *reader)
{
    uint32_t last = reader->heads[reader->file].blocks;
    while (reader->error == 0 && reader->next_take <= last) {
        struct checkpoint_read *read = &reader->reads[reader->next_take % CHECKPOINT_READS];
        if (!read->ready || read->number != reader->next_take) {
            break;
        }
        read->ready = false;
        reader->next_take++;
        reader_take_block(reader, read);
    }
    while (reader->error == 0 && reader->next_begin <= last &&
           reader->next_begin < reader->next_take + CHECKPOINT_READS) {
        uint32_t number = reader->next_begin++;
        reader_begin(reader, &reader->reads[number % CHECKPOINT_READS], number);
    }
    if (reader->reading == 0 && (reader->error != 0 || reader->next_take > last)) {
        reader->done(reader, reader->error);
    }
}

static void reader_read(struct op *op)
{
    struct checkpoint_read *read = CONTAINER_OF(op, struct checkpoint_read, op);
    struct checkpoint_reader *reader = read->reader;
    int result = op->result;
    reader->reading--;
    if (result > 0) {
        uint32_t before = read->filled;
        read->filled = (read->filled + (uint32_t)result) & ~(PAGE_BYTES - 1);
        read->tries = read->filled > before ? 0 : read->tries;
    }
    bool failed = result < 0 && result != -EINTR && result != -EAGAIN;
    unsigned tries_max = failed ? ERRORS_MAX : TRIES_MAX;
    if (result != 0 && read->filled < read_bytes(reader) && read->tries++ < tries_max) {
        reader_submit(reader, read);
        return;
    }
    read->failed = read->filled < read_bytes(reader);
    if (reader->heading) {
        reader_take_head(reader, read);
        return;
    }
    read->ready = true;
    reader_pump(reader);
}

void checkpoint_reader_heads(struct checkpoint_reader *reader, uint64_t uuid)
{
    reader->uuid = uuid;
    reader->heading = true;
    reader->file = 0;
    reader_next_head(reader);
}

void checkpoint_reader_blocks(struct checkpoint_reader *reader, unsigned file)
{
    reader->heading = false;
    reader->file = file;
    reader->error = 0;
    reader->next_begin = 1;
    reader->next_take = 1;
    reader_pump(reader);
}
