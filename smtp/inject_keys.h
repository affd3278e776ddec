/*
 * Idempotency keys of injection (H-15): which requests there were, what they were answered, and how
 * that stands in a journal, so that it is known after a start. Pure, but for the clock it is given.
 *
 *   none ──claim──► working ──done──► done: the answer is kept for a day, or until others need room
 *    ▲                 │                │
 *    └──── drop ───────┴──── forget ────┘
 *
 * Every claim has a request id of its own, which stands in the metadata of the messages made for it
 * (smtp/metadata.h). A claim that a crash has left without its end was never answered: what the
 * spool has of it is void, and is ended without an attempt, for whoever asked will ask again. So a
 * message that was acknowledged is never taken for a void one, however early its key is forgotten.
 *
 * Journal: records of u32 size, u32 checksum, payload; size and checksum are the payload's. What
 * stands behind the first record that makes no sense is not read: it was being written.
 */
#ifndef RINGPOST_SMTP_INJECT_KEYS_H
#define RINGPOST_SMTP_INJECT_KEYS_H

#include <xxhash.h>

#include "core/buf.h"
#include "core/htab.h"
#include "core/id.h"
#include "core/list.h"
#include "core/pool.h"
#include "shard/boot.h"
#include "shard/metered.h"

#define INJECT_KEYS_MAX      65536u
#define INJECT_VOIDS_MAX     16384u
#define INJECT_KEY_NS        (86400 * NS_PER_S)
#define INJECT_ANSWERS_BYTES (16 * MIB)
/* Of a record without an answer. */
#define INJECT_RECORD_BYTES  (8 + 1 + 16 + 16 + 16 + 8)
/* Of a journal that is begun anew, about. */
#define INJECT_KEYS_BYTES_MAX                                                                      \
    ((INJECT_KEYS_MAX + INJECT_VOIDS_MAX) * INJECT_RECORD_BYTES + INJECT_ANSWERS_BYTES)

/* Who asks for what: hashes of the key and of the whole body. */
struct inject_claim {
    XXH128_hash_t key;
    XXH128_hash_t body;
    struct id request;
    uint64_t wall_ns;
};

struct inject_key {
    struct inject_claim claim;
    struct list link;     /* in keys->working or keys->done */
    uint8_t *answer;      /* metered; null: it is working */
    bool is_durable;      /* … and may be told, and forgotten: the journal has it */
    uint32_t answer_bytes;
    uint32_t readers;     /* somebody reads the answer: it stays */
};

/* Requests that were never answered; what there is of them is void. Ascending. */
struct inject_voids {
    struct id *ids;
    uint32_t count;
};

struct inject_keys {
    struct pool pool;     /* struct inject_key */
    struct htab by_key;
    struct list working;
    struct list done;     /* the oldest first */
    struct metered answers;
    struct inject_voids voids;
    uint64_t forgotten;   /* within their day */
};

/* Boot. */
void inject_keys_init(struct inject_keys *keys, struct boot_pages *pages, uint64_t seed);
void inject_keys_fini(struct inject_keys *keys);

/* Null: there is none. */
struct inject_key *inject_keys_find(const struct inject_keys *keys, XXH128_hash_t key);
/* Its key is not there. Null: all of them are working, or cannot go yet. */
MUST_USE struct inject_key *inject_keys_claim(struct inject_keys *keys,
                                              const struct inject_claim *claim);
/*
 * Copies the answer; is_durable is for whoever writes the journal to set, and until then it stays.
 * False: there is no room, even without all others that may go.
 */
MUST_USE bool inject_keys_done(struct inject_keys *keys, struct inject_key *key,
                               struct slice answer);
/* Nobody reads its answer, and no write of it is wanted. */
void inject_keys_drop(struct inject_keys *keys, struct inject_key *key);
/* Those that are older than a day. */
void inject_keys_expire(struct inject_keys *keys, uint64_t wall_ns);

static inline struct slice inject_key_answer(const struct inject_key *key)
{
    return slice_make(key->answer, key->answer_bytes);
}

MUST_USE bool inject_voids_have(const struct inject_voids *voids, const struct id *request);

/* --- journal ---------------------------------------------------------------------------------- */

/* What has become of the key: that it is claimed, or how it was answered. */
void inject_keys_put(struct buf *buf, const struct inject_key *key);
static inline uint64_t inject_key_bytes(const struct inject_key *key)
{
    return INJECT_RECORD_BYTES + key->answer_bytes;
}
/* All that is known, from which a journal is begun anew; and how many bytes that is. */
void inject_keys_put_all(struct buf *buf, const struct inject_keys *keys);
uint64_t inject_keys_bytes(const struct inject_keys *keys);
/*
 * Of empty keys: what a journal says. Claims without an end are void from now on. False: it is no
 * journal.
 */
MUST_USE bool inject_keys_read(struct inject_keys *keys, struct slice journal);

#endif
