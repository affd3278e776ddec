/* The simulator itself: same seed, same run; what a disk may forget; what it must notice. */
#include "tests/sim/sim.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shard/shard.h"
#include "shard/work.h"

#define SECTORS 32
#define SIZE    (SECTORS * 512)

/* One process with one ring, without a shard's loop. */
struct rig {
    struct sim *sim;
    struct sim_disk *disk;
    struct sim_node *node;
    struct ring *ring;
    struct work *work;
    struct shard shard; /* only its ring, for jobs */
};

static void rig_turn(void *context)
{
    struct rig *rig = context;
    work_collect(rig->work, &rig->shard);
    ring_dispatch(rig->ring);
    ring_turn(rig->ring, ring_monotonic_ns(rig->ring) + 100 * NS_PER_MS);
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
    rig->shard.ring = rig->ring;
    sim_actor_set(rig->ring, rig_turn, rig);
}

static void rig_init(struct rig *rig, uint64_t seed, uint64_t swarm)
{
    *rig = (struct rig){0};
    struct sim_options options = {.seed = seed, .swarm = swarm};
    rig->sim = sim_open(&options);
    rig->disk = sim_disk_open(rig->sim, 1 * MIB);
    rig->node = sim_node_open(rig->sim, rig->disk);
    rig_boot(rig);
}

static void nothing(struct op *op)
{
    (void)op;
}

static void job_nothing(struct work_job *job)
{
    (void)job;
}

static bool op_home(void *context)
{
    return op_idle(context);
}

static bool job_home(void *context)
{
    return !((struct work_job *)context)->in_flight;
}

static int32_t wait_op(struct rig *rig, struct op *op)
{
    assert_true(sim_run_until(rig->sim, op_home, op, 60 * NS_PER_S));
    return op->result;
}

static int32_t do_job(struct rig *rig, struct work_job job)
{
    job.done = job_nothing;
    assert_true(work_submit(rig->work, &rig->shard, &job));
    assert_true(sim_run_until(rig->sim, job_home, &job, 60 * NS_PER_S));
    return job.result;
}

static int open_file(struct rig *rig, const char *path, uint8_t flags)
{
    struct work_job job = {.kind = WORK_OPEN, .path = path, .flags = flags};
    return do_job(rig, job);
}

/* A file of SIZE bytes of 'o', durable. */
static void put_old(struct rig *rig)
{
    static uint8_t old[SIZE];
    memset(old, 'o', SIZE);
    assert_int_equal(sim_disk_put(rig->disk, "log", slice_make(old, SIZE)), 0);
}

static int32_t write_new(struct rig *rig, int fd, bool durable)
{
    static _Alignas(512) uint8_t new[SIZE];
    memset(new, 'n', SIZE);
    struct iovec iovec = {.iov_base = new, .iov_len = SIZE};
    struct op op;
    op_init(&op, nothing);
    const struct ring_extent extent = {.iovecs = &iovec, .count = 1};
    ring_write(rig->ring, &op, fd, &extent, durable);
    return wait_op(rig, &op);
}

static int32_t sync_file(struct rig *rig, int fd)
{
    struct op op;
    op_init(&op, nothing);
    ring_sync(rig->ring, &op, fd);
    return wait_op(rig, &op);
}

/* How many of the file's sectors are wholly new; those that are neither are counted in torn_out. */
static unsigned sectors_new(struct rig *rig, unsigned *torn_out)
{
    uint8_t bytes[SIZE];
    unsigned count = 0;
    *torn_out = 0;
    assert_int_equal(sim_disk_get(rig->disk, "log", 0, bytes, SIZE), SIZE);
    for (unsigned i = 0; i < SECTORS; i += 1) {
        bool has_new = memchr(bytes + i * 512, 'n', 512) != NULL;
        bool has_old = memchr(bytes + i * 512, 'o', 512) != NULL;
        count += has_new && !has_old;
        *torn_out += has_new && has_old;
    }
    return count;
}

static void synced_writes_survive_every_power_cut(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed += 1) {
        struct rig rig;
        rig_init(&rig, seed, 0);
        put_old(&rig);
        int fd = open_file(&rig, "log", WORK_WRITE | WORK_DIRECT);
        assert_true(fd >= 0);
        bool durable = seed % 2 == 0;
        assert_int_equal(write_new(&rig, fd, durable), SIZE);
        if (!durable) {
            assert_int_equal(sync_file(&rig, fd), 0);
        }
        sim_node_power_cut(rig.node);
        unsigned torn = 0;
        assert_int_equal(sectors_new(&rig, &torn), SECTORS);
        sim_close(rig.sim);
    }
}

