/*
 * How fast the disk of a spool commits: writes of a group's size, one after another, each on stable
 * storage before the next, by the two ways there are (spool.method).
 */
#include "tools/cmd_spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/check.h"
#include "core/histogram.h"
#include "tools/clock.h"
#include "tools/exit_codes.h"

#define FILE_BYTES  (64ull * MIB)
#define GROUP_BYTES (256 * KIB)
#define ROUNDS      4

static const uint32_t sizes[] = {4 * KIB, 16 * KIB, 64 * KIB, GROUP_BYTES};

enum { METHOD_DSYNC, METHOD_FDATASYNC, METHODS };
static const char *const method_names[METHODS] = {"dsync", "fdatasync"};

struct cell {
    uint64_t elapsed_ns;
    struct histogram ns;
};

struct measure {
    struct spool_run *run;
    char path[SPOOL_PATH_BYTES];
    uint8_t *group; /* GROUP_BYTES, aligned */
    struct cell cells[METHODS][COUNT_OF(sizes)];
    int fds[METHODS]; /* a file each */
    bool works[METHODS];
};

static int complain(const struct measure *measure, const char *what)
{
    fprintf(stderr, "ringpost: %s: %s: %s\n", measure->path, what, strerror(errno));
    return -1;
}

/* A file as segments are: all of it written with zeros, no name. */
static int make_file(const struct measure *measure)
{
    int fd = open(measure->run->path, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    if (fd < 0) {
        char path[SPOOL_PATH_BYTES + 32];
        snprintf(path, sizeof(path), "%s/measure-XXXXXX", measure->run->path);
        fd = mkstemp(path);
        if (fd < 0) {
            return complain(measure, "cannot be written to");
        }
        (void)unlink(path);
    }
    for (uint64_t at = 0; at < FILE_BYTES; at += GROUP_BYTES) {
        if (pwrite(fd, measure->group, GROUP_BYTES, (off_t)at) != (ssize_t)GROUP_BYTES) {
            (void)complain(measure, "cannot be filled");
            close(fd);
            return -1;
        }
    }
    if (fsync(fd) != 0) {
        (void)complain(measure, "cannot be synced");
        close(fd);
        return -1;
    }
    return fd;
}

static bool commit(int fd, unsigned method, const struct iovec *group, uint64_t offset)
{
    int flags = method == METHOD_DSYNC ? RWF_DSYNC : 0;
    if (pwritev2(fd, group, 1, (off_t)offset, flags) != (ssize_t)group->iov_len) {
        return false;
    }
    return method == METHOD_DSYNC || fdatasync(fd) == 0;
}

static bool measure_cell(struct measure *measure, unsigned method, size_t size)
{
    struct cell *cell = &measure->cells[method][size];
    struct iovec group = {.iov_base = measure->group, .iov_len = sizes[size]};
    uint64_t begin = clock_steady_ns();
    uint64_t end = begin + measure->run->seconds * NS_PER_S / ROUNDS;
    uint64_t last = begin;
    uint64_t offset = 0;
    while (last < end) {
        measure->group[0]++;
        if (!commit(measure->fds[method], method, &group, offset)) {
            return complain(measure, method_names[method]) == 0;
        }
        uint64_t now = clock_steady_ns();
        histogram_record(&cell->ns, now - last);
        last = now;
        offset = (offset + sizes[size]) % FILE_BYTES;
    }
    cell->elapsed_ns += last - begin;
    return true;
}

/* The methods by turns: what else the disk does then meets all of them alike. */
static void measure_all(struct measure *measure)
{
    for (unsigned i = 0; i < ROUNDS * COUNT_OF(sizes); i++) {
        size_t size = i / ROUNDS;
        if (isatty(STDERR_FILENO) == 1) {
            fprintf(stderr, "\r%u KiB   ", sizes[size] / KIB);
        }
        for (unsigned method = 0; method < METHODS; method++) {
            measure->works[method] =
                measure->works[method] && measure_cell(measure, method, size);
        }
    }
}

static double per_second(const struct cell *cell)
{
    return cell->elapsed_ns == 0
               ? 0 : (double)cell->ns.count * (double)NS_PER_S / (double)cell->elapsed_ns;
}

/* The faster one, all sizes alike; "dsync" when in doubt. */
static unsigned better(const struct measure *measure)
{
    double ratio = 1;
    if (!measure->works[METHOD_DSYNC] || !measure->works[METHOD_FDATASYNC]) {
        return measure->works[METHOD_DSYNC] ? METHOD_DSYNC : METHOD_FDATASYNC;
    }
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        ratio *= per_second(&measure->cells[METHOD_DSYNC][i]) /
                 per_second(&measure->cells[METHOD_FDATASYNC][i]);
    }
    return ratio >= 1 ? METHOD_DSYNC : METHOD_FDATASYNC;
}

