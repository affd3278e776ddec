#include "smtp/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_BYTES   (4u * MIB)
#define SCRATCH_BYTES (256u * KIB)
#define OUTPUT_BYTES  (64u * KIB)
#define STEPS         100000u

struct fixture {
    struct json_reader *reader;
    struct arena arena;
    struct arena scratch;
    struct buf out;
    struct template_problem problem;
    uint64_t steps;
};

static void *need(size_t bytes)
{
    void *memory = malloc(bytes);
    assert_non_null(memory);
    return memory;
}

static int setup(void **state)
{
    struct fixture *fixture = need(sizeof(*fixture));
    *fixture = (struct fixture){.reader = json_reader_open(), .steps = STEPS};
    arena_init(&fixture->arena, need(ARENA_BYTES), ARENA_BYTES);
    arena_init(&fixture->scratch, need(SCRATCH_BYTES), SCRATCH_BYTES);
    buf_init(&fixture->out, need(OUTPUT_BYTES), OUTPUT_BYTES);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    json_reader_close(fixture->reader);
    free(fixture->arena.data);
    free(fixture->scratch.data);
    free(fixture->out.data);
    free(fixture);
    return 0;
}

static const struct json_value *json_of(struct fixture *fixture, const char *text)
{
    struct json_problem problem;
    const struct json_value *value =
        json_value_read(fixture->reader, slice_from_string(text), &fixture->arena, &problem);
    assert_non_null(value);
    return value;
}

static const struct template *compile(struct fixture *fixture, enum template_dialect dialect,
                                      const char *text)
{
    return template_compile(slice_from_string(text), dialect, TEMPLATE_HTML, &fixture->arena,
                            &fixture->problem);
}

/* Renders with one scope; false with the problem in the fixture. */
static bool render(struct fixture *fixture, enum template_dialect dialect, const char *text,
                   const char *context)
{
    arena_rewind(&fixture->arena, 0);
    const struct template *template = compile(fixture, dialect, text);
    struct template_run run = {
        .scopes = {json_of(fixture, context)},
        .scratch = &fixture->scratch,
        .steps = fixture->steps,
    };
    if (template == NULL) {
        fail_msg("%s: %u:%u %s", text, fixture->problem.line, fixture->problem.column,
                 fixture->problem.text);
        return false;
    }
    buf_reset(&fixture->out);
    bool good = template_render(template, &run, &fixture->out, &fixture->problem);
    assert_int_equal(arena_mark(&fixture->scratch), 0);
    assert_int_equal(good, fixture->problem.fault == TEMPLATE_OK);
    assert_true(good || fixture->out.size == 0);
    return good;
}

