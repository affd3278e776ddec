#include "smtp/inject_keys.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/little.h"

#define MAGIC      SLICE("RPKEYS1\n")
#define HEAD_BYTES 8 /* of a record: size, checksum */
#define RECORD_BYTES_MIN 17 /* of a payload: type, request */

enum record_type { RECORD_VOID = 1, RECORD_CLAIM = 2, RECORD_DONE = 3 };

static struct inject_key *key_of(struct list *link)
{
    return CONTAINER_OF(link, struct inject_key, link);
}

static bool key_equal(const void *context, uint64_t value, const void *key)
{
    const struct inject_keys *keys = context;
    const struct inject_key *entry = pool_at(&keys->pool, (uint32_t)value);
    const XXH128_hash_t *wanted = key;
    return entry->claim.key.low64 == wanted->low64 && entry->claim.key.high64 == wanted->high64;
}

static uint64_t hash_of(const struct inject_keys *keys, const XXH128_hash_t *key)
{
    return htab_hash(&keys->by_key, slice_make(key, sizeof(*key)));
}

void inject_keys_init(struct inject_keys *keys, struct boot_pages *pages, uint64_t seed)
{
    uint32_t slots = htab_slots_for(INJECT_KEYS_MAX);
    uint64_t bytes = pool_memory(sizeof(struct inject_key), INJECT_KEYS_MAX);
    *keys = (struct inject_keys){0};
    pool_init(&keys->pool, boot_pages_take(pages, bytes), sizeof(struct inject_key),
              INJECT_KEYS_MAX);
    htab_init_fresh(&keys->by_key, boot_pages_take(pages, htab_memory(slots)), slots, seed,
                    key_equal, keys);
    keys->voids.ids = boot_pages_take(pages, INJECT_VOIDS_MAX * sizeof(struct id));
    list_init(&keys->working);
    list_init(&keys->done);
    metered_init(&keys->answers, INJECT_ANSWERS_BYTES);
}

void inject_keys_fini(struct inject_keys *keys)
{
    metered_fini(&keys->answers);
}

/* --- the table -------------------------------------------------------------------------------- */

struct inject_key *inject_keys_find(const struct inject_keys *keys, XXH128_hash_t key)
{
    uint64_t index;
    if (!htab_find(&keys->by_key, hash_of(keys, &key), &key, &index)) {
        return NULL;
    }
    return pool_at(&keys->pool, (uint32_t)index);
}

void inject_keys_drop(struct inject_keys *keys, struct inject_key *key)
{
    uint64_t index;
    CHECK(key->readers == 0);
    CHECK(htab_remove(&keys->by_key, hash_of(keys, &key->claim.key), &key->claim.key, &index));
    list_remove(&key->link);
    metered_give(&keys->answers, key->answer);
    pool_give(&keys->pool, key);
}

/* Nobody reads its answer, or waits for the journal to have it. */
static bool may_go(const struct inject_key *key)
{
    return key->readers == 0 && key->is_durable;
}

/* The oldest answer that may go makes room. False: there is none. */
static bool forget_oldest(struct inject_keys *keys)
{
    for (struct list *link = keys->done.next; link != &keys->done; link = link->next) {
        if (may_go(key_of(link))) {
            inject_keys_drop(keys, key_of(link));
            keys->forgotten++;
            return true;
        }
    }
    return false;
}

struct inject_key *inject_keys_claim(struct inject_keys *keys, const struct inject_claim *claim)
{
    struct inject_key *key = pool_take(&keys->pool);
    if (key == NULL) {
        if (!forget_oldest(keys)) {
            return NULL;
        }
        key = pool_take(&keys->pool);
    }
    *key = (struct inject_key){.claim = *claim};
    list_init(&key->link);
    list_push_back(&keys->working, &key->link);
    CHECK(htab_insert(&keys->by_key, hash_of(keys, &claim->key), pool_index(&keys->pool, key)));
    return key;
}

bool inject_keys_done(struct inject_keys *keys, struct inject_key *key, struct slice answer)
{
    CHECK(key->answer == NULL && answer.size > 0 && answer.size <= UINT32_MAX);
    key->answer = metered_take(&keys->answers, answer.size);
    while (key->answer == NULL && forget_oldest(keys)) {
        key->answer = metered_take(&keys->answers, answer.size);
    }
    if (key->answer == NULL) {
        return false;
    }
    memcpy(key->answer, answer.data, answer.size);
    key->answer_bytes = (uint32_t)answer.size;
    list_remove(&key->link);
    list_push_back(&keys->done, &key->link);
    return true;
}

void inject_keys_expire(struct inject_keys *keys, uint64_t wall_ns)
{
    while (!list_empty(&keys->done)) {
        struct inject_key *oldest = key_of(keys->done.next);
        if (!may_go(oldest) || oldest->claim.wall_ns + INJECT_KEY_NS > wall_ns) {
            return;
        }
        inject_keys_drop(keys, oldest);
    }
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(((const struct id *)a)->bytes, ((const struct id *)b)->bytes, 16);
}

