#include "smtp/site_search.h"

#include "core/check.h"
#include "smtp/site_name.h"
#include "smtp/site_own.h"

#define FAMILY_ADDRESSES_MAX (SITE_ADDRESSES_MAX / 2) /* of a host */

enum { IPV4, IPV6, FAMILIES };

/* Addresses of one family of a host, by value, the lowest ones. */
struct found {
    unsigned count;
    struct endpoint addresses[FAMILY_ADDRESSES_MAX];
};

struct site_search_host {
    struct site_search *search;
    struct resolver_ask asks[FAMILIES];
    struct found found[FAMILIES];
    bool in_trouble;
    uint16_t preference;
    uint8_t name_size;
    uint8_t name_bytes[DNS_NAME_BYTES_MAX];
};

static struct slice host_name(const struct site_search_host *host)
{
    return slice_make(host->name_bytes, host->name_size);
}

/* --- the end ---------------------------------------------------------------------------------- */

static const char *name_prefix(enum site_kind kind)
{
    switch (kind) {
    case SITE_OK:
        return "";
    case SITE_NO_DOMAIN:
        return "NXDOMAIN:";
    case SITE_NULL_MX:
        return "NULLMX:";
    case SITE_NO_ADDRESS:
        return "NOADDRESS:";
    case SITE_LOOP:
        return "LOOP:";
    case SITE_TROUBLE:
        return "DNSFAIL:";
    }
    return "";
}

static void finish(struct site_search *search, enum site_kind kind)
{
    struct site *site = &search->site;
    struct buf name;
    buf_init(&name, search->name, sizeof(search->name));
    site->kind = kind;
    if (kind == SITE_OK) {
        struct slice names[SITE_HOSTS_MAX];
        for (unsigned i = 0; i < site->host_count; i++) {
            names[i] = site->hosts[i].name;
        }
        site_name_put(&name, names, site->host_count);
    } else {
        buf_put_string(&name, name_prefix(kind));
        buf_put(&name, search->domain);
    }
    site->name = buf_slice(&name);
    search->done(search);
}

static void say(struct site_search *search, const char *what, const char *type, struct slice name)
{
    struct buf detail;
    buf_init(&detail, search->detail, sizeof(search->detail));
    buf_printf(&detail, "%s for %s of ", what, type);
    buf_put(&detail, name);
    search->site.detail = buf_slice(&detail);
}

/* --- what was found --------------------------------------------------------------------------- */

static bool has_own_address(const struct conf *conf, const struct site_search_host *host)
{
    for (unsigned family = 0; family < FAMILIES; family++) {
        const struct found *found = &host->found[family];
        for (unsigned i = 0; i < found->count; i++) {
            if (site_own_address(conf, &found->addresses[i])) {
                return true;
            }
        }
    }
    return false;
}

/* Hosts are in order: those from the first one on that is as bad as an own host go. */
static void cut_own(struct site_search *search)
{
    unsigned count = 0;
    while (count < search->host_count && !has_own_address(search->conf, &search->hosts[count])) {
        count++;
    }
    if (count == search->host_count) {
        return;
    }
    uint16_t preference = search->hosts[count].preference;
    while (count > 0 && search->hosts[count - 1].preference == preference) {
        count--;
    }
    search->host_count = count;
}

/* One for each host in turn, IPv4 and IPv6 alike, until all are there or there is no room. */
static void shares_make(const struct site_search *search, unsigned shares[][FAMILIES])
{
    unsigned left = SITE_ADDRESSES_MAX;
    bool more = true;
    memset(shares, 0, SITE_HOSTS_MAX * sizeof(shares[0]));
    while (left > 0 && more) {
        more = false;
        for (unsigned i = 0; i < search->host_count && left > 0; i++) {
            const struct found *found = search->hosts[i].found;
            bool v4 = shares[i][IPV4] < found[IPV4].count;
            bool v6 = shares[i][IPV6] < found[IPV6].count;
            if (v4 || v6) {
                /* The one of which it has less. */
                shares[i][v4 && (!v6 || shares[i][IPV4] <= shares[i][IPV6]) ? IPV4 : IPV6]++;
                left--;
                more = true;
            }
        }
    }
}

