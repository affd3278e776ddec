/*
 * Files: content in pages of 4 KiB. A page with unsynced sectors keeps their durable content beside
 * it; a sync forgets that, a power cut chooses between the two for every sector on its own. What is
 * written to a sector that is unsynced already may find the earlier content written back meanwhile,
 * so that writes are kept and lost in any order. The size of a file is durable or not on its own:
 * a sector that was lost inside the new size has zeros or anything.
 *
 * A write lands at some moment between its submission and its completion, and a durable one is
 * durable when it completes. A sync covers what has landed when it takes effect. When a sync fails,
 * or a durable write at its end, each sector of it is on the platter or never will be, whatever
 * later syncs say (F-04); and the cache may drop what it still shows when its process ends.
 */
#include "tests/sim/sim_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct sim_disk *sim_disk_open(struct sim *sim, uint64_t bytes)
{
    struct sim_disk *disk = sim_memory(sizeof(*disk));
    disk->sim = sim;
    disk->bytes = bytes;
    disk->alignment = SIM_SECTOR;
    list_init(&disk->inodes);
    list_init(&disk->names);
    list_init(&disk->names_durable);
    list_init(&disk->changes);
    list_push_back(&sim->disks, &disk->link);
    return disk;
}

static void inode_free(struct sim_inode *inode)
{
    for (uint64_t i = 0; i < inode->page_count; i += 1) {
        if (inode->pages[i] != NULL) {
            free(inode->pages[i]->old);
            free(inode->pages[i]);
        }
    }
    free(inode->pages);
    list_remove(&inode->link);
    free(inode);
}

void sim_disk_free(struct sim_disk *disk)
{
    sim_names_free(disk);
    while (!list_empty(&disk->inodes)) {
        inode_free(CONTAINER_OF(disk->inodes.next, struct sim_inode, link));
    }
    list_remove(&disk->link);
    free(disk);
}

void sim_disk_alignment_set(struct sim_disk *disk, uint32_t alignment)
{
    disk->alignment = alignment;
}

void sim_disk_size_set(struct sim_disk *disk, uint64_t bytes)
{
    disk->bytes = bytes;
}

void sim_disk_read_only_set(struct sim_disk *disk, bool read_only)
{
    disk->read_only = read_only;
}

void sim_disk_failing_set(struct sim_disk *disk, bool writes, bool syncs, bool reads)
{
    disk->writes_fail = writes;
    disk->syncs_fail = syncs;
    disk->reads_fail = reads;
}

void sim_disk_latency_set(struct sim_disk *disk, uint64_t ns)
{
    disk->latency_ns = ns;
}

uint64_t sim_disk_space(struct sim_disk *disk)
{
    uint64_t used = 0;
    for (struct list *node = disk->inodes.next; node != &disk->inodes; node = node->next) {
        const struct sim_inode *inode = CONTAINER_OF(node, struct sim_inode, link);
        if (inode->names > 0 || inode->opens > 0) {
            used += align_up(inode->size, SIM_PAGE);
        }
    }
    return used < disk->bytes ? disk->bytes - used : 0;
}

/* --- content ---------------------------------------------------------------------------------- */

struct sim_inode *sim_inode_new(struct sim_disk *disk)
{
    struct sim_inode *inode = sim_memory(sizeof(*inode));
    inode->disk = disk;
    inode->mode = 0640;
    list_init(&inode->dirty);
    list_push_back(&disk->inodes, &inode->link);
    return inode;
}

static struct sim_page *page_find(const struct sim_inode *inode, uint64_t index)
{
    return index < inode->page_count ? inode->pages[index] : NULL;
}

