/*
 * The making of a program, for the compilers of the dialects: operations, constants, and blocks
 * with the jumps that go to their ends. A fault is sticky: the first one is kept, whatever is put
 * afterwards is dropped, and `at` stands at the end of the source, so that every loop over it ends.
 */
#ifndef RINGPOST_SMTP_TEMPLATE_BUILD_H
#define RINGPOST_SMTP_TEMPLATE_BUILD_H

#include "core/htab.h"
#include "smtp/template_program.h"

#define TEMPLATE_NO_OP UINT32_MAX

/* A block that is open: an if, a loop. Its kinds are the dialect's. */
struct template_block {
    uint8_t kind;
    bool has_else;
    bool has_frame;      /* its body so far stands in a frame that the end has to close */
    uint32_t opened_at;  /* in the source */
    uint32_t branch;     /* the jump to the next branch, or TEMPLATE_NO_OP */
    uint32_t ends;       /* the last jump to the end; each holds the one before it in `c` */
    uint32_t body;       /* of a loop: its first operation */
};

struct template_build {
    struct slice text;
    size_t at; /* how far the source is read */
    enum template_kind kind;
    struct arena *arena; /* borrowed */
    struct template_problem *problem; /* borrowed */
    bool failed;
    uint32_t stack;  /* values that stand on it after the last operation */
    uint32_t frames; /* that are open there */
    struct template_op *ops;
    uint32_t op_count;
    uint32_t op_room;
    struct json_value *constants;
    uint32_t constant_count;
    uint32_t constant_room;
    struct htab names; /* constants by their text, when there are more than a few; else no slots */
    struct template_block blocks[TEMPLATE_BLOCKS_MAX];
    uint32_t block_count;
};

/* The rest of the source, and whether it begins with something. */
struct slice build_rest(const struct template_build *build);
bool build_looks_at(const struct template_build *build, const char *bytes);

/* "before name after" at source byte `at`. */
void build_fail(struct template_build *build, enum template_fault fault, size_t at,
                const char *text);
void build_fail_name(struct template_build *build, enum template_fault fault, size_t at,
                     const char *before, struct slice name);

/* Returns the index of the operation, for jumps that are to be set later. */
uint32_t build_op(struct template_build *build, struct template_op op);
/* Source bytes [from, to) as they are. */
void build_text(struct template_build *build, size_t from, size_t to);
/* Lets the jump at index `op` (TEMPLATE_NO_OP: none) go to the operation that comes next. */
void build_land(struct template_build *build, uint32_t op);

uint32_t build_constant(struct template_build *build, struct json_value value);
/* Of a name or the key of a member: equal ones have one index. */
uint32_t build_name(struct template_build *build, struct slice name);

/* Null, and a fault, when too many are open. */
struct template_block *build_open(struct template_build *build, uint8_t kind, size_t at);
/* The innermost; null when none is open. */
struct template_block *build_innermost(struct template_build *build);
/* Puts a jump to the end of the block, and lets its branch land behind it. */
void build_branch(struct template_build *build, struct template_block *block);
/* Closes the innermost block: its branch and all jumps to its end land here. */
void build_close(struct template_build *build);

/* Value → loop or context; `b` as of TEMPLATE_OP_FOR. Opens a frame in the block. */
void build_enter(struct template_build *build, struct template_block *block,
                 struct template_op enter);
/* The end of what build_enter began. */
void build_leave(struct template_build *build, struct template_block *block, size_t at);

/* The compilers: from the beginning of the source to its end. */
void template_build_jinja(struct template_build *build);
void template_build_handlebars(struct template_build *build);
/* A Jinja expression from `at` up to (not including) `end`, with or without '-' before it. */
void template_build_expression(struct template_build *build, const char *end);

/* ASCII, and as Jinja and Handlebars see it. */
bool template_is_space(uint8_t byte);
bool template_is_name_start(uint8_t byte);
bool template_is_name(uint8_t byte);
void build_skip_space(struct template_build *build);
/* A name at `at`, which is passed; empty when none begins there. */
struct slice build_take_name(struct template_build *build);

#endif
