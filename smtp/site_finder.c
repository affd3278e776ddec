#include "smtp/site_finder.h"

#include "core/check.h"
#include "smtp/idna.h"

#define SWEEP_NS    NS_PER_S
#define SWEEP_SITES 1000 /* in one go */
#define EVICT_TRIES 16   /* domains that are being searched for stay */
/* Sites that are kept for those who hold them, while others have taken their place. */
#define SITES_EACH  2

struct search;

/* What is known of a domain. */
struct domain {
    struct list used;
    struct site *site;      /* held; null: nothing yet */
    uint64_t expires_ns;
    uint64_t stale_ns;      /* until when it is better than trouble */
    struct search *search;  /* that runs; null: none */
    struct slice name;
    uint8_t name_bytes[];
};

struct search {
    struct list link;
    struct site_finder *finder; /* borrowed */
    struct domain *domain;
    struct list asks;
    struct site_search run;
};

static void tell_run(struct deferred *deferred);
static void sweep_fire(struct timer *timer);

static bool domain_equal(const void *context, uint64_t value, const void *key)
{
    const struct domain *domain = (const void *)(uintptr_t)value;
    (void)context;
    return slice_equal(domain->name, *(const struct slice *)key);
}

void site_finder_init(struct site_finder *finder, struct shard *shard, struct boot_pages *pages,
                      const struct site_finder_options *options)
{
    uint32_t slots = htab_slots_for(options->domains_max);
    *finder = (struct site_finder){.shard = shard, .options = *options};
    metered_init(&finder->memory, options->memory_max);
    site_shelf_init(&finder->shelf, &finder->memory, pages, SITES_EACH * options->domains_max,
                    prng_next(&shard->prng));
    htab_init_fresh(&finder->domains, boot_pages_take(pages, htab_memory(slots)), slots,
                    prng_next(&shard->prng), domain_equal, NULL);
    list_init(&finder->used);
    list_init(&finder->searches);
    list_init(&finder->answers);
    deferred_init(&finder->tell, tell_run);
    timer_init(&finder->sweep, sweep_fire);
    finder->nobody = (struct site){.kind = SITE_NO_DOMAIN,
                                   .name = SLICE("NXDOMAIN:"),
                                   .detail = SLICE("no domain can have this name")};
    finder->scarce = (struct site){.kind = SITE_TROUBLE,
                                   .name = SLICE("DNSFAIL:"),
                                   .detail = SLICE("no memory to search for more domains")};
}

void site_finder_set(struct site_finder *finder, const struct conf *conf)
{
    finder->options.conf = conf;
    for (struct list *at = finder->searches.next; at != &finder->searches; at = at->next) {
        CONTAINER_OF(at, struct search, link)->run.conf = conf;
    }
    for (struct list *at = finder->used.next; at != &finder->used; at = at->next) {
        CONTAINER_OF(at, struct domain, used)->expires_ns = 0; /* another one may say otherwise */
    }
}

/* --- telling ---------------------------------------------------------------------------------- */

static void answer(struct site_finder *finder, struct site_ask *ask, struct site *site,
                   uint64_t expires_ns)
{
    ask->site = site_hold(site);
    ask->expires_ns = expires_ns;
    list_push_back(&finder->answers, &ask->link);
    shard_defer(finder->shard, &finder->tell);
}

static void answer_scarce(struct site_finder *finder, struct site_ask *ask)
{
    answer(finder, ask, &finder->scarce, finder->shard->now_ns + SITE_TROUBLE_S * NS_PER_S);
}

/* Nobody is asked: the name cannot stand in a question. */
static void answer_nobody(struct site_finder *finder, struct site_ask *ask)
{
    answer(finder, ask, &finder->nobody, finder->shard->now_ns + RESOLVER_NO_TTL_MAX_S * NS_PER_S);
}

/* Those that ask in `done` are told in the next round. */
static void tell_run(struct deferred *deferred)
{
    struct site_finder *finder = CONTAINER_OF(deferred, struct site_finder, tell);
    struct list answers;
    list_init(&answers);
    list_append_all(&answers, &finder->answers);
    for (struct list *link = list_pop_front(&answers); link != NULL;
         link = list_pop_front(&answers)) {
        struct site_ask *ask = CONTAINER_OF(link, struct site_ask, link);
        struct site *site = ask->site;
        ask->site = NULL;
        ask->done(ask, site, ask->expires_ns);
    }
}

