#include "core/conf_option.h"

#include <inttypes.h>
#include <string.h>

#include "core/check.h"
#include "core/conf_text.h"

#define PATH_BYTES_MAX 1024

/* Key and text of a value for "%.*s". */
#define SHOW(slice) (int)(slice).size, (const char *)(slice).data

bool conf_want(struct conf_load *load, const struct conf_value *value, enum toml_kind kind)
{
    if (value->kind == kind) {
        return true;
    }
    struct conf_value wanted = {.kind = kind};
    conf_error(load, value, "%.*s wants %s, not %s", SHOW(value->key), conf_kind_name(&wanted),
               conf_kind_name(value));
    return false;
}

void conf_later(struct conf_load *load, const struct conf_value *value)
{
    conf_error(load, value, "%.*s: not built yet in this version", SHOW(value->key));
}

void conf_unknown(struct conf_load *load, const struct conf_options *options,
                  const struct conf_value *value)
{
    const char *nearest = NULL;
    unsigned nearest_distance = 4;
    for (size_t i = 0; i < options->count; i++) {
        struct slice name = slice_from_string(options->options[i].name);
        unsigned distance = conf_text_distance(value->key, name);
        if (distance < nearest_distance && distance <= (name.size + 2) / 3) {
            nearest = options->options[i].name;
            nearest_distance = distance;
        }
    }
    if (nearest == NULL) {
        conf_error(load, value, "unknown key \"%.*s\"", SHOW(value->key));
        return;
    }
    conf_error(load, value, "unknown key \"%.*s\", is \"%s\" meant?", SHOW(value->key), nearest);
}

const char *conf_place_path(struct conf_load *load, struct slice path)
{
    uint8_t bytes[2 * PATH_BYTES_MAX];
    struct buf whole;
    buf_init(&whole, bytes, sizeof(bytes));
    if (path.size > 0 && path.data[0] != '/') {
        buf_put(&whole, load->folder);
    }
    buf_put(&whole, path);
    return (const char *)heap_copy(load->heap, buf_slice(&whole)).data;
}

bool conf_networks(struct conf_load *load, const struct conf_value *value,
                   const struct network **networks_out, size_t *count_out)
{
    if (!conf_want(load, value, TOML_ARRAY)) {
        return false;
    }
    struct network *networks = heap_take_array(load->heap, value->count + 1, sizeof(*networks));
    size_t count = 0;
    bool good = true;
    for (const struct conf_value *at = value->first; at != NULL; at = at->next) {
        if (at->kind != TOML_STRING || !network_parse(at->as.text, &networks[count])) {
            conf_error(load, at,
                       "%.*s wants networks such as \"10.0.0.0/8\" or \"::1\", without host bits",
                       SHOW(value->key));
            good = false;
            continue;
        }
        count++;
    }
    *networks_out = networks;
    *count_out = count;
    return good;
}

void conf_apply_files(struct conf_load *load, const struct conf_option *option,
                      const struct conf_value *value, void *base)
{
    (void)load;
    (void)option;
    (void)value;
    (void)base;
}

void conf_apply_table(struct conf_load *load, const struct conf_option *option,
                      const struct conf_value *value, void *base)
{
    (void)option;
    (void)base;
    (void)conf_want(load, value, TOML_TABLE);
}

/* --- kinds ----------------------------------------------------------------------------------- */

static void apply_integer(struct conf_load *load, const struct conf_option *option,
                          const struct conf_value *value, void *field)
{
    if (!conf_want(load, value, TOML_INTEGER)) {
        return;
    }
    int64_t integer = value->as.integer;
    if (integer < (int64_t)option->min || integer > (int64_t)option->max) {
        conf_error(load, value, "%s = %" PRId64 " is out of range, %" PRIu64 " to %" PRIu64,
                   option->name, integer, option->min, option->max);
        return;
    }
    if (option->kind == OPTION_COUNT64) {
        memcpy(field, &(uint64_t){(uint64_t)integer}, sizeof(uint64_t));
    } else if (option->kind == OPTION_PORT) {
        memcpy(field, &(uint16_t){(uint16_t)integer}, sizeof(uint16_t));
    } else {
        memcpy(field, &(uint32_t){(uint32_t)integer}, sizeof(uint32_t));
    }
}

