#include "tools/cmd_trace.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/json.h"
#include "core/json_read.h"
#include "tools/exit_codes.h"
#include "tools/readable.h"
#include "tools/websocket_client.h"

#define FILTER_BYTES  (8 * KIB)
#define VALUES_MAX    16u /* of one option: what the server takes */
#define SESSION_CHARS 28  /* of its id; the rest is the same for all */

/* Options that are members of the filter. */
static const struct filter_option {
    const char *option;
    const char *member;
    bool of_server;
    bool flag;
} filters[] = {
    {"source", "source", true, false},
    {"mx-addr", "mx_addr", false, false},
    {"mx-host", "mx_host", false, false},
    {"domain", "domain", false, false},
    {"routing-domain", "routing_domain", false, false},
    {"campaign", "campaign", false, false},
    {"tenant", "tenant", false, false},
    {"egress-source", "egress_source", false, false},
    {"mail-from", "mail_from", false, false},
    {"rcpt-to", "rcpt_to", false, false},
    {"ready-queue", "ready_queue", false, false},
    {"only-new", "only_new", true, true},
    {"only-one", "only_one", true, true},
    {"terse", "terse", true, true},
};

enum { OPTION_ENDPOINT = COUNT_OF(filters), OPTION_JSON, OPTION_COLOR, OPTIONS_COUNT };

struct trace_run {
    bool server;
    bool as_json;
    bool color;
    bool bad;
    const char *endpoint;
    struct server_url url;
    unsigned counts[COUNT_OF(filters)];
    const char *values[COUNT_OF(filters)][VALUES_MAX];
    struct json_reader *reader;
};

/* --- showing ---------------------------------------------------------------------------------- */

static const char *color(const struct trace_run *run, char mark)
{
    if (!run->color) {
        return "";
    }
    return mark == '<' ? "\x1b[36m" : mark == '>' ? "\x1b[32m" : "\x1b[33m";
}

/* A line of its own. */
static void print_line(const struct trace_run *run, char mark, struct slice text)
{
    struct slice when = SLICE_NONE;
    struct slice session = SLICE_NONE;
    if (json_read_string(run->reader, "/when", &when) && when.size >= 23) {
        readable_print(stdout, slice_make(when.data + 11, 12));
    }
    putchar(' ');
    if (json_read_string(run->reader, "/conn_meta/session_id", &session)) {
        readable_print(stdout, slice_first(session, MIN_OF(session.size, (size_t)SESSION_CHARS)));
    }
    printf(" %s%c ", color(run, mark), mark);
    readable_print(stdout, text);
    printf("%s\n", run->color ? "\x1b[0m" : "");
}

static void print_lines(const struct trace_run *run, char mark, struct slice text)
{
    while (text.size > 0) {
        size_t end = slice_find(text, '\n');
        struct slice line = slice_first(text, end);
        text = slice_skip(text, MIN_OF(end + 1, text.size));
        if (line.size > 0 && line.data[line.size - 1] == '\r') {
            line.size--;
        }
        print_line(run, mark, line);
    }
}

static void print_content(const struct trace_run *run, char mark, const char *member)
{
    char path[64];
    uint8_t memory[256];
    struct slice snippet = SLICE_NONE;
    uint64_t bytes = 0;
    struct buf text;
    buf_init(&text, memory, sizeof(memory));
    snprintf(path, sizeof(path), "/payload/%s/snippet", member);
    if (json_read_string(run->reader, path, &snippet)) {
        snippet = slice_first(snippet, MIN_OF(slice_find(snippet, '\r'), (size_t)128));
        buf_put(&text, snippet);
    }
    snprintf(path, sizeof(path), "/payload/%s/len", member);
    if (!json_read_u64(run->reader, path, &bytes)) {
        return; /* of a later server */
    }
    buf_printf(&text, "%s[%llu bytes of content]", snippet.size > 0 ? " ... " : "",
               (unsigned long long)bytes);
    print_line(run, mark, buf_slice(&text));
}

/* One event for people. What they read was said by strangers. */
static void print_event(const struct trace_run *run)
{
    struct slice text = SLICE_NONE;
    uint64_t lost = 0;
    if (json_read_u64(run->reader, "/lost", &lost)) {
        printf("%llu events were lost: this end was too slow\n", (unsigned long long)lost);
    } else if (json_read_string(run->reader, "/payload/Read", &text)) {
        print_lines(run, '<', text);
    } else if (json_read_string(run->reader, "/payload/Write", &text)) {
        print_lines(run, '>', text);
    } else if (json_read_string(run->reader, "/payload/Diagnostic/message", &text) ||
               json_read_string(run->reader, "/payload", &text)) {
        print_line(run, '=', text);
    } else if (json_read_string(run->reader, "/payload/AbbreviatedRead/snippet", &text)) {
        print_content(run, '<', "AbbreviatedRead");
    } else {
        print_content(run, '>', "AbbreviatedWrite");
    }
}

static bool show(const struct trace_run *run, struct slice event)
{
    if (run->as_json) {
        readable_json(stdout, event);
    } else if (json_read(run->reader, event)) {
        print_event(run);
    }
    return fflush(stdout) == 0;
}

/* --- asking ----------------------------------------------------------------------------------- */

