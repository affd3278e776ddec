/*
 * Expressions of Jinja. Operands are put where they are read, operators wait on a list of pending
 * ones until what follows binds less tightly: the operations come out in the order in which a stack
 * wants them, and nothing recurses. What stands in brackets (a parenthesis, a list, an index, the
 * arguments of a filter) is such a wait, too.
 */
#include "smtp/template.h"

#include <stdlib.h>
#include <string.h>

#include "smtp/template_build.h"
#include "smtp/template_filters.h"

#define PENDING_MAX      64
#define NUMBER_BYTES_MAX 40

/* The operators, by how tightly they bind, then the brackets. */
enum pending_kind {
    PENDING_OR,
    PENDING_AND,
    PENDING_NOT,
    PENDING_COMPARE,
    PENDING_PAREN,
    PENDING_LIST,
    PENDING_INDEX,
    PENDING_FILTER,
};

struct pending {
    uint8_t kind;
    uint8_t which;   /* comparison or filter */
    uint16_t count;  /* elements or arguments so far, but for the one being read */
    uint32_t jump;   /* of and, or */
    uint32_t at;
};

struct expression {
    struct template_build *build;
    const char *end;
    bool wants_operand;
    bool over;
    struct pending pending[PENDING_MAX];
    uint32_t count;
};

static void fail_here(struct expression *expression, enum template_fault fault, const char *text)
{
    build_fail(expression->build, fault, expression->build->at, text);
}

static void put(struct expression *expression, enum template_code code, uint8_t a, uint32_t c)
{
    build_op(expression->build, (struct template_op){.code = (uint8_t)code,
                                                     .a = a,
                                                     .c = c,
                                                     .at = (uint32_t)expression->build->at});
}

static void push(struct expression *expression, struct pending pending)
{
    if (expression->count == PENDING_MAX) {
        fail_here(expression, TEMPLATE_TOO_LARGE, "the expression is too deep");
        return;
    }
    pending.at = (uint32_t)expression->build->at;
    expression->pending[expression->count++] = pending;
}

/* The innermost operator or bracket; null when there is none. */
static struct pending *innermost(struct expression *expression)
{
    return expression->count == 0 ? NULL : &expression->pending[expression->count - 1];
}

/* Puts the operators that bind at least as tightly as `kind`, up to the innermost bracket. */
static void settle(struct expression *expression, enum pending_kind kind)
{
    for (struct pending *top = innermost(expression);
         top != NULL && top->kind >= kind && top->kind <= PENDING_COMPARE;
         top = innermost(expression)) {
        if (top->kind == PENDING_COMPARE) {
            put(expression, TEMPLATE_OP_COMPARE, top->which, 0);
        } else if (top->kind == PENDING_NOT) {
            put(expression, TEMPLATE_OP_NOT, 0, 0);
        } else {
            build_land(expression->build, top->jump);
        }
        expression->count--;
    }
}

/* ---- operands */

static void put_value(struct expression *expression, struct json_value value)
{
    put(expression, TEMPLATE_OP_CONSTANT, 0, build_constant(expression->build, value));
    expression->wants_operand = false;
}

/* A number, with `negative` when a '-' stood before it. */
static void put_number(struct expression *expression, bool negative)
{
    struct template_build *build = expression->build;
    struct json_value value = {.kind = JSON_INTEGER};
    char text[NUMBER_BYTES_MAX + 2] = "-";
    size_t size = 0;
    bool is_float = false;
    while (build->at < build->text.size && size < NUMBER_BYTES_MAX) {
        uint8_t byte = build->text.data[build->at];
        bool dot = byte == '.' && !is_float && build->at + 1 < build->text.size &&
                   build->text.data[build->at + 1] >= '0' && build->text.data[build->at + 1] <= '9';
        if (!dot && (byte < '0' || byte > '9')) {
            break;
        }
        is_float = is_float || dot;
        text[1 + size++] = (char)byte;
        build->at++;
    }
    uint64_t digits;
    const char *signed_text = negative ? text : text + 1;
    if (build->at < build->text.size && template_is_name(build->text.data[build->at])) {
        fail_here(expression, TEMPLATE_SYNTAX, "malformed number");
    } else if (is_float) {
        value.kind = JSON_DOUBLE;
        value.number = strtod(signed_text, NULL);
    } else if (slice_parse_u64(slice_make(text + 1, size), &digits) && digits <= INT64_MAX) {
        value.integer = negative ? -(int64_t)digits : (int64_t)digits;
    } else {
        fail_here(expression, TEMPLATE_SYNTAX, "the number is too large");
    }
    put_value(expression, value);
}

