#include "tools/fields.h"

#include <stdio.h>

#include "core/date.h"
#include "tools/readable.h"

void fields_key(const char *key)
{
    printf("  %-13s", key);
}

void fields_text(const char *key, struct slice text)
{
    if (text.size > 0) {
        fields_key(key);
        readable_print(stdout, text);
        putchar('\n');
    }
}

void fields_count(const char *key, uint64_t count)
{
    char text[READABLE_BYTES];
    fields_text(key, slice_from_string(readable_count(text, count)));
}

void fields_time(const char *key, struct slice time, uint64_t now_ns)
{
    char text[READABLE_BYTES];
    uint64_t at_ns = 0;
    if (!date_parse_rfc3339(time, &at_ns)) {
        return;
    }
    fields_key(key);
    readable_print(stdout, time);
    if (at_ns > now_ns) {
        printf(", in %s\n", readable_duration(text, (at_ns - now_ns) / NS_PER_MS));
    } else {
        printf(", %s ago\n", readable_duration(text, (now_ns - at_ns) / NS_PER_MS));
    }
}
