#include "shard/ring_faults.h"

#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/conf_text.h"
#include "core/slice.h"

#define RULES_MAX   16
#define RULE_BYTES  512
#define ERRNOS_MAX  256

struct rule {
    char text[RULE_BYTES]; /* the words, each with its NUL; the pointers below lead here */
    const char *kind;
    const char *file;
    const char *action;
    const char *condition; /* a path; null: always */
    uint64_t first;
    uint64_t last;
    uint64_t count; /* operations seen so far */
    struct ring_fault fault;
    bool kill;
    bool told;
};

struct ring_faults {
    unsigned count;
    struct rule rules[RULES_MAX];
};

/* --- reading the rules ------------------------------------------------------------------------ */

static bool parse_count(const char *word, struct rule *rule)
{
    struct slice text = slice_from_string(word);
    size_t digits = strspn(word, "0123456789");
    if (!slice_parse_u64(slice_first(text, digits), &rule->first) || rule->first == 0) {
        return false;
    }
    struct slice rest = slice_skip(text, digits);
    rule->last = rule->first;
    if (slice_equal(rest, SLICE("+"))) {
        rule->last = UINT64_MAX;
    } else if (slice_starts_with(rest, SLICE("-"))) {
        return slice_parse_u64(slice_skip(rest, 1), &rule->last) && rule->last >= rule->first;
    } else if (rest.size > 0) {
        return false;
    }
    return true;
}

static int32_t errno_of(const char *name)
{
    for (int32_t error = 1; error < ERRNOS_MAX; error++) {
        const char *known = strerrorname_np(error);
        if (known != NULL && strcmp(known, name) == 0) {
            return error;
        }
    }
    return 0;
}