static void unsynced_sectors_are_kept_lost_and_torn_each_on_its_own(void **state)
{
    (void)state;
    unsigned kept = 0;
    unsigned torn_all = 0;
    for (uint64_t seed = 1; seed <= 100; seed += 1) {
        struct rig rig;
        rig_init(&rig, seed, 0);
        put_old(&rig);
        int fd = open_file(&rig, "log", WORK_WRITE | WORK_DIRECT);
        assert_int_equal(write_new(&rig, fd, false), SIZE);
        sim_node_power_cut(rig.node);
        unsigned torn = 0;
        kept += sectors_new(&rig, &torn);
        torn_all += torn;
        sim_close(rig.sim);
    }
    assert_in_range(kept, 1, 100 * SECTORS - torn_all - 1);
    assert_true(torn_all > 0);
}

static void f01_a_kill_keeps_what_the_kernel_was_given(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, 1, 0);
    put_old(&rig);
    int fd = open_file(&rig, "log", WORK_WRITE | WORK_DIRECT);
    assert_int_equal(write_new(&rig, fd, false), SIZE);
    sim_node_kill(rig.node);
    unsigned torn = 0;
    assert_int_equal(sectors_new(&rig, &torn), SECTORS);
    rig_boot(&rig);
    assert_true(open_file(&rig, "log", 0) >= 0);
    sim_close(rig.sim);
}

/* A sync that fails, or a durable write that does at its end; then one that succeeds. */
static unsigned new_after_failed_sync(uint64_t seed, bool durable, bool power)
{
    struct rig rig;
    rig_init(&rig, seed, 0);
    put_old(&rig);
    sim_fault_set(rig.sim, SIM_FAULT_sector_torn, 0);
    sim_fault_set(rig.sim, SIM_FAULT_sector_lost, 0);
    int fd = open_file(&rig, "log", WORK_WRITE | WORK_DIRECT);
    assert_int_equal(durable ? SIZE : write_new(&rig, fd, false), SIZE);
    sim_disk_failing_set(rig.disk, false, true, false);
    assert_int_equal(durable ? write_new(&rig, fd, true) : sync_file(&rig, fd), -EIO);
    sim_disk_failing_set(rig.disk, false, false, false);
    assert_int_equal(sync_file(&rig, fd), 0);
    unsigned torn = 0;
    assert_int_equal(sectors_new(&rig, &torn), SECTORS); /* as the cache has it */
    if (power) {
        sim_node_power_cut(rig.node);
    } else {
        sim_node_kill(rig.node);
    }
    unsigned count = sectors_new(&rig, &torn);
    assert_int_equal(torn, 0);
    sim_close(rig.sim);
    return count;
}

static void f04_after_a_sync_that_failed_a_second_one_saves_nothing(void **state)
{
    (void)state;
    unsigned counts[2][2] = {{0}};
    for (uint64_t seed = 1; seed <= 50; seed += 1) {
        for (unsigned i = 0; i < 4; i += 1) {
            unsigned count = new_after_failed_sync(seed, i % 2 == 1, i / 2 == 1);
            assert_in_range(count, 0, SECTORS);
            counts[i % 2][i / 2] += count;
        }
    }
    for (unsigned i = 0; i < 2; i += 1) {
        /* By chance some had landed; of the rest a kill shows what the cache has not dropped. */
        assert_in_range(counts[i][1], 50 * SECTORS * 3 / 10, 50 * SECTORS * 7 / 10);
        assert_in_range(counts[i][0], 50 * SECTORS * 6 / 10, 50 * SECTORS * 9 / 10);
    }
}

static void write_byte(struct rig *rig, int fd, uint8_t byte, uint64_t offset, bool durable)
{
    static _Alignas(512) uint8_t bytes[512];
    memset(bytes, byte, sizeof(bytes));
    struct iovec iovec = {.iov_base = bytes, .iov_len = sizeof(bytes)};
    struct op op;
    op_init(&op, nothing);
    const struct ring_extent extent = {.iovecs = &iovec, .count = 1, .offset = offset};
    ring_write(rig->ring, &op, fd, &extent, durable);
    assert_int_equal(wait_op(rig, &op), sizeof(bytes));
}

