#include "tools/spool_reader.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"

#define CHUNK_BYTES    MIB
#define HEAD_BYTES     (2 * RECORD_PAGE_BYTES)
#define FIRST_BYTES    (4 * KIB) /* most heads are whole in it */
#define RECORD_BYTES   (RECORD_GROUP_BYTES_MAX + RECORD_PAGE_BYTES)
#define FILE_BYTES_MAX (4096ull * MIB) /* of a segment; more is none of ours */
#define LOCK_TRIES     100
#define LOCK_PAUSE_MS  10
#define OPEN_FLAGS     (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)

PRINTF(2, 3)
static bool refuse(struct spool_reader *reader, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reader->reason, sizeof(reader->reason), format, arguments);
    va_end(arguments);
    return false;
}

/* As much of it as there is; a negative errno only when nothing could be read. */
static ssize_t read_at(int fd, void *data, size_t size, uint64_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = pread(fd, (uint8_t *)data + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0 && done == 0) {
            return -errno;
        }
        if (got <= 0) {
            break;
        }
        done += (size_t)got;
    }
    return (ssize_t)done;
}

/* --- the whole spool -------------------------------------------------------------------------- */

static bool path_of(const struct spool_reader *reader, const char *name,
                    char out[SPOOL_PATH_BYTES])
{
    int size = snprintf(out, SPOOL_PATH_BYTES, "%s/%s", reader->path, name);
    return size > 0 && size < SPOOL_PATH_BYTES;
}

/* The server's lock (shard/work.h, WORK_LOCK), of a file that is there already. */
static bool reader_lock(struct spool_reader *reader)
{
    char path[SPOOL_PATH_BYTES];
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (!path_of(reader, "lock", path)) {
        return refuse(reader, "spool: the path is too long");
    }
    reader->lock_fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (reader->lock_fd < 0 && errno == ENOENT) {
        return refuse(reader, "spool: %s: there is no spool", reader->path);
    }
    if (reader->lock_fd < 0) {
        return refuse(reader, "spool: %s: %s", path, strerror(errno));
    }
    /* It may outlast a killed process for a moment: so we try for a second, as the server does. */
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * (long)NS_PER_MS};
    bool locked = fcntl(reader->lock_fd, F_OFD_SETLK, &lock) == 0;
    for (unsigned i = 1; i < LOCK_TRIES && !locked; i++) {
        (void)nanosleep(&pause, NULL);
        locked = fcntl(reader->lock_fd, F_OFD_SETLK, &lock) == 0;
    }
    if (!locked) {
        return refuse(reader, "spool: %s: in use by another process: stop the server first",
                      reader->path);
    }
    return true;
}

static bool reader_manifest(struct spool_reader *reader)
{
    char path[SPOOL_PATH_BYTES];
    char text[MANIFEST_BYTES_MAX];
    uint64_t version = 0;
    int fd = path_of(reader, "manifest", path) ? open(path, OPEN_FLAGS) : -1;
    ssize_t size = fd < 0 ? -errno : read_at(fd, text, sizeof(text), 0);
    if (fd >= 0) {
        close(fd);
    }
    if (size < 0) {
        return refuse(reader, "spool: %s: %s", path, strerror((int)-size));
    }
    switch (manifest_get(slice_make(text, (size_t)size), &reader->manifest, &version)) {
    case MANIFEST_GOOD:
        break;
    case MANIFEST_DAMAGED:
        return refuse(reader, "spool: %s: the manifest is damaged", reader->path);
    case MANIFEST_OTHER_VERSION:
        return refuse(reader, "spool: %s: format version %llu, this program knows %d",
                      reader->path, (unsigned long long)version, MANIFEST_VERSION);
    }
    return true;
}

bool spool_reader_open(struct spool_reader *reader, const char *path)
{
    *reader = (struct spool_reader){.path = path, .lock_fd = -1};
    struct log_parser_options options = {.chunk_bytes = CHUNK_BYTES, .reads = 1};
    reader->parser_memory = malloc(log_parser_bytes(&options));
    CHECK(reader->parser_memory != NULL);
    return reader_lock(reader) && reader_manifest(reader);
}

void spool_reader_close(struct spool_reader *reader)
{
    if (reader->lock_fd >= 0) {
        close(reader->lock_fd);
    }
    free(reader->parser_memory);
}

