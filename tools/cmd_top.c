#include "tools/cmd_top.h"

#include <ncurses.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/check.h"
#include "tools/clock.h"
#include "tools/exit_codes.h"
#include "tools/top_feed.h"
#include "tools/top_frame.h"
#include "tools/top_json.h"

#define ONCE_COLUMNS   100u /* off a terminal */
#define ONCE_ROUNDS    2u   /* a rate takes two */
#define ESCAPE_MS      25   /* a key that begins like Escape is whole by then */
#define ALARM_PAIR     1
#define ESCAPE_CODE    27
#define BACKSPACE_CODE 8
#define DELETE_CODE    127

struct top {
    struct top_model model;
    struct top_feed feed;
    struct top_frame frame;
    const char *where;
};

/* --- one frame -------------------------------------------------------------------------------- */

static unsigned once_columns(void)
{
    struct winsize size = {0};
    if (isatty(STDOUT_FILENO) == 1 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 &&
        size.ws_col >= TOP_COLUMNS_MIN) {
        return size.ws_col;
    }
    return ONCE_COLUMNS;
}

/* Until so many rounds are over. False: one brought nothing, and why has been said. */
static bool wait_rounds(struct top *top, unsigned rounds)
{
    while (top->feed.rounds < rounds) {
        top_feed_turn(&top->feed, -1);
        const char *news = top->model.news[0] != 0 ? top->model.news : top->model.listing_news;
        if (news[0] != 0) {
            fprintf(stderr, "ringpost top: ");
            readable_print(stderr, slice_from_string(news));
            fputc('\n', stderr);
            return false;
        }
    }
    return true;
}

/* A line a second, until nobody answers or reads; or one. */
static int print_json(struct top *top, bool once)
{
    uint8_t *bytes = malloc(TOP_JSON_BYTES);
    struct buf line;
    int code = EXIT_FAILED;
    CHECK(bytes != NULL);
    for (unsigned rounds = ONCE_ROUNDS; wait_rounds(top, rounds); rounds++) {
        buf_init(&line, bytes, TOP_JSON_BYTES);
        top_json_put(&line, &top->model);
        bool written = fwrite(line.data, 1, line.size, stdout) == line.size && fflush(stdout) == 0;
        if (once || !written) {
            code = dialogue_end(EXIT_FINE);
            break;
        }
    }
    free(bytes);
    return code;
}

static int print_once(struct top *top)
{
    const struct top_size size = {.columns = once_columns()};
    if (!wait_rounds(top, ONCE_ROUNDS)) {
        return EXIT_FAILED;
    }
    top_frame_make(&top->frame, &top->model, top->where, size, clock_steady_ns());
    for (unsigned i = 0; i < top->frame.line_count; i++) {
        struct slice line = top_frame_line(&top->frame, i);
        printf("%.*s\n", (int)line.size, (const char *)line.data);
    }
    return dialogue_end(EXIT_FINE);
}

/* --- the screen ------------------------------------------------------------------------------- */

static SCREEN *screen_begin(void)
{
    SCREEN *screen = newterm(NULL, stdout, stdin);
    if (screen == NULL) {
        return NULL;
    }
    (void)cbreak();
    (void)noecho();
    (void)keypad(stdscr, TRUE);
    (void)nodelay(stdscr, TRUE);
    (void)curs_set(0);
    (void)set_escdelay(ESCAPE_MS);
    if (has_colors()) {
        (void)start_color();
        (void)use_default_colors();
        (void)init_pair(ALARM_PAIR, COLOR_RED, -1);
    }
    return screen;
}

static attr_t look_of(enum top_style style)
{
    switch (style) {
    case TOP_PLAIN:
        return A_NORMAL;
    case TOP_TITLE:
        return A_BOLD;
    case TOP_HEAD:
        return A_REVERSE;
    case TOP_ALARM:
        return A_BOLD | A_REVERSE | (attr_t)COLOR_PAIR(ALARM_PAIR);
    }
    return A_NORMAL;
}

