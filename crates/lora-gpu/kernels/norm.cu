// RMSNorm: a block a row and group. Groups are the heads where each head is normalised by itself; 1/√(mean(x²) + ε) of row t
// and group g is rstd[t * groups + g].
template <int W, class X>
__device__ __forceinline__ float row_rstd(const X* x, int width, float eps) {
  float sum = 0.f;
  across<W>(0, width, [&](int i) {
    Floats<W> a = load<W>(x + i);
    for (int k = 0; k < W; ++k) sum += a[k] * a[k];
  });
  return rsqrtf(block_sum(sum) / width + eps);
}

// n = γ·(x·rstd)
template <int W, class X>
__device__ __forceinline__ void write_norm(const X* x, const float* gamma, float rstd, act* n, int width) {
  across<W>(0, width, [=](int i) {
    Floats<W> a = load<W>(x + i), g = load<W>(gamma + i);
    for (int k = 0; k < W; ++k) a[k] = g[k] * (a[k] * rstd);
    store<W>(n + i, a);
  });
}

template <int W, class X>
__device__ void norm(const X* x, u64 x_stride, const float* gamma, float eps, act* n, u64 n_stride, float* rstd, int width) {
  u64 row = blockIdx.x, at = (u64)blockIdx.y * width;
  x += row * x_stride + at;
  float r = row_rstd<W>(x, width, eps);
  if (threadIdx.x == 0) rstd[row * gridDim.y + blockIdx.y] = r;
  write_norm<W>(x, gamma, r, n + row * n_stride + at, width);
}

template <int W, class X>
__device__ void norm_again(const X* x, u64 x_stride, const float* gamma, const float* rstd, act* n, u64 n_stride, int width) {
  u64 row = blockIdx.x, at = (u64)blockIdx.y * width;
  write_norm<W>(x + row * x_stride + at, gamma, rstd[row * gridDim.y + blockIdx.y], n + row * n_stride + at, width);
}

#define NORM(suffix, X)                                                                                               \
  KERNEL norm_##suffix(const X* x, u64 x_stride, const float* gamma, float eps, act* n, u64 n_stride, float* rstd,    \
                       int width) {                                                                                   \
    if (width % 4 == 0 && by_four(x, x_stride) && by_four(n, n_stride) && by_four(gamma, 0))                          \
      norm<4>(x, x_stride, gamma, eps, n, n_stride, rstd, width);                                                     \
    else                                                                                                              \
      norm<1>(x, x_stride, gamma, eps, n, n_stride, rstd, width);                                                     \
  }                                                                                                                   \
  KERNEL norm_again_##suffix(const X* x, u64 x_stride, const float* gamma, const float* rstd, act* n, u64 n_stride,   \
                             int width) {                                                                             \
    if (width % 4 == 0 && by_four(x, x_stride) && by_four(n, n_stride) && by_four(gamma, 0))                          \
      norm_again<4>(x, x_stride, gamma, rstd, n, n_stride, width);                                                    \
    else                                                                                                              \
      norm_again<1>(x, x_stride, gamma, rstd, n, n_stride, width);                                                    \
  }
NORM(f, float)
NORM(a, act)

// x += γ·(y·rstd)
ENTRY(norm_add,
      (const act* y, u64 y_stride, const float* gamma, float eps, float* x, u64 x_stride, float* rstd, int width),
      (y, y_stride, gamma, eps, x, x_stride, rstd, width),
      width % 4 == 0 && by_four(y, y_stride) && by_four(x, x_stride) && by_four(gamma, 0)) {
  y += blockIdx.x * y_stride;
  x += blockIdx.x * x_stride;
  float r = row_rstd<W>(y, width, eps);
  if (threadIdx.x == 0) rstd[blockIdx.x] = r;
  across<W>(0, width, [=](int i) {
    Floats<W> a = load<W>(y + i), g = load<W>(gamma + i), sum = load<W>(x + i);
    for (int k = 0; k < W; ++k) sum[k] += g[k] * (a[k] * r);
    store<W>(x + i, sum);
  });
}

