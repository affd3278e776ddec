#include "bench/rules.h"

#include <inttypes.h>

void rules_put_pattern(struct buf *out, uint64_t number)
{
    if (number % RULES_CONFIRM_EACH == 0) {
        buf_printf(out, "RP-%04" PRIu64 ".*deferred(?! later)", number);
    } else {
        buf_printf(out, "\\(XS%04" PRIu64 "\\).*try again later", number);
    }
}

void rules_put_toml(struct buf *out, uint64_t rules)
{
    for (uint64_t i = 0; i < rules; i++) {
        buf_put_string(out, "[[default.automation]]\nregex = '");
        rules_put_pattern(out, i);
        buf_put_string(out, "'\naction = \"Suspend\"\n"
                            "trigger = {Threshold = \"" RULES_THRESHOLD "\"}\n"
                            "duration = \"1 hour\"\n");
    }
}

void rules_put_match(struct buf *out, uint64_t number)
{
    buf_printf(out, "421 4.7.0 [RP-%04" PRIu64 "] messages deferred by policy", number);
}

void rules_put_miss(struct buf *out, uint64_t number)
{
    buf_printf(out, "450 4.2.1 <user%04" PRIu64 "@example.test>: the user is receiving mail at a "
               "rate that prevents more just now", number);
}
