/* The start of the whole spool: what it refuses, and in which words. */
#include "shard/spool/house.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shard/shard.h"
#include "tests/sim/sim.h"

struct rig {
    struct sim *sim;
    struct sim_disk *disk;
    struct sim_node *node;
    struct ring *ring;
    struct work *work;
    struct shard shard;
    struct shard *peers[1];
    struct spool_house house;
    bool done;
    bool closed;
    int error;
    char reason[512];
};

static void house_done(struct spool_house *house, int error, struct slice reason)
{
    struct rig *rig = CONTAINER_OF(house, struct rig, house);
    rig->done = true;
    rig->error = error;
    snprintf(rig->reason, sizeof(rig->reason), "%.*s", (int)reason.size,
             (const char *)reason.data);
}

static void house_closed(struct spool_house *house)
{
    CONTAINER_OF(house, struct rig, house)->closed = true;
}

static void rig_turn(void *context)
{
    shard_turn(&((struct rig *)context)->shard, false);
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
    rig->peers[0] = &rig->shard;
    struct shard_options shard_options = {
        .count = 1, .ring = rig->ring, .work = rig->work, .peers = rig->peers};
    assert_int_equal(shard_init(&rig->shard, &shard_options), 0);
    sim_actor_set(rig->ring, rig_turn, rig);
}

static void rig_open(struct rig *rig, uint64_t seed)
{
    *rig = (struct rig){0};
    struct sim_options options = {.seed = seed};
    rig->sim = sim_open(&options);
    rig->disk = sim_disk_open(rig->sim, 4 * MIB);
    rig->node = sim_node_open(rig->sim, rig->disk);
    rig_boot(rig);
}

static bool rig_done(void *context)
{
    return ((struct rig *)context)->done;
}

static bool rig_closed(void *context)
{
    return ((struct rig *)context)->closed;
}

static int rig_start(struct rig *rig, const char *path, unsigned lanes)
{
    rig->house = (struct spool_house){.done = house_done};
    rig->done = false;
    spool_house_start(&rig->house, &rig->shard, path, lanes);
    assert_true(sim_run_until(rig->sim, rig_done, rig, 600 * NS_PER_S));
    return rig->error;
}

static void a_new_spool_is_made_and_known_again(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1);
    assert_int_equal(rig_start(&rig, "spool", 3), 0);
    uint64_t uuid = rig.house.uuid;
    assert_true(uuid != 0);
    sim_node_power_cut(rig.node);
    rig_boot(&rig);
    assert_int_equal(rig_start(&rig, "spool", 3), 0);
    assert_true(rig.house.uuid == uuid);
    spool_house_close(&rig.house, house_closed);
    ring_wake(rig.ring);
    assert_true(sim_run_until(rig.sim, rig_closed, &rig, 600 * NS_PER_S));
    assert_int_equal(sim_node_descriptors(rig.node), 0);
    assert_int_equal(rig_start(&rig, "spool", 3), 0);
    sim_close(rig.sim);
}

static void f30_a_second_process_is_refused(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1);
    assert_int_equal(rig_start(&rig, "spool", 1), 0);
    struct rig other = {.sim = rig.sim, .disk = rig.disk};
    other.node = sim_node_open(rig.sim, rig.disk);
    rig_boot(&other);
    assert_int_equal(rig_start(&other, "spool", 1), -EBUSY);
    assert_string_equal(other.reason, "spool: spool: in use by another process");
    sim_close(rig.sim);
}

static void expect_lanes(const struct rig *rig, unsigned count)
{
    assert_int_equal(rig->house.manifest.lane_count, count);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(rig->house.manifest.lanes[i], i);
    }
}

/* The manifest stays until all lanes have been adopted; then it is another one, for good. */
static void f27_fewer_shards_change_the_manifest_in_one_moment(void **state)
{
    (void)state;
    for (uint64_t at_us = 0; at_us < 3000; at_us += 100) {
        struct rig rig;
        rig_open(&rig, 1 + at_us);
        assert_int_equal(rig_start(&rig, "spool", 4), 0);
        sim_node_kill(rig.node);
        rig_boot(&rig);
        assert_int_equal(rig_start(&rig, "spool", 2), 0);
        expect_lanes(&rig, 4);
        rig.done = false;
        spool_house_adopt(&rig.house);
        (void)sim_run_for(rig.sim, at_us * NS_PER_US);
        bool done = rig.done;
        sim_node_power_cut(rig.node);
        rig_boot(&rig);
        assert_int_equal(rig_start(&rig, "spool", 2), 0);
        bool switched = rig.house.manifest.lane_count == 2;
        assert_true(switched || !done);
        expect_lanes(&rig, switched ? 2 : 4);
        assert_int_equal(rig.house.manifest.epoch, switched ? 1 : 0);
        assert_int_equal(rig.house.manifest.next_lane, 4);
        sim_close(rig.sim);
    }
}

