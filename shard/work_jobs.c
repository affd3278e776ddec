#include "shard/work_jobs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <zstd.h>

#include "core/check.h"
#include "shard/work_decompress.h"
#include "shard/boot.h"
#include "shard/conf_file.h"
#include "shard/state_db.h"

#define ZERO_BYTES    MIB
#define DIRECT_UNIT   4096
#define FILE_MODE     0640
#define DIR_MODE      0750
#define LOCK_TRIES    100
#define LOCK_PAUSE_MS 10

/* --- helpers ---------------------------------------------------------------------------------- */

/* All of it, at an offset; 0 or a negative errno. */
static int write_all(int fd, const uint8_t *data, size_t size, uint64_t offset)
{
    while (size > 0) {
        ssize_t written = pwrite(fd, data, size, (off_t)offset);
        if (written < 0) {
            if (errno == EINTR) {
                continue;
            }
            return -errno;
        }
        if (written == 0) {
            return -EIO;
        }
        data += written;
        size -= (size_t)written;
        offset += (uint64_t)written;
    }
    return 0;
}

/* Syncs the directory in which `path` stands. */
static int sync_directory_of(const char *path)
{
    char directory[PATH_MAX];
    size_t size = strlen(path);
    while (size > 0 && path[size - 1] != '/') {
        size--;
    }
    if (size + 2 > sizeof(directory)) {
        return -ENAMETOOLONG;
    }
    memcpy(directory, path, size);
    directory[size] = '.';
    directory[size + 1] = 0;
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int result = fsync(fd) == 0 ? 0 : -errno;
    close(fd);
    return result;
}

/* The name under which a file is written before it gets its own. */
static bool name_beside(const char *path, char out[PATH_MAX])
{
    static const char suffix[] = WORK_BESIDE;
    size_t size = strlen(path);
    if (size + sizeof(suffix) > PATH_MAX) {
        return false;
    }
    memcpy(out, path, size);
    memcpy(out + size, suffix, sizeof(suffix));
    return true;
}

/* With O_DIRECT where the file system has it. */
static int open_direct(const char *path, int flags, bool *direct_out)
{
    int fd = open(path, flags | O_DIRECT | O_CLOEXEC, FILE_MODE);
    *direct_out = fd >= 0;
    if (fd < 0 && errno == EINVAL) {
        fd = open(path, flags | O_CLOEXEC, FILE_MODE);
    }
    return fd < 0 ? -errno : fd;
}

/* Syncs what was written to `fd` under the name beside, and gives it its own name, durably. */
static int settle(struct work_job *job, int fd, const char *beside)
{
    if (fsync(fd) != 0 || rename(beside, job->path) != 0) {
        return -errno;
    }
    job->renamed_out = true;
    return sync_directory_of(job->path);
}

/* --- jobs ------------------------------------------------------------------------------------- */

/* 0 when it may be opened without waiting for anybody, and leads nowhere else. */
static int check_kind(const char *path)
{
    struct stat status;
    if (lstat(path, &status) != 0) {
        return -errno;
    }
    if (S_ISLNK(status.st_mode)) {
        return -ELOOP;
    }
    if (S_ISDIR(status.st_mode)) {
        return -EISDIR;
    }
    return S_ISREG(status.st_mode) ? 0 : -ESPIPE;
}

static int check_plain(int fd, uint64_t size_max)
{
    struct stat status;
    if (fstat(fd, &status) != 0) {
        return -errno;
    }
    if (status.st_nlink != 1) {
        return -EMLINK;
    }
    if (status.st_uid != geteuid() || (status.st_mode & S_IWOTH) != 0) {
        return -EPERM;
    }
    return (uint64_t)status.st_size > size_max ? -EFBIG : 0;
}

static int open_plain(struct work_job *job, int flags)
{
    int result = check_kind(job->path);
    if (result < 0) {
        return result;
    }
    job->direct_out = false;
    int fd = (job->flags & WORK_DIRECT) != 0
                 ? open_direct(job->path, flags | O_NOFOLLOW, &job->direct_out)
                 : open(job->path, flags | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return (job->flags & WORK_DIRECT) != 0 ? fd : -errno;
    }
    result = check_plain(fd, job->size);
    if (result < 0) {
        close(fd);
        return result;
    }
    return fd;
}