/* --- the files of a lane ---------------------------------------------------------------------- */

static int file_open(const struct spool_lane *lane, const struct spool_file *file)
{
    char name[SPOOL_PATH_BYTES];
    char path[SPOOL_PATH_BYTES];
    if (file->lane == lane->lane) {
        int fd = openat(lane->dir_fd, file->name, OPEN_FLAGS);
        return fd < 0 ? -errno : fd;
    }
    snprintf(name, sizeof(name), "lane-%03u/%s", file->lane, file->name);
    int fd = path_of(lane->reader, name, path) ? open(path, OPEN_FLAGS) : -1;
    return fd < 0 ? -errno : fd;
}

static bool all_zero(const uint8_t *data, size_t size)
{
    uint8_t all = 0;
    for (size_t i = 0; i < size; i++) {
        all |= data[i];
    }
    return all == 0;
}

/* A SEGMENT header that was torn or is damaged: its first group says as much. */
static bool header_get(const struct spool_reader *reader, struct slice pages,
                       struct record_segment *header_out)
{
    struct record_group group;
    if (record_segment_get(pages, header_out)) {
        return true;
    }
    if (pages.size <= RECORD_PAGE_BYTES ||
        !record_group_get(slice_skip(pages, RECORD_PAGE_BYTES), reader->manifest.uuid, &group)) {
        return false;
    }
    *header_out = (struct record_segment){
        .version = group.version, .lane = group.lane, .number = group.segment,
        .uuid = reader->manifest.uuid, .sequence = group.sequence, .log_first = group.log_first};
    return true;
}

/* Null: a file that the server takes (shard/work.h, WORK_PLAIN). */
static const char *file_refusal(const struct spool_lane *lane, const struct stat *status)
{
    struct stat owner;
    if (S_ISDIR(status->st_mode)) {
        return "a directory";
    }
    if (!S_ISREG(status->st_mode)) {
        return "no regular file";
    }
    if (status->st_nlink != 1) {
        return "has other names (hard links)";
    }
    if (fstat(lane->dir_fd, &owner) != 0 || status->st_uid != owner.st_uid ||
        (status->st_mode & S_IWOTH) != 0) {
        return "belongs to another user, or others may write to it";
    }
    return (uint64_t)status->st_size > FILE_BYTES_MAX ? "larger than any segment" : NULL;
}

static bool file_examine(struct spool_lane *lane, struct spool_file *file, int fd)
{
    uint8_t pages[HEAD_BYTES];
    struct stat status;
    struct spool_reader *reader = lane->reader;
    const char *refusal =
        fstat(fd, &status) != 0 ? strerror(errno) : file_refusal(lane, &status);
    if (refusal != NULL) {
        return refuse(reader, "spool: lane-%03u/%s: %s", file->lane, file->name, refusal);
    }
    file->size = (uint64_t)status.st_size;
    ssize_t size = read_at(fd, pages, sizeof(pages), 0);
    if (size < 0 || !header_get(reader, slice_make(pages, (size_t)size), &file->header)) {
        file->blank = size >= 0 && all_zero(pages, (size_t)size);
        return true;
    }
    if (file->header.version > RECORD_VERSION) {
        return refuse(reader, "spool: lane-%03u/%s is of format version %u, newer than ours",
                      file->lane, file->name, file->header.version);
    }
    if (file->header.uuid != reader->manifest.uuid || file->header.lane != file->lane) {
        return refuse(reader, "spool: lane-%03u/%s belongs to another spool or lane", file->lane,
                      file->name);
    }
    file->number = file->header.number;
    return true;
}

static struct spool_file *file_new(struct spool_lane *lane)
{
    lane->files = realloc(lane->files, (lane->count + 1) * sizeof(*lane->files));
    CHECK(lane->files != NULL);
    return &lane->files[lane->count++];
}

static bool file_add(struct spool_lane *lane, const char *name)
{
    struct spool_file *file = file_new(lane);
    *file = (struct spool_file){.lane = lane->lane};
    memcpy(file->name, name, strlen(name) + 1);
    int fd = file_open(lane, file);
    if (fd < 0) {
        return refuse(lane->reader, "spool: lane-%03u/%s: %s", lane->lane, name,
                      fd == -ELOOP ? "a symbolic link" : strerror(-fd));
    }
    bool good = file_examine(lane, file, fd);
    close(fd);
    return good;
}

