/*
 * Any bytes as the body of an injection: refused at some point with a reason, or the messages for
 * its recipients are sound: the pass over content finds nothing wrong with them.
 */
#include "smtp/inject_message.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "smtp/content.h"

#define ARENA_BYTES    (2u * MIB)
#define OUTPUT_BYTES   (256u * KIB)
#define POOL_BYTES     (8u * MIB)
#define STEPS          20000
#define RECIPIENTS_MAX 3 /* that messages are made for */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *need(size_t bytes)
{
    void *memory = malloc(bytes);
    CHECK(memory != NULL);
    return memory;
}

static void check_problem(const struct inject_problem *problem)
{
    size_t size = strnlen(problem->text, sizeof(problem->text));
    CHECK(size > 0 && size < sizeof(problem->text));
    for (size_t i = 0; i < size; i++) {
        CHECK(problem->text[i] >= ' ' && problem->text[i] < 0x7F);
    }
}

static void check_message(struct slice message)
{
    struct block_pool *pool = block_pool_open(POOL_BYTES);
    XXH3_state_t hash;
    struct content content;
    CHECK(pool != NULL);
    memset(&hash, 0, sizeof(hash));
    content_begin(&content, pool, &hash, UINT32_MAX, 0, NULL);
    content_bdat(&content, message);
    content_bdat_end(&content);
    CHECK(content.fault == CONTENT_OK);
    CHECK(content.header.ended && content.header.field_count > 0);
    CHECK(slice_ends_with(message, SLICE("\r\n")));
    content_drop(&content);
    block_pool_close(pool);
}

static void make_messages(const struct inject_templates *templates)
{
    const struct inject_request *request = templates->request;
    struct inject_problem problem;
    struct arena texts;
    struct arena scratch;
    struct buf out;
    bool utf8;
    arena_init(&texts, need(OUTPUT_BYTES), OUTPUT_BYTES);
    arena_init(&scratch, need(OUTPUT_BYTES), OUTPUT_BYTES);
    buf_init(&out, need(OUTPUT_BYTES), OUTPUT_BYTES);
    for (uint32_t i = 0; i < MIN_OF(request->recipient_count, (uint32_t)RECIPIENTS_MAX); i++) {
        struct inject_maker maker = {
            .templates = templates,
            .texts = &texts,
            .scratch = &scratch,
            .id = SLICE("0190f3c2a7b84d5e8f000000000000ff"),
            .hostname = SLICE("mx.example.net"),
            .steps = STEPS,
        };
        if (!request->recipients[i].is_valid) {
            continue;
        }
        buf_reset(&out);
        if (inject_make(&maker, &request->recipients[i], &out, &utf8, &problem)) {
            check_message(buf_slice(&out));
        } else {
            check_problem(&problem);
            CHECK(out.size == 0);
        }
        CHECK(!out.overflow && arena_mark(&texts) == 0 && arena_mark(&scratch) == 0);
    }
    free(texts.data);
    free(scratch.data);
    free(out.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_reader *reader = json_reader_open();
    struct inject_request request;
    struct inject_templates templates;
    struct inject_problem problem;
    struct json_problem fault;
    struct arena arena;
    arena_init(&arena, need(ARENA_BYTES), ARENA_BYTES);
    const struct json_value *root =
        json_value_read(reader, slice_make(data, size), &arena, &fault);
    if (root != NULL) {
        if (inject_request_read(root, &arena, &request, &problem) &&
            inject_compile(&request, &arena, &templates, &problem)) {
            make_messages(&templates);
        } else {
            check_problem(&problem);
        }
    }
    json_reader_close(reader);
    free(arena.data);
    return 0;
}