static int job_open(struct work_job *job)
{
    int flags = (job->flags & WORK_WRITE) != 0 ? O_RDWR : O_RDONLY;
    if ((job->flags & WORK_PLAIN) != 0) {
        return open_plain(job, flags);
    }
    if ((job->flags & WORK_NEW) != 0) {
        flags |= O_CREAT | O_EXCL;
    }
    if ((job->flags & WORK_DIRECT) != 0) {
        return open_direct(job->path, flags, &job->direct_out);
    }
    job->direct_out = false;
    int fd = open(job->path, flags | O_CLOEXEC, FILE_MODE);
    if (fd < 0 || (job->flags & (WORK_NEW | WORK_SYNC)) != (WORK_NEW | WORK_SYNC)) {
        return fd < 0 ? -errno : fd;
    }
    int result = sync_directory_of(job->path);
    if (result < 0) {
        close(fd);
        (void)unlink(job->path);
        return result;
    }
    return fd;
}

static int write_zeros(int fd, uint64_t size)
{
    /* Asked for first, so that a full disk says so before gigabytes are written. */
    if (fallocate(fd, 0, 0, (off_t)size) != 0 && errno != EOPNOTSUPP) {
        return -errno;
    }
    uint8_t *zeros = boot_memory_take(ZERO_BYTES);
    if (zeros == NULL) {
        return -ENOMEM;
    }
    int result = 0;
    for (uint64_t at = 0; at < size && result == 0; at += ZERO_BYTES) {
        result = write_all(fd, zeros, (size_t)MIN_OF(size - at, (uint64_t)ZERO_BYTES), at);
    }
    boot_memory_give(zeros, ZERO_BYTES);
    return result;
}

static int job_create(struct work_job *job)
{
    char beside[PATH_MAX];
    if (!name_beside(job->path, beside)) {
        return -ENAMETOOLONG;
    }
    if (job->size == 0 || job->size % DIRECT_UNIT != 0) {
        return -EINVAL;
    }
    if (access(job->path, F_OK) == 0) {
        return -EEXIST;
    }
    int fd = open_direct(beside, O_RDWR | O_CREAT | O_TRUNC, &job->direct_out);
    if (fd < 0) {
        return fd;
    }
    int result = write_zeros(fd, job->size);
    if (result == 0) {
        result = settle(job, fd, beside);
    }
    if (result < 0) {
        close(fd);
        (void)unlink(beside);
        (void)unlink(job->path); /* renamed, but its name could not be synced */
        return result;
    }
    return fd;
}

static int job_replace(struct work_job *job)
{
    char beside[PATH_MAX];
    if (!name_beside(job->path, beside)) {
        return -ENAMETOOLONG;
    }
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, FILE_MODE);
    if (fd < 0) {
        return -errno;
    }
    int result = write_all(fd, job->data, job->data_size, 0);
    if (result == 0) {
        result = settle(job, fd, beside);
    }
    close(fd);
    if (result < 0) {
        (void)unlink(beside);
    }
    return result;
}

static int job_rename(struct work_job *job)
{
    if (rename(job->path, job->path_to) != 0) {
        return -errno;
    }
    int result = sync_directory_of(job->path_to);
    return result < 0 ? result : sync_directory_of(job->path);
}

static int job_remove(struct work_job *job)
{
    return unlink(job->path) == 0 ? 0 : -errno;
}

static int job_remove_dir(struct work_job *job)
{
    return rmdir(job->path) == 0 ? 0 : -errno;
}

static int make_one_directory(const char *path)
{
    if (mkdir(path, DIR_MODE) == 0) {
        return sync_directory_of(path);
    }
    struct stat status;
    if (errno != EEXIST) {
        return -errno;
    }
    if (stat(path, &status) != 0) {
        return -errno;
    }
    return S_ISDIR(status.st_mode) ? 0 : -ENOTDIR;
}

