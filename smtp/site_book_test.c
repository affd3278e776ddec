/* Sites on mail shards: who is told what, and when, with two and four shards and a busy network. */
#include "smtp/site_book.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/dns/dns_table.h"
#include "tests/sim/shards.h"

#define DOMAINS_MAX 16
#define NAMES       64

static char names[NAMES][16];
static const char *const datas[] = {"10 mx1.test", "10 mx1.test,20 mx2.test",
                                    "20 mx1.test,10 mx2.test", "!timeout", "!no", "0 ",
                                    "10 nowhere.test"};

struct reader {
    struct rig *rig;
    struct site_book book;
    struct timer timer;      /* what the shard does by itself */
    unsigned changes;
    struct site *last;       /* of the last change; held */
    char last_domain[16];
    struct site *held[4];
    bool is_busy;
};

struct rig {
    struct sim *sim;
    struct sim_shards shards;
    struct boot_pages pages;
    struct dns_table table;
    struct conf conf;
    struct site_finder finder;
    struct reader readers[SIM_SHARDS_MAX - 1];
    unsigned count;          /* mail shards */
};

static void changed(void *context, struct slice domain, const struct site *former,
                    struct site *site)
{
    (void)former;
    struct reader *reader = context;
    reader->changes++;
    if (reader->last != NULL) {
        site_release(reader->last);
    }
    reader->last = site_hold(site);
    snprintf(reader->last_domain, sizeof(reader->last_domain), "%.*s", (int)domain.size,
             (const char *)domain.data);
    /* It is what is known now. */
    if (site_book_find(&reader->book, domain) != site) {
        sim_fail(reader->rig->sim, "a change that is not found");
    }
}

static void rig_boot(struct rig *rig, struct sim *sim, unsigned count)
{
    *rig = (struct rig){.sim = sim, .count = count};
    sim_shards_boot(&rig->shards, sim_node_open(sim, NULL), count + 1, 16, 64);
    struct shard *tsa = &rig->shards.shards[count];
    dns_table_init(&rig->table, tsa);
    struct site_finder_options options = {.resolver = &rig->table.resolver,
                                          .conf = &rig->conf,
                                          .domains_max = 2 * DOMAINS_MAX,
                                          .memory_max = 4 * MIB};
    site_finder_init(&rig->finder, tsa, &rig->pages, &options);
    for (unsigned i = 0; i < count; i++) {
        struct reader *reader = &rig->readers[i];
        struct site_book_options book_options = {.finder = &rig->finder,
                                                 .domains_max = DOMAINS_MAX,
                                                 .memory_max = MIB,
                                                 .changed = changed,
                                                 .context = reader};
        reader->rig = rig;
        site_book_init(&reader->book, &rig->shards.shards[i], &rig->pages, &book_options);
    }
    dns_table_say(&rig->table, "mx1.test", DNS_A, "192.0.2.1");
    dns_table_say(&rig->table, "mx2.test", DNS_A, "192.0.2.2");
    for (unsigned i = 0; i < NAMES; i++) {
        snprintf(names[i], sizeof(names[i]), "d%u.test", i);
    }
    (void)sim_run_for(sim, NS_PER_MS);
}

static void run(struct rig *rig, uint64_t ns)
{
    for (unsigned i = 0; i <= rig->count; i++) {
        ring_wake(rig->shards.shards[i].ring);
    }
    (void)sim_run_for(rig->sim, ns);
}

static bool all_idle(void *context)
{
    struct rig *rig = context;
    bool idle = true;
    for (unsigned i = 0; i < rig->count; i++) {
        idle = idle && site_book_idle(&rig->readers[i].book);
    }
    return idle;
}

static void reader_release(struct reader *reader)
{
    for (unsigned i = 0; i < COUNT_OF(reader->held); i++) {
        if (reader->held[i] != NULL) {
            site_release(reader->held[i]);
            reader->held[i] = NULL;
        }
    }
    if (reader->last != NULL) {
        site_release(reader->last);
        reader->last = NULL;
    }
}

/* The end: books, then the finder. No site is held by anybody but the finder. */
static void rig_stop(struct rig *rig)
{
    for (unsigned i = 0; i < rig->count; i++) {
        shard_timer_clear(&rig->shards.shards[i], &rig->readers[i].timer);
        site_book_stop(&rig->readers[i].book);
    }
    run(rig, 0);
    if (!sim_run_until(rig->sim, all_idle, rig, 10 * NS_PER_S)) {
        sim_fail(rig->sim, "a book does not end");
    }
    for (unsigned i = 0; i < rig->count && !sim_failed(rig->sim); i++) {
        reader_release(&rig->readers[i]);
        site_book_fini(&rig->readers[i].book);
    }
    run(rig, 10 * NS_PER_S);
    if (!sim_failed(rig->sim) && rig->finder.shelf.count > rig->finder.domains.count) {
        sim_fail(rig->sim, "%u sites for %u domains", rig->finder.shelf.count,
                 rig->finder.domains.count);
    }
    site_finder_stop(&rig->finder);
    run(rig, NS_PER_S);
    if (!sim_failed(rig->sim)) {
        site_finder_fini(&rig->finder);
    } else {
        metered_fini(&rig->finder.memory);
    }
    sim_shards_stop(&rig->shards);
    boot_pages_give(&rig->pages);
}

