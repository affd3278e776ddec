#include "tools/top_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/dialogue.h"
#include "tools/top_frame.h"
#include "tools/top_json.h"

#define NOW_NS (1000 * NS_PER_S)

struct rig {
    struct json_reader *reader;
    void *memory[2];
    struct top_model model;
    struct top_frame frame;
    char text[64 * KIB]; /* of the last frame */
};

static int rig_open(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    assert_non_null(rig);
    rig->reader = json_reader_open();
    top_model_init(&rig->model);
    top_frame_init(&rig->frame);
    *state = rig;
    return 0;
}

static int rig_close(void **state)
{
    struct rig *rig = *state;
    json_reader_close(rig->reader);
    top_frame_fini(&rig->frame);
    free(rig->memory[0]);
    free(rig->memory[1]);
    free(rig);
    return 0;
}

static void metrics(struct rig *rig, uint64_t received, uint64_t delivered, uint64_t now_ns)
{
    char json[1024];
    snprintf(json, sizeof(json),
             "{\"total_messages_received\":{\"value\":{\"service\":{\"esmtp_listener\":%llu,"
             "\"http_listener\":1}}},\"total_messages_delivered\":{\"value\":{\"service\":"
             "{\"smtp_client\":%llu}}},\"connection_count\":{\"value\":{\"service\":"
             "{\"esmtp_listener\":12}}},\"ringpost_shards\":{\"value\":2},"
             "\"memory_usage\":{\"value\":34603008},\"odd\":[],\"memory_limit\":{\"value\":null}}",
             (unsigned long long)received, (unsigned long long)delivered);
    const struct json_value *answer =
        dialogue_parse(rig->reader, slice_from_string(json), &rig->memory[0]);
    assert_non_null(answer);
    top_model_take_metrics(&rig->model, answer, now_ns);
}

static const char queues_json[] =
    "{\"kind\":\"scheduled\",\"queues\":["
    "{\"name\":\"big.test\",\"count\":12345,\"due\":10,\"state\":\"waiting\","
    "\"reason\":\"not_due\",\"since\":\"2026-11-22T10:00:00Z\",\"site\":\"s\"},"
    "{\"name\":\"evil\\u001b[31m.test\",\"count\":99,\"due\":99,\"state\":\"suspended\","
    "\"reason\":\"suspended_admin\",\"since\":\"2026-11-22T11:59:30Z\",\"site\":null},"
    "{\"name\":\"a-very-long-name-of-a-domain-that-does-not-end.example.org\",\"count\":7,"
    "\"due\":0,\"state\":\"moving\",\"reason\":\"none\",\"since\":null,\"site\":null},"
    "{}],\"total_queues\":5,\"total_count\":12452,\"others\":{\"queues\":1,\"count\":1},"
    "\"reasons\":{\"none\":{\"queues\":1,\"count\":7},\"not_due\":{\"queues\":1,\"count\":12345},"
    "\"empty\":{\"queues\":1,\"count\":0}},\"now\":\"2026-11-22T12:00:00Z\"}";

static void queues(struct rig *rig)
{
    void *memory = NULL;
    const struct json_value *answer =
        dialogue_parse(rig->reader, slice_from_string(queues_json), &memory);
    assert_non_null(answer);
    top_model_take_queues(&rig->model, answer);
    free(rig->memory[1]);
    rig->memory[1] = memory;
}

static const char *draw(struct rig *rig, unsigned columns, unsigned lines)
{
    size_t size = 0;
    top_frame_make(&rig->frame, &rig->model, "127.0.0.1:8000",
                   (struct top_size){.columns = columns, .lines = lines}, NOW_NS);
    for (unsigned i = 0; i < rig->frame.line_count; i++) {
        struct slice line = top_frame_line(&rig->frame, i);
        assert_true(size + line.size + 2 < sizeof(rig->text));
        memcpy(rig->text + size, line.data, line.size);
        size += line.size;
        rig->text[size++] = '\n';
    }
    rig->text[size] = 0;
    return rig->text;
}

static bool key(struct rig *rig, enum top_key code)
{
    return top_model_key(&rig->model, code, 0, 2);
}

static bool letters(struct rig *rig, const char *text)
{
    bool goes_on = true;
    for (size_t i = 0; text[i] != 0; i++) {
        goes_on = top_model_key(&rig->model, TOP_KEY_TEXT, (uint8_t)text[i], 2);
    }
    return goes_on;
}

