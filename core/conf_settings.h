/*
 * What a configuration sets, one by one: every key that stands in a file or in --set, with its
 * text, where it stands, and whether a change of it takes effect in a server that runs. From it
 * follow the difference of two configurations and the origin of what is in force
 * (core/conf_origin.h).
 *
 * Keys are written as for --set, parts that TOML does not take bare in quotes:
 * queues.queue."example.com".retry_interval, smtp_listener.0.relay_hosts. Texts are TOML, but for
 * secrets, which are "***". Pure; readable by any thread.
 */
#ifndef RINGPOST_CORE_CONF_SETTINGS_H
#define RINGPOST_CORE_CONF_SETTINGS_H

#include "core/conf.h"
#include "core/heap.h"

struct conf_setting {
    struct slice key;
    struct slice text;
    struct slice origin;   /* "FILE:LINE", or "--set" */
    uint64_t digest;       /* of its text, a secret's too */
    enum conf_effect effect;
};

/* The row of this key; null: nobody has set it. */
const struct conf_setting *conf_setting_find(const struct conf *conf, struct slice key);
/* The parts of a key, joined: "" and "queues" → queues; quoted where that has to be. */
void conf_key_put(struct buf *out, struct slice part);

/* Keys that differ, in order. What is not set on one side has no text there (null data). */
struct conf_change {
    struct slice key;
    struct slice old_text; /* borrowed from the configurations */
    struct slice new_text;
    enum conf_effect effect; /* CONF_NOW or CONF_RESTART */
};

/* Of the one that is in force and the next one; the array lies in `heap`. */
size_t conf_difference(const struct conf *running, const struct conf *next, struct heap *heap,
                       const struct conf_change **changes_out);

/*
 * `next` takes over what only a restart changes: fields and settings. Texts and paths of these
 * fields are borrowed from where `running` has them, which is the configuration of the start; the
 * listeners are copied.
 */
void conf_keep(struct conf *next, const struct conf *running);

/* --- for core/conf*.c ------------------------------------------------------------------------- */

struct conf_load;
struct conf_value;

/* Every setting of the tree, when all sections have been applied, in order. */
void conf_settings_collect(struct conf_load *load, struct conf *conf);
/* The parts of conf_keep: settings; listeners, if they do not stand where they did. */
void conf_settings_keep(struct conf *next, const struct conf *running, struct heap *heap);
void conf_listeners_keep(struct conf *next, const struct conf *running, struct heap *heap);
/* Where it stands, "FILE:LINE" or "--set", in the result's heap. */
struct slice conf_value_origin(struct conf_load *load, const struct conf_value *value);
/* A value as TOML, in the scratch heap; null is empty. */
struct slice conf_value_text(struct conf_load *load, const struct conf_value *value);

#endif
