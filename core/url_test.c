/* Which texts are URLs of a server, and what is left of each. */
#include "core/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void urls_have_one_form_however_they_are_written(void **state)
{
    static const struct {
        const char *text;
        const char *url;
        const char *host; /* "": an address */
    } rows[] = {
        {"http://tsa.example.com:8008", "http://tsa.example.com:8008", "tsa.example.com"},
        {"http://TSA.Example.com./", "http://tsa.example.com:80", "tsa.example.com"},
        {"http://127.0.0.1:8008/", "http://127.0.0.1:8008", ""},
        {"http://[::1]:8008", "http://[::1]:8008", ""},
        {"http://[2001:db8::1]", "http://[2001:db8::1]:80", ""},
        {"http://tsa", "http://tsa:80", "tsa"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint8_t memory[URL_BYTES_MAX];
        struct url url;
        assert_null(url_parse(slice_from_string(rows[i].text), memory, &url));
        assert_true(slice_equal(url.text, slice_from_string(rows[i].url)));
        assert_true(slice_equal(url.where, slice_from_string(rows[i].url + 7)));
        assert_true(slice_equal(url.host, slice_from_string(rows[i].host)));
        assert_true(url.address.port > 0);
    }
}

static void what_is_no_url_of_a_server_is_refused(void **state)
{
    static const char *const rows[] = {
        "",
        "127.0.0.1:8008",
        "http://",
        "http:///",
        "http://:8008",
        "http://a:0",
        "http://a:65536",
        "http://a:",
        "http://a:8008x",
        "http://a/publish",
        "http://a?x=1",
        "http://a#x",
        "http://user@a:8008",
        "http://a b",
        "http://::1:8008",
        "http://[::1",
        "http://[127.0.0.1]:8008",
        "http://[::1]8008",
        "http://127.0.0.1.5",
        "http://300.0.0.1",
        "ftp://a",
        "https://a:8008",
        "http://a\r\nX: y",
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint8_t memory[URL_BYTES_MAX];
        struct url url;
        const char *why = url_parse(slice_from_string(rows[i]), memory, &url);
        if (why == NULL) {
            fail_msg("%s is taken", rows[i]);
        }
        assert_int_equal(strstr(why, "TLS") != NULL, strncmp(rows[i], "https", 5) == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_have_one_form_however_they_are_written),
        cmocka_unit_test(what_is_no_url_of_a_server_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
