#include "core/conf_hours.h"

#include "core/conf_zones.h"

static const char *const names[] = {"dow", "tz", "start", "end"};

void conf_apply_hours(struct conf_load *load, const struct conf_option *option,
                      const struct conf_value *value, void *base)
{
    const struct hours **field = (const struct hours **)(void *)((uint8_t *)base + option->offset);
    struct slice name = slice_from_string(option->name);
    if (!conf_want(load, value, TOML_STRING)) {
        return;
    }
    if (*field == NULL) {
        *field = heap_take(load->heap, sizeof(**field));
    }
    struct hours *hours = (struct hours *)(uintptr_t)*field;
    if (slice_equal(name, SLICE("tz"))) {
        hours->zone = conf_zones_find(load, value);
    } else if (slice_equal(name, SLICE("dow"))) {
        if (!hours_parse_days(value->as.text, &hours->days)) {
            conf_error(load, value, "dow wants days, as \"Mon,Wed\"");
        }
    } else {
        bool start = slice_equal(name, SLICE("start"));
        uint32_t *time_s = start ? &hours->start_s : &hours->end_s;
        if (!hours_parse_time(value->as.text, time_s) || (start && *time_s == HOURS_DAY_S)) {
            conf_error(load, value, "%s wants a time of the day, as \"%s\"", option->name,
                       start ? "09:00:00" : "17:00:00");
        }
    }
}

void conf_hours_check(struct conf_load *load, const struct conf_value *table,
                      const struct hours *hours)
{
    bool whole = true;
    for (size_t i = 0; i < COUNT_OF(names) && hours != NULL; i++) {
        if (conf_tree_member(table, names[i]) == NULL) {
            conf_error(load, table, "%s is missing: dow, tz, start and end are said together",
                       names[i]);
            whole = false;
        }
    }
    if (hours != NULL && whole && hours->start_s == hours->end_s) {
        conf_error(load, table, "start and end are the same; \"00:00\" and \"24:00\" are a day");
    }
}
