// Mamba-2's state space rule in chunks of 64 tokens (Dao and Gu 2024). With Δ the steps of a head, G the sums of Δ·A within a
// chunk, S the state before it, w = Δ·x:
//   y = e^G∘(C·S) + (C·Bᵀ∘D)·w + d·x,  D(i, j) = e^(Gᵢ − Gⱼ) for j ≤ i     S′ = e^G₆₃·S + Σⱼ e^(G₆₃ − Gⱼ)·Bⱼ·wⱼᵀ
// The products are the device's; here is what stands between them. Rows of a chunk that are not there are zeros, with Δ = 0.
#define CHUNK 64

// A chunk's first row, and its rows.
struct Rows64 {
  u32 first, count;
};
// Chunks of a segment, and which text it is.
struct ChunksOf {
  u32 first, count, text;
};
__device__ __forceinline__ Rows64 part(const u32* chunks, u64 chunk) { return reinterpret_cast<const Rows64*>(chunks)[chunk]; }

__device__ __forceinline__ float softplus(float x) { return x > 20.f ? x : log1pf(expf(x)); }

// Sums over the lanes up to each one; `all` becomes the sum over all.
__device__ __forceinline__ float sum_of_lanes_before(float value, float& all) {
  u32 lane = threadIdx.x % 32;
  float before = 0.f;
  all = value;
  for (u32 d = 1; d < 32; d *= 2) {
    float other = __shfl_xor_sync(0xffffffffu, all, (int)d);
    if (lane & d) before += other;
    all += other;
  }
  return before;
}

// Sums of the tokens before each one, by the first warp of a block; both are in shared memory.
__device__ __forceinline__ void sum_earlier(const float* of_tokens, float* earlier) {
  __syncthreads();
  if (threadIdx.x < 32) {
    u32 token = 2 * threadIdx.x;
    float all, before = sum_of_lanes_before(of_tokens[token] + of_tokens[token + 1], all);
    earlier[token] = before;
    earlier[token + 1] = before + of_tokens[token];
  }
  __syncthreads();
}

// Δ and G of each token of each head, (chunks, heads, 64): a warp a chunk and head, two tokens a lane.
KERNEL ssd_steps(const act* dt, u64 stride, const float* a_log, const float* dt_bias, float least, float most,
                 const u32* chunks, float* steps, float* sums, int heads) {
  int head = blockIdx.y * (blockDim.x / 32) + threadIdx.x / 32, token = 2 * (threadIdx.x % 32);
  bool is = head < heads;
  Rows64 own = part(chunks, blockIdx.x);
  float step[2] = {}, rate = is ? -expf(a_log[head]) : 0.f;
  for (int e = 0; e < 2; ++e) {
    if (!is || token + e >= (int)own.count) continue;
    float x = softplus(get(dt[(u64)(own.first + token + e) * stride + head]) + dt_bias[head]);
    x = x < least ? least : x;
    step[e] = x > most ? most : x;
  }
  float all, before = sum_of_lanes_before((step[0] + step[1]) * rate, all);
  if (!is) return;
  u64 at = ((u64)blockIdx.x * heads + head) * CHUNK + token;
  for (int e = 0; e < 2; ++e) {
    before += step[e] * rate;
    steps[at + e] = step[e];
    sums[at + e] = before;
  }
}

// Rows of chunks as they are: to (chunks·64, columns) from (T, columns).
ENTRY(chunk_rows, (const act* from, u64 stride, const u32* chunks, act* to, u64 rows, u64 columns),
      (from, stride, chunks, to, rows, columns), columns % 4 == 0 && by_four(from, stride) && by_four(to, 0)) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    Rows64 own = part(chunks, row / CHUNK);
    u64 token = row % CHUNK;
    Floats<W> a = {};
    if (token < own.count) a = load<W>(from + (own.first + token) * stride + i);
    store<W>(to + row * columns + i, a);
  });
}

