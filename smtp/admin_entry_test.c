#include "smtp/admin_entry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include <string.h>

#include <xxhash.h>

#include "core/little.h"
#include "core/prng.h"
#include "shard/queue/names.h"

static struct admin_table table;
static struct admin_table other;
static uint8_t memory[ADMIN_FILE_BYTES_MAX];

static struct slice text(const char *string)
{
    return slice_from_string(string);
}

static void criteria_match_what_they_name_and_nothing_else(void **state)
{
    (void)state;
    const struct slice names[] = {SLICE("one.test"), SLICE("sale:acme@Two.test")};
    const struct {
        struct admin_criteria criteria;
        const char *queue;
        bool matches;
    } rows[] = {
        {{.everything = true}, "a.test", true},
        {{.everything = true}, "sale:acme@a.test!b.test", true},
        {{.domain = SLICE("a.test")}, "a.test", true},
        {{.domain = SLICE("A.Test")}, "sale:acme@a.test!b.test", true},
        {{.domain = SLICE("a.test")}, "b.a.test", false},
        {{.domain = SLICE("a.test")}, "a.test.b", false},
        {{.domain = SLICE("b.test")}, "acme@a.test!b.test", false},
        {{.routing_domain = SLICE("B.test")}, "acme@a.test!b.test", true},
        {{.routing_domain = SLICE("a.test")}, "acme@a.test!b.test", false},
        {{.routing_domain = SLICE("a.test")}, "a.test", false},
        {{.tenant = SLICE("acme")}, "acme@a.test", true},
        {{.tenant = SLICE("acme")}, "sale:acme@a.test", true},
        {{.tenant = SLICE("Acme")}, "acme@a.test", false},
        {{.tenant = SLICE("acme")}, "acme:@a.test", false},
        {{.tenant = SLICE("acme")}, "acme", false},
        {{.campaign = SLICE("sale")}, "sale:@a.test", true},
        {{.campaign = SLICE("a!b@c:d")}, "a!b@c:d:acme@a.test", true},
        {{.campaign = SLICE("sale")}, "sale@a.test", false},
        {{.domain = SLICE("a.test"), .tenant = SLICE("acme")}, "acme@a.test", true},
        {{.domain = SLICE("a.test"), .tenant = SLICE("acme")}, "acme@b.test", false},
        {{.domain = SLICE("a.test"), .tenant = SLICE("acme")}, "other@a.test", false},
        {{.names = names, .name_count = 2}, "one.test", true},
        {{.names = names, .name_count = 2}, "sale:acme@Two.test", true},
        {{.names = names, .name_count = 2}, "sale:acme@two.test", false},
        {{.names = names, .name_count = 2, .domain = SLICE("three.test")}, "one.test", false},
    };
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        assert_null(admin_criteria_problem(&rows[i].criteria));
        if (admin_criteria_match(&rows[i].criteria, text(rows[i].queue)) != rows[i].matches) {
            fail_msg("row %u: %s", i, rows[i].queue);
        }
    }
}

/* H-18: no pattern, and all queues only when that is what is asked for. */
static void h18_all_queues_are_asked_for_as_such(void **state)
{
    (void)state;
    const struct slice empty = SLICE_NONE;
    const struct admin_criteria unsound[] = {
        {0},
        {.everything = true, .tenant = SLICE("acme")},
        {.names = &empty, .name_count = 1},
        {.domain = {memory, QUEUE_NAME_BYTES_MAX + 1}},
    };
    for (unsigned i = 0; i < COUNT_OF(unsound); i++) {
        assert_non_null(admin_criteria_problem(&unsound[i]));
    }
    const struct admin_criteria star = {.domain = SLICE("*")};
    assert_false(admin_criteria_match(&star, SLICE("a.test")));
}

static struct admin_entry entry_of(enum admin_kind kind, const char *domain, uint64_t until_ns)
{
    return (struct admin_entry){
        .kind = kind,
        .criteria = {.domain = text(domain)},
        .reason = SLICE("why"),
        .created_ns = 5,
        .expires_ns = until_ns,
        .until_ns = until_ns,
    };
}

