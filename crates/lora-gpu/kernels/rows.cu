// Rows picked out by a list, put back by one, and summed over one.

// Rows are copied in units of 16, 4 or 2 bytes; strides and columns count units.
template <class T>
__device__ void gather(const T* from, u64 from_stride, const u32* list, T* to, u64 to_stride, u64 rows, u64 columns) {
  each<1>(rows, columns, [=](u64 row, u64 i) { to[row * to_stride + i] = from[list[row] * from_stride + i]; });
}
template <class T>
__device__ void put(const T* from, u64 from_stride, const u32* list, T* to, u64 to_stride, u64 rows, u64 columns) {
  each<1>(rows, columns, [=](u64 row, u64 i) { to[list[row] * to_stride + i] = from[row * from_stride + i]; });
}
#define IN_UNITS(suffix, T)                                                                                               \
  KERNEL gather_##suffix(const T* from, u64 from_stride, const u32* list, T* to, u64 to_stride, u64 rows, u64 columns) {  \
    gather(from, from_stride, list, to, to_stride, rows, columns);                                                        \
  }                                                                                                                       \
  KERNEL put_##suffix(const T* from, u64 from_stride, const u32* list, T* to, u64 to_stride, u64 rows, u64 columns) {     \
    put(from, from_stride, list, to, to_stride, rows, columns);                                                           \
  }
typedef Packed<u32, 4> sixteen;
IN_UNITS(16, sixteen)
IN_UNITS(4, u32)
IN_UNITS(2, u16)
IN_UNITS(1, u8)

// to[list[i]] += from[i]; no row is listed twice
ENTRY(put_add,
      (const float* from, u64 from_stride, const u32* list, float* to, u64 to_stride, u64 rows, u64 columns),
      (from, from_stride, list, to, to_stride, rows, columns),
      columns % 4 == 0 && by_four(from, from_stride) && by_four(to, to_stride)) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    float* at = to + list[row] * to_stride + i;
    Floats<W> a = load<W>(at), b = load<W>(from + row * from_stride + i);
    for (int k = 0; k < W; ++k) a[k] += b[k];
    store<W>(at, a);
  });
}

// to[i] = Σ from[sources[s]] for s in starts[i]..starts[i + 1], in that order
ENTRY(sum_rows,
      (const float* from, u64 from_stride, const u32* starts, const u32* sources, float* to, u64 to_stride, u64 rows,
       u64 columns),
      (from, from_stride, starts, sources, to, to_stride, rows, columns),
      columns % 4 == 0 && by_four(from, from_stride) && by_four(to, to_stride)) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    Floats<W> sum = {};
    for (u32 s = starts[row]; s < starts[row + 1]; ++s) {
      Floats<W> a = load<W>(from + sources[s] * from_stride + i);
      for (int k = 0; k < W; ++k) sum[k] += a[k];
    }
    store<W>(to + row * to_stride + i, sum);
  });
}