static void of_two_unsynced_writes_to_a_sector_any_may_be_the_one_that_stays(void **state)
{
    (void)state;
    unsigned seen[256] = {0};
    for (uint64_t seed = 1; seed <= 200; seed += 1) {
        struct rig rig;
        uint8_t byte;
        rig_init(&rig, seed, 0);
        put_old(&rig);
        sim_fault_set(rig.sim, SIM_FAULT_sector_torn, 0);
        int fd = open_file(&rig, "log", WORK_WRITE | WORK_DIRECT);
        write_byte(&rig, fd, '1', 512, false);
        write_byte(&rig, fd, '2', 512, false);
        sim_node_power_cut(rig.node);
        assert_int_equal(sim_disk_get(rig.disk, "log", 600, &byte, 1), 1);
        seen[byte] += 1;
        sim_close(rig.sim);
    }
    assert_true(seen['o'] > 0 && seen['1'] > 0 && seen['2'] > 0);
    assert_int_equal(seen['o'] + seen['1'] + seen['2'], 200);
}

/* Written behind the end of a file whose size was durable: what is there after a power cut. */
static void size_and_content_behind_it_are_durable_each_on_its_own(void **state)
{
    (void)state;
    unsigned shrunk = 0;
    unsigned kept = 0;
    unsigned zero = 0;
    unsigned junk = 0;
    for (uint64_t seed = 1; seed <= 300; seed += 1) {
        struct rig rig;
        uint8_t bytes[512];
        rig_init(&rig, seed, 0);
        put_old(&rig);
        int fd = open_file(&rig, "log", WORK_WRITE | WORK_DIRECT);
        uint64_t offset = align_up(SIZE, 4096) + 4096;
        write_byte(&rig, fd, 'n', offset, false);
        sim_node_power_cut(rig.node);
        int64_t got = sim_disk_get(rig.disk, "log", offset, bytes, sizeof(bytes));
        shrunk += got == 0;
        kept += got > 0 && bytes[0] == 'n' && bytes[511] == 'n';
        zero += got > 0 && bytes[0] == 0 && memcmp(bytes, bytes + 1, 511) == 0;
        junk += got > 0 && memchr(bytes, 'n', 400) == NULL && bytes[0] != 0;
        unsigned torn = 0;
        assert_int_equal(sectors_new(&rig, &torn), 0);
        sim_close(rig.sim);
    }
    assert_true(shrunk > 50 && kept > 20 && zero > 10 && junk > 5);
}

static void a_durable_write_behind_the_end_makes_its_size_durable(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed += 1) {
        struct rig rig;
        uint8_t byte = 0;
        rig_init(&rig, seed, 0);
        put_old(&rig);
        int fd = open_file(&rig, "log", WORK_WRITE | WORK_DIRECT);
        write_byte(&rig, fd, 'n', align_up(SIZE, 4096), true);
        sim_node_power_cut(rig.node);
        assert_int_equal(sim_disk_get(rig.disk, "log", align_up(SIZE, 4096) + 511, &byte, 1), 1);
        assert_int_equal(byte, 'n');
        sim_close(rig.sim);
    }
}

static void names_survive_a_directory_sync_and_nothing_less(void **state)
{
    (void)state;
    unsigned survivors = 0;
    for (uint64_t seed = 1; seed <= 50; seed += 1) {
        struct rig rig;
        rig_init(&rig, seed, 0);
        struct work_job create = {.kind = WORK_CREATE, .path = "segment", .size = 8192};
        struct work_job replace = {
            .kind = WORK_REPLACE, .path = "state", .data = (char[]){"abc"}, .data_size = 3};
        assert_true(do_job(&rig, create) >= 0);
        assert_int_equal(do_job(&rig, replace), 0);
        assert_true(open_file(&rig, "new", WORK_NEW | WORK_WRITE) >= 0);
        sim_node_power_cut(rig.node);
        survivors += sim_disk_exists(rig.disk, "new");
        assert_int_equal(sim_disk_file_size(rig.disk, "segment"), 8192);
        assert_int_equal(sim_disk_file_size(rig.disk, "state"), 3);
        assert_false(sim_disk_exists(rig.disk, "state.tmp"));
        sim_close(rig.sim);
    }
    assert_in_range(survivors, 1, 49);
}

