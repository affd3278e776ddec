#include "shard/spool/load.h"

#include <errno.h>
#include <string.h>

#include "core/check.h"
#include "shard/boot.h"

#define BOUNCE_BYTES (SPOOL_LOADS_BYTES / LOADS_MAX)
#define FIRST_BYTES  (16 * KIB) /* most messages are whole in it */
#define STUCK_MAX    16

static_assert(SPOOL_HEAD_BYTES_MAX <= BLOCK_DATA_BYTES_MAX, "a head fits into one block");

static void loads_run(struct deferred *deferred);
static void load_read_done(struct op *op);
static void load_file_open(struct descriptor_wait *wait);

int loads_init(struct loads *loads, struct shard *shard, const struct spool_options *options,
               struct segments *segments, uint64_t uuid)
{
    *loads = (struct loads){
        .shard = shard, .options = options, .segments = segments, .uuid = uuid};
    list_init(&loads->waiting);
    list_init(&loads->ended);
    deferred_init(&loads->deferred, loads_run);
    loads->memory = boot_memory_take(SPOOL_LOADS_BYTES);
    if (loads->memory == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < LOADS_MAX; i++) {
        op_init(&loads->slots[i].op, load_read_done);
        loads->slots[i].loads = loads;
        loads->slots[i].wait.done = load_file_open;
        loads->slots[i].data = loads->memory + (uint64_t)i * BOUNCE_BYTES;
    }
    return 0;
}

void loads_fini(struct loads *loads)
{
    deferred_cancel(&loads->deferred);
    boot_memory_give(loads->memory, SPOOL_LOADS_BYTES);
}

bool loads_idle(const struct loads *loads)
{
    return loads->busy == 0 && list_empty(&loads->waiting) && list_empty(&loads->ended);
}

/* --- ends ------------------------------------------------------------------------------------- */

static void load_drop(struct loads *loads, struct spool_load *load, bool part)
{
    struct block_pool *pool = loads->options->pool;
    chain_clear(&load->body, pool);
    if (!part && load->head != NULL) {
        block_give(pool, load->head);
        load->head = NULL;
    }
}

/* What its head says is as long as it says, damaged or not; without a head a page has to do. */
static void load_copy_aside(struct load_slot *slot)
{
    if (slot->segment != NULL) {
        const struct log_range range = {
            .segment = slot->segment->number,
            .offset = slot->place,
            .bytes = slot->bytes > 0 ? slot->bytes : RECORD_PAGE_BYTES,
        };
        quarantine_put(slot->loads->quarantine, &range, QUARANTINE_MESSAGE);
    }
}

static void load_end(struct load_slot *slot, enum spool_load_status status)
{
    struct loads *loads = slot->loads;
    struct spool_load *load = slot->load;
    if (status == SPOOL_LOAD_DAMAGED || status == SPOOL_LOAD_ERROR) {
        spool_note(loads->options, "spool: lane %u segment %u offset %llu: %s",
                   loads->options->lane, load->location.segment, (unsigned long long)slot->place,
                   status == SPOOL_LOAD_ERROR ? "cannot be read" : "damaged, a message is held");
    }
    if (status == SPOOL_LOAD_DAMAGED) {
        load_copy_aside(slot);
    }
    if (status != SPOOL_LOADED) {
        load_drop(loads, load, slot->part);
    }
    load->status = status;
    slot->load = NULL;
    loads->busy--;
    if (slot->segment != NULL) {
        segments_unpin(loads->segments, slot->segment);
    }
    list_push_back(&loads->ended, &load->link);
    shard_defer(loads->shard, &loads->deferred);
}

/* --- the bytes of a record -------------------------------------------------------------------- */

/* A message of an adopted lane names its pieces by their numbers there. */
static void load_shift(struct spool_load *load, const uint8_t *head, uint32_t shift)
{
    size_t at = (size_t)((const uint8_t *)(const void *)load->parts - head);
    for (uint32_t i = 0; i < load->part_count && shift > 0; i++) {
        struct spool_part part;
        uint8_t *place = load->head->data + at + i * sizeof(part);
        memcpy(&part, place, sizeof(part));
        part.location.segment += shift;
        memcpy(place, &part, sizeof(part));
    }
}

