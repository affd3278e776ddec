/*
 * What operators and rules have ordered, on a mail shard: the table in force, and the end of mail
 * that is bounced. Part of delivery, not for other modules; one per shard, all calls on it.
 *
 * A queue has its order from the moment it is made, or a new table was obeyed (smtp/admin_walk.h).
 * What had begun to be sent goes on to its end. What had been taken, but not begun, goes back, and
 * no attempt is counted. Rows of a doomed queue end when they are due: a batch of one message is
 * held, its OUTCOME stored, and then told. So ends a deferred row that comes back to its queue.
 */
#ifndef RINGPOST_SMTP_ADMIN_LOCAL_H
#define RINGPOST_SMTP_ADMIN_LOCAL_H

#include "smtp/delivery.h"

struct egress;

void admin_local_init(struct delivery *delivery);
/* Ten times a second: what waits for memory, or for the spool. */
void admin_local_tick(struct delivery *delivery);

/* queues_user.ordered and .doomed; `context` is the delivery. */
enum queue_order admin_local_ordered(void *context, struct slice name);
void admin_local_doomed(void *context);
/* Is it suspended? Its owner is told when that changes. */
void admin_local_site(struct egress *egress);

/* The entry that counts for a scheduled queue, for a ready queue; null: none. */
const struct admin_entry *admin_local_entry(const struct delivery *delivery, struct slice queue);
const struct admin_entry *admin_local_entry_ready(const struct delivery *delivery,
                                                  struct slice name);

/* So many recipients were bounced by the entry in this slot, durably. */
void admin_local_count(struct delivery *delivery, uint16_t slot, unsigned count);
/* A transfer of a doomed queue is gone. */
void admin_local_freed(struct delivery *delivery);

#endif