static struct sim_page *page_make(struct sim_inode *inode, uint64_t index)
{
    if (index >= inode->page_count) {
        uint64_t count = MAX_OF(index + 1, inode->page_count * 2);
        inode->pages = realloc(inode->pages, count * sizeof(struct sim_page *));
        CHECK(inode->pages != NULL);
        memset(inode->pages + inode->page_count, 0,
               (count - inode->page_count) * sizeof(struct sim_page *));
        inode->page_count = count;
    }
    if (inode->pages[index] == NULL) {
        inode->pages[index] = sim_memory(sizeof(struct sim_page));
        list_init(&inode->pages[index]->link);
        inode->pages[index]->index = index;
    }
    return inode->pages[index];
}

static void sector_dirty(struct sim_inode *inode, struct sim_page *page, unsigned sector)
{
    uint8_t bit = (uint8_t)(1u << sector);
    page->poisoned &= (uint8_t)~bit;
    if ((page->dirty & bit) != 0) {
        if (sim_chance(inode->disk->sim, 300)) {
            memcpy(page->old + sector * SIM_SECTOR, page->data + sector * SIM_SECTOR, SIM_SECTOR);
        }
        return;
    }
    if (page->old == NULL) {
        page->old = malloc(SIM_PAGE);
        CHECK(page->old != NULL);
    }
    memcpy(page->old + sector * SIM_SECTOR, page->data + sector * SIM_SECTOR, SIM_SECTOR);
    page->dirty |= bit;
    if (!list_linked(&page->link)) {
        list_push_back(&inode->dirty, &page->link);
    }
}

static void page_settle(struct sim_page *page, uint8_t sectors)
{
    page->dirty &= (uint8_t)~sectors;
    if (page->dirty == 0) {
        list_remove(&page->link);
        free(page->old);
        page->old = NULL;
    }
}

void sim_inode_write(struct sim_inode *inode, uint64_t offset, const void *data, uint64_t size)
{
    const uint8_t *bytes = data;
    while (size > 0) {
        uint64_t inside = offset % SIM_PAGE;
        uint64_t count = MIN_OF(size, SIM_SECTOR - inside % SIM_SECTOR);
        struct sim_page *page = page_make(inode, offset / SIM_PAGE);
        sector_dirty(inode, page, (unsigned)(inside / SIM_SECTOR));
        memcpy(page->data + inside, bytes, count);
        bytes += count;
        offset += count;
        size -= count;
    }
    inode->size = MAX_OF(inode->size, offset);
}

void sim_inode_read(const struct sim_inode *inode, uint64_t offset, void *data, uint64_t size)
{
    uint8_t *bytes = data;
    while (size > 0) {
        uint64_t inside = offset % SIM_PAGE;
        uint64_t count = MIN_OF(size, SIM_PAGE - inside);
        const struct sim_page *page = page_find(inode, offset / SIM_PAGE);
        if (page != NULL) {
            memcpy(bytes, page->data + inside, count);
        } else {
            memset(bytes, 0, count);
        }
        bytes += count;
        offset += count;
        size -= count;
    }
}

/* Bits of the sectors of the page that holds `at`, from there up to `end`. */
static uint8_t sectors_between(uint64_t at, uint64_t end)
{
    unsigned first = (unsigned)(at % SIM_PAGE / SIM_SECTOR);
    uint64_t stop = MIN_OF(end - at / SIM_PAGE * SIM_PAGE, SIM_PAGE);
    unsigned last = (unsigned)((stop - 1) / SIM_SECTOR);
    uint8_t sectors = 0;
    for (unsigned sector = first; sector <= last; sector += 1) {
        sectors |= (uint8_t)(1u << sector);
    }
    return sectors;
}

/* Their sync failed: each is on the platter all the same, or never will be. */
static void page_poison(struct sim *sim, struct sim_page *page, uint8_t sectors)
{
    sectors &= (uint8_t)(page->dirty & ~page->poisoned);
    uint8_t written = sectors & (uint8_t)sim_below(sim, 256);
    page->poisoned |= (uint8_t)(sectors & ~written);
    if (written != 0) {
        page_settle(page, written);
    }
}

