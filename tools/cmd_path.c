#include "tools/cmd_path.h"

#include <getopt.h>
#include <stdio.h>

#include "core/conf_origin.h"
#include "core/json.h"
#include "shard/conf_file.h"
#include "tools/exit_codes.h"
#include "tools/table.h"

#define SETS_MAX       64
#define HOSTS_MAX      32
#define MESSAGES_BYTES (64 * KIB)
#define JSON_BYTES     (256 * KIB)
#define DOMAIN_BYTES_MAX 255

#define SHOW(slice) (int)(slice).size, (const char *)(slice).data

struct path_run {
    const char *file;
    const char *sets[SETS_MAX];
    size_t set_count;
    bool as_json;
    struct slice hosts[HOSTS_MAX]; /* MX of the domain: by them providers are found */
    unsigned host_count;
    struct slice domain;
    struct slice source; /* empty: any other than those that blocks name */
};

/* False: it makes no sense, and has been said. */
static bool read_arguments(struct path_run *run, int count, char **arguments)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"set", required_argument, NULL, 's'},
                                            {"mx", required_argument, NULL, 'm'},
                                            {"json", no_argument, NULL, 'j'},
                                            {0}};
    int option;
    while ((option = getopt_long(count, arguments, "c:", options, NULL)) != -1) {
        if (option == 'c') {
            run->file = optarg;
        } else if (option == 's' && run->set_count < SETS_MAX) {
            run->sets[run->set_count++] = optarg;
        } else if (option == 'm' && run->host_count < HOSTS_MAX) {
            run->hosts[run->host_count++] = slice_from_string(optarg);
        } else if (option == 'j') {
            run->as_json = true;
        } else {
            return false;
        }
    }
    if (optind == count || count - optind > 2) {
        fprintf(stderr, "ringpost path: say a domain, and a source if you like: "
                        "ringpost path example.com ip-1\n");
        return false;
    }
    run->domain = slice_from_string(arguments[optind]);
    run->source = count - optind == 2 ? slice_from_string(arguments[optind + 1]) : SLICE_NONE;
    if (run->domain.size == 0 || run->domain.size > DOMAIN_BYTES_MAX ||
        !slice_is_utf8(run->domain)) {
        fprintf(stderr, "ringpost path: that is no domain\n");
        return false;
    }
    return true;
}

/* --- for people ------------------------------------------------------------------------------- */

static void add_row(void *context, const char *name, struct slice value, struct slice origin)
{
    struct table *table = context;
    table_text(table, slice_from_string(name));
    table_text(table, value);
    table_text(table, origin);
}

static void print_table(const struct conf *conf, const struct path_run *run,
                        const struct shaping_path *path, const struct source_options *source)
{
    static const struct table_column columns[] = {
        {.title = "OPTION"}, {.title = "VALUE", .flexible = true}, {.title = "ORIGIN"}};
    uint8_t bytes[4 * DOMAIN_BYTES_MAX];
    struct buf domain;
    struct table table;
    buf_init(&domain, bytes, sizeof(bytes));
    readable_put(&domain, run->domain);
    printf("%.*s: block \"%.*s\"", SHOW(buf_slice(&domain)), SHOW(path->options.block));
    if (source != NULL) {
        printf(", source \"%.*s\"", SHOW(source->name));
    }
    putchar('\n');
    table_init(&table, columns, COUNT_OF(columns));
    conf_path_visit(path, add_row, &table);
    if (source != NULL) {
        conf_source_visit(conf, source, add_row, &table);
    }
    table_print(&table, stdout);
    table_fini(&table);
}

/* --- for programs ----------------------------------------------------------------------------- */

static void add_member(void *context, const char *name, struct slice value, struct slice origin)
{
    struct json *json = context;
    json_key(json, name);
    json_object(json);
    json_key(json, "value");
    json_string(json, value);
    json_key(json, "origin");
    json_string(json, origin);
    json_object_end(json);
}

static bool print_json(const struct conf *conf, const struct path_run *run,
                       const struct shaping_path *path, const struct source_options *source)
{
    struct heap heap;
    struct buf buf;
    struct json json;
    heap_init(&heap);
    buf_init(&buf, heap_take(&heap, JSON_BYTES), JSON_BYTES);
    json_init(&json, &buf);
    json_object(&json);
    json_key(&json, "domain");
    json_string(&json, run->domain);
    json_key(&json, "block");
    json_string(&json, path->options.block);
    json_key(&json, "source");
    if (source == NULL) {
        json_null(&json);
    } else {
        json_string(&json, source->name);
    }
    json_key(&json, "options");
    json_object(&json);
    conf_path_visit(path, add_member, &json);
    if (source != NULL) {
        conf_source_visit(conf, source, add_member, &json);
    }
    json_object_end(&json);
    json_object_end(&json);
    bool whole = !buf.overflow;
    if (whole) {
        printf("%.*s\n", (int)buf.size, (const char *)buf.data);
    } else {
        fprintf(stderr, "ringpost path: more options than an answer holds\n");
    }
    heap_fini(&heap);
    return whole;
}

/* --- the verb --------------------------------------------------------------------------------- */

static int print_path(const struct conf *conf, const struct path_run *run)
{
    const struct source_options *source = NULL;
    if (run->source.size > 0) {
        source = conf_source(conf, run->source);
        if (source == NULL) {
            fprintf(stderr, "ringpost path: no source of that name is defined by [sources]\n");
            return EXIT_FAILED;
        }
    }
    const struct shaping_view view = {.shaping = conf->shaping};
    const struct shaping_query query = {
        .domain = run->domain, .hosts = run->hosts, .host_count = run->host_count,
        .source = run->source};
    struct shaping_path path;
    (void)shaping_path_find(&view, &query, &path);
    if (run->as_json) {
        return print_json(conf, run, &path, source) ? EXIT_FINE : EXIT_FAILED;
    }
    print_table(conf, run, &path, source);
    return EXIT_FINE;
}

int cmd_path(int count, char **arguments)
{
    uint8_t bytes[MESSAGES_BYTES];
    struct path_run run = {0};
    struct conf_messages messages = {0};
    if (!read_arguments(&run, count, arguments)) {
        return EXIT_USAGE;
    }
    buf_init(&messages.text, bytes, sizeof(bytes));
    struct conf *conf = conf_file_load(CONF_MTA, run.file, run.sets, run.set_count, &messages);
    if (conf == NULL) {
        fprintf(stderr, "%.*s%u errors\n", (int)messages.text.size, (const char *)bytes,
                messages.errors);
        return EXIT_CONFIGURATION;
    }
    int code = print_path(conf, &run);
    conf_free(conf);
    return code;
}
