// DoRA: the norm of each row of W + s·B·A without forming it, and what its magnitudes scale.

// A block an output, with b a row of s·B: ‖w + bA‖² = ‖w‖² + 2·b·(A·w) + b·(A·Aᵀ)·bᵀ; gain = magnitude / norm.
KERNEL dora_gain(const float* squares, const act* b, u64 b_stride, const float* projected, u64 projected_stride,
                 const float* gram, u64 gram_stride, const float* magnitude, float* norms, float* gain, int rank) {
  u64 output = blockIdx.x;
  b += output * b_stride;
  projected += output * projected_stride;
  float sum = 0.f;
  across<1>(0, rank, [&](int k) {
    float inner = 0.f;
    for (int j = 0; j < rank; ++j) inner += get(b[j]) * gram[j * gram_stride + k];
    sum += get(b[k]) * (2.f * projected[k] + inner);
  });
  sum = block_sum(sum);
  if (threadIdx.x == 0) {
    float square = squares[output] + sum;
    float norm = sqrtf(square > 0.f ? square : 0.f);
    norms[output] = norm;
    gain[output] = magnitude[output] / norm;
  }
}

// y = (gain − less)∘z, or added to y
template <int W, class Z, class T>
__device__ void scale_columns(const Z* z, u64 z_stride, const float* gain, float less, T* y, u64 y_stride, int adds,
                              u64 rows, u64 columns) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    T* to = y + row * y_stride + i;
    Floats<W> a = load<W>(z + row * z_stride + i), g = load<W>(gain + i), sum;
    for (int k = 0; k < W; ++k) sum[k] = 0.f;
    if (adds) sum = load<W>(to);
    for (int k = 0; k < W; ++k) sum[k] += (g[k] - less) * a[k];
    store<W>(to, sum);
  });
}

#define SCALE_COLUMNS(suffix, Z, T)                                                                                    \
  KERNEL scale_columns_##suffix(const Z* z, u64 z_stride, const float* gain, float less, T* y, u64 y_stride, int adds, \
                                u64 rows, u64 columns) {                                                               \
    if (columns % 4 == 0 && by_four(z, z_stride) && by_four(gain, 0) && by_four(y, y_stride))                          \
      scale_columns<4>(z, z_stride, gain, less, y, y_stride, adds, rows, columns);                                     \
    else                                                                                                               \
      scale_columns<1>(z, z_stride, gain, less, y, y_stride, adds, rows, columns);                                     \
  }
SCALE_COLUMNS(ff, float, float)
SCALE_COLUMNS(fa, float, act)
SCALE_COLUMNS(af, act, float)
SCALE_COLUMNS(aa, act, act)

// d_m += Σ dy∘z / norm over rows; a magnitude whose norm is 0 gets none
#define MAGNITUDE_GRADIENT(suffix, D, Z)                                                                               \
  KERNEL magnitude_gradient_##suffix(const D* dy, u64 dy_stride, const Z* z, u64 z_stride, const float* norms,         \
                                     float* d_m, u64 rows, u64 columns) {                                              \
    add_column_sums(rows, columns, d_m, [=](u64 row, u64 column) {                                                     \
      float norm = norms[column];                                                                                      \
      return norm > 0.f ? get(dy[row * dy_stride + column]) * get(z[row * z_stride + column]) / norm : 0.f;            \
    });                                                                                                                \
  }
MAGNITUDE_GRADIENT(ff, float, float)
MAGNITUDE_GRADIENT(af, act, float)
MAGNITUDE_GRADIENT(aa, act, act)

// squares = Σ w² of each row, a block a row
ENTRY(row_squares, (const act* w, u64 w_stride, float* squares, int width), (w, w_stride, squares, width),
      width % 4 == 0 && by_four(w, w_stride)) {
  const act* row = w + blockIdx.x * w_stride;
  float sum = 0.f;
  across<W>(0, width, [&](int i) {
    Floats<W> a = load<W>(row + i);
    for (int k = 0; k < W; ++k) sum += a[k] * a[k];
  });
  sum = block_sum(sum);
  if (threadIdx.x == 0) squares[blockIdx.x] = sum;
}

// squares += Σ w² of each column
KERNEL add_column_squares(const act* w, u64 w_stride, float* squares, u64 rows, u64 columns) {
  add_column_sums(rows, columns, squares, [=](u64 row, u64 column) {
    float value = get(w[row * w_stride + column]);
    return value * value;
  });
}
