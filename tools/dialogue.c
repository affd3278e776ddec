#include "tools/dialogue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "tools/exit_codes.h"
#include "tools/readable.h"

#define WAIT_MS    1000
#define LINE_BYTES 400u /* of what the server says */

bool dialogue_open(struct dialogue *dialogue, const struct verb_options *options)
{
    const struct endpoint_limits limits = {.connect_ms = DIALOGUE_CONNECT_MS,
                                           .total_ms = DIALOGUE_TOTAL_MS};
    const char *endpoint = server_url_choose(options->values[OPTION_ENDPOINT]);
    *dialogue = (struct dialogue){.options = options};
    dialogue->client = endpoint_client_open(endpoint, limits);
    if (dialogue->client == NULL) {
        server_url_complain(options->verb, endpoint);
        return false;
    }
    dialogue->reader = json_reader_open();
    return true;
}

void dialogue_close(struct dialogue *dialogue)
{
    endpoint_client_close(dialogue->client);
    json_reader_close(dialogue->reader);
    free(dialogue->memory);
    *dialogue = (struct dialogue){0};
}

unsigned dialogue_ask(struct dialogue *dialogue, const char *method, const char *path,
                      const struct slice *body)
{
    enum endpoint_state state;
    endpoint_client_start(dialogue->client, method, path, body);
    do {
        state = endpoint_client_turn(dialogue->client, WAIT_MS, -1);
    } while (state == ENDPOINT_PENDING);
    if (state == ENDPOINT_ANSWERED) {
        return endpoint_client_status(dialogue->client);
    }
    bool in_doubt = strcmp(method, "GET") != 0 && endpoint_client_was_sent(dialogue->client);
    fprintf(stderr, "ringpost %s: %s%s\n", dialogue->options->verb,
            endpoint_client_reason(dialogue->client),
            in_doubt ? "; it may have been done" : "");
    return 0;
}

struct slice dialogue_answer(const struct dialogue *dialogue)
{
    return endpoint_client_answer(dialogue->client);
}

const struct json_value *dialogue_parse(struct json_reader *reader, struct slice text,
                                        void **memory)
{
    /* A value takes 16 bytes and at least two of text, a member twice that and five of text. */
    size_t room = text.size * 16 + 64 * KIB;
    struct json_problem problem;
    struct arena arena;
    free(*memory);
    *memory = malloc(room);
    CHECK(*memory != NULL);
    arena_init(&arena, *memory, room);
    return json_value_read(reader, text, &arena, &problem);
}

int dialogue_no_json(const struct dialogue *dialogue)
{
    fprintf(stderr, "ringpost %s: what %s answers is no JSON\n", dialogue->options->verb,
            endpoint_client_where(dialogue->client));
    return EXIT_FAILED;
}

const struct json_value *dialogue_value(struct dialogue *dialogue)
{
    const struct json_value *value =
        dialogue_parse(dialogue->reader, dialogue_answer(dialogue), &dialogue->memory);
    if (value == NULL) {
        (void)dialogue_no_json(dialogue);
    }
    return value;
}

int dialogue_refused(const struct dialogue *dialogue)
{
    struct slice line = dialogue_answer(dialogue);
    unsigned status = endpoint_client_status(dialogue->client);
    line = slice_first(line, MIN_OF(slice_find(line, '\n'), (size_t)LINE_BYTES));
    fprintf(stderr, "ringpost %s: ", dialogue->options->verb);
    if (line.size == 0) {
        fprintf(stderr, "%s answers %u\n", endpoint_client_where(dialogue->client), status);
    } else {
        readable_print(stderr, line);
        fputc('\n', stderr);
    }
    return status == 400 ? EXIT_USAGE : EXIT_FAILED;
}

int dialogue_end(int code)
{
    return fflush(stdout) != 0 || ferror(stdout) != 0 ? EXIT_FAILED : code;
}

int dialogue_print(const struct dialogue *dialogue)
{
    readable_json(stdout, dialogue_answer(dialogue));
    return dialogue_end(EXIT_FINE);
}
