/* What a whole node in the simulator tells Prometheus. */
#include "smtp/http_metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "core/json_read.h"
#include "smtp/node.h"
#include "tests/kit/http_client.h"
#include "tests/kit/stage.h"

#define BODY "Subject: x\r\n\r\ntext\r\n"
#define SITE "unspecified->mx_list:[10.0.9.9]:25@smtp_client"

static struct stage stage;
/* Too large for a stack. */
static struct http_client client;
static char *const said = client.said;

static int set_up(void **state)
{
    (void)state;
    stage_open(&stage, 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return stage_close(&stage) ? 0 : 1;
}

static void ask(struct http_client *who, const char *path)
{
    char request[256];
    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
    http_client_open(who, stage.sim, STAGE_CLIENT, &stage.world.node.http_bound[0]);
    http_client_say(who, request);
}

static void get(const char *path)
{
    ask(&client, path);
    if (http_client_hear(&client) != 200) {
        fail_msg("%s: %u %s", path, client.status, said);
    }
    http_client_close(&client);
}

static void inject(const char *body)
{
    char request[512];
    snprintf(request, sizeof(request),
             "POST /api/inject/v1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
             "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
    http_client_open(&client, stage.sim, STAGE_CLIENT, &stage.world.node.http_bound[0]);
    http_client_say(&client, request);
    assert_int_equal(http_client_hear(&client), 200);
    http_client_close(&client);
}

/* The one sample that begins so. */
static uint64_t sample(const char *series)
{
    char line[256];
    snprintf(line, sizeof(line), "\n%s ", series);
    const char *found = strstr(said, line);
    if (found == NULL) {
        fail_msg("no %s in\n%s", series, said);
    }
    assert_null(strstr(found + 1, line));
    return strtoull(found + strlen(line), NULL, 10);
}

static unsigned count(const char *start)
{
    char line[64];
    unsigned found = 0;
    snprintf(line, sizeof(line), "\n%s", start);
    for (const char *at = strstr(said, line); at != NULL; at = strstr(at + 1, line)) {
        found++;
    }
    return found;
}

/* Of the queue's own name, else of its path's; who has none, or is called so, is told otherwise. */
static void m01_recipients_are_told_by_provider(void **state)
{
    (void)state;
    static const char *const domains[] = {"t.test", "u.test", "u.test", "v.test", "w.test"};
    stage.world.shards = 2;
    world_set(&stage.world, "queues.queue.default.retry_interval=1h");
    for (unsigned i = 1; i < COUNT_OF(domains); i++) {
        if (i == 2) {
            continue;
        }
        world_set(&stage.world, "queues.queue.\"%s\".protocol={smtp={mx_list=[\"[10.0.9.9]:%u\"]}}",
                  domains[i], i == 3 ? 26 : 25);
    }
    world_set(&stage.world, "queues.queue.\"u.test\".provider_name=\"big mail\"");
    world_set(&stage.world, "queues.queue.\"w.test\".provider_name=\"other\"");
    world_set(&stage.world, "shaping.\"t.test\".provider_name=\"path\"");
    stage_start(&stage);
    stage.sink.defer = "451 4.0.0 later\r\n";
    for (unsigned i = 0; i < COUNT_OF(domains); i++) {
        char recipient[32];
        snprintf(recipient, sizeof(recipient), "b@%s", domains[i]);
        assert_true(stage_mail(&stage, recipient, BODY));
    }
    assert_true(sim_run_for(stage.sim, 5 * NS_PER_S));
    get("/metrics");
    assert_int_equal(sample("queued_count_by_provider{provider=\"path\"}"), 1);
    assert_int_equal(sample("queued_count_by_provider{provider=\"big mail\"}"), 2);
    assert_int_equal(sample("queued_count_by_provider{provider=\"\\\\x6fther\"}"), 1);
    assert_int_equal(sample("queued_count_by_provider{provider=\"other\"}"), 1);
    assert_int_equal(count("queued_count_by_provider{"), 4);
}

static void m01_what_waits_and_what_it_took_is_told(void **state)
{
    (void)state;
    stage.world.shards = 2;
    world_set(&stage.world, "queues.queue.default.retry_interval=1h");
    stage_start(&stage);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(sim_run_for(stage.sim, 2 * NS_PER_S));
    stage.sink.defer = "451 4.0.0 later\r\n";
    for (unsigned i = 0; i < 5; i++) {
        assert_true(stage_mail(&stage, "b@t.test", BODY));
    }
    assert_true(sim_run_for(stage.sim, 2 * NS_PER_S));
    get("/metrics"); /* asks for free space, and does not wait for it */
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    get("/metrics");
    assert_int_equal(sample("scheduled_count{queue=\"t.test\"}"), 5);
    assert_int_equal(sample("scheduled_count{queue=\"other\"}"), 0);
    assert_int_equal(sample("scheduled_count_total"), 5);
    assert_int_equal(sample("scheduled_queue_count"), 1);
    assert_int_equal(sample("ringpost_queue_reason_recipients{reason=\"not_due\"}"), 5);
    assert_int_equal(sample("ringpost_queue_reason_recipients{reason=\"dns\"}"), 0);
    assert_int_equal(sample("ready_count{service=\"smtp_client\"}"), 0);
    assert_int_equal(sample("ready_count{service=\"smtp_client:" SITE "\"}"), 0);
    uint64_t open = sample("connection_count{service=\"smtp_client:" SITE "\"}");
    assert_in_range(open, 1, 6);
    assert_int_equal(sample("connection_count{service=\"smtp_client\"}"), open);
    assert_int_equal(sample("connection_count{service=\"smtp_client:other\"}"), 0);
    assert_int_equal(sample("total_messages_delivered{service=\"smtp_client\"}"), 1);
    assert_int_equal(sample("deliver_message_latency_rollup_count{service=\"smtp_client\"}"), 6);
    assert_int_equal(sample("ringpost_queue_age_seconds_count"), 1);
    assert_int_equal(sample("ringpost_queue_age_seconds_bucket{le=\"+Inf\"}"), 1);
    assert_int_equal(sample("ringpost_queue_age_seconds_bucket{le=\"1.073741824\"}"), 1);
    assert_int_equal(sample("ringpost_commit_messages_count"), 6);
    assert_true(sample("ringpost_commit_seconds_count") >= 6);
    assert_true(sample("memory_usage") > 0);
    assert_true(sample("memory_limit") > sample("memory_usage"));
    assert_true(sample("disk_free_bytes{name=\"spool\"}") > 0);
    assert_true(sample("disk_free_percent{name=\"log\"}") <= 100);
    assert_int_equal(sample("ringpost_shards"), 2);
    inject("{\"envelope_sender\":\"a@c.test\",\"content\":\"Subject: x\\n\\nx\\n\","
           "\"recipients\":[{\"email\":\"b@t.test\"},{\"email\":\"c@t.test\"}]}");
    get("/metrics?prefix=total_messages_");
    assert_int_equal(sample("total_messages_received{service=\"esmtp_listener\"}"), 6);
    assert_int_equal(sample("total_messages_received{service=\"http_listener\"}"), 2);
    get("/metrics?prefix=scheduled_");
    assert_int_equal(count("# TYPE "), 3);
}

/* Names that would end a label, a line, or the whole answer; and one that is that of the rest. */
static void name_put(char *name, size_t size, unsigned i)
{
    static const char *const ends[] = {"\"} 9\n", "\n# TYPE x\n", "\\", "\xff\xc3", "\x1b[2J",
                                       "\xe2\x80\xae", "{}", ".test"};
    snprintf(name, size, "q%05u%s", i, ends[i % COUNT_OF(ends)]);
}

/* Every line is a comment, or a name, one label at most, and a number. */
static void expect_lines(void)
{
    for (char *line = said; *line != '\0'; line = strchr(line, '\n') + 1) {
        size_t size = strcspn(line, "\n");
        assert_int_equal(line[size], '\n');
        if (line[0] == '#') {
            continue;
        }
        char *at = line + strspn(line, "abcdefghijklmnopqrstuvwxyz_");
        if (*at == '{') {
            for (at += strcspn(at, "\"") + 1; *at != '"'; at++) {
                at += *at == '\\';
            }
            at += strspn(at, "\",le=+Inf.0123456789");
            assert_int_equal(*at++, '}');
        }
        assert_int_equal(*at, ' ');
        assert_int_equal(strspn(at + 1, "0123456789.") + (size_t)(at + 1 - line), size);
    }
}

static void h19_hostile_names_make_no_more_series_and_break_no_line(void **state)
{
    (void)state;
    enum { QUEUES = 5000 };
    char name[64];
    stage_start(&stage);
    for (unsigned i = 0; i < QUEUES; i++) {
        name_put(name, sizeof(name), i);
        stage_rows_put(&stage, 0, name, 1);
        if (i % 1000 == 0) {
            assert_true(sim_run_for(stage.sim, NS_PER_S));
        }
    }
    stage_rows_put(&stage, 0, "other", 2);
    get("/metrics");
    assert_true(slice_is_utf8(slice_from_string(said)));
    expect_lines();
    assert_int_equal(count("scheduled_count{"), CENSUS_QUEUES_MAX + 1);
    assert_int_equal(sample("scheduled_count{queue=\"\\\\x6fther\"}"), 2);
    assert_int_equal(sample("scheduled_count{queue=\"other\"}"), QUEUES - (CENSUS_QUEUES_MAX - 1));
    assert_int_equal(sample("scheduled_count_total"), QUEUES + 2);
    assert_int_equal(sample("scheduled_queue_count"), QUEUES + 1);
    get("/metrics.json?prefix=scheduled_count");
    struct json_reader *reader = json_reader_open();
    assert_true(json_read(reader, slice_from_string(said)));
    int64_t rest;
    assert_true(json_read_i64(reader, "/scheduled_count/value/queue/other", &rest));
    assert_int_equal(rest, QUEUES - (CENSUS_QUEUES_MAX - 1));
    json_reader_close(reader);
    stage_rows_drop(&stage);
}

static void m02_many_who_ask_at_once_are_answered_and_so_is_who_asks_at_a_stop(void **state)
{
    (void)state;
    enum { ASKERS = 12 };
    static struct http_client clients[ASKERS];
    stage.world.shards = 2;
    stage_start(&stage);
    for (unsigned i = 0; i < ASKERS; i++) {
        ask(&clients[i], i % 2 == 0 ? "/metrics" : "/metrics.json");
    }
    for (unsigned i = 0; i < ASKERS; i++) {
        assert_int_equal(http_client_hear(&clients[i]), 200);
        assert_non_null(strstr(clients[i].said, "scheduled_count_total"));
        http_client_close(&clients[i]);
    }
    assert_int_equal(stage.world.node.control->http_metrics.scrapes.used, 0);
    for (unsigned i = 0; i < ASKERS; i++) {
        ask(&clients[i], "/metrics");
    }
    assert_true(sim_run_for(stage.sim, 300 * NS_PER_US));
    node_stop(&stage.world.node, 1);
    for (unsigned i = 0; i < ASKERS; i++) {
        (void)http_client_hear(&clients[i]);
        assert_true(http_client_closed(&clients[i], 10 * NS_PER_S));
        http_client_close(&clients[i]);
    }
    world_stopped(&stage.world);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(m01_what_waits_and_what_it_took_is_told),
        TEST(m01_recipients_are_told_by_provider),
        TEST(h19_hostile_names_make_no_more_series_and_break_no_line),
        TEST(m02_many_who_ask_at_once_are_answered_and_so_is_who_asks_at_a_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
