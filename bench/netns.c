#include "bench/netns.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONGESTION_SYSCTL "/proc/sys/net/ipv4/tcp_congestion_control"

static bool loopback_up(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    struct ifreq request = {.ifr_name = "lo"};
    bool up = ioctl(fd, SIOCGIFFLAGS, &request) == 0;
    request.ifr_flags |= IFF_UP;
    up = up && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    close(fd);
    return up;
}

static bool congestion_set(const char *congestion)
{
    int fd = open(CONGESTION_SYSCTL, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    size_t size = strlen(congestion);
    bool set = write(fd, congestion, size) == (ssize_t)size;
    close(fd);
    return set;
}

bool netns_enter(const char *congestion, bool *congestion_set_out)
{
    *congestion_set_out = false;
    int before = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (before < 0) {
        return false;
    }
    bool inside = unshare(CLONE_NEWNET) == 0;
    if (inside && !loopback_up()) {
        inside = setns(before, CLONE_NEWNET) != 0;
    }
    *congestion_set_out = inside && congestion_set(congestion);
    close(before);
    return inside;
}
