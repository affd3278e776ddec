/* The whole of ringpost-tsad but for its process, in the simulator: starts, stops, reloads. */
#include "tsa/tsad.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "core/shaping.h"
#include "tests/kit/conf_kit.h"
#include "tests/kit/http_client.h"
#include "tests/sim/sim.h"

#define FILE_NAME "t.toml"
#define CLIENT    250
#define WAIT_NS   (60 * NS_PER_S)
#define LISTENER                                                                                   \
    "[node]\nstate_dir = \"state\"\n"                                                              \
    "[[http_listener]]\nlisten = \"10.0.0.1:8008\"\ntrusted_hosts = [\"10.0.0.0/24\"]\n"
#define RULE(word)                                                                                 \
    "[[shaping.default.automation]]\nregex = \"" word "\"\naction = \"Suspend\"\n"                 \
    "duration = \"1 hour\"\n"

static struct sim *sim;
static struct sim_disk *disk;
static struct sim_node *node;
static struct conf *conf;
static struct tsad tsad;
static struct http_client client;
static char lines[4096];
static size_t lines_size;

static void put_line(void *context, struct slice line)
{
    (void)context;
    assert_true(lines_size + line.size < sizeof(lines));
    memcpy(lines + lines_size, line.data, line.size);
    lines_size += line.size;
    lines[lines_size] = '\0';
}

/* What the daemon finds when it reads its configuration. */
static void write_conf(const char *text)
{
    assert_int_equal(sim_disk_put(disk, FILE_NAME, slice_from_string(text)), 0);
}

static struct conf *conf_of(const char *text)
{
    const char *const files[] = {FILE_NAME, text, NULL};
    char said[1000];
    struct conf_messages messages = {0};
    struct conf_input input = {
        .program = CONF_TSAD,
        .file = FILE_NAME,
        .read = conf_kit_read,
        .read_context = (void *)(uintptr_t)files,
    };
    buf_init(&messages.text, said, sizeof(said));
    struct conf *read = conf_load(&input, &messages);
    assert_non_null(read);
    return read;
}

static void turn(void *context)
{
    if (!tsad_finished(context)) {
        tsad_turn(context, false);
    }
}

static bool is_ready(void *context)
{
    (void)context;
    return tsad_state(&tsad) == TSAD_READY;
}

static bool is_finished(void *context)
{
    (void)context;
    return tsad_finished(&tsad);
}

static void start(const char *text)
{
    write_conf(text);
    conf = conf_of(text);
    const struct tsad_options options = {
        .conf = conf, .conf_file = FILE_NAME, .log = {.put = put_line},
        .memory_bytes = 64 * MIB, .world = node};
    assert_int_equal(tsad_open(&tsad, &options), 0);
    sim_actor_set(tsad.shard.ring, turn, &tsad);
    assert_true(sim_run_until(sim, is_ready, NULL, WAIT_NS));
    http_client_open(&client, sim, CLIENT, &tsad.bound[0]);
}

static void stop(void)
{
    const char *what = "";
    tsad_stop(&tsad, 1);
    assert_true(sim_run_until(sim, is_finished, NULL, WAIT_NS));
    assert_int_equal(tsad_state(&tsad), TSAD_STOPPED);
    http_client_close(&client);
    assert_int_equal(counters_get(&tsad.shard.counters, COUNTER_lost_wakeups), 0);
    tsad_close(&tsad);
    conf_free(conf);
    if (!sim_node_idle(node, &what)) {
        fail_msg("%s", what);
    }
}

static int set_up(void **state)
{
    (void)state;
    sim = sim_open(&(struct sim_options){.seed = 1, .verbose = true});
    disk = sim_disk_open(sim, 64 * MIB);
    node = sim_node_open(sim, disk);
    lines_size = 0;
    lines[0] = '\0';
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bool good = !sim_failed(sim);
    sim_close(sim);
    return good ? 0 : 1;
}

