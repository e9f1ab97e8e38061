// The gated delta rule in chunks of 64 tokens (Yang, Kautz and Hatamizadeh 2024). With q and k divided by their lengths, G the sums
// of the logarithms of decay within a chunk, S the state before it, D(i, j) = e^(Gᵢ − Gⱼ) for j ≤ i, w what is written:
//   (I + β∘k·kᵀ∘D)·w = β∘(v − e^G∘(k·S))     o = e^G∘(q·S) + (q·kᵀ∘D)·w     S′ = e^G₆₃·S + Σⱼ e^(G₆₃ − Gⱼ)·kⱼ·wⱼᵀ
// The products are the device's; here is what stands between them. What is of heads lies by chunk and head, (chunks, heads, 64,
// width). Rows of a chunk that are not there are zeros, with β = 0 and no decay.
#define LENGTH_EPS 1e-6f

// Queries over √d and keys, divided by their lengths, and one over these: a warp a token, blocks of eight.
KERNEL_OF(256) delta_normalise(const act* mixed, u64 stride, const u32* chunks, act* q, act* k, float* q_inverse,
                               float* k_inverse, int heads, int width) {
  int lane = threadIdx.x % 32, head = blockIdx.y;
  u64 chunk = blockIdx.x / 8, token = blockIdx.x % 8 * 8 + threadIdx.x / 32;
  Rows64 own = part(chunks, chunk);
  bool is = token < own.count;
  u64 at = (chunk * heads + head) * CHUNK + token;
  for (int side = 0; side < 2; ++side) {
    const act* x = mixed + (own.first + (is ? token : 0)) * stride + (u64)(side * heads + head) * width;
    float sum = 0.f;
    for (int i = lane; i < width; i += 32) sum += get(x[i]) * get(x[i]);
    for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, lanes);
    float inverse = is ? rsqrtf(sum + LENGTH_EPS) : 0.f, scale = side ? inverse : inverse * rsqrtf((float)width);
    act* to = (side ? k : q) + at * width;
    for (int i = lane; i < width; i += 32) set(to[i], scale * get(x[i]));
    if (lane == 0) (side ? k_inverse : q_inverse)[at] = inverse;
  }
}

// β and G of each token of each head, (chunks, heads, 64): a warp a chunk and head, two tokens a lane.
KERNEL delta_gates(const act* a, u64 a_stride, const act* b, u64 b_stride, const float* a_log, const float* dt_bias,
                   const u32* chunks, float* betas, float* sums, int heads) {
  int head = blockIdx.y * (blockDim.x / 32) + threadIdx.x / 32, token = 2 * (threadIdx.x % 32);
  bool is = head < heads;
  Rows64 own = part(chunks, blockIdx.x);
  float beta[2] = {}, g[2] = {}, rate = is ? -expf(a_log[head]) : 0.f;
  for (int e = 0; e < 2; ++e) {
    if (!is || token + e >= (int)own.count) continue;
    u64 row = own.first + token + e;
    beta[e] = sigmoid(get(b[row * b_stride + head]));
    g[e] = rate * softplus(get(a[row * a_stride + head]) + dt_bias[head]);
  }
  float all, before = sum_of_lanes_before(g[0] + g[1], all);
  if (!is) return;
  u64 at = ((u64)blockIdx.x * heads + head) * CHUNK + token;
  for (int e = 0; e < 2; ++e) {
    before += g[e];
    betas[at + e] = beta[e];
    sums[at + e] = before;
  }
}

// Of each value head: late = e^(G₆₃ − G)∘k, known = β∘e^G∘k, asked = e^G∘q
ENTRY(delta_heads,
      (const act* q, const act* k, const float* betas, const float* sums, act* late, act* known, act* asked, int group,
       u64 rows, u64 width),
      (q, k, betas, sums, late, known, asked, group, rows, width),
      width % 4 == 0 && by_four(q, 0) && by_four(k, 0) && by_four(late, 0) && by_four(known, 0) && by_four(asked, 0)) {
  each<W>(rows, width, [=](u64 row, u64 i) {
    u64 token = row % CHUNK, of_head = row / CHUNK;
    const float* sum = sums + of_head * CHUNK;
    u64 from = (of_head / group * CHUNK + token) * width + i;  // heads of keys have `group` neighbouring ones of values
    float since = expf(sum[token]), until = expf(sum[CHUNK - 1] - sum[token]), beta = betas[row];
    Floats<W> a = load<W>(k + from), b = load<W>(q + from), c = a;
    for (int j = 0; j < W; ++j) c[j] = beta * since * a[j], a[j] *= until, b[j] *= since;
    store<W>(late + row * width + i, a);
    store<W>(known + row * width + i, c);
    store<W>(asked + row * width + i, b);
  });
}

