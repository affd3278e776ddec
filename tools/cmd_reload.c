#include "tools/cmd_reload.h"

#include <stdio.h>

#include "tools/dialogue.h"
#include "tools/exit_codes.h"
#include "tools/table.h"

#define PATH    "/api/admin/reload/v1"
#define REFUSED 422u

static void print_changes(const struct json_value *changes)
{
    static const struct table_column columns[] = {
        {.title = "key"},
        {.title = "was", .flexible = true},
        {.title = "is", .flexible = true},
        {.title = "from"},
    };
    struct table table;
    table_init(&table, columns, COUNT_OF(columns));
    for (uint32_t i = 0; i < changes->size; i++) {
        const struct json_value *change = &changes->elements[i];
        struct slice effect = answer_text(change, "effect");
        table_text(&table, answer_text(change, "key"));
        table_text(&table, answer_text(change, "old"));
        table_text(&table, answer_text(change, "new"));
        table_text(&table, slice_equal(effect, SLICE("restart")) ? SLICE("the next start")
                           : slice_equal(effect, SLICE("now"))   ? SLICE("now on")
                                                                 : effect);
    }
    table_print(&table, stdout);
    table_fini(&table);
}

static void print_messages(FILE *out, const struct json_value *messages)
{
    for (uint32_t i = 0; i < answer_count(messages) && messages->kind == JSON_ARRAY; i++) {
        if (messages->elements[i].kind == JSON_STRING) {
            readable_print(out, json_value_text(&messages->elements[i]));
            fputc('\n', out);
        }
    }
}

static int print_answer(const struct json_value *answer)
{
    const struct json_value *changes = answer_member(answer, "changed");
    const struct json_value *notes = answer_member(answer, "notes");
    if (!answer_bool(answer, "applied")) {
        print_messages(stderr, notes);
        print_messages(stderr, answer_member(answer, "errors"));
        fprintf(stderr, "ringpost reload: refused; the server goes on with what it has\n");
        return EXIT_CONFIGURATION;
    }
    if (answer_count(changes) > 0 && changes->kind == JSON_ARRAY) {
        print_changes(changes);
    }
    print_messages(stdout, notes); /* that nothing has changed is one */
    return dialogue_end(EXIT_FINE);
}

static int reload(struct dialogue *dialogue)
{
    const struct slice body = SLICE("{}");
    unsigned status = dialogue_ask(dialogue, "POST", PATH, &body);
    if (status != 200 && status != REFUSED) {
        return status == 0 ? EXIT_FAILED : dialogue_refused(dialogue);
    }
    const struct json_value *answer = dialogue_value(dialogue);
    if (answer == NULL) {
        return EXIT_FAILED;
    }
    if (verb_options_given(dialogue->options, OPTION_JSON)) {
        int code = dialogue_print(dialogue);
        return answer_bool(answer, "applied") ? code : EXIT_CONFIGURATION;
    }
    return print_answer(answer);
}

int cmd_reload(const struct verb_options *options)
{
    struct dialogue dialogue;
    if (!dialogue_open(&dialogue, options)) {
        return EXIT_USAGE;
    }
    int code = reload(&dialogue);
    dialogue_close(&dialogue);
    return code;
}