static void a_bounce_comes_first_then_the_longest_suspension(void **state)
{
    (void)state;
    const struct slice site = SLICE("a.test");
    const struct admin_entry entries[] = {
        entry_of(ADMIN_SUSPEND, "a.test", 30),
        entry_of(ADMIN_SUSPEND, "a.test", 50),
        entry_of(ADMIN_BOUNCE, "a.test", 10),
        entry_of(ADMIN_SUSPEND, "a.test", 40),
        {.kind = ADMIN_SUSPEND_READY, .until_ns = 99,
         .criteria = {.names = &site, .name_count = 1}},
    };
    admin_table_clear(&table);
    assert_null(admin_table_find(&table, SLICE("a.test")));
    for (unsigned i = 0; i < COUNT_OF(entries); i++) {
        assert_true(admin_table_add(&table, &entries[i]));
        const struct admin_entry *found = admin_table_find(&table, SLICE("a.test"));
        static const uint64_t expected[] = {30, 50, 10, 10, 10};
        assert_int_equal(found->until_ns, expected[i]);
    }
    assert_null(admin_table_find(&table, SLICE("b.test")));
    assert_int_equal(admin_table_find_ready(&table, SLICE("a.test"))->until_ns, 99);
    assert_null(admin_table_find_ready(&table, SLICE("b.test")));
}

static void of_many_suspended_sites_each_has_its_own_longest_one(void **state)
{
    (void)state;
    char names[ADMIN_ENTRIES_MAX][16];
    admin_table_clear(&table);
    for (unsigned i = 0; i < ADMIN_ENTRIES_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "ip->s%u", i % 500);
        const struct slice name = text(names[i]);
        const struct admin_entry entry = {
            .kind = ADMIN_SUSPEND_READY, .effect = i + 1,
            .until_ns = i < 500 ? 1000 : i % 2 == 0 ? 2000 : 500,
            .criteria = {.names = &name, .name_count = 1}};
        assert_true(admin_table_add(&table, &entry));
    }
    for (unsigned i = 0; i < 500; i++) {
        const struct admin_entry *found = admin_table_find_ready(&table, text(names[i]));
        assert_int_equal(found->until_ns, i % 2 == 0 ? 2000 : 1000);
    }
    assert_null(admin_table_find_ready(&table, SLICE("ip->s500")));
    assert_null(admin_table_find(&table, text(names[0])));
    assert_int_equal(admin_turn_budget(&table, 0), ADMIN_COMPARISONS_MAX);
    admin_table_clear(&table);
    assert_null(admin_table_find_ready(&table, text(names[0])));
}

static void a_turn_has_as_many_looks_as_its_comparisons_allow(void **state)
{
    (void)state;
    static struct slice names[ADMIN_NAMES_MAX];
    for (unsigned i = 0; i < ADMIN_NAMES_MAX; i++) {
        names[i] = SLICE("x");
    }
    struct admin_entry entry = {.kind = ADMIN_BOUNCE,
                                .criteria = {.names = names, .name_count = 7}};
    admin_table_clear(&table);
    assert_int_equal(admin_turn_budget(NULL, 0), ADMIN_COMPARISONS_MAX);
    assert_int_equal(admin_turn_budget(NULL, 7), ADMIN_COMPARISONS_MAX / 8);
    assert_true(admin_table_add(&table, &entry));
    assert_int_equal(admin_turn_budget(&table, 0), ADMIN_COMPARISONS_MAX / 9);
    assert_int_equal(admin_turn_budget(&table, 7), ADMIN_COMPARISONS_MAX / 16);
    entry.criteria.name_count = ADMIN_NAMES_MAX - 7;
    assert_true(admin_table_add(&table, &entry));
    assert_int_equal(admin_turn_budget(&table, ADMIN_COMPARISONS_MAX), 1);
}

static void what_has_no_room_is_left_out_whole(void **state)
{
    (void)state;
    static struct slice names[ADMIN_NAMES_MAX];
    for (unsigned i = 0; i < ADMIN_NAMES_MAX; i++) {
        names[i] = SLICE("x");
    }
    admin_table_clear(&table);
    struct admin_entry entry = entry_of(ADMIN_SUSPEND, "", 1);
    entry.criteria = (struct admin_criteria){.names = names, .name_count = ADMIN_NAMES_MAX};
    assert_true(admin_table_add(&table, &entry));
    entry.criteria.name_count = 1;
    assert_false(admin_table_add(&table, &entry));
    admin_table_clear(&table);
    static uint8_t much[ADMIN_TEXT_BYTES_MAX];
    memset(much, 'x', sizeof(much));
    entry.reason = slice_make(much, sizeof(much));
    assert_false(admin_table_add(&table, &entry)); /* the name has no room */
    entry.reason = SLICE("why");
    entry.criteria.name_count = 0;
    for (unsigned i = 0; i < ADMIN_ENTRIES_MAX; i++) {
        assert_true(admin_table_add(&table, &entry));
    }
    assert_false(admin_table_add(&table, &entry));
    assert_int_equal(table.count, ADMIN_ENTRIES_MAX);
}

