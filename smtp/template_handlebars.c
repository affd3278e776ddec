#include "smtp/template.h"

#include <string.h>

#include "smtp/template_build.h"

enum handlebars_block { HANDLEBARS_IF, HANDLEBARS_UNLESS, HANDLEBARS_EACH, HANDLEBARS_WITH };

static const char *const block_names[] = {"if", "unless", "each", "with"};

/* A tag as it stands in the source. */
struct tag {
    size_t at;   /* its first brace */
    size_t from; /* what it holds, behind its sigil */
    size_t to;
    size_t end; /* behind its last brace */
    uint8_t sigil; /* '{' '&' '#' '/' '!', another that is not known, or 0 */
    bool trim_before;
    bool trim_after;
};

/* ---- tags */

static size_t find_from(const struct template_build *build, size_t from, const char *bytes)
{
    struct slice rest = slice_skip(build->text, MIN_OF(from, build->text.size));
    size_t size = strlen(bytes);
    const uint8_t *found = rest.size == 0 ? NULL : memmem(rest.data, rest.size, bytes, size);
    return found == NULL ? build->text.size : (size_t)(found - build->text.data);
}

/* Where the tag ends: at its first braces, but for those inside a long comment. */
static bool find_end(struct template_build *build, struct tag *tag)
{
    bool is_long = tag->sigil == '!' && tag->from + 2 <= build->text.size &&
                   memcmp(build->text.data + tag->from, "--", 2) == 0;
    const char *close = is_long ? "--}}" : "}}";
    size_t found = find_from(build, tag->from + (is_long ? 2 : 0), close);
    size_t trimming = is_long ? find_from(build, tag->from + 2, "--~}}") : build->text.size;
    tag->to = MIN_OF(found, trimming);
    if (tag->to == build->text.size) {
        build_fail(build, TEMPLATE_SYNTAX, tag->at, "the tag is not closed");
        return false;
    }
    tag->trim_after = trimming < found;
    tag->end = tag->to + strlen(close) + tag->trim_after;
    if (!is_long && tag->to > tag->from && build->text.data[tag->to - 1] == '~') {
        tag->trim_after = true;
        tag->to--;
    }
    return true;
}

/* "{{{ }}}": its third brace stands before those that were found, or behind them. */
static bool end_triple(struct template_build *build, struct tag *tag)
{
    if (tag->to > tag->from && build->text.data[tag->to - 1] == '}') {
        tag->to--;
        return true;
    }
    if (!tag->trim_after && tag->end < build->text.size && build->text.data[tag->end] == '}') {
        tag->end++;
        return true;
    }
    build_fail(build, TEMPLATE_SYNTAX, tag->at, "'}}}' is missing");
    return false;
}

/* The tag at `at`, where "{{" stands. */
static bool take_tag(struct template_build *build, size_t at, struct tag *tag_out)
{
    struct tag *tag = tag_out;
    *tag = (struct tag){.at = at, .from = at + 2};
    if (tag->from < build->text.size && build->text.data[tag->from] == '~') {
        tag->trim_before = true;
        tag->from++;
    }
    uint8_t byte = tag->from < build->text.size ? build->text.data[tag->from] : 0;
    if (byte != 0 && strchr("{&#/!^>*", byte) != NULL) {
        tag->sigil = byte;
        tag->from++;
    }
    return find_end(build, tag) && (tag->sigil != '{' || end_triple(build, tag));
}

static bool is_line_space(uint8_t byte)
{
    return byte == ' ' || byte == '\t';
}

/* Does the tag hold the word "else" first? */
static bool is_else(const struct template_build *build, const struct tag *tag)
{
    struct slice inside = slice_make(build->text.data + tag->from, tag->to - tag->from);
    while (inside.size > 0 && template_is_space(inside.data[0])) {
        inside = slice_skip(inside, 1);
    }
    return tag->sigil == 0 && slice_starts_with(inside, SLICE("else")) &&
           (inside.size == 4 || template_is_space(inside.data[4]));
}

/*
 * A block's tag or a comment that is alone on its line takes the line with it: the spaces before
 * it from *to_out on, and what is up to *next_out behind it.
 */
static void find_line(const struct template_build *build, const struct tag *tag, size_t *to_out,
                      size_t *next_out)
{
    size_t before = tag->at;
    size_t after = tag->end;
    const uint8_t *bytes = build->text.data;
    bool is_block = tag->sigil == '#' || tag->sigil == '/' || tag->sigil == '!';
    if (!is_block && !is_else(build, tag)) {
        return;
    }
    while (before > 0 && is_line_space(bytes[before - 1])) {
        before--;
    }
    while (after < build->text.size && is_line_space(bytes[after])) {
        after++;
    }
    bool begins = before == 0 || bytes[before - 1] == '\n';
    struct slice rest = slice_skip(build->text, after);
    size_t line_end = slice_starts_with(rest, SLICE("\r\n")) ? 2
                      : slice_starts_with(rest, SLICE("\n")) ? 1
                                                             : 0;
    if (begins && (line_end > 0 || rest.size == 0)) {
        *to_out = before;
        *next_out = after + line_end;
    }
}