static int job_make_dir(struct work_job *job)
{
    char part[PATH_MAX];
    size_t size = strlen(job->path);
    if (size >= sizeof(part)) {
        return -ENAMETOOLONG;
    }
    for (size_t i = 1; i <= size; i++) {
        bool ends = i == size || job->path[i] == '/';
        if (!ends || job->path[i - 1] == '/') {
            continue;
        }
        memcpy(part, job->path, i);
        part[i] = 0;
        int result = make_one_directory(part);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

/* The names, each with its NUL, unsorted; their count, or a negative errno. */
static int read_names(DIR *directory, char *out, size_t capacity, size_t *size_out)
{
    int count = 0;
    size_t size = 0;
    errno = 0;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        size_t name_size = strlen(entry->d_name) + 1;
        if (name_size > capacity - size) {
            return -EFBIG;
        }
        memcpy(out + size, entry->d_name, name_size);
        size += name_size;
        count++;
        errno = 0;
    }
    *size_out = size;
    return errno != 0 ? -errno : count;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorts `count` names of `names`, `size` bytes together, into `out`. */
static int sort_names(const char *names, unsigned count, char *out)
{
    if (count == 0) {
        return 0;
    }
    const char **order = boot_memory_take(count * sizeof(*order));
    if (order == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < count; i++) {
        order[i] = names;
        names += strlen(names) + 1;
    }
    qsort(order, count, sizeof(*order), compare_names);
    for (unsigned i = 0; i < count; i++) {
        size_t name_size = strlen(order[i]) + 1;
        memcpy(out, order[i], name_size);
        out += name_size;
    }
    boot_memory_give(order, count * sizeof(*order));
    return 0;
}

/* A parent that we may not open is the operator's work, and older than we are. */
static int sync_names(DIR *directory, const char *path)
{
    if (fsync(dirfd(directory)) != 0) {
        return -errno;
    }
    int result = sync_directory_of(path);
    return result == -EACCES ? 0 : result;
}

static int job_list(struct work_job *job)
{
    DIR *directory = opendir(job->path);
    if (directory == NULL) {
        return -errno;
    }
    int synced = (job->flags & WORK_SYNC) != 0 ? sync_names(directory, job->path) : 0;
    if (synced < 0) {
        closedir(directory);
        return synced;
    }
    size_t size = 0;
    size_t room = MAX_OF(job->data_size, (size_t)1);
    char *names = boot_memory_take(room);
    int result = -ENOMEM;
    if (names != NULL) {
        result = read_names(directory, names, job->data_size, &size);
        if (result >= 0) {
            result = sort_names(names, (unsigned)result, job->data);
        }
    }
    boot_memory_give(names, room);
    closedir(directory);
    job->size = size;
    return result;
}

/*
 * A lock of the open file description: it ends with the process. It may outlast a killed process
 * for a moment, until the kernel has ended the ring operations that hold the file: so we try for a
 * second.
 */
static int job_lock(struct work_job *job)
{
    int fd = open(job->path, O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);
    if (fd < 0) {
        return -errno;
    }
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * (long)NS_PER_MS};
    for (unsigned i = 0; i < LOCK_TRIES; i++) {
        if (fcntl(fd, F_OFD_SETLK, &lock) == 0) {
            return fd;
        }
        if (errno != EAGAIN && errno != EACCES && errno != EINTR) {
            int error = -errno;
            close(fd);
            return error;
        }
        (void)nanosleep(&pause, NULL);
    }
    close(fd);
    return -EBUSY;
}

static int read_all(int fd, struct work_job *job)
{
    uint8_t *out = job->data;
    size_t size = 0;
    for (;;) {
        uint8_t beyond;
        bool full = size == job->data_size;
        ssize_t count = full ? read(fd, &beyond, 1) : read(fd, out + size, job->data_size - size);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return -errno;
        }
        if (count == 0) {
            job->size = size;
            return 0;
        }
        if (full) {
            return -EFBIG;
        }
        size += (size_t)count;
    }
}

