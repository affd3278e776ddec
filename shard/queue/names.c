#include "shard/queue/names.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "core/check.h"

/* Texts are booked so much at a time; emptied slots go back so much at a time. */
#define TEXT_CHUNK_BYTES (64 * KIB)
#define SLOT_CHUNK_BYTES (2 * MIB)
#define SLOTS_MIN   1024
/* Reserved address space for each name, on average; what is used of it costs memory. */
#define RESERVED_BYTES 256u
/*
 * Entries moved by each change while the table grows. Twice as many slots have room for as many
 * entries again as there are, so two would do.
 */
#define MOVES 4u

/* --- texts ----------------------------------------------------------------------------------- */

static uint32_t units_of(size_t bytes)
{
    return bytes == 0 ? 1 : (uint32_t)((bytes + NAME_UNIT_BYTES - 1) / NAME_UNIT_BYTES);
}

static uint8_t *text_at(const struct queue_names *names, uint32_t text)
{
    return names->texts + (size_t)text * NAME_UNIT_BYTES;
}

static bool text_take(struct queue_names *names, uint32_t units, uint32_t *text_out)
{
    uint32_t *free = &names->free[units - 1];
    uint64_t bytes = (uint64_t)units * NAME_UNIT_BYTES;
    if (*free != 0) {
        *text_out = *free - 1;
        memcpy(free, text_at(names, *text_out), sizeof(*free));
        return true;
    }
    if (names->fresh + bytes > names->booked) {
        uint64_t more = MIN_OF((uint64_t)TEXT_CHUNK_BYTES, names->texts_max - names->booked);
        if (names->fresh + bytes > names->booked + more ||
            !account_take(names->account, ACCOUNT_QUEUES, more)) {
            return false;
        }
        names->booked += more;
    }
    *text_out = (uint32_t)(names->fresh / NAME_UNIT_BYTES);
    names->fresh += bytes;
    return true;
}

static void text_give(struct queue_names *names, struct queue_name name)
{
    uint32_t *free = &names->free[units_of(name.bytes) - 1];
    memcpy(text_at(names, name.text), free, sizeof(*free));
    *free = name.text + 1;
}

struct slice queue_names_text(const struct queue_names *names, struct queue_name name)
{
    return slice_make(text_at(names, name.text), name.bytes);
}

/* --- table ----------------------------------------------------------------------------------- */

static void *slots_map(struct queue_names *names, uint32_t slots)
{
    uint64_t bytes = htab_memory(slots);
    if (!account_take(names->account, ACCOUNT_QUEUES, bytes)) {
        return NULL;
    }
    void *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        account_give(names->account, ACCOUNT_QUEUES, bytes);
        return NULL;
    }
    return memory;
}

static void slots_unmap(struct queue_names *names, struct htab *table)
{
    if (table->slots != NULL) {
        munmap(table->slots, htab_memory(table->slot_count));
        account_give(names->account, ACCOUNT_QUEUES, htab_memory(table->slot_count));
        *table = (struct htab){0};
    }
}

/*
 * Some more of the old table into the new one. Memory that has been emptied goes back in pieces:
 * unmapping a large table at once takes long. It still reads as empty.
 */
static void move_some(struct queue_names *names)
{
    if (names->old.slots == NULL) {
        return;
    }
    const uint32_t piece = SLOT_CHUNK_BYTES / sizeof(struct htab_slot);
    uint32_t before = names->cursor / piece;
    bool more = htab_move(&names->table, &names->old, &names->cursor, MOVES);
    if (!more) {
        slots_unmap(names, &names->old);
    } else if (names->cursor / piece > before) {
        (void)madvise(&names->old.slots[(size_t)before * piece], SLOT_CHUNK_BYTES, MADV_DONTNEED);
    }
}

static bool table_grow(struct queue_names *names)
{
    const struct htab table = names->table;
    uint32_t slots = table.slot_count * 2;
    CHECK(names->old.slots == NULL); /* moved long before the new table is full */
    void *memory = slots_map(names, slots);
    if (memory == NULL) {
        return false;
    }
    names->old = table;
    names->cursor = 0;
    htab_init_fresh(&names->table, memory, slots, table.seed, table.equal, table.context);
    return true;
}

bool queue_names_find(const struct queue_names *names, struct slice text, uint32_t *number_out)
{
    uint64_t hash = htab_hash(&names->table, text);
    uint64_t value = 0;
    bool found = htab_find(&names->table, hash, &text, &value) ||
                 (names->old.slots != NULL && htab_find(&names->old, hash, &text, &value));
    *number_out = (uint32_t)value;
    return found;
}

bool queue_names_add(struct queue_names *names, struct slice text, uint32_t number,
                     struct queue_name *name_out)
{
    struct queue_name name = {.bytes = (uint16_t)text.size};
    CHECK(text.size <= QUEUE_NAME_BYTES_MAX);
    uint64_t hash = htab_hash(&names->table, text);
    if (!text_take(names, units_of(text.size), &name.text)) {
        return false;
    }
    move_some(names);
    bool added = htab_insert(&names->table, hash, number);
    if (!added && table_grow(names)) {
        added = htab_insert(&names->table, hash, number);
        CHECK(added);
    }
    if (!added) {
        text_give(names, name);
        return false;
    }
    if (text.size > 0) {
        memcpy(text_at(names, name.text), text.data, text.size);
    }
    *name_out = name;
    return true;
}

void queue_names_remove(struct queue_names *names, struct queue_name name)
{
    struct slice text = queue_names_text(names, name);
    uint64_t hash = htab_hash(&names->table, text);
    uint64_t value;
    bool removed = htab_remove(&names->table, hash, &text, &value) ||
                   (names->old.slots != NULL && htab_remove(&names->old, hash, &text, &value));
    CHECK(removed);
    text_give(names, name);
    move_some(names);
}

uint32_t queue_names_count(const struct queue_names *names)
{
    return names->table.count + names->old.count;
}

/* --- beginning and end ----------------------------------------------------------------------- */

int queue_names_init(struct queue_names *names, struct account *account, uint32_t count_max,
                     uint64_t seed, htab_equal *equal, const void *context)
{
    *names = (struct queue_names){.account = account};
    uint32_t slots = htab_slots_for(SLOTS_MIN);
    uint64_t bytes = align_up((uint64_t)count_max * RESERVED_BYTES, SLOT_CHUNK_BYTES);
    void *texts = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (texts == MAP_FAILED) {
        return -errno;
    }
    names->texts = texts;
    names->texts_max = bytes;
    void *memory = slots_map(names, slots);
    if (memory == NULL) {
        queue_names_fini(names);
        return -ENOMEM;
    }
    htab_init_fresh(&names->table, memory, slots, seed, equal, context);
    return 0;
}

void queue_names_fini(struct queue_names *names)
{
    slots_unmap(names, &names->table);
    slots_unmap(names, &names->old);
    if (names->texts != NULL) {
        munmap(names->texts, names->texts_max);
        account_give(names->account, ACCOUNT_QUEUES, names->booked);
    }
    *names = (struct queue_names){0};
}
