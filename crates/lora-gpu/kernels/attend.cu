// Attention whose scores are never in memory: blocks of four warps take 64 queries (or, in the backward pass, 64 keys too) of
// one head, 16 to each warp, along what they see. Softmax is corrected as larger scores appear; the backward pass computes
// probabilities again from the log of each query's sum. (Dao, FlashAttention-2, 2023.) Heads are padded to D columns.
struct Heads {
  int heads, kv_heads, head_dim, window;  // a window of 0 is none
  float scale, cap;
  // Columns of q, k and v of a query head in a row of all three.
  __device__ __forceinline__ int q(int head) const { return head * head_dim; }
  __device__ __forceinline__ int k(int head) const { return (heads + head / (heads / kv_heads)) * head_dim; }
  __device__ __forceinline__ int v(int head) const { return k(head) + kv_heads * head_dim; }
  __device__ __forceinline__ bool sees(int query, int key) const {
    return key <= query && (window == 0 || query - key < window);
  }
  // Whether all these queries see all these keys.
  __device__ __forceinline__ bool all_see(int query, int queries, int key, int keys) const {
    return key + keys - 1 <= query && (window == 0 || query + queries - 1 - key < window);
  }
};
constexpr int THREADS = 128;
#define HEADS int heads, int kv_heads, int head_dim, int window, float scale, float cap
#define THESE_HEADS {heads, kv_heads, head_dim, window, scale, cap}

// Neighbouring rows of queries, the position of the first, and where the rows of the keys from position 0 on stand: at `keys`
// in the batch, or in the list.
struct Queries {
  int first, count, position, keys, is_listed;
  __device__ __forceinline__ int end() const { return position + count; }
  __device__ __forceinline__ int key_row(const u32* listed, int at) const {
    return is_listed ? (int)listed[keys + at] : keys + at;
  }
};
// Neighbouring rows of keys, and which visits they get: queries that see them.
struct Keys {
  int first, count, visits, visits_end;
};
struct Visit {
  int first, count, position, key_position;
};

__device__ __forceinline__ float power_of_e(float x) {
#ifdef TENSOR_CORES
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.4426950408889634f));
  return y;
#else
  return expf(x);
#endif
}

// Raw scores become scaled and capped ones.
template <int N>
__device__ __forceinline__ void scale_scores(const Heads& h, float (&s)[N][4]) {
#pragma unroll
  for (int n = 0; n < N; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) s[n][i] *= h.scale;
  }
  if (!(h.cap > 0.f)) return;
#pragma unroll
  for (int n = 0; n < N; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) s[n][i] = capped(s[n][i], h.cap);
  }
}

// Gradients of such scores become those of the raw ones.
template <int N>
__device__ __forceinline__ void through_scale(const Heads& h, const float (&s)[N][4], float (&d_s)[N][4]) {
#pragma unroll
  for (int n = 0; n < N; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) d_s[n][i] *= h.scale;
  }
  if (!(h.cap > 0.f)) return;
#pragma unroll
  for (int n = 0; n < N; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) d_s[n][i] *= cap_slope(s[n][i], h.cap);
  }
}

// The first key that a tile of queries sees, at a whole number of tiles of `keys`.
__device__ __forceinline__ int first_seen(const Heads& h, const Queries& tile, int keys) {
  int first = h.window > 0 ? tile.position - h.window + 1 : 0;
  return first > 0 ? first / keys * keys : 0;
}

// Where rows of a head begin that a tile has; null behind its end.
struct Rows {
  const act* first;
  u64 stride;
  int count;
  __device__ __forceinline__ const act* operator()(int i) const { return i < count ? first + (u64)i * stride : nullptr; }
};
// The same of keys or values by position.
struct KeyRows {
  const act* column;
  u64 stride;
  Queries tile;
  const u32* listed;
  int from;
  __device__ __forceinline__ const act* operator()(int i) const {
    int at = from + i;
    return at < tile.end() ? column + (u64)tile.key_row(listed, at) * stride : nullptr;
  }
};

// Writes a warp's result of 16 rows, of which rows from `count` on and columns from `columns` on are none.
template <int N, class T>
__device__ __forceinline__ void write_rows(const float (&c)[N][4], T* to, u64 stride, int count, int columns) {
  int row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
  for (int half = 0; half < 2; ++half, row += 8) {
    if (row >= count) continue;
#pragma unroll
    for (int n = 0; n < N; ++n) {
      if (8 * n >= columns) continue;
      Floats<2> both = {{c[n][2 * half], c[n][2 * half + 1]}};
      store<2>(to + (u64)row * stride + 8 * n + column, both);
    }
  }
}

