/*
 * One picture of `ringpost top` as lines of text: what a screen shows, and what --once prints. Pure
 * but for the memory of its table; nothing in it moves a cursor (tools/readable.h).
 */
#ifndef RINGPOST_TOOLS_TOP_FRAME_H
#define RINGPOST_TOOLS_TOP_FRAME_H

#include "tools/top_model.h"

#define TOP_LINES_MAX   1100u
#define TOP_FRAME_BYTES (2 * MIB)
#define TOP_COLUMNS_MIN 20u

enum top_style { TOP_PLAIN, TOP_TITLE, TOP_HEAD, TOP_ALARM };

struct top_size {
    unsigned columns; /* at least TOP_COLUMNS_MIN */
    unsigned lines;   /* 0: as many as it takes */
};

struct top_line {
    uint32_t start;
    uint32_t bytes;
    enum top_style style;
};

struct top_frame {
    uint8_t *bytes; /* TOP_FRAME_BYTES */
    struct buf text;
    struct top_line lines[TOP_LINES_MAX];
    unsigned line_count;
    unsigned rows; /* of the table, that have room */
    struct table table;
    struct top_size size;
};

void top_frame_init(struct top_frame *frame);
void top_frame_fini(struct top_frame *frame);
/* `where` is the endpoint; `now_ns` is monotonic, as that of the model. */
void top_frame_make(struct top_frame *frame, const struct top_model *model, const char *where,
                    struct top_size size, uint64_t now_ns);
struct slice top_frame_line(const struct top_frame *frame, unsigned index);

/* The last of these values as a line of blocks, as high as the largest; for tests, too. */
void top_frame_spark(struct buf *buf, const double *values, unsigned count, unsigned columns);

#endif
