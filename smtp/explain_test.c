/* Explanations of a whole node in the simulator, read as JSON. */
#include "smtp/explain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "core/json_read.h"
#include "tests/kit/stage.h"

#define BODY "Subject: x\r\n\r\ntext\r\n"
#define SITE "unspecified->mx_list:[10.0.9.9]:25@smtp_client"

static struct stage stage;
static struct json_reader *reader;
static uint8_t memory[EXPLAIN_BYTES_MAX];

static int set_up(void **state)
{
    (void)state;
    stage_open(&stage, 1);
    reader = json_reader_open();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    json_reader_close(reader);
    return stage_close(&stage) ? 0 : 1;
}

struct question {
    struct explain_request request;
    bool answered;
};

static void answered(struct explain_request *request)
{
    CONTAINER_OF(request, struct question, request)->answered = true;
}

static bool is_answered(void *context)
{
    return ((const struct question *)context)->answered;
}

static void put(struct question *question, enum explain_what what, const char *name)
{
    *question = (struct question){
        .request = {.what = what, .name = slice_from_string(name), .done = answered}};
    buf_init(&question->request.answer, memory, sizeof(memory));
    assert_true(explain_ask(&stage.world.node.control->explain, &question->request));
}

static enum explain_status ask(enum explain_what what, const char *name)
{
    struct question question;
    put(&question, what, name);
    assert_true(sim_run_until(stage.sim, is_answered, &question, 10 * NS_PER_S));
    struct slice answer = buf_slice(&question.request.answer);
    assert_true(question.request.status != EXPLAIN_DONE || json_read(reader, answer));
    return question.request.status;
}

static void expect_text(const char *path, const char *expected)
{
    struct slice text = SLICE_NONE;
    if (expected == NULL) {
        assert_int_equal(json_read_kind(reader, path), JSON_NULL);
        return;
    }
    if (!json_read_string(reader, path, &text) ||
        !slice_equal(text, slice_from_string(expected))) {
        fail_msg("%s is \"%.*s\", not \"%s\"", path, (int)text.size, (const char *)text.data,
                 expected);
    }
}

static int64_t number(const char *path)
{
    int64_t value = -1;
    if (!json_read_i64(reader, path, &value)) {
        fail_msg("%s is no number", path);
    }
    return value;
}

static bool is_time(const char *path)
{
    struct slice text;
    return json_read_string(reader, path, &text) && slice_ends_with(text, SLICE("Z")) &&
           text.size == strlen("2026-11-22T16:49:10.123Z");
}

static void run_s(uint64_t seconds)
{
    assert_true(sim_run_for(stage.sim, seconds * NS_PER_S));
}

static void a20_a_deferred_queue_tells_when_how_often_and_what_the_server_said(void **state)
{
    (void)state;
    world_set(&stage.world, "queues.queue.default.retry_interval=1h");
    stage_start(&stage);
    stage.sink.defer = "451 4.7.1 come back later\r\n";
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(5); /* the connection is free again */
    assert_true(stage_mail(&stage, "c@t.test", BODY));
    run_s(20);
    assert_int_equal(ask(EXPLAIN_QUEUE, "t.test"), EXPLAIN_DONE);
    expect_text("/kind", "scheduled");
    expect_text("/name", "t.test");
    expect_text("/queue", "t.test");
    assert_int_equal(number("/queues"), 1);
    assert_int_equal(number("/count"), 2);
    assert_int_equal(number("/due"), 0);
    expect_text("/state", "waiting");
    expect_text("/reason", "not_due");
    expect_text("/detail", NULL);
    expect_text("/until", NULL);
    assert_true(is_time("/since") && is_time("/next_attempt"));
    expect_text("/site", SITE);
    assert_int_equal(number("/attempts"), 1);
    expect_text("/last_response", "451 4.7.1 come back later");
    assert_in_range(number("/time_by_reason_ms/not_due"), 19000, 26000);
    assert_true(json_read_count(reader, "/limits") >= 1);
    expect_text("/limits/0/kind", "connection_limit");
    expect_text("/limits/0/name", SITE);
    assert_int_equal(number("/limits/0/used"), 1);
    assert_int_equal(number("/limits/0/retry_in_ms"), 0);
}

