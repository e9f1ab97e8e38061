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
