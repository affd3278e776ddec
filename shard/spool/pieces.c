#include "shard/spool/pieces.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

#include "core/check.h"
#include "shard/boot.h"

#define ENTRIES_MAX   (4u << 20)
#define BUCKETS       65536u
#define BUCKETS_BYTES (BUCKETS * sizeof(uint32_t))
#define NODE_SEGMENTS 9

enum node_state { NODE_FREE, NODE_MORE, NODE_NEW, NODE_PLACED };

/* An entry is a chain of nodes; the first one has the place. */
struct node {
    uint32_t bucket_next;
    uint32_t more; /* the chain's next node */
    struct spool_location location;
    uint32_t rows;
    uint16_t count; /* of segments in this node */
    uint8_t state;  /* enum node_state */
    uint8_t reserved;
    uint32_t segments[NODE_SEGMENTS];
};
static_assert(sizeof(struct node) == 60, "nodes stand side by side");

static struct node *node_at(const struct pieces *pieces, uint32_t handle)
{
    return slab_at(&pieces->nodes, handle);
}

int pieces_init(struct pieces *pieces, struct account *account)
{
    *pieces = (struct pieces){0};
    int error = slab_init(&pieces->nodes, account, ACCOUNT_ROWS, sizeof(struct node), ENTRIES_MAX);
    pieces->buckets = error == 0 ? boot_memory_take(BUCKETS_BYTES) : NULL;
    if (pieces->buckets == NULL) {
        return error != 0 ? error : -ENOMEM;
    }
    memset(pieces->buckets, 0xff, BUCKETS_BYTES);
    return 0;
}

void pieces_fini(struct pieces *pieces)
{
    slab_fini(&pieces->nodes);
    boot_memory_give(pieces->buckets, BUCKETS_BYTES);
}

static uint32_t *bucket_of(const struct pieces *pieces, struct spool_location location)
{
    return &pieces->buckets[XXH3_64bits(&location, sizeof(location)) % BUCKETS];
}

static struct node *node_new(struct pieces *pieces, enum node_state state, uint32_t *handle_out)
{
    uint32_t handle = slab_take(&pieces->nodes);
    if (handle == SLAB_NONE) {
        return NULL;
    }
    struct node *node = node_at(pieces, handle);
    *node = (struct node){.bucket_next = PIECES_NONE, .more = PIECES_NONE, .state = state};
    *handle_out = handle;
    return node;
}

uint32_t pieces_new(struct pieces *pieces)
{
    uint32_t handle;
    return node_new(pieces, NODE_NEW, &handle) == NULL ? PIECES_NONE : handle;
}

bool pieces_add(struct pieces *pieces, uint32_t handle, uint32_t segment)
{
    struct node *node = node_at(pieces, handle);
    uint32_t seen = 0;
    for (;;) {
        for (unsigned i = 0; i < node->count; i++) {
            if (node->segments[i] == segment) {
                return true;
            }
        }
        seen += node->count;
        if (node->more == PIECES_NONE) {
            break;
        }
        node = node_at(pieces, node->more);
    }
    if (seen == PIECES_SEGMENTS_MAX) {
        return false;
    }
    if (node->count == NODE_SEGMENTS) {
        uint32_t more;
        struct node *last = node_new(pieces, NODE_MORE, &more);
        if (last == NULL) {
            return false;
        }
        node->more = more;
        node = last;
    }
    node->segments[node->count++] = segment;
    return true;
}

static void unplace(struct pieces *pieces, uint32_t handle)
{
    uint32_t *link = bucket_of(pieces, node_at(pieces, handle)->location);
    while (*link != handle) {
        CHECK(*link != PIECES_NONE);
        link = &node_at(pieces, *link)->bucket_next;
    }
    *link = node_at(pieces, handle)->bucket_next;
    pieces->count--;
}

void pieces_give(struct pieces *pieces, uint32_t handle)
{
    if (node_at(pieces, handle)->state == NODE_PLACED) {
        unplace(pieces, handle);
    }
    while (handle != PIECES_NONE) {
        uint32_t more = node_at(pieces, handle)->more;
        node_at(pieces, handle)->state = NODE_FREE;
        slab_give(&pieces->nodes, handle);
        handle = more;
    }
}

void pieces_place(struct pieces *pieces, uint32_t handle, struct spool_location location,
                  uint32_t rows)
{
    struct node *node = node_at(pieces, handle);
    uint32_t *bucket = bucket_of(pieces, location);
    CHECK(node->state == NODE_NEW);
    node->state = NODE_PLACED;
    node->location = location;
    node->rows = rows;
    node->bucket_next = *bucket;
    *bucket = handle;
    pieces->count++;
}

uint32_t pieces_find(const struct pieces *pieces, struct spool_location location)
{
    if (pieces->count == 0) {
        return PIECES_NONE;
    }
    uint32_t handle = *bucket_of(pieces, location);
    while (handle != PIECES_NONE) {
        const struct node *node = node_at(pieces, handle);
        if (memcmp(&node->location, &location, sizeof(location)) == 0) {
            return handle;
        }
        handle = node->bucket_next;
    }
    return PIECES_NONE;
}

uint32_t *pieces_rows(struct pieces *pieces, uint32_t handle)
{
    return &node_at(pieces, handle)->rows;
}

uint32_t pieces_segments(const struct pieces *pieces, uint32_t handle, uint32_t *segments_out)
{
    uint32_t count = 0;
    for (; handle != PIECES_NONE; handle = node_at(pieces, handle)->more) {
        const struct node *node = node_at(pieces, handle);
        memcpy(segments_out + count, node->segments, node->count * sizeof(*node->segments));
        count += node->count;
    }
    return count;
}

uint32_t pieces_walk(const struct pieces *pieces, uint32_t handle)
{
    for (; handle < pieces->nodes.fresh; handle++) {
        if (node_at(pieces, handle)->state == NODE_PLACED) {
            return handle;
        }
    }
    return PIECES_NONE;
}

struct spool_location pieces_location(const struct pieces *pieces, uint32_t handle)
{
    return node_at(pieces, handle)->location;
}
