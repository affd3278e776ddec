/*
 * The start of the whole spool, before its lanes: directory, lock, manifest. Runs on the TSA shard.
 */
#ifndef RINGPOST_SHARD_SPOOL_HOUSE_H
#define RINGPOST_SHARD_SPOOL_HOUSE_H

#include "core/slice.h"
#include "core/wheel.h"
#include "shard/spool/manifest.h"
#include "shard/work.h"

struct shard;

/*
 * Checks the directory (makes it when its parent exists), takes the lock that keeps a second
 * process out for the life of this one (F-30), reads or writes the manifest. When there are more
 * shards than lanes the new ones get lanes of their own, and the manifest is durable before any of
 * them starts (F-27). By jobs of the io worker; ends in `done` from the loop, once: `error` 0 or
 * -errno, and one plain line in `reason` for: missing directory, wrong owner or mode, no space,
 * other version, lock held. Embedded in the owner, on the TSA shard; the lanes start after it.
 *
 * With fewer shards than lanes the manifest has more lanes than shards, and those above are to be
 * adopted: lane j by shard j modulo shards. When all of them have been, durably, spool_house_adopt
 * makes that true.
 */
struct spool_house {
    void (*done)(struct spool_house *house, int error, struct slice reason);
    void (*closed)(struct spool_house *house);
    struct shard *shard;
    const char *path;
    unsigned shards;
    uint64_t uuid;            /* after done */
    struct manifest manifest; /* the same; lanes by shard */
    int lock_fd;
    struct work_job job;
    struct timer retry;
    int error;
    uint8_t step;    /* the house's own */
    char text[MANIFEST_BYTES_MAX]; /* manifest, reason */
    char file[256];
};
void spool_house_start(struct spool_house *house, struct shard *shard, const char *path,
                       unsigned shards);
/*
 * After `done`, with more lanes than shards: the manifest of the next epoch, without the lanes
 * above, replaces the old one: a moment for all lanes at once. Ends in `done` again.
 */
void spool_house_adopt(struct spool_house *house);
/*
 * Lets go of the lock, after every lane has been closed; `closed` from the loop. (A process that
 * ends lets go of it as well.)
 */
void spool_house_close(struct spool_house *house, void (*closed)(struct spool_house *house));

#endif
