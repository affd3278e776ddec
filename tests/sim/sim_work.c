/*
 * shard/work.h over the world: three actors, one a class. A job runs step by step, each at some
 * moment of virtual time, so that a kill or a power cut may fall between any two of them.
 */
#include "shard/work.h"

#include "core/heap.h"
#include "shard/conf_file.h"
#include "shard/shard.h"
#include "shard/work_decompress.h"
#include "tests/sim/sim_internal.h"
#include "tests/sim/sim_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

struct work_actor {
    struct work *work;
    struct sim_event event;
    struct work_job *first; /* runs, when busy */
    struct work_job *last;
    unsigned count;
    unsigned step;
    struct sim_inode *inode; /* made by the running job */
};

struct work {
    struct sim *sim;
    struct sim_node *node;
    unsigned capacity;
    struct work_actor actors[WORK_CLASSES];
    struct work_job *home_first; /* done, oldest first */
    struct work_job *home_last;
    unsigned home_count;
};

/* What a step returns unless the job has ended, by 0, a negative errno or a descriptor. */
enum { STEP_AGAIN = 1 };
_Static_assert(STEP_AGAIN < SIM_FIRST_FD, "no descriptor");

static const uint8_t classes[] = {
    [WORK_OPEN] = WORK_IO,     [WORK_CREATE] = WORK_IO,    [WORK_RENAME] = WORK_IO,
    [WORK_REMOVE] = WORK_IO,   [WORK_REMOVE_DIR] = WORK_IO,
    [WORK_MAKE_DIR] = WORK_IO,  [WORK_LIST] = WORK_IO,
    [WORK_LOCK] = WORK_IO,     [WORK_READ_FILE] = WORK_IO, [WORK_REPLACE] = WORK_IO,
    [WORK_APPEND] = WORK_IO,   [WORK_CLOSE] = WORK_IO,     [WORK_SPACE] = WORK_IO,
    [WORK_STAT] = WORK_IO,     [WORK_COMPRESS] = WORK_CPU,    [WORK_CONF] = WORK_CPU,
    [WORK_READ_AT] = WORK_IO,  [WORK_DECOMPRESS] = WORK_CPU,
    [WORK_STATE_OPEN] = WORK_IO,    [WORK_STATE_WRITE] = WORK_IO,
    [WORK_STATE_CLOSE] = WORK_IO,
    [WORK_COMPUTE] = WORK_CPU,
};

static void actor_run(struct sim *sim, struct sim_event *event);

int work_open(void *world, unsigned capacity, struct work **work_out)
{
    struct sim_node *node = world;
    CHECK(node != NULL && node->work == NULL);
    struct work *work = sim_memory(sizeof(*work));
    work->sim = node->sim;
    work->node = node;
    work->capacity = capacity;
    for (unsigned i = 0; i < WORK_CLASSES; i += 1) {
        work->actors[i].work = work;
        work->actors[i].event.run = actor_run;
    }
    node->work = work;
    *work_out = work;
    return 0;
}

void sim_work_free(struct work *work)
{
    for (unsigned i = 0; i < WORK_CLASSES; i += 1) {
        sim_event_clear(work->sim, &work->actors[i].event);
    }
    free(work);
}

bool sim_work_idle(const struct work *work)
{
    unsigned count = work->home_count;
    for (unsigned i = 0; i < WORK_CLASSES; i += 1) {
        count += work->actors[i].count;
    }
    return count == 0;
}

void work_close(struct work *work)
{
    if (!sim_work_idle(work)) {
        sim_fail(work->sim, "work_close: a job is in flight");
    }
    work->node->work = NULL;
    sim_work_free(work);
}

/* --- steps ------------------------------------------------------------------------------------ */

/* A write of the job's thread; random faults as the disk gives them. */
static int disk_write(struct sim_inode *inode, uint64_t offset, const void *data, uint64_t size)
{
    struct sim_disk *disk = inode->disk;
    uint64_t end = offset + size;
    if (disk->read_only) {
        return -EROFS;
    }
    if ((end > inode->size && end - inode->size > sim_disk_space(disk)) ||
        sim_fault(disk->sim, SIM_FAULT_no_space)) {
        return -ENOSPC;
    }
    if (disk->writes_fail || sim_fault(disk->sim, SIM_FAULT_write_error)) {
        return -EIO;
    }
    sim_inode_write(inode, offset, data, size);
    return 0;
}

