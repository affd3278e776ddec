/* Records of others: what the engine sees of them, and what is no record. */
#include "tsa/publish.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "core/event.h"
#include "core/json_read.h"

static struct heap heap;
static struct publish publish;

static int setup(void **state)
{
    (void)state;
    heap_init(&heap);
    publish_init(&publish, &heap);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    publish_fini(&publish);
    heap_fini(&heap);
    return 0;
}

static void check(struct slice got, const char *want)
{
    if (!slice_equal(got, slice_from_string(want))) {
        fail_msg("\"%.*s\", not \"%s\"", (int)got.size, (const char *)got.data, want);
    }
}

/* A record as KumoMTA's log has it, with much that means nothing here. */
#define KUMO                                                                                       \
    "{\"type\":\"TransientFailure\",\"id\":\"d7ef132b5d7711eea8c8000c29c33806\","                  \
    "\"sender\":\"a@s.test\",\"recipient\":\"User@Example.COM\","                                  \
    "\"queue\":\"sale:acme@example.com\",\"site\":\"ip-1->(mx1|mx2).example.com@smtp_client\","    \
    "\"size\":1047,\"response\":{\"code\":451,\"enhanced_code\":"                                  \
    "{\"class\":4,\"subject\":7,\"detail\":650},\"content\":\"slow\\r\\ndown\","                   \
    "\"command\":\".\"},\"peer_address\":{\"name\":\"mx1.example.com.\",\"addr\":\"10.0.0.1\"},"   \
    "\"timestamp\":1757000000,\"created\":1756999999,\"num_attempts\":0,"                          \
    "\"bounce_classification\":\"Uncategorized\",\"egress_pool\":\"p\","                           \
    "\"egress_source\":\"ip-1\",\"source_address\":null,\"feedback_report\":null,"                 \
    "\"meta\":{\"a\":[1,{\"b\":null}]},\"headers\":{\"Subject\":\"x\"},"                           \
    "\"delivery_protocol\":\"ESMTP\",\"reception_protocol\":\"ESMTP\","                            \
    "\"nodeid\":\"557f3ad4-2c8c-11ee-976e-782d7e12e173\"}"

static void a_record_of_kumomta_is_what_the_engine_wants(void **state)
{
    struct automation_record record;
    const char *fault;
    (void)state;
    assert_int_equal(publish_read(&publish, SLICE(KUMO), &record, &fault), PUBLISH_TAKEN);
    assert_null(fault);
    assert_true(record.wall_ns == 1757000000 * NS_PER_S);
    check(record.response, "451 4.7.650 slow  down");
    check(record.site, "ip-1->(mx1|mx2).example.com@smtp_client");
    check(record.source, "ip-1");
    check(record.domain, "example.com");
    check(record.tenant, "acme");
    check(record.campaign, "sale");
    assert_int_equal(record.group_count, 0);
}

static void a_record_of_our_own_log_says_the_same_as_its_event(void **state)
{
    static uint8_t memory[EVENT_JSON_BYTES_MAX];
    struct buf text;
    struct automation_record record;
    const char *fault;
    const struct event event = {
        .type = EVENT_BOUNCE,
        .code = 550,
        .enhanced = {5, 1, 1},
        .wall_ns = 1757000000123 * NS_PER_MS,
        .recipient = SLICE("u@b.test"),
        .queue = SLICE("b.test"),
        .site = SLICE("unspecified->mx.b.test@smtp_client"),
        .content = SLICE("no such user\nhere"),
    };
    uint8_t reply[64];
    struct buf line;
    (void)state;
    buf_init(&line, reply, sizeof(reply));
    event_put_reply(&line, &event);
    buf_init(&text, memory, sizeof(memory));
    event_put_json(&text, &event);
    assert_int_equal(publish_read(&publish, buf_slice(&text), &record, &fault), PUBLISH_TAKEN);
    assert_true(record.wall_ns == event.wall_ns);
    assert_true(slice_equal(record.response, buf_slice(&line)));
    check(record.source, "unspecified");
    check(record.domain, "b.test");
    check(record.tenant, "");
    check(record.campaign, "");
}