// dx = rstd·(γ∘dn − x·rstd²·mean(γ∘dn∘x)), or added to it. dx may be dn or x.
template <int W, class X, class N, class D>
__device__ void norm_backward(const X* x, u64 x_stride, const float* gamma, const float* rstd, const N* dn, u64 dn_stride,
                              D* dx, u64 dx_stride, int width, int adds) {
  u64 row = blockIdx.x, at = (u64)blockIdx.y * width;
  x += row * x_stride + at;
  dn += row * dn_stride + at;
  dx += row * dx_stride + at;
  float r = rstd[row * gridDim.y + blockIdx.y], sum = 0.f;
  across<W>(0, width, [&](int i) {
    Floats<W> a = load<W>(x + i), g = load<W>(gamma + i), d = load<W>(dn + i);
    for (int k = 0; k < W; ++k) sum += g[k] * d[k] * a[k];
  });
  float mean = block_sum(sum) / width * r * r;
  across<W>(0, width, [=](int i) {
    Floats<W> a = load<W>(x + i), g = load<W>(gamma + i), d = load<W>(dn + i);
    for (int k = 0; k < W; ++k) a[k] = r * (g[k] * d[k] - a[k] * mean);
    if (adds) {
      Floats<W> before = load<W>(dx + i);
      for (int k = 0; k < W; ++k) a[k] += before[k];
    }
    store<W>(dx + i, a);
  });
}
#define NORM_BACKWARD(suffix, X, N, D)                                                                                \
  KERNEL norm_backward_##suffix(const X* x, u64 x_stride, const float* gamma, const float* rstd, const N* dn,         \
                                u64 dn_stride, D* dx, u64 dx_stride, int width, int adds) {                           \
    if (width % 4 == 0 && by_four(x, x_stride) && by_four(dn, dn_stride) && by_four(dx, dx_stride) &&                 \
        by_four(gamma, 0))                                                                                            \
      norm_backward<4>(x, x_stride, gamma, rstd, dn, dn_stride, dx, dx_stride, width, adds);                          \
    else                                                                                                              \
      norm_backward<1>(x, x_stride, gamma, rstd, dn, dn_stride, dx, dx_stride, width, adds);                          \
  }
NORM_BACKWARD(fff, float, float, float)
NORM_BACKWARD(ffa, float, float, act)
NORM_BACKWARD(faf, float, act, float)
NORM_BACKWARD(faa, float, act, act)
NORM_BACKWARD(aff, act, float, float)
NORM_BACKWARD(afa, act, float, act)
NORM_BACKWARD(aaf, act, act, float)
NORM_BACKWARD(aaa, act, act, act)

// dγ += Σ dn·x·rstd over rows and groups. Row r of the sum is row r / groups, group r % groups.
template <class X, class N>
__device__ void norm_weight_gradient(const X* x, u64 x_stride, const float* rstd, const N* dn, u64 dn_stride, float* d_gamma,
                                     u64 rows, u32 groups, int width) {
  add_column_sums(rows * groups, width, d_gamma, [=](u64 row, u64 column) {
    u64 at = row % groups * width + column, t = row / groups;
    return get(dn[t * dn_stride + at]) * (get(x[t * x_stride + at]) * rstd[row]);
  });
}
#define NORM_WEIGHT_GRADIENT(suffix, X, N)                                                                                \
  KERNEL norm_weight_gradient_##suffix(const X* x, u64 x_stride, const float* rstd, const N* dn, u64 dn_stride,           \
                                       float* d_gamma, u64 rows, int groups, int width) {                                 \
    norm_weight_gradient(x, x_stride, rstd, dn, dn_stride, d_gamma, rows, (u32)groups, width);                            \
  }
NORM_WEIGHT_GRADIENT(ff, float, float)
NORM_WEIGHT_GRADIENT(fa, float, act)
NORM_WEIGHT_GRADIENT(af, act, float)
NORM_WEIGHT_GRADIENT(aa, act, act)