static double us_of(const struct cell *cell, unsigned per_mille)
{
    return (double)histogram_percentile(&cell->ns, per_mille) / (double)NS_PER_US;
}

static void print_cell(struct measure *measure, unsigned method, size_t size)
{
    const struct cell *cell = &measure->cells[method][size];
    struct json json;
    if (!measure->run->as_json) {
        printf("%-10s %8u %12.0f %10.0f %10.0f\n", method_names[method], sizes[size] / KIB,
               per_second(cell), us_of(cell, 500), us_of(cell, 990));
        return;
    }
    spool_run_json(measure->run, &json, "measurement");
    spool_json_text(&json, "method", slice_from_string(method_names[method]));
    spool_json_number(&json, "bytes", sizes[size]);
    spool_json_number(&json, "commits", cell->ns.count);
    json_key(&json, "commits_per_s");
    json_fixed(&json, per_second(cell), 1);
    json_key(&json, "p50_us");
    json_fixed(&json, us_of(cell, 500), 1);
    json_key(&json, "p99_us");
    json_fixed(&json, us_of(cell, 990), 1);
    spool_run_json_end(measure->run, &json);
}

static void print_all(struct measure *measure)
{
    struct json json;
    const char *choice = method_names[better(measure)];
    if (isatty(STDERR_FILENO) == 1) {
        fprintf(stderr, "\r                    \r");
    }
    if (!measure->run->as_json) {
        printf("%-10s %8s %12s %10s %10s\n", "method", "KiB", "commits/s", "p50 us", "p99 us");
    }
    for (unsigned method = 0; method < METHODS; method++) {
        for (size_t i = 0; i < COUNT_OF(sizes) && measure->works[method]; i++) {
            print_cell(measure, method, i);
        }
    }
    if (!measure->run->as_json) {
        printf("spool.method = \"%s\" suits this disk\n", choice);
        return;
    }
    spool_run_json(measure->run, &json, "choice");
    spool_json_text(&json, "method", slice_from_string(choice));
    spool_run_json_end(measure->run, &json);
}

int spool_measure(struct spool_run *run)
{
    struct measure *measure = calloc(1, sizeof(*measure));
    CHECK(measure != NULL);
    measure->run = run;
    snprintf(measure->path, sizeof(measure->path), "%s", run->path);
    measure->group = aligned_alloc(RECORD_PAGE_BYTES, GROUP_BYTES);
    CHECK(measure->group != NULL);
    memset(measure->group, 0, GROUP_BYTES);
    for (unsigned method = 0; method < METHODS; method++) {
        measure->fds[method] = make_file(measure);
        measure->works[method] = measure->fds[method] >= 0;
    }
    if (measure->works[METHOD_DSYNC] && fcntl(measure->fds[METHOD_DSYNC], F_SETFL, O_DIRECT) != 0) {
        fprintf(stderr, "ringpost: %s: no direct I/O on this file system\n", measure->path);
        measure->works[METHOD_DSYNC] = false;
    }
    measure_all(measure);
    bool any = measure->works[METHOD_DSYNC] || measure->works[METHOD_FDATASYNC];
    for (unsigned method = 0; method < METHODS; method++) {
        if (measure->fds[method] >= 0) {
            close(measure->fds[method]);
        }
    }
    if (any) {
        print_all(measure);
    }
    free(measure->group);
    free(measure);
    return any ? EXIT_FINE : EXIT_FAILED;
}