/* What is written, and the fault with its place that it has. */
static const struct refusal {
    enum template_dialect dialect;
    enum template_fault fault;
    uint32_t line;
    uint32_t column;
    const char *text;
    const char *problem;
} refusals[] = {
    {TEMPLATE_JINJA, TEMPLATE_UNSUPPORTED, 2, 3, "\u00e9\n\u00e9\u00e9{% include 'x' %}",
     "not supported here: tag 'include'"},
    {TEMPLATE_JINJA, TEMPLATE_UNSUPPORTED, 1, 1, "{% macro x() %}",
     "not supported here: tag 'macro'"},
    {TEMPLATE_JINJA, TEMPLATE_SYNTAX, 1, 1, "{% fi %}", "unknown tag 'fi'"},
    {TEMPLATE_JINJA, TEMPLATE_UNSUPPORTED, 1, 6, "{{ a|tojson }}", "unknown filter 'tojson'"},
    {TEMPLATE_JINJA, TEMPLATE_UNSUPPORTED, 1, 9, "{{ a is even }}", "unknown test 'even'"},
    {TEMPLATE_JINJA, TEMPLATE_UNSUPPORTED, 1, 6, "{{ a + 1 }}",
     "not supported here: operator '+'"},
    {TEMPLATE_JINJA, TEMPLATE_UNSUPPORTED, 1, 6, "{{ a ~ b }}",
     "not supported here: operator '~'"},
    {TEMPLATE_JINJA, TEMPLATE_UNSUPPORTED, 1, 4, "{{ -a }}", "not supported here: arithmetic"},
    {TEMPLATE_JINJA, TEMPLATE_UNSUPPORTED, 1, 6, "{{ a if b }}",
     "not supported here: an if in an expression"},
    {TEMPLATE_JINJA, TEMPLATE_UNSUPPORTED, 1, 5, "{{ f(1) }}",
     "not supported here: a function call"},
    {TEMPLATE_JINJA, TEMPLATE_UNSUPPORTED, 1, 11, "{{ a.items() }}",
     "not supported here: method 'items'"},
    {TEMPLATE_JINJA, TEMPLATE_UNSUPPORTED, 1, 7, "{{ a[1:2] }}", "not supported here: a slice"},
    {TEMPLATE_JINJA, TEMPLATE_UNSUPPORTED, 1, 14, "{{ abc|join(d=', ') }}",
     "not supported here: a named argument"},
    {TEMPLATE_JINJA, TEMPLATE_UNSUPPORTED, 1, 4, "{{ {'a': 1} }}",
     "not supported here: a mapping literal"},
    {TEMPLATE_JINJA, TEMPLATE_UNSUPPORTED, 1, 6, "{{ (1, 2) }}", "not supported here: a tuple"},
    {TEMPLATE_JINJA, TEMPLATE_UNSUPPORTED, 1, 11, "{{ 1 < 2 < 3 }}",
     "not supported here: a chain of comparisons"},
    {TEMPLATE_JINJA, TEMPLATE_UNSUPPORTED, 1, 9, "{% for k, v in x %}{% endfor %}",
     "not supported here: several targets"},
    {TEMPLATE_JINJA, TEMPLATE_UNSUPPORTED, 1, 15, "{% for a in b if c %}{% endfor %}",
     "not supported here: an if in an expression"},
    {TEMPLATE_JINJA, TEMPLATE_UNSUPPORTED, 1, 1, "{% set x %}a{% endset %}",
     "not supported here: a set without '='"},
    {TEMPLATE_JINJA, TEMPLATE_UNSUPPORTED, 1, 9, "{% set a.b = 1 %}",
     "not supported here: an attribute as target"},
    {TEMPLATE_JINJA, TEMPLATE_UNSUPPORTED, 1, 24, "{% for a in b %}{{ loop.cycle }}{% endfor %}",
     "not supported here: loop attribute 'cycle'"},
    {TEMPLATE_JINJA, TEMPLATE_UNSUPPORTED, 1, 5, "{{ '\\x41' }}",
     "not supported here: this escape in a string"},
    {TEMPLATE_JINJA, TEMPLATE_SYNTAX, 1, 1, "{% if a %}", "this block is never closed"},
    {TEMPLATE_JINJA, TEMPLATE_SYNTAX, 1, 1, "{% endif %}", "no block is open for 'endif'"},
    {TEMPLATE_JINJA, TEMPLATE_SYNTAX, 1, 17, "{% for a in b %}{% endif %}",
     "no block is open for 'endif'"},
    {TEMPLATE_JINJA, TEMPLATE_SYNTAX, 1, 21, "{% if a %}{% else %}{% else %}{% endif %}",
     "a second else"},
    {TEMPLATE_JINJA, TEMPLATE_SYNTAX, 1, 1, "{# never", "the comment is not closed"},
    {TEMPLATE_JINJA, TEMPLATE_SYNTAX, 1, 1, "{% raw %}{% endif %}", "raw is never closed"},
    {TEMPLATE_JINJA, TEMPLATE_SYNTAX, 1, 3, "{{ a", "the tag is not closed"},
    {TEMPLATE_JINJA, TEMPLATE_SYNTAX, 1, 4, "{{ }}", "a value is missing"},
    {TEMPLATE_JINJA, TEMPLATE_SYNTAX, 1, 10, "{{ a and }}", "a value is missing"},
    {TEMPLATE_JINJA, TEMPLATE_SYNTAX, 1, 4, "{{ (a }}", "this bracket is never closed"},
    {TEMPLATE_JINJA, TEMPLATE_SYNTAX, 1, 5, "{{ a) }}", "this bracket closes nothing"},
    {TEMPLATE_JINJA, TEMPLATE_SYNTAX, 1, 6, "{{ a b }}", "an operator is missing before 'b'"},
    {TEMPLATE_JINJA, TEMPLATE_SYNTAX, 1, 4, "{{ 'a }}", "the string is not closed"},
    {TEMPLATE_JINJA, TEMPLATE_SYNTAX, 1, 5, "{{ 1a }}", "malformed number"},
    {TEMPLATE_JINJA, TEMPLATE_SYNTAX, 1, 23, "{{ 9223372036854775808 }}",
     "the number is too large"},
    {TEMPLATE_JINJA, TEMPLATE_SYNTAX, 1, 18, "{{ a|replace('x') }}",
     "wrong number of arguments for 'replace'"},
    {TEMPLATE_JINJA, TEMPLATE_SYNTAX, 1, 14, "{{ a|upper(1) }}",
     "wrong number of arguments for 'upper'"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_UNSUPPORTED, 1, 3, "a {{> part}}",
     "not supported here: a partial"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_UNSUPPORTED, 1, 1, "{{{{raw}}}}",
     "not supported here: a raw block"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_UNSUPPORTED, 1, 1, "\\{{a}}",
     "not supported here: an escaped tag"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_UNSUPPORTED, 1, 1, "{{^}}",
     "not supported here: an inverse '^'"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_UNSUPPORTED, 1, 1, "{{#list x}}{{/list}}",
     "not supported here: block '#list'"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_UNSUPPORTED, 2, 3, "x\n{{lookup a b}}",
     "not supported here: arguments behind 'lookup'"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_UNSUPPORTED, 1, 3, "{{true}}",
     "not supported here: literal 'true'"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_UNSUPPORTED, 1, 3, "{{12}}",
     "not supported here: literal '12'"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_UNSUPPORTED, 1, 3, "{{\"x\"}}",
     "not supported here: this kind of value"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_UNSUPPORTED, 1, 4, "{{@index}}",
     "not supported here: '@index'"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_UNSUPPORTED, 1, 11, "{{#each a as |b|}}{{/each}}",
     "not supported here: block parameters"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_UNSUPPORTED, 1, 4, "{{a/b}}",
     "not supported here: '/' in a path"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_UNSUPPORTED, 1, 7, "{{this}}",
     "not supported here: the root context as a value"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_UNSUPPORTED, 1, 12, "{{#each a}}{{else if b}}{{/each}}",
     "not supported here: 'else if'"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_SYNTAX, 1, 3, "{{../a}}", "'../' goes beyond the root"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_SYNTAX, 1, 1, "{{#if a}}", "this block is never closed"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_SYNTAX, 1, 10, "{{#if a}}{{/each}}",
     "this closes no open block: '/each'"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_SYNTAX, 1, 1, "{{/if}}", "this closes no open block: '/if'"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_SYNTAX, 1, 1, "{{else}}", "no block is open for 'else'"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_SYNTAX, 1, 1, "{{ a", "the tag is not closed"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_SYNTAX, 1, 1, "{{!-- a }}", "the tag is not closed"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_SYNTAX, 1, 1, "{{{ a }}", "'}}}' is missing"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_SYNTAX, 1, 3, "{{}}", "a name is missing"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_SYNTAX, 1, 5, "{{a.}}", "a name is missing behind the dot"},
    {TEMPLATE_HANDLEBARS, TEMPLATE_SYNTAX, 1, 7, "{{a.[b}}", "']' is missing"},
};

