#include "bench/verbs.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/args.h"
#include "bench/process.h"
#include "bench/sink.h"

#define SCRIPT_BYTES_MAX (256 * KIB)
#define LATENCY_MS_MAX   3600000u

struct sink_command {
    const char *listen;
    uint64_t latency_ms;
    uint64_t defer;
    uint64_t bounce;
    const char *script;
    const char *maildir;
    const char *mode;
    uint64_t messages;
    uint64_t rcpts;
    const char *ledger;
    const char *congestion;
    const char *hostname;
    uint64_t connections;
    bool json;
};

struct sink_process {
    struct sink_command command;
    struct bench_shard bench;
    struct stopper stopper;
    struct sink_rules rules;
    struct sink_result result;
    struct tally tally;
    struct maildir maildir;
    struct sink sink;
    struct endpoint listen;
    FILE *ledger;
    struct progress progress;
};

static bool read_script(struct sink_process *process, struct buf *reason)
{
    const char *path = process->command.script;
    if (path == NULL) {
        return true;
    }
    char *text = NULL;
    size_t size = 0;
    if (!args_read_file(path, SCRIPT_BYTES_MAX, &text, &size, reason)) {
        return false;
    }
    bool good = script_read(&process->rules.script, slice_make(text, size), reason);
    free(text);
    return good;
}

/* What the words mean; false with a reason. */
static bool sink_prepare(struct sink_process *process, struct buf *reason)
{
    struct sink_command *command = &process->command;
    if (!endpoint_parse(slice_from_string(command->listen), 0, &process->listen)) {
        buf_printf(reason, "--listen %s: an address and a port, as 127.0.0.1:2626",
                   command->listen);
        return false;
    }
    if (!bench_mode_parse(slice_from_string(command->mode), &process->rules.mode)) {
        buf_printf(reason, "--mode %s: plain, pipelined, bdat or all", command->mode);
        return false;
    }
    process->rules.hostname = command->hostname;
    process->rules.latency_ms = (uint32_t)command->latency_ms;
    process->rules.defer_per_mille = (uint32_t)command->defer;
    process->rules.bounce_per_mille = (uint32_t)command->bounce;
    if (!read_script(process, reason)) {
        return false;
    }
    if (command->maildir != NULL) {
        int error = maildir_init(&process->maildir, command->maildir);
        if (error != 0) {
            buf_printf(reason, "%s: %s", command->maildir, strerror(-error));
            return false;
        }
    }
    if (command->ledger != NULL) {
        process->ledger = ledger_open(command->ledger, reason);
        if (process->ledger == NULL) {
            return false;
        }
    }
    return true;
}

static bool sink_open(struct sink_process *process, struct buf *reason)
{
    struct tally_options tally = {
        .result = &process->result,
        .expected = process->command.messages,
        .copies = (unsigned)process->command.rcpts,
    };
    if (!tally_init(&process->tally, &tally)) {
        buf_put_string(reason, "no memory for the tally");
        return false;
    }
    if (bench_shard_open(&process->bench, reason) != 0) {
        return false;
    }
    struct sink_options options = {
        .listen = process->listen,
        .socket = {.congestion = process->command.congestion, .backlog = 4096},
        .rules = &process->rules,
        .tally = &process->tally,
        .maildir = process->command.maildir != NULL ? &process->maildir : NULL,
        .ledger = process->ledger,
        .connections = (unsigned)process->command.connections,
    };
    struct endpoint bound;
    int error = sink_start(&process->sink, &process->bench.shard, &options, &bound);
    if (error != 0) {
        buf_printf(reason, "%s: %s", process->command.listen, strerror(-error));
        return false;
    }
    char text[ENDPOINT_TEXT_MAX];
    struct buf name;
    buf_init(&name, text, sizeof(text));
    endpoint_put(&name, &bound);
    fprintf(stderr, "event=ready sink=%.*s pid=%d\n", (int)name.size, text, (int)getpid());
    return true;
}

