/*
 * Runs a program. Everything is bounded before it begins: the stack and the frames by the compiler,
 * the steps, the output and the scratch memory by the caller. What filters make in scratch memory
 * is given back when it was printed, unless a loop or a name still holds it, and with these at
 * last.
 */
#include "smtp/template.h"

#include <math.h>
#include <string.h>

#include "core/check.h"
#include "smtp/template_filters.h"
#include "smtp/template_program.h"
#include "smtp/template_text.h"

/* With which a name is compared in the largest of objects. */
#define NAMES_COMPARED 16u

/* A loop, or a context of Handlebars: a loop with one item. */
struct frame {
    struct json_value over;
    struct json_value item;
    uint32_t index;
    uint32_t count;
    uint32_t locals; /* that there were before */
    uint32_t name;   /* the item's; TEMPLATE_NO_NAME: none */
    size_t kept_outside; /* of scratch memory: what the machine keeps when the frame is gone, */
    size_t kept;         /* … and between two items */
};

struct local {
    uint32_t name;
    struct json_value value;
};

/* Where the output stands, of a message. */
enum place { PLACE_LINE_START, PLACE_IN_LINE, PLACE_BEHIND_HEADER };

struct machine {
    const struct template *template;
    enum place place;
    bool after_cr;
    struct template_run *run;
    struct buf *out;
    struct template_problem *problem;
    const struct template_op *op; /* the one at work */
    uint32_t next;                /* index of the one after it */
    size_t kept;                  /* scratch memory below here is held by a loop or a name */
    uint32_t stack_count;
    uint32_t frame_count;
    uint32_t local_count;
    struct json_value stack[TEMPLATE_STACK_MAX];
    struct frame frames[TEMPLATE_FRAMES_MAX];
    struct local locals[TEMPLATE_LOCALS_MAX];
};

static bool fail(struct machine *machine, enum template_fault fault, const char *text)
{
    template_say(machine->problem, text, SLICE(""), "");
    return template_fail(machine->problem, fault, machine->template->text, machine->op->at);
}

static bool fail_value(struct machine *machine, const char *text)
{
    return fail(machine, TEMPLATE_VALUE, text);
}

static bool fail_name(struct machine *machine, const char *before, struct slice name)
{
    template_say(machine->problem, before, name, "'");
    return template_fail(machine->problem, TEMPLATE_VALUE, machine->template->text,
                         machine->op->at);
}

static bool spend(struct machine *machine, uint64_t steps)
{
    if (machine->run->steps < steps) {
        machine->run->steps = 0;
        return fail(machine, TEMPLATE_STEPS, "the template takes too many steps");
    }
    machine->run->steps -= steps;
    return true;
}

/* Texts are looked through. */
static bool spend_bytes(struct machine *machine, size_t bytes)
{
    return spend(machine, bytes / TEMPLATE_BYTES_A_STEP);
}

/* A member is looked for: its name is compared with some of the others. */
static bool spend_name(struct machine *machine, struct slice name)
{
    return spend(machine, name.size / TEMPLATE_BYTES_A_STEP * NAMES_COMPARED);
}

/* Two values are compared: of texts no more than the shorter one. */
static bool spend_pair(struct machine *machine, const struct json_value *a,
                       const struct json_value *b)
{
    bool is_text = a->kind == JSON_STRING && b->kind == JSON_STRING;
    return !is_text || spend_bytes(machine, MIN_OF(a->size, b->size));
}

static struct json_value *top(struct machine *machine)
{
    CHECK(machine->stack_count > 0);
    return &machine->stack[machine->stack_count - 1];
}

static struct json_value pop(struct machine *machine)
{
    struct json_value value = *top(machine);
    machine->stack_count--;
    return value;
}

static bool push(struct machine *machine, struct json_value value)
{
    CHECK(machine->stack_count < TEMPLATE_STACK_MAX);
    machine->stack[machine->stack_count++] = value;
    return true;
}

static bool push_bool(struct machine *machine, bool value)
{
    return push(machine, (struct json_value){.kind = JSON_BOOL, .boolean = value});
}

static bool push_integer(struct machine *machine, uint64_t value)
{
    return push(machine, (struct json_value){.kind = JSON_INTEGER, .integer = (int64_t)value});
}