// o and, for each query and head, the log of the sum of e^score. A head's sink, if there are such, is a score that every query
// sees beside its keys, and has no value; the backward pass meets it in that log alone.
template <int D>
__device__ __forceinline__ void attend_by(const Heads& h, const act* qkv, u64 qkv_stride, act* o, u64 o_stride, float* log_sum,
                                          const Queries& tile, const u32* listed, const float* sinks, int rows) {
  constexpr int KEYS = 64;
  __shared__ Chunk keys[KEYS * (D / 8)], values[KEYS * (D / 8)];
  int head = blockIdx.y, warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  bool works = warp * 16 < tile.count;
  Rows queries = {qkv + (u64)tile.first * qkv_stride + h.q(head), qkv_stride, tile.count};
  copy_rows<64, D, THREADS>(keys, h.head_dim, queries);
  group_copies();
  wait_for_copies<0>();
  __syncthreads();
  Left q[D / 16];
  if (works) {
#pragma unroll
    for (int k = 0; k < D / 16; ++k) q[k] = left_of<D>(keys, warp * 16, 16 * k);
  }
  __syncthreads();
  float out[D / 8][4] = {};
  float largest[2] = {NOTHING, NOTHING}, total[2] = {};
  int query = tile.position + warp * 16;
  int from = first_seen(h, tile, KEYS);
  KeyRows key_rows = {qkv + h.k(head), qkv_stride, tile, listed, from};
  KeyRows value_rows = {qkv + h.v(head), qkv_stride, tile, listed, from};
  copy_rows<KEYS, D, THREADS>(keys, h.head_dim, key_rows);
  group_copies();
  for (; from < tile.end(); from += KEYS) {
    value_rows.from = from;
    copy_rows<KEYS, D, THREADS>(values, h.head_dim, value_rows);
    group_copies();
    wait_for_copies<1>();
    __syncthreads();
    float s[KEYS / 8][4] = {};
    if (works) {
#pragma unroll
      for (int k = 0; k < D / 16; ++k) {
#pragma unroll
        for (int n = 0; n < KEYS / 16; ++n) {
          multiply_add_two(s[2 * n], s[2 * n + 1], q[k], right_of_transposed<D>(keys, 16 * n, 16 * k));
        }
      }
    }
    __syncthreads();
    key_rows.from = from + KEYS;
    if (key_rows.from < tile.end()) copy_rows<KEYS, D, THREADS>(keys, h.head_dim, key_rows);
    group_copies();
    if (works) {
      bool all = h.all_see(query, 16, from, KEYS);
      scale_scores(h, s);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float most = largest[half], sum = 0.f;
#pragma unroll
        for (int n = 0; n < KEYS / 8; ++n) {
          for (int e = 0; e < 2; ++e) {
            float& score = s[n][2 * half + e];
            if (!all && !h.sees(query + g + 8 * half, from + 8 * n + 2 * t + e)) score = NOTHING;
            most = score > most ? score : most;
          }
        }
        most = over_row(most, Larger());
        float base = most == NOTHING ? 0.f : most;  // of nothing seen yet
        float factor = power_of_e(largest[half] - base);
#pragma unroll
        for (int n = 0; n < KEYS / 8; ++n) {
          for (int e = 0; e < 2; ++e) sum += s[n][2 * half + e] = power_of_e(s[n][2 * half + e] - base);
        }
        largest[half] = most;
        total[half] = total[half] * factor + sum;
#pragma unroll
        for (int n = 0; n < D / 8; ++n) out[n][2 * half] *= factor, out[n][2 * half + 1] *= factor;
      }
    }
    wait_for_copies<1>();
    __syncthreads();
    if (works) {
#pragma unroll
      for (int k = 0; k < KEYS / 16; ++k) {
        Left p = as_left(s[2 * k], s[2 * k + 1]);
#pragma unroll
        for (int n = 0; n < D / 16; ++n) multiply_add_two(out[2 * n], out[2 * n + 1], p, right_of<D>(values, 16 * k, 16 * n));
      }
    }
    __syncthreads();
  }
  wait_for_copies<0>();
  if (!works) return;
  for (int half = 0; half < 2; ++half) {
    float sum = over_row(total[half], Add()), of_keys = 1.f;
    if (sinks) {
      float sink = sinks[head], most = sink > largest[half] ? sink : largest[half];
      of_keys = expf(largest[half] - most);
      sum = sum * of_keys + expf(sink - most);
      largest[half] = most;
    }
    float inverse = of_keys / sum;
#pragma unroll
    for (int n = 0; n < D / 8; ++n) out[n][2 * half] *= inverse, out[n][2 * half + 1] *= inverse;
    int row = warp * 16 + g + 8 * half;
    if (t == 0 && row < tile.count) log_sum[(u64)head * rows + tile.first + row] = largest[half] + logf(sum);
  }
  write_rows(out, o + (u64)tile.first * o_stride + h.q(head), o_stride, tile.count, h.head_dim);
}