/* Other preferences of the same names are another order; other numbers for the same order not. */
static uint64_t order_of(const struct site_search *search)
{
    struct site_hash hash;
    site_hash_init(&hash);
    for (unsigned i = 0; i < search->host_count; i++) {
        bool next = i > 0 && search->hosts[i].preference != search->hosts[i - 1].preference;
        site_hash_put(&hash, next ? SLICE("|") : SLICE(","));
        site_hash_put(&hash, host_name(&search->hosts[i]));
    }
    uint64_t value = site_hash_value(&hash);
    return value != 0 ? value : 1;
}

static void site_fill(struct site_search *search)
{
    struct site *site = &search->site;
    unsigned shares[SITE_HOSTS_MAX][FAMILIES];
    shares_make(search, shares);
    site->hosts = search->site_hosts;
    site->addresses = search->addresses;
    for (unsigned i = 0; i < search->host_count; i++) {
        const struct site_search_host *host = &search->hosts[i];
        struct site_host *out = &site->hosts[site->host_count++];
        *out = (struct site_host){.name = host_name(host),
                                  .preference = host->preference,
                                  .first = (uint16_t)site->address_count};
        for (unsigned family = 0; family < FAMILIES; family++) {
            for (unsigned k = 0; k < shares[i][family]; k++) {
                site->addresses[site->address_count++] = host->found[family].addresses[k];
                out->count++;
            }
        }
    }
}

static bool any_in_trouble(const struct site_search *search)
{
    for (unsigned i = 0; i < search->host_count; i++) {
        if (search->hosts[i].in_trouble) {
            return true;
        }
    }
    return false;
}

static void conclude(struct site_search *search)
{
    struct site *site = &search->site;
    if (!site_search_is_list(search->domain)) {
        cut_own(search);
    }
    site_fill(search);
    if (site->address_count > 0) {
        site->detail = SLICE_NONE;
        site->order = order_of(search);
        finish(search, SITE_OK);
    } else if (any_in_trouble(search)) {
        finish(search, SITE_TROUBLE);
    } else {
        finish(search, search->host_count == 0 ? SITE_LOOP : SITE_NO_ADDRESS);
    }
}

/* --- addresses -------------------------------------------------------------------------------- */

static void found_add(struct found *found, const struct endpoint *address)
{
    unsigned at = found->count;
    while (at > 0 && memcmp(found->addresses[at - 1].address, address->address, 16) > 0) {
        at--;
    }
    bool there = at > 0 && endpoint_equal_address(&found->addresses[at - 1], address);
    if (there || at == FAMILY_ADDRESSES_MAX) {
        return;
    }
    if (found->count < FAMILY_ADDRESSES_MAX) {
        found->count++;
    }
    for (unsigned i = found->count - 1; i > at; i--) {
        found->addresses[i] = found->addresses[i - 1];
    }
    found->addresses[at] = *address;
    found->addresses[at].port = 0;
}

static void note(struct site_search *search, const struct dns_answer *answer, uint64_t expires_ns)
{
    search->expires_ns = MIN_OF(search->expires_ns, expires_ns);
    search->site.secure = search->site.secure && answer->secure;
}

static void host_answered(struct site_search_host *host, unsigned family,
                          const struct dns_answer *answer, uint64_t expires_ns)
{
    struct site_search *search = host->search;
    note(search, answer, expires_ns);
    if (answer->status == DNS_OK) {
        for (unsigned i = 0; i < answer->count; i++) {
            found_add(&host->found[family], &answer->records[i].address);
        }
    } else if (answer->status > DNS_NO_DATA) {
        host->in_trouble = true;
        say(search, dns_status_name(answer->status), family == IPV4 ? "A" : "AAAA",
            host_name(host));
    }
    search->waiting--;
    if (search->waiting == 0) {
        conclude(search);
    }
}

static void ipv4_answered(struct resolver_ask *ask, const struct dns_answer *answer,
                          uint64_t expires_ns, bool stale)
{
    (void)stale;
    host_answered(CONTAINER_OF(ask, struct site_search_host, asks[IPV4]), IPV4, answer,
                  expires_ns);
}

