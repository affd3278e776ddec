#include "smtp/header_pick.h"

#include <string.h>

#include "core/little.h"

enum {
    LINE_START, /* also where the header section begins */
    NAME,
    GAP,        /* spaces between name and colon */
    VALUE,      /* of a field that is picked */
    REST,       /* of a line that says nothing to us */
    FOLD,       /* the line after one of VALUE begins */
};

static void put_byte(struct header_pick *pick, uint8_t byte)
{
    struct block *block = pick->block;
    if (block->size == HEADER_PICK_BYTES_MAX ||
        block->size - pick->value_at == HEADER_PICK_VALUE_BYTES_MAX) {
        pick->cut = true;
        return;
    }
    block->data[block->size++] = byte;
}

/* What is left of a character of which the end was cut. */
static void drop_part(struct header_pick *pick)
{
    struct block *block = pick->block;
    uint32_t size = block->size;
    for (unsigned i = 0; i < 3 && size > pick->value_at; i++) {
        uint8_t byte = block->data[size - 1];
        size--;
        if (byte >= 0xC0) {
            bool whole = (byte < 0xE0 && i == 1) || (byte < 0xF0 && byte >= 0xE0 && i == 2);
            block->size = whole ? block->size : size;
            return;
        }
        if (byte < 0x80) {
            return;
        }
    }
}

static void value_end(struct header_pick *pick)
{
    struct block *block = pick->block;
    if (pick->cut) {
        drop_part(pick);
    }
    while (block->size > pick->value_at && block->data[block->size - 1] == ' ') {
        block->size--;
    }
    little_put_u16(block->data + pick->value_at - 2, (uint16_t)(block->size - pick->value_at));
}

/* After a name and its colon: is it one of those, and is there room? */
static void value_begin(struct header_pick *pick, struct block_pool *pool)
{
    struct slice name = slice_make(pick->name, pick->name_bytes);
    pick->state = REST;
    if (name.size == 0 || !conf_names_have_nocase(pick->names, name)) {
        return;
    }
    if (pick->block == NULL) {
        pick->block = block_take(pool, HEADER_PICK_BYTES_MAX);
        pick->no_memory = pick->block == NULL;
        if (pick->no_memory) {
            return;
        }
        pick->block->size = 0;
    }
    struct block *block = pick->block;
    if (block->size + 3 + name.size > HEADER_PICK_BYTES_MAX) {
        return;
    }
    block->data[block->size] = pick->name_bytes;
    memcpy(block->data + block->size + 1, name.data, name.size);
    block->size += (uint32_t)(3 + name.size);
    pick->value_at = block->size;
    pick->cut = false;
    pick->state = VALUE;
}

static void name_take(struct header_pick *pick, struct block_pool *pool, uint8_t byte)
{
    bool space = byte == ' ' || byte == '\t';
    if (byte == ':') {
        value_begin(pick, pool);
    } else if (byte == '\n') {
        pick->state = LINE_START;
    } else if (space) {
        pick->state = GAP;
    } else if (pick->state == GAP || pick->name_bytes == sizeof(pick->name)) {
        pick->state = REST;
    } else {
        pick->name[pick->name_bytes++] = byte;
    }
}

static void value_take(struct header_pick *pick, uint8_t byte)
{
    bool space = byte == ' ' || byte == '\t';
    if (byte == '\n') {
        pick->state = FOLD;
    } else if (byte != '\r' && !(space && pick->block->size == pick->value_at)) {
        put_byte(pick, space ? ' ' : byte);
    }
}

static void line_begin(struct header_pick *pick, struct block_pool *pool, uint8_t byte)
{
    bool goes_on = byte == ' ' || byte == '\t';
    if (pick->state == FOLD && goes_on) {
        pick->state = VALUE;
        value_take(pick, byte);
        return;
    }
    if (pick->state == FOLD) {
        value_end(pick);
    }
    pick->name_bytes = 0;
    pick->state = goes_on ? REST : NAME;
    if (!goes_on) {
        name_take(pick, pool, byte);
    }
}

void header_pick_init(struct header_pick *pick, const struct conf_names *names)
{
    pick->names = names;
    pick->block = NULL;
    pick->state = LINE_START;
    pick->no_memory = false;
}

void header_pick_take(struct header_pick *pick, struct block_pool *pool, struct slice bytes)
{
    for (size_t at = 0; at < bytes.size; at++) {
        uint8_t byte = bytes.data[at];
        switch (pick->state) {
        case LINE_START:
        case FOLD:
            line_begin(pick, pool, byte);
            break;
        case NAME:
        case GAP:
            name_take(pick, pool, byte);
            break;
        case VALUE:
            value_take(pick, byte);
            break;
        case REST:
            at += slice_find(slice_skip(bytes, at), '\n');
            pick->state = at < bytes.size ? LINE_START : REST;
            break;
        }
    }
}

void header_pick_end(struct header_pick *pick)
{
    if (pick->state == VALUE || pick->state == FOLD) {
        value_end(pick);
    }
    pick->state = REST;
}

void header_pick_drop(struct header_pick *pick, struct block_pool *pool)
{
    if (pick->block != NULL) {
        block_give(pool, pick->block);
        pick->block = NULL;
    }
}

struct slice header_pick_list(const struct header_pick *pick)
{
    return pick->block == NULL ? SLICE_NONE : slice_make(pick->block->data, pick->block->size);
}
