/* Vectors as wide as the registers: the few operations for which compilers need help. */
#ifndef MXHW_LANES_H
#define MXHW_LANES_H

#include <string.h>

#include "kernels.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX2__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif

typedef float floats __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef int32_t ints __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef double doubles __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(double)), may_alias));

INLINE floats load_floats(const float *from)
{
    return *(const floats *)from;
}

INLINE void store_floats(float *to, floats values)
{
    *(floats *)to = values;
}

/* The first n of LANES, then zeros. */
INLINE floats load_first(const float *from, int64_t n)
{
#if defined(__AVX512F__)
    return (floats)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), from);
#else
    floats values = {0};
    memcpy(&values, from, (size_t)n * sizeof(float));
    return values;
#endif
}

INLINE void store_first(float *to, floats values, int64_t n)
{
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(to, (__mmask16)((1u << n) - 1), (__m512)values);
#else
    memcpy(to, &values, (size_t)n * sizeof(float));
#endif
}

INLINE floats magnitudes(floats values)
{
    return (floats)((ints)values & (int32_t)MXHW_MAGNITUDE);
}

/* Magnitudes with the signs of other values. */
INLINE floats with_signs(floats magnitudes, floats signs)
{
    return (floats)((ints)magnitudes | ((ints)signs & INT32_MIN));
}

/* The lower or upper half of the lanes. */
INLINE doubles doubles_of(floats values, int half)
{
#if defined(__AVX512F__)
    const __m512 v = (__m512)values;
    return (doubles)_mm512_cvtps_pd(half ? _mm512_extractf32x8_ps(v, 1) : _mm512_castps512_ps256(v));
#elif defined(__AVX2__)
    const __m256 v = (__m256)values;
    return (doubles)_mm256_cvtps_pd(half ? _mm256_extractf128_ps(v, 1) : _mm256_castps256_ps128(v));
#elif defined(__SSE2__)
    const __m128 v = (__m128)values;
    return (doubles)_mm_cvtps_pd(half ? _mm_movehl_ps(v, v) : v);
#else
    doubles wide;
    for (int i = 0; i < LANES / 2; i++)
        wide[i] = (double)values[LANES / 2 * half + i];
    return wide;
#endif
}

INLINE ints truncated(floats values)
{
    return __builtin_convertvector(values, ints);
}

/* min(a, b); neither is NaN. */
INLINE floats lesser(floats a, floats b)
{
#if defined(__AVX512F__)
    return (floats)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (floats)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (floats)_mm_min_ps((__m128)a, (__m128)b);
#else
    const ints less = a < b;
    return (floats)(((ints)a & less) | ((ints)b & ~less));
#endif
}

INLINE ints lesser_integers(ints a, ints b)
{
#if defined(__AVX512F__)
    return (ints)_mm512_min_epi32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (ints)_mm256_min_epi32((__m256i)a, (__m256i)b);
#else
    const ints is_less = a < b;
    return (a & is_less) | (b & ~is_less);
#endif
}

INLINE ints greater_integers(ints a, ints b)
{
#if defined(__AVX512F__)
    return (ints)_mm512_max_epi32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (ints)_mm256_max_epi32((__m256i)a, (__m256i)b);
#else
    const ints is_less = a < b;
    return (b & is_less) | (a & ~is_less);
#endif
}

/* sum + a^2, rounded once or twice: for estimates. */
INLINE floats plus_square(floats sum, floats a)
{
#if defined(__AVX512F__)
    return (floats)_mm512_fmadd_ps((__m512)a, (__m512)a, (__m512)sum);
#else
    return sum + a * a;
#endif
}

INLINE floats all(float value)
{
    return value - (floats){0}; /* which costs nothing, unlike an addition, which would make +0 of -0 */
}

/* mask ? a : b, by lanes of ones and zeros. */
INLINE floats chosen(ints mask, floats a, floats b)
{
    return (floats)(((ints)a & mask) | ((ints)b & ~mask));
}

/* a < b ? yes : no */
INLINE floats if_less(floats a, floats b, floats yes, floats no)
{
#if defined(__AVX512F__)
    const __mmask16 is_less = _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ);
    return (floats)_mm512_mask_blend_ps(is_less, (__m512)no, (__m512)yes);
#else
    return chosen(a < b, yes, no);
#endif
}

/* x < 0 ? a : b, and for -0 a too. */
INLINE floats chosen_by_sign(floats x, floats a, floats b)
{
#if defined(__AVX512F__)
    return (floats)_mm512_mask_blend_ps(_mm512_movepi32_mask((__m512i)x), (__m512)b, (__m512)a);
#elif defined(__AVX2__)
    return (floats)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)x);
#else
    return chosen((ints)x < 0, a, b);
#endif
}

/* Magnitudes rounded to a small float, as round_to_float does. */
INLINE floats rounded(floats magnitudes, small_float type)
{
    const ints smallest = (ints){0} + (int32_t)type.smallest;
    const ints exponent = greater_integers((ints)magnitudes & (int32_t)MXHW_INFINITY, smallest);
    const floats rounder = (floats)(exponent + (int32_t)(type.lift + 0x00400000u));
    return (magnitudes + rounder) - rounder;
}

/* As nearest_integer does. */
INLINE floats nearest_integers(floats values, integer_limits limits)
{
    ints bits = (ints)(values + MXHW_ROUNDER);
    bits = greater_integers(bits, (ints){0} + limits.low);
    bits = lesser_integers(bits, (ints){0} + limits.high);
    return (floats)bits - MXHW_ROUNDER;
}