static void rules_have_room_of_their_own_and_no_place_in_the_file(void **state)
{
    (void)state;
    static uint8_t bytes[ADMIN_FILE_BYTES_MAX];
    struct buf buf;
    struct admin_entry entry = entry_of(ADMIN_SUSPEND, "a.test", 1000);
    struct admin_entry ruled = entry_of(ADMIN_SUSPEND, "b.test", 2000);
    ruled.effect = 7;
    admin_table_clear(&table);
    for (unsigned i = 0; i < ADMIN_ENTRIES_MAX; i++) {
        assert_true(admin_table_add(&table, &ruled));
    }
    assert_false(admin_table_add(&table, &ruled));
    for (unsigned i = 0; i < ADMIN_ENTRIES_MAX; i++) {
        assert_true(admin_table_add(&table, &entry));
    }
    assert_false(admin_table_add(&table, &entry));
    assert_int_equal(admin_table_find(&table, SLICE("b.test"))->effect, 7);
    assert_int_equal(admin_table_find(&table, SLICE("a.test"))->effect, 0);
    buf_init(&buf, bytes, sizeof(bytes));
    admin_table_encode(&table, &buf);
    assert_true(admin_table_decode(&other, buf_slice(&buf)));
    assert_int_equal(other.count, ADMIN_ENTRIES_MAX);
    assert_null(admin_table_find(&other, SLICE("b.test")));
}

/* A table with all there is in it; its file. */
static struct slice stored(void)
{
    const struct slice names[] = {SLICE("one.test"), SLICE("two.test"), SLICE("three.test")};
    struct admin_entry entries[] = {
        entry_of(ADMIN_SUSPEND, "a.test", 1000),
        entry_of(ADMIN_BOUNCE, "", 2000),
        entry_of(ADMIN_SUSPEND_READY, "", 3000),
        entry_of(ADMIN_SUSPEND, "", 4000),
    };
    struct buf buf;
    entries[0].criteria.routing_domain = SLICE("b.test");
    entries[0].criteria.tenant = SLICE("acme");
    entries[0].criteria.campaign = SLICE("sale");
    entries[1].criteria.everything = true;
    entries[2].criteria.names = names;
    entries[2].criteria.name_count = 1;
    entries[3].criteria.names = names;
    entries[3].criteria.name_count = 3;
    admin_table_clear(&table);
    for (unsigned i = 0; i < COUNT_OF(entries); i++) {
        entries[i].id.bytes[3] = (uint8_t)(i + 1);
        assert_true(admin_table_add(&table, &entries[i]));
    }
    buf_init(&buf, memory, sizeof(memory));
    admin_table_encode(&table, &buf);
    return buf_slice(&buf);
}

static void what_is_stored_is_read_back(void **state)
{
    (void)state;
    assert_true(admin_table_decode(&other, stored()));
    assert_int_equal(other.count, table.count);
    for (unsigned i = 0; i < table.count; i++) {
        const struct admin_entry *a = &table.entries[i];
        const struct admin_entry *b = &other.entries[i];
        assert_int_equal(a->kind, b->kind);
        assert_memory_equal(&a->id, &b->id, sizeof(a->id));
        assert_int_equal(a->created_ns, b->created_ns);
        assert_int_equal(a->expires_ns, b->expires_ns);
        assert_int_equal(a->criteria.everything, b->criteria.everything);
        assert_true(slice_equal(a->criteria.domain, b->criteria.domain));
        assert_true(slice_equal(a->criteria.routing_domain, b->criteria.routing_domain));
        assert_true(slice_equal(a->criteria.tenant, b->criteria.tenant));
        assert_true(slice_equal(a->criteria.campaign, b->criteria.campaign));
        assert_true(slice_equal(a->reason, b->reason));
        assert_int_equal(a->criteria.name_count, b->criteria.name_count);
        for (unsigned n = 0; n < a->criteria.name_count; n++) {
            assert_true(slice_equal(a->criteria.names[n], b->criteria.names[n]));
        }
    }
}

