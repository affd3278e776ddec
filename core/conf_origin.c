#include "core/conf_origin.h"

#include "core/check.h"
#include "core/conf_limits.h"
#include "core/conf_queues.h"
#include "core/conf_routes.h"
#include "core/conf_shaping.h"

#define KEY_BYTES_MAX   1024
#define VALUE_BYTES_MAX 512
#define OVERALL         "overall_max_message_rate"

#define SHOW(slice) (int)(slice).size, (const char *)(slice).data

/* Where an option of this name stands in its block. */
static void put_option(struct buf *key, const char *option)
{
    if (slice_equal(slice_from_string(option), SLICE("mx_list"))) {
        buf_put_string(key, ".protocol.smtp");
    }
    conf_key_put(key, slice_from_string(option));
}

/* --- settings --------------------------------------------------------------------------------- */

/* The key of a block by its name: see conf_queue_layers. `inner` is the table that campaigns may
 * stand in. */
static void put_block(struct buf *key, struct slice name, bool inner)
{
    buf_put_string(key, name.size > 0 && name.data[0] == 0 ? "queues.tenant" : "queues.queue");
    for (unsigned i = 0; name.size > 0; i++) {
        struct slice part = slice_first(name, slice_find(name, 0));
        if (i == 2 && inner) {
            conf_key_put(key, SLICE("campaigns"));
        }
        if (part.size > 0) {
            conf_key_put(key, part);
        }
        name = slice_skip(name, MIN_OF(part.size + 1, name.size));
    }
}

static const struct conf_setting *block_setting(const struct conf *conf, struct slice block,
                                                const char *option)
{
    const struct conf_setting *setting = NULL;
    for (unsigned inner = 0; inner < 2 && setting == NULL; inner++) {
        uint8_t bytes[KEY_BYTES_MAX];
        struct buf key;
        buf_init(&key, bytes, sizeof(bytes));
        put_block(&key, block, inner > 0);
        put_option(&key, option);
        setting = conf_setting_find(conf, buf_slice(&key));
    }
    return setting;
}

const struct conf_setting *conf_queue_setting(const struct conf *conf,
                                              const struct conf_queue_key *key, const char *option)
{
    const struct conf_block *layers[CONF_QUEUE_LAYERS_MAX];
    const struct conf_setting *setting = NULL;
    for (unsigned i = conf_queue_layers(conf, key, layers); i > 0 && setting == NULL; i--) {
        setting = block_setting(conf, layers[i - 1]->name, option);
    }
    return setting != NULL ? setting : block_setting(conf, SLICE("default"), option);
}

const struct conf_setting *conf_overall_setting(const struct conf *conf,
                                                const struct conf_queue_key *key,
                                                struct slice name)
{
    const struct conf_block *layers[CONF_QUEUE_LAYERS_MAX];
    for (unsigned i = conf_queue_layers(conf, key, layers); i > 0; i--) {
        const struct overall_rate *overall =
            ((const struct queue_options *)layers[i - 1]->options)->overall[0];
        if (overall != NULL && slice_equal(overall->name, name)) {
            return block_setting(conf, layers[i - 1]->name, OVERALL);
        }
    }
    return block_setting(conf, SLICE("default"), OVERALL);
}

/* --- defaults --------------------------------------------------------------------------------- */

static void put_duration(struct buf *out, uint64_t ns)
{
    bool whole = ns % NS_PER_S == 0;
    buf_put_byte(out, '"');
    buf_put_u64(out, whole ? ns / NS_PER_S : ns / NS_PER_MS);
    buf_put_string(out, whole ? "s\"" : "ms\"");
}

/* The value of a field that nobody has set, as TOML; nothing where that has none. */
static void put_field(struct buf *out, const struct conf_option *option, const void *base)
{
    const void *field = (const uint8_t *)base + option->offset;
    switch (option->kind) {
    case OPTION_BOOL:
        buf_put_string(out, *(const bool *)field ? "true" : "false");
        return;
    case OPTION_COUNT:
        buf_put_u64(out, *(const uint32_t *)field);
        return;
    case OPTION_PORT:
        buf_put_u64(out, *(const uint16_t *)field);
        return;
    case OPTION_DURATION:
        if (*(const uint64_t *)field > 0) {
            put_duration(out, *(const uint64_t *)field);
        }
        return;
    case OPTION_CHOICE:
        buf_printf(out, "\"%s\"", option->choices[*(const unsigned *)field]);
        return;
    case OPTION_TEXT:
    case OPTION_HOST:
        if (((const struct slice *)field)->size > 0) {
            buf_printf(out, "\"%.*s\"", SHOW(*(const struct slice *)field));
        }
        return;
    case OPTION_OWN:
        if (option->apply == conf_apply_limit) {
            buf_put_u64(out, *(const uint32_t *)field);
        }
        return;
    case OPTION_COUNT64:
    case OPTION_LEVEL:
    case OPTION_SIZE:
    case OPTION_AMOUNT:
    case OPTION_NAME:
    case OPTION_PATH:
    case OPTION_NOTE:
    case OPTION_LATER:
    case OPTION_LATER_IF:
        return;
    }
    CHECK(false);
}

