#include "core/conf_classifier.h"

#include <stdlib.h>
#include <string.h>

#include "core/classifier.h"

#define SHOW(slice) (int)(slice).size, (const char *)(slice).data

static const struct conf_option section_rows[] = {
    {.name = "files", .kind = OPTION_OWN, .apply = conf_apply_files},
    {.name = "rules", .kind = OPTION_OWN, .apply = conf_apply_table},
    {.name = "back_pressure", .kind = OPTION_NOTE},
    {.name = "pool_size", .kind = OPTION_NOTE},
    {.name = "cache_size", .kind = OPTION_NOTE},
    {.name = "uncategorized_cache_size", .kind = OPTION_NOTE},
};
/* Tables beside them are the files, by their names as written: core/conf_files.h. */
static const struct conf_options section_members = {
    .options = section_rows, .count = COUNT_OF(section_rows), .inner_tables = true, RELOADS};

static const struct conf_option file_rows[] = {
    {.name = "rules", .kind = OPTION_OWN, .apply = conf_apply_table},
};
static const struct conf_options file_members = {
    .options = file_rows, .count = COUNT_OF(file_rows), RELOADS};

/* Every rule there is, in the order in which they are tried. */
struct rules {
    struct conf_load *load;
    uint32_t count;
    uint32_t capacity;
    struct slice *texts;
    struct slice *labels;
    const struct conf_value **places;
};

static bool rules_have_room(struct rules *rules, const struct conf_value *list)
{
    if (rules->count + list->count <= rules->capacity) {
        return true;
    }
    conf_error(rules->load, list, "there are more than %u rules", rules->capacity);
    return false;
}

static void list_add(struct rules *rules, const struct conf_value *list)
{
    struct conf_load *load = rules->load;
    if (!classifier_label_is_valid(list->key)) {
        conf_error(load, list, "\"%.*s\" is no label: printable ASCII without quotes, at most %u",
                   SHOW(list->key), CLASSIFIER_LABEL_BYTES_MAX);
        return;
    }
    if (!conf_want(load, list, TOML_ARRAY) || !rules_have_room(rules, list)) {
        return;
    }
    struct slice label = heap_copy(load->heap, list->key);
    for (const struct conf_value *at = list->first; at != NULL; at = at->next) {
        if (conf_want(load, at, TOML_STRING)) {
            rules->texts[rules->count] = at->as.text;
            rules->labels[rules->count] = label;
            rules->places[rules->count++] = at;
        }
    }
}

struct placed {
    size_t file; /* how many come before it */
    const struct conf_value *list;
};

static int place_order(const void *left, const void *right)
{
    const struct placed *a = left;
    const struct placed *b = right;
    if (a->file != b->file) {
        return a->file < b->file ? -1 : 1;
    }
    if (a->list->line != b->list->line) {
        return a->list->line < b->list->line ? -1 : 1;
    }
    return a->list->column < b->list->column ? -1 : a->list->column > b->list->column;
}

/* The index of the first list that stands in the same file. */
static size_t file_index(const struct placed *lists, size_t count, const struct conf_value *list)
{
    size_t i = count > 0 && lists[count - 1].list->file == list->file ? count - 1 : 0;
    while (i < count && lists[i].list->file != list->file) {
        i++;
    }
    return i < count ? lists[i].file : count;
}

/* The lists of a table as written, file after file; the tree has them by their names. */
static void table_add(struct rules *rules, const struct conf_value *table)
{
    struct conf_load *load = rules->load;
    if (table == NULL) {
        return;
    }
    struct placed *lists = heap_take_array(&load->scratch, table->count + 1, sizeof(*lists));
    size_t count = 0;
    for (const struct conf_value *at = table->first; at != NULL; at = at->next) {
        lists[count] = (struct placed){file_index(lists, count, at), at};
        count++;
    }
    qsort(lists, count, sizeof(*lists), place_order);
    for (size_t i = 0; i < count; i++) {
        list_add(rules, lists[i].list);
    }
}

static bool is_file(const struct conf_value *files, struct slice name)
{
    const struct conf_value *at = files == NULL ? NULL : files->first;
    while (at != NULL && !(at->kind == TOML_STRING && slice_equal(at->as.text, name))) {
        at = at->next;
    }
    return at != NULL;
}

static void files_add(struct rules *rules, const struct conf_value *section)
{
    struct conf_load *load = rules->load;
    const struct conf_value *files = conf_tree_member(section, "files");
    for (const struct conf_value *at = section->first; at != NULL; at = at->next) {
        if (at->kind == TOML_TABLE && !conf_options_have(&section_members, at->key) &&
            !is_file(files, at->key)) {
            conf_unknown(load, &section_members, at);
        }
    }
    const struct conf_value *name = files == NULL ? NULL : files->first;
    for (; name != NULL; name = name->next) {
        const struct conf_value *file =
            name->kind != TOML_STRING
                ? NULL
                : conf_tree_table(section, (const char *)name->as.text.data);
        if (file != NULL) {
            conf_options_apply(load, &file_members, file, rules); /* no row has a field */
            table_add(rules, conf_tree_table(file, "rules"));
        }
    }
}

static void refuse(void *context, uint32_t number, struct slice why)
{
    const struct rules *rules = context;
    const struct conf_value *at = number < rules->count ? rules->places[number] : NULL;
    conf_error(rules->load, at, "[bounce_classifier]: %.*s", SHOW(why));
}

void conf_apply_classifier(struct conf_load *load, const struct conf_value *section,
                           struct conf *conf)
{
    struct rules rules = {.load = load, .capacity = PATTERNS_MAX};
    unsigned errors = load->messages->errors;
    if (!conf_want(load, section, TOML_TABLE)) {
        return;
    }
    conf_options_apply(load, &section_members, section, conf);
    rules.texts = heap_take_array(&load->scratch, PATTERNS_MAX, sizeof(*rules.texts));
    rules.labels = heap_take_array(&load->scratch, PATTERNS_MAX, sizeof(*rules.labels));
    rules.places = heap_take_array(&load->scratch, PATTERNS_MAX, sizeof(*rules.places));
    table_add(&rules, conf_tree_table(section, "rules"));
    files_add(&rules, section);
    if (rules.count == 0 || load->messages->errors > errors) {
        return;
    }
    struct patterns *patterns = patterns_compile(rules.texts, rules.count, refuse, &rules);
    if (patterns != NULL) {
        struct classifier *classifier = heap_take(load->heap, sizeof(*classifier));
        struct slice *labels = heap_take_array(load->heap, rules.count, sizeof(*labels));
        memcpy(labels, rules.labels, rules.count * sizeof(*labels));
        *classifier = (struct classifier){.patterns = patterns, .labels = labels};
        conf->classifier = classifier;
    }
}

void conf_classifier_free(struct classifier *classifier)
{
    if (classifier != NULL) {
        patterns_free(classifier->patterns);
    }
}
