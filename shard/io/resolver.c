/*
 * An ask is first put in a list and looked at near the end of the turn, so that its end never comes
 * inside the call that made it. There it is answered, or put behind a question: what is in flight,
 * once for all who ask the same. A question ends in the cache, and answers all asks behind it.
 *
 *   fresh ──► answered: static, cached, busy
 *     └─────► behind a question ──► answered
 *                  └──► (reload) fresh
 */
#include "shard/io/resolver.h"

#include <string.h>

#include "core/check.h"
#include "shard/io/dns_static.h"

#define MESSAGE_BYTES_MAX (4 * MIB) /* of messages that come by TCP, all together */
#define KEY_BYTES_MAX     (DNS_NAME_BYTES_MAX + 2)

/* An answer in the cache, one piece of memory. */
struct entry {
    struct list link; /* the last used one first */
    struct dns_question question;
    struct dns_answer answer;
    uint64_t generation;
    uint64_t expires_ns;
    uint64_t stale_until_ns; /* how long it may stand in for trouble */
    uint64_t trouble_until_ns; /* until then it stands in without asking again; 0: none yet */
};

/* In flight. */
struct question {
    struct list link;
    struct resolver *resolver;
    struct resolver_servers *servers;
    struct dns_question asked;
    struct list asks;
    bool again; /* its servers, or what was static, are not those of the configuration any more */
    uint8_t name[DNS_NAME_BYTES_MAX];
    struct dns_exchange exchange;
};

static void question_done(struct dns_exchange *exchange, const struct dns_answer *answer);

/* --- keys ------------------------------------------------------------------------------------- */

static uint64_t key_hash(const struct htab *table, const struct dns_question *question)
{
    uint8_t bytes[KEY_BYTES_MAX];
    struct buf key;
    buf_init(&key, bytes, sizeof(bytes));
    buf_put_byte(&key, (uint8_t)question->type);
    buf_put(&key, question->name);
    return htab_hash(table, buf_slice(&key));
}

static bool question_equal(const struct dns_question *a, const struct dns_question *b)
{
    return a->type == b->type && slice_equal(a->name, b->name);
}

static struct entry *entry_of(uint64_t value)
{
    return (struct entry *)(uintptr_t)value;
}

static bool entry_is(const void *context, uint64_t value, const void *key)
{
    (void)context;
    return question_equal(&entry_of(value)->question, key);
}

static bool asked_is(const void *context, uint64_t value, const void *key)
{
    (void)context;
    return question_equal(&((const struct question *)(uintptr_t)value)->asked, key);
}

/* --- the cache -------------------------------------------------------------------------------- */

static void entry_drop(struct resolver *resolver, struct entry *entry)
{
    uint64_t value;
    uint64_t hash = key_hash(&resolver->cache, &entry->question);
    CHECK(htab_remove(&resolver->cache, hash, &entry->question, &value));
    list_remove(&entry->link);
    metered_give(&resolver->answers, entry);
}

/* What there is of it, if it counts: fresh, or good to stand in for trouble. */
static struct entry *entry_find(struct resolver *resolver, const struct dns_question *question)
{
    uint64_t value;
    uint64_t hash = key_hash(&resolver->cache, question);
    if (!htab_find(&resolver->cache, hash, question, &value)) {
        return NULL;
    }
    struct entry *entry = entry_of(value);
    if (entry->generation != resolver->generation ||
        resolver->shard->now_ns >= entry->stale_until_ns) {
        entry_drop(resolver, entry);
        return NULL;
    }
    return entry;
}

static size_t entry_bytes(const struct dns_question *question, const struct dns_answer *answer)
{
    size_t bytes = sizeof(struct entry) + question->name.size + answer->alias.size +
                   answer->count * sizeof(struct dns_record);
    for (unsigned i = 0; i < answer->count; i++) {
        bytes += answer->records[i].name.size + answer->records[i].bytes.size;
    }
    return bytes;
}

