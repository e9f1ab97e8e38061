// Mixtures of experts: each token has k rows, sorted by expert. What the experts give is summed token by token in the order
// of its rows; in the backward pass a row's gradient meets its weight.

// x[t] = scale·Σ weight[r]·rows[r] over r = places[t·k], …, places[t·k + k − 1], or added to it; without weights they are 1
template <int W, class X>
__device__ void combine(const act* rows, u64 stride, const u32* places, int chosen, const float* weights, float scale, X* x,
                        u64 x_stride, int adds, u64 tokens, u64 columns) {
  each<W>(tokens, columns, [=](u64 token, u64 i) {
    Floats<W> sum = {};
    for (int slot = 0; slot < chosen; ++slot) {
      u64 row = places[token * chosen + slot];
      float weight = weights ? weights[row] : 1.f;
      Floats<W> a = load<W>(rows + row * stride + i);
      for (int k = 0; k < W; ++k) sum[k] += weight * a[k];
    }
    X* at = x + token * x_stride + i;
    for (int k = 0; k < W; ++k) sum[k] *= scale;
    if (adds) {
      Floats<W> before = load<W>(at);
      for (int k = 0; k < W; ++k) sum[k] += before[k];
    }
    store<W>(at, sum);
  });
}
#define COMBINE(suffix, X)                                                                                                \
  KERNEL combine_##suffix(const act* rows, u64 stride, const u32* places, int chosen, const float* weights, float scale,  \
                          X* x, u64 x_stride, int adds, u64 tokens, u64 columns) {                                        \
    if (columns % 4 == 0 && by_four(rows, stride) && by_four(x, x_stride))                                                \
      combine<4>(rows, stride, places, chosen, weights, scale, x, x_stride, adds, tokens, columns);                       \
    else                                                                                                                  \
      combine<1>(rows, stride, places, chosen, weights, scale, x, x_stride, adds, tokens, columns);                       \
  }
COMBINE(f, float)
COMBINE(a, act)

// dots = Σ d·x of each row, a block a row; then d is multiplied by the row's weight
ENTRY(weigh, (act* d, u64 d_stride, const act* x, u64 x_stride, const float* weights, float* dots, int width),
      (d, d_stride, x, x_stride, weights, dots, width), width % 4 == 0 && by_four(d, d_stride) && by_four(x, x_stride)) {
  u64 row = blockIdx.x;
  d += row * d_stride;
  x += row * x_stride;
  float sum = 0.f, weight = weights[row];
  across<W>(0, width, [&](int i) {
    Floats<W> a = load<W>(d + i), b = load<W>(x + i);
    for (int k = 0; k < W; ++k) sum += a[k] * b[k];
    for (int k = 0; k < W; ++k) a[k] *= weight;
    store<W>(d + i, a);
  });
  sum = block_sum(sum);
  if (threadIdx.x == 0) dots[row] = sum;
}

// x *= weight of each row
ENTRY(weigh_rows, (act* x, u64 x_stride, const float* weights, u64 rows, u64 columns), (x, x_stride, weights, rows, columns),
      columns % 4 == 0 && by_four(x, x_stride)) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    float weight = weights[row];
    Floats<W> a = load<W>(x + row * x_stride + i);
    for (int k = 0; k < W; ++k) a[k] *= weight;
    store<W>(x + row * x_stride + i, a);
  });
}

// y += bias[which] of each row
ENTRY(add_bias_of, (const float* biases, const u32* which, act* y, u64 y_stride, u64 rows, u64 columns),
      (biases, which, y, y_stride, rows, columns), columns % 4 == 0 && by_four(biases, 0) && by_four(y, y_stride)) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    act* at = y + row * y_stride + i;
    Floats<W> a = load<W>(biases + which[row] * columns + i), b = load<W>(at);
    for (int k = 0; k < W; ++k) b[k] += a[k];
    store<W>(at, b);
  });
}

// dots += Σ d·bias[which] of each row, a block a row
ENTRY(add_bias_dots, (const float* biases, const u32* which, const act* d, u64 d_stride, float* dots, int width),
      (biases, which, d, d_stride, dots, width), width % 4 == 0 && by_four(biases, 0) && by_four(d, d_stride)) {
  u64 row = blockIdx.x;
  const float* bias = biases + (u64)which[row] * width;
  d += row * d_stride;
  float sum = 0.f;
  across<W>(0, width, [&](int i) {
    Floats<W> a = load<W>(d + i), b = load<W>(bias + i);
    for (int k = 0; k < W; ++k) sum += a[k] * b[k];
  });
  sum = block_sum(sum);
  if (threadIdx.x == 0) dots[row] += sum;
}