static void draw(struct top *top)
{
    int columns = MAX_OF(getmaxx(stdscr), (int)TOP_COLUMNS_MIN);
    const struct top_size size = {.columns = (unsigned)columns,
                                  .lines = (unsigned)MAX_OF(getmaxy(stdscr), 1)};
    top_frame_make(&top->frame, &top->model, top->where, size, clock_steady_ns());
    (void)erase();
    for (unsigned i = 0; i < top->frame.line_count; i++) {
        struct slice line = top_frame_line(&top->frame, i);
        attr_t look = look_of(top->frame.lines[i].style);
        (void)attrset((int)look);
        (void)mvaddnstr((int)i, 0, (const char *)line.data, (int)line.size);
        if (look != A_NORMAL) {
            (void)mvchgat((int)i, 0, -1, look, look & A_COLOR ? ALARM_PAIR : 0, NULL);
        }
    }
    (void)attrset(A_NORMAL);
    (void)refresh();
}

static enum top_key key_of(int code)
{
    switch (code) {
    case KEY_UP:
        return TOP_KEY_UP;
    case KEY_DOWN:
        return TOP_KEY_DOWN;
    case KEY_PPAGE:
        return TOP_KEY_PAGE_UP;
    case KEY_NPAGE:
        return TOP_KEY_PAGE_DOWN;
    case KEY_HOME:
        return TOP_KEY_FIRST;
    case KEY_END:
        return TOP_KEY_LAST;
    case KEY_BACKSPACE:
    case BACKSPACE_CODE:
    case DELETE_CODE:
        return TOP_KEY_ERASE;
    case KEY_ENTER:
    case '\r':
    case '\n':
        return TOP_KEY_ENTER;
    case ESCAPE_CODE:
        return TOP_KEY_ESCAPE;
    default:
        return code >= ' ' && code <= UINT8_MAX ? TOP_KEY_TEXT : TOP_KEY_NONE;
    }
}

/* All keys that are there. False: it ends. */
static bool take_keys(struct top *top)
{
    bool ready = top->model.ready;
    int code;
    while ((code = getch()) != ERR) {
        if (!top_model_key(&top->model, key_of(code), (uint8_t)code, top->frame.rows)) {
            return false;
        }
    }
    if (top->model.ready != ready) {
        top_feed_hurry(&top->feed);
    }
    return isatty(STDIN_FILENO) == 1; /* else it has gone away */
}

static int run_screen(struct top *top)
{
    SCREEN *screen = screen_begin();
    if (screen == NULL) {
        fprintf(stderr, "ringpost top: this terminal is not known; --once prints one frame\n");
        return EXIT_FAILED;
    }
    do {
        draw(top);
        top_feed_turn(&top->feed, STDIN_FILENO);
    } while (take_keys(top));
    (void)endwin();
    delscreen(screen);
    return EXIT_FINE;
}

int cmd_top(const struct verb_options *options)
{
    struct dialogue dialogue;
    bool once = verb_options_given(options, OPTION_ONCE);
    bool json = verb_options_given(options, OPTION_JSON);
    if (!once && !json && (isatty(STDIN_FILENO) != 1 || isatty(STDOUT_FILENO) != 1)) {
        fprintf(stderr, "ringpost top: this is no terminal; --once prints one frame\n");
        return EXIT_USAGE;
    }
    if (!dialogue_open(&dialogue, options)) {
        return EXIT_USAGE;
    }
    struct top *top = calloc(1, sizeof(*top));
    CHECK(top != NULL);
    top->where = endpoint_client_where(dialogue.client);
    top_model_init(&top->model);
    top->model.ready = verb_options_given(options, OPTION_READY);
    top_feed_init(&top->feed, dialogue.client, &top->model);
    top_frame_init(&top->frame);
    top->model.by_thread = verb_options_given(options, OPTION_THREADS);
    int code = json ? print_json(top, once) : once ? print_once(top) : run_screen(top);
    top_frame_fini(&top->frame);
    top_feed_fini(&top->feed);
    free(top);
    dialogue_close(&dialogue);
    return code;
}
