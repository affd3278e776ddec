#include "tools/top_frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "tools/answer.h"

#define SHORT_LINES    16u /* below that not everything has a line */
#define NARROW_COLUMNS 64u /* below that not every column has room */
#define LABEL_COLUMNS  9u
#define RATE_COLUMNS   9u
#define LINE_BYTES     (16 * KIB)

static const char *const rate_names[TOP_RATES] = {"in", "out", "deferred", "bounced"};

void top_frame_init(struct top_frame *frame)
{
    *frame = (struct top_frame){.bytes = malloc(TOP_FRAME_BYTES)};
    CHECK(frame->bytes != NULL);
}

void top_frame_fini(struct top_frame *frame)
{
    table_fini(&frame->table);
    free(frame->bytes);
    *frame = (struct top_frame){0};
}

struct slice top_frame_line(const struct top_frame *frame, unsigned index)
{
    CHECK(index < frame->line_count);
    return slice_make(frame->bytes + frame->lines[index].start, frame->lines[index].bytes);
}

/* --- lines ------------------------------------------------------------------------------------ */

static bool has_room(const struct top_frame *frame)
{
    return frame->line_count < TOP_LINES_MAX &&
           (frame->size.lines == 0 || frame->line_count < frame->size.lines);
}

/* `text` is readable; what does not fit is cut. */
static void add_line(struct top_frame *frame, enum top_style style, struct slice text)
{
    if (!has_room(frame)) {
        return;
    }
    struct slice shown = slice_first(text, readable_fit(text, frame->size.columns));
    while (shown.size > 0 && shown.data[shown.size - 1] == ' ') {
        shown.size--;
    }
    size_t start = frame->text.size;
    buf_put(&frame->text, shown);
    frame->lines[frame->line_count++] = (struct top_line){
        .start = (uint32_t)start,
        .bytes = (uint32_t)(frame->text.size - start),
        .style = style,
    };
}

void top_frame_spark(struct buf *buf, const double *values, unsigned count, unsigned columns)
{
    static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    unsigned shown = MIN_OF(count, columns);
    double most = 0;
    values += count - shown;
    for (unsigned i = 0; i < shown; i++) {
        most = MAX_OF(most, values[i]);
    }
    for (unsigned i = 0; i < shown; i++) {
        unsigned height = 0;
        if (most > 0) {
            height = (unsigned)(values[i] / most * (COUNT_OF(blocks) - 1) + 0.5);
        }
        buf_put_string(buf, values[i] > 0 ? blocks[height] : " ");
    }
}

static void add_rate(struct top_frame *frame, const struct top_model *model, enum top_rate rate)
{
    uint8_t bytes[LINE_BYTES];
    char text[READABLE_BYTES] = "-";
    struct buf line;
    unsigned columns = frame->size.columns;
    const unsigned used = LABEL_COLUMNS + RATE_COLUMNS + 3;
    if (model->history_count > 0 && model->news[0] == 0) {
        readable_rate(text, model->history[rate][model->history_count - 1]);
    }
    buf_init(&line, bytes, sizeof(bytes));
    buf_printf(&line, "%-*s%*s/s ", (int)LABEL_COLUMNS, rate_names[rate], (int)RATE_COLUMNS, text);
    top_frame_spark(&line, model->history[rate], model->history_count,
                    columns > used ? columns - used : 0);
    add_line(frame, TOP_PLAIN, buf_slice(&line));
}

static void put_item(struct buf *line, const char *text)
{
    if (line->size > 0) {
        buf_put_string(line, "  ");
    }
    buf_put_string(line, text);
}

static void put_quantity(struct buf *line, const struct top_model *model, enum top_gauge gauge,
                         const char *word)
{
    char count[READABLE_BYTES];
    char text[64];
    if (model->known[gauge]) {
        snprintf(text, sizeof(text), "%s %s", word, readable_count(count, model->gauges[gauge]));
        put_item(line, text);
    }
}

