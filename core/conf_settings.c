#include "core/conf_settings.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "core/check.h"
#include "core/conf_relay.h"
#include "core/conf_tree.h"

#define DEEPEST       (CONF_DEPTH_MAX + 3)
#define KEY_BYTES_MAX 4096
#define TEXT_BYTES    512 /* of a value, as nearly all are */
#define MASK          SLICE("\"***\"")

/* --- texts ------------------------------------------------------------------------------------ */

static void put_quoted(struct buf *out, struct slice text)
{
    buf_put_byte(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (byte < 0x20 || byte == 0x7F) {
            buf_printf(out, "\\u%04X", byte);
            continue;
        }
        if (byte == '"' || byte == '\\') {
            buf_put_byte(out, '\\');
        }
        buf_put_byte(out, byte);
    }
    buf_put_byte(out, '"');
}

static bool is_bare(struct slice part)
{
    for (size_t i = 0; i < part.size; i++) {
        uint8_t byte = part.data[i];
        bool letter = (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z';
        bool digit = byte >= '0' && byte <= '9';
        if (!letter && !digit && byte != '_' && byte != '-') {
            return false;
        }
    }
    return part.size > 0;
}

static void put_part(struct buf *out, struct slice part)
{
    if (is_bare(part)) {
        buf_put(out, part);
    } else {
        put_quoted(out, part);
    }
}

void conf_key_put(struct buf *out, struct slice part)
{
    if (out->size > 0) {
        buf_put_byte(out, '.');
    }
    put_part(out, part);
}

static void put_plain(struct buf *out, const struct conf_value *value)
{
    switch (value->kind) {
    case TOML_STRING:
        put_quoted(out, value->as.text);
        return;
    case TOML_INTEGER:
        buf_printf(out, "%" PRId64, value->as.integer);
        return;
    case TOML_FLOAT:
        buf_printf(out, "%g", value->as.real);
        return;
    case TOML_BOOL:
        buf_put_string(out, value->as.flag ? "true" : "false");
        return;
    case TOML_TIME:
        buf_put_string(out, "a date");
        return;
    case TOML_TABLE:
    case TOML_ARRAY:
        break;
    }
    CHECK(false);
}

static bool is_container(const struct conf_value *value)
{
    return value->kind == TOML_TABLE || value->kind == TOML_ARRAY;
}

/* A value with all that is in it, without recursion: `open` are the containers around `at`. */
static void put_value(struct buf *out, const struct conf_value *value)
{
    const struct conf_value *open[DEEPEST];
    unsigned depth = 0;
    const struct conf_value *at = value;
    for (;;) {
        if (at->key.size > 0 && at != value) {
            put_part(out, at->key);
            buf_put_string(out, " = ");
        }
        if (is_container(at) && at->first != NULL && depth < DEEPEST) {
            buf_put_byte(out, at->kind == TOML_TABLE ? '{' : '[');
            open[depth++] = at;
            at = at->first;
            continue;
        }
        if (is_container(at)) {
            buf_put_string(out, at->kind == TOML_TABLE ? "{}" : "[]");
        } else {
            put_plain(out, at);
        }
        while (depth > 0 && at->next == NULL) {
            at = open[--depth];
            buf_put_byte(out, at->kind == TOML_TABLE ? '}' : ']');
        }
        if (depth == 0) {
            return;
        }
        buf_put_string(out, ", ");
        at = at->next;
    }
}

struct slice conf_value_text(struct conf_load *load, const struct conf_value *value)
{
    uint8_t memory[TEXT_BYTES];
    struct buf text;
    if (value == NULL) {
        return SLICE_NONE;
    }
    buf_init(&text, memory, sizeof(memory));
    put_value(&text, value);
    if (!text.overflow) {
        return heap_copy(&load->scratch, buf_slice(&text));
    }
    for (size_t bytes = 4 * TEXT_BYTES;; bytes *= 4) {
        buf_init(&text, heap_take(&load->scratch, bytes), bytes);
        put_value(&text, value);
        if (!text.overflow) {
            return buf_slice(&text);
        }
    }
}

/* --- collecting ------------------------------------------------------------------------------- */

struct found {
    struct found *next;
    struct conf_setting setting;
};

struct walk {
    struct conf_load *load;
    struct found *found; /* the last one first */
    size_t count;
    unsigned depth;
    struct level {
        const struct conf_value *at; /* whose members are looked at */
        size_t key_bytes;
        struct conf_mark mark;       /* of it, or of what it stands in */
        size_t index;
    } levels[DEEPEST];
    struct buf key;
    uint8_t key_memory[KEY_BYTES_MAX];
};

struct slice conf_value_origin(struct conf_load *load, const struct conf_value *value)
{
    uint8_t origin[KEY_BYTES_MAX];
    struct buf buf;
    buf_init(&buf, origin, sizeof(origin));
    buf_put_string(&buf, value->file);
    if (value->line > 0 && !slice_equal(buf_slice(&buf), SLICE("--set"))) {
        buf_printf(&buf, ":%" PRIu32, value->line);
    }
    return heap_copy(load->heap, buf_slice(&buf));
}

static void leaf_add(struct walk *walk, const struct conf_value *value, struct conf_mark mark)
{
    struct conf_load *load = walk->load;
    struct slice text = conf_value_text(load, value);
    struct found *found = heap_take(&load->scratch, sizeof(*found));
    found->setting = (struct conf_setting){
        .key = heap_copy(load->heap, buf_slice(&walk->key)),
        .text = heap_copy(load->heap, mark.secret ? MASK : text),
        .origin = conf_value_origin(load, value),
        .digest = XXH3_64bits(text.data, text.size),
        .effect = mark.effect,
    };
    found->next = walk->found;
    walk->found = found;
    walk->count++;
}

/* [[smtp_listener]] and the like have a key for each element; other arrays are values. */
static bool is_inner(const struct walk *walk, const struct conf_value *value)
{
    return value->first != NULL && walk->depth < DEEPEST &&
           (value->kind == TOML_TABLE || (value->table_array && walk->depth == 1));
}

static void level_enter(struct walk *walk, const struct conf_value *value, struct conf_mark mark)
{
    walk->levels[walk->depth++] = (struct level){
        .at = value->first, .key_bytes = walk->key.size, .mark = mark};
}

/* The next member of the innermost level, or the level's end. */
static void walk_step(struct walk *walk)
{
    struct level *level = &walk->levels[walk->depth - 1];
    const struct conf_value *value = level->at;
    walk->key.size = level->key_bytes;
    walk->key.overflow = false;
    if (value == NULL) {
        walk->depth--;
        return;
    }
    struct conf_mark mark = value->mark->effect != CONF_UNSAID ? *value->mark : level->mark;
    level->at = value->next;
    if (value->key.size == 0) {
        buf_printf(&walk->key, ".%zu", level->index++);
    } else {
        conf_key_put(&walk->key, value->key);
    }
    if (is_inner(walk, value)) {
        level_enter(walk, value, mark);
    } else if (mark.effect == CONF_NOW || mark.effect == CONF_RESTART) {
        leaf_add(walk, value, mark);
    }
}

static int order(const void *a, const void *b)
{
    const struct conf_setting *first = a;
    const struct conf_setting *second = b;
    return slice_compare(first->key, second->key);
}

void conf_settings_collect(struct conf_load *load, struct conf *conf)
{
    struct walk *walk = heap_take(&load->scratch, sizeof(*walk));
    walk->load = load;
    buf_init(&walk->key, walk->key_memory, sizeof(walk->key_memory));
    level_enter(walk, load->root, (struct conf_mark){0});
    while (walk->depth > 0) {
        walk_step(walk);
    }
    struct conf_setting *rows = heap_take_array(load->heap, walk->count + 1, sizeof(*rows));
    size_t count = 0;
    for (const struct found *at = walk->found; at != NULL; at = at->next) {
        rows[count++] = at->setting;
    }
    qsort(rows, count, sizeof(*rows), order);
    conf->settings = rows;
    conf->setting_count = count;
}

const struct conf_setting *conf_setting_find(const struct conf *conf, struct slice key)
{
    const struct conf_setting wanted = {.key = key};
    return conf->setting_count == 0 ? NULL
                                    : bsearch(&wanted, conf->settings, conf->setting_count,
                                              sizeof(wanted), order);
}

/* --- differences ------------------------------------------------------------------------------ */

/* Listeners are told apart by their number: when these do not stand for the same addresses in both,
 * what belongs to one would come to another. */
static bool smtp_listeners_stand(const struct conf *a, const struct conf *b)
{
    bool same = a->smtp_listener_count == b->smtp_listener_count;
    for (size_t i = 0; same && i < a->smtp_listener_count; i++) {
        same = endpoint_equal(&a->smtp_listeners[i].listen, &b->smtp_listeners[i].listen);
    }
    return same;
}

static bool http_listeners_stand(const struct conf *a, const struct conf *b)
{
    bool same = a->http_listener_count == b->http_listener_count;
    for (size_t i = 0; same && i < a->http_listener_count; i++) {
        same = endpoint_equal(&a->http_listeners[i].listen, &b->http_listeners[i].listen);
    }
    return same;
}

/* What a change of this key takes, when only these listeners stand as they did. */
struct standing {
    bool smtp;
    bool http;
};

static struct standing standing_of(const struct conf *running, const struct conf *next)
{
    return (struct standing){smtp_listeners_stand(running, next),
                             http_listeners_stand(running, next)};
}

static enum conf_effect effect_of(const struct conf_setting *setting,
                                  const struct standing *standing)
{
    bool moved = (!standing->smtp && slice_starts_with(setting->key, SLICE("smtp_listener."))) ||
                 (!standing->http && slice_starts_with(setting->key, SLICE("http_listener.")));
    return moved ? CONF_RESTART : setting->effect;
}

/* Both lists at once, in order of their keys. */
struct pair {
    const struct conf_setting *old_one; /* null: only the other has it */
    const struct conf_setting *new_one;
};

static struct pair pair_next(const struct conf *running, const struct conf *next, size_t *i,
                             size_t *j)
{
    struct pair pair = {
        .old_one = *i < running->setting_count ? &running->settings[*i] : NULL,
        .new_one = *j < next->setting_count ? &next->settings[*j] : NULL,
    };
    if (pair.old_one != NULL && pair.new_one != NULL) {
        int compared = order(pair.old_one, pair.new_one);
        pair.new_one = compared < 0 ? NULL : pair.new_one;
        pair.old_one = compared > 0 ? NULL : pair.old_one;
    }
    *i += pair.old_one != NULL;
    *j += pair.new_one != NULL;
    return pair;
}

size_t conf_difference(const struct conf *running, const struct conf *next, struct heap *heap,
                       const struct conf_change **changes_out)
{
    size_t i = 0;
    size_t j = 0;
    size_t count = 0;
    struct standing standing = standing_of(running, next);
    struct conf_change *changes = heap_take_array(
        heap, running->setting_count + next->setting_count + 1, sizeof(*changes));
    while (i < running->setting_count || j < next->setting_count) {
        struct pair pair = pair_next(running, next, &i, &j);
        const struct conf_setting *any = pair.new_one != NULL ? pair.new_one : pair.old_one;
        if (pair.old_one != NULL && pair.new_one != NULL &&
            pair.old_one->digest == pair.new_one->digest) {
            continue;
        }
        changes[count++] = (struct conf_change){
            .key = any->key,
            .old_text = pair.old_one != NULL ? pair.old_one->text : SLICE_NONE,
            .new_text = pair.new_one != NULL ? pair.new_one->text : SLICE_NONE,
            .effect = effect_of(any, &standing),
        };
    }
    *changes_out = changes;
    return count;
}

/* --- what a restart alone changes ------------------------------------------------------------- */

static struct conf_setting setting_copy(struct heap *heap, const struct conf_setting *setting)
{
    struct conf_setting copy = *setting;
    copy.key = heap_copy(heap, setting->key);
    copy.text = heap_copy(heap, setting->text);
    copy.origin = heap_copy(heap, setting->origin);
    return copy;
}

void conf_settings_keep(struct conf *next, const struct conf *running, struct heap *heap)
{
    size_t i = 0;
    size_t j = 0;
    size_t count = 0;
    struct standing standing = standing_of(running, next);
    struct conf_setting *rows = heap_take_array(
        heap, running->setting_count + next->setting_count + 1, sizeof(*rows));
    while (i < running->setting_count || j < next->setting_count) {
        struct pair pair = pair_next(running, next, &i, &j);
        const struct conf_setting *any = pair.new_one != NULL ? pair.new_one : pair.old_one;
        if (effect_of(any, &standing) == CONF_RESTART) {
            if (pair.old_one != NULL) {
                rows[count++] = setting_copy(heap, pair.old_one);
            }
        } else if (pair.new_one != NULL) {
            rows[count++] = *pair.new_one;
        }
    }
    next->settings = rows;
    next->setting_count = count;
}

static const struct network *networks_copy(struct heap *heap, const struct network *networks,
                                           size_t count)
{
    struct network *copy = heap_take_array(heap, count + 1, sizeof(*copy));
    if (count > 0) {
        memcpy(copy, networks, count * sizeof(*copy));
    }
    return copy;
}

/* Listeners that do not stand as they did stay as they were, all of them. */
void conf_listeners_keep(struct conf *next, const struct conf *running, struct heap *heap)
{
    if (!smtp_listeners_stand(running, next)) {
        size_t count = running->smtp_listener_count;
        struct conf_smtp_listener *rows = heap_take_array(heap, count + 1, sizeof(*rows));
        for (size_t i = 0; i < count; i++) {
            rows[i] = running->smtp_listeners[i];
            rows[i].hostname = heap_copy(heap, rows[i].hostname);
            rows[i].banner = heap_copy(heap, rows[i].banner);
            rows[i].relay_hosts =
                networks_copy(heap, rows[i].relay_hosts, rows[i].relay_host_count);
            rows[i].proxies = networks_copy(heap, rows[i].proxies, rows[i].proxy_count);
            rows[i].xclient_hosts =
                networks_copy(heap, rows[i].xclient_hosts, rows[i].xclient_host_count);
        }
        next->smtp_listeners = rows;
        next->smtp_listener_count = count;
        conf_relay_keep(next, running, heap);
    }
    if (!http_listeners_stand(running, next)) {
        size_t count = running->http_listener_count;
        struct conf_http_listener *rows = heap_take_array(heap, count + 1, sizeof(*rows));
        for (size_t i = 0; i < count; i++) {
            rows[i] = running->http_listeners[i];
            rows[i].hostname = heap_copy(heap, rows[i].hostname);
            rows[i].trusted_hosts =
                networks_copy(heap, rows[i].trusted_hosts, rows[i].trusted_host_count);
        }
        next->http_listeners = rows;
        next->http_listener_count = count;
    }
}
