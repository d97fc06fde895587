/* BitMoD: small floats whose code "-0" is one of four special values, chosen per group; see mxhw/formats/bitmod.py.
 *
 * Float32 estimates of the four errors decide where they are certain; where not, the float64 sums in index order that
 * define the rule. */
#include <math.h>

#include "lanes.h"

enum { SPECIALS = 4, BINS = 32, USUAL_GROUP = 128, LARGEST_GROUP = 1024, SCALE_MULTIPLIER = 4 };

typedef struct {
    const float *above;      /* [SPECIALS][BINS]: the grid value of (0, 1/2], (1/2, 1] ..., in units of the scale */
    const float *below;      /* the same of (-1/2, 0], (-1, -1/2] ... */
    const float *basic;      /* [BINS]: the basic value nearest to 1/4, 3/4, 5/4 ..., in units of 1/2 */
    float special[SPECIALS]; /* two values of one magnitude and either sign, then two of another */
    float largest[SPECIALS]; /* largest magnitude of the grid with that special value */
    int32_t mantissa, smallest; /* the basic grid as a small float: its bits, the exponent of its smallest normal */
    int32_t scale;           /* an enum float_type, or SCALE_MULTIPLIER */
    float least, most;       /* what a float scale is clamped to */
    float relative_margin, absolute_margin, smallest_estimated; /* see bitmod.py */
} bitmod_params;

/* Distances of special and basic values closer than this may be decided the other way by the rule itself. */
#define CLOSE 1e-3f

/* The value of the basic grid that is nearest to a magnitude, in units of 1/2 both: `half_units` up to BINS. */
INLINE floats nearest_basic(floats half_units, const bitmod_params *p)
{
#if defined(__AVX512F__)
    return look_up(p->basic, truncated(lesser(half_units, all(BINS - 1))));
#else
    /* Rounding to a small float: without a quick look-up, arithmetic is quicker. */
    return lesser(rounded(half_units, make_small_float(p->mantissa, p->smallest + 1)), all(p->basic[BINS - 1]));
#endif
}

/* The errors of the two special values of one scale, in units of 1/2 each, by sign. A special value is never nearer
 * than zero to a value of the other sign. */
typedef struct {
    floats positive, negative;
} pair_sums;

INLINE void add_errors(pair_sums *sums, floats x, float inverse, float special, const bitmod_params *p)
{
    const floats half_units = magnitudes(x) * inverse;
    const floats basic = magnitudes(nearest_basic(half_units, p) - half_units);
    const floats best = lesser(basic, magnitudes(half_units - special));
    sums->positive = plus_square(sums->positive, chosen_by_sign(x, basic, best));
    sums->negative = plus_square(sums->negative, chosen_by_sign(x, best, basic));
}

/* Each error's root over the largest magnitude. Both candidates of one scale share the distance to the basic grid. */
INLINE void estimate_errors(float *error, const float *x, int64_t n, float peak, const bitmod_params *p)
{
    const float first = 2.0f * p->largest[0] / peak, second = 2.0f * p->largest[2] / peak;
    pair_sums a = {{0}, {0}}, b = {{0}, {0}};
    for (int64_t i = 0; i < n; i += LANES) {
        const floats values = load_floats(x + i);
        add_errors(&a, values, first, 2.0f * p->special[0], p);
        add_errors(&b, values, second, 2.0f * p->special[2], p);
    }
    lane_sums(error, (floats[]){a.positive, a.negative, b.positive, b.negative});
    for (int s = 0; s < SPECIALS; s++)
        error[s] = sqrtf(error[s]) * (0.5f / p->largest[s]);
}

