/*
 * One question to the servers until one has answered (RFC 1035 4.2, RFC 7766): by UDP from a socket
 * of its own, so that port and id are both random, then by TCP where the answer was cut off.
 * Servers are taken in their order, beginning with the one that answered last; each attempt waits
 * `timeout_ns`; SERVFAIL, REFUSED, junk, and nobody there go on to the next one at once. One that
 * says FORMERR to a query with EDNS is asked again without (RFC 6891 6.2.2, 7), and so is what is
 * asked of it for DNS_PLAIN_NS. What is no answer to the question (another id, another name) is
 * ignored, and counted; the kernel drops what another sender sends.
 *
 * Owned by the caller, in memory of its own; `done` comes once, from the loop, never inside a call
 * of this header; then nothing of it is in flight, and its memory may be used again, in `done`,
 * too. On the thread of its shard. No allocation but for TCP answers, at most 64 KiB each.
 */
#ifndef RINGPOST_SHARD_IO_DNS_EXCHANGE_H
#define RINGPOST_SHARD_IO_DNS_EXCHANGE_H

#include "shard/io/dns_message.h"
#include "shard/io/stream.h"
#include "shard/metered.h"
#include "shard/shard.h"

#define DNS_SERVERS_MAX 8
#define DNS_IGNORED_MAX 64 /* of one attempt; then the next server is asked */
#define DNS_PLAIN_NS    (900 * NS_PER_S)

/* Since the start. */
struct dns_exchange_counts {
    uint64_t queries;  /* sent, by UDP or TCP */
    uint64_t streams;  /* of them by TCP */
    uint64_t ignored;  /* messages that were no answer to the question */
    uint64_t timeouts; /* attempts that nobody answered in time */
    uint64_t failures; /* attempts that ended otherwise without an answer that could be used */
};

/* The servers of a shard, shared by all its exchanges; their owner outlives these. */
struct dns_servers {
    struct endpoint servers[DNS_SERVERS_MAX];
    bool trusted[DNS_SERVERS_MAX]; /* its AD bit counts */
    uint64_t plain_until_ns[DNS_SERVERS_MAX]; /* it is asked without EDNS; monotonic */
    unsigned count;                /* ≥ 1 */
    unsigned attempts;             /* rounds over all servers, ≥ 1 */
    uint64_t timeout_ns;           /* of one attempt */
    unsigned first;                /* index of the one that answered last */
    void *memory;            /* borrowed, DNS_ANSWER_BYTES_MAX: answers are used one at a time */
    struct metered *metered; /* borrowed: of messages that come by TCP */
    struct dns_exchange_counts counts;
};

struct dns_exchange;
/* `answer` and what it points to are borrowed until this returns. */
typedef void dns_exchange_done(struct dns_exchange *exchange, const struct dns_answer *answer);

/* What is at work. */
enum dns_exchange_state {
    DNS_EXCHANGE_RESTING, /* between two attempts: goes on from the loop */
    DNS_EXCHANGE_UDP,
    DNS_EXCHANGE_TCP,
    DNS_EXCHANGE_LEAVING, /* what was at work is being closed */
};

/* What comes when it is closed. */
enum dns_exchange_next {
    DNS_EXCHANGE_NEXT_SERVER,
    DNS_EXCHANGE_NEXT_TCP,
    DNS_EXCHANGE_NEXT_PLAIN,  /* the same server, which knows no EDNS */
    DNS_EXCHANGE_NEXT_ANSWER, /* the message that is held is the answer */
    DNS_EXCHANGE_NEXT_END,    /* there is none; `trouble` says why */
};

struct dns_exchange {
    struct shard *shard;          /* borrowed */
    struct dns_servers *servers;  /* borrowed */
    struct dns_question question; /* its bytes are the caller's, until `done` */
    dns_exchange_done *done;
    enum dns_exchange_state state;
    enum dns_exchange_next next;
    enum dns_status trouble; /* the most telling of those met so far */
    unsigned trouble_left_out;
    uint16_t trouble_rcode;
    unsigned begun;          /* attempts */
    unsigned first;          /* server of the first one */
    unsigned ignored;        /* of this attempt */
    uint16_t id;             /* of this attempt */
    bool cancelled;
    bool has_cancelled;      /* leaving: what was in flight has been */
    bool by_tcp;             /* the message held came by TCP */
    bool plain;              /* the query has no EDNS */
    bool holds;              /* `buffer` is held: the answer, by UDP */
    uint16_t buffer;
    uint16_t query_bytes;
    uint32_t size;           /* of the message held */
    uint32_t tcp_got;        /* bytes of `tcp` that have come */
    uint32_t tcp_prefix;     /* bytes of its length that have come */
    uint8_t *tcp;            /* of `servers->metered`; null: none yet */
    int fd;                  /* of UDP; -1: none */
    struct op recv_op;
    struct op send_op;
    struct op cancel_op;
    struct op close_op;
    struct op defer_op;
    struct timer timeout;
    struct timer retry_timer;
    struct iovec iovec;
    uint8_t query[2 + DNS_QUERY_BYTES_MAX]; /* with the length that TCP wants */
    struct stream stream;
};

void dns_exchange_start(struct dns_exchange *exchange, struct shard *shard,
                        struct dns_servers *servers, const struct dns_question *question,
                        dns_exchange_done *done);
/* `done` follows with DNS_BUSY, soon. Any number of times until then. */
void dns_exchange_cancel(struct dns_exchange *exchange);

#endif
