/* Checkpoints of one lane in the simulator: what stands in the files at every moment. */
#include "shard/spool/checkpoint_writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shard/spool/spool.h"
#include "tests/sim/sim.h"

#define UUID        0xABCDEF0123456789ull
#define LANE        3
#define LANE_PATH   "spool/lane-003"
#define ROWS_MAX    20000u
#define TURN_ROWS   2048u /* looked at in a turn */
#define NAME_ROWS   1000u /* a queue is named before every so many */
#define LONG_NS     (600 * NS_PER_S)
#define STATES      (CHECKPOINT_CLOSING + 1)

/* One process with one shard that has rows, and a writer of checkpoints. */
struct rig {
    struct sim *sim;
    struct sim_disk *disk;
    struct sim_node *node;
    struct ring *ring;
    struct work *work;
    struct shard *shard;
    struct shard *peers[1];
    struct spool_options options;
    struct checkpoint_writer writer;
    uint32_t count;         /* rows */
    uint32_t at;            /* the next one to put */
    uint32_t generation;    /* of the checkpoint being written */
    uint64_t put_turn;
    uint64_t largest_turn;  /* bytes put in one turn */
    uint32_t version;       /* of the rows: grows every turn, when `changing` */
    uint32_t version_begun;
    bool changing;
    bool named;
    bool holding;           /* does not finish when synced */
    bool sparse;            /* every other put brings nothing */
    unsigned puts;
    unsigned synced;
    unsigned dones;
    unsigned closes;
    int error;              /* of the last done */
    unsigned abort_at_put;
};

/* --- rows ------------------------------------------------------------------------------------- */

static struct checkpoint_row row_make(uint32_t index, uint32_t generation)
{
    return (struct checkpoint_row){
        .location = {.segment = 1 + index / 7, .offset_64 = index},
        .recipient = (uint16_t)(index % 3),
        .queue = index / NAME_ROWS,
        .created_s = generation,
        .size_64 = index * 7,
    };
}

static struct slice name_make(char text[32], uint32_t number)
{
    int size = snprintf(text, 32, "tenant%u@example.com", number);
    return slice_make(text, (size_t)size);
}

static bool rows_put(struct rig *rig, struct checkpoint_block *block)
{
    for (unsigned looked = 0; rig->at < rig->count; looked++) {
        char text[32];
        uint32_t queue = rig->at / NAME_ROWS;
        if (looked == TURN_ROWS) {
            return true;
        }
        if (rig->at % NAME_ROWS == 0 && !rig->named &&
            !checkpoint_put_queue(block, queue, name_make(text, queue))) {
            return true;
        }
        rig->named = true;
        struct checkpoint_row row = row_make(rig->at, rig->generation);
        row.due_s = rig->version;
        if (!checkpoint_put_row(block, &row)) {
            return true;
        }
        rig->at++;
        rig->named = false;
    }
    return false;
}

static bool rig_put(struct checkpoint_writer *writer, struct checkpoint_block *block)
{
    struct rig *rig = CONTAINER_OF(writer, struct rig, writer);
    uint64_t turn = 1 + atomic_load(&rig->shard->turns);
    if (turn == rig->put_turn) {
        sim_fail(rig->sim, "two puts in one turn");
    }
    rig->put_turn = turn;
    rig->puts++;
    if (rig->puts == rig->abort_at_put) {
        checkpoint_writer_abort(writer);
    }
    if (rig->sparse && rig->puts % 2 != 0) {
        return true;
    }
    uint32_t before = block->size;
    bool more = rows_put(rig, block);
    rig->largest_turn = MAX_OF(rig->largest_turn, block->size - before);
    return more;
}

/* --- the rig ---------------------------------------------------------------------------------- */

static const struct checkpoint_head begun = {
    .begin = {.sequence = 41, .group = {.segment = 7, .offset_64 = 64}},
    .cursor = {.sequence = 39, .group = {.segment = 6, .offset_64 = 128}},
    .event_sequence = 1234,
    .next_segment = 8,
    .boot = 77,
    .wall_ns = 99,
};

static void rig_synced(struct checkpoint_writer *writer)
{
    struct rig *rig = CONTAINER_OF(writer, struct rig, writer);
    rig->synced++;
    if (!rig->holding) {
        checkpoint_writer_finish(writer, &begun);
    }
}

static void rig_done(struct checkpoint_writer *writer, int error)
{
    struct rig *rig = CONTAINER_OF(writer, struct rig, writer);
    const char *what = "";
    rig->dones++;
    rig->error = error;
    if (!checkpoint_writer_idle(writer) || !sim_ring_idle(rig->ring, &what)) {
        sim_fail(rig->sim, "done too early: %s", what);
    }
}

