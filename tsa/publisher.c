#include "tsa/publisher.h"

#include <errno.h>
#include <string.h>

#include "core/check.h"

#define FILE_NAME "publish.cursors"
#define SAID_AS   "publish_cursors"
#define SAVE_NS   NS_PER_S

/* --- cursors ---------------------------------------------------------------------------------- */

/* "URL OFFSET", a line each. Those that no file has yet are left out: a start begins with what
 * comes, and what no file has is made again from the spool. */
static void cursors_save(struct publisher *publisher)
{
    struct buf text;
    buf_init(&text, publisher->text, sizeof(publisher->text));
    for (unsigned i = 0; i < publisher->count; i++) {
        const struct publisher_url *url = &publisher->urls[i];
        if (!url->cursor.after && url->cursor.file[0] != '\0') {
            buf_put(&text, url->url->text);
            buf_put_byte(&text, ' ');
            event_offset_put(&text, &url->cursor);
            buf_put_byte(&text, '\n');
        }
    }
    CHECK(!text.overflow);
    publisher->changed = false;
    publisher->file_busy = true;
    state_file_replace(&publisher->file, publisher->text, text.size);
}

/* The beginning of a frame is no place that others may name, but one of ours. */
static bool cursor_parse(struct slice text, struct event_offset *cursor)
{
    uint8_t memory[EVENT_OFFSET_TEXT_MAX];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    buf_put(&buf, text);
    bool begins = slice_ends_with(text, SLICE("-0"));
    if (buf.overflow || !begins) {
        return !buf.overflow && event_offset_parse(text, cursor);
    }
    buf.data[buf.size - 1] = '1';
    bool good = event_offset_parse(buf_slice(&buf), cursor);
    cursor->text = 0;
    return good;
}

/* False: the line is none. Cursors of URLs that are not in the configuration go. */
static bool cursor_take(struct publisher *publisher, struct slice line)
{
    struct event_offset cursor;
    size_t space = slice_find(line, ' ');
    if (space == line.size || !cursor_parse(slice_skip(line, space + 1), &cursor)) {
        return false;
    }
    for (unsigned i = 0; i < publisher->count; i++) {
        if (slice_equal(publisher->urls[i].url->text, slice_first(line, space))) {
            publisher->urls[i].cursor = cursor;
        }
    }
    return true;
}

static bool cursors_take(struct publisher *publisher, struct slice text)
{
    while (text.size > 0) {
        size_t end = slice_find(text, '\n');
        if (end == text.size || !cursor_take(publisher, slice_first(text, end))) {
            return false;
        }
        text = slice_skip(text, end + 1);
    }
    return true;
}

static void begin(struct publisher *publisher)
{
    publisher->loaded = true;
    for (unsigned i = 0; i < publisher->count; i++) {
        struct publisher_url *url = &publisher->urls[i];
        if (!url->closed) {
            publisher_url_begin(url, !url->cursor.after);
        }
    }
}

static void settle(struct publisher *publisher)
{
    bool open = false;
    for (unsigned i = 0; i < publisher->count; i++) {
        open = open || !publisher->urls[i].closed;
    }
    if (!publisher->changed || publisher->file_busy || !publisher->loaded) {
        return;
    }
    if (publisher->stopping) {
        if (!open) {
            cursors_save(publisher);
        }
    } else if (!timer_is_set(&publisher->save_timer)) {
        shard_timer_set(publisher->shard, &publisher->save_timer, SAVE_NS);
    }
}

static void save_due(struct timer *timer)
{
    struct publisher *publisher = CONTAINER_OF(timer, struct publisher, save_timer);
    if (!publisher->file_busy && !publisher->stopping) {
        cursors_save(publisher);
    }
}

/* Read, or set aside. */
static void loaded(struct publisher *publisher, int64_t result)
{
    const char *note = "cannot be read; URLs begin with what comes";
    if (publisher->setting_aside) {
        state_file_say_aside(&publisher->file, &publisher->sink, SAID_AS,
                             "is of no use; URLs begin with what comes", (int)result);
    } else if (result >= 0 &&
               !cursors_take(publisher, slice_make(publisher->text, (size_t)result))) {
        publisher->setting_aside = true;
        publisher->file_busy = true;
        state_file_set_aside(&publisher->file);
        return;
    } else if (result < 0 && result != -ENOENT) {
        state_file_say(&publisher->file, &publisher->sink, SAID_AS, note, (int)result);
    }
    begin(publisher);
}

static void file_done(struct state_file *file, int64_t result)
{
    struct publisher *publisher = CONTAINER_OF(file, struct publisher, file);
    publisher->file_busy = false;
    if (!publisher->loaded) {
        loaded(publisher, result);
    } else if (result < 0) {
        publisher->changed = !publisher->stopping; /* again in a second; after the stop no more */
    }
    settle(publisher);
}

void publisher_changed(struct publisher *publisher)
{
    publisher->changed = true;
    settle(publisher);
}

void publisher_url_ended(struct publisher *publisher)
{
    settle(publisher);
}

/* --- the log ---------------------------------------------------------------------------------- */

