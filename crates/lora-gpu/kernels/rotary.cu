// Rotary position embedding in place: feature step·i of each head is turned with the one `apart` from it. `table` holds
// cos | sin by rows of 2·half, `sign` −1 turns back.
ENTRY(rotate,
      (act* x, u64 x_stride, const float* table, const u32* rows_of_table, int half, int step, int apart, int head_dim,
       float sign, u64 rows, u64 pairs),
      (x, x_stride, table, rows_of_table, half, step, apart, head_dim, sign, rows, pairs),
      step == 1 && half % 4 == 0 && head_dim % 4 == 0 && by_four(x, x_stride) && by_four(table, 0)) {
  each<W>(rows, pairs, [=](u64 row, u64 pair) {
    u32 head = (u32)pair / (u32)half, i = (u32)pair % (u32)half;
    const float* angles = table + (u64)rows_of_table[row] * (2 * half) + i;
    act* at = x + row * x_stride + (u64)head * head_dim + step * i;
    Floats<W> a = load<W>(at), b = load<W>(at + apart), cos = load<W>(angles), sin = load<W>(angles + half);
    for (int k = 0; k < W; ++k) {
      float s = sign * sin[k], first = a[k];
      a[k] = first * cos[k] - b[k] * s;
      b[k] = b[k] * cos[k] + first * s;
    }
    store<W>(at, a);
    store<W>(at + apart, b);
  });
}
