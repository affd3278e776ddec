/* The way of events over crashes and full feeds: every one at least once, always the same. */
#include "smtp/event_tap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "smtp/envelope.h"
#include "tests/sim/shards.h"

#define UUID       0xABCDull
#define TEXT_BYTES (16 * MIB)
#define MAIL_MAX   4000
#define EVENTS_MAX 65536
#define HELD_MAX   8
#define BATCHES    8
#define SEEDS      40

/* A message and its one outcome. */
struct mail_item {
    struct spool_write write;
    struct spool_message record;
    struct message message;
    struct spool_write outcome_write;
    struct slice outcome;
    bool stored;
    bool finished;
    uint16_t recipients;
    uint8_t head[400];
    uint8_t outcome_bytes[400];
};

/* The process: a mail shard with one lane, and a shard that keeps the log as text in memory. */
struct stage {
    struct sim *sim;
    struct sim_disk *disk;
    struct sim_node *node;
    struct sim_shards shards;
    struct heap heap;
    struct boot_pages pages;
    struct block_pool *pool;
    struct messages messages;
    struct event_feed feed;
    struct event_tap tap;
    struct spool *spool;
    bool started;
    bool stopped;
    bool hold;                  /* the log takes no batch */
    struct event_batch *held[HELD_MAX];
    unsigned held_count;
    bool deaf;                  /* it takes them, but nothing becomes durable */
    struct event_ack ack;
    bool ack_away;
    bool ack_news;
    struct conf_amount backlog_max;
    unsigned said;
    char said_last[256];
    /* Over all lives: */
    char *text;
    size_t text_bytes;
    size_t durable_bytes;
    struct mail_item *mail;
    unsigned mail_count;
    bool expected[EVENTS_MAX];  /* by event sequence */
    unsigned found[EVENTS_MAX];
};

static struct stage stage;

/* --- the log ---------------------------------------------------------------------------------- */

static void ack_send(void)
{
    if (stage.ack_news && !stage.ack_away) {
        stage.ack_news = false;
        stage.ack_away = true;
        stage.ack.feed = &stage.feed;
        event_ack_send(&stage.shards.shards[1], &stage.ack);
    }
}

static void ack_home(struct shard *shard, struct mail *mail)
{
    (void)shard;
    (void)mail;
    stage.ack_away = false;
    ack_send();
}

static void log_take(struct event_batch *batch)
{
    assert_true(stage.text_bytes + batch->size < TEXT_BYTES);
    memcpy(stage.text + stage.text_bytes, batch->data, batch->size);
    stage.text_bytes += batch->size;
    stage.text[stage.text_bytes] = '\0';
    if (!stage.deaf) {
        stage.durable_bytes = stage.text_bytes;
        stage.ack.mark = batch->mark;
        stage.ack.batches++;
        stage.ack_news = true;
        ack_send();
    }
    event_batch_give(&stage.shards.shards[1], batch);
}

static void log_arrive(struct shard *receiver, struct mail *mail)
{
    struct event_batch *batch = CONTAINER_OF(mail, struct event_batch, mail);
    (void)receiver;
    if (stage.hold) {
        assert_true(stage.held_count < HELD_MAX);
        stage.held[stage.held_count++] = batch;
    } else {
        log_take(batch);
    }
}

static void release_held(void)
{
    stage.hold = false;
    for (unsigned i = 0; i < stage.held_count; i++) {
        log_take(stage.held[i]);
    }
    stage.held_count = 0;
}

/* --- the process ------------------------------------------------------------------------------ */

static void feed_ready(struct event_feed *feed)
{
    (void)feed;
    event_tap_ready(&stage.tap);
}

static struct spool_position feed_mark(struct event_feed *feed)
{
    (void)feed;
    return event_tap_mark(&stage.tap);
}

static void feed_durable(struct event_feed *feed)
{
    (void)feed;
    event_tap_durable(&stage.tap);
}

static void say(void *context, struct slice line)
{
    (void)context;
    stage.said++;
    snprintf(stage.said_last, sizeof(stage.said_last), "%.*s", (int)line.size,
             (const char *)line.data);
}

static bool ignore_message(void *context, const struct spool_found *found)
{
    (void)context;
    (void)found;
    return true;
}