/* The signs of lanes, as bits of an integer. */
INLINE uint32_t sign_bits(ints values)
{
#if defined(__AVX512F__)
    return _mm512_cmplt_epi32_mask((__m512i)values, _mm512_setzero_si512());
#elif defined(__AVX2__)
    return (uint32_t)_mm256_movemask_ps((__m256)values);
#elif defined(__SSE2__)
    return (uint32_t)_mm_movemask_ps((__m128)values);
#else
    uint32_t bits = 0;
    for (int i = 0; i < LANES; i++)
        bits |= (uint32_t)(values[i] < 0) << i;
    return bits;
#endif
}

/* Which lanes are at most `limit`, as bits of an integer. */
INLINE uint32_t at_most(floats values, float limit)
{
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)values, _mm512_set1_ps(limit), _CMP_LE_OQ);
#else
    return sign_bits(values <= limit);
#endif
}

/* Which lanes have any of the bits `mask`. */
INLINE uint32_t have_any(ints values, int32_t mask)
{
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)values, _mm512_set1_epi32(mask));
#else
    return sign_bits((values & mask) != 0);
#endif
}

INLINE float least_lane(floats values)
{
#if defined(__AVX512F__)
    return _mm512_reduce_min_ps((__m512)values);
#else
    float least = values[0];
    for (int i = 1; i < LANES; i++)
        least = values[i] < least ? values[i] : least;
    return least;
#endif
}

INLINE uint32_t greatest_lane(ints values)
{
#if defined(__AVX512F__)
    return (uint32_t)_mm512_reduce_max_epi32((__m512i)values);
#else
    int32_t greatest = values[0];
    for (int i = 1; i < LANES; i++)
        greatest = values[i] > greatest ? values[i] : greatest;
    return (uint32_t)greatest;
#endif
}

/* The bits of the largest magnitude: NaN and Inf show as MXHW_INFINITY or more. */
INLINE uint32_t peak_bits(const float *x, int64_t n)
{
    ints peak = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        peak = greater_integers(peak, (ints)magnitudes(load_floats(x + i)));
    if (i < n)
        peak = greater_integers(peak, (ints)magnitudes(load_first(x + i, n - i)));
    return greatest_lane(peak);
}

INLINE float lane_sum(floats values)
{
    float sum = values[0];
    for (int i = 1; i < LANES; i++)
        sum += values[i];
    return sum;
}

/* The sums of four vectors, each in any order: for estimates. */
INLINE void lane_sums(float *sums, const floats *values)
{
#if defined(__AVX512F__)
    const __m512 a = (__m512)values[0], b = (__m512)values[1], c = (__m512)values[2], d = (__m512)values[3];
    const __m512d ab = (__m512d)(_mm512_unpacklo_ps(a, b) + _mm512_unpackhi_ps(a, b));
    const __m512d cd = (__m512d)(_mm512_unpacklo_ps(c, d) + _mm512_unpackhi_ps(c, d));
    const __m512 all = (__m512)_mm512_unpacklo_pd(ab, cd) + (__m512)_mm512_unpackhi_pd(ab, cd);
    const __m256 half = _mm512_castps512_ps256(all) + _mm512_extractf32x8_ps(all, 1);
    _mm_storeu_ps(sums, _mm256_castps256_ps128(half) + _mm256_extractf128_ps(half, 1));
#else
    for (int i = 0; i < 4; i++)
        sums[i] = lane_sum(values[i]);
#endif
}

INLINE uint32_t lane_or(ints values)
{
#if defined(__AVX512F__)
    return (uint32_t)_mm512_reduce_or_epi32((__m512i)values);
#else
    uint32_t any = 0;
    for (int i = 0; i < LANES; i++)
        any |= (uint32_t)values[i];
    return any;
#endif
}

/* table[index] of a table of 32, index 0 to 31. */
INLINE floats look_up(const float *table, ints index)
{
#if defined(__AVX512F__)
    return (floats)_mm512_permutex2var_ps(_mm512_loadu_ps(table), (__m512i)index, _mm512_loadu_ps(table + 16));
#else
    floats values;
    for (int i = 0; i < LANES; i++)
        values[i] = table[index[i]];
    return values;
#endif
}

/* columns[i] = element i of each of `rows` rows of n, at most 16, that lie one after the other; zeros up to LANES. */
INLINE void transpose(floats *columns, const float *x, int n, int rows)
{
#if defined(__AVX512F__)
    const ints lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int r = 0; r < 16; r++)
        columns[r] = r < rows ? (floats)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), x + n * r) : all(0.0f);
#pragma GCC unroll 4
    for (int bit = 0; bit < 4; bit++) {
        /* Swaps the odd half of every even row with the even half of its odd neighbour, at distances 1, 2, 4, 8. */
        const int step = 1 << bit;
        const ints low = lane + ((lane >> bit) & 1) * (16 - step), high = low + step;
#pragma GCC unroll 16
        for (int r = 0; r < 16; r++) {
            if (r & step)
                continue;
            const __m512 a = (__m512)columns[r], b = (__m512)columns[r + step];
            columns[r] = (floats)_mm512_permutex2var_ps(a, (__m512i)low, b);
            columns[r + step] = (floats)_mm512_permutex2var_ps(a, (__m512i)high, b);
        }
    }
#else
    for (int i = 0; i < n; i++)
        for (int r = 0; r < LANES; r++)
            columns[i][r] = r < rows ? x[n * r + i] : 0.0f;
#endif
}

#endif
