// One value at a time: conversions, sums, biases, the rows of an embedding.

// to = scale·from
template <int W, class A, class B>
__device__ void convert(const A* from, u64 from_stride, float scale, B* to, u64 to_stride, u64 rows, u64 columns) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    Floats<W> a = load<W>(from + row * from_stride + i);
    for (int k = 0; k < W; ++k) a[k] *= scale;
    store<W>(to + row * to_stride + i, a);
  });
}

// to += from
template <int W, class A, class B>
__device__ void add(const A* from, u64 from_stride, B* to, u64 to_stride, u64 rows, u64 columns) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    Floats<W> a = load<W>(from + row * from_stride + i), b = load<W>(to + row * to_stride + i);
    for (int k = 0; k < W; ++k) b[k] += a[k];
    store<W>(to + row * to_stride + i, b);
  });
}

#define OF_TWO_TYPES(suffix, A, B)                                                                                     \
  KERNEL convert_##suffix(const A* from, u64 from_stride, float scale, B* to, u64 to_stride, u64 rows, u64 columns) {  \
    if (columns % 4 == 0 && by_four(from, from_stride) && by_four(to, to_stride))                                      \
      convert<4>(from, from_stride, scale, to, to_stride, rows, columns);                                              \
    else                                                                                                               \
      convert<1>(from, from_stride, scale, to, to_stride, rows, columns);                                              \
  }                                                                                                                    \
  KERNEL add_##suffix(const A* from, u64 from_stride, B* to, u64 to_stride, u64 rows, u64 columns) {                   \
    if (columns % 4 == 0 && by_four(from, from_stride) && by_four(to, to_stride))                                      \
      add<4>(from, from_stride, to, to_stride, rows, columns);                                                         \
    else                                                                                                               \
      add<1>(from, from_stride, to, to_stride, rows, columns);                                                         \
  }
OF_TWO_TYPES(ff, float, float)
OF_TWO_TYPES(fa, float, act)
OF_TWO_TYPES(af, act, float)
OF_TWO_TYPES(aa, act, act)

// y += scale·bias
template <int W, class T>
__device__ void add_bias(const float* bias, float scale, T* y, u64 y_stride, u64 rows, u64 columns) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    Floats<W> a = load<W>(bias + i), b = load<W>(y + row * y_stride + i);
    for (int k = 0; k < W; ++k) b[k] += scale * a[k];
    store<W>(y + row * y_stride + i, b);
  });
}

#define OF_TYPE(suffix, T)                                                                                             \
  KERNEL add_bias_##suffix(const float* bias, float scale, T* y, u64 y_stride, u64 rows, u64 columns) {                \
    if (columns % 4 == 0 && by_four(bias, 0) && by_four(y, y_stride))                                                  \
      add_bias<4>(bias, scale, y, y_stride, rows, columns);                                                            \
    else                                                                                                               \
      add_bias<1>(bias, scale, y, y_stride, rows, columns);                                                            \
  }
OF_TYPE(f, float)
OF_TYPE(a, act)

// d_bias += scale·Σ dy over rows
#define BIAS_GRADIENT(suffix, T)                                                                                            \
  KERNEL bias_gradient_##suffix(const T* dy, u64 dy_stride, float scale, float* d_bias, u64 rows, u64 columns) {            \
    add_column_sums(rows, columns, d_bias, [=](u64 row, u64 column) { return scale * get(dy[row * dy_stride + column]); }); \
  }
BIAS_GRADIENT(f, float)
BIAS_GRADIENT(a, act)

// x = c·tanh(x/c)
ENTRY(soft_cap, (float* x, u64 x_stride, float cap, u64 rows, u64 columns), (x, x_stride, cap, rows, columns),
      columns % 4 == 0 && by_four(x, x_stride)) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    Floats<W> a = load<W>(x + row * x_stride + i);
    for (int k = 0; k < W; ++k) a[k] = capped(a[k], cap);
    store<W>(x + row * x_stride + i, a);
  });
}

// x = scale·table[id]
ENTRY(embed,
      (const act* table, u64 table_stride, const u32* ids, float scale, float* x, u64 x_stride, u64 rows, u64 columns),
      (table, table_stride, ids, scale, x, x_stride, rows, columns),
      columns % 4 == 0 && by_four(table, table_stride) && by_four(x, x_stride)) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    Floats<W> a = load<W>(table + ids[row] * table_stride + i);
    for (int k = 0; k < W; ++k) a[k] *= scale;
    store<W>(x + row * x_stride + i, a);
  });
}
