/* The walk of a kernel over a tensor [outer, length, inner] with blocks along `length`.
 *
 * Units of about a thousand elements are staged through buffers that stay in cache: short last blocks are padded with
 * zeros, bfloat16 is widened, vectors with gaps and tiles are gathered. Where none of that is needed the kernel reads
 * the tensor itself. Large results are written past the caches, as memcpy does. */
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

enum { FLOAT32 = 0, BFLOAT16 = 1 };
enum {
    UNIT = 1024,            /* elements of a unit where rows need not be whole: input and result fit the first cache */
    LINE = 16,              /* float32 values of a cache line */
    TILE = LINE,            /* neighbouring vectors that are gathered together */
    STREAM_BYTES = 1 << 24, /* results from here on are written past the caches */
};

typedef struct {
    const void *x;
    void *y;
    int64_t outer, length, inner;
    int64_t block;
    int64_t tile_rows;  /* above 1: blocks are tiles of so many neighbouring vectors, */
    int64_t neighbours; /* of which there are so many; then `inner` is their distance, where it is not 1, else 1 */
    int32_t dtype;
    int32_t splits; /* a row that is one block may come to the kernel in parts */
    int32_t threads;
} mxhw_tensor;

typedef struct {
    const mxhw_tensor *t;
    mxhw_kernel *kernel;
    mxhw_prepare *prepare;
    const void *params;
    int64_t blocks;      /* of a row */
    int64_t part;        /* blocks of a row that the kernel gets at once */
    int64_t unit;        /* blocks of a row in a unit: all where a row is prepared, else a part */
    int64_t units_a_row;
    int64_t tile;        /* rows in a unit */
    int64_t tiles;       /* per outer index */
    int stream;
} walk;

typedef struct {
    float *x, *y, *row;
} buffers;

static void copy_past_caches(float *to, const float *from, int64_t n)
{
#if defined(__AVX512F__)
    for (; n > 0 && ((uintptr_t)to & 63u); n--)
        *to++ = *from++;
    for (; n >= 16; n -= 16, to += 16, from += 16)
        _mm512_stream_ps(to, _mm512_loadu_ps(from));
#elif defined(__AVX__)
    for (; n > 0 && ((uintptr_t)to & 31u); n--)
        *to++ = *from++;
    for (; n >= 8; n -= 8, to += 8, from += 8)
        _mm256_stream_ps(to, _mm256_loadu_ps(from));
#elif defined(__SSE2__)
    for (; n > 0 && ((uintptr_t)to & 15u); n--)
        *to++ = *from++;
    for (; n >= 4; n -= 4, to += 4, from += 4)
        _mm_stream_ps(to, _mm_loadu_ps(from));
#endif
    memcpy(to, from, (size_t)n * sizeof(float));
}

/* What lies between gathered rows: without it, the elements of one column would all fall into one set of the cache. */
INLINE int64_t row_gap(const walk *w)
{
    return w->prepare && w->tile > 1 ? LINE : 0;
}

INLINE float element(const mxhw_tensor *t, int64_t at)
{
    return t->dtype == FLOAT32 ? ((const float *)t->x)[at] : widened(((const uint16_t *)t->x)[at]);
}

INLINE void set_element(const mxhw_tensor *t, int64_t at, float value)
{
    if (t->dtype == FLOAT32)
        ((float *)t->y)[at] = value;
    else
        ((uint16_t *)t->y)[at] = narrowed(value);
}

/* Runs of a few elements, for which a call of memcpy takes longer than the copy. */
INLINE void copy_run(float *to, const float *from, int64_t n)
{
    for (; n >= 4; n -= 4, to += 4, from += 4)
        memcpy(to, from, 4 * sizeof(float));
    for (; n > 0; n--)
        *to++ = *from++;
}

static void load(float *to, const void *x, int64_t at, int64_t n, int32_t dtype)
{
    if (dtype == FLOAT32) {
        memcpy(to, (const float *)x + at, (size_t)n * sizeof(float));
        return;
    }
    const uint16_t *from = (const uint16_t *)x + at;
    for (int64_t i = 0; i < n; i++)
        to[i] = widened(from[i]);
}

static void store(void *y, int64_t at, const float *from, int64_t n, int32_t dtype, int stream)
{
    if (dtype == FLOAT32 && stream) {
        copy_past_caches((float *)y + at, from, n);
        return;
    }
    if (dtype == FLOAT32) {
        memcpy((float *)y + at, from, (size_t)n * sizeof(float));
        return;
    }
    uint16_t *to = (uint16_t *)y + at;
    for (int64_t i = 0; i < n; i++)
        to[i] = narrowed(from[i]);
}