/* The text before the tag, without what the tag takes away of it; moves on to behind the tag. */
static void put_text_before(struct template_build *build, size_t from, const struct tag *tag)
{
    size_t to = tag->at;
    size_t next = tag->end;
    find_line(build, tag, &to, &next);
    while (tag->trim_before && to > from && template_is_space(build->text.data[to - 1])) {
        to--;
    }
    if (to > from) {
        build_text(build, from, to);
    }
    while (tag->trim_after && next < build->text.size &&
           template_is_space(build->text.data[next])) {
        next++;
    }
    build->at = next;
}

/* ---- paths */

struct path {
    struct template_build *build;
    size_t at;
    size_t to;
};

static void fail_path(struct path *path, enum template_fault fault, const char *text)
{
    build_fail(path->build, fault, path->at, text);
}

static void path_op(struct path *path, enum template_code code, uint32_t a, uint32_t c)
{
    build_op(path->build, (struct template_op){.code = (uint8_t)code,
                                               .a = (uint8_t)a,
                                               .c = c,
                                               .at = (uint32_t)path->at});
}

static void path_skip_space(struct path *path)
{
    while (path->at < path->to && template_is_space(path->build->text.data[path->at])) {
        path->at++;
    }
}

static bool path_looks_at(const struct path *path, const char *bytes)
{
    return slice_starts_with(slice_make(path->build->text.data + path->at, path->to - path->at),
                             slice_from_string(bytes));
}

/* A segment, or empty: letters of any script, digits, '_', '-', '$'; or anything in brackets. */
static struct slice take_segment(struct path *path)
{
    const uint8_t *bytes = path->build->text.data;
    size_t from = path->at;
    if (path_looks_at(path, "[")) {
        while (path->at < path->to && bytes[path->at] != ']') {
            path->at++;
        }
        if (path->at == path->to) {
            fail_path(path, TEMPLATE_SYNTAX, "']' is missing");
            return SLICE_NONE;
        }
        path->at++;
        return slice_make(bytes + from + 1, path->at - from - 2);
    }
    while (path->at < path->to &&
           (template_is_name(bytes[path->at]) || bytes[path->at] >= 0x80 ||
            bytes[path->at] == '-' || bytes[path->at] == '$')) {
        path->at++;
    }
    return slice_make(bytes + from, path->at - from);
}

/* ".b.c" behind what stands on the stack. */
static void take_members(struct path *path)
{
    while (path_looks_at(path, ".") && !path->build->failed) {
        path->at++;
        struct slice segment = take_segment(path);
        if (segment.size == 0) {
            fail_path(path, TEMPLATE_SYNTAX, "a name is missing behind the dot");
            return;
        }
        path_op(path, TEMPLATE_OP_FIELD, 0, build_name(path->build, segment));
    }
    if (path_looks_at(path, "/")) {
        fail_path(path, TEMPLATE_UNSUPPORTED, "not supported here: '/' in a path");
    }
}

/* The frame of the innermost #each, or TEMPLATE_FRAMES_MAX when there is none. */
static uint32_t innermost_each(const struct template_build *build)
{
    uint32_t frame = build->frames;
    for (uint32_t i = build->block_count; i-- > 0;) {
        const struct template_block *block = &build->blocks[i];
        frame -= block->has_frame;
        if (block->has_frame && block->kind == HANDLEBARS_EACH) {
            return frame;
        }
    }
    return TEMPLATE_FRAMES_MAX;
}

/* "@index" and its kin. */
static void take_data(struct path *path)
{
    static const struct {
        const char *name;
        enum template_loop field;
    } rows[] = {
        {"index", TEMPLATE_LOOP_INDEX0},
        {"key", TEMPLATE_LOOP_KEY},
        {"first", TEMPLATE_LOOP_FIRST},
        {"last", TEMPLATE_LOOP_LAST},
    };
    path->at++;
    size_t at = path->at;
    struct slice name = take_segment(path);
    uint32_t frame = innermost_each(path->build);
    if (slice_equal(name, SLICE("root")) && path_looks_at(path, ".")) {
        path->at++;
        name = take_segment(path);
        path_op(path, TEMPLATE_OP_FIND, 0, build_name(path->build, name));
        return;
    }
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (slice_equal(name, slice_from_string(rows[i].name)) && frame < TEMPLATE_FRAMES_MAX) {
            build_op(path->build, (struct template_op){.code = TEMPLATE_OP_LOOP,
                                                       .a = (uint8_t)frame,
                                                       .b = (uint16_t)rows[i].field,
                                                       .at = (uint32_t)at});
            return;
        }
    }
    build_fail_name(path->build, TEMPLATE_UNSUPPORTED, at, "not supported here: '@", name);
}

