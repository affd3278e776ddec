/* The event log on the simulated disk, as its readers see it: frames that are whole, no others. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "core/check.h"
#include "tests/world/world.h"

#define LOG_PATH        "var/log"
#define NAMES_BYTES     (64 * KIB)
#define FILES_MAX       1024 /* that sim_disk_list tells */
#define FRAME_BYTES_MAX (16 * MIB) /* of text; a flush is at most 4 MiB and a batch */

struct log {
    world_log_line *line;
    void *context;
    unsigned file;
    char *text; /* of a frame; FRAME_BYTES_MAX */
};

static void lines_give(struct log *log, struct slice text)
{
    while (text.size > 0) {
        size_t size = slice_find(text, '\n');
        log->line(log->context, log->file, slice_first(text, size));
        text = slice_skip(text, MIN_OF(size + 1, text.size));
    }
}

/* Up to the first frame that is not whole: a crash or a failed write ends a file there. */
static void frames_read(struct log *log, const uint8_t *frames, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t frame = ZSTD_findFrameCompressedSize(frames + at, size - at);
        if (ZSTD_isError(frame)) {
            return;
        }
        size_t got = ZSTD_decompress(log->text, FRAME_BYTES_MAX, frames + at, frame);
        if (ZSTD_isError(got)) {
            return;
        }
        lines_give(log, slice_make(log->text, got));
        at += frame;
    }
}

static void file_read(struct log *log, struct world *world, const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), LOG_PATH "/%.200s", name);
    int64_t size = sim_disk_file_size(world->disk, path);
    if (size <= 0) {
        return;
    }
    uint8_t *frames = malloc((size_t)size);
    CHECK(frames != NULL);
    int64_t got = sim_disk_get(world->disk, path, 0, frames, (size_t)size);
    CHECK(got == size);
    frames_read(log, frames, (size_t)got);
    free(frames);
}

void world_log_read(struct world *world, world_log_line *line, void *context)
{
    struct log log = {.line = line, .context = context, .text = malloc(FRAME_BYTES_MAX)};
    char *names = malloc(NAMES_BYTES);
    CHECK(log.text != NULL && names != NULL);
    unsigned count = sim_disk_list(world->disk, LOG_PATH, names, NAMES_BYTES);
    CHECK(count < FILES_MAX);
    const char *name = names;
    for (log.file = 0; log.file < count; log.file++) {
        file_read(&log, world, name);
        name += strlen(name) + 1;
    }
    free(names);
    free(log.text);
}

struct text {
    char *bytes;
    size_t size;
    size_t capacity;
};

static void text_add(void *context, unsigned file, struct slice line)
{
    struct text *text = context;
    (void)file;
    if (text->size + line.size + 2 > text->capacity) {
        text->capacity = 2 * text->capacity + line.size + 2;
        text->bytes = realloc(text->bytes, text->capacity);
        CHECK(text->bytes != NULL);
    }
    memcpy(text->bytes + text->size, line.data, line.size);
    text->size += line.size;
    text->bytes[text->size++] = '\n';
}

char *world_log(struct world *world)
{
    struct text text = {.bytes = malloc(1), .capacity = 1};
    CHECK(text.bytes != NULL);
    world_log_read(world, text_add, &text);
    text.bytes = realloc(text.bytes, text.size + 1);
    CHECK(text.bytes != NULL);
    text.bytes[text.size] = '\0';
    return text.bytes;
}
