/*
 * Live dialogues over WebSockets, on a whole node in virtual time: what is shown is what was said,
 * without its secrets; a tracer that does not read loses events that are counted, and holds nobody
 * up; and tracers that come and go at any moment leave nothing behind and lose no mail.
 *
 * SEED=n COUNT=m build/dev/tests/world_trace_test repeats or extends the campaign.
 */
#include "smtp/http_trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "tests/kit/stage.h"

#define BODY "Subject: x\r\n\r\ntext\r\n"
#define SAID_BYTES (4 * MIB)

/* --- a tracer --------------------------------------------------------------------------------- */

struct watcher {
    struct sim *sim;
    struct sim_peer *peer;
    struct websocket websocket;
    bool switched;          /* 101 has been read */
    bool over;              /* the server has said close, or has gone */
    unsigned code;          /* of its close */
    unsigned events;        /* without the first Diagnostic */
    uint64_t lost;
    size_t bytes;
    char *said;             /* all events, a line each; owned, or null: none are kept */
    uint8_t message[64 * KIB];
};

static void watcher_put(struct watcher *watcher, struct slice frame)
{
    sim_peer_send(watcher->peer, frame);
}

static void watcher_open(struct watcher *watcher, struct sim *sim, const struct endpoint *to,
                         const char *side, const char *filter)
{
    struct endpoint from = sim_endpoint(STAGE_CLIENT, 0);
    char text[512];
    struct buf buf;
    memset(watcher, 0, sizeof(*watcher));
    watcher->sim = sim;
    watcher->peer = sim_peer_connect(sim, &from, to, NULL, NULL);
    CHECK(websocket_init(&watcher->websocket, WEBSOCKET_CLIENT, watcher->message,
                         sizeof(watcher->message), 1));
    buf_init(&buf, text, sizeof(text));
    buf_printf(&buf,
               "GET /api/admin/trace-smtp-%s/v1 HTTP/1.1\r\nHost: localhost\r\n"
               "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
               side);
    if (filter != NULL) {
        CHECK(websocket_put_text(&watcher->websocket, &buf, slice_from_string(filter)));
    }
    CHECK(!buf.overflow);
    watcher_put(watcher, buf_slice(&buf));
}

static void watcher_event(struct watcher *watcher, struct slice event)
{
    if (slice_starts_with(event, SLICE("{\"lost\":"))) {
        watcher->lost += strtoull((const char *)event.data + 8, NULL, 10);
    } else if (!slice_starts_with(event, SLICE("{\"conn_meta\":{},"))) {
        watcher->events++;
    }
    if (watcher->said != NULL && watcher->bytes + event.size + 2 < SAID_BYTES) {
        memcpy(watcher->said + watcher->bytes, event.data, event.size);
        watcher->bytes += event.size;
        watcher->said[watcher->bytes++] = '\n';
        watcher->said[watcher->bytes] = '\0';
    }
}

static void watcher_ping(struct watcher *watcher)
{
    uint8_t memory[32];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    CHECK(websocket_put_pong(&watcher->websocket, &buf, SLICE_NONE));
    watcher_put(watcher, buf_slice(&buf));
}

static void watcher_frames(struct watcher *watcher, struct slice input)
{
    enum websocket_step step;
    while ((step = websocket_feed(&watcher->websocket, &input)) != WEBSOCKET_MORE) {
        if (step == WEBSOCKET_TEXT) {
            watcher_event(watcher, websocket_message(&watcher->websocket));
        } else if (step == WEBSOCKET_PING) {
            watcher_ping(watcher);
        } else if (step == WEBSOCKET_CLOSE) {
            watcher->over = true;
            watcher->code = watcher->websocket.code;
        } else if (step == WEBSOCKET_BAD) {
            sim_fail(watcher->sim, "no frame of a server");
            return;
        }
    }
}

/* Reads all that has come. */
static void watcher_read(struct watcher *watcher)
{
    struct slice input = watcher->peer != NULL ? sim_peer_input(watcher->peer) : SLICE_NONE;
    while (input.size > 0) {
        if (!watcher->switched) {
            size_t end = 0;
            while (end + 4 <= input.size && memcmp(input.data + end, "\r\n\r\n", 4) != 0) {
                end++;
            }
            if (end + 4 > input.size) {
                return;
            }
            watcher->switched = slice_starts_with(input, SLICE("HTTP/1.1 101 "));
            watcher->over = !watcher->switched;
            sim_peer_consume(watcher->peer, watcher->switched ? end + 4 : input.size);
        } else {
            watcher_frames(watcher, input);
            sim_peer_consume(watcher->peer, input.size);
        }
        input = sim_peer_input(watcher->peer);
    }
    watcher->over =
        watcher->over || (watcher->peer != NULL && sim_peer_state(watcher->peer) >= SIM_PEER_EOF);
}

