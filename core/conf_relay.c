#include "core/conf_relay.h"

#include <string.h>

#include "core/conf_routes.h"

/* Blocks of one listener may be for one that comes with the next restart. */
#define LISTENERS_MAX (4 * CONF_LISTENERS_MAX)

#define SHOW(slice) (int)(slice).size, (const char *)(slice).data
#define FIELD(text, its_kind, type, field)                                                         \
    .name = (text), .kind = (its_kind), .offset = offsetof(struct type, field)
#define OPTIONS(rows) .options = (rows), .count = COUNT_OF(rows)

/* --- options ---------------------------------------------------------------------------------- */

static void apply_relay_from(struct conf_load *load, const struct conf_option *option,
                             const struct conf_value *value, void *base)
{
    struct relay_options *relay = base;
    (void)option;
    (void)conf_networks(load, value, &relay->relay_from, &relay->relay_from_count);
}

/* true is LogThenRelay, as in KumoMTA. */
static void apply_reports(struct conf_load *load, const struct conf_option *option,
                          const struct conf_value *value, void *base)
{
    static const char *const words[] = {
        [CONF_REPORT_IGNORE] = "Ignore",
        [CONF_REPORT_RELAY] = "LogThenRelay",
        [CONF_REPORT_DROP] = "LogThenDrop",
    };
    enum conf_report report = CONF_REPORT_IGNORE;
    bool found = value->kind == TOML_BOOL;
    if (found && value->as.flag) {
        report = CONF_REPORT_RELAY;
    }
    for (size_t i = 0; i < COUNT_OF(words) && value->kind == TOML_STRING && !found; i++) {
        found = slice_equal(value->as.text, slice_from_string(words[i]));
        report = found ? (enum conf_report)i : report;
    }
    if (!found) {
        conf_error(load, value, "%s wants true, false, or one of \"Ignore\", \"LogThenRelay\", "
                   "\"LogThenDrop\"", option->name);
    }
    memcpy((uint8_t *)base + option->offset, &report, sizeof(report));
}

static const struct conf_option relay_rows[] = {
    {FIELD("relay_to", OPTION_BOOL, relay_options, relay_to)},
    {.name = "relay_from", .kind = OPTION_OWN, .apply = apply_relay_from},
    {.name = "relay_from_authz", .kind = OPTION_LATER},
    {FIELD("log_oob", OPTION_OWN, relay_options, log_oob), .apply = apply_reports},
    {FIELD("log_arf", OPTION_OWN, relay_options, log_arf), .apply = apply_reports},
};
static const struct conf_options relay_options_rows = {OPTIONS(relay_rows), RELOADS};

/* Members of [domains] beside the blocks. */
static const struct conf_option section_rows[] = {
    {.name = "files", .kind = OPTION_OWN, .apply = conf_apply_files},
    {.name = "listener", .kind = OPTION_OWN, .apply = conf_apply_table},
};
static const struct conf_options section_members = {
    OPTIONS(section_rows), RELOADS, .inner_tables = true};

/* --- blocks ----------------------------------------------------------------------------------- */

static bool relays_reports(const struct relay_options *options)
{
    return !options->relay_to && (options->log_oob == CONF_REPORT_RELAY ||
                                  options->log_arf == CONF_REPORT_RELAY);
}

static void block_apply(struct conf_load *load, struct conf *conf, const struct conf_value *table,
                        struct conf_domains *blocks)
{
    uint8_t bytes[CONF_DOMAIN_BYTES_MAX];
    struct slice name;
    if (!conf_want(load, table, TOML_TABLE) || !conf_domains_name(load, table, bytes, &name)) {
        return;
    }
    struct relay_options *options = heap_take(load->heap, sizeof(*options));
    conf_options_apply(load, &relay_options_rows, table, options);
    if (options->relay_to && slice_equal(name, SLICE("*"))) {
        conf_note(load, table, "relay_to of \"*\": anybody who can connect may send to any domain "
                  "that has no block of its own");
    }
    if (relays_reports(options) && slice_equal(name, SLICE("*"))) {
        conf_note(load, table, "LogThenRelay (true) of \"*\": anybody who can connect may send "
                  "reports to any domain that has no block of its own");
    }
    conf->relay.logs_reports = conf->relay.logs_reports ||
                               options->log_oob != CONF_REPORT_IGNORE ||
                               options->log_arf != CONF_REPORT_IGNORE;
    conf_domains_add(load, blocks, table, name, options);
}

static bool is_block(const struct conf_value *at)
{
    return at->kind == TOML_TABLE && !conf_options_have(&section_members, at->key);
}

/* Is there a listener there? */
static bool is_listener(const struct conf *conf, const struct endpoint *listen)
{
    bool found = false;
    for (size_t i = 0; i < conf->smtp_listener_count; i++) {
        found = found || endpoint_equal(&conf->smtp_listeners[i].listen, listen);
    }
    return found;
}

static const struct conf_domains *listener_find(const struct conf *conf,
                                                const struct endpoint *listen)
{
    for (size_t i = 0; i < conf->relay.listener_count; i++) {
        if (endpoint_equal(&conf->relay.listeners[i].listen, listen)) {
            return conf->relay.listeners[i].blocks;
        }
    }
    return NULL;
}

