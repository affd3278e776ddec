#include "tsa/site_hosts.h"

#include "core/buf.h"

#define HOST_BYTES_MAX 255u

struct slice site_name_of(struct slice site)
{
    for (size_t i = 1; i < site.size; i++) {
        if (site.data[i - 1] == '-' && site.data[i] == '>') {
            site = slice_skip(site, i + 1);
            break;
        }
    }
    struct slice protocol = SLICE("@smtp_client");
    return slice_ends_with(site, protocol) ? slice_first(site, site.size - protocol.size) : site;
}

/* --- positions -------------------------------------------------------------------------------- */

/* What hosts have at one position, counted from the right: labels with '|' between. */
struct place {
    struct slice labels;
    bool optional; /* some hosts end before it */
};

/* The last place of `rest`, which loses it; false: there is none. */
static bool place_take(struct slice *rest, struct place *place_out)
{
    size_t end = rest->size;
    *place_out = (struct place){.optional = false};
    if (end == 0) {
        return false;
    }
    if (rest->data[end - 1] == '?') {
        place_out->optional = true;
        end--;
    }
    bool several = end > 0 && rest->data[end - 1] == ')';
    size_t start = end;
    while (start > 0 && rest->data[start - 1] != (several ? '(' : '.')) {
        start--;
    }
    if (several && start == 0) {
        return false;
    }
    place_out->labels = slice_make(rest->data + start, end - start - several);
    start -= several;
    *rest = slice_first(*rest, start > 0 ? start - 1 : 0);
    return true;
}

/* The next label, which `labels` loses; false: there is none. */
static bool label_take(struct slice *labels, struct slice *label_out)
{
    if (labels->size == 0) {
        return false;
    }
    size_t size = slice_find(*labels, '|');
    *label_out = slice_first(*labels, size);
    *labels = slice_skip(*labels, MIN_OF(size + 1, labels->size));
    *label_out = slice_first(*label_out, slice_find(*label_out, ':'));
    return true;
}

/* --- hosts ------------------------------------------------------------------------------------ */

struct listing {
    struct arena *arena;
    struct slice *hosts;  /* those that have ended, then those that go on */
    unsigned ended;
    unsigned count;
};

static void host_add(struct listing *listing, struct slice label, struct slice behind)
{
    uint8_t memory[HOST_BYTES_MAX];
    struct buf host;
    buf_init(&host, memory, sizeof(memory));
    for (size_t i = 0; i < label.size; i++) {
        buf_put_byte(&host, ascii_lower(label.data[i]));
    }
    buf_put(&host, behind.size > 0 ? SLICE(".") : SLICE_NONE);
    buf_put(&host, behind);
    if (!host.overflow && listing->count < SITE_HOSTS_LISTED_MAX) {
        listing->hosts[listing->count++] = arena_copy(listing->arena, buf_slice(&host));
    }
}

/* Each host that goes on has one of these labels before it, or ends where it may. */
static void place_list(struct listing *listing, const struct place *place)
{
    struct slice open[SITE_HOSTS_LISTED_MAX];
    unsigned count = listing->count - listing->ended;
    for (unsigned i = 0; i < count; i++) {
        open[i] = listing->hosts[listing->ended + i];
    }
    if (place->optional) {
        listing->ended = listing->count;
    }
    listing->count = listing->ended;
    for (unsigned i = 0; i < count; i++) {
        struct slice labels = place->labels;
        struct slice label;
        while (label_take(&labels, &label)) {
            host_add(listing, label, open[i]);
        }
    }
}

unsigned site_hosts_list(struct slice name, struct arena *arena,
                         struct slice hosts_out[SITE_HOSTS_LISTED_MAX])
{
    struct listing listing = {.arena = arena, .hosts = hosts_out};
    struct place place;
    if (slice_starts_with(name, SLICE("mx_list:"))) {
        return 0;
    }
    name = slice_first(name, slice_find(name, '#'));
    name = slice_first(name, slice_find(name, '+'));
    bool first = true;
    while (place_take(&name, &place)) {
        struct slice label;
        if (!first) {
            place_list(&listing, &place);
            continue;
        }
        first = false;
        while (label_take(&place.labels, &label)) {
            host_add(&listing, label, SLICE_NONE);
        }
    }
    return arena->overflow ? 0 : listing.count;
}