static void watcher_close(struct watcher *watcher, bool reset)
{
    websocket_fini(&watcher->websocket);
    if (reset && sim_peer_state(watcher->peer) == SIM_PEER_OPEN) {
        sim_peer_reset(watcher->peer);
    }
    sim_peer_close(watcher->peer);
    watcher->peer = NULL;
}

/* --- one stage -------------------------------------------------------------------------------- */

static struct stage stage;
static struct watcher watcher;
static struct watcher others[TRACERS_MAX];

static int set_up(void **state)
{
    (void)state;
    stage_open(&stage, 1);
    stage_start(&stage);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bool idle = trace_idle(&stage.world.node.control->trace);
    free(watcher.said);
    watcher.said = NULL;
    return stage_close(&stage) && idle ? 0 : 1;
}

static void run(uint64_t ns)
{
    assert_true(sim_run_for(stage.sim, ns));
    watcher_read(&watcher);
}

static void watch(const char *side, const char *filter)
{
    watcher_open(&watcher, stage.sim, &stage.world.node.http_bound[0], side, filter);
    watcher.said = calloc(1, SAID_BYTES);
    run(NS_PER_S);
}

static void unwatch(void)
{
    watcher_close(&watcher, false);
    free(watcher.said);
    watcher.said = NULL;
    assert_true(sim_run_for(stage.sim, NS_PER_S));
}

/* These stand in what was said, in this order. */
static void assert_said(const char *const *texts)
{
    const char *at = watcher.said;
    for (; *texts != NULL; texts++) {
        const char *found = strstr(at, *texts);
        if (found == NULL) {
            fail_msg("not said: %s\n%s", *texts, watcher.said);
        }
        at = found + strlen(*texts);
    }
}

static void t01_a_dialogue_is_shown_line_by_line_without_its_secrets(void **state)
{
    struct talk talk;
    (void)state;
    watch("server", "{}");
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    talk_say(&talk, "AUTH PLAIN AHVzZXIAc2VjcmV0\r\nc2VjcmV0\r\nauth\r\nNOOP\r\n");
    assert_true(stage_hears(&talk, "5") && stage_hears(&talk, "5") && stage_hears(&talk, "5") &&
                stage_hears(&talk, "250 "));
    assert_true(stage_envelope(&talk, "b@t.test"));
    talk_say(&talk, BODY ".\r\nQUIT\r\n");
    assert_true(stage_hears(&talk, "250 ") && stage_hears(&talk, "221 "));
    talk_close(&talk);
    run(NS_PER_S);
    assert_said((const char *const[]){
        "tracing", "\"payload\":\"Connected\"", "{\"Write\":\"220 ",
        "{\"Read\":\"EHLO c.test\\r\\n\"}",
        "{\"Read\":\"AUTH PLAIN [secret]\\r\\n\"}", "{\"Read\":\"[secret]\\r\\n\"}",
        "{\"Read\":\"NOOP\\r\\n\"}", "{\"Read\":\"RCPT TO:<b@t.test>\\r\\n\"}",
        "{\"Read\":\"DATA\\r\\n\"}", "354 ",
        "{\"AbbreviatedRead\":{\"snippet\":\"Subject: x\\r\\n\",\"len\":23}}",
        "{\"Read\":\"QUIT\\r\\n\"}", "{\"Write\":\"250 2.0.0 OK ids=", "221 ",
        "\"payload\":\"Closed\"", NULL});
    assert_null(strstr(watcher.said, "c2Vjc"));
    assert_null(strstr(watcher.said, "text"));
    unwatch();
}

