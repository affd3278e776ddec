/*
 * The event log of the whole MTA where it is hardest: killed between what the event log has and
 * what the spool knows of that, and while it cannot keep up. And the judge of it
 * (tests/world/events.c), which must notice when a log was tampered with.
 *
 * SEED=n COUNT=m build/dev/tests/world_events_test repeats or extends the campaigns.
 */
#include "tests/world/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "core/check.h"

struct totals {
    struct world_tally tally;
    uint64_t reused; /* segments */
};

static void totals_end(struct totals *totals, struct world *world)
{
    totals->reused += world_segments_reused(world);
    world_tally_add(&totals->tally, &world->tally);
    world_close(world);
}

/* --- the cursor ------------------------------------------------------------------------------- */

struct cursor_aim {
    struct world *world;
    uint64_t before;
};

static uint64_t cursor_of(const struct world *world)
{
    return spool_cursor(world->node.mtas[0].spool).sequence;
}

static bool cursor_moved(void *context)
{
    const struct cursor_aim *aim = context;
    return cursor_of(aim->world) != aim->before;
}

/*
 * Mail of many small segments waits, and then all of it goes: its segments may be used again when
 * the event log has its ends. The process ends between that and the CURSOR that says so.
 */
static bool cursor_life(struct world *world)
{
    struct sim *sim = world->sim;
    world->mood.defer = 1000;
    world_mail(world, 4, 60, 5 * NS_PER_MS);
    (void)sim_run_until(sim, world_handed_in, world, 60 * NS_PER_S);
    (void)sim_run_for(sim, sim_below(sim, 3 * NS_PER_S));
    world->mood.defer = 0;
    /* With nothing left to store a CURSOR waits a second for company. */
    bool rests = sim_chance(sim, 500) && sim_run_until(sim, world_drained, world, 60 * NS_PER_S);
    unsigned moves = rests ? 1 : 1 + (unsigned)sim_below(sim, 6);
    for (unsigned i = 0; i < moves; i++) {
        struct cursor_aim aim = {.world = world, .before = cursor_of(world)};
        (void)sim_run_until(sim, cursor_moved, &aim, 6 * NS_PER_S);
    }
    (void)sim_run_for(sim, sim_below(sim, 100 * NS_PER_US << sim_below(sim, 14)));
    if (sim_failed(sim)) {
        return false;
    }
    world_crash(world, sim_chance(sim, 500));
    return world_start(world);
}

static void cursor_body(struct sim *sim, void *context)
{
    struct world world;
    world_init(&world, sim);
    world.body_bytes_max = 6000;
    world.segment_bytes = 64 * KIB;
    world.think_ns = 0;
    world.mood = (struct sink_mood){.one_stage = true, .stage = STAGE_RCPT};
    world_set(&world, "queues.queue.default.max_retry_interval=2s");
    world_log_vary(&world);
    world_open(&world);
    bool good = world_start(&world);
    for (unsigned i = 0; i < 4 && good; i++) {
        good = cursor_life(&world);
    }
    if (good) {
        world_finish(&world);
    }
    totals_end(context, &world);
}

static void f01_events_are_told_whole_though_the_segment_of_their_mail_may_be_used_again(
    void **state)
{
    (void)state;
    struct totals totals = {0};
    struct sim_campaign campaign = {
        .name = "cursor", .count = 30, .body = cursor_body, .context = &totals};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&totals.tally);
    printf("segments used again: %llu\n", (unsigned long long)totals.reused);
    if (getenv("SEED") == NULL) {
        assert_true(totals.reused > 0 && totals.tally.events_repeated > 0);
    }
}

/* --- the log cannot keep up ------------------------------------------------------------------- */

struct replay_aim {
    struct world *world;
    uint64_t events;
};

static bool has_replayed(void *context)
{
    const struct replay_aim *aim = context;
    return world_counter(aim->world, COUNTER_events_replayed) >= aim->events;
}

static bool is_behind(void *context)
{
    const struct world *world = context;
    return world->node.mtas[0].events.state == EVENT_TAP_BEHIND;
}