static void apply_duration(struct conf_load *load, const struct conf_option *option,
                           const struct conf_value *value, void *field)
{
    uint64_t ns = 0;
    bool good = false;
    if (value->kind == TOML_STRING) {
        good = conf_text_duration(value->as.text, &ns);
    } else if (value->kind == TOML_INTEGER && value->as.integer >= 0) {
        good = !__builtin_mul_overflow((uint64_t)value->as.integer, NS_PER_S, &ns);
    }
    if (!good) {
        conf_error(load, value, "%s wants a duration such as \"20 minutes\", \"5m\" or \"300s\"",
                   option->name);
        return;
    }
    if (ns < option->min || ns > option->max) {
        conf_error(load, value, "%s is out of range, %" PRIu64 " ms to %" PRIu64 " s",
                   option->name, (uint64_t)(option->min / NS_PER_MS),
                   (uint64_t)(option->max / NS_PER_S));
        return;
    }
    memcpy(field, &ns, sizeof(ns));
}

static void apply_size(struct conf_load *load, const struct conf_option *option,
                       const struct conf_value *value, void *field)
{
    uint64_t bytes = 0;
    bool good = false;
    if (value->kind == TOML_STRING) {
        good = conf_text_size(value->as.text, &bytes);
    } else if (value->kind == TOML_INTEGER && value->as.integer >= 0) {
        bytes = (uint64_t)value->as.integer;
        good = true;
    }
    if (!good) {
        conf_error(load, value, "%s wants a size such as \"128KiB\", \"20MiB\" or bytes",
                   option->name);
        return;
    }
    if (bytes < option->min || bytes > option->max) {
        conf_error(load, value, "%s is out of range, %" PRIu64 " to %" PRIu64 " bytes",
                   option->name, option->min, option->max);
        return;
    }
    memcpy(field, &bytes, sizeof(bytes));
}

static void apply_amount(struct conf_load *load, const struct conf_option *option,
                         const struct conf_value *value, void *field)
{
    struct conf_amount amount = {0};
    bool good = false;
    if (value->kind == TOML_STRING) {
        good = conf_text_amount(value->as.text, &amount);
    } else if (value->kind == TOML_INTEGER && value->as.integer >= 0) {
        amount.value = (uint64_t)value->as.integer;
        good = true;
    }
    if (!good) {
        conf_error(load, value, "%s wants a share such as \"10%%\" or a number", option->name);
        return;
    }
    memcpy(field, &amount, sizeof(amount));
}

static bool is_printable(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < 0x20 || text.data[i] >= 0x7F) {
            return false;
        }
    }
    return true;
}

static void apply_text(struct conf_load *load, const struct conf_option *option,
                       const struct conf_value *value, void *field)
{
    if (!conf_want(load, value, TOML_STRING)) {
        return;
    }
    struct slice text = value->as.text;
    if (option->kind == OPTION_HOST && !conf_text_is_host(text)) {
        conf_error(load, value, "%s wants a host name", option->name);
        return;
    }
    if (option->kind != OPTION_HOST && (text.size > option->max || !is_printable(text))) {
        conf_error(load, value, "%s wants at most %" PRIu64 " printable ASCII characters",
                   option->name, option->max);
        return;
    }
    struct slice copy = heap_copy(load->heap, text);
    if (option->kind == OPTION_NAME) {
        const char *name = (const char *)copy.data;
        memcpy(field, &name, sizeof(name));
        return;
    }
    memcpy(field, &copy, sizeof(copy));
}

static void apply_path(struct conf_load *load, const struct conf_option *option,
                       const struct conf_value *value, void *field)
{
    if (!conf_want(load, value, TOML_STRING)) {
        return;
    }
    struct slice text = value->as.text;
    if (text.size == 0 || text.size > PATH_BYTES_MAX || slice_find(text, 0) < text.size) {
        conf_error(load, value, "%s wants a path of at most %d bytes", option->name,
                   PATH_BYTES_MAX);
        return;
    }
    const char *path = conf_place_path(load, text);
    memcpy(field, &path, sizeof(path));
}

static void apply_choice(struct conf_load *load, const struct conf_option *option,
                         const struct conf_value *value, void *field)
{
    uint8_t bytes[256];
    struct buf names;
    buf_init(&names, bytes, sizeof(bytes) - 1);
    for (unsigned i = 0; option->choices[i] != NULL; i++) {
        struct slice name = slice_from_string(option->choices[i]);
        if (value->kind == TOML_STRING && slice_equal(value->as.text, name)) {
            if (option->max > 0 && i >= option->max) {
                conf_error(load, value, "%s = \"%s\": not built yet in this version",
                           option->name, option->choices[i]);
                return;
            }
            memcpy(field, &i, sizeof(i));
            return;
        }
        buf_printf(&names, "%s\"%s\"", i == 0 ? "" : ", ", option->choices[i]);
    }
    conf_error(load, value, "%s wants one of %.*s", option->name, SHOW(buf_slice(&names)));
}

