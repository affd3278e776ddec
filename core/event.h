/*
 * Delivery events and their JSON form: one record per recipient on one line, field names and type
 * names of KumoMTA's log, with our own fields beside them. A record derived again from the spool
 * after a crash is the same to the byte, event_id included. Pure.
 */
#ifndef RINGPOST_CORE_EVENT_H
#define RINGPOST_CORE_EVENT_H

#include "core/buf.h"
#include "core/endpoint.h"
#include "core/id.h"

enum event_type {
    EVENT_RECEPTION,
    EVENT_DELIVERY,
    EVENT_TRANSIENT_FAILURE,
    EVENT_BOUNCE,
    EVENT_EXPIRATION,
    EVENT_ADMIN_BOUNCE,
    EVENT_ADMIN_REBIND,
    EVENT_OOB,      /* a notification that came tells of a failure */
    EVENT_FEEDBACK, /* a complaint came */
    EVENT_REJECTION,
    EVENT_TYPES,
};

/* Largest record there is, when no text is longer than EVENT_TEXT_BYTES_MAX. */
#define EVENT_TEXT_BYTES_MAX 1024
#define EVENT_JSON_BYTES_MAX (64 * KIB)
/* Of `meta` and of `headers`, each. */
#define EVENT_MEMBERS_BYTES_MAX (2 * KIB)
/* Of `feedback`: what else there is in a Feedback has no 12 KiB. */
#define EVENT_FEEDBACK_BYTES_MAX (48 * KIB)

/* All slices borrowed for the call; text beyond EVENT_TEXT_BYTES_MAX is cut. */
struct event {
    enum event_type type;
    bool urgent;           /* class */
    bool uncertain;        /* the dot was sent and no reply came */
    uint16_t code;         /* 250, 451 …; 250 on receptions */
    uint8_t enhanced[3];   /* all 0: none */
    uint32_t attempts;     /* made, this one included; 0 on receptions */
    uint32_t delivery_ms;  /* MAIL sent → outcome; written on records of an attempt only */
    uint64_t size;         /* bytes of the message; 0 on rejections */
    uint64_t wall_ns;      /* when it happened */
    uint64_t created_ns;   /* reception of the message */
    struct id id;          /* of the recipient; zero on rejections */
    struct id node;        /* node.id, shown as a UUID */
    struct id session;     /* of the connection, shown as a UUID; zero: field left out */
    uint64_t spool;        /* spool, lane, sequence make the event_id; spool 0: field left out */
    uint64_t sequence;
    uint16_t lane;
    struct endpoint peer;   /* zero address: peer_address is null */
    struct endpoint source; /* our end; zero address: source_address is null */
    struct endpoint origin; /* of a message: who spoke for the client; port 0: nobody did */
    struct slice protocol;  /* by which the message came, "ESMTP", "HTTP"; empty: null */
    struct slice peer_name; /* MX host, or what the client called itself */
    struct slice sender;    /* without angle brackets; empty is the null sender */
    struct slice recipient;
    struct slice queue;
    struct slice site;      /* "SOURCE->NAME@smtp_client"; empty before routing */
    struct slice pool;      /* empty: null */
    struct slice source_name;
    struct slice command;   /* what the reply answered, "." the final dot; empty: null */
    struct slice content;   /* text of the reply after its codes, one line */
    struct slice classification; /* of such a type; empty: "Uncategorized" */
    struct slice feedback;  /* of a Feedback: the object feedback_report, as JSON */
    struct slice reference; /* of OOB and Feedback: what it is worth, an object; empty: none */
    struct slice meta;      /* members of the object, as JSON; at most EVENT_MEMBERS_BYTES_MAX */
    struct slice headers;   /* the same */
};

/* "Reception", "Delivery", "TransientFailure" … */
const char *event_type_name(enum event_type type);
/* Of mail that was refused or did not arrive: it has a classification. */
bool event_type_is_classified(enum event_type type);
/* Exactly such a name. */
MUST_USE bool event_type_parse(struct slice name, enum event_type *type_out);

/* The reply on one line, "550 5.1.1 no such user", cut where `buf` ends; line ends are spaces. */
void event_put_reply(struct buf *buf, const struct event *event);
/* Its text alone, likewise. */
void event_put_line(struct buf *buf, struct slice text);

/* One line with its line end; at most EVENT_JSON_BYTES_MAX. Left out whole when it does not fit. */
void event_put_json(struct buf *buf, const struct event *event);

#endif
