/* NVFP4 and RaZeR: E2M1 elements in blocks of 16 with a small-float scale each and one scale for the tensor; see
 * mxhw/formats/nvfp4.py. Where blocks have several candidates, the float64 sums in index order that define the rule are
 * made for as many blocks at once as there are lanes. */
#include "lanes.h"

enum { BLOCK = 16, CANDIDATES = 4, GROUP = 16 };

typedef struct {
    float tensor_scale;         /* NaN: the tensor has values that are not finite */
    float least, most;          /* the scales that a block may store */
    int32_t mantissa, smallest; /* of their type: bits, and exponent of its smallest normal */
    int32_t element_mantissa, element_smallest;
    float largest;              /* element */
    int32_t candidates;
    int32_t has_special;
    float divisor[CANDIDATES];  /* the peak over this, over the tensor's scale, times the factor is the scale */
    float factor[CANDIDATES];
    float special[CANDIDATES];  /* what the code "-0" means */
} fp4_params;

/* What a block is quantized with, one candidate each: x * reciprocal to elements, element * scale to values. */
typedef struct {
    float reciprocal[CANDIDATES][GROUP], scale[CANDIDATES][GROUP];
} block_scales;

/* Of GROUP blocks at once: divisions take as long for one as for a register full of them. */
INLINE void find_scales(block_scales *s, const float *peak, const fp4_params *p)
{
    const small_float type = make_small_float(p->mantissa, p->smallest);
    const float inverse = 1.0f / p->tensor_scale;
    for (int c = 0; c < p->candidates; c++) {
        for (int b = 0; b < GROUP; b += LANES) {
            const floats peaks = load_floats(peak + b);
            floats scale = peaks / p->divisor[c] / p->tensor_scale * p->factor[c];
            scale = lesser(if_less(all(p->least), scale, scale, all(p->least)), all(p->most));
            scale = rounded(scale, type);
            const floats stored = if_less(all(0.0f), peaks, scale, all(0.0f));
            const floats divisor = if_less(all(p->least), stored, stored, all(p->least));
            store_floats(&s->reciprocal[c][b], inverse / divisor);
            store_floats(&s->scale[c][b], stored * p->tensor_scale);
        }
    }
}

INLINE floats values(floats x, floats reciprocal, floats scale, int c, const fp4_params *p)
{
    const small_float type = make_small_float(p->element_mantissa, p->element_smallest);
    const floats quotient = x * reciprocal;
    const floats level = lesser(rounded(magnitudes(quotient), type), all(p->largest));
    if (!p->has_special)
        return with_signs(lesser(level * scale, all(MXHW_LARGEST)), x);
    const floats special = all(p->special[c]), usual = with_signs(level, x);
    const floats element = if_less(magnitudes(quotient - special), magnitudes(quotient - usual), special, usual + 0.0f);
    const floats value = element * scale;
    return with_signs(lesser(magnitudes(value), all(MXHW_LARGEST)), value);
}

/* The sums of squares of candidate c for LANES blocks, of which x has the elements one after the other. */
INLINE void add_errors(double *error, const floats *x, floats reciprocal, floats scale, int c, const fp4_params *p)
{
    doubles sum[2] = {{0}, {0}};
    for (int i = 0; i < BLOCK; i++) {
        const floats value = values(x[i], reciprocal, scale, c, p);
        for (int half = 0; half < 2; half++) {
            const doubles distance = doubles_of(value, half) - doubles_of(x[i], half);
            sum[half] += distance * distance;
        }
    }
    for (int half = 0; half < 2; half++)
        *(doubles *)(error + LANES / 2 * half) = sum[half];
}

/* The candidates of least squared error, the first of equals. */
INLINE void choose(int32_t *best, const float *x, int blocks, const block_scales *s, const fp4_params *p)
{
    double error[CANDIDATES][GROUP], least[GROUP];
    for (int b = 0; b < GROUP; b += LANES) {
        floats element[BLOCK];
        transpose(element, x + BLOCK * b, BLOCK, blocks - b);
        for (int c = 0; c < p->candidates; c++)
            add_errors(&error[c][b], element, load_floats(&s->reciprocal[c][b]), load_floats(&s->scale[c][b]), c, p);
    }
    for (int b = 0; b < GROUP; b++) {
        least[b] = error[0][b];
        best[b] = 0;
    }
    for (int c = 1; c < p->candidates; c++)
        for (int b = 0; b < GROUP; b++) {
            best[b] = error[c][b] < least[b] ? c : best[b];
            least[b] = error[c][b] < least[b] ? error[c][b] : least[b];
        }
}

INLINE void quantize_group(const float *x, float *y, int blocks, const fp4_params *p)
{
    float peak[GROUP] = {0};
    int32_t best[GROUP] = {0};
    block_scales s;
    for (int b = 0; b < blocks; b++)
        peak[b] = float_of(peak_bits(x + BLOCK * b, BLOCK));
    find_scales(&s, peak, p);
    if (p->candidates > 1)
        choose(best, x, blocks, &s, p);
    for (int b = 0; b < blocks; b++, x += BLOCK, y += BLOCK) {
        const int c = best[b];
        const floats reciprocal = all(s.reciprocal[c][b]), scale = all(s.scale[c][b]);
        for (int i = 0; i < BLOCK; i += LANES)
            store_floats(y + i, values(load_floats(x + i), reciprocal, scale, c, p));
    }
}

MXHW_API void mxhw_fp4(const float *x, float *y, int64_t first, int64_t blocks, int64_t block, const void *params,
                       const float *row)
{
    const fp4_params p = *(const fp4_params *)params;
    (void)first, (void)block, (void)row;
    if (!is_finite(p.tensor_scale)) {
        fill_nan(y, blocks * BLOCK);
        return;
    }
    for (int64_t b = 0; b < blocks; b += GROUP, x += GROUP * BLOCK, y += GROUP * BLOCK)
        quantize_group(x, y, (int)(blocks - b < GROUP ? blocks - b : GROUP), &p);
}
