/*
 * HTTP of a node: where its servers begin and end. The TSA shard has all listeners, from before the
 * spool is read until every mail shard has stopped: so that a probe, and an operator, is answered
 * while the node starts and while it stops.
 */
#ifndef RINGPOST_SMTP_NODE_HTTP_H
#define RINGPOST_SMTP_NODE_HTTP_H

#include "shard/io/http_server.h"

struct control;
struct mta;
struct node;

/* What the TSA shard has of it. */
struct node_http {
    struct http_server server;
    struct timer again; /* tries again to listen */
    uint64_t until_ns;  /* … for the last time; then, of a stop, when what is left is cut */
    bool stopping;
    void (*listening)(struct control *control);
};

/* Boot. */
void node_http_init_tsa(struct node *node);
void node_http_init_mail(struct mta *mta);
/* TSA shard: `listening` follows, or the node has failed. */
void node_http_start(struct control *control, void (*listening)(struct control *control));
/* Once a turn of a mail shard: how it is, for other threads to see. */
void node_http_look(struct mta *mta);
/* Once a turn of the TSA shard. */
void node_http_account(struct control *control);
/* TSA shard, when all mail shards have stopped: once a turn until it is true, all has ended. */
bool node_http_stopped(struct control *control);

#endif