/* Fills in what the head says; false: it makes no sense. */
static bool load_message(struct load_slot *slot, const struct record *record)
{
    struct spool_load *load = slot->load;
    struct record_message message;
    if (!record_message_get(record, &message) || !record_message_sound(&message)) {
        return false;
    }
    load->flags = message.flags;
    load->created_ns = message.created_ns;
    load->id = message.id;
    load->body_bytes = message.body_bytes;
    load->body_hash = message.body_hash;
    load->envelope = message.sections[SECTION_ENVELOPE];
    load->metadata = message.sections[SECTION_METADATA];
    load->prepend = message.sections[SECTION_PREPEND];
    load->dots = message.sections[SECTION_DOTS];
    load->cuts = message.sections[SECTION_CUTS];
    bool parts = (message.flags & SPOOL_MESSAGE_PARTS) != 0;
    struct slice listed = message.sections[SECTION_BODY];
    load->parts = parts ? (const struct spool_part *)(const void *)listed.data : NULL;
    load->part_count = parts ? (uint32_t)(listed.size / sizeof(struct spool_part)) : 0;
    load_shift(load, load->head->data, slot->segment->shift);
    slot->body_left = parts || load->head_only ? 0 : message.body_bytes;
    return true;
}

/* The head is in memory, whole. */
static bool load_open(struct load_slot *slot)
{
    const uint8_t *head = slot->part ? slot->body_head : slot->load->head->data;
    struct record record;
    if (!record_at(slice_make(head, slot->head), slot->loads->uuid, &record)) {
        return false;
    }
    slot->opened = true;
    if (!slot->part) {
        return load_message(slot, &record);
    }
    XXH128_hash_t hash;
    if (!record_body_get(&record, &slot->body_left, &hash)) {
        return false;
    }
    slot->load->body_hash = hash;
    slot->load->body_bytes = slot->body_left;
    return true;
}

static enum spool_load_status load_lengths(struct load_slot *slot, struct slice bytes)
{
    if (!record_peek(bytes, &slot->head, &slot->bytes)) {
        return SPOOL_LOAD_DAMAGED;
    }
    if (slot->part) {
        return slot->head == RECORD_BODY_BYTES ? SPOOL_LOADED : SPOOL_LOAD_DAMAGED;
    }
    if (slot->head > SPOOL_HEAD_BYTES_MAX) {
        return SPOOL_LOAD_DAMAGED;
    }
    slot->load->head = block_take(slot->loads->options->pool, slot->head);
    return slot->load->head == NULL ? SPOOL_LOAD_NO_MEMORY : SPOOL_LOADED;
}

/* The next bytes of the record. SPOOL_LOADED: go on. */
static enum spool_load_status load_take(struct load_slot *slot, struct slice bytes)
{
    if (slot->head == 0) {
        enum spool_load_status status = load_lengths(slot, bytes);
        if (status != SPOOL_LOADED) {
            return status;
        }
    }
    if (slot->taken < slot->head) {
        size_t size = MIN_OF(bytes.size, slot->head - slot->taken);
        uint8_t *head = slot->part ? slot->body_head : slot->load->head->data;
        memcpy(head + slot->taken, bytes.data, size);
        slot->taken += size;
        bytes = slice_skip(bytes, size);
    }
    if (slot->taken >= slot->head && !slot->opened && !load_open(slot)) {
        return SPOOL_LOAD_DAMAGED;
    }
    size_t size = MIN_OF(bytes.size, slot->body_left);
    if (size > 0 && slot->opened) {
        struct chain *body = &slot->load->body;
        if (chain_room(body, slot->loads->options->pool, slot->body_left) == NULL ||
            !chain_append(body, slot->loads->options->pool, slice_first(bytes, size))) {
            return SPOOL_LOAD_NO_MEMORY;
        }
        slot->taken += size;
        slot->body_left -= size;
    }
    return SPOOL_LOADED;
}

static bool load_body_matches(const struct spool_load *load)
{
    XXH3_state_t state;
    if (XXH3_128bits_reset(&state) == XXH_ERROR) {
        return false;
    }
    for (struct list *node = load->body.blocks.next; node != &load->body.blocks;
         node = node->next) {
        const struct block *block = CONTAINER_OF(node, struct block, link);
        if (XXH3_128bits_update(&state, block->data, block->size) == XXH_ERROR) {
            return false;
        }
    }
    return XXH128_isEqual(XXH3_128bits_digest(&state), load->body_hash) != 0;
}

/* --- reading ---------------------------------------------------------------------------------- */

static void load_read(struct load_slot *slot)
{
    uint64_t at = slot->place + slot->taken;
    slot->read_at = at & ~(uint64_t)(RECORD_PAGE_BYTES - 1);
    bool head_only = slot->load->head_only && !slot->part;
    uint64_t first = head_only ? RECORD_PAGE_BYTES : FIRST_BYTES - RECORD_PAGE_BYTES;
    uint64_t known = head_only ? slot->head : slot->bytes;
    uint64_t end = slot->place + (known > 0 ? known : first);
    uint64_t size = MIN_OF(align_up(end, RECORD_PAGE_BYTES) - slot->read_at, BOUNCE_BYTES);
    counters_add(&slot->loads->shard->counters, COUNTER_spool_reads, 1);
    ring_read(slot->loads->shard->ring, &slot->op, slot->segment->fd, slot->data, (uint32_t)size,
              slot->read_at);
}

