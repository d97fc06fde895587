/* DialectFP4: a shared exponent and one of 16 sets of 8 magnitudes per block; see mxhw/formats/dialect.py.
 *
 * The dialect of least squared error is found from float32 sums over the elements in which dialects differ at all.
 * Where these leave doubt, the float64 sums in index order that define the rule decide. */
#include "lanes.h"

enum { DIALECTS = 16, BINS = 32, EXPONENT_MAX = 31, EXPONENT_BIAS = 15, EMAX = 2 };
enum { SMALLEST_BLOCK = 16, LARGEST_BLOCK = 64 };

typedef struct {
    const float *value;      /* [DIALECTS][BINS]: the value of a bin floor(4 y), in units of the scale */
    const float *quarters;   /* [BINS][DIALECTS]: the same in quarters, the unit of bins */
    const uint32_t *differs; /* [DIALECTS][DIALECTS]: in which bins two dialects differ */
    const int32_t *ranges;   /* [DIALECTS][2]: bins in which a dialect is nearer than its partner */
    int32_t first;           /* the first bin in which any two dialects differ */
    int32_t online;
} dialect_params;

enum {
    SPAN = 512, /* elements that take one step together, so that blocks do not wait for their own results */
    BLOCKS = SPAN / SMALLEST_BLOCK,
    PARTS = DIALECTS / LANES,     /* registers for one value per dialect */
    TOGETHER = LANES < 8 ? 2 : 4, /* blocks whose errors are summed at once: an addition waits for the one before */
};

/* What is known of the blocks of a span, one after the other. */
typedef struct {
    uint32_t peak[BLOCKS]; /* bits of the largest magnitude */
    float to_quarters[BLOCKS], scale[BLOCKS];
    float listed[SPAN + 16]; /* of a block: the quarters in whose bins dialects differ, then zeros */
    int64_t count[BLOCKS];   /* how many are listed */
    uint32_t possible[BLOCKS]; /* dialects, as a mask */
    int32_t dialect[BLOCKS];
} span;

/* The elements of one block: 4 |x| / scale, and where that is in tables. */
typedef struct {
    float quarters[LARGEST_BLOCK];
    int32_t bin[LARGEST_BLOCK];
} classified;

/* A float32 sum of 64 squares is good to 4e-6 of itself, two to twice that; float64 rounding is below the other. */
#define RELATIVE_MARGIN 1.00001f
#define ABSOLUTE_MARGIN 1e-9f

INLINE void find_scales(span *s, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++) {
        int32_t exponent = (int32_t)(s->peak[b] >> MXHW_MANTISSA) - MXHW_BIAS - EMAX + EXPONENT_BIAS;
        exponent = exponent < 0 ? 0 : exponent;
        exponent = exponent > EXPONENT_MAX ? EXPONENT_MAX : exponent;
        s->to_quarters[b] = power_of_two(EXPONENT_BIAS + 2 - exponent);
        s->scale[b] = power_of_two(exponent - EXPONENT_BIAS);
    }
}

INLINE floats quarters_of(const float *x, float to_quarters)
{
    return magnitudes(load_floats(x) * to_quarters);
}

INLINE ints bins_of(floats quarters)
{
    return truncated(lesser(quarters, all(BINS - 1)));
}

INLINE void classify(classified *c, const float *x, int64_t n, float to_quarters)
{
    for (int64_t i = 0; i < n; i += LANES) {
        const floats quarters = quarters_of(x + i, to_quarters);
        store_floats(c->quarters + i, quarters);
        *(ints *)(c->bin + i) = bins_of(quarters);
    }
}

/* No elements: for zeros all dialects have the same value. */
INLINE void clear_list(span *s, int64_t n, int64_t b)
{
    for (int64_t i = 0; i < n; i += LANES)
        store_floats(s->listed + b * n + i, (floats){0});
    s->count[b] = 0;
}

INLINE int is_within_table(const span *s, int64_t b)
{
    return float_of(s->peak[b]) * s->to_quarters[b] < BINS;
}

