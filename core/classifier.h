/*
 * What a reply that refuses mail means, as a word: rules are regular expressions with a label, and
 * the first one that matches says which. Rules come from [bounce_classifier]
 * (core/conf_classifier.h). It says the same of the same reply as long as the rules are the same;
 * nothing of it is kept with a message. Readable by any thread.
 */
#ifndef RINGPOST_CORE_CLASSIFIER_H
#define RINGPOST_CORE_CLASSIFIER_H

#include "core/event.h"
#include "core/patterns.h"

#define CLASSIFIER_LABEL_BYTES_MAX 64u
#define CLASSIFIER_UNKNOWN         "Uncategorized"

struct classifier {
    struct patterns *patterns;    /* owned */
    const struct slice *labels;   /* one for each pattern; in the heap of the configuration */
};

/* Printable ASCII without quotes and backslash. */
bool classifier_label_is_valid(struct slice label);

/* Of a reply as one line, "550 5.1.1 no such user". `scratch` is of its patterns. */
struct slice classifier_label(const struct classifier *classifier, struct patterns_scratch *scratch,
                              struct slice reply);
/*
 * Sets the classification of an event of a type that has one, by its code, enhanced code and
 * content; line ends in the content count as spaces. Null scratch: there are no rules.
 */
void classifier_judge(const struct classifier *classifier, struct patterns_scratch *scratch,
                      struct event *event);

#endif
