#include "bench/plot.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/process.h"

#define EXIT_MISSING 127 /* as shells say it */
#define PLOT_COLUMNS 2u /* a single panel has the width for itself */
#define WIDTH        1300u
#define PANEL_HEIGHT 315u
#define HEAD_HEIGHT  90u

static const struct {
    const char *ending;
    const char *terminal; /* gnuplot's name and options, but the size */
} pictures[] = {
    {"svg", "svg enhanced background 'white' font 'DejaVu Sans,13'"},
    {"png", "pngcairo enhanced font 'DejaVu Sans,10.5'"},
};

static const char *const colours[PLOT_SERIES_MAX] = {"#1f5fa8", "#d9662a", "#3a8f4d", "#888888"};

/* --- the script ------------------------------------------------------------------------------- */

/* As a string of gnuplot's; what "enhanced" text would take for an order is shown as it is. */
static void put_text(struct buf *buf, const char *text)
{
    buf_put_byte(buf, '"');
    for (const char *at = text; *at != 0; at++) {
        if (strchr("_^@&~{}", *at) != NULL) {
            buf_put_string(buf, "\\\\");
        } else if (*at == '"' || *at == '\\') {
            buf_put_byte(buf, '\\');
        }
        buf_put_byte(buf, (uint8_t)(*at == '\n' ? ' ' : *at));
    }
    buf_put_byte(buf, '"');
}

static void put_setting(struct buf *buf, const char *what, const char *text)
{
    buf_printf(buf, "set %s ", what);
    put_text(buf, text);
    buf_put_string(buf, "\n");
}

static void put_panel(const struct plot *plot, const struct plot_panel *panel, const char *name,
                      struct buf *buf)
{
    buf_put_string(buf, "set label 3 ");
    put_text(buf, panel->title);
    buf_put_string(buf, " at graph 0,1.08 left font ',14'\n");
    put_setting(buf, "ylabel", panel->y_label);
    put_setting(buf, "xlabel", plot->x_label != NULL ? plot->x_label : "");
    buf_printf(buf, "%s logscale y\nset yrange [%s:*]\nplot", panel->logarithmic ? "set" : "unset",
               panel->logarithmic || panel->both_signs ? "*" : "0");
    unsigned count = 0;
    while (count < PLOT_SERIES_MAX && panel->series[count].column != NULL) {
        const struct plot_series *series = &panel->series[count];
        buf_printf(buf, "%s '%s.tsv' using ", count > 0 ? ",\\\n    " : "", name);
        if (plot->bars) {
            buf_printf(buf, "(column('%s')/%.17g):xtic(strcol('%s')) with histograms",
                       series->column, series->per, plot->x_column);
        } else {
            buf_printf(buf, "(column('%s')/%.17g):(column('%s')/%.17g) with lines linewidth 1.6",
                       plot->x_column, plot->x_per, series->column, series->per);
        }
        buf_printf(buf, " linecolor rgb '%s' ", colours[count]);
        if (series->label != NULL) {
            buf_put_string(buf, "title ");
            put_text(buf, series->label);
        } else {
            buf_put_string(buf, "notitle");
        }
        count++;
    }
    /* A panel of which nothing is known would be an error; a logarithmic one shows a decade. */
    buf_printf(buf, ",\\\n    $origin using (column('x')):(column('%s')) with dots linecolor rgb "
               "'white' notitle\n", panel->logarithmic ? "one" : "zero");
}

static void put_picture(const struct plot *plot, size_t which, const char *name, struct buf *buf)
{
    unsigned columns = MIN_OF(plot->panel_count, PLOT_COLUMNS);
    unsigned rows = (plot->panel_count + PLOT_COLUMNS - 1) / PLOT_COLUMNS;
    unsigned height = rows * PANEL_HEIGHT + HEAD_HEIGHT;
    double top = 1.0 - (double)HEAD_HEIGHT / height;
    buf_printf(buf, "\nset terminal %s size %u,%u\nset output '%s.%s'\n", pictures[which].terminal,
               WIDTH, height, name, pictures[which].ending);
    buf_put_string(buf, "set label 1 ");
    put_text(buf, plot->title);
    buf_printf(buf, " at screen 0.5,%.4f center font ',18'\nset label 2 ",
               1.0 - 28.0 / height);
    put_text(buf, plot->subtitle);
    buf_printf(buf, " at screen 0.5,%.4f center font ',12' textcolor rgb '#444444'\n",
               1.0 - 58.0 / height);
    buf_printf(buf, "set multiplot layout %u,%u margins screen 0.075,0.985,%.4f,%.4f spacing "
               "screen 0.085,%.4f\n", rows, columns, 64.0 / height,
               top - 24.0 / height, 108.0 / height);
    for (unsigned i = 0; i < plot->panel_count; i++) {
        put_panel(plot, &plot->panels[i], name, buf);
        buf_put_string(buf, "unset label 1\nunset label 2\n");
    }
    buf_put_string(buf, "unset multiplot\nset output\n");
}

