/* What subscribers hear: forms, snapshots, numbers, and what becomes of those who read slowly. */
#include "tsa/hub.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/json_read.h"
#include "core/prng.h"

#define HOUR    (3600 * NS_PER_S)
#define NOW     (1757000000 * NS_PER_S)
#define FIRST   1000
#define EFFECTS 32
#define EPOCH   "000102030405060708090a0b0c0d0e0f"

static struct heap heap;
static struct automation automation;
static struct shaping_rule_set *set;
static struct hub hub;

static void refuse(void *context, const struct shaping_rule *rule, uint32_t pattern,
                   struct slice why)
{
    (void)context;
    (void)rule;
    fail_msg("pattern %u: %.*s", pattern, (int)why.size, (const char *)why.data);
}

/* A rule for each action; the reply names it. */
static void make_rules(void)
{
    struct shaping_rule *rules = heap_take_array(&heap, SHAPING_ACTIONS, sizeof(*rules));
    struct shaping_rule_group *group = heap_take(&heap, sizeof(*group));
    for (unsigned i = 0; i < SHAPING_ACTIONS; i++) {
        struct shaping_pattern *pattern = heap_take(&heap, sizeof(*pattern));
        struct shaping_action *action = heap_take(&heap, sizeof(*action));
        char text[32];
        (void)snprintf(text, sizeof(text), "do %u\\b", i);
        pattern->text = heap_copy(&heap, slice_from_string(text));
        action->kind = (enum shaping_action_kind)i;
        action->name = SLICE("max_message_rate");
        action->value = SLICE("\"1/m\"");
        rules[i] = (struct shaping_rule){
            .patterns = pattern, .pattern_count = 1, .actions = action, .action_count = 1,
            .duration_ns = HOUR, .hash = 0xAB0 + i, .file = "s.toml", .line = 7,
        };
    }
    *group = (struct shaping_rule_group){SLICE("default"), true, {rules, SHAPING_ACTIONS}};
    set = shaping_rule_set_compile(group, 1, refuse, NULL);
    assert_non_null(set);
}

static void open_hub(uint32_t changes, uint32_t bytes)
{
    struct hub_options options = {.changes_max = changes, .bytes_max = bytes, .first = FIRST};
    assert_true(id_parse(SLICE(EPOCH), &options.epoch));
    heap_init(&heap);
    make_rules();
    automation_init(&automation, &heap, EFFECTS, 4, 1, 1);
    automation_use(&automation, set, patterns_scratch_open(set->patterns));
    hub_init(&hub, &heap, &automation, &options);
    automation_listen(&automation, hub_tell, &hub);
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(hub.subscribers, 0);
    patterns_scratch_close(automation.scratch);
    shaping_rule_set_free(set);
    heap_fini(&heap);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    open_hub(16, 4 * HUB_MESSAGE_BYTES_MAX);
    return 0;
}

/* Bytes for fewer changes than there may be, so that it is they that run out. */
static int setup_short_of_bytes(void **state)
{
    (void)state;
    open_hub(1024, 2 * HUB_MESSAGE_BYTES_MAX);
    return 0;
}

static void act(enum shaping_action_kind kind, const char *domain, uint64_t wall_ns)
{
    static const uint32_t group[] = {0};
    char reply[32];
    char site[128];
    (void)snprintf(reply, sizeof(reply), "451 do %u", kind);
    (void)snprintf(site, sizeof(site), "ip1->mx.%s@smtp_client", domain);
    const struct automation_record record = {
        .wall_ns = wall_ns,
        .response = slice_from_string(reply),
        .site = slice_from_string(site),
        .source = SLICE("ip1"),
        .domain = slice_from_string(domain),
        .tenant = SLICE("t"),
        .campaign = SLICE("c"),
        .groups = group,
        .group_count = 1,
    };
    automation_judge(&automation, &record, NOW);
}

/* --- a subscriber ----------------------------------------------------------------------------- */

struct listener {
    struct hub_subscriber subscriber;
    bool told;
};

static void note(struct hub_subscriber *subscriber)
{
    CONTAINER_OF(subscriber, struct listener, subscriber)->told = true;
}

static void subscribe(struct listener *listener, enum hub_form form, uint64_t after,
                      const char *epoch)
{
    *listener = (struct listener){.subscriber = {.form = form, .told = note}};
    hub_subscribe(&hub, &listener->subscriber, after, slice_from_string(epoch));
}

