/* The admin API over HTTP, on the TSA shard of a whole node in the simulator. */
#include "smtp/http_admin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include <string.h>

#include "core/json_read.h"
#include "tests/kit/http_client.h"
#include "tests/kit/stage.h"

#define BODY "Subject: x\r\n\r\ntext\r\n"
#define SITE "unspecified->mx_list:[10.0.9.9]:25@smtp_client"

static struct stage stage;
static struct json_reader *reader;
static struct http_client client; /* too large for a stack */

static int set_up(void **state)
{
    (void)state;
    stage_open(&stage, 1);
    world_set(&stage.world,
              "queues.queue.\"u.test\".protocol={smtp={mx_list=[\"[10.0.9.9]:25\"]}}");
    stage_start(&stage);
    reader = json_reader_open();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    const struct http_admin *http = &stage.world.node.control->http_admin;
    bool over = http->orders.used == 0 && http->questions.used == 0;
    json_reader_close(reader);
    return stage_close(&stage) && over ? 0 : 1;
}

/* One request on a connection of its own; its status, and the body in `client`. */
static unsigned ask(const char *method, const char *path, const char *body)
{
    char request[8 * KIB];
    int size = snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: localhost\r\n%s",
                        method, path, body == NULL ? "\r\n" : "");
    if (body != NULL) {
        size += snprintf(request + size, sizeof(request) - (size_t)size,
                         "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                         strlen(body), body);
    }
    assert_true((size_t)size < sizeof(request));
    http_client_open(&client, stage.sim, STAGE_CLIENT, &stage.world.node.http_bound[0]);
    http_client_say(&client, request);
    unsigned status = http_client_hear(&client);
    http_client_close(&client);
    return status;
}

/* 200, and its JSON is in `reader`. */
static void ask_well(const char *method, const char *path, const char *body)
{
    unsigned status = ask(method, path, body);
    if (status != 200 || !json_read(reader, slice_from_string(client.said))) {
        fail_msg("%s %s %s: %u %s", method, path, body, status, client.said);
    }
}

static void expect_text(const char *path, const char *expected)
{
    struct slice text = SLICE_NONE;
    if (!json_read_string(reader, path, &text) ||
        !slice_equal(text, slice_from_string(expected))) {
        fail_msg("%s is \"%.*s\" in %s", path, (int)text.size, (const char *)text.data,
                 client.said);
    }
}

static int64_t number(const char *path)
{
    int64_t value = -1;
    if (!json_read_i64(reader, path, &value)) {
        fail_msg("%s is no number in %s", path, client.said);
    }
    return value;
}

static void run_s(uint64_t seconds)
{
    assert_true(sim_run_for(stage.sim, seconds * NS_PER_S));
}

static void a31_a_suspension_is_ordered_listed_explained_and_taken_back(void **state)
{
    (void)state;
    ask_well("POST", "/api/admin/suspend/v1",
             "{\"domain\":\"t.test\",\"reason\":\"they asked\",\"duration\":\"1 hour\"}");
    assert_int_equal(number("/queues"), 0);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(stage_mail(&stage, "b@u.test", BODY));
    run_s(10);
    assert_int_equal(stage.sink.mails, 1);
    ask_well("GET", "/api/admin/suspend/v1", NULL);
    assert_int_equal(json_read_count(reader, ""), 1);
    expect_text("/0/domain", "t.test");
    expect_text("/0/reason", "they asked");
    ask_well("GET", "/api/admin/bounce/v1", NULL);
    assert_int_equal(json_read_count(reader, ""), 0);
    ask_well("GET", "/api/admin/explain/v1?queue=t.test", NULL);
    expect_text("/reason", "suspended_admin");
    expect_text("/detail", "they asked");
    ask_well("GET", "/api/admin/inspect-sched-q/v1?queue_name=t.test&want_body=true", NULL);
    expect_text("/messages/0/message/data", BODY);
    expect_text("/messages/0/message/recipient", "b@t.test");
    ask_well("GET", "/api/admin/explain/v1?domain=T.test", NULL);
    assert_int_equal(number("/count"), 1);
    ask_well("GET", "/api/admin/suspend/v1", NULL);
    char body[64];
    struct slice id;
    assert_true(json_read_string(reader, "/0/id", &id));
    snprintf(body, sizeof(body), "{\"id\":\"%.*s\"}", (int)id.size, (const char *)id.data);
    assert_int_equal(ask("DELETE", "/api/admin/bounce/v1", body), 404);
    assert_int_equal(ask("DELETE", "/api/admin/suspend/v1", body), 200);
    assert_int_equal(ask("DELETE", "/api/admin/suspend/v1", body), 404);
    run_s(1);
    assert_int_equal(stage.sink.mails, 2);
}

