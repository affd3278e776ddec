/*
 * The database of automation: rows of both its tables (tsa/automation.h) in an SQLite file, by
 * slot. Calls wait for the disk: they are for a worker of the io class, one at a time.
 *
 * What is written is in the write-ahead log and synced when automation_db_write returns 0: it
 * survives a kill and a power cut, whole or not at all. A file that is no database, is damaged, or
 * is of another version is renamed to NAME.damaged-YYYYMMDDTHHMMSSZ with its log, and an empty one
 * takes its place.
 */
#ifndef RINGPOST_TSA_AUTOMATION_DB_H
#define RINGPOST_TSA_AUTOMATION_DB_H

#include "core/heap.h"
#include "tsa/automation.h"

#define AUTOMATION_DB_PATH_MAX 2112u

struct automation_row {
    enum automation_table table;
    uint32_t slot;
    struct slice bytes; /* nothing: the slot is empty */
};

struct automation_rows {
    struct automation_row *rows;
    uint32_t count;
};

struct automation_db {
    const char *path;   /* borrowed */
    void *handle;       /* struct sqlite3; null: closed */
    bool set_aside;     /* by the last open or read */
    char aside[AUTOMATION_DB_PATH_MAX];
    char error[160];    /* of the last call that failed: printable ASCII */
};

/* `path` outlives it; nothing is opened yet. */
void automation_db_init(struct automation_db *db, const char *path);
/*
 * Opens it, made when it is not there, and reads all rows into `heap`, those of a table in the
 * order of their slots. `wall_ns` names what is set aside. 0, or a negative errno: there are no
 * rows and it is closed; to be tried again.
 */
MUST_USE int automation_db_open(struct automation_db *db, uint64_t wall_ns, struct heap *heap,
                                struct automation_rows *rows_out);
/* All of them, or none and a negative errno. -EUCLEAN: it is damaged, was set aside and is closed;
 * open it again and write everything. */
MUST_USE int automation_db_write(struct automation_db *db, uint64_t wall_ns,
                                 const struct automation_rows *rows);
void automation_db_close(struct automation_db *db);

#endif