static void ignore_reset(void *context, uint32_t segment)
{
    (void)context;
    (void)segment;
}

static void ignore_outcome(void *context, struct spool_location message, struct slice payload)
{
    (void)message;
    (void)context;
    (void)payload;
}

static void ignore_void(void *context, struct spool_location location)
{
    (void)context;
    (void)location;
}

static void ignore_checkpoint(void *context, uint64_t rows)
{
    (void)context;
    (void)rows;
}

static void ignore_queue(void *context, uint32_t number, struct slice name)
{
    (void)context;
    (void)number;
    (void)name;
}

static void ignore_row(void *context, const struct checkpoint_row *row)
{
    (void)context;
    (void)row;
}

static void state_begin(void *context)
{
    (void)context;
}

static bool state_put(void *context, struct checkpoint_block *block)
{
    (void)context;
    (void)block;
    return false;
}

static uint64_t state_bytes(void *context)
{
    (void)context;
    return 0;
}

static void spool_finished(void *context, int error, struct slice reason)
{
    (void)context;
    (void)reason;
    assert_int_equal(error, 0);
    stage.started = true;
}

static bool is_started(void *context)
{
    (void)context;
    return stage.started;
}

static void boot(void)
{
    sim_shards_boot(&stage.shards, stage.node, 2, 16, 4096);
    struct shard *shard = &stage.shards.shards[0];
    stage.pages = (struct boot_pages){0};
    heap_init(&stage.heap);
    stage.pool = block_pool_open(8 * MIB);
    messages_init(&stage.messages, &stage.pages, stage.pool, 64, 1);
    const struct event_feed_options feed = {
        .to = 1, .arrive = log_arrive, .batches = BATCHES, .heap = &stage.heap,
        .ready = feed_ready, .mark = feed_mark, .durable = feed_durable};
    event_feed_init(&stage.feed, shard, &feed);
    const struct event_tap_options tap = {
        .messages = &stage.messages, .feed = &stage.feed, .lanes = 1,
        .backlog_max = stage.backlog_max, .spool_path = "spool", .sink = {say, NULL},
        .pages = &stage.pages};
    assert_int_equal(event_tap_init(&stage.tap, shard, &tap), 0);
    stage.ack = (struct event_ack){.home = ack_home};
    stage.ack_away = false;
    stage.ack_news = false;
    stage.held_count = 0;
    stage.started = false;
    const struct spool_options spool = {
        .path = "spool", .sync = true, .segment_bytes = 256 * KIB,
        .group_bytes = 64 * KIB, .deadline_ns = 30 * NS_PER_S, .checkpoint_bytes = 4 * MIB,
        .pool = stage.pool};
    const struct spool_replay replay = {
        .message = ignore_message, .outcome = ignore_outcome, .void_message = ignore_void,
        .checkpoint = ignore_checkpoint, .queue = ignore_queue, .row = ignore_row,
        .reset = ignore_reset, .finished = spool_finished};
    assert_int_equal(spool_start(shard, &spool, UUID, &replay, &stage.spool), 0);
    assert_true(sim_run_until(stage.sim, is_started, NULL, 600 * NS_PER_S));
    const struct spool_state state = {
        .begin = state_begin, .put = state_put, .bytes = state_bytes};
    spool_begin(stage.spool, &state);
    event_tap_start(&stage.tap, stage.spool, UUID);
}

static void process_free(void)
{
    spool_close(stage.spool);
    event_tap_fini(&stage.tap);
    block_pool_close(stage.pool);
    boot_pages_give(&stage.pages);
    heap_fini(&stage.heap);
}

/* What the log had not synced is gone; so is what was stored and not answered, or it is not. */
static void crash(bool power)
{
    if (power) {
        sim_node_power_cut(stage.node);
    } else {
        sim_node_kill(stage.node);
    }
    stage.text_bytes = stage.durable_bytes;
    stage.text[stage.text_bytes] = '\0';
    process_free();
    sim_shards_drop(&stage.shards);
}

static void spool_is_stopped(void *context)
{
    (void)context;
    stage.stopped = true;
}

static bool tap_idle(void *context)
{
    (void)context;
    return event_tap_idle(&stage.tap);
}

static bool all_home(void *context)
{
    (void)context;
    return stage.stopped && event_feed_idle(&stage.feed) && !stage.ack_away;
}