static void u08_direct_writes_must_be_aligned(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, 1, 0);
    put_old(&rig);
    sim_disk_alignment_set(rig.disk, 4096);
    int fd = open_file(&rig, "log", WORK_WRITE | WORK_DIRECT);
    static _Alignas(4096) uint8_t bytes[8192];
    const struct {
        size_t shift;
        size_t size;
        uint64_t offset;
        int32_t result;
    } rows[] = {
        {0, 4096, 0, 4096},    {0, 4096, 4096, 4096},  {512, 4096, 0, -EINVAL},
        {0, 512, 0, -EINVAL},  {0, 4096, 512, -EINVAL}, {0, 4000, 0, -EINVAL},
    };
    for (unsigned i = 0; i < COUNT_OF(rows); i += 1) {
        struct iovec iovec = {.iov_base = bytes + rows[i].shift, .iov_len = rows[i].size};
        struct op op;
        op_init(&op, nothing);
        const struct ring_extent extent = {
            .iovecs = &iovec, .count = 1, .offset = rows[i].offset};
        ring_write(rig.ring, &op, fd, &extent, true);
        assert_int_equal(wait_op(&rig, &op), rows[i].result);
    }
    sim_close(rig.sim);
}

static void f30_a_lock_is_held_until_its_process_ends(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, 1, 0);
    struct work_job lock = {.kind = WORK_LOCK, .path = "lock"};
    assert_true(do_job(&rig, lock) >= 0);
    assert_int_equal(do_job(&rig, lock), -EBUSY);
    sim_node_kill(rig.node);
    rig_boot(&rig);
    assert_true(do_job(&rig, lock) >= 0);
    sim_close(rig.sim);
}

/* --- the network, seen by a bare ring -------------------------------------------------------- */

struct chat {
    struct rig rig;
    struct op accept_op;
    struct op recv_op;
    struct op send_op;
    struct iovec iovec;
    uint8_t bytes[64];
    int fd;
    size_t received;
    int32_t end;
    bool ended;
};

static void chat_received(struct op *op)
{
    struct chat *chat = CONTAINER_OF(op, struct chat, recv_op);
    if ((op->flags & OP_BUFFER) != 0) {
        chat->received += (size_t)op->result;
        ring_buffer_give(chat->rig.ring, op->buffer);
    }
    if ((op->flags & OP_MORE) != 0) {
        return;
    }
    if (op->result > 0 || op->result == -ENOBUFS || op->result == -EINTR ||
        op->result == -EAGAIN) {
        ring_recv(chat->rig.ring, op, chat->fd);
        return;
    }
    chat->ended = true;
    chat->end = op->result;
}

static void chat_accepted(struct op *op)
{
    struct chat *chat = CONTAINER_OF(op, struct chat, accept_op);
    if (op->result >= 0 && chat->fd < 0) {
        chat->fd = op->result;
        ring_recv(chat->rig.ring, &chat->recv_op, chat->fd);
    }
}

static bool chat_done(void *context)
{
    return ((struct chat *)context)->ended;
}

static void chat_init(struct chat *chat, uint64_t seed, uint64_t swarm)
{
    *chat = (struct chat){.fd = -1};
    rig_init(&chat->rig, seed, swarm);
    op_init(&chat->accept_op, chat_accepted);
    op_init(&chat->recv_op, chat_received);
    op_init(&chat->send_op, nothing);
    struct endpoint where = sim_node_endpoint(chat->rig.node, 25);
    struct endpoint bound;
    struct socket_options options = {.backlog = 8};
    int listener = ring_listen(chat->rig.ring, &where, &options, &bound);
    assert_true(listener >= 0);
    ring_accept(chat->rig.ring, &chat->accept_op, listener);
}

static struct sim_peer *chat_connect(struct chat *chat)
{
    struct endpoint from = sim_endpoint(100, 0);
    struct endpoint to = sim_node_endpoint(chat->rig.node, 25);
    return sim_peer_connect(chat->rig.sim, &from, &to, NULL, NULL);
}

static uint64_t chat_hash(uint64_t seed)
{
    static const uint8_t bytes[5000];
    struct chat chat;
    chat_init(&chat, seed, SIM_FAULTS_ALL);
    struct sim_peer *peer = chat_connect(&chat);
    sim_peer_send(peer, slice_make(bytes, sizeof(bytes)));
    sim_peer_finish(peer);
    (void)sim_run_until(chat.rig.sim, chat_done, &chat, 10 * NS_PER_S);
    sim_trace(chat.rig.sim, chat.received);
    uint64_t hash = sim_hash(chat.rig.sim);
    assert_false(sim_failed(chat.rig.sim));
    sim_close(chat.rig.sim);
    return hash;
}

static void the_same_seed_is_the_same_run(void **state)
{
    (void)state;
    unsigned same = 0;
    for (uint64_t seed = 1; seed <= 100; seed += 1) {
        assert_int_equal(chat_hash(seed), chat_hash(seed));
        same += chat_hash(seed) == chat_hash(seed + 1);
    }
    assert_int_equal(same, 0);
}

