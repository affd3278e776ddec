/*
 * The configuration read again, in virtual time: at any moment under load, good files and bad ones,
 * several at once, and a stop or a kill in the middle. No mail is lost, limits hold, bad files
 * change nothing, and nothing of an old configuration stays.
 *
 * SEED=n COUNT=m build/dev/tests/world_reload_test repeats or extends every campaign.
 */
#include "smtp/reload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "smtp/egress.h"
#include "tests/kit/conf_kit.h"
#include "tests/kit/stage.h"

#define FILE_NAME "reload.toml"
/* Of the machine; and workers that are slow, or take no job. */
#define FAULTS                                                                                     \
    (SIM_FAULTS_HARMLESS | SIM_FAULT_BIT(slow_job) | SIM_FAULT_BIT(job_refused) |                  \
     SIM_FAULT_BIT(slow_disk))

/* --- asking ----------------------------------------------------------------------------------- */

struct question {
    struct reload_request request;
    bool answered;
    enum reload_status status;
    size_t change_count;
    size_t restarts;
    char messages[512];
};

static void answered(struct reload_request *request, const struct reload_result *result)
{
    struct question *question = CONTAINER_OF(request, struct question, request);
    question->answered = true;
    question->status = result->status;
    question->change_count = result->change_count;
    for (size_t i = 0; i < result->change_count; i++) {
        question->restarts += result->changes[i].effect == CONF_RESTART;
    }
    snprintf(question->messages, sizeof(question->messages), "%.*s", (int)result->messages.size,
             (const char *)result->messages.data);
}

static void put(struct world *world, struct question *question)
{
    *question = (struct question){.request = {.done = answered}};
    list_init(&question->request.link);
    CHECK(reload_ask(&world->node.control->reload, &question->request));
}

static void put_file(struct world *world, const char *text)
{
    CHECK(sim_disk_put(world->disk, FILE_NAME, slice_from_string(text)) == 0);
}

/* --- under load ------------------------------------------------------------------------------- */

/* Every connection counts against one limit, whatever its site: that is what is watched. */
struct watch {
    struct world *world;
    unsigned allowed;  /* connections */
    unsigned limit;    /* in force, or coming */
    bool settled;      /* every shard has the limit */
    const bool *until; /* null: never */
};

/* Slots of the limit that are taken, whoever has them. */
static unsigned slots_used(const struct world *world)
{
    const struct slice name[] = {SLICE("additional connections"), SLICE("all")};
    const struct cell_key key = cell_key_of(name, COUNT_OF(name));
    const struct pool *cells = &world->node.control->cells.cells;
    for (uint32_t i = 0; i < cells->fresh; i++) {
        const struct cell *cell = pool_is_taken(cells, i) ? pool_at(cells, i) : NULL;
        if (cell != NULL && cell_key_equal(&cell->key, &key)) {
            return atomic_load_explicit(&cell->used, memory_order_relaxed);
        }
    }
    return 0;
}

/* Looked at after every event. */
static bool watch_done(void *context)
{
    struct watch *watch = context;
    struct world *world = watch->world;
    unsigned used = slots_used(world);
    if (used > watch->allowed) {
        sim_fail(world->sim, "%u connections, %u are allowed", used, watch->allowed);
    }
    if (watch->settled) {
        watch->allowed = MAX_OF(watch->limit, MIN_OF(watch->allowed, used));
    }
    return watch->until != NULL && *watch->until;
}