/* No job of a worker is taken: mail goes on, and the event log stands. */
static void behind_body(struct sim *sim, void *context)
{
    struct world world;
    world_init(&world, sim);
    world.body_bytes_max = 300;
    world.recipients_max = WORLD_RECIPIENTS_MAX;
    world.think_ns = 0;
    world.mood = (struct sink_mood){.defer = 700, .one_stage = true, .stage = STAGE_RCPT};
    world_set(&world, "spool.segment_size=64MiB");
    world_log_vary(&world);
    world_open(&world);
    bool good = world_start(&world) && sim_run_for(sim, NS_PER_S);
    sim_fault_set(sim, SIM_FAULT_job_refused, 1000);
    world_mail(&world, 8, 600, 5 * NS_PER_MS);
    good = good && sim_run_until(sim, is_behind, &world, 600 * NS_PER_S);
    good = good && sim_run_for(sim, sim_below(sim, 2 * NS_PER_S));
    sim_fault_set(sim, SIM_FAULT_job_refused, 0);
    struct replay_aim aim = {.world = &world, .events = sim_below(sim, 12000)};
    (void)sim_run_until(sim, has_replayed, &aim, 20 * NS_PER_S);
    good = good && sim_run_for(sim, sim_below(sim, 10 * NS_PER_US << sim_below(sim, 14)));
    if (good && sim_chance(sim, 700)) {
        world_crash(&world, sim_chance(sim, 500));
        good = world_start(&world);
    }
    if (good) {
        world_finish(&world);
    }
    totals_end(context, &world);
}

static void f34_events_that_the_log_had_no_room_for_are_told_once_and_in_order(void **state)
{
    (void)state;
    struct totals totals = {0};
    struct sim_campaign campaign = {
        .name = "behind", .count = 12, .body = behind_body, .context = &totals};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&totals.tally);
    printf("behind: %llu times, %llu events from the spool\n",
           (unsigned long long)totals.tally.events_behind,
           (unsigned long long)totals.tally.events_replayed);
    if (getenv("SEED") == NULL) {
        assert_true(totals.tally.events_behind > 0 && totals.tally.events_replayed > 0);
    }
}

/* --- the judge -------------------------------------------------------------------------------- */

enum change {
    CHANGE_NONE,
    CHANGE_DROP,
    CHANGE_TEXT,     /* `find` becomes `put` */
    CHANGE_AGAIN,    /* the same, in a copy at the end */
    CHANGE_NUMBER,   /* the copy is an event of its own */
    CHANGE_BLANK,    /* nothing of the message is known */
    CHANGE_BACKWARD, /* all records */
};

struct tampering {
    const char *name;
    enum change change;
    const char *type;
    const char *find;
    const char *put;
    const char *complaint; /* "": none */
};

static const struct tampering tamperings[] = {
    {"nothing", CHANGE_NONE, "Delivery", "", "", ""},
    {"a copy", CHANGE_AGAIN, "Delivery", "{", "{", "twice in one file"},
    {"no end", CHANGE_DROP, "Delivery", "", "", "has no end"},
    {"no reception", CHANGE_DROP, "Reception", "", "", "without a Reception before it"},
    {"an attempt less", CHANGE_DROP, "TransientFailure", "", "", "are told"},
    {"a copy that differs", CHANGE_AGAIN, "Delivery", "\"ESMTP\"", "\"SMTP\"", "not the same"},
    {"two ends", CHANGE_NUMBER, "Delivery", "{", "{", "after its end"},
    {"two receptions", CHANGE_NUMBER, "Reception", "{", "{", "received once more"},
    {"another recipient", CHANGE_TEXT, "Delivery", "\"recipient\":\"r", "\"recipient\":\"s",
     "of nobody"},
    {"another sender", CHANGE_TEXT, "Delivery", "\"sender\":\"m", "\"sender\":\"m1",
     "of nobody"},
    {"another queue", CHANGE_TEXT, "Delivery", "\"queue\":\"d", "\"queue\":\"e", "of nobody"},
    {"another size", CHANGE_TEXT, "Reception", "\"size\":", "\"size\":1", "the sink had"},
    {"another id", CHANGE_TEXT, "Reception", "\"id\":\"0", "\"id\":\"1", "with another id"},
    {"another time", CHANGE_TEXT, "Delivery", "\"created\":1", "\"created\":2",
     "time of reception"},
    {"another spool", CHANGE_TEXT, "Delivery", "\"event_id\":\"", "\"event_id\":\"0",
     "wrong event_id"},
    {"another end", CHANGE_TEXT, "Delivery", "\"Delivery\"", "\"Bounce\"", "with the reply 250"},
    {"an end for an attempt", CHANGE_TEXT, "TransientFailure", "\"TransientFailure\"",
     "\"Expiration\"", "with the reply 451"},
    {"half a record", CHANGE_TEXT, "Delivery", "}", "", "no record"},
    {"no facts", CHANGE_BLANK, "Delivery", "", "", "without id and recipient"},
    {"backward", CHANGE_BACKWARD, "Delivery", "", "", "out of order"},
};

static void text_put(char **at, const char *from, size_t size)
{
    memcpy(*at, from, size);
    *at += size;
}

/* `line` with the first `find` replaced. */
static void put_changed(char **at, const char *line, size_t size, const char *find,
                        const char *put)
{
    const char *found = strstr(line, find);
    assert_true(found != NULL && found < line + size);
    text_put(at, line, (size_t)(found - line));
    text_put(at, put, strlen(put));
    found += strlen(find);
    text_put(at, found, (size_t)(line + size - found));
}