// Gradients of a tile of queries, and for each query and head Σ p·d_p, which is the product of o with its gradient.
template <int D>
__device__ __forceinline__ void attend_queries_by(const Heads& h, const act* qkv, u64 qkv_stride, const act* o, u64 o_stride,
                                                  const act* d_o, u64 d_o_stride, const float* log_sum, float* means,
                                                  act* d_qkv, u64 d_qkv_stride, const Queries& tile, const u32* listed,
                                                  int rows) {
  constexpr int KEYS = D * sizeof(act) == 128 ? 64 : 32;
  constexpr int TILE = KEYS * (D / 8);
  __shared__ Chunk tiles[4 * TILE];  // keys and values, twice: what is read, and what comes
  int head = blockIdx.y, warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  bool works = warp * 16 < tile.count;
  u64 first = tile.first;
  Rows of_q = {qkv + first * qkv_stride + h.q(head), qkv_stride, tile.count};
  Rows of_o = {o + first * o_stride + h.q(head), o_stride, tile.count};
  Rows of_d_o = {d_o + first * d_o_stride + h.q(head), d_o_stride, tile.count};
  Chunk* second = tiles + 64 * (D / 8);
  copy_rows<64, D, THREADS>(tiles, h.head_dim, of_o);
  copy_rows<64, D, THREADS>(second, h.head_dim, of_d_o);
  group_copies();
  wait_for_copies<0>();
  __syncthreads();
  Left q[D / 16], d_out[D / 16];
  float mean[2] = {};
  if (works) {
#pragma unroll
    for (int k = 0; k < D / 16; ++k) {
      d_out[k] = left_of<D>(second, warp * 16, 16 * k);
      Left out = left_of<D>(tiles, warp * 16, 16 * k);
      for (int i = 0; i < 4; ++i) {
        for (int e = 0; e < 2; ++e) mean[i % 2] += get(d_out[k].v[i].v[e]) * get(out.v[i].v[e]);
      }
    }
  }
  __syncthreads();
  copy_rows<64, D, THREADS>(tiles, h.head_dim, of_q);
  group_copies();
  wait_for_copies<0>();
  __syncthreads();
  float log_of[2] = {};
  if (works) {
#pragma unroll
    for (int k = 0; k < D / 16; ++k) q[k] = left_of<D>(tiles, warp * 16, 16 * k);
    for (int half = 0; half < 2; ++half) {
      mean[half] = over_row(mean[half], Add());
      int row = warp * 16 + g + 8 * half;
      u64 at = (u64)head * rows + first + row;
      if (row < tile.count) log_of[half] = log_sum[at];
      if (t == 0 && row < tile.count) means[at] = mean[half];
    }
  }
  __syncthreads();
  float d_q[D / 8][4] = {};
  int query = tile.position + warp * 16;
  int from = first_seen(h, tile, KEYS), stage = 0;
  KeyRows key_rows = {qkv + h.k(head), qkv_stride, tile, listed, from};
  KeyRows value_rows = {qkv + h.v(head), qkv_stride, tile, listed, from};
  copy_rows<KEYS, D, THREADS>(tiles, h.head_dim, key_rows);
  copy_rows<KEYS, D, THREADS>(tiles + TILE, h.head_dim, value_rows);
  group_copies();
  for (; from < tile.end(); from += KEYS, stage ^= 1) {
    Chunk *keys = tiles + 2 * TILE * stage, *values = keys + TILE, *next = tiles + 2 * TILE * (stage ^ 1);
    key_rows.from = value_rows.from = from + KEYS;
    if (from + KEYS < tile.end()) {
      copy_rows<KEYS, D, THREADS>(next, h.head_dim, key_rows);
      copy_rows<KEYS, D, THREADS>(next + TILE, h.head_dim, value_rows);
    }
    group_copies();
    wait_for_copies<1>();
    __syncthreads();
    if (works) {
      float s[KEYS / 8][4] = {}, d_p[KEYS / 8][4] = {};
#pragma unroll
      for (int k = 0; k < D / 16; ++k) {
#pragma unroll
        for (int n = 0; n < KEYS / 16; ++n) {
          multiply_add_two(s[2 * n], s[2 * n + 1], q[k], right_of_transposed<D>(keys, 16 * n, 16 * k));
          multiply_add_two(d_p[2 * n], d_p[2 * n + 1], d_out[k], right_of_transposed<D>(values, 16 * n, 16 * k));
        }
      }
      bool all = h.all_see(query, 16, from, KEYS);
      scale_scores(h, s);
#pragma unroll
      for (int n = 0; n < KEYS / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          bool seen = all || h.sees(query + g + i / 2 * 8, from + 8 * n + 2 * t + i % 2);
          float p = seen ? power_of_e(s[n][i] - log_of[i / 2]) : 0.f;
          d_p[n][i] = p * (d_p[n][i] - mean[i / 2]);
        }
      }
      through_scale(h, s, d_p);
#pragma unroll
      for (int k = 0; k < KEYS / 16; ++k) {
        Left d_s = as_left(d_p[2 * k], d_p[2 * k + 1]);
#pragma unroll
        for (int n = 0; n < D / 16; ++n) multiply_add_two(d_q[2 * n], d_q[2 * n + 1], d_s, right_of<D>(keys, 16 * k, 16 * n));
      }
    }
    __syncthreads();
  }
  wait_for_copies<0>();
  if (works) write_rows(d_q, d_qkv + first * d_qkv_stride + h.q(head), d_qkv_stride, tile.count, h.head_dim);
}

