/*
 * Templates of messages that come in by HTTP. A text in one of three dialects is compiled once, to
 * one kind of program, and rendered for each recipient:
 *
 *   Jinja       what MiniJinja and Jinja2 have in common: {{ a.b[0]|filter(x) }} with the filters
 *               abs, capitalize, count, d, default, e, escape, first, float, int, join, last,
 *               length, list, lower, replace, round, safe, string, title, trim, upper; and, or,
 *               not, in, comparisons; is defined and its kin; if, elif, else; for, else, loop.index
 *               and its kin; set; raw; comments; whitespace control
 *   Handlebars  {{a.b}}, {{{a.b}}}, {{&a.b}}; #if, #unless, #each, #with, else, else if; this, ../,
 *               @root, @index, @key, @first, @last; comments; whitespace control. A name that is
 *               not in the innermost context is looked for further out
 *   Static      no expansion
 *
 * Whatever else is written is an error when the template is compiled, and named. In HTML what is
 * printed is escaped unless the template says otherwise. A name that stands for nothing prints
 * nothing; in Jinja, a part of nothing is an error.
 *
 * Letters change their case in the Latin, Greek and Cyrillic scripts. Pure; nothing recurses;
 * one thread, though a program may be rendered by many at once.
 */
#ifndef RINGPOST_SMTP_TEMPLATE_H
#define RINGPOST_SMTP_TEMPLATE_H

#include "core/arena.h"
#include "core/buf.h"
#include "core/json_value.h"

#define TEMPLATE_SCOPES_MAX    4
#define TEMPLATE_BLOCKS_MAX    32    /* one in the other */
#define TEMPLATE_FRAMES_MAX    16    /* loops (and #with), one in the other */
#define TEMPLATE_STACK_MAX     64    /* values of one expression */
#define TEMPLATE_LOCALS_MAX    64    /* names that loops and set have given values, at a time */
#define TEMPLATE_OPS_MAX       65536 /* of a program */
#define TEMPLATE_CONSTANTS_MAX 4096  /* names and literals of a program */
#define TEMPLATE_PROBLEM_BYTES 160

enum template_dialect { TEMPLATE_JINJA, TEMPLATE_HANDLEBARS, TEMPLATE_STATIC };

/*
 * What the text is. In the header of a message, up to its first empty line, no value may be printed
 * that holds a line end or another control, or that begins a line: it could be a header field.
 */
enum template_kind { TEMPLATE_TEXT, TEMPLATE_HTML, TEMPLATE_MESSAGE };

enum template_fault {
    TEMPLATE_OK,
    TEMPLATE_SYNTAX,      /* compiling: malformed */
    TEMPLATE_UNSUPPORTED, /* compiling: well-formed perhaps, but outside the subset */
    TEMPLATE_TOO_LARGE,   /* compiling: too many parts, too deep, or the arena is full */
    TEMPLATE_VALUE,       /* rendering: a value has the wrong kind */
    TEMPLATE_STEPS,       /* rendering: took more steps than it may */
    TEMPLATE_OUTPUT,      /* rendering: wrote more than fits */
    TEMPLATE_MEMORY,      /* rendering: the scratch arena is full */
};

/* Line and column count from 1, columns in characters. */
struct template_problem {
    enum template_fault fault;
    uint32_t line;
    uint32_t column;
    char text[TEMPLATE_PROBLEM_BYTES]; /* a sentence without line and full stop, printable ASCII */
};

struct template;

/* Null on a fault. The program lives in the arena, and borrows `text`. */
const struct template *template_compile(struct slice text, enum template_dialect dialect,
                                        enum template_kind kind, struct arena *arena,
                                        struct template_problem *problem_out);

/* It has nothing but text: it makes the same of whatever it is rendered with. */
bool template_is_constant(const struct template *template);

/* What a rendering works with. */
struct template_run {
    /* Objects in which names are looked up; the first that has one wins. Borrowed; null: none. */
    const struct json_value *scopes[TEMPLATE_SCOPES_MAX];
    struct arena *scratch; /* borrowed; left as it was */
    uint64_t steps;        /* that may still be taken; what is left when it ends */
    uint64_t work;         /* bytes written and, for the place of a fault, read are added */
};

/* Appends to `out`. False on a fault, and `out` has what it had before. */
MUST_USE bool template_render(const struct template *template, struct template_run *run,
                              struct buf *out, struct template_problem *problem_out);

#endif