static struct slice copy(struct buf *memory, struct slice bytes)
{
    if (bytes.data == NULL) {
        return bytes;
    }
    uint8_t *at = buf_reserve(memory, bytes.size);
    CHECK(at != NULL);
    if (bytes.size > 0) {
        memcpy(at, bytes.data, bytes.size);
    }
    return slice_make(at, bytes.size);
}

static void entry_fill(struct entry *entry, size_t bytes, const struct dns_question *question,
                       const struct dns_answer *answer)
{
    struct dns_record *records = (struct dns_record *)(void *)(entry + 1);
    size_t head = sizeof(*entry) + answer->count * sizeof(*records);
    struct buf memory;
    buf_init(&memory, (uint8_t *)entry + head, bytes - head);
    *entry = (struct entry){.question = *question, .answer = *answer};
    entry->question.name = copy(&memory, question->name);
    entry->answer.alias = copy(&memory, answer->alias);
    entry->answer.records = records;
    for (unsigned i = 0; i < answer->count; i++) {
        records[i] = answer->records[i];
        records[i].name = copy(&memory, answer->records[i].name);
        records[i].bytes = copy(&memory, answer->records[i].bytes);
    }
}

/* Null: not even an empty cache has room for it. */
static struct entry *entry_take(struct resolver *resolver, size_t bytes)
{
    struct entry *entry = NULL;
    if (resolver->cache.count < resolver->entries_max) {
        entry = metered_take(&resolver->answers, bytes);
    }
    while (entry == NULL && !list_empty(&resolver->entries)) {
        entry_drop(resolver, CONTAINER_OF(resolver->entries.prev, struct entry, link));
        entry = metered_take(&resolver->answers, bytes);
    }
    return entry;
}

/* For how long an answer may be used. */
static uint32_t ttl_of(const struct dns_answer *answer)
{
    switch (answer->status) {
    case DNS_OK:
        return MAX_OF(MIN_OF(answer->ttl_s, (uint32_t)RESOLVER_TTL_MAX_S),
                      (uint32_t)RESOLVER_TTL_MIN_S);
    case DNS_NO_NAME:
    case DNS_NO_DATA:
        return MAX_OF(MIN_OF(answer->ttl_s, (uint32_t)RESOLVER_NO_TTL_MAX_S),
                      (uint32_t)RESOLVER_TTL_MIN_S);
    case DNS_FAILED:
    case DNS_TIMEOUT:
    case DNS_BAD_ANSWER:
    case DNS_BUSY:
        break;
    }
    return RESOLVER_TROUBLE_TTL_S;
}

static uint64_t expiry(const struct resolver *resolver, const struct dns_answer *answer)
{
    return resolver->shard->now_ns + ttl_of(answer) * NS_PER_S;
}

static bool is_trouble(const struct dns_answer *answer)
{
    return answer->status > DNS_NO_DATA;
}

static void entry_put(struct resolver *resolver, const struct dns_question *question,
                      const struct dns_answer *answer)
{
    uint64_t now = resolver->shard->now_ns;
    struct entry *old = entry_find(resolver, question);
    if (old != NULL) {
        entry_drop(resolver, old);
    }
    size_t bytes = entry_bytes(question, answer);
    struct entry *entry = entry_take(resolver, bytes);
    if (entry == NULL) {
        return;
    }
    entry_fill(entry, bytes, question, answer);
    entry->generation = resolver->generation;
    entry->expires_ns = now + ttl_of(answer) * NS_PER_S;
    entry->stale_until_ns =
        entry->expires_ns + (is_trouble(answer) ? 0 : RESOLVER_STALE_S * NS_PER_S);
    list_push_front(&resolver->entries, &entry->link);
    uint64_t hash = key_hash(&resolver->cache, &entry->question);
    CHECK(htab_insert(&resolver->cache, hash, (uint64_t)(uintptr_t)entry));
}

/* --- ends ------------------------------------------------------------------------------------- */

