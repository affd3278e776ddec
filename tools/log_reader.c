#include "tools/log_reader.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "core/check.h"

#define CHUNK_BYTES     (128 * KIB)
#define FRAME_BYTES_MAX (64 * MIB)
#define NAME_BYTES_MIN  15 /* YYYYMMDD-HHMMSS */

struct log_reader {
    const char *directory; /* borrowed */
    char name[256];        /* of the file being read; "" before the first */
    off_t offset;          /* behind its last whole frame */
    ZSTD_DStream *stream;
    char *text;            /* of the frame being read */
    size_t text_size;
    size_t text_capacity;
    uint8_t chunk[CHUNK_BYTES];
    bool damaged;          /* this file is not read any further */
    bool stopped;          /* the line callback has had enough */
};

struct log_reader *log_reader_open(const char *directory)
{
    struct log_reader *reader = calloc(1, sizeof(*reader));
    CHECK(reader != NULL);
    reader->directory = directory;
    reader->stream = ZSTD_createDStream();
    CHECK(reader->stream != NULL);
    return reader;
}

void log_reader_close(struct log_reader *reader)
{
    ZSTD_freeDStream(reader->stream);
    free(reader->text);
    free(reader);
}

static bool is_log_name(const char *name)
{
    for (size_t i = 0; i < NAME_BYTES_MIN; i++) {
        bool good = i == 8 ? name[i] == '-' : isdigit((unsigned char)name[i]) != 0;
        if (!good) {
            return false;
        }
    }
    return strlen(name) < sizeof(((struct log_reader *)NULL)->name);
}

static int complain(const struct log_reader *reader, const char *name, const char *what)
{
    fprintf(stderr, "ringpost: %s/%s: %s\n", reader->directory, name, what);
    return -1;
}

/* The name that follows the present one, or false. -1 in *result_out when there is no directory. */
static bool name_next(const struct log_reader *reader, char next_out[256], int *result_out)
{
    DIR *directory = opendir(reader->directory);
    next_out[0] = 0;
    if (directory == NULL) {
        fprintf(stderr, "ringpost: %s: %s; -c FILE or --log-dir DIR names another\n",
                reader->directory, strerror(errno));
        *result_out = -1;
        return false;
    }
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        bool later = is_log_name(entry->d_name) && strcmp(entry->d_name, reader->name) > 0;
        if (later && (next_out[0] == 0 || strcmp(entry->d_name, next_out) < 0)) {
            memcpy(next_out, entry->d_name, strlen(entry->d_name) + 1);
        }
    }
    closedir(directory);
    return next_out[0] != 0;
}

static void lines_give(struct log_reader *reader, log_line *line, void *context)
{
    struct slice rest = slice_make(reader->text, reader->text_size);
    while (rest.size > 0 && !reader->stopped) {
        size_t size = slice_find(rest, '\n');
        if (size == rest.size) {
            break;
        }
        reader->stopped = !line(context, slice_first(rest, size));
        rest = slice_skip(rest, size + 1);
    }
    reader->text_size = 0;
}

static void text_reserve(struct log_reader *reader)
{
    if (reader->text_capacity - reader->text_size >= CHUNK_BYTES) {
        return;
    }
    reader->text_capacity = reader->text_capacity * 2 + 2 * CHUNK_BYTES;
    reader->text = realloc(reader->text, reader->text_capacity);
    CHECK(reader->text != NULL);
}

/* Decodes one chunk that begins at `offset` of the file; -1 when it is no zstd. */
static int chunk_decode(struct log_reader *reader, size_t size, off_t offset, log_line *line,
                        void *context)
{
    ZSTD_inBuffer input = {reader->chunk, size, 0};
    bool more = true;
    while ((input.pos < input.size || more) && !reader->stopped) {
        text_reserve(reader);
        ZSTD_outBuffer output = {reader->text + reader->text_size,
                                 reader->text_capacity - reader->text_size, 0};
        size_t hint = ZSTD_decompressStream(reader->stream, &output, &input);
        reader->text_size += output.pos;
        if (ZSTD_isError(hint) || reader->text_size > FRAME_BYTES_MAX) {
            return -1;
        }
        more = output.pos == output.size;
        if (hint == 0) {
            reader->offset = offset + (off_t)input.pos;
            lines_give(reader, line, context);
            more = false;
        }
    }
    return 0;
}

/* From the last whole frame to the end of the file. */
static int file_read(struct log_reader *reader, log_line *line, void *context)
{
    char path[4096];
    int result = 0;
    int length = snprintf(path, sizeof(path), "%s/%s", reader->directory, reader->name);
    int fd = length < (int)sizeof(path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    off_t at = reader->offset;
    if (fd < 0 && errno == ENOENT) {
        return 0; /* it was old, and has been removed meanwhile */
    }
    if (fd < 0) {
        return complain(reader, reader->name, strerror(errno));
    }
    if (reader->damaged) {
        close(fd);
        return 0;
    }
    ZSTD_initDStream(reader->stream);
    reader->text_size = 0;
    while (result == 0 && !reader->stopped) {
        ssize_t count = pread(fd, reader->chunk, sizeof(reader->chunk), at);
        if (count <= 0) {
            result = count < 0 ? complain(reader, reader->name, strerror(errno)) : 0;
            break;
        }
        if (chunk_decode(reader, (size_t)count, at, line, context) < 0) {
            result = complain(reader, reader->name, "damaged, the rest of this file is left out");
            reader->damaged = true;
        }
        at += count;
    }
    close(fd);
    return result;
}

int log_reader_run(struct log_reader *reader, log_line *line, void *context)
{
    char next[256];
    int result = 0;
    bool more = true;
    while (more && !reader->stopped) {
        /* Looked for first: once a later file stands there, this one has no more to come. */
        more = name_next(reader, next, &result);
        if (reader->name[0] != 0 && file_read(reader, line, context) < 0) {
            result = -1;
        }
        if (more) {
            memcpy(reader->name, next, sizeof(next));
            reader->offset = 0;
            reader->damaged = false;
        }
    }
    return result;
}
