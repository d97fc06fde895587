/* NF4: the nearest of 16 values between -1 and 1 under a scale per group; see mxhw/formats/nf4.py. */
#include <math.h>

#include "lanes.h"

enum { BINS = 32, SCALE_MULTIPLIER = 4 };

typedef struct {
    /* [BINS], by bin of 1/16 from -1: what is at most the threshold takes the low value, what is above the high one */
    const float *threshold, *low, *high;
    int32_t scale;     /* an enum float_type, or SCALE_MULTIPLIER */
    float least, most; /* what a float scale is clamped to */
} nf4_params;

INLINE floats nearest(floats quotient, const nf4_params *p)
{
    const floats bin = lesser((quotient + 1.0f) * (BINS / 2), all(BINS - 1));
    const ints index = truncated(chosen(bin > 0.0f, bin, all(0.0f)));
    const ints is_above = quotient > look_up(p->threshold, index);
    return chosen(is_above, look_up(p->high, index), look_up(p->low, index));
}

INLINE void quantize(const float *x, float *y, int64_t n, float scale, const nf4_params *p)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store_floats(y + i, nearest(load_floats(x + i) / scale, p) * scale);
    if (i < n)
        store_first(y + i, nearest(load_first(x + i, n - i) / scale, p) * scale, n - i);
    saturate(y, n, scale);
}

/* The scale of the row, of which multipliers are taken. */
MXHW_API void mxhw_nf4_row(const float *x, int64_t blocks, int64_t block, const void *params, float *row)
{
    const float least = 0x1p-149f;
    uint32_t most = 0;
    (void)params;
    for (int64_t b = 0; b < blocks; b++) {
        const uint32_t peak = peak_bits(x + b * block, block);
        most = peak > most && peak < MXHW_INFINITY ? peak : most;
    }
    row[0] = float_of(most) / 255.0f > least ? float_of(most) / 255.0f : least;
}

MXHW_API void mxhw_nf4(const float *x, float *y, int64_t first, int64_t blocks, int64_t block, const void *params,
                       const float *row)
{
    const nf4_params p = *(const nf4_params *)params;
    (void)first;
    for (int64_t b = 0; b < blocks; b++, x += block, y += block) {
        const uint32_t peak = peak_bits(x, block);
        if (peak >= MXHW_INFINITY) {
            fill_nan(y, block);
            continue;
        }
        float scale = float_of(peak);
        if (p.scale == SCALE_MULTIPLIER)
            scale = clamped(rintf(scale / row[0]), 1.0f, 255.0f) * row[0];
        else
            scale = round_to_type(clamped(scale, p.least, p.most), p.scale);
        quantize(x, y, block, scale, &p);
    }
}
