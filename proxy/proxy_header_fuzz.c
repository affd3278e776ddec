/* Any bytes, cut anywhere: what is said of a beginning holds for all that follows. */
#include "proxy/proxy_header.h"

#include "core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header whole;
    struct proxy_header part;
    enum proxy_parse result = proxy_header_parse(slice_make(data, size), &whole);
    if (size >= PROXY_HEADER_BYTES_MAX) {
        CHECK(result != PROXY_MORE);
    }
    for (size_t i = 0; i < size && i < 600; i++) {
        enum proxy_parse before = proxy_header_parse(slice_make(data, i), &part);
        if (before == PROXY_MORE) {
            CHECK(result != PROXY_WHOLE || i < whole.bytes);
        } else {
            CHECK(before == result && part.bytes == whole.bytes &&
                  part.has_addresses == whole.has_addresses);
        }
    }
    CHECK(whole.bytes <= size && (result == PROXY_WHOLE) == (whole.bytes > 0));
    return 0;
}
