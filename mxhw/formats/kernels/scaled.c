/* Integers, symmetric or with a zero point, or small floats, under one scale per block; see mxhw/formats/integer.py and
 * fp8.py. */
#include <math.h>

#include "lanes.h"

/* How a scale is stored: an enum float_type, or */
enum { SCALE_POWER = 3, SCALE_MULTIPLIER = 4 };

typedef struct {
    int32_t scale;      /* how the scale is stored */
    int32_t shift;      /* width - 2: a power-of-two scale is the peak's less this */
    int32_t asymmetric;
    int32_t is_given;   /* low and span are those of the tensor, not of each block */
    float least, most;  /* what a float scale is clamped to */
    int32_t mantissa;   /* of small floats; -1: integers */
    int32_t smallest;   /* exponent of the smallest normal of small floats */
    float largest;      /* the largest code, or small float */
    float low, span;
} scaled_params;

/* The lowest value, at most 0, and what the codes span: NaN if a value is not finite. */
INLINE void find_range(const float *x, int64_t n, const scaled_params *p, float *low, float *span)
{
    *low = 0.0f;
    if (!p->asymmetric) {
        const uint32_t peak = peak_bits(x, n);
        *span = float_of(peak < MXHW_INFINITY ? peak : MXHW_NAN);
        return;
    }
    value_range range = {0, 0};
    for (int64_t i = 0; i < n; i++)
        range = with_value(range, bits_of(x[i]));
    const float high = highest(range);
    *low = lowest(range);
    *span = limited(high - *low, MXHW_LARGEST);
    if (!is_finite(*low) || !is_finite(high))
        *span = float_of(MXHW_NAN);
}

INLINE float stored_scale(float span, const scaled_params *p)
{
    if (p->scale == SCALE_POWER) {
        const int exponent = (int)(bits_of(span) >> MXHW_MANTISSA) - MXHW_BIAS - p->shift;
        return power_of_two(exponent > -MXHW_BIAS ? exponent : -MXHW_BIAS);
    }
    const float scale = span / p->largest;
    return p->scale == SCALE_MULTIPLIER ? scale : round_to_type(clamped(scale, p->least, p->most), p->scale);
}

INLINE void quantize_floats(const float *restrict x, float *restrict y, int64_t n, float scale, const scaled_params *p)
{
    const small_float type = make_small_float(p->mantissa, p->smallest);
    const float largest = p->largest;
    for (int64_t i = 0; i < n; i++) {
        const float value = round_to_float(limited(magnitude_of(x[i]) / scale, largest), type);
        y[i] = with_sign(value * scale, x[i]);
    }
}

INLINE void quantize_integers(const float *restrict x, float *restrict y, int64_t n, float scale, float low,
                              const scaled_params *p)
{
    const float largest = p->largest;
    integer_limits limits = make_limits(-largest, largest);
    if (p->asymmetric) {
        const float zero = nearest_integer(-low / scale, make_limits(0.0f, largest));
        limits = make_limits(-zero, largest - zero);
    }
    if (p->scale == SCALE_POWER) {
        const float inverse = power_of_two(MXHW_BIAS - (int)(bits_of(scale) >> MXHW_MANTISSA));
        for (int64_t i = 0; i < n; i++)
            y[i] = nearest_integer(x[i] * inverse, limits) * scale;
    } else {
        for (int64_t i = 0; i < n; i++)
            y[i] = nearest_integer(x[i] / scale, limits) * scale;
    }
}

INLINE void quantize(const float *x, float *y, int64_t n, float scale, float low, const scaled_params *p)
{
    if (p->mantissa >= 0)
        quantize_floats(x, y, n, scale, p);
    else
        quantize_integers(x, y, n, scale, low, p);
    saturate(y, n, scale);
}

/* Of a row of blocks: the scale of the row, which multipliers are taken of, and per block its own and its low. */
INLINE void prepare_multipliers(const float *x, int64_t blocks, int64_t block, const scaled_params *p, float *row)
{
    const float least = 0x1p-149f;
    float most = 0.0f;
    for (int64_t b = 0; b < blocks; b++) {
        float span, *own = row + MXHW_ROW + MXHW_ROW_BLOCK * b;
        find_range(x + b * block, block, p, &own[1], &span);
        own[0] = is_finite(span) ? stored_scale(span, p) : span;
        most = own[0] > most ? own[0] : most;
    }
    row[0] = most / 255.0f > least ? most / 255.0f : least;
}

MXHW_API void mxhw_scaled_row(const float *x, int64_t blocks, int64_t block, const void *params, float *row)
{
    const scaled_params *p = params;
    if (p->scale == SCALE_MULTIPLIER)
        prepare_multipliers(x, blocks, block, p, row);
    else /* a row of one block */
        find_range(x, block, p, &row[0], &row[1]);
}

INLINE void quantize_by_multiplier(const float *x, float *y, int64_t n, const float *row, const float *own,
                                   const scaled_params *p)
{
    if (is_finite(own[0]))
        quantize(x, y, n, clamped(rintf(own[0] / row[0]), 1.0f, 255.0f) * row[0], own[1], p);
    else
        fill_nan(y, n);
}

MXHW_API void mxhw_scaled(const float *x, float *y, int64_t first, int64_t blocks, int64_t block, const void *params,
                           const float *row)
{
    const scaled_params p = *(const scaled_params *)params;
    for (int64_t b = 0; b < blocks; b++, x += block, y += block) {
        float low = p.low, span = p.span;
        if (p.scale == SCALE_MULTIPLIER) {
            quantize_by_multiplier(x, y, block, row, row + MXHW_ROW + MXHW_ROW_BLOCK * (first + b), &p);
            continue;
        }
        if (row) {
            low = row[0];
            span = row[1];
        } else if (!p.is_given) {
            find_range(x, block, &p, &low, &span);
        }
        if (is_finite(span))
            quantize(x, y, block, stored_scale(span, &p), low, &p);
        else
            fill_nan(y, block);
    }
}
