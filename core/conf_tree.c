#include "core/conf_tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "core/conf_nodes.h"
#include "core/htab.h"

#define MESSAGE_BYTES_MAX 600
#define SET_BYTES_MAX     4096
#define MEMBERS_FEW       16 /* to look through them takes no longer than an index */
/* Whoever writes the configuration may choose keys that collide, and waits. */
#define HASH_SEED         1

/* --- messages -------------------------------------------------------------------------------- */

/* Names and values come from a file: nothing but printable ASCII goes on. */
static void put_printable(struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        bool printable = text.data[i] >= 0x20 && text.data[i] < 0x7F;
        buf_put_byte(out, printable ? text.data[i] : '?');
    }
}

static void put_message(struct conf_load *load, const struct conf_value *at, const char *kind,
                        const char *text)
{
    uint8_t bytes[2 * MESSAGE_BYTES_MAX];
    struct buf line;
    buf_init(&line, bytes, sizeof(bytes));
    if (at != NULL && at->file != NULL) {
        put_printable(&line, slice_from_string(at->file));
        if (at->line > 0) { /* else nobody knows it: JSON */
            buf_printf(&line, ":%u:%u", at->line, at->column);
        }
        buf_put_string(&line, ": ");
    }
    buf_put_string(&line, kind);
    buf_put(&line, SLICE(": "));
    put_printable(&line, slice_from_string(text));
    buf_put_byte(&line, '\n');
    buf_put(&load->messages->text, buf_slice(&line));
}