#define R(members) "{\"type\":\"Bounce\"," members "}"
#define RESPONSE   "\"response\":{\"code\":550,\"content\":\"no\"}"
#define AT         "\"timestamp\":1757000000,"
#define TO         "\"recipient\":\"a@b.test\","

static const struct {
    const char *text;
    const char *response, *domain;
    uint64_t wall_ns;
} taken[] = {
    {R(AT TO RESPONSE), "550 no", "b.test", 1757000000 * NS_PER_S},
    {R("\"timestamp\":1757000000.5," TO RESPONSE), "550 no", "b.test",
     1757000000 * NS_PER_S + NS_PER_S / 2},
    {R("\"timestamp\":0," TO RESPONSE), "550 no", "b.test", 0},
    {R("\"timestamp\":9000000000000000000," TO RESPONSE), "550 no", "b.test", UINT64_MAX},
    {R("\"timestamp\":1e300," TO RESPONSE), "550 no", "b.test", UINT64_MAX},
    {R(AT "\"timestamp_ms\":1757000000007," TO RESPONSE), "550 no", "b.test",
     1757000000007 * NS_PER_MS},
    {R(AT "\"timestamp_ms\":-1," TO RESPONSE), "550 no", "b.test", 1757000000 * NS_PER_S},
    {R(AT "\"recipient\":[\"a@B.test.\",\"c@d.test\"]," RESPONSE), "550 no", "b.test",
     1757000000 * NS_PER_S},
    {R(AT "\"recipient\":\"postmaster\"," RESPONSE), "550 no", "", 1757000000 * NS_PER_S},
    {R(AT TO "\"response\":{\"code\":250,\"enhanced_code\":null}"), "250 ", "b.test",
     1757000000 * NS_PER_S},
    {R(AT TO "\"site\":null,\"queue\":null,\"egress_source\":null," RESPONSE), "550 no", "b.test",
     1757000000 * NS_PER_S},
};

static void what_may_be_missing_or_otherwise_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(taken); i++) {
        struct automation_record record;
        const char *fault;
        if (publish_read(&publish, slice_from_string(taken[i].text), &record, &fault) !=
            PUBLISH_TAKEN) {
            fail_msg("%s: %s", taken[i].text, fault);
        }
        check(record.response, taken[i].response);
        check(record.domain, taken[i].domain);
        check(record.source, "unspecified");
        assert_true(record.wall_ns == taken[i].wall_ns);
    }
}

