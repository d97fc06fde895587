/* Whether this processor runs this library: the only function that is safe to call before knowing. */
#include "kernels.h"

MXHW_API int mxhw_supported(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init();
#if defined(__AVX512F__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#elif defined(__AVX2__)
    return __builtin_cpu_supports("avx2");
#else
    return 1;
#endif
#else
    return 1;
#endif
}