static void rig_closed(struct checkpoint_writer *writer)
{
    CONTAINER_OF(writer, struct rig, writer)->closes++;
}

static void rig_turn(void *context)
{
    struct rig *rig = context;
    if (rig->changing) {
        rig->version++;
    }
    shard_turn(rig->shard, false);
}

static void rig_boot(struct rig *rig)
{
    struct ring_options options = {.submit_entries = 64,
                                   .complete_entries = 256,
                                   .buffer_count = 4,
                                   .buffer_bytes = 64,
                                   .world = rig->node};
    assert_int_equal(ring_open(&options, &rig->ring, NULL), 0);
    assert_int_equal(work_open(rig->node, 8, &rig->work), 0);
    rig->shard = calloc(1, sizeof(*rig->shard));
    assert_non_null(rig->shard);
    rig->peers[0] = rig->shard;
    rig->put_turn = 0;
    struct shard_options shard_options = {
        .count = 1, .ring = rig->ring, .work = rig->work, .peers = rig->peers};
    assert_int_equal(shard_init(rig->shard, &shard_options), 0);
    sim_actor_set(rig->ring, rig_turn, rig);
    assert_int_equal(checkpoint_writer_init(&rig->writer, rig->shard, &rig->options, LANE_PATH,
                                            UUID),
                     0);
    rig->writer.put = rig_put;
    rig->writer.synced = rig_synced;
    rig->writer.done = rig_done;
}

static void rig_make(struct rig *rig, struct sim *sim)
{
    *rig = (struct rig){.sim = sim, .count = 5000};
    rig->disk = sim_disk_open(sim, 64 * MIB);
    rig->node = sim_node_open(sim, rig->disk);
    rig->options = (struct spool_options){.path = "spool", .lane = LANE, .sync = true};
    sim_disk_alignment_set(rig->disk, 4096);
    assert_int_equal(sim_disk_make_dir(rig->disk, "spool"), 0);
    assert_int_equal(sim_disk_make_dir(rig->disk, LANE_PATH), 0);
    rig_boot(rig);
}

/* The process ends, by a kill or for want of power. */
static void rig_crash(struct rig *rig, bool power)
{
    if (power) {
        sim_node_power_cut(rig->node);
    } else {
        sim_node_kill(rig->node);
    }
    checkpoint_writer_fini(&rig->writer);
    free(rig->shard);
}

static void rig_open(struct rig *rig)
{
    struct sim_options options = {.seed = 1};
    rig_make(rig, sim_open(&options));
}

static bool rig_is_closed(void *context)
{
    return ((struct rig *)context)->closes > 0;
}

/* Closes the files and all else, and nothing is left over. */
static void rig_stop(struct rig *rig)
{
    const char *what = "";
    checkpoint_writer_close(&rig->writer, rig_closed);
    ring_wake(rig->ring);
    assert_true(sim_run_until(rig->sim, rig_is_closed, rig, LONG_NS));
    assert_int_equal(rig->closes, 1);
    checkpoint_writer_fini(&rig->writer);
    shard_fini(rig->shard);
    work_close(rig->work);
    free(rig->shard);
    if (!sim_node_idle(rig->node, &what)) {
        fail_msg("%s", what);
    }
}

static void rig_close(struct rig *rig)
{
    struct sim *sim = rig->sim;
    rig_stop(rig);
    if (sim_failed(sim)) {
        fail_msg("%s", sim_failure(sim));
    }
    sim_close(sim);
}

static void rig_start(struct rig *rig, unsigned file, uint32_t generation)
{
    rig->generation = generation;
    rig->at = 0;
    rig->named = false;
    rig->puts = 0;
    rig->synced = 0;
    rig->dones = 0;
    rig->error = 0;
    rig->version_begun = rig->version;
    checkpoint_writer_start(&rig->writer, file, generation);
    assert_false(checkpoint_writer_idle(&rig->writer));
    ring_wake(rig->ring);
}

static bool rig_is_done(void *context)
{
    return ((struct rig *)context)->dones > 0;
}

static bool rig_is_synced(void *context)
{
    return ((struct rig *)context)->synced > 0;
}

/* To its end; how that was. */
static int rig_wait(struct rig *rig)
{
    assert_true(sim_run_until(rig->sim, rig_is_done, rig, LONG_NS));
    assert_int_equal(rig->dones, 1);
    return rig->error;
}

static int rig_write(struct rig *rig, unsigned file, uint32_t generation)
{
    rig_start(rig, file, generation);
    return rig_wait(rig);
}

/* --- what stands in a file -------------------------------------------------------------------- */

enum standing { NOTHING, WHOLE, BROKEN };

