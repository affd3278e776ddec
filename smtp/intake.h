/*
 * From a finished transaction to "250": a message is numbered, its rows are made, it is stored, and
 * only then are the rows live, the reply given and deliveries begun, in that order.
 *
 * Rows are taken before anything is written: what has been stored can always be queued, and what
 * cannot be queued is refused while it may still be refused. The ticket outlives the connection:
 * a client that goes away before our 250 has sent a whole message, and it is delivered.
 * One per shard; all calls on its thread.
 */
#ifndef RINGPOST_SMTP_INTAKE_H
#define RINGPOST_SMTP_INTAKE_H

#include "core/conf.h"
#include "shard/boot.h"
#include "shard/queue/queues.h"
#include "smtp/event_tap.h"
#include "smtp/message.h"
#include "smtp/reference.h"
#include "smtp/transaction.h"

struct intake {
    struct shard *shard;       /* borrowed, like all below */
    struct messages *messages;
    struct queues *queues;
    struct spool *spool;       /* set after the spool's start */
    struct event_tap *events;
    const struct conf *conf;
    struct id_source *ids;
    const struct reference_key *key; /* of references in what we send */
    struct pool tickets;
};

/* How a message came to us: for its metadata and its Received field. */
struct reception {
    struct slice hostname;
    struct slice hello;
    struct endpoint peer;
    struct endpoint local;
    struct endpoint origin; /* who spoke for the peer; port 0: nobody did */
    struct id session;      /* zero: it came by HTTP */
    bool extended;
    bool http;              /* by injection, else by SMTP */
    bool report;            /* neither: it is one of ours (smtp/notify.h) */
    bool received_header;
    const struct conf_trace *trace; /* of the reference in it; null: it has none */
    struct slice extra;     /* metadata of its recipients, smtp/inject_meta.h */
    const struct id *id; /* that it has been told by already; null: a new one */
    uint32_t others;     /* recipients who were done with before, and are counted in the reply */
    const struct id *request; /* by a request with an Idempotency-Key; null: by none */
};

struct intake_ticket;

#define INTAKE_REPLY_BYTES 96 /* of "250 2.0.0 OK ids=… count=…" */

/*
 * The end of a storing. `reply` is a whole reply without CRLF ("250 2.0.0 OK ids=… count=1",
 * "451 4.3.0 …"), borrowed during the call.
 */
typedef void intake_done(void *context, struct slice reply);

/* Who is told. */
struct intake_owner {
    intake_done *done; /* null once the owner has gone */
    void *context;
    struct row_list *held; /* null: rows are due when they are stored, or when their schedule says;
                              else they are held, and stand here until intake_release */
};

struct intake_ticket {
    struct spool_write write;
    struct spool_message record;
    struct intake *intake;
    struct message *message; /* one reference */
    struct row_list rows;    /* made, in no queue's list yet; linked by queue_next */
    bool urgent;             /* class of the message, and so of its rows */
    bool scheduled;          /* it has a schedule of its own … */
    uint32_t due_s;          /* … by which it is due then; 0: at once */
    enum counter counter;    /* of recipients that came this way */
    uint32_t others;         /* reception.others */
    struct intake_owner owner;
};

void intake_init(struct intake *intake, struct boot_pages *pages, uint32_t tickets_max);

/*
 * Takes the envelope and the content out of a finished transaction and stores them; `parts` are the
 * pieces of the body stored before, which the ticket drops when the message is stored. Ends in
 * owner->done from the loop. Null: refused at once, and `refusal_out` is the reply; the transaction
 * still has everything.
 */
MUST_USE struct intake_ticket *intake_put(struct intake *intake, struct transaction *transaction,
                                          const struct chain *parts,
                                          const struct reception *reception,
                                          const struct intake_owner *owner,
                                          struct slice *refusal_out);
/* What a client hears whose mail, or what is logged of it, was not stored; constant. */
struct slice intake_refusal(enum spool_status status);
/* "250 2.0.0 OK ids=… count=…": the id of the first of its recipients. */
void intake_put_reply(struct buf *buf, struct id id, uint32_t count);
/* The owner goes: its message is stored and delivered all the same, nobody is told. */
void intake_abandon(struct intake_ticket *ticket);
/* What was held is due, or waits for its schedule. */
void intake_release(struct intake *intake, struct row_list *held);
/* Tickets under way. */
uint32_t intake_open(const struct intake *intake);

#endif