static void hears(struct listener *listener, const char *want)
{
    struct slice message;
    /* What is not said is shown again. */
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(hub_next(&hub, &listener->subscriber, &message), HUB_MESSAGE);
        if (!slice_equal(message, slice_from_string(want))) {
            fail_msg("%.*s\nnot\n%s", (int)message.size, (const char *)message.data, want);
        }
    }
    hub_said(&hub, &listener->subscriber);
}

static void hears_no_more(struct listener *listener)
{
    struct slice message;
    assert_int_equal(hub_next(&hub, &listener->subscriber, &message), HUB_NOTHING);
    listener->told = false;
}

#define END "\"expires\":\"2025-09-04T16:33:20Z\"}"
#define READY                                                                                      \
    "{\"rule_hash\":\"0000000000000ab0\",\"site_name\":\"ip1->mx.a.test@smtp_client\","            \
    "\"reason\":\"451 do 0\",\"source\":\"ip1\"," END
#define TENANT                                                                                     \
    "{\"rule_hash\":\"0000000000000ab1\",\"tenant\":\"t\",\"domain\":\"a.test\","                  \
    "\"reason\":\"451 do 1\"," END
#define CAMPAIGN                                                                                   \
    "{\"rule_hash\":\"0000000000000ab2\",\"tenant\":\"t\",\"domain\":\"a.test\","                  \
    "\"campaign\":\"c\",\"reason\":\"451 do 2\"," END
#define BOUNCE                                                                                     \
    "{\"rule_hash\":\"0000000000000ab3\",\"domain\":\"a.test\",\"reason\":\"451 do 3\"," END
#define BOUNCE_CAMPAIGN                                                                            \
    "{\"rule_hash\":\"0000000000000ab5\",\"domain\":\"a.test\",\"tenant\":\"t\","                  \
    "\"campaign\":\"c\",\"reason\":\"451 do 5\"," END
#define SETTING                                                                                    \
    "{\"rule_hash\":\"0000000000000ab6\",\"domain\":\"a.test\",\"source\":\"ip1\","                \
    "\"name\":\"max_message_rate\",\"value\":\"\\\"1/m\\\"\",\"mx_rollup\":true,"                  \
    "\"reason\":\"451 do 6\"," END

/* A message of ours. */
#define OURS(seq, snapshot, change, id, what)                                                      \
    "{\"seq\":" seq ",\"epoch\":\"" EPOCH "\",\"snapshot\":" snapshot ",\"change\":\"" change      \
    "\",\"id\":" id ",\"event_ms\":1757000000000," what "}"
#define COMPLETE(seq)                                                                              \
    "{\"seq\":" seq ",\"epoch\":\"" EPOCH "\",\"snapshot\":true,\"complete\":true}"

