/*
 * A body that is too large to stand in memory while it comes (limits.h: SPILL_BYTES). Its pieces
 * are stored one by one as BODY records, and listed for the MESSAGE that will name them.
 *
 *   content ──► spill_begin ──► piece, being stored ──► done ──► parts ──► intake_put
 *
 * When a body has parts, what is left of it at its end is the last of them. Parts of which there
 * will be no message are dropped, else their segments would never be free.
 * Embedded in what receives the body; on its shard. One piece at a time.
 */
#ifndef RINGPOST_SMTP_SPILL_H
#define RINGPOST_SMTP_SPILL_H

#include "smtp/content.h"
#include "smtp/intake.h"

struct spill;

/* From the loop: the piece is among the parts, or is not kept (no room in memory or spool). */
typedef void spill_done(struct spill *spill, bool kept);

struct spill {
    const struct intake *intake; /* borrowed: its spool, once that has started */
    struct block_pool *blocks;   /* borrowed */
    spill_done *done;
    struct spool_write write;
    struct chain piece;          /* being stored; owned */
    struct chain parts;          /* struct spool_part of those that are; owned */
};

void spill_init(struct spill *spill, const struct intake *intake, struct block_pool *blocks,
                spill_done *done);
/* Takes what stands in memory of the body, and stores it. Nothing may be in flight. */
void spill_begin(struct spill *spill, struct content *content);
/* At the end of the body: true when there was a last piece to store, and `done` follows. */
MUST_USE bool spill_last(struct spill *spill, struct content *content);
/* There will be no message. */
void spill_drop(struct spill *spill);
/* A message has the parts now. */
void spill_passed(struct spill *spill);
/* A piece is being stored: the struct has to stay. */
static inline bool spill_in_flight(const struct spill *spill)
{
    return spill->write.in_flight;
}

#endif