bool inject_voids_have(const struct inject_voids *voids, const struct id *request)
{
    return voids->count > 0 && bsearch(request, voids->ids, voids->count, sizeof(struct id),
                                       compare_ids) != NULL;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* Closes the record that begins at `start`. */
static void seal(struct buf *buf, size_t start)
{
    if (buf->overflow) {
        return;
    }
    const uint8_t *payload = buf->data + start + HEAD_BYTES;
    size_t size = buf->size - start - HEAD_BYTES;
    little_put_u32(buf->data + start, (uint32_t)size);
    little_put_u32(buf->data + start + 4, (uint32_t)XXH3_64bits(payload, size));
}

static size_t open_record(struct buf *buf, enum record_type type, const struct id *request)
{
    size_t start = buf->size;
    (void)buf_reserve(buf, HEAD_BYTES);
    buf_put_byte(buf, (uint8_t)type);
    buf_put(buf, slice_make(request->bytes, sizeof(request->bytes)));
    return start;
}

void inject_keys_put(struct buf *buf, const struct inject_key *key)
{
    const struct inject_claim *claim = &key->claim;
    uint8_t wall[8];
    size_t start =
        open_record(buf, key->answer == NULL ? RECORD_CLAIM : RECORD_DONE, &claim->request);
    buf_put(buf, slice_make(&claim->key, sizeof(claim->key)));
    buf_put(buf, slice_make(&claim->body, sizeof(claim->body)));
    little_put_u64(wall, claim->wall_ns);
    buf_put(buf, slice_make(wall, sizeof(wall)));
    buf_put(buf, inject_key_answer(key));
    seal(buf, start);
}

static void put_list(struct buf *buf, const struct list *list)
{
    for (struct list *link = list->next; link != list; link = link->next) {
        inject_keys_put(buf, key_of(link));
    }
}

void inject_keys_put_all(struct buf *buf, const struct inject_keys *keys)
{
    buf_put(buf, MAGIC);
    for (uint32_t i = 0; i < keys->voids.count; i++) {
        seal(buf, open_record(buf, RECORD_VOID, &keys->voids.ids[i]));
    }
    put_list(buf, &keys->done);
    put_list(buf, &keys->working);
}

uint64_t inject_keys_bytes(const struct inject_keys *keys)
{
    return MAGIC.size + (uint64_t)keys->voids.count * INJECT_RECORD_BYTES +
           (uint64_t)keys->pool.used * INJECT_RECORD_BYTES + keys->answers.used;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* Of too many the oldest go; ids begin with their time. */
static void add_void(struct inject_keys *keys, const struct id *request)
{
    struct inject_voids *voids = &keys->voids;
    if (voids->count == INJECT_VOIDS_MAX) {
        qsort(voids->ids, voids->count, sizeof(struct id), compare_ids);
        voids->count -= INJECT_VOIDS_MAX / 4;
        memmove(voids->ids, voids->ids + INJECT_VOIDS_MAX / 4, voids->count * sizeof(struct id));
    }
    voids->ids[voids->count++] = *request;
}

/* The next payload; empty: the rest makes no sense. */
static struct slice take_record(struct slice *rest)
{
    if (rest->size < HEAD_BYTES) {
        return SLICE_NONE;
    }
    size_t size = little_u32(rest->data);
    uint32_t check = little_u32(rest->data + 4);
    if (size < RECORD_BYTES_MIN || size > rest->size - HEAD_BYTES) {
        return SLICE_NONE;
    }
    struct slice payload = slice_first(slice_skip(*rest, HEAD_BYTES), size);
    if ((uint32_t)XXH3_64bits(payload.data, payload.size) != check) {
        return SLICE_NONE;
    }
    *rest = slice_skip(*rest, HEAD_BYTES + size);
    return payload;
}

/* A later record of a key takes the place of an earlier one: that claim had no end. */
static void read_claim(struct inject_keys *keys, const struct inject_claim *claim,
                       struct slice answer)
{
    struct inject_key *key = inject_keys_find(keys, claim->key);
    if (key != NULL && !id_equal(&key->claim.request, &claim->request)) {
        if (key->answer == NULL) {
            add_void(keys, &key->claim.request);
        }
        inject_keys_drop(keys, key);
        key = NULL;
    }
    if (key == NULL) {
        key = inject_keys_claim(keys, claim);
    }
    if (key != NULL && key->answer == NULL && answer.size > 0) {
        key->is_durable = inject_keys_done(keys, key, answer);
        if (!key->is_durable) {
            inject_keys_drop(keys, key);
        }
    }
}

static bool read_record(struct inject_keys *keys, struct slice payload)
{
    struct inject_claim claim;
    uint8_t type = payload.data[0];
    memcpy(claim.request.bytes, payload.data + 1, 16);
    if (type == RECORD_VOID) {
        add_void(keys, &claim.request);
        return true;
    }
    if (payload.size < INJECT_RECORD_BYTES - HEAD_BYTES) {
        return false;
    }
    memcpy(&claim.key, payload.data + 17, 16);
    memcpy(&claim.body, payload.data + 33, 16);
    claim.wall_ns = little_u64(payload.data + 49);
    struct slice answer = slice_skip(payload, INJECT_RECORD_BYTES - HEAD_BYTES);
    if (type != (answer.size > 0 ? RECORD_DONE : RECORD_CLAIM)) {
        return false;
    }
    read_claim(keys, &claim, answer);
    return true;
}

bool inject_keys_read(struct inject_keys *keys, struct slice journal)
{
    CHECK(keys->pool.used == 0 && keys->voids.count == 0);
    if (!slice_starts_with(journal, MAGIC)) {
        return journal.size == 0;
    }
    struct slice rest = slice_skip(journal, MAGIC.size);
    for (struct slice payload = take_record(&rest); payload.size > 0;
         payload = take_record(&rest)) {
        if (!read_record(keys, payload)) {
            break;
        }
    }
    while (!list_empty(&keys->working)) {
        struct inject_key *key = key_of(keys->working.next);
        add_void(keys, &key->claim.request);
        inject_keys_drop(keys, key);
    }
    qsort(keys->voids.ids, keys->voids.count, sizeof(struct id), compare_ids);
    keys->forgotten = 0;
    return true;
}
