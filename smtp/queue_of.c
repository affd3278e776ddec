#include "smtp/queue_of.h"

uint32_t queue_of(struct queues *queues, const struct conf *conf, const struct conf_queue_key *key)
{
    struct queue_name_memory memory;
    uint32_t number = queues_name(queues, queue_name(conf, key, &memory));
    if (number == QUEUE_NONE) {
        return QUEUE_NONE;
    }
    struct queue_options *options = sched_queue_options(queues_at(queues, number));
    if (options->weight == 0) {
        conf_queue(conf, key, options);
        sched_queue_weigh(queues_at(queues, number), options->weight);
    }
    return number;
}