static int disk_sync(struct sim_inode *inode)
{
    if (inode->disk->syncs_fail || sim_fault(inode->disk->sim, SIM_FAULT_sync_error)) {
        sim_inode_poison(inode);
        return -EIO;
    }
    sim_inode_sync(inode);
    return 0;
}

static int directory_sync(struct sim_disk *disk, const char *path)
{
    if (disk->syncs_fail || sim_fault(disk->sim, SIM_FAULT_sync_error)) {
        return -EIO;
    }
    sim_parent_sync(disk, path);
    return 0;
}

/* A new empty file under this name, whether one stands there or not. */
static int file_create(struct sim_disk *disk, const char *path, struct sim_inode **inode_out)
{
    if (disk->read_only) {
        return -EROFS;
    }
    if (!sim_parent_exists(disk, path)) {
        return -ENOENT;
    }
    if (sim_disk_space(disk) == 0 || sim_fault(disk->sim, SIM_FAULT_no_space)) {
        return -ENOSPC;
    }
    *inode_out = sim_inode_new(disk);
    sim_name_add(disk, path, *inode_out);
    return 0;
}

static int descriptor_open(struct work *work, struct sim_inode *inode, const struct work_job *job)
{
    const char *name = strrchr(job->path, '/');
    if (sim_fault(work->sim, SIM_FAULT_no_descriptors)) {
        return -EMFILE;
    }
    struct sim_file *file = sim_file_open(work->node, SIM_FILE_DISK);
    file->inode = inode;
    (void)snprintf(file->name, sizeof(file->name), "%.31s", name != NULL ? name + 1 : job->path);
    file->direct = (job->flags & WORK_DIRECT) != 0 || job->kind == WORK_CREATE;
    file->writable = (job->flags & WORK_WRITE) != 0 || job->kind == WORK_CREATE;
    inode->opens += 1;
    return file->fd;
}

static int step_open(struct work_actor *actor, struct work_job *job, const char *path)
{
    struct sim_disk *disk = actor->work->node->disk;
    struct sim_name *name = sim_name_find(disk, path);
    struct sim_inode *inode = name != NULL ? name->inode : NULL;
    if (actor->step > 0) {
        /* Made by the step before: its name is to be durable. */
        int result = name == NULL ? -ENOENT : directory_sync(disk, path);
        if (name != NULL && result < 0) {
            sim_name_remove(disk, path);
        }
        if (result < 0) {
            return result;
        }
    } else if ((job->flags & WORK_NEW) != 0) {
        if (name != NULL) {
            return -EEXIST;
        }
        int result = file_create(disk, path, &inode);
        if (result < 0) {
            return result;
        }
        if ((job->flags & WORK_SYNC) != 0) {
            return STEP_AGAIN;
        }
    } else if (name == NULL) {
        return -ENOENT;
    } else if (inode == NULL) {
        return -EISDIR;
    } else if ((job->flags & WORK_WRITE) != 0 && disk->read_only) {
        return -EROFS;
    } else if ((job->flags & WORK_WRITE) != 0 && (inode->mode & 0200) == 0) {
        return -EACCES;
    }
    job->direct_out = (job->flags & WORK_DIRECT) != 0;
    return descriptor_open(actor->work, inode, job);
}

/* Path of the file that is written beside `path` and renamed over it. */
static bool beside(const char *path, char out[SIM_PATH_MAX])
{
    size_t size = strlen(path);
    if (size + 5 > SIM_PATH_MAX) {
        return false;
    }
    memcpy(out, path, size);
    memcpy(out + size, WORK_BESIDE, sizeof(WORK_BESIDE));
    return true;
}