/* A crash at any moment of the start that makes two lanes eight. */
static void f27_more_shards_get_lanes_of_their_own(void **state)
{
    (void)state;
    for (uint64_t at_us = 0; at_us < 12000; at_us += 200) {
        struct rig rig;
        rig_open(&rig, 1 + at_us);
        assert_int_equal(rig_start(&rig, "spool", 2), 0);
        uint64_t uuid = rig.house.uuid;
        expect_lanes(&rig, 2);
        sim_node_kill(rig.node);
        rig_boot(&rig);
        rig.house = (struct spool_house){.done = house_done};
        spool_house_start(&rig.house, &rig.shard, "spool", 8);
        assert_true(sim_run_for(rig.sim, at_us * NS_PER_US));
        if (at_us % 400 == 0) {
            sim_node_power_cut(rig.node);
        } else {
            sim_node_kill(rig.node);
        }
        rig_boot(&rig);
        assert_int_equal(rig_start(&rig, "spool", 8), 0);
        assert_true(rig.house.uuid == uuid);
        expect_lanes(&rig, 8);
        sim_node_power_cut(rig.node);
        rig_boot(&rig);
        assert_int_equal(rig_start(&rig, "spool", 2), 0);
        expect_lanes(&rig, 8);
        sim_close(rig.sim);
    }
}

static void f27_a_spool_of_version_1_grows(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1);
    assert_int_equal(sim_disk_make_dir(rig.disk, "s"), 0);
    assert_int_equal(
        sim_disk_put(rig.disk, "s/manifest",
                     SLICE("ringpost-spool 1\nuuid=00000000000000ab\nlanes=2\n")),
        0);
    assert_int_equal(rig_start(&rig, "s", 2), 0);
    expect_lanes(&rig, 2);
    sim_node_kill(rig.node);
    rig_boot(&rig);
    assert_int_equal(rig_start(&rig, "s", 3), 0);
    assert_true(rig.house.uuid == 0xab);
    expect_lanes(&rig, 3);
    sim_close(rig.sim);
}

static void f27_lane_numbers_can_be_used_up(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1);
    assert_int_equal(sim_disk_make_dir(rig.disk, "s"), 0);
    assert_int_equal(
        sim_disk_put(rig.disk, "s/manifest",
                     SLICE("ringpost-spool 2\nuuid=00000000000000ab\nepoch=9\n"
                           "next_lane=4095\nlanes=7\n")),
        0);
    assert_int_equal(rig_start(&rig, "s", 3), -EINVAL);
    assert_string_equal(rig.reason, "spool: s: all 4096 lane numbers are used up: set "
                                    "node.shards = 1, or let the queues run empty and begin a new "
                                    "spool");
    assert_int_equal(rig_start(&rig, "s", 2), 0);
    assert_int_equal(rig.house.manifest.lanes[1], 4095);
    sim_close(rig.sim);
}

static void what_cannot_be_used_is_told_in_one_line(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *manifest;
        int error;
        const char *reason;
    } rows[] = {
        {"gone/spool", NULL, -ENOENT, "spool: gone/spool: no such directory, nor its parent"},
        {"s", "ringpost-spool 3\nuuid=0123456789abcdef\nlanes=1\n", -EPROTO,
         "spool: s: format version 3, this program knows 2"},
        {"s", "something else\n", -EINVAL, "spool: s: the manifest is damaged"},
        {"s", "", -EINVAL, "spool: s: the manifest is damaged"},
        {"s", "ringpost-spool 1\nuuid=0123456789abcde\nlanes=1\n", -EINVAL,
         "spool: s: the manifest is damaged"},
        {"s", "ringpost-spool 1\nuuid=0123456789abcdef\n", -EINVAL,
         "spool: s: the manifest is damaged"},
        {"", NULL, -ENAMETOOLONG, "spool: : the path is empty or too long"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct rig rig;
        rig_open(&rig, 1);
        if (rows[i].manifest != NULL) {
            assert_int_equal(sim_disk_make_dir(rig.disk, "s"), 0);
            assert_int_equal(
                sim_disk_put(rig.disk, "s/manifest", slice_from_string(rows[i].manifest)), 0);
        }
        assert_int_equal(rig_start(&rig, rows[i].path, 1), rows[i].error);
        assert_string_equal(rig.reason, rows[i].reason);
        assert_int_equal(sim_node_descriptors(rig.node), 0);
        sim_close(rig.sim);
    }
}

static void a_read_only_disk_is_named(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1);
    sim_disk_read_only_set(rig.disk, true);
    assert_int_equal(rig_start(&rig, "spool", 1), -EROFS);
    assert_string_equal(rig.reason, "spool: spool: read-only file system");
    sim_close(rig.sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_spool_is_made_and_known_again),
        cmocka_unit_test(f30_a_second_process_is_refused),
        cmocka_unit_test(f27_fewer_shards_change_the_manifest_in_one_moment),
        cmocka_unit_test(f27_more_shards_get_lanes_of_their_own),
        cmocka_unit_test(f27_a_spool_of_version_1_grows),
        cmocka_unit_test(f27_lane_numbers_can_be_used_up),
        cmocka_unit_test(what_cannot_be_used_is_told_in_one_line),
        cmocka_unit_test(a_read_only_disk_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