static void t02_content_by_bdat_is_content_wherever_it_is_cut(void **state)
{
    static const char flight[] = "MAIL FROM:<a@c.test>\r\nRCPT TO:<b@t.test>\r\n"
                                 "BDAT 10\r\nRSET\r\nxx\r\nBDAT 6 LAST\r\nNOOP\r\nQUIT\r\n";
    struct talk talk;
    (void)state;
    watch("server", "{\"terse\":true}");
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    for (size_t i = 0; i < sizeof(flight) - 1; i++) {
        talk_say_bytes(&talk, slice_make(flight + i, 1));
        assert_true(sim_run_for(stage.sim, NS_PER_MS));
    }
    run(NS_PER_S);
    assert_said((const char *const[]){"{\"Read\":\"BDAT 10\\r\\n\"}", "\"AbbreviatedRead\"",
                                      "{\"Read\":\"BDAT 6 LAST\\r\\n\"}", "\"AbbreviatedRead\"",
                                      "{\"Read\":\"QUIT\\r\\n\"}", NULL});
    assert_null(strstr(watcher.said, "{\"Read\":\"RSET"));
    assert_null(strstr(watcher.said, "{\"Read\":\"NOOP"));
    talk_close(&talk);
    unwatch();
}

static void t03_what_is_sent_is_shown_while_its_queue_fits(void **state)
{
    (void)state;
    watch("client", "{\"domain\":\"t.test\",\"mail_from\":\"a@c.test\"}");
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(stage_expect(&stage, 0, BODY));
    run(NS_PER_S);
    assert_said((const char *const[]){
        "\"ready_queue\":\"unspecified->", "\"queue\":\"t.test\"",
        "{\"Write\":\"MAIL FROM:<a@c.test>",
        "\"AbbreviatedWrite\"", "{\"Read\":\"250 ", NULL});
    assert_null(strstr(watcher.said, "EHLO"));
    unwatch();
    watch("client", "{\"rcpt_to\":\"other@t.test\"}");
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(stage_expect(&stage, 1, BODY));
    run(NS_PER_S);
    assert_int_equal(watcher.events, 0);
    unwatch();
}

static void t04_dialogues_that_have_begun_are_shown_unless_only_new_ones_are_wanted(void **state)
{
    struct talk talk;
    (void)state;
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    watch("server", "{\"only_new\":true}");
    watcher_open(&others[0], stage.sim, &stage.world.node.http_bound[0], "server", "{}");
    run(NS_PER_S);
    talk_say(&talk, "NOOP\r\n");
    assert_true(stage_hears(&talk, "250 "));
    run(NS_PER_S);
    watcher_read(&others[0]);
    assert_int_equal(watcher.events, 0);
    assert_int_equal(others[0].events, 2);
    watcher_close(&others[0], true);
    talk_close(&talk);
    unwatch();
}

static void t05_only_one_is_the_first_and_no_other(void **state)
{
    struct talk talks[3];
    (void)state;
    watch("server", "{\"only_one\":true}");
    for (unsigned i = 0; i < COUNT_OF(talks); i++) {
        assert_true(stage_begin(&stage, &talks[i], STAGE_CLIENT));
    }
    for (unsigned i = COUNT_OF(talks); i-- > 0;) {
        talk_say(&talks[i], i == 0 ? "NOOP first\r\n" : "NOOP other\r\n");
        assert_true(stage_hears(&talks[i], "250 "));
        talk_close(&talks[i]);
    }
    run(NS_PER_S);
    assert_said((const char *const[]){"NOOP first", NULL});
    assert_null(strstr(watcher.said, "NOOP other"));
    unwatch();
}

#define COMMANDS 4000

static void t06_who_does_not_read_is_told_how_much_was_lost(void **state)
{
    struct talk talk;
    (void)state;
    sim_window_set(stage.sim, 8 * KIB);
    watch("server", "{}");
    sim_window_set(stage.sim, 0);
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    run(NS_PER_S);
    unsigned before = watcher.events;
    for (unsigned i = 0; i < COMMANDS; i++) {
        talk_say(&talk, "NOOP aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n");
        assert_true(stage_hears(&talk, "250 "));
    }
    for (unsigned i = 0; i < 2000; i++) { /* it reads again, a window at a time */
        run(NS_PER_MS);
    }
    assert_true(watcher.lost > 0);
    assert_int_equal(watcher.events - before + watcher.lost, 2 * COMMANDS);
    talk_say(&talk, "NOOP again\r\n");
    assert_true(stage_hears(&talk, "250 "));
    run(NS_PER_S);
    assert_said((const char *const[]){"{\"lost\":", "NOOP again", NULL});
    talk_close(&talk);
    unwatch();
}

