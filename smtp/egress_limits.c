#include "smtp/egress_limits.h"

#include "core/check.h"

/* A rate of the path itself, which may be unset, and those that paths share by name. */
struct family {
    const struct rate *own;
    const struct named_rates *shared;
    const char *own_option;
    const char *shared_option;
};

static struct family messages_of(const struct path_options *path)
{
    return (struct family){&path->max_message_rate, &path->additional_message_rates,
                           "max_message_rate", "additional_message_rate_throttles"};
}

static struct family selects_of(const struct path_options *path)
{
    return (struct family){&path->source_selection_rate, &path->additional_source_selection_rates,
                           "source_selection_rate", "additional_source_selection_rates"};
}

/* Number `i` in the order in which their cells are added; its name is empty when it is its own. */
static const struct rate *family_rate(const struct family *family, unsigned i, struct slice *name)
{
    unsigned own = rate_is_set(family->own);
    *name = i < own ? SLICE_NONE : family->shared->rows[i - own].name;
    return i < own ? family->own : &family->shared->rows[i - own].rate;
}

static unsigned family_count(const struct family *family)
{
    return rate_is_set(family->own) + (unsigned)family->shared->count;
}

/* Returns how many there are. */
static unsigned family_ask(const struct family *family, struct cell_set *set, struct slice site)
{
    unsigned count = family_count(family);
    for (unsigned i = 0; i < count; i++) {
        struct slice name;
        const struct rate *rate = family_rate(family, i, &name);
        const struct slice parts[] = {
            slice_from_string(name.size > 0 ? family->shared_option : family->own_option),
            name.size > 0 ? name : site,
        };
        (void)cell_set_rate(set, parts, COUNT_OF(parts), rate);
    }
    return count;
}

void egress_limits_init(struct egress_limits *limits, struct slice name, uint64_t lead,
                        const struct path_options *path)
{
    const struct slice own[] = {SLICE("connections"), name,
                                slice_make((const uint8_t *)&lead, sizeof(lead)), path->block};
    const struct cell_key key = cell_key_of(own, COUNT_OF(own));
    const struct family messages = messages_of(path);
    const struct family selects = selects_of(path);
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
    limits->message_count = family_ask(&messages, set, name);
    limits->select_count = family_ask(&selects, set, name);
    if (rate_is_set(&path->max_connection_rate)) {
        const struct slice site[] = {SLICE("max_connection_rate"), name};
        (void)cell_set_rate(set, site, COUNT_OF(site), &path->max_connection_rate);
    }
    limits->working = false;
    rates_init(&limits->messages, limits->message_lines, EGRESS_RATES_MAX);
    rates_init(&limits->selects, limits->select_lines, EGRESS_RATES_MAX);
    rates_init(&limits->connects, &limits->connect_line, 1);
}

static unsigned slot_count(const struct path_options *path)
{
    return 1 + (unsigned)path->additional_connection_limits.count;
}

static uint32_t slot_limit(const struct path_options *path, unsigned i)
{
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

static void family_begin(const struct egress_limits *limits, struct family family,
                         struct rates *rates, unsigned count, unsigned *cell)
{
    struct slice name;
    for (unsigned i = 0; i < count; i++) {
        rates_add(rates, cell_set_at(&limits->set, (*cell)++), family_rate(&family, i, &name));
    }
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
        user->limit = slot_limit(limits->path, i);
        slot_user_init(user, limits->set.shard, cell_set_at(&limits->set, i));
    }
    family_begin(limits, messages_of(limits->path), &limits->messages, limits->message_count, &at);
    family_begin(limits, selects_of(limits->path), &limits->selects, limits->select_count, &at);
    if (at < limits->set.count) {
        rates_add(&limits->connects, cell_set_at(&limits->set, at),
                  &limits->path->max_connection_rate);
    }
}

static void family_follow(struct family family, const struct rates *rates)
{
    struct slice name;
    for (unsigned i = 0; i < rates->count; i++) {
        rates->lines[i].rate = family_rate(&family, i, &name);
    }
}

void egress_limits_follow(struct egress_limits *limits, const struct path_options *path)
{
    limits->path = path;
    family_follow(messages_of(path), &limits->messages);
    family_follow(selects_of(path), &limits->selects);
    if (limits->connects.count > 0) {
        limits->connect_line.rate = &path->max_connection_rate;
    }
}

static void clear_rates(struct egress_limits *limits)
{
    rates_clear(&limits->messages);
    rates_clear(&limits->selects);
    rates_clear(&limits->connects);
}

void egress_limits_rest_rates(struct egress_limits *limits)
{
    rates_rest(&limits->messages);
    rates_rest(&limits->selects);
    rates_rest(&limits->connects);
}

void egress_limits_retire(struct egress_limits *limits)
{
    clear_rates(limits);
    limits->path = NULL;
}

void egress_limits_end(struct egress_limits *limits)
{
    CHECK(!egress_limits_mail_out(limits));
    clear_rates(limits);
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

static void slots_view(const struct path_options *path, unsigned i, struct limit_view *view)
{
    view->option = i == 0 ? "connection_limit" : "additional_connection_limits";
    view->count = slot_limit(path, i);
    if (i > 0) {
        view->name = path->additional_connection_limits.rows[i - 1].name;
    }
}

static void family_view(const struct family *family, unsigned i, struct limit_view *view)
{
    view->rate = family_rate(family, i, &view->name);
    view->option = view->name.size > 0 ? family->shared_option : family->own_option;
}

bool egress_limits_of(const struct path_options *path, unsigned i, struct limit_view *view_out)
{
    const struct family messages = messages_of(path);
    const struct family selects = selects_of(path);
    unsigned slots = slot_count(path);
    unsigned message_end = slots + family_count(&messages);
    unsigned select_end = message_end + family_count(&selects);
    *view_out = (struct limit_view){0};
    if (i < slots) {
        slots_view(path, i, view_out);
    } else if (i < message_end) {
        family_view(&messages, i - slots, view_out);
    } else if (i < select_end) {
        family_view(&selects, i - message_end, view_out);
    } else {
        view_out->option = "max_connection_rate";
        view_out->rate = &path->max_connection_rate;
    }
    return i < select_end + rate_is_set(&path->max_connection_rate);
}

bool egress_limits_at(const struct egress_limits *limits, unsigned i, struct limit_view *view_out)
{
    const struct cell_set *set = &limits->set;
    if (!cell_set_whole(set) || i >= set->count || limits->path == NULL) {
        return false;
    }
    CHECK(egress_limits_of(limits->path, i, view_out));
    view_out->cell = cell_set_at(set, i);
    return true;
}