static void a20_limits_and_the_last_word_of_a_site_outlive_its_ready_queue(void **state)
{
    (void)state;
    world_set(&stage.world, "queues.queue.default.retry_interval=1h");
    world_set(&stage.world, "shaping.default.max_message_rate=\"900/s\"");
    stage_start(&stage);
    stage.sink.defer = "451 4.7.1 come back later\r\n";
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(120);
    assert_int_equal(stage.world.node.mtas[0].delivery.egresses.used, 0);
    assert_int_equal(ask(EXPLAIN_QUEUE, "t.test"), EXPLAIN_DONE);
    expect_text("/site", SITE);
    expect_text("/last_response", "451 4.7.1 come back later");
    expect_text("/limits/0/kind", "connection_limit");
    expect_text("/limits/0/name", SITE);
    assert_int_equal(number("/limits/0/used"), 0);
    expect_text("/limits/1/kind", "max_message_rate");
    expect_text("/limits/1/limit", "900/s");
    expect_text("/limits/1/origin", "--set");
    assert_int_equal(json_read_count(reader, "/limits"), 2);
}

static void a20_sources_whose_addresses_are_missing_are_named_without_ready_queues(void **state)
{
    (void)state;
    world_set(&stage.world, "queues.queue.default.egress_pool=p");
    for (unsigned i = 0; i < 2; i++) {
        struct endpoint gone = sim_endpoint(20 * 256 + i, 0);
        world_set(&stage.world, "sources.source.s%u.source_address=\"10.0.20.%u\"", i, i);
        world_set(&stage.world, "sources.pool.p.s%u.weight=1", i);
        sim_reach_set(stage.sim, &gone, SIM_REACH_NONE);
    }
    stage_start(&stage);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(60);
    assert_int_equal(stage.world.node.mtas[0].delivery.egresses.used, 0);
    assert_int_equal(ask(EXPLAIN_QUEUE, "t.test"), EXPLAIN_DONE);
    expect_text("/reason", "no_source");
    expect_text("/last_response",
                "Ringpost internal: the source address 10.0.20.0 is none of this host");
    assert_int_equal(json_read_count(reader, "/limits"), 2);
    for (unsigned i = 0; i < 2; i++) {
        struct endpoint back = sim_endpoint(20 * 256 + i, 0);
        sim_reach_set(stage.sim, &back, SIM_REACH);
    }
    assert_true(sim_run_until(stage.sim, world_drained, &stage.world, 10 * NS_PER_S));
}

static void a21_a_rate_tells_its_limit_and_until_when(void **state)
{
    (void)state;
    world_set(&stage.world, "queues.queue.\"t.test\".max_message_rate=\"1/h\"");
    stage_start(&stage);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(60);
    assert_int_equal(ask(EXPLAIN_QUEUE, "t.test"), EXPLAIN_DONE);
    expect_text("/state", "waiting");
    expect_text("/reason", "queue_rate");
    assert_int_equal(number("/due"), 1);
    assert_true(is_time("/until"));
    expect_text("/next_attempt", NULL);
    expect_text("/limits/0/kind", "max_message_rate");
    expect_text("/limits/0/name", "t.test");
    expect_text("/limits/0/limit", "1/h");
    assert_in_range(number("/limits/0/retry_in_ms"), 3500000, 7200000);
    assert_true(json_read_count(reader, "/limits") > 1); /* and those of its site */
    expect_text("/limits/0/origin", "--set");
    expect_text("/limits/1/kind", "connection_limit");
    expect_text("/limits/1/origin", "default");
    expect_text("/options/max_message_rate/value", "\"1/h\"");
    expect_text("/options/max_message_rate/origin", "--set");
    expect_text("/options/retry_interval/origin", "--set");
    expect_text("/options/max_age/value", "\"604800s\"");
    expect_text("/options/max_age/origin", "default");
    expect_text("/options/connection_limit/value", "32");
    expect_text("/options/enable_tls/value", "\"Opportunistic\"");
}