static void assert_shows(struct rig *rig, const char *part)
{
    const char *shown = draw(rig, 100, 0);
    if (strstr(shown, part) == NULL) {
        fail_msg("no \"%s\" in\n%s", part, shown);
    }
}

static void a_rate_is_what_came_in_the_time_that_passed(void **state)
{
    struct rig *rig = *state;
    metrics(rig, 1000, 500, NOW_NS);
    assert_int_equal(rig->model.history_count, 0);
    metrics(rig, 1250, 500, NOW_NS + 2 * NS_PER_S + NS_PER_S / 2);
    assert_int_equal(rig->model.history_count, 1);
    assert_true(rig->model.history[TOP_IN][0] == 100.0);
    assert_true(rig->model.history[TOP_OUT][0] == 0.0);
    metrics(rig, 1251, 501, NOW_NS + 2 * NS_PER_S + NS_PER_S / 2 + 1000); /* at once: no rate */
    assert_int_equal(rig->model.history_count, 1);
    assert_shows(rig, "in             100/s █\n");
    assert_shows(rig, "clients 12  memory 33.0 MiB  shards 2\n");
}

/* Two threads; the second has taken `received`. */
static void threads(struct rig *rig, uint64_t received, uint64_t now_ns)
{
    char json[1024];
    snprintf(json, sizeof(json),
             "{\"ringpost_thread_recipients_received_total\":{\"value\":{\"thread\":{\"shard-0\":5,"
             "\"shard-1\":%llu}}},\"ringpost_thread_deliveries_total\":{\"value\":7},"
             "\"ringpost_thread_clients\":{\"value\":{\"thread\":{\"shard-0\":3,\"shard-1\":4}}},"
             "\"ringpost_thread_busy_percent\":{\"value\":{\"thread\":{\"shard-0\":1,"
             "\"shard-1\":99}}}}",
             (unsigned long long)received);
    const struct json_value *answer =
        dialogue_parse(rig->reader, slice_from_string(json), &rig->memory[0]);
    assert_non_null(answer);
    top_model_take_metrics(&rig->model, answer, now_ns);
}

static void each_thread_has_rates_of_its_own(void **state)
{
    struct rig *rig = *state;
    metrics(rig, 1000, 0, NOW_NS - NS_PER_S); /* a server that does not tell of threads */
    assert_true(letters(rig, "t"));
    assert_shows(rig, "\nthreads\n");
    assert_null(strstr(draw(rig, 100, 0), "shard-0"));
    top_model_lost(&rig->model, "away", NOW_NS - NS_PER_S);
    threads(rig, 100, NOW_NS);
    assert_shows(rig, "shard-1   0.0    0.0         0.0        0.0        4  99 %\n");
    threads(rig, 600, NOW_NS + 2 * NS_PER_S);
    assert_shows(rig, "thread   in/s  out/s  deferred/s  bounced/s  clients  busy\n");
    assert_shows(rig, "shard-0   0.0    0.0         0.0        0.0        3   1 %\n");
    assert_shows(rig, "shard-1   250    0.0         0.0        0.0        4  99 %\n");
    assert_true(key(rig, TOP_KEY_LAST));
    assert_int_equal(rig->model.top_row, 0); /* both have room */
    assert_true(letters(rig, "t"));
    assert_shows(rig, "scheduled queues by count");
    threads(rig, 10, NOW_NS + 3 * NS_PER_S); /* started again */
    assert_true(rig->model.threads[1].rates[TOP_IN] == 0);
}

static void a_reading_is_a_line_of_json(void **state)
{
    struct rig *rig = *state;
    static uint8_t bytes[TOP_JSON_BYTES];
    struct buf line;
    buf_init(&line, bytes, sizeof(bytes));
    top_json_put(&line, &rig->model);
    assert_true(slice_starts_with(buf_slice(&line), SLICE("{\"in\":null,\"out\":null,")));
    threads(rig, 100, NOW_NS);
    threads(rig, 600, NOW_NS + 2 * NS_PER_S);
    buf_reset(&line);
    top_json_put(&line, &rig->model);
    assert_true(slice_equal(
        buf_slice(&line),
        SLICE("{\"in\":0.0,\"out\":0.0,\"deferred\":0.0,\"bounced\":0.0,\"clients\":null,"
              "\"servers\":null,\"shards\":null,\"memory_used\":null,\"memory_limit\":null,"
              "\"queued\":null,\"ready\":null,\"spool_free_percent\":null,\"threads\":["
              "{\"name\":\"shard-0\",\"in\":0.0,\"out\":0.0,\"deferred\":0.0,\"bounced\":0.0,"
              "\"clients\":3,\"busy_percent\":1},"
              "{\"name\":\"shard-1\",\"in\":250.0,\"out\":0.0,\"deferred\":0.0,\"bounced\":0.0,"
              "\"clients\":4,\"busy_percent\":99}]}\n")));
}

