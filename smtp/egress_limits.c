#include "smtp/egress_limits.h"

#include "core/check.h"

void egress_limits_init(struct egress_limits *limits, struct slice name, uint64_t identity,
                        const struct path_options *path)
{
    const struct slice own[] = {SLICE("connections"), name,
                                slice_make(&identity, sizeof(identity))};
    const struct cell_key key = cell_key_of(own, COUNT_OF(own));
    struct cell_set *set = &limits->set;
    set->requests = limits->requests;
    set->capacity = EGRESS_CELLS_MAX;
    limits->path = path;
    (void)cell_set_count(set, &key);
    for (size_t i = 0; i < path->additional_connection_limits.count; i++) {
        const struct slice shared[] = {SLICE("additional connections"),
                                       path->additional_connection_limits.rows[i].name};
        const struct cell_key additional = cell_key_of(shared, COUNT_OF(shared));
        (void)cell_set_count(set, &additional);
    }
    limits->slot_count = set->count;
    if (rate_is_set(&path->max_message_rate)) {
        const struct slice site[] = {SLICE("max_message_rate"), name};
        (void)cell_set_rate(set, site, COUNT_OF(site), &path->max_message_rate);
    }
    for (size_t i = 0; i < path->additional_message_rates.count; i++) {
        const struct slice shared[] = {SLICE("additional messages"),
                                       path->additional_message_rates.rows[i].name};
        (void)cell_set_rate(set, shared, COUNT_OF(shared),
                            &path->additional_message_rates.rows[i].rate);
    }
    limits->rate_count = set->count - limits->slot_count;
    if (rate_is_set(&path->max_connection_rate)) {
        const struct slice site[] = {SLICE("max_connection_rate"), name};
        (void)cell_set_rate(set, site, COUNT_OF(site), &path->max_connection_rate);
    }
    rates_init(&limits->messages, limits->message_lines, EGRESS_RATES_MAX);
    rates_init(&limits->connects, &limits->connect_line, 1);
}

/* In the order in which their cells were added. */
static const struct rate *message_rate(const struct path_options *path, unsigned i)
{
    if (rate_is_set(&path->max_message_rate)) {
        if (i == 0) {
            return &path->max_message_rate;
        }
        i--;
    }
    return &path->additional_message_rates.rows[i].rate;
}

void egress_limits_begin(struct egress_limits *limits)
{
    CHECK(cell_set_whole(&limits->set) && limits->messages.count == 0);
    unsigned at = limits->slot_count;
    for (unsigned i = 0; i < limits->rate_count; i++) {
        rates_add(&limits->messages, cell_set_at(&limits->set, at++),
                  message_rate(limits->path, i));
    }
    if (at < limits->set.count) {
        rates_add(&limits->connects, cell_set_at(&limits->set, at),
                  &limits->path->max_connection_rate);
    }
}

void egress_limits_end(struct egress_limits *limits)
{
    rates_clear(&limits->messages);
    rates_clear(&limits->connects);
    egress_limits_content(limits);
}

/* --- slots ------------------------------------------------------------------------------------ */

static uint32_t slot_limit(const struct egress_limits *limits, unsigned i)
{
    const struct path_options *path = limits->path;
    return i == 0 ? path->connection_limit : path->additional_connection_limits.rows[i - 1].limit;
}

static void say(struct egress_limits *limits, unsigned i, enum cell_want want)
{
    if (want != limits->wants[i]) {
        cell_say(cell_set_at(&limits->set, i), limits->wants[i], want);
        limits->wants[i] = want;
    }
}

bool egress_limits_take(struct egress_limits *limits, uint32_t connections)
{
    unsigned full = 0;
    while (full < limits->slot_count &&
           cell_take(cell_set_at(&limits->set, full), slot_limit(limits, full))) {
        full++;
    }
    if (full == limits->slot_count) {
        egress_limits_content(limits);
        return true;
    }
    for (unsigned i = 0; i < full; i++) {
        cell_give(cell_set_at(&limits->set, i));
    }
    uint64_t after = (connections + 1ull) * cell_users(cell_set_at(&limits->set, full));
    bool starving = connections == 0 || after <= slot_limit(limits, full);
    /* Each cell hears what has changed for it, and no more: others look at it at any moment. */
    for (unsigned i = 0; i < limits->slot_count; i++) {
        say(limits, i, i != full ? CELL_CONTENT : starving ? CELL_STARVES : CELL_WANTS);
    }
    return false;
}

void egress_limits_give(struct egress_limits *limits)
{
    for (unsigned i = 0; i < limits->slot_count; i++) {
        cell_give(cell_set_at(&limits->set, i));
    }
}

void egress_limits_content(struct egress_limits *limits)
{
    for (unsigned i = 0; i < limits->slot_count; i++) {
        say(limits, i, CELL_CONTENT);
    }
}

static bool hears(const struct egress_limits *limits, unsigned i, enum cell_want want)
{
    return cell_hears(cell_set_at(&limits->set, i), want, limits->wants[i]);
}

bool egress_limits_wanted(const struct egress_limits *limits)
{
    for (unsigned i = 0; i < limits->slot_count; i++) {
        if (hears(limits, i, CELL_WANTS)) {
            return true;
        }
    }
    return false;
}

bool egress_limits_must_yield(const struct egress_limits *limits, uint32_t connections, bool idle)
{
    if (idle) {
        return egress_limits_wanted(limits);
    }
    for (unsigned i = 0; i < limits->slot_count; i++) {
        uint64_t all = (uint64_t)connections * cell_users(cell_set_at(&limits->set, i));
        if (all > slot_limit(limits, i) && hears(limits, i, CELL_STARVES)) {
            return true;
        }
    }
    return false;
}

/* --- for reports ------------------------------------------------------------------------------ */

static void slots_view(const struct egress_limits *limits, unsigned i, struct limit_view *view)
{
    view->option = i == 0 ? "connection_limit" : "additional_connection_limits";
    view->count = slot_limit(limits, i);
    if (i > 0) {
        view->name = limits->path->additional_connection_limits.rows[i - 1].name;
    }
}

static void messages_view(const struct egress_limits *limits, unsigned i, struct limit_view *view)
{
    const struct path_options *path = limits->path;
    unsigned own = rate_is_set(&path->max_message_rate);
    view->option = i < own ? "max_message_rate" : "additional_message_rate_throttles";
    view->rate = message_rate(path, i);
    if (i >= own) {
        view->name = path->additional_message_rates.rows[i - own].name;
    }
}

bool egress_limits_at(const struct egress_limits *limits, unsigned i, struct limit_view *view_out)
{
    const struct cell_set *set = &limits->set;
    if (!cell_set_whole(set) || i >= set->count) {
        return false;
    }
    *view_out = (struct limit_view){.cell = cell_set_at(set, i)};
    if (i < limits->slot_count) {
        slots_view(limits, i, view_out);
    } else if (i < limits->slot_count + limits->rate_count) {
        messages_view(limits, i - limits->slot_count, view_out);
    } else {
        view_out->option = "max_connection_rate";
        view_out->rate = &limits->path->max_connection_rate;
    }
    return true;
}
