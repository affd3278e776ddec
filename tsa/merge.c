#include "tsa/merge.h"

#include <assert.h>

#include "core/check.h"

/* Who has the effect of a slot: a bit for each source. */
struct merge_holder {
    uint64_t id; /* of the effect that this is about */
    uint8_t sources;
    uint8_t seen; /* in the snapshot that is under way */
};
static_assert(MERGE_SOURCES_MAX <= 8, "a bit for each source");

void merge_init(struct merge *merge, struct heap *heap, struct automation *automation,
                unsigned sources)
{
    CHECK(sources <= MERGE_SOURCES_MAX);
    *merge = (struct merge){.automation = automation, .sources = sources};
    merge->holders = heap_take_array(heap, automation->effects_max, sizeof(*merge->holders));
}

/* Those of a slot's effect; of another one's nobody is left. */
static struct merge_holder *holder_of(struct merge *merge, uint32_t slot, uint64_t id)
{
    struct merge_holder *holder = &merge->holders[slot];
    if (holder->id != id) {
        *holder = (struct merge_holder){.id = id};
    }
    return holder;
}

void merge_restored(struct merge *merge)
{
    const struct automation_effect *effect;
    uint32_t cursor = 0;
    while ((effect = automation_next(merge->automation, &cursor)) != NULL) {
        if (effect->remote) {
            holder_of(merge, cursor - 1, effect->id)->sources =
                (uint8_t)((1u << merge->sources) - 1);
        }
    }
}

static void let_go(struct merge *merge, struct merge_holder *holder, uint8_t bit,
                   const struct automation_effect *effect)
{
    bool had = (holder->sources & bit) != 0;
    holder->sources &= (uint8_t)~bit;
    if (had && holder->sources == 0 && effect->remote) {
        CHECK(automation_cancel(merge->automation, effect->id));
    }
}

void merge_begin(struct merge *merge, unsigned source)
{
    for (uint32_t i = 0; i < merge->automation->effects_max; i++) {
        merge->holders[i].seen &= (uint8_t)~(1u << source);
    }
}

void merge_complete(struct merge *merge, unsigned source)
{
    const struct automation_effect *effect;
    uint8_t bit = (uint8_t)(1u << source);
    uint32_t cursor = 0;
    while ((effect = automation_next(merge->automation, &cursor)) != NULL) {
        struct merge_holder *holder = holder_of(merge, cursor - 1, effect->id);
        if ((holder->seen & bit) == 0) {
            let_go(merge, holder, bit, effect);
        }
    }
}

bool merge_hold(struct merge *merge, unsigned source, const struct automation_effect *effect)
{
    uint32_t slot;
    const struct automation_effect *held = automation_impose(merge->automation, effect, &slot);
    if (held == NULL) {
        return false;
    }
    struct merge_holder *holder = holder_of(merge, slot, held->id);
    holder->sources |= (uint8_t)(1u << source);
    holder->seen |= (uint8_t)(1u << source);
    return true;
}

void merge_release(struct merge *merge, unsigned source, const struct automation_effect *effect)
{
    uint32_t slot;
    const struct automation_effect *held = automation_find(merge->automation, effect, &slot);
    if (held != NULL) {
        let_go(merge, holder_of(merge, slot, held->id), (uint8_t)(1u << source), held);
    }
}