/* The character that stands behind a backslash, or 0. */
static uint8_t escaped(uint8_t byte)
{
    static const char from[] = "ntr\\\"'";
    static const char to[] = "\n\t\r\\\"'";
    const char *found = byte == 0 ? NULL : strchr(from, byte);
    return found == NULL ? 0 : (uint8_t)to[found - from];
}

static void put_string(struct expression *expression)
{
    struct template_build *build = expression->build;
    size_t opened = build->at;
    uint8_t quote = build->text.data[build->at++];
    size_t from = build->at;
    while (build->at < build->text.size && build->text.data[build->at] != quote) {
        build->at += build->text.data[build->at] == '\\' ? 2 : 1;
    }
    if (build->at >= build->text.size) {
        build_fail(build, TEMPLATE_SYNTAX, opened, "the string is not closed");
        return;
    }
    struct slice raw = slice_make(build->text.data + from, build->at - from);
    build->at++;
    uint8_t *copy = arena_take_bytes(build->arena, raw.size);
    size_t size = 0;
    if (copy == NULL) {
        build_fail(build, TEMPLATE_TOO_LARGE, opened, "the program is too large");
        return;
    }
    for (size_t i = 0; i < raw.size; i++) {
        copy[size] = raw.data[i];
        if (raw.data[i] == '\\') {
            copy[size] = escaped(raw.data[++i]);
            if (copy[size] == 0) {
                build_fail(build, TEMPLATE_UNSUPPORTED, from + i - 1,
                           "not supported here: this escape in a string");
                return;
            }
        }
        size++;
    }
    put_value(expression, json_value_string(slice_make(copy, size)));
}

static void put_loop(struct expression *expression)
{
    static const struct {
        const char *name;
        enum template_loop field;
    } rows[] = {
        {"index", TEMPLATE_LOOP_INDEX}, {"index0", TEMPLATE_LOOP_INDEX0},
        {"first", TEMPLATE_LOOP_FIRST}, {"last", TEMPLATE_LOOP_LAST},
        {"length", TEMPLATE_LOOP_LENGTH},
    };
    struct template_build *build = expression->build;
    size_t at = build->at;
    struct slice name = SLICE_NONE;
    if (build_looks_at(build, ".")) {
        build->at++;
        name = build_take_name(build);
    }
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (slice_equal(name, slice_from_string(rows[i].name))) {
            build_op(build, (struct template_op){.code = TEMPLATE_OP_LOOP,
                                                 .a = (uint8_t)(build->frames - 1),
                                                 .b = (uint16_t)rows[i].field,
                                                 .at = (uint32_t)at});
            expression->wants_operand = false;
            return;
        }
    }
    build_fail_name(build, TEMPLATE_UNSUPPORTED, at, "not supported here: loop attribute '", name);
}

static void put_name(struct expression *expression, struct slice name)
{
    static const struct {
        const char *name;
        struct json_value value;
    } literals[] = {
        {"true", {.kind = JSON_BOOL, .boolean = true}},
        {"True", {.kind = JSON_BOOL, .boolean = true}},
        {"false", {.kind = JSON_BOOL}},
        {"False", {.kind = JSON_BOOL}},
        {"none", {.kind = JSON_NULL}},
        {"None", {.kind = JSON_NULL}},
    };
    for (size_t i = 0; i < COUNT_OF(literals); i++) {
        if (slice_equal(name, slice_from_string(literals[i].name))) {
            put_value(expression, literals[i].value);
            return;
        }
    }
    if (slice_equal(name, SLICE("loop")) && expression->build->frames > 0) {
        put_loop(expression);
        return;
    }
    put(expression, TEMPLATE_OP_NAME, 0, build_name(expression->build, name));
    expression->wants_operand = false;
}

static bool is_keyword(struct slice name)
{
    static const char *const words[] = {"and", "or", "in", "is", "if", "else"};
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (slice_equal(name, slice_from_string(words[i]))) {
            return true;
        }
    }
    return false;
}

