#include "smtp/template.h"

#include "smtp/template_build.h"
#include "smtp/template_program.h"

void template_say(struct template_problem *problem, const char *before, struct slice name,
                  const char *after)
{
    struct buf buf;
    buf_init(&buf, problem->text, sizeof(problem->text) - 1);
    buf_put_string(&buf, before);
    for (size_t i = 0; i < name.size && buf_room(&buf) > 40; i++) {
        bool shown = name.data[i] >= ' ' && name.data[i] < 0x7F;
        buf_put_byte(&buf, shown ? name.data[i] : '?');
    }
    buf_put_string(&buf, after);
    problem->text[buf.size] = '\0';
}

bool template_fail(struct template_problem *problem, enum template_fault fault, struct slice text,
                   size_t at)
{
    problem->fault = fault;
    problem->line = 1;
    problem->column = 1;
    for (size_t i = 0; i < at && i < text.size; i++) {
        if (text.data[i] == '\n') {
            problem->line++;
            problem->column = 1;
        } else if ((text.data[i] & 0xC0) != 0x80) {
            problem->column++;
        }
    }
    return false;
}

static void build_dialect(struct template_build *build, enum template_dialect dialect)
{
    switch (dialect) {
    case TEMPLATE_JINJA:
        template_build_jinja(build);
        break;
    case TEMPLATE_HANDLEBARS:
        template_build_handlebars(build);
        break;
    case TEMPLATE_STATIC:
        build_text(build, 0, build->text.size);
        break;
    }
}

const struct template *template_compile(struct slice text, enum template_dialect dialect,
                                        enum template_kind kind, struct arena *arena,
                                        struct template_problem *problem_out)
{
    struct template_build build = {
        .text = text,
        .kind = kind,
        .arena = arena,
        .problem = problem_out,
    };
    *problem_out = (struct template_problem){0};
    if (text.size > UINT32_MAX) {
        build_fail(&build, TEMPLATE_TOO_LARGE, 0, "the template is too large");
        return NULL;
    }
    build_dialect(&build, dialect);
    if (!build.failed && build.block_count > 0) {
        build_fail(&build, TEMPLATE_SYNTAX, build_innermost(&build)->opened_at,
                   "this block is never closed");
    }
    struct template *template = arena_take(arena, 1, sizeof(*template));
    if (!build.failed && template == NULL) {
        build_fail(&build, TEMPLATE_TOO_LARGE, 0, "the program is too large");
    }
    if (build.failed) {
        return NULL;
    }
    *template = (struct template){
        .text = text,
        .dialect = dialect,
        .kind = kind,
        .ops = build.ops,
        .op_count = build.op_count,
        .constants = build.constants,
        .constant_count = build.constant_count,
    };
    return template;
}

bool template_is_constant(const struct template *template)
{
    for (uint32_t i = 0; i < template->op_count; i++) {
        if (template->ops[i].code != TEMPLATE_OP_TEXT) {
            return false;
        }
    }
    return true;
}
