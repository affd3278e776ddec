/*
 * Messages of a sink as files: DIR/new/N holds the content byte for byte, DIR/envelope/N its
 * envelope ("from=…", "rcpt=…" a line each, "mode=data" or "mode=bdat"), written first. N counts
 * from 1, eight digits. Blocking writes: for tests, not for figures.
 */
#ifndef RINGPOST_BENCH_MAILDIR_H
#define RINGPOST_BENCH_MAILDIR_H

#include "core/slice.h"

struct maildir {
    const char *path; /* borrowed */
    uint64_t count;
};

/* Content as it grows. */
struct maildir_message {
    uint8_t *data; /* owned */
    size_t size;
    size_t capacity;
};

/* Makes the directories; 0 or -errno. */
MUST_USE int maildir_init(struct maildir *maildir, const char *path);
/* False without memory. */
MUST_USE bool maildir_message_add(struct maildir_message *message, struct slice bytes);
void maildir_message_fini(struct maildir_message *message);
/* `rcpts`: NUL-ended, one after another. 0 or -errno; the message is empty afterwards. */
MUST_USE int maildir_store(struct maildir *maildir, struct maildir_message *message,
                           struct slice from, struct slice rcpts, bool bdat);

#endif