/* A record whose reply says this, about a domain; what is answered is that it is taken. */
static void publish(const char *reply, const char *domain)
{
    char body[1024];
    char request[2048];
    int size = snprintf(body, sizeof(body),
                        "{\"type\":\"TransientFailure\",\"timestamp\":%llu,"
                        "\"recipient\":\"u@%s\",\"queue\":\"%s\","
                        "\"site\":\"ip1->mx.%s@smtp_client\",\"egress_source\":\"ip1\","
                        "\"response\":{\"code\":451,\"content\":\"%s\"}}",
                        (unsigned long long)(tsad.shard.wall_ns / NS_PER_S), domain, domain,
                        domain, reply);
    (void)snprintf(request, sizeof(request),
                   "POST /publish_log_v1 HTTP/1.1\r\nHost: 10.0.0.1\r\n"
                   "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", size, body);
    http_client_say(&client, request);
    assert_true(http_client_hears(&client, 200, "{\"accepted\":1,\"rejected\":[]}"));
}

/* Is the site of this domain held back? */
static bool is_suspended(const char *domain)
{
    char site[64];
    (void)snprintf(site, sizeof(site), "ip1->mx.%s@smtp_client", domain);
    http_client_say(&client, "GET /get_suspension_v1/suspended.json HTTP/1.1\r\n"
                             "Host: 10.0.0.1\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(http_client_hear(&client), 200);
    return strstr(client.said, site) != NULL;
}

static void what_is_in_force_is_there_after_a_stop(void **state)
{
    (void)state;
    start(LISTENER RULE("hold"));
    publish("hold it", "a.test");
    publish("go on", "b.test");
    assert_true(is_suspended("a.test"));
    assert_false(is_suspended("b.test"));
    sim_disk_latency_set(disk, NS_PER_S); /* the write of a stop takes its time */
    stop();
    sim_disk_latency_set(disk, 0);
    start(LISTENER RULE("hold"));
    assert_true(is_suspended("a.test"));
    assert_false(is_suspended("b.test"));
    stop();
}

static bool has_read(void *context)
{
    (void)context;
    return strstr(lines, "event=reload ") != NULL;
}

static void reload(const char *text)
{
    write_conf(text);
    lines_size = 0;
    lines[0] = '\0';
    tsad_reload(&tsad);
    assert_true(sim_run_until(sim, has_read, NULL, WAIT_NS));
}

static void a_reload_brings_other_rules_and_a_bad_one_changes_nothing(void **state)
{
    (void)state;
    start(LISTENER RULE("hold"));
    reload(LISTENER RULE("("));
    assert_non_null(strstr(lines, "applied=no rules=1"));
    publish("hold it", "a.test");
    assert_true(is_suspended("a.test"));
    reload(LISTENER RULE("wait") RULE("later"));
    assert_non_null(strstr(lines, "applied=yes rules=2"));
    publish("hold it", "b.test");
    publish("wait", "c.test");
    publish("later", "d.test");
    assert_true(is_suspended("a.test")); /* ends in its time */
    assert_false(is_suspended("b.test"));
    assert_true(is_suspended("c.test"));
    assert_true(is_suspended("d.test"));
    stop();
}

static void a_stop_during_a_reload_ends_both(void **state)
{
    (void)state;
    start(LISTENER RULE("hold"));
    sim_disk_latency_set(disk, NS_PER_S);
    tsad_reload(&tsad);
    assert_true(sim_run_for(sim, 100 * NS_PER_MS));
    assert_true(tsad.reloading);
    sim_disk_latency_set(disk, 0); /* all but the reload ends at once */
    stop();
    assert_non_null(strstr(lines, "applied=no"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_is_in_force_is_there_after_a_stop),
        TEST(a_reload_brings_other_rules_and_a_bad_one_changes_nothing),
        TEST(a_stop_during_a_reload_ends_both),
    };
    return cmocka_run_group_tests_name("tsad", tests, NULL, NULL);
}