/* The value, or one of kind JSON_ABSENT for null. */
static struct json_value value_or_absent(const struct json_value *value)
{
    return value == NULL ? (struct json_value){.kind = JSON_ABSENT} : *value;
}

static bool is_true(const struct machine *machine, const struct json_value *value)
{
    return template_truth(machine->template->dialect, value);
}

/* ---- names */

static struct slice name_of(const struct machine *machine, uint32_t constant)
{
    return json_value_text(&machine->template->constants[constant]);
}

static struct json_value look_up_scopes(const struct machine *machine, struct slice name)
{
    for (size_t i = 0; i < TEMPLATE_SCOPES_MAX; i++) {
        const struct json_value *scope = machine->run->scopes[i];
        const struct json_value *value = scope == NULL ? NULL : json_value_member(scope, name);
        if (value != NULL) {
            return *value;
        }
    }
    return value_or_absent(NULL);
}

static struct json_value look_up(const struct machine *machine, uint32_t name)
{
    for (uint32_t i = machine->local_count; i-- > 0;) {
        if (machine->locals[i].name == name) {
            return machine->locals[i].value;
        }
    }
    return look_up_scopes(machine, name_of(machine, name));
}

/* From the context before `frames` outwards. */
static struct json_value find(const struct machine *machine, uint32_t frames, struct slice name)
{
    while (frames-- > 0) {
        const struct json_value *value = json_value_member(&machine->frames[frames].item, name);
        if (value != NULL) {
            return *value;
        }
    }
    return look_up_scopes(machine, name);
}

/* Gives a name a value in the innermost frame. */
static bool set_local(struct machine *machine, uint32_t name, struct json_value value)
{
    uint32_t first =
        machine->frame_count == 0 ? 0 : machine->frames[machine->frame_count - 1].locals;
    for (uint32_t i = first; i < machine->local_count; i++) {
        if (machine->locals[i].name == name) {
            machine->locals[i].value = value;
            return true;
        }
    }
    if (machine->local_count == TEMPLATE_LOCALS_MAX) {
        return fail_value(machine, "too many names have values");
    }
    machine->locals[machine->local_count++] = (struct local){.name = name, .value = value};
    return true;
}

/* ---- parts of values */

/* In Handlebars a list has a length, and its elements have their numbers as names. */
static struct json_value list_member(const struct json_value *list, struct slice name)
{
    uint64_t index;
    if (slice_equal(name, SLICE("length"))) {
        return (struct json_value){.kind = JSON_INTEGER, .integer = list->size};
    }
    bool inside = slice_parse_u64(name, &index) && index < list->size;
    return value_or_absent(inside ? &list->elements[index] : NULL);
}

static bool do_field(struct machine *machine)
{
    struct json_value value = pop(machine);
    struct slice name = name_of(machine, machine->op->c);
    bool is_handlebars = machine->template->dialect == TEMPLATE_HANDLEBARS;
    if (!spend_name(machine, name)) {
        return false;
    }
    if (is_handlebars && value.kind == JSON_ARRAY) {
        return push(machine, list_member(&value, name));
    }
    if (!is_handlebars && value.kind == JSON_ABSENT) {
        return fail_name(machine, "what stands before the dot is undefined: '.", name);
    }
    return push(machine, value_or_absent(json_value_member(&value, name)));
}

static bool do_index(struct machine *machine)
{
    struct json_value key = pop(machine);
    struct json_value value = pop(machine);
    if (value.kind == JSON_ABSENT) {
        if (machine->template->dialect == TEMPLATE_HANDLEBARS) {
            return push(machine, value);
        }
        return fail_value(machine, "what stands before the index is undefined");
    }
    if (key.kind == JSON_STRING) {
        struct slice name = json_value_text(&key);
        return spend_name(machine, name) &&
               push(machine, value_or_absent(json_value_member(&value, name)));
    }
    if (key.kind != JSON_INTEGER) {
        return fail_value(machine, "an index is a number or a text");
    }
    int64_t index = key.integer < 0 ? key.integer + value.size : key.integer;
    bool inside = value.kind == JSON_ARRAY && index >= 0 && index < value.size;
    return push(machine, value_or_absent(inside ? &value.elements[index] : NULL));
}

