/*
 * The book of idempotency keys of a node, on the TSA shard: mail shards ask by mail, and what they
 * are told is durable before they are. smtp/inject_keys.h says what stands in it.
 *
 *   mail shard   claim ──► new: inject it, hold the rows ──► keep the answer ──► rows due, answer
 *                     ├──► answered before: the answer     └──► nothing stored: drop
 *                     └──► being worked at, or another body: refused
 *
 * One write at a time, of all that has been asked meanwhile: an append to state_dir/inject-keys, or
 * the whole file anew: for the first time after a start, when it has grown to twice what it says,
 * and after an append that failed. While it cannot be written claims are refused, and answers wait.
 */
#ifndef RINGPOST_SMTP_INJECT_BOOK_H
#define RINGPOST_SMTP_INJECT_BOOK_H

#include "core/logline.h"
#include "shard/state_file.h"
#include "smtp/inject_keys.h"

enum inject_ask_task {
    INJECT_ASK_CLAIM,
    INJECT_ASK_KEEP,    /* `answer` is the asker's */
    INJECT_ASK_DROP,    /* nothing was stored: the key is free again */
    INJECT_ASK_RELEASE, /* the answer of the book has been read */
};

enum inject_ask_result {
    INJECT_ASK_DONE,
    INJECT_ASK_ANSWERED, /* `answer` is the book's, until INJECT_ASK_RELEASE */
    INJECT_ASK_WORKING,  /* somebody is at it */
    INJECT_ASK_OTHER,    /* the key was used for another body */
    INJECT_ASK_REFUSED,  /* it cannot be written, or too many are being worked at; of an answer
                            only while the node stops: nobody will ever be told it */
    INJECT_ASK_FULL,     /* others read their answers, or wait for the disk, and there is no room
                            for this one: again, in a while */
};

/* A question, embedded in whatever asks: travels to the book and comes home. */
struct inject_ask {
    struct mail mail;
    struct inject_book *book; /* borrowed */
    unsigned home;            /* shard that asks */
    enum inject_ask_task task;
    enum inject_ask_result result;
    struct inject_claim claim;
    struct slice answer;
    void (*done)(struct inject_ask *ask); /* on the asking shard */
    /* The book's own. */
    struct inject_key *key;
    struct list link;
};

struct inject_book {
    struct shard *shard;          /* borrowed */
    struct log_sink log;          /* set by the owner, like all three below */
    void (*loaded)(struct inject_book *book, struct slice problem); /* empty: it is */
    const _Atomic uint32_t *stop_level;
    struct inject_keys keys;
    struct metered memory;        /* of what is written */
    struct state_file file;
    struct work_job job;          /* stat, open, append, close */
    struct timer retry;
    struct list waiting;          /* struct inject_ask, for the next write */
    struct list writing;          /* … for this one */
    uint8_t *data;                /* what is written or read */
    size_t data_bytes;
    uint64_t file_bytes;
    uint64_t clock_base_ns;       /* wall clock at the start less monotonic clock then */
    int fd;                       /* -1: none; for appending */
    uint8_t stage;
    uint8_t tries;
    bool is_loaded;
    bool anew;                    /* the file has to be written whole */
    bool stopping;
};

/* Boot. */
void inject_book_init(struct inject_book *book, struct shard *shard, struct boot_pages *pages,
                      const char *dir);
/* Reads the file, and makes it durable; then `loaded`. From then on the voids of the keys stand
 * still, for all shards to read. */
void inject_book_load(struct inject_book *book);
/* All askers are gone. */
void inject_book_stop(struct inject_book *book);
bool inject_book_idle(const struct inject_book *book);
void inject_book_fini(struct inject_book *book);

/* From a mail shard; `book`, `claim`, `done` are set. Comes home in one of its next turns. */
void inject_ask_send(struct inject_ask *ask, struct shard *from, enum inject_ask_task task);

#endif
