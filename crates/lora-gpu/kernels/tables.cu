// What trains at the embedding and at the head: rows in the place of a table's own, and factors whose A is looked up by token.

// x[rows[i]] = scale·table[ids[i]]
ENTRY(embed_at,
      (const act* table, u64 table_stride, const u32* ids, const u32* at, float scale, float* x, u64 x_stride, u64 rows,
       u64 columns),
      (table, table_stride, ids, at, scale, x, x_stride, rows, columns),
      columns % 4 == 0 && by_four(table, table_stride) && by_four(x, x_stride)) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    Floats<W> a = load<W>(table + ids[row] * table_stride + i);
    for (int k = 0; k < W; ++k) a[k] *= scale;
    store<W>(x + at[row] * x_stride + i, a);
  });
}

// u[t][k] = a[k][ids[t]]
KERNEL gather_columns(const float* a, u64 a_stride, const u32* ids, act* u, u64 u_stride, u64 rows, u64 columns) {
  each<1>(rows, columns, [=](u64 row, u64 k) { set(u[row * u_stride + k], a[k * a_stride + ids[row]]); });
}

// to[k][columns[i]] += Σ d[sources[s]][k] over s in starts[i]..starts[i + 1], in that order
KERNEL add_columns(const float* d, u64 d_stride, const u32* starts, const u32* sources, const u32* columns, float* to,
                   u64 to_stride, u64 count, u64 rank) {
  each<1>(count, rank, [=](u64 i, u64 k) {
    float sum = 0.f;
    for (u32 s = starts[i]; s < starts[i + 1]; ++s) sum += d[sources[s] * d_stride + k];
    to[k * to_stride + columns[i]] += sum;
  });
}

// to[t][columns[j]] = from[t][j]
KERNEL put_columns(const float* from, u64 from_stride, const u32* columns, float* to, u64 to_stride, u64 rows, u64 count) {
  each<1>(rows, count, [=](u64 row, u64 j) { to[row * to_stride + columns[j]] = from[row * from_stride + j]; });
}

// to[t][j] = from[t][columns[j]], which is 0 afterwards
KERNEL take_columns(act* from, u64 from_stride, const u32* columns, act* to, u64 to_stride, u64 rows, u64 count) {
  each<1>(rows, count, [=](u64 row, u64 j) {
    act* value = from + row * from_stride + columns[j];
    to[row * to_stride + j] = *value;
    set(*value, 0.f);
  });
}
