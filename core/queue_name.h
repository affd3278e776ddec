/*
 * Names of scheduled queues: campaign:tenant@domain!routing_domain, KumoMTA's form. Parts that are
 * empty are left out with their mark, but "campaign:@domain" keeps both; a recipient without a
 * domain, "postmaster", belongs to "@". The routing domain is that of the queue's options. Pure.
 */
#ifndef RINGPOST_CORE_QUEUE_NAME_H
#define RINGPOST_CORE_QUEUE_NAME_H

#include "core/conf.h"

#define QUEUE_NAME_BYTES_MAX 720

/* What follows the last '@'; empty without one. Domains stand in lower case in every envelope. */
struct slice address_domain(struct slice address);

/* Room for names that queue_name makes. */
struct queue_name_memory {
    uint8_t bytes[QUEUE_NAME_BYTES_MAX];
};
/* The name of a queue; borrowed from the key or `memory`. Without conf: no routing domain. */
struct slice queue_name(const struct conf *conf, const struct conf_queue_key *key,
                        struct queue_name_memory *memory);
/* The parts of such a name; what no name has, as far as it makes sense. */
struct conf_queue_key queue_name_parse(struct slice name);
/* Its routing domain; empty: it has none. */
struct slice queue_name_routing(struct slice name);

#endif
