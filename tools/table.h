/*
 * A table for people: columns as wide as what stands in them, numbers to the right. Every text is
 * escaped as it comes in (tools/readable.h). One thread; owns copies of all cells; it allocates,
 * and memory that cannot be had ends the program.
 *
 *   table_init ─► table_text, table_count, … for each cell ─► table_layout ─► table_line
 */
#ifndef RINGPOST_TOOLS_TABLE_H
#define RINGPOST_TOOLS_TABLE_H

#include "tools/readable.h"

#define TABLE_COLUMNS_MAX 12u
#define TABLE_LINE_BYTES  (160 * KIB) /* more does not stand on a line */
#define TABLE_HEAD        UINT32_MAX /* the row of the titles */

struct table_column {
    const char *title;
    bool right;    /* aligned */
    bool flexible; /* gives way, down to 8 columns, where the line is too short */
};

struct table_cell {
    uint32_t start; /* in the text */
    uint32_t bytes;
    uint32_t width;
};

struct table {
    const struct table_column *columns; /* borrowed */
    unsigned column_count;
    struct table_cell *cells;
    uint32_t cell_count;
    uint32_t cell_room;
    uint8_t *text;
    uint32_t text_bytes;
    uint32_t text_room;
    unsigned widths[TABLE_COLUMNS_MAX];
};

void table_init(struct table *table, const struct table_column *columns, unsigned count);
void table_fini(struct table *table);
/* Without any rows. */
void table_reset(struct table *table);

/* The next cell. What is empty, or not known, is "-". */
void table_text(struct table *table, struct slice text);
void table_count(struct table *table, uint64_t count);
void table_duration(struct table *table, uint64_t ms);
void table_size(struct table *table, uint64_t bytes);

/* Rows that are whole. */
uint32_t table_rows(const struct table *table);
/* Finds the widths, for lines of at most `columns`; 0: as long as they are. */
void table_layout(struct table *table, unsigned columns);
/* After that: a row, or TABLE_HEAD, without line end. */
void table_line(const struct table *table, uint32_t row, struct buf *line);
/* All of it, to a terminal as wide as it is, elsewhere whole. */
void table_print(struct table *table, FILE *out);

#endif
