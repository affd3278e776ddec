/* Processes: descriptors, kill, power cut. */
#include "tests/sim/sim_internal.h"

#include <stdlib.h>
#include <string.h>

struct sim_node *sim_node_open(struct sim *sim, struct sim_disk *disk)
{
    struct sim_node *node = sim_memory(sizeof(*node));
    node->sim = sim;
    node->disk = disk;
    node->host = sim->next_host;
    sim->next_host += 1;
    list_init(&node->rings);
    list_push_back(&sim->nodes, &node->link);
    return node;
}

struct sim *sim_node_sim(struct sim_node *node)
{
    return node->sim;
}

struct sim_file *sim_file_open(struct sim_node *node, enum sim_file_kind kind)
{
    unsigned slot = 0;
    while (slot < node->file_count && node->files[slot]->kind != SIM_FILE_FREE) {
        slot += 1;
    }
    if (slot == node->file_count) {
        node->file_count += 1;
        node->files = realloc(node->files, node->file_count * sizeof(struct sim_file *));
        CHECK(node->files != NULL);
        node->files[slot] = sim_memory(sizeof(struct sim_file));
    }
    struct sim_file *file = node->files[slot];
    *file = (struct sim_file){.kind = kind, .fd = (int)slot + SIM_FIRST_FD, .node = node};
    list_init(&file->requests);
    return file;
}

struct sim_file *sim_file_find(struct sim_node *node, int fd)
{
    unsigned slot = (unsigned)(fd - SIM_FIRST_FD);
    if (fd < SIM_FIRST_FD || slot >= node->file_count ||
        node->files[slot]->kind == SIM_FILE_FREE) {
        return NULL;
    }
    return node->files[slot];
}

static void file_close(struct sim_file *file, bool silent)
{
    switch (file->kind) {
    case SIM_FILE_FREE:
    case SIM_FILE_SPARE:
        break;
    case SIM_FILE_SOCKET:
        sim_socket_close(file->socket, silent);
        break;
    case SIM_FILE_LISTENER:
        sim_listener_drop(file->listener, silent);
        break;
    case SIM_FILE_DISK:
        file->inode->opens -= 1;
        if (file->locked) {
            file->inode->locker = NULL;
        }
        break;
    }
    file->kind = SIM_FILE_FREE;
}

void sim_file_free(struct sim_file *file)
{
    file_close(file, false);
}

unsigned sim_node_descriptors(const struct sim_node *node)
{
    unsigned count = 0;
    for (unsigned i = 0; i < node->file_count; i += 1) {
        count += node->files[i]->kind != SIM_FILE_FREE;
    }
    return count;
}

unsigned sim_node_writing(const struct sim_node *node, const char *name)
{
    unsigned count = 0;
    for (struct list *link = node->rings.next; link != &node->rings; link = link->next) {
        const struct ring *ring = CONTAINER_OF(link, struct ring, node_link);
        for (struct list *item = ring->in_flight.next; item != &ring->in_flight;
             item = item->next) {
            const struct sim_request *request = CONTAINER_OF(item, struct sim_request, link);
            bool writes = request->kind == SIM_WRITE || request->kind == SIM_SYNC;
            count += writes && strncmp(request->file->name, name, strlen(name)) == 0;
        }
    }
    return count;
}

bool sim_node_idle(struct sim_node *node, const char **what_out)
{
    *what_out = "";
    if (!list_empty(&node->rings)) {
        *what_out = "a ring is open";
    } else if (node->work != NULL) {
        *what_out = "workers are open";
    } else if (sim_node_descriptors(node) != 0) {
        *what_out = "a descriptor is open";
    }
    return **what_out == '\0';
}

/* Operations in flight end with their process: writes land or do not. */
static void node_abandon(struct sim_node *node)
{
    for (struct list *link = node->rings.next; link != &node->rings; link = link->next) {
        struct ring *ring = CONTAINER_OF(link, struct ring, node_link);
        for (struct list *item = ring->in_flight.next; item != &ring->in_flight;
             item = item->next) {
            struct sim_request *request = CONTAINER_OF(item, struct sim_request, link);
            if (request->kind == SIM_WRITE && !request->ended && !request->applied) {
                sim_write_abandon(request);
            }
        }
    }
}

static void node_end(struct sim_node *node, bool silent)
{
    node_abandon(node);
    while (!list_empty(&node->rings)) {
        sim_ring_free(CONTAINER_OF(node->rings.next, struct ring, node_link));
    }
    if (node->work != NULL) {
        sim_work_free(node->work);
        node->work = NULL;
    }
    for (unsigned i = 0; i < node->file_count; i += 1) {
        struct sim_file *file = node->files[i];
        bool locked = file->kind == SIM_FILE_DISK && file->locked;
        struct sim_inode *inode = file->inode;
        file_close(file, silent);
        if (locked && !silent && sim_fault(node->sim, SIM_FAULT_lock_lingers)) {
            inode->locked_until_ns = node->sim->now_ns + sim_delay(node->sim, NS_PER_S);
        }
    }
}

void sim_node_kill(struct sim_node *node)
{
    sim_trace(node->sim, node->host);
    node_end(node, false);
    if (node->disk != NULL) {
        sim_disk_evict(node->disk);
    }
}

void sim_node_power_cut(struct sim_node *node)
{
    sim_trace(node->sim, node->host);
    node_end(node, true);
    if (node->disk != NULL) {
        sim_disk_power_cut(node->disk);
    }
}
