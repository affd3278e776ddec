#include "shard/spool/house.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "shard/shard.h"

#define BUSY_NS (16 * NS_PER_MS)

enum {
    STEP_LIST,     /* is the directory there? */
    STEP_PARENT,   /* is its parent? */
    STEP_MAKE_DIR,
    STEP_LOCK,
    STEP_READ,
    STEP_WRITE,
    STEP_CLOSE,    /* the lock, after a failure */
    STEP_LET_GO,   /* the lock, at the end */
};

static void house_job_done(struct work_job *job);
static void house_submit(struct spool_house *house);
static void house_write(struct spool_house *house);

static void house_end(struct spool_house *house, int error)
{
    if (error != 0 && house->lock_fd >= 0) {
        house->error = error;
        house->step = STEP_CLOSE;
        house->job = (struct work_job){.kind = WORK_CLOSE, .fd = house->lock_fd};
        house->lock_fd = -1;
        house_submit(house);
        return;
    }
    house->done(house, error, error == 0 ? SLICE_NONE : slice_from_string(house->text));
}

PRINTF(3, 4)
static void house_fail(struct spool_house *house, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = snprintf(house->text, sizeof(house->text), "spool: %s: ", house->path);
    if (size > 0 && (size_t)size < sizeof(house->text)) {
        vsnprintf(house->text + size, sizeof(house->text) - (size_t)size, format, arguments);
    }
    va_end(arguments);
    house_end(house, error);
}

/* What an errno means for whoever set the path. */
static void house_fail_errno(struct spool_house *house, int error)
{
    switch (-error) {
    case ENOENT:
        house_fail(house, error, "no such directory, nor its parent");
        return;
    case ENOTDIR:
        house_fail(house, error, "not a directory");
        return;
    case EACCES:
    case EPERM:
        house_fail(house, error, "wrong owner or mode: this user may not write there");
        return;
    case EROFS:
        house_fail(house, error, "read-only file system");
        return;
    case ENOSPC:
    case EDQUOT:
        house_fail(house, error, "no space");
        return;
    case EBUSY:
        house_fail(house, error, "in use by another process");
        return;
    default:
        house_fail(house, error, "cannot be used: %s", strerror(-error));
        return;
    }
}

static void house_submit(struct spool_house *house)
{
    house->job.done = house_job_done;
    if (!work_submit(house->shard->work, house->shard, &house->job)) {
        shard_timer_set(house->shard, &house->retry, BUSY_NS);
    }
}

static void house_retry(struct timer *timer)
{
    house_submit(CONTAINER_OF(timer, struct spool_house, retry));
}

static const char *house_file(struct spool_house *house, const char *name)
{
    snprintf(house->file, sizeof(house->file), "%s/%s", house->path, name);
    return house->file;
}

static void house_list(struct spool_house *house, uint8_t step, const char *path)
{
    house->step = step;
    house->job = (struct work_job){.kind = WORK_LIST,
                                   .flags = step == STEP_LIST ? WORK_SYNC : 0,
                                   .path = path,
                                   .data = house->text,
                                   .data_size = sizeof(house->text)};
    house_submit(house);
}

void spool_house_start(struct spool_house *house, struct shard *shard, const char *path,
                       unsigned shards)
{
    CHECK(shards > 0 && shards <= MANIFEST_LANES_MAX);
    house->shard = shard;
    house->path = path;
    house->shards = shards;
    house->uuid = 0;
    house->lock_fd = -1;
    timer_init(&house->retry, house_retry);
    if (strlen(path) == 0 || strlen(path) + 32 > sizeof(house->file)) {
        house->path = "";
        house_fail(house, -ENAMETOOLONG, "the path is empty or too long");
        return;
    }
    house_list(house, STEP_LIST, house->path);
}

void spool_house_close(struct spool_house *house, void (*closed)(struct spool_house *house))
{
    house->closed = closed;
    house->step = STEP_LET_GO;
    house->job = (struct work_job){.kind = WORK_CLOSE, .fd = house->lock_fd};
    house->lock_fd = -1;
    house_submit(house);
}

void spool_house_adopt(struct spool_house *house)
{
    CHECK(house->manifest.lane_count > house->shards);
    house->manifest.lane_count = (uint16_t)house->shards;
    house->manifest.epoch++;
    house_write(house);
}

