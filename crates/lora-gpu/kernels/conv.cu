// Causal convolutions of each column by itself: sum(t) = b + Σⱼ w(j)·in(t − taps + 1 + j). Before the first row of a sequence
// there is nothing, or what was read of it in an earlier batch.

// The rows of a sequence that a row belongs to, and which sequence it is.
struct Span {
  u32 first, end, text;
};

struct Taps {
  const float* values;  // (taps, columns)
  const float* bias;    // (columns), or null
  int count;
  u64 columns;
};

// Rows before the first of each text, (texts, taps − 1, columns), or null.
struct Tails {
  const float* values;
  __device__ __forceinline__ const float* of(u32 text, const Taps& taps) const {
    return values ? values + (u64)text * (taps.count - 1) * taps.columns : nullptr;
  }
};

// What is read at a row: values as they are, or of the sides b | c | x the products b∘x.
template <int W>
struct Alone {
  const act* x;
  u64 stride;
  __device__ __forceinline__ Floats<W> operator()(u64 row, u64 i) const { return load<W>(x + row * stride + i); }
};
template <int W>
struct Entered {
  const act* sides;
  u64 stride, columns;
  __device__ __forceinline__ Floats<W> operator()(u64 row, u64 i) const {
    const act* at = sides + row * stride + i;
    Floats<W> b = load<W>(at), x = load<W>(at + 2 * columns);
    for (int k = 0; k < W; ++k) b[k] *= x[k];
    return b;
  }
};

// Of the rows of a tail and those from `first` on, the one that is number `at`.
template <int W, class In>
__device__ __forceinline__ Floats<W> row_of(In in, const Taps& taps, const float* tail, u64 first, u64 at, u64 i) {
  u64 before = taps.count - 1;
  if (at >= before) return in(first + at - before, i);
  if (tail) return load<W>(tail + at * taps.columns + i);
  Floats<W> none = {};
  return none;
}

template <int W, class In>
__device__ __forceinline__ Floats<W> conv_sum(In in, const Taps& taps, const float* tail, u64 first, u64 row, u64 i) {
  Floats<W> sum = {};
  if (taps.bias) sum = load<W>(taps.bias + i);
  for (int j = 0; j < taps.count; ++j) {
    Floats<W> x = row_of<W>(in, taps, tail, first, row - first + j, i), w = load<W>(taps.values + j * taps.columns + i);
    for (int k = 0; k < W; ++k) sum[k] += w[k] * x[k];
  }
  return sum;
}

// Σₗ w(taps − 1 − l)·d(t + l): what comes back to a row from those that read it, as far as its sequence goes.
template <int W, class D>
__device__ __forceinline__ Floats<W> conv_back(D d, const Taps& taps, u64 end, u64 row, u64 i) {
  Floats<W> sum = {};
  for (int l = 0; l < taps.count && row + l < end; ++l) {
    Floats<W> later = d(row + l, i), w = load<W>(taps.values + (taps.count - 1 - l) * taps.columns + i);
    for (int k = 0; k < W; ++k) sum[k] += w[k] * later[k];
  }
  return sum;
}

// The last taps − 1 rows of each segment, behind what its text had: a row of blocks a segment.
template <int W, class In>
__device__ __forceinline__ void keep_tail(In in, const Taps& taps, const u32* segments, float* tails, u64 count) {
  each<W>(count, taps.columns, [=](u64 segment, u64 i) {
    Span span = reinterpret_cast<const Span*>(segments)[segment];
    float* tail = tails + (u64)span.text * (taps.count - 1) * taps.columns;
    u64 fresh = span.end - span.first;
    for (int at = 0; at + 1 < taps.count; ++at) {  // what is read lies at or behind what was written
      store<W>(tail + at * taps.columns + i, row_of<W>(in, taps, tail, span.first, at + fresh, i));
    }
  });
}

#define TAPS const float *taps, const float *bias, int count
#define THESE_TAPS {taps, bias, count, columns}
#define TAPS_BY_FOUR (columns % 4 == 0 && by_four(taps, columns) && by_four(bias, 0))

// y = sum, or silu(sum)
ENTRY(conv,
      (const act* x, u64 stride, TAPS, int silu, const u32* spans, const float* tails, act* y, u64 y_stride, u64 rows,
       u64 columns),
      (x, stride, taps, bias, count, silu, spans, tails, y, y_stride, rows, columns),
      TAPS_BY_FOUR && by_four(x, stride) && by_four(tails, 0) && by_four(y, y_stride)) {
  Taps own = THESE_TAPS;
  Tails all = {tails};
  Alone<W> in = {x, stride};
  each<W>(rows, columns, [=](u64 row, u64 i) {
    Span span = reinterpret_cast<const Span*>(spans)[row];
    Floats<W> sum = conv_sum<W>(in, own, all.of(span.text, own), span.first, row, i);
    if (silu) {
      for (int k = 0; k < W; ++k) sum[k] *= sigmoid(sum[k]);
    }
    store<W>(y + row * y_stride + i, sum);
  });
}

