#include "core/conf_zones.h"

#include <stdlib.h>

#include "core/conf.h"

#define SHOW(slice) (int)(slice).size, (const char *)(slice).data

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

/* A file of the database; `reason` says why there is none. */
static bool file_read(struct conf_load *load, struct slice name, struct slice *bytes_out,
                      struct buf *reason)
{
    uint8_t memory[sizeof(CONF_ZONES_FOLDER) + CONF_ZONE_BYTES_MAX];
    struct buf path;
    buf_init(&path, memory, sizeof(memory));
    buf_put_string(&path, CONF_ZONES_FOLDER);
    buf_put(&path, name);
    buf_put_byte(&path, 0);
    return load->input->read(load->input->read_context, (const char *)memory, bytes_out, reason);
}

static const struct conf_zone *zone_known(const struct conf_load *load, struct slice name)
{
    const struct conf_zone *at = load->zones;
    while (at != NULL && !slice_equal(at->name, name)) {
        at = at->next;
    }
    return at;
}

static struct conf_zone *zone_add(struct conf_load *load, struct slice name,
                                  const struct time_zone *rules)
{
    struct conf_zone *zone = heap_take(load->heap, sizeof(*zone));
    zone->name = heap_copy(load->heap, name);
    zone->zone = *rules;
    zone->next = load->zones;
    load->zones = zone;
    return zone;
}

const struct time_zone *conf_zones_find(struct conf_load *load, const struct conf_value *value)
{
    uint8_t memory[CONF_REASON_BYTES_MAX];
    struct buf reason;
    struct slice bytes;
    struct time_zone rules;
    struct slice name = value->as.text;
    if (slice_equal(name, SLICE("UTC"))) {
        return &time_zone_utc;
    }
    if (!name_is_good(name)) {
        conf_error(load, value, "tz wants the name of a time zone, as \"America/Phoenix\"");
        return NULL;
    }
    const struct conf_zone *known = zone_known(load, name);
    if (known != NULL) {
        return &known->zone;
    }
    buf_init(&reason, memory, sizeof(memory));
    if (!file_read(load, name, &bytes, &reason)) {
        conf_error(load, value, "tz: cannot read " CONF_ZONES_FOLDER "%.*s: %.*s", SHOW(name),
                   SHOW(buf_slice(&reason)));
        return NULL;
    }
    if (!time_zone_read(bytes, load->heap, &rules)) {
        conf_error(load, value, "tz: " CONF_ZONES_FOLDER "%.*s is no file of a time zone (TZif, "
                   "version 2 or later, without leap seconds)", SHOW(name));
        return NULL;
    }
    return &zone_add(load, name, &rules)->zone;
}

/* --- all of them ------------------------------------------------------------------------------ */

static struct slice word_take(struct slice *line)
{
    struct slice word = slice_first(*line, slice_find(*line, ' '));
    *line = slice_skip(*line, MIN_OF(word.size + 1, line->size));
    return word;
}

/* Of the list. What has no file here is no zone, whatever the list says. */
static void line_read(struct conf_load *load, struct slice line)
{
    uint8_t memory[CONF_REASON_BYTES_MAX];
    struct buf reason;
    struct slice bytes;
    struct time_zone rules;
    struct slice kind = word_take(&line);
    bool is_link = slice_equal(kind, SLICE("L"));
    if (!is_link && !slice_equal(kind, SLICE("Z"))) {
        return;
    }
    const struct conf_zone *target = is_link ? zone_known(load, word_take(&line)) : NULL;
    struct slice name = word_take(&line);
    buf_init(&reason, memory, sizeof(memory));
    if (!name_is_good(name) || zone_known(load, name) != NULL) {
        return;
    }
    if (target != NULL) {
        (void)zone_add(load, name, &target->zone);
    } else if (file_read(load, name, &bytes, &reason) &&
               time_zone_read(bytes, load->heap, &rules)) {
        (void)zone_add(load, name, &rules);
    }
}

static int row_order(const void *one, const void *other)
{
    const struct conf_zone_row *a = one;
    const struct conf_zone_row *b = other;
    return slice_compare(a->name, b->name);
}

void conf_zones_all(struct conf_load *load, const struct conf_value *value,
                    struct conf_zones *zones)
{
    uint8_t memory[CONF_REASON_BYTES_MAX];
    struct buf reason;
    struct slice rest;
    size_t count = 0;
    buf_init(&reason, memory, sizeof(memory));
    if (!file_read(load, SLICE(CONF_ZONES_LIST), &rest, &reason)) {
        conf_note(load, value, "cannot read " CONF_ZONES_FOLDER CONF_ZONES_LIST ": %.*s: messages "
                  "may name UTC and the zones of queues alone", SHOW(buf_slice(&reason)));
        rest = SLICE_NONE;
    }
    while (rest.size > 0) {
        struct slice line = slice_first(rest, slice_find(rest, '\n'));
        rest = slice_skip(rest, MIN_OF(line.size + 1, rest.size));
        line_read(load, line);
    }
    for (const struct conf_zone *at = load->zones; at != NULL; at = at->next) {
        count++;
    }
    struct conf_zone_row *rows = heap_take_array(load->heap, MAX_OF(count, 1), sizeof(*rows));
    count = 0;
    for (const struct conf_zone *at = load->zones; at != NULL; at = at->next) {
        rows[count++] = (struct conf_zone_row){at->name, &at->zone};
    }
    qsort(rows, count, sizeof(*rows), row_order);
    zones->rows = rows;
    zones->count = count;
}

const struct time_zone *conf_zone(const struct conf *conf, struct slice name)
{
    const struct conf_zone_row wanted = {.name = name};
    if (slice_equal(name, SLICE("UTC"))) {
        return &time_zone_utc;
    }
    const struct conf_zone_row *row =
        conf->zones.count == 0 ? NULL
                               : bsearch(&wanted, conf->zones.rows, conf->zones.count,
                                         sizeof(wanted), row_order);
    return row != NULL ? row->zone : NULL;
}