static void a32_ready_queues_bounces_and_flushes_have_their_paths(void **state)
{
    (void)state;
    stage.sink.defer = "451 4.0.0 later\r\n";
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(stage_mail(&stage, "b@u.test", BODY));
    run_s(1);
    stage.sink.defer = NULL;
    ask_well("POST", "/api/admin/flush/v1",
             "{\"everything\":true,\"reason\":\"r\",\"dry_run\":true}");
    assert_int_equal(number("/recipients"), 2);
    assert_int_equal(json_read_count(reader, "/samples"), 2);
    assert_int_equal(json_read_kind(reader, "/id"), JSON_ABSENT);
    ask_well("POST", "/api/admin/suspend-ready-q/v1",
             "{\"name\":\"" SITE "\",\"reason\":\"r\",\"duration\":7200}");
    ask_well("POST", "/api/admin/flush/v1", "{\"everything\":true,\"reason\":\"r\"}");
    assert_int_equal(number("/recipients"), 2);
    run_s(10);
    assert_int_equal(stage.sink.mails, 0);
    ask_well("GET", "/api/admin/inspect-ready-q/v1?queue_name=unspecified-%3Emx_list:%5B10.0.9.9"
             "%5D:25@smtp_client", NULL);
    expect_text("/state", "suspended");
    ask_well("POST", "/api/admin/bounce/v1",
             "{\"queue_names\":[\"u.test\"],\"reason\":\"gone\"}");
    assert_int_equal(number("/recipients"), 1);
    run_s(1);
    ask_well("GET", "/api/admin/bounce/v1", NULL);
    assert_int_equal(number("/0/total_bounced"), 1);
    expect_text("/0/queue_names/0", "u.test");
    ask_well("GET", "/api/admin/suspend-ready-q/v1", NULL);
    expect_text("/0/name", SITE);
    assert_int_equal(json_read_kind(reader, "/0/duration"), JSON_STRING);
    char body[64];
    struct slice id;
    assert_true(json_read_string(reader, "/0/id", &id));
    snprintf(body, sizeof(body), "{\"id\":\"%.*s\"}", (int)id.size, (const char *)id.data);
    assert_int_equal(ask("DELETE", "/api/admin/suspend-ready-q/v1", body), 200);
    run_s(1);
    assert_int_equal(stage.sink.mails, 1);
    assert_int_equal(world_rows(&stage.world), 0);
}

static void a36_mail_gets_another_queue_with_kumomtas_members(void **state)
{
    (void)state;
    stage.sink.defer = "451 4.0.0 later\r\n";
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(stage_mail(&stage, "b@u.test", BODY));
    run_s(1);
    stage.sink.defer = NULL;
    ask_well("POST", "/api/admin/rebind/v1",
             "{\"queue_names\":[\"t.test\"],\"reason\":\"r\",\"data\":{\"campaign\":\"spring\"},"
             "\"dry_run\":true}");
    assert_int_equal(number("/recipients"), 1);
    assert_int_equal(json_read_kind(reader, "/rebound"), JSON_ABSENT);
    ask_well("POST", "/api/admin/rebind/v1",
             "{\"domain\":\"t.test\",\"reason\":\"r\",\"data\":{\"campaign\":\"spring\","
             "\"tenant\":null,\"class\":\"urgent\"},\"always_flush\":true,"
             "\"suppress_logging\":true,\"trigger_rebind_event\":false}");
    assert_int_equal(number("/rebound"), 1);
    assert_int_equal(number("/left"), 0);
    expect_text("/samples/0", "t.test");
    run_s(1);
    assert_int_equal(stage.sink.mails, 1);
    assert_int_equal(world_rows(&stage.world), 1);
}

