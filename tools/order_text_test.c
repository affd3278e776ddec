#include "tools/order_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdlib.h>

#include "tools/dialogue.h"

static void an_order_has_what_was_said_and_nothing_else(void **state)
{
    static const struct {
        struct verb_options options;
        bool dry_run;
        const char *json;
    } cases[] = {
        {{.values = {[OPTION_DOMAIN] = "x.test", [OPTION_REASON] = "a \"b\""}},
         false,
         "{\"domain\":\"x.test\",\"reason\":\"a \\\"b\\\"\"}"},
        {{.values = {[OPTION_TENANT] = "t", [OPTION_CAMPAIGN] = "c",
                     [OPTION_ROUTING_DOMAIN] = "r", [OPTION_REASON] = "x",
                     [OPTION_DURATION] = "2h"}},
         true,
         "{\"routing_domain\":\"r\",\"tenant\":\"t\",\"campaign\":\"c\",\"reason\":\"x\","
         "\"duration\":\"2h\",\"dry_run\":true}"},
        {{.values = {[OPTION_QUEUE] = "b", [OPTION_REASON] = "x"},
          .queues = {"a", "b"},
          .queue_count = 2},
         false,
         "{\"queue_names\":[\"a\",\"b\"],\"reason\":\"x\"}"},
        {{.values = {[OPTION_EVERYTHING] = "", [OPTION_REASON] = "x", [OPTION_YES] = ""}},
         false,
         "{\"everything\":true,\"reason\":\"x\"}"},
        {{.values = {[OPTION_DOMAIN] = "d", [OPTION_REASON] = "x",
                     [OPTION_DATA] = "{\"tenant\": null}", [OPTION_ALWAYS_FLUSH] = ""}},
         false,
         "{\"domain\":\"d\",\"reason\":\"x\",\"data\":{\"tenant\": null},\"always_flush\":true}"},
        {{.values = {[OPTION_READY_QUEUE] = "a->b@smtp_client", [OPTION_REASON] = "x"}},
         false,
         "{\"name\":\"a->b@smtp_client\",\"reason\":\"x\"}"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint8_t bytes[512];
        struct buf buf;
        buf_init(&buf, bytes, sizeof(bytes));
        order_put(&buf, &cases[i].options, cases[i].dry_run);
        buf_put_byte(&buf, 0);
        assert_string_equal((const char *)bytes, cases[i].json);
    }
}

static void which_queues_has_to_be_said_and_only_once(void **state)
{
    static const struct {
        struct verb_options options;
        bool good;
    } cases[] = {
        {{0}, false},
        {{.values = {[OPTION_REASON] = "x", [OPTION_YES] = ""}}, false},
        {{.values = {[OPTION_EVERYTHING] = ""}}, true},
        {{.values = {[OPTION_EVERYTHING] = "", [OPTION_DOMAIN] = "x"}}, false},
        {{.values = {[OPTION_DOMAIN] = "x", [OPTION_TENANT] = "t"}}, true},
        {{.values = {[OPTION_READY_QUEUE] = "x"}}, true},
        {{.values = {[OPTION_READY_QUEUE] = "x", [OPTION_DOMAIN] = "x"}}, false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        if ((order_criteria_problem(&cases[i].options) == NULL) != cases[i].good) {
            fail_msg("case %zu", i);
        }
    }
}

struct entry {
    struct json_reader *reader;
    void *memory;
    const struct json_value *value;
};

static void entry_init(struct entry *entry, const char *json)
{
    *entry = (struct entry){.reader = json_reader_open()};
    entry->value = dialogue_parse(entry->reader, slice_from_string(json), &entry->memory);
    assert_non_null(entry->value);
}

static void entry_fini(struct entry *entry)
{
    json_reader_close(entry->reader);
    free(entry->memory);
}

static void an_entry_matches_exactly(void **state)
{
    static const char domain[] = "{\"id\":\"1\",\"campaign\":null,\"tenant\":null,\"domain\":"
                                 "\"x.test\",\"routing_domain\":null,\"queue_names\":[],"
                                 "\"everything\":false}";
    static const char both[] = "{\"tenant\":\"t\",\"domain\":\"x.test\",\"queue_names\":[],"
                               "\"everything\":false}";
    static const char names[] = "{\"queue_names\":[\"a\",\"b\"],\"everything\":false}";
    static const char all[] = "{\"queue_names\":[],\"everything\":true}";
    static const char ready[] = "{\"name\":\"a->b\",\"reason\":\"x\"}";
    static const struct {
        struct verb_options options;
        const char *entry;
        bool matches;
    } cases[] = {
        {{.values = {[OPTION_DOMAIN] = "x.test"}}, domain, true},
        {{.values = {[OPTION_DOMAIN] = "X.Test"}}, domain, true},
        {{.values = {[OPTION_DOMAIN] = "y.test"}}, domain, false},
        {{.values = {[OPTION_DOMAIN] = "x.test"}}, both, false},
        {{.values = {[OPTION_DOMAIN] = "x.test", [OPTION_TENANT] = "t"}}, both, true},
        {{.values = {[OPTION_DOMAIN] = "x.test", [OPTION_TENANT] = "t"}}, domain, false},
        {{.queues = {"a", "b"}, .queue_count = 2}, names, true},
        {{.queues = {"a"}, .queue_count = 1}, names, false},
        {{.queues = {"a", "c"}, .queue_count = 2}, names, false},
        {{.values = {[OPTION_EVERYTHING] = ""}}, all, true},
        {{.values = {[OPTION_EVERYTHING] = ""}}, domain, false},
        {{.values = {[OPTION_DOMAIN] = "x.test"}}, all, false},
        {{.values = {[OPTION_READY_QUEUE] = "a->b"}}, ready, true},
        {{.values = {[OPTION_READY_QUEUE] = "a->c"}}, ready, false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct entry entry;
        entry_init(&entry, cases[i].entry);
        if (order_matches(&cases[i].options, entry.value) != cases[i].matches) {
            fail_msg("case %zu", i);
        }
        entry_fini(&entry);
    }
}

static void criteria_are_read_in_words(void **state)
{
    static const struct {
        const char *entry;
        const char *words;
    } cases[] = {
        {"{\"domain\":\"x.test\",\"tenant\":\"t\",\"campaign\":null}", "domain x.test, tenant t"},
        {"{\"queue_names\":[\"a\",\"b\"]}", "queue a, queue b"},
        {"{\"everything\":true}", "everything"},
        {"{\"name\":\"a->b\"}", "ready queue a->b"},
        {"{}", ""},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint8_t bytes[128];
        struct buf buf;
        struct entry entry;
        entry_init(&entry, cases[i].entry);
        buf_init(&buf, bytes, sizeof(bytes));
        order_put_criteria(&buf, entry.value);
        buf_put_byte(&buf, 0);
        assert_string_equal((const char *)bytes, cases[i].words);
        entry_fini(&entry);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_order_has_what_was_said_and_nothing_else),
        cmocka_unit_test(which_queues_has_to_be_said_and_only_once),
        cmocka_unit_test(an_entry_matches_exactly),
        cmocka_unit_test(criteria_are_read_in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