/* Whether both special values of one scale certainly give the same: no element is nearer to one than to the grid. */
static int are_copies(const float *x, int64_t n, float peak, int pair, const bitmod_params *p)
{
    const float inverse = 2.0f * p->largest[pair] / peak;
    floats closest = all(MXHW_LARGEST);
    for (int64_t i = 0; i < n; i += LANES) {
        const floats half_units = magnitudes(load_floats(x + i)) * inverse;
        const floats basic = nearest_basic(half_units, p) - half_units;
        const floats other = half_units - 2.0f * p->special[pair];
        closest = lesser(closest, other * other - basic * basic);
    }
    return least_lane(closest) >= CLOSE;
}

/* y = the grid values of x / scale, times the stored scale: the nearest, midpoints to the lower one. */
INLINE void divided_values(const float *x, float *y, int64_t n, float scale, float stored, const float *above,
                           const float *below)
{
    const float divisor = scale > 0.0f ? scale : 1.0f;
    const floats last = all(BINS);
    for (int64_t i = 0; i < n; i += LANES) {
        /* Midpoints are multiples of 1/2. One above zero belongs to the bin below it, one below to its own. */
        const floats values = load_floats(x + i), half_units = lesser(magnitudes(values / divisor * 2.0f), last);
        const ints whole = truncated(half_units), is_positive = (values > 0.0f) & (half_units > 0.0f);
        const ints is_midpoint = __builtin_convertvector(whole, floats) == half_units;
        const ints bin = whole + (is_positive & is_midpoint), is_beyond = bin > BINS - 1;
        const ints within = bin + is_beyond;
        const floats high = look_up(above, within), low = look_up(below, within);
        store_floats(y + i, chosen(is_positive, high, low) * stored);
    }
}

#if defined(__AVX512F__)
/* The same by products, where these leave no doubt; otherwise 0, and y is undefined.
 *
 * A product with the float nearest to 2 / scale and twice the rule's own quotient are both within 2^-22 of themselves
 * of 2 x / scale: an element whose bin slightly less and slightly more leave alone has no other by the rule, and is no
 * midpoint. Quotients that underflow are zero either way, and the last bin reaches beyond the largest magnitude. */
INLINE int certain_values(const float *x, float *y, int64_t n, float scale, float stored, int special,
                          const bitmod_params *p)
{
    const float *above = p->above + BINS * special, *below = p->below + BINS * special;
    const float inverse = 2.0f / scale, less = inverse * (1.0f - 0x1p-20f), more = inverse * (1.0f + 0x1p-20f);
    const floats last = all(2.0f * p->largest[special] - 1.0f);
    ints differences = {0};
    for (int64_t i = 0; i < n; i += LANES) {
        const floats values = load_floats(x + i), magnitude = magnitudes(values);
        const ints bin = truncated(lesser(magnitude * less, last));
        differences |= bin ^ truncated(lesser(magnitude * more, last));
        store_floats(y + i, chosen_by_sign(values, look_up(below, bin), look_up(above, bin)) * stored);
    }
    return scale >= p->smallest_estimated && !have_any(differences, -1);
}
#endif

INLINE void quantize_group(const float *x, float *y, int64_t n, float scale, float stored, int special,
                           const bitmod_params *p)
{
    int is_done = 0;
#if defined(__AVX512F__)
    is_done = certain_values(x, y, n, scale, stored, special, p);
#endif
    if (!is_done)
        divided_values(x, y, n, scale, stored, p->above + BINS * special, p->below + BINS * special);
    saturate(y, n, stored);
}

static double squared_error(const float *x, int64_t n, float scale, int special, const bitmod_params *p)
{
    float y[LARGEST_GROUP];
    double sum = 0.0;
    quantize_group(x, y, n, scale, scale, special, p);
    for (int64_t i = 0; i < n; i++) {
        const double distance = (double)y[i] - (double)x[i];
        sum += distance * distance;
    }
    return sum;
}

static int first_minimum(uint32_t possible, const float *x, int64_t n, float peak, const bitmod_params *p)
{
    int best = -1;
    double least = 0.0;
    for (; possible; possible &= possible - 1) {
        const int s = __builtin_ctz(possible);
        const double error = squared_error(x, n, peak / p->largest[s], s, p);
        if (best < 0 || error < least) {
            least = error;
            best = s;
        }
    }
    return best;
}

