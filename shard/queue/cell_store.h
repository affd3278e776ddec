/*
 * What is used of rates over a minute or more, kept over restarts: else "500/d" would be 500 more
 * at each start. On the TSA shard, with the registry of cells, in one file of node.state_dir:
 *
 *   limits    "RPLIMIT1", checksum of the rest (XXH3-64), count, time of saving, then for each rate
 *             its key (128 bits), when its bucket is full (wall clock), its span; all 64-bit
 *             little-endian integers, times in nanoseconds
 *
 * It is replaced as a whole once a second when something in it has changed, or less often when that
 * takes long (a tenth of the time), and at a clean stop. A process that is killed has forgotten
 * what was used since the last time. A bucket that is said to be full later than an empty one would
 * be (the wall clock was set back) is taken for an empty one. A file that makes no sense is set
 * aside as limits.damaged, with a line in the log, and all buckets are full.
 */
#ifndef RINGPOST_SHARD_QUEUE_CELL_STORE_H
#define RINGPOST_SHARD_QUEUE_CELL_STORE_H

#include "core/logline.h"
#include "shard/queue/cells.h"
#include "shard/state_file.h"

struct cell_store {
    struct cell_registry *registry; /* borrowed */
    struct log_sink log;
    void (*loaded)(struct cell_store *store);
    void (*stopped)(struct cell_store *store);
    struct state_file file;
    uint8_t step;       /* the store's own */
    bool writing;       /* `data` is the job's */
    bool spoiled;       /* this walk has not put everything into `data` */
    bool failing;       /* the last write did, and the log says so */
    bool stopping;
    bool final;         /* what is collected is what the stop leaves */
    uint64_t collected; /* hash of what this walk has put there */
    uint64_t written;   /* … of what is being written, or would be */
    uint64_t saved;     /* … of what stands in the file */
    uint64_t begun_ns;
    uint64_t not_before_ns;
    uint8_t *data;      /* of the boot's pages */
    size_t capacity;
    size_t size;
};

/* `loaded` and `stopped` are set by the owner, who embeds it. */
void cell_store_init(struct cell_store *store, struct cell_registry *registry,
                     struct boot_pages *pages, const char *dir);
/* Before any rate is asked for. Ends in `loaded`, from the loop, whatever the file says. */
void cell_store_load(struct cell_store *store);
/* After the last user has given its cells back. Ends in `stopped`, from the loop. */
void cell_store_stop(struct cell_store *store);

#endif