static bool do_loop(struct machine *machine)
{
    const struct frame *frame = &machine->frames[machine->op->a];
    switch ((enum template_loop)machine->op->b) {
    case TEMPLATE_LOOP_INDEX0:
        return push_integer(machine, frame->index);
    case TEMPLATE_LOOP_INDEX:
        return push_integer(machine, frame->index + 1);
    case TEMPLATE_LOOP_FIRST:
        return push_bool(machine, frame->index == 0);
    case TEMPLATE_LOOP_LAST:
        return push_bool(machine, frame->index + 1 == frame->count);
    case TEMPLATE_LOOP_LENGTH:
        return push_integer(machine, frame->count);
    case TEMPLATE_LOOP_KEY:
        break;
    }
    return frame->over.kind == JSON_OBJECT
               ? push(machine, frame->over.members[frame->index].key)
               : push_integer(machine, frame->index);
}

/* ---- tests and comparisons */

static bool do_test(struct machine *machine)
{
    uint8_t kind = pop(machine).kind;
    switch ((enum template_test)machine->op->a) {
    case TEMPLATE_IS_DEFINED:
        return push_bool(machine, kind != JSON_ABSENT);
    case TEMPLATE_IS_UNDEFINED:
        return push_bool(machine, kind == JSON_ABSENT);
    case TEMPLATE_IS_NONE:
        return push_bool(machine, kind == JSON_NULL);
    case TEMPLATE_IS_BOOLEAN:
        return push_bool(machine, kind == JSON_BOOL);
    case TEMPLATE_IS_NUMBER:
        return push_bool(machine, kind == JSON_INTEGER || kind == JSON_DOUBLE);
    case TEMPLATE_IS_STRING:
        return push_bool(machine, kind == JSON_STRING);
    case TEMPLATE_IS_MAPPING:
        return push_bool(machine, kind == JSON_OBJECT);
    }
    return false;
}

/* Wide enough for every int64_t and every double. */
static bool number_of(const struct json_value *value, long double *number_out)
{
    *number_out = value->kind == JSON_INTEGER ? (long double)value->integer
                                              : (long double)value->number;
    return value->kind == JSON_INTEGER || value->kind == JSON_DOUBLE;
}

