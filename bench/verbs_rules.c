/*
 * ringpost-bench rules: how many records a second one thread takes through the rules of automation,
 * alone: no log, no network. So many per mille of the records match a rule that has to be
 * confirmed, and the rest none, as with real deferrals.
 */
#include "bench/verbs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/args.h"
#include "bench/process.h"
#include "bench/rules.h"
#include "core/check.h"
#include "tsa/automation.h"

#define REPLIES      1000u
#define SITES        500u
#define EFFECTS      10000u
#define COUNTERS_MAX 65536u
#define WALL_NS      (1800000000ull * NS_PER_S)

struct rules_bench {
    struct heap heap;
    uint64_t rules;
    uint64_t records;
    uint64_t confirmed; /* per mille */
    uint64_t runs;
    struct automation automation;
    struct slice replies[REPLIES];
    struct slice sites[SITES];
};

/* Room for one text. */
static struct buf text_take(struct heap *heap)
{
    struct buf text;
    buf_init(&text, heap_take(heap, RULES_TEXT_BYTES_MAX), RULES_TEXT_BYTES_MAX);
    return text;
}

static struct shaping_rule rule_make(struct heap *heap, uint64_t number)
{
    struct shaping_pattern *pattern = heap_take(heap, sizeof(*pattern));
    struct shaping_action *action = heap_take(heap, sizeof(*action));
    struct buf text = text_take(heap);
    rules_put_pattern(&text, number);
    pattern->text = buf_slice(&text);
    action->kind = SHAPING_SUSPEND;
    struct shaping_rule rule = {
        .patterns = pattern, .pattern_count = 1, .actions = action, .action_count = 1,
        .duration_ns = 3600 * NS_PER_S, .hash = number + 1, .file = "bench", .line = 1,
    };
    CHECK(rate_parse(SLICE(RULES_THRESHOLD), &rule.threshold) == NULL);
    return rule;
}

static void refuse(void *context, const struct shaping_rule *rule, uint32_t pattern,
                   struct slice why)
{
    (void)context;
    (void)rule;
    (void)pattern;
    fprintf(stderr, "ringpost-bench rules: %.*s\n", (int)why.size, (const char *)why.data);
}

static struct shaping_rule_set *set_make(struct rules_bench *bench)
{
    struct shaping_rule *rules = heap_take_array(&bench->heap, bench->rules, sizeof(*rules));
    struct shaping_rule_group *group = heap_take(&bench->heap, sizeof(*group));
    for (uint64_t i = 0; i < bench->rules; i++) {
        rules[i] = rule_make(&bench->heap, i);
    }
    *group = (struct shaping_rule_group){
        SLICE("default"), true, {rules, (uint32_t)bench->rules}};
    return shaping_rule_set_compile(group, 1, refuse, NULL);
}

static void texts_make(struct rules_bench *bench)
{
    uint64_t confirmed = bench->confirmed * REPLIES / 1000;
    for (uint64_t i = 0; i < REPLIES; i++) {
        uint64_t rule =
            i * RULES_CONFIRM_EACH % bench->rules / RULES_CONFIRM_EACH * RULES_CONFIRM_EACH;
        struct buf text = text_take(&bench->heap);
        if (i < confirmed) {
            rules_put_match(&text, rule);
        } else {
            rules_put_miss(&text, i);
        }
        bench->replies[i] = buf_slice(&text);
    }
    for (uint64_t i = 0; i < SITES; i++) {
        struct buf text = text_take(&bench->heap);
        buf_printf(&text, "ip1->mx%04" PRIu64 ".example.test@smtp_client", i);
        bench->sites[i] = buf_slice(&text);
    }
}

static uint64_t run_once(struct rules_bench *bench)
{
    static const uint32_t groups[] = {0};
    uint64_t start = clock_now_ns();
    for (uint64_t i = 0; i < bench->records; i++) {
        const struct automation_record record = {
            .wall_ns = WALL_NS + i * NS_PER_US,
            .response = bench->replies[i * 7 % REPLIES],
            .site = bench->sites[i % SITES],
            .source = SLICE("ip1"),
            .domain = SLICE("example.test"),
            .groups = groups,
            .group_count = 1,
        };
        automation_judge(&bench->automation, &record, record.wall_ns);
    }
    return MAX_OF(clock_now_ns() - start, 1);
}

static int bench_run(struct rules_bench *bench)
{
    struct shaping_rule_set *set = set_make(bench);
    if (set == NULL) {
        return EXIT_FAILED;
    }
    struct patterns_scratch *scratch = patterns_scratch_open(set->patterns);
    texts_make(bench);
    automation_init(&bench->automation, &bench->heap, EFFECTS, COUNTERS_MAX, 1, 1);
    automation_use(&bench->automation, set, scratch);
    uint64_t best = UINT64_MAX;
    for (uint64_t i = 0; i < bench->runs; i++) {
        uint64_t matches = bench->automation.stats.matches;
        uint64_t took = run_once(bench);
        best = MIN_OF(best, took);
        printf("rules=%" PRIu64 " records=%" PRIu64 " matches=%" PRIu64 " per_second=%.0f\n",
               bench->rules, bench->records, bench->automation.stats.matches - matches,
               (double)bench->records * 1e9 / (double)took);
    }
    printf("best per_second=%.0f\n", (double)bench->records * 1e9 / (double)best);
    patterns_scratch_close(scratch);
    shaping_rule_set_free(set);
    return EXIT_FINE;
}

int verb_rules(int argc, char **argv)
{
    struct rules_bench *bench = calloc(1, sizeof(*bench));
    if (bench == NULL) {
        return EXIT_FAILED;
    }
    *bench = (struct rules_bench){
        .rules = 200, .records = 1000000, .confirmed = 50, .runs = 3};
    const struct arg table[] = {
        arg_u64("--rules", &bench->rules, RULES_CONFIRM_EACH, PATTERNS_MAX, "N of automation"),
        arg_u64("--records", &bench->records, 1, 1000000000, "N of each run"),
        arg_percent("--confirmed", &bench->confirmed, "SHARE of records that match a rule"),
        arg_u64("--runs", &bench->runs, 1, 100, "N, the best counts"),
    };
    char why[512];
    struct buf reason;
    int code = EXIT_FINE;
    buf_init(&reason, why, sizeof(why) - 1);
    heap_init(&bench->heap);
    if (args_want_help(argc, argv)) {
        printf("ringpost-bench rules: records through rules of automation, on one thread\n\n");
        args_help(table, COUNT_OF(table));
    } else if (!args_parse(table, COUNT_OF(table), argc, argv, &reason)) {
        fprintf(stderr, "ringpost-bench rules: %.*s\n", (int)reason.size, why);
        code = EXIT_USAGE;
    } else {
        code = bench_run(bench);
    }
    heap_fini(&bench->heap);
    free(bench);
    return code;
}