bool plot_put_script(const struct plot *plot, const char *name, struct buf *buf)
{
    buf_put_string(buf,
                   "# Draws the pictures again: gnuplot, in this directory.\n"
                   "set encoding utf8\n"
                   "$origin << EOD\n"
                   "x\tzero\tone\n"
                   "0\t0\t1\n"
                   "0\t0\t10\n"
                   "EOD\n"
                   "set datafile separator tab\n"
                   "set datafile missing 'nan'\n"
                   "set datafile columnheaders\n"
                   "set grid xtics ytics linetype 1 linewidth 0.5 linecolor rgb '#cccccc'\n"
                   "set border 3 linecolor rgb '#666666'\n"
                   "set tics nomirror out\n"
                   "set key at graph 1,1.02 right bottom vertical samplen 1.5\n"
                   "set format y '%.10g'\n"
                   "set xrange [0:*] noextend\n");
    if (plot->bars) {
        buf_put_string(buf, "set style histogram clustered gap 1\n"
                            "set style fill solid 0.9 noborder\n"
                            "set xtics rotate by -25\n"
                            "set xrange [-0.7:*]\n");
    }
    for (size_t i = 0; i < COUNT_OF(pictures); i++) {
        put_picture(plot, i, name, buf);
    }
    return !buf->overflow;
}

/* --- gnuplot ---------------------------------------------------------------------------------- */

struct drawing {
    const char *dir;
    const char *script;
};

/* In the child. */
static int gnuplot_exec(void *context)
{
    const struct drawing *drawing = context;
    char program[] = "gnuplot";
    char script[NAME_MAX];
    char *const arguments[] = {program, script, NULL};
    if (chdir(drawing->dir) != 0 ||
        snprintf(script, sizeof(script), "%s", drawing->script) >= (int)sizeof(script)) {
        return 1;
    }
    execvp(program, arguments);
    return errno == ENOENT ? EXIT_MISSING : 1;
}

static bool write_script(const struct plot *plot, const char *path, const char *name)
{
    char *text = malloc(PLOT_SCRIPT_BYTES_MAX);
    FILE *file = fopen(path, "we");
    bool good = text != NULL && file != NULL;
    if (good) {
        struct buf buf;
        buf_init(&buf, text, PLOT_SCRIPT_BYTES_MAX);
        good = plot_put_script(plot, name, &buf) && fwrite(text, 1, buf.size, file) == buf.size;
    }
    if (file != NULL) {
        good = fclose(file) == 0 && good;
    }
    free(text);
    return good;
}

/* Those of an earlier run: whoever finds one is to know that it is of this. */
static void remove_pictures(const char *dir, const char *name)
{
    char path[PATH_MAX];
    for (size_t i = 0; i < COUNT_OF(pictures); i++) {
        if (snprintf(path, sizeof(path), "%s/%s.%s", dir, name, pictures[i].ending) <
            (int)sizeof(path)) {
            (void)unlink(path);
        }
    }
}

bool plot_draw(const struct plot *plot, const char *dir, const char *name, struct buf *reason_out)
{
    char path[PATH_MAX];
    char script[NAME_MAX];
    struct child child;
    struct drawing drawing = {.dir = dir, .script = script};
    remove_pictures(dir, name);
    if (snprintf(script, sizeof(script), "%s.gnuplot", name) >= (int)sizeof(script) ||
        snprintf(path, sizeof(path), "%s/%s", dir, script) >= (int)sizeof(path) ||
        !write_script(plot, path, name) || child_start(&child, gnuplot_exec, &drawing) != 0) {
        buf_printf(reason_out, "no plot: %s/%s.gnuplot cannot be written", dir, name);
        return false;
    }
    if (child_wait(&child)) {
        return true;
    }
    bool missing = WIFEXITED(child.status) && WEXITSTATUS(child.status) == EXIT_MISSING;
    buf_printf(reason_out, missing ? "no plot: gnuplot is not installed (tools/setup bench); the "
                                     "figures are in %s/%s.tsv"
                                   : "no plot: gnuplot failed; the figures are in %s/%s.tsv",
               dir, name);
    return false;
}
