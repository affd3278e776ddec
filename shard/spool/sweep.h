/*
 * What adopted lanes leave behind (F-27): files in the directories of lanes that are no shard's any
 * more, and that none of those who adopted them needs; then the directories. At a start, after the
 * manifest says whose the lanes are and all that is needed is known, before anything serves. What
 * cannot be removed stays for the next start. Runs on the TSA shard.
 */
#ifndef RINGPOST_SHARD_SPOOL_SWEEP_H
#define RINGPOST_SHARD_SPOOL_SWEEP_H

#include "shard/shard.h"
#include "shard/spool/manifest.h"

/* NUL-ended names, one after another. */
struct sweep_names {
    char *names;
    size_t at;
    size_t size;
};

struct spool_sweep {
    /* Set by the owner. From the loop. */
    void (*done)(struct spool_sweep *sweep);
    /* Does anybody need this file? */
    bool (*holds)(const struct spool_sweep *sweep, unsigned lane, uint32_t slot);
    struct shard *shard;
    const char *path;                /* borrowed, like the manifest */
    const struct manifest *manifest;
    /* Its own. */
    struct sweep_names lanes;
    struct sweep_names files;        /* of `lane` */
    unsigned lane;
    uint64_t removed;                /* files */
    char *memory;
    struct work_job job;
    struct timer retry;
    uint8_t step;
    char file[512];
};

void spool_sweep_start(struct spool_sweep *sweep);
/* Frees memory; any number of times, started or not. */
void spool_sweep_fini(struct spool_sweep *sweep);

#endif
