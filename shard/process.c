#include "shard/process.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

/* --- lines ------------------------------------------------------------------------------------ */

static void stderr_put(void *context, struct slice line)
{
    (void)context;
    /* One write a line, so that lines of several threads never mix. */
    ssize_t written = write(STDERR_FILENO, line.data, line.size);
    (void)written;
}

const struct log_sink process_stderr = {.put = stderr_put};

void process_say(const char *event, const char *reason)
{
    struct logline line;
    logline_begin(&line, event);
    logline_string(&line, "reason", reason);
    logline_end(&line, &process_stderr);
}

void process_put_endpoints(struct logline *line, const char *key,
                           const struct endpoint *endpoints, size_t count)
{
    char text[CONF_LISTENERS_MAX * ENDPOINT_TEXT_MAX];
    struct buf buf;
    buf_init(&buf, text, sizeof(text));
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            buf_put_byte(&buf, ',');
        }
        endpoint_put(&buf, &endpoints[i]);
    }
    logline_text(line, key, buf.size > 0 ? buf_slice(&buf) : SLICE("none"));
}

/* --- where we run ----------------------------------------------------------------------------- */

bool process_make_dirs(const char *path)
{
    char copy[PATH_MAX];
    size_t size = strlen(path);
    if (size >= sizeof(copy)) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(copy, path, size + 1);
    for (char *at = copy + 1; at <= copy + size; at++) {
        if (*at != '/' && *at != '\0') {
            continue;
        }
        char saved = *at;
        *at = '\0';
        if (mkdir(copy, 0750) != 0 && errno != EEXIST) {
            return false;
        }
        *at = saved;
    }
    return true;
}

uint64_t process_memory_limit(const struct conf *conf)
{
    struct sysinfo info;
    uint64_t memory = 1024ull * MIB;
    if (conf->memory.limit_bytes > 0) {
        return conf->memory.limit_bytes;
    }
    if (sysinfo(&info) == 0) {
        memory = (uint64_t)info.totalram * info.mem_unit;
    }
    FILE *file = fopen("/sys/fs/cgroup/memory.max", "re");
    if (file != NULL) {
        char text[32] = "";
        uint64_t group;
        if (fgets(text, sizeof(text), file) != NULL) {
            text[strcspn(text, "\n")] = '\0';
            if (slice_parse_u64(slice_from_string(text), &group)) {
                memory = MIN_OF(memory, group);
            }
        }
        fclose(file);
    }
    return memory / 4 * 3;
}

const char *process_become_user(const struct conf *conf)
{
    const struct passwd *user = NULL;
    const struct group *group = NULL;
    if (conf->node.user[0] == '\0' && conf->node.group[0] == '\0') {
        return NULL;
    }
    if (geteuid() != 0) {
        return "node.user and node.group: only root may become another user";
    }
    if (conf->node.user[0] != '\0' && (user = getpwnam(conf->node.user)) == NULL) {
        return "node.user: there is no such user";
    }
    if (conf->node.group[0] != '\0' && (group = getgrnam(conf->node.group)) == NULL) {
        return "node.group: there is no such group";
    }
    uid_t uid = user != NULL ? user->pw_uid : 0;
    gid_t gid = group != NULL ? group->gr_gid : user->pw_gid;
    if (prctl(PR_SET_KEEPCAPS, 1) != 0 || setgroups(0, NULL) != 0 ||
        setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0) {
        return "node.user and node.group: the system refused the change";
    }
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {{0}};
    sets[0].effective = 1u << CAP_NET_BIND_SERVICE;
    sets[0].permitted = sets[0].effective;
    if (uid != 0 && syscall(SYS_capset, &header, sets) != 0) {
        return "the right to bind low ports could not be kept";
    }
    return NULL;
}

void process_raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

uint64_t process_monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}