/* The kernel on whole blocks x, of which n elements are wanted, at `at` of the tensor. */
static void quantize_part(const walk *w, const buffers *b, const float *x, int64_t first, int64_t blocks, int64_t block,
                          int64_t n, int64_t at)
{
    const mxhw_tensor *t = w->t;
    const float *row = w->prepare ? b->row : NULL;
    if (t->dtype == FLOAT32 && n == blocks * block && !w->stream && t->x != t->y) {
        w->kernel(x, (float *)t->y + at, first, blocks, block, w->params, row);
        return;
    }
    w->kernel(x, b->y, first, blocks, block, w->params, row);
    store(t->y, at, b->y, n, t->dtype, w->stream);
}

/* `blocks` blocks of one vector without gaps: n elements from `at`. */
static void dense_unit(const walk *w, const buffers *b, int64_t at, int64_t n, int64_t blocks)
{
    const mxhw_tensor *t = w->t;
    const int64_t padded = blocks * t->block;
    const float *x = b->x;
    if (t->dtype == FLOAT32 && n == padded) {
        x = (const float *)t->x + at;
    } else {
        load(b->x, t->x, at, n, t->dtype);
        memset(b->x + n, 0, (size_t)(padded - n) * sizeof(float));
    }
    if (w->prepare)
        w->prepare(x, blocks, t->block, w->params, b->row);
    const int is_long = t->splits && blocks == 1;
    const int64_t part = is_long ? UNIT : w->part * t->block;
    for (int64_t i = 0; i < n; i += part) {
        const int64_t wanted = i + part < n ? part : n - i, whole = i + part < padded ? part : padded - i;
        const int64_t count = is_long ? 1 : whole / t->block;
        quantize_part(w, b, x + i, is_long ? 0 : i / t->block, count, whole / count, wanted, at + i);
    }
}

/* to[j][i] = from[i][j] of LINE x LINE values; `pitch` is the distance of rows. */
static void transpose(const float *from, int64_t from_pitch, float *to, int64_t to_pitch)
{
    for (int i = 0; i < LINE; i += 4)
        for (int j = 0; j < LINE; j += 4) {
            const float *source = from + i * from_pitch + j;
            float *target = to + j * to_pitch + i;
#if defined(__SSE2__)
            __m128 a = _mm_loadu_ps(source), b = _mm_loadu_ps(source + from_pitch);
            __m128 c = _mm_loadu_ps(source + 2 * from_pitch), d = _mm_loadu_ps(source + 3 * from_pitch);
            _MM_TRANSPOSE4_PS(a, b, c, d);
            _mm_storeu_ps(target, a);
            _mm_storeu_ps(target + to_pitch, b);
            _mm_storeu_ps(target + 2 * to_pitch, c);
            _mm_storeu_ps(target + 3 * to_pitch, d);
#else
            for (int k = 0; k < 4; k++)
                for (int l = 0; l < 4; l++)
                    target[k * to_pitch + l] = source[l * from_pitch + k];
#endif
        }
}

/* Lines of `rows` neighbours, n of them from `at` in steps of `inner`, to rows of a buffer. */
static void gather_rows(const mxhw_tensor *t, float *to, int64_t pitch, int64_t at, int64_t n, int64_t rows)
{
    _Alignas(64) float lines[LINE * LINE] = {0};
    int64_t i = 0;
    for (; i + LINE <= n; i += LINE) {
        for (int64_t k = 0; k < LINE; k++)
            load(lines + LINE * k, t->x, at + (i + k) * t->inner, rows, t->dtype);
        transpose(lines, LINE, to + i, pitch);
    }
    for (; i < n; i++)
        for (int64_t r = 0; r < rows; r++)
            to[r * pitch + i] = element(t, at + i * t->inner + r);
}

static void scatter_rows(const mxhw_tensor *t, const float *from, int64_t pitch, int64_t at, int64_t n, int64_t rows)
{
    _Alignas(64) float lines[LINE * LINE];
    int64_t i = 0;
    for (; i + LINE <= n; i += LINE) {
        transpose(from + i, pitch, lines, LINE);
        for (int64_t k = 0; k < LINE; k++)
            store(t->y, at + (i + k) * t->inner, lines + LINE * k, rows, t->dtype, 0);
    }
    for (; i < n; i++)
        for (int64_t r = 0; r < rows; r++)
            set_element(t, at + i * t->inner + r, from[r * pitch + i]);
}