static int create_begin(struct work_actor *actor, struct work_job *job, const char *path,
                        const char *temporary)
{
    struct sim_disk *disk = actor->work->node->disk;
    if (job->kind == WORK_CREATE && sim_name_find(disk, path) != NULL) {
        return -EEXIST;
    }
    int result = file_create(disk, temporary, &actor->inode);
    if (result < 0) {
        return result;
    }
    if (job->kind == WORK_REPLACE) {
        return disk_write(actor->inode, 0, job->data, job->data_size);
    }
    if (job->size > sim_disk_space(disk)) {
        return -ENOSPC;
    }
    if (disk->writes_fail || sim_fault(disk->sim, SIM_FAULT_write_error)) {
        return -EIO;
    }
    actor->inode->size = job->size; /* pages that are not there are zero */
    return 0;
}

/* Create and replace: written beside, synced, renamed, the directory synced. */
static int step_create(struct work_actor *actor, struct work_job *job, const char *path)
{
    struct sim_disk *disk = actor->work->node->disk;
    char temporary[SIM_PATH_MAX];
    if (!beside(path, temporary)) {
        return -ENAMETOOLONG;
    }
    int result = 0;
    switch (actor->step) {
    case 0:
        result = create_begin(actor, job, path, temporary);
        break;
    case 1:
        result = disk_sync(actor->inode);
        break;
    case 2:
        sim_name_move(disk, temporary, path);
        job->renamed_out = true;
        return STEP_AGAIN;
    default:
        result = directory_sync(disk, path);
        if (result < 0 || job->kind == WORK_REPLACE) {
            return result;
        }
        job->direct_out = true;
        return descriptor_open(actor->work, actor->inode, job);
    }
    if (result < 0 && sim_name_find(disk, temporary) != NULL) {
        sim_name_remove(disk, temporary);
    }
    return result < 0 ? result : STEP_AGAIN;
}

static int step_rename(struct work_actor *actor, struct work_job *job, const char *path)
{
    struct sim_disk *disk = actor->work->node->disk;
    char path_to[SIM_PATH_MAX];
    if (!sim_path(job->path_to, path_to)) {
        return -ENAMETOOLONG;
    }
    if (actor->step > 0) {
        int result = directory_sync(disk, path_to);
        return result < 0 ? result : directory_sync(disk, path);
    }
    if (disk->read_only) {
        return -EROFS;
    }
    if (sim_name_find(disk, path) == NULL || !sim_parent_exists(disk, path_to)) {
        return -ENOENT;
    }
    sim_name_move(disk, path, path_to);
    return STEP_AGAIN;
}

static int step_remove(struct work_actor *actor, struct work_job *job, const char *path)
{
    (void)job;
    struct sim_disk *disk = actor->work->node->disk;
    struct sim_name *name = sim_name_find(disk, path);
    if (disk->read_only) {
        return -EROFS;
    }
    if (name == NULL) {
        return -ENOENT;
    }
    sim_name_remove(disk, path);
    return 0;
}

static int step_remove_dir(struct work_actor *actor, struct work_job *job, const char *path)
{
    (void)job;
    char inside[SIM_PATH_MAX];
    struct sim_disk *disk = actor->work->node->disk;
    const struct sim_name *name = sim_name_find(disk, path);
    if (name == NULL || disk->read_only) {
        return name == NULL ? -ENOENT : -EROFS;
    }
    if (name->inode != NULL) {
        return -ENOTDIR;
    }
    if (sim_disk_list(disk, path, inside, sizeof(inside)) > 0) {
        return -ENOTEMPTY;
    }
    sim_name_remove(disk, path);
    return 0;
}

static int step_make_dir(struct work_actor *actor, struct work_job *job, const char *path)
{
    (void)job;
    struct sim_disk *disk = actor->work->node->disk;
    char part[SIM_PATH_MAX];
    for (size_t i = 1; i <= strlen(path); i += 1) {
        if (path[i] != '/' && path[i] != '\0') {
            continue;
        }
        memcpy(part, path, i);
        part[i] = '\0';
        const struct sim_name *name = sim_name_find(disk, part);
        if (name != NULL && name->inode != NULL) {
            return -ENOTDIR;
        }
        if (name == NULL && disk->read_only) {
            return -EROFS;
        }
        if (name == NULL) {
            sim_name_add(disk, part, NULL);
            int result = directory_sync(disk, part);
            if (result < 0) {
                return result;
            }
        }
    }
    return 0;
}