static void good_file(struct sim *sim, unsigned limit, char *text, size_t capacity)
{
    static const char *const more[] = {"", "max_message_rate = \"500/s\"\n", "weight = 7\n",
                                       "max_message_rate = \"50/s,max_burst=9\"\n"};
    static const char *const shaping[] = {"", "max_deliveries_per_connection = 3\n",
                                          "max_message_rate = \"400/s\"\n",
                                          "enable_pipelining = false\n",
                                          "sources.a.source_selection_rate = \"90/s\"\n",
                                          "sources.b.enable_pipelining = false\n",
                                          "additional_message_rate_throttles = "
                                          "{ t = \"300/s\" }\n"};
    static const char *const pools[] = {"", "egress_pool = \"p\"\n", "egress_pool = \"q\"\n"};
    size_t size = (size_t)snprintf(
        text, capacity,
        "[sources.source]\na.source_address = \"10.0.9.%u\"\nb.source_address = \"10.0.9.3\"\n"
        "[sources.pool]\np.a.weight = %u\np.b.weight = 2\nq.b.weight = 1\n",
        1 + (unsigned)sim_below(sim, 2), (unsigned)sim_below(sim, 4));
    for (unsigned i = 0; i < 3; i++) {
        size += (size_t)snprintf(text + size, capacity - size, "[queues.queue.\"d%u.test\"]\n%s%s",
                                 i, more[sim_below(sim, 4)], pools[sim_below(sim, 3)]);
        if (sim_chance(sim, 600)) { /* else DNS knows it */
            size += (size_t)snprintf(
                text + size, capacity - size,
                "protocol = { smtp = { mx_list = [\"[10.0.3.%u]:25\"] } }\n",
                (unsigned)sim_below(sim, 2));
        }
    }
    size += (size_t)snprintf(
        text + size, capacity - size,
        "[dns]\nservers = []\nstatic = \"\"\"\nd0.test. A 10.0.3.%u\nd1.test. MX %u mx.test.\n"
        "d2.test. MX 5 mx.test.\nmx.test. A 10.0.3.%u\n\"\"\"\n",
        (unsigned)sim_below(sim, 2), 5 + (unsigned)sim_below(sim, 2), (unsigned)sim_below(sim, 2));
    snprintf(text + size, capacity - size,
             "[shaping.default]\nadditional_connection_limits = { all = %u }\n%s"
             "[shaping.\"%s\"]\n%s", limit, shaping[sim_below(sim, 7)],
             sim_chance(sim, 500) ? "d1.test" : "*.test", shaping[sim_below(sim, 7)]);
}

static const char *bad_file(struct sim *sim)
{
    static const char *const files[] = {
        "x = [", "[queues.queue.default]\nretry_intervall = 1\n", "\xFF\xFE",
        "[shaping.default]\nconnection_limit = 0\n", "[[smtp_listener]\n",
        "[node]\nhostname = \"a\"\nhostname = \"b\"\n", "include = [\"nowhere.toml\"]\n",
    };
    return files[sim_below(sim, COUNT_OF(files))];
}

/* One reload, asked for by one or several at once. False: the run has failed. */
static bool reload_once(struct world *world, struct watch *watch)
{
    struct sim *sim = world->sim;
    static char text[4096];
    struct question questions[3];
    bool good = !sim_chance(sim, 400);
    unsigned count = 1 + (unsigned)sim_below(sim, COUNT_OF(questions));
    unsigned limit = 1 + (unsigned)sim_below(sim, 6);
    const struct conf *before = reload_conf(&world->node.control->reload);
    if (good) {
        good_file(sim, limit, text, sizeof(text));
        watch->allowed = MAX_OF(watch->allowed, limit);
        watch->limit = limit;
        watch->settled = false;
    }
    put_file(world, good ? text : bad_file(sim));
    for (unsigned i = 0; i < count; i++) {
        put(world, &questions[i]);
        if (sim_chance(sim, 300)) {
            node_reload(&world->node);
        }
    }
    watch->until = &questions[count - 1].answered;
    if (!sim_run_until(sim, watch_done, watch, 60 * NS_PER_S)) {
        sim_fail(sim, "no answer");
        return false;
    }
    watch->until = NULL;
    watch->settled = watch->settled || good;
    for (unsigned i = 0; i < count; i++) {
        enum reload_status expected = good ? RELOAD_APPLIED : RELOAD_REFUSED;
        if (!questions[i].answered || questions[i].status != expected) {
            sim_fail(sim, "a %s file: %s", good ? "good" : "bad", questions[i].messages);
        }
        if (!good && (questions[i].messages[0] == '\0' || questions[i].change_count > 0)) {
            sim_fail(sim, "a bad file without a word");
        }
    }
    if (!good && reload_conf(&world->node.control->reload) != before) {
        sim_fail(sim, "a bad file has changed something");
    }
    return !sim_failed(sim);
}

