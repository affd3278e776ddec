#include "core/json_value.h"

#include <string.h>

#include "core/check.h"

/*
 * A search through few members looks at each; behind more of them stands their order by key, for a
 * search by halves. It also brings equal keys together.
 */
#define MEMBERS_FEW 8u

struct json_value json_value_string(struct slice text)
{
    return (struct json_value){
        .kind = JSON_STRING, .size = (uint32_t)text.size, .text = text.data};
}

static int key_compare(struct slice a, struct slice b)
{
    if (a.size != b.size) {
        return a.size < b.size ? -1 : 1;
    }
    return a.size == 0 ? 0 : memcmp(a.data, b.data, a.size);
}

static int member_compare(const struct json_member *members, uint32_t a, uint32_t b)
{
    return key_compare(json_value_text(&members[a].key), json_value_text(&members[b].key));
}

static uint32_t *member_order(const struct json_member *members, size_t count)
{
    return (uint32_t *)(uintptr_t)(members + count);
}

size_t json_members_bytes(size_t count)
{
    size_t order = count > MEMBERS_FEW ? count * sizeof(uint32_t) : 0;
    return count * sizeof(struct json_member) + order;
}

/* Lets the entry at `at` of a heap of `count` sink to its place: the largest key is on top. */
static void heap_sink(const struct json_member *members, uint32_t *order, size_t at, size_t count)
{
    uint32_t sinking = order[at];
    for (size_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && member_compare(members, order[child], order[child + 1]) < 0) {
            child++;
        }
        if (member_compare(members, sinking, order[child]) >= 0) {
            break;
        }
        order[at] = order[child];
        at = child;
    }
    order[at] = sinking;
}

/* Heapsort: no memory, no recursion, and no order of keys that makes it slow. */
static void members_sort(const struct json_member *members, uint32_t *order, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        order[i] = (uint32_t)i;
    }
    for (size_t i = count / 2; i-- > 0;) {
        heap_sink(members, order, i, count);
    }
    for (size_t left = count; left-- > 1;) {
        uint32_t largest = order[0];
        order[0] = order[left];
        order[left] = largest;
        heap_sink(members, order, 0, left);
    }
}

const struct json_member *json_members_seal(struct json_member *members, size_t count)
{
    CHECK(count <= JSON_MEMBERS_MAX);
    if (count > MEMBERS_FEW) {
        uint32_t *order = member_order(members, count);
        members_sort(members, order, count);
        for (size_t i = 1; i < count; i++) {
            if (member_compare(members, order[i - 1], order[i]) == 0) {
                return &members[order[i]];
            }
        }
        return NULL;
    }
    for (uint32_t i = 1; i < count; i++) {
        for (uint32_t k = 0; k < i; k++) {
            if (member_compare(members, i, k) == 0) {
                return &members[i];
            }
        }
    }
    return NULL;
}

static const struct json_value *find_by_halves(const struct json_value *object, struct slice key)
{
    const uint32_t *order = member_order(object->members, object->size);
    size_t first = 0;
    size_t end = object->size;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        const struct json_member *member = &object->members[order[middle]];
        int compared = key_compare(key, json_value_text(&member->key));
        if (compared == 0) {
            return &member->value;
        }
        if (compared < 0) {
            end = middle;
        } else {
            first = middle + 1;
        }
    }
    return NULL;
}

const struct json_value *json_value_member(const struct json_value *object, struct slice key)
{
    if (object->kind != JSON_OBJECT) {
        return NULL;
    }
    if (object->size > MEMBERS_FEW) {
        return find_by_halves(object, key);
    }
    for (uint32_t i = 0; i < object->size; i++) {
        if (slice_equal(json_value_text(&object->members[i].key), key)) {
            return &object->members[i].value;
        }
    }
    return NULL;
}

const char *json_fault_text(enum json_fault fault)
{
    switch (fault) {
    case JSON_OK:
        break;
    case JSON_MALFORMED:
        return "not one JSON document";
    case JSON_TOO_DEEP:
        return "objects and arrays are nested too deep";
    case JSON_TOO_LARGE:
        return "too many values";
    case JSON_BAD_STRING:
        return "a string is not UTF-8, has a bad escape, or holds NUL";
    case JSON_BAD_NUMBER:
        return "a number is malformed or out of range";
    case JSON_KEY_TWICE:
        return "a key stands twice in an object";
    }
    return "no fault";
}