static void put_filter(const struct trace_run *run, struct buf *buf)
{
    struct json json;
    json_init(&json, buf);
    json_object(&json);
    for (unsigned i = 0; i < COUNT_OF(filters); i++) {
        if (run->counts[i] == 0) {
            continue;
        }
        json_key(&json, filters[i].member);
        if (filters[i].flag) {
            json_bool(&json, true);
            continue;
        }
        json_array(&json);
        for (unsigned j = 0; j < run->counts[i]; j++) {
            json_string(&json, slice_from_string(run->values[i][j]));
        }
        json_array_end(&json);
    }
    json_object_end(&json);
}

static int fail(const struct websocket_client *client)
{
    fprintf(stderr, "ringpost trace: ");
    readable_print(stderr, slice_from_string(client->problem));
    fputc('\n', stderr);
    return EXIT_FAILED;
}

static int hear_all(const struct trace_run *run, struct websocket_client *client)
{
    for (;;) {
        struct slice event;
        switch (websocket_client_hear(client, &event)) {
        case WEBSOCKET_CLIENT_TEXT:
            if (!show(run, event)) {
                return EXIT_FAILED;
            }
            break;
        case WEBSOCKET_CLIENT_END:
        case WEBSOCKET_CLIENT_SIGNAL:
            return EXIT_FINE;
        case WEBSOCKET_CLIENT_FAILED:
            return fail(client);
        }
    }
}

static int trace(const struct trace_run *run)
{
    uint8_t memory[FILTER_BYTES];
    struct buf filter;
    const char *path = run->server ? "/api/admin/trace-smtp-server/v1"
                                   : "/api/admin/trace-smtp-client/v1";
    struct websocket_client *client = malloc(sizeof(*client));
    int code = EXIT_FAILED;
    buf_init(&filter, memory, sizeof(memory));
    put_filter(run, &filter);
    if (client == NULL || filter.overflow) {
        fprintf(stderr, "ringpost trace: %s\n", client == NULL ? "out of memory"
                                                               : "the filters are too long");
    } else if (!websocket_client_open(client, &run->url, path) ||
               !websocket_client_say(client, buf_slice(&filter))) {
        code = fail(client);
        websocket_client_close(client);
    } else {
        code = hear_all(run, client);
        websocket_client_close(client);
    }
    free(client);
    return code;
}

/* --- options ---------------------------------------------------------------------------------- */

static void take_filter(struct trace_run *run, unsigned index)
{
    const struct filter_option *filter = &filters[index];
    bool fits = !run->server || filter->of_server;
    if (fits && run->counts[index] < VALUES_MAX) {
        run->values[index][run->counts[index]++] = optarg;
    } else {
        fprintf(stderr, "ringpost trace: --%s %s\n", filter->option,
                fits ? "is given too often" : "is for `trace client`");
        run->bad = true;
    }
}

static void take_color(struct trace_run *run, const char *when)
{
    bool automatic = strcmp(when, "auto") == 0;
    run->color = automatic ? isatty(STDOUT_FILENO) == 1 : strcmp(when, "always") == 0;
    if (!automatic && !run->color && strcmp(when, "never") != 0) {
        fprintf(stderr, "ringpost trace: --color is auto, always or never\n");
        run->bad = true;
    }
}

static bool read_options(struct trace_run *run, int count, char **arguments)
{
    struct option options[OPTIONS_COUNT + 1] = {
        [OPTION_ENDPOINT] = {"endpoint", required_argument, NULL, OPTION_ENDPOINT},
        [OPTION_JSON] = {"json", no_argument, NULL, OPTION_JSON},
        [OPTION_COLOR] = {"color", required_argument, NULL, OPTION_COLOR},
    };
    for (unsigned i = 0; i < COUNT_OF(filters); i++) {
        options[i] = (struct option){
            filters[i].option, filters[i].flag ? no_argument : required_argument, NULL, (int)i};
    }
    int option;
    while ((option = getopt_long(count, arguments, "", options, NULL)) != -1) {
        if (option == OPTION_ENDPOINT) {
            run->endpoint = optarg;
        } else if (option == OPTION_JSON) {
            run->as_json = true;
        } else if (option == OPTION_COLOR) {
            take_color(run, optarg);
        } else if (option >= 0 && option < (int)COUNT_OF(filters)) {
            take_filter(run, (unsigned)option);
        } else {
            run->bad = true;
        }
    }
    if (optind < count) {
        fprintf(stderr, "ringpost trace: %s is one argument too many\n", arguments[optind]);
        run->bad = true;
    }
    return !run->bad;
}

int cmd_trace(int count, char **arguments)
{
    struct trace_run run = {0};
    bool server = count > 1 && strcmp(arguments[1], "server") == 0;
    run.server = server;
    take_color(&run, "auto");
    if (!server && (count < 2 || strcmp(arguments[1], "client") != 0)) {
        fprintf(stderr, "usage: ringpost trace server|client [FILTER]... [--json]\n");
        return EXIT_USAGE;
    }
    if (!read_options(&run, count - 1, arguments + 1)) {
        return EXIT_USAGE;
    }
    const char *endpoint = server_url_choose(run.endpoint);
    if (!server_url_parse(endpoint, &run.url)) {
        server_url_complain("trace", endpoint);
        return EXIT_USAGE;
    }
    run.reader = json_reader_open();
    int code = trace(&run);
    json_reader_close(run.reader);
    return code;
}
