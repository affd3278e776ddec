/* Paths: what is accepted is inside the input, within the limits, and parses to itself again. */
#include "smtp/address.h"

#include <string.h>

#include "core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_address(const struct address *address)
{
    CHECK(address->whole.size <= ADDRESS_BYTES_MAX);
    CHECK(address->local.size <= ADDRESS_LOCAL_BYTES_MAX);
    CHECK(address->domain.size <= ADDRESS_DOMAIN_BYTES_MAX);
    CHECK(slice_is_utf8(address->whole));
    CHECK(address->utf8 == !slice_is_ascii(address->whole));
    for (size_t i = 0; i < address->whole.size; i++) {
        CHECK(address->whole.data[i] >= ' ' && address->whole.data[i] != 0x7F);
    }
    if (address->domain.size > 0) {
        CHECK(address->whole.size == address->local.size + 1 + address->domain.size);
        CHECK(domain_is_valid(address->domain) != domain_is_literal(address->domain));
    }
}

static void check_round_trip(const struct address *address)
{
    uint8_t path[ADDRESS_BYTES_MAX + 2];
    struct address again;
    struct slice rest;
    path[0] = '<';
    memcpy(path + 1, address->whole.data, address->whole.size);
    path[address->whole.size + 1] = '>';
    CHECK(address_parse_path(slice_make(path, address->whole.size + 2), true, &again, &rest));
    CHECK(rest.size == 0);
    CHECK(slice_equal(again.whole, address->whole));
    CHECK(slice_equal(again.local, address->local));
    CHECK(slice_equal(again.domain, address->domain));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_make(data, size);
    struct address address;
    struct slice rest;
    if (address_parse_path(text, true, &address, &rest)) {
        CHECK(rest.data + rest.size == text.data + text.size);
        check_address(&address);
        check_round_trip(&address);
    }
    return 0;
}
