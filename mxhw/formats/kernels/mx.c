/* OCP microscaling: a power-of-two scale per block, elements small floats or integers; see mxhw/formats/mx.py. */
#include "lanes.h"

enum { OFFSETS = 3 };

typedef struct {
    int32_t emax;          /* exponent of the largest element value */
    int32_t bump_above;    /* the scale is one higher where the fraction of the peak is above this */
    int32_t offsets;       /* how many exponents to choose from by squared error; 0: the rule gives one */
    int32_t offset[OFFSETS]; /* what they are more than the one of the rule, in the order in which the first wins */
    int32_t mantissa;      /* of a float element; -1: integer elements */
    int32_t smallest;      /* exponent of the smallest normal float element, or of the integer step */
    float largest;         /* largest element value; of integers, in steps */
    float relative_margin, absolute_margin; /* what the estimate of a squared error may be off; see mx.py */
} mx_params;

INLINE int clamped_exponent(int exponent)
{
    exponent = exponent > -MXHW_BIAS ? exponent : -MXHW_BIAS;
    return exponent < MXHW_BIAS ? exponent : MXHW_BIAS;
}

/* Not clamped yet. Below 2^-126 the leading one is not hidden: from 2^-127 on it is shifted out, below it no rule
 * reaches 2^-126. */
INLINE int scale_exponent(uint32_t peak, const mx_params *p)
{
    int exponent = (int)(peak >> MXHW_MANTISSA) - MXHW_BIAS;
    uint32_t fraction = peak & 0x7fffffu;
    if (peak < 0x800000u)
        fraction = peak >= 0x400000u ? (peak << 1) & 0x7fffffu : 0;
    return exponent - p->emax + ((int32_t)fraction > p->bump_above);
}

INLINE floats float_values(floats x, int exponent, const mx_params *p)
{
    const small_float type = make_small_float(p->mantissa, p->smallest);
    const floats element = lesser(rounded(magnitudes(x) * power_of_two(-exponent), type), all(p->largest));
    return with_signs(lesser(element * power_of_two(exponent), all(MXHW_LARGEST)), x);
}

/* Two factors each way: their products are beyond float32 for the smallest scales. */
INLINE floats integer_values(floats x, int exponent, const mx_params *p)
{
    const floats steps = x * power_of_two(-exponent) * power_of_two(-p->smallest);
    const floats nearest = nearest_integers(steps, make_limits(-p->largest, p->largest));
    const floats value = nearest * power_of_two(p->smallest) * power_of_two(exponent);
    return with_signs(lesser(magnitudes(value), all(MXHW_LARGEST)), value);
}

/* A rule that rounds the exponent up may reach past the largest float: values are limited to it. */
INLINE floats values(floats x, int exponent, const mx_params *p)
{
    return p->mantissa >= 0 ? float_values(x, exponent, p) : integer_values(x, exponent, p);
}

INLINE void quantize(const float *x, float *y, int64_t n, int exponent, const mx_params *p)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store_floats(y + i, values(load_floats(x + i), exponent, p));
    if (i < n)
        store_first(y + i, values(load_first(x + i, n - i), exponent, p), n - i);
}

/* The float32 sum of squares, of distances times `to_unit`. */
INLINE float estimated_error(const float *x, int64_t n, int exponent, float to_unit, const mx_params *p)
{
    floats sum = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const floats all_lanes = load_floats(x + i);
        sum = plus_square(sum, (values(all_lanes, exponent, p) - all_lanes) * to_unit);
    }
    if (i < n) {
        const floats last = load_first(x + i, n - i);
        sum = plus_square(sum, (values(last, exponent, p) - last) * to_unit);
    }
    return lane_sum(sum);
}

INLINE double squared_error(const float *x, const float *y, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const double difference = (double)y[i] - (double)x[i];
        sum += difference * difference;
    }
    return sum;
}

static int first_minimum(uint32_t possible, const int *candidate, const float *x, float *y, int64_t n,
                         const mx_params *p)
{
    int best = -1;
    double least = 0.0;
    for (; possible; possible &= possible - 1) {
        const int i = __builtin_ctz(possible);
        quantize(x, y, n, candidate[i], p);
        const double error = squared_error(x, y, n);
        if (best < 0 || error < least) {
            least = error;
            best = i;
        }
    }
    return candidate[best];
}

/* The first exponent with the least squared error; y is used for trials. */
INLINE int best_exponent(const float *x, float *y, int64_t n, uint32_t peak, const mx_params *p)
{
    const int exponent = scale_exponent(peak, p);
    const float to_unit = power_of_two(-clamped_exponent(exponent));
    int candidate[OFFSETS];
    float error[OFFSETS], least = MXHW_LARGEST;
    for (int i = 0; i < p->offsets; i++) {
        candidate[i] = clamped_exponent(exponent + p->offset[i]);
        error[i] = estimated_error(x, n, candidate[i], to_unit, p);
        least = error[i] < least ? error[i] : least;
    }
    uint32_t possible = 0;
    for (int i = 0; i < p->offsets; i++)
        possible |= (uint32_t)(error[i] <= least * p->relative_margin + p->absolute_margin) << i;
    if (possible & (possible - 1))
        return first_minimum(possible, candidate, x, y, n, p);
    return candidate[__builtin_ctz(possible)];
}

INLINE void quantize_blocks(const float *x, float *y, int64_t blocks, int64_t block, const mx_params *p)
{
    for (int64_t b = 0; b < blocks; b++, x += block, y += block) {
        const uint32_t peak = peak_bits(x, block);
        if (peak >= MXHW_INFINITY) {
            fill_nan(y, block);
            continue;
        }
        const int exponent =
            p->offsets ? best_exponent(x, y, block, peak, p) : clamped_exponent(scale_exponent(peak, p));
        quantize(x, y, block, exponent, p);
    }
}

MXHW_API void mxhw_mx(const float *x, float *y, int64_t first, int64_t blocks, int64_t block, const void *params,
                      const float *row)
{
    const mx_params p = *(const mx_params *)params;
    (void)first, (void)row;
    /* A block size that the compiler knows makes short loops without remainders. */
    if (block == 32)
        quantize_blocks(x, y, blocks, 32, &p);
    else if (block == 16)
        quantize_blocks(x, y, blocks, 16, &p);
    else
        quantize_blocks(x, y, blocks, block, &p);
}