static void stop(void)
{
    event_feed_flush(&stage.feed);
    event_tap_stop(&stage.tap);
    assert_true(sim_run_until(stage.sim, tap_idle, NULL, 60 * NS_PER_S));
    stage.stopped = false;
    spool_stop(stage.spool, spool_is_stopped, NULL);
    assert_true(sim_run_until(stage.sim, all_home, NULL, 60 * NS_PER_S));
    process_free();
    sim_shards_stop(&stage.shards);
    assert_false(sim_failed(stage.sim));
}

/* --- mail ------------------------------------------------------------------------------------- */

static void expect_events(uint64_t sequence, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        assert_true(sequence + i < EVENTS_MAX);
        stage.expected[sequence + i] = true;
    }
}

static void message_stored(struct spool_write *write)
{
    struct mail_item *item = CONTAINER_OF(write, struct mail_item, write);
    if (write->status != SPOOL_STORED) {
        return;
    }
    item->stored = true;
    item->message.location = write->location;
    expect_events(write->event_sequence, item->recipients);
    const struct event_source source = {
        .message = &item->message, .record = write->location, .sequence = write->event_sequence};
    event_tap_put(&stage.tap, &source);
}

static void message_fill(struct mail_item *item, unsigned number)
{
    struct message *message = &item->message;
    struct buf buf;
    char address[64];
    buf_init(&buf, item->head, sizeof(item->head));
    envelope_put_sender(&buf, SLICE("a@c.test"), NULL);
    for (uint16_t i = 0; i < item->recipients; i++) {
        snprintf(address, sizeof(address), "r%u.n%u@d%u.test", i, number, number % 7);
        envelope_put_recipient(&buf, i, slice_from_string(address), NULL);
    }
    message->envelope = buf_slice(&buf);
    const struct metadata metadata = {.protocol = SLICE("ESMTP"), .hello = SLICE("client.test")};
    size_t start = buf.size;
    metadata_put(&buf, &metadata);
    message->metadata = slice_make(buf.data + start, buf.size - start);
    message->prepend = SLICE("Received: by us\r\n");
    message->created_ns = 1700000000 * NS_PER_S + number * NS_PER_MS;
    message->id = (struct id){.bytes = {1, 2, (uint8_t)(number >> 8), (uint8_t)number}};
    assert_false(buf.overflow);
}

static void put_mail(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        unsigned number = stage.mail_count++;
        assert_true(number < MAIL_MAX);
        struct mail_item *item = &stage.mail[number];
        item->recipients = (uint16_t)(1 + number % 3);
        message_fill(item, number);
        item->write.done = message_stored;
        item->record = (struct spool_message){
            .id = item->message.id,
            .created_ns = item->message.created_ns,
            .recipient_count = item->recipients,
            .envelope = item->message.envelope,
            .metadata = item->message.metadata,
            .prepend = item->message.prepend,
            .body_hash = XXH3_128bits("", 0),
        };
        spool_put_message(stage.spool, &item->write, &item->record);
    }
}

static void outcome_stored(struct spool_write *write)
{
    struct mail_item *item = CONTAINER_OF(write, struct mail_item, outcome_write);
    struct outcome outcome;
    struct outcome_cursor cursor;
    if (write->status != SPOOL_STORED) {
        item->finished = false;
        return;
    }
    assert_true(outcome_open(item->outcome, &outcome, &cursor));
    expect_events(outcome.event_sequence, item->recipients);
    const struct event_source source = {
        .message = &item->message, .record = write->location, .payload = item->outcome};
    event_tap_put(&stage.tap, &source);
}

static void put_outcome(struct mail_item *item)
{
    struct outcome_writer writer;
    struct buf buf;
    buf_init(&buf, item->outcome_bytes, sizeof(item->outcome_bytes));
    const struct outcome outcome = {
        .message = item->message.location,
        .event_sequence = spool_event_sequence(stage.spool, item->recipients),
        .wall_ns = 1700000009 * NS_PER_S,
        .site = SLICE("unspecified->x@smtp_client"),
        .recipient_count = item->recipients,
    };
    outcome_put(&writer, &buf, &outcome);
    for (uint16_t i = 0; i < item->recipients; i++) {
        const struct outcome_recipient recipient = {
            .index = i, .disposition = DISPOSITION_DELIVERED, .attempts = 1, .code = 250,
            .command = SLICE("."), .response = SLICE("Taken")};
        outcome_put_recipient(&writer, &recipient);
    }
    assert_false(buf.overflow);
    item->outcome = buf_slice(&buf);
    item->outcome_write = (struct spool_write){.done = outcome_stored};
    item->finished = true;
    spool_put_outcome(stage.spool, &item->outcome_write, &item->outcome);
}

