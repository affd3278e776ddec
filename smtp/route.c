#include "smtp/route.h"

#include <xxhash.h>

#include "core/check.h"

static bool add_host(struct route *route, const struct conf_host *host, uint16_t default_port)
{
    if (!host->has_address || route->host_count == ROUTE_HOSTS_MAX) {
        return false;
    }
    struct endpoint *endpoint = &route->hosts[route->host_count];
    *endpoint = host->endpoint;
    if (endpoint->port == 0) {
        endpoint->port = default_port;
    }
    route->names[route->host_count++] = host->name;
    return true;
}

/* The hosts are complete. */
static void route_done(struct route *route)
{
    route->kind = route->site.overflow ? ROUTE_NEEDS_DNS : ROUTE_OK;
    for (unsigned i = 0; i < route->host_count; i++) {
        const struct endpoint *host = &route->hosts[i];
        route->identity = XXH3_64bits_withSeed(host->address, sizeof(host->address),
                                               route->identity + host->port);
    }
}

/* "[192.0.2.1]", "[IPv6:2001:db8::1]": what a recipient may write after the '@'. */
static void route_literal(struct route *route, const struct path_options *path,
                          struct slice domain)
{
    struct slice text = slice_make(domain.data + 1, domain.size - 2);
    if (text.size > 5 && slice_equal_nocase(slice_first(text, 5), SLICE("IPv6:"))) {
        text = slice_skip(text, 5);
    }
    if (!endpoint_parse_address(text, &route->hosts[0])) {
        return;
    }
    route->hosts[0].port = path->smtp_port;
    if (networks_contain(path->prohibited_hosts, path->prohibited_host_count, &route->hosts[0])) {
        route->kind = ROUTE_PROHIBITED;
        return;
    }
    route->names[0] = SLICE_NONE;
    route->host_count = 1;
    endpoint_put(&route->site, &route->hosts[0]);
    route_done(route);
}

void route_find(struct route *route, const struct queue_options *queue,
                const struct path_options *path, struct slice domain)
{
    route->kind = ROUTE_NEEDS_DNS;
    route->host_count = 0;
    route->identity = 0;
    buf_init(&route->site, route->site_memory, sizeof(route->site_memory));
    if (queue->mx_count > 0) {
        for (size_t i = 0; i < queue->mx_count; i++) {
            if (!add_host(route, &queue->mx_list[i], path->smtp_port)) {
                return;
            }
        }
        buf_put(&route->site, queue->mx_name);
        route_done(route);
        return;
    }
    if (queue->routing_domain != NULL) {
        if (add_host(route, queue->routing_domain, path->smtp_port)) {
            buf_put(&route->site, queue->routing_domain->text);
            route_done(route);
        }
        return;
    }
    if (domain.size > 2 && domain.data[0] == '[' && domain.data[domain.size - 1] == ']') {
        route_literal(route, path, domain);
    }
}

struct verdict route_verdict(const struct conf *conf, struct slice domain)
{
    const struct conf_queue_key key = {.domain = domain};
    struct queue_options options;
    struct route route;
    conf_queue(conf, &key, &options);
    route_find(&route, &options, conf_path(conf, domain), domain);
    switch (route.kind) {
    case ROUTE_OK:
        return VERDICT_ACCEPT;
    case ROUTE_NEEDS_DNS:
        if (conf->queues.tenants_route) {
            return VERDICT_ACCEPT; /* its tenant will say, at the end of the content */
        }
        return (struct verdict){451, "4.4.4 No route to this domain is configured"};
    case ROUTE_PROHIBITED:
        return (struct verdict){550, "5.4.4 This destination is prohibited"};
    }
    CHECK(false);
}