static void rig_open(struct rig *rig, unsigned count)
{
    rig_boot(rig, sim_open(&(struct sim_options){.seed = 1}), count);
}

static void rig_close(struct rig *rig)
{
    rig_stop(rig);
    assert_string_equal(sim_failure(rig->sim), "");
    sim_close(rig->sim);
}

static struct site *find(struct rig *rig, unsigned reader, const char *domain)
{
    struct site *site = site_book_find(&rig->readers[reader].book, slice_from_string(domain));
    run(rig, NS_PER_S);
    return site;
}

static void a_domain_is_asked_for_once_and_told_to_all_shards_as_one_site(void **state)
{
    (void)state;
    static const unsigned counts[] = {1, 3};
    for (unsigned k = 0; k < COUNT_OF(counts); k++) {
        struct rig rig;
        rig_open(&rig, counts[k]);
        dns_table_say(&rig.table, "a.test", DNS_MX, datas[1]);
        for (unsigned i = 0; i < rig.count; i++) {
            assert_null(site_book_find(&rig.readers[i].book, SLICE("a.test")));
            assert_null(site_book_find(&rig.readers[i].book, SLICE("a.test")));
        }
        run(&rig, NS_PER_S);
        for (unsigned i = 0; i < rig.count; i++) {
            assert_int_equal(rig.readers[i].changes, 1);
            assert_string_equal(rig.readers[i].last_domain, "a.test");
            assert_int_equal(rig.readers[i].last->kind, SITE_OK);
            assert_ptr_equal(rig.readers[i].last, rig.readers[0].last);
            assert_ptr_equal(find(&rig, i, "a.test"), rig.readers[0].last);
        }
        assert_int_equal(rig.finder.searched, 1);
        rig_close(&rig);
    }
}

static void what_expires_is_asked_for_again_while_it_is_used(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1);
    dns_table_say(&rig.table, "a.test", DNS_MX, datas[0]);
    assert_null(find(&rig, 0, "a.test"));
    struct site *first = rig.readers[0].last;
    run(&rig, 3600 * NS_PER_S);
    assert_int_equal(rig.finder.searched, 1); /* nobody has looked */
    assert_ptr_equal(find(&rig, 0, "a.test"), first);
    assert_int_equal(rig.finder.searched, 2);
    assert_int_equal(rig.readers[0].changes, 1); /* it is the same */
    dns_table_say(&rig.table, "a.test", DNS_MX, datas[1]);
    run(&rig, 400 * NS_PER_S);
    assert_ptr_equal(find(&rig, 0, "a.test"), first); /* serves meanwhile */
    assert_int_equal(rig.readers[0].changes, 2);
    struct site *second = rig.readers[0].last;
    assert_ptr_not_equal(second, first);
    assert_ptr_equal(find(&rig, 0, "a.test"), second);
    /* Another order of the same hosts, and then an end. */
    dns_table_say(&rig.table, "a.test", DNS_MX, datas[2]);
    run(&rig, 400 * NS_PER_S);
    (void)find(&rig, 0, "a.test");
    assert_int_equal(rig.readers[0].changes, 3);
    dns_table_say(&rig.table, "a.test", DNS_MX, "!no");
    run(&rig, 400 * NS_PER_S);
    (void)find(&rig, 0, "a.test");
    assert_int_equal(rig.readers[0].changes, 4);
    assert_int_equal(rig.readers[0].last->kind, SITE_NO_DOMAIN);
    /* Other addresses of the same hosts are no other way: found, not told. */
    dns_table_say(&rig.table, "b.test", DNS_MX, datas[0]);
    (void)find(&rig, 0, "b.test");
    struct site *before = site_hold(find(&rig, 0, "b.test"));
    dns_table_say(&rig.table, "mx1.test", DNS_A, "192.0.2.77");
    run(&rig, 400 * NS_PER_S);
    unsigned changes = rig.readers[0].changes;
    (void)find(&rig, 0, "b.test");
    assert_ptr_not_equal(find(&rig, 0, "b.test"), before);
    assert_int_equal(rig.readers[0].changes, changes);
    site_release(before);
    rig_close(&rig);
}

static void f17_trouble_is_asked_for_again_soon(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1);
    dns_table_say(&rig.table, "a.test", DNS_MX, "!timeout");
    assert_null(find(&rig, 0, "a.test"));
    assert_int_equal(rig.readers[0].last->kind, SITE_TROUBLE);
    dns_table_say(&rig.table, "a.test", DNS_MX, datas[0]);
    run(&rig, SITE_TROUBLE_S * NS_PER_S);
    assert_null(find(&rig, 0, "a.test")); /* it may have a site by now */
    assert_int_equal(rig.readers[0].last->kind, SITE_OK);
    assert_int_equal(rig.readers[0].changes, 2);
    rig_close(&rig);
}