/* The outcomes of all that is stored and has none yet. */
static void put_outcomes(void)
{
    for (unsigned i = 0; i < stage.mail_count; i++) {
        if (stage.mail[i].stored && !stage.mail[i].finished) {
            put_outcome(&stage.mail[i]);
        }
    }
}

/* --- the verdict ------------------------------------------------------------------------------ */

static bool is_settled(void *context)
{
    (void)context;
    return event_tap_settled(&stage.tap);
}

static void settle(void)
{
    assert_true(sim_run_for(stage.sim, 50 * NS_PER_MS)); /* what waits for company is stored */
    assert_true(sim_run_until(stage.sim, is_settled, NULL, 60 * NS_PER_S));
}

/* The number in the event_id of a line. */
static uint64_t sequence_of(const char *line, size_t bytes)
{
    static const char before[] = "\"event_id\":\"000000000000abcd";
    const char *at = memmem(line, bytes, before, sizeof(before) - 1);
    assert_non_null(at);
    return strtoull(at + sizeof(before) - 1, NULL, 16);
}

/* Counts what stands in the log; repeats are the same to the byte. */
static void count_found(void)
{
    static const char *first[EVENTS_MAX];
    static size_t sizes[EVENTS_MAX];
    memset(stage.found, 0, sizeof(stage.found));
    size_t bytes = 0;
    for (size_t at = 0; at < stage.text_bytes; at += bytes + 1) {
        const char *line = stage.text + at;
        const char *end = memchr(line, '\n', stage.text_bytes - at);
        assert_non_null(end);
        bytes = (size_t)(end - line);
        uint64_t sequence = sequence_of(line, bytes);
        assert_true(sequence < EVENTS_MAX);
        if (stage.found[sequence]++ == 0) {
            first[sequence] = line;
            sizes[sequence] = bytes;
        } else if (sizes[sequence] != bytes || memcmp(first[sequence], line, bytes) != 0) {
            fail_msg("two records of one id:\n%.*s\n%.*s", (int)sizes[sequence],
                     first[sequence], (int)bytes, line);
        }
    }
}

static void judge(unsigned repeats_max)
{
    unsigned repeats = 0;
    count_found();
    for (unsigned i = 0; i < EVENTS_MAX; i++) {
        if (stage.expected[i] && stage.found[i] == 0) {
            fail_msg("seed %llu: event %u is missing", (unsigned long long)sim_seed(stage.sim), i);
        }
        repeats += stage.found[i] > 1 ? stage.found[i] - 1 : 0;
    }
    if (repeats > repeats_max) {
        fail_msg("%u repeats", repeats);
    }
}

static uint64_t replayed(void)
{
    return counters_get(&stage.shards.shards[0].counters, COUNTER_events_replayed);
}

static void open_stage(uint64_t seed)
{
    stage = (struct stage){.sim = sim_open(&(struct sim_options){.seed = seed})};
    stage.disk = sim_disk_open(stage.sim, 256 * MIB);
    stage.node = sim_node_open(stage.sim, stage.disk);
    stage.text = calloc(1, TEXT_BYTES);
    stage.mail = calloc(MAIL_MAX, sizeof(*stage.mail));
    assert_int_equal(sim_disk_make_dir(stage.disk, "spool"), 0);
}

