#include "smtp/relay.h"

bool relay_is_allowed(const struct relay_question *question)
{
    const struct relay_options *to =
        conf_relay(question->conf, question->listen, question->recipient);
    if (to != NULL && to->relay_to) {
        return true;
    }
    const struct relay_options *from =
        conf_relay(question->conf, question->listen, question->sender);
    return from != NULL &&
           networks_contain(from->relay_from, from->relay_from_count, question->peer);
}

struct relay_fate relay_fate(const struct relay_question *question, bool trusted)
{
    const struct relay_options *to =
        conf_relay(question->conf, question->listen, question->recipient);
    struct relay_fate fate = {.relays = trusted || relay_is_allowed(question)};
    if (to != NULL) {
        fate.oob = to->log_oob;
        fate.arf = to->log_arf;
    }
    return fate;
}
