#include "shard/conf_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/toml.h"

/* A conf_read's context. */
struct conf_disk {
    struct heap *heap; /* the bytes stay there */
    const char *file;  /* the main one; may be null */
    const char *resolv_file;
};

/* The folder of a path; false: it is too long to be one. */
static bool folder_of(const char *path, char folder_out[PATH_MAX])
{
    const char *end = strrchr(path, '/');
    size_t size = end == NULL ? 0 : MAX_OF((size_t)(end - path), (size_t)1);
    if (size >= PATH_MAX) {
        return false;
    }
    memcpy(folder_out, size == 0 ? "." : path, MAX_OF(size, (size_t)1));
    folder_out[MAX_OF(size, (size_t)1)] = '\0';
    return true;
}

/* Whoever may write there decides what runs here. A folder like /tmp keeps others' files apart. */
static const char *others_write(int fd, const char *path)
{
    char folder[PATH_MAX];
    struct stat info;
    if (fstat(fd, &info) == 0 && (info.st_mode & S_IWOTH) != 0) {
        return "others may write to it";
    }
    if (folder_of(path, folder) && stat(folder, &info) == 0 &&
        (info.st_mode & (S_IWOTH | S_ISVTX)) == S_IWOTH) {
        return "others may write to its folder";
    }
    return NULL;
}

/* Is it named as one that lies with the main file? */
static bool is_in_tree(const struct conf_disk *disk, const char *path)
{
    if (disk->file == NULL || strcmp(path, disk->file) == 0 ||
        strcmp(path, disk->resolv_file) == 0) {
        return false; /* whoever starts the program, and the system, say where these are */
    }
    const char *end = strrchr(disk->file, '/');
    size_t size = end == NULL ? 0 : (size_t)(end - disk->file) + 1;
    bool below = size == 0 ? path[0] != '/' : strncmp(path, disk->file, size) == 0;
    return below && strncmp(path + size, "../", 3) != 0 && strstr(path + size, "/../") == NULL;
}

/* Null: it is where its name says, as far as that has to be. */
static const char *leads_out(const struct conf_disk *disk, const char *path)
{
    char folder[PATH_MAX];
    char tree[PATH_MAX];
    char real[PATH_MAX];
    if (realpath(path, real) == NULL) {
        return strerror(errno);
    }
    if (!is_in_tree(disk, path)) {
        return NULL;
    }
    if (!folder_of(disk->file, folder) || realpath(folder, tree) == NULL) {
        return strerror(errno);
    }
    size_t size = strcmp(tree, "/") == 0 ? 0 : strlen(tree);
    return strncmp(real, tree, size) == 0 && real[size] == '/'
               ? NULL
               : "a symbolic link leads out of the folder of the configuration";
}

/* Where a symbolic link leads others may write no more than where it stands. */
static const char *problem_of(const struct conf_disk *disk, int fd, const char *path)
{
    char real[PATH_MAX];
    const char *problem = others_write(fd, path);
    if (problem == NULL && realpath(path, real) != NULL) {
        problem = others_write(fd, real);
    }
    return problem == NULL ? leads_out(disk, path) : problem;
}

static int file_read(struct heap *heap, int fd, struct slice *bytes_out)
{
    struct stat info;
    if (fstat(fd, &info) < 0) {
        return -errno;
    }
    if (!S_ISREG(info.st_mode)) {
        return -EINVAL;
    }
    if (info.st_size > (off_t)TOML_BYTES_MAX) {
        return -EFBIG;
    }
    size_t size = (size_t)info.st_size;
    uint8_t *bytes = heap_take(heap, size + 1);
    size_t got = 0;
    while (got < size) {
        ssize_t count = read(fd, bytes + got, size - got);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return -errno;
        }
        if (count == 0) {
            break;
        }
        got += (size_t)count;
    }
    *bytes_out = slice_make(bytes, got);
    return 0;
}

static bool conf_file_read(void *context, const char *path, struct slice *bytes_out,
                           struct buf *reason_out)
{
    const struct conf_disk *disk = context;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int result = fd < 0 ? -errno : file_read(disk->heap, fd, bytes_out);
    const char *problem = result < 0 ? strerror(-result) : problem_of(disk, fd, path);
    if (fd >= 0) {
        close(fd);
    }
    if (problem != NULL) {
        buf_put_string(reason_out, problem);
    }
    return problem == NULL;
}

struct conf *conf_file_load(enum conf_program program, const char *file,
                            const char *const *sets, size_t set_count,
                            struct conf_messages *messages)
{
    char hostname[256] = "";
    struct heap heap;
    heap_init(&heap);
    if (gethostname(hostname, sizeof(hostname) - 1) < 0) {
        hostname[0] = 0;
    }
    struct conf_disk disk = {.heap = &heap, .file = file, .resolv_file = "/etc/resolv.conf"};
    struct conf_input input = {
        .program = program,
        .file = file,
        .sets = sets,
        .set_count = set_count,
        .hostname = slice_from_string(hostname),
        .resolv_file = disk.resolv_file,
        .read = conf_file_read,
        .read_context = &disk,
    };
    struct conf *conf = conf_load(&input, messages);
    heap_fini(&heap);
    return conf;
}