/* What was written to this range is on stable storage; or, when the device `failed`, is not. */
static void inode_settle(struct sim_inode *inode, uint64_t offset, uint64_t size, bool failed)
{
    uint64_t end = offset + size;
    for (uint64_t at = offset; at < end; at = (at / SIM_PAGE + 1) * SIM_PAGE) {
        struct sim_page *page = page_find(inode, at / SIM_PAGE);
        if (page == NULL || page->dirty == 0) {
            continue;
        }
        uint8_t sectors = sectors_between(at, end);
        if (failed) {
            page_poison(inode->disk->sim, page, sectors);
        } else {
            page_settle(page, (uint8_t)(sectors & ~page->poisoned));
        }
    }
    if (!failed) {
        inode->size_durable = MAX_OF(inode->size_durable, end);
    }
}

void sim_inode_sync(struct sim_inode *inode)
{
    for (struct list *node = inode->dirty.next; node != &inode->dirty;) {
        struct sim_page *page = CONTAINER_OF(node, struct sim_page, link);
        node = node->next;
        page_settle(page, (uint8_t)(page->dirty & ~page->poisoned));
    }
    inode->size_durable = inode->size;
}

void sim_inode_poison(struct sim_inode *inode)
{
    for (struct list *node = inode->dirty.next; node != &inode->dirty;) {
        struct sim_page *page = CONTAINER_OF(node, struct sim_page, link);
        node = node->next;
        page_poison(inode->disk->sim, page, 0xff);
    }
}

/* The cache lets go of pages that it takes for clean. */
static void inode_evict(struct sim *sim, struct sim_inode *inode)
{
    for (struct list *node = inode->dirty.next; node != &inode->dirty;) {
        struct sim_page *page = CONTAINER_OF(node, struct sim_page, link);
        node = node->next;
        uint8_t gone = page->poisoned & (uint8_t)sim_below(sim, 256);
        for (unsigned sector = 0; gone != 0 && sector < SIM_PAGE_SECTORS; sector += 1) {
            if ((gone >> sector & 1) != 0) {
                memcpy(page->data + sector * SIM_SECTOR, page->old + sector * SIM_SECTOR,
                       SIM_SECTOR);
            }
        }
        page->poisoned &= (uint8_t)~gone;
        if (gone != 0) {
            page_settle(page, gone);
        }
    }
}

void sim_disk_evict(struct sim_disk *disk)
{
    for (struct list *node = disk->inodes.next; node != &disk->inodes; node = node->next) {
        inode_evict(disk->sim, CONTAINER_OF(node, struct sim_inode, link));
    }
}

void sim_inode_truncate(struct sim_inode *inode)
{
    for (uint64_t i = 0; i < inode->page_count; i += 1) {
        if (inode->pages[i] != NULL) {
            list_remove(&inode->pages[i]->link);
            free(inode->pages[i]->old);
            free(inode->pages[i]);
        }
    }
    free(inode->pages);
    inode->pages = NULL;
    inode->page_count = 0;
    inode->size = 0;
    inode->size_durable = 0;
}

/* --- power cut -------------------------------------------------------------------------------- */

/* `fresh`: it lies behind the end that the file had on the platter. */
static void sector_cut(struct sim *sim, struct sim_page *page, unsigned sector, bool fresh)
{
    uint8_t *now = page->data + sector * SIM_SECTOR;
    const uint8_t *old = page->old + sector * SIM_SECTOR;
    bool poisoned = (page->poisoned >> sector & 1) != 0;
    if (sim_fault(sim, SIM_FAULT_sector_torn)) {
        size_t from = sim_below(sim, SIM_SECTOR);
        memcpy(now + from, old + from, SIM_SECTOR - from);
    } else if (poisoned || sim_fault(sim, SIM_FAULT_sector_lost)) {
        memcpy(now, old, SIM_SECTOR);
        if (fresh && sim_fault(sim, SIM_FAULT_sector_junk)) {
            memset(now, (int)sim_below(sim, 256), SIM_SECTOR);
            now[sim_below(sim, SIM_SECTOR)] = (uint8_t)sim_below(sim, 256);
        }
    }
}