static void sink_report(struct sink_process *process)
{
    const struct sink_result *result = &process->result;
    if (process->progress.terminal &&
        progress_due(&process->progress, process->bench.shard.now_ns)) {
        fprintf(stderr, "\r%llu messages, %u connections ", (unsigned long long)result->messages,
                process->sink.open_count);
    }
    if (!process->tally.said_complete && tally_complete(&process->tally)) {
        process->tally.said_complete = true;
        fprintf(stderr, "event=complete messages=%llu\n", (unsigned long long)result->messages);
    }
}

static void sink_run(struct sink_process *process)
{
    while (!atomic_load_explicit(&process->stopper.asked, memory_order_relaxed)) {
        shard_turn(&process->bench.shard, false);
        sink_report(process);
    }
    sink_stop(&process->sink);
    while (!sink_stopped(&process->sink)) {
        shard_turn(&process->bench.shard, false);
    }
}

static int sink_end(struct sink_process *process)
{
    bool good = tally_judge(&process->tally);
    char text[2048];
    struct buf buf;
    buf_init(&buf, text, sizeof(text));
    if (process->command.json) {
        tally_put_json(&process->result, &buf);
    } else {
        tally_put_line(&process->result, &buf);
    }
    fwrite(text, 1, buf.size, stdout);
    good = ledger_close(process->ledger, process->command.ledger) && good;
    sink_fini(&process->sink);
    tally_fini(&process->tally);
    script_fini(&process->rules.script);
    bench_shard_close(&process->bench);
    return good ? EXIT_FINE : EXIT_FAILED;
}

/* Everything but the memory of the process itself. */
static int sink_command(struct sink_process *process, int argc, char **argv)
{
    struct sink_command *command = &process->command;
    *command = (struct sink_command){.listen = "127.0.0.1:2626", .mode = "all", .rcpts = 1,
                                     .congestion = "", .hostname = "sink.test",
                                     .connections = 1000};
    const struct arg table[] = {
        arg_text("--listen", &command->listen, "ADDR:PORT; port 0: any"),
        arg_u64("--latency", &command->latency_ms, 0, LATENCY_MS_MAX,
                "MS before each message's final reply"),
        arg_percent("--defer", &command->defer, "P% of recipients answered 450"),
        arg_percent("--bounce", &command->bounce, "P% of recipients answered 550"),
        arg_text("--script", &command->script, "FILE of rules, see ringpost-bench(1)"),
        arg_text("--maildir", &command->maildir, "DIR that gets every message as a file"),
        arg_text("--mode", &command->mode, "plain|pipelined|bdat|all extensions"),
        arg_u64("--messages", &command->messages, 0, TALLY_NUMBERS_MAX,
                "N expected; says event=complete then"),
        arg_u64("--rcpts", &command->rcpts, 1, UINT16_MAX, "R recipients expected of each message"),
        arg_text("--ledger", &command->ledger, "FILE, a line for each body and its reply"),
        arg_text("--congestion", &command->congestion, "NAME of TCP congestion control"),
        arg_text("--hostname", &command->hostname, "NAME in greeting and EHLO"),
        arg_u64("--connections", &command->connections, 1, SINK_CONNECTIONS_MAX, "C at most"),
        arg_flag("--json", &command->json, "the summary as JSON"),
    };
    if (args_want_help(argc, argv)) {
        printf("ringpost-bench sink: takes mail, checks it, until SIGTERM\n\n");
        args_help(table, COUNT_OF(table));
        return EXIT_FINE;
    }
    char why[512];
    struct buf reason;
    buf_init(&reason, why, sizeof(why) - 1);
    bool usage = args_parse(table, COUNT_OF(table), argc, argv, &reason) &&
                 sink_prepare(process, &reason);
    int error = usage ? stopper_start(&process->stopper) : 0;
    if (!usage || error != 0 || !sink_open(process, &reason)) {
        fprintf(stderr, "ringpost-bench sink: %.*s\n", (int)reason.size, why);
        return usage ? EXIT_FAILED : EXIT_USAGE;
    }
    progress_init(&process->progress, clock_now_ns());
    sink_run(process);
    return sink_end(process);
}

int verb_sink(int argc, char **argv)
{
    struct sink_process *process = calloc(1, sizeof(*process));
    if (process == NULL) {
        return EXIT_FAILED;
    }
    int code = sink_command(process, argc, argv);
    free(process);
    return code;
}
