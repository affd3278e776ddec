#include "shard/spool/descriptors.h"

#include <errno.h>

#include "core/check.h"
#include "shard/spool/segment.h"

#define BUSY_NS      (16 * NS_PER_MS)
#define FAILURES_MAX 8 /* the pause doubles: four seconds altogether */

static void descriptors_open(struct descriptors *descriptors);
static void descriptors_opened(struct work_job *job);
static void descriptors_closed(struct work_job *job);
static void descriptors_retry(struct timer *timer);

struct work_job descriptors_open_job(const char *path)
{
    return (struct work_job){
        .kind = WORK_OPEN,
        .flags = WORK_DIRECT | WORK_WRITE | WORK_PLAIN,
        .size = SEGMENT_FILE_BYTES_MAX,
        .path = path,
    };
}

void descriptors_init(struct descriptors *descriptors, struct segments *segments)
{
    uint32_t kept = segments->options->files_kept;
    *descriptors = (struct descriptors){
        .segments = segments,
        .kept_max = kept > 0 ? kept : DESCRIPTORS_KEPT,
        .open_job = {.done = descriptors_opened},
        .close_job = {.done = descriptors_closed},
    };
    list_init(&descriptors->kept);
    list_init(&descriptors->waiting);
    timer_init(&descriptors->retry, descriptors_retry);
}

void descriptors_fini(struct descriptors *descriptors)
{
    shard_timer_clear(descriptors->segments->shard, &descriptors->retry);
}

bool descriptors_idle(const struct descriptors *descriptors)
{
    return descriptors->opening == NULL && !descriptors->close_job.in_flight;
}

/* --- those that are open ---------------------------------------------------------------------- */

void descriptors_keep(struct descriptors *descriptors, struct segment *segment)
{
    if (segment->fd < 0 || segment->kept) {
        return;
    }
    segment->kept = true;
    list_push_back(&descriptors->kept, &segment->link);
    descriptors->kept_count++;
    descriptors_trim(descriptors);
}

void descriptors_forget(struct descriptors *descriptors, struct segment *segment)
{
    if (segment->kept) {
        segment->kept = false;
        list_remove(&segment->link);
        descriptors->kept_count--;
    }
}

/* Closes the one that was not used for longest. False: all are being read, or not now. */
static bool descriptors_close(struct descriptors *descriptors)
{
    struct segments *segments = descriptors->segments;
    struct work_job *job = &descriptors->close_job;
    if (job->in_flight || segments->closing) {
        return false;
    }
    for (struct list *node = descriptors->kept.next; node != &descriptors->kept;
         node = node->next) {
        struct segment *segment = CONTAINER_OF(node, struct segment, link);
        if (segment->pins > 0) {
            continue;
        }
        *job = (struct work_job){
            .kind = WORK_CLOSE, .fd = segment->fd, .done = descriptors_closed};
        if (!work_submit(segments->shard->work, segments->shard, job)) {
            return false; /* the next one to be unpinned asks again */
        }
        descriptors_forget(descriptors, segment);
        segment->fd = -1;
        return true;
    }
    return false;
}

void descriptors_trim(struct descriptors *descriptors)
{
    if (descriptors->kept_count > descriptors->kept_max) {
        (void)descriptors_close(descriptors);
    }
}

static void descriptors_closed(struct work_job *job)
{
    struct descriptors *descriptors = CONTAINER_OF(job, struct descriptors, close_job);
    struct segments *segments = descriptors->segments;
    if (segments->closing) {
        segments->changed(segments);
    } else {
        descriptors_trim(descriptors);
    }
}

/* --- opening ---------------------------------------------------------------------------------- */

bool descriptors_use(struct descriptors *descriptors, struct descriptor_wait *wait,
                     struct segment *segment)
{
    CHECK(segment->pins > 0 && !wait->waiting);
    wait->error = 0;
    if (segment->fd >= 0) {
        if (segment->kept) {
            list_remove(&segment->link);
            list_push_back(&descriptors->kept, &segment->link);
        }
        return true;
    }
    wait->segment = segment;
    wait->waiting = true;
    list_push_back(&descriptors->waiting, &wait->link);
    descriptors_open(descriptors);
    return false;
}

