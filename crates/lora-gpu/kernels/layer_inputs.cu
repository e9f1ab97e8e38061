// The inputs of layers that are looked up: a block a row and layer. Row t of the table's is ids[t], or t where there are no ids;
// 1/√(mean(x²) + ε) of row t and layer l is rstd[t * layers + l].

// e = factor·(γ·(x·rstd) + scale·table[id])
ENTRY(layer_inputs,
      (const act* x, u64 x_stride, const float* gamma, float eps, const act* table, u64 table_stride, const u32* ids,
       float scale, float factor, act* e, u64 e_stride, float* rstd, int width),
      (x, x_stride, gamma, eps, table, table_stride, ids, scale, factor, e, e_stride, rstd, width),
      width % 4 == 0 && by_four(x, x_stride) && by_four(gamma, 0) && by_four(table, table_stride) && by_four(e, e_stride)) {
  u64 row = blockIdx.x, at = (u64)blockIdx.y * width;
  x += row * x_stride + at;
  e += row * e_stride + at;
  table += (ids ? ids[row] : row) * table_stride + at;
  float r = row_rstd<W>(x, width, eps);
  if (threadIdx.x == 0) rstd[row * gridDim.y + blockIdx.y] = r;
  across<W>(0, width, [=](int i) {
    Floats<W> a = load<W>(x + i), g = load<W>(gamma + i), b = load<W>(table + i);
    for (int k = 0; k < W; ++k) a[k] = factor * (g[k] * (a[k] * r) + scale * b[k]);
    store<W>(e + i, a);
  });
}
