// What all kernels share: types, values read and written as float whatever their type, sums over a block.
//
// All kernels are one translation unit, which NVRTC compiles when the program runs. Nothing is included, so that no headers
// need be installed. `ACT_F32` makes activations f32; they are bf16 without it. Every kernel takes blocks of whole warps,
// threads in x alone.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifndef KERNEL  // on the CPU it is another
#define KERNEL_OF(threads) extern "C" __global__ void __launch_bounds__(threads)
#define KERNEL KERNEL_OF(1024)
#endif
// A kernel that works on four values at a time where `fours` holds, and on one elsewhere: its body is a template of W. (Generic
// lambdas would say it shorter, but NVRTC takes them for host functions.)
#define ENTRY(name, parameters, arguments, fours)        \
  template <int W>                                       \
  __device__ __forceinline__ void name##_by parameters;  \
  KERNEL name parameters {                               \
    if (fours)                                           \
      name##_by<4> arguments;                            \
    else                                                 \
      name##_by<1> arguments;                            \
  }                                                      \
  template <int W>                                       \
  __device__ __forceinline__ void name##_by parameters

// bfloat16: the upper half of a float.
struct bf16 {
  u16 bits;
};

#ifdef ACT_F32
typedef float act;
#else
typedef bf16 act;
#endif

__device__ __forceinline__ float get(float value) { return value; }
__device__ __forceinline__ float get(bf16 value) { return __uint_as_float((u32)value.bits << 16); }

__device__ __forceinline__ void set(float& to, float value) { to = value; }

// To nearest, ties to even; NaN stays NaN.
__device__ __forceinline__ void set(bf16& to, float value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to.bits) : "f"(value));
#else
  u32 bits = __float_as_uint(value);
  if ((bits & 0x7fffffff) > 0x7f800000)
    to.bits = (u16)(bits >> 16 | 64);
  else
    to.bits = (u16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
#endif
}

// W values, as they lie in memory and as they are computed with.
template <class T, int W>
struct alignas(sizeof(T) * W) Packed {
  T v[W];
};
template <int W>
struct Floats {
  float v[W];
  __device__ __forceinline__ float& operator[](int i) { return v[i]; }
  __device__ __forceinline__ float operator[](int i) const { return v[i]; }
};

template <int W, class T>
__device__ __forceinline__ Floats<W> load(const T* from) {
  Packed<T, W> packed = *reinterpret_cast<const Packed<T, W>*>(from);
  Floats<W> values;
#pragma unroll
  for (int i = 0; i < W; ++i) values[i] = get(packed.v[i]);
  return values;
}

template <int W, class T>
__device__ __forceinline__ void store(T* to, const Floats<W>& values) {
  Packed<T, W> packed;
#pragma unroll
  for (int i = 0; i < W; ++i) set(packed.v[i], values[i]);
  *reinterpret_cast<Packed<T, W>*>(to) = packed;
}

// Whether rows from `first` on, `stride` apart, can be read four values at a time.
template <class T>
__device__ __forceinline__ bool by_four(const T* first, u64 stride) {
  return (u64)first % (4 * sizeof(T)) == 0 && stride % 4 == 0;
}

// Calls f(row, column) for all of a matrix, W columns at a time: rows by blocks in y, columns by blocks and threads in x.
template <int W, class F>
__device__ __forceinline__ void each(u64 rows, u64 columns, F f) {
  u64 first = ((u64)blockIdx.x * blockDim.x + threadIdx.x) * W;
  u64 step = (u64)gridDim.x * blockDim.x * W;
  for (u64 row = blockIdx.y; row < rows; row += gridDim.y) {
    for (u64 i = first; i < columns; i += step) f(row, i);
  }
}

// Calls f(column) for a row that one block works on, W columns at a time. `from` is a multiple of W; f is called for whole
// Ws, even where `to` is none.
template <int W, class F>
__device__ __forceinline__ void across(int from, int to, F f) {
  for (int i = from + threadIdx.x * W; i < to; i += blockDim.x * W) f(i);
}

// Sums, maxima and minima of a block in an order that is always the same; every thread gets the result.
struct Add {
  __device__ __forceinline__ float operator()(float a, float b) const { return a + b; }
};
struct Larger {
  __device__ __forceinline__ float operator()(float a, float b) const { return a > b ? a : b; }
};
struct Smaller {
  __device__ __forceinline__ u32 operator()(u32 a, u32 b) const { return a < b ? a : b; }
};

template <class T, class Op>
__device__ __forceinline__ T over_block(T value, Op op) {
  __shared__ T parts[32];
  for (int lanes = 16; lanes > 0; lanes /= 2) value = op(value, __shfl_xor_sync(0xffffffffu, value, lanes));
  int warps = blockDim.x / 32;
  if (warps == 1) return value;
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  value = parts[0];
  for (int i = 1; i < warps; ++i) value = op(value, parts[i]);
  __syncthreads();  // before `parts` is written again
  return value;
}
__device__ __forceinline__ float block_sum(float value) { return over_block(value, Add()); }
__device__ __forceinline__ float block_max(float value) { return over_block(value, Larger()); }
__device__ __forceinline__ u32 block_min(u32 value) { return over_block(value, Smaller()); }

// to[column] += Σ value(row, column) over all rows. A block takes 32 columns; its 32 warps take every 32nd row, and their
// sums are added in order.
template <class F>
__device__ __forceinline__ void add_column_sums(u64 rows, u64 columns, float* to, F value) {
  __shared__ float parts[32][33];
  u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  u64 column = (u64)blockIdx.x * 32 + lane;
  float sum = 0.f;
  if (column < columns) {
    for (u64 row = warp; row < rows; row += 32) sum += value(row, column);
  }
  parts[warp][lane] = sum;
  __syncthreads();
  if (warp == 0 && column < columns) {
    for (int i = 1; i < 32; ++i) sum += parts[i][lane];
    to[column] += sum;
  }
}

// c·tanh(x/c) and its slope; a cap of 0 is none.
__device__ __forceinline__ float capped(float x, float cap) { return cap > 0.f ? cap * tanhf(x / cap) : x; }
__device__ __forceinline__ float cap_slope(float capped_x, float cap) {
  float t = capped_x / cap;
  return cap > 0.f ? 1.f - t * t : 1.f;
}

// The largest value and Σ e^(value − largest) so far.
struct Softmax {
  float largest, total;
  // Factor of what was summed before, now that `value` is there.
  __device__ __forceinline__ float raise(float value) {
    if (!(value > largest)) return 1.f;
    float factor = expf(largest - value);
    largest = value;
    total *= factor;
    return factor;
  }
};
#define NOTHING __uint_as_float(0xff800000u)  // −∞: the largest of no values
