#include "smtp/spill.h"

#include "core/check.h"

void spill_init(struct spill *spill, const struct intake *intake, struct block_pool *blocks,
                spill_done *done)
{
    *spill = (struct spill){.intake = intake, .blocks = blocks, .done = done};
    chain_init(&spill->piece);
    chain_init(&spill->parts);
}

static void piece_stored(struct spool_write *write)
{
    struct spill *spill = CONTAINER_OF(write, struct spill, write);
    const struct spool_part part = {
        .location = write->location,
        .size = (uint32_t)spill->piece.size,
    };
    chain_clear(&spill->piece, spill->blocks);
    bool stored = write->status == SPOOL_STORED;
    bool kept =
        stored && chain_append(&spill->parts, spill->blocks, slice_make(&part, sizeof(part)));
    if (stored && !kept) {
        spool_part_drop(spill->intake->spool, &part);
    }
    spill->done(spill, kept);
}

void spill_begin(struct spill *spill, struct content *content)
{
    CHECK(!spill_in_flight(spill));
    content_spill(content, &spill->piece);
    spill->write = (struct spool_write){.done = piece_stored};
    spool_put_body(spill->intake->spool, &spill->write, &spill->piece);
}

bool spill_last(struct spill *spill, struct content *content)
{
    if (spill->parts.size == 0 || content->body.size == 0) {
        return false;
    }
    spill_begin(spill, content);
    return true;
}

void spill_drop(struct spill *spill)
{
    struct spool_part part;
    for (uint64_t at = 0; at < spill->parts.size; at += sizeof(part)) {
        chain_copy_out(&spill->parts, at, sizeof(part), &part);
        spool_part_drop(spill->intake->spool, &part);
    }
    chain_clear(&spill->parts, spill->blocks);
}

void spill_passed(struct spill *spill)
{
    chain_clear(&spill->parts, spill->blocks);
}