static void take_word_operand(struct expression *expression)
{
    struct template_build *build = expression->build;
    size_t at = build->at;
    struct slice name = build_take_name(build);
    if (slice_equal(name, SLICE("not"))) {
        push(expression, (struct pending){.kind = PENDING_NOT});
    } else if (is_keyword(name)) {
        build_fail_name(build, TEMPLATE_SYNTAX, at, "a value is missing before '", name);
    } else {
        put_name(expression, name);
    }
}

static void take_operand(struct expression *expression)
{
    struct template_build *build = expression->build;
    uint8_t byte = build->text.data[build->at];
    uint8_t next = build->at + 1 < build->text.size ? build->text.data[build->at + 1] : 0;
    if (template_is_name_start(byte)) {
        take_word_operand(expression);
    } else if (byte == '"' || byte == '\'') {
        put_string(expression);
    } else if (byte >= '0' && byte <= '9') {
        put_number(expression, false);
    } else if (byte == '-' && next >= '0' && next <= '9') {
        build->at++;
        put_number(expression, true);
    } else if (byte == '(' || byte == '[') {
        push(expression,
             (struct pending){.kind = byte == '(' ? PENDING_PAREN : PENDING_LIST});
        build->at += !build->failed;
    } else if (byte == '{') {
        fail_here(expression, TEMPLATE_UNSUPPORTED, "not supported here: a mapping literal");
    } else if (byte == '-' || byte == '+') {
        fail_here(expression, TEMPLATE_UNSUPPORTED, "not supported here: arithmetic");
    } else {
        fail_here(expression, TEMPLATE_SYNTAX, "a value is missing");
    }
}

/* ---- what stands behind a value */

static void take_attribute(struct expression *expression)
{
    struct template_build *build = expression->build;
    build->at++;
    struct slice name = build_take_name(build);
    if (name.size == 0) {
        size_t from = build->at;
        while (build->at < build->text.size && build->text.data[build->at] >= '0' &&
               build->text.data[build->at] <= '9') {
            build->at++;
        }
        uint64_t index;
        if (!slice_parse_u64(slice_make(build->text.data + from, build->at - from), &index) ||
            index > INT64_MAX) {
            fail_here(expression, TEMPLATE_SYNTAX, "a name is missing behind the dot");
            return;
        }
        put_value(expression,
                  (struct json_value){.kind = JSON_INTEGER, .integer = (int64_t)index});
        put(expression, TEMPLATE_OP_INDEX, 0, 0);
        return;
    }
    if (build_looks_at(build, "(")) {
        build_fail_name(build, TEMPLATE_UNSUPPORTED, build->at, "not supported here: method '",
                        name);
        return;
    }
    put(expression, TEMPLATE_OP_FIELD, 0, build_name(build, name));
}

static void put_filter(struct expression *expression, uint8_t filter, uint16_t arguments)
{
    struct template_build *build = expression->build;
    if (!template_filter_takes(filter, arguments)) {
        build_fail_name(build, TEMPLATE_SYNTAX, build->at, "wrong number of arguments for '",
                        template_filter_name(filter));
        return;
    }
    build_op(build, (struct template_op){.code = TEMPLATE_OP_FILTER,
                                         .a = filter,
                                         .b = arguments,
                                         .at = (uint32_t)build->at});
}

static void take_filter(struct expression *expression)
{
    struct template_build *build = expression->build;
    uint8_t filter;
    build->at++;
    build_skip_space(build);
    size_t at = build->at;
    struct slice name = build_take_name(build);
    if (!template_filter_find(name, &filter)) {
        build_fail_name(build, TEMPLATE_UNSUPPORTED, at, "unknown filter '", name);
        return;
    }
    if (!build_looks_at(build, "(")) {
        put_filter(expression, filter, 0);
        return;
    }
    build->at++;
    build_skip_space(build);
    if (build_looks_at(build, ")")) {
        build->at++;
        put_filter(expression, filter, 0);
        return;
    }
    push(expression, (struct pending){.kind = PENDING_FILTER, .which = filter});
    expression->wants_operand = true;
}

