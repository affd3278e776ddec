#include "smtp/provider_sums.h"

#include <string.h>

#include "core/check.h"

static struct slice name_of(const struct provider_sum *sum)
{
    return slice_make(sum->name, sum->bytes);
}

/* Null: it is among the others. */
static struct provider_sum *sum_of(struct provider_sums *sums, struct slice name)
{
    for (uint32_t i = 0; i < sums->count; i++) {
        if (slice_equal(name_of(&sums->rows[i]), name)) {
            return &sums->rows[i];
        }
    }
    if (name.size == 0 || sums->count == PROVIDER_SUMS_MAX) {
        return NULL;
    }
    struct provider_sum *sum = &sums->rows[sums->count++];
    CHECK(name.size <= sizeof(sum->name));
    sum->recipients = 0;
    sum->bytes = (uint8_t)name.size;
    memcpy(sum->name, name.data, name.size);
    return sum;
}

void provider_sums_add(struct provider_sums *sums, struct slice name, uint64_t recipients)
{
    struct provider_sum *sum = sum_of(sums, name);
    *(sum != NULL ? &sum->recipients : &sums->others) += recipients;
}

void provider_sums_merge(struct provider_sums *sums, const struct provider_sums *part)
{
    for (uint32_t i = 0; i < part->count; i++) {
        provider_sums_add(sums, name_of(&part->rows[i]), part->rows[i].recipients);
    }
    sums->others += part->others;
}
