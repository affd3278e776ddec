/*
 * What a verb and a running server say to each other: one question after the other, each with its
 * answer as JSON, or a line on standard error that says why there is none. One thread.
 */
#ifndef RINGPOST_TOOLS_DIALOGUE_H
#define RINGPOST_TOOLS_DIALOGUE_H

#include "tools/answer.h"
#include "tools/endpoint_client.h"
#include "tools/verb_options.h"

#define DIALOGUE_CONNECT_MS 3000
#define DIALOGUE_TOTAL_MS   30000

struct dialogue {
    const struct verb_options *options; /* borrowed */
    struct endpoint_client *client;
    struct json_reader *reader;
    void *memory;                       /* of the values of the last answer */
};

/* False: the endpoint makes no sense, and that has been said. */
MUST_USE bool dialogue_open(struct dialogue *dialogue, const struct verb_options *options);
void dialogue_close(struct dialogue *dialogue);

/* The status of the answer; 0: there is none, and that has been said. */
unsigned dialogue_ask(struct dialogue *dialogue, const char *method, const char *path,
                      const struct slice *body);
struct slice dialogue_answer(const struct dialogue *dialogue);
/* Until the next one. Null: it is no JSON, and that has been said. */
const struct json_value *dialogue_value(struct dialogue *dialogue);
/* Says that it is none; an exit code. */
int dialogue_no_json(const struct dialogue *dialogue);
/* Says what the server has said against it; an exit code. */
int dialogue_refused(const struct dialogue *dialogue);
/* The answer as it is, on a line of standard output; an exit code. */
int dialogue_print(const struct dialogue *dialogue);

/* Of an answer that was read by other means. */
const struct json_value *dialogue_parse(struct json_reader *reader, struct slice text,
                                        void **memory);
/* Whether all of it could be written; an exit code. */
int dialogue_end(int code);

#endif
