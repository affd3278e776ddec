/*
 * The fields of a message's header that event records tell ([log] headers), as its content comes
 * in: a list as in smtp/named_values.h, names as they were written, values unfolded, without the
 * spaces around them. Fields are found as in header_scan.h. What is beyond the maxima is cut, or
 * left out; a message is never refused for it.
 *
 * Where nothing is listed it costs nothing; else a block, from the first field that is found on.
 * Part of a content; one thread.
 */
#ifndef RINGPOST_SMTP_HEADER_PICK_H
#define RINGPOST_SMTP_HEADER_PICK_H

#include "core/conf.h"
#include "shard/blocks.h"

#define HEADER_PICK_BYTES_MAX       1984 /* of all */
#define HEADER_PICK_NAME_BYTES_MAX  64   /* a longer one is none that is listed */
#define HEADER_PICK_VALUE_BYTES_MAX 1024

struct header_pick {
    const struct conf_names *names; /* borrowed; null: nothing is looked for */
    struct block *block;            /* owned; null before the first */
    uint8_t state;
    bool no_memory; /* for the block: the list is not whole */
    bool cut;       /* of the value in hand */
    uint8_t name_bytes;
    uint32_t value_at; /* of the value in hand, in the block */
    uint8_t name[HEADER_PICK_NAME_BYTES_MAX];
};

void header_pick_init(struct header_pick *pick, const struct conf_names *names);
/* The next bytes of the header section. */
void header_pick_take(struct header_pick *pick, struct block_pool *pool, struct slice bytes);
/* The header section, or the content, is over. */
void header_pick_end(struct header_pick *pick);
/* Gives the block back. */
void header_pick_drop(struct header_pick *pick, struct block_pool *pool);
/* After header_pick_end: borrowed from the block. */
struct slice header_pick_list(const struct header_pick *pick);

static inline bool header_pick_wants(const struct header_pick *pick)
{
    return pick->names != NULL && pick->names->count > 0;
}

#endif
