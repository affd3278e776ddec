/*
 * Books of mail shards on real threads, while sites change and go: under TSan it shows that a site
 * is whole for whoever holds it, and freed by the finder alone.
 */
#include "smtp/site_book.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shard/thread.h"
#include "tests/dns/dns_table.h"

#define READERS     3
#define SHARDS      (READERS + 1)
#define NAMES       64
#define BOOK_MAX    16
#define FINDER_MAX  24
#define HELD        8
#define GOAL        1000  /* sites that each reader is told of */
#define TURNS_MAX   30000 /* without one */

static struct office {
    struct shard shard;
    struct thread thread;
    struct prng prng;
    struct site_book book;
    struct deferred work;
    struct site *held[HELD];
    unsigned told;
    unsigned silent;
    bool stopped;
} offices[SHARDS];

static struct shard *peers[SHARDS];
static struct boot_pages pages;
static struct conf conf;
static struct dns_table table;
static struct site_finder finder;
static char names[NAMES][16];
static _Atomic uint32_t finished;
static _Atomic uint32_t breaches;
static _Atomic bool stalled;

/* Every byte of it is read. */
static void look_at(const struct site *site)
{
    unsigned first = 0;
    for (unsigned i = 0; i < site->host_count; i++) {
        first += site->hosts[i].count;
        bool named = site->hosts[i].name.size > 0 && site->hosts[i].name.data[0] == 'm';
        if (!named || first > site->address_count) {
            atomic_fetch_add(&breaches, 1);
        }
    }
    if (site->kind == SITE_OK && !slice_ends_with(site->name, SLICE(".test"))) {
        atomic_fetch_add(&breaches, 1);
    }
}

static void changed(void *context, struct slice domain, const struct site *former,
                    struct site *site)
{
    struct office *office = context;
    (void)domain;
    (void)former;
    office->told++;
    office->silent = 0;
    look_at(site);
}

static void work_run(struct deferred *deferred)
{
    struct office *office = CONTAINER_OF(deferred, struct office, work);
    const char *name = names[prng_below(&office->prng, NAMES)];
    struct site *site = site_book_find(&office->book, slice_from_string(name));
    struct site **held = &office->held[prng_below(&office->prng, HELD)];
    if (site != NULL) {
        look_at(site);
        struct site *before = *held;
        *held = site_hold(site);
        if (before != NULL) {
            look_at(before);
            site_release(before);
        }
    }
    if (!office->stopped) {
        shard_defer(&office->shard, deferred);
    }
}

static void reader_end(struct office *office)
{
    office->stopped = true;
    deferred_cancel(&office->work);
    for (unsigned i = 0; i < HELD; i++) {
        if (office->held[i] != NULL) {
            site_release(office->held[i]);
            office->held[i] = NULL;
        }
    }
    site_book_stop(&office->book);
}

static void reader_run(void *context)
{
    struct office *office = context;
    bool said = false;
    shard_defer(&office->shard, &office->work);
    while (atomic_load(&finished) < READERS && !atomic_load(&stalled)) {
        shard_turn(&office->shard, false);
        if (!office->stopped && office->told >= GOAL) {
            reader_end(office);
        } else if (!said && site_book_idle(&office->book)) {
            said = true;
            atomic_fetch_add(&finished, 1);
        } else if (!said && ++office->silent > TURNS_MAX) {
            atomic_store(&stalled, true);
        }
    }
}

/* Sites change all the time, and are swept in every turn. */
static void tsa_run(void *context)
{
    struct office *office = context;
    static const char *const datas[] = {"10 mx1.test", "10 mx1.test,20 mx2.test", "!no",
                                        "!timeout"};
    while (atomic_load(&finished) < READERS && !atomic_load(&stalled)) {
        const char *name = names[prng_below(&office->prng, NAMES)];
        dns_table_say(&table, name, DNS_MX, datas[prng_below(&office->prng, COUNT_OF(datas))]);
        shard_turn(&office->shard, false);
        site_shelf_sweep(&finder.shelf, 10);
    }
}

static void office_open(struct office *office, unsigned index)
{
    static const struct ring_options options = {
        .submit_entries = 64, .complete_entries = 256, .buffer_count = 8, .buffer_bytes = 4096};
    char text[256];
    struct buf reason;
    buf_init(&reason, text, sizeof(text));
    struct shard_options shard = {.index = index, .count = SHARDS, .peers = peers};
    assert_int_equal(ring_open(&options, &shard.ring, &reason), 0);
    assert_int_equal(shard_init(&office->shard, &shard), 0);
    prng_seed(&office->prng, index);
    peers[index] = &office->shard;
    deferred_init(&office->work, work_run);
}

static void open_all(void)
{
    for (unsigned i = 0; i < SHARDS; i++) {
        office_open(&offices[i], i);
    }
    dns_table_init(&table, &offices[READERS].shard);
    dns_table_say(&table, "mx1.test", DNS_A, "192.0.2.1");
    dns_table_say(&table, "mx2.test", DNS_A, "192.0.2.2,192.0.2.3");
    for (unsigned i = 0; i < NAMES; i++) {
        snprintf(names[i], sizeof(names[i]), "d%u.test", i);
    }
    const struct site_finder_options finder_options = {.resolver = &table.resolver,
                                                       .conf = &conf,
                                                       .domains_max = FINDER_MAX,
                                                       .memory_max = MIB};
    site_finder_init(&finder, &offices[READERS].shard, &pages, &finder_options);
    for (unsigned i = 0; i < READERS; i++) {
        const struct site_book_options options = {.finder = &finder,
                                                  .domains_max = BOOK_MAX,
                                                  .memory_max = MIB,
                                                  .changed = changed,
                                                  .context = &offices[i]};
        site_book_init(&offices[i].book, &offices[i].shard, &pages, &options);
    }
}

static void threads_read_sites_that_change_and_go(void **state)
{
    (void)state;
    const struct thread_options options = {.name = "office"};
    open_all();
    for (unsigned i = 0; i < SHARDS; i++) {
        assert_int_equal(thread_start(&offices[i].thread, &options,
                                      i < READERS ? reader_run : tsa_run, &offices[i]),
                         0);
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        thread_join(&offices[i].thread);
    }
    assert_false(stalled);
    assert_int_equal(breaches, 0);
    for (unsigned i = 0; i < READERS; i++) {
        site_book_fini(&offices[i].book);
    }
    site_shelf_sweep(&finder.shelf, UINT32_MAX);
    assert_in_range(finder.shelf.count, 1, FINDER_MAX); /* nobody else holds any */
    site_finder_stop(&finder);
    assert_true(site_finder_idle(&finder));
    site_finder_fini(&finder);
    for (unsigned i = 0; i < SHARDS; i++) {
        assert_int_equal(counters_get(&offices[i].shard.counters, COUNTER_lost_wakeups), 0);
        shard_fini(&offices[i].shard);
    }
    boot_pages_give(&pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_read_sites_that_change_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
