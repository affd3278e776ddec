/* Names of sets of hosts: what they look like, and that no two sets share one. */
#include "smtp/site_name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/prng.h"

#define SETS       10000
#define TEXT_BYTES (SITE_HOSTS_MAX * 260)

struct named {
    char name[SITE_NAME_BYTES_MAX + 1];
    char *set; /* its hosts in order, each once */
};

static void name_of(const struct slice *hosts, unsigned count, char *out)
{
    struct buf buf;
    buf_init(&buf, out, SITE_NAME_BYTES_MAX);
    site_name_put(&buf, hosts, count);
    assert_false(buf.overflow);
    assert_true(buf.size > 0);
    out[buf.size] = '\0';
}

/* Hosts with a space between them. */
static unsigned hosts_of(const char *text, struct slice *hosts)
{
    unsigned count = 0;
    while (*text != '\0') {
        size_t size = strcspn(text, " ");
        assert_true(count < SITE_HOSTS_MAX);
        hosts[count++] = slice_make(text, size);
        text += size + (text[size] == ' ');
    }
    return count;
}

static void a_name_shows_what_its_hosts_have_in_common(void **state)
{
    (void)state;
    static const struct {
        const char *hosts;
        const char *name; /* a '#' at its end: a hash follows */
    } rows[] = {
        {"mx.example.com", "mx.example.com"},
        {"gmail-smtp-in.l.google.com alt1.gmail-smtp-in.l.google.com "
         "alt2.gmail-smtp-in.l.google.com alt3.gmail-smtp-in.l.google.com "
         "alt4.gmail-smtp-in.l.google.com",
         "(alt1|alt2|alt3|alt4)?.gmail-smtp-in.l.google.com"},
        {"mx2.a.com mx1.a.com", "(mx1|mx2).a.com"},
        {"mx1.a.com mx2.a.com", "(mx1|mx2).a.com"},
        {"mx1.a.com mx1.a.com", "mx1.a.com"},
        {"mx.a.com mx.b.com", "mx.(a|b).com"},
        {"mx.a.com mx.b.net", "mx.(a|b).(com|net)#"},
        {"a.x.com b.y.com", "(a|b).(x|y).com#"},
        {"b.x.com a.y.com", "(a|b).(x|y).com#"},
        {"a.x.com b.x.com a.y.com b.y.com", "(a|b).(x|y).com"},
        {"com a.b.com", "(a)?.(b)?.com#"},
        {"mx.a.com:2525", "mx.a.com:2525"},
        {"mx.a.com mx.a.com:2525", "mx.a.(com|com:2525)"},
        {"x", "x"},
    };
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        struct slice hosts[SITE_HOSTS_MAX];
        char name[SITE_NAME_BYTES_MAX + 1];
        name_of(hosts, hosts_of(rows[i].hosts, hosts), name);
        size_t size = strlen(rows[i].name);
        if (rows[i].name[size - 1] == '#') {
            assert_int_equal(strlen(name), size + 16);
            name[size] = '\0';
        }
        assert_string_equal(name, rows[i].name);
    }
}

static void a_long_set_has_a_short_name(void **state)
{
    (void)state;
    struct slice hosts[SITE_HOSTS_MAX];
    char text[SITE_HOSTS_MAX][64];
    char name[SITE_NAME_BYTES_MAX + 1];
    char other[SITE_NAME_BYTES_MAX + 1];
    for (unsigned i = 0; i < SITE_HOSTS_MAX; i++) {
        snprintf(text[i], sizeof(text[i]), "a-host-with-a-long-name-%02u.example.com", i);
        hosts[i] = slice_from_string(text[i]);
    }
    name_of(hosts, SITE_HOSTS_MAX, name);
    assert_memory_equal(name, "a-host-with-a-long-name-00.example.com+31#", 42);
    assert_int_equal(strlen(name), 42 + 16);
    text[31][5] = 'x';
    name_of(hosts, SITE_HOSTS_MAX, other);
    assert_string_not_equal(name, other);
    /* One host that is longer by itself. */
    char longest[300];
    memset(longest, 'a', sizeof(longest));
    for (unsigned i = 60; i < 250; i += 60) {
        longest[i] = '.';
    }
    memcpy(longest + 253, ":25252", 7);
    hosts[0] = slice_from_string(longest);
    name_of(hosts, 1, name);
    assert_in_range(strlen(name), 200, SITE_NAME_BYTES_MAX);
    assert_non_null(strchr(name, '#'));
}

/* --- no two sets share a name ----------------------------------------------------------------- */

static int compare_hosts(const void *a, const void *b)
{
    const struct slice *left = a;
    const struct slice *right = b;
    size_t size = MIN_OF(left->size, right->size);
    int order = memcmp(left->data, right->data, size);
    return order != 0 ? order : (left->size > right->size) - (left->size < right->size);
}