/* [domains.listener."ADDRESS:PORT"]; "*" is all of them, as in KumoMTA. */
static void listener_apply(struct conf_load *load, struct conf *conf,
                           const struct conf_value *table, struct conf_domains *all,
                           struct conf_relay_listener *next)
{
    struct conf_domains *blocks = all;
    if (!conf_want(load, table, TOML_TABLE)) {
        return;
    }
    if (!slice_equal(table->key, SLICE("*"))) {
        if (!endpoint_parse(table->key, 0, &next->listen)) {
            conf_error(load, table, "\"%.*s\" is no ADDRESS:PORT of a listener",
                       SHOW(table->key));
            return;
        }
        if (listener_find(conf, &next->listen) != NULL) {
            conf_error(load, table, "\"%.*s\" stands for a listener that has blocks already",
                       SHOW(table->key));
            return;
        }
        if (!is_listener(conf, &next->listen)) {
            conf_note(load, table, "no [[smtp_listener]] listens on \"%.*s\"",
                      SHOW(table->key));
        }
        blocks = conf_domains_new(load, table->count, NULL);
        next->blocks = blocks;
        conf->relay.listener_count++;
    }
    for (const struct conf_value *at = table->first; at != NULL; at = at->next) {
        block_apply(load, conf, at, blocks);
    }
}

/* Blocks of all listeners: those of the section, and of listener."*". */
static size_t count_blocks(const struct conf_value *section, const struct conf_value *listeners)
{
    const struct conf_value *all =
        listeners == NULL ? NULL : conf_tree_member(listeners, "*");
    return (section == NULL ? 0 : section->count) + (all == NULL ? 0 : all->count);
}

void conf_apply_domains(struct conf_load *load, const struct conf_value *section,
                        struct conf *conf)
{
    if (section != NULL && section->kind == TOML_TABLE) {
        conf_options_apply(load, &section_members, section, &conf->relay);
    } else if (section != NULL) {
        (void)conf_want(load, section, TOML_TABLE);
        section = NULL;
    }
    const struct conf_value *tables = conf_tree_table(section, "listener");
    size_t count = tables == NULL ? 0 : tables->count;
    if (count > LISTENERS_MAX) {
        conf_error(load, tables, "at most %d listeners have blocks of their own", LISTENERS_MAX);
        count = 0;
        tables = NULL;
    }
    struct conf_domains *all = conf_domains_new(load, count_blocks(section, tables), NULL);
    struct conf_relay_listener *listeners =
        heap_take_array(load->heap, count + 1, sizeof(*listeners));
    conf->relay.blocks = all;
    conf->relay.listeners = listeners;
    for (const struct conf_value *at = section == NULL ? NULL : section->first; at != NULL;
         at = at->next) {
        if (is_block(at)) {
            block_apply(load, conf, at, all);
        }
    }
    for (const struct conf_value *at = tables == NULL ? NULL : tables->first; at != NULL;
         at = at->next) {
        listener_apply(load, conf, at, all, &listeners[conf->relay.listener_count]);
    }
}

/* --- what there is ---------------------------------------------------------------------------- */

static const struct relay_options *block_find(const struct conf_domains *blocks,
                                              struct slice domain)
{
    return domain.size == 0 ? conf_domains_exact(blocks, SLICE("*"))
                            : conf_domains_find(blocks, domain, SLICE_NONE);
}

const struct relay_options *conf_relay(const struct conf *conf, const struct endpoint *listen,
                                       struct slice domain)
{
    const struct conf_domains *own = listener_find(conf, listen);
    const struct relay_options *found = own == NULL ? NULL : block_find(own, domain);
    return found != NULL ? found : block_find(conf->relay.blocks, domain);
}

/* --- what a restart alone changes ------------------------------------------------------------- */

static const void *options_copy(const void *options, struct heap *heap)
{
    struct relay_options *copy = heap_take(heap, sizeof(*copy));
    *copy = *(const struct relay_options *)options;
    struct network *networks =
        heap_take_array(heap, copy->relay_from_count + 1, sizeof(*networks));
    if (copy->relay_from_count > 0) {
        memcpy(networks, copy->relay_from, copy->relay_from_count * sizeof(*networks));
    }
    copy->relay_from = networks;
    return copy;
}

void conf_relay_keep(struct conf *next, const struct conf *running, struct heap *heap)
{
    size_t count = next->relay.listener_count;
    struct conf_relay_listener *rows =
        heap_take_array(heap, count + next->smtp_listener_count + 1, sizeof(*rows));
    if (count > 0) {
        memcpy(rows, next->relay.listeners, count * sizeof(*rows));
    }
    for (size_t i = 0; i < next->smtp_listener_count; i++) {
        const struct endpoint *listen = &next->smtp_listeners[i].listen;
        const struct conf_domains *own = listener_find(running, listen);
        if (own != NULL && listener_find(next, listen) == NULL) {
            rows[count++] = (struct conf_relay_listener){
                *listen, conf_domains_copy(own, options_copy, heap)};
        }
    }
    next->relay.logs_reports = next->relay.logs_reports || running->relay.logs_reports;
    next->relay.listeners = rows;
    next->relay.listener_count = count;
}