// Gradients of a tile of keys and their values through one query head, f32: keys of all query heads, then values.
template <int D>
__device__ __forceinline__ void attend_keys_by(const Heads& h, const act* qkv, u64 qkv_stride, const act* d_o, u64 d_o_stride,
                                               const float* log_sum, const float* means, float* d_kv, u64 d_kv_stride,
                                               const Keys& tile, const Visit* visits, int rows) {
  constexpr int QUERIES = 32;
  __shared__ Chunk keys[64 * (D / 8)], values[64 * (D / 8)], queries[QUERIES * (D / 8)], d_outs[QUERIES * (D / 8)];
  int head = blockIdx.y, warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  bool works = warp * 16 < tile.count;
  u64 first = tile.first;
  Rows of_keys = {qkv + first * qkv_stride + h.k(head), qkv_stride, tile.count};
  Rows of_values = {qkv + first * qkv_stride + h.v(head), qkv_stride, tile.count};
  copy_rows<64, D, THREADS>(keys, h.head_dim, of_keys);
  copy_rows<64, D, THREADS>(values, h.head_dim, of_values);
  group_copies();
  float d_k[D / 8][4] = {}, d_v[D / 8][4] = {};
  for (int number = tile.visits; number < tile.visits_end; ++number) {
    Visit visit = visits[number];
    int key = visit.key_position + warp * 16;
    for (int from = 0; from < visit.count; from += QUERIES) {
      int query = visit.position + from;
      int last = visit.position + (from + QUERIES < visit.count ? from + QUERIES : visit.count) - 1;
      bool before = last < visit.key_position;
      bool beyond = h.window > 0 && query - (visit.key_position + tile.count - 1) >= h.window;
      if (before || beyond) continue;
      u64 row = visit.first + from;
      Rows of_q = {qkv + row * qkv_stride + h.q(head), qkv_stride, visit.count - from};
      Rows of_d_o = {d_o + row * d_o_stride + h.q(head), d_o_stride, visit.count - from};
      copy_rows<QUERIES, D, THREADS>(queries, h.head_dim, of_q);
      copy_rows<QUERIES, D, THREADS>(d_outs, h.head_dim, of_d_o);
      group_copies();
      wait_for_copies<0>();
      __syncthreads();
      if (works) {
        float s[QUERIES / 8][4] = {}, d_p[QUERIES / 8][4] = {};  // (keys, queries)
#pragma unroll
        for (int k = 0; k < D / 16; ++k) {
          Left some_keys = left_of<D>(keys, warp * 16, 16 * k), some_values = left_of<D>(values, warp * 16, 16 * k);
#pragma unroll
          for (int n = 0; n < QUERIES / 16; ++n) {
            multiply_add_two(s[2 * n], s[2 * n + 1], some_keys, right_of_transposed<D>(queries, 16 * n, 16 * k));
            multiply_add_two(d_p[2 * n], d_p[2 * n + 1], some_values, right_of_transposed<D>(d_outs, 16 * n, 16 * k));
          }
        }
        bool all = from + QUERIES <= visit.count && h.all_see(query, QUERIES, key, 16);
        scale_scores(h, s);
        float p[QUERIES / 8][4];
#pragma unroll
        for (int n = 0; n < QUERIES / 8; ++n) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            int i = 8 * n + 2 * t + e;
            bool is = from + i < visit.count;
            u64 at = (u64)head * rows + row + i;
            float log_of = is ? log_sum[at] : 0.f, mean = is ? means[at] : 0.f;
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              int at_half = 2 * half + e;
              bool seen = all || (is && h.sees(query + i, key + g + 8 * half));
              p[n][at_half] = seen ? power_of_e(s[n][at_half] - log_of) : 0.f;
              d_p[n][at_half] = p[n][at_half] * (d_p[n][at_half] - mean);
            }
          }
        }
        through_scale(h, s, d_p);
#pragma unroll
        for (int k = 0; k < QUERIES / 16; ++k) {
          Left of_p = as_left(p[2 * k], p[2 * k + 1]), d_s = as_left(d_p[2 * k], d_p[2 * k + 1]);
#pragma unroll
          for (int n = 0; n < D / 16; ++n) {
            multiply_add_two(d_v[2 * n], d_v[2 * n + 1], of_p, right_of<D>(d_outs, 16 * k, 16 * n));
            multiply_add_two(d_k[2 * n], d_k[2 * n + 1], d_s, right_of<D>(queries, 16 * k, 16 * n));
          }
        }
      }
      __syncthreads();
    }
  }
  wait_for_copies<0>();
  if (!works) return;
  float* to = d_kv + first * d_kv_stride + h.q(head);
  write_rows(d_k, to, d_kv_stride, tile.count, h.head_dim);
  write_rows(d_v, to + h.heads * h.head_dim, d_kv_stride, tile.count, h.head_dim);
}