static void an_order_that_is_wrong_is_400_and_says_so(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *body;
        const char *says;
    } rows[] = {
        {"suspend", "{\"domain\":\"a.test\"}", "reason"},
        {"suspend", "{\"reason\":\"r\"}", "which queues"},
        {"bounce", "{\"reason\":\"r\",\"everything\":true,\"tenant\":\"t\"}", "not both"},
        {"suspend", "{\"reason\":\"r\",\"domain\":7}", "domain wants"},
        {"suspend", "{\"reason\":\"r\",\"everything\":1}", "everything wants"},
        {"suspend", "{\"reason\":\"r\",\"everything\":true,\"duration\":\"soon\"}", "duration"},
        {"suspend", "{\"reason\":\"r\",\"everything\":true,\"duration\":-1}", "duration"},
        {"suspend", "{\"reason\":\"r\",\"everything\":true,\"expires\":\"today\"}", "expires"},
        {"suspend", "{\"reason\":\"r\",\"everything\":true,\"expires\":\"1999-01-01T00:00:00Z\"}",
         "expired"},
        {"suspend", "{\"reason\":\"r\",\"everything\":true,\"suppress_logging\":true}", "member"},
        {"suspend", "{\"reason\":\"r\",\"name\":\"x\"}", "member"},
        {"suspend", "{\"reason\":\"r\",\"queue_names\":[1]}", "queue_names"},
        {"suspend-ready-q", "{\"reason\":\"r\"}", "name"},
        {"flush", "{\"reason\":\"r\",", ""},
        {"flush", "[]", "object"},
        {"flush", "{\"reason\":\"r\",\"everything\":true,\"duration\":\"1h\"}", "member"},
        {"flush", "{\"reason\":\"r\",\"everything\":true,\"expires\":\"2999-01-01T00:00:00Z\"}",
         "member"},
        {"rebind", "{\"reason\":\"r\",\"everything\":true}", "nothing that is to be set"},
        {"rebind", "{\"reason\":\"r\",\"domain\":\"t.test\",\"data\":[]}", "object"},
        {"rebind", "{\"reason\":\"r\",\"domain\":\"t.test\",\"data\":{\"x\":\"y\"}}",
         "may have"},
        {"rebind", "{\"reason\":\"r\",\"domain\":\"t.test\",\"data\":{\"tenant\":\"none\"}}",
         "no such tenant"},
        {"rebind", "{\"reason\":\"r\",\"domain\":\"t.test\",\"data\":{\"class\":\"fast\"}}",
         "urgent"},
        {"rebind",
         "{\"reason\":\"r\",\"domain\":\"t.test\",\"data\":{\"routing_domain\":\"r.test\"}}",
         "cannot be set"},
        {"rebind", "{\"reason\":\"r\",\"trigger_rebind_event\":true}", "no scripts"},
        {"rebind", "{\"reason\":\"r\",\"duration\":\"1h\"}", "member"},
    };
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        char path[64];
        snprintf(path, sizeof(path), "/api/admin/%s/v1", rows[i].path);
        unsigned status = ask("POST", path, rows[i].body);
        if (status != 400 || strstr(client.said, rows[i].says) == NULL) {
            fail_msg("%s: %u %s", rows[i].body, status, client.said);
        }
    }
    static const char *const orders[] = {"suspend", "suspend-ready-q", "bounce"};
    for (unsigned i = 0; i < COUNT_OF(orders); i++) {
        char path[64];
        snprintf(path, sizeof(path), "/api/admin/%s/v1", orders[i]);
        assert_int_equal(ask("DELETE", path, "{}"), 400);
        assert_string_equal(client.said, "id wants 32 hexadecimal digits\n");
        assert_int_equal(ask("DELETE", path, "{\"id\":null}"), 400);
    }
    assert_int_equal(admin_count(&stage.world.node.control->admin), 0);
}

#define ID "0193555566667777888899990000aaaa"