/* --- sites that nobody holds ------------------------------------------------------------------ */

static void sweep_fire(struct timer *timer)
{
    struct site_finder *finder = CONTAINER_OF(timer, struct site_finder, sweep);
    site_shelf_sweep(&finder->shelf, SWEEP_SITES);
    if (finder->shelf.count > 0) {
        shard_timer_set(finder->shard, timer, SWEEP_NS);
    }
}

/* --- domains ---------------------------------------------------------------------------------- */

static struct domain *domain_find(const struct site_finder *finder, struct slice name)
{
    uint64_t found;
    uint64_t hash = htab_hash(&finder->domains, name);
    return htab_find(&finder->domains, hash, &name, &found) ? (void *)(uintptr_t)found : NULL;
}

static void domain_drop(struct site_finder *finder, struct domain *domain)
{
    uint64_t found;
    uint64_t hash = htab_hash(&finder->domains, domain->name);
    CHECK(htab_remove(&finder->domains, hash, &domain->name, &found));
    list_remove(&domain->used);
    if (domain->site != NULL) {
        site_release(domain->site);
    }
    metered_give(&finder->memory, domain);
}

/* The least used one for which nobody searches. False: there is none nearby. */
static bool domain_evict(struct site_finder *finder)
{
    struct list *link = finder->used.next;
    for (unsigned i = 0; i < EVICT_TRIES && link != &finder->used; i++) {
        struct domain *domain = CONTAINER_OF(link, struct domain, used);
        if (domain->search == NULL) {
            domain_drop(finder, domain);
            return true;
        }
        link = link->next;
    }
    return false;
}

static struct domain *domain_make(struct site_finder *finder, struct slice name)
{
    if (finder->domains.count >= finder->options.domains_max && !domain_evict(finder)) {
        return NULL;
    }
    struct domain *domain = metered_take(&finder->memory, sizeof(*domain) + name.size);
    if (domain == NULL) {
        return NULL;
    }
    *domain = (struct domain){.site = NULL};
    memcpy(domain->name_bytes, name.data, name.size);
    domain->name = slice_make(domain->name_bytes, name.size);
    list_init(&domain->used);
    list_push_back(&finder->used, &domain->used);
    CHECK(htab_insert(&finder->domains, htab_hash(&finder->domains, name),
                      (uint64_t)(uintptr_t)domain));
    return domain;
}

/* --- searching -------------------------------------------------------------------------------- */

static void search_drop(struct search *search)
{
    struct site_finder *finder = search->finder;
    site_search_cancel(&search->run);
    search->domain->search = NULL;
    list_remove(&search->link);
    metered_give(&finder->memory, search);
}

/* What is known now; the former site is better than trouble, for some time. */
static void domain_learn(struct site_finder *finder, struct domain *domain, struct site *site,
                         uint64_t expires_ns)
{
    uint64_t now_ns = finder->shard->now_ns;
    bool in_trouble = site->kind == SITE_TROUBLE;
    if (in_trouble) {
        expires_ns = now_ns + SITE_TROUBLE_S * NS_PER_S;
    } else {
        expires_ns = MAX_OF(expires_ns, now_ns + SITE_TTL_MIN_S * NS_PER_S);
    }
    domain->expires_ns = expires_ns;
    if (in_trouble && domain->site != NULL && now_ns < domain->stale_ns) {
        site_release(site);
        return;
    }
    if (domain->site != NULL) {
        site_release(domain->site);
    }
    domain->site = site;
    domain->stale_ns = in_trouble ? 0 : expires_ns + SITE_STALE_S * NS_PER_S;
}

