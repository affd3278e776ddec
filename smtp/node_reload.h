/* How a node reads its configuration again: smtp/reload.h within it. Part of node. */
#ifndef RINGPOST_SMTP_NODE_RELOAD_H
#define RINGPOST_SMTP_NODE_RELOAD_H

#include "smtp/node.h"

/* Boot: of the TSA shard, before those of the mail shards. */
void node_reload_init_tsa(struct control *control);
void node_reload_init_mail(struct mta *mta);
/* TSA shard: begins what node_reload has asked for, once the node is ready. */
void node_reload_look(struct control *control);
/* What the event log takes of a configuration; without sink and heap. */
struct event_log_options node_log_options(const struct conf *conf);

#endif
