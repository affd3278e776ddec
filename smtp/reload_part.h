/*
 * A configuration on its way into force: to a mail shard, over what that has of the one before in
 * slices, and home. Part of reload, not for other modules; it belongs to the TSA shard, and to the
 * mail shard from its arrival until it is sent home.
 *
 *   arrival  whatever begins from here on begins by the new one
 *   queues   each has its options from it; where its route or its rates are others, what waits in
 *            it goes there, and what is hot ends where it is
 *   pools    those whose options are the same stay; the others have no queue any more, and end with
 *            what they have begun
 *
 * Then the shard borrows from the old one no longer, but for transactions that came in under it:
 * these hold its lease.
 */
#ifndef RINGPOST_SMTP_RELOAD_PART_H
#define RINGPOST_SMTP_RELOAD_PART_H

#include "shard/io/http_server.h"
#include "smtp/conf_lease.h"
#include "smtp/inject.h"
#include "smtp/shard_walk.h"

enum reload_stage { RELOAD_QUEUES, RELOAD_POOLS, RELOAD_OVER };

/* Who on a mail shard has a configuration, beside its delivery. All borrowed. */
struct reload_target {
    struct server *server;
    struct inject *inject;
    struct http_server *http;
    struct advice_tap *advice;
};

struct reload_part {
    struct shard_walk walk;
    struct reload_target target;
    void (*home)(struct reload_part *part);
    void *context;
    struct conf_lease *lease;   /* of the new one, for this shard */
    struct conf_lease *old;     /* of the one before, until it is in force no more */
    enum reload_stage stage;
};

/* On the TSA shard; `home` is called there. */
void reload_part_init(struct reload_part *part, struct delivery *delivery,
                      const struct reload_target *target);
void reload_part_send(struct reload_part *part, struct conf_lease *lease, struct shard *shard);

#endif