static void add_status(struct top_frame *frame, const struct top_model *model, bool is_short)
{
    uint8_t bytes[LINE_BYTES];
    char rate[READABLE_BYTES];
    char used[READABLE_BYTES];
    char text[96];
    struct buf line;
    buf_init(&line, bytes, sizeof(bytes));
    for (unsigned i = TOP_DEFERRED; is_short && model->history_count > 0 && i < TOP_RATES; i++) {
        readable_rate(rate, model->history[i][model->history_count - 1]);
        snprintf(text, sizeof(text), "%s %s/s", rate_names[i], rate);
        put_item(&line, text);
    }
    put_quantity(&line, model, TOP_CLIENTS, "clients");
    put_quantity(&line, model, TOP_SERVERS, "servers");
    put_quantity(&line, model, TOP_READY, "ready");
    if (model->known[TOP_MEMORY_USED]) {
        snprintf(text, sizeof(text), "memory %s",
                 readable_size(used, model->gauges[TOP_MEMORY_USED]));
        put_item(&line, text);
        if (model->known[TOP_MEMORY_LIMIT]) {
            snprintf(text, sizeof(text), " of %s",
                     readable_size(used, model->gauges[TOP_MEMORY_LIMIT]));
            buf_put_string(&line, text);
        }
    }
    if (model->known[TOP_SPOOL_FREE]) {
        snprintf(text, sizeof(text), "spool %llu %% free",
                 (unsigned long long)model->gauges[TOP_SPOOL_FREE]);
        put_item(&line, text);
    }
    put_quantity(&line, model, TOP_SHARDS, "shards");
    add_line(frame, TOP_PLAIN, buf_slice(&line));
}

static void add_head(struct top_frame *frame, const struct top_model *model, const char *where,
                     uint64_t now_ns)
{
    uint8_t bytes[LINE_BYTES];
    char text[READABLE_BYTES];
    struct buf line;
    buf_init(&line, bytes, sizeof(bytes));
    if (model->news[0] == 0) {
        buf_put_string(&line, "ringpost top  ");
        readable_put(&line, slice_from_string(where));
        if (frame->size.lines > 0) { /* on a screen */
            buf_put_string(&line, "   q quit  / filter  s sort  r ready  t threads  arrows");
        }
        add_line(frame, TOP_TITLE, buf_slice(&line));
        return;
    }
    uint64_t lost_ms = (now_ns - MIN_OF(now_ns, model->lost_ns)) / NS_PER_MS;
    buf_printf(&line, "NO ANSWER for %s: ", readable_duration(text, lost_ms));
    readable_put(&line, slice_from_string(model->news));
    add_line(frame, TOP_ALARM, buf_slice(&line));
}

/* --- queues ----------------------------------------------------------------------------------- */

static void add_table_title(struct top_frame *frame, const struct top_model *model, bool listed,
                            unsigned shown)
{
    uint8_t bytes[LINE_BYTES];
    struct buf line;
    buf_init(&line, bytes, sizeof(bytes));
    buf_printf(&line, "%s queues by %s", model->ready ? "ready" : "scheduled",
               top_model_order_name(model->order));
    if (model->filter[0] != 0 || model->typing) {
        buf_put_string(&line, " with /");
        readable_put(&line, slice_from_string(model->filter));
        buf_put_string(&line, model->typing ? "_" : "");
    }
    if (model->listing_news[0] != 0) {
        buf_put_string(&line, ": ");
        readable_put(&line, slice_from_string(model->listing_news));
    } else if (listed && shown < model->row_count) {
        buf_printf(&line, "  %u-%u of %u", model->top_row + 1, model->top_row + shown,
                   model->row_count);
    }
    add_line(frame, TOP_TITLE, buf_slice(&line));
}

static void fill_table(struct top_frame *frame, const struct top_model *model, unsigned count)
{
    bool narrow = frame->size.columns < NARROW_COLUMNS;
    table_fini(&frame->table);
    if (narrow) {
        table_init(&frame->table, queue_rows_narrow_columns, QUEUE_ROWS_NARROW);
    } else {
        table_init(&frame->table, queue_rows_columns, QUEUE_ROWS_COLUMNS);
    }
    for (unsigned i = 0; i < count; i++) {
        const struct json_value *queue = top_model_queue(model, model->top_row + i);
        if (narrow) {
            queue_rows_put_narrow(&frame->table, queue);
        } else {
            queue_rows_put(&frame->table, queue, model->listing_ns);
        }
    }
    table_layout(&frame->table, frame->size.columns);
}