static void a_server_that_has_started_again_has_no_rate_from_before(void **state)
{
    struct rig *rig = *state;
    metrics(rig, 1000, 0, NOW_NS);
    metrics(rig, 10, 0, NOW_NS + NS_PER_S);
    assert_int_equal(rig->model.history_count, 0);
    metrics(rig, 30, 0, NOW_NS + 2 * NS_PER_S);
    assert_int_equal(rig->model.history_count, 1);
    assert_true(rig->model.history[TOP_IN][0] == 20.0);
}

static void a_server_that_goes_away_is_said_to_be_lost_and_comes_back(void **state)
{
    struct rig *rig = *state;
    metrics(rig, 1000, 0, NOW_NS - 20 * NS_PER_S);
    queues(rig);
    top_model_lost(&rig->model, "nobody listens \x1b[31m", NOW_NS - 12 * NS_PER_S);
    top_model_lost(&rig->model, "nobody listens \x1b[31m", NOW_NS);
    assert_shows(rig, "NO ANSWER for 12s: nobody listens \\u001b[31m");
    assert_shows(rig, "big.test");
    metrics(rig, 9000, 0, NOW_NS + NS_PER_S); /* of an unknown time: no rate */
    assert_int_equal(rig->model.history_count, 0);
    assert_null(strstr(draw(rig, 100, 0), "NO ANSWER"));
}

static void a_listing_that_does_not_come_stops_no_rates(void **state)
{
    struct rig *rig = *state;
    metrics(rig, 1000, 0, NOW_NS);
    queues(rig);
    top_model_no_queues(&rig->model, "503 too many \x1b questions");
    metrics(rig, 1010, 0, NOW_NS + NS_PER_S);
    assert_shows(rig, "scheduled queues by count: 503 too many \\u001b questions\n");
    assert_shows(rig, "in            10.0/s");
    assert_shows(rig, "big.test");
    queues(rig);
    assert_shows(rig, "scheduled queues by count\n");
}

static void history_keeps_the_last_minutes(void **state)
{
    struct rig *rig = *state;
    uint64_t received = 0;
    for (unsigned i = 0; i <= TOP_HISTORY + 5; i++) {
        received += i;
        metrics(rig, received, 0, NOW_NS + i * NS_PER_S);
    }
    assert_int_equal(rig->model.history_count, TOP_HISTORY);
    assert_true(rig->model.history[TOP_IN][TOP_HISTORY - 1] == TOP_HISTORY + 5);
    assert_true(rig->model.history[TOP_IN][0] == 6);
}

static void sparks_are_as_high_as_the_largest(void **state)
{
    static const double values[] = {9, 0, 1, 4, 8};
    uint8_t bytes[64];
    struct buf buf;
    (void)state;
    buf_init(&buf, bytes, sizeof(bytes));
    top_frame_spark(&buf, values, 5, 4);
    assert_true(slice_equal(buf_slice(&buf), SLICE(" ▂▅█")));
    buf_reset(&buf);
    top_frame_spark(&buf, values, 0, 4);
    top_frame_spark(&buf, values, 5, 0);
    assert_int_equal(buf.size, 0);
}

static void queues_are_shown_the_largest_first(void **state)
{
    struct rig *rig = *state;
    queues(rig);
    assert_shows(rig, "12,452 recipients in 5 queues: 12,345 not_due, 7 none\n");
    assert_shows(rig, "scheduled queues by count\n");
    assert_shows(rig, "   count  due  state      reason           for\n");
    assert_shows(rig, "  12,345   10  waiting    not_due           2h\n");
    assert_shows(rig, "      99   99  suspended  suspended_admin  30s\n");
    assert_true(letters(rig, "s"));
    assert_string_equal(top_model_order_name(rig->model.order), "due");
    assert_int_equal(rig->model.rows[0], 1);
    assert_true(letters(rig, "s"));
    assert_int_equal(rig->model.rows[0], 0); /* the longest waiting */
    assert_int_equal(rig->model.rows[3], 3); /* not known: behind all others */
    assert_true(letters(rig, "sr"));
    assert_int_equal(rig->model.rows[1], 2);
    assert_shows(rig, "ready queues by name\n");
    assert_null(strstr(draw(rig, 100, 0), "big.test")); /* they are not those */
}

