/*
 * The file of orders behind its checksum, which is made right: what is read is sound, has all that
 * its kind wants, and is read again the same.
 */
#include "smtp/admin_entry.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "core/check.h"
#include "core/little.h"

#define CHECKED_AFTER 16u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct admin_table *table_new(void)
{
    struct admin_table *table = malloc(sizeof(*table));
    CHECK(table != NULL);
    admin_table_clear(table);
    return table;
}

static void check_entry(const struct admin_table *table, const struct admin_entry *entry)
{
    CHECK(admin_entry_problem(entry) == NULL);
    CHECK(entry->kind != ADMIN_SUSPEND_READY || entry->criteria.names[0].size > 0);
    if (entry->criteria.name_count > 0) {
        const struct admin_entry *found =
            entry->kind == ADMIN_SUSPEND_READY
                ? admin_table_find_ready(table, entry->criteria.names[0])
                : admin_table_find(table, SLICE("a@b.test"));
        CHECK(entry->kind != ADMIN_SUSPEND_READY || found != NULL);
    }
}

static void check_again(const struct admin_table *table)
{
    uint8_t *bytes = malloc(ADMIN_FILE_BYTES_MAX);
    struct admin_table *again = table_new();
    struct buf buf;
    CHECK(bytes != NULL);
    buf_init(&buf, bytes, ADMIN_FILE_BYTES_MAX);
    admin_table_encode(table, &buf);
    CHECK(admin_table_decode(again, buf_slice(&buf)));
    CHECK(again->count == table->count && again->rooms[0].name_count == table->rooms[0].name_count);
    free(again);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *file = malloc(size + 1);
    struct admin_table *table = table_new();
    CHECK(file != NULL);
    memcpy(file, data, size);
    if (size >= CHECKED_AFTER) {
        little_put_u64(file + 8, XXH3_64bits(file + CHECKED_AFTER, size - CHECKED_AFTER));
    }
    if (admin_table_decode(table, slice_make(file, size))) {
        for (unsigned i = 0; i < table->count; i++) {
            check_entry(table, &table->entries[i]);
        }
        check_again(table);
    }
    free(table);
    free(file);
    return 0;
}
