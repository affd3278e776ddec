/*
 * From a recipient to its scheduled queue. A queue is named campaign:tenant@domain!routing_domain,
 * KumoMTA's form: parts that are empty are left out with their mark, but "campaign:@domain" keeps
 * both; a recipient without a domain, "postmaster", belongs to "@". The routing domain is that of
 * the queue's options.
 */
#ifndef RINGPOST_SMTP_QUEUE_OF_H
#define RINGPOST_SMTP_QUEUE_OF_H

#include "core/conf.h"
#include "shard/queue/queues.h"

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

/* Number of that queue, made and given its options when new; QUEUE_NONE: no memory. */
MUST_USE uint32_t queue_of(struct queues *queues, const struct conf *conf,
                           const struct conf_queue_key *key);
static inline const struct queue_options *queue_options_of(const struct queues *queues,
                                                           uint32_t number)
{
    return (const struct queue_options *)sched_queue_options(queues_at(queues, number));
}

#endif
