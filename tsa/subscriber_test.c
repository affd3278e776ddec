/* What daemons have in force, heard over WebSockets that hang, break, skip and lie; on the
 * simulated network. Each daemon has a hub of its own, as ringpost-tsad has. */
#include "tsa/subscriber.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/shards.h"
#include "tsa/hub.h"

#define DAEMONS 2
#define PEERS   512
#define EFFECTS 64u
#define PORT    8008

enum mood {
    WORKS,
    HANGS,    /* says nothing */
    REFUSES,  /* 503 */
    ANOTHER,  /* the answer to another handshake */
    CUTS,     /* ends it behind the handshake */
    BABBLES,  /* no frames */
    LIES,     /* frames of something else */
    HALVES,   /* half of a snapshot */
    SKIPS,    /* leaves out changes */
    SILENT,   /* a WebSocket without a word */
    MOODS,
};

struct daemon;

struct connection {
    struct daemon *daemon;
    struct sim_peer *peer;
    struct websocket websocket;
    struct hub_subscriber hub;
    bool open;
    unsigned said;
    char path[256];
};

struct daemon {
    struct sim *sim;
    enum mood mood;
    struct heap heap;
    struct automation automation;
    struct hub hub;
    unsigned connects;
    unsigned resumed; /* of these with a number */
    struct connection *connections;
    unsigned count;
};

static struct sim *sim;
static struct sim_node *process;
static struct sim_shards shards;
static struct boot_pages pages;
static struct heap heap;
static struct automation automation;
static struct subscriber subscriber;
static struct conf_tsa conf;
static struct url urls[DAEMONS];
static uint8_t texts[DAEMONS][URL_BYTES_MAX];
static struct daemon daemons[DAEMONS];
static unsigned lines;
static unsigned news;

/* --- daemons ---------------------------------------------------------------------------------- */

static void say_frame(struct connection *at, struct slice text)
{
    uint8_t frame[HUB_MESSAGE_BYTES_MAX + WEBSOCKET_OVERHEAD];
    struct buf buf;
    buf_init(&buf, frame, sizeof(frame));
    assert_true(websocket_put_text(&at->websocket, &buf, text));
    sim_peer_send(at->peer, buf_slice(&buf));
}

static void pump(struct connection *at)
{
    struct slice message;
    while (at->open && hub_next(&at->daemon->hub, &at->hub, &message) == HUB_MESSAGE) {
        /* Parts of a snapshot have no numbers: who leaves one out cannot be found out. */
        bool skipped = at->daemon->mood == SKIPS && !at->hub.snapshot && ++at->said % 3 == 0;
        bool cut = at->daemon->mood == HALVES && ++at->said > 1;
        if (!skipped && !cut) {
            say_frame(at, message);
        }
        if (cut) {
            sim_peer_reset(at->peer);
            at->open = false;
        }
        hub_said(&at->daemon->hub, &at->hub);
    }
}

static void told(struct hub_subscriber *of)
{
    (void)of; /* pump_all */
}

static void close_connection(struct connection *at)
{
    if (at->open) {
        at->open = false;
        hub_unsubscribe(&at->daemon->hub, &at->hub);
    }
    websocket_fini(&at->websocket);
    at->websocket = (struct websocket){0};
}

static void subscribe(struct connection *at)
{
    uint64_t after = 0;
    struct slice epoch = SLICE_NONE;
    const char *number = strstr(at->path, "?after=");
    if (number != NULL) {
        after = strtoull(number + 7, NULL, 10);
        const char *named = strstr(at->path, "&epoch=");
        assert_non_null(named);
        epoch = slice_make(named + 7, ID_TEXT_BYTES);
        at->daemon->resumed++;
    }
    at->hub = (struct hub_subscriber){.form = HUB_CHANGES, .told = told};
    at->open = true;
    hub_subscribe(&at->daemon->hub, &at->hub, after, epoch);
    pump(at);
}

