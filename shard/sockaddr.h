/* Endpoints as the kernel wants them: IPv4 as AF_INET, everything else as AF_INET6. Pure. */
#ifndef RINGPOST_SHARD_SOCKADDR_H
#define RINGPOST_SHARD_SOCKADDR_H

#include <sys/socket.h>

#include "core/endpoint.h"

#define SOCKADDR_BYTES_MAX 28 /* sockaddr_in6 */

int sockaddr_family(const struct endpoint *endpoint);
/* Writes at most SOCKADDR_BYTES_MAX bytes; returns how many. */
socklen_t sockaddr_put(const struct endpoint *endpoint, void *out);
/* From what the kernel filled in; all zero when it is neither family. */
struct endpoint sockaddr_get(const struct sockaddr_storage *address);

#endif