/* Every shard has some of it. */
static void a22_all_queues_of_a_domain_on_all_shards_are_one_answer(void **state)
{
    (void)state;
    stage.world.shards = 4;
    world_set(&stage.world, "queues.tenant.acme={}");
    world_set(&stage.world, "queues.queue.default.retry_interval=1h");
    stage_start(&stage);
    unsigned rows = 0;
    for (unsigned i = 0; i < 4; i++) {
        struct queues *queues = &stage.world.node.mtas[i].queues;
        uint32_t number_of = queues_name(queues, i % 2 ? SLICE("acme@T.test") : SLICE("t.test"));
        for (unsigned n = 0; n <= i; n++, rows++) {
            uint32_t handle = queues_row_new(queues, number_of);
            struct row *row = row_at(&queues->rows, handle);
            row->attempts = (uint16_t)n;
            row->due_s = (uint32_t)(queues_now_ns(queues) / NS_PER_S) + 1000 - i;
            queues_row_wait(queues, handle);
        }
    }
    assert_int_equal(ask(EXPLAIN_DOMAIN, "T.TEST"), EXPLAIN_DONE);
    expect_text("/kind", "domain");
    assert_int_equal(number("/queues"), 4);
    assert_int_equal(number("/count"), rows);
    assert_int_equal(number("/attempts"), 3);
    expect_text("/reason", "not_due");
    assert_true(is_time("/next_attempt"));
    assert_int_equal(ask(EXPLAIN_QUEUE, "acme@T.test"), EXPLAIN_DONE);
    assert_int_equal(number("/count"), 6);
    assert_int_equal(ask(EXPLAIN_QUEUE, "T.TEST"), EXPLAIN_UNKNOWN);
    assert_int_equal(ask(EXPLAIN_DOMAIN, "test"), EXPLAIN_UNKNOWN);
    stage_rows_drop(&stage); /* they have no message */
}

static void a23_a_ready_queue_is_told_of_by_its_name(void **state)
{
    (void)state;
    world_set(&stage.world, "shaping.default.max_message_rate=\"1/h\"");
    stage_start(&stage);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(1);
    assert_int_equal(ask(EXPLAIN_QUEUE, SITE), EXPLAIN_DONE);
    expect_text("/kind", "ready");
    expect_text("/reason", "message_rate");
    assert_int_equal(number("/count"), 1);
    assert_true(is_time("/until"));
    expect_text("/options/shaping.max_message_rate/value", "\"1/h\"");
    expect_text("/limits/1/kind", "max_message_rate");
    expect_text("/limits/1/origin", "--set");
}

static void a24_what_an_operator_has_said_stands_in_the_answer(void **state)
{
    (void)state;
    stage_start(&stage);
    struct admin *admin = &stage.world.node.control->admin;
    struct queues *queues = &stage.world.node.mtas[0].queues;
    struct admin_entry entry = {
        .kind = ADMIN_SUSPEND,
        .criteria = {.everything = true},
        .reason = SLICE("they said \"stop\""),
        .until_ns = stage.world.node.control->shard.now_ns + 100 * NS_PER_S,
    };
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(1);
    assert_true(admin_table_add(admin->table, &entry));
    queues_order(queues, queues_at(queues, queues_name(queues, SLICE("t.test"))),
                 QUEUE_SUSPENDED);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(1);
    assert_int_equal(ask(EXPLAIN_QUEUE, "t.test"), EXPLAIN_DONE);
    expect_text("/state", "suspended");
    expect_text("/reason", "suspended_admin");
    expect_text("/detail", "they said \"stop\"");
    assert_true(is_time("/until"));
    admin_table_clear(admin->table);
}

static void a25_a_stop_answers_whoever_has_asked(void **state)
{
    (void)state;
    struct question questions[3];
    stage_start(&stage);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    for (unsigned i = 0; i < COUNT_OF(questions); i++) {
        put(&questions[i], EXPLAIN_QUEUE, "t.test");
    }
    world_stop(&stage.world, 1);
    for (unsigned i = 0; i < COUNT_OF(questions); i++) {
        assert_true(questions[i].answered);
    }
    assert_true(world_start(&stage.world));
}

/* --- what is in the queues -------------------------------------------------------------------- */

static struct id first_id(unsigned shard, uint32_t handle)
{
    struct mta *mta = &stage.world.node.mtas[shard];
    struct id id = {{0}};
    struct message *message =
        messages_find(&mta->messages, row_location(row_at(&mta->queues.rows, handle)));
    if (message != NULL) {
        id = id_with_index(message->id, row_at(&mta->queues.rows, handle)->recipient);
        message_unref(&mta->messages, message);
    }
    return id;
}