static void answer(struct connection *at, struct slice key)
{
    static uint8_t unused[64];
    uint8_t accept[WEBSOCKET_ACCEPT_BYTES];
    char text[300];
    enum mood mood = at->daemon->mood;
    if (mood == HANGS) {
        return;
    }
    if (mood == REFUSES) {
        sim_peer_send(at->peer,
                      SLICE("HTTP/1.1 503 Stopping\r\nContent-Length: 0\r\n\r\n"));
        return;
    }
    websocket_accept(mood == ANOTHER ? SLICE("dGhlIHNhbXBsZSBub25jZQ==") : key, accept);
    int size = snprintf(text, sizeof(text),
                        "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                        "Sec-WebSocket-Accept: %.*s\r\n\r\n",
                        (int)sizeof(accept), (const char *)accept);
    sim_peer_send(at->peer, slice_make(text, (size_t)size));
    assert_true(websocket_init(&at->websocket, WEBSOCKET_SERVER, unused, sizeof(unused), 0));
    if (mood == CUTS) {
        sim_peer_reset(at->peer);
    } else if (mood == BABBLES) {
        sim_peer_send(at->peer, SLICE("\xff\xff\xff\xff\xff\xff"));
    } else if (mood == LIES) {
        say_frame(at, SLICE("{\"seq\":1,\"ReadyQ\":{}}"));
    } else if (mood != SILENT && mood != ANOTHER) {
        subscribe(at);
    }
}

static struct connection *connection_of(struct daemon *daemon, struct sim_peer *peer)
{
    struct connection *at = sim_peer_tag(peer);
    if (at == NULL) {
        assert_true(daemon->count < PEERS);
        at = &daemon->connections[daemon->count++];
        *at = (struct connection){.daemon = daemon, .peer = peer};
        sim_peer_tag_set(peer, at);
        daemon->connects++;
    }
    return at;
}

static void served(struct sim_peer *peer, void *context)
{
    struct connection *at = connection_of(context, peer);
    struct slice input = sim_peer_input(peer);
    const char *end = input.size > 0 ? memmem(input.data, input.size, "\r\n\r\n", 4) : NULL;
    if (sim_peer_state(peer) != SIM_PEER_OPEN) {
        close_connection(at);
        sim_peer_finish(peer);
        return;
    }
    if (end == NULL || at->path[0] != '\0') {
        return; /* or pongs */
    }
    char head[1500];
    size_t size = (size_t)(end - (const char *)input.data) + 4;
    assert_true(size < sizeof(head));
    memcpy(head, input.data, size);
    head[size] = '\0';
    assert_int_equal(sscanf(head, "GET %255s HTTP/1.1\r\nHost: 10.", at->path), 1);
    const char *key = strstr(head, "Sec-WebSocket-Key: ");
    assert_non_null(key);
    assert_non_null(strstr(head, "Authorization: Bearer sesame\r\n"));
    sim_peer_consume(peer, size);
    answer(at, slice_make(key + 19, WEBSOCKET_KEY_BYTES));
}

static void pump_all(void)
{
    for (unsigned i = 0; i < DAEMONS; i++) {
        for (unsigned peer = 0; peer < daemons[i].count; peer++) {
            pump(&daemons[i].connections[peer]);
        }
    }
}

static void daemon_begin(struct daemon *daemon, uint8_t epoch)
{
    struct hub_options options = {
        .changes_max = 64, .bytes_max = 8 * HUB_MESSAGE_BYTES_MAX, .first = 1000u * (1u + epoch)};
    memset(options.epoch.bytes, epoch, sizeof(options.epoch.bytes));
    heap_init(&daemon->heap);
    automation_init(&daemon->automation, &daemon->heap, EFFECTS, 8, 1, 7);
    hub_init(&daemon->hub, &daemon->heap, &daemon->automation, &options);
    automation_listen(&daemon->automation, hub_tell, &daemon->hub);
}

/* It is killed, and comes again with nothing, or with what it had. */
static void daemon_again(struct daemon *daemon, uint8_t epoch)
{
    for (unsigned i = 0; i < daemon->count; i++) {
        if (daemon->connections[i].open) {
            sim_peer_reset(daemon->connections[i].peer);
        }
        close_connection(&daemon->connections[i]);
    }
    heap_fini(&daemon->heap);
    daemon_begin(daemon, epoch);
}

