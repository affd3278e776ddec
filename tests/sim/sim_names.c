/*
 * Names: a table of those that exist, one of those that would after a power cut, and the changes
 * between the two, oldest first. Each directory's changes become durable in order, by a sync of
 * that directory; a power cut keeps a random number of the first of them.
 */
#include "tests/sim/sim_internal.h"

#include <stdlib.h>
#include <string.h>

bool sim_path(const char *path, char out[SIM_PATH_MAX])
{
    size_t size = 0;
    const char *at = path;
    while (*at != '\0') {
        if (at[0] == '.' && (at[1] == '/' || at[1] == '\0')) {
            at += at[1] == '/' ? 2 : 1;
            continue;
        }
        size_t part = strcspn(at, "/");
        if (size + part + 2 > SIM_PATH_MAX) {
            return false;
        }
        memcpy(out + size, at, part);
        size += part;
        at += part;
        if (*at == '/') {
            if (size == 0 || out[size - 1] != '/') {
                out[size] = '/';
                size += 1;
            }
            at += strspn(at, "/");
        }
    }
    while (size > 1 && out[size - 1] == '/') {
        size -= 1;
    }
    out[size] = '\0';
    return true;
}

/* Size of the directory's part of a canonical path: "a/b" 1, "/a" 1, "a" 0. */
static size_t parent_size(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return 0;
    }
    return slash == path ? 1 : (size_t)(slash - path);
}

static bool in_directory(const char *path, const char *directory, size_t size)
{
    return parent_size(path) == size && memcmp(path, directory, size) == 0 && path[size] != '\0';
}

static struct sim_name *find(const struct list *names, const char *path, size_t size)
{
    for (struct list *node = names->next; node != names; node = node->next) {
        struct sim_name *name = CONTAINER_OF(node, struct sim_name, link);
        if (strncmp(name->path, path, size) == 0 && name->path[size] == '\0') {
            return name;
        }
    }
    return NULL;
}

static bool parent_in(const struct list *names, const char *path)
{
    size_t size = parent_size(path);
    if (size == 0 || (size == 1 && path[0] == '/')) {
        return true;
    }
    const struct sim_name *name = find(names, path, size);
    return name != NULL && name->inode == NULL;
}

struct sim_name *sim_name_find(struct sim_disk *disk, const char *path)
{
    return find(&disk->names, path, strlen(path));
}

bool sim_parent_exists(struct sim_disk *disk, const char *path)
{
    return parent_in(&disk->names, path);
}

static void table_remove(struct list *names, const char *path)
{
    struct sim_name *name = find(names, path, strlen(path));
    if (name != NULL) {
        list_remove(&name->link);
        free(name);
    }
}

static void table_add(struct list *names, const char *path, struct sim_inode *inode)
{
    table_remove(names, path);
    size_t size = strlen(path) + 1;
    struct sim_name *name = sim_memory(sizeof(*name) + size);
    memcpy(name->path, path, size);
    name->inode = inode;
    list_push_back(names, &name->link);
}

static void current_remove(struct sim_disk *disk, const char *path)
{
    struct sim_name *name = sim_name_find(disk, path);
    if (name != NULL && name->inode != NULL) {
        name->inode->names -= 1;
    }
    table_remove(&disk->names, path);
}

static void current_add(struct sim_disk *disk, const char *path, struct sim_inode *inode)
{
    current_remove(disk, path);
    table_add(&disk->names, path, inode);
    if (inode != NULL) {
        inode->names += 1;
    }
}

static char *copy(const char *text)
{
    if (text == NULL) {
        return NULL;
    }
    size_t size = strlen(text) + 1;
    char *out = sim_memory(size);
    memcpy(out, text, size);
    return out;
}

static void change(struct sim_disk *disk, const char *remove, const char *add,
                   struct sim_inode *inode)
{
    struct sim_change *item = sim_memory(sizeof(*item));
    item->remove = copy(remove);
    item->add = copy(add);
    item->inode = inode;
    list_push_back(&disk->changes, &item->link);
}

void sim_name_add(struct sim_disk *disk, const char *path, struct sim_inode *inode)
{
    current_add(disk, path, inode);
    change(disk, NULL, path, inode);
}

void sim_name_remove(struct sim_disk *disk, const char *path)
{
    current_remove(disk, path);
    change(disk, path, NULL, NULL);
}

