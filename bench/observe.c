#include "bench/observe.h"

#include <dirent.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK_BYTES      512u /* of st_blocks, whatever the file system's are */
#define PATH_BYTES       64
#define DROP_CACHES_PATH "/proc/sys/vm/drop_caches"

/* --- disk ------------------------------------------------------------------------------------- */

static FTS *tree_open(const char *path, char copy[4096])
{
    size_t size = strlen(path);
    if (size >= 4096) {
        return NULL;
    }
    memcpy(copy, path, size + 1);
    char *const roots[] = {copy, NULL};
    return fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
}

/* The next regular file; null at the end. */
static const FTSENT *tree_next_file(FTS *tree)
{
    for (;;) {
        const FTSENT *entry = fts_read(tree);
        if (entry == NULL || entry->fts_info == FTS_F) {
            return entry;
        }
    }
}

static bool name_begins(const FTSENT *entry, const char *with)
{
    return strncmp(entry->fts_name, with, strlen(with)) == 0;
}

bool disk_use_read(const char *path, struct disk_use *use_out)
{
    char copy[4096];
    struct stat status;
    FTS *tree = stat(path, &status) == 0 ? tree_open(path, copy) : NULL;
    if (tree == NULL) {
        return false;
    }
    *use_out = (struct disk_use){0};
    for (;;) {
        const FTSENT *entry = tree_next_file(tree);
        if (entry == NULL) {
            break;
        }
        uint64_t bytes = (uint64_t)entry->fts_statp->st_blocks * BLOCK_BYTES;
        use_out->files++;
        use_out->bytes += bytes;
        use_out->segments += name_begins(entry, "segment-");
        if (name_begins(entry, "checkpoint-") && entry->fts_statp->st_size > 0) {
            use_out->checkpoints++;
            use_out->checkpoint_bytes += bytes;
        }
    }
    (void)fts_close(tree);
    return true;
}

static bool drop_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    /* Only what has been written can be dropped. */
    bool dropped = fdatasync(fd) == 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0;
    close(fd);
    return dropped;
}

static bool drop_kernel(void)
{
    int fd = open(DROP_CACHES_PATH, O_WRONLY | O_CLOEXEC);
    bool dropped = fd >= 0 && write(fd, "3", 1) == 1;
    if (fd >= 0) {
        close(fd);
    }
    return dropped;
}

struct cache_drop cache_drop(const char *path)
{
    char copy[4096];
    struct cache_drop drop = {0};
    FTS *tree = tree_open(path, copy);
    if (tree != NULL) {
        const FTSENT *entry = tree_next_file(tree);
        while (entry != NULL) {
            drop.files += drop_file(entry->fts_accpath);
            entry = tree_next_file(tree);
        }
        (void)fts_close(tree);
    }
    drop.kernel = drop_kernel();
    return drop;
}

/* --- process ---------------------------------------------------------------------------------- */

static bool read_rss(pid_t pid, uint64_t *bytes_out)
{
    char path[PATH_BYTES];
    uint64_t pages = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    bool read = fscanf(file, "%*u %" SCNu64, &pages) == 1;
    (void)fclose(file);
    *bytes_out = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return read;
}

static bool count_descriptors(pid_t pid, uint64_t *count_out)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return false;
    }
    *count_out = 0;
    for (const struct dirent *entry = readdir(directory); entry != NULL;
         entry = readdir(directory)) {
        *count_out += entry->d_name[0] != '.';
    }
    (void)closedir(directory);
    return true;
}

static bool read_cpu(pid_t pid, uint64_t *ns_out)
{
    clockid_t clock;
    struct timespec used;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0) {
        return false;
    }
    *ns_out = (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
    return true;
}

bool process_use_read(pid_t pid, struct process_use *use_out)
{
    return read_rss(pid, &use_out->rss_bytes) && count_descriptors(pid, &use_out->descriptors) &&
           read_cpu(pid, &use_out->cpu_ns);
}