static void close_stage(void)
{
    sim_close(stage.sim);
    free(stage.text);
    free(stage.mail);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void events_of_what_is_stored_come_once_and_the_cursor_follows(void **state)
{
    (void)state;
    open_stage(1);
    boot();
    for (unsigned i = 0; i < 10; i++) {
        put_mail(20);
        assert_true(sim_run_for(stage.sim, 20 * NS_PER_MS));
        put_outcomes();
        assert_true(sim_run_for(stage.sim, 20 * NS_PER_MS));
    }
    settle();
    judge(0);
    assert_int_equal(replayed(), 0);
    assert_int_equal(stage.tap.refusals, 0);
    struct spool_position cursor = spool_cursor(stage.spool);
    struct spool_position now = spool_position(stage.spool);
    assert_int_equal(cursor.sequence, now.sequence);
    stop();
    boot();
    settle();
    assert_int_equal(replayed(), 0); /* a clean stop leaves nothing to be read again */
    judge(0);
    stop();
    close_stage();
}

static void a_full_feed_holds_nothing_up_and_all_of_it_comes_later_once(void **state)
{
    (void)state;
    open_stage(2);
    boot();
    stage.hold = true;
    for (unsigned i = 0; i < 20; i++) {
        put_mail(50);
        assert_true(sim_run_for(stage.sim, 20 * NS_PER_MS));
        put_outcomes();
        assert_true(sim_run_for(stage.sim, 20 * NS_PER_MS));
    }
    assert_int_equal(stage.tap.state, EVENT_TAP_BEHIND);
    assert_int_equal(stage.tap.refusals, 1);
    for (unsigned i = 0; i < stage.mail_count; i++) {
        assert_true(stage.mail[i].stored && stage.mail[i].finished);
    }
    release_held();
    settle();
    assert_int_equal(stage.tap.state, EVENT_TAP_LIVE);
    assert_true(replayed() > 1000);
    judge(0);
    stop();
    close_stage();
}

/* Full again and again, in the middle of the hand-over too; every time the rest comes, and once. */
static void a_feed_that_is_full_now_and_then_repeats_nothing(void **state)
{
    (void)state;
    uint64_t refusals = 0;
    for (uint64_t seed = 1; seed <= 15; seed++) {
        open_stage(seed);
        boot();
        for (unsigned i = 0; i < 60; i++) {
            put_mail(10 + (unsigned)sim_below(stage.sim, 40));
            assert_true(sim_run_for(stage.sim, sim_below(stage.sim, 3 * NS_PER_MS)));
            put_outcomes();
            assert_true(sim_run_for(stage.sim, sim_below(stage.sim, 20 * NS_PER_MS)));
            if (sim_chance(stage.sim, 400)) {
                release_held();
            } else if (sim_chance(stage.sim, 500)) {
                stage.hold = true;
            }
        }
        release_held();
        put_outcomes();
        settle();
        judge(0);
        refusals += stage.tap.refusals;
        stop();
        close_stage();
    }
    assert_true(refusals > 20);
}

/* Every third disk fails now and then; a power cut loses and tears what was not synced. */
static void set_faults(uint64_t seed)
{
    static const struct {
        enum sim_fault fault;
        unsigned per_mille;
    } rows[] = {
        {SIM_FAULT_late_completion, 50}, {SIM_FAULT_slow_turn, 30},    {SIM_FAULT_slow_disk, 50},
        {SIM_FAULT_slow_job, 20},        {SIM_FAULT_short_read, 100},  {SIM_FAULT_short_write, 50},
        {SIM_FAULT_sector_lost, 600},    {SIM_FAULT_sector_torn, 100}, {SIM_FAULT_sector_junk, 300},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        sim_fault_set(stage.sim, rows[i].fault, rows[i].per_mille);
    }
    sim_fault_set(stage.sim, SIM_FAULT_write_error, seed % 3 == 0 ? 10 : 0);
}

/* Where the disk refuses writes a start fails, which is told elsewhere: here it works. */
static void boot_again(uint64_t seed)
{
    sim_fault_set(stage.sim, SIM_FAULT_write_error, 0);
    boot();
    set_faults(seed);
}

/* F-01: whatever was durable when the process ended is told after the start. */
static void f01_after_any_crash_every_event_is_there_and_the_same(void **state)
{
    (void)state;
    uint64_t again = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        open_stage(seed);
        set_faults(seed);
        boot();
        for (unsigned life = 0; life < 5; life++) {
            unsigned steps = (unsigned)sim_below(stage.sim, 12);
            for (unsigned i = 0; i < steps; i++) {
                put_mail((unsigned)sim_below(stage.sim, 30));
                assert_true(sim_run_for(stage.sim, sim_below(stage.sim, 30 * NS_PER_MS)));
                put_outcomes();
                assert_true(sim_run_for(stage.sim, sim_below(stage.sim, 30 * NS_PER_MS)));
                stage.deaf = sim_chance(stage.sim, 300);
                stage.hold = stage.hold || sim_chance(stage.sim, 100);
            }
            crash(sim_chance(stage.sim, 500));
            stage.deaf = false;
            stage.hold = false;
            for (unsigned i = 0; i < stage.mail_count; i++) {
                stage.mail[i].outcome_write.in_flight = false;
            }
            boot_again(seed);
        }
        settle();
        judge(UINT32_MAX);
        again += replayed();
        stop();
        close_stage();
    }
    assert_true(again > 100);
}

