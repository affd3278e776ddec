/*
 * [bounce_classifier]: files of rules, `rules` a table of lists of regular expressions, by the
 * label of what they match. core/conf*.c only.
 */
#ifndef RINGPOST_CORE_CONF_CLASSIFIER_H
#define RINGPOST_CORE_CONF_CLASSIFIER_H

#include "core/conf_option.h"

/*
 * conf->classifier, or null without rules. Rules are tried in this order: those that stand in the
 * section itself, then the files in theirs, each as written.
 */
void conf_apply_classifier(struct conf_load *load, const struct conf_value *section,
                           struct conf *conf);
/* Null is nothing to free; its heap is the configuration's. */
void conf_classifier_free(struct classifier *classifier);

#endif
