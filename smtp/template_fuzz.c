/*
 * Any template is compiled or refused at a place inside it; what is compiled renders any context,
 * or says why not, within its steps and memory, and makes the same text each time, in just that
 * room.
 *
 * Input: a byte (dialect, and 4 for HTML), the template, NUL, a JSON document as context.
 */
#include "smtp/template.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"

#define ARENA_BYTES   (1u * MIB)
#define SCRATCH_BYTES (64u * KIB)
#define OUTPUT_BYTES  (64u * KIB)
#define STEPS         20000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *need(size_t bytes)
{
    void *memory = malloc(bytes);
    CHECK(memory != NULL);
    return memory;
}

static void check_problem(const struct template_problem *problem, struct slice text)
{
    CHECK(problem->fault != TEMPLATE_OK);
    CHECK(problem->line >= 1 && problem->line <= text.size + 1);
    CHECK(problem->column >= 1 && problem->column <= text.size + 1);
    size_t size = strnlen(problem->text, sizeof(problem->text));
    CHECK(size > 0 && size < sizeof(problem->text));
    for (size_t i = 0; i < size; i++) {
        CHECK(problem->text[i] >= ' ' && problem->text[i] < 0x7F);
    }
}

static bool render(const struct template *template, const struct json_value *context,
                   struct arena *scratch, struct buf *out, struct template_problem *problem)
{
    struct template_run run = {.scopes = {context}, .scratch = scratch, .steps = STEPS};
    bool good = template_render(template, &run, out, problem);
    CHECK(run.steps <= STEPS);
    CHECK(arena_mark(scratch) == 0 && !out->overflow);
    CHECK(good == (problem->fault == TEMPLATE_OK));
    return good;
}

static void check_render(const struct template *template, const struct json_value *context,
                         struct slice text)
{
    struct template_problem problem;
    struct arena scratch;
    struct buf first;
    struct buf second;
    arena_init(&scratch, need(SCRATCH_BYTES), SCRATCH_BYTES);
    buf_init(&first, need(OUTPUT_BYTES), OUTPUT_BYTES);
    buf_init(&second, need(OUTPUT_BYTES), OUTPUT_BYTES);
    if (render(template, context, &scratch, &first, &problem)) {
        second.capacity = first.size;
        CHECK(render(template, context, &scratch, &second, &problem));
        CHECK(slice_equal(buf_slice(&first), buf_slice(&second)));
        if (first.size > 0) {
            buf_reset(&second);
            second.capacity = first.size - 1;
            CHECK(!render(template, context, &scratch, &second, &problem));
            CHECK(problem.fault == TEMPLATE_OUTPUT && second.size == 0);
        }
    } else {
        check_problem(&problem, text);
        CHECK(first.size == 0);
    }
    free(scratch.data);
    free(first.data);
    free(second.data);
}

static void check_template(struct slice input, uint8_t kind, struct arena *arena)
{
    size_t end = slice_find(input, 0);
    struct slice text = slice_first(input, end);
    struct slice json = slice_skip(input, MIN_OF(end + 1, input.size));
    struct json_reader *reader = json_reader_open();
    struct json_problem fault;
    struct template_problem problem;
    const struct json_value *context = json_value_read(reader, json, arena, &fault);
    arena->overflow = false;
    const struct template *template =
        template_compile(text, kind % 4 % 3, kind & 4 ? TEMPLATE_HTML : TEMPLATE_TEXT, arena,
                         &problem);
    if (template == NULL) {
        check_problem(&problem, text);
    } else {
        check_render(template, context, text);
    }
    json_reader_close(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    if (size == 0) {
        return 0;
    }
    arena_init(&arena, need(ARENA_BYTES), ARENA_BYTES);
    check_template(slice_make(data + 1, size - 1), data[0], &arena);
    free(arena.data);
    return 0;
}
