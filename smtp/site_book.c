#include "smtp/site_book.h"

#include "core/check.h"

#define EVICT_TRIES 16        /* wishes that are away stay */
#define REST_NS     NS_PER_S  /* between two times that a domain is asked for */

/* A domain; away, it belongs to the TSA shard but for `site` and `used`. */
struct wish {
    struct mail mail;
    struct site_book *book;  /* borrowed */
    struct list used;
    struct site *site;       /* held; null: nothing yet */
    uint64_t expires_ns;
    bool is_away;
    bool again;              /* what comes home may be of the configuration before */
    struct site_ask ask;
    struct list pending;
    struct site *answer;     /* on its way home, held; null: there is none */
    uint64_t answer_expires_ns;
    struct slice name;
    uint8_t name_bytes[];
};

/* A site that is let go when nobody can have it borrowed any more. */
struct lent {
    struct list link;
    struct site *site;
};

static void release_run(struct deferred *deferred);

static bool wish_equal(const void *context, uint64_t value, const void *key)
{
    const struct wish *wish = (const void *)(uintptr_t)value;
    (void)context;
    return slice_equal(wish->name, *(const struct slice *)key);
}

void site_book_init(struct site_book *book, struct shard *shard, struct boot_pages *pages,
                    const struct site_book_options *options)
{
    uint32_t slots = htab_slots_for(options->domains_max);
    *book = (struct site_book){.shard = shard, .options = *options};
    metered_init(&book->memory, options->memory_max);
    htab_init_fresh(&book->domains, boot_pages_take(pages, htab_memory(slots)), slots,
                    prng_next(&shard->prng), wish_equal, NULL);
    list_init(&book->used);
    list_init(&book->leaving);
    list_init(&book->left);
    list_init(&book->pending);
    deferred_init(&book->release, release_run);
    book->scarce = (struct site){.kind = SITE_TROUBLE,
                                 .name = SLICE("DNSFAIL:"),
                                 .detail = SLICE("no memory for more domains")};
}

/* --- letting go ------------------------------------------------------------------------------- */

static void release_all(struct site_book *book, struct list *lents)
{
    for (struct list *link = list_pop_front(lents); link != NULL; link = list_pop_front(lents)) {
        struct lent *lent = CONTAINER_OF(link, struct lent, link);
        site_release(lent->site);
        metered_give(&book->memory, lent);
    }
}

/* Near the end of a turn; what has been lent in this one goes at the end of the next. */
static void release_run(struct deferred *deferred)
{
    struct site_book *book = CONTAINER_OF(deferred, struct site_book, release);
    release_all(book, &book->left);
    list_append_all(&book->left, &book->leaving);
    if (!list_empty(&book->left)) {
        shard_defer(book->shard, deferred);
    }
}

/* `lent` has been taken together with what held the site. */
static void let_go(struct site_book *book, struct lent *lent, struct site *site)
{
    *lent = (struct lent){.site = site};
    list_init(&lent->link);
    list_push_back(&book->leaving, &lent->link);
    shard_defer(book->shard, &book->release);
}

/* --- on the TSA shard ------------------------------------------------------------------------- */

static void wish_home(struct shard *receiver, struct mail *mail);

static void go_home(struct wish *wish)
{
    struct site_book *book = wish->book;
    list_remove(&wish->pending);
    wish->mail.arrive = wish_home;
    shard_send(book->options.finder->shard, book->shard->index, &wish->mail);
}

static void found(struct site_ask *ask, struct site *site, uint64_t expires_ns)
{
    struct wish *wish = CONTAINER_OF(ask, struct wish, ask);
    wish->answer = site;
    wish->answer_expires_ns = expires_ns;
    go_home(wish);
}

static void wish_arrives(struct shard *receiver, struct mail *mail)
{
    struct wish *wish = CONTAINER_OF(mail, struct wish, mail);
    (void)receiver;
    wish->ask = (struct site_ask){.domain = wish->name, .done = found};
    list_init(&wish->pending);
    list_push_back(&wish->book->pending, &wish->pending);
    site_finder_ask(wish->book->options.finder, &wish->ask);
}

static void stop_home(struct shard *receiver, struct mail *mail)
{
    (void)receiver;
    CONTAINER_OF(mail, struct site_book, stop_mail)->away--;
}

/* All wishes that were sent before it are here. */
static void stop_arrives(struct shard *receiver, struct mail *mail)
{
    struct site_book *book = CONTAINER_OF(mail, struct site_book, stop_mail);
    while (!list_empty(&book->pending)) {
        struct wish *wish = CONTAINER_OF(book->pending.next, struct wish, pending);
        site_finder_unask(book->options.finder, &wish->ask);
        go_home(wish);
    }
    mail->arrive = stop_home;
    shard_send(receiver, book->shard->index, mail);
}

/* --- at home ---------------------------------------------------------------------------------- */

static bool differs(const struct site *before, const struct site *after)
{
    return before == NULL || before->kind != after->kind || before->order != after->order ||
           !slice_equal(before->name, after->name);
}