/* Which answer, and for how long it may be used. */
struct given {
    const struct dns_answer *answer;
    uint64_t expires_ns;
    bool stale;
};

static void ask_end(struct resolver *resolver, struct resolver_ask *ask,
                    const struct dns_question *asked, const struct given *given)
{
    struct counters *counters = &resolver->shard->counters;
    struct dns_answer answer = *given->answer;
    uint64_t expires_ns = given->expires_ns;
    if (ask->aliased) {
        uint64_t alias_ns =
            resolver->shard->now_ns + MAX_OF(ask->alias_ttl_s, (uint32_t)RESOLVER_TTL_MIN_S) *
                                          NS_PER_S;
        answer.alias = answer.alias.data == NULL ? asked->name : answer.alias;
        answer.secure = answer.secure && ask->alias_secure;
        answer.ttl_s = MIN_OF(answer.ttl_s, ask->alias_ttl_s);
        expires_ns = MIN_OF(expires_ns, alias_ns);
    }
    list_remove(&ask->link);
    resolver->waiting -= ask->waiting;
    ask->waiting = false;
    counters_add(counters, COUNTER_dns_stale, given->stale);
    counters_add(counters, COUNTER_dns_busy, answer.status == DNS_BUSY);
    counters_add(counters, COUNTER_dns_failures,
                 is_trouble(&answer) && answer.status != DNS_BUSY);
    ask->done(ask, &answer, expires_ns, given->stale);
}

static void ask_busy(struct resolver *resolver, struct resolver_ask *ask,
                     const struct dns_question *asked)
{
    const struct dns_answer busy = {.status = DNS_BUSY, .type = ask->question.type};
    const struct given given = {.answer = &busy, .expires_ns = resolver->shard->now_ns};
    ask_end(resolver, ask, asked, &given);
}

static struct given stale_of(const struct resolver *resolver, const struct entry *entry)
{
    uint64_t again = resolver->shard->now_ns + RESOLVER_TROUBLE_TTL_S * NS_PER_S;
    return (struct given){.answer = &entry->answer,
                          .expires_ns = MAX_OF(entry->trouble_until_ns, again),
                          .stale = true};
}

/* --- servers ---------------------------------------------------------------------------------- */

/* From the servers' own counts to those of the shard. */
static void counts_move(struct resolver *resolver, struct resolver_servers *servers)
{
    struct counters *counters = &resolver->shard->counters;
    struct dns_exchange_counts *counts = &servers->table.counts;
    counters_add(counters, COUNTER_dns_queries, counts->queries);
    counters_add(counters, COUNTER_dns_queries_tcp, counts->streams);
    counters_add(counters, COUNTER_dns_ignored, counts->ignored);
    counters_add(counters, COUNTER_dns_timeouts, counts->timeouts);
    *counts = (struct dns_exchange_counts){0};
}

static void servers_release(struct resolver *resolver, struct resolver_servers *servers)
{
    if (servers == NULL) {
        return;
    }
    counts_move(resolver, servers);
    if (--servers->holders == 0) {
        metered_give(&resolver->tables, servers);
    }
}

/* Null: there are none, or no memory; then nobody is asked. */
static struct resolver_servers *servers_make(struct resolver *resolver)
{
    const struct conf_dns *conf = resolver->conf;
    if (conf->server_count == 0) {
        return NULL;
    }
    struct resolver_servers *servers = metered_take(&resolver->tables, sizeof(*servers));
    if (servers == NULL) {
        return NULL;
    }
    *servers = (struct resolver_servers){
        .table = {.count = conf->server_count,
                  .attempts = conf->attempts,
                  .timeout_ns = conf->timeout_ns,
                  .memory = resolver->memory,
                  .metered = &resolver->messages},
        .holders = 1,
    };
    for (unsigned i = 0; i < conf->server_count; i++) {
        servers->table.servers[i] = conf->servers[i].address;
        servers->table.trusted[i] = conf->servers[i].trusted;
    }
    return servers;
}