static void harmless_faults_lose_no_byte(void **state)
{
    (void)state;
    static const uint8_t bytes[5000];
    for (uint64_t seed = 1; seed <= 100; seed += 1) {
        struct chat chat;
        chat_init(&chat, seed, SIM_FAULTS_HARMLESS & ~SIM_FAULT_BIT(accept_aborted) &
                                   ~SIM_FAULT_BIT(interrupted));
        struct sim_peer *peer = chat_connect(&chat);
        sim_peer_send(peer, slice_make(bytes, sizeof(bytes)));
        sim_peer_finish(peer);
        assert_true(sim_run_until(chat.rig.sim, chat_done, &chat, 3600 * NS_PER_S));
        assert_int_equal(chat.received, sizeof(bytes));
        assert_int_equal(chat.end, 0);
        sim_close(chat.rig.sim);
    }
}

static void u03_a_cancelled_send_says_how_much_went(void **state)
{
    (void)state;
    struct chat chat;
    chat_init(&chat, 7, 0);
    sim_window_set(chat.rig.sim, 10);
    struct sim_peer *peer = chat_connect(&chat);
    sim_run_for(chat.rig.sim, NS_PER_S);
    assert_true(chat.fd >= 0);
    struct op cancel;
    op_init(&cancel, nothing);
    chat.iovec = (struct iovec){.iov_base = chat.bytes, .iov_len = sizeof(chat.bytes)};
    ring_send(chat.rig.ring, &chat.send_op, chat.fd, &chat.iovec, 1);
    sim_run_for(chat.rig.sim, NS_PER_S);
    assert_false(op_idle(&chat.send_op));
    ring_cancel(chat.rig.ring, &cancel, chat.fd);
    sim_run_for(chat.rig.sim, NS_PER_S);
    assert_int_equal(cancel.result, 2);
    assert_int_equal(chat.send_op.result, 10);
    assert_int_equal(chat.recv_op.result, -ECANCELED);
    assert_int_equal(sim_peer_input(peer).size, 10);
    sim_close(chat.rig.sim);
}

static void breaches_of_the_contract_end_the_run(void **state)
{
    (void)state;
    for (unsigned breach = 0; breach < 4; breach += 1) {
        struct chat chat;
        chat_init(&chat, 1, 0);
        struct sim_peer *peer = chat_connect(&chat);
        sim_peer_send(peer, SLICE("hello"));
        sim_run_for(chat.rig.sim, NS_PER_S);
        assert_int_equal(chat.received, 5);
        assert_false(sim_failed(chat.rig.sim));
        struct op op;
        op_init(&op, nothing);
        switch (breach) {
        case 0:
            ring_buffer_give(chat.rig.ring, 3);
            break;
        case 1:
            ring_recv(chat.rig.ring, &chat.recv_op, chat.fd);
            break;
        case 2:
            ring_close_fd(chat.rig.ring, &op, chat.fd);
            break;
        default:
            ring_recv(chat.rig.ring, &op, 77);
            break;
        }
        sim_run_for(chat.rig.sim, NS_PER_S);
        assert_true(sim_failed(chat.rig.sim));
        sim_close(chat.rig.sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(synced_writes_survive_every_power_cut),
        cmocka_unit_test(unsynced_sectors_are_kept_lost_and_torn_each_on_its_own),
        cmocka_unit_test(f01_a_kill_keeps_what_the_kernel_was_given),
        cmocka_unit_test(f04_after_a_sync_that_failed_a_second_one_saves_nothing),
        cmocka_unit_test(of_two_unsynced_writes_to_a_sector_any_may_be_the_one_that_stays),
        cmocka_unit_test(size_and_content_behind_it_are_durable_each_on_its_own),
        cmocka_unit_test(a_durable_write_behind_the_end_makes_its_size_durable),
        cmocka_unit_test(names_survive_a_directory_sync_and_nothing_less),
        cmocka_unit_test(u08_direct_writes_must_be_aligned),
        cmocka_unit_test(f30_a_lock_is_held_until_its_process_ends),
        cmocka_unit_test(the_same_seed_is_the_same_run),
        cmocka_unit_test(harmless_faults_lose_no_byte),
        cmocka_unit_test(u03_a_cancelled_send_says_how_much_went),
        cmocka_unit_test(breaches_of_the_contract_end_the_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