// The same of all heads, times Δ if there are steps: to (chunks, heads, 64, width). And times what is left of it at the chunk's
// end, or was from its begin on, to (chunks, 64, heads·width).
ENTRY(chunk_heads,
      (const act* from, u64 stride, const u32* chunks, const float* steps, const float* sums, int since, act* by_head,
       act* by_row, int width, u64 rows, u64 columns),
      (from, stride, chunks, steps, sums, since, by_head, by_row, width, rows, columns),
      width % 4 == 0 && by_four(from, stride) && by_four(by_head, 0) && by_four(by_row, 0)) {
  u64 heads = columns / width;
  each<W>(rows, columns, [=](u64 row, u64 i) {
    u64 chunk = row / CHUNK, token = row % CHUNK, head = i / width;
    Rows64 own = part(chunks, chunk);
    const float* sum = sums + (chunk * heads + head) * CHUNK;
    Floats<W> a = {};
    if (token < own.count) a = load<W>(from + (own.first + token) * stride + i);
    if (steps) {
      float step = steps[(chunk * heads + head) * CHUNK + token];
      for (int k = 0; k < W; ++k) a[k] *= step;
    }
    store<W>(by_head + ((chunk * heads + head) * CHUNK + token) * width + i % width, a);
    float factor = expf(since ? sum[token] : sum[CHUNK - 1] - sum[token]);
    for (int k = 0; k < W; ++k) a[k] *= factor;
    store<W>(by_row + row * columns + i, a);
  });
}

// What is left at token i of what token j has written.
__device__ __forceinline__ float left_of(const float* sum, u64 i, u64 j) { return j <= i ? expf(sum[i] - sum[j]) : 0.f; }

// C·Bᵀ∘D of all heads, (chunks, heads, 64, 64), from C·Bᵀ of their groups.
ENTRY(ssd_scores, (const float* scores, const float* sums, act* p, int heads, int groups, u64 values),
      (scores, sums, p, heads, groups, values), by_four(scores, 0) && by_four(p, 0)) {
  each<W>(1, values, [=](u64, u64 at) {
    u64 row = at / CHUNK, j = at % CHUNK;
    u64 i = row % CHUNK, of_head = row / CHUNK, chunk = of_head / heads, group = of_head % heads / (heads / groups);
    const float* sum = sums + of_head * CHUNK;
    Floats<W> a = load<W>(scores + ((chunk * groups + group) * CHUNK + i) * CHUNK + j);
    for (int k = 0; k < W; ++k) a[k] *= left_of(sum, i, j + k);
    store<W>(p + at, a);
  });
}

// The states before all chunks, (chunks, state·columns), from what each chunk adds: a thread goes from chunk to chunk. A text's
// state is where it begins, if there is one, and becomes where it ends.
ENTRY(ssd_pass,
      (const float* added, const float* sums, const u32* segments, float* states, act* before, int heads, int width,
       u64 rows, u64 columns),
      (added, sums, segments, states, before, heads, width, rows, columns),
      width % 4 == 0 && by_four(added, 0) && by_four(states, 0) && by_four(before, 0)) {
  each<W>(rows, columns, [=](u64 segment, u64 i) {
    ChunksOf own = reinterpret_cast<const ChunksOf*>(segments)[segment];
    u64 head = i / width % heads;
    float* text = states ? states + own.text * columns + i : nullptr;
    Floats<W> s = {};
    if (text) s = load<W>(text);
    for (u64 chunk = own.first; chunk < own.first + own.count; ++chunk) {
      store<W>(before + chunk * columns + i, s);
      Floats<W> more = load<W>(added + chunk * columns + i);
      float all = expf(sums[(chunk * heads + head) * CHUNK + CHUNK - 1]);
      for (int k = 0; k < W; ++k) s[k] = all * s[k] + more[k];
    }
    if (text) store<W>(text, s);
  });
}

// The gradients of the states behind all chunks, from what each chunk's output adds to that of the state before it.
ENTRY(ssd_pass_back,
      (const float* added, const float* sums, const u32* segments, act* behind, int heads, int width, u64 rows, u64 columns),
      (added, sums, segments, behind, heads, width, rows, columns),
      width % 4 == 0 && by_four(added, 0) && by_four(behind, 0)) {
  each<W>(rows, columns, [=](u64 segment, u64 i) {
    ChunksOf own = reinterpret_cast<const ChunksOf*>(segments)[segment];
    u64 head = i / width % heads;
    Floats<W> d = {};
    for (u64 chunk = own.first + own.count; chunk-- > own.first;) {
      store<W>(behind + chunk * columns + i, d);
      Floats<W> more = load<W>(added + chunk * columns + i);
      float all = expf(sums[(chunk * heads + head) * CHUNK + CHUNK - 1]);
      for (int k = 0; k < W; ++k) d[k] = all * d[k] + more[k];
    }
  });
}