/* Lists the elements from bin `first` on, unless some are beyond the table. */
INLINE void list_elements(span *s, const float *x, int64_t n, int64_t b, int32_t first)
{
    float *listed = s->listed + b * n;
    int64_t count = 0;
    clear_list(s, n, b);
    if (!is_within_table(s, b))
        return;
#if defined(__AVX512F__)
    for (int64_t i = 0; i < n; i += 16) {
        const __m512 quarters = (__m512)quarters_of(x + i, s->to_quarters[b]);
        const __mmask16 mask = _mm512_cmp_ps_mask(quarters, _mm512_set1_ps((float)first), _CMP_GE_OQ);
        _mm512_storeu_ps(listed + count, _mm512_maskz_compress_ps(mask, quarters));
        count += __builtin_popcount(mask);
    }
#else
    float quarters[LARGEST_BLOCK];
    for (int64_t i = 0; i < n; i += LANES)
        store_floats(quarters + i, quarters_of(x + i, s->to_quarters[b]));
    for (int64_t i = 0; i < n; i++) {
        listed[count] = quarters[i];
        count += quarters[i] >= (float)first;
    }
    listed[count] = 0.0f;
#endif
    s->count[b] = count;
}

/* Which dialects the float32 sums of squares leave possible. */
INLINE uint32_t possible_dialects(const floats *sums)
{
    floats least = sums[0];
    for (int part = 1; part < PARTS; part++)
        least = lesser(least, sums[part]);
    const float limit = least_lane(least) * RELATIVE_MARGIN + ABSOLUTE_MARGIN;
    uint32_t possible = 0;
    for (int part = 0; part < PARTS; part++)
        possible |= at_most(sums[part], limit) << (LANES * part);
    return possible;
}

/* The same for the TOGETHER blocks from b on. */
INLINE void estimate_errors(span *s, int64_t n, int64_t b, const dialect_params *p)
{
    const float *listed = s->listed + b * n;
    int64_t count = 0;
    for (int j = 0; j < TOGETHER; j++)
        count = s->count[b + j] > count ? s->count[b + j] : count;
    floats sums[TOGETHER][PARTS] = {0};
    for (int64_t i = 0; i < count; i++)
#pragma GCC unroll 4
        for (int j = 0; j < TOGETHER; j++) {
            const float quarters = listed[n * j + i], *values = p->quarters + DIALECTS * (int)quarters;
#pragma GCC unroll 4
            for (int part = 0; part < PARTS; part++)
                sums[j][part] = plus_square(sums[j][part], quarters - load_floats(values + LANES * part));
        }
#pragma GCC unroll 4
    for (int j = 0; j < TOGETHER; j++)
        s->possible[b + j] = possible_dialects(sums[j]);
}

/* The bins of a block's elements, as a mask. */
INLINE int32_t occupied_bins(const float *x, int64_t n, float to_quarters)
{
    const ints one = (ints){0} + 1;
    ints bits = {0};
    for (int64_t i = 0; i < n; i += LANES)
        bits |= one << bins_of(quarters_of(x + i, to_quarters));
    return (int32_t)lane_or(bits);
}

/* The dialects that give other values than dialect d in these bins. */
INLINE uint32_t differing(int d, int32_t occupied, const dialect_params *p)
{
    uint32_t others = 0;
    for (int part = 0; part < PARTS; part++) {
        const ints differs = *(const ints *)(p->differs + DIALECTS * d + LANES * part);
        others |= have_any(differs, occupied) << (LANES * part);
    }
    return others;
}

static double squared_error(const classified *c, int64_t n, const float *value)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const double distance = (double)c->quarters[i] - 4.0 * (double)value[c->bin[i]];
        sum += distance * distance;
    }
    return sum;
}

static int first_minimum(uint32_t possible, int32_t occupied, const float *x, int64_t n, float to_quarters,
                         const dialect_params *p)
{
    classified c;
    int best = -1;
    double least = 0.0;
    classify(&c, x, n, to_quarters);
    for (int d; possible; possible &= differing(d, occupied, p)) {
        d = __builtin_ctz(possible);
        const double error = squared_error(&c, n, p->value + BINS * d);
        if (best < 0 || error < least) {
            least = error;
            best = d;
        }
    }
    return best;
}

INLINE int least_error(const span *s, const float *x, int64_t n, int64_t b, const dialect_params *p)
{
    const uint32_t possible = is_within_table(s, b) ? s->possible[b] : (1u << DIALECTS) - 1;
    const int first = __builtin_ctz(possible);
    if (LANES < 16 && !(possible & (possible - 1)))
        return first;
    /* Most often what is possible beside the first one are its copies in this block. */
    const int32_t occupied = occupied_bins(x, n, s->to_quarters[b]);
    if (possible & differing(first, occupied, p))
        return first_minimum(possible, occupied, x, n, s->to_quarters[b], p);
    return first;
}

