// RMSNorm beside a gate, a block a row and group: behind it y = γ∘u/√(mean(u²) + ε) with u = x∘silu(z), before it
// y = γ∘x/√(mean(x²) + ε)∘silu(z), without γ y = x∘silu(z). `shared`: all groups have the same γ.
struct GatedNorm {
  const float* gamma;
  int shared, behind, width;
  __device__ __forceinline__ const float* own() const {
    return gamma ? gamma + (shared ? 0 : (u64)blockIdx.y * width) : nullptr;
  }
};

__device__ __forceinline__ float silu(float z) { return z * sigmoid(z); }
__device__ __forceinline__ float silu_slope(float z) {
  float s = sigmoid(z);
  return s + z * s * (1.f - s);
}

ENTRY(gated_norm,
      (const act* x, u64 x_stride, const act* z, u64 z_stride, const float* gamma, int shared, int behind, float eps,
       act* y, u64 y_stride, float* rstd, int width),
      (x, x_stride, z, z_stride, gamma, shared, behind, eps, y, y_stride, rstd, width),
      width % 4 == 0 && by_four(x, x_stride) && by_four(z, z_stride) && by_four(y, y_stride) && by_four(gamma, 0)) {
  GatedNorm norm = {gamma, shared, behind, width};
  u64 row = blockIdx.x, at = (u64)blockIdx.y * width;
  x += row * x_stride + at;
  z += row * z_stride + at;
  y += row * y_stride + at;
  const float* own = norm.own();
  float r = 1.f;
  if (own) {
    float sum = 0.f;
    across<W>(0, width, [&](int i) {
      Floats<W> a = load<W>(x + i), gate = load<W>(z + i);
      for (int k = 0; k < W; ++k) {
        if (behind) a[k] *= silu(gate[k]);
        sum += a[k] * a[k];
      }
    });
    r = rsqrtf(block_sum(sum) / width + eps);
    if (threadIdx.x == 0) rstd[row * gridDim.y + blockIdx.y] = r;
  }
  across<W>(0, width, [=](int i) {
    Floats<W> a = load<W>(x + i), gate = load<W>(z + i);
    for (int k = 0; k < W; ++k) a[k] *= silu(gate[k]) * r;
    if (own) {
      Floats<W> g = load<W>(own + i);
      for (int k = 0; k < W; ++k) a[k] *= g[k];
    }
    store<W>(y + i, a);
  });
}

// With e = γ∘dy: behind the gate du = r·(e − u·r²·mean(e∘u)), dx = du∘silu(z), dz = du∘x∘silu′(z); before it d = e∘silu(z),
// dx = r·(d − x·r²·mean(d∘x)), dz = e∘x·r∘silu′(z).
ENTRY(gated_norm_backward,
      (const act* x, u64 x_stride, const act* z, u64 z_stride, const float* gamma, int shared, int behind,
       const float* rstd, const act* dy, u64 dy_stride, act* dx, u64 dx_stride, act* dz, u64 dz_stride, int width),
      (x, x_stride, z, z_stride, gamma, shared, behind, rstd, dy, dy_stride, dx, dx_stride, dz, dz_stride, width),
      width % 4 == 0 && by_four(x, x_stride) && by_four(z, z_stride) && by_four(dy, dy_stride) &&
          by_four(dx, dx_stride) && by_four(dz, dz_stride) && by_four(gamma, 0)) {
  GatedNorm norm = {gamma, shared, behind, width};
  u64 row = blockIdx.x, at = (u64)blockIdx.y * width;
  x += row * x_stride + at;
  z += row * z_stride + at;
  dy += row * dy_stride + at;
  dx += row * dx_stride + at;
  dz += row * dz_stride + at;
  const float* own = norm.own();
  float r = 1.f, mean = 0.f;
  if (own) {
    float sum = 0.f;
    across<W>(0, width, [&](int i) {
      Floats<W> a = load<W>(x + i), gate = load<W>(z + i), d = load<W>(dy + i), g = load<W>(own + i);
      for (int k = 0; k < W; ++k) sum += g[k] * d[k] * a[k] * silu(gate[k]);  // e∘u, or d∘x
    });
    r = rstd[row * gridDim.y + blockIdx.y];
    mean = block_sum(sum) / width * r * r;
  }
  across<W>(0, width, [=](int i) {
    Floats<W> a = load<W>(x + i), gate = load<W>(z + i), d = load<W>(dy + i), e = d;
    if (own) {
      Floats<W> g = load<W>(own + i);
      for (int k = 0; k < W; ++k) e[k] *= g[k];
    }
    for (int k = 0; k < W; ++k) {
      float opened = silu(gate[k]), value = a[k];
      float du = r * (e[k] - (behind ? value * opened * mean : 0.f));
      a[k] = behind ? du * opened : r * (e[k] * opened - value * mean);
      d[k] = (behind ? du : e[k] * r) * value * silu_slope(gate[k]);
    }
    store<W>(dx + i, a);
    store<W>(dz + i, d);
  });
}