// Rows by chunk and head, times a factor of each if there are some: (chunks, heads, 64, width) from (T, heads·width).
ENTRY(heads_of_rows,
      (const act* from, u64 stride, const u32* chunks, const float* factors, act* to, int heads, u64 rows, u64 width),
      (from, stride, chunks, factors, to, heads, rows, width),
      width % 4 == 0 && by_four(from, stride) && by_four(to, 0)) {
  each<W>(rows, width, [=](u64 row, u64 i) {
    u64 token = row % CHUNK, of_head = row / CHUNK, head = of_head % heads;
    Rows64 own = part(chunks, of_head / heads);
    Floats<W> a = {};
    if (token < own.count) a = load<W>(from + (own.first + token) * stride + head * width + i);
    if (factors) {
      for (int k = 0; k < W; ++k) a[k] *= factors[row];
    }
    store<W>(to + row * width + i, a);
  });
}

// The way back, from f32.
ENTRY(rows_of_heads, (const float* from, const u32* chunks, act* to, u64 stride, int heads, u64 rows, u64 width),
      (from, chunks, to, stride, heads, rows, width), width % 4 == 0 && by_four(from, 0) && by_four(to, stride)) {
  each<W>(rows, width, [=](u64 row, u64 i) {
    u64 token = row % CHUNK, of_head = row / CHUNK, head = of_head % heads;
    Rows64 own = part(chunks, of_head / heads);
    if (token >= own.count) return;
    store<W>(to + (own.first + token) * stride + head * width + i, load<W>(from + row * width + i));
  });
}

// (I + β∘k·kᵀ∘D)⁻¹ below the diagonal, (chunks, heads, 64, 64): a block a chunk and head, a thread a column.
KERNEL_OF(64) delta_solve(const float* kk, const float* betas, const float* sums, act* solved, int group) {
  __shared__ float l[CHUNK][CHUNK], x[CHUNK][CHUNK];
  u64 of_head = blockIdx.x;
  const float *of_keys = kk + of_head / group * CHUNK * CHUNK, *sum = sums + of_head * CHUNK, *beta = betas + of_head * CHUNK;
  u32 j = threadIdx.x;
  for (u32 i = 0; i < CHUNK; ++i) l[i][j] = j < i ? beta[i] * of_keys[i * CHUNK + j] * left_of(sum, i, j) : 0.f;
  __syncthreads();
  for (u32 i = 0; i < CHUNK; ++i) {
    float value = i == j ? 1.f : 0.f;
    for (u32 k = 0; k < i; ++k) value -= l[i][k] * x[k][j];
    x[i][j] = value;
    set(solved[(of_head * CHUNK + i) * CHUNK + j], value);
  }
}

// The states of some sequences, (rows, heads·size), go to their place among those of chunks, and decay over the chunk.
ENTRY(delta_pass, (float* states, const float* sums, act* to, u64 size, int heads, u64 rows, u64 columns),
      (states, sums, to, size, heads, rows, columns), size % 4 == 0 && by_four(states, 0) && by_four(to, 0)) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    u64 at = row * columns + i;
    Floats<W> s = load<W>(states + at);
    store<W>(to + at, s);
    float all = expf(sums[(row * heads + i / size) * CHUNK + CHUNK - 1]);
    for (int k = 0; k < W; ++k) s[k] *= all;
    store<W>(states + at, s);
  });
}

// dots = <a, b> of each of `size` values: a block each.
KERNEL pairs_dots(const act* a, const act* b, float* dots, int size) {
  u64 first = (u64)blockIdx.x * size;
  float sum = 0.f;
  for (int i = threadIdx.x; i < size; i += blockDim.x) sum += get(a[first + i]) * get(b[first + i]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) dots[blockIdx.x] = sum;
}