static char *set_text(const struct slice *hosts, unsigned count)
{
    struct slice sorted[SITE_HOSTS_MAX];
    char *text = malloc(TEXT_BYTES);
    struct buf buf;
    assert_non_null(text);
    memcpy(sorted, hosts, count * sizeof(sorted[0]));
    qsort(sorted, count, sizeof(sorted[0]), compare_hosts);
    buf_init(&buf, text, TEXT_BYTES - 1);
    for (unsigned i = 0; i < count; i++) {
        if (i == 0 || !slice_equal(sorted[i - 1], sorted[i])) {
            buf_put(&buf, sorted[i]);
            buf_put_byte(&buf, ' ');
        }
    }
    assert_false(buf.overflow);
    text[buf.size] = '\0';
    char *copy = strdup(text);
    free(text);
    return copy;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

/* Same name, same set; their memory goes. Sets that are different. */
static unsigned check_names(struct named *named, unsigned count)
{
    unsigned different = 0;
    qsort(named, count, sizeof(*named), compare_names);
    for (unsigned i = 0; i < count; i++) {
        bool again = i > 0 && strcmp(named[i - 1].name, named[i].name) == 0;
        different += !again;
        if (again) {
            assert_string_equal(named[i - 1].set, named[i].set);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        free(named[i].set);
    }
    free(named);
    return different;
}

static void every_subset_of_hosts_that_are_easily_mixed_up_has_a_name_of_its_own(void **state)
{
    (void)state;
    static const char *const universe[] = {"a.x",   "a.y",  "b.x",   "b.y", "x",     "y",
                                           "a.a.x", "a.x:1", "b.x:1", "a",   "a.b.x", "b.b.x"};
    enum { SUBSETS = 1 << COUNT_OF(universe) };
    struct named *named = calloc(SUBSETS, sizeof(*named));
    assert_non_null(named);
    for (unsigned set = 1; set < SUBSETS; set++) {
        struct slice hosts[SITE_HOSTS_MAX];
        unsigned count = 0;
        for (unsigned i = 0; i < COUNT_OF(universe); i++) {
            if ((set >> i & 1) != 0) {
                hosts[count++] = slice_from_string(universe[i]);
            }
        }
        name_of(hosts, count, named[set - 1].name);
        named[set - 1].set = set_text(hosts, count);
    }
    assert_int_equal(check_names(named, SUBSETS - 1), SUBSETS - 1);
}

static unsigned hosts_make(struct prng *prng, char text[][256], struct slice *hosts)
{
    unsigned count = 1 + (unsigned)prng_below(prng, prng_chance(prng, 100) ? SITE_HOSTS_MAX : 6);
    unsigned letters = 1 + (unsigned)prng_below(prng, 4);
    unsigned wide = prng_chance(prng, 50) ? 40 : 1;
    for (unsigned i = 0; i < count; i++) {
        struct buf buf;
        unsigned labels = 1 + (unsigned)prng_below(prng, 5);
        buf_init(&buf, text[i], sizeof(text[i]));
        for (unsigned k = 0; k < labels; k++) {
            buf_put_string(&buf, k == 0 ? "" : ".");
            uint8_t letter = (uint8_t)('a' + prng_below(prng, letters));
            for (unsigned size = 0; size < wide; size++) {
                buf_put_byte(&buf, letter);
            }
        }
        if (prng_chance(prng, 50)) {
            buf_printf(&buf, ":%u", 1 + (unsigned)prng_below(prng, 3));
        }
        assert_false(buf.overflow);
        hosts[i] = buf_slice(&buf);
    }
    return count;
}

static void sets_made_by_chance_share_no_name_and_their_order_does_not_matter(void **state)
{
    (void)state;
    const char *seed_text = getenv("SEED");
    uint64_t seed = seed_text != NULL ? strtoull(seed_text, NULL, 10) : 1;
    struct prng prng;
    struct named *named = calloc(SETS, sizeof(*named));
    assert_non_null(named);
    print_message("SEED=%llu\n", (unsigned long long)seed);
    prng_seed(&prng, seed);
    for (unsigned i = 0; i < SETS; i++) {
        char text[SITE_HOSTS_MAX][256];
        struct slice hosts[SITE_HOSTS_MAX];
        char again[SITE_NAME_BYTES_MAX + 1];
        unsigned count = hosts_make(&prng, text, hosts);
        name_of(hosts, count, named[i].name);
        named[i].set = set_text(hosts, count);
        for (unsigned k = count; k > 1; k--) {
            unsigned other = (unsigned)prng_below(&prng, k);
            struct slice host = hosts[k - 1];
            hosts[k - 1] = hosts[other];
            hosts[other] = host;
        }
        name_of(hosts, count, again);
        assert_string_equal(again, named[i].name);
    }
    assert_in_range(check_names(named, SETS), SETS / 4, SETS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_shows_what_its_hosts_have_in_common),
        cmocka_unit_test(a_long_set_has_a_short_name),
        cmocka_unit_test(every_subset_of_hosts_that_are_easily_mixed_up_has_a_name_of_its_own),
        cmocka_unit_test(sets_made_by_chance_share_no_name_and_their_order_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
