/*
 * Assembly blocks: the memory in which mail stands while it is received, committed and sent.
 *
 * One pool per shard, carved at boot from `[memory] staging`; four classes (2, 8, 32, 256 KiB,
 * header included). The pool is a row of 256 KiB units; a unit splits into eight blocks of 32 KiB,
 * each of those into four of 8 KiB, each of those into four of 2 KiB; when all parts of a block are
 * free again, they become that block. A block has one owner at a time; ownership moves by pointer.
 * All calls from the owning shard. Exhaustion is ordinary: block_take returns null and the caller
 * refuses or waits. Free blocks are poisoned in builds with the address sanitizer.
 *
 * Two doors lead to the blocks. Who sends (loads for delivery, outcomes, rewriting) takes through
 * the pool itself; who receives takes through its receiving door (block_pool_receiving), which does
 * not open the last part, the reserve. So clients that stop in the middle of their content, however
 * many, cost the server new mail and never a delivery (F-08). The reserve is whole units that hold
 * nothing received: no small block of a client keeps a large one of a load from being whole. A
 * block goes back through either door.
 */
#ifndef RINGPOST_SHARD_BLOCKS_H
#define RINGPOST_SHARD_BLOCKS_H

#include "core/base.h"
#include "core/list.h"
#include "core/slice.h"

#define BLOCK_BYTES_MAX    (256 * KIB)
#define BLOCK_CLASS_COUNT  4
#define BLOCK_HEADER_BYTES 32
/* The largest capacity of a block. */
#define BLOCK_DATA_BYTES_MAX (BLOCK_BYTES_MAX - BLOCK_HEADER_BYTES)

/*
 * The reserve: what one delivery of the largest message needs at once, in units,
 *
 *     1  head of the message (SPOOL_HEAD_BYTES_MAX)
 *   + 2  its body, or one piece of it: 256 KiB and what one receive had more
 *   + 1  the OUTCOME of the transaction (OUTCOME_BYTES_MAX)
 *
 * and in a large pool an eighth of it, so that many are sent at once: with 64 MiB of staging 28
 * units, several hundred messages of ordinary size. A load that finds no room gives back what it
 * has and is tried again; so whoever got there first goes on, and the others after it.
 */
#define BLOCK_RESERVE_UNITS (1 + 2 + 1)
#define BLOCK_RESERVE_SHARE 8

struct block {
    struct list link;  /* in its owner's chain, or in the pool's free list */
    uint32_t size;     /* bytes used */
    uint32_t capacity; /* bytes in data; the class less this header */
    uint8_t class_index;
    _Alignas(8) uint8_t data[];
};

struct block_pool;

/*
 * Boot: `bytes` of memory, rounded up to whole units, mapped in huge pages where there are any and
 * touched once; no reserve. Null with errno when there is none.
 */
MUST_USE struct block_pool *block_pool_open(uint64_t bytes);
/*
 * Boot, while nothing is taken: sets the reserve aside, as above, but never more than half the
 * pool.
 */
void block_pool_set_reserve(struct block_pool *pool);
/* The door for what clients send us. Of the receiving door: itself. */
struct block_pool *block_pool_receiving(const struct block_pool *pool);
/* Unmaps it, with whatever blocks are still taken. Null is allowed. */
void block_pool_close(struct block_pool *pool);

/*
 * An empty block with a capacity of at least `bytes`, or of the largest class when `bytes` is more
 * than BLOCK_DATA_BYTES_MAX. Splits a larger free block when its own class has none. Null when no
 * free block is large enough.
 */
MUST_USE struct block *block_take(struct block_pool *pool, size_t bytes);
/* What block_take takes of the pool for so many, as block_pool_used counts. */
uint64_t block_bytes_for(size_t bytes);
/* `block` is in no chain. */
void block_give(struct block_pool *pool, struct block *block);

/*
 * Bytes taken and not given back (whole classes, headers included), and the size; of the pool all
 * of it, the addend of the memory account; of the receiving door without the reserve.
 */
uint64_t block_pool_used(const struct block_pool *pool);
uint64_t block_pool_size(const struct block_pool *pool);
/* Free blocks of a class (0: 2 KiB … 3: 256 KiB), without what larger ones would split into. */
uint32_t block_pool_free_count(const struct block_pool *pool, unsigned class_index);

/* A growing run of bytes in blocks of increasing class; owned by whoever holds the struct. */
struct chain {
    struct list blocks;
    uint64_t size; /* bytes in all blocks */
};

void chain_init(struct chain *chain);
/* What its blocks take of the pool, as block_pool_used counts. */
uint64_t chain_block_bytes(const struct chain *chain);
/* Gives every block back; the chain is empty afterwards. */
void chain_clear(struct chain *chain, struct block_pool *pool);
/* The last block, null when the chain is empty. */
struct block *chain_last(const struct chain *chain);
/*
 * Where the next bytes go: at least one byte of room in the last block, taking a new block when it
 * is full. `hint` bytes are still expected; 0 = unknown: a class larger than the last block. When
 * that much is not to be had in one piece, a smaller block. Null when the pool is exhausted.
 * Whoever writes there adds to both block->size and chain->size.
 */
MUST_USE struct block *chain_room(struct chain *chain, struct block_pool *pool, size_t hint);
/* False when the pool is exhausted: the chain then holds a part of `bytes`. */
MUST_USE bool chain_append(struct chain *chain, struct block_pool *pool, struct slice bytes);
/* Moves every block of `from` to the end of `to`; `from` is empty afterwards. */
void chain_move(struct chain *to, struct chain *from);
/* Copies size bytes from `offset` to `out`; the range must lie inside the chain. */
void chain_copy_out(const struct chain *chain, uint64_t offset, size_t size, void *out);

#endif