/* "segment-" and at least six digits. */
static bool is_segment_name(const char *name)
{
    static const char begin[] = "segment-";
    size_t size = strlen(name);
    if (strncmp(name, begin, sizeof(begin) - 1) != 0 || size < sizeof(begin) - 1 + 6 ||
        size >= sizeof(((struct spool_file *)NULL)->name)) {
        return false;
    }
    return strspn(name + sizeof(begin) - 1, "0123456789") == size - (sizeof(begin) - 1);
}

static int compare_files(const void *a, const void *b)
{
    uint32_t left = ((const struct spool_file *)a)->number;
    uint32_t right = ((const struct spool_file *)b)->number;
    return left < right ? -1 : left > right;
}

static bool lane_list(struct spool_lane *lane)
{
    int fd = dup(lane->dir_fd);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (directory == NULL) {
        return refuse(lane->reader, "spool: lane-%03u: %s", lane->lane, strerror(errno));
    }
    bool good = true;
    for (struct dirent *entry = readdir(directory); entry != NULL && good;
         entry = readdir(directory)) {
        good = !is_segment_name(entry->d_name) || file_add(lane, entry->d_name);
    }
    closedir(directory);
    return good;
}

static bool lane_sort(struct spool_lane *lane)
{
    lane->log_first = 1;
    if (lane->count > 0) {
        qsort(lane->files, lane->count, sizeof(*lane->files), compare_files);
    }
    for (uint32_t i = 0; i < lane->count; i++) {
        const struct spool_file *file = &lane->files[i];
        lane->known_first = MAX_OF(lane->known_first, file->header.log_first);
        if (file->header.version == 1) {
            /* Before there were checkpoints, a segment said itself which ones were done with. */
            lane->log_first = MAX_OF(lane->log_first, file->header.log_first);
        }
        if (i > 0 && file->number != 0 && file->number == file[-1].number) {
            return refuse(lane->reader, "spool: lane-%03u: %s and %s both claim to be segment %u",
                          lane->lane, file[-1].name, file->name, file->number);
        }
    }
    while (lane->first < lane->count && lane->files[lane->first].number < lane->log_first) {
        lane->first++;
    }
    return true;
}

bool spool_lane_open(struct spool_lane *lane, struct spool_reader *reader, unsigned number)
{
    char name[32];
    char path[SPOOL_PATH_BYTES];
    *lane = (struct spool_lane){.reader = reader, .lane = number, .dir_fd = -1, .fd = -1};
    lane->record = malloc(RECORD_BYTES);
    CHECK(lane->record != NULL);
    snprintf(name, sizeof(name), "lane-%03u", number);
    if (!path_of(reader, name, path)) {
        return refuse(reader, "spool: the path is too long");
    }
    lane->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (lane->dir_fd < 0 && errno == ENOENT) {
        return true; /* a lane that was never begun */
    }
    if (lane->dir_fd < 0) {
        return refuse(reader, "spool: %s: %s", path, strerror(errno));
    }
    return lane_list(lane) && lane_sort(lane);
}

static void lane_let_go(struct spool_lane *lane)
{
    if (lane->fd >= 0) {
        close(lane->fd);
        lane->fd = -1;
    }
}

void spool_lane_close(struct spool_lane *lane)
{
    lane_let_go(lane);
    if (lane->dir_fd >= 0) {
        close(lane->dir_fd);
    }
    free(lane->files);
    free(lane->record);
}

/* --- segments of adopted lanes ---------------------------------------------------------------- */

bool spool_lane_adopted(const struct spool_lane *lane, uint32_t file)
{
    return lane->files[file].lane != lane->lane;
}

