#include "smtp/template_build.h"

#include <string.h>

#include "core/check.h"

#define ROOM_FIRST 32u

struct slice build_rest(const struct template_build *build)
{
    return slice_skip(build->text, build->at);
}

bool build_looks_at(const struct template_build *build, const char *bytes)
{
    return slice_starts_with(build_rest(build), slice_from_string(bytes));
}

void build_fail_name(struct template_build *build, enum template_fault fault, size_t at,
                     const char *before, struct slice name)
{
    if (!build->failed) {
        build->failed = true;
        template_say(build->problem, before, name, "'");
        template_fail(build->problem, fault, build->text, at);
    }
    build->at = build->text.size;
}

void build_fail(struct template_build *build, enum template_fault fault, size_t at,
                const char *text)
{
    if (!build->failed) {
        build->failed = true;
        template_say(build->problem, text, SLICE(""), "");
        template_fail(build->problem, fault, build->text, at);
    }
    build->at = build->text.size;
}

/* Memory for twice as many elements; the first half is copied, and the old one left behind. */
static void *grow(struct template_build *build, const void *old, uint32_t *room, size_t bytes)
{
    uint32_t wanted = *room == 0 ? ROOM_FIRST : 2 * *room;
    void *memory = arena_take(build->arena, wanted, bytes);
    if (memory == NULL) {
        build_fail(build, TEMPLATE_TOO_LARGE, build->at, "the program is too large");
        return NULL;
    }
    if (*room > 0) {
        memcpy(memory, old, *room * bytes);
    }
    *room = wanted;
    return memory;
}

/* How the stack changes. */
static int stack_effect(const struct template_op *op)
{
    switch ((enum template_code)op->code) {
    case TEMPLATE_OP_CONSTANT:
    case TEMPLATE_OP_NAME:
    case TEMPLATE_OP_FIND:
    case TEMPLATE_OP_FRAME:
    case TEMPLATE_OP_LOOP:
        return 1;
    case TEMPLATE_OP_TEXT:
    case TEMPLATE_OP_FIELD:
    case TEMPLATE_OP_TEST:
    case TEMPLATE_OP_NOT:
    case TEMPLATE_OP_JUMP:
    case TEMPLATE_OP_NEXT:
    case TEMPLATE_OP_LEAVE:
        return 0;
    case TEMPLATE_OP_PRINT:
    case TEMPLATE_OP_INDEX:
    case TEMPLATE_OP_COMPARE:
    case TEMPLATE_OP_JUMP_UNLESS:
    case TEMPLATE_OP_AND:
    case TEMPLATE_OP_OR:
    case TEMPLATE_OP_FOR:
    case TEMPLATE_OP_WITH:
    case TEMPLATE_OP_SET:
        return -1;
    case TEMPLATE_OP_FILTER:
        return -(int)op->b;
    case TEMPLATE_OP_LIST:
        return 1 - (int)op->c;
    }
    return 0;
}

uint32_t build_op(struct template_build *build, struct template_op op)
{
    if (build->failed) {
        return TEMPLATE_NO_OP;
    }
    int stack = (int)build->stack + stack_effect(&op);
    CHECK(stack >= 0);
    if (stack > TEMPLATE_STACK_MAX) {
        build_fail(build, TEMPLATE_TOO_LARGE, op.at, "the expression is too deep");
        return TEMPLATE_NO_OP;
    }
    if (build->op_count == TEMPLATE_OPS_MAX) {
        build_fail(build, TEMPLATE_TOO_LARGE, op.at, "the template has too many parts");
        return TEMPLATE_NO_OP;
    }
    if (build->op_count == build->op_room) {
        void *ops = grow(build, build->ops, &build->op_room, sizeof(*build->ops));
        if (ops == NULL) {
            return TEMPLATE_NO_OP;
        }
        build->ops = ops;
    }
    build->stack = (uint32_t)stack;
    build->ops[build->op_count] = op;
    return build->op_count++;
}

void build_text(struct template_build *build, size_t from, size_t to)
{
    if (to > from) {
        build_op(build, (struct template_op){.code = TEMPLATE_OP_TEXT,
                                             .c = (uint32_t)(to - from),
                                             .at = (uint32_t)from});
    }
}

void build_land(struct template_build *build, uint32_t op)
{
    if (!build->failed && op != TEMPLATE_NO_OP) {
        build->ops[op].c = build->op_count;
    }
}

static bool is_name(const void *context, uint64_t value, const void *key)
{
    const struct template_build *build = context;
    return slice_equal(json_value_text(&build->constants[value]), *(const struct slice *)key);
}

/* Lets the constant be found by its text; of equal ones the first. */
static void index_constant(struct template_build *build, uint32_t index)
{
    uint64_t found;
    if (build->names.slots == NULL || build->constants[index].kind != JSON_STRING) {
        return;
    }
    struct slice text = json_value_text(&build->constants[index]);
    uint64_t hash = htab_hash(&build->names, text);
    if (!htab_find(&build->names, hash, &text, &found)) {
        bool fits = htab_insert(&build->names, hash, index);
        CHECK(fits);
    }
}

