#include "smtp/message.h"

#include <string.h>

#include "core/check.h"
#include "core/little.h"

/* Of a body in parts, one of which is in memory. */
#define PART_BLOCK_BYTES (2 * BLOCK_BYTES_MAX)

static bool location_equal(const void *context, uint64_t value, const void *key)
{
    const struct messages *messages = context;
    const struct message *message = pool_at(&messages->pool, (uint32_t)value);
    return memcmp(&message->location, key, sizeof(message->location)) == 0;
}

static uint64_t location_hash(const struct messages *messages,
                              const struct spool_location *location)
{
    return htab_hash(&messages->kept, slice_make(location, sizeof(*location)));
}

void messages_init(struct messages *messages, struct boot_pages *pages,
                   struct block_pool *blocks, uint32_t count_max, uint64_t seed)
{
    uint32_t slots = htab_slots_for(count_max);
    *messages = (struct messages){.blocks = blocks};
    list_init(&messages->by_age);
    void *memory = boot_pages_take(pages, pool_memory(sizeof(struct message), count_max));
    pool_init(&messages->pool, memory, sizeof(struct message), count_max);
    memory = boot_pages_take(pages, htab_memory(slots));
    htab_init_fresh(&messages->kept, memory, slots, seed, location_equal, messages);
}

struct message *message_new(struct messages *messages)
{
    struct message *message = pool_take(&messages->pool);
    if (message == NULL) {
        return NULL;
    }
    *message = (struct message){.refs = 1};
    list_init(&message->link);
    chain_init(&message->body);
    chain_init(&message->dots_chain);
    return message;
}

void message_ref(struct message *message)
{
    CHECK(message->refs > 0);
    message->refs++;
}

void message_unref(struct messages *messages, struct message *message)
{
    CHECK(message->refs > 0);
    if (--message->refs > 0) {
        return;
    }
    CHECK(!message->kept);
    chain_clear(&message->body, messages->blocks);
    chain_clear(&message->dots_chain, messages->blocks);
    if (message->head != NULL) {
        block_give(messages->blocks, message->head);
    }
    pool_give(&messages->pool, message);
}

static void message_forget(struct messages *messages, struct message *message)
{
    uint64_t value;
    uint64_t hash = location_hash(messages, &message->location);
    CHECK(message->kept && htab_remove(&messages->kept, hash, &message->location, &value));
    list_remove(&message->link);
    message->kept = false;
    message_unref(messages, message);
}

void messages_keep(struct messages *messages, struct message *message, uint32_t rows)
{
    uint64_t hash = location_hash(messages, &message->location);
    CHECK(!message->kept && rows > 0);
    message_ref(message);
    message->rows_hot = rows;
    message->kept = true;
    /* The table has room for every message of the pool. */
    CHECK(htab_insert(&messages->kept, hash, pool_index(&messages->pool, message)));
    list_push_back(&messages->by_age, &message->link);
}

void message_attempted(struct messages *messages, struct message *message, uint32_t rows)
{
    if (!message->kept) {
        return;
    }
    CHECK(message->rows_hot >= rows);
    message->rows_hot -= rows;
    if (message->rows_hot == 0) {
        message_forget(messages, message);
    }
}

struct message *messages_find(struct messages *messages, struct spool_location location)
{
    uint64_t value;
    if (!htab_find(&messages->kept, location_hash(messages, &location), &location, &value)) {
        return NULL;
    }
    struct message *message = pool_at(&messages->pool, (uint32_t)value);
    message_ref(message);
    return message;
}

bool messages_keeps(const struct messages *messages, struct spool_location location)
{
    uint64_t value;
    return htab_find(&messages->kept, location_hash(messages, &location), &location, &value);
}

void messages_forget(struct messages *messages, struct spool_location location)
{
    uint64_t value;
    if (htab_find(&messages->kept, location_hash(messages, &location), &location, &value)) {
        message_forget(messages, pool_at(&messages->pool, (uint32_t)value));
    }
}

void messages_shed(struct messages *messages, unsigned percent)
{
    const struct block_pool *blocks = block_pool_receiving(messages->blocks);
    uint64_t enough = block_pool_size(blocks) / 100 * percent;
    struct list *link = messages->by_age.next;
    unsigned shed = 0;
    while (link != &messages->by_age && block_pool_used(blocks) > enough &&
           shed < MESSAGES_SHED_MAX) {
        struct message *message = CONTAINER_OF(link, struct message, link);
        link = link->next;
        if (message->refs == 1) {
            message_forget(messages, message);
            shed++;
        }
    }
}

uint64_t message_block_bytes(const struct message *message)
{
    uint64_t body_bytes =
        message->part_count > 0 ? PART_BLOCK_BYTES : chain_block_bytes(&message->body);
    uint64_t head_bytes = message->head == NULL ? 0 : block_bytes_for(message->head->capacity);
    return head_bytes + body_bytes + chain_block_bytes(&message->dots_chain);
}

uint64_t message_block_bytes_for(uint64_t body_bytes)
{
    return block_bytes_for(1) + (body_bytes > BLOCK_DATA_BYTES_MAX
                                     ? PART_BLOCK_BYTES
                                     : block_bytes_for((size_t)body_bytes));
}

uint64_t message_sent_bytes(struct slice prepend, uint64_t body_bytes, struct slice cuts)
{
    uint64_t bytes = prepend.size + body_bytes;
    for (size_t at = 0; at + 8 <= cuts.size; at += 8) {
        bytes -= little_u32(cuts.data + at + 4);
    }
    return bytes;
}

void message_from_load(struct message *message, struct spool_load *load)
{
    message->id = load->id;
    message->location = load->location;
    message->created_ns = load->created_ns;
    message->flags = load->flags;
    message->body_bytes = load->body_bytes;
    message->body_hash = load->body_hash;
    message->head = load->head;
    message->envelope = load->envelope;
    message->metadata = load->metadata;
    message->prepend = load->prepend;
    message->cuts = load->cuts;
    message->dots = load->dots;
    message->parts = load->parts;
    message->part_count = load->part_count;
    chain_move(&message->body, &load->body);
    load->head = NULL;
}
