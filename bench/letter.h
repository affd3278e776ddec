/*
 * A message that is injected: one text for all, which recipients fill in two places, the values of
 * its bench field and how they are called. What arrives is a bench body like any other (body.h).
 * One owner; pure.
 */
#ifndef RINGPOST_BENCH_LETTER_H
#define RINGPOST_BENCH_LETTER_H

#include "bench/body.h"

#define LETTER_NAME_BYTES          20u  /* "Recipient 0000000123" */
#define LETTER_RECIPIENT_BYTES_MAX 192u /* of one in a request, its comma included */
#define LETTER_END                 "]}"

struct letter {
    struct body_maker maker; /* owned: its lines are ours */
    size_t size;             /* of every message, as it arrives */
    uint8_t *text;           /* owned: the message's, then the request's */
    struct slice before;     /* between the bench field and the name */
    struct slice after;      /* behind the name */
    struct slice request;    /* JSON up to the first recipient */
};

/* Allocates. `size` as in body.h; false without memory. */
MUST_USE bool letter_init(struct letter *letter, size_t size);
void letter_fini(struct letter *letter);
/*
 * Recipient `number`, who is one of sink.test, with the values that are his. A request is
 * letter->request, recipients with commas between them, LETTER_END.
 */
void letter_put_recipient(struct letter *letter, uint64_t number, struct buf *buf);

#endif
