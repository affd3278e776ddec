/* The parts of delivery that its files share; see smtp/delivery.h. Not for other modules. */
#ifndef RINGPOST_SMTP_EGRESS_H
#define RINGPOST_SMTP_EGRESS_H

#include "shard/queue/hold.h"
#include "smtp/client_conn.h"
#include "smtp/delivery.h"
#include "smtp/egress_limits.h"
#include "smtp/route.h"

#define EGRESS_NAME_BYTES_MAX (ROUTE_SITE_BYTES_MAX + 32)

struct egress {
    struct ready_queue ready;
    struct delivery *delivery;
    struct list link;         /* in delivery->all */
    struct list idle;         /* egress_conn, last used first */
    struct list conns;        /* egress_conn that are not idle */
    struct deferred work;
    const struct path_options *path; /* borrowed from the snapshot */
    struct client_options client;
    struct egress_limits limits;
    struct hold hold;         /* why no more is sent, as ready.hold, and until when */
    struct timer timer;       /* at the instant at which a rate goes on */
    uint64_t pinned_bytes;    /* its part of delivery->pinned_bytes */
    bool share_full;          /* it waits for some of them */
    uint32_t connections;
    uint32_t away;            /* egress_conn whose connection goes to another shard */
    uint32_t failures;        /* in a row: every host failed */
    uint64_t heard_ns;        /* a server last answered, or began to be waited for */
    unsigned host_count;
    struct endpoint hosts[ROUTE_HOSTS_MAX];
    struct slice host_names[ROUTE_HOSTS_MAX]; /* borrowed from the snapshot */
    uint16_t name_bytes;
    char name[EGRESS_NAME_BYTES_MAX]; /* "unspecified->mx_list:[127.0.0.1]:2626@smtp_client" */
};

struct transfer;

struct egress_conn {
    struct client_conn conn;
    struct egress *egress;      /* borrowed */
    struct transfer *transfer;  /* null: idle, connecting or closing */
    bool used;                  /* has sent something since it came here */
    unsigned host;              /* index of the one being tried */
    struct slot_cargo cargo;    /* while it goes to another shard, which knows the site, too */
};

/* Null: no memory. */
MUST_USE struct egress *egress_new(struct delivery *delivery, const struct route *route,
                                   const struct path_options *path);
/* Work will be looked for at the end of this turn. */
void egress_kick(struct egress *egress);
/* The connection has no transfer any more and may take another. */
void egress_conn_idle(struct egress_conn *conn);
/* Ten times a second: what waits for memory, slots that it has had long enough. */
void egress_tick(struct egress *egress);
/* No new work; idle connections close, the others when they are idle. */
void egress_stop(struct egress *egress);
void egress_cut(struct egress *egress);
/* The last queue is gone: it goes too, when its connections have. */
void egress_unused(struct egress *egress);

/* New transfers may begin. */
bool delivery_may_start(const struct delivery *delivery);
void delivery_forget(struct delivery *delivery, struct egress *egress);

#endif
