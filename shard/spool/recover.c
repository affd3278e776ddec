/*
 * Steps: the lane's files are found and opened, the newest checkpoint that is whole is read, then
 * the segments from its beginning on, one after another; what may not be durable is made so.
 */
#include "shard/spool/recover.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/check.h"
#include "shard/spool/recover_replay.h"
#include "shard/spool/recover_secure.h"

static void recover_files_open(struct lane_files *files);
static bool recover_log_more(struct lane_reader *reader);
static void recover_segment_over(struct lane_reader *reader);
static void recover_entry(struct checkpoint_reader *reader, const struct checkpoint_entry *entry);
static void recover_next_segment(struct recover *recover);
static void recover_adopted_open(struct adopted *adopted, int error, const char *reason);

/* --- life ------------------------------------------------------------------------------------- */

static void recover_unuse(struct recover *recover)
{
    if (recover->used != NULL) {
        segments_unpin(recover->segments, recover->used);
        recover->used = NULL;
    }
}

bool recover_use(struct recover *recover, struct segment *segment,
                 void (*open)(struct descriptor_wait *wait))
{
    if (recover->used != segment) {
        recover_unuse(recover);
        recover->used = segment;
        segment->pins++;
    }
    recover->wait.done = open;
    return descriptors_use(&recover->segments->descriptors, &recover->wait, segment);
}

void recover_end(struct recover *recover)
{
    recover_unuse(recover);
    recover->done(recover);
}

void recover_fail(struct recover *recover, int error, const char *format, ...)
{
    if (recover->error == 0) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(recover->reason, sizeof(recover->reason), format, arguments);
        va_end(arguments);
        recover->error = error;
    }
}

void recover_open_failed(struct recover *recover, const struct descriptor_wait *wait)
{
    char reason[sizeof(recover->reason)];
    lane_files_refuse(segments_file_path(recover->segments, wait->segment), wait->error, reason,
                      sizeof(reason));
    recover_fail(recover, wait->error, "%s", reason);
}

int recover_init(struct recover *recover, struct shard *shard, struct segments *segments,
                 struct pieces *pieces, const struct spool_options *options,
                 const struct spool_replay *replay)
{
    *recover = (struct recover){.shard = shard,
                                .segments = segments,
                                .pieces = pieces,
                                .options = options,
                                .replay = replay,
                                .checkpoint_file = CHECKPOINT_FILES};
    adopted_init(&recover->adopted, shard, segments);
    recover_secure_init(recover);
    int results[] = {
        lane_files_init(&recover->files, shard, segments, recover->checkpoint.fds),
        checkpoint_reader_init(&recover->checkpoint, shard, options->lane),
        lane_reader_init(&recover->reader, shard, options->lane),
    };
    for (size_t i = 0; i < COUNT_OF(results); i++) {
        if (results[i] != 0) {
            recover_fini(recover);
            return -ENOMEM;
        }
    }
    recover->checkpoint.entry = recover_entry;
    recover->reader.more = recover_log_more;
    recover->reader.over = recover_segment_over;
    return 0;
}

void recover_fini(struct recover *recover)
{
    recover_secure_fini(recover);
    adopted_fini(&recover->adopted);
    lane_files_fini(&recover->files);
    checkpoint_reader_fini(&recover->checkpoint);
    lane_reader_fini(&recover->reader);
}

void recover_start(struct recover *recover, uint64_t uuid, void (*done)(struct recover *recover))
{
    recover->uuid = uuid;
    recover->reader.parser.uuid = uuid;
    recover->done = done;
    lane_files_open(&recover->files, uuid, recover->foreign, recover_files_open);
}

/* The highest sequence that is known to have been given; 0: none was. */
static uint64_t recover_given(const struct recover *recover)
{
    uint64_t given = MAX_OF(recover->sequence_max, recover->reader.parser.sequence_max);
    return MAX_OF(given, recover->begin.sequence > 0 ? recover->begin.sequence - 1 : 0);
}

uint64_t recover_next_sequence(const struct recover *recover)
{
    /* Two above: one group may have been written of which nothing can be read. */
    uint64_t given = recover_given(recover);
    return given == 0 ? 1 : given + 2;
}

uint64_t recover_void_from(const struct recover *recover)
{
    return recover_given(recover) == 0 ? 0 : recover->reader.parser.last_sequence + 1;
}

