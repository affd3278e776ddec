/* Paths of a view: merged once, gone when another view is in force, and none of it at once. */
#include "smtp/path_book.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "tests/kit/conf_kit.h"

#define MANY 10000u

static char said[4000];
static struct boot_pages pages;
static struct path_book book;

/* A block for each of so many domains, with this limit. */
static struct conf *conf_of(unsigned count, unsigned limit)
{
    size_t bytes = (size_t)count * 64 + 64;
    char *text = malloc(bytes);
    struct buf buf;
    assert_non_null(text);
    buf_init(&buf, (uint8_t *)text, bytes - 1);
    for (unsigned i = 0; i < count; i++) {
        buf_printf(&buf, "[shaping.\"d%u.test\"]\nconnection_limit = %u\n", i, limit);
    }
    assert_false(buf.overflow);
    text[buf.size] = 0;
    const char *const files[] = {"t.toml", text, NULL};
    struct conf *conf = conf_kit_load(files, NULL, 0, said, sizeof(said));
    assert_non_null(conf);
    free(text);
    return conf;
}

static void set(const struct conf *conf)
{
    const struct shaping_view view = {.shaping = conf->shaping};
    path_book_set(&book, &view);
}

static const struct path_options *find(unsigned number)
{
    char name[32];
    (void)snprintf(name, sizeof(name), "d%u.test", number);
    const struct path_options *path =
        path_book_find(&book, slice_from_string(name), NULL, SLICE_NONE);
    assert_non_null(path);
    return path;
}

static int set_up(void **state)
{
    (void)state;
    book = (struct path_book){0};
    path_book_init(&book, &pages);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    path_book_fini(&book);
    boot_pages_give(&pages);
    return 0;
}

static void a_path_that_is_held_outlives_its_view_and_nobody_finds_it(void **state)
{
    (void)state;
    struct conf *first = conf_of(3, 1);
    struct conf *second = conf_of(3, 2);
    set(first);
    const struct path_options *held = path_hold(find(0));
    assert_ptr_equal(find(0), held);
    assert_int_equal(book.merged, 1);
    set(second);
    assert_int_equal(find(0)->connection_limit, 2);
    assert_ptr_not_equal(find(0), held);
    conf_free(first);
    assert_int_equal(held->connection_limit, 1);
    path_drop(&book, &held);
    assert_null(held);
    assert_int_equal(book.merged, 2);
    conf_free(second);
}

static void a_path_is_found_again_when_its_view_is_in_force_again(void **state)
{
    (void)state;
    struct conf *first = conf_of(20, 1);
    struct conf *second = conf_of(20, 2);
    struct conf *same = conf_of(20, 1);
    set(first);
    const struct path_options *path = find(7);
    set(second);
    set(same);
    conf_free(first);
    assert_ptr_equal(find(7), path);
    for (unsigned i = 0; i < 20; i++) {
        find(i); /* were it a former one it would go now */
    }
    assert_ptr_equal(find(7), path);
    assert_int_equal(path->connection_limit, 1);
    assert_int_equal(book.merged, 20);
    conf_free(second);
    conf_free(same);
}

static uint64_t thread_ns(void)
{
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now), 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void a_view_of_many_comes_into_force_without_touching_a_path(void **state)
{
    (void)state;
    struct conf *first = conf_of(MANY, 1);
    struct conf *second = conf_of(MANY, 2);
    set(first);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(find(i)->connection_limit, 1);
    }
    uint64_t full = book.memory.used;
    uint64_t before_ns = thread_ns();
    set(second);
    uint64_t swap_ns = thread_ns() - before_ns;
    assert_int_equal(book.memory.used, full);
    before_ns = thread_ns();
    for (unsigned i = 0; i < MANY; i++) {
        uint64_t used = book.memory.used;
        assert_int_equal(find(i)->connection_limit, 2);
        assert_in_range(book.memory.used, used - MIN_OF(used, 4 * full / MANY), full + full / MANY);
    }
    assert_int_equal(book.memory.used, full);
    double each_us = (double)(thread_ns() - before_ns) / 1e3 / MANY;
    printf("path_book: %u blocks, as many paths: another view in %.1f us of CPU, then %.2f us for "
           "each path\n", MANY, (double)swap_ns / 1e3, each_us);
    conf_free(first);
    conf_free(second);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_path_that_is_held_outlives_its_view_and_nobody_finds_it),
        TEST(a_path_is_found_again_when_its_view_is_in_force_again),
        TEST(a_view_of_many_comes_into_force_without_touching_a_path),
    };
    return cmocka_run_group_tests_name("path_book", tests, NULL, NULL);
}
