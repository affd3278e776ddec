/*
 * Pictures of a table of samples, by gnuplot: a title, panels in two columns, the same x axis under
 * each. The table is DIR/NAME.tsv, its first line the names of the columns. Beside it are left
 * NAME.gnuplot, which draws both pictures again when it is run there, NAME.svg and NAME.png.
 */
#ifndef RINGPOST_BENCH_PLOT_H
#define RINGPOST_BENCH_PLOT_H

#include "core/buf.h"

#define PLOT_SERIES_MAX       4
#define PLOT_SCRIPT_BYTES_MAX 65536u

struct plot_series {
    const char *column; /* null: no further series */
    const char *label;  /* null: the title of the panel says it */
    double per;         /* units of the column in one of the axis */
};

struct plot_panel {
    const char *title;
    const char *y_label; /* with its unit */
    bool logarithmic;    /* else the axis begins at 0, unless … */
    bool both_signs;     /* … values are below 0, too */
    struct plot_series series[PLOT_SERIES_MAX];
};

struct plot {
    const char *title;
    const char *subtitle; /* what was run: a line */
    const char *x_column;
    const char *x_label;  /* with its unit; null: the names say it */
    double x_per;
    const struct plot_panel *panels;
    unsigned panel_count;
    bool bars; /* x_column has names of groups, a bar for each series */
};

/* What gnuplot is told; texts may hold anything. False when it does not fit. */
MUST_USE bool plot_put_script(const struct plot *plot, const char *name, struct buf *buf);

/* Draws, in place of earlier pictures; false with a reason: gnuplot is missing, or failed. */
MUST_USE bool plot_draw(const struct plot *plot, const char *dir, const char *name,
                        struct buf *reason_out);

#endif
