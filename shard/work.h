/*
 * The second door to the kernel: rare or long work, done by worker threads. Three bounded classes,
 * one thread each: io (file system calls), cpu (compression, compilation), net (fetches). A job is
 * embedded in its owner, typed, with plain data in and out; it travels and comes home: the callback
 * runs on the thread that submitted it. The simulator runs jobs as actors in virtual time.
 */
#ifndef RINGPOST_SHARD_WORK_H
#define RINGPOST_SHARD_WORK_H

#include "core/base.h"
#include "core/slice.h"

struct work;
struct shard;
struct work_job;

typedef void work_done(struct work_job *job);

enum work_class { WORK_IO, WORK_CPU, WORK_NET, WORK_CLASSES };

/* A file written beside another has its name with this behind it; a crash may leave it there. */
#define WORK_BESIDE ".tmp"

enum work_kind {
    WORK_OPEN,        /* path, flags → fd; with WORK_NEW and WORK_SYNC its directory synced */
    WORK_CREATE,      /* path, size (n × 4 KiB) → fd: a file of zeros, written, synced, under its
                         final name, its directory synced; opened for direct writing */
    WORK_RENAME,      /* path → path_to, directory synced */
    WORK_REMOVE,      /* path */
    WORK_REMOVE_DIR,  /* path: of an empty directory; else -ENOTEMPTY */
    WORK_MAKE_DIR,    /* path, with parents */
    WORK_LIST,        /* path → names, one after another, NUL-ended, in `data`, sorted; size. With
                         WORK_SYNC the directory and its own name are synced first: a process that
                         was killed may have left names that a power cut would still undo */
    WORK_LOCK,        /* path: opened or created, locked for the life of the process → fd, -EBUSY */
    WORK_READ_FILE,   /* path → whole file in `data` (≤ data_size, else -EFBIG); size */
    WORK_REPLACE,     /* path, data → written beside, synced, renamed over, directory synced. Where
                         that failed last, the file is the new one (renamed_out), until a power cut
                         at least */
    WORK_APPEND,      /* fd, data: written at the end of the file, whole or not; WORK_SYNC syncs */
    WORK_CLOSE,       /* fd; with WORK_READ_ONLY made 0440 first */
    WORK_SPACE,       /* path → free bytes and inodes of its file system */
    WORK_STAT,        /* path → size in bytes */
    WORK_COMPRESS,    /* data → one zstd frame in `output` */
    WORK_READ_AT,     /* path, size: an offset → what stands there in `data`, data_size bytes of it
                         or what there is; size */
    WORK_DECOMPRESS,  /* data, which begins with a zstd frame → its content in `output`; size, and
                         `used` of the data. -EAGAIN: the frame is not whole; -EBADMSG: it is
                         damaged, or has more than output_capacity */
    WORK_CONF,        /* data: a struct conf_reading (shard/conf_file.h) → its `conf` */
    WORK_STATE_OPEN,  /* path, data: its struct state_db_job (shard/state_db.h) → state_db_open */
    WORK_STATE_WRITE, /* path, data → state_db_write */
    WORK_STATE_CLOSE, /* path, data → state_db_close */
    WORK_COMPUTE,     /* compute: pure, over memory that is its owner's alone until done */
};

enum {
    WORK_DIRECT = 1,    /* O_DIRECT; falls back to buffered, then direct_out is false */
    WORK_NEW = 2,       /* O_CREAT | O_EXCL */
    WORK_WRITE = 4,     /* O_RDWR, else O_RDONLY */
    WORK_SYNC = 8,
    WORK_READ_ONLY = 16,
    /*
     * WORK_OPEN: only a plain file of our own, of at most `size` bytes. Else -ELOOP a symbolic
     * link, -EISDIR a directory, -ESPIPE no regular file, -EMLINK it has other names, -EPERM it is
     * another user's or others may write to it, -EFBIG.
     */
    WORK_PLAIN = 32,
};

struct work_job {
    work_done *done;
    struct shard *home;   /* set by work_submit */
    struct work_job *next; /* the worker's own */
    uint8_t kind;         /* enum work_kind */
    uint8_t flags;
    bool in_flight;
    bool direct_out;
    bool renamed_out;     /* WORK_REPLACE */
    int level;            /* WORK_COMPRESS */
    void (*compute)(struct work_job *job); /* WORK_COMPUTE */
    int fd;
    const char *path;     /* borrowed until done; relative to the working directory or absolute */
    const char *path_to;
    void *data;           /* borrowed until done */
    size_t data_size;
    void *output;
    size_t output_capacity;
    uint64_t size;        /* in: WORK_CREATE, WORK_PLAIN, WORK_READ_AT; out: bytes, free bytes,
                             frame size */
    uint64_t used;        /* WORK_DECOMPRESS: bytes of the frame; 0: nobody knows where it ends */
    uint64_t inodes_free;
    uint64_t inodes;
    uint64_t space;       /* WORK_SPACE: size of the whole file system in bytes */
    int32_t result;       /* 0, a descriptor, or a negative errno */
};

/*
 * Boot thread. `capacity` jobs may wait per class; `world` is the simulator's (struct sim_node),
 * null for real threads.
 */
MUST_USE int work_open(void *world, unsigned capacity, struct work **work_out);
/*
 * No job may be in flight. After the loops of all shards have ended and before any shard_fini: a
 * worker may still be about to ring the shard that has its last job.
 */
void work_close(struct work *work);

/*
 * False when the class is full: the caller has an answer for that. Else the job is the worker's
 * until `done`. From a shard's thread.
 */
MUST_USE bool work_submit(struct work *work, struct shard *home, struct work_job *job);

/* Calls `done` of every job that has come home to this shard; part of the shard's turn. */
unsigned work_collect(struct work *work, struct shard *home);
/* True when a job has come home: asked between publishing "asleep" and sleeping. */
bool work_waiting(struct work *work, struct shard *home);
/* Is a worker between bringing a job home and ringing? */
bool work_publishes(const struct work *work);

#endif
