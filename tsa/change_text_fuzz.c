/* Messages of a daemon that may be anybody: what is taken acts on something, and is bounded. */
#include "tsa/change_text.h"

#include "core/check.h"

#define NOW_NS (1757000000 * NS_PER_S)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_effect(const struct automation_effect *effect)
{
    size_t bytes = effect->site.size + effect->source.size + effect->domain.size +
                   effect->tenant.size + effect->campaign.size + effect->name.size +
                   effect->value.size + effect->reason.size;
    CHECK(bytes <= AUTOMATION_TEXT_BYTES_MAX && effect->id == 0);
    CHECK(effect->kind == SHAPING_SUSPEND ? effect->site.size > 0 : effect->domain.size > 0);
    CHECK(effect->campaign.size == 0 || effect->tenant.size > 0);
    CHECK(effect->expires_ns <= NOW_NS + CHANGE_EXPIRES_MAX_NS && effect->event_ns <= NOW_NS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct change_text text;
    static struct heap heap;
    struct change_message message;
    if (text.reader == NULL) {
        heap_init(&heap);
        change_text_init(&text, &heap);
    }
    if (size <= CHANGE_TEXT_BYTES_MAX &&
        change_read(&text, slice_make(data, size), NOW_NS, &message) == NULL &&
        message.what != CHANGE_COMPLETE) {
        check_effect(&message.effect);
    }
    return 0;
}