static int step_list(struct work_actor *actor, struct work_job *job, const char *path)
{
    struct sim_disk *disk = actor->work->node->disk;
    const struct sim_name *name = sim_name_find(disk, path);
    bool root = path[0] == '\0' || (path[0] == '/' && path[1] == '\0');
    if (!root && name == NULL) {
        return -ENOENT;
    }
    if (!root && name->inode != NULL) {
        return -ENOTDIR;
    }
    if ((job->flags & WORK_SYNC) != 0 && !root) {
        char inside[SIM_PATH_MAX];
        int size = snprintf(inside, sizeof(inside), "%s/.", path);
        CHECK(size > 0 && (size_t)size < sizeof(inside));
        int result = directory_sync(disk, inside);
        result = result < 0 ? result : directory_sync(disk, path);
        if (result < 0) {
            return result;
        }
    }
    unsigned count = sim_disk_list(disk, path, job->data, job->data_size);
    job->size = 0;
    for (unsigned i = 0; i < count; i += 1) {
        job->size += strlen((const char *)job->data + job->size) + 1;
    }
    return 0;
}

static int step_lock(struct work_actor *actor, struct work_job *job, const char *path)
{
    struct work *work = actor->work;
    struct sim_disk *disk = work->node->disk;
    const struct sim_name *name = sim_name_find(disk, path);
    struct sim_inode *inode = name != NULL ? name->inode : NULL;
    if (name == NULL) {
        int result = file_create(disk, path, &inode);
        if (result < 0) {
            return result;
        }
    }
    if (inode == NULL) {
        return -EISDIR;
    }
    if (inode->locker != NULL || inode->locked_until_ns > work->sim->now_ns) {
        return -EBUSY;
    }
    int fd = descriptor_open(work, inode, job);
    if (fd >= 0) {
        inode->locker = work->node;
        sim_file_find(work->node, fd)->locked = true;
    }
    return fd;
}

static int step_read_file(struct work_actor *actor, struct work_job *job, const char *path)
{
    struct sim_disk *disk = actor->work->node->disk;
    const struct sim_name *name = sim_name_find(disk, path);
    if (name == NULL) {
        return -ENOENT;
    }
    if (name->inode == NULL) {
        return -EISDIR;
    }
    if (name->inode->size > job->data_size) {
        return -EFBIG;
    }
    if (disk->reads_fail || sim_fault(disk->sim, SIM_FAULT_read_error)) {
        return -EIO;
    }
    sim_inode_read(name->inode, 0, job->data, name->inode->size);
    job->size = name->inode->size;
    return 0;
}

static int step_append(struct work_actor *actor, struct work_job *job, const char *path)
{
    (void)path;
    struct sim_file *file = sim_file_find(actor->work->node, job->fd);
    if (file == NULL || file->kind != SIM_FILE_DISK || !file->writable) {
        return -EBADF;
    }
    if (actor->step > 0) {
        return disk_sync(file->inode);
    }
    int result = disk_write(file->inode, file->inode->size, job->data, job->data_size);
    if (result < 0) {
        return result;
    }
    return (job->flags & WORK_SYNC) != 0 ? STEP_AGAIN : 0;
}

static int step_close(struct work_actor *actor, struct work_job *job, const char *path)
{
    (void)path;
    struct sim_file *file = sim_file_find(actor->work->node, job->fd);
    if (file == NULL || file->kind != SIM_FILE_DISK) {
        return -EBADF;
    }
    if (!list_empty(&file->requests)) {
        sim_fail(actor->work->sim, "descriptor %d closed with an operation in flight", job->fd);
        return -EBADF;
    }
    if ((job->flags & WORK_READ_ONLY) != 0) {
        file->inode->mode = 0440;
    }
    sim_file_free(file);
    return 0;
}

