/*
 * Zone text of a configuration: read or refused, never a crash; what is in the table is found by
 * its name, has records of what it says, and complaints name lines that are there.
 */
#include "core/zone.h"

#include "core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct told {
    unsigned complaints;
    unsigned lines; /* of the text */
};

static void complain(void *context, unsigned line, struct slice why)
{
    struct told *told = context;
    told->complaints++;
    CHECK(line > 0 && line <= told->lines && why.size > 0);
    for (size_t i = 0; i < why.size; i++) {
        CHECK(why.data[i] >= 0x20 && why.data[i] < 0x7F);
    }
}

static void check_name(const struct zone *zone, const struct zone_name *name)
{
    CHECK(zone_find(zone, name->name) == name);
    for (unsigned i = 0; i < name->count; i++) {
        const struct zone_set *set = &name->sets[i];
        CHECK(zone_set_find(name, set->type) == set && set->count > 0);
        for (unsigned j = 0; j < set->count; j++) {
            CHECK(set->type != DNS_A || endpoint_is_v4(&set->records[j].address));
            CHECK(set->type != DNS_TLSA || set->records[j].bytes.size > 3);
            CHECK(set->records[j].name.size <= DNS_NAME_BYTES_MAX);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct heap heap;
    struct heap scratch;
    struct zone zone = {0};
    struct told told = {.lines = 1};
    for (size_t i = 0; i < size; i++) {
        told.lines += data[i] == '\n';
    }
    heap_init(&heap);
    heap_init(&scratch);
    bool good = zone_read(slice_make(data, size), &heap, &scratch, complain, &told, &zone);
    CHECK(good == (told.complaints == 0));
    for (size_t i = 0; i < zone.count; i++) {
        check_name(&zone, &zone.names[i]);
    }
    (void)zone_find(&zone, SLICE("a.b.c.d"));
    heap_fini(&scratch);
    heap_fini(&heap);
    return 0;
}
