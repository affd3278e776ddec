/* Names of sites become the hosts that they stand for. */
#include "tsa/site_hosts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/buf.h"
#include "core/prng.h"
#include "smtp/site_name.h"

static uint8_t memory[64 * KIB] __attribute__((aligned(16)));

static void the_name_stands_between_source_and_protocol(void **state)
{
    static const char *const rows[][2] = {
        {"ip-1->mx.a.test@smtp_client", "mx.a.test"},
        {"unspecified->(mx1|mx2).a.test@smtp_client", "(mx1|mx2).a.test"},
        {"mx.a.test", "mx.a.test"},
        {"ip-1->mx.a.test", "mx.a.test"},
        {"ip->[192.0.2.1]@smtp_client", "[192.0.2.1]"},
        {"->", ""},
        {"", ""},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice name = site_name_of(slice_from_string(rows[i][0]));
        assert_int_equal(name.size, strlen(rows[i][1]));
        assert_memory_equal(name.data, rows[i][1], name.size);
    }
}

static void check(const char *name, const char *want)
{
    struct arena arena;
    struct slice hosts[SITE_HOSTS_LISTED_MAX];
    uint8_t bytes[8 * KIB];
    struct buf got;
    arena_init(&arena, memory, sizeof(memory));
    buf_init(&got, bytes, sizeof(bytes));
    unsigned count = site_hosts_list(slice_from_string(name), &arena, hosts);
    for (unsigned i = 0; i < count; i++) {
        buf_put_string(&got, i == 0 ? "" : " ");
        buf_put(&got, hosts[i]);
    }
    if (!slice_equal(buf_slice(&got), slice_from_string(want))) {
        fail_msg("%s: %.*s", name, (int)got.size, (const char *)got.data);
    }
}

static void a_name_has_its_hosts(void **state)
{
    (void)state;
    check("mx.a.com", "mx.a.com");
    check("(mx1|mx2).a.com", "mx1.a.com mx2.a.com");
    check("(alt1|alt2)?.mx.google.com", "mx.google.com alt1.mx.google.com alt2.mx.google.com");
    check("MX.(a|B).com", "mx.a.com mx.b.com");
    check("mx.(a|b).(com|net)#6c1b5c1b6c1b5c1b", "mx.a.com mx.b.com mx.a.net mx.b.net");
    check("(a)?.(b)?.com#0123456789abcdef", "com b.com a.b.com");
    check("mx.a.(com|com:2525)", "mx.a.com mx.a.com");
    check("mx1.a.com+31#0123456789abcdef", "mx1.a.com");
    check("x", "x");
    check("", "");
    check("mx_list:a,b", "");
    /* What is no name of a site gives whatever it gives. */
    check(")", "");
    check("?", "");
    check("a|b)", "");
    check("(((", "(((");
    check("..", "");
}

/* Whatever set a name is made of, all of it is among what the name stands for. */
static void every_host_is_found_again(void **state)
{
    static const char *const labels[] = {"a", "b", "mx1", "mx2", "x", "y"};
    const char *seed = getenv("SEED");
    struct prng prng;
    (void)state;
    prng_seed(&prng, seed != NULL ? strtoull(seed, NULL, 10) : 1);
    for (unsigned round = 0; round < 2000; round++) {
        uint8_t texts[4][64];
        uint8_t bytes[SITE_NAME_BYTES_MAX];
        struct slice hosts[4];
        struct slice found[SITE_HOSTS_LISTED_MAX];
        struct buf name;
        struct arena arena;
        unsigned count = 1 + (unsigned)prng_below(&prng, 4);
        for (unsigned i = 0; i < count; i++) {
            struct buf host;
            buf_init(&host, texts[i], sizeof(texts[i]));
            for (unsigned k = 1 + (unsigned)prng_below(&prng, 3); k > 0; k--) {
                buf_put_string(&host, labels[prng_below(&prng, COUNT_OF(labels))]);
                buf_put_string(&host, k == 1 ? "" : ".");
            }
            hosts[i] = buf_slice(&host);
        }
        buf_init(&name, bytes, sizeof(bytes));
        site_name_put(&name, hosts, count);
        arena_init(&arena, memory, sizeof(memory));
        unsigned listed = site_hosts_list(buf_slice(&name), &arena, found);
        for (unsigned i = 0; i < count; i++) {
            unsigned k = 0;
            while (k < listed && !slice_equal(found[k], hosts[i])) {
                k++;
            }
            if (k == listed) {
                fail_msg("%.*s lacks %.*s", (int)name.size, (const char *)name.data,
                         (int)hosts[i].size, (const char *)hosts[i].data);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_name_stands_between_source_and_protocol),
        cmocka_unit_test(a_name_has_its_hosts),
        cmocka_unit_test(every_host_is_found_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