static enum explain_status ask_more(enum explain_what what, const char *name, struct id id,
                                    bool wants_body, uint32_t limit)
{
    static uint8_t answer[INSPECT_BYTES_MAX];
    struct question question = {.request = {.what = what,
                                            .name = slice_from_string(name),
                                            .id = id,
                                            .limit = limit,
                                            .wants_body = wants_body,
                                            .done = answered}};
    buf_init(&question.request.answer, answer, sizeof(answer));
    assert_true(explain_ask(&stage.world.node.control->explain, &question.request));
    assert_true(sim_run_until(stage.sim, is_answered, &question, 60 * NS_PER_S));
    if (question.request.status == EXPLAIN_DONE) {
        assert_true(json_read(reader, buf_slice(&question.request.answer)));
    }
    return question.request.status;
}

static const struct id no_id = {{0}};

/* Held by a suspension from the beginning, so that its message is in memory and its id known. */
static struct id suspended_mail(const char *body)
{
    struct queues *queues = &stage.world.node.mtas[0].queues;
    queues_order(queues, queues_at(queues, queues_name(queues, SLICE("t.test"))),
                 QUEUE_SUSPENDED);
    assert_true(stage_mail(&stage, "b@t.test", body));
    run_s(1);
    return first_id(0, queues->rows.fresh - 1);
}

static void a26_a_message_is_shown_by_its_id_from_memory_and_from_the_spool(void **state)
{
    (void)state;
    stage_start(&stage);
    struct id others[3];
    for (unsigned i = 0; i < 3; i++) {
        others[i] = suspended_mail(BODY);
    }
    struct id id = suspended_mail("Subject: mine\r\n\r\n.. dots \x01\r\n");
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(ask_more(INSPECT_MESSAGE, "", id, true, 1), EXPLAIN_DONE);
        expect_text("/message/sender", "a@c.test");
        expect_text("/message/recipient", "b@t.test");
        expect_text("/message/queue", "t.test");
        expect_text("/message/state", "due");
        expect_text("/message/due", NULL);
        expect_text("/message/meta/reception_protocol", "ESMTP");
        assert_int_equal(number("/message/num_attempts"), 0);
        assert_true(is_time("/message/created"));
        expect_text("/message/data", "Subject: mine\r\n\r\n. dots \x01\r\n");
        assert_int_equal(ask_more(INSPECT_MESSAGE, "", id_with_index(id, ID_INDEX_MESSAGE), false,
                                  1),
                         EXPLAIN_DONE);
        assert_int_equal(json_read_kind(reader, "/message/data"), JSON_ABSENT);
        assert_int_equal(ask_more(INSPECT_MESSAGE, "", id_with_index(id, 1), true, 1),
                         EXPLAIN_UNKNOWN);
        assert_int_equal(ask_more(EXPLAIN_ID, "", others[i], false, 1), EXPLAIN_DONE);
        expect_text("/kind", "recipient");
        expect_text("/queue", "t.test");
        expect_text("/reason", "suspended_admin");
        assert_int_equal(number("/count"), 1);
        messages_shed(&stage.world.node.mtas[0].messages, 0);
    }
    id.bytes[0] ^= 1; /* of another age */
    assert_int_equal(ask_more(INSPECT_MESSAGE, "", id, true, 1), EXPLAIN_UNKNOWN);
}

/* There is one message left in memory, and no more. */
static void a26_an_id_that_could_not_be_looked_for_is_not_unknown(void **state)
{
    (void)state;
    stage_start(&stage);
    struct messages *messages = &stage.world.node.mtas[0].messages;
    struct id id = suspended_mail(BODY);
    struct list taken;
    list_init(&taken);
    messages_shed(messages, 0);
    for (struct message *message = message_new(messages); message != NULL;
         message = message_new(messages)) {
        list_push_back(&taken, &message->link);
    }
    assert_int_equal(ask_more(INSPECT_MESSAGE, "", id, false, 1), EXPLAIN_NOT_READ);
    assert_int_equal(ask_more(EXPLAIN_ID, "", id, false, 1), EXPLAIN_NOT_READ);
    struct list *link = list_pop_front(&taken);
    message_unref(messages, CONTAINER_OF(link, struct message, link));
    assert_int_equal(ask_more(INSPECT_MESSAGE, "", id, false, 1), EXPLAIN_DONE);
    expect_text("/message/recipient", "b@t.test");
    messages_shed(messages, 0);
    for (link = list_pop_front(&taken); link != NULL; link = list_pop_front(&taken)) {
        message_unref(messages, CONTAINER_OF(link, struct message, link));
    }
}

