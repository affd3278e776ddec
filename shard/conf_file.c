#include "shard/conf_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/toml.h"

/* Whoever may write there decides what runs here. A folder like /tmp keeps others' files apart. */
static const char *others_write(int fd, const char *path)
{
    char folder[PATH_MAX];
    struct stat info;
    const char *end = strrchr(path, '/');
    size_t size = end == NULL ? 0 : MAX_OF((size_t)(end - path), (size_t)1);
    if (fstat(fd, &info) == 0 && (info.st_mode & S_IWOTH) != 0) {
        return "others may write to it";
    }
    if (size >= sizeof(folder)) {
        return NULL; /* no such path was opened */
    }
    memcpy(folder, size == 0 ? "." : path, MAX_OF(size, (size_t)1));
    folder[MAX_OF(size, (size_t)1)] = '\0';
    if (stat(folder, &info) == 0 && (info.st_mode & (S_IWOTH | S_ISVTX)) == S_IWOTH) {
        return "others may write to its folder";
    }
    return NULL;
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

bool conf_file_read(void *heap, const char *path, struct slice *bytes_out, struct buf *reason_out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int result = fd < 0 ? -errno : file_read(heap, fd, bytes_out);
    const char *problem = result < 0 ? strerror(-result) : others_write(fd, path);
    if (fd >= 0) {
        close(fd);
    }
    if (problem != NULL) {
        buf_put_string(reason_out, problem);
    }
    return problem == NULL;
}

struct conf *conf_file_load(const char *file, const char *const *sets, size_t set_count,
                            struct conf_messages *messages)
{
    char hostname[256] = "";
    struct heap heap;
    heap_init(&heap);
    if (gethostname(hostname, sizeof(hostname) - 1) < 0) {
        hostname[0] = 0;
    }
    struct conf_input input = {
        .file = file,
        .sets = sets,
        .set_count = set_count,
        .hostname = slice_from_string(hostname),
        .resolv_file = "/etc/resolv.conf",
        .read = conf_file_read,
        .read_context = &heap,
    };
    struct conf *conf = conf_load(&input, messages);
    heap_fini(&heap);
    return conf;
}