static void load_open(struct world *world, struct sim *sim)
{
    world_init(world, sim);
    world->shards = 1 + (unsigned)sim_below(sim, 3);
    world->mood = (struct sink_mood){
        .defer = 100, .drop = 20, .slow = 500, .slow_ns = 200 * NS_PER_MS, .plain = 200};
    world->injected = 200;
    world->conf_file = FILE_NAME;
    world->set_count -= 3; /* the routes stand last: reloads change them */
    world->sets_kept = world->set_count;
    for (unsigned i = 0; i < 3; i++) {
        world_set(world, "queues.queue.\"d%u.test\".protocol="
                  "{smtp={mx_list=[\"[10.0.3.%u]:25\"]}}", i, i % 2);
    }
    world_set(world, "shaping.default.additional_connection_limits={all=4}");
    world_open(world);
}

static bool pause(struct world *world, struct watch *watch, uint64_t most_ns)
{
    uint64_t end_ns = sim_now_ns(world->sim) + sim_below(world->sim, most_ns);
    while (sim_now_ns(world->sim) < end_ns && !sim_failed(world->sim)) {
        (void)watch_done(watch);
        if (!sim_run_for(world->sim, NS_PER_MS)) {
            return false;
        }
    }
    return !sim_failed(world->sim);
}

static bool all_freed(void *context)
{
    struct world *world = context;
    return reload_snapshots(&world->node.control->reload) == 1;
}

static void load_body(struct sim *sim, void *context)
{
    struct world world;
    (void)context;
    load_open(&world, sim);
    struct watch watch = {.world = &world, .allowed = 4, .limit = 4, .settled = true};
    bool good = world_start(&world);
    world_mail(&world, 8, 160, NS_PER_S);
    for (unsigned i = 0; good && i < 16; i++) {
        good = pause(&world, &watch, 300 * NS_PER_MS) && reload_once(&world, &watch);
    }
    if (good && !sim_run_until(sim, world_handed_in, &world, 600 * NS_PER_S)) {
        sim_fail(sim, "clients do not end");
    }
    if (good && !sim_run_until(sim, all_freed, &world, 60 * NS_PER_S)) {
        sim_fail(sim, "%u configurations are still there",
                 reload_snapshots(&world.node.control->reload));
    }
    if (good && !sim_failed(sim)) {
        world_finish(&world);
    }
    world_close(&world);
}