static void o01_no_name_of_a_queue_moves_the_cursor(void **state)
{
    struct rig *rig = *state;
    queues(rig);
    assert_shows(rig, "evil\\u001b[31m.test");
    assert_null(strchr(draw(rig, 100, 0), '\x1b'));
}

static void a_filter_leaves_what_has_it(void **state)
{
    struct rig *rig = *state;
    queues(rig);
    assert_true(letters(rig, "/BIGq"));
    assert_shows(rig, "with /BIGq_");
    assert_int_equal(rig->model.row_count, 0);
    assert_true(key(rig, TOP_KEY_ERASE));
    assert_int_equal(rig->model.row_count, 1);
    assert_true(key(rig, TOP_KEY_ENTER));
    assert_shows(rig, "with /BIG\n");
    assert_true(key(rig, TOP_KEY_ESCAPE));
    assert_int_equal(rig->model.row_count, 4);
    assert_true(letters(rig, "/\xc3\xa9"));
    assert_true(key(rig, TOP_KEY_ERASE)); /* a whole character */
    assert_string_equal(rig->model.filter, "");
    assert_true(key(rig, TOP_KEY_ENTER));
    assert_false(letters(rig, "q"));
}

static void scrolling_ends_at_both_ends(void **state)
{
    struct rig *rig = *state;
    queues(rig);
    assert_true(key(rig, TOP_KEY_UP));
    assert_int_equal(rig->model.top_row, 0);
    assert_true(key(rig, TOP_KEY_DOWN));
    assert_int_equal(rig->model.top_row, 1);
    assert_true(key(rig, TOP_KEY_PAGE_DOWN));
    assert_int_equal(rig->model.top_row, 2); /* two of four have room */
    assert_true(key(rig, TOP_KEY_FIRST));
    assert_true(key(rig, TOP_KEY_LAST));
    assert_int_equal(rig->model.top_row, 2);
    assert_true(letters(rig, "/big"));
    assert_int_equal(rig->model.top_row, 0);
}

static void every_size_has_a_frame_that_fits(void **state)
{
    struct rig *rig = *state;
    metrics(rig, 1000, 0, NOW_NS);
    metrics(rig, 1500, 0, NOW_NS + NS_PER_S);
    queues(rig);
    for (unsigned lines = 1; lines <= 40; lines++) {
        for (unsigned columns = TOP_COLUMNS_MIN; columns <= 130; columns++) {
            (void)draw(rig, columns, lines);
            assert_true(rig->frame.line_count <= lines);
            for (unsigned i = 0; i < rig->frame.line_count; i++) {
                assert_true(readable_width(top_frame_line(&rig->frame, i)) <= columns);
            }
        }
    }
    assert_string_equal(draw(rig, 40, 10),
                        "ringpost top  127.0.0.1:8000   q quit  /\n"
                        "in             500/s █\n"
                        "out            0.0/s\n"
                        "deferred 0.0/s  bounced 0.0/s  clients 1\n"
                        "scheduled queues by count\n"
                        "queue             count  reason\n"
                        "big.test         12,345  not_due\n"
                        "evil\\u001b[31m…      99  suspended_admin\n"
                        "a-very-long-na…       7  none\n"
                        "-                     0  -\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_rate_is_what_came_in_the_time_that_passed, rig_open,
                                        rig_close),
        cmocka_unit_test_setup_teardown(each_thread_has_rates_of_its_own, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(a_reading_is_a_line_of_json, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(a_server_that_has_started_again_has_no_rate_from_before,
                                        rig_open, rig_close),
        cmocka_unit_test_setup_teardown(a_server_that_goes_away_is_said_to_be_lost_and_comes_back,
                                        rig_open, rig_close),
        cmocka_unit_test_setup_teardown(a_listing_that_does_not_come_stops_no_rates, rig_open,
                                        rig_close),
        cmocka_unit_test_setup_teardown(history_keeps_the_last_minutes, rig_open, rig_close),
        cmocka_unit_test(sparks_are_as_high_as_the_largest),
        cmocka_unit_test_setup_teardown(queues_are_shown_the_largest_first, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(o01_no_name_of_a_queue_moves_the_cursor, rig_open,
                                        rig_close),
        cmocka_unit_test_setup_teardown(a_filter_leaves_what_has_it, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(scrolling_ends_at_both_ends, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(every_size_has_a_frame_that_fits, rig_open, rig_close),
    };
    readable_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
