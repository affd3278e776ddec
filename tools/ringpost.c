/* The operator's command: a verb and its options. */
#include <stdio.h>
#include <string.h>

#include "core/base.h"
#include "tools/cmd_check.h"
#include "tools/cmd_events.h"
#include "tools/cmd_explain.h"
#include "tools/cmd_inspect.h"
#include "tools/cmd_orders.h"
#include "tools/cmd_path.h"
#include "tools/cmd_queues.h"
#include "tools/cmd_reload.h"
#include "tools/cmd_shaping.h"
#include "tools/cmd_spool.h"
#include "tools/cmd_top.h"
#include "tools/cmd_trace.h"
#include "tools/cmd_tsa.h"
#include "tools/exit_codes.h"
#include "tools/readable.h"
#include "tools/verb_options.h"

/* One of `ask` and `run`. */
struct verb {
    const char *name;
    int (*ask)(const struct verb_options *options); /* asks a running server */
    int (*run)(int count, char **arguments);        /* on files; reads its arguments itself */
    uint32_t options;                               /* bits; of `ask` */
    const char *positional;                         /* what stands without a name; of `ask` */
    const char *usage;                              /* behind the name; of `run` */
    const char *help;
};

static int cmd_help(int count, char **arguments);

static int cmd_version(int count, char **arguments)
{
    (void)count;
    (void)arguments;
    printf("ringpost %s\n", RINGPOST_VERSION);
    return EXIT_FINE;
}

static const struct verb verbs[] = {
    {.name = "top", .ask = cmd_top, .options = TOP_OPTIONS,
     .help = "A running server at work, once a second: rates of the last minutes, queues and why\n"
             "they wait. Keys: q ends, arrows and pages scroll, / filters by name (Escape drops\n"
             "that), s sorts by count, due, time or name, r shows ready queues or scheduled ones,\n"
             "t threads. With --json it prints rates as a line each second, or --once."},
    {.name = "queues", .ask = cmd_queues, .options = QUEUES_OPTIONS,
     .help = "What stands in the queues, the largest first, and why it waits."},
    {.name = "explain", .ask = cmd_explain, .options = EXPLAIN_OPTIONS,
     .positional = "QUEUE|DOMAIN|ID",
     .help = "Why is this mail not moving? State, reason, times and limits of a queue, of all\n"
             "queues of a domain, or of one recipient's message."},
    {.name = "inspect", .ask = cmd_inspect, .options = INSPECT_OPTIONS, .positional = "ID|QUEUE",
     .help = "Looks at one recipient's message, at some of a queue, or at the connections of a\n"
             "ready queue."},
    {.name = "suspend", .ask = cmd_suspend, .options = SUSPEND_OPTIONS,
     .help = "No attempt begins for these queues, nor for those that come, until it ends or is\n"
             "taken back. Mail does not expire meanwhile. --list shows what is suspended."},
    {.name = "resume", .ask = cmd_resume, .options = RESUME_OPTIONS, .positional = "ID",
     .help = "Takes back one order (suspend or bounce) by its id, or all suspensions that are\n"
             "about exactly what is said here."},
    {.name = "bounce", .ask = cmd_bounce, .options = BOUNCE_OPTIONS,
     .help = "Ends all mail in these queues, and what comes into them, with an AdminBounce\n"
             "record, until it ends or is taken back. What has ended stays so. --list shows how\n"
             "many have."},
    {.name = "flush", .ask = cmd_flush, .options = FLUSH_OPTIONS,
     .help = "What is deferred in these queues is due now."},
    {.name = "rebind", .ask = cmd_rebind, .options = REBIND_OPTIONS,
     .help = "Queued mail gets another tenant, campaign or class, and with them another queue."},
    {.name = "reload", .ask = cmd_reload, .options = RELOAD_OPTIONS,
     .help = "The server reads its configuration again: all of it, or nothing when it is wrong."},
    {.name = "events", .run = cmd_events,
     .usage = "[-c FILE | --log-dir DIR] [--json] [--type T] [--since TIME|DURATION] [--follow]",
     .help = "What became of mail: the event log. No server has to run."},
    {.name = "check", .run = cmd_check, .usage = "[-c FILE] [--set section.key=VALUE]... [--json]",
     .help = "Everything that is wrong with a configuration. No server has to run."},
    {.name = "path", .run = cmd_path,
     .usage = "DOMAIN [SOURCE] [--mx HOST]... [-c FILE] [--set section.key=VALUE]... [--json]",
     .help = "How mail for a domain is sent, from any source or from this one: each option of the\n"
             "path, and the file and line that say so. No server has to run."},
    {.name = "shaping", .run = cmd_shaping, .usage = "check FILE... [--load NAME=LEVEL]...",
     .help = "Everything that is wrong with files of traffic shaping, later ones laid over\n"
             "earlier ones. --load is load of [shaping]. No server has to run."},
    {.name = "spool", .run = cmd_spool,
     .usage = "check|dump|list|measure [-c FILE | --spool DIR] [--json] ...",
     .help = "A look into the spool of a stopped server; `man ringpost` has its options."},
    {.name = "trace", .run = cmd_trace,
     .usage = "server|client [--source NET] [--domain D] ... [--only-new] [--only-one] [--terse]\n"
              "         [--endpoint URL] [--json] [--color auto|always|never]",
     .help = "Live SMTP dialogues, with clients or with servers, until Ctrl-C; `man ringpost` has\n"
             "all filters."},
    {.name = "tsa", .run = cmd_tsa, .usage = "status|cancel ID [--endpoint URL] [--json]",
     .help = "What rules of automation have in force: what it is about, until when, by which rule\n"
             "and which reply. cancel ends one of these now; the rule may act again."},
    {.name = "version", .run = cmd_version, .usage = "", .help = "The version of this command."},
    {.name = "help", .run = cmd_help, .usage = "", .help = "All verbs."},
};