static void a_template_makes_its_text(void **state)
{
    static const char context[] = "{\"yes\":true,\"no\":false,\"l\":[1,2],\"m\":{\"a\":\"A\"},"
                                  "\"s\":\"x<y\",\"n\":5,\"o\":null,\"e\":\"\"}";
    static const struct {
        enum template_dialect dialect;
        const char *template;
        const char *text;
    } cases[] = {
        {TEMPLATE_JINJA, "{{ s }} {{ n }} {{ yes }} {{ o }}", "x&lt;y 5 true none"},
        {TEMPLATE_JINJA, "{{ no and q.part }} {{ yes or q.part }}", "false true"},
        {TEMPLATE_JINJA, "{{ yes and n }} {{ e or n }} {{ no or e or 'last' }}", "5 5 last"},
        {TEMPLATE_JINJA, "{% if not no and n == 5 %}a{% elif q %}b{% else %}c{% endif %}", "a"},
        {TEMPLATE_JINJA, "{% for x in l %}{{ loop.index }}{{ x }}{% endfor %}", "1122"},
        {TEMPLATE_JINJA, "{% for x in q %}{{ x }}{% else %}none{% endfor %}", "none"},
        {TEMPLATE_JINJA, "{{ m.a|lower }} {{ m['a'] }} {{ l[-1] }} {{ l.0 }}", "a A 2 1"},
        {TEMPLATE_JINJA, "{{ 2 in l }} {{ 3 not in l }} {{ q is defined }}", "true true false"},
        {TEMPLATE_JINJA, "a {{- n -}} b{% raw %}{{ n }}{% endraw %}{# c #}\n", "a5b{{ n }}"},
        {TEMPLATE_JINJA, "{% set x = [n, 'z'] %}{{ x|join('-')|upper }}", "5-Z"},
        {TEMPLATE_HANDLEBARS, "{{s}} {{{s}}} {{m.a}} {{q}}", "x&lt;y x<y A "},
        {TEMPLATE_HANDLEBARS, "{{#each l}}{{@index}}{{this}}{{../n}}{{/each}}", "015125"},
        {TEMPLATE_HANDLEBARS, "{{#if q}}a{{else if n}}b{{else}}c{{/if}}", "b"},
        {TEMPLATE_HANDLEBARS, "{{#unless q}}a{{/unless}}{{#with m}}{{a}}{{n}}{{/with}}", "aA5"},
        {TEMPLATE_HANDLEBARS, "a\n{{#if n}}\nb\n{{/if}}\nc", "a\nb\nc"},
        {TEMPLATE_HANDLEBARS, "a {{~n~}} b{{! c }}", "a5b"},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        if (!render(fixture, cases[i].dialect, cases[i].template, context)) {
            fail_msg("%s: %s", cases[i].template, fixture->problem.text);
        }
        if (!slice_equal(buf_slice(&fixture->out), slice_from_string(cases[i].text))) {
            fail_msg("%s: %.*s", cases[i].template, (int)fixture->out.size,
                     (const char *)fixture->out.data);
        }
    }
}

