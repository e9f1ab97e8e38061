// Gated linear units, activation(gate)·up. Both activations are x·σ(z(x)): SiLU with z = x, and GELU by the tanh formula,
// since ½(1 + tanh u) = σ(2u).
#define GELU_SCALE 1.5957691216057308f  // 2·√(2/π)
#define GELU_CUBIC 0.044715f

__device__ __forceinline__ float sigmoid(float z) { return 1.f / (1.f + expf(-z)); }
__device__ __forceinline__ float gate_z(float x, int gelu) { return gelu ? GELU_SCALE * (x + GELU_CUBIC * x * x * x) : x; }
__device__ __forceinline__ float gate_slope(float x, int gelu) {
  return gelu ? GELU_SCALE * (1.f + 3.f * GELU_CUBIC * x * x) : 1.f;
}

// Gate and up may lie side by side or apart.
ENTRY(gated,
      (const act* gate, u64 gate_stride, const act* up, u64 up_stride, int gelu, act* out, u64 out_stride, u64 rows,
       u64 columns),
      (gate, gate_stride, up, up_stride, gelu, out, out_stride, rows, columns),
      columns % 4 == 0 && by_four(gate, gate_stride) && by_four(up, up_stride) && by_four(out, out_stride)) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    Floats<W> g = load<W>(gate + row * gate_stride + i), u = load<W>(up + row * up_stride + i);
    for (int k = 0; k < W; ++k) g[k] = g[k] * sigmoid(gate_z(g[k], gelu)) * u[k];
    store<W>(out + row * out_stride + i, g);
  });
}

// With s = σ(z(g)): d_gate = d·up·(s + g·s·(1 − s)·z′(g)), d_up = d·g·s. The gradients may lie where gate and up lie.
ENTRY(gated_backward,
      (const act* gate, u64 gate_stride, const act* up, u64 up_stride, int gelu, const act* d, u64 d_stride, act* d_gate,
       u64 d_gate_stride, act* d_up, u64 d_up_stride, u64 rows, u64 columns),
      (gate, gate_stride, up, up_stride, gelu, d, d_stride, d_gate, d_gate_stride, d_up, d_up_stride, rows, columns),
      columns % 4 == 0 && by_four(gate, gate_stride) && by_four(up, up_stride) && by_four(d, d_stride) &&
          by_four(d_gate, d_gate_stride) && by_four(d_up, d_up_stride)) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    Floats<W> g = load<W>(gate + row * gate_stride + i), u = load<W>(up + row * up_stride + i);
    Floats<W> grad = load<W>(d + row * d_stride + i);
    for (int k = 0; k < W; ++k) {
      float s = sigmoid(gate_z(g[k], gelu)), activated = g[k] * s;
      float slope = grad[k] * u[k] * (s + activated * (1.f - s) * gate_slope(g[k], gelu));
      u[k] = grad[k] * activated;
      g[k] = slope;
    }
    store<W>(d_gate + row * d_gate_stride + i, g);
    store<W>(d_up + row * d_up_stride + i, u);
  });
}

// gpt-oss' unit, (u + 1)·g·σ(α·g): g is the gate, at most the limit, u is up, within it on both sides. NaN stays.
struct Clamped {
  float alpha, limit;
  __device__ __forceinline__ float below(float x) const { return x > limit ? limit : x; }
  __device__ __forceinline__ float within(float x) const { return x < -limit ? -limit : below(x); }
};

ENTRY(clamped,
      (const act* gate_up, u64 stride, float alpha, float limit, act* out, u64 out_stride, u64 rows, u64 columns),
      (gate_up, stride, alpha, limit, out, out_stride, rows, columns),
      columns % 4 == 0 && by_four(gate_up, stride) && by_four(out, out_stride)) {
  Clamped unit = {alpha, limit};
  each<W>(rows, columns, [=](u64 row, u64 i) {
    const act* at = gate_up + row * stride + i;
    Floats<W> g = load<W>(at), u = load<W>(at + columns);
    for (int k = 0; k < W; ++k) {
      float gate = unit.below(g[k]);
      g[k] = (unit.within(u[k]) + 1.f) * (gate * sigmoid(alpha * gate));
    }
    store<W>(out + row * out_stride + i, g);
  });
}

// With s = σ(α·g): d_gate = d·(u + 1)·(s + α·g·s·(1 − s)), d_up = d·g·s, and 0 beyond the limit. The gradient may lie where
// gate and up lie.
ENTRY(clamped_backward,
      (const act* gate_up, u64 stride, float alpha, float limit, const act* d, u64 d_stride, act* d_gate_up, u64 out_stride,
       u64 rows, u64 columns),
      (gate_up, stride, alpha, limit, d, d_stride, d_gate_up, out_stride, rows, columns),
      columns % 4 == 0 && by_four(gate_up, stride) && by_four(d, d_stride) && by_four(d_gate_up, out_stride)) {
  Clamped unit = {alpha, limit};
  each<W>(rows, columns, [=](u64 row, u64 i) {
    const act* at = gate_up + row * stride + i;
    act* to = d_gate_up + row * out_stride + i;
    Floats<W> g = load<W>(at), u = load<W>(at + columns), grad = load<W>(d + row * d_stride + i);
    for (int k = 0; k < W; ++k) {
      float gate = unit.below(g[k]), up = unit.within(u[k]);
      float s = sigmoid(alpha * gate);
      float d_gate = grad[k] * (up + 1.f) * (s + alpha * gate * s * (1.f - s));
      g[k] = g[k] > limit ? 0.f : d_gate;
      u[k] = fabsf(u[k]) > limit ? 0.f : grad[k] * (gate * s);
    }
    store<W>(to, g);
    store<W>(to + columns, u);
  });
}