// y = what was written in the chunk, (chunks, heads, 64, width), + e^G∘(C·S), (chunks, 64, columns), + d·x
ENTRY(ssd_output,
      (const float* within, const float* of_state, const float* sums, const float* skip, const u32* chunks, const act* x,
       u64 stride, act* y, u64 y_stride, int width, u64 rows, u64 columns),
      (within, of_state, sums, skip, chunks, x, stride, y, y_stride, width, rows, columns),
      width % 4 == 0 && by_four(within, 0) && by_four(of_state, 0) && by_four(x, stride) && by_four(y, y_stride)) {
  u64 heads = columns / width;
  each<W>(rows, columns, [=](u64 row, u64 i) {
    u64 chunk = row / CHUNK, token = row % CHUNK, head = i / width;
    Rows64 own = part(chunks, chunk);
    if (token >= own.count) return;
    u64 at = (chunk * heads + head) * CHUNK + token;
    float since = expf(sums[at]), past = skip[head];
    Floats<W> a = load<W>(within + at * width + i % width), b = load<W>(of_state + row * columns + i);
    Floats<W> c = load<W>(x + (own.first + token) * stride + i);
    for (int k = 0; k < W; ++k) a[k] += since * b[k] + past * c[k];
    store<W>(y + (own.first + token) * y_stride + i, a);
  });
}

// dots = <state before a chunk, gradient of the state behind it> of each head: a block a chunk and head.
KERNEL ssd_state_dots(const act* before, const act* behind, float* dots, int heads, int width, int state) {
  u64 columns = (u64)heads * width, first = blockIdx.x * columns * state + (u64)blockIdx.y * width;
  float sum = 0.f;
  for (int i = threadIdx.x; i < width * state; i += blockDim.x) {
    u64 at = first + i / width * columns + i % width;
    sum += get(before[at]) * get(behind[at]);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) dots[(u64)blockIdx.x * heads + blockIdx.y] = sum;
}

// What scores tell the sums G, from the gradient m of p: of m∘p a row's sum less a column's, without what stands in both; a block
// of eight warps a chunk and head.
KERNEL_OF(256) ssd_score_sums(const float* m, const act* p, float* d_sums) {
  __shared__ float rows[CHUNK], columns[8][CHUNK];
  u64 first = (u64)blockIdx.x * CHUNK * CHUNK;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float down[2] = {};
  for (int i = warp; i < CHUNK; i += 8) {
    float across = 0.f;
    for (int e = 0; e < 2; ++e) {
      int j = lane + 32 * e;
      u64 at = first + i * CHUNK + j;
      float moved = i == j ? 0.f : m[at] * get(p[at]);
      across += moved;
      down[e] += moved;
    }
    for (int lanes = 16; lanes > 0; lanes /= 2) across += __shfl_xor_sync(0xffffffffu, across, lanes);
    if (lane == 0) rows[i] = across;
  }
  for (int e = 0; e < 2; ++e) columns[warp][lane + 32 * e] = down[e];
  __syncthreads();
  if (threadIdx.x < CHUNK) {
    float sum = 0.f;
    for (int i = 0; i < 8; ++i) sum += columns[i][threadIdx.x];
    d_sums[(u64)blockIdx.x * CHUNK + threadIdx.x] = rows[threadIdx.x] - sum;
  }
}

