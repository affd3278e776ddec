/* From a recipient to its scheduled queue, by the name of that (core/queue_name.h). */
#ifndef RINGPOST_SMTP_QUEUE_OF_H
#define RINGPOST_SMTP_QUEUE_OF_H

#include "core/queue_name.h"
#include "shard/queue/queues.h"

/* Number of that queue, made and given its options when new; QUEUE_NONE: no memory. */
MUST_USE uint32_t queue_of(struct queues *queues, const struct conf *conf,
                           const struct conf_queue_key *key);
static inline const struct queue_options *queue_options_of(const struct queues *queues,
                                                           uint32_t number)
{
    return (const struct queue_options *)sched_queue_options(queues_at(queues, number));
}

#endif
