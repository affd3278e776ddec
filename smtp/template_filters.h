/*
 * The filters of Jinja: a table by name, and what they do. New strings and lists are made in the
 * scratch arena. Pure.
 */
#ifndef RINGPOST_SMTP_TEMPLATE_FILTERS_H
#define RINGPOST_SMTP_TEMPLATE_FILTERS_H

#include "smtp/template.h"

bool template_filter_find(struct slice name, uint8_t *filter_out);
struct slice template_filter_name(uint8_t filter);
/* May it have so many arguments, beside the value before it? */
bool template_filter_takes(uint8_t filter, unsigned arguments);

/* What goes in and comes out. */
struct template_filtering {
    uint8_t filter;
    unsigned argument_count;
    const struct json_value *values; /* the value, then the arguments; borrowed */
    struct arena *scratch;           /* borrowed */
    uint64_t steps;                  /* that it may take */
    uint64_t cost;                   /* out: steps taken; beyond `steps` when there were too few */
    const char *complaint;           /* out, of false: why not */
    struct json_value result;        /* out */
};

/*
 * What a filter works on is charged before the work. False: the values are not fit for it, there
 * are too few steps, or scratch has overflowed (no complaint then).
 */
MUST_USE bool template_filter_apply(struct template_filtering *filtering);

#endif