static void ipv6_answered(struct resolver_ask *ask, const struct dns_answer *answer,
                          uint64_t expires_ns, bool stale)
{
    (void)stale;
    host_answered(CONTAINER_OF(ask, struct site_search_host, asks[IPV6]), IPV6, answer,
                  expires_ns);
}

static void host_ask(struct site_search_host *host, unsigned family)
{
    struct resolver_ask *ask = &host->asks[family];
    ask->question = (struct dns_question){.name = host_name(host),
                                          .type = family == IPV4 ? DNS_A : DNS_AAAA};
    ask->done = family == IPV4 ? ipv4_answered : ipv6_answered;
    host->search->waiting++;
    resolver_ask(host->search->resolver, ask);
}

/* --- MX --------------------------------------------------------------------------------------- */

/* A host that may be asked for, of all records. */
struct candidate {
    struct slice name;
    uint16_t preference;
};

struct candidates {
    unsigned count;
    bool any_null; /* "." was among them (RFC 7505 3) */
    struct candidate list[DNS_RECORDS_MAX];
};

static bool stands_before(const struct candidate *a, const struct candidate *b)
{
    if (a->preference != b->preference) {
        return a->preference < b->preference;
    }
    return slice_compare(a->name, b->name) < 0;
}

static void candidate_add(struct candidates *candidates, const struct candidate *candidate)
{
    unsigned at = candidates->count;
    if (at == DNS_RECORDS_MAX) {
        return;
    }
    candidates->count++;
    while (at > 0 && stands_before(candidate, &candidates->list[at - 1])) {
        candidates->list[at] = candidates->list[at - 1];
        at--;
    }
    candidates->list[at] = *candidate;
}

/* By preference, then by name. Names that are addresses are none. */
static void candidates_read(struct candidates *candidates, const struct dns_answer *answer)
{
    *candidates = (struct candidates){.count = 0};
    for (unsigned i = 0; i < answer->count; i++) {
        const struct dns_record *record = &answer->records[i];
        struct endpoint literal;
        if (record->name.size == 0) {
            candidates->any_null = true;
        } else if (record->name.size <= DNS_NAME_BYTES_MAX &&
                   !endpoint_parse_address(record->name, &literal)) {
            candidate_add(candidates, &(struct candidate){.name = record->name,
                                                          .preference = record->preference});
        }
    }
}

/* How many stand before an own host and all that are as bad. */
static unsigned candidates_before_own(const struct site_search *search,
                                      const struct candidates *candidates)
{
    unsigned count = 0;
    while (count < candidates->count &&
           !site_own_name(search->conf, candidates->list[count].name)) {
        count++;
    }
    if (count == candidates->count) {
        return count;
    }
    uint16_t preference = candidates->list[count].preference;
    while (count > 0 && candidates->list[count - 1].preference == preference) {
        count--;
    }
    return count;
}

static bool has_before(const struct candidates *candidates, unsigned index)
{
    for (unsigned i = 0; i < index; i++) {
        if (slice_equal(candidates->list[i].name, candidates->list[index].name)) {
            return true;
        }
    }
    return false;
}

/* Asks for both families of all; false: there is no memory. */
static bool hosts_ask(struct site_search *search, const struct candidates *candidates,
                      unsigned count)
{
    unsigned most = MIN_OF(count, (unsigned)SITE_HOSTS_MAX);
    search->hosts = metered_take(search->memory, most * sizeof(search->hosts[0]));
    if (search->hosts == NULL) {
        return false;
    }
    for (unsigned i = 0; i < count && search->host_count < most; i++) {
        const struct candidate *candidate = &candidates->list[i];
        struct site_search_host *host = &search->hosts[search->host_count];
        if (has_before(candidates, i)) {
            continue;
        }
        *host = (struct site_search_host){.search = search,
                                          .preference = candidate->preference,
                                          .name_size = (uint8_t)candidate->name.size};
        memcpy(host->name_bytes, candidate->name.data, candidate->name.size);
        resolver_ask_init(&host->asks[IPV4]);
        resolver_ask_init(&host->asks[IPV6]);
        search->host_count++;
    }
    for (unsigned i = 0; i < search->host_count; i++) {
        host_ask(&search->hosts[i], IPV4);
        host_ask(&search->hosts[i], IPV6);
    }
    return true;
}

