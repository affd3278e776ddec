#include "core/conf_log.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "core/event.h"

#define SHOW(slice) (int)(slice).size, (const char *)(slice).data

static_assert(EVENT_TYPES <= 32, "a bit for each in conf_log.muted");

/* --- names ------------------------------------------------------------------------------------ */

static bool stands_for(struct slice pattern, struct slice name, bool nocase)
{
    if (slice_ends_with(pattern, SLICE("*"))) {
        pattern = slice_first(pattern, pattern.size - 1);
        name = slice_first(name, MIN_OF(name.size, pattern.size));
    }
    return nocase ? slice_equal_nocase(pattern, name) : slice_equal(pattern, name);
}

static bool names_have(const struct conf_names *names, struct slice name, bool nocase)
{
    for (size_t i = 0; i < names->count; i++) {
        if (stands_for(names->names[i], name, nocase)) {
            return true;
        }
    }
    return false;
}

bool conf_names_have(const struct conf_names *names, struct slice name)
{
    return names_have(names, name, false);
}

bool conf_names_have_nocase(const struct conf_names *names, struct slice name)
{
    return names_have(names, name, true);
}

/* Visible ASCII without a colon, and a `*` at the end alone. */
static bool name_is_sound(struct slice name)
{
    for (size_t i = 0; i < name.size; i++) {
        uint8_t byte = name.data[i];
        if (byte <= ' ' || byte > '~' || byte == ':' || (byte == '*' && i + 1 < name.size)) {
            return false;
        }
    }
    return name.size > 0 && name.size <= CONF_LOG_NAME_BYTES_MAX;
}

void conf_log_names(struct conf_load *load, const struct conf_option *option,
                    const struct conf_value *value, void *base)
{
    if (!conf_want(load, value, TOML_ARRAY)) {
        return;
    }
    if (value->count > CONF_LOG_NAMES_MAX) {
        conf_error(load, value, "%s has more than %d names", option->name, CONF_LOG_NAMES_MAX);
        return;
    }
    struct slice *texts = heap_take_array(load->heap, value->count + 1, sizeof(*texts));
    struct conf_names names = {.names = texts};
    for (const struct conf_value *at = value->first; at != NULL; at = at->next) {
        if (at->kind != TOML_STRING || !name_is_sound(at->as.text)) {
            conf_error(load, at, "%s wants names such as \"x_order\" or \"x_*\"", option->name);
            continue;
        }
        texts[names.count++] = heap_copy(load->heap, at->as.text);
    }
    memcpy((uint8_t *)base + option->offset, &names, sizeof(names));
}

/* --- records ---------------------------------------------------------------------------------- */

struct record_options {
    bool enable;
};

static const struct conf_option record_rows[] = {
    {.name = "enable", .kind = OPTION_BOOL, .offset = offsetof(struct record_options, enable)},
    {.name = "suffix", .kind = OPTION_LATER},
    {.name = "log_dir", .kind = OPTION_LATER},
    {.name = "template", .kind = OPTION_LATER},
    {.name = "segment_header", .kind = OPTION_LATER},
};
static const struct conf_options record_options = {
    .options = record_rows, .count = COUNT_OF(record_rows), .effect = CONF_NOW};

/* Those of KumoMTA that nothing here writes. */
static bool is_foreign_type(struct slice name)
{
    static const char *const names[] = {"DeferredInjectionRebind", "Delayed", "XferOut",
                                        "XferIn"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (slice_equal(name, slice_from_string(names[i]))) {
            return true;
        }
    }
    return false;
}

static bool record_is_enabled(struct conf_load *load, const struct conf_value *table)
{
    struct record_options record = {.enable = true};
    conf_options_apply(load, &record_options, table, &record);
    return record.enable;
}

/* `Any` is about the types that have no table of their own. */
void conf_log_records(struct conf_load *load, const struct conf_option *option,
                      const struct conf_value *value, void *base)
{
    struct conf_log *log = base;
    uint32_t named = 0;
    uint32_t muted = 0;
    bool any = true;
    if (!conf_want(load, value, TOML_TABLE)) {
        return;
    }
    for (const struct conf_value *at = value->first; at != NULL; at = at->next) {
        enum event_type type;
        if (slice_equal(at->key, SLICE("Any"))) {
            any = record_is_enabled(load, at);
        } else if (event_type_parse(at->key, &type)) {
            named |= 1u << type;
            muted |= record_is_enabled(load, at) ? 0 : 1u << type;
        } else if (is_foreign_type(at->key)) {
            (void)record_is_enabled(load, at);
        } else {
            conf_error(load, at, "%s: \"%.*s\" is no type of record", option->name,
                       SHOW(at->key));
        }
    }
    log->muted = muted | (any ? 0 : ~named);
}