static const char *file_path(unsigned file)
{
    return file == 0 ? LANE_PATH "/checkpoint-0" : LANE_PATH "/checkpoint-1";
}

/* Entries of one block against the model; the index of the next row, or UINT32_MAX. */
static uint32_t block_check(const struct rig *rig, struct checkpoint_cursor cursor,
                            uint32_t generation, uint32_t index)
{
    struct checkpoint_entry entry;
    int step = checkpoint_next(&cursor, &entry);
    for (; step > 0; step = checkpoint_next(&cursor, &entry)) {
        char text[32];
        if (entry.kind == CHECKPOINT_QUEUE) {
            struct slice name = name_make(text, entry.queue.number);
            if (index % NAME_ROWS != 0 || entry.queue.number != index / NAME_ROWS ||
                !slice_equal(entry.queue.name, name)) {
                return UINT32_MAX;
            }
            continue;
        }
        struct checkpoint_row wanted = row_make(index, generation);
        wanted.due_s = entry.row.due_s;
        if (entry.kind != CHECKPOINT_ROW ||
            memcmp(&entry.row, &wanted, offsetof(struct checkpoint_row, urgent)) != 0 ||
            (rig->changing &&
             (entry.row.due_s < rig->version_begun || entry.row.due_s > rig->version))) {
            return UINT32_MAX;
        }
        index++;
    }
    return step < 0 ? UINT32_MAX : index;
}

/* WHOLE: a HEAD, and every block and row that it promises. */
static enum standing file_look(const struct rig *rig, unsigned file,
                               struct checkpoint_head *head_out)
{
    uint8_t *bytes = malloc(CHECKPOINT_BLOCK_BYTES);
    assert_non_null(bytes);
    struct slice block = slice_make(bytes, CHECKPOINT_BLOCK_BYTES);
    int64_t size = sim_disk_get(rig->disk, file_path(file), 0, bytes, CHECKPOINT_HEAD_BYTES);
    if (size != CHECKPOINT_HEAD_BYTES ||
        !checkpoint_head_get(slice_first(block, CHECKPOINT_HEAD_BYTES), UUID, head_out)) {
        free(bytes);
        return NOTHING;
    }
    uint32_t rows = 0;
    for (uint32_t i = 1; i <= head_out->blocks && rows != UINT32_MAX; i++) {
        struct checkpoint_cursor cursor;
        memset(bytes, 0, CHECKPOINT_BLOCK_BYTES);
        sim_disk_get(rig->disk, file_path(file), (uint64_t)i * CHECKPOINT_BLOCK_BYTES, bytes,
                     CHECKPOINT_BLOCK_BYTES);
        rows = checkpoint_open(block, UUID, head_out, i, &cursor)
                   ? block_check(rig, cursor, head_out->generation, rows)
                   : UINT32_MAX;
    }
    free(bytes);
    return rows == head_out->rows && rows == rig->count ? WHOLE : BROKEN;
}

/* The generation of the checkpoint in this file; 0: none; UINT32_MAX: a broken one. */
static uint32_t file_generation(const struct rig *rig, unsigned file)
{
    struct checkpoint_head head = {0};
    switch (file_look(rig, file, &head)) {
    case NOTHING:
        return 0;
    case WHOLE:
        return head.generation;
    case BROKEN:
        break;
    }
    return UINT32_MAX;
}

/* --- the ordinary way ------------------------------------------------------------------------- */

static void what_was_put_is_read_back(void **state)
{
    (void)state;
    static const struct {
        uint32_t rows;
        uint32_t blocks;
    } cases[] = {{0, 0}, {1, 1}, {2040, 1}, {2041, 2}, {5000, 3}, {ROWS_MAX, 10}};
    struct rig rig;
    rig_open(&rig);
    for (uint32_t i = 0; i < COUNT_OF(cases); i++) {
        struct checkpoint_head head;
        rig.count = cases[i].rows;
        assert_int_equal(rig_write(&rig, i % 2, i + 1), 0);
        assert_int_equal(file_look(&rig, i % 2, &head), WHOLE);
        assert_int_equal(head.version, CHECKPOINT_VERSION);
        assert_int_equal(head.lane, LANE);
        assert_int_equal(head.generation, i + 1);
        assert_int_equal(head.blocks, cases[i].blocks);
        assert_int_equal(head.rows, cases[i].rows);
        assert_memory_equal(&head.begin, &begun.begin, sizeof(begun.begin));
        assert_memory_equal(&head.cursor, &begun.cursor, sizeof(begun.cursor));
        assert_int_equal(head.event_sequence, begun.event_sequence);
        assert_int_equal(head.next_segment, begun.next_segment);
        assert_int_equal(head.boot, begun.boot);
        assert_int_equal(head.wall_ns, begun.wall_ns);
    }
    rig_close(&rig);
}