/* --- the log ---------------------------------------------------------------------------------- */

static struct segment *recover_segment(struct recover *recover)
{
    return &recover->segments->table[recover->files.order[recover->order_at]];
}

static bool recover_log_more(struct lane_reader *reader)
{
    struct recover *recover = CONTAINER_OF(reader, struct recover, reader);
    recover->counts.bytes = reader->bytes;
    return recover_replay_log(recover);
}

/* No CURSOR yet: the events of everything of this version are wanted. */
static void recover_cursor_first(struct recover *recover)
{
    for (uint32_t i = 0; i < recover->files.order_count && recover->cursor.sequence == 0; i++) {
        uint16_t place = recover->files.order[i];
        if (recover->files.headers[place].version > 1) {
            recover->cursor = (struct spool_position){
                .sequence = recover->files.headers[place].sequence,
                .group = {.segment = recover->segments->table[place].number},
            };
        }
    }
}

static void recover_finish(struct recover *recover)
{
    recover_cursor_first(recover);
    if (recover->error == 0) {
        log_parser_end(&recover->reader.parser);
        recover_replay_log(recover);
    }
    recover_replay_end(recover);
    if (recover->error != 0 || !recover->options->sync) {
        recover_end(recover);
        return;
    }
    recover_secure(recover);
}

static void recover_read_segment(struct recover *recover)
{
    const struct spool_location *begin = &recover->begin.group;
    const struct segment *segment = recover->used;
    uint64_t offset = segment->number == begin->segment ? begin->offset_64 * 64ull : 0;
    recover->counts.segments++;
    lane_reader_segment(&recover->reader, segment->fd, segment->number,
                        MAX_OF(offset, RECORD_PAGE_BYTES));
}

static void recover_segment_open(struct descriptor_wait *wait)
{
    struct recover *recover = CONTAINER_OF(wait, struct recover, wait);
    if (wait->error == 0) {
        recover_read_segment(recover);
        return;
    }
    recover_open_failed(recover, wait);
    recover_finish(recover);
}

static void recover_next_segment(struct recover *recover)
{
    if (recover->order_at == recover->files.order_count || recover->error != 0) {
        recover_finish(recover);
    } else if (recover_use(recover, recover_segment(recover), recover_segment_open)) {
        recover_read_segment(recover);
    }
}

static void recover_segment_over(struct lane_reader *reader)
{
    struct recover *recover = CONTAINER_OF(reader, struct recover, reader);
    recover->order_at++;
    recover_next_segment(recover);
}

/* The log from `begin` on; without a checkpoint its first group is where its first segment is. */
static void recover_log(struct recover *recover)
{
    uint64_t sequence = recover->begin.sequence;
    recover->order_at = 0;
    while (recover->order_at < recover->files.order_count &&
           recover_segment(recover)->number < recover->begin.group.segment) {
        recover->order_at++;
    }
    if (sequence == 0 && recover->order_at < recover->files.order_count) {
        sequence = recover->files.headers[recover->files.order[recover->order_at]].sequence;
    }
    log_parser_start(&recover->reader.parser, sequence, 0);
    recover_next_segment(recover);
}

/* --- the checkpoint --------------------------------------------------------------------------- */

static void recover_entry(struct checkpoint_reader *reader, const struct checkpoint_entry *entry)
{
    recover_replay_entry(CONTAINER_OF(reader, struct recover, checkpoint), entry);
}

/* The log says that a later checkpoint was durable: what it had done away with may come again. */
static void recover_check_begin(struct recover *recover)
{
    uint32_t known = 0;
    for (uint32_t i = 0; i < recover->segments->count; i++) {
        known = MAX_OF(known, recover->files.headers[i].log_first);
    }
    if (recover->begin.group.segment < known) {
        recover->counts.damaged_records++;
        recover->counts.checkpoint_lost = true;
        spool_note(recover->options,
                   "spool: lane %u: the newest checkpoint is missing or damaged: all that is left "
                   "is replayed, finished messages may be sent again",
                   recover->options->lane);
    }
}

/* Before there were checkpoints, a segment said itself which ones below were done with. */
static void recover_begin_old(struct recover *recover)
{
    for (uint32_t i = 0; i < recover->segments->count; i++) {
        const struct record_segment *header = &recover->files.headers[i];
        if (header->version == 1) {
            recover->begin.group.segment =
                MAX_OF(recover->begin.group.segment, header->log_first);
        }
    }
}