// What scores and the system tell G and β, from the gradient of p, and that of the system's matrix: a block of eight warps a
// chunk and head.
KERNEL_OF(256) delta_score_sums(const float* d_p, const act* p, const float* d_l, const float* kk, const float* betas,
                                const float* sums, float* d_sums, float* d_betas, int group) {
  __shared__ float rows[CHUNK], columns[8][CHUNK];
  u64 of_head = blockIdx.x, first = of_head * CHUNK * CHUNK;
  const float *of_keys = kk + of_head / group * CHUNK * CHUNK, *sum = sums + of_head * CHUNK, *beta = betas + of_head * CHUNK;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float down[2] = {};
  for (int i = warp; i < CHUNK; i += 8) {
    float across = 0.f, of_beta = 0.f;
    for (int e = 0; e < 2; ++e) {
      int j = lane + 32 * e;
      u64 at = first + i * CHUNK + j;
      float system = j < i ? d_l[at] * of_keys[i * CHUNK + j] * left_of(sum, i, j) : 0.f;
      float moved = j < i ? d_p[at] * get(p[at]) + beta[i] * system : 0.f;  // what stands in row and column is in neither
      of_beta += system;
      across += moved;
      down[e] += moved;
    }
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      across += __shfl_xor_sync(0xffffffffu, across, lanes);
      of_beta += __shfl_xor_sync(0xffffffffu, of_beta, lanes);
    }
    if (lane == 0) {
      rows[i] = across;
      d_betas[of_head * CHUNK + i] = of_beta;
    }
  }
  for (int e = 0; e < 2; ++e) columns[warp][lane + 32 * e] = down[e];
  __syncthreads();
  if (threadIdx.x < CHUNK) {
    float before = 0.f;
    for (int i = 0; i < 8; ++i) before += columns[i][threadIdx.x];
    d_sums[of_head * CHUNK + threadIdx.x] = rows[threadIdx.x] - before;
  }
}

// The gradients of q·kᵀ, and of k·kᵀ with its transpose, (chunks, key heads, 64, 64): sums over the value heads of a key head.
KERNEL delta_score_gradients(const float* d_p, const float* d_l, const float* betas, const float* sums, act* d_qk, act* d_kk,
                             int group, u64 values) {
  each<1>(1, values, [=](u64, u64 at) {
    u64 of_key = at / (CHUNK * CHUNK), i = at / CHUNK % CHUNK, j = at % CHUNK, lower = i > j ? i : j, upper = i > j ? j : i;
    float scores = 0.f, system = 0.f;
    for (u64 head = of_key * group; head < (of_key + 1) * group; ++head) {
      const float* sum = sums + head * CHUNK;
      u64 first = head * CHUNK * CHUNK;
      float left = left_of(sum, lower, upper);
      if (j <= i) scores += d_p[first + i * CHUNK + j] * left;
      if (i != j) system += d_l[first + lower * CHUNK + upper] * betas[head * CHUNK + lower] * left;
    }
    set(d_qk[at], scores);
    set(d_kk[at], system);
  });
}