static void take_test(struct expression *expression)
{
    static const struct {
        const char *name;
        enum template_test test;
    } rows[] = {
        {"defined", TEMPLATE_IS_DEFINED}, {"undefined", TEMPLATE_IS_UNDEFINED},
        {"none", TEMPLATE_IS_NONE},       {"boolean", TEMPLATE_IS_BOOLEAN},
        {"number", TEMPLATE_IS_NUMBER},   {"string", TEMPLATE_IS_STRING},
        {"mapping", TEMPLATE_IS_MAPPING},
    };
    struct template_build *build = expression->build;
    build_skip_space(build);
    size_t at = build->at;
    struct slice name = build_take_name(build);
    bool negated = slice_equal(name, SLICE("not"));
    if (negated) {
        build_skip_space(build);
        name = build_take_name(build);
    }
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (slice_equal(name, slice_from_string(rows[i].name))) {
            put(expression, TEMPLATE_OP_TEST, (uint8_t)rows[i].test, 0);
            if (negated) {
                put(expression, TEMPLATE_OP_NOT, 0, 0);
            }
            return;
        }
    }
    build_fail_name(build, TEMPLATE_UNSUPPORTED, at, "unknown test '", name);
}

/* ---- operators between values */

static void push_compare(struct expression *expression, enum template_comparison comparison)
{
    struct pending *top = innermost(expression);
    if (top != NULL && top->kind == PENDING_COMPARE) {
        fail_here(expression, TEMPLATE_UNSUPPORTED, "not supported here: a chain of comparisons");
        return;
    }
    push(expression, (struct pending){.kind = PENDING_COMPARE, .which = (uint8_t)comparison});
    expression->wants_operand = true;
}

static void push_logic(struct expression *expression, enum pending_kind kind)
{
    settle(expression, kind);
    struct template_op op = {
        .code = kind == PENDING_AND ? TEMPLATE_OP_AND : TEMPLATE_OP_OR,
        .at = (uint32_t)expression->build->at,
    };
    push(expression,
         (struct pending){.kind = (uint8_t)kind, .jump = build_op(expression->build, op)});
    expression->wants_operand = true;
}

static void take_word_operator(struct expression *expression)
{
    struct template_build *build = expression->build;
    size_t at = build->at;
    struct slice name = build_take_name(build);
    if (slice_equal(name, SLICE("and"))) {
        push_logic(expression, PENDING_AND);
    } else if (slice_equal(name, SLICE("or"))) {
        push_logic(expression, PENDING_OR);
    } else if (slice_equal(name, SLICE("is"))) {
        take_test(expression);
    } else if (slice_equal(name, SLICE("in"))) {
        push_compare(expression, TEMPLATE_IN);
    } else if (slice_equal(name, SLICE("if"))) {
        build_fail(build, TEMPLATE_UNSUPPORTED, at, "not supported here: an if in an expression");
    } else if (slice_equal(name, SLICE("not"))) {
        build_skip_space(build);
        if (slice_equal(build_take_name(build), SLICE("in"))) {
            push_compare(expression, TEMPLATE_NOT_IN);
        } else {
            build_fail(build, TEMPLATE_SYNTAX, at, "an operator is missing before 'not'");
        }
    } else {
        build_fail_name(build, TEMPLATE_SYNTAX, at, "an operator is missing before '", name);
    }
}

static bool take_comparison(struct expression *expression)
{
    static const struct {
        const char *text;
        enum template_comparison comparison;
    } rows[] = {
        {"==", TEMPLATE_EQUAL},      {"!=", TEMPLATE_UNEQUAL}, {"<=", TEMPLATE_LESS_EQUAL},
        {">=", TEMPLATE_GREATER_EQUAL}, {"<", TEMPLATE_LESS},  {">", TEMPLATE_GREATER},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (build_looks_at(expression->build, rows[i].text)) {
            expression->build->at += strlen(rows[i].text);
            push_compare(expression, rows[i].comparison);
            return true;
        }
    }
    return false;
}

/* A comma: the next element or argument. */
static void take_comma(struct expression *expression)
{
    settle(expression, PENDING_OR);
    struct pending *top = innermost(expression);
    if (top == NULL || (top->kind != PENDING_LIST && top->kind != PENDING_FILTER)) {
        fail_here(expression, TEMPLATE_UNSUPPORTED, "not supported here: a tuple");
        return;
    }
    top->count++;
    expression->build->at++;
    expression->wants_operand = true;
}