static int step_space(struct work_actor *actor, struct work_job *job, const char *path)
{
    (void)path;
    struct sim_disk *disk = actor->work->node->disk;
    job->size = sim_disk_space(disk);
    job->space = disk->bytes;
    job->inodes = 65536;
    job->inodes_free = 65536;
    for (struct list *node = disk->names.next; node != &disk->names; node = node->next) {
        job->inodes_free -= 1;
    }
    return 0;
}

static int step_stat(struct work_actor *actor, struct work_job *job, const char *path)
{
    const struct sim_name *name = sim_name_find(actor->work->node->disk, path);
    if (name == NULL) {
        return -ENOENT;
    }
    job->size = name->inode == NULL ? 0 : name->inode->size;
    return 0;
}

static int step_compress(struct work_actor *actor, struct work_job *job, const char *path)
{
    (void)actor;
    (void)path;
    size_t size = ZSTD_compress(job->output, job->output_capacity, job->data, job->data_size,
                                job->level);
    if (ZSTD_isError(size)) {
        return -ENOSPC;
    }
    job->size = size;
    return 0;
}

/* --- configuration ---------------------------------------------------------------------------- */

struct conf_source {
    struct sim_disk *disk;
    struct heap heap;
};

static bool conf_read_file(void *context, const char *path, struct slice *bytes_out,
                           struct buf *reason_out)
{
    struct conf_source *source = context;
    char clean[SIM_PATH_MAX];
    const struct sim_name *name =
        sim_path(path, clean) ? sim_name_find(source->disk, clean) : NULL;
    if (name == NULL || name->inode == NULL) {
        buf_put_string(reason_out, "No such file or directory");
        return false;
    }
    uint8_t *bytes = heap_take(&source->heap, name->inode->size + 1);
    sim_inode_read(name->inode, 0, bytes, name->inode->size);
    *bytes_out = slice_make(bytes, name->inode->size);
    return true;
}

static int step_conf(struct work_actor *actor, struct work_job *job, const char *path)
{
    struct conf_reading *reading = job->data;
    struct conf_source source = {.disk = actor->work->node->disk};
    (void)path;
    heap_init(&source.heap);
    const struct conf_input input = {
        .program = reading->program,
        .file = reading->file,
        .sets = reading->sets,
        .set_count = reading->set_count,
        .hostname = SLICE(SIM_HOSTNAME),
        .read = conf_read_file,
        .read_context = &source,
    };
    reading->conf = conf_load(&input, &reading->messages);
    heap_fini(&source.heap);
    return 0;
}

static int step_read_at(struct work_actor *actor, struct work_job *job, const char *path)
{
    struct sim_disk *disk = actor->work->node->disk;
    const struct sim_name *name = sim_name_find(disk, path);
    uint64_t offset = job->size;
    if (name == NULL || name->inode == NULL) {
        return name == NULL ? -ENOENT : -EISDIR;
    }
    if (disk->reads_fail || sim_fault(disk->sim, SIM_FAULT_read_error)) {
        return -EIO;
    }
    job->size = MIN_OF(name->inode->size - MIN_OF(offset, name->inode->size), job->data_size);
    sim_inode_read(name->inode, offset, job->data, job->size);
    return 0;
}

static int step_decompress(struct work_actor *actor, struct work_job *job, const char *path)
{
    (void)actor;
    (void)path;
    return work_decompress(job);
}

/* --- tables of state -------------------------------------------------------------------------- */