static void a_shorter_checkpoint_after_a_longer_one_is_whole(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    rig.count = ROWS_MAX;
    assert_int_equal(rig_write(&rig, 0, 1), 0);
    int64_t size = sim_disk_file_size(rig.disk, file_path(0));
    rig.count = 3000;
    assert_int_equal(rig_write(&rig, 0, 2), 0);
    assert_int_equal(file_generation(&rig, 0), 2);
    assert_int_equal(sim_disk_file_size(rig.disk, file_path(0)), size);
    rig_close(&rig);
}

/* The other file is made when it is needed, and its name is durable with what is in it. */
static void a_checkpoint_that_stands_survives_a_power_cut(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct sim_options options = {.seed = seed};
        struct rig rig;
        rig_make(&rig, sim_open(&options));
        assert_false(sim_disk_exists(rig.disk, file_path(1)));
        assert_int_equal(rig_write(&rig, 1, 1), 0);
        assert_false(sim_disk_exists(rig.disk, file_path(0)));
        rig_crash(&rig, true);
        assert_int_equal(file_generation(&rig, 1), 1);
        rig_boot(&rig);
        assert_int_equal(rig_write(&rig, 0, 2), 0);
        assert_int_equal(rig_write(&rig, 1, 3), 0);
        rig_crash(&rig, true);
        assert_int_equal(file_generation(&rig, 0), 2);
        assert_int_equal(file_generation(&rig, 1), 3);
        assert_false(sim_failed(rig.sim));
        sim_close(rig.sim);
    }
}

static void rows_may_change_between_the_turns(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    rig.count = ROWS_MAX;
    rig.changing = true;
    assert_int_equal(rig_write(&rig, 0, 1), 0);
    assert_int_equal(file_generation(&rig, 0), 1);
    assert_true(rig.version > rig.version_begun + ROWS_MAX / TURN_ROWS);
    rig.changing = false;
    rig_close(&rig);
}

static void a_turn_fills_no_more_than_one_block(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    rig.count = ROWS_MAX;
    assert_int_equal(rig_write(&rig, 0, 1), 0);
    assert_in_range(rig.largest_turn, 1, CHECKPOINT_BLOCK_BYTES - CHECKPOINT_HEADER_BYTES);
    assert_true(rig.puts >= 10);
    rig_close(&rig);
}

static void turns_that_bring_nothing_cost_no_block(void **state)
{
    (void)state;
    struct rig rig;
    struct checkpoint_head head;
    rig_open(&rig);
    rig.sparse = true;
    assert_int_equal(rig_write(&rig, 0, 1), 0);
    assert_int_equal(file_look(&rig, 0, &head), WHOLE);
    assert_int_equal(head.blocks, 3);
    assert_true(rig.puts >= 6);
    rig_close(&rig);
}

/* With every buffer in flight nothing is asked for: the shard sleeps until the disk answers. */
static void a_slow_disk_keeps_no_turn_busy(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    rig.count = ROWS_MAX;
    assert_int_equal(rig_write(&rig, 0, 1), 0);
    sim_disk_latency_set(rig.disk, 50 * NS_PER_S);
    rig_start(&rig, 0, 2);
    sim_run_for(rig.sim, 60 * NS_PER_S);
    assert_int_equal(rig.puts, CHECKPOINT_WRITES);
    uint64_t turns = atomic_load(&rig.shard->turns);
    sim_run_for(rig.sim, 30 * NS_PER_S);
    assert_int_equal(rig.puts, CHECKPOINT_WRITES);
    /* Sleeps of 100 ms, no more. */
    assert_true(atomic_load(&rig.shard->turns) - turns <= 310);
    sim_disk_latency_set(rig.disk, 0);
    assert_int_equal(rig_wait(&rig), 0);
    assert_int_equal(file_generation(&rig, 0), 2);
    rig_close(&rig);
}

static void no_head_stands_before_the_owner_says_so(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    assert_int_equal(rig_write(&rig, 0, 1), 0);
    assert_int_equal(rig_write(&rig, 1, 2), 0);
    rig.holding = true;
    rig_start(&rig, 0, 3);
    assert_true(sim_run_until(rig.sim, rig_is_synced, &rig, LONG_NS));
    sim_run_for(rig.sim, 100 * NS_PER_S);
    assert_int_equal(rig.dones, 0);
    assert_int_equal(rig.synced, 1);
    assert_int_equal(file_generation(&rig, 0), 0);
    assert_int_equal(file_generation(&rig, 1), 2);
    checkpoint_writer_finish(&rig.writer, &begun);
    ring_wake(rig.ring);
    assert_int_equal(rig_wait(&rig), 0);
    assert_int_equal(file_generation(&rig, 0), 3);
    rig_close(&rig);
}