// The gradient of what was summed at a row, from that of y.
template <int W>
struct ThroughSilu {
  Alone<W> in;
  Taps taps;
  const act* dy;
  u64 dy_stride, first;
  int silu;
  __device__ __forceinline__ Floats<W> operator()(u64 row, u64 i) const {
    Floats<W> d = load<W>(dy + row * dy_stride + i);
    if (!silu) return d;
    Floats<W> sum = conv_sum<W>(in, taps, nullptr, first, row, i);
    for (int k = 0; k < W; ++k) {
      float s = sigmoid(sum[k]);
      d[k] *= s + sum[k] * s * (1.f - s);
    }
    return d;
  }
};

ENTRY(conv_backward,
      (const act* x, u64 stride, TAPS, int silu, const u32* spans, const act* dy, u64 dy_stride, act* dx, u64 dx_stride,
       u64 rows, u64 columns),
      (x, stride, taps, bias, count, silu, spans, dy, dy_stride, dx, dx_stride, rows, columns),
      TAPS_BY_FOUR && by_four(x, stride) && by_four(dy, dy_stride) && by_four(dx, dx_stride)) {
  Taps own = THESE_TAPS;
  each<W>(rows, columns, [=](u64 row, u64 i) {
    Span span = reinterpret_cast<const Span*>(spans)[row];
    ThroughSilu<W> d = {{x, stride}, own, dy, dy_stride, span.first, silu};
    store<W>(dx + row * dx_stride + i, conv_back<W>(d, own, span.end, row, i));
  });
}

ENTRY(keep_tails, (const act* x, u64 stride, TAPS, const u32* segments, float* tails, u64 rows, u64 columns),
      (x, stride, taps, bias, count, segments, tails, rows, columns), TAPS_BY_FOUR && by_four(x, stride) && by_four(tails, 0)) {
  Taps own = THESE_TAPS;
  Alone<W> in = {x, stride};
  keep_tail<W>(in, own, segments, tails, rows);
}

// A short convolution between two gates: of the sides b | c | x of a row, c∘conv(b∘x).
ENTRY(short_conv,
      (const act* sides, u64 stride, TAPS, const u32* spans, const float* tails, act* y, u64 y_stride, u64 rows,
       u64 columns),
      (sides, stride, taps, bias, count, spans, tails, y, y_stride, rows, columns),
      TAPS_BY_FOUR && by_four(sides, stride) && by_four(tails, 0) && by_four(y, y_stride)) {
  Taps own = THESE_TAPS;
  Tails all = {tails};
  Entered<W> in = {sides, stride, columns};
  each<W>(rows, columns, [=](u64 row, u64 i) {
    Span span = reinterpret_cast<const Span*>(spans)[row];
    Floats<W> sum = conv_sum<W>(in, own, all.of(span.text, own), span.first, row, i);
    Floats<W> c = load<W>(sides + row * stride + columns + i);
    for (int k = 0; k < W; ++k) sum[k] *= c[k];
    store<W>(y + row * y_stride + i, sum);
  });
}

// c∘dy at a row.
template <int W>
struct ThroughGate {
  const act *sides, *dy;
  u64 stride, dy_stride, columns;
  __device__ __forceinline__ Floats<W> operator()(u64 row, u64 i) const {
    Floats<W> d = load<W>(dy + row * dy_stride + i), c = load<W>(sides + row * stride + columns + i);
    for (int k = 0; k < W; ++k) d[k] *= c[k];
    return d;
  }
};

// With e the gradient of b∘x: d_b = e∘x, d_c = dy∘conv(b∘x), d_x = e∘b.
ENTRY(short_conv_backward,
      (const act* sides, u64 stride, TAPS, const u32* spans, const act* dy, u64 dy_stride, act* d_sides, u64 d_stride,
       u64 rows, u64 columns),
      (sides, stride, taps, bias, count, spans, dy, dy_stride, d_sides, d_stride, rows, columns),
      TAPS_BY_FOUR && by_four(sides, stride) && by_four(dy, dy_stride) && by_four(d_sides, d_stride)) {
  Taps own = THESE_TAPS;
  Entered<W> in = {sides, stride, columns};
  ThroughGate<W> through = {sides, dy, stride, dy_stride, columns};
  each<W>(rows, columns, [=](u64 row, u64 i) {
    Span span = reinterpret_cast<const Span*>(spans)[row];
    const act* at = sides + row * stride + i;
    act* to = d_sides + row * d_stride + i;
    Floats<W> d = load<W>(dy + row * dy_stride + i), sum = conv_sum<W>(in, own, nullptr, span.first, row, i);
    for (int k = 0; k < W; ++k) d[k] *= sum[k];
    store<W>(to + columns, d);
    Floats<W> e = conv_back<W>(through, own, span.end, row, i), b = load<W>(at), x = load<W>(at + 2 * columns);
    for (int k = 0; k < W; ++k) x[k] *= e[k], b[k] *= e[k];
    store<W>(to, x);
    store<W>(to + 2 * columns, b);
  });
}

ENTRY(keep_short_tails, (const act* sides, u64 stride, TAPS, const u32* segments, float* tails, u64 rows, u64 columns),
      (sides, stride, taps, bias, count, segments, tails, rows, columns), TAPS_BY_FOUR && by_four(sides, stride) && by_four(tails, 0)) {
  Taps own = THESE_TAPS;
  Entered<W> in = {sides, stride, columns};
  keep_tail<W>(in, own, segments, tails, rows);
}
