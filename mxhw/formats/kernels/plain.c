/* A float type without blocks: every element rounded by itself; see mxhw/formats/plain.py. */
#include "kernels.h"

typedef struct {
    int32_t type; /* enum float_type */
    float largest;
} plain_params;

INLINE void round_all(const float *restrict x, float *restrict y, int64_t n, int32_t type, float largest)
{
    for (int64_t i = 0; i < n; i++) {
        const float magnitude = magnitude_of(x[i]);
        const float value = with_sign(round_to_type(limited(magnitude, largest), type), x[i]);
        y[i] = bits_of(magnitude) < MXHW_INFINITY ? value : float_of(MXHW_NAN);
    }
}

MXHW_API void mxhw_plain(const float *x, float *y, int64_t first, int64_t blocks, int64_t block, const void *params,
                         const float *row)
{
    const plain_params *p = params;
    (void)first, (void)row;
    if (p->type == MXHW_FLOAT16)
        round_all(x, y, blocks * block, MXHW_FLOAT16, p->largest);
    else if (p->type == MXHW_BFLOAT16)
        round_all(x, y, blocks * block, MXHW_BFLOAT16, p->largest);
    else
        round_all(x, y, blocks * block, MXHW_FLOAT32, p->largest);
}