static const struct {
    const char *text;
    const char *fault;
} bad[] = {
    {"", "not one JSON document"},
    {"{", "not one JSON document"},
    {"{}{}", "not one JSON document"},
    {"[]", "type is missing, or no text"},
    {"\"Bounce\"", "type is missing, or no text"},
    {"{}", "type is missing, or no text"},
    {"{\"type\":7}", "type is missing, or no text"},
    {"{\"type\":\"bounce\"}", "type is none of the log's"},
    {"{\"type\":\"Bounces\"}", "type is none of the log's"},
    {"{\"type\":\"Reception\",\"type\":\"Bounce\"}", "a key stands twice in an object"},
    {"{\"type\":\"B\xFFunce\"}", "a string is not UTF-8, has a bad escape, or holds NUL"},
    {R(TO RESPONSE), "timestamp is missing, or no seconds since 1970"},
    {R("\"timestamp\":\"now\"," TO RESPONSE), "timestamp is missing, or no seconds since 1970"},
    {R("\"timestamp\":-1," TO RESPONSE), "timestamp is missing, or no seconds since 1970"},
    {R("\"timestamp\":-0.5," TO RESPONSE), "timestamp is missing, or no seconds since 1970"},
    {R(AT RESPONSE), "recipient is missing, or no text"},
    {R(AT "\"recipient\":[]," RESPONSE), "recipient is missing, or no text"},
    {R(AT "\"recipient\":[7]," RESPONSE), "recipient is missing, or no text"},
    {R(AT "\"recipient\":{}," RESPONSE), "recipient is missing, or no text"},
    {R(AT TO "\"response\":null"), "response is missing, or no object"},
    {R(AT TO "\"response\":\"550 no\""), "response is missing, or no object"},
    {R(AT TO "\"response\":{\"content\":\"no\"}"), "response.code is missing, or no reply code"},
    {R(AT TO "\"response\":{\"code\":1000}"), "response.code is missing, or no reply code"},
    {R(AT TO "\"response\":{\"code\":-1}"), "response.code is missing, or no reply code"},
    {R(AT TO "\"response\":{\"code\":550.5}"), "response.code is missing, or no reply code"},
    {R(AT TO "\"response\":{\"code\":550,\"content\":[]}"), "response.content is no text"},
    {R(AT TO "\"response\":{\"code\":550,\"enhanced_code\":\"5.1.1\"}"),
     "response.enhanced_code is no class, subject and detail"},
    {R(AT TO "\"response\":{\"code\":550,\"enhanced_code\":{\"class\":5,\"subject\":1}}"),
     "response.enhanced_code is no class, subject and detail"},
    {R(AT TO "\"site\":7," RESPONSE), "site is no text"},
    {R(AT TO "\"queue\":[]," RESPONSE), "queue is no text"},
    {R(AT TO "\"egress_source\":7," RESPONSE), "egress_source is neither a text nor null"},
};

static void at30_what_is_no_record_is_refused_with_a_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct automation_record record;
        const char *fault;
        assert_int_equal(
            publish_read(&publish, slice_from_string(bad[i].text), &record, &fault), PUBLISH_BAD);
        if (strcmp(fault, bad[i].fault) != 0) {
            fail_msg("%s: %s", bad[i].text, fault);
        }
    }
}

#define BOUNCED(rest)                                                                              \
    "{\"type\":\"OOB\",\"timestamp\":1,\"recipient\":\"a@far.test\",\"queue\":\"b.test\","      \
    "\"response\":{\"code\":550,\"content\":\"gone\"}" rest "}"
#define SIGNED "\"0198f0c0de0070008000000000000001\""

