// What an MLP without a gate computes between its projections: SiLU, GELU by the tanh formula, or xIELU (Huang and Schlag
// 2024), α_p·x² + β·x above 0 and α_n·(exp(min(x, ε)) − 1 − x) + β·x elsewhere.
#define PLAIN_XIELU 2

struct Plain {
  int which;  // 0: SiLU, 1: GELU
  float alpha_p, alpha_n, beta, eps;

  __device__ __forceinline__ float value(float x) const {
    if (which != PLAIN_XIELU) return x * sigmoid(gate_z(x, which));
    if (x > 0.f) return alpha_p * x * x + beta * x;
    return alpha_n * (expm1f(x < eps ? x : eps) - x) + beta * x;
  }
  __device__ __forceinline__ float slope(float x) const {
    if (which != PLAIN_XIELU) {
      float s = sigmoid(gate_z(x, which));
      return s + x * s * (1.f - s) * gate_slope(x, which);
    }
    if (x > 0.f) return 2.f * alpha_p * x + beta;
    return alpha_n * (x < eps ? expm1f(x) : -1.f) + beta;
  }
};

ENTRY(activate,
      (const act* x, u64 stride, int which, float alpha_p, float alpha_n, float beta, float eps, act* out, u64 out_stride,
       u64 rows, u64 columns),
      (x, stride, which, alpha_p, alpha_n, beta, eps, out, out_stride, rows, columns),
      columns % 4 == 0 && by_four(x, stride) && by_four(out, out_stride)) {
  Plain plain = {which, alpha_p, alpha_n, beta, eps};
  each<W>(rows, columns, [=](u64 row, u64 i) {
    Floats<W> a = load<W>(x + row * stride + i);
    for (int k = 0; k < W; ++k) a[k] = plain.value(a[k]);
    store<W>(out + row * out_stride + i, a);
  });
}

// The gradient may lie where x lies.
ENTRY(activate_backward,
      (const act* x, u64 stride, int which, float alpha_p, float alpha_n, float beta, float eps, const act* d, u64 d_stride,
       act* dx, u64 dx_stride, u64 rows, u64 columns),
      (x, stride, which, alpha_p, alpha_n, beta, eps, d, d_stride, dx, dx_stride, rows, columns),
      columns % 4 == 0 && by_four(x, stride) && by_four(d, d_stride) && by_four(dx, dx_stride)) {
  Plain plain = {which, alpha_p, alpha_n, beta, eps};
  each<W>(rows, columns, [=](u64 row, u64 i) {
    Floats<W> a = load<W>(x + row * stride + i), grad = load<W>(d + row * d_stride + i);
    for (int k = 0; k < W; ++k) a[k] = grad[k] * plain.slope(a[k]);
    store<W>(dx + row * dx_stride + i, a);
  });
}