/* Lists and mappings are equal to nothing. */
static bool is_equal(const struct json_value *a, const struct json_value *b)
{
    long double left;
    long double right;
    if (a->kind == JSON_INTEGER || a->kind == JSON_DOUBLE) {
        return number_of(a, &left) && number_of(b, &right) && left == right;
    }
    if (a->kind != b->kind) {
        return false;
    }
    switch ((enum json_kind)a->kind) {
    case JSON_ABSENT:
    case JSON_NULL:
        return true;
    case JSON_BOOL:
        return a->boolean == b->boolean;
    case JSON_STRING:
        return slice_equal(json_value_text(a), json_value_text(b));
    case JSON_INTEGER:
    case JSON_DOUBLE:
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    return false;
}

/* -1, 0 or 1 for numbers and for texts. */
static bool order_of(const struct json_value *a, const struct json_value *b, int *order_out)
{
    long double left;
    long double right;
    if (number_of(a, &left) && number_of(b, &right)) {
        *order_out = (left > right) - (left < right);
        return true;
    }
    if (a->kind != JSON_STRING || b->kind != JSON_STRING) {
        return false;
    }
    size_t common = MIN_OF(a->size, b->size);
    int order = common == 0 ? 0 : memcmp(a->text, b->text, common);
    *order_out = order != 0 ? order : (a->size > b->size) - (a->size < b->size);
    return true;
}

static bool is_in(struct machine *machine, const struct json_value *item,
                  const struct json_value *container, bool *in_out)
{
    *in_out = false;
    if (!spend(machine, container->size)) {
        return false;
    }
    if (item->kind == JSON_STRING && !spend_name(machine, json_value_text(item))) {
        return false;
    }
    if (container->kind == JSON_STRING && item->kind == JSON_STRING) {
        *in_out = item->size == 0 ||
                  (container->size > 0 && memmem(container->text, container->size, item->text,
                                                 item->size) != NULL);
        return true;
    }
    if (container->kind == JSON_OBJECT && item->kind == JSON_STRING) {
        *in_out = json_value_member(container, json_value_text(item)) != NULL;
        return true;
    }
    if (container->kind != JSON_ARRAY) {
        return container->kind == JSON_OBJECT || container->kind == JSON_ABSENT ||
               fail_value(machine, "'in' wants a list, a mapping or texts");
    }
    for (uint32_t i = 0; i < container->size && !*in_out; i++) {
        if (!spend_pair(machine, item, &container->elements[i])) {
            return false;
        }
        *in_out = is_equal(item, &container->elements[i]);
    }
    return true;
}

static bool is_container(const struct json_value *value)
{
    return value->kind == JSON_ARRAY || value->kind == JSON_OBJECT;
}

static bool do_compare(struct machine *machine)
{
    struct json_value right = pop(machine);
    struct json_value left = pop(machine);
    enum template_comparison comparison = (enum template_comparison)machine->op->a;
    bool in;
    int order = 0;
    if (comparison == TEMPLATE_IN || comparison == TEMPLATE_NOT_IN) {
        return is_in(machine, &left, &right, &in) &&
               push_bool(machine, in == (comparison == TEMPLATE_IN));
    }
    if (!spend_pair(machine, &left, &right)) {
        return false;
    }
    if (comparison == TEMPLATE_EQUAL || comparison == TEMPLATE_UNEQUAL) {
        if (is_container(&left) && is_container(&right)) {
            return fail_value(machine, "lists and mappings are not compared");
        }
        return push_bool(machine, is_equal(&left, &right) == (comparison == TEMPLATE_EQUAL));
    }
    if (!order_of(&left, &right, &order)) {
        return fail_value(machine, "only numbers and texts have an order");
    }
    bool greater = comparison == TEMPLATE_GREATER || comparison == TEMPLATE_GREATER_EQUAL;
    bool or_equal = comparison == TEMPLATE_LESS_EQUAL || comparison == TEMPLATE_GREATER_EQUAL;
    return push_bool(machine, (greater ? order > 0 : order < 0) || (or_equal && order == 0));
}

/* ---- output, filters, lists */

/* Literal text goes out: an empty line ends the header, whatever its line ends are. */
static void pass_literal(struct machine *machine, struct slice text)
{
    for (size_t i = 0; i < text.size && machine->place != PLACE_BEHIND_HEADER; i++) {
        bool ends_crlf = machine->after_cr && text.data[i] == '\n';
        machine->after_cr = text.data[i] == '\r';
        if (ends_crlf) {
            continue;
        }
        if (text.data[i] != '\n' && text.data[i] != '\r') {
            machine->place = PLACE_IN_LINE;
        } else if (machine->place == PLACE_IN_LINE) {
            machine->place = PLACE_LINE_START;
        } else {
            machine->place = PLACE_BEHIND_HEADER;
        }
    }
}

/*
 * A value goes out: in a header it stays in its line, and makes none. An empty one changes nothing,
 * so a line that holds nothing else is empty, and ends the header.
 */
static bool pass_value(struct machine *machine, struct slice text)
{
    if (machine->place == PLACE_BEHIND_HEADER) {
        return true;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '\r' || text.data[i] == '\n') {
            return fail_value(machine, "a value with a line end in the header");
        }
        if ((text.data[i] < ' ' && text.data[i] != '\t') || text.data[i] == 0x7F) {
            return fail_value(machine, "a value with a control character in the header");
        }
    }
    if (text.size > 0 && machine->place == PLACE_LINE_START) {
        return fail_value(machine, "a value at the start of a line in the header");
    }
    return true;
}

static bool do_print(struct machine *machine)
{
    struct json_value value = pop(machine);
    uint8_t memory[TEMPLATE_SCALAR_BYTES_MAX];
    struct slice text;
    if (value.kind == JSON_DOUBLE && !spend(machine, TEMPLATE_STEPS_OF_A_DOUBLE)) {
        return false;
    }
    if (!template_text_of(machine->template->dialect, &value, memory, &text)) {
        return fail_value(machine, "a list or a mapping cannot be printed");
    }
    if (!pass_value(machine, text)) {
        return false;
    }
    if (machine->op->a != 0 && !(value.kind == JSON_STRING && value.is_safe)) {
        template_put_escaped(machine->out, machine->template->dialect, text);
    } else {
        buf_put(machine->out, text);
    }
    if (machine->stack_count == 0) {
        arena_rewind(machine->run->scratch, machine->kept);
    }
    return true;
}

