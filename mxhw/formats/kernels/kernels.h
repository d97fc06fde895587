/* What every kernel shares: the shape of a kernel, bits of floats, rounding.
 *
 * Rounding is that of the Python side, bit for bit: IEEE single precision, nearest even, no contraction, never
 * -ffast-math. Tables and constants come from the format object through `params`; C holds no second copy of them. */
#ifndef MXHW_KERNELS_H
#define MXHW_KERNELS_H

#include <stdint.h>

#if defined(__GNUC__)
#define MXHW_API __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline, unused))
#else
#error "the kernels need GCC or clang"
#endif

/* Quantizes `blocks` whole blocks of `block` float32 values that lie one after the other; the first is number `first`
 * of its row. It writes to y, never to x, and y does not overlap x. Blocks with Inf or NaN become NaN.
 * `row` is what the preparation of that row wrote, NULL if the kernel has none. */
typedef void mxhw_kernel(const float *x, float *y, int64_t first, int64_t blocks, int64_t block, const void *params,
                         const float *row);

/* Looks at a whole row, before the kernel gets it in parts that fit the first cache. A row of one block comes in parts
 * that are no block. `row` has room for MXHW_ROW values and MXHW_ROW_BLOCK more per block. */
typedef void mxhw_prepare(const float *x, int64_t blocks, int64_t block, const void *params, float *row);
#define MXHW_ROW 4
#define MXHW_ROW_BLOCK 2

enum {
    MXHW_MANTISSA = 23,
    MXHW_BIAS = 127,
};
#define MXHW_MAGNITUDE 0x7fffffffu
#define MXHW_INFINITY 0x7f800000u
#define MXHW_NAN 0x7fc00000u
#define MXHW_LARGEST 3.40282346638528859812e38f

INLINE uint32_t bits_of(float value)
{
    union { float value; uint32_t bits; } u = {.value = value};
    return u.bits;
}

INLINE float float_of(uint32_t bits)
{
    union { uint32_t bits; float value; } u = {.bits = bits};
    return u.value;
}

/* 2^exponent for -127 to 127; 2^-127 is a subnormal. */
INLINE float power_of_two(int exponent)
{
    return float_of(exponent > -MXHW_BIAS ? (uint32_t)(exponent + MXHW_BIAS) << MXHW_MANTISSA : 0x00400000u);
}

/* The range of values with zero: of bits, the largest signed is the highest value above zero, the largest unsigned the
 * lowest below it. NaN and Inf show in their magnitudes. */
typedef struct {
    int32_t high;
    uint32_t low;
} value_range;

INLINE value_range with_value(value_range range, uint32_t bits)
{
    range.high = (int32_t)bits > range.high ? (int32_t)bits : range.high;
    range.low = bits > range.low ? bits : range.low;
    return range;
}

INLINE float lowest(value_range range)
{
    return float_of(range.low > MXHW_MAGNITUDE ? range.low : 0);
}

INLINE float highest(value_range range)
{
    return float_of((uint32_t)range.high);
}

INLINE void fill_nan(float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = float_of(MXHW_NAN);
}

INLINE int is_finite(float value)
{
    return (bits_of(value) & MXHW_MAGNITUDE) < MXHW_INFINITY;
}

/* min(max(value, low), high) of values that are not NaN. */
INLINE float clamped(float value, float low, float high)
{
    value = value > low ? value : low;
    return value < high ? value : high;
}

/* A magnitude with the sign of another value. */
INLINE float with_sign(float magnitude, float sign)
{
    return float_of(bits_of(magnitude) | (bits_of(sign) & ~MXHW_MAGNITUDE));
}

/* Nearest even integers from `low` to `high`, which are below 2^22 in magnitude; zero is +0.
 *
 * 1.5 * 2^23 + value has the integer in its last bits. Limits are compared as integers, because compilers make one
 * instruction of that, but three of a float comparison that must mind NaN. */
#define MXHW_ROUNDER 12582912.0f
typedef struct {
    int32_t low, high;
} integer_limits;

INLINE integer_limits make_limits(float low, float high)
{
    integer_limits limits = {(int32_t)bits_of(MXHW_ROUNDER + low), (int32_t)bits_of(MXHW_ROUNDER + high)};
    return limits;
}

INLINE float nearest_integer(float value, integer_limits limits)
{
    int32_t bits = (int32_t)bits_of(value + MXHW_ROUNDER);
    bits = bits > limits.low ? bits : limits.low;
    bits = bits < limits.high ? bits : limits.high;
    return float_of((uint32_t)bits) - MXHW_ROUNDER;
}

/* min(value, limit) of magnitudes. */
INLINE float limited(float magnitude, float limit)
{
    const uint32_t bits = bits_of(magnitude), most = bits_of(limit);
    return float_of(bits < most ? bits : most);
}

INLINE float magnitude_of(float value)
{
    return float_of(bits_of(value) & MXHW_MAGNITUDE);
}

INLINE float widened(uint16_t bfloat16)
{
    return float_of((uint32_t)bfloat16 << 16);
}

/* To bfloat16: nearest even, saturating; NaN stays. */
INLINE uint16_t narrowed(float value)
{
    uint32_t bits = bits_of(value), magnitude = bits & MXHW_MAGNITUDE;
    uint32_t rounded = (magnitude + 0x7fffu + ((magnitude >> 16) & 1u)) >> 16;
    rounded = rounded < 0x7f7fu ? rounded : 0x7f7fu;
    rounded = magnitude > MXHW_INFINITY ? 0x7fc0u : rounded;
    return (uint16_t)(rounded | ((bits >> 16) & 0x8000u));
}

/* Rounding a magnitude to a small float with `mantissa` bits below the leading one: adding 1.5 * 2^(e + 23 - mantissa)
 * leaves these. */
typedef struct {
    uint32_t smallest; /* exponent field of the smallest normal */
    uint32_t lift;
} small_float;

INLINE small_float make_small_float(int mantissa, int smallest_exponent)
{
    small_float type = {(uint32_t)(smallest_exponent + MXHW_BIAS) << MXHW_MANTISSA,
                        (uint32_t)(MXHW_MANTISSA - mantissa) << MXHW_MANTISSA};
    return type;
}

INLINE float round_to_float(float magnitude, small_float type)
{
    uint32_t exponent = bits_of(magnitude) & MXHW_INFINITY;
    exponent = exponent > type.smallest ? exponent : type.smallest;
    float rounder = float_of((exponent + type.lift) | 0x00400000u);
    return (magnitude + rounder) - rounder;
}

/* The float types that scales are stored in, and of formats without blocks. */
enum float_type { MXHW_FLOAT32 = 0, MXHW_FLOAT16 = 1, MXHW_BFLOAT16 = 2 };

/* A magnitude within the finite range of `type`, rounded to it. */
INLINE float round_to_type(float magnitude, int32_t type)
{
    if (type == MXHW_FLOAT16)
        return round_to_float(magnitude, make_small_float(10, -14));
    return type == MXHW_BFLOAT16 ? widened(narrowed(magnitude)) : magnitude;
}

/* A rounded scale may put a product past the largest float: values become finite again. */
INLINE void saturate(float *y, int64_t n, float scale)
{
    if (scale <= MXHW_LARGEST / 256)
        return;
    for (int64_t i = 0; i < n; i++)
        y[i] = with_sign(limited(magnitude_of(y[i]), MXHW_LARGEST), y[i]);
}

#endif
