/* Several daemons as one: what any of them has is in force, until none of them has it. */
#include "tsa/merge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define EFFECTS 8u
#define NOW_NS  (1757000000 * NS_PER_S)

static struct heap heap;
static struct automation automation;
static struct merge merge;

static void boot(void)
{
    heap_init(&heap);
    automation_init(&automation, &heap, EFFECTS, 8, 1, 5);
    merge_init(&merge, &heap, &automation, 2);
}

static int set_up(void **state)
{
    (void)state;
    boot();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    heap_fini(&heap);
    return 0;
}

static struct automation_effect effect_of(const char *domain, uint64_t seconds)
{
    return (struct automation_effect){.kind = SHAPING_BOUNCE,
                                      .rule_hash = 9,
                                      .domain = slice_from_string(domain),
                                      .event_ns = NOW_NS,
                                      .expires_ns = NOW_NS + seconds * NS_PER_S};
}

static void hold(unsigned source, const char *domain, uint64_t seconds)
{
    struct automation_effect effect = effect_of(domain, seconds);
    assert_true(merge_hold(&merge, source, &effect));
}

static void release(unsigned source, const char *domain)
{
    struct automation_effect effect = effect_of(domain, 1);
    merge_release(&merge, source, &effect);
}

/* In force, by domain, in the order of slots: "a b". */
static void is_in_force(const char *wanted)
{
    char found[256] = "";
    uint32_t cursor = 0;
    const struct automation_effect *effect;
    while ((effect = automation_next(&automation, &cursor)) != NULL) {
        size_t at = strlen(found);
        snprintf(found + at, sizeof(found) - at, "%s%.*s", at > 0 ? " " : "",
                 (int)effect->domain.size, (const char *)effect->domain.data);
    }
    assert_string_equal(found, wanted);
}

static void what_two_have_ends_with_the_second_one(void **state)
{
    (void)state;
    hold(0, "a", 60);
    hold(1, "a", 90);
    hold(1, "b", 60);
    release(0, "a");
    release(0, "b"); /* it never had that */
    release(0, "c");
    is_in_force("a b");
    release(1, "a");
    is_in_force("b");
    release(1, "b");
    is_in_force("");
}

static void what_a_snapshot_has_not_is_over_there(void **state)
{
    (void)state;
    hold(0, "a", 60);
    hold(0, "b", 60);
    hold(1, "b", 60);
    merge_begin(&merge, 0);
    hold(0, "c", 60);
    is_in_force("a b c"); /* half of a snapshot ends nothing */
    merge_begin(&merge, 0);
    merge_complete(&merge, 0);
    is_in_force("b");
    merge_begin(&merge, 1);
    hold(1, "b", 60);
    merge_complete(&merge, 1);
    is_in_force("b");
}

static void what_a_rule_of_ours_has_caused_stays(void **state)
{
    struct automation_effect ours = effect_of("a", 60);
    uint32_t slot;
    (void)state;
    hold(0, "a", 60);
    hold(0, "b", 60);
    assert_true(automation_find(&automation, &ours, &slot)->remote);
    /* As when a rule acts here. */
    ((struct automation_effect *)(uintptr_t)automation_find(&automation, &ours, &slot))->remote =
        false;
    release(0, "a");
    release(0, "b");
    is_in_force("a");
}

static void what_a_start_has_found_is_everybodys_until_each_has_spoken(void **state)
{
    uint8_t rows[2][AUTOMATION_ROW_BYTES_MAX];
    struct buf bufs[2];
    struct automation_effect ours = effect_of("own", 60);
    uint32_t slot;
    (void)state;
    hold(0, "a", 60);
    hold(0, "b", 60);
    for (uint32_t i = 0; i < 2; i++) {
        buf_init(&bufs[i], rows[i], sizeof(rows[i]));
        automation_put_row(&automation, AUTOMATION_EFFECTS, i, &bufs[i]);
    }
    heap_fini(&heap);
    boot();
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(automation_restore(&automation, AUTOMATION_EFFECTS, buf_slice(&bufs[i]),
                                       NOW_NS));
    }
    assert_non_null(automation_impose(&automation, &ours, &slot));
    ((struct automation_effect *)(uintptr_t)automation_find(&automation, &ours, &slot))->remote =
        false;
    merge_restored(&merge);
    merge_begin(&merge, 1);
    merge_complete(&merge, 1);
    is_in_force("a b own");
    merge_begin(&merge, 0);
    hold(0, "b", 60);
    merge_complete(&merge, 0);
    is_in_force("b own");
}

static void there_is_no_more_room_than_there_is_and_a_place_has_no_memory(void **state)
{
    char name[8];
    (void)state;
    for (unsigned i = 0; i < EFFECTS; i++) {
        snprintf(name, sizeof(name), "d%u", i);
        hold(1, name, 60);
    }
    struct automation_effect more = effect_of("more", 60);
    assert_false(merge_hold(&merge, 0, &more));
    automation_expire(&automation, NOW_NS + 61 * NS_PER_S);
    hold(0, "x", 120);
    hold(0, "y", 120);
    release(1, "x"); /* it had what stood there before */
    is_in_force("x y");
    release(0, "y");
    is_in_force("x");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_two_have_ends_with_the_second_one),
        TEST(what_a_snapshot_has_not_is_over_there),
        TEST(what_a_rule_of_ours_has_caused_stays),
        TEST(what_a_start_has_found_is_everybodys_until_each_has_spoken),
        TEST(there_is_no_more_room_than_there_is_and_a_place_has_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