/* What stands there; what makes no sense is set aside. 0, -EUCLEAN then, or the disk's error. */
static int state_read(struct sim_disk *disk, const char *path, struct heap *heap,
                      struct state_rows *rows_out)
{
    const struct sim_name *name = sim_name_find(disk, path);
    char aside[SIM_PATH_MAX];
    struct slice bytes = SLICE_NONE;
    if (!sim_parent_exists(disk, path)) {
        return -EACCES;
    }
    if (disk->reads_fail || sim_fault(disk->sim, SIM_FAULT_read_error)) {
        return -EIO;
    }
    if (name != NULL && name->inode->size > 0) {
        uint8_t *memory = heap_take(heap, name->inode->size);
        sim_inode_read(name->inode, 0, memory, name->inode->size);
        bytes = slice_make(memory, name->inode->size);
    }
    if (sim_state_read(bytes, heap, rows_out)) {
        return 0;
    }
    int size = snprintf(aside, sizeof(aside), "%s.damaged", path);
    CHECK(size > 0 && (size_t)size < sizeof(aside));
    sim_name_move(disk, path, aside);
    *rows_out = (struct state_rows){0};
    return -EUCLEAN;
}

static int step_state_open(struct work_actor *actor, struct work_job *job, const char *path)
{
    struct state_db_job *task = job->data;
    struct sim_disk *disk = actor->work->node->disk;
    CHECK(task->db->handle == NULL);
    int result = disk->read_only ? -EROFS : state_read(disk, path, task->heap, &task->rows);
    task->db->set_aside = result == -EUCLEAN;
    if (result < 0 && result != -EUCLEAN) {
        task->rows = (struct state_rows){0};
        return result;
    }
    task->db->handle = task->db;
    return 0;
}

/* Written beside and renamed: whole or not at all, whatever ends meanwhile. */
static int step_state_write(struct work_actor *actor, struct work_job *job, const char *path)
{
    struct state_db_job *task = job->data;
    struct sim_disk *disk = actor->work->node->disk;
    struct state_rows old;
    struct heap heap;
    char temporary[SIM_PATH_MAX];
    CHECK(task->db->handle != NULL && beside(path, temporary));
    if (actor->step == 2) {
        sim_name_move(disk, temporary, path);
        return STEP_AGAIN;
    }
    if (actor->step > 2) {
        return directory_sync(disk, path);
    }
    if (actor->step == 1) {
        int result = disk_sync(actor->inode);
        return result < 0 ? result : STEP_AGAIN;
    }
    heap_init(&heap);
    int result = state_read(disk, path, &heap, &old);
    if (result == -EUCLEAN) {
        task->db->handle = NULL;
    }
    result = result < 0 ? result : file_create(disk, temporary, &actor->inode);
    if (result == 0) {
        struct slice bytes = sim_state_write(&old, &task->rows, &heap);
        result = disk_write(actor->inode, 0, bytes.data, bytes.size);
    }
    heap_fini(&heap);
    return result < 0 ? result : STEP_AGAIN;
}

static int step_state_close(struct work_actor *actor, struct work_job *job, const char *path)
{
    (void)actor;
    (void)path;
    ((struct state_db_job *)job->data)->db->handle = NULL;
    return 0;
}

static int step_compute(struct work_actor *actor, struct work_job *job, const char *path)
{
    (void)actor;
    (void)path;
    job->compute(job);
    return 0;
}

typedef int job_step(struct work_actor *actor, struct work_job *job, const char *path);

static job_step *const steps[] = {
    [WORK_OPEN] = step_open,     [WORK_CREATE] = step_create,       [WORK_RENAME] = step_rename,
    [WORK_REMOVE] = step_remove, [WORK_REMOVE_DIR] = step_remove_dir,
    [WORK_MAKE_DIR] = step_make_dir,   [WORK_LIST] = step_list,
    [WORK_LOCK] = step_lock,     [WORK_READ_FILE] = step_read_file, [WORK_REPLACE] = step_create,
    [WORK_APPEND] = step_append, [WORK_CLOSE] = step_close,         [WORK_SPACE] = step_space,
    [WORK_STAT] = step_stat,     [WORK_COMPRESS] = step_compress,   [WORK_CONF] = step_conf,
    [WORK_READ_AT] = step_read_at, [WORK_DECOMPRESS] = step_decompress,
    [WORK_STATE_OPEN] = step_state_open, [WORK_STATE_WRITE] = step_state_write,
    [WORK_STATE_CLOSE] = step_state_close,
    [WORK_COMPUTE] = step_compute,
};

/* --- the actors ------------------------------------------------------------------------------- */