static void descriptors_that_are_handed_over_are_used_and_closed(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    assert_int_equal(rig_write(&rig, 0, 1), 0);
    assert_int_equal(sim_node_descriptors(rig.node), 1);
    int fd = rig.writer.fds[0];
    assert_int_equal(rig_write(&rig, 0, 2), 0);
    assert_int_equal(rig.writer.fds[0], fd);
    assert_int_equal(sim_node_descriptors(rig.node), 1);
    assert_int_equal(rig_write(&rig, 1, 3), 0);
    assert_int_equal(sim_node_descriptors(rig.node), 2);
    rig_close(&rig);
}

static void a_writer_that_wrote_nothing_closes(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    rig_close(&rig);
}

/* --- sync = "none" ---------------------------------------------------------------------------- */

static void without_sync_nothing_is_synced(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    assert_int_equal(rig_write(&rig, 0, 1), 0);
    sim_disk_failing_set(rig.disk, false, true, false);
    assert_int_equal(rig_write(&rig, 0, 2), -EIO);
    rig.options.sync = false;
    assert_int_equal(rig_write(&rig, 0, 3), 0);
    assert_int_equal(file_generation(&rig, 0), 3);
    sim_disk_failing_set(rig.disk, false, false, false);
    rig_close(&rig);
}

/* --- failures --------------------------------------------------------------------------------- */

enum trouble { TROUBLE_WRITES, TROUBLE_SYNCS, TROUBLE_SPACE, TROUBLE_READ_ONLY, TROUBLES };

static void trouble_set(struct rig *rig, enum trouble trouble, bool set)
{
    switch (trouble) {
    case TROUBLE_WRITES:
        sim_disk_failing_set(rig->disk, set, false, false);
        break;
    case TROUBLE_SYNCS:
        sim_disk_failing_set(rig->disk, false, set, false);
        break;
    case TROUBLE_SPACE:
        sim_disk_size_set(rig->disk, set ? 0 : 64 * MIB);
        break;
    case TROUBLE_READ_ONLY:
        sim_disk_read_only_set(rig->disk, set);
        break;
    case TROUBLES:
        break;
    }
}

/*
 * From any step of a run on the disk refuses: it ends, the other file is as it was, and the next
 * run into the same file stands. Two power cuts show that what is told to stand does.
 */
static void failing_from_step(enum trouble trouble, unsigned steps, unsigned counts[2])
{
    static const int errors[TROUBLES] = {-EIO, -EIO, -ENOSPC, -EROFS};
    struct sim_options options = {.seed = steps + 1};
    struct rig rig;
    rig_make(&rig, sim_open(&options));
    rig.count = 4500;
    assert_int_equal(rig_write(&rig, 0, 1), 0);
    assert_int_equal(rig_write(&rig, 1, 2), 0);
    rig.count = 9000;
    rig_start(&rig, 0, 3);
    for (unsigned i = 0; i < steps && rig.dones == 0; i++) {
        assert_true(sim_step(rig.sim));
    }
    trouble_set(&rig, trouble, true);
    int error = rig_wait(&rig);
    counts[error == 0]++;
    assert_true(error == 0 || error == errors[trouble]);
    uint32_t generation = file_generation(&rig, 0);
    assert_true(generation == 3 || (error != 0 && generation == 0) ||
                (error != 0 && generation == UINT32_MAX && rig.puts == 0));
    rig.count = 4500;
    assert_int_equal(file_generation(&rig, 1), 2);
    trouble_set(&rig, trouble, false);
    rig.count = 9000;
    assert_int_equal(rig_write(&rig, 0, 4), 0);
    rig_crash(&rig, true);
    assert_int_equal(file_generation(&rig, 0), 4);
    rig.count = 4500;
    assert_int_equal(file_generation(&rig, 1), 2);
    assert_false(sim_failed(rig.sim));
    sim_close(rig.sim);
}

static void f03_a_disk_that_fails_at_any_step_leaves_the_other_file(void **state)
{
    (void)state;
    for (unsigned trouble = 0; trouble < TROUBLES; trouble++) {
        unsigned counts[2] = {0};
        for (unsigned steps = 0; steps < 60; steps++) {
            failing_from_step(trouble, steps, counts);
        }
        assert_true(counts[0] > 5);
        assert_true(counts[1] > 5);
    }
}

