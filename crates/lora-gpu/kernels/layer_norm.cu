// LayerNorm of the hidden state: a block a row. 1/√(mean((x − mean)²) + ε) of row t is rstd[t]; a bias that is null is none.
template <int W>
__device__ __forceinline__ float row_mean(const float* x, int width) {
  float sum = 0.f;
  across<W>(0, width, [&](int i) {
    Floats<W> a = load<W>(x + i);
    for (int k = 0; k < W; ++k) sum += a[k];
  });
  return block_sum(sum) / width;
}

// n = γ·((x − mean)·rstd) + bias
ENTRY(layer_norm,
      (const float* x, u64 x_stride, const float* gamma, const float* bias, float eps, act* n, u64 n_stride, float* rstd,
       int width),
      (x, x_stride, gamma, bias, eps, n, n_stride, rstd, width),
      width % 4 == 0 && by_four(x, x_stride) && by_four(n, n_stride) && by_four(gamma, 0) && by_four(bias, 0)) {
  x += blockIdx.x * x_stride;
  n += blockIdx.x * n_stride;
  float mean = row_mean<W>(x, width), sum = 0.f;
  across<W>(0, width, [&](int i) {
    Floats<W> a = load<W>(x + i);
    for (int k = 0; k < W; ++k) sum += (a[k] - mean) * (a[k] - mean);
  });
  float r = rsqrtf(block_sum(sum) / width + eps);
  if (threadIdx.x == 0) rstd[blockIdx.x] = r;
  across<W>(0, width, [=](int i) {
    Floats<W> a = load<W>(x + i), g = load<W>(gamma + i);
    for (int k = 0; k < W; ++k) a[k] = g[k] * ((a[k] - mean) * r);
    if (bias) {
      Floats<W> b = load<W>(bias + i);
      for (int k = 0; k < W; ++k) a[k] += b[k];
    }
    store<W>(n + i, a);
  });
}

// dx = rstd·(γ∘dn − mean(γ∘dn) − (x − mean)·rstd²·mean(γ∘dn∘(x − mean))), or added to it.
template <int W, class N>
__device__ void layer_norm_backward(const float* x, const float* gamma, float rstd, const N* dn, float* dx, int width,
                                    int adds) {
  float mean = row_mean<W>(x, width), sum = 0.f, slope = 0.f;
  across<W>(0, width, [&](int i) {
    Floats<W> a = load<W>(x + i), g = load<W>(gamma + i), d = load<W>(dn + i);
    for (int k = 0; k < W; ++k) {
      sum += g[k] * d[k];
      slope += g[k] * d[k] * (a[k] - mean);
    }
  });
  float shift = block_sum(sum) / width, tilt = block_sum(slope) / width * rstd * rstd;
  across<W>(0, width, [=](int i) {
    Floats<W> a = load<W>(x + i), g = load<W>(gamma + i), d = load<W>(dn + i);
    for (int k = 0; k < W; ++k) a[k] = rstd * (g[k] * d[k] - shift - (a[k] - mean) * tilt);
    if (adds) {
      Floats<W> before = load<W>(dx + i);
      for (int k = 0; k < W; ++k) a[k] += before[k];
    }
    store<W>(dx + i, a);
  });
}
#define LAYER_NORM_BACKWARD(suffix, N)                                                                                  \
  KERNEL layer_norm_backward_##suffix(const float* x, u64 x_stride, const float* gamma, const float* rstd, const N* dn, \
                                      u64 dn_stride, float* dx, u64 dx_stride, int width, int adds) {                   \
    u64 row = blockIdx.x;                                                                                               \
    bool fours = width % 4 == 0 && by_four(x, x_stride) && by_four(dn, dn_stride) && by_four(dx, dx_stride) &&          \
                 by_four(gamma, 0);                                                                                     \
    x += row * x_stride;                                                                                                \
    dn += row * dn_stride;                                                                                              \
    dx += row * dx_stride;                                                                                              \
    if (fours)                                                                                                          \
      layer_norm_backward<4>(x, gamma, rstd[row], dn, dx, width, adds);                                                 \
    else                                                                                                                \
      layer_norm_backward<1>(x, gamma, rstd[row], dn, dx, width, adds);                                                 \
  }
LAYER_NORM_BACKWARD(f, float)
LAYER_NORM_BACKWARD(a, act)

// means[row] = mean(x)
ENTRY(row_means, (const float* x, u64 x_stride, float* means, int width), (x, x_stride, means, width),
      width % 4 == 0 && by_four(x, x_stride)) {
  float mean = row_mean<W>(x + blockIdx.x * x_stride, width);
  if (threadIdx.x == 0) means[blockIdx.x] = mean;
}

// dγ += Σ dn·(x − mean)·rstd over rows
#define LAYER_NORM_WEIGHT_GRADIENT(suffix, N)                                                                         \
  KERNEL layer_norm_weight_gradient_##suffix(const float* x, u64 x_stride, const float* means, const float* rstd,     \
                                             const N* dn, u64 dn_stride, float* d_gamma, u64 rows, u64 width) {       \
    add_column_sums(rows, width, d_gamma, [=](u64 row, u64 column) {                                                  \
      return get(dn[row * dn_stride + column]) * ((x[row * x_stride + column] - means[row]) * rstd[row]);             \
    });                                                                                                               \
  }
LAYER_NORM_WEIGHT_GRADIENT(f, float)
LAYER_NORM_WEIGHT_GRADIENT(a, act)
