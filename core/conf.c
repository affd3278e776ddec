#include "core/conf.h"

#include <string.h>

#include "core/conf_classifier.h"
#include "core/conf_dns.h"
#include "core/conf_files.h"
#include "core/conf_queues.h"
#include "core/conf_relay.h"
#include "core/conf_routes.h"
#include "core/conf_sections.h"
#include "core/conf_settings.h"
#include "core/conf_shaping.h"
#include "core/conf_sources.h"

/* What conf_free needs beside what everyone may read. */
struct conf_whole {
    struct conf conf;
    struct heap heap; /* everything of this configuration, this struct included */
};

typedef void section_apply(struct conf_load *load, const struct conf_value *value,
                           struct conf *conf);

struct section {
    const char *name;
    section_apply *apply; /* null: not built yet */
    bool always;          /* applied without a section too, with a null value */
    enum conf_effect effect; /* of what stands in it and is no row of a table of options */
    /* Reads what its `files` name, a helper's content; null: it has none. */
    void (*files)(struct conf_load *load, const struct conf_input *input,
                  struct conf_value *section);
};

/* In the order in which they are applied: [node] before what takes its host name from it, listeners
 * before [domains], which names them, [sources] before what names its pools. */
static const struct section sections[] = {
    {"node", conf_apply_node, false, CONF_NOTHING, NULL},
    {"spool", conf_apply_spool, false, CONF_NOTHING, NULL},
    {"memory", conf_apply_memory, false, CONF_NOTHING, NULL},
    {"log", conf_apply_log, false, CONF_NOTHING, NULL},
    {"tsa", conf_apply_tsa, false, CONF_NOTHING, NULL},
    {"smtp_listener", conf_apply_smtp_listeners, true, CONF_RESTART, NULL},
    {"http_listener", conf_apply_http_listeners, true, CONF_RESTART, NULL},
    {"domains", conf_apply_domains, true, CONF_NOW, conf_files_section},
    {"sources", conf_apply_sources, true, CONF_NOW, conf_files_section},
    {"queues", conf_apply_queues, true, CONF_NOW, conf_files_section},
    {"shaping", conf_apply_shaping, true, CONF_NOW, conf_files_blocks},
    {"dns", conf_apply_dns, true, CONF_NOTHING, NULL},
    {"redis", NULL, false, CONF_NOTHING, NULL},
    {"dkim", NULL, false, CONF_NOTHING, NULL},
    {"bounce_classifier", conf_apply_classifier, false, CONF_NOW, conf_files_apart},
};

/* What stands in a configuration of ringpost-tsad, which has no mail. False: it is an error. */
static bool is_of_tsad(struct conf_load *load, const struct section *section,
                       const struct conf_value *value)
{
    static const char *const names[] = {"node",    "memory",  "tsa", "http_listener",
                                        "sources", "shaping", "dns", "log"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (strcmp(section->name, names[i]) == 0) {
            if (i >= COUNT_OF(names) - 2) {
                conf_note(load, value, "[%s] has no effect in ringpost-tsad", section->name);
            }
            return true;
        }
    }
    conf_error(load, value, "[%s] is not for ringpost-tsad", section->name);
    return false;
}

/* The names above as rows, for the message about an unknown one. */
static const struct conf_option section_rows[] = {
    {.name = "include"},       {.name = "node"},    {.name = "spool"},   {.name = "memory"},
    {.name = "log"},           {.name = "tsa"},     {.name = "queues"},  {.name = "shaping"},
    {.name = "smtp_listener"}, {.name = "dns"},     {.name = "redis"},   {.name = "sources"},
    {.name = "http_listener"}, {.name = "domains"}, {.name = "dkim"},
    {.name = "bounce_classifier"},
};
static const struct conf_options section_names = {
    .options = section_rows, .count = COUNT_OF(section_rows)};

/* What their `files` hold, when it is known from all of them, and from --set, which these are. */
static void sections_complete(struct conf_load *load, const struct conf_input *input)
{
    for (size_t i = 0; i < COUNT_OF(sections); i++) {
        struct conf_value *value = conf_tree_member(load->root, sections[i].name);
        if (value != NULL && sections[i].files != NULL) {
            sections[i].files(load, input, value);
        }
    }
}