static void take_line(struct publisher *publisher, struct slice line)
{
    struct outbox_record record = {
        .text = line, .begin = publisher->taken, .taken_ns = publisher->shard->now_ns};
    publisher->taken += line.size;
    if (publish_filter_wants(&publisher->filter, line, &record.expires_ns)) {
        outbox_put(&publisher->outbox, &record);
    }
}

static void taken(struct event_log_tap *tap, struct slice lines)
{
    struct publisher *publisher = CONTAINER_OF(tap, struct publisher, tap);
    while (lines.size > 0) {
        size_t end = slice_find(lines, '\n');
        CHECK(end < lines.size);
        take_line(publisher, slice_first(lines, end + 1));
        lines = slice_skip(lines, end + 1);
    }
    for (unsigned i = 0; i < publisher->count; i++) {
        publisher_url_news(&publisher->urls[i]);
    }
}

static void stored(struct event_log_tap *tap, const struct event_log_frame *from)
{
    struct publisher *publisher = CONTAINER_OF(tap, struct publisher, tap);
    struct publisher_frame *frame =
        &publisher->frames[publisher->frame_count++ % PUBLISHER_FRAMES];
    frame->begin = publisher->stored;
    frame->text_bytes = from->text_bytes;
    frame->at = from->at;
    memcpy(frame->file, from->file, sizeof(frame->file));
    publisher->stored += from->text_bytes;
    publisher->stored_end = from->at + from->bytes;
    CHECK(publisher->stored <= publisher->taken);
    for (unsigned i = 0; i < publisher->count; i++) {
        publisher_url_stored(&publisher->urls[i]);
    }
}

/* --- from outside ----------------------------------------------------------------------------- */

static void grace_over(struct timer *timer)
{
    struct publisher *publisher = CONTAINER_OF(timer, struct publisher, grace_timer);
    for (unsigned i = 0; i < publisher->count; i++) {
        if (!publisher->urls[i].closed) {
            publisher_url_stop(&publisher->urls[i], true);
        }
    }
}

void publisher_init(struct publisher *publisher, struct boot_pages *pages)
{
    size_t count = publisher->conf->publish_count;
    timer_init(&publisher->save_timer, save_due);
    timer_init(&publisher->grace_timer, grace_over);
    if (count == 0) {
        return;
    }
    publish_filter_init(&publisher->filter, publisher->heap);
    uint64_t urls_bytes = count * sizeof(struct publisher_url);
    uint8_t *memory = boot_pages_take(pages, OUTBOX_MEMORY + count * PUBLISHER_URL_MEMORY);
    publisher->urls = boot_pages_take(pages, urls_bytes);
    publisher->count = (unsigned)count;
    outbox_init(&publisher->outbox, memory);
    memory += OUTBOX_MEMORY;
    for (unsigned i = 0; i < count; i++) {
        publisher->urls[i].publisher = publisher;
        publisher->urls[i].url = &publisher->conf->publish[i];
        publisher_url_init(&publisher->urls[i], memory + i * PUBLISHER_URL_MEMORY);
    }
    publisher->file.done = file_done;
    state_file_init(&publisher->file, publisher->shard, publisher->dir, FILE_NAME);
    publisher->tap = (struct event_log_tap){.taken = taken, .stored = stored};
    event_log_tap_set(publisher->log, &publisher->tap);
}

void publisher_use(struct publisher *publisher, const struct shaping_rule_set *rules)
{
    if (publisher->count > 0) {
        publish_filter_use(&publisher->filter, rules);
    }
}

void publisher_load(struct publisher *publisher)
{
    if (publisher->count == 0) {
        return;
    }
    struct event_offset now = event_offset_now(event_log_ends(publisher->log), publisher->shard);
    for (unsigned i = 0; i < publisher->count; i++) {
        publisher->urls[i].cursor = now;
    }
    publisher->file_busy = true;
    state_file_read(&publisher->file, publisher->text, sizeof(publisher->text));
}

void publisher_stop(struct publisher *publisher)
{
    if (publisher->stopping || publisher->count == 0) {
        return;
    }
    publisher->stopping = true;
    shard_timer_clear(publisher->shard, &publisher->save_timer);
    shard_timer_set(publisher->shard, &publisher->grace_timer, PUBLISHER_GRACE_NS);
    for (unsigned i = 0; i < publisher->count; i++) {
        publisher_url_stop(&publisher->urls[i], false);
    }
}

bool publisher_idle(const struct publisher *publisher)
{
    bool idle = !publisher->file_busy && (!publisher->changed || !publisher->loaded);
    for (unsigned i = 0; i < publisher->count; i++) {
        idle = idle && publisher_url_idle(&publisher->urls[i]);
    }
    return idle;
}

void publisher_fini(struct publisher *publisher)
{
    if (publisher->count == 0) {
        return;
    }
    shard_timer_clear(publisher->shard, &publisher->grace_timer);
    for (unsigned i = 0; i < publisher->count; i++) {
        deferred_cancel(&publisher->urls[i].step);
        list_remove(&publisher->urls[i].watch.link);
    }
    publish_filter_fini(&publisher->filter);
}