static void every_form_hears_what_is_in_force_and_then_what_comes(void **state)
{
    struct listener events;
    struct listener suspensions;
    struct listener changes;
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        /* The first one hears all of it as it comes, the second one as a snapshot. */
        if (round == 1) {
            hub_unsubscribe(&hub, &events.subscriber);
            hub_unsubscribe(&hub, &suspensions.subscriber);
            hub_unsubscribe(&hub, &changes.subscriber);
        }
        subscribe(&events, HUB_EVENTS, 0, "");
        subscribe(&suspensions, HUB_SUSPENSIONS, 0, "");
        subscribe(&changes, HUB_CHANGES, 0, "");
        if (round == 0) {
            hears_no_more(&events);
            hears_no_more(&suspensions);
            hears(&changes, COMPLETE("999"));
            hears_no_more(&changes);
            act(SHAPING_SUSPEND, "a.test", NOW);
            act(SHAPING_SUSPEND_TENANT, "a.test", NOW);
            act(SHAPING_SUSPEND_CAMPAIGN, "a.test", NOW);
            act(SHAPING_BOUNCE, "a.test", NOW);
            act(SHAPING_BOUNCE_CAMPAIGN, "a.test", NOW);
            act(SHAPING_SET_CONFIG, "a.test", NOW);
            assert_true(events.told && suspensions.told && changes.told);
        }
        hears(&events, "{\"ReadyQSuspension\":" READY "}");
        hears(&events, "{\"SchedQSuspension\":" TENANT "}");
        hears(&events, "{\"SchedQSuspension\":" CAMPAIGN "}");
        hears(&events, "{\"SchedQBounce\":" BOUNCE "}");
        hears(&events, "{\"SchedQBounce\":" BOUNCE_CAMPAIGN "}");
        hears_no_more(&events);
        hears(&suspensions, "{\"ReadyQ\":" READY "}");
        hears(&suspensions, "{\"SchedQ\":" TENANT "}");
        hears(&suspensions, "{\"SchedQ\":" CAMPAIGN "}");
        hears_no_more(&suspensions);
    }
    hears(&changes, OURS("0", "true", "begun", "1", "\"event\":{\"ReadyQSuspension\":" READY "}"));
    hears(&changes, OURS("0", "true", "begun", "2", "\"event\":{\"SchedQSuspension\":" TENANT "}"));
    hears(&changes,
          OURS("0", "true", "begun", "3", "\"event\":{\"SchedQSuspension\":" CAMPAIGN "}"));
    hears(&changes, OURS("0", "true", "begun", "4", "\"event\":{\"SchedQBounce\":" BOUNCE "}"));
    hears(&changes,
          OURS("0", "true", "begun", "5", "\"event\":{\"SchedQBounce\":" BOUNCE_CAMPAIGN "}"));
    hears(&changes, OURS("0", "true", "begun", "6",
                         "\"site\":\"ip1->mx.a.test@smtp_client\",\"config\":" SETTING));
    hears(&changes, COMPLETE("1005"));
    hears_no_more(&changes);
    hub_unsubscribe(&hub, &events.subscriber);
    hub_unsubscribe(&hub, &suspensions.subscriber);
    hub_unsubscribe(&hub, &changes.subscriber);
}

#define READY_TEXT "\"event\":{\"ReadyQSuspension\":" READY "}"

static void what_is_taken_back_is_told_to_those_who_know_of_it(void **state)
{
    struct listener events;
    struct listener changes;
    (void)state;
    subscribe(&events, HUB_EVENTS, 0, "");
    subscribe(&changes, HUB_CHANGES, 0, "");
    hears(&changes, COMPLETE("999"));
    act(SHAPING_SUSPEND, "a.test", NOW - 60 * NS_PER_S);
    act(SHAPING_SUSPEND, "a.test", NOW);
    assert_true(automation_cancel(&automation, 1));
    automation_expire(&automation, NOW + 2 * HOUR);
    for (unsigned i = 0; i < 2; i++) {
        struct slice message;
        assert_int_equal(hub_next(&hub, &changes.subscriber, &message), HUB_MESSAGE);
        hub_said(&hub, &changes.subscriber);
        assert_int_equal(hub_next(&hub, &events.subscriber, &message), HUB_MESSAGE);
        hub_said(&hub, &events.subscriber);
    }
    hears(&changes, OURS("1002", "false", "cancelled", "1", READY_TEXT));
    hears_no_more(&changes);
    hears_no_more(&events);
    hub_unsubscribe(&hub, &events.subscriber);
    hub_unsubscribe(&hub, &changes.subscriber);
}

static void at06_who_has_seen_a_number_goes_on_behind_it(void **state)
{
    static const struct {
        uint64_t after;
        const char *epoch;
        bool goes_on;
    } rows[] = {
        {1000, "", true},    {1000, EPOCH, true},
        {1000, "000102030405060708090a0b0c0d0e0e", false},
        {1000, "x", false},  {999, "", true},
        {998, "", false},    {1002, "", false},
        {1001, "", true},    {UINT64_MAX, "", false},
        {0, EPOCH, false},
    };
    (void)state;
    act(SHAPING_SUSPEND, "a.test", NOW - NS_PER_S);
    act(SHAPING_SUSPEND, "a.test", NOW);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct listener changes;
        struct slice message;
        subscribe(&changes, HUB_CHANGES, rows[i].after, rows[i].epoch);
        if (!rows[i].goes_on) {
            hears(&changes, OURS("0", "true", "begun", "1", READY_TEXT));
            hears(&changes, COMPLETE("1001"));
        } else {
            for (uint64_t seen = rows[i].after; seen < 1000; seen++) {
                assert_int_equal(hub_next(&hub, &changes.subscriber, &message), HUB_MESSAGE);
                hub_said(&hub, &changes.subscriber);
            }
            if (rows[i].after < 1001) {
                hears(&changes, OURS("1001", "false", "extended", "1", READY_TEXT));
            }
        }
        hears_no_more(&changes);
        hub_unsubscribe(&hub, &changes.subscriber);
    }
}

