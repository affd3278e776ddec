#include "shard/conf_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/toml.h"

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
    if (fd >= 0) {
        close(fd);
    }
    if (result < 0) {
        buf_put_string(reason_out, strerror(-result));
        return false;
    }
    return true;
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
