#include "bench/verbs.h"

#include <stdio.h>
#include <string.h>

#include "bench/scenario.h"

static const struct scenario_verb floor_verb = {
    .kind = KIND_FLOOR,
    .name = "floor",
    .about = "the least a durable relay must do, and source to sink",
    .messages = 200000,
    .size = 4096,
    .rounds = 3,
    .run = run_floor,
};

static const struct scenario_verb runs[] = {
    {KIND_RELAY, "relay", "this server against the floor, in turns", 200000, 4096, 7, 0, run_relay},
    {KIND_LATENCY, "latency", "due time to the sink's final dot, open loop", 50000, 4096, 1, 60,
     run_latency},
    {KIND_RESTART, "restart", "SIGKILL with mail queued, cold cache, exec to event=ready", 1000000,
     1024, 5, 0, run_restart},
    {KIND_BACKLOG, "backlog", "a long queue: its memory, and what it costs mail to others", 1000000,
     1024, 5, 0, run_backlog},
    {KIND_IDLE, "idle", "what a connection that says nothing takes in memory", 20000, 4096, 1, 0,
     run_idle},
    {KIND_SHARE, "urgent", "urgent mail behind a long queue to the same site, and alone", 200000,
     1024, 5, 0, run_urgent},
    {KIND_SHARE, "tenants", "a tenant's mail behind another's to the same site, and alone", 200000,
     1024, 5, 0, run_tenants},
    {KIND_RATES, "rates", "a rate with 1, 2 and 4 shards, counted where mail arrives", 0, 1024, 1,
     10, run_rates},
    {KIND_DOMAINS, "domains", "many domains on a few sites against one domain, in turns", 100000,
     4096, 7, 0, run_domains},
    {KIND_INJECT, "inject", "mail accepted over HTTP beside mail accepted by SMTP, in turns",
     100000, 4096, 7, 10, run_inject},
    {KIND_DEFERRALS, "deferrals", "mail deferred in part, with rules of automation and without",
     100000, 4096, 7, 0, run_deferrals},
    {KIND_REACTION, "reaction", "from a reply that a rule acts on until all threads obey", 50000,
     4096, 1, 10, run_reaction},
    {KIND_PUBLISH, "publish", "records that ringpost-tsad takes over HTTP, with rules", 1000000, 0,
     3, 0, run_publish},
    {KIND_TABLE, "table", "what a message costs: three sizes, three modes, one and two shards",
     50000, 4096, 3, 0, run_table},
    {KIND_SOAK, "soak", "hours of mail, some of it deferred: does anything grow without end?",
     50000, 4096, 1, 0, run_soak},
};

static void run_usage(FILE *file)
{
    fprintf(file, "usage: ringpost-bench run NAME [--option value]…\n\n");
    for (size_t i = 0; i < COUNT_OF(runs); i++) {
        fprintf(file, "  %-12s %s\n", runs[i].name, runs[i].about);
    }
    fprintf(file, "\nringpost-bench run NAME --help lists the options of a run.\n");
}

int verb_run(int argc, char **argv)
{
    for (size_t i = 0; argc > 0 && i < COUNT_OF(runs); i++) {
        if (strcmp(argv[0], runs[i].name) == 0) {
            return scenario_main(&runs[i], "run ", argc - 1, argv + 1);
        }
    }
    bool asked = argc > 0 && args_want_help(argc, argv);
    run_usage(asked ? stdout : stderr);
    return asked ? EXIT_FINE : EXIT_USAGE;
}

int verb_floor(int argc, char **argv)
{
    return scenario_main(&floor_verb, "", argc, argv);
}
