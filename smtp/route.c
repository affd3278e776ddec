#include "smtp/route.h"

#include <xxhash.h>

#include "core/check.h"
#include "core/shaping.h"

#define NO_ROUTE   ((struct verdict){451, "4.4.4 No route to this domain is configured"})
#define PROHIBITED ((struct verdict){550, "5.4.4 This destination is prohibited"})
#define SKIPPED    ((struct verdict){451, "4.4.4 All hosts of the domain are to be skipped"})

static_assert(ROUTE_SITE_BYTES_MAX >= SITE_NAME_BYTES_MAX + ENDPOINT_TEXT_MAX,
              "every site has a name");

static void refuse(struct route *route, struct verdict verdict)
{
    route->kind = ROUTE_NOWHERE;
    route->verdict = verdict;
    route->host_count = 0;
}

static void route_begin(struct route *route, uint16_t port)
{
    route->kind = ROUTE_NOWHERE;
    route->verdict = NO_ROUTE;
    route->detail = SLICE_NONE;
    route->lookup = SLICE_NONE;
    route->host_count = 0;
    route->identity = 0;
    route->shared = 0;
    route->port = port;
    buf_init(&route->site, route->site_memory, sizeof(route->site_memory));
}

void route_of_domain(struct route *route, struct slice lookup, uint16_t port)
{
    route_begin(route, port);
    route->kind = ROUTE_NEEDS_DNS;
    route->lookup = lookup;
}

/* --- by configuration ------------------------------------------------------------------------- */

static void add_endpoint(struct route *route, const struct endpoint *endpoint, struct slice name,
                         uint16_t port, uint8_t rank)
{
    if (route->host_count < ROUTE_HOSTS_MAX) {
        unsigned i = route->host_count++;
        route->hosts[i] = *endpoint;
        route->hosts[i].port = port;
        route->names[i] = name;
        route->ranks[i] = rank;
    }
}

/* In the order in which they are written. */
static void add_host(struct route *route, const struct conf_host *host, uint8_t rank)
{
    uint16_t port = host->endpoint.port != 0 ? host->endpoint.port : route->port;
    add_endpoint(route, &host->endpoint, host->name, port, rank);
}

/* The hosts are complete. */
static void route_done(struct route *route)
{
    route->kind = route->site.overflow ? ROUTE_NOWHERE : ROUTE_OK;
    for (unsigned i = 0; i < route->host_count; i++) {
        const struct endpoint *host = &route->hosts[i];
        route->identity = XXH3_64bits_withSeed(host->address, sizeof(host->address),
                                               route->identity + host->port);
    }
    route->shared = route->identity;
}

/* "[192.0.2.1]", "[IPv6:2001:db8::1]": what a recipient may write after the '@'. */
static void route_literal(struct route *route, const struct path_options *path,
                          struct slice domain)
{
    struct slice text = slice_make(domain.data + 1, domain.size - 2);
    struct endpoint literal;
    if (text.size > 5 && slice_equal_nocase(slice_first(text, 5), SLICE("IPv6:"))) {
        text = slice_skip(text, 5);
    }
    if (!endpoint_parse_address(text, &literal)) {
        return;
    }
    if (networks_contain(path->prohibited_hosts, path->prohibited_host_count, &literal)) {
        refuse(route, PROHIBITED);
        return;
    }
    add_endpoint(route, &literal, SLICE_NONE, route->port, 0);
    endpoint_put(&route->site, &route->hosts[0]);
    route_done(route);
}

static void route_smart_host(struct route *route, const struct queue_options *queue)
{
    CHECK(queue->mx_count <= ROUTE_HOSTS_MAX);
    if (queue->mx_lookup.size > 0) {
        route_of_domain(route, queue->mx_lookup, route->port);
        return;
    }
    for (size_t i = 0; i < queue->mx_count; i++) {
        add_host(route, &queue->mx_list[i], (uint8_t)i);
    }
    buf_put(&route->site, queue->mx_name);
    route_done(route);
}

static void route_by_domain(struct route *route, const struct conf_host *to)
{
    if (!to->has_address) {
        route_of_domain(route, to->name,
                        to->endpoint.port != 0 ? to->endpoint.port : route->port);
        return;
    }
    add_host(route, to, 0);
    buf_put(&route->site, to->text);
    route_done(route);
}

void route_find(struct route *route, const struct queue_options *queue,
                const struct path_options *path, struct slice domain)
{
    route_begin(route, path->smtp_port);
    if (queue->mx_count > 0) {
        route_smart_host(route, queue);
    } else if (queue->routing_domain != NULL) {
        route_by_domain(route, queue->routing_domain);
    } else if (domain.size > 0 && domain.data[0] == '[') {
        if (domain.size > 2 && domain.data[domain.size - 1] == ']') {
            route_literal(route, path, domain);
        }
    } else if (domain.size > 0) {
        route_of_domain(route, domain, path->smtp_port);
    }
}

/* --- by DNS ----------------------------------------------------------------------------------- */

static bool is_wanted(const struct path_options *path, const struct endpoint *address)
{
    bool v4 = endpoint_is_v4(address);
    return !(path->ip_lookup_strategy == PATH_IPV4_ONLY && !v4) &&
           !(path->ip_lookup_strategy == PATH_IPV6_ONLY && v4) &&
           !networks_contain(path->skip_hosts, path->skip_host_count, address);
}