static struct automation_effect effect_of(unsigned number)
{
    static char names[EFFECTS][32];
    snprintf(names[number], sizeof(names[number]), "ip1->mx%u.test@smtp_client", number);
    struct automation_effect effect = {
        .kind = SHAPING_SUSPEND,
        .rule_hash = 7,
        .event_ns = shards.shards[0].wall_ns - 20 * NS_PER_MS,
        .expires_ns = (shards.shards[0].wall_ns / NS_PER_S + 86400) * NS_PER_S,
        .site = slice_from_string(names[number]),
        .source = SLICE("ip1"),
    };
    if (number % 4 == 1) {
        effect.kind = SHAPING_SET_CONFIG;
        effect.rollup = true;
        effect.domain = SLICE("a.test");
        effect.name = SLICE("connection_limit");
        effect.value = SLICE("3");
    }
    return effect;
}

static void begins(unsigned daemon, unsigned number)
{
    struct automation_effect effect = effect_of(number);
    uint32_t slot;
    assert_non_null(automation_impose(&daemons[daemon].automation, &effect, &slot));
    pump_all();
}

static void cancels(unsigned daemon, unsigned number)
{
    struct automation_effect effect = effect_of(number);
    uint32_t slot;
    const struct automation_effect *found =
        automation_find(&daemons[daemon].automation, &effect, &slot);
    if (found != NULL) {
        assert_true(automation_cancel(&daemons[daemon].automation, found->id));
    }
    pump_all();
}

/* --- the subscriber --------------------------------------------------------------------------- */

static void put(void *context, struct slice line)
{
    (void)context;
    (void)line;
    lines++;
}

static void taking(struct subscriber *of, uint64_t event_ns)
{
    (void)of;
    news += event_ns > 0;
}

static void taken(struct subscriber *of)
{
    (void)of;
}

static void open_in(struct sim *in)
{
    sim = in;
    process = sim_node_open(sim, NULL);
    sim_shards_boot(&shards, process, 1, 16, 256);
    (void)sim_run_for(sim, NS_PER_S);
    heap_init(&heap);
    automation_init(&automation, &heap, EFFECTS, 8, 1, 5);
    lines = 0;
    news = 0;
    for (unsigned i = 0; i < DAEMONS; i++) {
        char text[64];
        struct endpoint at = sim_endpoint(300 + i, PORT);
        snprintf(text, sizeof(text), "http://10.0.1.%u:%u", 44 + i, PORT);
        assert_null(url_parse(slice_from_string(text), texts[i], &urls[i]));
        daemons[i] = (struct daemon){.sim = sim};
        daemons[i].connections = calloc(PEERS, sizeof(struct connection));
        assert_non_null(daemons[i].connections);
        daemon_begin(&daemons[i], (uint8_t)i);
        sim_peer_listen(sim, &at, served, &daemons[i]);
    }
    conf = (struct conf_tsa){
        .subscribe = urls, .subscribe_count = DAEMONS, .token = SLICE("sesame")};
    subscriber = (struct subscriber){
        .shard = &shards.shards[0], .conf = &conf, .automation = &automation,
        .sink = {put, NULL}, .heap = &heap, .taking = taking, .taken = taken};
    subscriber_init(&subscriber, &pages);
    subscriber_start(&subscriber);
    ring_wake(shards.shards[0].ring);
}

static int set_up(void **state)
{
    (void)state;
    open_in(sim_open(&(struct sim_options){.seed = 1, .verbose = true}));
    return 0;
}

static bool is_idle(void *context)
{
    (void)context;
    return subscriber_idle(&subscriber);
}

static void stop(void)
{
    subscriber_stop(&subscriber);
    ring_wake(shards.shards[0].ring);
    if (!sim_run_until(sim, is_idle, NULL, 60 * NS_PER_S)) {
        sim_fail(sim, "the subscriber does not stop");
    }
    subscriber_fini(&subscriber);
    sim_shards_stop(&shards);
    boot_pages_give(&pages);
    pages = (struct boot_pages){0};
    heap_fini(&heap);
    for (unsigned i = 0; i < DAEMONS; i++) {
        for (unsigned peer = 0; peer < daemons[i].count; peer++) {
            websocket_fini(&daemons[i].connections[peer].websocket);
        }
        heap_fini(&daemons[i].heap);
        free(daemons[i].connections);
    }
}