static void at06_who_is_too_slow_is_lost_and_nobody_else_waits(void **state)
{
    struct listener slow;
    struct listener quick;
    struct slice message;
    (void)state;
    subscribe(&slow, HUB_EVENTS, 0, "");
    subscribe(&quick, HUB_EVENTS, 0, "");
    hears_no_more(&slow);
    hears_no_more(&quick);
    for (unsigned i = 0; i < 17; i++) {
        act(SHAPING_SUSPEND, "a.test", NOW - (17 - i) * NS_PER_S);
        assert_int_equal(hub_next(&hub, &quick.subscriber, &message), HUB_MESSAGE);
        hub_said(&hub, &quick.subscriber);
        assert_true(i < 16 || hub_next(&hub, &slow.subscriber, &message) == HUB_LOST);
    }
    hears_no_more(&quick);
    assert_int_equal(hub.lost, 1);
    /* What it missed is no more in the log: its number leads to a snapshot. */
    hub_unsubscribe(&hub, &slow.subscriber);
    subscribe(&slow, HUB_CHANGES, FIRST - 1, EPOCH);
    assert_true(slow.subscriber.snapshot);
    hub_unsubscribe(&hub, &slow.subscriber);
    subscribe(&slow, HUB_CHANGES, FIRST, EPOCH);
    assert_false(slow.subscriber.snapshot);
    hub_unsubscribe(&hub, &slow.subscriber);
    hub_unsubscribe(&hub, &quick.subscriber);
}

/* --- many ------------------------------------------------------------------------------------- */

#define MANY 1000
#define IDS  512

/* Somebody who does what the header says, and so knows what is in force. */
struct follower {
    struct listener listener;
    uint64_t seen;               /* number */
    bool whole;                  /* it has had a complete snapshot */
    bool lives[IDS];
    bool in_snapshot[IDS];
};

static struct follower followers[MANY];
static struct json_reader *reader;

static void follow(struct follower *follower, struct slice message)
{
    uint64_t seq = 0;
    uint64_t id = 0;
    bool snapshot = false;
    struct slice change;
    assert_true(json_read(reader, message));
    assert_true(json_read_u64(reader, "/seq", &seq));
    assert_true(json_read_bool(reader, "/snapshot", &snapshot));
    if (json_read_kind(reader, "/complete") == JSON_BOOL) {
        assert_true(snapshot);
        memcpy(follower->lives, follower->in_snapshot, sizeof(follower->lives));
        follower->whole = true;
        follower->seen = seq;
        return;
    }
    assert_true(json_read_u64(reader, "/id", &id));
    assert_true(json_read_string(reader, "/change", &change));
    assert_true(id < IDS);
    if (snapshot) {
        assert_int_equal(seq, 0);
        follower->in_snapshot[id] = true;
        return;
    }
    assert_true(follower->whole);
    assert_int_equal(seq, follower->seen + 1);
    follower->seen = seq;
    follower->lives[id] = !slice_equal(change, SLICE("cancelled"));
}

static void begin(struct follower *follower)
{
    memset(follower->in_snapshot, 0, sizeof(follower->in_snapshot));
    subscribe(&follower->listener, HUB_CHANGES, follower->whole ? follower->seen : 0, "");
    follower->whole = follower->whole && !follower->listener.subscriber.snapshot;
}

/* Takes up to `count` messages; who is lost comes again. False: it has all there is. */
static bool read_some(struct follower *follower, unsigned count)
{
    struct hub_subscriber *subscriber = &follower->listener.subscriber;
    struct slice message;
    for (unsigned i = 0; i < count; i++) {
        switch (hub_next(&hub, subscriber, &message)) {
        case HUB_MESSAGE:
            follow(follower, message);
            hub_said(&hub, subscriber);
            break;
        case HUB_NOTHING:
            return false;
        case HUB_LOST:
            hub_unsubscribe(&hub, subscriber);
            begin(follower);
            break;
        }
    }
    return true;
}

