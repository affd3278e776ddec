#include "shard/sockaddr.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void endpoints_come_back_from_the_kernels_form(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int family;
    } rows[] = {
        {"192.0.2.1:25", AF_INET},
        {"[2001:db8::1]:65535", AF_INET6},
        {"[::]:1", AF_INET6},
        {"0.0.0.0:0", AF_INET},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct endpoint endpoint;
        struct sockaddr_storage address = {0};
        assert_true(endpoint_parse(slice_from_string(rows[i].text), 0, &endpoint));
        assert_int_equal(sockaddr_family(&endpoint), rows[i].family);
        socklen_t size = sockaddr_put(&endpoint, &address);
        assert_true(size > 0 && size <= SOCKADDR_BYTES_MAX);
        assert_int_equal(address.ss_family, rows[i].family);
        struct endpoint back = sockaddr_get(&address);
        assert_true(endpoint_equal_address(&endpoint, &back));
        assert_int_equal(endpoint.port, back.port);
    }
}

static void another_family_is_no_endpoint(void **state)
{
    (void)state;
    struct sockaddr_storage address = {.ss_family = AF_UNIX};
    struct endpoint endpoint = sockaddr_get(&address);
    struct endpoint zero = {0};
    assert_true(endpoint_equal_address(&endpoint, &zero));
    assert_int_equal(endpoint.port, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoints_come_back_from_the_kernels_form),
        cmocka_unit_test(another_family_is_no_endpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