static void apply_bool(struct conf_load *load, const struct conf_option *option,
                       const struct conf_value *value, void *field)
{
    if (!conf_want(load, value, TOML_BOOL)) {
        return;
    }
    if (option->kind == OPTION_LATER_IF) {
        if (value->as.flag != (option->min != 0)) {
            conf_error(load, value, "%s = %s: not built yet in this version", option->name,
                       value->as.flag ? "true" : "false");
        }
        return;
    }
    memcpy(field, &value->as.flag, sizeof(bool));
}

static void option_apply_one(struct conf_load *load, const struct conf_option *option,
                             const struct conf_value *value, void *base)
{
    void *field = (uint8_t *)base + option->offset;
    switch (option->kind) {
    case OPTION_BOOL:
    case OPTION_LATER_IF:
        apply_bool(load, option, value, field);
        return;
    case OPTION_COUNT:
    case OPTION_COUNT64:
    case OPTION_PORT:
    case OPTION_LEVEL:
        apply_integer(load, option, value, field);
        return;
    case OPTION_DURATION:
        apply_duration(load, option, value, field);
        return;
    case OPTION_SIZE:
        apply_size(load, option, value, field);
        return;
    case OPTION_AMOUNT:
        apply_amount(load, option, value, field);
        return;
    case OPTION_TEXT:
    case OPTION_HOST:
    case OPTION_NAME:
        apply_text(load, option, value, field);
        return;
    case OPTION_PATH:
        apply_path(load, option, value, field);
        return;
    case OPTION_CHOICE:
        apply_choice(load, option, value, field);
        return;
    case OPTION_OWN:
        option->apply(load, option, value, base);
        return;
    case OPTION_NOTE:
        conf_note(load, value, "%s has no effect here", option->name);
        return;
    case OPTION_LATER:
        conf_later(load, value);
        return;
    }
    CHECK(false);
}

const struct conf_option *conf_option_find(const struct conf_options *options, struct slice key)
{
    for (size_t i = 0; i < options->count; i++) {
        if (slice_equal(key, slice_from_string(options->options[i].name))) {
            return &options->options[i];
        }
    }
    return NULL;
}

bool conf_options_have(const struct conf_options *options, struct slice key)
{
    return conf_option_find(options, key) != NULL;
}

/* What a change of this option takes. */
static enum conf_effect effect_of(const struct conf_options *options,
                                  const struct conf_option *option)
{
    if (option->kind == OPTION_NOTE || option->kind == OPTION_LATER) {
        return CONF_NOTHING;
    }
    enum conf_effect effect =
        option->effect != CONF_UNSAID ? option->effect : options->effect;
    CHECK(effect != CONF_UNSAID);
    return effect;
}

size_t conf_option_bytes(const struct conf_option *option)
{
    switch (option->kind) {
    case OPTION_BOOL:
        return sizeof(bool);
    case OPTION_COUNT:
        return sizeof(uint32_t);
    case OPTION_COUNT64:
    case OPTION_DURATION:
    case OPTION_SIZE:
        return sizeof(uint64_t);
    case OPTION_PORT:
        return sizeof(uint16_t);
    case OPTION_LEVEL:
        return sizeof(int);
    case OPTION_AMOUNT:
        return sizeof(struct conf_amount);
    case OPTION_TEXT:
    case OPTION_HOST:
        return sizeof(struct slice);
    case OPTION_NAME:
    case OPTION_PATH:
        return sizeof(const char *);
    case OPTION_CHOICE:
        return sizeof(unsigned);
    case OPTION_OWN:
        return option->bytes;
    case OPTION_NOTE:
    case OPTION_LATER:
    case OPTION_LATER_IF:
        return 0;
    }
    CHECK(false);
}

void conf_options_keep(const struct conf_options *options, void *next, const void *running)
{
    for (size_t i = 0; i < options->count; i++) {
        const struct conf_option *option = &options->options[i];
        if (effect_of(options, option) == CONF_RESTART) {
            memcpy((uint8_t *)next + option->offset, (const uint8_t *)running + option->offset,
                   conf_option_bytes(option));
        }
    }
}

void conf_options_apply(struct conf_load *load, const struct conf_options *options,
                        const struct conf_value *table, void *base)
{
    for (size_t i = 0; i < options->count; i++) {
        (void)effect_of(options, &options->options[i]); /* every row says it */
    }
    if (!conf_want(load, table, TOML_TABLE)) {
        return;
    }
    for (const struct conf_value *value = table->first; value != NULL; value = value->next) {
        const struct conf_option *found = conf_option_find(options, value->key);
        if (found == NULL) {
            if (value->kind != TOML_TABLE || !options->inner_tables) {
                conf_unknown(load, options, value);
            }
            continue;
        }
        *value->mark = (struct conf_mark){effect_of(options, found), found->secret};
        option_apply_one(load, found, value, base);
    }
}
