// AdamW and the norm of gradients.

// A step in torch's order of operations: decoupled decay, ε outside the root, bias corrections in `step_size` and `correction`.
ENTRY(adamw,
      (float* params, const float* gradients, float* m, float* v, u64 count, float clip, float beta1, float beta2, float eps,
       float decay, float step_size, float correction),
      (params, gradients, m, v, count, clip, beta1, beta2, eps, decay, step_size, correction),
      count % 4 == 0 && by_four(params, 0) && by_four(gradients, 0) && by_four(m, 0) && by_four(v, 0)) {
  each<W>(1, count, [=](u64, u64 i) {
    Floats<W> p = load<W>(params + i), g = load<W>(gradients + i), first = load<W>(m + i), second = load<W>(v + i);
    for (int k = 0; k < W; ++k) {
      float scaled = g[k] * clip;
      first[k] += (scaled - first[k]) * (1.f - beta1);
      second[k] = second[k] * beta2 + (1.f - beta2) * scaled * scaled;
      p[k] = p[k] * decay - step_size * (first[k] / (sqrtf(second[k]) / correction + eps));
    }
    store<W>(params + i, p);
    store<W>(m + i, first);
    store<W>(v + i, second);
  });
}

struct AddDouble {
  __device__ __forceinline__ double operator()(double a, double b) const { return a + b; }
};

// Σ x², a part a block: every block takes the values that are its own whatever runs beside it, so that the parts, and their
// sum in order, are always the same.
KERNEL squares(const float* values, u64 count, double* parts) {
  double sum = 0.;
  for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (u64)gridDim.x * blockDim.x) {
    double x = values[i];
    sum += x * x;
  }
  sum = over_block(sum, AddDouble());
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}