static bool needs_disk(const struct work_job *job)
{
    return job->kind != WORK_COMPRESS && job->kind != WORK_DECOMPRESS &&
           job->kind != WORK_COMPUTE;
}

static void actor_plan(struct work_actor *actor)
{
    struct work *work = actor->work;
    uint64_t delay = 20 * NS_PER_US + sim_below(work->sim, 500 * NS_PER_US);
    if (needs_disk(actor->first) && work->node->disk != NULL) {
        delay += sim_disk_delay(work->node->disk);
    }
    if (sim_fault(work->sim, SIM_FAULT_slow_job)) {
        delay += sim_delay(work->sim, 2 * NS_PER_S);
    }
    sim_event_set(work->sim, &actor->event, delay);
}

static void job_end(struct work_actor *actor, int32_t result)
{
    struct work *work = actor->work;
    struct work_job *job = actor->first;
    actor->first = job->next;
    actor->count -= 1;
    actor->step = 0;
    actor->inode = NULL;
    job->next = NULL;
    job->result = result;
    if (work->home_first == NULL) {
        work->home_first = job;
    } else {
        work->home_last->next = job;
    }
    work->home_last = job;
    work->home_count += 1;
    sim_trace(work->sim, (uint64_t)(uint32_t)result << 8 | job->kind);
    ring_wake(job->home->ring);
    if (actor->first != NULL) {
        actor_plan(actor);
    }
}

static void actor_run(struct sim *sim, struct sim_event *event)
{
    (void)sim;
    struct work_actor *actor = CONTAINER_OF(event, struct work_actor, event);
    struct work_job *job = actor->first;
    char path[SIM_PATH_MAX] = "";
    int result = 0;
    if (needs_disk(job) && actor->work->node->disk == NULL) {
        result = -ENOENT;
    } else if (job->path != NULL && !sim_path(job->path, path)) {
        result = -ENAMETOOLONG;
    } else {
        result = steps[job->kind](actor, job, path);
    }
    if (result == STEP_AGAIN) {
        actor->step += 1;
        actor_plan(actor);
        return;
    }
    job_end(actor, result);
}

bool work_submit(struct work *work, struct shard *home, struct work_job *job)
{
    if (job->in_flight) {
        sim_fail(work->sim, "submitted a job that is in flight");
        return false;
    }
    CHECK(job->kind < COUNT_OF(steps));
    struct work_actor *actor = &work->actors[classes[job->kind]];
    if (actor->count >= work->capacity || sim_fault(work->sim, SIM_FAULT_job_refused)) {
        return false;
    }
    job->home = home;
    job->in_flight = true;
    job->next = NULL;
    if (actor->first == NULL) {
        actor->first = job;
    } else {
        actor->last->next = job;
    }
    actor->last = job;
    actor->count += 1;
    if (actor->count == 1) {
        actor_plan(actor);
    }
    return true;
}

/* A step of the simulator brings a job home and rings. */
bool work_publishes(const struct work *work)
{
    (void)work;
    return false;
}

bool work_waiting(struct work *work, struct shard *home)
{
    for (const struct work_job *job = work->home_first; job != NULL; job = job->next) {
        if (job->home == home) {
            return true;
        }
    }
    return false;
}

/* The oldest done job of this shard, taken out of the list. */
static struct work_job *home_take(struct work *work, const struct shard *home)
{
    struct work_job *before = NULL;
    for (struct work_job *job = work->home_first; job != NULL; job = job->next) {
        if (job->home != home) {
            before = job;
            continue;
        }
        if (before == NULL) {
            work->home_first = job->next;
        } else {
            before->next = job->next;
        }
        if (work->home_last == job) {
            work->home_last = before;
        }
        work->home_count -= 1;
        job->next = NULL;
        return job;
    }
    return NULL;
}

unsigned work_collect(struct work *work, struct shard *home)
{
    unsigned count = 0;
    struct work_job *job = home_take(work, home);
    while (job != NULL) {
        job->in_flight = false;
        count += 1;
        job->done(job);
        job = home_take(work, home);
    }
    return count;
}
