#include "tests/kit/log_rig.h"

#include <string.h>

#include "core/check.h"

static void turn(void *context)
{
    shard_turn(context, false);
}

static void say(void *context, struct slice line)
{
    struct log_rig *rig = context;
    CHECK(slice_ends_with(line, SLICE("\n")));
    rig->said++;
}

static void put_more(struct event_feed *feed)
{
    struct log_rig *rig = CONTAINER_OF(feed, struct log_rig, feed);
    uint8_t content[1000];
    memset(content, 'c', sizeof(content));
    while (rig->put < rig->wanted) {
        struct event event = {
            .type = EVENT_DELIVERY,
            .sequence = rig->put,
            .size = rig->put,
            .spool = 1,
            .recipient = SLICE("u@b.test"),
            .wall_ns = 1795365001000000000u,
            .content = slice_make(content, sizeof(content)),
        };
        if (!event_feed_put(&rig->feed, &event)) {
            rig->refusals++;
            return;
        }
        rig->put++;
    }
}

uint64_t log_rig_total_bytes;

void log_rig_boot(struct log_rig *rig, uint64_t max_file_bytes)
{
    heap_init(&rig->heap);
    rig->sink = (struct log_sink){say, rig};
    CHECK(work_open(rig->node, 8, &rig->work) == 0);
    for (unsigned i = 0; i < 2; i++) {
        struct ring_options ring = {.submit_entries = 64, .complete_entries = 256,
                                    .buffer_count = 4, .buffer_bytes = 64, .world = rig->node};
        struct shard_options options = {
            .index = i, .count = 2, .work = rig->work, .peers = rig->peers};
        rig->peers[i] = &rig->shards[i];
        CHECK(ring_open(&ring, &options.ring, NULL) == 0);
        CHECK(shard_init(&rig->shards[i], &options) == 0);
        sim_actor_set(options.ring, turn, &rig->shards[i]);
    }
    struct event_log_options log = {
        .path = "state/log", .max_file_bytes = max_file_bytes, .flush_ns = 200 * NS_PER_MS,
        .retention_ns = 86400 * NS_PER_S, .max_total_bytes = log_rig_total_bytes, .level = 1,
        .sink = rig->sink, .heap = &rig->heap};
    rig->log = event_log_open(&rig->shards[LOG], &log);
    struct event_feed_options feed = {.to = LOG, .arrive = event_log_arrive, .sink = rig->log,
                                      .batches = 4, .heap = &rig->heap, .ready = put_more};
    event_feed_init(&rig->feed, &rig->shards[FEED], &feed);
}

void log_rig_init(struct log_rig *rig, struct sim *sim, uint64_t max_file_bytes)
{
    *rig = (struct log_rig){.sim = sim};
    rig->disk = sim_disk_open(sim, 64 * MIB);
    rig->node = sim_node_open(sim, rig->disk);
    log_rig_boot(rig, max_file_bytes);
}

void log_rig_put(struct log_rig *rig, uint32_t wanted)
{
    rig->wanted = wanted;
    if (rig->refusals == 0 || !rig->feed.waited) {
        put_more(&rig->feed);
    }
}

bool log_rig_all_put(void *context)
{
    struct log_rig *rig = context;
    return rig->put == rig->wanted && event_feed_idle(&rig->feed);
}

static bool log_stopped(void *context)
{
    return event_log_stopped(((struct log_rig *)context)->log);
}

void log_rig_stop(struct log_rig *rig)
{
    event_feed_flush(&rig->feed);
    event_log_stop(rig->log);
    if (!sim_run_until(rig->sim, log_stopped, rig, 600 * NS_PER_S)) {
        sim_fail(rig->sim, "the log does not stop");
    }
}

void log_rig_fini(struct log_rig *rig)
{
    heap_fini(&rig->heap);
}