/* The first file with this number or a higher one. */
static uint32_t lane_place(const struct spool_lane *lane, uint32_t segment)
{
    uint32_t low = 0;
    uint32_t high = lane->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (lane->files[middle].number < segment) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void spool_lane_adopt(struct spool_lane *lane, const struct checkpoint_segment *entry)
{
    struct spool_file found = {.lane = entry->lane, .shift = entry->number - entry->lane_number};
    snprintf(found.name, sizeof(found.name), "segment-%06u", entry->slot);
    int fd = file_open(lane, &found);
    found.gone = fd < 0 || !file_examine(lane, &found, fd) || found.number != entry->lane_number;
    found.number = entry->number;
    if (fd >= 0) {
        close(fd);
    }
    lane_let_go(lane);
    uint32_t place = lane_place(lane, entry->number);
    (void)file_new(lane);
    memmove(&lane->files[place + 1], &lane->files[place],
            (lane->count - 1 - place) * sizeof(found));
    lane->files[place] = found;
    lane->first += place <= lane->first;
}

uint32_t spool_lane_find(const struct spool_lane *lane, uint32_t segment)
{
    uint32_t place = lane_place(lane, segment);
    bool there = segment != 0 && place < lane->count && lane->files[place].number == segment &&
                 !lane->files[place].gone;
    return there ? place : lane->count;
}

/* --- walking ---------------------------------------------------------------------------------- */

/* The descriptor of a file, kept until another one is wanted. */
static int lane_use(struct spool_lane *lane, uint32_t file)
{
    if (lane->fd < 0 || lane->open != file) {
        lane_let_go(lane);
        lane->fd = file_open(lane, &lane->files[file]);
        lane->open = file;
    }
    return lane->fd;
}

/* Page by page: one that cannot be read is left zero. Returns the bytes, whole pages. */
static uint32_t read_carefully(struct spool_lane *lane, uint8_t *place, uint32_t size,
                               uint64_t offset, const struct spool_visitor *visitor)
{
    uint32_t done = 0;
    while (done < size) {
        ssize_t got = read_at(lane->fd, place + done, RECORD_PAGE_BYTES, offset + done);
        if (got == 0) {
            break;
        }
        if (got > 0 && got < (ssize_t)RECORD_PAGE_BYTES) {
            memset(place + done + got, 0, RECORD_PAGE_BYTES - (size_t)got);
        }
        if (got < 0) {
            memset(place + done, 0, RECORD_PAGE_BYTES);
            if (visitor->unreadable != NULL) {
                visitor->unreadable(visitor->context, lane->files[lane->open].number,
                                    offset + done, (int)got);
            }
        }
        done += RECORD_PAGE_BYTES;
    }
    return done;
}

static uint32_t read_chunk(struct spool_lane *lane, uint8_t *place, uint32_t size, uint64_t offset,
                           const struct spool_visitor *visitor)
{
    ssize_t got = read_at(lane->fd, place, size, offset);
    if (got < 0 || (got < (ssize_t)size && offset + (uint64_t)got <
                                               lane->files[lane->open].size)) {
        return read_carefully(lane, place, size, offset, visitor);
    }
    /* A file that was cut: what its last page lacks is zeros. */
    uint32_t whole = (uint32_t)align_up((uint64_t)got, RECORD_PAGE_BYTES);
    memset(place + got, 0, whole - (uint32_t)got);
    return whole;
}

/* False: the visitor has had enough, or a newer version was met. */
static bool walk_items(struct spool_reader *reader, uint32_t shift,
                       const struct spool_visitor *visitor)
{
    struct log_item item;
    for (;;) {
        enum log_step step = log_parser_next(&reader->parser, &item);
        if (step == LOG_MORE || step == LOG_END) {
            return true;
        }
        log_item_shift(&item, shift);
        if (!visitor->item(visitor->context, &item) || step == LOG_NEWER) {
            return false;
        }
    }
}

static bool walk_segment(struct spool_lane *lane, uint32_t file, uint64_t begin, uint64_t end,
                         const struct spool_visitor *visitor)
{
    struct spool_reader *reader = lane->reader;
    uint32_t shift = lane->files[file].shift;
    log_parser_segment(&reader->parser, lane->files[file].number - shift, begin);
    if (lane_use(lane, file) < 0) {
        if (visitor->unreadable != NULL) {
            visitor->unreadable(visitor->context, lane->files[file].number, 0, lane->fd);
        }
        end = begin;
    }
    for (uint64_t at = begin; at < end; at += CHUNK_BYTES) {
        uint32_t wanted = (uint32_t)MIN_OF(end - at, (uint64_t)CHUNK_BYTES);
        uint8_t *place = log_parser_place(&reader->parser);
        uint32_t size = read_chunk(lane, place, wanted, at, visitor);
        log_parser_take(&reader->parser, size);
        if (visitor->progress != NULL) {
            visitor->progress(visitor->context, size);
        }
        if (!walk_items(reader, shift, visitor)) {
            return false;
        }
        if (size < CHUNK_BYTES) {
            break;
        }
    }
    log_parser_segment_end(&reader->parser);
    return walk_items(reader, shift, visitor);
}

static void walk_begin(struct spool_lane *lane, unsigned number, uint64_t sequence,
                       uint64_t durable_before)
{
    struct spool_reader *reader = lane->reader;
    struct log_parser_options options = {.uuid = reader->manifest.uuid, .lane = number,
                                         .chunk_bytes = CHUNK_BYTES, .reads = 1};
    log_parser_init(&reader->parser, &options, reader->parser_memory);
    log_parser_start(&reader->parser, sequence, durable_before);
}

bool spool_lane_walk(struct spool_lane *lane, struct spool_position begin,
                     const struct spool_visitor *visitor)
{
    uint32_t file = lane->first;
    uint64_t offset = RECORD_PAGE_BYTES;
    uint64_t sequence = file < lane->count ? lane->files[file].header.sequence : 0;
    if (begin.sequence != 0) {
        sequence = begin.sequence;
        file = lane_place(lane, begin.group.segment);
        if (file < lane->count && lane->files[file].number == begin.group.segment) {
            offset = (uint64_t)begin.group.offset_64 * RECORD_PLACE_BYTES;
        }
    }
    walk_begin(lane, lane->lane, sequence, 0);
    for (; file < lane->count; file++) {
        if (spool_lane_adopted(lane, file)) {
            continue;
        }
        if (!walk_segment(lane, file, offset, lane->files[file].size, visitor)) {
            return false;
        }
        offset = RECORD_PAGE_BYTES;
    }
    log_parser_end(&lane->reader->parser);
    return walk_items(lane->reader, 0, visitor);
}

bool spool_lane_walk_file(struct spool_lane *lane, uint32_t file, uint64_t end, bool leniently,
                          const struct spool_visitor *visitor)
{
    walk_begin(lane, lane->files[file].lane, lane->files[file].header.sequence,
               leniently ? UINT64_MAX : 0);
    uint64_t size = lane->files[file].size;
    if (!walk_segment(lane, file, RECORD_PAGE_BYTES, end == 0 ? size : MIN_OF(end, size),
                      visitor)) {
        return false;
    }
    log_parser_end(&lane->reader->parser);
    return walk_items(lane->reader, lane->files[file].shift, visitor);
}

/* --- one record ------------------------------------------------------------------------------- */

enum spool_record_status spool_lane_record(struct spool_lane *lane, struct spool_location location,
                                           bool whole, struct record *record_out)
{
    uint32_t file = spool_lane_find(lane, location.segment);
    uint64_t offset = (uint64_t)location.offset_64 * RECORD_PLACE_BYTES;
    uint32_t head;
    uint32_t bytes;
    if (file == lane->count) {
        return SPOOL_RECORD_MISSING;
    }
    if (lane_use(lane, file) < 0) {
        return SPOOL_RECORD_UNREADABLE;
    }
    ssize_t size = read_at(lane->fd, lane->record, FIRST_BYTES, offset);
    if (size < 0) {
        return SPOOL_RECORD_UNREADABLE;
    }
    if (!record_peek(slice_make(lane->record, (size_t)size), &head, &bytes)) {
        return SPOOL_RECORD_DAMAGED;
    }
    uint32_t wanted = whole ? bytes : head;
    if (wanted > (size_t)size) {
        size = read_at(lane->fd, lane->record, wanted, offset);
    }
    if (size < 0) {
        return SPOOL_RECORD_UNREADABLE;
    }
    struct slice all = slice_make(lane->record, MIN_OF((size_t)size, (size_t)bytes));
    return record_at(all, lane->reader->manifest.uuid, record_out) ? SPOOL_RECORD_GOOD
                                                                   : SPOOL_RECORD_DAMAGED;
}