static void a_file_that_cannot_be_opened_or_made_is_told(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    sim_fault_set(rig.sim, SIM_FAULT_no_descriptors, 1000);
    assert_int_equal(rig_write(&rig, 0, 1), -EMFILE);
    assert_int_equal(rig_write(&rig, 0, 1), -EMFILE);
    sim_faults_stop(rig.sim);
    sim_disk_size_set(rig.disk, 0);
    assert_int_equal(rig_write(&rig, 1, 1), -ENOSPC);
    sim_disk_size_set(rig.disk, 64 * MIB);
    assert_int_equal(rig_write(&rig, 0, 1), 0);
    assert_int_equal(rig_write(&rig, 1, 2), 0);
    assert_int_equal(file_generation(&rig, 0), 1);
    assert_int_equal(file_generation(&rig, 1), 2);
    rig_close(&rig);
}

/* Its name stood, but not durably: what is written under it would go with it. */
static void a_file_whose_making_failed_is_made_anew(void **state)
{
    (void)state;
    unsigned failed = 0;
    for (unsigned steps = 0; steps < 40; steps++) {
        struct sim_options options = {.seed = 1 + steps};
        struct rig rig;
        rig_make(&rig, sim_open(&options));
        rig.count = 10;
        sim_fault_set(rig.sim, SIM_FAULT_name_lost, 1000);
        rig_start(&rig, 0, 1);
        for (unsigned i = 0; i < steps / 4 && rig.dones == 0; i++) {
            assert_true(sim_step(rig.sim));
        }
        sim_disk_failing_set(rig.disk, false, true, false);
        bool named = rig_wait(&rig) != 0 && sim_disk_exists(rig.disk, file_path(0));
        failed += named && sim_node_descriptors(rig.node) == 0;
        sim_disk_failing_set(rig.disk, false, false, false);
        assert_int_equal(rig_write(&rig, 0, 2), 0);
        rig_crash(&rig, true);
        assert_int_equal(file_generation(&rig, 0), 2);
        assert_false(sim_failed(rig.sim));
        sim_close(rig.sim);
    }
    assert_true(failed > 0);
}

static void a_busy_worker_is_asked_again(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    sim_fault_set(rig.sim, SIM_FAULT_job_refused, 1000);
    rig_start(&rig, 0, 1);
    sim_run_for(rig.sim, NS_PER_S);
    assert_int_equal(rig.dones, 0);
    assert_true(sim_fault_count(rig.sim, SIM_FAULT_job_refused) > 10);
    checkpoint_writer_abort(&rig.writer);
    ring_wake(rig.ring);
    assert_int_equal(rig_wait(&rig), -ECANCELED);
    rig_start(&rig, 0, 1);
    sim_run_for(rig.sim, NS_PER_S);
    sim_faults_stop(rig.sim);
    assert_int_equal(rig_wait(&rig), 0);
    assert_int_equal(file_generation(&rig, 0), 1);
    sim_fault_set(rig.sim, SIM_FAULT_job_refused, 1000);
    checkpoint_writer_close(&rig.writer, rig_closed);
    ring_wake(rig.ring);
    sim_run_for(rig.sim, NS_PER_S);
    assert_int_equal(rig.closes, 0);
    sim_faults_stop(rig.sim);
    assert_true(sim_run_until(rig.sim, rig_is_closed, &rig, LONG_NS));
    assert_int_equal(sim_node_descriptors(rig.node), 0);
    rig_crash(&rig, false);
    assert_false(sim_failed(rig.sim));
    sim_close(rig.sim);
}

/* Writes that bring nothing, or only EINTR, for ever: it gives up. */
static void a_disk_that_makes_no_progress_is_an_error(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    assert_int_equal(rig_write(&rig, 0, 1), 0);
    sim_fault_set(rig.sim, SIM_FAULT_short_write, 1000);
    int error = rig_write(&rig, 0, 2);
    sim_faults_stop(rig.sim);
    assert_int_equal(error, -EIO);
    assert_int_equal(rig_write(&rig, 0, 3), 0);
    assert_int_equal(file_generation(&rig, 0), 3);
    rig_close(&rig);
}

/* --- abort ------------------------------------------------------------------------------------ */

