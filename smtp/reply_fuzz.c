/*
 * Any bytes, fed whole and one by one, give the same replies and the same fault; limits hold.
 */
#include "smtp/reply.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome_of_feed {
    size_t lines;
    size_t replies;
    uint64_t sum; /* over codes and texts, order included */
    bool fault;
};

static void require(bool truth)
{
    if (!truth) {
        abort();
    }
}

static void add(struct outcome_of_feed *seen, uint64_t value)
{
    seen->sum = seen->sum * 1099511628211u + value;
}

static void note(struct outcome_of_feed *seen, const struct reply_parser *parser,
                 enum reply_status status)
{
    seen->lines++;
    for (size_t i = 0; i < parser->line.size; i++) {
        add(seen, parser->line.data[i]);
    }
    if (status == REPLY_LINE) {
        return;
    }
    const struct reply *reply = &parser->reply;
    require(reply->code >= 200 && reply->code <= 599);
    require(reply->text_bytes <= REPLY_TEXT_BYTES_MAX);
    require(reply->enhanced[0] == 0 || reply->enhanced[0] == reply->code / 100);
    seen->replies++;
    add(seen, reply->code);
    add(seen, reply->enhanced[1]);
    add(seen, reply->enhanced[2]);
    for (size_t i = 0; i < reply->text_bytes; i++) {
        add(seen, reply->text[i]);
    }
}

static struct outcome_of_feed feed(struct slice input, size_t step)
{
    struct outcome_of_feed seen = {0};
    struct reply_parser parser;
    reply_parser_init(&parser);
    while (input.size > 0 && !seen.fault) {
        struct slice piece = slice_first(input, MIN_OF(step, input.size));
        input = slice_skip(input, piece.size);
        while (piece.size > 0 && !seen.fault) {
            enum reply_status status = reply_feed(&parser, &piece);
            if (status == REPLY_LINE || status == REPLY_WHOLE) {
                note(&seen, &parser, status);
            }
            seen.fault = status == REPLY_FAULT;
            require(status != REPLY_MORE || piece.size == 0);
        }
    }
    return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = slice_make(data, size);
    struct outcome_of_feed whole = feed(input, size + 1);
    struct outcome_of_feed bytes = feed(input, 1);
    require(whole.lines == bytes.lines && whole.replies == bytes.replies);
    require(whole.sum == bytes.sum && whole.fault == bytes.fault);
    return 0;
}