static void a51_the_largest_queues_are_told_as_json(void **state)
{
    (void)state;
    stage.sink.defer = "451 4.0.0 later\r\n";
    for (unsigned i = 0; i < 3; i++) {
        assert_true(stage_mail(&stage, i == 0 ? "b@t.test" : "b@u.test", BODY));
    }
    run_s(5);
    ask_well("GET", "/api/admin/queues/v1", NULL);
    expect_text("/kind", "scheduled");
    assert_int_equal(json_read_count(reader, "/queues"), 2);
    expect_text("/queues/0/name", "u.test");
    assert_int_equal(number("/queues/0/count"), 2);
    assert_int_equal(number("/queues/0/due"), 0);
    expect_text("/queues/0/state", "waiting");
    expect_text("/queues/0/reason", "not_due");
    expect_text("/queues/0/site", SITE);
    assert_int_equal(strncmp(strstr(client.said, "\"since\":\"") + 9, "20", 2), 0);
    expect_text("/queues/1/name", "t.test");
    assert_non_null(strstr(client.said, "\"exact\":true"));
    assert_int_equal(number("/total_queues"), 2);
    assert_int_equal(number("/total_count"), 3);
    assert_int_equal(number("/others/queues"), 0);
    assert_int_equal(number("/reasons/not_due/queues"), 2);
    assert_int_equal(number("/reasons/not_due/count"), 3);
    ask_well("GET", "/api/admin/queues/v1?limit=1&kind=scheduled", NULL);
    assert_int_equal(json_read_count(reader, "/queues"), 1);
    assert_int_equal(number("/others/queues"), 1);
    assert_int_equal(number("/others/count"), 1);
    ask_well("GET", "/api/admin/queues/v1?kind=ready", NULL);
    expect_text("/queues/0/name", SITE);
    assert_int_equal(json_read_kind(reader, "/queues/0/site"), JSON_NULL);
    assert_int_equal(number("/total_count"), 0);
}

static void a_question_that_is_wrong_is_400_and_says_so(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *says;
    } questions[] = {
        {"explain/v1", "queue=, domain= or id= is needed"},
        {"explain/v1?queue=", "queue=, domain= or id= is needed"},
        {"explain/v1?id=junk", "id= wants 32 hexadecimal digits"},
        {"explain/v1?id=junk&queue=a", "id= wants 32 hexadecimal digits"},
        {"explain/v1?id=" ID "&id=" ID, "id= wants 32 hexadecimal digits"},
        {"explain/v1?id=" ID "0", "id= wants 32 hexadecimal digits"},
        {"inspect-message/v1", "id= wants 32 hexadecimal digits"},
        {"inspect-message/v1?id=7", "id= wants 32 hexadecimal digits"},
        {"inspect-message/v1?id=" ID "&want_body=maybe", "want_body= wants true or false"},
        {"inspect-message/v1?id=" ID "&want_body=%zz", "want_body= wants true or false"},
        {"inspect-message/v1?id=" ID "&want_body=true&want_body=true",
         "want_body= wants true or false"},
        {"inspect-sched-q/v1", "queue_name= is needed"},
        {"inspect-sched-q/v1?queue_name=a&limit=0", "limit= is a number from 1 to 1000"},
        {"inspect-sched-q/v1?queue_name=a&limit=1001", "limit= is a number from 1 to 1000"},
        {"inspect-sched-q/v1?queue_name=a&limit=x", "limit= is a number from 1 to 1000"},
        {"inspect-sched-q/v1?queue_name=a&want_body=truefalse", "want_body= wants true or false"},
        {"inspect-ready-q/v1?queue_name=", "queue_name= is needed"},
        {"queues/v1?kind=", "kind= wants scheduled or ready"},
        {"queues/v1?kind=ready&kind=ready", "kind= wants scheduled or ready"},
        {"queues/v1?kind=readyscheduledready", "kind= wants scheduled or ready"},
        {"queues/v1?limit=0", "limit= is a number from 1 to 1000"},
        {"queues/v1?limit=1001", "limit= is a number from 1 to 1000"},
    };
    for (unsigned i = 0; i < COUNT_OF(questions); i++) {
        char path[160];
        snprintf(path, sizeof(path), "/api/admin/%s", questions[i].path);
        unsigned status = ask("GET", path, NULL);
        if (status != 400 || strstr(client.said, questions[i].says) == NULL) {
            fail_msg("%s: %u %s", questions[i].path, status, client.said);
        }
    }
    assert_int_equal(ask("GET", "/api/admin/explain/v1?queue=none.test", NULL), 404);
    assert_int_equal(ask("GET", "/api/admin/inspect-message/v1?id=" ID, NULL), 404);
    assert_int_equal(ask("GET", "/api/admin/inspect-message/v1?want_body=false&id=" ID, NULL), 404);
}

int main(void)
{
#define ON_STAGE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ON_STAGE(a31_a_suspension_is_ordered_listed_explained_and_taken_back),
        ON_STAGE(a32_ready_queues_bounces_and_flushes_have_their_paths),
        ON_STAGE(a36_mail_gets_another_queue_with_kumomtas_members),
        ON_STAGE(an_order_that_is_wrong_is_400_and_says_so),
        ON_STAGE(a51_the_largest_queues_are_told_as_json),
        ON_STAGE(a_question_that_is_wrong_is_400_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
