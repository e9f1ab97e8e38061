// Softmax of attention scores, a block a query (x) and head (y). Scores and probabilities are (heads, queries, keys), dense;
// the query in row i stands at past + i and sees keys up to its own position, `window` of them.
struct Visible {
  int first, end;
};
__device__ __forceinline__ Visible visible(int keys, int past, int window) {
  long long position = (long long)past + blockIdx.x, first = window > 0 ? position - window + 1 : 0;
  Visible range;
  range.end = position + 1 < keys ? (int)(position + 1) : keys;
  range.first = first > 0 ? (int)(first < keys ? first : keys) : 0;
  return range;
}

// A score that the queries of a head see beside their keys, and that has no value; null without.
__device__ __forceinline__ float sink_of(const float* sinks) { return sinks ? sinks[blockIdx.y] : NOTHING; }

// Gradients of the probabilities, and where those of the scores go; null without.
struct Gradients {
  const float* d_p;
  act* d_s;
};

template <int W>
__device__ void softmax_row(const float* s, act* p, Gradients grad, float sink, int keys, Visible seen, float scale,
                            float cap) {
  int from = seen.first / W * W;
  Softmax state = {NOTHING, 0.f};
  float weighted = 0.f;  // Σ e^(score − largest)·d_p
  across<W>(from, seen.end, [&](int i) {
    Floats<W> a = load<W>(s + i), d = {};
    if (grad.d_p) d = load<W>(grad.d_p + i);
    for (int k = 0; k < W; ++k) {
      if (i + k < seen.first || i + k >= seen.end) continue;
      float score = capped(scale * a[k], cap);
      weighted *= state.raise(score);
      float e = expf(score - state.largest);
      state.total += e;
      weighted += e * d[k];
    }
  });
  float of_keys = block_max(state.largest), largest = sink > of_keys ? sink : of_keys;
  float factor = expf(state.largest - largest);
  float inverse = 1.f / (block_sum(state.total * factor) + expf(sink - largest));
  float mean = grad.d_p ? block_sum(weighted * factor) * inverse : 0.f;  // Σ p·d_p
  across<W>(0, keys, [=](int i) {
    Floats<W> a = {}, d = {};
    if (i + W > seen.first && i < seen.end) {
      a = load<W>(s + i);
      if (grad.d_p) d = load<W>(grad.d_p + i);
    }
    for (int k = 0; k < W; ++k) {
      if (i + k < seen.first || i + k >= seen.end) {
        a[k] = d[k] = 0.f;
        continue;
      }
      float score = capped(scale * a[k], cap);
      a[k] = expf(score - largest) * inverse;
      d[k] = a[k] * (d[k] - mean) * cap_slope(score, cap) * scale;
    }
    store<W>(p + i, a);
    if (grad.d_s) store<W>(grad.d_s + i, d);
  });
}

__device__ __forceinline__ void softmax_at(const float* s, act* p, Gradients grad, const float* sinks, int keys, int past,
                                           int window, float scale, float cap) {
  bool fours = keys % 4 == 0 && by_four(s, 0) && by_four(p, 0) && by_four(grad.d_p, 0) && by_four(grad.d_s, 0);
  u64 at = ((u64)blockIdx.y * gridDim.x + blockIdx.x) * keys;
  if (grad.d_p) grad.d_p += at, grad.d_s += at;
  Visible seen = visible(keys, past, window);
  if (fours)
    softmax_row<4>(s + at, p + at, grad, sink_of(sinks), keys, seen, scale, cap);
  else
    softmax_row<1>(s + at, p + at, grad, sink_of(sinks), keys, seen, scale, cap);
}

// p = softmax(cap(scale·s)); 0 where unseen
KERNEL softmax(const float* s, act* p, const float* sinks, int keys, int past, int window, float scale, float cap) {
  Gradients none = {nullptr, nullptr};
  softmax_at(s, p, none, sinks, keys, past, window, scale, cap);
}

// p again, and d_s = p·(d_p − Σ p·d_p)·cap′·scale, the gradient of the raw s
KERNEL softmax_backward(const float* s, const float* d_p, act* p, act* d_s, const float* sinks, int keys, int past, int window,
                        float scale, float cap) {
  Gradients grad = {d_p, d_s};
  softmax_at(s, p, grad, sinks, keys, past, window, scale, cap);
}

// Every head of `from` becomes `group` heads of `to`, side by side: those of queries that share a key.
ENTRY(repeat_heads,
      (const act* from, u64 from_stride, int head_dim, int group, act* to, u64 to_stride, u64 rows, u64 columns),
      (from, from_stride, head_dim, group, to, to_stride, rows, columns),
      head_dim % 4 == 0 && by_four(from, from_stride) && by_four(to, to_stride)) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    u64 head = i / head_dim / group, within = i % head_dim;
    store<W>(to + row * to_stride + i, load<W>(from + row * from_stride + head * head_dim + within));
  });
}

// The way back: to = Σ of the `group` heads that a head became, in order.
ENTRY(sum_heads,
      (const float* from, u64 from_stride, int head_dim, int group, act* to, u64 to_stride, u64 rows, u64 columns),
      (from, from_stride, head_dim, group, to, to_stride, rows, columns),
      head_dim % 4 == 0 && by_four(from, from_stride) && by_four(to, to_stride)) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    const float* first = from + row * from_stride + i / head_dim * head_dim * group + i % head_dim;
    Floats<W> sum = load<W>(first);
    for (int member = 1; member < group; ++member) {
      Floats<W> a = load<W>(first + (u64)member * head_dim);
      for (int k = 0; k < W; ++k) sum[k] += a[k];
    }
    store<W>(to + row * to_stride + i, sum);
  });
}
