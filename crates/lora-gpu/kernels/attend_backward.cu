// The way back of attention whose scores are never in memory, from a tile of queries and from one of keys.

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
