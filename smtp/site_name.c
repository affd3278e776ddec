#include "smtp/site_name.h"

#include <assert.h>

#include "core/check.h"
#include "core/sha1.h"

#define PIECE_BYTES   225u /* names that are in use come out of it: it stays */
/* Longer than any name that is not given up as too long. */
#define DRAFT_BYTES   (SITE_NAME_BYTES_MAX + 1)
#define HASH_BYTES    17 /* "#" and 16 digits */

static_assert(sizeof(((struct site_hash *)0)->digest) == SHA1_BYTES, "a digest");

/* --- the hash --------------------------------------------------------------------------------- */

void site_hash_init(struct site_hash *hash)
{
    *hash = (struct site_hash){{0}};
}

/* The digest of: the digest so far, how many bytes are still to come, the next of them. */
void site_hash_put(struct site_hash *hash, struct slice part)
{
    CHECK(part.size <= UINT16_MAX);
    do {
        uint8_t memory[SHA1_BYTES + 2 + PIECE_BYTES];
        struct buf buf;
        size_t size = MIN_OF(part.size, PIECE_BYTES);
        buf_init(&buf, memory, sizeof(memory));
        buf_put(&buf, slice_make(hash->digest, SHA1_BYTES));
        buf_put_byte(&buf, (uint8_t)(part.size >> 8));
        buf_put_byte(&buf, (uint8_t)part.size);
        buf_put(&buf, slice_first(part, size));
        sha1(buf_slice(&buf), hash->digest);
        part = slice_skip(part, size);
    } while (part.size > 0);
}

uint64_t site_hash_value(const struct site_hash *hash)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < 8; i++) {
        value = value << 8 | hash->digest[i];
    }
    return value;
}

/* --- sets of names ---------------------------------------------------------------------------- */

/* Names or labels, each once, in the order of their bytes. */
struct name_set {
    unsigned count;
    struct slice names[SITE_HOSTS_MAX];
};

static void set_add(struct name_set *set, struct slice name)
{
    unsigned at = set->count;
    while (at > 0 && slice_compare(set->names[at - 1], name) > 0) {
        at--;
    }
    if (at > 0 && slice_compare(set->names[at - 1], name) == 0) {
        return;
    }
    CHECK(set->count < SITE_HOSTS_MAX);
    for (unsigned i = set->count; i > at; i--) {
        set->names[i] = set->names[i - 1];
    }
    set->names[at] = name;
    set->count++;
}

/* --- positions -------------------------------------------------------------------------------- */

/* The last label of `rest`, which loses it; false: there is none. */
static bool label_take(struct slice *rest, struct slice *label_out)
{
    size_t start = rest->size;
    if (rest->data == NULL) {
        return false;
    }
    while (start > 0 && rest->data[start - 1] != '.') {
        start--;
    }
    *label_out = slice_skip(*rest, start);
    *rest = start > 0 ? slice_first(*rest, start - 1) : SLICE_NONE;
    return true;
}

/* What the hosts have at one position, counted from the right. */
struct position {
    struct name_set labels;
    bool optional; /* some have none */
};

/* False: no host is so long. `rests` lose it. */
static bool position_take(struct slice *rests, unsigned count, struct position *position)
{
    *position = (struct position){.optional = false};
    for (unsigned i = 0; i < count; i++) {
        struct slice label;
        if (label_take(&rests[i], &label)) {
            set_add(&position->labels, label);
        } else {
            position->optional = true;
        }
    }
    return position->labels.count > 0;
}

static void position_put(struct buf *buf, const struct position *position)
{
    bool plain = position->labels.count == 1 && !position->optional;
    buf_put_string(buf, plain ? "" : "(");
    for (unsigned i = 0; i < position->labels.count; i++) {
        buf_put_string(buf, i == 0 ? "" : "|");
        buf_put(buf, position->labels.names[i]);
    }
    buf_put_string(buf, plain ? "" : position->optional ? ")?" : ")");
}

/*
 * The pattern; how many names it stands for, or too many. As written, it goes from the left, and
 * positions are found from the right: each is put before the others.
 */
static uint64_t pattern_put(struct buf *out, const struct name_set *set)
{
    uint8_t memory[2][DRAFT_BYTES];
    struct slice rests[SITE_HOSTS_MAX];
    struct position position;
    struct slice behind = SLICE_NONE;
    uint64_t stands_for = 1;
    unsigned turn = 0;
    memcpy(rests, set->names, set->count * sizeof(rests[0]));
    while (position_take(rests, set->count, &position)) {
        struct buf buf;
        buf_init(&buf, memory[turn], DRAFT_BYTES);
        position_put(&buf, &position);
        buf_put_string(&buf, behind.size > 0 ? "." : "");
        buf_put(&buf, behind);
        stands_for = MIN_OF(stands_for * (position.labels.count + position.optional),
                            (uint64_t)SITE_HOSTS_MAX + 1);
        out->overflow = out->overflow || buf.overflow;
        behind = buf_slice(&buf);
        turn = 1 - turn;
    }
    buf_put(out, behind);
    return stands_for;
}

/* --- the name --------------------------------------------------------------------------------- */

static void hash_put(struct buf *buf, const struct name_set *set)
{
    struct site_hash hash;
    site_hash_init(&hash);
    for (unsigned i = 0; i < set->count; i++) {
        site_hash_put(&hash, set->names[i]);
    }
    buf_put_byte(buf, '#');
    buf_put_hex(buf, slice_make(hash.digest, 8));
}

static void short_put(struct buf *buf, const struct name_set *set)
{
    const size_t room = SITE_NAME_BYTES_MAX - HASH_BYTES - sizeof("+31");
    struct slice first = set->names[0];
    buf_put(buf, slice_first(first, MIN_OF(first.size, room)));
    if (set->count > 1) {
        buf_put_byte(buf, '+');
        buf_put_u64(buf, set->count - 1);
    }
    hash_put(buf, set);
}

void site_name_put(struct buf *buf, const struct slice *hosts, unsigned count)
{
    uint8_t memory[DRAFT_BYTES];
    struct buf draft;
    struct name_set set = {.count = 0};
    CHECK(count > 0);
    for (unsigned i = 0; i < count; i++) {
        set_add(&set, hosts[i]);
    }
    buf_init(&draft, memory, sizeof(memory));
    /* Each of the hosts is one of those the pattern stands for: as many are exactly these. */
    if (pattern_put(&draft, &set) != set.count) {
        hash_put(&draft, &set);
    }
    if (draft.overflow || draft.size > SITE_NAME_BYTES_MAX) {
        short_put(buf, &set);
    } else {
        buf_put(buf, buf_slice(&draft));
    }
}
