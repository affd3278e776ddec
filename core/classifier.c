#include "core/classifier.h"

bool classifier_label_is_valid(struct slice label)
{
    for (size_t i = 0; i < label.size; i++) {
        uint8_t byte = label.data[i];
        if (byte < ' ' || byte > '~' || byte == '"' || byte == '\\') {
            return false;
        }
    }
    return label.size > 0 && label.size <= CLASSIFIER_LABEL_BYTES_MAX;
}

struct slice classifier_label(const struct classifier *classifier, struct patterns_scratch *scratch,
                              struct slice reply)
{
    patterns_scan(scratch, reply);
    uint32_t number = patterns_next(scratch, 0);
    return number < patterns_count(classifier->patterns) ? classifier->labels[number]
                                                         : SLICE(CLASSIFIER_UNKNOWN);
}

void classifier_judge(const struct classifier *classifier, struct patterns_scratch *scratch,
                      struct event *event)
{
    uint8_t memory[PATTERNS_TEXT_BYTES_MAX];
    struct buf reply;
    event->classification = SLICE_NONE;
    if (scratch == NULL || !event_type_is_classified(event->type)) {
        return;
    }
    buf_init(&reply, memory, sizeof(memory));
    event_put_reply(&reply, event);
    event->classification = classifier_label(classifier, scratch, buf_slice(&reply));
}