// What is of one value head's gradients in a chunk: a block of eight warps a chunk and head, a warp a token. d_r is the gradient
// of the system's right side.
KERNEL_OF(256) delta_write(const act* q, const act* k, const act* v, u64 v_stride, const act* a, u64 a_stride,
                           const float* d_asked, const float* d_late, const float* d_known, const act* d_r,
                           const float* betas, const float* sums, const float* d_sums, const float* d_betas,
                           const float* dots, const float* a_log, const float* dt_bias, const u32* chunks, act* dv,
                           u64 dv_stride, act* da, u64 da_stride, act* db, u64 db_stride, int heads, int group, int width,
                           int values) {
  __shared__ float of_sum[CHUNK], lost[CHUNK], earlier[CHUNK];
  int head = blockIdx.y, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  u64 chunk = blockIdx.x, of_head = chunk * heads + head, of_key = of_head / group;
  Rows64 own = part(chunks, chunk);
  const float *sum = sums + of_head * CHUNK, *beta = betas + of_head * CHUNK;
  for (int token = warp; token < CHUNK; token += 8) {
    float asked = 0.f, gone = 0.f, known = 0.f, right = 0.f;
    u64 row = of_head * CHUNK + token, key = of_key * CHUNK + token;
    bool is = token < (int)own.count;
    for (int i = lane; is && i < width; i += 32) {
      u64 at = row * width + i;
      float key_value = get(k[key * width + i]);
      asked += get(q[key * width + i]) * d_asked[at];
      gone += key_value * d_late[at];
      known += key_value * d_known[at];
    }
    for (int i = lane; is && i < values; i += 32) {
      float d = get(d_r[row * values + i]);
      u64 column = (u64)head * values + i;
      right += d * get(v[(own.first + token) * v_stride + column]);
      set(dv[(own.first + token) * dv_stride + column], beta[token] * d);
    }
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      asked += __shfl_xor_sync(0xffffffffu, asked, lanes);
      gone += __shfl_xor_sync(0xffffffffu, gone, lanes);
      known += __shfl_xor_sync(0xffffffffu, known, lanes);
      right += __shfl_xor_sync(0xffffffffu, right, lanes);
    }
    if (lane == 0) {
      float since = expf(sum[token]);
      gone *= expf(sum[CHUNK - 1] - sum[token]);
      known *= since;
      of_sum[token] = d_sums[row] + since * asked + beta[token] * known;
      lost[token] = gone;
      float d_beta = d_betas[row] + known + right;
      if (is) set(db[(own.first + token) * db_stride + head], d_beta * beta[token] * (1.f - beta[token]));
    }
  }
  sum_earlier(lost, earlier);
  if (warp > 0) return;
  // Lanes from the last token on: what comes behind a token is what is summed before it.
  int last = CHUNK - 1 - 2 * lane;
  float all, pair[2] = {of_sum[last], of_sum[last - 1]};
  if (lane == 0) pair[0] += expf(sum[CHUNK - 1]) * dots[of_head];
  float behind = sum_of_lanes_before(pair[0] + pair[1], all), rate = -expf(a_log[head]);
  for (int e = 0; e < 2; ++e) {
    int token = last - e;
    behind += pair[e];
    if (token >= (int)own.count) continue;
    u64 row = own.first + token;
    float z = get(a[row * a_stride + head]) + dt_bias[head];
    set(da[row * da_stride + head], (behind + earlier[token]) * rate * (z > 20.f ? 1.f : sigmoid(z)));
  }
}

// The gradients of queries and keys as the convolution gave them: a warp a token, blocks of eight. `dq` and `dk` are those of
// products with keys; to them come what the value heads of the key head say.
KERNEL_OF(256) delta_write_keys(const act* q, const act* k, const float* q_inverse, const float* k_inverse, const float* dq,
                                const float* dk, const float* d_asked, const float* d_late, const float* d_known,
                                const float* betas, const float* sums, const u32* chunks, act* to, u64 stride, int heads,
                                int group, int width) {
  int lane = threadIdx.x % 32, head = blockIdx.y;
  u64 chunk = blockIdx.x / 8, token = blockIdx.x % 8 * 8 + threadIdx.x / 32;
  Rows64 own = part(chunks, chunk);
  if (token >= own.count) return;
  u64 of_key = chunk * heads + head, key = of_key * CHUNK + token;
  for (int side = 0; side < 2; ++side) {
    const act* x = (side ? k : q) + key * width;
    float scale = side ? 1.f : rsqrtf((float)width), along = 0.f;
    float inverse = (side ? k_inverse : q_inverse)[key];
    act* dx = to + (own.first + token) * stride + (u64)(side * heads + head) * width;
    for (int pass = 0; pass < 2; ++pass) {
      for (int i = lane; i < width; i += 32) {
        float d = (side ? dk : dq)[key * width + i];
        for (u64 value = of_key * group; value < (of_key + 1) * group; ++value) {
          const float* sum = sums + value * CHUNK;
          u64 row = value * CHUNK + token, at = row * width + i;
          float since = expf(sum[token]);
          if (side)
            d += expf(sum[CHUNK - 1] - sum[token]) * d_late[at] + betas[row] * since * d_known[at];
          else
            d += since * d_asked[at];
        }
        if (pass)
          set(dx[i], scale * inverse * (d - get(x[i]) * along));
        else
          along += get(x[i]) * d;
      }
      if (pass) continue;
      for (int lanes = 16; lanes > 0; lanes /= 2) along += __shfl_xor_sync(0xffffffffu, along, lanes);
      along /= scale * scale;
    }
  }
}