/* There are more rows of that time than may be read, and none can be. */
static void a26_no_more_than_so_many_messages_are_read_for_an_id(void **state)
{
    (void)state;
    stage_start(&stage);
    struct queues *queues = &stage.world.node.mtas[0].queues;
    struct id id = suspended_mail(BODY);
    const struct row *first = row_at(&queues->rows, queues->rows.fresh - 1);
    uint32_t before = queues->rows.fresh;
    for (uint32_t i = 0; i < INSPECT_READS_MAX + INSPECT_LOADS_MAX; i++) {
        uint32_t handle = queues_row_new(queues, first->queue);
        struct row *row = row_at(&queues->rows, handle);
        row->created_s = first->created_s;
        row->segment = first->segment;
        row->offset_64 = first->offset_64 + 1 + i; /* where no message begins */
        queues_row_due(queues, handle, false);
    }
    id.bytes[13] ^= 1; /* another one of that time */
    assert_int_equal(ask_more(INSPECT_MESSAGE, "", id, false, 1), EXPLAIN_NOT_READ);
    assert_int_equal(stage.world.node.control->explain.parts[0].inspection.reads,
                     INSPECT_READS_MAX);
    for (uint32_t handle = before; handle < queues->rows.fresh; handle++) {
        queues_row_hold(queues, handle); /* they have no message */
        queues_row_done(queues, handle);
    }
}

static void a27_a_queue_shows_so_many_of_its_messages_and_says_that_there_are_more(void **state)
{
    (void)state;
    stage_start(&stage);
    for (unsigned i = 0; i < 40; i++) {
        (void)suspended_mail(BODY);
    }
    messages_shed(&stage.world.node.mtas[0].messages, 0);
    for (uint32_t limit = 39; limit <= 41; limit++) { /* with one thread the limit cuts there */
        bool cut = false;
        assert_int_equal(ask_more(INSPECT_QUEUE, "t.test", no_id, false, limit), EXPLAIN_DONE);
        assert_int_equal(json_read_count(reader, "/messages"), MIN_OF(limit, 40));
        assert_true(json_read_bool(reader, "/cut_short", &cut));
        assert_int_equal(cut, limit < 40);
        messages_shed(&stage.world.node.mtas[0].messages, 0);
    }
    assert_int_equal(ask_more(INSPECT_QUEUE, "t.test", no_id, true, 30), EXPLAIN_DONE);
    assert_int_equal(json_read_count(reader, "/messages"), 30);
    assert_int_equal(number("/num_scheduled"), 40);
    expect_text("/messages/29/message/data", BODY);
    assert_int_equal(ask_more(INSPECT_QUEUE, "t.test", no_id, false, 1000), EXPLAIN_DONE);
    assert_int_equal(json_read_count(reader, "/messages"), 40);
    expect_text("/reason", "suspended_admin");
    assert_int_equal(ask_more(INSPECT_QUEUE, "u.test", no_id, false, 10), EXPLAIN_UNKNOWN);
}

static void a27_the_parts_of_a_queue_on_all_shards_are_shown_as_one(void **state)
{
    (void)state;
    stage.world.shards = 2;
    stage_start(&stage);
    for (unsigned i = 0; i < 2; i++) {
        struct queues *queues = &stage.world.node.mtas[i].queues;
        queues_order(queues, queues_at(queues, queues_name(queues, SLICE("t.test"))),
                     QUEUE_SUSPENDED);
    }
    for (unsigned i = 0; i < 60; i++) {
        assert_true(stage_mail(&stage, "b@t.test", BODY));
    }
    run_s(1);
    bool cut = false;
    assert_int_equal(ask_more(INSPECT_QUEUE, "t.test", no_id, false, 50), EXPLAIN_DONE);
    assert_int_equal(json_read_count(reader, "/messages"), 50);
    assert_int_equal(number("/num_scheduled"), 60);
    assert_true(json_read_bool(reader, "/cut_short", &cut) && cut);
    assert_int_equal(ask_more(INSPECT_QUEUE, "t.test", no_id, false, 60), EXPLAIN_DONE);
    assert_int_equal(json_read_count(reader, "/messages"), 60);
    assert_true(json_read_bool(reader, "/cut_short", &cut) && !cut);
}