static void candidates_follow(struct site_search *search, const struct candidates *candidates)
{
    unsigned count = candidates_before_own(search, candidates);
    if (count == 0) {
        finish(search, candidates->count > 0 ? SITE_LOOP : SITE_NO_ADDRESS);
    } else if (!hosts_ask(search, candidates, count)) {
        say(search, "no memory", "addresses", search->domain);
        finish(search, SITE_TROUBLE);
    }
}

/* The next host of a list that follows; empty: there is none. */
static struct slice next_listed(struct slice *list)
{
    *list = slice_skip(*list, MIN_OF(1, list->size));
    struct slice name = slice_first(*list, slice_find(*list, ' '));
    *list = slice_skip(*list, name.size);
    return name;
}

/* Of all its hosts at once. False: there is no memory. */
static bool list_ask(struct site_search *search)
{
    struct candidates candidates = {.count = 0};
    struct slice list = search->domain;
    struct slice name = next_listed(&list);
    while (name.size > 0) {
        candidate_add(&candidates, &(struct candidate){.name = name,
                                                       .preference =
                                                           (uint16_t)candidates.count});
        name = next_listed(&list);
    }
    return hosts_ask(search, &candidates, candidates.count);
}

static void mx_answered(struct resolver_ask *ask, const struct dns_answer *answer,
                        uint64_t expires_ns, bool stale)
{
    struct site_search *search = CONTAINER_OF(ask, struct site_search, mx);
    struct candidates candidates = {.count = 0};
    (void)stale;
    search->waiting--;
    if (site_search_is_list(search->domain)) { /* only asked for the loop to come back */
        say(search, "no memory", "addresses", search->domain);
        finish(search, SITE_TROUBLE);
        return;
    }
    note(search, answer, expires_ns);
    switch (answer->status) {
    case DNS_OK:
        candidates_read(&candidates, answer);
        if (candidates.count == 0 && candidates.any_null && answer->left_out == 0) {
            finish(search, SITE_NULL_MX);
            return;
        }
        candidates_follow(search, &candidates);
        return;
    case DNS_NO_DATA:
        candidate_add(&candidates, &(struct candidate){.name = search->domain});
        candidates_follow(search, &candidates);
        return;
    case DNS_NO_NAME:
        finish(search, SITE_NO_DOMAIN);
        return;
    case DNS_BAD_ANSWER:
    case DNS_FAILED:
    case DNS_TIMEOUT:
    case DNS_BUSY:
        say(search, dns_status_name(answer->status), "MX", search->domain);
        /* Records there are, but none of them is one. */
        finish(search, answer->status == DNS_BAD_ANSWER && answer->left_out > 0 ? SITE_NO_ADDRESS
                                                                               : SITE_TROUBLE);
        return;
    }
}

void site_search_start(struct site_search *search)
{
    search->site = (struct site){.secure = true};
    search->expires_ns = UINT64_MAX;
    search->hosts = NULL;
    search->host_count = 0;
    search->waiting = 0;
    resolver_ask_init(&search->mx);
    search->mx.question = (struct dns_question){.name = search->domain, .type = DNS_MX};
    search->mx.done = mx_answered;
    if (site_search_is_list(search->domain)) {
        struct slice list = search->domain;
        if (list_ask(search)) {
            return;
        }
        search->mx.question = (struct dns_question){.name = next_listed(&list), .type = DNS_A};
    }
    search->waiting++;
    resolver_ask(search->resolver, &search->mx);
}

void site_search_cancel(struct site_search *search)
{
    resolver_unask(search->resolver, &search->mx);
    for (unsigned i = 0; search->hosts != NULL && i < search->host_count; i++) {
        resolver_unask(search->resolver, &search->hosts[i].asks[IPV4]);
        resolver_unask(search->resolver, &search->hosts[i].asks[IPV6]);
    }
    metered_give(search->memory, search->hosts);
    search->hosts = NULL;
}
