/* One limit as its operator knows it: for reports. Part of delivery. */
#ifndef RINGPOST_SMTP_LIMIT_VIEW_H
#define RINGPOST_SMTP_LIMIT_VIEW_H

#include "shard/queue/cells.h"

struct limit_view {
    const char *option;      /* of the configuration */
    struct slice name;       /* what it limits; empty: the site that was asked */
    const struct cell *cell; /* borrowed: what is used of it, the same for all shards; null: it is
                                nobody's on this one */
    const struct rate *rate; /* borrowed; null: it is a count of slots */
    uint32_t count;          /* then there are so many */
};

#endif
