#include "shard/watchdog.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define STAND_MS 200

struct subject {
    struct shard shard;
    struct thread thread;
    bool turns;
    _Atomic bool stop;
};

static void burn(void *context)
{
    struct subject *subject = context;
    while (!atomic_load(&subject->stop)) {
        if (subject->turns) {
            atomic_fetch_add(&subject->shard.turns, 1);
        }
    }
}

static void doze(void *context)
{
    struct subject *subject = context;
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    while (!atomic_load(&subject->stop)) {
        nanosleep(&pause, NULL);
    }
}

/* In a process of its own: the signal that ended it, or 0. */
static int watched_for(unsigned ms, thread_run *run, bool turns)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = {0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        static struct subject subject;
        subject.turns = turns;
        struct watched_shard watched = {.shard = &subject.shard, .thread = &subject.thread};
        struct watchdog watchdog;
        const struct thread_options options = {.name = "subject", .pin = true, .cpu = 1};
        if (thread_start(&subject.thread, &options, run, &subject) != 0 ||
            watchdog_start(&watchdog, &watched, 1, STAND_MS) != 0) {
            _exit(9);
        }
        const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
        nanosleep(&pause, NULL);
        watchdog_stop(&watchdog);
        atomic_store(&subject.stop, true);
        thread_join(&subject.thread);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void x11_a_loop_that_spins_is_ended(void **state)
{
    (void)state;
    assert_int_equal(watched_for(20000, burn, false), SIGABRT);
}

static void x11_a_loop_that_turns_or_waits_is_left_alone(void **state)
{
    (void)state;
    assert_int_equal(watched_for(4 * STAND_MS, burn, true), 0);
    assert_int_equal(watched_for(4 * STAND_MS, doze, false), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(x11_a_loop_that_spins_is_ended),
        cmocka_unit_test(x11_a_loop_that_turns_or_waits_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