/* A bracket that closes; behind `operand_missing` ones there is nothing before it. */
static void take_closing(struct expression *expression, uint8_t byte)
{
    bool empty = expression->wants_operand;
    if (!empty) {
        settle(expression, PENDING_OR);
    }
    struct pending *top = innermost(expression);
    bool fits = top != NULL && (byte == ')' ? top->kind == PENDING_PAREN ||
                                                  top->kind == PENDING_FILTER
                                            : top->kind == PENDING_LIST ||
                                                  top->kind == PENDING_INDEX);
    /* A list may be empty, or end in a comma; nothing else may. */
    if (!fits || (empty && top->kind != PENDING_LIST)) {
        fail_here(expression, TEMPLATE_SYNTAX, "this bracket closes nothing");
        return;
    }
    uint16_t count = (uint16_t)(top->count + !empty);
    expression->count--;
    expression->build->at++;
    expression->wants_operand = false;
    if (top->kind == PENDING_LIST) {
        put(expression, TEMPLATE_OP_LIST, 0, count);
    } else if (top->kind == PENDING_INDEX) {
        put(expression, TEMPLATE_OP_INDEX, 0, 0);
    } else if (top->kind == PENDING_FILTER) {
        put_filter(expression, top->which, count);
    }
}

static void fail_operator(struct expression *expression, uint8_t byte)
{
    if (byte == '(') {
        fail_here(expression, TEMPLATE_UNSUPPORTED, "not supported here: a function call");
    } else if (byte == ':') {
        fail_here(expression, TEMPLATE_UNSUPPORTED, "not supported here: a slice");
    } else if (byte == '=') {
        fail_here(expression, TEMPLATE_UNSUPPORTED, "not supported here: a named argument");
    } else if (byte != 0 && strchr("+-*/%~", byte) != NULL) {
        build_fail_name(expression->build, TEMPLATE_UNSUPPORTED, expression->build->at,
                        "not supported here: operator '",
                        slice_first(build_rest(expression->build), 1));
    } else {
        fail_here(expression, TEMPLATE_SYNTAX, "an operator is missing");
    }
}

static void take_operator(struct expression *expression)
{
    struct template_build *build = expression->build;
    uint8_t byte = build->text.data[build->at];
    if (template_is_name_start(byte)) {
        take_word_operator(expression);
    } else if (byte == '.') {
        take_attribute(expression);
    } else if (byte == '|') {
        take_filter(expression);
    } else if (byte == '[') {
        push(expression, (struct pending){.kind = PENDING_INDEX});
        build->at += !build->failed;
        expression->wants_operand = true;
    } else if (byte == ',') {
        take_comma(expression);
    } else if (!take_comparison(expression)) {
        fail_operator(expression, byte);
    }
}

/* Does the tag end here? */
static bool looks_at_end(const struct expression *expression)
{
    struct slice rest = build_rest(expression->build);
    if (rest.size > 0 && rest.data[0] == '-') {
        rest = slice_skip(rest, 1);
    }
    return slice_starts_with(rest, slice_from_string(expression->end));
}

void template_build_expression(struct template_build *build, const char *end)
{
    struct expression expression = {.build = build, .end = end, .wants_operand = true};
    size_t begun = build->at;
    for (build_skip_space(build); build->at < build->text.size && !looks_at_end(&expression);
         build_skip_space(build)) {
        uint8_t byte = build->text.data[build->at];
        if (byte == ')' || byte == ']') {
            take_closing(&expression, byte);
        } else if (expression.wants_operand) {
            take_operand(&expression);
        } else {
            take_operator(&expression);
        }
    }
    if (build->failed) {
        return;
    }
    if (build->at == build->text.size) {
        build_fail(build, TEMPLATE_SYNTAX, begun, "the tag is not closed");
    } else if (expression.wants_operand) {
        fail_here(&expression, TEMPLATE_SYNTAX, "a value is missing");
    }
    settle(&expression, PENDING_OR);
    if (expression.count > 0) {
        build_fail(build, TEMPLATE_SYNTAX, innermost(&expression)->at,
                   "this bracket is never closed");
    }
}
