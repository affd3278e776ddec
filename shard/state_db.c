#include "shard/state_db.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <sqlite3.h>

#include "core/check.h"

#define VERSION    1
#define BUSY_MS    1000
#define ROWS_FIRST 256u

void state_db_init(struct state_db *db, const char *path)
{
    *db = (struct state_db){.path = path};
}

void state_db_close(struct state_db *db)
{
    sqlite3_close_v2(db->handle);
    db->handle = NULL;
}

/* What SQLite said, as an errno; its words are kept. */
static int fault(struct state_db *db, int code)
{
    const char *text = db->handle == NULL ? sqlite3_errstr(code) : sqlite3_errmsg(db->handle);
    snprintf(db->error, sizeof(db->error), "%s", text);
    for (char *at = db->error; *at != '\0'; at++) {
        *at = *at >= ' ' && *at <= '~' ? *at : '?';
    }
    switch (code & 0xFF) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_SCHEMA:
        return -EUCLEAN;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_READONLY:
        return -EROFS;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        return -EACCES;
    default:
        return -EIO;
    }
}

static int run(struct state_db *db, const char *text)
{
    int code = sqlite3_exec(db->handle, text, NULL, NULL, NULL);
    return code == SQLITE_OK ? 0 : fault(db, code);
}

/* --- a damaged one ---------------------------------------------------------------------------- */

static void set_aside(struct state_db *db, uint64_t wall_ns)
{
    static const char *const parts[] = {"-wal", "-shm", ""};
    time_t seconds = (time_t)(wall_ns / NS_PER_S);
    struct tm date;
    char stamp[32];
    gmtime_r(&seconds, &date);
    strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &date);
    state_db_close(db);
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        char from[STATE_DB_PATH_MAX];
        snprintf(from, sizeof(from), "%s%s", db->path, parts[i]);
        int size = snprintf(db->aside, sizeof(db->aside), "%s.damaged-%s%s", db->path, stamp,
                            parts[i]);
        if (size < 0 || (size_t)size >= sizeof(db->aside)) {
            return;
        }
        (void)rename(from, db->aside); /* whether the last is there shows at the next open */
    }
    db->set_aside = true;
}

/* --- opening and reading ---------------------------------------------------------------------- */

static int read_version(struct state_db *db, int *version_out)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db->handle, "PRAGMA user_version", -1, &statement, NULL);
    if (code == SQLITE_OK && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        *version_out = sqlite3_column_int(statement, 0);
        code = SQLITE_OK;
    }
    int result = code == SQLITE_OK ? 0 : fault(db, code);
    sqlite3_finalize(statement);
    return result;
}

static int prepare(struct state_db *db)
{
    int version = 0;
    int result = run(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;");
    if (result == 0) {
        result = read_version(db, &version);
    }
    if (result == 0 && version != 0 && version != VERSION) {
        snprintf(db->error, sizeof(db->error), "it is of version %d", version);
        return -EUCLEAN;
    }
    return result != 0 ? result
                       : run(db, "BEGIN IMMEDIATE;"
                                 "CREATE TABLE IF NOT EXISTS state (kind INTEGER, "
                                 "slot INTEGER, row BLOB NOT NULL, PRIMARY KEY (kind, slot)) "
                                 "WITHOUT ROWID; PRAGMA user_version=1; COMMIT;");
}

static void rows_add(struct heap *heap, struct state_rows *rows, uint32_t *capacity,
                     sqlite3_stmt *statement)
{
    int64_t table = sqlite3_column_int64(statement, 0);
    int64_t slot = sqlite3_column_int64(statement, 1);
    const void *bytes = sqlite3_column_blob(statement, 2);
    int size = sqlite3_column_bytes(statement, 2);
    if (table < 0 || table >= STATE_DB_TABLES_MAX || slot < 0 || slot >= STATE_DB_SLOTS_MAX ||
        size <= 0 || (unsigned)size > STATE_DB_ROW_BYTES_MAX) {
        return;
    }
    if (rows->count == *capacity) {
        *capacity = *capacity == 0 ? ROWS_FIRST : *capacity * 2;
        struct state_row *more = heap_take_array(heap, *capacity, sizeof(*more));
        if (rows->count > 0) {
            memcpy(more, rows->rows, rows->count * sizeof(*more));
        }
        rows->rows = more;
    }
    rows->rows[rows->count++] = (struct state_row){
        (uint32_t)table, (uint32_t)slot,
        heap_copy(heap, slice_make(bytes, (size_t)size))};
}

static int read_rows(struct state_db *db, struct heap *heap, struct state_rows *rows)
{
    sqlite3_stmt *statement = NULL;
    uint32_t capacity = 0;
    int code = sqlite3_prepare_v2(db->handle,
                                  "SELECT kind, slot, row FROM state ORDER BY kind, slot",
                                  -1, &statement, NULL);
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        code = sqlite3_step(statement);
        if (code == SQLITE_ROW) {
            rows_add(heap, rows, &capacity, statement);
        }
    }
    int result = code == SQLITE_DONE ? 0 : fault(db, code);
    sqlite3_finalize(statement);
    return result;
}