static void add_queues(struct top_frame *frame, const struct top_model *model)
{
    bool listed = model->listing != NULL && model->listing_ready == model->ready;
    unsigned count = listed ? MIN_OF(frame->rows, model->row_count - model->top_row) : 0;
    add_table_title(frame, model, listed, count);
    fill_table(frame, model, count);
}

/* --- threads ---------------------------------------------------------------------------------- */

static void add_threads(struct top_frame *frame, const struct top_model *model)
{
    static const struct table_column columns[] = {
        {"thread", false, true},  {"in/s", true, false},    {"out/s", true, false},
        {"deferred/s", true, false}, {"bounced/s", true, false}, {"clients", true, false},
        {"busy", true, false},
    };
    char text[READABLE_BYTES];
    unsigned top = MIN_OF(model->top_row, model->thread_count);
    unsigned count = MIN_OF(frame->rows, model->thread_count - top);
    add_line(frame, TOP_TITLE, SLICE("threads"));
    table_fini(&frame->table);
    table_init(&frame->table, columns, COUNT_OF(columns));
    for (unsigned i = top; i < top + count; i++) {
        const struct top_thread *thread = &model->threads[i];
        table_text(&frame->table, slice_from_string(thread->name));
        for (unsigned rate = 0; rate < TOP_RATES; rate++) {
            readable_rate(text, thread->rates[rate]);
            table_text(&frame->table, slice_from_string(text));
        }
        table_count(&frame->table, thread->clients);
        snprintf(text, sizeof(text), "%llu %%", (unsigned long long)thread->busy_percent);
        table_text(&frame->table, slice_from_string(text));
    }
    table_layout(&frame->table, frame->size.columns);
}

/* --- all of it -------------------------------------------------------------------------------- */

static void add_table(struct top_frame *frame, const struct top_model *model)
{
    uint8_t *bytes = malloc(TABLE_LINE_BYTES);
    struct buf line;
    unsigned used = frame->line_count + 2; /* with title and head */
    CHECK(bytes != NULL);
    frame->rows = frame->size.lines == 0         ? QUEUE_ROWS_MAX
                  : frame->size.lines > used ? frame->size.lines - used
                                                 : 0;
    if (model->by_thread) {
        add_threads(frame, model);
    } else {
        add_queues(frame, model);
    }
    for (unsigned i = 0; i <= table_rows(&frame->table); i++) {
        buf_init(&line, bytes, TABLE_LINE_BYTES);
        table_line(&frame->table, i == 0 ? TABLE_HEAD : i - 1, &line);
        add_line(frame, i == 0 ? TOP_HEAD : TOP_PLAIN, buf_slice(&line));
    }
    free(bytes);
}

void top_frame_make(struct top_frame *frame, const struct top_model *model, const char *where,
                    struct top_size size, uint64_t now_ns)
{
    bool is_short = size.lines > 0 && size.lines < SHORT_LINES;
    uint8_t bytes[LINE_BYTES];
    struct buf sum;
    CHECK(size.columns >= TOP_COLUMNS_MIN);
    frame->size = size;
    frame->line_count = 0;
    buf_init(&frame->text, frame->bytes, TOP_FRAME_BYTES);
    add_head(frame, model, where, now_ns);
    for (unsigned i = 0; i < (is_short ? TOP_DEFERRED : TOP_RATES); i++) {
        add_rate(frame, model, (enum top_rate)i);
    }
    add_status(frame, model, is_short);
    if (!is_short) {
        buf_init(&sum, bytes, sizeof(bytes));
        if (model->listing != NULL) {
            queue_rows_put_sum(&sum, model->listing);
        }
        add_line(frame, TOP_PLAIN, buf_slice(&sum));
        add_line(frame, TOP_PLAIN, SLICE_NONE);
    }
    add_table(frame, model);
}
