// Dropout by counter: whether a value is kept is a function of a key and its index alone, so that nothing is stored and the
// CPU's masks are the same. `first` is the index of the first value; those of the next row follow on it.
__device__ __forceinline__ u64 mixed(u64 z) {  // splitmix64's finaliser
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}
__device__ __forceinline__ bool keep(u64 key, u64 threshold, u64 index) {
  return mixed(key + index * 0x9E3779B97F4A7C15ull) >> 32 >= threshold;
}

// out = mask(x)
ENTRY(drop,
      (const act* x, u64 x_stride, u64 key, u64 threshold, float scale, u64 first, act* out, u64 out_stride, u64 rows,
       u64 columns),
      (x, x_stride, key, threshold, scale, first, out, out_stride, rows, columns),
      columns % 4 == 0 && by_four(x, x_stride) && by_four(out, out_stride)) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    Floats<W> a = load<W>(x + row * x_stride + i);
    u64 index = first + row * columns + i;
    for (int k = 0; k < W; ++k) a[k] = keep(key, threshold, index + k) ? a[k] * scale : 0.f;
    store<W>(out + row * out_stride + i, a);
  });
}

// dx += mask(d)
template <int W, class T>
__device__ void add_dropped(const T* d, u64 d_stride, u64 key, u64 threshold, float scale, u64 first, T* dx, u64 dx_stride,
                            u64 rows, u64 columns) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    Floats<W> a = load<W>(d + row * d_stride + i), sum = load<W>(dx + row * dx_stride + i);
    u64 index = first + row * columns + i;
    for (int k = 0; k < W; ++k) sum[k] += keep(key, threshold, index + k) ? a[k] * scale : 0.f;
    store<W>(dx + row * dx_stride + i, sum);
  });
}

#define ADD_DROPPED(suffix, T)                                                                                         \
  KERNEL add_dropped_##suffix(const T* d, u64 d_stride, u64 key, u64 threshold, float scale, u64 first, T* dx,         \
                              u64 dx_stride, u64 rows, u64 columns) {                                                  \
    if (columns % 4 == 0 && by_four(d, d_stride) && by_four(dx, dx_stride))                                            \
      add_dropped<4>(d, d_stride, key, threshold, scale, first, dx, dx_stride, rows, columns);                         \
    else                                                                                                               \
      add_dropped<1>(d, d_stride, key, threshold, scale, first, dx, dx_stride, rows, columns);                         \
  }
ADD_DROPPED(f, float)
ADD_DROPPED(a, act)