/* What somebody has said, or the default. */
struct in_force {
    struct slice text;
    struct slice origin;
    bool said;
};

static void visit_one(const struct conf_option *option, const char *name, const void *base,
                      const struct in_force *said, conf_option_visit *visit, void *context)
{
    uint8_t bytes[VALUE_BYTES_MAX];
    struct buf value;
    buf_init(&value, bytes, sizeof(bytes));
    if (said->said) {
        visit(context, name, said->text, said->origin);
        return;
    }
    put_field(&value, option, base);
    if (value.size > 0) {
        visit(context, name, buf_slice(&value), SLICE(CONF_ORIGIN_DEFAULT));
    }
}

static struct in_force in_force_of(const struct conf_setting *setting)
{
    return setting == NULL ? (struct in_force){0}
                           : (struct in_force){setting->text, setting->origin, true};
}

void conf_queue_visit(const struct conf *conf, const struct conf_queue_key *key,
                      conf_option_visit *visit, void *context)
{
    static const struct conf_option hosts = {.name = "mx_list", .kind = OPTION_NOTE};
    struct queue_options queue;
    conf_queue(conf, key, &queue);
    for (size_t i = 0; i <= conf_queue_options.count; i++) {
        const struct conf_option *option =
            i < conf_queue_options.count ? &conf_queue_options.options[i] : &hosts;
        const struct in_force said = in_force_of(conf_queue_setting(conf, key, option->name));
        visit_one(option, option->name, &queue, &said, visit, context);
    }
}

/* The name of an option as it is told, NUL-ended; false: it does not fit. */
static bool told_name(struct buf *out, const char *prefix, const char *option, struct slice member)
{
    buf_put_string(out, prefix);
    buf_put_string(out, option);
    if (member.size > 0) {
        conf_key_put(out, member);
    }
    buf_put_byte(out, 0);
    return !out->overflow;
}

/* A map of names: rows of a struct named_rates or named_limits, which begin with their names. */
static void visit_named(const struct shaping_path *path, const struct conf_option *option,
                        conf_option_visit *visit, void *context)
{
    const void *field = (const uint8_t *)&path->options + option->offset;
    bool rates = option->apply == conf_apply_named_rates;
    const struct named_rates *by_rate = field;
    const struct named_limits *by_limit = field;
    for (size_t i = 0; i < (rates ? by_rate->count : by_limit->count); i++) {
        struct slice member = rates ? by_rate->rows[i].name : by_limit->rows[i].name;
        const struct shaping_said *said = shaping_path_said(path, option->name, member);
        uint8_t bytes[KEY_BYTES_MAX];
        struct buf name;
        buf_init(&name, bytes, sizeof(bytes));
        if (said != NULL && told_name(&name, "", option->name, member)) {
            visit(context, (const char *)bytes, said->text, said->origin);
        }
    }
}

void conf_path_visit(const struct shaping_path *path, conf_option_visit *visit, void *context)
{
    for (size_t i = 0; i < conf_path_options.count; i++) {
        const struct conf_option *option = &conf_path_options.options[i];
        if (option->apply == conf_apply_named_rates || option->apply == conf_apply_named_limits) {
            visit_named(path, option, visit, context);
            continue;
        }
        if (conf_option_bytes(option) == 0) {
            continue;
        }
        /* A queue has an option of this name, too. */
        bool shared = conf_options_have(&conf_queue_options, slice_from_string(option->name));
        const struct shaping_said *from = path->from[i];
        const struct in_force said = from == NULL
                                         ? (struct in_force){0}
                                         : (struct in_force){from->text, from->origin, true};
        uint8_t bytes[64];
        struct buf name;
        buf_init(&name, bytes, sizeof(bytes));
        if (told_name(&name, shared ? "shaping." : "", option->name, SLICE_NONE)) {
            visit_one(option, (const char *)bytes, &path->options, &said, visit, context);
        }
    }
}

void conf_source_visit(const struct conf *conf, const struct source_options *source,
                       conf_option_visit *visit, void *context)
{
    uint8_t bytes[KEY_BYTES_MAX];
    struct buf key;
    buf_init(&key, bytes, sizeof(bytes));
    buf_put_string(&key, "sources.source");
    conf_key_put(&key, source->name);
    buf_put_byte(&key, '.');
    for (size_t i = 0; i < conf->setting_count; i++) {
        const struct conf_setting *setting = &conf->settings[i];
        uint8_t name[KEY_BYTES_MAX];
        struct buf buf;
        buf_init(&buf, name, sizeof(name));
        if (slice_starts_with(setting->key, buf_slice(&key))) {
            buf_put_string(&buf, "source.");
            buf_put(&buf, slice_skip(setting->key, key.size));
            buf_put_byte(&buf, 0);
            visit(context, (const char *)name, setting->text, setting->origin);
        }
    }
}