static int tear_down(void **state)
{
    (void)state;
    stop();
    bool good = !sim_failed(sim);
    sim_close(sim);
    return good ? 0 : 1;
}

static void run_ms(uint64_t ms)
{
    (void)sim_run_for(sim, ms * NS_PER_MS);
    assert_string_equal(sim_failure(sim), "");
}

/* Is in force here what any of the daemons has, and nothing else? */
static bool is_same(void)
{
    for (unsigned number = 0; number < EFFECTS; number++) {
        struct automation_effect effect = effect_of(number);
        uint32_t slot;
        bool wanted = false;
        for (unsigned i = 0; i < DAEMONS; i++) {
            wanted = wanted || automation_find(&daemons[i].automation, &effect, &slot) != NULL;
        }
        if (wanted != (automation_find(&automation, &effect, &slot) != NULL)) {
            return false;
        }
    }
    return true;
}

/* --- tests ------------------------------------------------------------------------------------ */

static void what_any_daemon_has_is_in_force_at_once_and_ends_with_it(void **state)
{
    (void)state;
    begins(0, 1);
    run_ms(100);
    assert_int_equal(news, 0); /* a snapshot */
    assert_true(is_same());
    begins(0, 2);
    begins(1, 2);
    begins(1, 3);
    run_ms(10);
    assert_true(is_same());
    assert_int_equal(news, 3);
    cancels(0, 2);
    cancels(1, 3);
    run_ms(10);
    assert_true(is_same());
    struct automation_effect effect = effect_of(1);
    uint32_t slot;
    const struct automation_effect *found = automation_find(&automation, &effect, &slot);
    assert_true(found->remote && slice_equal(found->site, effect.site));
    assert_int_equal(lines, DAEMONS); /* connected */
    assert_int_equal(subscriber.urls[0].counts.failures, 0);
}

static void at42_who_is_in_trouble_takes_nothing_away_and_is_heard_again(void **state)
{
    (void)state;
    for (enum mood mood = HANGS; mood < MOODS; mood++) {
        begins(0, 2);
        begins(0, 5);
        begins(1, 6);
        run_ms(200);
        assert_true(is_same());
        daemons[0].mood = mood;
        for (unsigned i = 0; i < daemons[0].count; i++) {
            if (daemons[0].connections[i].open && mood != SKIPS) {
                sim_peer_reset(daemons[0].connections[i].peer);
                close_connection(&daemons[0].connections[i]);
            }
        }
        unsigned before = daemons[0].connects;
        for (unsigned i = 10; i < 40; i++) {
            begins(0, i); /* of which it may tell or not */
            begins(1, i % 2 == 0 ? 6 : 7);
            run_ms(3000);
            struct automation_effect effect = effect_of(5);
            uint32_t slot;
            if (mood != LIES && mood != HALVES) {
                assert_non_null(automation_find(&automation, &effect, &slot));
            }
        }
        /* In 90 seconds: pauses grow where nothing sensible comes, and time limits are kept. */
        static const unsigned least[MOODS] = {
            [HANGS] = 2, [REFUSES] = 6, [ANOTHER] = 6, [CUTS] = 6,  [BABBLES] = 6,
            [LIES] = 6,  [HALVES] = 6,  [SKIPS] = 1,   [SILENT] = 2};
        assert_in_range(daemons[0].connects - before, least[mood],
                        mood == SKIPS || mood == HALVES ? 40 : 14);
        for (unsigned i = 10; i < 40; i++) {
            cancels(0, i);
        }
        cancels(0, 2);
        daemons[0].mood = WORKS;
        run_ms(95000);
        if (!is_same()) {
            fail_msg("after mood %d it is another state", (int)mood);
        }
    }
    assert_int_equal(subscriber.urls[1].counts.failures, daemons[1].connects - 1);
}