static bool do_filter(struct machine *machine)
{
    unsigned count = machine->op->b;
    CHECK(machine->stack_count >= count + 1);
    machine->stack_count -= count + 1;
    struct template_filtering filtering = {
        .filter = machine->op->a,
        .argument_count = count,
        .values = &machine->stack[machine->stack_count],
        .scratch = machine->run->scratch,
        .steps = machine->run->steps,
    };
    bool good = template_filter_apply(&filtering);
    if (!spend(machine, filtering.cost)) {
        return false;
    }
    if (!good) {
        return filtering.complaint != NULL
                   ? fail_value(machine, filtering.complaint)
                   : fail(machine, TEMPLATE_MEMORY, "the template makes too much text");
    }
    return push(machine, filtering.result);
}

static bool do_list(struct machine *machine)
{
    uint32_t count = machine->op->c;
    CHECK(machine->stack_count >= count);
    struct json_value *elements =
        arena_take(machine->run->scratch, count, sizeof(struct json_value));
    if (elements == NULL) {
        return fail(machine, TEMPLATE_MEMORY, "the template makes too much text");
    }
    machine->stack_count -= count;
    if (count > 0) {
        memcpy(elements, &machine->stack[machine->stack_count], count * sizeof(*elements));
    }
    return push(machine,
                (struct json_value){.kind = JSON_ARRAY, .size = count, .elements = elements});
}

/* ---- loops and contexts */

/* The item at the frame's index. Jinja goes over the keys of a mapping, Handlebars its values. */
static bool frame_take_item(struct machine *machine, struct frame *frame)
{
    if (frame->over.kind == JSON_ARRAY) {
        frame->item = frame->over.elements[frame->index];
    } else if (machine->template->dialect == TEMPLATE_JINJA) {
        frame->item = frame->over.members[frame->index].key;
    } else {
        frame->item = frame->over.members[frame->index].value;
    }
    return frame->name == TEMPLATE_NO_NAME || set_local(machine, frame->name, frame->item);
}

static struct frame *frame_open(struct machine *machine, struct json_value over)
{
    CHECK(machine->frame_count < TEMPLATE_FRAMES_MAX);
    struct frame *frame = &machine->frames[machine->frame_count++];
    *frame = (struct frame){
        .over = over,
        .count = over.size,
        .locals = machine->local_count,
        .name = machine->op->b,
        .kept_outside = machine->kept,
        .kept = arena_mark(machine->run->scratch),
    };
    machine->kept = frame->kept;
    return frame;
}

/* Names that were set in the frame are gone, and so is the memory of their values. */
static void frame_forget(struct machine *machine, const struct frame *frame, size_t kept)
{
    machine->local_count = frame->locals;
    machine->kept = kept;
    arena_rewind(machine->run->scratch, kept);
}

static bool frame_close(struct machine *machine)
{
    const struct frame *frame = &machine->frames[--machine->frame_count];
    frame_forget(machine, frame, frame->kept_outside);
    return true;
}

static bool do_for(struct machine *machine)
{
    struct json_value over = pop(machine);
    bool is_jinja = machine->template->dialect == TEMPLATE_JINJA;
    if (is_jinja && !is_container(&over) && over.kind != JSON_ABSENT) {
        return fail_value(machine, "a loop wants a list or a mapping");
    }
    if (!is_container(&over) || over.size == 0) {
        machine->next = machine->op->c;
        return true;
    }
    return frame_take_item(machine, frame_open(machine, over));
}

static bool do_next(struct machine *machine)
{
    struct frame *frame = &machine->frames[machine->frame_count - 1];
    if (frame->index + 1 < frame->count) {
        frame->index++;
        machine->next = machine->op->c;
        frame_forget(machine, frame, frame->kept);
        return frame_take_item(machine, frame);
    }
    return frame_close(machine);
}

static bool do_with(struct machine *machine)
{
    struct json_value over = pop(machine);
    bool is_zero = over.kind == JSON_INTEGER || over.kind == JSON_DOUBLE;
    if (!is_zero && !is_true(machine, &over)) {
        machine->next = machine->op->c;
        return true;
    }
    frame_open(machine, over)->item = over;
    return true;
}

