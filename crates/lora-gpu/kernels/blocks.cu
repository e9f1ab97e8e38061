// Weights widened to activations: plain types, and llama.cpp's blocks as they lie in a GGUF file. A thread takes 8 values in
// a row, which never lie in two blocks. Blocks needn't be aligned, so they are read in bytes.
__device__ __forceinline__ u32 u16_at(const u8* at) { return at[0] | (u32)at[1] << 8; }
__device__ __forceinline__ u32 u32_at(const u8* at) { return u16_at(at) | u16_at(at + 2) << 16; }

__device__ __forceinline__ float f16_at(const u8* at) {
  u32 bits = u16_at(at);
#ifdef __CUDA_ARCH__
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"((u16)bits));
  return value;
#else
  u32 sign = bits >> 15 << 31, exponent = bits >> 10 & 31, fraction = bits & 1023;
  if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | fraction << 13);
  if (exponent) return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
  float small = fraction * (1.f / 16777216.f);
  return sign ? -small : small;
#endif
}

// A kind is: values and bytes of a block, and `read`, which gives value `i` of the block at `at`. What is the same for 8
// values from a multiple of 8 on is worked out once, the calls being unrolled.
struct F32 {
  enum { values = 1, bytes = 4 };
  static __device__ __forceinline__ float read(const u8* at, u32) { return __uint_as_float(u32_at(at)); }
};
struct F16 {
  enum { values = 1, bytes = 2 };
  static __device__ __forceinline__ float read(const u8* at, u32) { return f16_at(at); }
};
struct Bf16 {
  enum { values = 1, bytes = 2 };
  static __device__ __forceinline__ float read(const u8* at, u32) { return __uint_as_float(u16_at(at) << 16); }
};

// 32 values of 4 bits: the low halves of 16 bytes, then the high ones.
__device__ __forceinline__ u32 nibble(const u8* at, u32 i) { return at[i % 16] >> (i / 16 * 4) & 15; }
struct Q4_0 {
  enum { values = 32, bytes = 18 };
  static __device__ __forceinline__ float read(const u8* at, u32 i) { return f16_at(at) * ((int)nibble(at + 2, i) - 8); }
};
struct Q4_1 {
  enum { values = 32, bytes = 20 };
  static __device__ __forceinline__ float read(const u8* at, u32 i) {
    return f16_at(at) * nibble(at + 4, i) + f16_at(at + 2);
  }
};
struct Q8_0 {
  enum { values = 32, bytes = 34 };
  static __device__ __forceinline__ float read(const u8* at, u32 i) { return f16_at(at) * (signed char)at[2 + i]; }
};