static void change_something(struct prng *prng)
{
    static uint64_t tick;
    char domain[240];
    unsigned size = (unsigned)(prng_next(prng) % 200);
    unsigned number = (unsigned)(prng_next(prng) % 12);
    (void)snprintf(domain, sizeof(domain), "%0*u.test", 1 + (int)size % 8, number);
    if (prng_next(prng) % 3 == 0) {
        uint64_t id = 1 + prng_next(prng) % automation.next_id;
        bool was_there = automation_cancel(&automation, id);
        assert_true(!was_there || id < automation.next_id);
    } else if (automation.next_id < IDS - 1) {
        act((enum shaping_action_kind)(prng_next(prng) % SHAPING_ACTIONS), domain,
            NOW - HOUR / 2 + ++tick * NS_PER_MS);
    }
}

static void at06_whoever_catches_up_knows_what_is_in_force(void **state)
{
    const char *seed = getenv("SEED");
    uint64_t first = seed != NULL ? strtoull(seed, NULL, 10) : 1;
    struct prng prng;
    (void)state;
    print_message("seed %llu\n", (unsigned long long)first);
    prng_seed(&prng, first);
    uint64_t bytes = heap.bytes;
    for (unsigned i = 0; i < MANY; i++) {
        followers[i] = (struct follower){0};
        begin(&followers[i]);
    }
    for (unsigned round = 0; round < 300; round++) {
        change_something(&prng);
        for (unsigned i = 0; i < 40; i++) {
            (void)read_some(&followers[prng_next(&prng) % MANY], prng_next(&prng) % 8);
        }
    }
    assert_true(hub.lost > 0);
    assert_int_equal(heap.bytes, bytes);
    bool in_force[IDS] = {0};
    uint32_t cursor = 0;
    const struct automation_effect *effect;
    while ((effect = automation_next(&automation, &cursor)) != NULL) {
        in_force[effect->id] = true;
    }
    for (unsigned i = 0; i < MANY; i++) {
        while (read_some(&followers[i], 100)) {
        }
        assert_int_equal(followers[i].seen, hub.next - 1);
        assert_memory_equal(followers[i].lives, in_force, sizeof(in_force));
        hub_unsubscribe(&hub, &followers[i].listener.subscriber);
    }
}

/* However long changes are, and wherever one of them had no room behind the one before. */
static void at06_every_change_that_can_be_gone_back_to_is_whole(void **state)
{
    struct prng prng;
    char domain[256];
    char head[64];
    (void)state;
    prng_seed(&prng, 1);
    for (unsigned round = 0; round < 5000; round++) {
        unsigned number = (unsigned)(prng_next(&prng) % 12);
        (void)snprintf(domain, sizeof(domain), "%0*u.test", 1 + (int)(number * 20), number);
        act(SHAPING_BOUNCE, domain, NOW - HOUR / 2 + round * NS_PER_MS);
        for (uint64_t seq = hub.oldest + 1; round % 50 == 49 && seq < hub.next; seq++) {
            struct listener changes;
            struct slice message;
            subscribe(&changes, HUB_CHANGES, seq - 1, "");
            assert_int_equal(hub_next(&hub, &changes.subscriber, &message), HUB_MESSAGE);
            (void)snprintf(head, sizeof(head), "{\"seq\":%llu,", (unsigned long long)seq);
            assert_true(slice_starts_with(message, slice_from_string(head)));
            assert_true(json_read(reader, message));
            hub_unsubscribe(&hub, &changes.subscriber);
        }
    }
    assert_in_range(hub.next - hub.oldest, 10, 500); /* bytes ran out, not changes */
    assert_true(hub.oldest > FIRST + 4000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_form_hears_what_is_in_force_and_then_what_comes,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_taken_back_is_told_to_those_who_know_of_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(at06_every_change_that_can_be_gone_back_to_is_whole,
                                        setup_short_of_bytes, teardown),
        cmocka_unit_test_setup_teardown(at06_who_has_seen_a_number_goes_on_behind_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(at06_who_is_too_slow_is_lost_and_nobody_else_waits, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(at06_whoever_catches_up_knows_what_is_in_force, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(at06_whoever_catches_up_knows_what_is_in_force,
                                        setup_short_of_bytes, teardown),
    };
    reader = json_reader_open();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_reader_close(reader);
    return failed;
}