static void house_parent(struct spool_house *house)
{
    snprintf(house->file, sizeof(house->file), "%s", house->path);
    size_t size = strlen(house->file);
    while (size > 1 && house->file[size - 1] == '/') {
        size--;
    }
    while (size > 0 && house->file[size - 1] != '/') {
        size--;
    }
    while (size > 1 && house->file[size - 1] == '/') {
        size--;
    }
    house->file[size] = '\0';
    house_list(house, STEP_PARENT, size == 0 ? "." : house->file);
}

static void house_lock(struct spool_house *house)
{
    house->step = STEP_LOCK;
    house->job = (struct work_job){.kind = WORK_LOCK, .path = house_file(house, "lock")};
    house_submit(house);
}

static void house_read(struct spool_house *house)
{
    house->step = STEP_READ;
    house->job = (struct work_job){.kind = WORK_READ_FILE, .path = house_file(house, "manifest"),
                                   .data = house->text, .data_size = sizeof(house->text)};
    house_submit(house);
}

static void house_write(struct spool_house *house)
{
    struct buf buf;
    buf_init(&buf, house->text, sizeof(house->text));
    manifest_put(&buf, &house->manifest);
    house->step = STEP_WRITE;
    house->job = (struct work_job){.kind = WORK_REPLACE, .path = house_file(house, "manifest"),
                                   .data = house->text, .data_size = buf.size};
    house_submit(house);
}

/* Lanes for shards that have none; their ids stand in the manifest before they begin. */
static void house_grow(struct spool_house *house)
{
    if (!manifest_grow(&house->manifest, house->shards)) {
        house_fail(house, -EINVAL,
                   "all %d lane numbers are used up: set node.shards = %u, or let the queues run "
                   "empty and begin a new spool",
                   MANIFEST_LANE_IDS, house->manifest.lane_count);
        return;
    }
    house_write(house);
}

static void house_make(struct spool_house *house)
{
    while (house->uuid == 0) {
        ring_entropy(house->shard->ring, &house->uuid, sizeof(house->uuid));
    }
    manifest_init(&house->manifest, house->uuid);
    house_grow(house);
}

static void house_manifest(struct spool_house *house)
{
    struct slice text = slice_make(house->text, (size_t)house->job.size);
    uint64_t version;
    switch (manifest_get(text, &house->manifest, &version)) {
    case MANIFEST_DAMAGED:
        house_fail(house, -EINVAL, "the manifest is damaged");
        return;
    case MANIFEST_OTHER_VERSION:
        house_fail(house, -EPROTO, "format version %llu, this program knows %d",
                   (unsigned long long)version, MANIFEST_VERSION);
        return;
    case MANIFEST_GOOD:
        break;
    }
    unsigned lanes = house->manifest.lane_count;
    house->uuid = house->manifest.uuid;
    if (lanes < house->shards) {
        house_grow(house);
    } else {
        house_end(house, 0);
    }
}

/* The directory is not there: make it, but not its parents. */
static void house_missing(struct spool_house *house)
{
    house->step = STEP_MAKE_DIR;
    house->job = (struct work_job){.kind = WORK_MAKE_DIR, .path = house->path};
    house_submit(house);
}

static void house_job_done(struct work_job *job)
{
    struct spool_house *house = CONTAINER_OF(job, struct spool_house, job);
    int result = job->result;
    bool there = result >= 0 || result == -EFBIG;
    switch (house->step) {
    case STEP_LIST:
        if (result == -ENOENT) {
            house_parent(house);
            return;
        }
        break;
    case STEP_PARENT:
        if (there) {
            house_missing(house);
            return;
        }
        break;
    case STEP_READ:
        if (result == -ENOENT) {
            house_make(house);
            return;
        }
        there = result >= 0;
        break;
    case STEP_MAKE_DIR:
        there = there || result == -EEXIST;
        break;
    case STEP_LET_GO:
        house->closed(house);
        return;
    case STEP_CLOSE:
        house->done(house, house->error, slice_from_string(house->text));
        return;
    default:
        break;
    }
    if (!there) {
        house_fail_errno(house, result);
    } else if (house->step == STEP_LIST || house->step == STEP_MAKE_DIR) {
        house_lock(house);
    } else if (house->step == STEP_LOCK) {
        house->lock_fd = result;
        house_read(house);
    } else if (house->step == STEP_READ) {
        house_manifest(house);
    } else {
        house_end(house, 0);
    }
}