static void t07_places_are_few_and_free_again(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < TRACERS_MAX; i++) {
            watcher_open(&others[i], stage.sim, &stage.world.node.http_bound[0],
                         i % 2 == 0 ? "server" : "client", i == 3 ? NULL : "{}");
        }
        run(NS_PER_S);
        watch("server", "{}");
        assert_true(watcher.over && !watcher.switched);
        free(watcher.said);
        watcher.said = NULL;
        watcher_close(&watcher, false);
        for (unsigned i = 0; i < TRACERS_MAX; i++) {
            watcher_read(&others[i]);
            assert_true(others[i].switched && !others[i].over);
            watcher_close(&others[i], round == 1);
        }
        assert_true(sim_run_for(stage.sim, NS_PER_S));
        assert_true(trace_idle(&stage.world.node.control->trace));
        assert_int_equal(http_server_memory(&stage.world.node.control->http.server), 0);
    }
    watch("server", "{}");
    assert_true(watcher.switched);
    unwatch();
}

static void t08_who_says_nothing_of_what_it_wants_is_sent_away(void **state)
{
    (void)state;
    watch("server", NULL);
    assert_false(watcher.over);
    run(HTTP_TRACE_FILTER_NS);
    assert_true(watcher.over);
    assert_int_equal(watcher.code, WEBSOCKET_CODE_POLICY);
    unwatch();
    watch("server", "{\"domain\":\"x\"}");
    assert_int_equal(watcher.code, WEBSOCKET_CODE_POLICY);
    unwatch();
}

static void t09_who_answers_no_ping_is_gone(void **state)
{
    (void)state;
    watch("server", "{}");
    for (unsigned i = 0; i < 100; i++) {
        run(NS_PER_S);
        assert_false(watcher.over);
    }
    assert_true(sim_run_for(stage.sim, 3 * HTTP_SOCKET_PING_NS)); /* it reads nothing */
    assert_true(trace_idle(&stage.world.node.control->trace));
    unwatch();
}

static void t11_a_stop_meets_what_is_on_its_way(void **state)
{
    struct talk talk;
    (void)state;
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    for (unsigned i = 0; i < 300; i++) {
        watcher_open(&others[0], stage.sim, &stage.world.node.http_bound[0], "server", "{}");
        assert_true(sim_run_for(stage.sim, 5 * NS_PER_MS));
        talk_say(&talk, "NOOP\r\n");
        assert_true(sim_run_for(stage.sim, sim_below(stage.sim, 300 * NS_PER_US)));
        watcher_close(&others[0], true);
        talk_say(&talk, "NOOP\r\n");
        assert_true(stage_hears(&talk, "250 ") && stage_hears(&talk, "250 "));
        assert_true(sim_run_for(stage.sim, NS_PER_S));
        assert_true(trace_idle(&stage.world.node.control->trace));
    }
    talk_close(&talk);
}

/* The batches of a tracer that reads nothing are with the TSA shard, and one may be on its way. */
static void stop_with_batches_away(unsigned level)
{
    struct talk talk;
    sim_window_set(stage.sim, 8 * KIB);
    watch("server", "{}");
    sim_window_set(stage.sim, 0);
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    for (unsigned i = 0; i < 1000; i++) {
        talk_say(&talk, "NOOP aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n");
        assert_true(stage_hears(&talk, "250 "));
    }
    assert_false(trace_idle(&stage.world.node.control->trace));
    talk_say(&talk, "NOOP\r\nNOOP\r\n");
    assert_true(sim_run_for(stage.sim, sim_below(stage.sim, 300 * NS_PER_US)));
    world_stop(&stage.world, level);
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    watcher_read(&watcher);
    talk_close(&talk);
    unwatch();
    assert_true(world_start(&stage.world));
    stage.server = stage.world.node.bound[0];
}

static void t12_a_stop_with_batches_on_their_way_ends_as_ever(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        uint64_t before_ns = sim_now_ns(stage.sim);
        stop_with_batches_away(1 + i % 2);
        assert_true(sim_now_ns(stage.sim) - before_ns < 60 * NS_PER_S);
    }
}

/* --- under load ------------------------------------------------------------------------------- */

static void world_make(struct world *world, struct sim *sim)
{
    static const unsigned shards[] = {1, 2, 4};
    world_init(world, sim);
    world_short_timeouts(world);
    world->shards = shards[sim_below(sim, COUNT_OF(shards))];
    world->recipients_max = 5;
    world->domains = WORLD_DOMAINS;
    world->aborts = 100;
    world->mood = (struct sink_mood){
        .defer = 100, .bounce = 50, .drop = 50, .slow = 100, .slow_ns = 50 * NS_PER_MS};
    world_log_vary(world);
    world_open(world);
}