/* "../" as often as it stands there; the frames that are left. */
static uint32_t take_parents(struct path *path)
{
    uint32_t frames = path->build->frames;
    while (path_looks_at(path, "..") && !path->build->failed) {
        if (frames == 0) {
            fail_path(path, TEMPLATE_SYNTAX, "'../' goes beyond the root");
            return 0;
        }
        frames--;
        path->at += path_looks_at(path, "../") ? 3 : 2;
    }
    return frames;
}

static bool is_literal(struct slice name)
{
    static const char *const words[] = {"true", "false", "null", "undefined"};
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (slice_equal(name, slice_from_string(words[i]))) {
            return true;
        }
    }
    return name.size > 0 && name.data[0] >= '0' && name.data[0] <= '9';
}

/* A name of this context and of none further out. */
static void take_member_here(struct path *path, uint32_t frames)
{
    struct slice name = take_segment(path);
    if (name.size == 0) {
        fail_path(path, TEMPLATE_SYNTAX, "a name is missing");
    } else if (frames == 0) {
        path_op(path, TEMPLATE_OP_FIND, 0, build_name(path->build, name));
    } else {
        path_op(path, TEMPLATE_OP_FRAME, frames - 1, 0);
        path_op(path, TEMPLATE_OP_FIELD, 0, build_name(path->build, name));
    }
}

/* The context itself, and then perhaps members of it. */
static void take_context(struct path *path, uint32_t frames)
{
    if (frames > 0) {
        path_op(path, TEMPLATE_OP_FRAME, frames - 1, 0);
        return;
    }
    if (!path_looks_at(path, ".")) {
        fail_path(path, TEMPLATE_UNSUPPORTED, "not supported here: the root context as a value");
        return;
    }
    path->at++;
    take_member_here(path, 0);
}

/* A name, of the context after `frames`, or of one further out. */
static void take_head(struct path *path)
{
    size_t begun = path->at;
    uint32_t frames = take_parents(path);
    bool is_parent = path->at > begun;
    if (path_looks_at(path, "./")) {
        path->at += 2;
        take_member_here(path, frames);
        return;
    }
    if (path_looks_at(path, ".")) {
        path->at++;
        take_context(path, frames);
        return;
    }
    size_t at = path->at;
    struct slice name = take_segment(path);
    if (slice_equal(name, SLICE("this")) || (is_parent && name.size == 0)) {
        take_context(path, frames);
    } else if (name.size == 0) {
        fail_path(path, TEMPLATE_UNSUPPORTED, "not supported here: this kind of value");
    } else if (at == begun && is_literal(name)) {
        build_fail_name(path->build, TEMPLATE_UNSUPPORTED, at, "not supported here: literal '",
                        name);
    } else {
        path_op(path, TEMPLATE_OP_FIND, frames, build_name(path->build, name));
    }
}

/* The one path that a tag holds from `from` on; its value is on the stack then. */
static void put_path(struct template_build *build, size_t from, size_t to)
{
    struct path path = {.build = build, .at = from, .to = to};
    path_skip_space(&path);
    size_t begun = path.at;
    if (path.at == path.to) {
        fail_path(&path, TEMPLATE_SYNTAX, "a name is missing");
        return;
    }
    if (path_looks_at(&path, "@")) {
        take_data(&path);
    } else {
        take_head(&path);
    }
    take_members(&path);
    struct slice written = slice_make(build->text.data + begun, path.at - begun);
    path_skip_space(&path);
    if (!build->failed && path_looks_at(&path, "as ")) {
        fail_path(&path, TEMPLATE_UNSUPPORTED, "not supported here: block parameters");
    } else if (!build->failed && path.at < path.to) {
        build_fail_name(build, TEMPLATE_UNSUPPORTED, begun,
                        "not supported here: arguments behind '", written);
    }
}

/* ---- blocks */

/* The word at the beginning of the tag; `from_out` is behind it. */
static struct slice take_word(struct template_build *build, const struct tag *tag, size_t *from_out)
{
    struct path path = {.build = build, .at = tag->from, .to = tag->to};
    path_skip_space(&path);
    struct slice word = take_segment(&path);
    *from_out = path.at;
    return word;
}

static void put_condition(struct template_build *build, struct template_block *block,
                          const struct tag *tag, size_t from)
{
    put_path(build, from, tag->to);
    if (block->kind == HANDLEBARS_UNLESS) {
        build_op(build, (struct template_op){.code = TEMPLATE_OP_NOT, .at = (uint32_t)tag->at});
    }
    block->branch = build_op(build, (struct template_op){.code = TEMPLATE_OP_JUMP_UNLESS,
                                                         .c = TEMPLATE_NO_OP,
                                                         .at = (uint32_t)tag->at});
}