/* --- questions -------------------------------------------------------------------------------- */

static void question_start(struct question *question)
{
    struct resolver *resolver = question->resolver;
    question->servers = resolver->servers;
    question->servers->holders++;
    question->again = false;
    dns_exchange_start(&question->exchange, resolver->shard, &question->servers->table,
                       &question->asked, question_done);
}

static void question_end(struct question *question)
{
    struct resolver *resolver = question->resolver;
    uint64_t value;
    uint64_t hash = key_hash(&resolver->asked, &question->asked);
    CHECK(htab_remove(&resolver->asked, hash, &question->asked, &value));
    list_remove(&question->link);
    pool_give(&resolver->questions, question);
}

/* Null: too many are in flight. */
static struct question *question_make(struct resolver *resolver, const struct dns_question *asked)
{
    struct question *question = pool_take(&resolver->questions);
    if (question == NULL) {
        return NULL;
    }
    question->resolver = resolver;
    question->asked = *asked;
    question->asked.name = slice_make(question->name, asked->name.size);
    if (asked->name.size > 0) {
        memcpy(question->name, asked->name.data, asked->name.size);
    }
    list_init(&question->asks);
    list_push_back(&resolver->in_flight, &question->link);
    uint64_t hash = key_hash(&resolver->asked, asked);
    CHECK(htab_insert(&resolver->asked, hash, (uint64_t)(uintptr_t)question));
    question_start(question);
    return question;
}

/* The answer as it came, or instead of trouble what is known from before. */
static struct given answer_keep(struct resolver *resolver, const struct dns_question *asked,
                                const struct dns_answer *answer)
{
    struct entry *entry = is_trouble(answer) ? entry_find(resolver, asked) : NULL;
    if (entry != NULL && !is_trouble(&entry->answer)) {
        entry->trouble_until_ns =
            resolver->shard->now_ns + RESOLVER_TROUBLE_TTL_S * NS_PER_S;
        return stale_of(resolver, entry);
    }
    if (answer->status == DNS_BUSY) {
        return (struct given){.answer = answer, .expires_ns = resolver->shard->now_ns};
    }
    entry_put(resolver, asked, answer);
    return (struct given){.answer = answer, .expires_ns = expiry(resolver, answer)};
}

static void asks_again(struct resolver *resolver, struct list *asks)
{
    for (struct list *at = asks->next; at != asks; at = at->next) {
        struct resolver_ask *ask = CONTAINER_OF(at, struct resolver_ask, link);
        resolver->waiting--;
        ask->waiting = false;
    }
    list_append_all(&resolver->fresh, asks);
    shard_defer(resolver->shard, &resolver->step);
}

/*
 * Who is called here may ask and unask as he likes: asks are taken one by one from a list of ours,
 * and the question is gone, but for its name.
 */
static void question_done(struct dns_exchange *exchange, const struct dns_answer *answer)
{
    struct question *question = CONTAINER_OF(exchange, struct question, exchange);
    struct resolver *resolver = question->resolver;
    uint8_t name[DNS_NAME_BYTES_MAX];
    struct dns_question asked = question->asked;
    struct list asks;
    list_init(&asks);
    list_append_all(&asks, &question->asks);
    memcpy(name, question->name, asked.name.size);
    asked.name = slice_make(name, asked.name.size);
    bool again = question->again && !resolver->stopping;
    servers_release(resolver, question->servers);
    question_end(question);
    if (again) {
        asks_again(resolver, &asks);
        return;
    }
    struct given given = answer_keep(resolver, &asked, answer);
    while (!list_empty(&asks)) {
        ask_end(resolver, CONTAINER_OF(asks.next, struct resolver_ask, link), &asked, &given);
    }
}

/* --- asks ------------------------------------------------------------------------------------- */