static bool is_one_of(const char *kind, const char *const *kinds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(kind, kinds[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool parse_short(struct slice value, struct rule *rule)
{
    static const char *const kinds[] = {"read", "write", "send"};
    uint64_t bytes;
    if (!slice_parse_u64(value, &bytes) || bytes == 0 || bytes > UINT32_MAX) {
        return false;
    }
    rule->fault.bytes_max = (uint32_t)bytes;
    return is_one_of(rule->kind, kinds, COUNT_OF(kinds));
}

static bool parse_late(struct slice value, struct rule *rule)
{
    static const char *const kinds[] = {"*", "accept", "recv"};
    uint64_t late_ns;
    if (!conf_text_duration(value, &late_ns) || late_ns == 0) {
        return false;
    }
    rule->fault.late = (struct timespec){.tv_sec = (time_t)(late_ns / NS_PER_S),
                                         .tv_nsec = (long)(late_ns % NS_PER_S)};
    return !is_one_of(rule->kind, kinds, COUNT_OF(kinds));
}

static bool parse_after(const char *name, struct rule *rule)
{
    static const char *const kinds[] = {"read", "write", "fsync"};
    rule->fault.after = -errno_of(name);
    return rule->fault.after != 0 && is_one_of(rule->kind, kinds, COUNT_OF(kinds));
}

static bool parse_action(const char *word, struct rule *rule)
{
    struct slice text = slice_from_string(word);
    rule->action = word;
    if (slice_equal(text, SLICE("kill"))) {
        rule->kill = true;
        return true;
    }
    if (slice_starts_with(text, SLICE("after="))) {
        return parse_after(word + strlen("after="), rule);
    }
    if (slice_starts_with(text, SLICE("error="))) {
        rule->fault.error = -errno_of(word + strlen("error="));
        return rule->fault.error != 0;
    }
    if (slice_starts_with(text, SLICE("short="))) {
        return parse_short(slice_skip(text, strlen("short=")), rule);
    }
    return slice_starts_with(text, SLICE("late=")) &&
           parse_late(slice_skip(text, strlen("late=")), rule);
}

static bool parse_condition(const char *word, struct rule *rule)
{
    rule->condition = word + strlen("if=");
    return strncmp(word, "if=", strlen("if=")) == 0 && *rule->condition != 0;
}

static bool parse_words(struct rule *rule)
{
    const char *words[6] = {NULL};
    unsigned count = 0;
    char *rest = rule->text;
    for (char *word = strsep(&rest, " \n"); word != NULL; word = strsep(&rest, " \n")) {
        if (*word != 0 && count < COUNT_OF(words)) {
            words[count++] = word;
        }
    }
    if (count < 4 || count > 5) {
        return false;
    }
    rule->kind = words[0];
    rule->file = words[1];
    return parse_count(words[2], rule) && parse_action(words[3], rule) &&
           (count == 4 || parse_condition(words[4], rule));
}

static bool parse_rule(struct ring_faults *faults, const char *text, size_t size)
{
    if (strspn(text, " \n") >= size) {
        return true; /* behind the last semicolon */
    }
    if (faults->count == RULES_MAX || size >= RULE_BYTES) {
        return false;
    }
    struct rule *rule = &faults->rules[faults->count++];
    memcpy(rule->text, text, size);
    return parse_words(rule);
}

int ring_faults_open(struct ring_faults **faults_out, struct buf *reason_out)
{
    *faults_out = NULL;
    const char *text = getenv("RINGPOST_FAULTS");
    if (text == NULL || *text == 0) {
        return 0;
    }
    struct ring_faults *faults = calloc(1, sizeof(*faults));
    if (faults == NULL) {
        return -ENOMEM;
    }
    while (*text != 0) {
        size_t size = strcspn(text, ";");
        if (!parse_rule(faults, text, size)) {
            buf_printf(reason_out, "RINGPOST_FAULTS: no rule: %.*s", (int)MIN_OF(size, 100), text);
            free(faults);
            return -EINVAL;
        }
        text += size + (text[size] == ';');
    }
    *faults_out = faults;
    return 0;
}

void ring_faults_close(struct ring_faults *faults)
{
    free(faults);
}

/* --- taking them ------------------------------------------------------------------------------ */

static void describe(int fd, char *out, size_t capacity)
{
    char link[64];
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, out, capacity - 1);
    out[size < 0 ? 0 : size] = 0;
}

static bool rule_means(const struct rule *rule, const char *name)
{
    return strcmp(rule->kind, "*") == 0 || strncmp(name, rule->kind, strlen(rule->kind)) == 0;
}

static bool rule_applies(struct rule *rule, const char *name, const char *file)
{
    if (!rule_means(rule, name) || fnmatch(rule->file, file, 0) != 0 ||
        (rule->condition != NULL && access(rule->condition, F_OK) != 0)) {
        return false;
    }
    rule->count++;
    return rule->count >= rule->first && rule->count <= rule->last;
}

static void rule_tell(struct rule *rule, const char *name, const char *file)
{
    if (rule->told) {
        return;
    }
    rule->told = true;
    char line[PATH_MAX + RULE_BYTES];
    int size = snprintf(line, sizeof(line), "event=fault op=%s file=\"%s\" n=%llu action=%s\n",
                        name, file, (unsigned long long)rule->count, rule->action);
    ssize_t written = write(STDERR_FILENO, line, MIN_OF((size_t)size, sizeof(line)));
    (void)written;
}

const struct ring_fault *ring_faults_next(struct ring_faults *faults, const char *name, int fd)
{
    char file[PATH_MAX];
    bool described = false;
    const struct ring_fault *taken = NULL;
    for (unsigned i = 0; i < faults->count; i++) {
        struct rule *rule = &faults->rules[i];
        /* Asked for once, and only when it matters: what no rule means is to cost nothing. */
        if (!described && rule_means(rule, name)) {
            describe(fd, file, sizeof(file));
            described = true;
        }
        /* All of them count, the first is taken. */
        if (rule_applies(rule, name, file) && taken == NULL) {
            rule_tell(rule, name, file);
            if (rule->kill) {
                (void)kill(getpid(), SIGKILL);
            }
            taken = &rule->fault;
        }
    }
    return taken;
}
