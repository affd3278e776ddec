/*
 * What automation (tsa/automation.h) has in its tables, on disk: "automation.db" in node.state_dir,
 * written by jobs of the io class (shard/state_db.h), one at a time. On the TSA shard, which every
 * call is made on.
 *
 *   load   before the first record: what was kept is in the tables again, told as begun
 *   wake   something may have changed: it is written within a quarter of a second, so that a kill
 *          loses the last second at most. In batches, effects before counters
 *   stop   the last changes are written, in one try for each batch, and the file is closed
 *
 * Trouble never blocks: what could not be written is dirty again, and tried every second. It is
 * said once, and once more when it is over. A file that is found damaged is set aside, and all of
 * both tables is written to an empty one. One that cannot be opened at the start is tried
 * AUTOMATION_OPENS_MAX times; then automation begins with nothing, and when the file can be opened
 * later, what stands there gives way to what is in memory.
 */
#ifndef RINGPOST_TSA_AUTOMATION_STORE_H
#define RINGPOST_TSA_AUTOMATION_STORE_H

#include "core/logline.h"
#include "shard/boot.h"
#include "shard/shard.h"
#include "shard/state_db.h"
#include "shard/work.h"
#include "tsa/automation.h"

#define AUTOMATION_STORE_WAIT_NS (250 * NS_PER_MS)
#define AUTOMATION_OPENS_MAX     3u    /* before a start goes on without it; a second apart */
#define AUTOMATION_BATCH_ROWS    1024u
#define AUTOMATION_BATCH_BYTES   (256u * KIB)

enum automation_store_stage {
    AUTOMATION_STORE_CLOSED,
    AUTOMATION_STORE_MAKING, /* its directory */
    AUTOMATION_STORE_OPENING,
    AUTOMATION_STORE_OPEN,
    AUTOMATION_STORE_WRITING,
    AUTOMATION_STORE_CLOSING,
    AUTOMATION_STORE_ENDED,
};

struct automation_store {
    struct shard *shard;           /* borrowed, like all to `loaded` */
    struct automation *automation;
    const char *dir;
    const char *file;              /* instead of that in `dir`; null: none */
    struct log_sink log;
    void (*loaded)(struct automation_store *store); /* from the loop */
    enum automation_store_stage stage;
    bool served;                   /* `loaded` has been called */
    bool bad;                      /* the last try failed, and that was said */
    bool changed;                  /* since the last batch was gathered */
    bool full;                     /* that had no room for all of it */
    bool stopping;
    unsigned opens;                /* tries */
    struct timer timer;
    struct work_job job;
    struct state_db db;
    struct state_db_job task;
    struct heap heap;              /* of what was read */
    struct state_rows beyond;      /* rows of no slot of ours, to be emptied; in `heap` */
    struct state_row *rows;        /* AUTOMATION_BATCH_ROWS */
    uint8_t *data;                 /* AUTOMATION_BATCH_BYTES: what they hold */
    uint64_t restored;             /* rows that were taken at the start */
    uint64_t refused;              /* … that were not */
    char path[STATE_DB_PATH_MAX];
    char folder[STATE_DB_PATH_MAX]; /* where that lies; it is made */
};

/* Boot; shard, automation, dir, file, log and loaded are set by the caller. */
void automation_store_init(struct automation_store *store, struct boot_pages *pages);
/* Ends in `loaded`, whatever the disk says. */
void automation_store_load(struct automation_store *store);
void automation_store_wake(struct automation_store *store);
void automation_store_stop(struct automation_store *store);
/* After stop: nothing is with a worker, and no timer is left. */
bool automation_store_stopped(const struct automation_store *store);
/* After that, or when the shard has ended. */
void automation_store_fini(struct automation_store *store);

#endif
