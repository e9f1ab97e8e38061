// Cross-entropy, a block a row of logits: −log softmax(cap(logits))[target], and its gradient if one is wanted.
template <int W>
__device__ void cross_entropy_row(const float* logits, u32 target, float cap, float* loss, u32* correct, act* d, float scale,
                                  int width) {
  Softmax state = {NOTHING, 0.f};
  u32 best = 0xffffffffu;
  across<W>(0, width, [&](int i) {
    Floats<W> a = load<W>(logits + i);
    for (int k = 0; k < W; ++k) {
      float value = capped(a[k], cap);
      if (value > state.largest) best = (u32)(i + k);
      state.raise(value);
      state.total += expf(value - state.largest);
    }
  });
  float largest = block_max(state.largest);
  u32 first = block_min(state.largest == largest ? best : 0xffffffffu);
  float total = block_sum(state.total * expf(state.largest - largest));
  if (threadIdx.x == 0) {
    float at_target = target < (u32)width ? capped(logits[target], cap) : __uint_as_float(0x7fc00000u);
    *loss = largest - at_target + logf(total);
    *correct = first == target;
  }
  if (!d) return;
  __syncthreads();  // the gradient may be where the logits are
  float inverse = scale / total;
  across<W>(0, width, [=](int i) {
    Floats<W> a = load<W>(logits + i);
    for (int k = 0; k < W; ++k) {
      float value = capped(a[k], cap), p = expf(value - largest) * inverse;
      a[k] = ((u32)(i + k) == target ? p - scale : p) * cap_slope(value, cap);
    }
    store<W>(d + i, a);
  });
}

// The gradient is scale·(softmax − onehot)·cap′; `d` is null if none is wanted.
KERNEL cross_entropy(const float* logits, u64 stride, const u32* targets, float cap, float* losses, u32* correct, act* d,
                     u64 d_stride, float scale, int width) {
  bool fours = width % 4 == 0 && by_four(logits, stride) && by_four(d, d_stride);
  u64 row = blockIdx.x;
  logits += row * stride;
  if (d) d += row * d_stride;
  if (fours)
    cross_entropy_row<4>(logits, targets[row], cap, losses + row, correct + row, d, scale, width);
  else
    cross_entropy_row<1>(logits, targets[row], cap, losses + row, correct + row, d, scale, width);
}
