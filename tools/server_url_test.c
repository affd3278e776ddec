#include "tools/server_url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdlib.h>

static void endpoints_are_taken_or_refused(void **state)
{
    static const struct {
        const char *text;
        const char *where; /* null: it is none */
        const char *host;
        const char *port;
        bool tls;
    } cases[] = {
        {"http://127.0.0.1:8000", "127.0.0.1:8000", "127.0.0.1", "8000", false},
        {"http://127.0.0.1:8000/", "127.0.0.1:8000", "127.0.0.1", "8000", false},
        {"127.0.0.1:8000", "127.0.0.1:8000", "127.0.0.1", "8000", false},
        {"localhost:81", "localhost:81", "localhost", "81", false},
        {"http://mta1.example.com", "mta1.example.com:80", "mta1.example.com", "80", false},
        {"http://[::1]:8000", "[::1]:8000", "::1", "8000", false},
        {"https://mta1.example.com", "mta1.example.com:443", "mta1.example.com", "443", true},
        {.text = "ftp://127.0.0.1:8000"},
        {.text = "file:///etc/passwd"},
        {.text = "http://127.0.0.1:8000/api"},
        {.text = "http://127.0.0.1:8000/?x"},
        {.text = "http://me:secret@127.0.0.1:8000"},
        {.text = "http://"},
        {.text = "http://127.0.0.1:99999"},
        {.text = "http://[::1"},
        {.text = "a b"},
        {.text = ""},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct server_url url;
        if (server_url_parse(cases[i].text, &url) != (cases[i].where != NULL)) {
            fail_msg("%s", cases[i].text);
        }
        if (cases[i].where != NULL) {
            assert_string_equal(url.where, cases[i].where);
            assert_string_equal(url.host, cases[i].host);
            assert_string_equal(url.port, cases[i].port);
            assert_int_equal(url.tls, cases[i].tls);
        }
    }
}

static void what_is_given_goes_before_the_environment(void **state)
{
    (void)state;
    assert_int_equal(unsetenv("RINGPOST_ENDPOINT"), 0);
    assert_string_equal(server_url_choose(NULL), SERVER_URL_DEFAULT);
    assert_int_equal(setenv("RINGPOST_ENDPOINT", "", 1), 0);
    assert_string_equal(server_url_choose(NULL), SERVER_URL_DEFAULT);
    assert_int_equal(setenv("RINGPOST_ENDPOINT", "a:1", 1), 0);
    assert_string_equal(server_url_choose(NULL), "a:1");
    assert_string_equal(server_url_choose("b:2"), "b:2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoints_are_taken_or_refused),
        cmocka_unit_test(what_is_given_goes_before_the_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