/* How many more elements lie in the first range than in the second; range: [low, high). */
INLINE int32_t count_difference(const float *x, int64_t n, float to_quarters, const int32_t *first,
                                const int32_t *second)
{
    int32_t difference = 0;
#if defined(__AVX512F__)
    const int32_t in_first = (1 << first[1]) - (1 << first[0]), in_second = (1 << second[1]) - (1 << second[0]);
    const ints one = (ints){0} + 1;
    for (int64_t i = 0; i < n; i += LANES) {
        const ints bit = one << bins_of(quarters_of(x + i, to_quarters));
        difference += __builtin_popcount(have_any(bit, in_first)) - __builtin_popcount(have_any(bit, in_second));
    }
#else
    ints balance = {0};
    for (int64_t i = 0; i < n; i += LANES) {
        const ints bin = bins_of(quarters_of(x + i, to_quarters));
        balance -= (bin >= first[0]) & (bin < first[1]);
        balance += (bin >= second[0]) & (bin < second[1]);
    }
    for (int i = 0; i < LANES; i++)
        difference += balance[i];
#endif
    return difference;
}

/* The two-stage rule: a pair by the maximum, then the dialect with more elements in its range. */
INLINE int vote(const span *s, const float *x, int64_t n, int64_t b, const dialect_params *p)
{
    const float to_quarters = s->to_quarters[b], largest = float_of(s->peak[b]) * to_quarters;
    int half_units = ((int)(largest < BINS - 1 ? largest : BINS - 1) + 1) >> 1;
    half_units = half_units < 8 ? 8 : half_units > 15 ? 15 : half_units;
    const int even = 2 * (15 - half_units);
    const int32_t *range = p->ranges + 2 * even;
    return even + (count_difference(x, n, to_quarters, range, range + 2) < 0);
}

INLINE void write_values(const span *s, const float *x, float *y, int64_t n, int64_t b, const dialect_params *p)
{
    const float *table = p->value + BINS * s->dialect[b];
    for (int64_t i = 0; i < n; i += LANES) {
        const floats value = look_up(table, bins_of(quarters_of(x + i, s->to_quarters[b])));
        store_floats(y + i, with_signs(value * s->scale[b], load_floats(x + i)));
    }
    if (s->peak[b] >= MXHW_INFINITY)
        fill_nan(y, n);
}

INLINE void quantize_span(const float *x, float *y, int64_t n, int64_t blocks, const dialect_params *p)
{
    span s;
    for (int64_t b = 0; b < blocks; b++)
        s.peak[b] = peak_bits(x + b * n, n);
    find_scales(&s, blocks);
    if (!p->online) {
        for (int64_t b = 0; b < blocks; b++)
            list_elements(&s, x + b * n, n, b, p->first);
        for (int64_t b = blocks; b % TOGETHER; b++)
            clear_list(&s, n, b);
        for (int64_t b = 0; b < blocks; b += TOGETHER)
            estimate_errors(&s, n, b, p);
    }
    for (int64_t b = 0; b < blocks; b++)
        s.dialect[b] = p->online ? vote(&s, x + b * n, n, b, p) : least_error(&s, x + b * n, n, b, p);
    for (int64_t b = 0; b < blocks; b++)
        write_values(&s, x + b * n, y + b * n, n, b, p);
}

INLINE void quantize_blocks(const float *x, float *y, int64_t n, int64_t blocks, const dialect_params *p)
{
    for (const int64_t most = SPAN / n; blocks > 0; blocks -= most, x += SPAN, y += SPAN)
        quantize_span(x, y, n, blocks < most ? blocks : most, p);
}

MXHW_API void mxhw_dialect(const float *x, float *y, int64_t first, int64_t blocks, int64_t block, const void *params,
                           const float *row)
{
    const dialect_params p = *(const dialect_params *)params;
    (void)first, (void)row;
    if (block == 32)
        quantize_blocks(x, y, 32, blocks, &p);
    else if (block == 16)
        quantize_blocks(x, y, 16, blocks, &p);
    else
        quantize_blocks(x, y, LARGEST_BLOCK, blocks, &p);
}
