#include "bench/verbs.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench/args.h"
#include "bench/process.h"
#include "bench/report.h"
#include "bench/source.h"

#define DOMAINS_BYTES_MAX (32 * MIB)
#define RATE_MAX          10000000u
#define HEADER_BYTES_MAX  998u /* RFC 5322 2.1.1 */
#define SILENT_NS         (600 * NS_PER_S) /* RFC 5321 4.5.3.2.6: the longest a reply may take */

struct source_command {
    const char *connect;
    uint64_t messages;
    uint64_t first;
    uint64_t size;
    uint64_t connections;
    const char *mode;
    uint64_t rcpts;
    const char *domains;
    const char *domain;
    const char *header;
    uint64_t rate;
    uint64_t retry_s;
    const char *ledger;
    const char *congestion;
    bool starttls;
    bool json;
};

struct source_process {
    struct source_command command;
    struct bench_shard bench;
    struct stopper stopper;
    struct domains domains;
    char fields[HEADER_BYTES_MAX + 3];
    struct source_load options;
    struct source_result result;
    struct source source;
    struct progress progress;
};

static bool read_domains(struct source_process *process, struct buf *reason)
{
    const char *path = process->command.domains;
    if (path == NULL) {
        return domains_read(&process->domains, slice_from_string(process->command.domain), reason);
    }
    char *text = NULL;
    size_t size = 0;
    if (!args_read_file(path, DOMAINS_BYTES_MAX, &text, &size, reason)) {
        return false;
    }
    bool good = domains_read(&process->domains, slice_make(text, size), reason);
    free(text);
    return good;
}

/* Of one field, as a line. */
static bool read_header(struct source_process *process, struct buf *reason)
{
    const char *text = process->command.header;
    if (text == NULL) {
        return true;
    }
    if (text[0] == 0 || strlen(text) > HEADER_BYTES_MAX || strpbrk(text, "\r\n") != NULL ||
        strcspn(text, ": ") == 0 || text[strcspn(text, ": ")] != ':') {
        buf_printf(reason, "--header: is no line like Name: value");
        return false;
    }
    struct buf fields;
    buf_init(&fields, process->fields, sizeof(process->fields));
    buf_printf(&fields, "%s\r\n", text);
    process->options.fields = buf_slice(&fields);
    return true;
}

static bool source_prepare(struct source_process *process, struct buf *reason)
{
    struct source_command *command = &process->command;
    struct source_load *options = &process->options;
    if (command->starttls) {
        buf_put_string(reason, "--starttls is not built yet");
        return false;
    }
    if (command->connect == NULL ||
        !endpoint_parse(slice_from_string(command->connect), 0, &options->connect)) {
        buf_put_string(reason, "--connect ADDR:PORT of the server is needed");
        return false;
    }
    if (command->messages > TALLY_NUMBERS_MAX - command->first) {
        buf_printf(reason, "--first and --messages: the last number is %u", TALLY_NUMBERS_MAX - 1);
        return false;
    }
    if (!source_mode_parse(command->mode, &options->mode, reason) ||
        !read_domains(process, reason) || !read_header(process, reason)) {
        return false;
    }
    if (command->ledger != NULL) {
        options->ledger = ledger_open(command->ledger, reason);
        if (options->ledger == NULL) {
            return false;
        }
    }
    options->messages = command->messages;
    options->first = command->first;
    options->size = (size_t)command->size;
    options->connections = (unsigned)command->connections;
    options->rcpts = (unsigned)command->rcpts;
    options->rate = command->rate;
    options->retry_ns = command->retry_s * NS_PER_S;
    options->domains = &process->domains;
    options->socket = (struct socket_options){.congestion = command->congestion};
    return true;
}

static void source_report(struct source_process *process)
{
    if (progress_due(&process->progress, process->bench.shard.now_ns)) {
        fprintf(stderr, process->progress.terminal ? "\r%" PRIu64 " of %" PRIu64 " " :
                "event=progress accepted=%" PRIu64 " of=%" PRIu64 "\n", process->result.accepted,
                process->options.messages);
    }
}

static void source_run(struct source_process *process)
{
    while (!source_done(&process->source)) {
        shard_turn(&process->bench.shard, false);
        source_report(process);
        if (atomic_load_explicit(&process->stopper.asked, memory_order_relaxed) ||
            source_stalled(&process->source, SILENT_NS)) {
            source_stop(&process->source);
        }
    }
}

static void run_of(const struct source_process *process, struct run *run)
{
    const struct source_result *result = &process->result;
    run_init(run);
    run->messages = (double)result->accepted;
    if (result->last_ns > result->first_ns) {
        run->seconds = (double)(result->last_ns - result->first_ns) / 1e9;
        run->rate = run->messages / run->seconds;
        run->accept_rate = run->rate;
    }
    run->latency_ms = percentiles_ms(&result->latency);
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        run->cpu_source_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                            (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    }
}