static void d10_of_reports_those_that_are_signed_are_taken(void **state)
{
    static const struct {
        const char *text;
        bool taken;
    } rows[] = {
        {BOUNCED(",\"reference\":{\"state\":\"valid\",\"id\":" SIGNED "}"), true},
        {BOUNCED(""), false},
        {BOUNCED(",\"reference\":null"), false},
        {BOUNCED(",\"reference\":\"valid\""), false},
        {BOUNCED(",\"reference\":{\"state\":\"valid\"}"), false},
        {BOUNCED(",\"reference\":{\"state\":\"valid\",\"id\":\"1\"}"), false},
        {BOUNCED(",\"reference\":{\"state\":\"valid\",\"id\":7}"), false},
        {BOUNCED(",\"reference\":{\"state\":1,\"id\":" SIGNED "}"), false},
        {BOUNCED(",\"reference\":{\"id\":" SIGNED "}"), false},
        {BOUNCED(",\"reference\":{\"state\":\"none\",\"id\":" SIGNED "}"), false},
        {BOUNCED(",\"reference\":{\"state\":\"forged\",\"id\":" SIGNED "}"), false},
        {BOUNCED(",\"reference\":{\"state\":\"expired\",\"id\":" SIGNED "}"), false},
        {BOUNCED(",\"reference\":{\"state\":\"elsewhere\",\"id\":" SIGNED "}"), false},
        {BOUNCED(",\"reference\":{\"state\":\"repeated\",\"id\":" SIGNED "}"), false},
        {"{\"type\":\"Feedback\",\"timestamp\":1,\"recipient\":\"a@far.test\","
         "\"response\":{\"code\":250,\"content\":\"\"},"
         "\"reference\":{\"state\":\"valid\",\"id\":" SIGNED "}}", false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct automation_record record;
        const char *fault;
        enum publish_result result =
            publish_read(&publish, slice_from_string(rows[i].text), &record, &fault);
        if (result != (rows[i].taken ? PUBLISH_TAKEN : PUBLISH_SKIPPED)) {
            fail_msg("%s: %s", rows[i].text, fault == NULL ? "no fault" : fault);
        }
        assert_int_equal(record.has_reference, rows[i].taken);
        assert_true(!rows[i].taken || record.reference.bytes[15] == 1);
    }
}

static void types_that_tell_nothing_are_skipped(void **state)
{
    static const char *const skipped[] = {"Reception", "Rejection", "AdminRebind",
                                          "DeferredInjectionRebind", "Delayed", "XferIn",
                                          "XferOut", "OOB", "Feedback"};
    static const char *const others[] = {"Delivery", "Bounce", "TransientFailure", "Expiration",
                                         "AdminBounce"};
    struct automation_record record;
    const char *fault;
    char text[256];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(skipped); i++) {
        (void)snprintf(text, sizeof(text), "{\"type\":\"%s\",\"timestamp\":1}", skipped[i]);
        assert_int_equal(publish_read(&publish, slice_from_string(text), &record, &fault),
                         PUBLISH_SKIPPED);
    }
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        (void)snprintf(text, sizeof(text), "{\"type\":\"%s\"," AT TO RESPONSE "}", others[i]);
        assert_int_equal(publish_read(&publish, slice_from_string(text), &record, &fault),
                         PUBLISH_TAKEN);
    }
    for (unsigned i = 0; i < EVENT_TYPES; i++) {
        (void)snprintf(text, sizeof(text), "{\"type\":\"%s\"," AT TO RESPONSE "}",
                       event_type_name((enum event_type)i));
        assert_int_not_equal(publish_read(&publish, slice_from_string(text), &record, &fault),
                             PUBLISH_BAD);
    }
}

static void at30_what_is_too_large_is_cut_or_refused(void **state)
{
    struct automation_record record;
    const char *fault;
    struct buf text;
    size_t capacity = PUBLISH_RECORD_BYTES_MAX + 1;
    void *memory = heap_take(&heap, capacity);
    (void)state;
    buf_init(&text, memory, capacity);
    buf_put(&text, SLICE("{\"type\":\"Bounce\"," AT TO));
    buf_put(&text, SLICE("\"response\":{\"code\":550,\"content\":\""));
    memset(buf_reserve(&text, 900 * KIB), 'x', 900 * KIB);
    buf_put(&text, SLICE("\"}}"));
    assert_int_equal(publish_read(&publish, buf_slice(&text), &record, &fault), PUBLISH_TAKEN);
    assert_int_equal(record.response.size, PUBLISH_RESPONSE_BYTES_MAX);

    memset(memory, ' ', capacity);
    assert_int_equal(publish_read(&publish, slice_make(memory, capacity), &record, &fault),
                     PUBLISH_BAD);
    assert_string_equal(fault, "the record is too long");

    buf_reset(&text);
    buf_put(&text, SLICE("{\"type\":\"Bounce\"," AT RESPONSE ",\"recipient\":\"a@"));
    memset(buf_reserve(&text, PUBLISH_DOMAIN_BYTES_MAX + 1), 'x', PUBLISH_DOMAIN_BYTES_MAX + 1);
    buf_put(&text, SLICE("\"}"));
    assert_int_equal(publish_read(&publish, buf_slice(&text), &record, &fault), PUBLISH_BAD);
    assert_string_equal(fault, "recipient has a domain that is too long");

    buf_reset(&text);
    buf_put(&text, SLICE("{\"meta\":[1"));
    while (buf_room(&text) > 4) {
        buf_put(&text, SLICE(",1"));
    }
    buf_put(&text, SLICE("]}"));
    assert_int_equal(publish_read(&publish, buf_slice(&text), &record, &fault), PUBLISH_BAD);
    assert_string_equal(fault, "too many values");
}

