/*
 * A node started again with another number of shards (F-27), for the campaigns about it: what is
 * queued stays as it was, start by start.
 */
#ifndef RINGPOST_TESTS_WORLD_CHANGE_H
#define RINGPOST_TESTS_WORLD_CHANGE_H

#include "tests/world/world.h"

#define CHANGE_MESSAGES 24
#define CHANGE_ROWS_MAX (4 * CHANGE_MESSAGES * WORLD_RECIPIENTS_MAX)

/* What a queued recipient has that no start may change. */
struct waiting {
    uint32_t due_s;
    uint32_t created_s;
    uint32_t size_64;
    uint16_t attempts;
    uint16_t recipient;
};

struct snapshot {
    struct waiting rows[CHANGE_ROWS_MAX];
    uint32_t count;
};

/* How far a start has come. */
enum moment {
    MOMENT_HOUSE,   /* the manifest is not read yet */
    MOMENT_READING, /* lanes are being recovered, rows placed */
    MOMENT_TELLING, /* events of lanes to be adopted go to the event log */
    MOMENT_WRITING, /* rows have their places: checkpoints are being written */
    MOMENT_PLACED,  /* the last checkpoint stands: the manifest is next, or being replaced */
    MOMENT_BEGUN,   /* the lanes have changed hands: files are being removed, the spool begun */
    MOMENT_READY,
    MOMENTS,
};

/* A world whose sink defers everything, for an hour at a time. */
void change_init(struct world *world, struct sim *sim, unsigned shards);

void change_look(const struct world *world, struct snapshot *snapshot_out);
/* The clients are done, every row has been tried, and none is due within a minute. */
bool change_all_wait(void *context);
/* The rows are the same, or the run has failed. */
void change_expect_same(struct world *world, const struct snapshot *before);

enum moment change_moment(const struct world *world);
/*
 * Boots, and ends the process shortly after a step of the start has begun, by chance; that step is
 * counted. False: the run failed.
 */
bool change_start_and_crash(struct world *world, uint64_t moments[MOMENTS]);
/* Segments of adopted lanes in use. */
uint64_t change_adopted(const struct world *world);
/* The end of a run: world_finish, then one more start leaves a directory for each shard. */
void change_finish(struct world *world);

#endif
