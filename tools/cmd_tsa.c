#include "tools/cmd_tsa.h"

#include <stdio.h>
#include <string.h>

#include "core/buf.h"
#include "tools/clock.h"
#include "tools/dialogue.h"
#include "tools/exit_codes.h"
#include "tools/table.h"
#include "tools/verb_options.h"

#define PATH        "/api/admin/tsa/v1"
#define WHICH_BYTES (4 * KIB) /* what an effect is about, shown */

/* --- status ----------------------------------------------------------------------------------- */

/* "domain x.test, tenant t", or the name of a ready queue. */
static void put_which(struct buf *buf, const struct json_value *effect)
{
    static const char *const keys[] = {"domain", "tenant", "campaign", "source", "name", "value"};
    if (answer_text(effect, "domain").size == 0) {
        buf_put(buf, answer_text(effect, "site"));
        return;
    }
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        struct slice text = answer_text(effect, keys[i]);
        if (text.size > 0) {
            buf_put(buf, buf->size > 0 ? SLICE(", ") : SLICE_NONE);
            buf_put_string(buf, keys[i]);
            buf_put_byte(buf, ' ');
            buf_put(buf, text);
        }
    }
}

static void put_effect(struct table *table, const struct json_value *effect)
{
    uint8_t bytes[WHICH_BYTES];
    uint8_t number[24];
    struct buf which;
    struct buf id;
    uint64_t now_ms = clock_wall_ns() / NS_PER_MS;
    uint64_t expires_ms = answer_u64(effect, "expires_ms");
    buf_init(&which, bytes, sizeof(bytes));
    put_which(&which, effect);
    buf_init(&id, number, sizeof(number));
    buf_put_u64(&id, answer_u64(effect, "id"));
    table_text(table, buf_slice(&id));
    table_text(table, answer_text(effect, "action"));
    table_duration(table, MAX_OF(expires_ms, now_ms) - now_ms);
    table_text(table, buf_slice(&which));
    table_text(table, answer_text(effect, "rule"));
    table_text(table, answer_text(effect, "reason"));
}

static void print_effects(const struct json_value *answer)
{
    static const struct table_column columns[] = {
        {.title = "id", .right = true},        {.title = "action"},
        {.title = "left", .right = true},      {.title = "which", .flexible = true},
        {.title = "rule", .flexible = true},   {.title = "why", .flexible = true},
    };
    const struct json_value *effects = answer_member(answer, "effects");
    uint64_t rules = answer_u64(answer, "rules");
    char text[READABLE_BYTES];
    struct table table;
    if (answer_count(effects) == 0 || effects->kind != JSON_ARRAY) {
        printf("nothing is in force; %s rule%s\n", readable_count(text, rules),
               rules == 1 ? "" : "s");
        return;
    }
    table_init(&table, columns, COUNT_OF(columns));
    for (uint32_t i = 0; i < effects->size; i++) {
        put_effect(&table, &effects->elements[i]);
    }
    table_print(&table, stdout);
    table_fini(&table);
}

static int status(struct dialogue *dialogue)
{
    unsigned code = dialogue_ask(dialogue, "GET", PATH, NULL);
    if (code != 200) {
        return code == 0 ? EXIT_FAILED : dialogue_refused(dialogue);
    }
    if (verb_options_given(dialogue->options, OPTION_JSON)) {
        return dialogue_print(dialogue);
    }
    const struct json_value *answer = dialogue_value(dialogue);
    if (answer == NULL) {
        return EXIT_FAILED;
    }
    print_effects(answer);
    return dialogue_end(EXIT_FINE);
}

/* --- cancelling ------------------------------------------------------------------------------- */

static int cancel(struct dialogue *dialogue, uint64_t id)
{
    uint8_t bytes[64];
    struct buf body;
    buf_init(&body, bytes, sizeof(bytes));
    buf_printf(&body, "{\"id\":%llu}", (unsigned long long)id);
    struct slice text = buf_slice(&body);
    unsigned code = dialogue_ask(dialogue, "DELETE", PATH, &text);
    if (code == 404) {
        fprintf(stderr, "ringpost tsa: no effect has this id now: ringpost tsa status\n");
        return EXIT_FAILED;
    }
    if (code != 200) {
        return code == 0 ? EXIT_FAILED : dialogue_refused(dialogue);
    }
    if (verb_options_given(dialogue->options, OPTION_JSON)) {
        return dialogue_print(dialogue);
    }
    printf("cancelled: effect %llu\n", (unsigned long long)id);
    return dialogue_end(EXIT_FINE);
}

/* --- the verb --------------------------------------------------------------------------------- */

static int usage(const char *problem)
{
    fprintf(stderr, "ringpost tsa: %s; ringpost tsa status, or ringpost tsa cancel ID\n", problem);
    return EXIT_USAGE;
}

static int run(const struct verb_options *options, bool cancels, uint64_t id)
{
    struct dialogue dialogue;
    if (!dialogue_open(&dialogue, options)) {
        return EXIT_USAGE;
    }
    int code = cancels ? cancel(&dialogue, id) : status(&dialogue);
    dialogue_close(&dialogue);
    return code;
}

int cmd_tsa(int count, char **arguments)
{
    struct verb_options options;
    uint64_t id = 0;
    bool cancels = count > 1 && strcmp(arguments[1], "cancel") == 0;
    if (count < 2 || (!cancels && strcmp(arguments[1], "status") != 0)) {
        return usage(count < 2 ? "what of it?" : "there is no such thing");
    }
    arguments[1] = arguments[0]; /* what complaints begin with */
    if (!verb_options_read(&options, OPTIONS_COMMON, cancels, count - 1, arguments + 1)) {
        return EXIT_USAGE;
    }
    if (cancels &&
        (options.positional == NULL ||
         !slice_parse_u64(slice_from_string(options.positional), &id) || id == 0 ||
         id > INT64_MAX)) {
        return usage("the number of an effect is wanted");
    }
    return run(&options, cancels, id);
}
