#include "smtp/template.h"

#include "smtp/template_build.h"

enum jinja_block { JINJA_IF, JINJA_FOR };

/* What a tag turned off, as text of a problem. */
static void fail_tag(struct template_build *build, size_t at, struct slice name)
{
    static const char *const known[] = {"autoescape", "block",   "break",    "call",   "continue",
                                        "do",         "extends", "filter",   "from",   "import",
                                        "include",    "macro",   "pluralize", "trans", "with"};
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        if (slice_equal(name, slice_from_string(known[i]))) {
            build_fail_name(build, TEMPLATE_UNSUPPORTED, at, "not supported here: tag '", name);
            return;
        }
    }
    build_fail_name(build, TEMPLATE_SYNTAX, at, "unknown tag '", name);
}

/* The end of a tag. True when the space behind it is to be left out. */
static bool end_tag(struct template_build *build, const char *end)
{
    build_skip_space(build);
    bool trim = build_looks_at(build, "-");
    build->at += trim;
    if (!build_looks_at(build, end)) {
        build_fail(build, TEMPLATE_SYNTAX, build->at, "the tag is not closed");
        return false;
    }
    build->at += 2;
    return trim;
}

static bool take_word(struct template_build *build, const char *word)
{
    size_t from = build->at;
    build_skip_space(build);
    if (slice_equal(build_take_name(build), slice_from_string(word))) {
        return true;
    }
    build->at = from;
    return false;
}

/* The one name that a loop or a set gives a value. */
static struct slice take_target(struct template_build *build)
{
    build_skip_space(build);
    struct slice name = build_take_name(build);
    build_skip_space(build);
    if (name.size == 0) {
        build_fail(build, TEMPLATE_SYNTAX, build->at, "a name is missing");
    } else if (build_looks_at(build, ",")) {
        build_fail(build, TEMPLATE_UNSUPPORTED, build->at, "not supported here: several targets");
    } else if (build_looks_at(build, ".")) {
        build_fail(build, TEMPLATE_UNSUPPORTED, build->at,
                   "not supported here: an attribute as target");
    } else if (slice_equal(name, SLICE("loop"))) {
        build_fail(build, TEMPLATE_UNSUPPORTED, build->at, "not supported here: a target 'loop'");
    }
    return name;
}

static void open_for(struct template_build *build, size_t at)
{
    struct slice name = take_target(build);
    if (!build->failed && !take_word(build, "in")) {
        build_fail(build, TEMPLATE_SYNTAX, build->at, "'in' is missing");
    }
    uint32_t constant = build_name(build, name);
    struct template_block *block = build_open(build, JINJA_FOR, at);
    template_build_expression(build, "%}");
    if (block != NULL) {
        build_enter(build, block,
                    (struct template_op){.code = TEMPLATE_OP_FOR,
                                         .b = (uint16_t)constant,
                                         .c = TEMPLATE_NO_OP,
                                         .at = (uint32_t)at});
    }
}

/* The condition of a block's next branch. */
static void put_condition(struct template_build *build, struct template_block *block, size_t at)
{
    template_build_expression(build, "%}");
    block->branch = build_op(build, (struct template_op){.code = TEMPLATE_OP_JUMP_UNLESS,
                                                         .c = TEMPLATE_NO_OP,
                                                         .at = (uint32_t)at});
}

static void put_set(struct template_build *build, size_t at)
{
    struct slice name = take_target(build);
    if (!build->failed && !build_looks_at(build, "=")) {
        build_fail(build, TEMPLATE_UNSUPPORTED, at, "not supported here: a set without '='");
        return;
    }
    build->at += !build->failed;
    template_build_expression(build, "%}");
    build_op(build, (struct template_op){.code = TEMPLATE_OP_SET,
                                         .c = build_name(build, name),
                                         .at = (uint32_t)at});
}

static void put_else(struct template_build *build, struct template_block *block, size_t at)
{
    if (block->has_else) {
        build_fail(build, TEMPLATE_SYNTAX, at, "a second else");
        return;
    }
    block->has_else = true;
    if (block->has_frame) {
        build_leave(build, block, at);
    }
    build_branch(build, block);
}

static void put_elif(struct template_build *build, struct template_block *block, size_t at)
{
    if (block->has_else) {
        build_fail(build, TEMPLATE_SYNTAX, at, "elif behind else");
        return;
    }
    build_branch(build, block);
    put_condition(build, block, at);
}

static void close_block(struct template_build *build, struct template_block *block, size_t at)
{
    if (block->has_frame) {
        build_leave(build, block, at);
    }
    build_close(build);
}