/* Without memory to let the former one go later the answer is let go, which nobody has seen. */
static void wish_learn(struct site_book *book, struct wish *wish, struct site *site)
{
    struct site *before = wish->site;
    if (before == site) {
        site_release(site);
        return;
    }
    if (before != NULL) {
        struct lent *lent = metered_take(&book->memory, sizeof(*lent));
        if (lent == NULL) {
            site_release(site);
            return;
        }
        let_go(book, lent, before);
    }
    wish->site = site;
    if (differs(before, site)) {
        list_remove(&wish->used); /* what looks up others in there does not drop this one */
        list_push_back(&book->used, &wish->used);
        book->options.changed(book->options.context, wish->name, before, site);
    }
}

static void wish_home(struct shard *receiver, struct mail *mail)
{
    struct wish *wish = CONTAINER_OF(mail, struct wish, mail);
    struct site_book *book = wish->book;
    struct site *site = wish->answer;
    book->away--;
    wish->is_away = false;
    wish->answer = NULL;
    wish->expires_ns = receiver->now_ns + REST_NS;
    if (site != NULL) {
        wish->expires_ns =
            wish->again ? 0 : MAX_OF(wish->expires_ns, wish->answer_expires_ns);
        wish->again = false;
        wish_learn(book, wish, site);
    }
}

static void wish_send(struct wish *wish)
{
    struct site_book *book = wish->book;
    wish->is_away = true;
    wish->mail.arrive = wish_arrives;
    book->away++;
    shard_send(book->shard, book->options.finder->shard->index, &wish->mail);
}

/* False: there is no memory to do it. */
static bool wish_drop(struct site_book *book, struct wish *wish)
{
    uint64_t found_value;
    if (wish->site != NULL) {
        struct lent *lent = metered_take(&book->memory, sizeof(*lent));
        if (lent == NULL) {
            return false;
        }
        let_go(book, lent, wish->site);
    }
    CHECK(htab_remove(&book->domains, htab_hash(&book->domains, wish->name), &wish->name,
                      &found_value));
    list_remove(&wish->used);
    metered_give(&book->memory, wish);
    return true;
}

static bool wish_evict(struct site_book *book)
{
    struct list *link = book->used.next;
    for (unsigned i = 0; i < EVICT_TRIES && link != &book->used; i++) {
        struct wish *wish = CONTAINER_OF(link, struct wish, used);
        if (!wish->is_away) {
            return wish_drop(book, wish);
        }
        link = link->next;
    }
    return false;
}

static struct wish *wish_make(struct site_book *book, struct slice domain)
{
    if (book->domains.count >= book->options.domains_max && !wish_evict(book)) {
        return NULL;
    }
    struct wish *wish = metered_take(&book->memory, sizeof(*wish) + domain.size);
    if (wish == NULL) {
        return NULL;
    }
    *wish = (struct wish){.book = book};
    memcpy(wish->name_bytes, domain.data, domain.size);
    wish->name = slice_make(wish->name_bytes, domain.size);
    list_init(&wish->used);
    list_init(&wish->pending);
    list_push_back(&book->used, &wish->used);
    CHECK(htab_insert(&book->domains, htab_hash(&book->domains, domain),
                      (uint64_t)(uintptr_t)wish));
    return wish;
}

struct site *site_book_find(struct site_book *book, struct slice domain)
{
    uint64_t value;
    struct wish *wish = NULL;
    if (htab_find(&book->domains, htab_hash(&book->domains, domain), &domain, &value)) {
        wish = (void *)(uintptr_t)value;
    } else if (!book->stopping) {
        wish = wish_make(book, domain);
    }
    if (wish == NULL) {
        return &book->scarce;
    }
    list_remove(&wish->used);
    list_push_back(&book->used, &wish->used);
    bool wanted = wish->site == NULL || book->shard->now_ns >= wish->expires_ns;
    if (wanted && !wish->is_away && !book->stopping) {
        wish_send(wish);
    }
    if (wish->site != NULL && wish->site->kind != SITE_OK && wish->is_away) {
        return NULL; /* it may have one now */
    }
    return wish->site == NULL && book->stopping ? &book->scarce : wish->site;
}

/* --- the end ---------------------------------------------------------------------------------- */

void site_book_stop(struct site_book *book)
{
    if (book->stopping) {
        return;
    }
    book->stopping = true;
    book->away++;
    book->stop_mail.arrive = stop_arrives;
    shard_send(book->shard, book->options.finder->shard->index, &book->stop_mail);
}

void site_book_expire(struct site_book *book)
{
    for (struct list *link = book->used.next; link != &book->used; link = link->next) {
        struct wish *wish = CONTAINER_OF(link, struct wish, used);
        wish->expires_ns = 0;
        wish->again = wish->is_away;
    }
}

uint64_t site_book_memory(const struct site_book *book)
{
    return book->memory.used;
}

bool site_book_idle(const struct site_book *book)
{
    return book->stopping && book->away == 0;
}

void site_book_fini(struct site_book *book)
{
    CHECK(site_book_idle(book));
    deferred_cancel(&book->release);
    release_all(book, &book->left);
    release_all(book, &book->leaving);
    for (struct list *link = list_pop_front(&book->used); link != NULL;
         link = list_pop_front(&book->used)) {
        struct wish *wish = CONTAINER_OF(link, struct wish, used);
        if (wish->site != NULL) {
            site_release(wish->site);
        }
    }
    metered_fini(&book->memory);
}