static void print_verb(FILE *out, const struct verb *verb)
{
    if (verb->ask != NULL) {
        fprintf(out, "ringpost %s%s%s%s [OPTION]...\n", verb->name,
                verb->positional != NULL ? " [" : "",
                verb->positional != NULL ? verb->positional : "",
                verb->positional != NULL ? "]" : "");
    } else {
        fprintf(out, "ringpost %s%s%s\n", verb->name, verb->usage[0] != 0 ? " " : "", verb->usage);
    }
}

static void print_usage(FILE *out)
{
    fprintf(out, "usage: ringpost VERB ...\n");
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        fprintf(out, "  ");
        print_verb(out, &verbs[i]);
    }
    fprintf(out, "More: ringpost VERB --help, man ringpost, or packaging/man/ringpost.1 of the "
                 "sources.\n");
}

static int print_help(const struct verb *verb)
{
    printf("usage: ");
    print_verb(stdout, verb);
    printf("%s\n", verb->help);
    if (verb->options != 0) {
        putchar('\n');
        verb_options_help(stdout, verb->options);
    }
    return EXIT_FINE;
}

static int cmd_help(int count, char **arguments)
{
    (void)count;
    (void)arguments;
    print_usage(stdout);
    return EXIT_FINE;
}

static int run_verb(const struct verb *verb, int count, char **arguments)
{
    struct verb_options options;
    if (count == 2 && strcmp(arguments[1], "--help") == 0) {
        return print_help(verb);
    }
    if (verb->run != NULL) {
        return verb->run(count, arguments);
    }
    if (!verb_options_read(&options, verb->options, verb->positional != NULL, count, arguments)) {
        return EXIT_USAGE;
    }
    return verb->ask(&options);
}

int main(int count, char **arguments)
{
    if (count < 2) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    const char *name = arguments[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "--help") == 0) {
        name += 2;
    }
    readable_init();
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        if (strcmp(name, verbs[i].name) == 0) {
            return run_verb(&verbs[i], count - 1, arguments + 1);
        }
    }
    fprintf(stderr, "ringpost: no verb \"%s\"\n", name);
    print_usage(stderr);
    return EXIT_USAGE;
}