static bool do_set(struct machine *machine)
{
    machine->kept = arena_mark(machine->run->scratch);
    return set_local(machine, machine->op->c, pop(machine));
}

/* Leaves the value for the jump, or takes it away. */
static bool do_logic(struct machine *machine, bool jumps_when)
{
    if (is_true(machine, top(machine)) == jumps_when) {
        machine->next = machine->op->c;
    } else {
        machine->stack_count--;
    }
    return true;
}

static bool do_text(struct machine *machine)
{
    struct slice text =
        slice_make(machine->template->text.data + machine->op->at, machine->op->c);
    pass_literal(machine, text);
    buf_put(machine->out, text);
    return true;
}

static bool do_jump_unless(struct machine *machine)
{
    struct json_value value = pop(machine);
    if (!is_true(machine, &value)) {
        machine->next = machine->op->c;
    }
    return true;
}

static bool do_not(struct machine *machine)
{
    struct json_value value = pop(machine);
    return push_bool(machine, !is_true(machine, &value));
}

static bool step(struct machine *machine)
{
    const struct template_op *op = machine->op;
    switch ((enum template_code)op->code) {
    case TEMPLATE_OP_TEXT:
        return do_text(machine);
    case TEMPLATE_OP_PRINT:
        return do_print(machine);
    case TEMPLATE_OP_CONSTANT:
        return push(machine, machine->template->constants[op->c]);
    case TEMPLATE_OP_NAME:
        return spend_name(machine, name_of(machine, op->c)) &&
               push(machine, look_up(machine, op->c));
    case TEMPLATE_OP_FIND:
        return spend_name(machine, name_of(machine, op->c)) &&
               push(machine, find(machine, op->a, name_of(machine, op->c)));
    case TEMPLATE_OP_FRAME:
        return push(machine, machine->frames[op->a].item);
    case TEMPLATE_OP_FIELD:
        return do_field(machine);
    case TEMPLATE_OP_INDEX:
        return do_index(machine);
    case TEMPLATE_OP_LOOP:
        return do_loop(machine);
    case TEMPLATE_OP_FILTER:
        return do_filter(machine);
    case TEMPLATE_OP_TEST:
        return do_test(machine);
    case TEMPLATE_OP_COMPARE:
        return do_compare(machine);
    case TEMPLATE_OP_NOT:
        return do_not(machine);
    case TEMPLATE_OP_LIST:
        return do_list(machine);
    case TEMPLATE_OP_JUMP:
        machine->next = op->c;
        return true;
    case TEMPLATE_OP_JUMP_UNLESS:
        return do_jump_unless(machine);
    case TEMPLATE_OP_AND:
        return do_logic(machine, false);
    case TEMPLATE_OP_OR:
        return do_logic(machine, true);
    case TEMPLATE_OP_FOR:
        return do_for(machine);
    case TEMPLATE_OP_NEXT:
        return do_next(machine);
    case TEMPLATE_OP_WITH:
        return do_with(machine);
    case TEMPLATE_OP_LEAVE:
        return frame_close(machine);
    case TEMPLATE_OP_SET:
        return do_set(machine);
    }
    return false;
}

bool template_render(const struct template *template, struct template_run *run, struct buf *out,
                     struct template_problem *problem_out)
{
    struct machine machine;
    size_t size = out->size;
    size_t mark = arena_mark(run->scratch);
    bool good = true;
    CHECK(!out->overflow);
    machine.template = template;
    machine.after_cr = false;
    machine.place = template->kind == TEMPLATE_MESSAGE ? PLACE_LINE_START : PLACE_BEHIND_HEADER;
    machine.run = run;
    machine.out = out;
    machine.problem = problem_out;
    machine.next = 0;
    machine.kept = mark;
    machine.stack_count = 0;
    machine.frame_count = 0;
    machine.local_count = 0;
    *problem_out = (struct template_problem){0};
    while (good && machine.next < template->op_count) {
        machine.op = &template->ops[machine.next++];
        good = spend(&machine, 1) && step(&machine);
        if (good && out->overflow) {
            good = fail(&machine, TEMPLATE_OUTPUT, "the template writes too much");
        }
    }
    arena_rewind(run->scratch, mark);
    run->work += out->size - size;
    if (!good) {
        run->work += machine.op->at;
        out->size = size;
        out->overflow = false;
    }
    return good;
}
