#include "smtp/egress_hosts.h"

#include "core/check.h"

/* Names of the configuration are copied, those of DNS stay with the site. */
static struct slice keep_name(struct buf *names, const struct route *route, unsigned i)
{
    uint8_t *at = names->data + names->size;
    if (route->lookup.size > 0) {
        return route->names[i];
    }
    buf_put(names, route->names[i]);
    return names->overflow ? SLICE_NONE : slice_make(at, route->names[i].size);
}

void egress_hosts_set(struct egress_hosts *hosts, const struct route *route)
{
    struct buf names;
    buf_init(&names, hosts->names_memory, sizeof(hosts->names_memory));
    hosts->nowhere = route->kind == ROUTE_NOWHERE ? route->verdict : VERDICT_ACCEPT;
    hosts->detail = SLICE_NONE;
    hosts->count = route->host_count;
    for (unsigned i = 0; i < route->host_count; i++) {
        hosts->names[i] = keep_name(&names, route, i);
        hosts->ranks[i] = route->ranks[i];
        hosts->at[i] = route->hosts[i];
    }
    if (route->kind == ROUTE_NOWHERE) {
        buf_init(&names, hosts->names_memory, sizeof(hosts->names_memory));
        buf_put(&names, slice_first(route->detail, MIN_OF(route->detail.size, buf_room(&names))));
        hosts->detail = buf_slice(&names);
    }
}

uint32_t egress_hosts_reach(const struct egress_hosts *hosts, const struct endpoint *source)
{
    static const struct endpoint any = {0};
    bool bound = !endpoint_equal_address(source, &any);
    uint32_t reach = 0;
    for (unsigned i = 0; i < hosts->count; i++) {
        bool fits = !bound || endpoint_is_v4(source) == endpoint_is_v4(&hosts->at[i]);
        reach |= (uint32_t)fits << i;
    }
    return reach;
}

unsigned egress_hosts_pick(const struct egress_hosts *hosts, uint32_t reach, unsigned tried,
                           uint32_t spin)
{
    unsigned set[ROUTE_HOSTS_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < hosts->count; i++) {
        if ((reach >> i & 1) != 0) {
            set[count++] = i;
        }
    }
    CHECK(tried < count);
    unsigned first = tried;
    unsigned end = tried + 1;
    while (first > 0 && hosts->ranks[set[first - 1]] == hosts->ranks[set[tried]]) {
        first--;
    }
    while (end < count && hosts->ranks[set[end]] == hosts->ranks[set[tried]]) {
        end++;
    }
    return set[first + (tried - first + spin) % (end - first)];
}