static void load_whole(struct load_slot *slot)
{
    bool without = (slot->load->part_count > 0 || slot->load->head_only) && !slot->part;
    load_end(slot, without || load_body_matches(slot->load) ? SPOOL_LOADED : SPOOL_LOAD_DAMAGED);
}

static void load_read_done(struct op *op)
{
    struct load_slot *slot = CONTAINER_OF(op, struct load_slot, op);
    if (op->result == -EINTR || op->result == -EAGAIN || (op->result < 0 && !slot->again)) {
        slot->again = op->result != -EINTR && op->result != -EAGAIN;
        load_read(slot);
        return;
    }
    if (op->result < 0) {
        load_end(slot, SPOOL_LOAD_ERROR);
        return;
    }
    uint64_t skip = slot->place + slot->taken - slot->read_at;
    uint64_t size = (uint64_t)op->result > skip ? (uint64_t)op->result - skip : 0;
    uint64_t before = slot->taken;
    if (size >= RECORD_HEAD_BYTES || (slot->head > 0 && size > 0)) {
        enum spool_load_status status = load_take(slot, slice_make(slot->data + skip, size));
        if (status != SPOOL_LOADED) {
            load_end(slot, status);
            return;
        }
    }
    if (slot->opened && slot->body_left == 0) {
        load_whole(slot);
        return;
    }
    slot->stuck = slot->taken > before ? 0 : slot->stuck + 1;
    if (op->result == 0 || slot->stuck > STUCK_MAX) {
        load_end(slot, SPOOL_LOAD_DAMAGED);
        return;
    }
    load_read(slot);
}

static void load_file_open(struct descriptor_wait *wait)
{
    struct load_slot *slot = CONTAINER_OF(wait, struct load_slot, wait);
    if (wait->error != 0) {
        load_end(slot, SPOOL_LOAD_ERROR);
        return;
    }
    load_read(slot);
}

static struct load_slot *loads_free_slot(struct loads *loads)
{
    for (unsigned i = 0; i < LOADS_MAX && loads->busy < LOADS_MAX; i++) {
        if (loads->slots[i].load == NULL && op_idle(&loads->slots[i].op)) {
            return &loads->slots[i];
        }
    }
    return NULL;
}

static void load_start(struct load_slot *slot, struct spool_load *load)
{
    struct loads *loads = slot->loads;
    struct spool_location location = load->wanted;
    slot->load = load;
    slot->segment = segments_find(loads->segments, location.segment);
    slot->place = (uint64_t)location.offset_64 * RECORD_PLACE_BYTES;
    slot->taken = 0;
    slot->head = 0;
    slot->bytes = 0;
    slot->body_left = 0;
    slot->part = load->part;
    slot->opened = false;
    slot->again = false;
    slot->stuck = 0;
    loads->busy++;
    if (slot->segment == NULL) {
        load_end(slot, SPOOL_LOAD_DAMAGED);
        return;
    }
    slot->segment->pins++;
    if (descriptors_use(&loads->segments->descriptors, &slot->wait, slot->segment)) {
        load_read(slot);
    }
}

static void loads_run(struct deferred *deferred)
{
    struct loads *loads = CONTAINER_OF(deferred, struct loads, deferred);
    struct load_slot *slot = loads_free_slot(loads);
    while (!list_empty(&loads->waiting) && slot != NULL) {
        struct list *node = list_pop_front(&loads->waiting);
        load_start(slot, CONTAINER_OF(node, struct spool_load, link));
        slot = loads_free_slot(loads);
    }
    struct list ended;
    list_init(&ended);
    list_append_all(&ended, &loads->ended);
    for (struct list *node = list_pop_front(&ended); node != NULL; node = list_pop_front(&ended)) {
        struct spool_load *load = CONTAINER_OF(node, struct spool_load, link);
        load->in_flight = false;
        load->done(load);
    }
}

void loads_put(struct loads *loads, struct spool_load *load, const struct spool_part *part)
{
    CHECK(!load->in_flight);
    load->in_flight = true;
    load->part = part != NULL;
    load->wanted = part != NULL ? part->location : load->location;
    list_push_back(&loads->waiting, &load->link);
    shard_defer(loads->shard, &loads->deferred);
}
