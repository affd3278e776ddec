/*
 * What templates are compiled to: a list of operations on a stack of values. Shared by the
 * compilers and the renderer, and by nobody else.
 */
#ifndef RINGPOST_SMTP_TEMPLATE_PROGRAM_H
#define RINGPOST_SMTP_TEMPLATE_PROGRAM_H

#include "smtp/template.h"

/* Operands a, b, c in brackets; what an operation takes from the stack and puts there behind it. */
enum template_code {
    TEMPLATE_OP_TEXT,        /* literal: source bytes [at, at + c) */
    TEMPLATE_OP_PRINT,       /* [a: escape] value → */
    TEMPLATE_OP_CONSTANT,    /* [c: constant] → value */
    TEMPLATE_OP_NAME,        /* [c: name] → the local or the scopes' value */
    TEMPLATE_OP_FIND,        /* [a: frames, c: name] → from frame a - 1 outwards, then the scopes */
    TEMPLATE_OP_FRAME,       /* [a: frame] → its item */
    TEMPLATE_OP_FIELD,       /* [c: name] value → its member */
    TEMPLATE_OP_INDEX,       /* value key → its element or member */
    TEMPLATE_OP_LOOP,        /* [a: frame, b: enum template_loop] → */
    TEMPLATE_OP_FILTER,      /* [a: filter, b: arguments] value arguments… → value */
    TEMPLATE_OP_TEST,        /* [a: enum template_test] value → boolean */
    TEMPLATE_OP_COMPARE,     /* [a: enum template_comparison] value value → boolean */
    TEMPLATE_OP_NOT,         /* value → boolean */
    TEMPLATE_OP_LIST,        /* [c: count] values… → list */
    TEMPLATE_OP_JUMP,        /* [c: where] */
    TEMPLATE_OP_JUMP_UNLESS, /* [c: where] value → */
    TEMPLATE_OP_AND,         /* [c: where] value → value and jump when it is false, else → */
    TEMPLATE_OP_OR,          /* the same when it is true */
    TEMPLATE_OP_FOR,         /* [b: name, c: where when empty] value → ; opens a frame */
    TEMPLATE_OP_NEXT,        /* [c: where with the next item]; closes the frame after the last */
    TEMPLATE_OP_WITH,        /* [c: where when empty] value → ; opens a frame */
    TEMPLATE_OP_LEAVE,       /* closes the frame of WITH */
    TEMPLATE_OP_SET,         /* [c: name] value → */
};

#define TEMPLATE_NO_NAME 0xFFFFu

struct template_op {
    uint8_t code;
    uint8_t a;
    uint16_t b;
    uint32_t c;
    uint32_t at; /* where in the source it was written */
};

enum template_loop {
    TEMPLATE_LOOP_INDEX0,
    TEMPLATE_LOOP_INDEX,
    TEMPLATE_LOOP_FIRST,
    TEMPLATE_LOOP_LAST,
    TEMPLATE_LOOP_LENGTH,
    TEMPLATE_LOOP_KEY,
};

enum template_test {
    TEMPLATE_IS_DEFINED,
    TEMPLATE_IS_UNDEFINED,
    TEMPLATE_IS_NONE,
    TEMPLATE_IS_BOOLEAN,
    TEMPLATE_IS_NUMBER,
    TEMPLATE_IS_STRING,
    TEMPLATE_IS_MAPPING,
};

enum template_comparison {
    TEMPLATE_EQUAL,
    TEMPLATE_UNEQUAL,
    TEMPLATE_LESS,
    TEMPLATE_LESS_EQUAL,
    TEMPLATE_GREATER,
    TEMPLATE_GREATER_EQUAL,
    TEMPLATE_IN,
    TEMPLATE_NOT_IN,
};

struct template {
    struct slice text; /* borrowed */
    enum template_dialect dialect;
    enum template_kind kind;
    const struct template_op *ops;
    uint32_t op_count;
    const struct json_value *constants; /* equal names are one constant */
    uint32_t constant_count;
};

/* Line and column of source byte `at`, and a sentence; returns false. */
bool template_fail(struct template_problem *problem, enum template_fault fault, struct slice text,
                   size_t at) __attribute__((nonnull(1)));
/* What a problem says: printable ASCII only, and what does not fit is cut. */
void template_say(struct template_problem *problem, const char *before, struct slice name,
                  const char *after);

#endif
