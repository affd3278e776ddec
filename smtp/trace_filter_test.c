#include "smtp/trace_filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "smtp/client_session.h"

static _Alignas(ARENA_ALIGNMENT) uint8_t memory[TRACE_FILTER_BYTES_MAX];

static const char *read_filter(struct trace_filter *filter, enum trace_side side, const char *json)
{
    struct arena arena;
    arena_init(&arena, memory, sizeof(memory));
    return trace_filter_read(filter, side, slice_from_string(json), &arena);
}

static void what_a_filter_does_not_have_is_named(void **state)
{
    static const struct {
        enum trace_side side;
        const char *json;
        bool sound;
    } rows[] = {
        {TRACE_SERVER, "{}", true},
        {TRACE_SERVER, "{\"source\":[\"10.0.0.0/8\",\"::1\"],\"terse\":true}", true},
        {TRACE_SERVER, "{\"source\":null,\"only_new\":null}", true},
        {TRACE_CLIENT, "{\"domain\":\"x.test\",\"rcpt_to\":[\"a@x.test\"]}", true},
        {TRACE_CLIENT, "{\"mx_addr\":\"::/0\"}", true},
        {TRACE_CLIENT, "{\"source_addr\":\"10.0.0.1\"}", true},
        {TRACE_SERVER, "{\"domain\":\"x.test\"}", false},
        {TRACE_CLIENT, "{\"egress_pool\":\"p\"}", false},
        {TRACE_CLIENT, "{\"domain\":1}", false},
        {TRACE_CLIENT, "{\"domain\":[\"a\",1]}", false},
        {TRACE_CLIENT, "{\"domain\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}", false},
        {TRACE_SERVER, "{\"source\":\"10.0.0.1/8\"}", false},
        {TRACE_SERVER, "{\"only_one\":1}", false},
        {TRACE_SERVER, "[]", false},
        {TRACE_SERVER, "{", false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct trace_filter filter;
        const char *wrong = read_filter(&filter, rows[i].side, rows[i].json);
        assert_int_equal(wrong == NULL, rows[i].sound);
    }
}

static void every_member_is_asked_and_all_have_to_fit(void **state)
{
    static const struct {
        const char *json;
        bool fits;
    } rows[] = {
        {"{}", true},
        {"{\"source\":\"10.0.0.0/24\"}", true},
        {"{\"source\":\"10.0.1.0/24\"}", false},
        {"{\"mx_addr\":[\"192.0.2.1\",\"10.0.9.9\"]}", true},
        {"{\"mx_addr\":\"192.0.2.1\"}", false},
        {"{\"mx_host\":\"MX.test\"}", true},
        {"{\"mx_host\":\"m.test\"}", false},
        {"{\"ready_queue\":\"s->mx.test@smtp_client\"}", true},
        {"{\"ready_queue\":\"s\"}", false},
        {"{\"egress_source\":\"s\"}", true},
        {"{\"egress_source\":\"t\"}", false},
        {"{\"domain\":[\"y.test\",\"x.test\"]}", true},
        {"{\"domain\":\"y.test\"}", false},
        {"{\"routing_domain\":\"r.test\"}", true},
        {"{\"routing_domain\":\"x.test\"}", false},
        {"{\"campaign\":\"c\"}", true},
        {"{\"campaign\":\"t\"}", false},
        {"{\"tenant\":\"t\"}", true},
        {"{\"tenant\":\"c\"}", false},
        {"{\"mail_from\":\"me@a.test\"}", true},
        {"{\"mail_from\":\"\"}", false},
        {"{\"rcpt_to\":\"two@x.test\"}", true},
        {"{\"rcpt_to\":\"three@x.test\"}", false},
        {"{\"tenant\":\"t\",\"campaign\":\"d\"}", false},
    };
    const struct client_recipient recipients[] = {{.address = SLICE("one@x.test")},
                                                  {.address = SLICE("two@x.test")}};
    const struct trace_transaction none = {0};
    const struct trace_transaction transaction = {
        .queue = SLICE("c:t@x.test!r.test"),
        .sender = SLICE("me@a.test"),
        .recipients = recipients,
        .count = COUNT_OF(recipients),
    };
    struct trace_session session = {
        .mx_host = SLICE("mx.test"),
        .ready_queue = SLICE("s->mx.test@smtp_client"),
        .egress_source = SLICE("s"),
    };
    (void)state;
    assert_true(endpoint_parse(SLICE("10.0.9.9:25"), 0, &session.peer));
    assert_true(endpoint_parse(SLICE("10.0.0.7:4711"), 0, &session.local));
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct trace_filter filter;
        assert_null(read_filter(&filter, TRACE_CLIENT, rows[i].json));
        bool fits = trace_filter_fits_session(&filter, &session) &&
                    trace_filter_fits_transaction(&filter, &transaction);
        assert_int_equal(fits, rows[i].fits);
        assert_int_equal(trace_filter_fits_transaction(&filter, &none),
                         !trace_filter_asks_transaction(&filter));
    }
}

static void the_source_of_a_client_is_its_address(void **state)
{
    struct trace_filter filter;
    struct trace_session session = {0};
    (void)state;
    assert_true(endpoint_parse(SLICE("10.0.0.7:4711"), 0, &session.peer));
    assert_null(read_filter(&filter, TRACE_SERVER, "{\"source\":\"10.0.0.7\"}"));
    assert_true(trace_filter_fits_session(&filter, &session));
    assert_null(read_filter(&filter, TRACE_SERVER, "{\"source\":\"10.0.0.8\"}"));
    assert_false(trace_filter_fits_session(&filter, &session));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_filter_does_not_have_is_named),
        cmocka_unit_test(every_member_is_asked_and_all_have_to_fit),
        cmocka_unit_test(the_source_of_a_client_is_its_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
