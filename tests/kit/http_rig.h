/*
 * HTTP servers on the simulated network: two mail shards and the TSA shard, and clients led by
 * hand. The routes are the rig's; what they answer says which shard did, and what it was given.
 * What goes wrong fails the run (sim_fail), so that a campaign names its seed.
 */
#ifndef RINGPOST_TESTS_KIT_HTTP_RIG_H
#define RINGPOST_TESTS_KIT_HTTP_RIG_H

#include "shard/io/http_server.h"
#include "tests/sim/shards.h"

#define RIG_MAILS  2
#define RIG_TSA    RIG_MAILS
#define RIG_CLIENT 250           /* a host in trusted_hosts, as are the next five */
#define RIG_OTHER  (7 * 256 + 1) /* one that is not */
#define RIG_CONNS  40            /* connections_max of each shard */
#define RIG_MEMORY (4 * MIB)
#define RIG_BODY   (1 * MIB)     /* request_body_limit */

/* What the handlers of a shard have been asked, and are to do. */
struct http_told {
    struct http_exchange *kept; /* by /later, /mail/later, /stream and /socket, up to the answer */
    unsigned gone;
    unsigned handled;
    unsigned streamed; /* calls of `fill` */
    unsigned lines;    /* of 1,000 bytes that /stream and /large are still to put */
    unsigned back_bytes;
    uint8_t back[256]; /* what /socket is to say */
};

struct http_rig {
    struct sim *sim;
    struct sim_node *node;
    struct sim_shards shards;
    struct boot_pages pages;
    struct conf conf;
    struct conf_http_listener listener;
    struct network trusted;
    struct http_server servers[RIG_MAILS + 1];
    struct http_server *mails[RIG_MAILS];
    struct http_told told[RIG_MAILS + 1];
    struct endpoint at;
};

/*
 * Routes: GET and POST /tsa, GET /tree/x, POST /mail, and POST /small of at most 10 bytes say
 * "SHARD METHOD PATH BODY\n", "#SIZE" for a long body. GET /later, /mail/later, /stream, /large,
 * /socket (a WebSocket that sends back what comes, up to "!").
 */
void http_rig_open(struct http_rig *rig, struct sim *sim);
/* Stops and cuts all servers. False: something has not come home. */
bool http_rig_stop(struct http_rig *rig);
/* The answer that /later owes. */
void http_rig_answer(struct http_rig *rig, unsigned shard, const char *text);
uint64_t http_rig_counter(const struct http_rig *rig, unsigned shard, enum counter counter);

#endif