#define ATTEND(D)                                                                                                           \
  KERNEL_OF(THREADS)                                                                                                            \
  attend_##D(const act* qkv, u64 qkv_stride, act* o, u64 o_stride, float* log_sum, const int* tiles, const u32* listed,     \
             const float* sinks, int rows, HEADS) {                                                                         \
    Heads h = THESE_HEADS;                                                                                                  \
    Queries tile = reinterpret_cast<const Queries*>(tiles)[blockIdx.x];                                                     \
    attend_by<D>(h, qkv, qkv_stride, o, o_stride, log_sum, tile, listed, sinks, rows);                                      \
  }                                                                                                                         \
  KERNEL_OF(THREADS)                                                                                                            \
  attend_queries_##D(const act* qkv, u64 qkv_stride, const act* o, u64 o_stride, const act* d_o, u64 d_o_stride,            \
                     const float* log_sum, float* means, act* d_qkv, u64 d_qkv_stride, const int* tiles, const u32* listed, \
                     int rows, HEADS) {                                                                                     \
    Heads h = THESE_HEADS;                                                                                                  \
    Queries tile = reinterpret_cast<const Queries*>(tiles)[blockIdx.x];                                                     \
    attend_queries_by<D>(h, qkv, qkv_stride, o, o_stride, d_o, d_o_stride, log_sum, means, d_qkv, d_qkv_stride, tile,       \
                         listed, rows);                                                                                     \
  }                                                                                                                         \
  KERNEL_OF(THREADS)                                                                                                            \
  attend_keys_##D(const act* qkv, u64 qkv_stride, const act* d_o, u64 d_o_stride, const float* log_sum, const float* means, \
                  float* d_kv, u64 d_kv_stride, const int* tiles, const int* visits, int rows, HEADS) {                     \
    Heads h = THESE_HEADS;                                                                                                  \
    Keys tile = reinterpret_cast<const Keys*>(tiles)[blockIdx.x];                                                           \
    attend_keys_by<D>(h, qkv, qkv_stride, d_o, d_o_stride, log_sum, means, d_kv, d_kv_stride, tile,                         \
                      reinterpret_cast<const Visit*>(visits), rows);                                                        \
  }
ATTEND(64)
#ifndef ACT_F32  // more shared memory than a block may have
ATTEND(128)
#endif