static void the_least_used_go_and_without_memory_it_is_trouble(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1);
    struct site_book *book = &rig.readers[0].book;
    for (unsigned i = 0; i < NAMES; i++) {
        assert_null(find(&rig, 0, names[i]));
        (void)find(&rig, 0, names[0]);
    }
    assert_int_equal(book->domains.count, DOMAINS_MAX);
    assert_non_null(find(&rig, 0, names[0]));
    assert_null(find(&rig, 0, names[1]));
    run(&rig, 10 * NS_PER_S);
    book->memory.limit = book->memory.used;
    struct site *site = find(&rig, 0, "more.test");
    assert_non_null(site);
    assert_int_equal(site->kind, SITE_TROUBLE);
    book->memory.limit = MIB;
    /* More at once than there is room for. */
    unsigned waiting = 0;
    unsigned refused = 0;
    for (unsigned i = 10; i < 10 + 2 * DOMAINS_MAX; i++) {
        site = site_book_find(book, slice_from_string(names[i]));
        waiting += site == NULL;
        refused += site != NULL && site->kind == SITE_TROUBLE;
    }
    assert_int_equal(waiting, DOMAINS_MAX);
    assert_int_equal(refused, DOMAINS_MAX);
    rig_close(&rig);
}

static void a_stop_calls_home_what_is_being_asked_for(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 3);
    for (unsigned i = 0; i < rig.count; i++) {
        assert_null(site_book_find(&rig.readers[i].book, SLICE("a.test")));
        site_book_stop(&rig.readers[i].book);
        assert_int_equal(site_book_find(&rig.readers[i].book, SLICE("a.test"))->kind,
                         SITE_TROUBLE);
        assert_int_equal(site_book_find(&rig.readers[i].book, SLICE("b.test"))->kind,
                         SITE_TROUBLE);
    }
    rig_close(&rig);
}

/* --- a busy node ------------------------------------------------------------------------------ */

/* Looks up some, holds some, lets some go. */
static void reader_fire(struct timer *timer)
{
    struct reader *reader = CONTAINER_OF(timer, struct reader, timer);
    struct rig *rig = reader->rig;
    for (uint64_t i = sim_below(rig->sim, 8); i > 0; i--) {
        const char *name = names[sim_below(rig->sim, NAMES / 2)];
        struct site *site = site_book_find(&reader->book, slice_from_string(name));
        struct site **held = &reader->held[sim_below(rig->sim, COUNT_OF(reader->held))];
        if (site != NULL && sim_chance(rig->sim, 300)) {
            struct site *before = *held;
            *held = site_hold(site);
            if (before != NULL) {
                /* Whatever has become of it elsewhere, it is whole. */
                sim_trace(rig->sim, site_verdict(before).code + before->name.size);
                site_release(before);
            }
        }
    }
    shard_timer_set(reader->book.shard, timer, sim_below(rig->sim, 500 * NS_PER_MS));
}

static void busy(struct sim *sim, void *context)
{
    const unsigned *count = context;
    struct rig *rig = calloc(1, sizeof(*rig));
    if (rig == NULL) {
        sim_fail(sim, "no memory");
        return;
    }
    rig_boot(rig, sim, *count);
    for (unsigned i = 0; i < rig->count; i++) {
        timer_init(&rig->readers[i].timer, reader_fire);
        shard_timer_set(&rig->shards.shards[i], &rig->readers[i].timer, NS_PER_MS);
    }
    for (unsigned i = 0; i < 60 && !sim_failed(sim); i++) {
        for (unsigned k = 0; k < 10; k++) {
            dns_table_say(&rig->table, names[sim_below(sim, NAMES / 2)], DNS_MX,
                          datas[sim_below(sim, COUNT_OF(datas))]);
        }
        run(rig, sim_below(sim, 30 * NS_PER_S));
    }
    rig_stop(rig);
    free(rig);
}

static void readers_of_all_shards_meet_whole_sites_and_leave_none(void **state)
{
    (void)state;
    unsigned counts[] = {1, 3};
    for (unsigned i = 0; i < COUNT_OF(counts); i++) {
        struct sim_campaign campaign = {.name = "site books",
                                        .count = 20,
                                        .swarm = SIM_FAULTS_HARMLESS,
                                        .body = busy,
                                        .context = &counts[i]};
        assert_int_equal(sim_campaign_run(&campaign), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_domain_is_asked_for_once_and_told_to_all_shards_as_one_site),
        cmocka_unit_test(what_expires_is_asked_for_again_while_it_is_used),
        cmocka_unit_test(f17_trouble_is_asked_for_again_soon),
        cmocka_unit_test(the_least_used_go_and_without_memory_it_is_trouble),
        cmocka_unit_test(a_stop_calls_home_what_is_being_asked_for),
        cmocka_unit_test(readers_of_all_shards_meet_whole_sites_and_leave_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