static int open_once(struct state_db *db, struct heap *heap, struct state_rows *rows)
{
    sqlite3 *handle = NULL;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int code = sqlite3_open_v2(db->path, &handle, flags, NULL);
    db->handle = handle;
    *rows = (struct state_rows){0};
    if (code != SQLITE_OK) {
        return fault(db, code);
    }
    sqlite3_busy_timeout(handle, BUSY_MS);
    int result = prepare(db);
    return result != 0 ? result : read_rows(db, heap, rows);
}

int state_db_open(struct state_db *db, uint64_t wall_ns, struct heap *heap,
                       struct state_rows *rows_out)
{
    CHECK(db->handle == NULL);
    db->set_aside = false;
    int result = open_once(db, heap, rows_out);
    if (result == -EUCLEAN) {
        char why[sizeof(db->error)];
        memcpy(why, db->error, sizeof(why));
        set_aside(db, wall_ns);
        result = open_once(db, heap, rows_out);
        memcpy(db->error, why, result == 0 ? sizeof(why) : 0);
    }
    if (result != 0) {
        *rows_out = (struct state_rows){0};
        state_db_close(db);
    }
    return result;
}

/* --- writing ---------------------------------------------------------------------------------- */

static int write_row(sqlite3_stmt *statement, const struct state_row *row)
{
    sqlite3_bind_int(statement, 1, (int)row->table);
    sqlite3_bind_int64(statement, 2, row->slot);
    if (row->bytes.size > 0) {
        sqlite3_bind_blob(statement, 3, row->bytes.data, (int)row->bytes.size, SQLITE_STATIC);
    }
    int code = sqlite3_step(statement);
    sqlite3_reset(statement);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

static int write_rows(struct state_db *db, const struct state_rows *rows)
{
    sqlite3_stmt *put = NULL;
    sqlite3_stmt *drop = NULL;
    int code = sqlite3_prepare_v2(db->handle, "REPLACE INTO state VALUES (?, ?, ?)", -1,
                                  &put, NULL);
    if (code == SQLITE_OK) {
        code = sqlite3_prepare_v2(db->handle, "DELETE FROM state WHERE kind=? AND slot=?",
                                  -1, &drop, NULL);
    }
    for (uint32_t i = 0; i < rows->count && code == SQLITE_OK; i++) {
        code = write_row(rows->rows[i].bytes.size > 0 ? put : drop, &rows->rows[i]);
    }
    int result = code == SQLITE_OK ? 0 : fault(db, code);
    sqlite3_finalize(put);
    sqlite3_finalize(drop);
    return result;
}

int state_db_write(struct state_db *db, uint64_t wall_ns,
                        const struct state_rows *rows)
{
    CHECK(db->handle != NULL);
    int result = run(db, "BEGIN IMMEDIATE");
    if (result == 0) {
        result = write_rows(db, rows);
    }
    if (result == 0) {
        result = run(db, "COMMIT");
    }
    if (result != 0 && sqlite3_get_autocommit(db->handle) == 0) {
        (void)sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL); /* the first fault is told */
    }
    if (result == -EUCLEAN) {
        set_aside(db, wall_ns);
    }
    return result;
}