/* The message lies far before the cursor: its head is loaded, many at a time, in order. */
static void an_outcome_read_again_finds_its_old_message(void **state)
{
    (void)state;
    open_stage(5);
    boot();
    put_mail(500);
    settle();
    stop();
    stage.hold = true;
    boot();
    put_outcomes();
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    crash(false);
    stage.hold = false;
    boot();
    settle();
    assert_true(counters_get(&stage.shards.shards[0].counters, COUNTER_spool_reads) >= 500);
    assert_int_equal(counters_get(&stage.shards.shards[0].counters, COUNTER_events_unknown), 0);
    judge(0);
    assert_non_null(strstr(stage.text, "\"recipient\":\"r0.n499@d2.test\""));
    uint64_t last = 0;
    for (const char *line = stage.text; *line != '\0'; line = strchr(line, '\n') + 1) {
        size_t bytes = strcspn(line, "\n");
        if (memmem(line, bytes, "\"Delivery\"", 10) != NULL) {
            assert_true(sequence_of(line, bytes) > last);
            last = sequence_of(line, bytes);
        }
    }
    stop();
    close_stage();
}

/* F-05: what the outcome itself knows is told. */
static void f05_an_outcome_whose_message_cannot_be_read_is_told_all_the_same(void **state)
{
    (void)state;
    open_stage(6);
    boot();
    put_mail(10);
    settle();
    stop();
    stage.hold = true;
    boot();
    put_outcomes();
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    crash(false);
    stage.hold = false;
    uint8_t bad[8] = {0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55};
    struct spool_location at = stage.mail[4].message.location;
    assert_int_equal(at.segment, 1);
    (void)sim_disk_overwrite(stage.disk, "spool/lane-000/segment-000000",
                             (uint64_t)at.offset_64 * 64 + 130, slice_make(bad, sizeof(bad)));
    boot();
    settle();
    judge(0);
    assert_int_equal(counters_get(&stage.shards.shards[0].counters, COUNTER_events_unknown), 1);
    assert_non_null(strstr(stage.text, "\"recipient\":\"\""));
    stop();
    close_stage();
}

/* A commit that failed while the tap was behind: nobody was told 250, so there is no Reception. */
static void f03_what_was_refused_while_behind_is_not_told(void **state)
{
    (void)state;
    open_stage(7);
    boot();
    stage.hold = true;
    for (unsigned i = 0; i < 10; i++) {
        put_mail(50);
        assert_true(sim_run_for(stage.sim, 50 * NS_PER_MS));
    }
    assert_int_equal(stage.tap.state, EVENT_TAP_BEHIND);
    unsigned before = stage.mail_count;
    sim_disk_failing_set(stage.disk, false, true, false);
    put_mail(5);
    assert_true(sim_run_for(stage.sim, 20 * NS_PER_MS));
    sim_disk_failing_set(stage.disk, false, false, false);
    assert_false(stage.mail[before].stored);
    release_held();
    settle();
    judge(0);
    for (unsigned i = 0; i < EVENTS_MAX; i++) {
        assert_true(stage.found[i] == 0 || stage.expected[i]);
    }
    put_mail(5);
    settle();
    judge(0);
    stop();
    close_stage();
}