/* --- batches ---------------------------------------------------------------------------------- */

static void count(void *context, struct automation_record *record)
{
    assert_true(record->response.size > 0);
    ++*(unsigned *)context;
}

static void at30_a_bad_line_is_told_and_the_batch_goes_on(void **state)
{
    static const char text[] = KUMO "\r\n"
                               "\n"
                               "{\n"
                               "{\"type\":\"Reception\",\"timestamp\":1}\n"
                               " \t\r\n"
                               "{\"type\":\"X\"}\n" KUMO;
    (void)state;
    for (uint32_t step = 1; step < 9; step++) {
        struct publish_batch batch;
        unsigned got = 0;
        unsigned steps = 1;
        uint8_t memory[PUBLISH_ANSWER_BYTES_MAX];
        struct buf answer;
        publish_batch_begin(&batch, slice_make(text, sizeof(text) - 1));
        while (publish_batch_step(&batch, &publish, step, count, &got)) {
            steps++;
        }
        assert_int_equal(steps, (7 + step - 1) / step);
        assert_int_equal(got, 2);
        buf_init(&answer, memory, sizeof(memory));
        publish_batch_put_json(&batch, &answer);
        check(buf_slice(&answer),
              "{\"accepted\":3,\"rejected\":["
              "{\"line\":3,\"error\":\"not one JSON document\"},"
              "{\"line\":6,\"error\":\"type is none of the log's\"}]}");
    }
}

static void at30_an_answer_tells_of_so_many_lines_and_counts_the_rest(void **state)
{
    static uint8_t text[2 * 1000];
    static uint8_t memory[PUBLISH_ANSWER_BYTES_MAX];
    struct publish_batch batch;
    struct buf answer;
    unsigned got = 0;
    uint64_t number;
    struct json_reader *reader = json_reader_open();
    (void)state;
    for (size_t i = 0; i < sizeof(text); i += 2) {
        memcpy(text + i, "x\n", 2);
    }
    publish_batch_begin(&batch, slice_make(text, sizeof(text)));
    assert_false(publish_batch_step(&batch, &publish, 2000, count, &got));
    buf_init(&answer, memory, sizeof(memory));
    publish_batch_put_json(&batch, &answer);
    assert_false(answer.overflow);
    assert_true(json_read(reader, buf_slice(&answer)));
    assert_int_equal(json_read_count(reader, "/rejected"), PUBLISH_REJECTED_MAX);
    assert_true(json_read_u64(reader, "/rejected_count", &number));
    assert_int_equal(number, 1000);
    assert_true(json_read_u64(reader, "/rejected/99/line", &number));
    assert_int_equal(number, 100);
    json_reader_close(reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_of_kumomta_is_what_the_engine_wants),
        cmocka_unit_test(a_record_of_our_own_log_says_the_same_as_its_event),
        cmocka_unit_test(what_may_be_missing_or_otherwise_is),
        cmocka_unit_test(at30_what_is_no_record_is_refused_with_a_reason),
        cmocka_unit_test(d10_of_reports_those_that_are_signed_are_taken),
        cmocka_unit_test(types_that_tell_nothing_are_skipped),
        cmocka_unit_test(at30_what_is_too_large_is_cut_or_refused),
        cmocka_unit_test(at30_a_bad_line_is_told_and_the_batch_goes_on),
        cmocka_unit_test(at30_an_answer_tells_of_so_many_lines_and_counts_the_rest),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