void sim_name_move(struct sim_disk *disk, const char *path, const char *path_to)
{
    struct sim_inode *inode = sim_name_find(disk, path)->inode;
    current_add(disk, path_to, inode);
    current_remove(disk, path);
    change(disk, path, path_to, inode);
}

static void change_free(struct sim_change *item)
{
    list_remove(&item->link);
    free(item->remove);
    free(item->add);
    free(item);
}

static void change_make_durable(struct sim_disk *disk, struct sim_change *item)
{
    if (item->remove != NULL) {
        table_remove(&disk->names_durable, item->remove);
    }
    if (item->add != NULL) {
        table_add(&disk->names_durable, item->add, item->inode);
    }
    change_free(item);
}

/* The directory a change belongs to: the one in which a name appears, else disappears. */
static const char *change_path(const struct sim_change *item)
{
    return item->add != NULL ? item->add : item->remove;
}

void sim_parent_sync(struct sim_disk *disk, const char *path)
{
    for (struct list *node = disk->changes.next; node != &disk->changes;) {
        struct sim_change *item = CONTAINER_OF(node, struct sim_change, link);
        node = node->next;
        if (in_directory(change_path(item), path, parent_size(path))) {
            change_make_durable(disk, item);
        }
    }
}

/* Drops this change and every later one of the same directory. */
static void changes_lose(struct sim_disk *disk, struct sim_change *first)
{
    char *path = copy(change_path(first));
    for (struct list *node = &first->link; node != &disk->changes;) {
        struct sim_change *item = CONTAINER_OF(node, struct sim_change, link);
        node = node->next;
        if (in_directory(change_path(item), path, parent_size(path))) {
            change_free(item);
        }
    }
    free(path);
}

void sim_names_power_cut(struct sim_disk *disk)
{
    while (!list_empty(&disk->changes)) {
        struct sim_change *item = CONTAINER_OF(disk->changes.next, struct sim_change, link);
        if (sim_fault(disk->sim, SIM_FAULT_name_lost)) {
            changes_lose(disk, item);
        } else {
            change_make_durable(disk, item);
        }
    }
    while (!list_empty(&disk->names)) {
        struct sim_name *name = CONTAINER_OF(disk->names.next, struct sim_name, link);
        if (name->inode != NULL) {
            name->inode->names -= 1;
        }
        list_remove(&name->link);
        free(name);
    }
    bool dropped = true;
    while (dropped) { /* what stood in a directory that is lost is lost */
        dropped = false;
        for (struct list *node = disk->names_durable.next; node != &disk->names_durable;) {
            struct sim_name *name = CONTAINER_OF(node, struct sim_name, link);
            node = node->next;
            if (!parent_in(&disk->names_durable, name->path)) {
                list_remove(&name->link);
                free(name);
                dropped = true;
            }
        }
    }
    struct list *durable = &disk->names_durable;
    for (struct list *node = durable->next; node != durable; node = node->next) {
        const struct sim_name *name = CONTAINER_OF(node, struct sim_name, link);
        current_add(disk, name->path, name->inode);
    }
}

void sim_names_free(struct sim_disk *disk)
{
    while (!list_empty(&disk->changes)) {
        change_free(CONTAINER_OF(disk->changes.next, struct sim_change, link));
    }
    struct list *tables[] = {&disk->names, &disk->names_durable};
    for (unsigned i = 0; i < COUNT_OF(tables); i += 1) {
        while (!list_empty(tables[i])) {
            free(CONTAINER_OF(list_pop_front(tables[i]), struct sim_name, link));
        }
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

unsigned sim_disk_list(struct sim_disk *disk, const char *path, char *names, size_t capacity)
{
    char clean[SIM_PATH_MAX];
    const char *found[1024];
    unsigned count = 0;
    if (!sim_path(path, clean)) {
        return 0;
    }
    size_t size = strlen(clean);
    for (struct list *node = disk->names.next; node != &disk->names; node = node->next) {
        const struct sim_name *name = CONTAINER_OF(node, struct sim_name, link);
        if (in_directory(name->path, clean, size) && count < COUNT_OF(found)) {
            found[count] = strrchr(name->path, '/') != NULL ? strrchr(name->path, '/') + 1
                                                            : name->path;
            count += 1;
        }
    }
    qsort(found, count, sizeof(found[0]), compare_names);
    for (unsigned i = 0; i < count; i += 1) {
        size_t part = strlen(found[i]) + 1;
        if (part > capacity) {
            return i;
        }
        memcpy(names, found[i], part);
        names += part;
        capacity -= part;
    }
    return count;
}