static void what_is_outside_the_subset_is_refused_with_its_place(void **state)
{
    struct fixture *fixture = *state;
    unsigned wrong = 0;
    for (size_t i = 0; i < COUNT_OF(refusals); i++) {
        const struct template_problem *problem = &fixture->problem;
        assert_null(compile(fixture, refusals[i].dialect, refusals[i].text));
        bool same = strcmp(problem->text, refusals[i].problem) == 0;
        if (!same || problem->fault != refusals[i].fault || problem->line != refusals[i].line ||
            problem->column != refusals[i].column) {
            print_error("%zu: %s: %u at %u:%u: %s\n", i, refusals[i].text, problem->fault,
                        problem->line, problem->column, problem->text);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

static void what_a_value_cannot_do_is_refused_with_its_place(void **state)
{
    static const char context[] = "{\"l\":[1],\"m\":{\"a\":1},\"s\":\"x\",\"n\":5,\"o\":null}";
    const struct {
        enum template_dialect dialect;
        uint32_t line;
        const char *text;
        const char *problem;
    } cases[] = {
        {TEMPLATE_JINJA, 2, "\n{{ l }}", "a list or a mapping cannot be printed"},
        {TEMPLATE_JINJA, 1, "{{ m }}", "a list or a mapping cannot be printed"},
        {TEMPLATE_HANDLEBARS, 1, "{{m}}", "a list or a mapping cannot be printed"},
        {TEMPLATE_HANDLEBARS, 1, "{{#each l}}{{../l}}{{/each}}",
         "a list or a mapping cannot be printed"},
        {TEMPLATE_JINJA, 1, "{{ q.a }}", "what stands before the dot is undefined: '.a'"},
        {TEMPLATE_JINJA, 1, "{{ m.q.a }}", "what stands before the dot is undefined: '.a'"},
        {TEMPLATE_JINJA, 1, "{{ q[0] }}", "what stands before the index is undefined"},
        {TEMPLATE_JINJA, 1, "{{ l[2.5] }}", "an index is a number or a text"},
        {TEMPLATE_JINJA, 3, "\n\n{% for a in s %}{% endfor %}", "a loop wants a list or a mapping"},
        {TEMPLATE_JINJA, 1, "{% for a in n %}{% endfor %}", "a loop wants a list or a mapping"},
        {TEMPLATE_JINJA, 1, "{{ n < s }}", "only numbers and texts have an order"},
        {TEMPLATE_JINJA, 1, "{{ q < 1 }}", "only numbers and texts have an order"},
        {TEMPLATE_JINJA, 1, "{{ l == l }}", "lists and mappings are not compared"},
        {TEMPLATE_JINJA, 1, "{{ 1 in 5 }}", "'in' wants a list, a mapping or texts"},
        {TEMPLATE_JINJA, 1, "{{ n|length }}", "this value has no length"},
        {TEMPLATE_JINJA, 1, "{{ l|upper }}", "a list or a mapping is no text"},
        {TEMPLATE_JINJA, 1, "{{ [m]|join }}", "a list or a mapping is no text"},
        {TEMPLATE_JINJA, 1, "{{ n|join }}", "this value is no list"},
        {TEMPLATE_JINJA, 1, "{{ 'x'|int }}", "this text is no number"},
        {TEMPLATE_JINJA, 1, "{{ '0x10'|int }}", "this text is no number"},
        {TEMPLATE_JINJA, 1, "{{ '1e999'|float }}", "this text is no number"},
        {TEMPLATE_JINJA, 1, "{{ '1e300'|int }}", "this number is too large"},
        {TEMPLATE_JINJA, 1, "{{ ''|int }}", "this text is no number"},
        {TEMPLATE_JINJA, 1, "{{ o|float }}", "this value is no number"},
        {TEMPLATE_JINJA, 1, "{{ s|abs }}", "this value is no number"},
        {TEMPLATE_JINJA, 1, "{{ s|round }}", "this value is no number"},
        {TEMPLATE_JINJA, 1, "{{ 1.5|round(99) }}", "round to 0 to 15 places"},
        {TEMPLATE_JINJA, 1, "{{ s|replace('', 'x') }}", "replace of an empty text"},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        bool good = render(fixture, cases[i].dialect, cases[i].text, context);
        if (good || fixture->problem.fault != TEMPLATE_VALUE ||
            fixture->problem.line != cases[i].line ||
            strcmp(fixture->problem.text, cases[i].problem) != 0) {
            fail_msg("%s: line %u: %s", cases[i].text, fixture->problem.line,
                     fixture->problem.text);
        }
    }
}

static void h13_a_template_ends_after_its_steps_its_output_or_its_memory(void **state)
{
    const struct {
        enum template_fault fault;
        const char *text;
    } cases[] = {
        {TEMPLATE_STEPS, "{% for a in l %}{% for b in l %}{% for c in l %}{% for d in l %}"
                         "{% endfor %}{% endfor %}{% endfor %}{% endfor %}"},
        {TEMPLATE_STEPS, "{% for a in l %}{% for b in l %}{% for c in l %}"
                         "{% if 99 in l %}{% endif %}{% endfor %}{% endfor %}{% endfor %}"},
        {TEMPLATE_OUTPUT, "{% for a in l %}{% for b in l %}{% for c in l %}0123456789"
                          "{% endfor %}{% endfor %}{% endfor %}"},
        {TEMPLATE_MEMORY, "{% set x = s|replace('x', s)|replace('x', s)|replace('x', s) %}"},
        {TEMPLATE_MEMORY, "{{ s|replace('x', s)|replace('x', s)|escape|list|join(s) }}"},
    };
    struct fixture *fixture = *state;
    uint8_t memory[2048];
    struct buf context;
    buf_init(&context, memory, sizeof(memory));
    buf_put_string(&context, "{\"s\":\"");
    for (unsigned i = 0; i < 200; i++) {
        buf_put_string(&context, "x<");
    }
    buf_put_string(&context, "\",\"l\":[0");
    for (unsigned i = 1; i < 50; i++) {
        buf_put_byte(&context, ',');
        buf_put_u64(&context, i);
    }
    buf_put(&context, slice_make("]}", 3)); /* with its NUL */
    assert_false(context.overflow);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        bool good = render(fixture, TEMPLATE_JINJA, cases[i].text, (const char *)memory);
        if (good || fixture->problem.fault != cases[i].fault) {
            fail_msg("%s: %u %s", cases[i].text, fixture->problem.fault, fixture->problem.text);
        }
    }
}

/* What works on much: five thousand times takes less than the steps but for the work. */
static void h13_the_steps_bound_the_work_on_large_values(void **state)
{
    static const char *const works[] = {
        "{% if s == t %}{% endif %}",
        "{% if s != t %}{% endif %}",
        "{% if s < t %}{% endif %}",
        "{% if s >= t %}{% endif %}",
        "{% if s in [t, t] %}{% endif %}",
        "{% if s in u %}{% endif %}",
        "{% if s in m %}{% endif %}",
        "{% if m[s] %}{% endif %}",
        "{% if s|trim %}{% endif %}",
        "{% if s|length %}{% endif %}",
        "{% if s|list %}{% endif %}",
        "{% if s|first %}{% endif %}",
        "{% if s|upper %}{% endif %}",
        "{% if s|escape %}{% endif %}",
        "{% if s|replace('ab', 'c') %}{% endif %}",
        "{% if 'a'|replace(s, 'c') %}{% endif %}",
        "{% if 'a'|replace('b', s) %}{% endif %}",
        "{% if d|join %}{% endif %}",
        "{% if [s]|join %}{% endif %}",
        "{% if [1, 2]|join(s) %}{% endif %}",
        "{% set x = [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]|join %}",
        "{% set x = 0.1|string %}",
        "{{ 0.1 }}",
    };
    struct fixture *fixture = *state;
    struct buf context;
    char *large = need(12001);
    memset(large, 'x', 12000);
    large[12000] = '\0';
    buf_init(&context, need(MIB), MIB);
    buf_printf(&context, "{\"s\":\"%s\",\"t\":\"%s\",\"m\":{\"%s\":1},\"u\":[\"%s\"],\"l\":[",
               large, large, large, large);
    for (unsigned i = 0; i < 70; i++) {
        buf_put_string(&context, i == 0 ? "0" : ",0");
    }
    buf_put_string(&context, "],\"d\":[0.1");
    for (unsigned i = 1; i < 70; i++) {
        buf_put_string(&context, ",0.1");
    }
    buf_put(&context, slice_make("]}", 3)); /* with its NUL */
    assert_false(context.overflow);
    for (size_t i = 0; i < COUNT_OF(works); i++) {
        char text[256];
        snprintf(text, sizeof(text),
                 "{%% for a in l %%}{%% for b in l %%}%s{%% endfor %%}{%% endfor %%}", works[i]);
        if (render(fixture, TEMPLATE_JINJA, text, (const char *)context.data) ||
            fixture->problem.fault != TEMPLATE_STEPS) {
            fail_msg("%s: %u %s", works[i], fixture->problem.fault, fixture->problem.text);
        }
    }
    free(context.data);
    free(large);
}

static void h13_steps_are_counted_down_and_just_enough_is_enough(void **state)
{
    struct fixture *fixture = *state;
    const struct template *template =
        compile(fixture, TEMPLATE_JINJA, "{% for a in [1, 2] %}{{ a }}{% endfor %}");
    struct template_run run = {.scratch = &fixture->scratch};
    /* Two constants, the list, the loop; for each item its name, the printing, and what follows. */
    for (uint64_t steps = 0; steps <= 10; steps++) {
        run.steps = steps;
        bool good = template_render(template, &run, &fixture->out, &fixture->problem);
        assert_int_equal(good, steps == 10);
        assert_int_equal(run.steps, 0);
        assert_int_equal(fixture->problem.fault, good ? TEMPLATE_OK : TEMPLATE_STEPS);
    }
    assert_true(slice_equal(buf_slice(&fixture->out), SLICE("12")));
    run.steps = 15;
    assert_true(template_render(template, &run, &fixture->out, &fixture->problem));
    assert_int_equal(run.steps, 5);
    assert_true(slice_equal(buf_slice(&fixture->out), SLICE("1212")));
}

/* `count` times `part`, between two texts. */
static const char *repeated(struct buf *buf, const char *before, const char *part, unsigned count)
{
    buf_reset(buf);
    buf_put_string(buf, before);
    for (unsigned i = 0; i < count; i++) {
        buf_put_string(buf, part);
    }
    buf_put_byte(buf, 0);
    assert_false(buf->overflow);
    return (const char *)buf->data;
}

static void h13_a_template_of_endless_depth_or_length_is_refused(void **state)
{
    const struct {
        enum template_dialect dialect;
        const char *before;
        const char *part;
        unsigned count;
        const char *problem;
    } cases[] = {
        {TEMPLATE_JINJA, "{{ ", "(", 100000, "the expression is too deep"},
        {TEMPLATE_JINJA, "{{ ", "[", 100000, "the expression is too deep"},
        {TEMPLATE_JINJA, "{{ ", "not ", 65, "the expression is too deep"},
        {TEMPLATE_JINJA, "{{ [", "1,", 65, "the expression is too deep"},
        {TEMPLATE_JINJA, "{{ a", "[b", 100000, "the expression is too deep"},
        {TEMPLATE_JINJA, "{{ a", "|join(b", 100000, "the expression is too deep"},
        {TEMPLATE_JINJA, "", "{% if a %}", 33, "blocks are nested too deep"},
        {TEMPLATE_JINJA, "", "{% for a in a %}", 17, "loops are nested too deep"},
        {TEMPLATE_HANDLEBARS, "", "{{#if a}}", 100000, "blocks are nested too deep"},
        {TEMPLATE_HANDLEBARS, "", "{{#each a}}", 17, "loops are nested too deep"},
        {TEMPLATE_JINJA, "", "{{ a }}", 40000, "the template has too many parts"},
        {TEMPLATE_JINJA, "", "{{ 1 }}", 5000, "too many names and literals"},
        {TEMPLATE_HANDLEBARS, "", "{{a}}", 40000, "the template has too many parts"},
    };
    struct fixture *fixture = *state;
    struct buf buf;
    buf_init(&buf, need(MIB), MIB);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const char *text = repeated(&buf, cases[i].before, cases[i].part, cases[i].count);
        arena_rewind(&fixture->arena, 0);
        if (compile(fixture, cases[i].dialect, text) != NULL ||
            fixture->problem.fault != TEMPLATE_TOO_LARGE ||
            strcmp(fixture->problem.text, cases[i].problem) != 0) {
            fail_msg("%s: %s", cases[i].part, fixture->problem.text);
        }
    }
    free(buf.data);
}

static void h13_thousands_of_names_are_one_constant_each(void **state)
{
    struct fixture *fixture = *state;
    struct buf buf;
    buf_init(&buf, need(MIB), MIB);
    buf_put_string(&buf, "{% for c in ['c7', 'c7', 7] %}");
    for (unsigned i = 0; i < 3 * (TEMPLATE_CONSTANTS_MAX - 100); i++) {
        buf_printf(&buf, "{{c%u}}", i % (TEMPLATE_CONSTANTS_MAX - 100));
    }
    buf_put(&buf, slice_make("{% endfor %}", 13)); /* with its NUL */
    assert_false(buf.overflow);
    assert_true(render(fixture, TEMPLATE_JINJA, (const char *)buf.data,
                       "{\"c0\":\"a\",\"c7\":\"b\",\"c3000\":\"c\"}"));
    assert_true(slice_equal(buf_slice(&fixture->out), SLICE("abcabcabcabcabcabcabcabcabc")));
    free(buf.data);
}

static void a_template_without_anything_to_expand_is_constant(void **state)
{
    static const struct {
        enum template_dialect dialect;
        const char *text;
        bool constant;
    } cases[] = {
        {TEMPLATE_JINJA, "", true},
        {TEMPLATE_JINJA, "{ a }} %} {", true},
        {TEMPLATE_JINJA, "a{# {{ b }} #}c", true},
        {TEMPLATE_JINJA, "{% raw %}{{ a }}{% endraw %}", true},
        {TEMPLATE_JINJA, "{{ 1 }}", false},
        {TEMPLATE_JINJA, "{% if a %}x{% endif %}", false},
        {TEMPLATE_HANDLEBARS, "{% if a %}", true},
        {TEMPLATE_HANDLEBARS, "{{! a }}b", true},
        {TEMPLATE_HANDLEBARS, "{{a}}", false},
        {TEMPLATE_STATIC, "{{ a }}", true},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct template *template = compile(*state, cases[i].dialect, cases[i].text);
        assert_non_null(template);
        assert_int_equal(template_is_constant(template), cases[i].constant);
    }
}

static void h13_every_size_of_memory_is_enough_or_refused(void **state)
{
    struct fixture *fixture = *state;
    const char *text = "{% for x in ['a', \"b\"] %}{% if x in l %}{{ x|replace('a', l[1]) }}"
                       "{% else %}{{ x }}{% endif %}{% endfor %}";
    assert_non_null(compile(fixture, TEMPLATE_JINJA, text));
    size_t enough = fixture->arena.size;
    for (size_t size = 0; size <= enough; size++) {
        arena_rewind(&fixture->arena, 0);
        fixture->arena.capacity = size;
        bool good = compile(fixture, TEMPLATE_JINJA, text) != NULL;
        assert_int_equal(good, size == enough);
        assert_int_equal(fixture->problem.fault, good ? TEMPLATE_OK : TEMPLATE_TOO_LARGE);
    }
    fixture->arena.capacity = ARENA_BYTES;
}

static void h13_a_million_names_are_looked_up_in_an_object_of_thousands(void **state)
{
    struct fixture *fixture = *state;
    struct buf buf;
    buf_init(&buf, need(MIB), MIB);
    buf_put_byte(&buf, '{');
    for (unsigned i = 0; i < JSON_MEMBERS_MAX; i++) {
        buf_printf(&buf, "%s\"name%u\":\"%u\"", i == 0 ? "" : ",", i, i);
    }
    buf_put(&buf, slice_make("}", 2));
    assert_false(buf.overflow);
    fixture->steps = 10000000;
    fixture->out.size = 0;
    assert_true(render(fixture, TEMPLATE_JINJA,
                       "{% set t = 'abcdefghij'|list %}{% for a in t %}{% for b in t %}"
                       "{% for c in t %}{% for d in t %}{% for e in t %}"
                       "{% if name9999 != '9999' or name0 != '0' or name77 != '77' %}x{% endif %}"
                       "{% endfor %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}",
                       (const char *)buf.data));
    assert_int_equal(fixture->out.size, 0);
    free(buf.data);
}

static void h13_what_is_printed_into_html_holds_no_markup(void **state)
{
    struct fixture *fixture = *state;
    const char *context = "{\"x\":\"<script>alert('1')</script>&\\\"\"}";
    const char *jinja = "&lt;script&gt;alert(&#x27;1&#x27;)&lt;&#x2f;script&gt;&amp;&quot;";
    const char *handlebars = "&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;&amp;&quot;";
    static const char *const texts[] = {"{{ x }}", "{{ x|trim }}", "{{ [x]|join }}",
                                        "{{ x|safe|trim }}", "{{ x|default('') }}",
                                        "{% for y in [x] %}{{ y }}{% endfor %}"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        assert_true(render(fixture, TEMPLATE_JINJA, texts[i], context));
        assert_true(slice_equal(buf_slice(&fixture->out), slice_from_string(jinja)));
    }
    assert_true(render(fixture, TEMPLATE_HANDLEBARS, "{{x}}", context));
    assert_true(slice_equal(buf_slice(&fixture->out), slice_from_string(handlebars)));
}

static void the_first_scope_that_has_a_name_gives_its_value(void **state)
{
    struct fixture *fixture = *state;
    const struct template *template =
        compile(fixture, TEMPLATE_JINJA, "{{ a }} {{ b }} {{ c }} [{{ d }}] {{ e }}");
    struct template_run run = {
        .scopes = {json_of(fixture, "{\"a\":1,\"e\":null}"), NULL,
                   json_of(fixture, "{\"a\":2,\"b\":2,\"e\":2}"),
                   json_of(fixture, "{\"a\":3,\"b\":3,\"c\":3}")},
        .scratch = &fixture->scratch,
        .steps = STEPS,
    };
    assert_true(template_render(template, &run, &fixture->out, &fixture->problem));
    assert_true(slice_equal(buf_slice(&fixture->out), SLICE("1 2 3 [] none")));
}

static void a_static_text_is_left_as_it_is(void **state)
{
    const char *text = "{{ a }} {% if %} {# \n";
    assert_true(render(*state, TEMPLATE_STATIC, text, "{}"));
    struct fixture *fixture = *state;
    assert_true(slice_equal(buf_slice(&fixture->out), slice_from_string(text)));
    assert_true(render(*state, TEMPLATE_STATIC, "", "{}"));
    assert_int_equal(fixture->out.size, 0);
}

static void numbers_are_written_so_that_they_can_be_read_again(void **state)
{
    const struct {
        const char *number;
        const char *jinja;
        const char *handlebars;
    } cases[] = {
        {"0", "0", "0"},
        {"-0.0", "-0.0", "-0"},
        {"0.1", "0.1", "0.1"},
        {"1.0", "1.0", "1"},
        {"-2.50", "-2.5", "-2.5"},
        {"100.0", "100.0", "100"},
        {"0.00001", "0.00001", "0.00001"},
        {"1e15", "1000000000000000.0", "1000000000000000"},
        {"1e21", "1e+21", "1e+21"},
        {"1.5e-9", "1.5e-09", "1.5e-09"},
        {"0.30000000000000004", "0.30000000000000004", "0.30000000000000004"},
        {"123456.789", "123456.789", "123456.789"},
        {"9223372036854775807", "9223372036854775807", "9223372036854775807"},
        {"-9223372036854775808", "-9223372036854775808", "-9223372036854775808"},
        {"1.7976931348623157e308", "1.7976931348623157e+308", "1.7976931348623157e+308"},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char context[64];
        snprintf(context, sizeof(context), "{\"n\":%s}", cases[i].number);
        assert_true(render(fixture, TEMPLATE_JINJA, "{{ n }}", context));
        buf_put_byte(&fixture->out, 0);
        assert_string_equal((const char *)fixture->out.data, cases[i].jinja);
        assert_true(render(fixture, TEMPLATE_HANDLEBARS, "{{n}}", context));
        buf_put_byte(&fixture->out, 0);
        assert_string_equal((const char *)fixture->out.data, cases[i].handlebars);
    }
}

static void scratch_memory_of_what_was_printed_is_used_again(void **state)
{
    struct fixture *fixture = *state;
    arena_rewind(&fixture->scratch, 0);
    fixture->scratch.capacity = 4096;
    assert_true(render(fixture, TEMPLATE_JINJA,
                       "{% for a in '0123456789'|list %}{% for b in '0123456789'|list %}"
                       "{{ 'a text of fifty bytes, or near'|upper }}{% set x = b|upper %}"
                       "{% set y = 'another one'|upper %}{% if x|lower in y %}{% endif %}"
                       "{% endfor %}{{ a|replace('1', 'one') }}{% endfor %}",
                       "{}"));
    assert_true(render(fixture, TEMPLATE_JINJA,
                       "{% set a = 'one'|upper %}{% for b in ['two'|upper] %}"
                       "{{ 'three'|upper }}{{ a }}{{ b }}{% set a = 'four'|upper %}{{ a }}"
                       "{% endfor %}{{ 'five'|upper }}{{ a }}",
                       "{}"));
    assert_true(slice_equal(buf_slice(&fixture->out), SLICE("THREEONETWOFOURFIVEONE")));
    fixture->scratch.capacity = 512;
    assert_false(render(fixture, TEMPLATE_JINJA, "{{ '0123456789'|list|join('x')|list|join('y')"
                                                 "|list|join('z')|list|join|list }}", "{}"));
    assert_int_equal(fixture->problem.fault, TEMPLATE_MEMORY);
    fixture->scratch.capacity = SCRATCH_BYTES;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_template_makes_its_text),
        TEST(what_is_outside_the_subset_is_refused_with_its_place),
        TEST(what_a_value_cannot_do_is_refused_with_its_place),
        TEST(h13_a_template_ends_after_its_steps_its_output_or_its_memory),
        TEST(h13_the_steps_bound_the_work_on_large_values),
        TEST(h13_steps_are_counted_down_and_just_enough_is_enough),
        TEST(h13_a_template_of_endless_depth_or_length_is_refused),
        TEST(h13_thousands_of_names_are_one_constant_each),
        TEST(a_template_without_anything_to_expand_is_constant),
        TEST(h13_every_size_of_memory_is_enough_or_refused),
        TEST(h13_a_million_names_are_looked_up_in_an_object_of_thousands),
        TEST(h13_what_is_printed_into_html_holds_no_markup),
        TEST(the_first_scope_that_has_a_name_gives_its_value),
        TEST(a_static_text_is_left_as_it_is),
        TEST(numbers_are_written_so_that_they_can_be_read_again),
        TEST(scratch_memory_of_what_was_printed_is_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