/* Whoever has none has a resolver on this host, as resolv.conf(5) has it. */
static void resolv_read(struct conf_load *load, const struct conf_input *input)
{
    uint8_t memory[CONF_REASON_BYTES_MAX];
    struct buf reason;
    struct slice bytes;
    buf_init(&reason, memory, sizeof(memory));
    if (input->resolv_file != NULL &&
        input->read(input->read_context, input->resolv_file, &bytes, &reason)) {
        load->resolv = bytes;
    }
}

static void sections_apply(struct conf_load *load, struct conf *conf)
{
    for (size_t i = 0; i < COUNT_OF(sections); i++) {
        const struct conf_value *value = conf_tree_member(load->root, sections[i].name);
        if (value != NULL && load->input->program == CONF_TSAD &&
            !is_of_tsad(load, &sections[i], value)) {
            continue;
        }
        if (value != NULL && sections[i].apply == NULL) {
            conf_error(load, value, "[%s]: not built yet in this version", sections[i].name);
        } else if (value != NULL || sections[i].always) {
            if (value != NULL) {
                value->mark->effect = sections[i].effect;
            }
            sections[i].apply(load, value, conf);
        }
    }
    for (const struct conf_value *at = load->root->first; at != NULL; at = at->next) {
        bool known = slice_equal(at->key, SLICE("include"));
        for (size_t i = 0; i < COUNT_OF(sections); i++) {
            known = known || slice_equal(at->key, slice_from_string(sections[i].name));
        }
        if (!known) {
            conf_unknown(load, &section_names, at);
        }
    }
}

static struct slice folder_of(const char *file)
{
    struct slice path = file == NULL ? SLICE_NONE : slice_from_string(file);
    while (path.size > 0 && path.data[path.size - 1] != '/') {
        path.size--;
    }
    return path;
}

struct conf *conf_load(const struct conf_input *input, struct conf_messages *messages)
{
    struct heap heap;
    heap_init(&heap);
    struct conf_whole *whole = heap_take(&heap, sizeof(*whole));
    struct conf_load load = {
        .heap = &heap, .messages = messages, .folder = folder_of(input->file),
        .input = input};
    unsigned errors = messages->errors;
    heap_init(&load.scratch);
    load.root = heap_take(&load.scratch, sizeof(*load.root));
    load.root->kind = TOML_TABLE;
    conf_files_main(&load, input);
    if (input->file != NULL) {
        whole->conf.file =
            (const char *)heap_copy(&heap, slice_from_string(input->file)).data;
    }
    for (size_t i = 0; i < input->set_count; i++) {
        conf_tree_set(&load, input->sets[i]);
    }
    sections_complete(&load, input);
    resolv_read(&load, input);
    conf_sections_default(&load, &whole->conf, input->hostname);
    sections_apply(&load, &whole->conf);
    if (messages->errors == errors) {
        conf_settings_collect(&load, &whole->conf);
    }
    heap_fini(&load.scratch);
    whole->heap = heap;
    if (messages->errors > errors) {
        conf_free(&whole->conf);
        return NULL;
    }
    return &whole->conf;
}

void conf_keep(struct conf *next, const struct conf *running)
{
    struct heap *heap = &CONTAINER_OF(next, struct conf_whole, conf)->heap;
    conf_settings_keep(next, running, heap); /* while it can be seen which listeners stand */
    conf_listeners_keep(next, running, heap);
    conf_sections_keep(next, running, heap);
    conf_dns_keep(next, running);
}

void conf_free(struct conf *conf)
{
    if (conf == NULL) {
        return;
    }
    struct heap heap = CONTAINER_OF(conf, struct conf_whole, conf)->heap;
    conf_classifier_free(conf->classifier);
    if (conf->shaping != NULL) {
        shaping_rule_set_free(conf->shaping->rules);
    }
    heap_fini(&heap);
}