/* `rows` neighbouring vectors, n elements of each from `at` in steps of `inner`. */
static void gathered_unit(const walk *w, const buffers *b, int64_t at, int64_t n, int64_t blocks, int64_t rows)
{
    const mxhw_tensor *t = w->t;
    const int64_t padded = blocks * t->block, pitch = padded + row_gap(w);
    gather_rows(t, b->x, pitch, at, n, rows);
    for (int64_t r = 0; r < rows; r++)
        memset(b->x + r * pitch + n, 0, (size_t)(padded - n) * sizeof(float));
    if (!w->prepare)
        w->kernel(b->x, b->y, 0, rows * blocks, t->block, w->params, NULL);
    for (int64_t r = 0; w->prepare && r < rows; r++) {
        w->prepare(b->x + r * pitch, blocks, t->block, w->params, b->row);
        w->kernel(b->x + r * pitch, b->y + r * pitch, 0, blocks, t->block, w->params, b->row);
    }
    scatter_rows(t, b->y, pitch, at, n, rows);
}

/* A tile of `rows` vectors by `columns` elements at `at`, in steps of `down` and `along`. */
INLINE void gather_tile(const walk *w, float *to, int64_t at, int64_t down, int64_t along, int64_t rows,
                        int64_t columns)
{
    const mxhw_tensor *t = w->t;
    const int64_t width = t->block / t->tile_rows;
    if (rows * columns < t->block)
        memset(to, 0, (size_t)t->block * sizeof(float));
    for (int64_t r = 0; r < rows; r++, at += down, to += width) {
        if (along == 1 && t->dtype == FLOAT32)
            copy_run(to, (const float *)t->x + at, columns);
        else
            for (int64_t c = 0; c < columns; c++)
                to[c] = element(t, at + c * along);
    }
}

INLINE void scatter_tile(const walk *w, const float *from, int64_t at, int64_t down, int64_t along, int64_t rows,
                         int64_t columns)
{
    const mxhw_tensor *t = w->t;
    const int64_t width = t->block / t->tile_rows;
    for (int64_t r = 0; r < rows; r++, at += down, from += width) {
        if (along == 1 && t->dtype == FLOAT32)
            copy_run((float *)t->y + at, from, columns);
        else
            for (int64_t c = 0; c < columns; c++)
                set_element(t, at + c * along, from[c]);
    }
}

/* Unit `unit` of a tensor in tiles: `part` of them, neighbours along the axis. */
static void tiled_unit(const walk *w, const buffers *b, int64_t unit)
{
    const mxhw_tensor *t = w->t;
    const int64_t width = t->block / t->tile_rows, bands = (t->neighbours + t->tile_rows - 1) / t->tile_rows;
    const int64_t along = t->inner, down = t->inner == 1 ? t->length : 1;
    const int64_t first = unit % w->units_a_row * w->unit, band = unit / w->units_a_row % bands;
    const int64_t outer = unit / (w->units_a_row * bands), top = band * t->tile_rows;
    const int64_t blocks = first + w->unit < w->blocks ? w->unit : w->blocks - first;
    const int64_t rows = top + t->tile_rows < t->neighbours ? t->tile_rows : t->neighbours - top;
    const int64_t at = outer * t->length * t->neighbours + top * down;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < blocks; i++) {
            const int64_t left = (first + i) * width, from = at + left * along;
            const int64_t columns = left + width < t->length ? width : t->length - left;
            if (pass == 0)
                gather_tile(w, b->x + i * t->block, from, down, along, rows, columns);
            else
                scatter_tile(w, b->y + i * t->block, from, down, along, rows, columns);
        }
        if (pass == 0)
            w->kernel(b->x, b->y, 0, blocks, t->block, w->params, NULL);
    }
}

static void do_unit(const walk *w, const buffers *b, int64_t unit)
{
    if (w->t->tile_rows > 1) {
        tiled_unit(w, b, unit);
        return;
    }
    const mxhw_tensor *t = w->t;
    /* Neighbouring units are neighbours in memory. */
    const int64_t tile = unit % w->tiles, outer = unit / (w->units_a_row * w->tiles);
    const int64_t block = unit / w->tiles % w->units_a_row * w->unit, first = block * t->block, row = tile * w->tile;
    const int64_t blocks = block + w->unit < w->blocks ? w->unit : w->blocks - block;
    const int64_t n = first + blocks * t->block < t->length ? blocks * t->block : t->length - first;
    const int64_t at = (outer * t->length + first) * t->inner + row;
    if (t->inner == 1)
        dense_unit(w, b, at, n, blocks);
    else
        gathered_unit(w, b, at, n, blocks, row + w->tile < t->inner ? w->tile : t->inner - row);
}