static void abort_at_step(unsigned steps, unsigned states[STATES])
{
    struct sim_options options = {.seed = steps + 1};
    struct rig rig;
    rig_make(&rig, sim_open(&options));
    assert_int_equal(rig_write(&rig, 1, 1), 0);
    rig.holding = steps % 4 == 0;
    rig_start(&rig, 0, 2);
    for (unsigned i = 0; i < steps && rig.dones == 0; i++) {
        if (!sim_step(rig.sim)) {
            break;
        }
    }
    uint8_t state = rig.writer.state;
    states[state]++;
    checkpoint_writer_abort(&rig.writer);
    checkpoint_writer_abort(&rig.writer);
    ring_wake(rig.ring);
    int error = rig_wait(&rig);
    bool late = state == CHECKPOINT_IDLE || state == CHECKPOINT_ENDING;
    assert_int_equal(error, late ? 0 : -ECANCELED);
    sim_run_for(rig.sim, NS_PER_S);
    assert_int_equal(rig.dones, 1);
    assert_int_equal(file_generation(&rig, 0), late ? 2 : 0);
    assert_int_equal(file_generation(&rig, 1), 1);
    rig.holding = false;
    assert_int_equal(rig_write(&rig, 0, 3), 0);
    assert_int_equal(file_generation(&rig, 0), 3);
    rig_close(&rig);
}

static void an_abort_at_any_step_ends_it_once(void **state)
{
    (void)state;
    unsigned states[STATES] = {0};
    for (unsigned steps = 0; steps < 120; steps++) {
        abort_at_step(steps, states);
    }
    for (unsigned i = 0; i < CHECKPOINT_CLOSING; i++) {
        assert_true(states[i] > 0);
    }
}

static void an_abort_from_within_put_writes_no_more(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    rig.abort_at_put = 2;
    assert_int_equal(rig_write(&rig, 0, 1), -ECANCELED);
    assert_int_equal(rig.puts, 2);
    assert_int_equal(file_generation(&rig, 0), 0);
    rig.abort_at_put = 0;
    assert_int_equal(rig_write(&rig, 0, 2), 0);
    rig_close(&rig);
}

static void finishing_what_was_aborted_does_nothing(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    rig.holding = true;
    rig_start(&rig, 0, 1);
    assert_true(sim_run_until(rig.sim, rig_is_synced, &rig, LONG_NS));
    checkpoint_writer_abort(&rig.writer);
    checkpoint_writer_finish(&rig.writer, &begun);
    ring_wake(rig.ring);
    assert_int_equal(rig_wait(&rig), -ECANCELED);
    assert_int_equal(file_generation(&rig, 0), 0);
    checkpoint_writer_abort(&rig.writer);
    sim_run_for(rig.sim, NS_PER_S);
    assert_int_equal(rig.dones, 1);
    rig_close(&rig);
}

/* --- crashes ---------------------------------------------------------------------------------- */

struct crash_test {
    bool sync;
    unsigned states[STATES]; /* in which a crash came */
    unsigned errors;
};

/*
 * While `file` is written, or after: never a broken one, and the other is as it was known. What
 * stood in it before may be back as long as it is whole.
 */
static void crash_check(struct rig *rig, unsigned file, const uint32_t known[2], uint32_t now)
{
    uint32_t found = file_generation(rig, file);
    uint32_t other = file_generation(rig, 1 - file);
    if (found > now || other != known[1 - file]) {
        sim_fail(rig->sim, "checkpoint-%u is %u, being written: %u; the other is %u, was %u", file,
                 found, now, other, known[1 - file]);
    }
}

/*
 * What a start finds is made durable before it counts, names and HEADs: a killed process may have
 * left some that a power cut would still undo.
 */
static void crash_settle(struct rig *rig, uint32_t known[2])
{
    uint8_t page[CHECKPOINT_HEAD_BYTES];
    char listed[64];
    snprintf(listed, sizeof(listed), LANE_PATH "/listed-%u", rig->generation);
    assert_int_equal(sim_disk_make_dir(rig->disk, listed), 0);
    for (unsigned i = 0; i < CHECKPOINT_FILES; i++) {
        int64_t size = sim_disk_get(rig->disk, file_path(i), 0, page, sizeof(page));
        if (size == (int64_t)sizeof(page)) {
            sim_disk_overwrite(rig->disk, file_path(i), 0, slice_make(page, sizeof(page)));
        }
        known[i] = file_generation(rig, i);
    }
}

/* One checkpoint, cut short at some step or not. */
static void crash_round(struct rig *rig, struct crash_test *test, uint32_t known[2],
                        uint32_t generation)
{
    unsigned file = known[0] < known[1] ? 0 : 1;
    uint64_t steps = sim_chance(rig->sim, 200) ? 10000 : sim_below(rig->sim, 80);
    known[file] = 0;
    rig->holding = steps < 80 && sim_chance(rig->sim, 300);
    rig_start(rig, file, generation);
    while (steps-- > 0 && rig->dones == 0 && sim_step(rig->sim)) {
    }
    bool stands = rig->dones > 0 && rig->error == 0;
    known[file] = stands ? generation : 0;
    test->errors += rig->error != 0;
    crash_check(rig, file, known, generation);
    if (rig->dones == 0 || sim_chance(rig->sim, 300)) {
        test->states[rig->writer.state]++;
        rig_crash(rig, sim_chance(rig->sim, 700));
        crash_check(rig, file, known, generation);
        crash_settle(rig, known);
        rig_boot(rig);
    }
    if (stands && known[file] != generation) {
        sim_fail(rig->sim, "checkpoint %u was told to stand", generation);
    }
}

