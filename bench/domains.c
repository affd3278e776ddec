#include "bench/domains.h"

#include <stdlib.h>
#include <string.h>

#define WEIGHT_MAX 1000000000u

/* The last one may lack its end. */
static unsigned count_lines(struct slice text)
{
    unsigned lines = text.size > 0 && text.data[text.size - 1] != '\n';
    for (size_t i = 0; i < text.size; i++) {
        lines += text.data[i] == '\n';
    }
    return lines;
}

static bool add_line(struct domains *domains, struct slice line)
{
    size_t colon = slice_find(line, ':');
    uint64_t weight = 1;
    if (colon == 0 || (colon < line.size &&
                       (!slice_parse_u64(slice_skip(line, colon + 1), &weight) || weight == 0 ||
                        weight > WEIGHT_MAX))) {
        return false;
    }
    uint64_t before = domains->count > 0 ? domains->weight_end[domains->count - 1] : 0;
    domains->names[domains->count] = slice_first(line, colon);
    domains->weight_end[domains->count] = before + weight;
    domains->count++;
    return true;
}

static bool read_lines(struct domains *domains, struct slice rest, struct buf *reason_out)
{
    for (unsigned number = 1; rest.size > 0; number++) {
        size_t end = slice_find(rest, '\n');
        struct slice line = slice_first(rest, end);
        rest = slice_skip(rest, MIN_OF(end + 1, rest.size));
        if (slice_ends_with(line, SLICE("\r"))) {
            line = slice_first(line, line.size - 1);
        }
        line = slice_trim(line);
        if (line.size == 0 || line.data[0] == '#') {
            continue;
        }
        if (!add_line(domains, line)) {
            buf_printf(reason_out, "domains line %u: domain or domain:weight", number);
            return false;
        }
    }
    if (domains->count == 0) {
        buf_put_string(reason_out, "domains: there is none");
    }
    return domains->count > 0;
}

bool domains_read(struct domains *domains, struct slice text, struct buf *reason_out)
{
    unsigned lines = count_lines(text);
    *domains = (struct domains){0};
    if (lines > DOMAINS_MAX) {
        buf_printf(reason_out, "domains: more than %u lines", DOMAINS_MAX);
        return false;
    }
    domains->text = malloc(text.size + 1);
    domains->names = calloc(lines, sizeof(struct slice));
    domains->weight_end = calloc(lines, sizeof(uint64_t));
    if (domains->text == NULL || domains->names == NULL || domains->weight_end == NULL) {
        buf_put_string(reason_out, "no memory for domains");
        domains_fini(domains);
        return false;
    }
    memcpy(domains->text, text.data, text.size);
    if (!read_lines(domains, slice_make(domains->text, text.size), reason_out)) {
        domains_fini(domains);
        return false;
    }
    return true;
}

void domains_put_later(struct buf *buf, uint64_t count, uint64_t weight)
{
    for (uint64_t i = 0; i < count; i++) {
        buf_put_string(buf, "q");
        buf_put_padded(buf, i, 6);
        buf_put_string(buf, ".g");
        buf_put_padded(buf, i % DOMAINS_LATER_GROUPS, 2);
        buf_put_string(buf, ".later.test:");
        buf_put_u64(buf, weight);
        buf_put_string(buf, "\n");
    }
}

void domains_put_sites(struct buf *buf, uint64_t count, uint64_t sites)
{
    for (uint64_t i = 0; i < count; i++) {
        buf_put_string(buf, "d");
        buf_put_padded(buf, i, 6);
        buf_put_string(buf, ".s");
        buf_put_u64(buf, i % sites);
        buf_put_string(buf, ".test\n");
    }
}

void domains_fini(struct domains *domains)
{
    free(domains->text);
    free(domains->names);
    free(domains->weight_end);
    *domains = (struct domains){0};
}

struct slice domains_pick(const struct domains *domains, struct prng *prng)
{
    if (domains->count == 1) {
        return domains->names[0];
    }
    uint64_t at = prng_below(prng, domains->weight_end[domains->count - 1]);
    unsigned low = 0;
    unsigned high = domains->count - 1;
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        if (domains->weight_end[middle] > at) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return domains->names[low];
}