static void recover_choose(struct recover *recover)
{
    struct checkpoint_reader *reader = &recover->checkpoint;
    for (unsigned i = 0; i < CHECKPOINT_FILES; i++) {
        /* Of an adoption that was not finished: the lanes are still their own. */
        reader->valid[i] =
            reader->valid[i] && reader->heads[i].epoch <= recover->options->epoch;
    }
    recover->checkpoint_file = checkpoint_reader_newest(reader);
    if (recover->checkpoint_file == CHECKPOINT_FILES) {
        recover_begin_old(recover);
        recover_check_begin(recover);
        recover_log(recover);
        return;
    }
    if (reader->heads[recover->checkpoint_file].version > CHECKPOINT_VERSION) {
        recover_fail(recover, -EPROTO, "spool: lane %u: a checkpoint is of version %u, newer",
                     recover->options->lane, reader->heads[recover->checkpoint_file].version);
        recover_end(recover);
        return;
    }
    recover->replay->checkpoint(recover->replay->context,
                                reader->heads[recover->checkpoint_file].rows);
    checkpoint_reader_blocks(reader, recover->checkpoint_file);
}

static void recover_checkpoint_read(struct checkpoint_reader *reader, int error)
{
    struct recover *recover = CONTAINER_OF(reader, struct recover, checkpoint);
    const struct checkpoint_head *head = &reader->heads[recover->checkpoint_file];
    if (recover->error != 0) {
        recover_end(recover);
        return;
    }
    if (error != 0) {
        spool_note(recover->options, "spool: lane %u: %s is damaged", recover->options->lane,
                   segments_checkpoint_path(recover->segments, recover->checkpoint_file));
        reader->valid[recover->checkpoint_file] = false;
        recover->counts.checkpoint_lost = true;
        recover_replay_forget(recover);
        recover_choose(recover);
        return;
    }
    recover->begin = head->begin;
    recover->cursor = head->cursor;
    recover->event_next = MAX_OF(recover->event_next, head->event_sequence);
    recover->counts.boots_seen = MAX_OF(recover->counts.boots_seen, head->boot);
    recover->segments->next_number =
        MAX_OF(recover->segments->next_number, head->next_segment);
    recover_check_begin(recover);
    adopted_open(&recover->adopted, recover->uuid, recover_adopted_open);
}

static void recover_adopted_open(struct adopted *adopted, int error, const char *reason)
{
    struct recover *recover = CONTAINER_OF(adopted, struct recover, adopted);
    if (error != 0) {
        recover_fail(recover, error, "%s", reason);
        recover_end(recover);
        return;
    }
    recover_log(recover);
}

/* --- the files -------------------------------------------------------------------------------- */

/* False: the start has failed, and is over. */
static bool recover_files_good(struct recover *recover)
{
    if (recover->files.error == 0) {
        return true;
    }
    recover_fail(recover, recover->files.error, "%s", recover->files.reason);
    recover_end(recover);
    return false;
}

static void recover_files_read(struct lane_files *files)
{
    struct recover *recover = CONTAINER_OF(files, struct recover, files);
    if (!recover_files_good(recover)) {
        return;
    }
    for (uint32_t i = 0; i < files->order_count; i++) {
        const struct record_segment *header = &files->headers[files->order[i]];
        recover->sequence_max = MAX_OF(recover->sequence_max, header->sequence);
        recover->event_next = MAX_OF(recover->event_next, header->event_sequence);
        recover->counts.boots_seen = MAX_OF(recover->counts.boots_seen, header->boot);
    }
    recover_choose(recover);
}

static void recover_heads_read(struct checkpoint_reader *reader, int error)
{
    struct recover *recover = CONTAINER_OF(reader, struct recover, checkpoint);
    (void)error;
    reader->done = recover_checkpoint_read;
    lane_files_read(&recover->files, recover_files_read);
}

static void recover_files_open(struct lane_files *files)
{
    struct recover *recover = CONTAINER_OF(files, struct recover, files);
    if (recover_files_good(recover)) {
        recover->checkpoint.done = recover_heads_read;
        checkpoint_reader_heads(&recover->checkpoint, recover->uuid);
    }
}
