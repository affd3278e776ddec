#include "core/conf_hours.h"

#include "core/conf.h"

#define SHOW(slice) (int)(slice).size, (const char *)(slice).data

static const char *const names[] = {"dow", "tz", "start", "end"};

/* The names of the tz database: no path leads out of its folder. */
static bool name_is_good(struct slice name)
{
    bool good = name.size > 0 && name.size <= CONF_ZONE_BYTES_MAX && name.data[0] != '/';
    for (size_t i = 0; i < name.size && good; i++) {
        uint8_t byte = name.data[i];
        uint8_t lower = ascii_lower(byte);
        good = (lower >= 'a' && lower <= 'z') || (byte >= '0' && byte <= '9') || byte == '/' ||
               byte == '_' || byte == '-' || byte == '+';
    }
    return good;
}

static bool rules_read(struct conf_load *load, const struct conf_value *value,
                      struct conf_zone *zone)
{
    uint8_t path_bytes[sizeof(CONF_ZONES_FOLDER) + CONF_ZONE_BYTES_MAX];
    uint8_t reason_bytes[CONF_REASON_BYTES_MAX];
    struct buf path;
    struct buf reason;
    struct slice bytes;
    buf_init(&path, path_bytes, sizeof(path_bytes));
    buf_init(&reason, reason_bytes, sizeof(reason_bytes));
    buf_put_string(&path, CONF_ZONES_FOLDER);
    buf_put(&path, zone->name);
    buf_put_byte(&path, 0);
    const char *name = (const char *)path_bytes;
    if (!load->input->read(load->input->read_context, name, &bytes, &reason)) {
        conf_error(load, value, "tz: cannot read %s: %.*s", name, SHOW(buf_slice(&reason)));
        return false;
    }
    if (!time_zone_read(bytes, load->heap, &zone->zone)) {
        conf_error(load, value, "tz: %s is no file of a time zone (TZif, version 2 or later, "
                   "without leap seconds)", name);
        return false;
    }
    return true;
}

/* Null, and it is told: there is none of that name. */
static const struct time_zone *rules_find(struct conf_load *load, const struct conf_value *value)
{
    struct slice name = value->as.text;
    if (slice_equal(name, SLICE("UTC"))) {
        return &time_zone_utc;
    }
    if (!name_is_good(name)) {
        conf_error(load, value, "tz wants the name of a time zone, as \"America/Phoenix\"");
        return NULL;
    }
    for (const struct conf_zone *at = load->zones; at != NULL; at = at->next) {
        if (slice_equal(at->name, name)) {
            return &at->zone;
        }
    }
    struct conf_zone *zone = heap_take(load->heap, sizeof(*zone));
    zone->name = heap_copy(load->heap, name);
    if (!rules_read(load, value, zone)) {
        return NULL;
    }
    zone->next = load->zones;
    load->zones = zone;
    return &zone->zone;
}

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
        hours->zone = rules_find(load, value);
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