static void search_done(struct site_search *run)
{
    struct search *search = CONTAINER_OF(run, struct search, run);
    struct site_finder *finder = search->finder;
    struct domain *domain = search->domain;
    struct list asks;
    list_init(&asks);
    list_append_all(&asks, &search->asks);
    struct site *site = site_shelf_take(&finder->shelf, &run->site);
    if (site != NULL) {
        domain_learn(finder, domain, site, run->expires_ns);
    }
    search_drop(search);
    if (!timer_is_set(&finder->sweep)) {
        shard_timer_set(finder->shard, &finder->sweep, SWEEP_NS);
    }
    for (struct list *link = list_pop_front(&asks); link != NULL; link = list_pop_front(&asks)) {
        struct site_ask *ask = CONTAINER_OF(link, struct site_ask, link);
        if (domain->site != NULL) {
            answer(finder, ask, domain->site, domain->expires_ns);
        } else {
            answer_scarce(finder, ask);
        }
    }
    if (domain->site == NULL) {
        domain_drop(finder, domain);
    }
}

/* False: there is no memory. */
static bool search_begin(struct site_finder *finder, struct domain *domain)
{
    struct search *search = metered_take(&finder->memory, sizeof(*search));
    if (search == NULL) {
        return false;
    }
    *search = (struct search){.finder = finder,
                              .domain = domain,
                              .run = {.resolver = finder->options.resolver,
                                      .conf = finder->options.conf,
                                      .memory = &finder->memory,
                                      .domain = domain->name,
                                      .done = search_done}};
    list_init(&search->link);
    list_init(&search->asks);
    list_push_back(&finder->searches, &search->link);
    domain->search = search;
    finder->searched++;
    site_search_start(&search->run);
    return true;
}

/* --- asking ----------------------------------------------------------------------------------- */

void site_finder_ask(struct site_finder *finder, struct site_ask *ask)
{
    uint8_t ascii[DNS_NAME_BYTES_MAX];
    struct slice name = ask->domain;
    ask->site = NULL;
    list_init(&ask->link);
    if (!site_search_is_list(name) && !idna_to_ascii(ask->domain, ascii, &name)) {
        answer_nobody(finder, ask);
        return;
    }
    struct domain *domain = finder->stopped ? NULL : domain_find(finder, name);
    if (domain == NULL && !finder->stopped) {
        domain = domain_make(finder, name);
    }
    if (domain == NULL) {
        answer_scarce(finder, ask);
        return;
    }
    list_remove(&domain->used);
    list_push_back(&finder->used, &domain->used);
    if (domain->site != NULL && finder->shard->now_ns < domain->expires_ns) {
        answer(finder, ask, domain->site, domain->expires_ns);
    } else if (domain->search != NULL || search_begin(finder, domain)) {
        list_push_back(&domain->search->asks, &ask->link);
    } else if (domain->site != NULL) {
        answer(finder, ask, domain->site, finder->shard->now_ns + SITE_TROUBLE_S * NS_PER_S);
    } else {
        answer_scarce(finder, ask);
    }
}

void site_finder_unask(struct site_finder *finder, struct site_ask *ask)
{
    (void)finder;
    list_remove(&ask->link);
    if (ask->site != NULL) {
        site_release(ask->site);
        ask->site = NULL;
    }
}

/* --- the end ---------------------------------------------------------------------------------- */

void site_finder_stop(struct site_finder *finder)
{
    finder->stopped = true;
    shard_timer_clear(finder->shard, &finder->sweep);
    while (!list_empty(&finder->searches)) {
        struct search *search = CONTAINER_OF(finder->searches.next, struct search, link);
        struct list *link = list_pop_front(&search->asks);
        for (; link != NULL; link = list_pop_front(&search->asks)) {
            answer_scarce(finder, CONTAINER_OF(link, struct site_ask, link));
        }
        search_drop(search);
    }
}

bool site_finder_idle(const struct site_finder *finder)
{
    return finder->stopped && list_empty(&finder->answers);
}

uint64_t site_finder_memory(const struct site_finder *finder)
{
    return finder->memory.used;
}

unsigned site_finder_sites(const struct site_finder *finder)
{
    return finder->shelf.count;
}

void site_finder_fini(struct site_finder *finder)
{
    deferred_cancel(&finder->tell);
    metered_fini(&finder->memory);
}