struct load {
    uint64_t events;
    uint64_t lost;
    struct world_tally tally;
};

static void tracer_turn(struct world *world, struct watcher *one, struct load *load)
{
    static const char *const filters[] = {
        "{}", "{\"only_new\":true}", "{\"only_one\":true}", "{\"terse\":true}", "{\"nothing\":1}",
        NULL};
    static const char *const sent[] = {
        "{}", "{\"domain\":\"d1.test\"}", "{\"only_one\":true,\"domain\":\"d0.test\"}",
        "{\"only_new\":true}", "{\"source\":1}", NULL};
    struct sim *sim = world->sim;
    if (one->peer == NULL) {
        bool server = sim_chance(sim, 500);
        unsigned filter = (unsigned)sim_below(sim, COUNT_OF(filters));
        sim_window_set(sim, sim_chance(sim, 300) ? 2 * KIB : 0);
        watcher_open(one, sim, &world->node.http_bound[0], server ? "server" : "client",
                     server ? filters[filter] : sent[filter]);
        sim_window_set(sim, 0);
        return;
    }
    if (sim_chance(sim, 600)) {
        watcher_read(one);
    }
    if (sim_chance(sim, 250) || one->over) {
        load->events += one->events;
        load->lost += one->lost;
        watcher_close(one, sim_chance(sim, 500));
    }
}

static void load_body(struct sim *sim, void *context)
{
    struct load *load = context;
    struct world world;
    memset(others, 0, sizeof(others));
    world_make(&world, sim);
    bool good = world_start(&world);
    world_mail(&world, 4, 40, 5 * NS_PER_MS);
    for (unsigned i = 0; i < 60 && good; i++) {
        tracer_turn(&world, &others[sim_below(sim, COUNT_OF(others))], load);
        good = sim_run_for(sim, sim_below(sim, 100 * NS_PER_MS));
        if (good && sim_chance(sim, 15)) {
            world_crash(&world, sim_chance(sim, 500));
            good = world_start(&world);
        }
    }
    bool stay = sim_chance(sim, 500); /* the stop finds tracers */
    for (unsigned i = 0; i < COUNT_OF(others) && good; i++) {
        if (others[i].peer != NULL && !stay) {
            watcher_close(&others[i], false);
        }
    }
    if (good) {
        world_finish(&world);
    }
    for (unsigned i = 0; i < COUNT_OF(others); i++) {
        if (others[i].peer != NULL) {
            watcher_close(&others[i], false);
        }
    }
    world_tally_add(&load->tally, &world.tally);
    world_close(&world);
}

static void t10_tracers_come_and_go_under_load_and_mail_does_not_notice(void **state)
{
    struct load load = {0};
    struct sim_campaign campaign = {
        .name = "tracers", .count = 40, .body = load_body, .context = &load};
    (void)state;
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&load.tally);
    printf("events %llu, lost %llu\n", (unsigned long long)load.events,
           (unsigned long long)load.lost);
    assert_true(load.events > 0 || getenv("SEED") != NULL);
}

int main(void)
{
#define ON_STAGE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ON_STAGE(t01_a_dialogue_is_shown_line_by_line_without_its_secrets),
        ON_STAGE(t02_content_by_bdat_is_content_wherever_it_is_cut),
        ON_STAGE(t03_what_is_sent_is_shown_while_its_queue_fits),
        ON_STAGE(t04_dialogues_that_have_begun_are_shown_unless_only_new_ones_are_wanted),
        ON_STAGE(t05_only_one_is_the_first_and_no_other),
        ON_STAGE(t06_who_does_not_read_is_told_how_much_was_lost),
        ON_STAGE(t07_places_are_few_and_free_again),
        ON_STAGE(t08_who_says_nothing_of_what_it_wants_is_sent_away),
        ON_STAGE(t09_who_answers_no_ping_is_gone),
        ON_STAGE(t12_a_stop_with_batches_on_their_way_ends_as_ever),
        ON_STAGE(t11_a_stop_meets_what_is_on_its_way),
        cmocka_unit_test(t10_tracers_come_and_go_under_load_and_mail_does_not_notice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
