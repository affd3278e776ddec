#include "shard/sockaddr.h"

#include <assert.h>
#include <netinet/in.h>
#include <string.h>

static_assert(sizeof(struct sockaddr_in6) <= SOCKADDR_BYTES_MAX, "callers keep that much room");

int sockaddr_family(const struct endpoint *endpoint)
{
    return endpoint_is_v4(endpoint) ? AF_INET : AF_INET6;
}

socklen_t sockaddr_put(const struct endpoint *endpoint, void *out)
{
    if (endpoint_is_v4(endpoint)) {
        struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(endpoint->port)};
        memcpy(&v4.sin_addr, endpoint->address + 12, sizeof(v4.sin_addr));
        memcpy(out, &v4, sizeof(v4));
        return sizeof(v4);
    }
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(endpoint->port)};
    memcpy(&v6.sin6_addr, endpoint->address, sizeof(v6.sin6_addr));
    memcpy(out, &v6, sizeof(v6));
    return sizeof(v6);
}

struct endpoint sockaddr_get(const struct sockaddr_storage *address)
{
    struct endpoint endpoint = {0};
    if (address->ss_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof(v4));
        endpoint.address[10] = 0xFF;
        endpoint.address[11] = 0xFF;
        memcpy(endpoint.address + 12, &v4.sin_addr, sizeof(v4.sin_addr));
        endpoint.port = ntohs(v4.sin_port);
    } else if (address->ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof(v6));
        memcpy(endpoint.address, &v6.sin6_addr, sizeof(endpoint.address));
        endpoint.port = ntohs(v6.sin6_port);
    }
    return endpoint;
}