static int64_t rounded_up(int64_t n)
{
    return (n + LINE - 1) / LINE * LINE;
}

/* Buffers for a unit, in one piece; NULL if there is no memory. */
static float *allocate(const walk *w, buffers *b)
{
    float *memory;
    const int64_t rows = w->tile > 1 ? LINE : 1; /* lines are transposed whole */
    const int64_t elements = rounded_up(rows * (w->unit * w->t->block + row_gap(w)));
    const int64_t row = MXHW_ROW + MXHW_ROW_BLOCK * w->unit;
    if (posix_memalign((void **)&memory, 64, (size_t)(2 * elements + row) * sizeof(float)))
        return NULL;
    b->x = memory;
    b->y = memory + elements;
    b->row = memory + 2 * elements;
    return memory;
}

static walk plan(const mxhw_tensor *t, mxhw_kernel *kernel, mxhw_prepare *prepare, const void *params)
{
    walk w = {.t = t, .kernel = kernel, .prepare = prepare, .params = params};
    const int64_t width = t->block / t->tile_rows;
    w.blocks = (t->length + width - 1) / width;
    w.tile = t->tile_rows > 1 ? 1 : t->inner < TILE ? t->inner : TILE;
    w.tiles = t->tile_rows > 1 ? (t->neighbours + t->tile_rows - 1) / t->tile_rows : (t->inner + w.tile - 1) / w.tile;
    const int64_t fitting = UNIT / t->block / (w.tile > 1 ? w.tile / 2 : 1);
    w.part = fitting < 1 ? 1 : fitting < w.blocks ? fitting : w.blocks;
    w.unit = prepare ? w.blocks : w.part;
    w.units_a_row = (w.blocks + w.unit - 1) / w.unit;
    const int64_t bytes = t->outer * t->length * t->inner * (int64_t)sizeof(float);
    w.stream = t->x != t->y && t->dtype == FLOAT32 && bytes >= STREAM_BYTES;
    return w;
}

/* Quantize tensor `t` (`prepare` may be NULL); 0, or 1 if there is no memory for the buffers (y is not complete). */
MXHW_API int mxhw_walk(const mxhw_tensor *t, mxhw_kernel *kernel, mxhw_prepare *prepare, const void *params)
{
    const walk w = plan(t, kernel, prepare, params);
    const int64_t units = t->outer * w.tiles * w.units_a_row;
    int failed = 0;
#pragma omp parallel num_threads(t->threads) if (t->threads > 1)
    {
        buffers b = {0};
        float *memory = allocate(&w, &b);
        if (!memory) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for schedule(dynamic, 8)
        for (int64_t unit = 0; unit < units; unit++)
            if (memory)
                do_unit(&w, &b, unit);
        free(memory);
    }
#if defined(__SSE2__)
    if (w.stream)
        _mm_sfence();
#endif
    return failed;
}

/* The range of `n` values with zero: lowest and highest. */
MXHW_API void mxhw_extremes(const void *x, int64_t n, int32_t dtype, int32_t threads, float *low, float *high)
{
    int32_t top = 0;
    uint32_t bottom = 0;
#pragma omp parallel for num_threads(threads) if (threads > 1) reduction(max : top, bottom)
    for (int64_t chunk = 0; chunk < (n + UNIT - 1) / UNIT; chunk++) {
        const int64_t at = chunk * UNIT, size = at + UNIT < n ? UNIT : n - at;
        const float *floats = (const float *)x + at;
        const uint16_t *halves = (const uint16_t *)x + at;
        value_range range = {top, bottom};
        if (dtype == FLOAT32) {
            for (int64_t i = 0; i < size; i++)
                range = with_value(range, bits_of(floats[i]));
        } else {
            for (int64_t i = 0; i < size; i++)
                range = with_value(range, (uint32_t)halves[i] << 16);
        }
        top = range.high;
        bottom = range.low;
    }
    const value_range whole = {top, bottom};
    *low = lowest(whole);
    *high = highest(whole);
}