/* Behind the end of a file nothing stands. */
static void pages_drop(struct sim_inode *inode, uint64_t size)
{
    for (uint64_t i = (size + SIM_PAGE - 1) / SIM_PAGE; i < inode->page_count; i += 1) {
        if (inode->pages[i] != NULL) {
            list_remove(&inode->pages[i]->link);
            free(inode->pages[i]->old);
            free(inode->pages[i]);
            inode->pages[i] = NULL;
        }
    }
    struct sim_page *last = page_find(inode, size / SIM_PAGE);
    if (last != NULL) {
        memset(last->data + size % SIM_PAGE, 0, SIM_PAGE - size % SIM_PAGE);
    }
}

static void inode_cut(struct sim *sim, struct sim_inode *inode)
{
    while (!list_empty(&inode->dirty)) {
        struct sim_page *page = CONTAINER_OF(inode->dirty.next, struct sim_page, link);
        bool fresh = page->index * SIM_PAGE >= inode->size_durable;
        for (unsigned sector = 0; sector < SIM_PAGE_SECTORS; sector += 1) {
            if ((page->dirty >> sector & 1) != 0) {
                sector_cut(sim, page, sector, fresh);
            }
        }
        page->poisoned = 0;
        page_settle(page, 0xff);
    }
    if (inode->size != inode->size_durable && sim_chance(sim, 500)) {
        inode->size = inode->size_durable;
        pages_drop(inode, inode->size);
    }
    inode->size_durable = inode->size;
    inode->locker = NULL;
    inode->locked_until_ns = 0;
}

void sim_disk_power_cut(struct sim_disk *disk)
{
    for (struct list *node = disk->inodes.next; node != &disk->inodes; node = node->next) {
        inode_cut(disk->sim, CONTAINER_OF(node, struct sim_inode, link));
    }
    sim_names_power_cut(disk);
}

/* --- operations of the ring ------------------------------------------------------------------- */

uint64_t sim_disk_delay(struct sim_disk *disk)
{
    struct sim *sim = disk->sim;
    uint64_t delay = 10 * NS_PER_US + sim_below(sim, 300 * NS_PER_US) + disk->latency_ns;
    if (sim_fault(sim, SIM_FAULT_slow_disk)) {
        delay += 100 * NS_PER_MS + sim_delay(sim, 9900 * NS_PER_MS);
    }
    return delay;
}

static bool request_aligned(const struct sim_request *request)
{
    if (!request->file->direct) {
        return true;
    }
    uint64_t mask = request->file->inode->disk->alignment - 1;
    if (((request->offset | request->size) & mask) != 0) {
        return false;
    }
    if (request->kind == SIM_READ) {
        return ((uintptr_t)request->data & mask) == 0;
    }
    for (unsigned i = 0; i < request->count; i += 1) {
        uintptr_t address = (uintptr_t)request->iovecs[i].iov_base;
        if (((address | request->iovecs[i].iov_len) & mask) != 0) {
            return false;
        }
    }
    return true;
}

static void end_run(struct sim *sim, struct sim_event *event)
{
    (void)sim;
    struct sim_request *request = CONTAINER_OF(event, struct sim_request, event);
    sim_end(request, (int32_t)request->size_done);
}

/* Ends with this result, later. */
static void end_later(struct sim_request *request, int64_t result)
{
    request->size_done = (uint64_t)result;
    request->event.run = end_run;
    sim_event_set(request->ring->sim, &request->event,
                  sim_disk_delay(request->file->inode->disk));
}