static void a28_large_bodies_are_shown_as_far_as_there_is_room(void **state)
{
    (void)state;
    stage_start(&stage);
    char *body = stage_body(700 * KIB);
    struct id id = suspended_mail(body);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(ask_more(INSPECT_MESSAGE, "", id, true, 1), EXPLAIN_DONE);
        struct slice data = SLICE_NONE;
        bool cut = false;
        assert_true(json_read_string(reader, "/message/data", &data));
        assert_int_equal(data.size, INSPECT_BODY_BYTES);
        assert_memory_equal(data.data, body, data.size);
        assert_true(json_read_bool(reader, "/message/data_cut", &cut) && cut);
        messages_shed(&stage.world.node.mtas[0].messages, 0);
    }
    free(body);
    for (unsigned i = 0; i < 30; i++) {
        char *more = stage_body(60 * KIB);
        (void)suspended_mail(more);
        free(more);
    }
    bool cut = false;
    assert_int_equal(ask_more(INSPECT_QUEUE, "t.test", no_id, true, 1000), EXPLAIN_DONE);
    assert_in_range(json_read_count(reader, "/messages"), 10, 20);
    assert_true(json_read_bool(reader, "/cut_short", &cut) && cut);
}

static void a29_a_ready_queue_shows_its_connections(void **state)
{
    (void)state;
    stage_start(&stage);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(1);
    stage.sink.hold = true;
    assert_int_equal(ask_more(INSPECT_READY, SITE, no_id, false, 100), EXPLAIN_DONE);
    assert_int_equal(json_read_count(reader, "/connections"), 1);
    expect_text("/connections/0/state", "idle");
    expect_text("/connections/0/peer", "10.0.9.9:25");
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(1);
    assert_int_equal(ask_more(INSPECT_READY, SITE, no_id, false, 100), EXPLAIN_DONE);
    expect_text("/connections/0/state", "waiting for the reply to content");
    assert_int_equal(number("/num_ready"), 1);
    assert_int_equal(ask_more(INSPECT_READY, "t.test", no_id, false, 100), EXPLAIN_UNKNOWN);
    sim_peer_send(stage.sink.last, SLICE("250 2.0.0 taken\r\n"));
    run_s(1);
}

static void a30_a_stop_ends_what_is_being_read(void **state)
{
    (void)state;
    stage_start(&stage);
    (void)suspended_mail(BODY);
    messages_shed(&stage.world.node.mtas[0].messages, 0);
    run_s(10); /* nothing else keeps the stop waiting */
    sim_disk_latency_set(stage.world.disk, 2 * NS_PER_S);
    static uint8_t answer[INSPECT_BYTES_MAX];
    struct question question = {.request = {.what = INSPECT_QUEUE,
                                            .name = SLICE("t.test"),
                                            .limit = 10,
                                            .done = answered}};
    buf_init(&question.request.answer, answer, sizeof(answer));
    assert_true(explain_ask(&stage.world.node.control->explain, &question.request));
    assert_true(sim_run_for(stage.sim, 500 * NS_PER_MS));
    world_stop(&stage.world, 1);
    assert_true(question.answered);
    sim_disk_latency_set(stage.world.disk, 0);
    assert_true(world_start(&stage.world));
}