static void print_result(const struct source_process *process, const struct run *run)
{
    const struct source_result *result = &process->result;
    printf("messages    %" PRIu64 " accepted, %" PRIu64 " failed, %" PRIu64 " in doubt\n",
           result->accepted, result->failed, result->lost);
    printf("again       %" PRIu64 " after 4xx, %" PRIu64 " recipients refused, %" PRIu64
           " reconnects\n", result->tempfails, result->rcpts_refused, result->reconnects);
    if (result->latency.count == 0) {
        return;
    }
    printf("rate        %.1f messages/s in %.3f s\n", run->rate, run->seconds);
    printf("latency ms  p50 %.3f  p90 %.3f  p99 %.3f  p999 %.3f  max %.3f\n", run->latency_ms.p50,
           run->latency_ms.p90, run->latency_ms.p99, run->latency_ms.p999, run->latency_ms.max);
}

static int source_end(struct source_process *process)
{
    const struct source_result *result = &process->result;
    struct run run;
    run_of(process, &run);
    progress_end(&process->progress);
    if (process->command.json) {
        char text[4096];
        struct buf buf;
        struct json json;
        buf_init(&buf, text, sizeof(text));
        json_init(&json, &buf);
        report_put_run(&json, &run);
        buf_put_string(&buf, "\n");
        fwrite(text, 1, buf.size, stdout);
    } else {
        print_result(process, &run);
    }
    bool good = result->accepted == process->options.messages;
    if (!good) {
        fprintf(stderr, "ringpost-bench source: %" PRIu64 " of %" PRIu64 " accepted%s%s\n",
                result->accepted, process->options.messages, result->trouble[0] != 0 ? ": " : "",
                result->trouble);
    }
    good = ledger_close(process->options.ledger, process->command.ledger) && good;
    source_fini(&process->source);
    bench_shard_close(&process->bench);
    return good ? EXIT_FINE : EXIT_FAILED;
}

static bool source_open(struct source_process *process, struct buf *reason)
{
    int error = stopper_start(&process->stopper);
    if (error != 0 || bench_shard_open(&process->bench, reason) != 0) {
        return false;
    }
    error = source_start(&process->source, &process->bench.shard, &process->options,
                         &process->result);
    if (error != 0) {
        buf_printf(reason, "cannot begin: %s", strerror(-error));
    }
    return error == 0;
}

static int source_command(struct source_process *process, int argc, char **argv)
{
    struct source_command *command = &process->command;
    *command = (struct source_command){.messages = 10000, .size = 4096, .connections = 50,
                                       .mode = "pipelined", .rcpts = 1, .domain = "sink.test",
                                       .retry_s = 10, .congestion = ""};
    const struct arg table[] = {
        arg_text("--connect", &command->connect, "ADDR:PORT of the server"),
        arg_u64("--messages", &command->messages, 1, TALLY_NUMBERS_MAX, "N"),
        arg_u64("--first", &command->first, 0, TALLY_NUMBERS_MAX - 1,
                "NUMBER of the first; sources side by side need their own"),
        arg_u64("--size", &command->size, BODY_SIZE_MIN, BODY_SIZE_MAX, "BYTES of each message"),
        arg_u64("--connections", &command->connections, 1, SOURCE_CONNECTIONS_MAX, "C"),
        arg_text("--mode", &command->mode, SOURCE_MODES),
        arg_u64("--rcpts", &command->rcpts, 1, SOURCE_RCPTS_MAX, "R recipients of each message"),
        arg_text("--domains", &command->domains, "FILE: recipient domain[:weight] a line"),
        arg_text("--domain", &command->domain, "NAME when there is no file"),
        arg_text("--header", &command->header, "'NAME: VALUE' in front of each message"),
        arg_u64("--rate", &command->rate, 0, RATE_MAX,
                "R messages a second, open loop; 0: closed loop"),
        arg_u64("--retry", &command->retry_s, 0, 86400, "SECONDS that a server may be away"),
        arg_text("--ledger", &command->ledger, "FILE, a line for each message and its reply"),
        arg_text("--congestion", &command->congestion, "NAME of TCP congestion control"),
        arg_flag("--starttls", &command->starttls, "not built yet"),
        arg_flag("--json", &command->json, "the result as JSON"),
    };
    if (args_want_help(argc, argv)) {
        printf("ringpost-bench source: sends made messages to a server\n\n");
        args_help(table, COUNT_OF(table));
        return EXIT_FINE;
    }
    char why[512];
    struct buf reason;
    buf_init(&reason, why, sizeof(why) - 1);
    bool usage = args_parse(table, COUNT_OF(table), argc, argv, &reason) &&
                 source_prepare(process, &reason);
    if (!usage || !source_open(process, &reason)) {
        fprintf(stderr, "ringpost-bench source: %.*s\n", (int)reason.size, why);
        return usage ? EXIT_FAILED : EXIT_USAGE;
    }
    progress_init(&process->progress, clock_now_ns());
    source_run(process);
    return source_end(process);
}

int verb_source(int argc, char **argv)
{
    struct source_process *process = calloc(1, sizeof(*process));
    if (process == NULL) {
        return EXIT_FAILED;
    }
    int code = source_command(process, argc, argv);
    domains_fini(&process->domains);
    free(process);
    return code;
}