/* True: answered from the cache. */
static bool cache_answers(struct resolver *resolver, struct resolver_ask *ask,
                          const struct dns_question *asked, struct entry *entry)
{
    uint64_t now = resolver->shard->now_ns;
    if (entry == NULL || (now >= entry->expires_ns && now >= entry->trouble_until_ns)) {
        return false;
    }
    list_remove(&entry->link);
    list_push_front(&resolver->entries, &entry->link);
    struct given given = {.answer = &entry->answer, .expires_ns = entry->expires_ns};
    if (now >= entry->expires_ns) {
        given = (struct given){.answer = &entry->answer,
                               .expires_ns = entry->trouble_until_ns,
                               .stale = true};
    }
    counters_add(&resolver->shard->counters, COUNTER_dns_hits, 1);
    ask_end(resolver, ask, asked, &given);
    return true;
}

static void ask_servers(struct resolver *resolver, struct resolver_ask *ask,
                        const struct dns_question *asked)
{
    uint64_t value;
    struct question *question = NULL;
    struct entry *entry = entry_find(resolver, asked);
    if (cache_answers(resolver, ask, asked, entry)) {
        return;
    }
    bool merged = htab_find(&resolver->asked, key_hash(&resolver->asked, asked), asked, &value);
    if (resolver->waiting < RESOLVER_WAITING_MAX && resolver->servers != NULL) {
        question = merged ? (struct question *)(uintptr_t)value : question_make(resolver, asked);
    }
    if (question == NULL && entry != NULL) {
        struct given given = stale_of(resolver, entry);
        ask_end(resolver, ask, asked, &given);
        return;
    }
    if (question == NULL) {
        ask_busy(resolver, ask, asked);
        return;
    }
    counters_add(&resolver->shard->counters, COUNTER_dns_merged, merged);
    list_remove(&ask->link);
    list_push_back(&question->asks, &ask->link);
    ask->waiting = true;
    resolver->waiting++;
}

static void ask_look(struct resolver *resolver, struct resolver_ask *ask)
{
    struct dns_answer answer;
    struct dns_question asked = ask->question;
    ask->aliased = false;
    if (resolver->stopping) {
        ask_busy(resolver, ask, &asked);
        return;
    }
    enum dns_static found = dns_static_find(resolver->conf, &asked, &answer);
    if (found == DNS_STATIC_ANSWER) {
        const struct given given = {.answer = &answer,
                                    .expires_ns = expiry(resolver, &answer)};
        ask_end(resolver, ask, &asked, &given);
        return;
    }
    if (found == DNS_STATIC_ALIAS) {
        ask->aliased = true;
        ask->alias_secure = answer.secure;
        ask->alias_ttl_s = answer.ttl_s;
        asked.name = answer.alias;
    }
    ask_servers(resolver, ask, &asked);
}

/* Those that come meanwhile have their turn in the next one. */
static void look(struct deferred *deferred)
{
    struct resolver *resolver = CONTAINER_OF(deferred, struct resolver, step);
    struct list asks;
    list_init(&asks);
    list_append_all(&asks, &resolver->fresh);
    while (!list_empty(&asks)) {
        ask_look(resolver, CONTAINER_OF(asks.next, struct resolver_ask, link));
    }
}

/* --- for others ------------------------------------------------------------------------------- */

void resolver_ask_init(struct resolver_ask *ask)
{
    *ask = (struct resolver_ask){0};
    list_init(&ask->link);
}

void resolver_ask(struct resolver *resolver, struct resolver_ask *ask)
{
    CHECK(!list_linked(&ask->link) && ask->question.name.size <= DNS_NAME_BYTES_MAX);
    counters_add(&resolver->shard->counters, COUNTER_dns_asked, 1);
    ask->waiting = false;
    list_push_back(&resolver->fresh, &ask->link);
    shard_defer(resolver->shard, &resolver->step);
}

void resolver_unask(struct resolver *resolver, struct resolver_ask *ask)
{
    resolver->waiting -= ask->waiting;
    ask->waiting = false;
    list_remove(&ask->link);
}