void conf_error(struct conf_load *load, const struct conf_value *at, const char *format, ...)
{
    char text[MESSAGE_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    load->messages->errors++;
    put_message(load, at, "error", text);
}

void conf_note(struct conf_load *load, const struct conf_value *at, const char *format, ...)
{
    char text[MESSAGE_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    load->messages->notes++;
    put_message(load, at, "note", text);
}

const char *conf_kind_name(const struct conf_value *value)
{
    switch (value->kind) {
    case TOML_TABLE:
        return "a table";
    case TOML_ARRAY:
        return "an array";
    case TOML_STRING:
        return "a string";
    case TOML_INTEGER:
        return "an integer";
    case TOML_FLOAT:
        return "a number with a point";
    case TOML_BOOL:
        return "true or false";
    case TOML_TIME:
        break;
    }
    return "a date";
}

/* --- the tree -------------------------------------------------------------------------------- */

/* A container whose members still have to be copied in. */
struct pending {
    struct pending *next;
    const struct toml_node *node;
    struct conf_value *target;
    const struct conf_value *last; /* of the target when its turn came; null: it was empty */
    const struct htab *before;     /* its members then, by key; null: they are few */
    bool front;               /* elements go before those that the target has … */
    struct conf_value *after; /* … behind this one, the last of them; null: none has yet */
    unsigned depth;
};

struct adding {
    struct conf_load *load;
    const struct conf_nodes *nodes;
    const char *file;
    bool replace;            /* --set: the later value wins */
    bool under;              /* files of a section: what is there stays */
    const char *joined;      /* but for lists of this name; null: there are none */
    uint32_t number;         /* of the file among all, in the order in which they count */
    struct pending *waiting;
    struct pending *now;
};

static struct conf_value *member_find(const struct conf_value *table, struct slice key)
{
    for (struct conf_value *value = table->first; value != NULL; value = value->next) {
        if (slice_equal(value->key, key)) {
            return value;
        }
    }
    return NULL;
}

struct conf_value *conf_tree_member(const struct conf_value *table, const char *key)
{
    return member_find(table, slice_from_string(key));
}

const struct conf_value *conf_tree_table(const struct conf_value *table, const char *key)
{
    const struct conf_value *at = table == NULL ? NULL : conf_tree_member(table, key);
    return at != NULL && at->kind == TOML_TABLE ? at : NULL;
}

struct conf_value *conf_tree_take(struct conf_value *table, const char *key)
{
    struct conf_value *value = conf_tree_member(table, key);
    struct conf_value *before = table->first == value ? NULL : table->first;
    if (value == NULL) {
        return NULL;
    }
    while (before != NULL && before->next != value) {
        before = before->next;
    }
    if (before == NULL) {
        table->first = value->next;
    } else {
        before->next = value->next;
    }
    if (table->last == value) {
        table->last = before;
    }
    table->count--;
    value->next = NULL;
    return value;
}

static struct conf_value *value_take(struct conf_load *load)
{
    struct {
        struct conf_value value;
        struct conf_mark mark;
    } *both = heap_take(&load->scratch, sizeof(*both));
    both->value.mark = &both->mark;
    return &both->value;
}

static struct conf_value *child_append(struct conf_load *load, struct conf_value *target,
                                       struct slice key)
{
    struct conf_value *value = value_take(load);
    value->key = heap_copy(&load->scratch, key);
    if (target->last == NULL) {
        target->first = value;
    } else {
        target->last->next = value;
    }
    target->last = value;
    target->count++;
    return value;
}

/* A new element: the last one, or behind those that have come before the others. */
static struct conf_value *element_add(struct adding *adding, struct conf_value *array)
{
    struct pending *now = adding->now;
    if (!now->front) {
        return child_append(adding->load, array, SLICE_NONE);
    }
    struct conf_value *value = value_take(adding->load);
    struct conf_value **link = now->after == NULL ? &array->first : &now->after->next;
    value->next = *link;
    *link = value;
    now->after = value;
    array->last = value->next == NULL ? value : array->last;
    array->count++;
    return value;
}

static struct pending *descend(struct adding *adding, const struct toml_node *node,
                               struct conf_value *target)
{
    unsigned depth = adding->now == NULL ? 0 : adding->now->depth + 1;
    if (depth > CONF_DEPTH_MAX) {
        conf_error(adding->load, target, "tables and arrays nest deeper than %u", CONF_DEPTH_MAX);
        return NULL;
    }
    struct pending *pending = heap_take(&adding->load->scratch, sizeof(*pending));
    *pending = (struct pending){
        .next = adding->waiting, .node = node, .target = target, .depth = depth};
    adding->waiting = pending;
    return pending;
}

static void first_key(void *context, const struct toml_entry *entry)
{
    *(struct slice *)context = entry->key;
}

/* "smtp_listener.0.listen" where no such array stands: its table {0 = …} means an array. */
static bool means_array(const struct adding *adding, const struct toml_node *node)
{
    struct slice key = SLICE_NONE;
    const struct conf_nodes *nodes = adding->nodes;
    if (!adding->replace || nodes->kind(node) != TOML_TABLE || nodes->count(node) != 1) {
        return false;
    }
    nodes->walk(node, first_key, &key);
    return slice_equal(key, SLICE("0"));
}

static uint64_t place_of(const struct adding *adding, const struct toml_entry *entry)
{
    return (uint64_t)adding->number << 48 | (uint64_t)entry->line << 16 |
           MIN_OF(entry->column, UINT16_MAX);
}

static void value_fill(struct adding *adding, struct conf_value *value,
                       const struct toml_entry *entry)
{
    const struct toml_node *node = entry->node;
    value->first = value->last = NULL;
    value->count = 0;
    value->kind = adding->nodes->kind(node);
    value->table_array = adding->nodes->is_table_array(node);
    value->file = adding->file;
    value->line = entry->line;
    value->column = entry->column;
    value->place = place_of(adding, entry);
    switch (value->kind) {
    case TOML_STRING:
        value->as.text = heap_copy(&adding->load->scratch, adding->nodes->string(node));
        return;
    case TOML_INTEGER:
        value->as.integer = adding->nodes->integer(node);
        return;
    case TOML_FLOAT:
        value->as.real = adding->nodes->real(node);
        return;
    case TOML_BOOL:
        value->as.flag = adding->nodes->flag(node);
        return;
    case TOML_TIME:
        return;
    case TOML_TABLE:
    case TOML_ARRAY:
        break;
    }
    if (means_array(adding, node)) {
        value->kind = TOML_ARRAY;
        value->table_array = true;
    }
    (void)descend(adding, node, value);
}

/* "smtp_listener.0…" of --set: the element with that index, or a new one right behind the last. */
static void visit_index(struct adding *adding, struct conf_value *array,
                        const struct toml_entry *entry)
{
    uint64_t index;
    struct conf_value *element = array->first;
    struct conf_value place = {
        .file = adding->file, .line = entry->line, .column = entry->column};
    if (!slice_parse_u64(entry->key, &index) || index > array->count) {
        conf_error(adding->load, &place, "%.*s is no index here: the array has %zu elements",
                   (int)entry->key.size, (const char *)entry->key.data, array->count);
        return;
    }
    if (index == array->count) {
        value_fill(adding, child_append(adding->load, array, SLICE_NONE), entry);
        return;
    }
    for (; index > 0; index--) {
        element = element->next;
    }
    if (element->kind == TOML_TABLE && adding->nodes->kind(entry->node) == TOML_TABLE) {
        (void)descend(adding, entry->node, element);
        return;
    }
    value_fill(adding, element, entry);
}

static bool key_equal(const void *context, uint64_t value, const void *key)
{
    const struct conf_value *member = (const void *)(uintptr_t)value;
    (void)context;
    return slice_equal(member->key, *(const struct slice *)key);
}

/* To look through thousands of blocks for each of thousands takes seconds. */
static const struct htab *index_make(struct conf_load *load, const struct conf_value *table)
{
    struct htab *members = heap_take(&load->scratch, sizeof(*members));
    uint32_t slots = htab_slots_for((uint32_t)table->count);
    htab_init_fresh(members, heap_take(&load->scratch, htab_memory(slots)), slots, HASH_SEED,
                    key_equal, NULL);
    for (const struct conf_value *at = table->first; at != NULL; at = at->next) {
        uint64_t hash = htab_hash(members, at->key);
        CHECK(htab_insert(members, hash, (uintptr_t)at));
    }
    return members;
}

/* What stands in the target before anything of the node is added. */
static void pending_begin(struct adding *adding, struct pending *pending)
{
    struct conf_value *target = pending->target;
    pending->last = target->last;
    if (target->kind == TOML_TABLE && target->count > MEMBERS_FEW &&
        adding->nodes->count(pending->node) > MEMBERS_FEW) {
        pending->before = index_make(adding->load, target);
    }
}

/* The member of this name that stood there before: a table of TOML has no key twice. */
static struct conf_value *member_of_before(const struct pending *pending, struct slice key)
{
    uint64_t found;
    if (pending->before != NULL) {
        uint64_t hash = htab_hash(pending->before, key);
        return htab_find(pending->before, hash, &key, &found) ? (void *)(uintptr_t)found : NULL;
    }
    struct conf_value *value = pending->last == NULL ? NULL : pending->target->first;
    while (value != NULL && !slice_equal(value->key, key)) {
        value = value == pending->last ? NULL : value->next;
    }
    return value;
}

static bool is_joined(const struct adding *adding, struct slice key)
{
    return adding->joined != NULL && slice_equal(key, slice_from_string(adding->joined));
}

static void visit(void *context, const struct toml_entry *entry)
{
    struct adding *adding = context;
    struct conf_value *target = adding->now->target;
    enum toml_kind kind = adding->nodes->kind(entry->node);
    if (target->kind == TOML_ARRAY) {
        if (adding->replace && adding->nodes->kind(adding->now->node) == TOML_TABLE) {
            visit_index(adding, target, entry);
            return;
        }
        value_fill(adding, element_add(adding, target), entry);
        return;
    }
    struct conf_value *old = member_of_before(adding->now, entry->key);
    if (old == NULL) {
        value_fill(adding, child_append(adding->load, target, entry->key), entry);
        return;
    }
    if (adding->under && old->whole) {
        return;
    }
    bool into_array = adding->replace && old->kind == TOML_ARRAY && kind == TOML_TABLE;
    bool both_arrays = !adding->replace && old->table_array &&
                       adding->nodes->is_table_array(entry->node) &&
                       (!adding->under || is_joined(adding, entry->key));
    if ((old->kind == TOML_TABLE && kind == TOML_TABLE) || into_array || both_arrays) {
        struct pending *pending = descend(adding, entry->node, old);
        old->place = MIN_OF(old->place, place_of(adding, entry));
        if (pending != NULL) {
            pending->front = adding->under && both_arrays;
        }
        return;
    }
    if (adding->replace) {
        value_fill(adding, old, entry);
        return;
    }
    if (adding->under) {
        return;
    }
    struct conf_value place = {
        .file = adding->file, .line = entry->line, .column = entry->column};
    conf_error(adding->load, &place, "%.*s is set twice, first in %s, line %u",
               (int)entry->key.size, (const char *)entry->key.data, old->file, old->line);
}

static void tree_merge(struct adding *adding, const struct toml_node *root,
                       struct conf_value *target)
{
    (void)descend(adding, root, target);
    while (adding->waiting != NULL) {
        struct pending *pending = adding->waiting;
        adding->waiting = pending->next;
        adding->now = pending;
        pending_begin(adding, pending);
        adding->nodes->walk(pending->node, visit, adding);
    }
}

/* Null, and it is told, when it is no TOML. */
static struct toml_tree *file_parse(struct conf_load *load, const char *file, struct slice bytes)
{
    struct toml_error error;
    struct toml_tree *tree = toml_parse(bytes, &error);
    if (tree == NULL) {
        struct conf_value place = {.file = file, .line = error.line, .column = error.column};
        conf_error(load, &place, "%s", error.text);
    }
    return tree;
}

void conf_tree_add(struct conf_load *load, const char *file, struct slice bytes)
{
    struct toml_tree *tree = file_parse(load, file, bytes);
    struct adding adding = {.load = load, .nodes = &conf_toml_nodes, .file = file,
                            .number = CONF_INCLUDES_MAX + load->files++};
    if (tree != NULL) {
        tree_merge(&adding, toml_root(tree), load->root);
        toml_free(tree);
    }
}

/* `files` in a file of `files`. */
static void files_refuse(void *context, const struct toml_entry *entry)
{
    struct adding *adding = context;
    struct conf_value place = {
        .file = adding->file, .line = entry->line, .column = entry->column};
    if (slice_equal(entry->key, SLICE("files"))) {
        conf_error(adding->load, &place, "files stands in the main file only");
    }
}

/* False: it is no JSON, and `problem` says why. */
static bool json_merge(struct adding *adding, struct slice bytes, struct conf_value *table,
                       struct buf *problem)
{
    const struct toml_node *root = conf_json_parse(adding->load, bytes, problem);
    if (root != NULL) {
        adding->nodes = &conf_json_nodes;
        adding->nodes->walk(root, files_refuse, adding);
        tree_merge(adding, root, table);
    }
    return root != NULL;
}

/* By its name; one whose name tells nothing is TOML, else JSON. */
void conf_tree_under(struct conf_load *load, struct conf_value *table,
                     const struct conf_part *part)
{
    struct adding adding = {.load = load, .nodes = &conf_toml_nodes, .file = part->file,
                            .under = true, .joined = part->joined, .number = part->number};
    struct slice name = slice_from_string(part->file);
    bool is_json = slice_ends_with(name, SLICE(".json"));
    struct toml_error error = {0};
    uint8_t bytes[MESSAGE_BYTES_MAX];
    struct buf problem;
    buf_init(&problem, bytes, sizeof(bytes) - 1);
    struct toml_tree *tree = is_json ? NULL : toml_parse(part->bytes, &error);
    if (tree != NULL) {
        toml_walk(toml_root(tree), files_refuse, &adding);
        tree_merge(&adding, toml_root(tree), table);
        toml_free(tree);
        return;
    }
    if (!slice_ends_with(name, SLICE(".toml")) &&
        json_merge(&adding, part->bytes, table, &problem)) {
        return;
    }
    bytes[problem.size] = '\0';
    const struct conf_value place = {
        .file = part->file, .line = error.line, .column = error.column};
    conf_error(load, &place, "%s", is_json ? (const char *)bytes : error.text);
}

struct conf_value *conf_tree_table_add(struct conf_load *load, struct conf_value *table,
                                       const struct conf_value *name)
{
    const struct conf_value *old = member_find(table, name->as.text);
    if (old != NULL) {
        conf_error(load, name, "%.*s stands there already, in %s, line %u",
                   (int)name->as.text.size, (const char *)name->as.text.data, old->file,
                   old->line);
        return NULL;
    }
    struct conf_value *value = child_append(load, table, name->as.text);
    value->kind = TOML_TABLE;
    value->file = name->file;
    value->line = name->line;
    value->column = name->column;
    return value;
}

/* --- --set ----------------------------------------------------------------------------------- */

/* Where the '=' behind the key stands: the first one outside quotes. */
static size_t set_split(struct slice text)
{
    uint8_t quote = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (quote != 0) {
            quote = byte == quote ? 0 : quote;
        } else if (byte == '"' || byte == '\'') {
            quote = byte;
        } else if (byte == '=') {
            return i;
        }
    }
    return text.size;
}

/* Could the value be a word without quotes, such as 127.0.0.1:0 or 5m? */
static bool is_bare_word(struct slice value)
{
    static const char never[] = "\"'[]{}";
    for (size_t i = 0; i < value.size; i++) {
        bool control = value.data[i] < 0x20 || value.data[i] == 0x7F;
        if (control || (i == 0 && strchr(never, value.data[i]) != NULL)) {
            return false;
        }
    }
    return value.size > 0;
}

/* The key, and the value in quotes with what TOML wants escaped. */
static void put_quoted_set(struct buf *out, struct slice key, struct slice value)
{
    buf_put(out, key);
    buf_put(out, SLICE("=\""));
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] == '"' || value.data[i] == '\\') {
            buf_put_byte(out, '\\');
        }
        buf_put_byte(out, value.data[i]);
    }
    buf_put_byte(out, '"');
}

void conf_tree_set(struct conf_load *load, const char *text)
{
    uint8_t quoted[SET_BYTES_MAX];
    struct buf buf;
    struct toml_error error = {.line = 1, .column = 1, .text = "wants section.key=VALUE"};
    struct slice whole = slice_from_string(text);
    size_t split = set_split(whole);
    struct slice key = slice_first(whole, split);
    struct toml_tree *tree = NULL;
    struct adding adding = {.load = load, .nodes = &conf_toml_nodes, .file = "--set",
                            .replace = true, .number = UINT16_MAX};
    if (split < whole.size && slice_find(whole, '\n') == whole.size) {
        struct slice value = slice_trim(slice_skip(whole, split + 1));
        tree = toml_parse(whole, &error);
        if (tree == NULL && is_bare_word(value)) {
            buf_init(&buf, quoted, sizeof(quoted));
            put_quoted_set(&buf, key, value);
            tree = buf.overflow ? NULL : toml_parse(buf_slice(&buf), &error);
        }
    }
    if (tree == NULL) {
        conf_error(load, NULL, "--set %.200s: %s", text, error.text);
        return;
    }
    tree_merge(&adding, toml_root(tree), load->root);
    toml_free(tree);
}
