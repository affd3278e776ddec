/*
 * One order of smtp/admin.h on its way: to a mail shard, over that shard's queues in slices, and
 * home. What it finds it brings. Part of admin, not for other modules; it belongs to the TSA shard,
 * and to the mail shard from its arrival until it is sent home.
 *
 *   OBEY    every queue and site has what the new table says of it: then it is in force
 *   COUNT   how many queues and recipients an entry would be about, and a few names
 *   FLUSH   what waits in the queues of an entry is due
 *   COUNT_WAITING   what FLUSH would find
 */
#ifndef RINGPOST_SMTP_ADMIN_WALK_H
#define RINGPOST_SMTP_ADMIN_WALK_H

#include "smtp/admin_entry.h"
#include "smtp/shard_walk.h"

#define ADMIN_SAMPLES_MAX 5u

struct admin_sample {
    uint16_t bytes;
    uint8_t name[QUEUE_NAME_BYTES_MAX];
};

/* Of one shard, or of all: a queue with mail on two shards is counted by both. */
struct admin_found {
    uint64_t queues;     /* with recipients */
    uint64_t recipients; /* of a flush those that waited */
    unsigned sample_count;
    struct admin_sample samples[ADMIN_SAMPLES_MAX];
};

/* Adds a name, unless it is there or there is no room. */
void admin_found_sample(struct admin_found *found, struct slice name);
void admin_found_add(struct admin_found *sum, const struct admin_found *part);

enum admin_task { ADMIN_OBEY, ADMIN_COUNT, ADMIN_FLUSH, ADMIN_COUNT_WAITING };
enum admin_stage { ADMIN_QUEUES, ADMIN_SITES, ADMIN_ROWS, ADMIN_OVER };

struct admin_part {
    struct shard_walk walk;
    void (*home)(struct admin_part *part);
    void *context;
    enum admin_task task;
    const struct admin_table *table; /* OBEY; stands until the next one is obeyed */
    const struct admin_entry *entry; /* what is counted; null: nothing. Borrowed until home */
    bool sites_only;           /* OBEY: no scheduled queue is ordered anything else than before */
    enum admin_stage stage;
    bool rows_marked;          /* some queue's rows are to become due */
    struct admin_found found;
};

/* On the TSA shard; `home` is called there. */
void admin_part_init(struct admin_part *part, struct delivery *delivery);
void admin_part_send(struct admin_part *part, struct shard *shard);

#endif