static void the_part_that_waits_the_longest_is_told_of_and_counts_are_sums(void **state)
{
    (void)state;
    static struct explain_found sum;
    static struct explain_found parts[3];
    static const struct cell cells[2];
    parts[0] = (struct explain_found){
        .queues = 1, .recipients = 2, .due = 1, .order = 50, .reason = HOLD_memory,
        .attempts = 7, .limit_count = 1, .limits[0].cell = &cells[0]};
    parts[1] = (struct explain_found){
        .queues = 2, .recipients = 30, .order = 40, .reason = HOLD_dns, .next_due_s = 9,
        .limit_count = 2, .limits = {{.cell = &cells[1]}, {.cell = &cells[0]}}};
    parts[2] = (struct explain_found){
        .queues = 1, .recipients = 400, .order = VIEW_ORDER_BUSY, .next_due_s = 5, .attempts = 1};
    for (unsigned i = 0; i < 3; i++) {
        sum = parts[i];
        explain_found_add(&sum, &parts[(i + 1) % 3]);
        explain_found_add(&sum, &parts[(i + 2) % 3]);
        explain_found_add(&sum, &(struct explain_found){0});
        assert_int_equal(sum.queues, 4);
        assert_int_equal(sum.recipients, 432);
        assert_int_equal(sum.due, 1);
        assert_int_equal(sum.reason, HOLD_dns);
        assert_int_equal(sum.next_due_s, 5);
        assert_int_equal(sum.attempts, 7);
        assert_int_equal(sum.limit_count, 2);
    }
}

/* Texts as long as they can be, and of bytes that JSON has to escape. */
static void the_longest_answer_has_room(void **state)
{
    (void)state;
    static struct explain_found found;
    static uint8_t name[QUEUE_NAME_BYTES_MAX];
    struct explain_request request = {.name = slice_make(name, sizeof(name))};
    memset(&found.name, 1, sizeof(found.name));
    found.name.bytes = sizeof(found.name.text);
    found.detail = found.name;
    found.site = found.name;
    found.response = found.name;
    found.since_ns = found.until_ns = 1;
    found.limit_count = EXPLAIN_LIMITS_MAX;
    for (unsigned i = 0; i < EXPLAIN_LIMITS_MAX; i++) {
        found.limits[i] = (struct explain_limit){
            .kind = "additional_message_rate_throttles", .name = found.name, .rate = true,
            .limit_bytes = RATE_TEXT_MAX, .used = UINT64_MAX, .retry_in_ms = UINT64_MAX};
    }
    for (unsigned i = 0; i < HOLD_REASONS_COUNT; i++) {
        found.times_ms[i] = UINT64_MAX;
    }
    buf_init(&request.answer, memory, sizeof(memory));
    stage_start(&stage); /* whose configuration it is told by */
    const struct shaping_view view = {.shaping = stage.world.conf->shaping};
    explain_put_json(&request, &found, stage.world.conf, &view);
    assert_false(request.answer.overflow);
    assert_true(json_read(reader, buf_slice(&request.answer)));
}

int main(void)
{
#define ON_STAGE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ON_STAGE(a20_a_deferred_queue_tells_when_how_often_and_what_the_server_said),
        ON_STAGE(a20_limits_and_the_last_word_of_a_site_outlive_its_ready_queue),
        ON_STAGE(a20_sources_whose_addresses_are_missing_are_named_without_ready_queues),
        ON_STAGE(a21_a_rate_tells_its_limit_and_until_when),
        ON_STAGE(a22_all_queues_of_a_domain_on_all_shards_are_one_answer),
        ON_STAGE(a23_a_ready_queue_is_told_of_by_its_name),
        ON_STAGE(a24_what_an_operator_has_said_stands_in_the_answer),
        ON_STAGE(a25_a_stop_answers_whoever_has_asked),
        ON_STAGE(a26_a_message_is_shown_by_its_id_from_memory_and_from_the_spool),
        ON_STAGE(a26_an_id_that_could_not_be_looked_for_is_not_unknown),
        ON_STAGE(a26_no_more_than_so_many_messages_are_read_for_an_id),
        ON_STAGE(a27_a_queue_shows_so_many_of_its_messages_and_says_that_there_are_more),
        ON_STAGE(a27_the_parts_of_a_queue_on_all_shards_are_shown_as_one),
        ON_STAGE(a28_large_bodies_are_shown_as_far_as_there_is_room),
        ON_STAGE(a29_a_ready_queue_shows_its_connections),
        ON_STAGE(a30_a_stop_ends_what_is_being_read),
        cmocka_unit_test(the_part_that_waits_the_longest_is_told_of_and_counts_are_sums),
        ON_STAGE(the_longest_answer_has_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