static void too_large_a_backlog_refuses_mail_until_it_is_well_below(void **state)
{
    (void)state;
    open_stage(8);
    stage.backlog_max = (struct conf_amount){.value = 512 * KIB};
    boot();
    stage.hold = true;
    while (!event_tap_behind_too_far(&stage.tap)) {
        put_mail(20);
        assert_true(sim_run_for(stage.sim, 100 * NS_PER_MS));
    }
    assert_true(spool_backlog_bytes(stage.spool) > 512 * KIB);
    assert_true(spool_backlog_bytes(stage.spool) < 768 * KIB);
    assert_int_equal(stage.said, 1);
    assert_non_null(strstr(stage.said_last, "event=event_log_behind lane=0 bytes="));
    put_outcomes(); /* deliveries go on */
    assert_true(sim_run_for(stage.sim, 3 * NS_PER_S));
    assert_int_equal(stage.said, 1);
    release_held();
    settle();
    assert_true(sim_run_for(stage.sim, 2 * NS_PER_S));
    assert_false(event_tap_behind_too_far(&stage.tap));
    assert_int_equal(stage.said, 2);
    assert_non_null(strstr(stage.said_last, "event=event_log_caught_up"));
    judge(0);
    stop();
    close_stage();
}

/* Percent of the file system, as the worker says. */
static void a_share_of_the_file_system_is_a_backlog_too(void **state)
{
    (void)state;
    open_stage(9);
    stage.backlog_max = (struct conf_amount){.percent = true, .value = 20};
    boot();
    assert_true(sim_run_for(stage.sim, 2 * NS_PER_S));
    assert_int_equal(stage.tap.backlog_max, 256 * MIB / 100 * 20);
    assert_false(event_tap_behind_too_far(&stage.tap));
    stop();
    close_stage();
}

/* A stop that may not wait: the cursor stays, the next start has the rest. */
static void a_stop_while_behind_leaves_the_rest_to_the_next_start(void **state)
{
    (void)state;
    open_stage(10);
    boot();
    stage.hold = true;
    for (unsigned i = 0; i < 10; i++) {
        put_mail(50);
        assert_true(sim_run_for(stage.sim, 50 * NS_PER_MS));
    }
    assert_false(event_tap_settled(&stage.tap));
    for (unsigned i = 0; i < stage.held_count; i++) {
        event_batch_give(&stage.shards.shards[1], stage.held[i]); /* the log has given up */
    }
    stage.held_count = 0;
    stop();
    stage.hold = false;
    boot();
    settle();
    judge(0);
    stop();
    close_stage();
}

static void a_rejection_has_the_codes_of_its_reply_and_may_be_dropped(void **state)
{
    (void)state;
    const struct rejection rejection = {.sender = SLICE("a@c.test"),
                                        .command = SLICE("RCPT TO:<b@t.test>"),
                                        .reply = SLICE("550 5.7.1 Relaying denied")};
    open_stage(11);
    boot();
    event_tap_reject(&stage.tap, &rejection);
    settle();
    assert_non_null(strstr(stage.text, "\"type\":\"Rejection\""));
    assert_non_null(strstr(stage.text, "\"code\":550"));
    assert_non_null(strstr(stage.text, "\"class\":5,\"subject\":7,\"detail\":1"));
    assert_non_null(strstr(stage.text, "\"content\":\"Relaying denied\""));
    assert_null(strstr(stage.text, "event_id"));
    stage.hold = true;
    for (unsigned i = 0; i < 2000; i++) {
        event_tap_reject(&stage.tap, &rejection);
    }
    assert_true(stage.feed.dropped > 0);
    assert_int_equal(stage.feed.dropped + stage.feed.events, 2001);
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    release_held();
    stop();
    close_stage();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_of_what_is_stored_come_once_and_the_cursor_follows),
        cmocka_unit_test(a_full_feed_holds_nothing_up_and_all_of_it_comes_later_once),
        cmocka_unit_test(a_feed_that_is_full_now_and_then_repeats_nothing),
        cmocka_unit_test(f01_after_any_crash_every_event_is_there_and_the_same),
        cmocka_unit_test(an_outcome_read_again_finds_its_old_message),
        cmocka_unit_test(f05_an_outcome_whose_message_cannot_be_read_is_told_all_the_same),
        cmocka_unit_test(f03_what_was_refused_while_behind_is_not_told),
        cmocka_unit_test(too_large_a_backlog_refuses_mail_until_it_is_well_below),
        cmocka_unit_test(a_share_of_the_file_system_is_a_backlog_too),
        cmocka_unit_test(a_stop_while_behind_leaves_the_rest_to_the_next_start),
        cmocka_unit_test(a_rejection_has_the_codes_of_its_reply_and_may_be_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
