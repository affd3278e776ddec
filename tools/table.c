#include "tools/table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/check.h"
#include "core/json.h"

#define GAP       2u /* columns between two */
#define WIDTH_MIN 8u /* of a flexible one */
#define TEXT_MAX  2048u /* bytes of a cell, before they are escaped */
#define DOTS      SLICE("…")

void table_init(struct table *table, const struct table_column *columns, unsigned count)
{
    CHECK(count > 0 && count <= TABLE_COLUMNS_MAX);
    *table = (struct table){.columns = columns, .column_count = count};
}

void table_fini(struct table *table)
{
    free(table->cells);
    free(table->text);
    *table = (struct table){0};
}

void table_reset(struct table *table)
{
    table->cell_count = 0;
    table->text_bytes = 0;
}

/* --- cells ------------------------------------------------------------------------------------ */

static void make_room(struct table *table, uint32_t bytes)
{
    if (table->cell_count == table->cell_room) {
        table->cell_room = MAX_OF(64u, table->cell_room * 2);
        table->cells = realloc(table->cells, table->cell_room * sizeof(*table->cells));
        CHECK(table->cells != NULL);
    }
    if (table->text_room - table->text_bytes < bytes) {
        table->text_room = table->text_room * 2 + bytes;
        table->text = realloc(table->text, table->text_room);
        CHECK(table->text != NULL);
    }
}

void table_text(struct table *table, struct slice text)
{
    struct buf buf;
    if (text.size == 0) {
        text = SLICE("-");
    }
    text = slice_first(text, MIN_OF(text.size, (size_t)TEXT_MAX));
    make_room(table, TEXT_MAX * JSON_STRING_GROWTH + 2);
    buf_init(&buf, table->text + table->text_bytes, table->text_room - table->text_bytes);
    readable_put(&buf, text);
    CHECK(!buf.overflow);
    table->cells[table->cell_count++] = (struct table_cell){
        .start = table->text_bytes,
        .bytes = (uint32_t)buf.size,
        .width = readable_width(buf_slice(&buf)),
    };
    table->text_bytes += (uint32_t)buf.size;
}

void table_count(struct table *table, uint64_t count)
{
    char text[READABLE_BYTES];
    table_text(table, slice_from_string(readable_count(text, count)));
}

void table_duration(struct table *table, uint64_t ms)
{
    char text[READABLE_BYTES];
    table_text(table, slice_from_string(readable_duration(text, ms)));
}

void table_size(struct table *table, uint64_t bytes)
{
    char text[READABLE_BYTES];
    table_text(table, slice_from_string(readable_size(text, bytes)));
}

uint32_t table_rows(const struct table *table)
{
    return table->cell_count / table->column_count;
}

/* --- layout ----------------------------------------------------------------------------------- */

/* The widest flexible column that can still give way; column_count: none. */
static unsigned widest_flexible(const struct table *table)
{
    unsigned found = table->column_count;
    for (unsigned i = 0; i < table->column_count; i++) {
        if (table->columns[i].flexible && table->widths[i] > WIDTH_MIN &&
            (found == table->column_count || table->widths[i] > table->widths[found])) {
            found = i;
        }
    }
    return found;
}

void table_layout(struct table *table, unsigned columns)
{
    unsigned total = 0;
    for (unsigned i = 0; i < table->column_count; i++) {
        table->widths[i] = readable_width(slice_from_string(table->columns[i].title));
        for (uint32_t cell = i; cell < table->cell_count; cell += table->column_count) {
            table->widths[i] = MAX_OF(table->widths[i], table->cells[cell].width);
        }
        total += table->widths[i] + (i > 0 ? GAP : 0);
    }
    while (columns > 0 && total > columns) {
        unsigned wide = widest_flexible(table);
        if (wide == table->column_count) {
            break;
        }
        table->widths[wide]--;
        total--;
    }
}

static void put_spaces(struct buf *line, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        buf_put_byte(line, ' ');
    }
}

/* Cut at the end, with a sign of that. */
static void put_cell(struct buf *line, struct slice text, unsigned width, bool right)
{
    unsigned wide = readable_width(text);
    if (wide > width) {
        struct slice cut = slice_first(text, readable_fit(text, width - 1));
        buf_put(line, cut);
        buf_put(line, DOTS);
        put_spaces(line, width - 1 - readable_width(cut));
        return;
    }
    put_spaces(line, right ? width - wide : 0);
    buf_put(line, text);
    put_spaces(line, right ? 0 : width - wide);
}

void table_line(const struct table *table, uint32_t row, struct buf *line)
{
    for (unsigned i = 0; i < table->column_count; i++) {
        struct slice text = slice_from_string(table->columns[i].title);
        if (row != TABLE_HEAD) {
            const struct table_cell *cell = &table->cells[row * table->column_count + i];
            text = slice_make(table->text + cell->start, cell->bytes);
        }
        put_spaces(line, i > 0 ? GAP : 0);
        put_cell(line, text, table->widths[i], table->columns[i].right);
    }
    while (line->size > 0 && line->data[line->size - 1] == ' ') {
        line->size--;
    }
}

static unsigned columns_of(FILE *out)
{
    struct winsize size = {0};
    int fd = fileno(out);
    return isatty(fd) == 1 && ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

void table_print(struct table *table, FILE *out)
{
    uint8_t *bytes = malloc(TABLE_LINE_BYTES);
    struct buf line;
    CHECK(bytes != NULL);
    table_layout(table, columns_of(out));
    for (uint32_t i = 0; i <= table_rows(table); i++) {
        buf_init(&line, bytes, TABLE_LINE_BYTES);
        table_line(table, i == 0 ? TABLE_HEAD : i - 1, &line);
        fwrite(line.data, 1, line.size, out);
        fputc('\n', out);
    }
    free(bytes);
}