/* The special value of least squared error. */
INLINE int select_special(const float *x, int64_t n, float peak, const bitmod_params *p)
{
    uint32_t possible = (1u << SPECIALS) - 1;
    if (peak >= p->smallest_estimated) {
        float error[SPECIALS];
        estimate_errors(error, x, n, peak, p);
        float least = error[0];
        for (int s = 1; s < SPECIALS; s++)
            least = error[s] < least ? error[s] : least;
        possible = 0;
        for (int s = 0; s < SPECIALS; s++)
            possible |= (uint32_t)(error[s] <= least * p->relative_margin + p->absolute_margin) << s;
        /* A copy of the candidate before it cannot win. */
        for (int pair = 0; pair < SPECIALS; pair += 2)
            if ((possible >> pair & 3) == 3 && are_copies(x, n, peak, pair, p))
                possible &= ~(2u << pair);
    }
    return possible & (possible - 1) ? first_minimum(possible, x, n, peak, p) : __builtin_ctz(possible);
}

/* The next maximum is sought before the work on a group, which has to wait for its own. */
INLINE void select_specials(const float *x, int64_t blocks, int64_t n, const bitmod_params *p, float *row)
{
    float most = 0.0f;
    uint32_t next = blocks > 0 ? peak_bits(x, n) : 0;
    for (int64_t b = 0; b < blocks; b++, x += n) {
        const uint32_t peak = next;
        float *own = row + MXHW_ROW + MXHW_ROW_BLOCK * b;
        if (b + 1 < blocks)
            next = peak_bits(x + n, n);
        own[0] = float_of(MXHW_NAN);
        own[1] = 0.0f;
        if (peak >= MXHW_INFINITY)
            continue;
        const int special = select_special(x, n, float_of(peak), p);
        own[0] = float_of(peak) / p->largest[special];
        own[1] = (float)special;
        most = own[0] > most ? own[0] : most;
    }
    row[0] = most / 255.0f;
}

/* Of the row: a 255th of the largest scale; per group its scale, NaN if a value is not finite, and special value. */
MXHW_API void mxhw_bitmod_row(const float *x, int64_t blocks, int64_t block, const void *params, float *row)
{
    const bitmod_params p = *(const bitmod_params *)params;
    if (block == USUAL_GROUP)
        select_specials(x, blocks, USUAL_GROUP, &p, row);
    else
        select_specials(x, blocks, block, &p, row);
}

INLINE float stored_scale(float scale, const float *row, const bitmod_params *p)
{
    if (p->scale != SCALE_MULTIPLIER)
        return round_to_type(clamped(scale, p->least, p->most), p->scale);
    const float unit = row[0] > 0x1p-149f ? row[0] : 0x1p-149f;
    return clamped(rintf(scale / unit), 0.0f, 255.0f) * row[0];
}

INLINE void quantize_groups(const float *x, float *y, int64_t first, int64_t blocks, int64_t n,
                            const bitmod_params *p, const float *row)
{
    for (int64_t b = 0; b < blocks; b++, x += n, y += n) {
        const float *own = row + MXHW_ROW + MXHW_ROW_BLOCK * (first + b);
        if (is_finite(own[0]))
            quantize_group(x, y, n, own[0], stored_scale(own[0], row, p), (int)own[1], p);
        else
            fill_nan(y, n);
    }
}

MXHW_API void mxhw_bitmod(const float *x, float *y, int64_t first, int64_t blocks, int64_t block, const void *params,
                          const float *row)
{
    const bitmod_params p = *(const bitmod_params *)params;
    if (block == USUAL_GROUP)
        quantize_groups(x, y, first, blocks, USUAL_GROUP, &p, row);
    else
        quantize_groups(x, y, first, blocks, block, &p, row);
}