static void crash_body(struct sim *sim, void *context)
{
    struct crash_test *test = context;
    struct rig rig;
    uint32_t known[2] = {0};
    rig_make(&rig, sim);
    rig.options.sync = test->sync;
    for (uint32_t i = 1; i <= 10 && !sim_failed(sim); i++) {
        crash_round(&rig, test, known, i);
    }
    rig_crash(&rig, false);
}

#define CRASH_SWARM                                                                                \
    (SIM_FAULT_BIT(late_completion) | SIM_FAULT_BIT(slow_turn) | SIM_FAULT_BIT(short_write) |      \
     SIM_FAULT_BIT(interrupted) | SIM_FAULT_BIT(job_refused) | SIM_FAULT_BIT(slow_job) |           \
     SIM_FAULT_BIT(slow_disk) | SIM_FAULT_BIT(wall_jump) | SIM_FAULTS_POWER)

static void f01_a_crash_at_any_step_leaves_a_checkpoint_and_no_broken_one(void **state)
{
    (void)state;
    struct crash_test test = {.sync = true};
    struct sim_campaign campaign = {.name = "checkpoint", .count = 200, .body = crash_body,
                                    .context = &test, .swarm = CRASH_SWARM};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    for (unsigned i = 0; i < CHECKPOINT_CLOSING && getenv("COUNT") == NULL; i++) {
        assert_true(test.states[i] > 20);
    }
}

static void f03_crashes_and_a_failing_disk_leave_no_broken_one(void **state)
{
    (void)state;
    struct crash_test test = {.sync = true};
    struct sim_campaign campaign = {
        .name = "checkpoint with errors", .count = 150, .body = crash_body, .context = &test,
        .swarm = CRASH_SWARM | SIM_FAULT_BIT(write_error) | SIM_FAULT_BIT(sync_error) |
                 SIM_FAULT_BIT(no_space) | SIM_FAULT_BIT(no_descriptors)};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    assert_true(getenv("COUNT") != NULL || test.errors > 50);
}

/* The negative control: the same campaign must see a writer that does not sync break one. */
static void f01c_without_sync_a_power_cut_breaks_checkpoints(void **state)
{
    (void)state;
    struct crash_test test = {.sync = false};
    struct sim_campaign campaign = {.name = "checkpoint without sync", .count = 40, .quiet = true,
                                    .body = crash_body, .context = &test,
                                    .swarm = SIM_FAULTS_POWER};
    assert_true(sim_campaign_run(&campaign) >= 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_read_back),
        cmocka_unit_test(a_shorter_checkpoint_after_a_longer_one_is_whole),
        cmocka_unit_test(a_checkpoint_that_stands_survives_a_power_cut),
        cmocka_unit_test(rows_may_change_between_the_turns),
        cmocka_unit_test(a_turn_fills_no_more_than_one_block),
        cmocka_unit_test(turns_that_bring_nothing_cost_no_block),
        cmocka_unit_test(a_slow_disk_keeps_no_turn_busy),
        cmocka_unit_test(no_head_stands_before_the_owner_says_so),
        cmocka_unit_test(descriptors_that_are_handed_over_are_used_and_closed),
        cmocka_unit_test(a_writer_that_wrote_nothing_closes),
        cmocka_unit_test(without_sync_nothing_is_synced),
        cmocka_unit_test(f03_a_disk_that_fails_at_any_step_leaves_the_other_file),
        cmocka_unit_test(a_file_that_cannot_be_opened_or_made_is_told),
        cmocka_unit_test(a_file_whose_making_failed_is_made_anew),
        cmocka_unit_test(a_busy_worker_is_asked_again),
        cmocka_unit_test(a_disk_that_makes_no_progress_is_an_error),
        cmocka_unit_test(an_abort_at_any_step_ends_it_once),
        cmocka_unit_test(an_abort_from_within_put_writes_no_more),
        cmocka_unit_test(finishing_what_was_aborted_does_nothing),
        cmocka_unit_test(f01_a_crash_at_any_step_leaves_a_checkpoint_and_no_broken_one),
        cmocka_unit_test(f03_crashes_and_a_failing_disk_leave_no_broken_one),
        cmocka_unit_test(f01c_without_sync_a_power_cut_breaks_checkpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
