/*
 * Tables of rows by slot in an SQLite file: what a service of the TSA shard keeps over restarts and
 * changes piece by piece (tsa/automation.h). Calls wait for the disk: they are a worker's, one at a
 * time for a file. A shard has the jobs WORK_STATE_… of shard/work.h, whose simulated twin keeps
 * the same promises without SQLite.
 *
 * What is written is in the write-ahead log and synced when state_db_write returns 0: it survives a
 * kill and a power cut, whole or not at all. A file that is no database, is damaged, or is of
 * another version is renamed to NAME.damaged-YYYYMMDDTHHMMSSZ with its log, and an empty one takes
 * its place.
 */
#ifndef RINGPOST_SHARD_STATE_DB_H
#define RINGPOST_SHARD_STATE_DB_H

#include "core/heap.h"

#define STATE_DB_PATH_MAX      2112u
#define STATE_DB_TABLES_MAX    8u
#define STATE_DB_SLOTS_MAX     (1u << 24) /* of a table */
#define STATE_DB_ROW_BYTES_MAX 4096u

struct state_row {
    uint32_t table;     /* < STATE_DB_TABLES_MAX */
    uint32_t slot;      /* < STATE_DB_SLOTS_MAX */
    struct slice bytes; /* nothing: the slot is empty */
};

struct state_rows {
    struct state_row *rows;
    uint32_t count;
};

struct state_db {
    const char *path;   /* borrowed */
    void *handle;       /* struct sqlite3; null: closed */
    bool set_aside;     /* by the last open or read */
    char aside[STATE_DB_PATH_MAX];
    char error[160];    /* of the last call that failed: printable ASCII */
};

/* What a job WORK_STATE_… is about: its `data`. */
struct state_db_job {
    struct state_db *db;    /* borrowed, the job's until done */
    uint64_t wall_ns;       /* names what is set aside */
    struct heap *heap;      /* OPEN: of the rows */
    struct state_rows rows; /* OPEN: out; WRITE: in */
};

/* `path` outlives it; nothing is opened yet. */
void state_db_init(struct state_db *db, const char *path);
/*
 * Opens it, made when it is not there, and reads all rows into `heap`, those of a table in the
 * order of their slots. `wall_ns` names what is set aside. 0, or a negative errno: there are no
 * rows and it is closed; to be tried again.
 */
MUST_USE int state_db_open(struct state_db *db, uint64_t wall_ns, struct heap *heap,
                           struct state_rows *rows_out);
/* All of them, or none and a negative errno. -EUCLEAN: it is damaged, was set aside and is closed;
 * open it again and write everything. */
MUST_USE int state_db_write(struct state_db *db, uint64_t wall_ns, const struct state_rows *rows);
void state_db_close(struct state_db *db);

#endif
