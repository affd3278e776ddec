#include "smtp/egress_limits.h"

#include "core/check.h"

void egress_limits_init(struct egress_limits *limits, struct slice name, struct slice hosts,
                        const struct path_options *path)
{
    const struct slice own[] = {SLICE("connections"), name, hosts, path->block};
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
    limits->working = false;
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

static uint32_t slot_limit(const struct egress_limits *limits, unsigned i)
{
    const struct path_options *path = limits->path;
    return i == 0 ? path->connection_limit : path->additional_connection_limits.rows[i - 1].limit;
}

static void slot_granted(struct slot_user *user)
{
    struct egress_limits *limits = user->context;
    limits->granted(limits);
}

static bool slot_asked(struct slot_user *user)
{
    struct egress_limits *limits = user->context;
    return limits->asked(limits);
}

void egress_limits_begin(struct egress_limits *limits)
{
    CHECK(cell_set_whole(&limits->set) && !limits->working);
    unsigned at = limits->slot_count;
    limits->working = true;
    for (unsigned i = 0; i < limits->slot_count; i++) {
        struct slot_user *user = &limits->slots[i];
        user->granted = slot_granted;
        user->asked = slot_asked;
        user->context = limits;
        user->limit = slot_limit(limits, i);
        slot_user_init(user, limits->set.shard, cell_set_at(&limits->set, i));
    }
    for (unsigned i = 0; i < limits->rate_count; i++) {
        rates_add(&limits->messages, cell_set_at(&limits->set, at++),
                  message_rate(limits->path, i));
    }
    if (at < limits->set.count) {
        rates_add(&limits->connects, cell_set_at(&limits->set, at),
                  &limits->path->max_connection_rate);
    }
}

void egress_limits_follow(struct egress_limits *limits, const struct path_options *path)
{
    limits->path = path;
    for (unsigned i = 0; i < limits->messages.count; i++) {
        limits->message_lines[i].rate = message_rate(path, i);
    }
    if (limits->connects.count > 0) {
        limits->connect_line.rate = &path->max_connection_rate;
    }
}

void egress_limits_retire(struct egress_limits *limits)
{
    rates_clear(&limits->messages);
    rates_clear(&limits->connects);
    limits->path = NULL;
}

void egress_limits_end(struct egress_limits *limits)
{
    CHECK(!egress_limits_mail_out(limits));
    rates_clear(&limits->messages);
    rates_clear(&limits->connects);
    limits->working = false;
}

/* --- slots ------------------------------------------------------------------------------------ */

bool egress_limits_take(struct egress_limits *limits, enum slot_class class, uint32_t weight)
{
    unsigned full = 0;
    while (full < limits->slot_count && slot_take(&limits->slots[full])) {
        full++;
    }
    for (unsigned i = 0; i < limits->slot_count; i++) {
        if (i != full) {
            slot_rest(&limits->slots[i]);
        }
    }
    if (full == limits->slot_count) {
        return true;
    }
    for (unsigned i = 0; i < full; i++) {
        slot_give(&limits->slots[i]);
    }
    slot_wait(&limits->slots[full], class, weight);
    return false;
}

void egress_limits_give(struct egress_limits *limits)
{
    for (unsigned i = 0; i < limits->slot_count; i++) {
        slot_give(&limits->slots[i]);
    }
}

void egress_limits_rest(struct egress_limits *limits)
{
    for (unsigned i = 0; limits->working && i < limits->slot_count; i++) {
        slot_rest(&limits->slots[i]);
    }
}

void egress_limits_spare(struct egress_limits *limits, bool spare)
{
    for (unsigned i = 0; limits->working && i < limits->slot_count; i++) {
        slot_spare(&limits->slots[i], spare);
    }
}

enum egress_yield egress_limits_yield(struct egress_limits *limits, enum slot_class class,
                                      uint32_t weight)
{
    for (unsigned i = 0; i < limits->slot_count; i++) {
        if (slot_must_yield(&limits->slots[i], class, weight)) {
            return i == 0 ? EGRESS_HAND_OVER : EGRESS_CLOSE;
        }
    }
    return EGRESS_KEEP;
}

/* The first cell is the site's own: only there all who wait could go on with the connection. */
static void follow(struct egress_limits *limits, bool comes)
{
    for (unsigned i = 1; i < limits->slot_count; i++) {
        slot_follow(&limits->slots[i], comes);
    }
}

struct slot_cargo *egress_limits_take_cargo(struct egress_limits *limits)
{
    struct slot_cargo *cargo = slot_take_cargo(&limits->slots[0]);
    if (cargo != NULL) {
        follow(limits, true);
    }
    return cargo;
}

void egress_limits_unload(struct egress_limits *limits, struct slot_cargo *cargo, bool taken)
{
    if (!taken) {
        follow(limits, false);
    }
    slot_unload(&limits->slots[0], cargo, taken);
}

bool egress_limits_pass(struct egress_limits *limits, struct slot_cargo *cargo)
{
    if (!slot_pass(&limits->slots[0], cargo)) {
        return false;
    }
    follow(limits, false);
    return true;
}

void egress_limits_passed_back(struct egress_limits *limits)
{
    follow(limits, true);
}

bool egress_limits_mail_out(const struct egress_limits *limits)
{
    for (unsigned i = 0; limits->working && i < limits->slot_count; i++) {
        if (slot_mail_out(&limits->slots[i])) {
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
    if (!cell_set_whole(set) || i >= set->count || limits->path == NULL) {
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
