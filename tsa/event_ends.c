#include "tsa/event_ends.h"

#include <string.h>

#include "core/check.h"

void event_ends_init(struct event_ends *ends, const char *path, const struct log_sink *sink)
{
    *ends = (struct event_ends){.path = path, .sink = *sink};
    list_init(&ends->watches);
}

void event_ends_begin(struct event_ends *ends, struct slice file)
{
    CHECK(file.size == EVENT_FILE_NAME_BYTES);
    ends->open = true;
    ends->last = (struct event_end){0};
    memcpy(ends->last.file, file.data, file.size);
}

void event_ends_grow(struct event_ends *ends, uint64_t bytes)
{
    struct list *next;
    ends->last.bytes += bytes;
    for (struct list *link = ends->watches.next; link != &ends->watches; link = next) {
        struct event_watch *watch = CONTAINER_OF(link, struct event_watch, link);
        next = link->next;
        watch->news(watch);
    }
}

void event_ends_fail(struct event_ends *ends)
{
    ends->failed[ends->failures++ % EVENT_ENDS_FAILED] = ends->last;
    ends->open = false;
}

void event_ends_close(struct event_ends *ends)
{
    ends->open = false;
}

void event_ends_watch(struct event_ends *ends, struct event_watch *watch)
{
    list_push_back(&ends->watches, &watch->link);
}

bool event_ends_is_open(const struct event_ends *ends, const char *file)
{
    return ends->open && strcmp(ends->last.file, file) == 0;
}

uint64_t event_ends_durable(const struct event_ends *ends, const char *file)
{
    if (event_ends_is_open(ends, file)) {
        return ends->last.bytes;
    }
    for (unsigned i = 0; i < MIN_OF(ends->failures, EVENT_ENDS_FAILED); i++) {
        if (strcmp(ends->failed[i].file, file) == 0) {
            return ends->failed[i].bytes;
        }
    }
    return UINT64_MAX;
}

void event_ends_say_damage(const struct event_ends *ends, const char *file, uint64_t offset)
{
    struct logline line;
    logline_begin(&line, "event_log_damaged");
    logline_string(&line, "path", ends->path);
    logline_string(&line, "file", file);
    logline_u64(&line, "offset", offset);
    logline_end(&line, &ends->sink);
}