static void a_file_with_any_bit_changed_or_cut_short_is_damaged(void **state)
{
    (void)state;
    struct slice file = stored();
    for (size_t i = 0; i < file.size; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            memory[i] ^= (uint8_t)(1u << bit);
            assert_false(admin_table_decode(&other, file));
            assert_int_equal(other.count, 0);
            memory[i] ^= (uint8_t)(1u << bit);
        }
        assert_false(admin_table_decode(&other, slice_first(file, i)));
    }
    assert_true(admin_table_decode(&other, file));
}

/* As if it had been written so: no shard is to look for the name of a ready queue in vain. */
static void what_nobody_could_have_ordered_is_damage(void **state)
{
    (void)state;
    const struct slice names[] = {SLICE("one"), SLICE("two")};
    const struct {
        struct admin_entry entry;
        bool sound;
    } rows[] = {
        {{.kind = ADMIN_SUSPEND_READY, .reason = SLICE("r"),
          .criteria = {.names = names, .name_count = 1}}, true},
        {{.kind = ADMIN_SUSPEND_READY, .reason = SLICE("r"),
          .criteria = {.names = names, .name_count = 2}}, false},
        {{.kind = ADMIN_SUSPEND_READY, .reason = SLICE("r"),
          .criteria = {.domain = SLICE("a.test")}}, false},
        {{.kind = ADMIN_SUSPEND_READY, .reason = SLICE("r"), .criteria = {.everything = true}},
         false},
        {{.kind = ADMIN_SUSPEND, .criteria = {.everything = true}}, false},
        {{.kind = ADMIN_SUSPEND, .reason = SLICE("r"), .criteria = {.everything = true}}, true},
        {{.kind = ADMIN_BOUNCE, .reason = SLICE("r")}, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf buf;
        admin_table_clear(&table);
        assert_true(admin_table_add(&table, &rows[i].entry));
        buf_init(&buf, memory, sizeof(memory));
        admin_table_encode(&table, &buf);
        assert_int_equal(admin_table_decode(&other, buf_slice(&buf)), rows[i].sound);
        assert_int_equal(admin_entry_problem(&rows[i].entry) == NULL, rows[i].sound);
    }
}

/* Its checksum is right, what is in it is nonsense. */
static void a_file_of_nonsense_is_damaged_and_reads_nothing_beyond_its_end(void **state)
{
    (void)state;
    struct prng prng;
    unsigned whole = 0;
    prng_seed(&prng, 7);
    for (unsigned i = 0; i < 20000; i++) {
        struct slice file = stored();
        uint8_t copy[1024];
        size_t size = file.size - prng_below(&prng, 3);
        assert_true(size <= sizeof(copy));
        memcpy(copy, file.data, size);
        for (unsigned n = (unsigned)prng_below(&prng, 4); n > 0; n--) {
            copy[16 + prng_below(&prng, size - 16)] = (uint8_t)prng_next(&prng);
        }
        little_put_u64(copy + 8, XXH3_64bits(copy + 16, size - 16));
        whole += admin_table_decode(&other, slice_make(copy, size));
    }
    assert_in_range(whole, 100, 19000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(criteria_match_what_they_name_and_nothing_else),
        cmocka_unit_test(h18_all_queues_are_asked_for_as_such),
        cmocka_unit_test(a_bounce_comes_first_then_the_longest_suspension),
        cmocka_unit_test(of_many_suspended_sites_each_has_its_own_longest_one),
        cmocka_unit_test(a_turn_has_as_many_looks_as_its_comparisons_allow),
        cmocka_unit_test(what_has_no_room_is_left_out_whole),
        cmocka_unit_test(rules_have_room_of_their_own_and_no_place_in_the_file),
        cmocka_unit_test(what_is_stored_is_read_back),
        cmocka_unit_test(a_file_with_any_bit_changed_or_cut_short_is_damaged),
        cmocka_unit_test(what_nobody_could_have_ordered_is_damage),
        cmocka_unit_test(a_file_of_nonsense_is_damaged_and_reads_nothing_beyond_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
