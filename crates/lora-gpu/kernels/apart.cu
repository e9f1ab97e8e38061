// Heads that lie apart from each other, as those of queries do whose rows hold the gates of their outputs, too: value i of a row
// is i % width of head i / width, which begins at head·apart.
__device__ __forceinline__ u64 apart_at(u64 i, u64 width, u64 apart) { return i / width * apart + i % width; }

#define APART_BY_FOUR (width % 4 == 0 && apart % 4 == 0)

ENTRY(take_heads, (const act* from, u64 from_stride, u64 width, u64 apart, act* to, u64 to_stride, u64 rows, u64 columns),
      (from, from_stride, width, apart, to, to_stride, rows, columns),
      APART_BY_FOUR && by_four(from, from_stride) && by_four(to, to_stride)) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    store<W>(to + row * to_stride + i, load<W>(from + row * from_stride + apart_at(i, width, apart)));
  });
}

ENTRY(give_heads, (const act* from, u64 from_stride, u64 width, u64 apart, act* to, u64 to_stride, u64 rows, u64 columns),
      (from, from_stride, width, apart, to, to_stride, rows, columns),
      APART_BY_FOUR && by_four(from, from_stride) && by_four(to, to_stride)) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    store<W>(to + row * to_stride + apart_at(i, width, apart), load<W>(from + row * from_stride + i));
  });
}

// y = x∘σ(gate), whose heads lie apart
ENTRY(open_gate,
      (const act* x, u64 stride, const act* gate, u64 gate_stride, u64 width, u64 apart, act* y, u64 y_stride, u64 rows,
       u64 columns),
      (x, stride, gate, gate_stride, width, apart, y, y_stride, rows, columns),
      APART_BY_FOUR && by_four(x, stride) && by_four(gate, gate_stride) && by_four(y, y_stride)) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    Floats<W> a = load<W>(x + row * stride + i), g = load<W>(gate + row * gate_stride + apart_at(i, width, apart));
    for (int k = 0; k < W; ++k) a[k] *= sigmoid(g[k]);
    store<W>(y + row * y_stride + i, a);
  });
}

// dy becomes the gradient of x, dy∘σ(g); that of the gate is dy∘x∘σ(g)∘(1 − σ(g))
ENTRY(open_gate_backward,
      (const act* x, u64 stride, const act* gate, u64 gate_stride, u64 width, u64 apart, act* dy, u64 dy_stride, act* d_gate,
       u64 d_gate_stride, u64 rows, u64 columns),
      (x, stride, gate, gate_stride, width, apart, dy, dy_stride, d_gate, d_gate_stride, rows, columns),
      APART_BY_FOUR && by_four(x, stride) && by_four(gate, gate_stride) && by_four(dy, dy_stride) &&
          by_four(d_gate, d_gate_stride)) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    u64 at = apart_at(i, width, apart);
    Floats<W> a = load<W>(x + row * stride + i), g = load<W>(gate + row * gate_stride + at);
    Floats<W> d = load<W>(dy + row * dy_stride + i);
    for (int k = 0; k < W; ++k) {
      float s = sigmoid(g[k]);
      g[k] = d[k] * a[k] * s * (1.f - s);
      d[k] *= s;
    }
    store<W>(dy + row * dy_stride + i, d);
    store<W>(d_gate + row * d_gate_stride + at, g);
  });
}