// Q4_K's and Q5_K's 8 scales and 8 minima of 6 bits, in 12 bytes: those of the first four parts lie in the low 6 bits of
// bytes 0–3 and 4–7; of the last four, 4 bits lie in bytes 8–11 (scale low, minimum high) and 2 in the top of the former.
struct Part {
  u32 scale, minimum;
};
__device__ __forceinline__ Part part_of(const u8* scales, u32 part) {
  Part found;
  if (part < 4) {
    found.scale = scales[part] & 63;
    found.minimum = scales[part + 4] & 63;
  } else {
    found.scale = (scales[part + 4] & 15) | scales[part - 4] >> 6 << 4;
    found.minimum = scales[part + 4] >> 4 | scales[part] >> 6 << 4;
  }
  return found;
}
// 256 values of 4 bits, by 64: the low halves of 32 bytes, then the high ones.
__device__ __forceinline__ u32 nibble_of_256(const u8* at, u32 i) { return at[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15; }

struct Q4K {
  enum { values = 256, bytes = 144 };
  static __device__ __forceinline__ float read(const u8* at, u32 i) {
    Part part = part_of(at + 4, i / 32);
    return f16_at(at) * part.scale * nibble_of_256(at + 16, i) - f16_at(at + 2) * part.minimum;
  }
};
struct Q5K {
  enum { values = 256, bytes = 176 };
  static __device__ __forceinline__ float read(const u8* at, u32 i) {
    Part part = part_of(at + 4, i / 32);
    u32 fifth = at[16 + i % 32] >> (i / 32) & 1;
    return f16_at(at) * part.scale * (nibble_of_256(at + 48, i) + 16 * fifth) - f16_at(at + 2) * part.minimum;
  }
};
// 4 low bits of 128 values in 64 bytes, 2 high ones in 32, a signed scale for each 16 values.
struct Q6K {
  enum { values = 256, bytes = 210 };
  static __device__ __forceinline__ float read(const u8* at, u32 i) {
    u32 half = i / 128, j = i % 128;
    u32 low = at[half * 64 + j % 64] >> (j / 64 * 4) & 15;
    u32 high = at[128 + half * 32 + j % 32] >> (j / 32 * 2) & 3;
    float scale = f16_at(at + 208) * (signed char)at[192 + i / 16];
    return scale * ((int)(low | high << 4) - 32);
  }
};

// MXFP4: an exponent, then 32 floats of a sign, two bits of exponent and one of mantissa. Twice the float is whole, and half of
// the scale 2^(e − 127) is a float for every e, the smallest two subnormal.
struct Mxfp4 {
  enum { values = 32, bytes = 17 };
  static __device__ __forceinline__ float read(const u8* at, u32 i) {
    u32 code = nibble(at + 1, i), exponent = code >> 1 & 3, normal = exponent != 0, e = at[0];
    int doubled = (int)((normal << 1 | (code & 1)) << (exponent - normal));
    float half_scale = __uint_as_float(e < 2 ? 0x00200000u << e : (e - 1) << 23);
    return (code >> 3 ? -doubled : doubled) * half_scale;
  }
};

template <class Kind>
__device__ void widen(const u8* blocks, act* to, u64 to_stride, u64 rows, u64 columns) {
  u64 row_bytes = columns / Kind::values * Kind::bytes, eights = (columns + 7) / 8;
  bool whole = columns % 8 == 0 && by_four(to, to_stride);
  each<1>(rows, eights, [=](u64 row, u64 eight) {
    u64 column = eight * 8;
    const u8* at = blocks + row * row_bytes + column / Kind::values * Kind::bytes;
    act* out = to + row * to_stride + column;
    u32 i = (u32)(column % Kind::values);
    if (whole) {
      Floats<4> a, b;
#pragma unroll
      for (u32 k = 0; k < 4; ++k) {
        a[k] = Kind::values > 1 ? Kind::read(at, i + k) : Kind::read(at + k * Kind::bytes, 0);
        b[k] = Kind::values > 1 ? Kind::read(at, i + k + 4) : Kind::read(at + (k + 4) * Kind::bytes, 0);
      }
      store<4>(out, a);
      store<4>(out + 4, b);
    } else {
      for (u32 k = 0; k < 8 && column + k < columns; ++k)
        set(out[k], Kind::values > 1 ? Kind::read(at, i + k) : Kind::read(at + k * Kind::bytes, 0));
    }
  });
}
#define WIDEN(name, Kind)                                                                    \
  KERNEL name(const u8* blocks, act* to, u64 to_stride, u64 rows, u64 columns) {             \
    widen<Kind>(blocks, to, to_stride, rows, columns);                                       \
  }
WIDEN(widen_f32, F32)
WIDEN(widen_f16, F16)
WIDEN(widen_bf16, Bf16)
WIDEN(widen_q4_0, Q4_0)
WIDEN(widen_q4_1, Q4_1)
WIDEN(widen_q8_0, Q8_0)
WIDEN(widen_q4k, Q4K)
WIDEN(widen_q5k, Q5K)
WIDEN(widen_q6k, Q6K)
WIDEN(widen_mxfp4, Mxfp4)
