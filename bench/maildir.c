#include "bench/maildir.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int make_directory(const char *parent, const char *name)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/%s", parent, name) >= (int)sizeof(path)) {
        return -ENAMETOOLONG;
    }
    return mkdir(path, 0777) == 0 || errno == EEXIST ? 0 : -errno;
}

int maildir_init(struct maildir *maildir, const char *path)
{
    static const char *const names[] = {".", "tmp", "new", "cur", "envelope"};
    *maildir = (struct maildir){.path = path};
    if (mkdir(path, 0777) != 0 && errno != EEXIST) {
        return -errno;
    }
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        int error = make_directory(path, names[i]);
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

bool maildir_message_add(struct maildir_message *message, struct slice bytes)
{
    if (bytes.size > message->capacity - message->size) {
        size_t capacity = MAX_OF(2 * message->capacity, message->size + bytes.size + 4 * KIB);
        uint8_t *data = realloc(message->data, capacity);
        if (data == NULL) {
            return false;
        }
        message->data = data;
        message->capacity = capacity;
    }
    if (bytes.size > 0) {
        memcpy(message->data + message->size, bytes.data, bytes.size);
    }
    message->size += bytes.size;
    return true;
}

void maildir_message_fini(struct maildir_message *message)
{
    free(message->data);
    *message = (struct maildir_message){0};
}

static void write_envelope(FILE *file, struct slice from, struct slice rcpts, bool bdat)
{
    fprintf(file, "from=%.*s\n", (int)from.size, (const char *)from.data);
    while (rcpts.size > 0) {
        size_t end = slice_find(rcpts, 0);
        fprintf(file, "rcpt=%.*s\n", (int)end, (const char *)rcpts.data);
        rcpts = slice_skip(rcpts, MIN_OF(end + 1, rcpts.size));
    }
    fprintf(file, "mode=%s\n", bdat ? "bdat" : "data");
}

/* Closes `file`; whether all of it was written. */
static bool file_end(FILE *file)
{
    bool whole = ferror(file) == 0;
    return fclose(file) == 0 && whole;
}

int maildir_store(struct maildir *maildir, struct maildir_message *message, struct slice from,
                  struct slice rcpts, bool bdat)
{
    char path[PATH_MAX];
    char final[PATH_MAX];
    uint64_t number = ++maildir->count;
    (void)snprintf(path, sizeof(path), "%s/envelope/%08" PRIu64, maildir->path, number);
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        return -errno;
    }
    write_envelope(file, from, rcpts, bdat);
    if (!file_end(file)) {
        return -EIO;
    }
    (void)snprintf(path, sizeof(path), "%s/tmp/%08" PRIu64, maildir->path, number);
    (void)snprintf(final, sizeof(final), "%s/new/%08" PRIu64, maildir->path, number);
    file = fopen(path, "we");
    if (file == NULL) {
        return -errno;
    }
    (void)fwrite(message->data, 1, message->size, file);
    message->size = 0;
    if (!file_end(file)) {
        return -EIO;
    }
    return rename(path, final) == 0 ? 0 : -errno;
}