static void read_run(struct sim *sim, struct sim_event *event)
{
    struct sim_request *request = CONTAINER_OF(event, struct sim_request, event);
    struct sim_inode *inode = request->file->inode;
    if (inode->disk->reads_fail || sim_fault(sim, SIM_FAULT_read_error)) {
        sim_end(request, -EIO);
        return;
    }
    uint64_t left = inode->size > request->offset ? inode->size - request->offset : 0;
    uint64_t size = MIN_OF(left, request->size);
    if (size > SIM_SECTOR && sim_fault(sim, SIM_FAULT_short_read)) {
        size = SIM_SECTOR * (1 + sim_below(sim, size / SIM_SECTOR));
        size = MIN_OF(size, left);
    }
    sim_inode_read(inode, request->offset, request->data, size);
    sim_end(request, (int32_t)size);
}

void sim_file_read(struct sim_request *request)
{
    if (!request_aligned(request)) {
        end_later(request, -EINVAL);
        return;
    }
    request->event.run = read_run;
    sim_event_set(request->ring->sim, &request->event,
                  sim_disk_delay(request->file->inode->disk));
}

/* The first `size` bytes of what the iovecs name. */
static void write_apply(struct sim_request *request, uint64_t size)
{
    uint64_t offset = request->offset;
    for (unsigned i = 0; i < request->count && size > 0; i += 1) {
        uint64_t count = MIN_OF(size, (uint64_t)request->iovecs[i].iov_len);
        sim_inode_write(request->file->inode, offset, request->iovecs[i].iov_base, count);
        offset += count;
        size -= count;
    }
}

void sim_write_abandon(struct sim_request *request)
{
    struct sim *sim = request->ring->sim;
    if (request->file == NULL || request->event.run == end_run) {
        return;
    }
    uint64_t choice = sim_below(sim, 3);
    uint64_t sectors = request->size_stop / SIM_SECTOR;
    if (choice == 1) {
        write_apply(request, request->size_stop);
    } else if (choice == 2 && sectors > 0) {
        write_apply(request, SIM_SECTOR * sim_below(sim, sectors));
    }
}

static void write_end_run(struct sim *sim, struct sim_event *event)
{
    struct sim_request *request = CONTAINER_OF(event, struct sim_request, event);
    struct sim_inode *inode = request->file->inode;
    if (request->durable && (inode->disk->syncs_fail || sim_fault(sim, SIM_FAULT_sync_error))) {
        inode_settle(inode, request->offset, request->size_done, true);
        sim_end(request, -EIO);
        return;
    }
    if (request->durable) {
        inode_settle(inode, request->offset, request->size_done, false);
    }
    sim_end(request, (int32_t)request->size_done);
}

/* The moment at which it lands. */
static void write_run(struct sim *sim, struct sim_event *event)
{
    struct sim_request *request = CONTAINER_OF(event, struct sim_request, event);
    struct sim_inode *inode = request->file->inode;
    if (inode->disk->writes_fail || sim_fault(sim, SIM_FAULT_write_error)) {
        write_apply(request, SIM_SECTOR * sim_below(sim, request->size / SIM_SECTOR + 1));
        request->applied = true;
        end_later(request, -EIO);
        return;
    }
    uint64_t size = request->size;
    if (size > SIM_SECTOR && sim_fault(sim, SIM_FAULT_short_write)) {
        size = SIM_SECTOR * (1 + sim_below(sim, (size - 1) / SIM_SECTOR));
    }
    write_apply(request, size);
    request->applied = true;
    request->size_done = size;
    request->event.run = write_end_run;
    sim_event_set(sim, &request->event, sim_disk_delay(inode->disk));
}

void sim_file_write(struct sim_request *request)
{
    struct sim *sim = request->ring->sim;
    struct sim_inode *inode = request->file->inode;
    uint64_t end = request->offset + request->size;
    uint64_t growth = end > inode->size ? end - inode->size : 0;
    if (!request->file->writable) {
        end_later(request, -EBADF);
    } else if (!request_aligned(request)) {
        end_later(request, -EINVAL);
    } else if (inode->disk->read_only) {
        end_later(request, -EROFS);
    } else if (growth > sim_disk_space(inode->disk) || sim_fault(sim, SIM_FAULT_no_space)) {
        end_later(request, -ENOSPC);
    } else {
        request->event.run = write_run;
        sim_event_set(sim, &request->event, sim_delay(sim, 200 * NS_PER_US));
    }
}