static int job_read_file(struct work_job *job)
{
    int fd = open(job->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int result = read_all(fd, job);
    close(fd);
    return result;
}

static int job_append(struct work_job *job)
{
    struct stat status;
    if (fstat(job->fd, &status) != 0) {
        return -errno;
    }
    int result = write_all(job->fd, job->data, job->data_size, (uint64_t)status.st_size);
    if (result < 0) {
        /* All or nothing: whoever tries again must not find half of it. */
        (void)ftruncate(job->fd, status.st_size);
        return result;
    }
    if ((job->flags & WORK_SYNC) != 0 && fdatasync(job->fd) != 0) {
        return -errno;
    }
    return 0;
}

static int job_close(struct work_job *job)
{
    int result = 0;
    if ((job->flags & WORK_READ_ONLY) != 0 && fchmod(job->fd, 0440) != 0) {
        result = -errno;
    }
    if (close(job->fd) != 0 && result == 0) {
        result = -errno;
    }
    return result;
}

static int job_space(struct work_job *job)
{
    struct statvfs status;
    if (statvfs(job->path, &status) != 0) {
        return -errno;
    }
    job->size = (uint64_t)status.f_bavail * status.f_frsize;
    job->space = (uint64_t)status.f_blocks * status.f_frsize;
    job->inodes = status.f_files;
    job->inodes_free = status.f_favail;
    return 0;
}

static int job_stat(struct work_job *job)
{
    struct stat status;
    if (stat(job->path, &status) != 0) {
        return -errno;
    }
    job->size = (uint64_t)status.st_size;
    return 0;
}

static int job_compress(struct work_job *job)
{
    size_t size = ZSTD_compress(job->output, job->output_capacity, job->data, job->data_size,
                                job->level);
    if (ZSTD_isError(size)) {
        return -ENOSPC;
    }
    job->size = size;
    return 0;
}

static int job_conf(struct work_job *job)
{
    struct conf_reading *reading = job->data;
    reading->conf = conf_file_load(reading->program, reading->file, reading->sets,
                                   reading->set_count, &reading->messages);
    return 0;
}

static int job_read_at(struct work_job *job)
{
    int fd = open(job->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    uint64_t offset = job->size;
    if (fd < 0) {
        return -errno;
    }
    job->size = 0;
    while (job->size < job->data_size) {
        ssize_t count = pread(fd, (uint8_t *)job->data + job->size, job->data_size - job->size,
                              (off_t)(offset + job->size));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            int error = -errno;
            close(fd);
            return error;
        }
        if (count == 0) {
            break;
        }
        job->size += (size_t)count;
    }
    close(fd);
    return 0;
}

static int job_state_open(struct work_job *job)
{
    struct state_db_job *task = job->data;
    return state_db_open(task->db, task->wall_ns, task->heap, &task->rows);
}

static int job_state_write(struct work_job *job)
{
    struct state_db_job *task = job->data;
    return state_db_write(task->db, task->wall_ns, &task->rows);
}

static int job_state_close(struct work_job *job)
{
    state_db_close(((struct state_db_job *)job->data)->db);
    return 0;
}

static int job_compute(struct work_job *job)
{
    job->compute(job);
    return 0;
}

struct job_row {
    enum work_class class;
    int (*run)(struct work_job *job);
};

static const struct job_row rows[] = {
    [WORK_OPEN] = {WORK_IO, job_open},
    [WORK_CREATE] = {WORK_IO, job_create},
    [WORK_RENAME] = {WORK_IO, job_rename},
    [WORK_REMOVE] = {WORK_IO, job_remove},
    [WORK_REMOVE_DIR] = {WORK_IO, job_remove_dir},
    [WORK_MAKE_DIR] = {WORK_IO, job_make_dir},
    [WORK_LIST] = {WORK_IO, job_list},
    [WORK_LOCK] = {WORK_IO, job_lock},
    [WORK_READ_FILE] = {WORK_IO, job_read_file},
    [WORK_REPLACE] = {WORK_IO, job_replace},
    [WORK_APPEND] = {WORK_IO, job_append},
    [WORK_CLOSE] = {WORK_IO, job_close},
    [WORK_SPACE] = {WORK_IO, job_space},
    [WORK_STAT] = {WORK_IO, job_stat},
    [WORK_COMPRESS] = {WORK_CPU, job_compress},
    [WORK_READ_AT] = {WORK_IO, job_read_at},
    [WORK_DECOMPRESS] = {WORK_CPU, work_decompress},
    [WORK_CONF] = {WORK_CPU, job_conf},
    [WORK_STATE_OPEN] = {WORK_IO, job_state_open},
    [WORK_STATE_WRITE] = {WORK_IO, job_state_write},
    [WORK_STATE_CLOSE] = {WORK_IO, job_state_close},
    [WORK_COMPUTE] = {WORK_CPU, job_compute},
};

enum work_class work_class_of(enum work_kind kind)
{
    CHECK(kind < COUNT_OF(rows));
    return rows[kind].class;
}

void work_job_run(struct work_job *job)
{
    CHECK(job->kind < COUNT_OF(rows));
    job->result = rows[job->kind].run(job);
}
