/*
 * 64 bytes at a time as three bit masks, bit i for byte i. A byte after CR must be LF and an LF
 * must come after CR, so `(cr << 1 | carry) ^ lf` has a bit for every fault; up to the first of
 * them every LF is a true line end, and `lf << 1 | carry` are the line starts. The line length
 * needs only the first and the last LF of a group: a line inside it cannot be too long.
 */
#include "smtp/content.h"

#include "smtp/content_internal.h"

#include <immintrin.h>

#include <string.h>

#define GROUP_BYTES 64
#define AVX2        __attribute__((target("avx2")))

bool content_avx2_supported(void)
{
    return __builtin_cpu_supports("avx2") != 0;
}

/* What one group leaves to the next. */
struct carry {
    uint64_t after_cr;   /* 1: the last byte was CR */
    uint64_t line_start; /* 1: the last byte was the LF of a line end */
    uint64_t line;       /* bytes of the current line, with a CR at its end */
};

/* The bits below `count`, 1 to 64. */
static inline uint64_t bits_below(unsigned count)
{
    return UINT64_MAX >> (GROUP_BYTES - count);
}

AVX2 static inline uint64_t mask_of(__m256i low, __m256i high, char byte)
{
    __m256i wanted = _mm256_set1_epi8(byte);
    uint32_t bits_low = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, wanted));
    uint32_t bits_high = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, wanted));
    return bits_low | (uint64_t)bits_high << 32;
}

/*
 * Looks at a group of which `count` bytes are input. The result is how many of them are ordinary;
 * for those the carry is brought up to date. `long_out` is set when a line is too long.
 */
AVX2 static inline unsigned group_pass(__m256i low, __m256i high, unsigned count,
                                       struct carry *carry, bool *long_out)
{
    uint64_t valid = bits_below(count);
    uint64_t cr = mask_of(low, high, '\r') & valid;
    uint64_t lf = mask_of(low, high, '\n') & valid;
    uint64_t dot = mask_of(low, high, '.');
    uint64_t wrong = (cr << 1 | carry->after_cr) ^ lf;
    uint64_t starts = lf << 1 | carry->line_start;
    uint64_t events = (wrong | (dot & starts)) & valid;
    if (UNLIKELY(events != 0)) {
        count = (unsigned)__builtin_ctzll(events);
        if (count == 0) {
            return 0;
        }
        cr &= bits_below(count);
        lf &= bits_below(count);
    }
    carry->after_cr = cr >> (count - 1);
    carry->line_start = lf >> (count - 1);
    if (lf == 0) {
        carry->line += count;
        *long_out |= carry->line - carry->after_cr > CONTENT_LINE_BYTES_MAX;
        return count;
    }
    /* Up to the first LF there are the line's bytes and its CR. */
    uint64_t first = (uint64_t)__builtin_ctzll(lf);
    *long_out |= carry->line + first > CONTENT_LINE_BYTES_MAX + 1;
    uint64_t last = (uint64_t)(GROUP_BYTES - 1 - __builtin_clzll(lf));
    carry->line = count - 1 - last;
    return count;
}

AVX2 void content_run_avx2(struct content *content, struct content_pass *pass)
{
    struct carry carry = {
        .after_cr = content->state == CONTENT_AFTER_CR,
        .line_start = content->state == CONTENT_LINE_START,
    };
    carry.line = content->line_bytes + carry.after_cr;
    const uint8_t *in = pass->in;
    uint8_t *out = pass->out;
    unsigned done = GROUP_BYTES;
    bool line_long = false;
    while (done == GROUP_BYTES && pass->in_end - in >= GROUP_BYTES) {
        __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)in);
        __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(in + 32));
        /* There is room for the group also when less of it counts. */
        _mm256_storeu_si256((__m256i *)(void *)out, low);
        _mm256_storeu_si256((__m256i *)(void *)(out + 32), high);
        done = group_pass(low, high, GROUP_BYTES, &carry, &line_long);
        in += done;
        out += done;
    }
    if (done == GROUP_BYTES && in < pass->in_end) {
        unsigned rest = (unsigned)(pass->in_end - in);
        uint8_t group[GROUP_BYTES] = {0};
        memcpy(group, in, rest);
        __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)group);
        __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(group + 32));
        done = group_pass(low, high, rest, &carry, &line_long);
        memcpy(out, in, done);
        in += done;
        out += done;
    }
    content->size += (size_t)(in - pass->in);
    content->line_bytes =
        (uint32_t)MIN_OF(carry.line - carry.after_cr, (uint64_t)CONTENT_LINE_BYTES_MAX);
    content->state = carry.after_cr != 0     ? CONTENT_AFTER_CR
                     : carry.line_start != 0 ? CONTENT_LINE_START
                                             : CONTENT_IN_LINE;
    pass->in = in;
    pass->out = out;
    if (line_long) {
        content_fail(content, pass, CONTENT_LONG_LINE);
    }
}