/* The values of these keys become empty. */
static void put_blank(char **at, const char *line, size_t size)
{
    static const char *const keys[] = {"\"id\":\"", "\"sender\":\"", "\"recipient\":\""};
    const char *from = line;
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        const char *value = strstr(from, keys[i]);
        assert_non_null(value);
        value += strlen(keys[i]);
        text_put(at, from, (size_t)(value - from));
        from = strchr(value, '"');
    }
    text_put(at, from, (size_t)(line + size - from));
}

static const char *line_end(const char *line)
{
    return strchr(line, '\n') + 1;
}

/* The last record first. */
static void put_backward(char **at, const char *log)
{
    const char *end = log + strlen(log);
    while (end > log) {
        const char *line = end - 1;
        while (line > log && line[-1] != '\n') {
            line--;
        }
        text_put(at, line, (size_t)(end - line));
        end = line;
    }
}

/* The last digits of the event_id, which stands at the end. */
static void renumber(char *end)
{
    static const char digits[] = "fffff\"}\n";
    memcpy(end - strlen(digits), digits, strlen(digits));
}

static size_t tamper(const struct tampering *tampering, const char *log, char *out)
{
    char type[64];
    char *at = out;
    snprintf(type, sizeof(type), "{\"type\":\"%s\"", tampering->type);
    const char *line = strstr(log, type);
    assert_non_null(line);
    if (tampering->change == CHANGE_BACKWARD) {
        put_backward(&at, log);
        return (size_t)(at - out);
    }
    const char *end = line_end(line);
    size_t size = (size_t)(end - line);
    text_put(&at, log, (size_t)(line - log));
    switch (tampering->change) {
    case CHANGE_DROP:
        break;
    case CHANGE_TEXT:
        put_changed(&at, line, size, tampering->find, tampering->put);
        break;
    case CHANGE_BLANK:
        put_blank(&at, line, size);
        break;
    case CHANGE_NONE:
    case CHANGE_AGAIN:
    case CHANGE_NUMBER:
    case CHANGE_BACKWARD:
        text_put(&at, line, size);
        break;
    }
    text_put(&at, end, strlen(end));
    if (tampering->change == CHANGE_AGAIN || tampering->change == CHANGE_NUMBER) {
        put_changed(&at, line, size, tampering->find, tampering->put);
        if (tampering->change == CHANGE_NUMBER) {
            renumber(at);
        }
    }
    return (size_t)(at - out);
}

/* All of it in the first file. */
static void log_replace(struct world *world, const char *text, size_t size)
{
    char names[8192];
    char path[512];
    size_t capacity = ZSTD_compressBound(size);
    uint8_t *frame = malloc(capacity);
    assert_non_null(frame);
    size_t bytes = ZSTD_compress(frame, capacity, text, size, 1);
    assert_false(ZSTD_isError(bytes));
    unsigned count = sim_disk_list(world->disk, "var/log", names, sizeof(names));
    assert_int_equal(count, 1);
    snprintf(path, sizeof(path), "var/log/%.200s", names);
    assert_int_equal(sim_disk_put(world->disk, path, slice_make(frame, bytes)), 0);
    free(frame);
}

static void tampering_body(const struct tampering *tampering, struct sim *sim)
{
    struct world world;
    world_init(&world, sim);
    world.mood = (struct sink_mood){.defer = 300, .one_stage = true, .stage = STAGE_RCPT};
    world_open(&world);
    assert_true(world_start(&world));
    world_mail(&world, 2, 12, 5 * NS_PER_MS);
    assert_true(sim_run_until(sim, world_handed_in, &world, 60 * NS_PER_S));
    assert_true(sim_run_for(sim, NS_PER_S));
    world_finish(&world);
    assert_string_equal(sim_failure(sim), "");
    char *log = world_log(&world);
    char *changed = malloc(2 * strlen(log) + 1);
    assert_non_null(changed);
    log_replace(&world, changed, tamper(tampering, log, changed));
    world_events_judge(&world);
    free(changed);
    free(log);
    world_close(&world);
}

static void a_log_that_was_tampered_with_is_noticed(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(tamperings); i++) {
        struct sim_options options = {.seed = 3};
        struct sim *sim = sim_open(&options);
        tampering_body(&tamperings[i], sim);
        const char *failure = sim_failure(sim);
        if (strstr(failure, tamperings[i].complaint) == NULL ||
            (tamperings[i].complaint[0] == '\0' && failure[0] != '\0')) {
            fail_msg("%s: \"%s\"", tamperings[i].name, failure);
        }
        sim_close(sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            f01_events_are_told_whole_though_the_segment_of_their_mail_may_be_used_again),
        cmocka_unit_test(f34_events_that_the_log_had_no_room_for_are_told_once_and_in_order),
        cmocka_unit_test(a_log_that_was_tampered_with_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