/* Of two addresses of one preference this one comes second. */
static bool is_second(const struct path_options *path, const struct endpoint *address)
{
    bool v4 = endpoint_is_v4(address);
    return (path->ip_lookup_strategy == PATH_IPV6_THEN_IPV4 && v4) ||
           (path->ip_lookup_strategy == PATH_IPV4_THEN_IPV6 && !v4);
}

/* What a host of a site has of one kind, up to `most`. */
struct addition {
    const struct site *site;
    bool second;
    uint16_t port;
    uint8_t rank;
    unsigned most;
};

static void add_addresses(struct route *route, const struct path_options *path,
                          const struct addition *add, const struct site_host *host)
{
    unsigned left = add->most;
    for (unsigned i = 0; i < host->count && left > 0; i++) {
        const struct endpoint *address = &add->site->addresses[host->first + i];
        if (is_wanted(path, address) && is_second(path, address) == add->second) {
            add_endpoint(route, address, host->name, add->port, add->rank);
            left--;
        }
    }
}

/* Hosts by preference; of those with the same, by family where one comes first. */
static void add_site(struct route *route, const struct path_options *path,
                     const struct site *site)
{
    struct addition add = {
        .site = site,
        .port = route->port,
        .most = MAX_OF(ROUTE_HOSTS_MAX / MAX_OF(site->host_count, 1), 1),
    };
    unsigned first = 0;
    while (first < site->host_count) {
        unsigned end = first + 1;
        while (end < site->host_count &&
               site->hosts[end].preference == site->hosts[first].preference) {
            end++;
        }
        for (unsigned second = 0; second <= 1; second++, add.rank++) {
            add.second = second;
            for (unsigned i = first; i < end; i++) {
                add_addresses(route, path, &add, &site->hosts[i]);
            }
        }
        first = end;
    }
}

/* One is enough: mail may come back, or to whoever is behind it, by any of them. */
static bool has_prohibited(const struct path_options *path, const struct site *site)
{
    for (unsigned i = 0; i < site->address_count; i++) {
        if (networks_contain(path->prohibited_hosts, path->prohibited_host_count,
                             &site->addresses[i])) {
            return true;
        }
    }
    return false;
}

/* The operator's own choice: whatever addresses its names have, in the order of the list. */
static void add_list(struct route *route, const struct queue_options *queue,
                     const struct path_options *path, const struct site *site)
{
    struct addition add = {
        .site = site, .most = MAX_OF(ROUTE_HOSTS_MAX / (unsigned)queue->mx_count, 1)};
    for (size_t i = 0; i < queue->mx_count; i++) {
        const struct conf_host *host = &queue->mx_list[i];
        if (host->has_address) {
            add_host(route, host, (uint8_t)(2 * i));
            continue;
        }
        add.port = host->endpoint.port != 0 ? host->endpoint.port : route->port;
        for (unsigned second = 0; second <= 1; second++) {
            add.second = second;
            add.rank = (uint8_t)(2 * i + second);
            for (unsigned k = 0; k < site->host_count; k++) {
                if (slice_equal(site->hosts[k].name, host->name)) {
                    add_addresses(route, path, &add, &site->hosts[k]);
                }
            }
        }
    }
}

static void resolve_list(struct route *route, const struct queue_options *queue,
                         const struct path_options *path, const struct site *site)
{
    buf_put(&route->site, queue->mx_name);
    route->identity = route->shared = XXH3_64bits_withSeed(queue->mx_name.data,
                                                           queue->mx_name.size, route->port);
    add_list(route, queue, path, site);
}

static void resolve_domain(struct route *route, const struct path_options *path,
                           const struct site *site)
{
    buf_put(&route->site, site->name);
    if (route->port != path->smtp_port) { /* as the routing domain has one of its own */
        buf_printf(&route->site, ":%u", route->port);
    }
    route->shared = route->port;
    route->identity = site->order ^ route->port;
    if (site->kind == SITE_OK && has_prohibited(path, site)) {
        refuse(route, PROHIBITED);
    } else if (site->kind == SITE_OK) {
        add_site(route, path, site);
    }
}

void route_resolve(struct route *route, const struct queue_options *queue,
                   const struct path_options *path, const struct site *site)
{
    CHECK(route->kind == ROUTE_NEEDS_DNS);
    route->kind = ROUTE_OK;
    if (queue->mx_count > 0) {
        resolve_list(route, queue, path, site);
    } else {
        resolve_domain(route, path, site);
    }
    CHECK(!route->site.overflow);
    if (route->kind == ROUTE_OK && route->host_count == 0) {
        refuse(route, site->kind != SITE_OK ? site_verdict(site) : SKIPPED);
        route->detail = site->detail;
    }
}

/* What of the path says whether there is a way: of an address, which it may prohibit; a name always
 * has one, as far as is known here. */
static const struct path_options *path_of(const struct conf *conf, struct slice domain,
                                          struct shaping_path *memory)
{
    bool literal = slice_starts_with(domain, SLICE("["));
    return literal ? shaping_path_of(conf, domain, SLICE_NONE, memory) : &conf->shaping->defaults;
}

struct verdict route_verdict(const struct conf *conf, struct slice domain)
{
    const struct conf_queue_key key = {.domain = domain};
    struct queue_options options;
    struct shaping_path path;
    struct route route;
    conf_queue(conf, &key, &options);
    route_find(&route, &options, path_of(conf, domain, &path), domain);
    if (route.kind == ROUTE_NOWHERE && (route.verdict.code < 500 && conf->queues.tenants_route)) {
        return VERDICT_ACCEPT; /* its tenant will say, at the end of the content */
    }
    return route.kind == ROUTE_NOWHERE ? route.verdict : VERDICT_ACCEPT;
}
