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