/* "raw" has been read: the text up to its end tag as it is. */
static bool put_raw(struct template_build *build, size_t at)
{
    if (end_tag(build, "%}")) {
        build_skip_space(build);
    }
    size_t from = build->at;
    for (; build->at < build->text.size; build->at++) {
        size_t tag = build->at;
        if (!build_looks_at(build, "{%")) {
            continue;
        }
        build->at += 2;
        bool trim_before = build_looks_at(build, "-");
        build->at += trim_before;
        if (!take_word(build, "endraw")) {
            build->at = tag;
            continue;
        }
        size_t to = tag;
        while (trim_before && to > from && template_is_space(build->text.data[to - 1])) {
            to--;
        }
        build_text(build, from, to);
        return end_tag(build, "%}");
    }
    build_fail(build, TEMPLATE_SYNTAX, at, "raw is never closed");
    return false;
}

/* A tag that belongs into a block that is open, or null where it does not. */
static struct template_block *block_of(struct template_build *build, struct slice name)
{
    static const struct {
        const char *name;
        bool in_if;
        bool in_for;
    } rows[] = {
        {"elif", true, false},
        {"else", true, true},
        {"endif", true, false},
        {"endfor", false, true},
    };
    struct template_block *block = build_innermost(build);
    for (size_t i = 0; i < COUNT_OF(rows) && block != NULL; i++) {
        if (slice_equal(name, slice_from_string(rows[i].name))) {
            return (block->kind == JINJA_IF ? rows[i].in_if : rows[i].in_for) ? block : NULL;
        }
    }
    return NULL;
}

static void put_inner_tag(struct template_build *build, struct slice name, size_t at)
{
    struct template_block *block = block_of(build, name);
    if (block == NULL) {
        build_fail_name(build, TEMPLATE_SYNTAX, at, "no block is open for '", name);
    } else if (slice_equal(name, SLICE("elif"))) {
        put_elif(build, block, at);
    } else if (slice_equal(name, SLICE("else"))) {
        put_else(build, block, at);
    } else {
        close_block(build, block, at);
    }
}

/* Behind "{%": true when the space behind the tag is to be left out. */
static bool put_tag(struct template_build *build, size_t at)
{
    build_skip_space(build);
    struct slice name = build_take_name(build);
    if (slice_equal(name, SLICE("raw"))) {
        return put_raw(build, at);
    }
    if (slice_equal(name, SLICE("if"))) {
        struct template_block *block = build_open(build, JINJA_IF, at);
        if (block != NULL) {
            put_condition(build, block, at);
        }
    } else if (slice_equal(name, SLICE("for"))) {
        open_for(build, at);
    } else if (slice_equal(name, SLICE("set"))) {
        put_set(build, at);
    } else if (slice_equal(name, SLICE("elif")) || slice_equal(name, SLICE("else")) ||
               slice_equal(name, SLICE("endif")) || slice_equal(name, SLICE("endfor"))) {
        put_inner_tag(build, name, at);
    } else {
        fail_tag(build, at, name);
    }
    return end_tag(build, "%}");
}

/* Behind "{{". */
static bool put_print(struct template_build *build, size_t at)
{
    template_build_expression(build, "}}");
    build_op(build, (struct template_op){.code = TEMPLATE_OP_PRINT,
                                         .a = build->kind == TEMPLATE_HTML,
                                         .at = (uint32_t)at});
    return end_tag(build, "}}");
}

/* Behind "{#". */
static bool skip_comment(struct template_build *build, size_t at)
{
    for (; build->at < build->text.size; build->at++) {
        if (build_looks_at(build, "#}")) {
            /* "{#-}" is no end: the first '-' belongs to the beginning. */
            bool trim = build->at > at + 3 && build->text.data[build->at - 1] == '-';
            build->at += 2;
            return trim;
        }
    }
    build_fail(build, TEMPLATE_SYNTAX, at, "the comment is not closed");
    return false;
}

static bool looks_at_tag(const struct template_build *build)
{
    return build_looks_at(build, "{{") || build_looks_at(build, "{%") ||
           build_looks_at(build, "{#");
}

/* The text up to the next tag, without the space that this wants to be left out. */
static void put_text_before_tag(struct template_build *build)
{
    size_t from = build->at;
    while (build->at < build->text.size && !looks_at_tag(build)) {
        build->at += 1 + slice_find(slice_skip(build_rest(build), 1), '{');
    }
    size_t to = build->at;
    bool trim = to + 2 < build->text.size && build->text.data[to + 2] == '-';
    while (trim && to > from && template_is_space(build->text.data[to - 1])) {
        to--;
    }
    build_text(build, from, to);
}

void template_build_jinja(struct template_build *build)
{
    /* Of the line ends at the very end, Jinja drops one. */
    if (slice_ends_with(build->text, SLICE("\n"))) {
        build->text.size--;
    }
    if (slice_ends_with(build->text, SLICE("\r"))) {
        build->text.size--;
    }
    while (build->at < build->text.size) {
        put_text_before_tag(build);
        size_t at = build->at;
        if (at == build->text.size) {
            break;
        }
        uint8_t kind = build->text.data[at + 1];
        build->at += 2;
        build->at += build_looks_at(build, "-");
        bool trim = kind == '%'   ? put_tag(build, at)
                    : kind == '{' ? put_print(build, at)
                                  : skip_comment(build, at);
        if (trim) {
            build_skip_space(build);
        }
    }
}