static void sync_run(struct sim *sim, struct sim_event *event)
{
    struct sim_request *request = CONTAINER_OF(event, struct sim_request, event);
    struct sim_inode *inode = request->file->inode;
    if (inode->disk->syncs_fail || sim_fault(sim, SIM_FAULT_sync_error)) {
        sim_inode_poison(inode);
        sim_end(request, -EIO);
        return;
    }
    sim_inode_sync(inode);
    sim_end(request, 0);
}

void sim_file_sync(struct sim_request *request)
{
    request->event.run = sync_run;
    sim_event_set(request->ring->sim, &request->event,
                  sim_disk_delay(request->file->inode->disk));
}

/* --- for tests -------------------------------------------------------------------------------- */

int sim_disk_make_dir(struct sim_disk *disk, const char *path)
{
    char clean[SIM_PATH_MAX];
    if (!sim_path(path, clean)) {
        return -ENAMETOOLONG;
    }
    if (sim_name_find(disk, clean) != NULL) {
        return -EEXIST;
    }
    if (!sim_parent_exists(disk, clean)) {
        return -ENOENT;
    }
    sim_name_add(disk, clean, NULL);
    sim_parent_sync(disk, clean);
    return 0;
}

static struct sim_inode *file_find(struct sim_disk *disk, const char *path)
{
    char clean[SIM_PATH_MAX];
    struct sim_name *name = sim_path(path, clean) ? sim_name_find(disk, clean) : NULL;
    return name != NULL ? name->inode : NULL;
}

int sim_disk_put(struct sim_disk *disk, const char *path, struct slice bytes)
{
    char clean[SIM_PATH_MAX];
    if (!sim_path(path, clean)) {
        return -ENAMETOOLONG;
    }
    if (!sim_parent_exists(disk, clean)) {
        return -ENOENT;
    }
    struct sim_inode *inode = file_find(disk, clean);
    if (inode == NULL) {
        inode = sim_inode_new(disk);
        sim_name_add(disk, clean, inode);
        sim_parent_sync(disk, clean);
    }
    sim_inode_truncate(inode);
    sim_inode_write(inode, 0, bytes.data, bytes.size);
    sim_inode_sync(inode);
    return 0;
}

int sim_disk_overwrite(struct sim_disk *disk, const char *path, uint64_t offset,
                       struct slice bytes)
{
    struct sim_inode *inode = file_find(disk, path);
    if (inode == NULL) {
        return -ENOENT;
    }
    sim_inode_write(inode, offset, bytes.data, bytes.size);
    inode_settle(inode, offset, bytes.size, false);
    return 0;
}

int64_t sim_disk_get(struct sim_disk *disk, const char *path, uint64_t offset, void *data,
                     size_t size)
{
    const struct sim_inode *inode = file_find(disk, path);
    if (inode == NULL) {
        return -ENOENT;
    }
    uint64_t left = inode->size > offset ? inode->size - offset : 0;
    uint64_t count = MIN_OF(left, (uint64_t)size);
    sim_inode_read(inode, offset, data, count);
    return (int64_t)count;
}

int64_t sim_disk_file_size(struct sim_disk *disk, const char *path)
{
    const struct sim_inode *inode = file_find(disk, path);
    return inode != NULL ? (int64_t)inode->size : -ENOENT;
}

bool sim_disk_exists(struct sim_disk *disk, const char *path)
{
    char clean[SIM_PATH_MAX];
    return sim_path(path, clean) && sim_name_find(disk, clean) != NULL;
}