void descriptors_withdraw(struct descriptor_wait *wait)
{
    if (wait->waiting) {
        wait->waiting = false;
        list_remove(&wait->link);
    }
}

static void descriptors_submit(struct descriptors *descriptors)
{
    struct segments *segments = descriptors->segments;
    descriptors->open_job = descriptors_open_job(descriptors->path);
    descriptors->open_job.done = descriptors_opened;
    if (!work_submit(segments->shard->work, segments->shard, &descriptors->open_job)) {
        shard_timer_set(segments->shard, &descriptors->retry, BUSY_NS);
    }
}

static void descriptors_retry(struct timer *timer)
{
    descriptors_submit(CONTAINER_OF(timer, struct descriptors, retry));
}

/* For who has waited longest. */
static void descriptors_open(struct descriptors *descriptors)
{
    if (descriptors->opening != NULL || list_empty(&descriptors->waiting)) {
        return;
    }
    const struct descriptor_wait *first =
        CONTAINER_OF(descriptors->waiting.next, struct descriptor_wait, link);
    descriptors->opening = first->segment;
    descriptors->opening->pins++;
    descriptors->failures = 0;
    segment_path_put(descriptors->segments, descriptors->opening, descriptors->path,
                     sizeof(descriptors->path));
    descriptors_submit(descriptors);
}

/* Takes everybody who waits for it out of those that wait. */
static void descriptors_gather(struct descriptors *descriptors, const struct segment *segment,
                               struct list *told_out)
{
    list_init(told_out);
    struct list *node = descriptors->waiting.next;
    while (node != &descriptors->waiting) {
        struct descriptor_wait *wait = CONTAINER_OF(node, struct descriptor_wait, link);
        node = node->next;
        if (wait->segment == segment) {
            list_remove(&wait->link);
            list_push_back(told_out, &wait->link);
        }
    }
}

/* What they do then may make others wait, give up, or be the end of all this. */
static void descriptors_tell(struct list *told, int error)
{
    for (struct list *node = list_pop_front(told); node != NULL; node = list_pop_front(told)) {
        struct descriptor_wait *wait = CONTAINER_OF(node, struct descriptor_wait, link);
        wait->waiting = false;
        wait->error = error;
        wait->done(wait);
    }
}

bool descriptors_may_pass(int error)
{
    return error != 0 && error != -ENOENT && error != -ELOOP && error != -ESPIPE &&
           error != -EMLINK && error != -EPERM && error != -EFBIG && error != -EISDIR;
}

static void descriptors_opened(struct work_job *job)
{
    struct descriptors *descriptors = CONTAINER_OF(job, struct descriptors, open_job);
    struct segments *segments = descriptors->segments;
    struct segment *segment = descriptors->opening;
    bool again = job->result < 0 && descriptors_may_pass(job->result) && !segments->closing;
    if (again && descriptors->failures < FAILURES_MAX) {
        (void)descriptors_close(descriptors);
        shard_timer_set(segments->shard, &descriptors->retry, BUSY_NS << descriptors->failures);
        descriptors->failures++;
        return;
    }
    if (job->result >= 0) {
        segment->fd = job->result;
        descriptors_keep(descriptors, segment);
    } else if (segments->settled) { /* a start that fails says why */
        spool_note(segments->options, "spool: %s: cannot be opened: error %d", descriptors->path,
                   -job->result);
    }
    int error = MIN_OF(job->result, 0);
    struct list told;
    descriptors_gather(descriptors, segment, &told);
    descriptors->opening = NULL;
    segments_unpin(segments, segment);
    if (segments->closing) {
        descriptors_tell(&told, error);
        segments->changed(segments);
    } else {
        descriptors_open(descriptors);
        descriptors_tell(&told, error);
    }
}
