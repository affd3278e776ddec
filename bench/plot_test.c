#include "bench/plot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const struct plot_panel panels[] = {
    {.title = "Disk \"here\"", .y_label = "MiB",
     .series = {{"spool_bytes", "spool_bytes", 1048576}, {"live_bytes", "live {x}", 1048576}}},
    {.title = "Ratio", .y_label = "times", .logarithmic = true, .series = {{"ratio", "r", 1}}},
    {.title = "Third", .y_label = "ms", .both_signs = true, .series = {{"ratio", NULL, 1000}}},
};
static const struct plot plot = {.title = "A title", .subtitle = "below it", .x_column = "second",
                                 .x_label = "minutes", .x_per = 60, .panels = panels,
                                 .panel_count = COUNT_OF(panels)};

static void a_script_names_files_columns_units_and_both_pictures(void **state)
{
    (void)state;
    static const char *const wanted[] = {
        "set output 'soak.svg'", "set output 'soak.png'", "layout 2,2", "\"A title\"",
        "\"below it\"", "set xlabel \"minutes\"", "set ylabel \"MiB\"",
        "'soak.tsv' using (column('second')/60):(column('spool_bytes')/1048576)",
        ":(column('live_bytes')/1048576)", "\nset logscale y\nset yrange [*:*]",
        "\nunset logscale y\nset yrange [0:*]", "\nunset logscale y\nset yrange [*:*]",
        "\"Disk \\\"here\\\"\"", "\"live \\\\{x\\\\}\"", "\"spool\\\\_bytes\"", "' notitle,",
    };
    char *text = malloc(PLOT_SCRIPT_BYTES_MAX);
    assert_non_null(text);
    struct buf buf;
    buf_init(&buf, text, PLOT_SCRIPT_BYTES_MAX - 1);
    assert_true(plot_put_script(&plot, "soak", &buf));
    text[buf.size] = 0;
    for (size_t i = 0; i < COUNT_OF(wanted); i++) {
        if (strstr(text, wanted[i]) == NULL) {
            fail_msg("%s", wanted[i]);
        }
    }
    buf_init(&buf, text, 100);
    assert_false(plot_put_script(&plot, "soak", &buf));
    free(text);
}

static void bars_stand_in_groups_named_by_the_x_column(void **state)
{
    (void)state;
    struct plot bars = plot;
    bars.bars = true;
    bars.x_column = "case";
    char *text = malloc(PLOT_SCRIPT_BYTES_MAX);
    assert_non_null(text);
    struct buf buf;
    buf_init(&buf, text, PLOT_SCRIPT_BYTES_MAX - 1);
    assert_true(plot_put_script(&bars, "table", &buf));
    text[buf.size] = 0;
    assert_non_null(strstr(text, "set style histogram clustered"));
    assert_non_null(strstr(text, "'table.tsv' using (column('spool_bytes')/1048576):"
                                 "xtic(strcol('case')) with histograms"));
    assert_null(strstr(text, "with lines"));
    free(text);
}

static void without_gnuplot_the_reason_names_it_and_the_table(void **state)
{
    (void)state;
    char dir[] = "build/plot-test-XXXXXX";
    char why[512];
    char script[64];
    struct buf reason;
    const char *path = getenv("PATH");
    char *kept = path != NULL ? strdup(path) : NULL;
    buf_init(&reason, why, sizeof(why) - 1);
    assert_non_null(mkdtemp(dir));
    assert_int_equal(setenv("PATH", dir, 1), 0);
    bool drawn = plot_draw(&plot, dir, "soak", &reason);
    assert_int_equal(kept != NULL ? setenv("PATH", kept, 1) : unsetenv("PATH"), 0);
    free(kept);
    why[reason.size] = 0;
    assert_false(drawn);
    assert_non_null(strstr(why, "gnuplot is not installed"));
    assert_non_null(strstr(why, "/soak.tsv"));
    (void)snprintf(script, sizeof(script), "%s/soak.gnuplot", dir);
    assert_int_equal(remove(script), 0);
    assert_int_equal(rmdir(dir), 0);
    buf_reset(&reason);
    assert_false(plot_draw(&plot, dir, "soak", &reason));
    assert_true(reason.size > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_script_names_files_columns_units_and_both_pictures),
        cmocka_unit_test(bars_stand_in_groups_named_by_the_x_column),
        cmocka_unit_test(without_gnuplot_the_reason_names_it_and_the_table),
    };
    return cmocka_run_group_tests_name("plot", tests, NULL, NULL);
}
