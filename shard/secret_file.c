#include "shard/secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/check.h"

#define TEXT_BYTES_MAX (2 * SECRET_BYTES_MAX + 1)

static bool parse(const char *text, ssize_t length, uint8_t *bytes_out, size_t size)
{
    if (length != (ssize_t)(2 * size) && (length != (ssize_t)(2 * size + 1) ||
                                          text[2 * size] != '\n')) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        int high = ascii_hex_value((uint8_t)text[2 * i]);
        int low = ascii_hex_value((uint8_t)text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        bytes_out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* Of an open one. */
static const char *read_text(int fd, uint8_t *bytes_out, size_t size)
{
    char text[TEXT_BYTES_MAX + 1];
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return strerror(errno);
    }
    if ((info.st_mode & (S_IRWXO | S_IWGRP)) != 0) {
        return "others than its owner may read or write it: it wants mode 0600";
    }
    ssize_t length = pread(fd, text, sizeof(text), 0);
    if (length < 0) {
        return strerror(errno);
    }
    return parse(text, length, bytes_out, size) ? NULL
                                                : "it is damaged: put it back from a copy, or "
                                                  "remove it and another one is made";
}

static const char *write_text(int fd, const uint8_t *bytes, size_t size)
{
    char text[TEXT_BYTES_MAX];
    struct buf buf;
    buf_init(&buf, text, sizeof(text));
    buf_put_hex(&buf, slice_make(bytes, size));
    buf_put_byte(&buf, '\n');
    errno = ENOSPC; /* of a short write */
    return pwrite(fd, text, buf.size, 0) == (ssize_t)buf.size && fsync(fd) == 0 ? NULL
                                                                               : strerror(errno);
}

/* The name itself is durable, too. */
static const char *place(const char *from, const char *path)
{
    char folder[PATH_MAX];
    const char *end = strrchr(path, '/');
    snprintf(folder, sizeof(folder), "%.*s", end == NULL ? 1 : (int)(end - path + 1),
             end == NULL ? "." : path);
    if (rename(from, path) != 0) {
        return strerror(errno);
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const char *fault = fd < 0 || fsync(fd) != 0 ? strerror(errno) : NULL;
    if (fd >= 0) {
        close(fd);
    }
    return fault;
}

/* Under another name until it is whole: a crash leaves none, or all of it. */
static const char *make(const char *path, uint8_t *bytes_out, size_t size)
{
    char fresh[PATH_MAX];
    if (snprintf(fresh, sizeof(fresh), "%s.new", path) >= (int)sizeof(fresh)) {
        return strerror(ENAMETOOLONG);
    }
    if (getrandom(bytes_out, size, 0) != (ssize_t)size) {
        return strerror(errno);
    }
    if (unlink(fresh) != 0 && errno != ENOENT) {
        return strerror(errno);
    }
    int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return strerror(errno);
    }
    const char *fault = write_text(fd, bytes_out, size);
    close(fd);
    return fault != NULL ? fault : place(fresh, path);
}

const char *secret_file_load(const char *path, uint8_t *bytes_out, size_t size)
{
    CHECK(size > 0 && size <= SECRET_BYTES_MAX);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? make(path, bytes_out, size) : strerror(errno);
    }
    const char *fault = read_text(fd, bytes_out, size);
    close(fd);
    return fault;
}