static void at42_who_comes_again_goes_on_or_has_a_new_snapshot(void **state)
{
    (void)state;
    begins(0, 1);
    begins(0, 2);
    run_ms(200);
    uint64_t snapshots = subscriber.urls[0].counts.snapshots;
    sim_peer_reset(daemons[0].connections[daemons[0].count - 1].peer);
    close_connection(&daemons[0].connections[daemons[0].count - 1]);
    begins(0, 3);
    cancels(0, 1);
    run_ms(1000);
    assert_true(is_same());
    assert_int_equal(daemons[0].resumed, 1);
    assert_int_equal(subscriber.urls[0].counts.snapshots, snapshots); /* it went on */
    daemon_again(&daemons[0], 9);
    run_ms(10);
    struct automation_effect effect = effect_of(3);
    uint32_t slot;
    assert_non_null(automation_find(&automation, &effect, &slot)); /* until it has spoken */
    begins(0, 4);
    run_ms(1000);
    assert_int_equal(subscriber.urls[0].counts.snapshots, snapshots + 1);
    assert_int_equal(subscriber.urls[0].counts.gaps, 0);
    assert_true(is_same());
}

static void what_no_path_would_take_is_refused_and_the_rest_counts(void **state)
{
    uint32_t slot;
    struct automation_effect bad[] = {effect_of(1), effect_of(5), effect_of(9)};
    (void)state;
    run_ms(200);
    bad[0].name = SLICE("no_such_option");
    bad[1].value = SLICE("\"many\"");
    bad[2].value = SLICE("1\\nmax_message_rate = 5");
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_non_null(automation_impose(&daemons[0].automation, &bad[i], &slot));
    }
    begins(0, 13);
    run_ms(100);
    uint32_t cursor = 0;
    assert_non_null(automation_next(&automation, &cursor));
    assert_null(automation_next(&automation, &cursor));
    assert_int_equal(subscriber.urls[0].counts.refused, COUNT_OF(bad));
    assert_int_equal(subscriber.urls[0].counts.failures, 0);
}

static void swarm_body(struct sim *in, void *context)
{
    (void)context;
    open_in(in);
    for (unsigned round = 0; round < 60 && !sim_failed(in); round++) {
        unsigned which = (unsigned)sim_below(in, DAEMONS);
        struct daemon *daemon = &daemons[which];
        daemon->mood = sim_below(in, 3) > 0 ? WORKS : (enum mood)sim_below(in, MOODS);
        for (unsigned i = 0; i < sim_below(in, 8); i++) {
            begins(which, (unsigned)sim_below(in, EFFECTS));
            cancels(which, (unsigned)sim_below(in, EFFECTS));
        }
        if (sim_below(in, 10) == 0) {
            daemon_again(daemon, (uint8_t)(10 + round));
        }
        (void)sim_run_for(in, 1 + sim_below(in, 2 * NS_PER_S));
    }
    sim_faults_stop(in);
    for (unsigned i = 0; i < DAEMONS; i++) {
        daemons[i].mood = WORKS;
    }
    (void)sim_run_for(in, 200 * NS_PER_S);
    for (unsigned i = 0; i < 20; i++) {
        begins(i % 2, i);
        cancels(i % 2, i + 1);
        (void)sim_run_for(in, NS_PER_S);
    }
    if (!sim_failed(in) && !is_same()) {
        sim_fail(in, "it is another state");
    }
    stop();
}

static void at42_swarm_of_faults_ends_in_what_the_daemons_have(void **state)
{
    struct sim_campaign campaign = {
        .name = "subscriber",
        .count = 30,
        .swarm = SIM_FAULT_BIT(late_completion) | SIM_FAULT_BIT(slow_turn) |
                 SIM_FAULT_BIT(split) | SIM_FAULT_BIT(delay) | SIM_FAULT_BIT(reset) |
                 SIM_FAULT_BIT(refuse) | SIM_FAULT_BIT(multishot_end) | SIM_FAULT_BIT(no_buffers) |
                 SIM_FAULT_BIT(short_send) | SIM_FAULT_BIT(cancel_loses) |
                 SIM_FAULT_BIT(no_descriptors) | SIM_FAULT_BIT(small_window),
        .body = swarm_body,
    };
    (void)state;
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_any_daemon_has_is_in_force_at_once_and_ends_with_it),
        TEST(at42_who_is_in_trouble_takes_nothing_away_and_is_heard_again),
        TEST(at42_who_comes_again_goes_on_or_has_a_new_snapshot),
        TEST(what_no_path_would_take_is_refused_and_the_rest_counts),
        cmocka_unit_test(at42_swarm_of_faults_ends_in_what_the_daemons_have),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