static void g07_g09_reloads_under_load_lose_nothing_and_limits_hold(void **state)
{
    (void)state;
    struct sim_campaign campaign = {
        .name = "reloads", .count = 25, .body = load_body, .swarm = FAULTS};
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

/* While one is on its way: wherever its file, its snapshot and its parts are then. */
static void end_body(struct sim *sim, void *context)
{
    const bool *killed = context;
    struct world world;
    static char text[4096];
    struct question question;
    load_open(&world, sim);
    world.lossy = *killed;
    world.window_ns += *killed ? 12 * NS_PER_S : 0; /* slow disks and turns */
    bool good = world_start(&world);
    world_mail(&world, 6, 60, 200 * NS_PER_MS);
    for (unsigned i = 0; good && i < 4; i++) {
        good = sim_run_for(sim, sim_below(sim, 300 * NS_PER_MS));
        good_file(sim, 1 + (unsigned)sim_below(sim, 5), text, sizeof(text));
        put_file(&world, text);
        put(&world, &question);
        good = good && sim_run_for(sim, sim_below(sim, 4 * NS_PER_MS));
        if (good && *killed) {
            world_crash(&world, sim_chance(sim, 500));
        } else if (good) {
            world_stop(&world, 1 + (unsigned)sim_below(sim, 2));
            if (!question.answered) {
                sim_fail(sim, "a stop leaves the asker without an answer");
            }
        }
        good = good && !sim_failed(sim) && world_start(&world);
    }
    if (good && !sim_failed(sim)) {
        world_finish(&world);
    }
    world_close(&world);
}

static void g09_a_stop_in_the_middle_of_a_reload_loses_nothing(void **state)
{
    (void)state;
    bool killed = false;
    struct sim_campaign campaign = {
        .name = "stops", .count = 25, .body = end_body, .context = &killed, .swarm = FAULTS};
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

/* Nor does it leave memory behind, which is what the sanitizer sees. */
static void g09_a_kill_in_the_middle_of_a_reload_loses_nothing(void **state)
{
    (void)state;
    bool killed = true;
    struct sim_campaign campaign = {
        .name = "kills", .count = 25, .body = end_body, .context = &killed, .swarm = FAULTS};
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

/* --- by hand ---------------------------------------------------------------------------------- */

static struct stage stage;

static int set_up(void **state)
{
    (void)state;
    stage_open(&stage, 1);
    stage.world.conf_file = FILE_NAME;
    stage.world.sets_kept = stage.world.set_count;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return stage_close(&stage) ? 0 : 1;
}

static struct question reload(const char *text)
{
    struct question question;
    put_file(&stage.world, text);
    put(&stage.world, &question);
    for (unsigned i = 0; i < 1000 && !question.answered; i++) {
        assert_true(sim_run_for(stage.sim, 10 * NS_PER_MS));
    }
    assert_true(question.answered);
    return question;
}

static void what_needs_a_restart_is_named_and_the_rest_is_applied(void **state)
{
    (void)state;
    stage_start(&stage);
    struct question question = reload("");
    assert_int_equal(question.status, RELOAD_APPLIED);
    assert_int_equal(question.change_count, 0);
    const struct conf *first = reload_conf(&stage.world.node.control->reload);
    question = reload("[spool]\ncompact_after = \"5m\"\n");
    assert_int_equal(question.restarts, 1);
    assert_ptr_equal(reload_conf(&stage.world.node.control->reload), first);
    for (unsigned i = 0; i < 2; i++) { /* and again, as long as it is asked for */
        question = reload("[spool]\ncompact_after = \"5m\"\n[shaping.default]\nmax_ready = 9\n");
        assert_int_equal(question.change_count, i == 0 ? 2 : 1);
        assert_int_equal(question.restarts, 1);
    }
    const struct conf *conf = reload_conf(&stage.world.node.control->reload);
    assert_int_equal(conf_kit_path(conf, SLICE("x.test"), SLICE_NONE)->max_ready, 9);
    assert_int_equal(conf->spool.compact_after_ns, 60 * NS_PER_S);
    assert_int_equal(reload_snapshots(&stage.world.node.control->reload), 1);
}

static void f26_a_bad_file_is_refused_with_every_error_and_its_place(void **state)
{
    (void)state;
    stage_start(&stage);
    struct question question =
        reload("[shaping.default]\nmax_ready = 0\nconection_limit = 5\n");
    assert_int_equal(question.status, RELOAD_REFUSED);
    assert_non_null(strstr(question.messages, FILE_NAME ":2:1: error: "));
    assert_non_null(strstr(question.messages, FILE_NAME ":3:1: error: "));
    assert_int_equal(world_counter(&stage.world, COUNTER_reloads_refused), 1);
    assert_int_equal(world_counter(&stage.world, COUNTER_reloads), 0);
}

/* Limits of the same size are not the same limit. */
static void g07_a_rate_of_each_queue_becomes_one_of_the_tenant(void **state)
{
    (void)state;
    static const char *const domains[] = {"b@t.test", "b@u.test"};
    world_set(&stage.world,
              "queues.queue.\"u.test\".protocol={smtp={mx_list=[\"[10.0.9.9]:25\"]}}");
    world_set(&stage.world, "queues.default_tenant=acme");
    stage.world.sets_kept = stage.world.set_count;
    stage_start(&stage);
    assert_int_equal(
        reload("[queues.tenant.acme]\nmax_message_rate = \"1/h,max_burst=1\"\n").status,
        RELOAD_APPLIED);
    for (unsigned i = 0; i < 4; i++) {
        assert_true(stage_mail(&stage, domains[i % 2], "Subject: x\r\n\r\n"));
    }
    assert_true(talk_sink_wait(&stage.sink, 2, 60 * NS_PER_S));
    assert_int_equal(
        reload("[queues.tenant.acme]\noverall_max_message_rate = \"1/h,max_burst=1\"\n").status,
        RELOAD_APPLIED);
    assert_true(sim_run_for(stage.sim, 600 * NS_PER_S));
    assert_int_equal(stage.sink.mails, 3);
    assert_int_equal(reload("").status, RELOAD_APPLIED);
    assert_true(talk_sink_wait(&stage.sink, 4, 60 * NS_PER_S));
}

static void say(struct talk *talk, const char *line, const char *reply)
{
    talk_say(talk, line);
    assert_true(stage_hears(talk, reply));
}

static bool one_is_left(void *context)
{
    return reload_snapshots(context) == 1;
}

/* Its mail is that of its domain from then on; more is not taken for it. */
static void g07_a_tenant_goes_and_the_mail_that_it_has_queued_does_not(void **state)
{
    (void)state;
    struct talk talk;
    world_set(&stage.world, "queues.tenant_header=X-Tenant");
    stage.world.sets_kept = stage.world.set_count;
    stage_start(&stage);
    assert_int_equal(reload("[queues.tenant.acme]\noverall_max_message_rate = \"1/h,max_burst=1\"\n"
                            "[queues.queue.\"t.test\".acme]\nweight = 7\n").status,
                     RELOAD_APPLIED);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(stage_mail(&stage, "b@t.test", "X-Tenant: acme\r\n\r\n"));
    }
    assert_true(sim_run_for(stage.sim, 10 * NS_PER_S));
    assert_int_equal(stage.sink.mails, 1);
    assert_int_equal(reload("").status, RELOAD_APPLIED);
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    assert_true(stage_envelope(&talk, "b@t.test"));
    say(&talk, "X-Tenant: acme\r\n\r\n.\r\n", "550 ");
    talk_close(&talk);
    assert_true(talk_sink_wait(&stage.sink, 2, 60 * NS_PER_S));
    assert_true(sim_run_until(stage.sim, world_drained, &stage.world, NS_PER_S));
    assert_int_equal(reload_snapshots(&stage.world.node.control->reload), 1);
}

/* And what it has of the old ones goes with it. */
static void a_session_has_new_options_with_its_next_transaction(void **state)
{
    (void)state;
    struct talk talk;
    struct talk idle;
    stage_start(&stage);
    struct reload *reloads = &stage.world.node.control->reload;
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    assert_true(stage_begin(&stage, &idle, STAGE_CLIENT + 1));
    say(&talk, "MAIL FROM:<a@c.test>\r\n", "250 ");
    say(&talk, "RCPT TO:<b@t.test>\r\n", "250 ");
    struct question question =
        reload("[[smtp_listener]]\nmax_recipients_per_message = 1\n[queues]\n"
               "class_header = \"X-Other\"\n");
    assert_int_equal(question.status, RELOAD_APPLIED);
    assert_int_equal(reload_snapshots(reloads), 2);
    say(&talk, "RCPT TO:<c@t.test>\r\n", "250 ");
    say(&talk, "DATA\r\n", "354 ");
    say(&talk, "X-Ringpost-Class: urgent\r\nX-Other: bulk\r\n\r\n.\r\n", "250 2.0.0 OK ids=");
    assert_true(sim_run_until(stage.sim, one_is_left, reloads, NS_PER_S));
    struct talk *const both[] = {&talk, &idle};
    for (unsigned i = 0; i < COUNT_OF(both); i++) {
        say(both[i], "MAIL FROM:<a@c.test>\r\n", "250 ");
        say(both[i], "RCPT TO:<b@t.test>\r\n", "250 ");
        say(both[i], "RCPT TO:<c@t.test>\r\n", "452 4.5.3");
        talk_close(both[i]);
    }
    assert_true(talk_sink_wait(&stage.sink, 1, 60 * NS_PER_S));
}

/* Of the only queue, which is deferred, a while after this file has come into force. */
static const struct path_options *path_by(const char *text)
{
    struct question question = reload(text);
    assert_int_equal(question.status, RELOAD_APPLIED);
    assert_true(sim_run_for(stage.sim, 10 * NS_PER_S));
    const struct delivery *delivery = &stage.world.node.mtas[0].delivery;
    const struct sched_queue *queue = queues_find(delivery->queues, 0);
    assert_non_null(queue);
    assert_non_null(queue->ready);
    assert_int_equal(delivery->egress_pools.used, 1); /* former ones are over */
    return egress_pool_of(queue->ready)->members[0]->path;
}

static void what_a_block_says_for_a_source_is_another_by_a_reload(void **state)
{
    (void)state;
    stage_start(&stage);
    stage.sink.defer = "451 4.0.0 later\r\n";
    assert_true(stage_mail(&stage, "b@t.test", "Subject: x\r\n\r\ntext\r\n"));
    for (unsigned i = 0; i < 4; i++) {
        char text[200];
        snprintf(text, sizeof(text), "[shaping.\"t.test\"]\nmax_deliveries_per_connection = 3\n"
                 "[shaping.\"t.test\".sources.unspecified]\nmax_ready = %u\n[queues]\n%s",
                 5 + i / 2, i % 2 == 0 ? "" : "tenant_header = \"X-T\"\n");
        assert_int_equal(path_by(text)->max_ready, 5 + i / 2);
    }
    stage.sink.defer = NULL;
}

/* The rate of "s1" at the site of t.test, once it has had something to send by a file that says so
 * (0: that says none); then it rests, or has a ready queue there when the next file comes. */
static uint64_t rate_by(unsigned rate, bool rests)
{
    char text[300];
    const struct delivery *delivery = &stage.world.node.mtas[0].delivery;
    snprintf(text, sizeof(text), "[sources.source.s0]\n[sources.source.s1]\n[sources.pool.p]\n"
             "s0 = {weight = 1}\ns1 = {weight = 1}\n[queues.queue.default]\negress_pool = \"p\"\n"
             "[shaping.default]\nidle_timeout = \"1s\"\n"
             "[shaping.\"t.test\".sources.s1]\n%s = \"%u/s\"\n",
             rate > 0 ? "max_message_rate" : "max_connection_rate", rate > 0 ? rate : 900);
    assert_int_equal(reload(text).status, RELOAD_APPLIED);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(stage_mail(&stage, "b@t.test", "Subject: x\r\n\r\ntext\r\n"));
        assert_true(sim_run_until(stage.sim, world_drained, &stage.world, 10 * NS_PER_S));
    }
    const struct sched_queue *queue = queues_find(delivery->queues, 0);
    const struct egress *egress = egress_pool_of(queue->ready)->members[1];
    assert_non_null(egress);
    const struct rates *rates = &egress->limits.messages;
    uint64_t count = rates->count > 0 ? rates->lines[0].rate->count : 0;
    assert_true(sim_run_for(stage.sim, rests ? 13 * NS_PER_S : 0));
    assert_int_equal(delivery->egress_pools.used, 1);
    assert_true(!rests || delivery->egresses.used == 0);
    return count;
}

static void the_rate_of_one_source_is_another_by_a_reload_whether_it_rests_or_not(void **state)
{
    (void)state;
    static const unsigned rates[] = {0, 500, 501, 501, 0, 502};
    stage_start(&stage);
    for (unsigned i = 0; i < 2 * COUNT_OF(rates); i++) {
        unsigned rate = rates[i % COUNT_OF(rates)];
        assert_int_equal(rate_by(rate, i >= COUNT_OF(rates)), rate);
    }
}

static void the_site_of_a_block_is_known_again_after_a_reload(void **state)
{
    (void)state;
    stage_start(&stage);
    stage.sink.defer = "451 4.0.0 later\r\n";
    for (unsigned i = 0; i < 3; i++) {
        char text[400];
        snprintf(text, sizeof(text), "[dns]\nservers = []\nstatic = \"\"\"\nr.test. MX 1 h.test.\n"
                 "a.test. MX 1 h.test.\nh.test. A 10.0.9.9\n\"\"\"\n"
                 "[shaping.default]\nmax_ready = %u\n[shaping.\"%s\"]\nconnection_limit = 7\n",
                 5 + i, i < 2 ? "r.test" : "s.test");
        if (i == 0) {
            assert_int_equal(reload(text).status, RELOAD_APPLIED);
            assert_true(stage_mail(&stage, "b@a.test", "Subject: x\r\n\r\ntext\r\n"));
            continue;
        }
        const struct path_options *path = path_by(text);
        assert_int_equal(path->max_ready, 5 + i);
        assert_int_equal(path->connection_limit, i < 2 ? 7 : 32);
    }
    stage.sink.defer = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(g07_g09_reloads_under_load_lose_nothing_and_limits_hold),
        cmocka_unit_test(g09_a_stop_in_the_middle_of_a_reload_loses_nothing),
        cmocka_unit_test(g09_a_kill_in_the_middle_of_a_reload_loses_nothing),
        cmocka_unit_test_setup_teardown(what_needs_a_restart_is_named_and_the_rest_is_applied,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(g07_a_rate_of_each_queue_becomes_one_of_the_tenant,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(g07_a_tenant_goes_and_the_mail_that_it_has_queued_does_not,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_session_has_new_options_with_its_next_transaction,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_block_says_for_a_source_is_another_by_a_reload,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            the_rate_of_one_source_is_another_by_a_reload_whether_it_rests_or_not, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(the_site_of_a_block_is_known_again_after_a_reload,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(f26_a_bad_file_is_refused_with_every_error_and_its_place,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