// The gradient of C·Bᵀ, (chunks, groups, 64, 64): Σ m∘D over the heads of a group.
ENTRY(ssd_score_gradients, (const float* m, const float* sums, act* d, int heads, int groups, u64 values),
      (m, sums, d, heads, groups, values), by_four(m, 0) && by_four(d, 0)) {
  u64 each_group = heads / groups;
  each<W>(1, values, [=](u64, u64 at) {
    u64 row = at / CHUNK, j = at % CHUNK;
    u64 i = row % CHUNK, chunk = row / CHUNK / groups, group = row / CHUNK % groups;
    Floats<W> sum = {};
    for (u64 head = group * each_group; head < (group + 1) * each_group; ++head) {
      u64 of_head = chunk * heads + head;
      Floats<W> a = load<W>(m + (of_head * CHUNK + i) * CHUNK + j);
      for (int k = 0; k < W; ++k) sum[k] += a[k] * left_of(sums + of_head * CHUNK, i, j + k);
    }
    store<W>(d + at, sum);
  });
}

// The gradients of x and of what steps are made of: a block of eight warps a chunk and head, a warp a token.
//   dw = `within` + e^(G₆₃ − G)∘(B·dS′)     dx = Δ·dw + d·dy     dΔ = x·dw + A·Σ of the gradients of G from the token on
// What e^(G₆₃ − Gⱼ) says comes to the tokens behind j alone.
KERNEL_OF(256) ssd_write(const act* x, u64 stride, const act* dt, u64 dt_stride, const act* dy, u64 dy_stride,
                         const float* within, const float* of_end, const float* of_state, const float* steps,
                         const float* sums, const float* d_sums, const float* dots, const float* a_log,
                         const float* dt_bias, const float* skip, float least, float most, const u32* chunks, act* dx,
                         u64 dx_stride, act* d_dt, u64 d_dt_stride, int heads, int width) {
  __shared__ float of_step[CHUNK], of_sum[CHUNK], lost[CHUNK], earlier[CHUNK];
  int head = blockIdx.y, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  u64 chunk = blockIdx.x, of_head = chunk * heads + head, columns = (u64)heads * width;
  Rows64 own = part(chunks, chunk);
  const float *step = steps + of_head * CHUNK, *sum = sums + of_head * CHUNK;
  float past = skip[head];
  for (int token = warp; token < CHUNK; token += 8) {
    float through = 0.f, gone = 0.f, found = 0.f;
    if (token < (int)own.count) {
      float until = expf(sum[CHUNK - 1] - sum[token]), since = expf(sum[token]);
      u64 row = own.first + token;
      const act *from = x + row * stride + head * width, *d = dy + row * dy_stride + head * width;
      act* to = dx + row * dx_stride + head * width;
      u64 padded = (chunk * CHUNK + token) * columns + head * width, by_head = (of_head * CHUNK + token) * width;
      for (int i = lane; i < width; i += 32) {
        float value = get(from[i]), grad = get(d[i]), late = until * of_end[padded + i];
        float dw = within[by_head + i] + late;
        through += value * dw;
        gone += step[token] * value * late;
        found += grad * since * of_state[padded + i];
        set(to[i], step[token] * dw + past * grad);
      }
    }
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      through += __shfl_xor_sync(0xffffffffu, through, lanes);
      gone += __shfl_xor_sync(0xffffffffu, gone, lanes);
      found += __shfl_xor_sync(0xffffffffu, found, lanes);
    }
    if (lane == 0) {
      of_step[token] = through;
      of_sum[token] = d_sums[of_head * CHUNK + token] + found;
      lost[token] = gone;
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
    float z = get(dt[row * dt_stride + head]) + dt_bias[head], made = softplus(z);
    float slope = made < least || made > most ? 0.f : z > 20.f ? 1.f : sigmoid(z);
    set(d_dt[row * d_dt_stride + head], (of_step[token] + rate * (behind + earlier[token])) * slope);
  }
}

// Rows of chunks go back to their places: to (T, columns) from f32 (chunks·64, columns).
ENTRY(unchunk_rows, (const float* from, const u32* chunks, act* to, u64 stride, u64 rows, u64 columns),
      (from, chunks, to, stride, rows, columns), columns % 4 == 0 && by_four(from, 0) && by_four(to, stride)) {
  each<W>(rows, columns, [=](u64 row, u64 i) {
    Rows64 own = part(chunks, row / CHUNK);
    u64 token = row % CHUNK;
    if (token < own.count) store<W>(to + (own.first + token) * stride + i, load<W>(from + row * columns + i));
  });
}
