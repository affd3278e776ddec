#include "bench/process.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"

#define START_MS         10000
#define WAIT_MS          2
#define PROGRESS_FAST_NS (500 * NS_PER_MS)
#define PROGRESS_SLOW_NS (10 * NS_PER_S)

int bench_shard_open(struct bench_shard *bench, struct buf *reason_out)
{
    static const struct ring_options options = {
        .submit_entries = 1024,
        .complete_entries = 16384,
        .buffer_count = 1024,
        .buffer_bytes = 16 * KIB,
    };
    struct ring *ring = NULL;
    int error = ring_open(&options, &ring, reason_out);
    if (error != 0) {
        return error;
    }
    bench->peers[0] = &bench->shard;
    struct shard_options shard = {.count = 1, .ring = ring, .peers = bench->peers};
    error = shard_init(&bench->shard, &shard);
    if (error != 0) {
        ring_close(ring);
        buf_printf(reason_out, "no memory for a shard: %s", strerror(-error));
    }
    return error;
}

void bench_shard_close(struct bench_shard *bench)
{
    shard_fini(&bench->shard);
}

bool bench_shard_open_or_say(struct bench_shard *bench)
{
    char why[256];
    struct buf reason;
    buf_init(&reason, why, sizeof(why));
    if (bench_shard_open(bench, &reason) != 0) {
        fprintf(stderr, "ringpost-bench: %.*s\n", (int)reason.size, why);
        return false;
    }
    return true;
}

struct endpoint loopback_endpoint(uint16_t port)
{
    struct endpoint endpoint;
    CHECK(endpoint_parse_address(SLICE("127.0.0.1"), &endpoint));
    endpoint.port = port;
    return endpoint;
}

static void *stopper_wait(void *argument)
{
    struct stopper *stopper = argument;
    for (;;) {
        int number = 0;
        if (sigwait(&stopper->signals, &number) == 0) {
            if (atomic_exchange(&stopper->asked, true)) {
                _exit(1); /* asked twice: at once */
            }
        }
    }
    return NULL;
}

int stopper_start(struct stopper *stopper)
{
    atomic_init(&stopper->asked, false);
    sigemptyset(&stopper->signals);
    sigaddset(&stopper->signals, SIGTERM);
    sigaddset(&stopper->signals, SIGINT);
    int error = pthread_sigmask(SIG_BLOCK, &stopper->signals, NULL);
    if (error == 0) {
        error = pthread_create(&stopper->thread, NULL, stopper_wait, stopper);
    }
    return -error;
}

void *shared_memory_take(uint64_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

int child_start(struct child *child, int (*run)(void *context), void *context)
{
    pid_t parent = getpid();
    *child = (struct child){0};
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        return -errno;
    }
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        int code = getppid() == parent ? run(context) : 1;
        fflush(NULL);
        _exit(code);
    }
    child->pid = pid;
    return 0;
}

static void child_reap(struct child *child, int flags)
{
    pid_t pid = 0;
    do {
        pid = wait4(child->pid, &child->status, flags, &child->usage);
    } while (pid < 0 && errno == EINTR);
    if (pid != 0) {
        child->pid = 0;
    }
}

bool child_wait(struct child *child)
{
    if (child->pid != 0) {
        child_reap(child, 0);
    }
    return WIFEXITED(child->status) && WEXITSTATUS(child->status) == 0;
}

bool child_ended(struct child *child)
{
    if (child->pid != 0) {
        child_reap(child, WNOHANG);
    }
    return child->pid == 0;
}

void child_kill(struct child *child)
{
    if (child->pid != 0) {
        (void)kill(child->pid, SIGKILL);
        (void)child_wait(child);
    }
}

uint16_t child_wait_port(struct child *child, _Atomic uint32_t *port)
{
    for (unsigned waited = 0; waited < START_MS && !child_ended(child); waited++) {
        uint32_t value = atomic_load(port);
        if (value != 0) {
            return (uint16_t)value;
        }
        clock_sleep_ms(1);
    }
    return 0;
}

bool child_wait_count(struct child *child, const struct count_wait *wait)
{
    uint64_t before = UINT64_MAX;
    unsigned still_ms = 0;
    while (still_ms < wait->still_ms_max && !child_ended(child)) {
        uint64_t count = atomic_load(wait->count);
        if (count >= wait->wanted) {
            return true;
        }
        if (wait->failed != NULL && atomic_load(wait->failed)) {
            return false;
        }
        still_ms = count == before ? still_ms + WAIT_MS : 0;
        before = count;
        clock_sleep_ms(WAIT_MS);
    }
    return false;
}

static double seconds(const struct timeval *time)
{
    return (double)time->tv_sec + (double)time->tv_usec / 1e6;
}

double child_cpu_s(const struct child *child)
{
    return seconds(&child->usage.ru_utime) + seconds(&child->usage.ru_stime);
}

void progress_init(struct progress *progress, uint64_t now_ns)
{
    progress->terminal = isatty(STDERR_FILENO) == 1;
    progress->next_ns = now_ns + (progress->terminal ? 0 : PROGRESS_SLOW_NS);
}

bool progress_due(struct progress *progress, uint64_t now_ns)
{
    if (now_ns < progress->next_ns) {
        return false;
    }
    progress->next_ns = now_ns + (progress->terminal ? PROGRESS_FAST_NS : PROGRESS_SLOW_NS);
    return true;
}

void progress_end(const struct progress *progress)
{
    if (progress->terminal) {
        fprintf(stderr, "\r\033[K");
    }
}

uint64_t clock_now_ns(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

void clock_sleep_ms(unsigned ms)
{
    struct timespec span = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&span, NULL);
}