static void open_block(struct template_build *build, const struct tag *tag)
{
    size_t from;
    struct slice name = take_word(build, tag, &from);
    size_t kind = 0;
    while (kind < COUNT_OF(block_names) &&
           !slice_equal(name, slice_from_string(block_names[kind]))) {
        kind++;
    }
    if (kind == COUNT_OF(block_names)) {
        build_fail_name(build, TEMPLATE_UNSUPPORTED, tag->at, "not supported here: block '#",
                        name);
        return;
    }
    struct template_block *block = build_open(build, (uint8_t)kind, tag->at);
    if (block == NULL) {
        return;
    }
    if (kind == HANDLEBARS_IF || kind == HANDLEBARS_UNLESS) {
        put_condition(build, block, tag, from);
        return;
    }
    put_path(build, from, tag->to);
    build_enter(build, block,
                (struct template_op){
                    .code = kind == HANDLEBARS_EACH ? TEMPLATE_OP_FOR : TEMPLATE_OP_WITH,
                    .b = TEMPLATE_NO_NAME,
                    .c = TEMPLATE_NO_OP,
                    .at = (uint32_t)tag->at,
                });
}

static void put_else(struct template_build *build, const struct tag *tag)
{
    struct template_block *block = build_innermost(build);
    size_t from;
    take_word(build, tag, &from);
    struct tag rest = *tag;
    rest.from = from;
    struct slice word = take_word(build, &rest, &from);
    bool is_chained = word.size > 0;
    if (block == NULL || block->has_else) {
        build_fail(build, TEMPLATE_SYNTAX, tag->at, "no block is open for 'else'");
        return;
    }
    if (is_chained && (!slice_equal(word, SLICE("if")) || block->kind != HANDLEBARS_IF)) {
        build_fail_name(build, TEMPLATE_UNSUPPORTED, tag->at, "not supported here: 'else ", word);
        return;
    }
    if (block->has_frame) {
        build_leave(build, block, tag->at);
    }
    build_branch(build, block);
    if (is_chained) {
        put_condition(build, block, tag, from);
    } else {
        block->has_else = true;
    }
}

static void close_block(struct template_build *build, const struct tag *tag)
{
    struct template_block *block = build_innermost(build);
    size_t from;
    struct slice name = take_word(build, tag, &from);
    if (block == NULL || !slice_equal(name, slice_from_string(block_names[block->kind]))) {
        build_fail_name(build, TEMPLATE_SYNTAX, tag->at, "this closes no open block: '/", name);
        return;
    }
    if (block->has_frame) {
        build_leave(build, block, tag->at);
    }
    build_close(build);
}

static void put_print(struct template_build *build, const struct tag *tag)
{
    put_path(build, tag->from, tag->to);
    build_op(build, (struct template_op){.code = TEMPLATE_OP_PRINT,
                                         .a = tag->sigil == 0 && build->kind == TEMPLATE_HTML,
                                         .at = (uint32_t)tag->at});
}

static void put_tag(struct template_build *build, const struct tag *tag)
{
    switch (tag->sigil) {
    case '!':
        break;
    case '#':
        open_block(build, tag);
        break;
    case '/':
        close_block(build, tag);
        break;
    case '^':
        build_fail(build, TEMPLATE_UNSUPPORTED, tag->at, "not supported here: an inverse '^'");
        break;
    case '>':
        build_fail(build, TEMPLATE_UNSUPPORTED, tag->at, "not supported here: a partial");
        break;
    case '*':
        build_fail(build, TEMPLATE_UNSUPPORTED, tag->at, "not supported here: a decorator");
        break;
    default:
        if (is_else(build, tag)) {
            put_else(build, tag);
        } else {
            put_print(build, tag);
        }
        break;
    }
}

void template_build_handlebars(struct template_build *build)
{
    while (build->at < build->text.size) {
        size_t from = build->at;
        size_t at = find_from(build, from, "{{");
        struct tag tag;
        if (at == build->text.size) {
            build_text(build, from, at);
            return;
        }
        if (at > from && build->text.data[at - 1] == '\\') {
            build_fail(build, TEMPLATE_UNSUPPORTED, at - 1, "not supported here: an escaped tag");
        } else if (slice_starts_with(slice_skip(build->text, at), SLICE("{{{{"))) {
            build_fail(build, TEMPLATE_UNSUPPORTED, at, "not supported here: a raw block");
        } else if (take_tag(build, at, &tag)) {
            put_text_before(build, from, &tag);
            put_tag(build, &tag);
        }
    }
}
