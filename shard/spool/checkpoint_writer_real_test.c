/* Checkpoints on the real ring, real workers and a real directory under build/. */
#include "shard/spool/checkpoint_writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shard/spool/spool.h"

#define UUID    0x1234567890ABCDEFull
#define LANE    1
#define WAIT_NS (60 * NS_PER_S)

struct rig {
    struct ring *ring;
    struct work *work;
    struct shard shard;
    struct shard *peers[1];
    struct spool_options options;
    struct checkpoint_writer writer;
    uint32_t count; /* rows */
    uint32_t at;
    uint32_t generation;
    bool done;
    bool closed;
    int error;
    char path[64];
};

static struct checkpoint_row row_make(uint32_t index, uint32_t generation)
{
    return (struct checkpoint_row){.location = {.segment = index / 7, .offset_64 = index},
                                   .due_s = index, .created_s = generation};
}

static bool rig_put(struct checkpoint_writer *writer, struct checkpoint_block *block)
{
    struct rig *rig = CONTAINER_OF(writer, struct rig, writer);
    while (rig->at < rig->count) {
        struct checkpoint_row row = row_make(rig->at, rig->generation);
        if (!checkpoint_put_row(block, &row)) {
            return true;
        }
        rig->at++;
    }
    return false;
}

static void rig_synced(struct checkpoint_writer *writer)
{
    struct checkpoint_head head = {.event_sequence = 1234};
    checkpoint_writer_finish(writer, &head);
}

static void rig_done(struct checkpoint_writer *writer, int error)
{
    struct rig *rig = CONTAINER_OF(writer, struct rig, writer);
    rig->done = true;
    rig->error = error;
}

static void rig_closed(struct checkpoint_writer *writer)
{
    CONTAINER_OF(writer, struct rig, writer)->closed = true;
}

/* Turns until `*flag`; fails when that takes for ever. */
static void rig_turn_until(struct rig *rig, const bool *flag)
{
    uint64_t end_ns = ring_monotonic_ns(rig->ring) + WAIT_NS;
    while (!*flag && ring_monotonic_ns(rig->ring) < end_ns) {
        shard_turn(&rig->shard, true);
    }
    assert_true(*flag);
}

static void rig_open(struct rig *rig)
{
    char text[256];
    struct buf reason;
    buf_init(&reason, text, sizeof(text));
    *rig = (struct rig){.options = {.lane = LANE, .sync = true}};
    (void)mkdir("build", 0755);
    snprintf(rig->path, sizeof(rig->path), "build/checkpoint-XXXXXX");
    assert_non_null(mkdtemp(rig->path));
    struct ring_options options = {
        .submit_entries = 64, .complete_entries = 256, .buffer_count = 4, .buffer_bytes = 64};
    assert_int_equal(ring_open(&options, &rig->ring, &reason), 0);
    assert_int_equal(work_open(NULL, 8, &rig->work), 0);
    rig->peers[0] = &rig->shard;
    struct shard_options shard_options = {
        .count = 1, .ring = rig->ring, .work = rig->work, .peers = rig->peers};
    assert_int_equal(shard_init(&rig->shard, &shard_options), 0);
    assert_int_equal(checkpoint_writer_init(&rig->writer, &rig->shard, &rig->options, rig->path,
                                            UUID),
                     0);
    rig->writer.put = rig_put;
    rig->writer.synced = rig_synced;
    rig->writer.done = rig_done;
}

static void rig_close(struct rig *rig)
{
    checkpoint_writer_close(&rig->writer, rig_closed);
    rig_turn_until(rig, &rig->closed);
    for (unsigned file = 0; file < CHECKPOINT_FILES; file++) {
        (void)unlink(checkpoint_writer_path(&rig->writer, file));
    }
    checkpoint_writer_fini(&rig->writer);
    shard_fini(&rig->shard);
    work_close(rig->work);
    assert_int_equal(rmdir(rig->path), 0);
}

static int rig_write(struct rig *rig, unsigned file, uint32_t generation, uint32_t count)
{
    rig->count = count;
    rig->at = 0;
    rig->generation = generation;
    rig->done = false;
    checkpoint_writer_start(&rig->writer, file, generation);
    rig_turn_until(rig, &rig->done);
    return rig->error;
}

/* Every row of this checkpoint stands in the file, and nothing else. */
static void assert_stands(struct rig *rig, unsigned file, uint32_t generation, uint32_t count)
{
    uint8_t *bytes = malloc(CHECKPOINT_BLOCK_BYTES);
    assert_non_null(bytes);
    struct slice block = slice_make(bytes, CHECKPOINT_BLOCK_BYTES);
    struct checkpoint_head head;
    struct checkpoint_cursor cursor;
    struct checkpoint_entry entry;
    uint32_t index = 0;
    int fd = open(checkpoint_writer_path(&rig->writer, file), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, bytes, CHECKPOINT_BLOCK_BYTES), CHECKPOINT_BLOCK_BYTES);
    assert_true(checkpoint_head_get(block, UUID, &head));
    assert_int_equal(head.lane, LANE);
    assert_int_equal(head.generation, generation);
    assert_int_equal(head.rows, count);
    assert_int_equal(head.event_sequence, 1234);
    for (uint32_t i = 1; i <= head.blocks; i++) {
        assert_int_equal(read(fd, bytes, CHECKPOINT_BLOCK_BYTES), CHECKPOINT_BLOCK_BYTES);
        assert_true(checkpoint_open(block, UUID, &head, i, &cursor));
        int step = checkpoint_next(&cursor, &entry);
        for (; step > 0; step = checkpoint_next(&cursor, &entry)) {
            struct checkpoint_row wanted = row_make(index++, generation);
            assert_int_equal(entry.kind, CHECKPOINT_ROW);
            assert_memory_equal(&entry.row, &wanted, offsetof(struct checkpoint_row, urgent));
        }
        assert_int_equal(step, 0);
    }
    assert_int_equal(index, count);
    close(fd);
    free(bytes);
}

static void a_checkpoint_is_read_back_from_a_real_disk(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig);
    assert_int_equal(rig_write(&rig, 0, 1, 100000), 0);
    assert_stands(&rig, 0, 1, 100000);
    assert_int_equal(rig_write(&rig, 1, 2, 3000), 0);
    assert_int_equal(rig_write(&rig, 0, 3, 50000), 0);
    assert_stands(&rig, 0, 3, 50000);
    assert_stands(&rig, 1, 2, 3000);
    rig_close(&rig);
}

static void a_lane_that_is_not_there_is_an_error(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig);
    rig.writer.lane_path = "build/no-such-lane";
    assert_true(rig_write(&rig, 0, 1, 10) < 0);
    assert_true(rig_write(&rig, 0, 2, 10) < 0);
    rig.writer.lane_path = rig.path;
    assert_int_equal(rig_write(&rig, 0, 3, 10), 0);
    assert_stands(&rig, 0, 3, 10);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_checkpoint_is_read_back_from_a_real_disk),
        cmocka_unit_test(a_lane_that_is_not_there_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