/* Room for more constants, and an index for as many. */
static bool grow_constants(struct template_build *build)
{
    void *constants = grow(build, build->constants, &build->constant_room,
                           sizeof(*build->constants));
    if (constants == NULL) {
        return false;
    }
    build->constants = constants;
    if (build->constant_room == ROOM_FIRST) {
        return true;
    }
    uint32_t slots = htab_slots_for(build->constant_room);
    void *memory = arena_take(build->arena, slots, sizeof(struct htab_slot));
    if (memory == NULL) {
        build_fail(build, TEMPLATE_TOO_LARGE, build->at, "the program is too large");
        return false;
    }
    /* Nobody who chooses names knows where the arena lies, and no program depends on it. */
    htab_init(&build->names, memory, slots, (uintptr_t)build->arena->data, is_name, build);
    for (uint32_t i = 0; i < build->constant_count; i++) {
        index_constant(build, i);
    }
    return true;
}

uint32_t build_constant(struct template_build *build, struct json_value value)
{
    if (build->failed) {
        return 0;
    }
    if (build->constant_count == TEMPLATE_CONSTANTS_MAX) {
        build_fail(build, TEMPLATE_TOO_LARGE, build->at, "too many names and literals");
        return 0;
    }
    if (build->constant_count == build->constant_room && !grow_constants(build)) {
        return 0;
    }
    build->constants[build->constant_count] = value;
    index_constant(build, build->constant_count);
    return build->constant_count++;
}

static bool find_name(const struct template_build *build, struct slice name, uint64_t *index_out)
{
    if (build->names.slots != NULL) {
        return htab_find(&build->names, htab_hash(&build->names, name), &name, index_out);
    }
    for (uint32_t i = 0; i < build->constant_count; i++) {
        *index_out = i;
        if (build->constants[i].kind == JSON_STRING && is_name(build, i, &name)) {
            return true;
        }
    }
    return false;
}

uint32_t build_name(struct template_build *build, struct slice name)
{
    uint64_t index;
    if (!build->failed && find_name(build, name, &index)) {
        return (uint32_t)index;
    }
    return build_constant(build, json_value_string(name));
}

struct template_block *build_open(struct template_build *build, uint8_t kind, size_t at)
{
    if (build->failed) {
        return NULL;
    }
    if (build->block_count == TEMPLATE_BLOCKS_MAX) {
        build_fail(build, TEMPLATE_TOO_LARGE, at, "blocks are nested too deep");
        return NULL;
    }
    struct template_block *block = &build->blocks[build->block_count++];
    *block = (struct template_block){
        .kind = kind,
        .opened_at = (uint32_t)at,
        .branch = TEMPLATE_NO_OP,
        .ends = TEMPLATE_NO_OP,
    };
    return block;
}

struct template_block *build_innermost(struct template_build *build)
{
    return build->block_count == 0 ? NULL : &build->blocks[build->block_count - 1];
}

void build_branch(struct template_build *build, struct template_block *block)
{
    uint32_t jump = build_op(build, (struct template_op){.code = TEMPLATE_OP_JUMP,
                                                         .c = block->ends,
                                                         .at = (uint32_t)build->at});
    block->ends = jump;
    build_land(build, block->branch);
    block->branch = TEMPLATE_NO_OP;
}

void build_close(struct template_build *build)
{
    struct template_block *block = build_innermost(build);
    if (build->failed) {
        return;
    }
    build_land(build, block->branch);
    for (uint32_t jump = block->ends; jump != TEMPLATE_NO_OP;) {
        uint32_t before = build->ops[jump].c;
        build_land(build, jump);
        jump = before;
    }
    build->block_count--;
}

void build_enter(struct template_build *build, struct template_block *block,
                 struct template_op enter)
{
    if (build->failed) {
        return;
    }
    if (build->frames == TEMPLATE_FRAMES_MAX) {
        build_fail(build, TEMPLATE_TOO_LARGE, enter.at, "loops are nested too deep");
        return;
    }
    block->branch = build_op(build, enter);
    block->body = build->op_count;
    block->has_frame = true;
    build->frames++;
}

void build_leave(struct template_build *build, struct template_block *block, size_t at)
{
    struct template_op leave = {.code = TEMPLATE_OP_LEAVE, .at = (uint32_t)at};
    if (build->failed) {
        return;
    }
    if (build->ops[block->body - 1].code == TEMPLATE_OP_FOR) {
        leave.code = TEMPLATE_OP_NEXT;
        leave.c = block->body;
    }
    build_op(build, leave);
    block->has_frame = false;
    build->frames--;
}

bool template_is_space(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

bool template_is_name_start(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_';
}

bool template_is_name(uint8_t byte)
{
    return template_is_name_start(byte) || (byte >= '0' && byte <= '9');
}

void build_skip_space(struct template_build *build)
{
    while (build->at < build->text.size && template_is_space(build->text.data[build->at])) {
        build->at++;
    }
}

struct slice build_take_name(struct template_build *build)
{
    size_t from = build->at;
    if (from < build->text.size && template_is_name_start(build->text.data[from])) {
        while (build->at < build->text.size && template_is_name(build->text.data[build->at])) {
            build->at++;
        }
    }
    return slice_make(build->text.data + from, build->at - from);
}