static bool servers_equal(const struct conf_dns *a, const struct conf_dns *b)
{
    bool equal = a->server_count == b->server_count && a->attempts == b->attempts &&
                 a->timeout_ns == b->timeout_ns;
    for (unsigned i = 0; equal && i < a->server_count; i++) {
        equal = endpoint_equal(&a->servers[i].address, &b->servers[i].address) &&
                a->servers[i].trusted == b->servers[i].trusted;
    }
    return equal;
}

static void ask_all_again(struct resolver *resolver)
{
    for (struct list *at = resolver->in_flight.next; at != &resolver->in_flight; at = at->next) {
        struct question *question = CONTAINER_OF(at, struct question, link);
        question->again = true;
        dns_exchange_cancel(&question->exchange);
    }
}

void resolver_set(struct resolver *resolver, const struct conf_dns *conf)
{
    const struct conf_dns *before = resolver->conf;
    bool same = servers_equal(before, conf);
    resolver->conf = conf;
    if (!same) {
        servers_release(resolver, resolver->servers);
        resolver->servers = servers_make(resolver);
    }
    if (!same || before->fingerprint != conf->fingerprint) {
        resolver->generation++;
        ask_all_again(resolver);
    }
}

void resolver_init(struct resolver *resolver, struct shard *shard, struct boot_pages *pages,
                   const struct conf_dns *conf)
{
    uint32_t slots = htab_slots_for(conf->cache_size);
    uint32_t asked = htab_slots_for(RESOLVER_IN_FLIGHT_MAX);
    *resolver = (struct resolver){
        .shard = shard, .conf = conf, .entries_max = conf->cache_size};
    resolver->memory = boot_pages_take(pages, DNS_ANSWER_BYTES_MAX);
    metered_init(&resolver->messages, MESSAGE_BYTES_MAX);
    metered_init(&resolver->tables, UINT64_MAX); /* one, and those of reloads a moment ago */
    metered_init(&resolver->answers, (uint64_t)conf->cache_size * RESOLVER_ENTRY_BYTES);
    htab_init_fresh(&resolver->cache, boot_pages_take(pages, htab_memory(slots)), slots,
                    prng_next(&shard->prng), entry_is, NULL);
    htab_init_fresh(&resolver->asked, boot_pages_take(pages, htab_memory(asked)), asked,
                    prng_next(&shard->prng), asked_is, NULL);
    pool_init(&resolver->questions,
              boot_pages_take(pages, pool_memory(sizeof(struct question), RESOLVER_IN_FLIGHT_MAX)),
              sizeof(struct question), RESOLVER_IN_FLIGHT_MAX);
    list_init(&resolver->entries);
    list_init(&resolver->in_flight);
    list_init(&resolver->fresh);
    deferred_init(&resolver->step, look);
    resolver->servers = servers_make(resolver);
}

void resolver_stop(struct resolver *resolver)
{
    resolver->stopping = true;
    for (struct list *at = resolver->in_flight.next; at != &resolver->in_flight; at = at->next) {
        dns_exchange_cancel(&CONTAINER_OF(at, struct question, link)->exchange);
    }
}

bool resolver_idle(const struct resolver *resolver)
{
    return list_empty(&resolver->in_flight) && list_empty(&resolver->fresh);
}

void resolver_fini(struct resolver *resolver)
{
    deferred_cancel(&resolver->step);
    metered_fini(&resolver->answers);
    metered_fini(&resolver->messages);
    metered_fini(&resolver->tables);
}

uint64_t resolver_memory(const struct resolver *resolver)
{
    return resolver->answers.used + resolver->messages.used +
           resolver->questions.used * sizeof(struct question);
}

unsigned resolver_cached(const struct resolver *resolver)
{
    return resolver->cache.count;
}

unsigned resolver_in_flight(const struct resolver *resolver)
{
    return resolver->questions.used;
}
