/* A float type without blocks: every element rounded by itself; see mxhw/formats/plain.py. */
#include "kernels.h"

typedef struct {
    int32_t mantissa, smallest; /* bits below the leading one, and the exponent of the smallest normal */
    float largest;
} plain_params;

enum kind { UNCHANGED, BFLOAT16, SMALL };

INLINE void round_all(const float *restrict x, float *restrict y, int64_t n, enum kind kind, const plain_params *p)
{
    const small_float type = make_small_float(p->mantissa, p->smallest);
    const float largest = p->largest;
    for (int64_t i = 0; i < n; i++) {
        const float magnitude = magnitude_of(x[i]);
        float value = limited(magnitude, largest);
        if (kind != UNCHANGED)
            value = kind == BFLOAT16 ? round_to_type(value, MXHW_BFLOAT16) : round_to_float(value, type);
        y[i] = bits_of(magnitude) < MXHW_INFINITY ? with_sign(value, x[i]) : float_of(MXHW_NAN);
    }
}

MXHW_API void mxhw_plain(const float *x, float *y, int64_t first, int64_t blocks, int64_t block, const void *params,
                         const float *row)
{
    const plain_params p = *(const plain_params *)params;
    (void)first, (void)row;
    if (p.mantissa == MXHW_MANTISSA)
        round_all(x, y, blocks * block, UNCHANGED, &p);
    else if (p.smallest == 1 - MXHW_BIAS) /* the range of float32, for which rounding by sums has no room */
        round_all(x, y, blocks * block, BFLOAT16, &p);
    else
        round_all(x, y, blocks * block, SMALL, &p);
}
