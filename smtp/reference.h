/*
 * Our reference in mail that we send: a header field that stands in what is returned with a
 * notification or a complaint (RFC 3464, RFC 5965), and shows there that the message was ours. The
 * form is KumoMTA's: base64, folded, of
 *
 *   {"_@_":"\\_/","ringpost":{"id":"ID","domain":"far.test"},"recipient":"a@far.test",META…,
 *    "signature":"32 hexadecimal digits"}
 *
 * ID says when (core/id.h), and names the recipient when there is one, else the message. `domain`
 * is that of all recipients, empty when they have several; `recipient` is there when there is one,
 * for who gets a message is not to read who else does. META is what the listener includes. Signed
 * is all that stands before the signature: HMAC-SHA256, of which 128 bits are kept, by a key that
 * only this node (or all nodes of an operator) has.
 *
 * Who has had such a message can show its reference as often as he likes: it proves what we sent,
 * not what became of it. Pure.
 */
#ifndef RINGPOST_SMTP_REFERENCE_H
#define RINGPOST_SMTP_REFERENCE_H

#include "core/conf.h"
#include "core/id.h"
#include "smtp/metadata.h"

#define REFERENCE_KEY_BYTES       32
#define REFERENCE_JSON_BYTES_MAX  2048 /* what does not fit is left out: recipient, metadata */
#define REFERENCE_FIELD_BYTES_MAX 3072 /* all lines of the field */
#define REFERENCE_KEPT_BYTES_MAX  (REFERENCE_JSON_BYTES_MAX + 18 + UINT8_MAX)
#define REFERENCE_AGE_MAX_S       (30u * 24 * 3600)
#define REFERENCE_AHEAD_MAX_S     3600u /* clocks of several nodes */
#define REFERENCE_TRIES_MAX       8u    /* fields that look like one, of a message */

struct reference_key {
    uint8_t bytes[REFERENCE_KEY_BYTES];
};

/* --- sending ---------------------------------------------------------------------------------- */

struct reference_facts {
    struct id id;          /* of the message */
    struct slice envelope; /* smtp/envelope.h: at least one recipient */
    const struct metadata *metadata;
};

/* The whole field with its line end, at most REFERENCE_FIELD_BYTES_MAX. */
void reference_put(struct buf *buf, const struct conf_trace *trace,
                   const struct reference_key *key, const struct reference_facts *facts);

/* Names that a member of META cannot have. */
bool reference_name_is_taken(struct slice name);

/* --- receiving -------------------------------------------------------------------------------- */

enum reference_state {
    REFERENCE_NONE,    /* nothing that is signed */
    REFERENCE_FORGED,  /* by another key, or altered */
    REFERENCE_EXPIRED, /* ours, older than REFERENCE_AGE_MAX_S; or ahead of our clock */
    REFERENCE_VALID,
};

/* Of REFERENCE_VALID all is set, else the state alone. */
struct reference {
    enum reference_state state;
    struct id id;
    struct slice domain;
    struct slice trace; /* a JSON object: all but mark and signature */
};

/*
 * The one in a header section of others, whatever the field is called, and however it is folded:
 * the first that is valid, else the best there is. Slices are of `scratch`, which is the result's
 * alone and has REFERENCE_JSON_BYTES_MAX of room.
 */
void reference_find(struct slice header, const struct reference_key *key, uint64_t wall_ns,
                    struct buf *scratch, struct reference *reference_out);

/*
 * What records of a report say of it: {"state":"valid","id":…,"domain":…,"supplemental_trace":…},
 * of another state but that. `recipient` is whom the record is about; empty: of a complaint, which
 * does not say. `counted`: is there a valid one of this reference already? Set by a valid one.
 *
 *   none, forged, expired
 *   elsewhere   it is valid, and of mail to another domain, or to several
 *   repeated    it is valid, and so was a record before
 */
#define REFERENCE_RECORD_BYTES_MAX (REFERENCE_JSON_BYTES_MAX + 512)
void reference_put_record(struct buf *buf, const struct reference *reference,
                          struct slice recipient, bool *counted);

/* In the spool: u8 state; of a valid one id, u8 size and domain, then the trace. */
void reference_keep(struct buf *buf, const struct reference *reference);
/* False when the bytes are damaged. Slices are borrowed. */
MUST_USE bool reference_kept(struct slice bytes, struct reference *reference_out);

#endif
