/*
 * One transaction's worth of rows on its way out; see smtp/delivery.h. Part of delivery, not for
 * other modules. Owned by the delivery's pool until its OUTCOME is stored and its events written.
 */
#ifndef RINGPOST_SMTP_TRANSFER_H
#define RINGPOST_SMTP_TRANSFER_H

#include "smtp/egress.h"

#define TRANSFER_PAYLOAD_BYTES 2048
#define TRANSFER_TEXT_BYTES    4096

enum transfer_cause {
    TRANSFER_SEND,    /* by a connection */
    TRANSFER_EXPIRE,  /* max_age is over, or its own time */
    TRANSFER_NO_HOST, /* no host could be reached */
    TRANSFER_NOWHERE, /* DNS says that there is no way, or nothing */
    TRANSFER_NO_TLS,  /* the path requires what is not built yet */
    TRANSFER_DAMAGED, /* its message could not be read back */
    TRANSFER_ADMIN,   /* an operator bounces it: no attempt, and no site */
    TRANSFER_VOID,    /* of a request to inject that was never answered: no attempt */
};

struct transfer {
    struct delivery *delivery;
    struct egress *egress;      /* null: TRANSFER_ADMIN */
    struct egress_conn *conn;   /* while a connection has it */
    bool connected;             /* the four below say what that was */
    struct endpoint peer;
    struct endpoint source;
    struct id session;
    uint8_t peer_name_bytes;
    uint8_t peer_name[EGRESS_HOST_BYTES_MAX];
    struct list link;           /* in delivery->ahead or delivery->unrecorded */
    enum transfer_cause cause;
    uint16_t code;              /* TRANSFER_NOWHERE; its text is in transaction.texts */
    uint8_t enhanced[3];
    uint16_t slot;              /* TRANSFER_ADMIN: of the entry that says so */
    bool loading;
    bool ahead;                 /* in the two lists below; it has no connection yet */
    struct list turn;           /* in egress->ahead */
    uint64_t ahead_bytes;       /* of delivery->ahead_bytes */
    bool admitted;              /* its rows count at the gate of their queue */
    uint32_t gate;              /* the number of that gate; 0: none */
    bool charged;               /* … and at the rates of the site */
    bool notifies;              /* a recipient asked for notifications, and there is a sender */
    bool passed_on;             /* … and the server has heard that */
    bool header_read;           /* for them: `part` is what a body in parts begins with */
    unsigned notified;          /* recipients for whom that has been seen to */
    uint64_t begun_ns;          /* its connection was given the transaction */
    uint64_t pinned_bytes;      /* of its site, while a peer is sent it */
    unsigned count;             /* rows; their order is that of the recipients */
    unsigned first_count;       /* recipients of which this was the first attempt */
    struct message *message;    /* one reference once found or loaded */
    struct spool_load load;
    struct spool_load part;     /* the part of a large body being sent; its chain */
    struct client_transaction transaction;
    struct spool_write write;
    struct block *payload_block; /* when payload_memory is too small */
    struct slice payload;
    uint32_t rows[BATCH_ROWS_MAX];
    struct client_recipient recipients[BATCH_ROWS_MAX];
    uint8_t texts[TRANSFER_TEXT_BYTES];
    uint8_t payload_memory[TRANSFER_PAYLOAD_BYTES];
};

/* Takes the next batch of a ready queue, of at most `most` rows, when `hot_max` rows may be hot;
 * null: nothing due that there is room for, or no memory. */
MUST_USE struct transfer *transfer_take(struct egress *egress, uint32_t hot_max, uint32_t most);
/* Its turn has not come: its message is read, and what it had of rates goes back. False: there is
 * no memory, and all that was read ahead is gone. */
MUST_USE bool transfer_read_ahead(struct transfer *transfer);
/* Now it has: as many rows as the rates of their queue let go, `most` at most, stay with it. False:
 * none, and it is gone. */
MUST_USE bool transfer_admit(struct transfer *transfer, uint32_t most);
/* All rows go back to stand first, as they were: nothing was attempted. When its message is being
 * read, that comes to its end before. */
void transfer_give_back(struct transfer *transfer);
/* Takes the next batch of a doomed queue, to end it as the entry says; null: no memory. */
MUST_USE struct transfer *transfer_take_doomed(struct delivery *delivery,
                                               struct sched_queue *queue,
                                               const struct admin_entry *entry);
/* It is to be sent: its rows count at the rates of the site, unless that comes to nothing. */
void transfer_charge(struct transfer *transfer);
/* Finds or loads the message, then gives it to the connection, or ends it by its cause. */
void transfer_start(struct transfer *transfer);
/* The connection has results. */
void transfer_sent(struct transfer *transfer);
void transfer_need_part(struct transfer *transfer, uint32_t part);
/* What has become of a recipient that is not to be tried again at once. */
enum disposition transfer_disposition(const struct transfer *transfer, unsigned i);
/* A notification has been seen to: the next one, or the OUTCOME. */
void transfer_notified(struct transfer *transfer);
/* Tries again what could not be recorded. */
void transfer_record_again(struct delivery *delivery);

#endif
