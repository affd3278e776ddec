#include "shard/io/http_query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

static void parameters_are_found_decoded_and_once(void **state)
{
    (void)state;
    static const struct {
        const char *query;
        enum http_query result;
        const char *value;
    } rows[] = {
        {"queue=a", HTTP_QUERY_FOUND, "a"},
        {"x=1&queue=a&y=2", HTTP_QUERY_FOUND, "a"},
        {"queue=a%40b.test+c%3d", HTTP_QUERY_FOUND, "a@b.test c="},
        {"queue=sale:acme@a.test!b.test", HTTP_QUERY_FOUND, "sale:acme@a.test!b.test"},
        {"%71ueue=a", HTTP_QUERY_FOUND, "a"},
        {"queue=a=b", HTTP_QUERY_FOUND, "a=b"},
        {"queue=", HTTP_QUERY_FOUND, ""},
        {"queue", HTTP_QUERY_FOUND, ""},
        {"&&queue=a&", HTTP_QUERY_FOUND, "a"},
        {"", HTTP_QUERY_NONE, ""},
        {"Queue=a", HTTP_QUERY_NONE, ""},
        {"queuex=a", HTTP_QUERY_NONE, ""},
        {"queu=a", HTTP_QUERY_NONE, ""},
        {"=a", HTTP_QUERY_NONE, ""},
        {"x=%zz", HTTP_QUERY_NONE, ""},
        {"queue=a&queue=b", HTTP_QUERY_BAD, NULL},
        {"queue&%71ueue", HTTP_QUERY_BAD, NULL},
        {"queue=%", HTTP_QUERY_BAD, NULL},
        {"queue=%4", HTTP_QUERY_BAD, NULL},
        {"queue=%4g", HTTP_QUERY_BAD, NULL},
        {"queue=a%00b", HTTP_QUERY_BAD, NULL},
        {"queue=0123456789012345678901234567890123", HTTP_QUERY_BAD, NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint8_t memory[32];
        struct buf value;
        buf_init(&value, memory, sizeof(memory));
        assert_int_equal(
            http_query_find(slice_from_string(rows[i].query), SLICE("queue"), &value),
            rows[i].result);
        if (rows[i].value != NULL) {
            assert_true(slice_equal(buf_slice(&value), slice_from_string(rows[i].value)));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_are_found_decoded_and_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
