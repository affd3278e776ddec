#include "core/conf_files.h"

#include "core/conf_shaping.h"

#define SHOW(slice) (int)(slice).size, (const char *)(slice).data

/* Without the bytes it is said, as strictly as this. */
static bool file_read_or(struct conf_load *load, const struct conf_input *input,
                         const struct conf_value *at, const char *path,
                         enum conf_load_level strict, struct slice *bytes_out)
{
    uint8_t reason[CONF_REASON_BYTES_MAX];
    struct buf buf;
    buf_init(&buf, reason, sizeof(reason));
    if (!input->read(input->read_context, path, bytes_out, &buf)) {
        if (strict == CONF_LOAD_ERROR) {
            conf_error(load, at, "cannot read %s: %.*s", path, (int)buf.size,
                       (const char *)reason);
        } else if (strict == CONF_LOAD_WARN) {
            conf_note(load, at, "%s is left out: %.*s", path, (int)buf.size,
                      (const char *)reason);
        }
        return false;
    }
    return true;
}

/* Without the bytes there is an error. */
static bool file_read(struct conf_load *load, const struct conf_input *input,
                      const struct conf_value *at, const char *path, struct slice *bytes_out)
{
    return file_read_or(load, input, at, path, CONF_LOAD_ERROR, bytes_out);
}

/* Is this a list of names of files? */
static bool names_are_good(struct conf_load *load, const struct conf_value *list)
{
    bool good = true;
    if (!conf_want(load, list, TOML_ARRAY)) {
        return false;
    }
    if (list->count > CONF_INCLUDES_MAX) {
        conf_error(load, list, "%.*s wants at most %d files", SHOW(list->key), CONF_INCLUDES_MAX);
        return false;
    }
    for (const struct conf_value *at = list->first; at != NULL; at = at->next) {
        if (at->kind != TOML_STRING || at->as.text.size == 0 ||
            slice_find(at->as.text, 0) < at->as.text.size) {
            conf_error(load, at, "%.*s wants names of files", SHOW(list->key));
            good = false;
        }
    }
    return good;
}

/* `include` of the main file; one in an included file is an unknown key. */
static void includes_add(struct conf_load *load, const struct conf_input *input)
{
    const struct conf_value *include = conf_tree_member(load->root, "include");
    if (include == NULL || !names_are_good(load, include)) {
        return;
    }
    const struct conf_value *last = include->last;
    for (const struct conf_value *at = include->first; at != NULL; at = at->next) {
        const char *path = conf_place_path(load, at->as.text);
        struct slice bytes;
        if (file_read(load, input, at, path, &bytes)) {
            conf_tree_add(load, path, bytes);
        }
        if (at == last) {
            return;
        }
    }
}

void conf_files_main(struct conf_load *load, const struct conf_input *input)
{
    struct slice bytes;
    if (input->file == NULL) {
        return;
    }
    if (file_read(load, input, NULL, input->file, &bytes)) {
        conf_tree_add(load, input->file, bytes);
    }
    includes_add(load, input);
}

/* The elements of a section's `files`, as many as there are. */
static size_t files_find(struct conf_load *load, const struct conf_value *section,
                         const struct conf_value **places)
{
    size_t count = 0;
    const struct conf_value *files =
        section->kind == TOML_TABLE ? conf_tree_member(section, "files") : NULL;
    if (files == NULL || !names_are_good(load, files)) {
        return 0;
    }
    for (const struct conf_value *at = files->first; at != NULL; at = at->next) {
        places[count++] = at;
    }
    return count;
}

/* One list of files on its way into the tree. */
struct adding {
    struct conf_load *load;
    const struct conf_input *input;
    const struct conf_value *places[CONF_INCLUDES_MAX];
    size_t count;
    struct conf_load_options options;
};

static void adding_begin(struct adding *adding, struct conf_load *load,
                         const struct conf_input *input, const struct conf_value *section)
{
    adding->load = load;
    adding->input = input;
    adding->options = (struct conf_load_options){.local = CONF_LOAD_ERROR};
    adding->count = files_find(load, section, adding->places);
}

/* Number `number` of the list. */
static void file_add(struct adding *adding, size_t number, struct conf_value *table)
{
    struct conf_load *load = adding->load;
    const struct conf_value *at = adding->places[number];
    struct conf_part part = {.file = conf_place_path(load, at->as.text),
                             .number = (uint32_t)number, .joined = "automation"};
    bool remote = slice_starts_with(at->as.text, SLICE("http://")) ||
                  slice_starts_with(at->as.text, SLICE("https://"));
    if (remote && adding->options.skip_remote) {
        conf_note(load, at, "%.*s is left out: skip_remote", SHOW(at->as.text));
    } else if (remote) {
        conf_error(load, at, "%.*s: URLs are not built yet in this version, name a local file",
                   SHOW(at->as.text));
    } else if (file_read_or(load, adding->input, at, part.file, adding->options.local,
                            &part.bytes)) {
        conf_tree_under(load, table, &part);
    }
}

void conf_files_apart(struct conf_load *load, const struct conf_input *input,
                      struct conf_value *section)
{
    struct adding adding;
    adding_begin(&adding, load, input, section);
    for (size_t i = 0; i < adding.count; i++) {
        struct conf_value *table = conf_tree_table_add(load, section, adding.places[i]);
        if (table != NULL) {
            file_add(&adding, i, table);
        }
    }
}

void conf_files_section(struct conf_load *load, const struct conf_input *input,
                        struct conf_value *section)
{
    struct adding adding;
    adding_begin(&adding, load, input, section);
    while (adding.count > 0) { /* what is there stays: so the last file comes first */
        file_add(&adding, --adding.count, section);
    }
}

/* Every file speaks of those before it alone: what it said of them is no word of earlier ones. */
static void tables_replace(struct conf_value *table)
{
    struct conf_value *at = table->kind == TOML_TABLE ? table->first : NULL;
    for (; at != NULL; at = at->next) {
        const struct conf_value *said =
            at->kind == TOML_TABLE ? conf_tree_member(at, "replace_base") : NULL;
        if (said != NULL && said->kind == TOML_BOOL) {
            at->whole = said->as.flag;
            (void)conf_tree_take(at, "replace_base");
        }
    }
}

static void bases_replace(struct conf_value *section)
{
    struct conf_value *providers =
        section->kind == TOML_TABLE ? conf_tree_member(section, "provider") : NULL;
    tables_replace(section);
    if (providers != NULL) {
        tables_replace(providers);
    }
}

void conf_files_blocks(struct conf_load *load, const struct conf_input *input,
                       struct conf_value *section)
{
    struct adding adding;
    adding_begin(&adding, load, input, section);
    const struct conf_value *said =
        section->kind == TOML_TABLE ? conf_tree_table(section, "load") : NULL;
    if (said != NULL) {
        conf_options_apply(load, &conf_load_members, said, &adding.options);
    }
    bases_replace(section);
    while (adding.count > 0) {
        file_add(&adding, --adding.count, section);
        bases_replace(section);
    }
}
