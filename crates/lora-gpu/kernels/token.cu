// One more token of each text: a state in f32 decays, takes up what is written and is read, in place and in one go. A block
// takes 32 columns of a state, its eight warps every eighth row; their sums are added in order.
constexpr int STATE_WARPS = 8;
// Rows of a state that a thread holds of a head of the delta rule.
constexpr int HELD = 32;

// Σ of the warps' sums of each column, which the first warp gets.
__device__ __forceinline__ float column_sum(float value, float (*parts)[32]) {
  u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  parts[warp][lane] = value;
  __syncthreads();
  float sum = parts[0][lane];
  for (int i = 1; i < STATE_WARPS; ++i) sum += parts[i][lane];
  return sum;
}

// The gated delta rule: S ← e^g·S, w = β·(v − Sᵀk), S ← S + k·wᵀ, o = Sᵀq, of which the old state's part is read together
// with Sᵀk. At most 256 values of a key.
KERNEL_OF(256) delta_token(const act* mixed, u64 stride, const act* a, u64 a_stride, const act* b, u64 b_stride,
                           const float* a_log, const float* dt_bias, const u32* rows, const u32* texts, float* states, act* o,
                           u64 o_stride, int key_heads, int heads, int width, int values) {
  __shared__ float sides[2][STATE_WARPS * HELD], parts[2][STATE_WARPS][32];
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, head = blockIdx.y, j = blockIdx.z * 32 + lane;
  bool is = j < values, is_key = (int)threadIdx.x < width;
  u64 row = part(rows, blockIdx.x).first, key_head = head / (heads / key_heads), text = texts[blockIdx.x];
  float unit[2];
  for (int side = 0; side < 2; ++side) {
    float x = is_key ? get(mixed[row * stride + (side * key_heads + key_head) * width + threadIdx.x]) : 0.f;
    float inverse = rsqrtf(block_sum(x * x) + LENGTH_EPS);
    unit[side] = x * (side ? inverse : inverse * rsqrtf((float)width));
    sides[side][threadIdx.x] = unit[side];
  }
  float along = block_sum(unit[0] * unit[1]);
  float left = expf(-expf(a_log[head]) * softplus(get(a[row * a_stride + head]) + dt_bias[head]));
  float beta = sigmoid(get(b[row * b_stride + head]));
  float *state = states + (text * heads + head) * width * values + j, s[HELD], found = 0.f, known = 0.f;
#pragma unroll
  for (int e = 0; e < HELD; ++e) {
    int i = warp + STATE_WARPS * e;
    s[e] = is && i < width ? left * state[(u64)i * values] : 0.f;
    found += sides[0][i] * s[e];
    known += sides[1][i] * s[e];
  }
  found = column_sum(found, parts[0]);
  known = column_sum(known, parts[1]);
  if (!is) return;
  float v = get(mixed[row * stride + 2 * (u64)key_heads * width + (u64)head * values + j]), written = beta * (v - known);
#pragma unroll
  for (int e = 0; e < HELD; ++e) {
    int i = warp + STATE_WARPS * e;
    if (i < width) state[(u64)i * values] = s[e] + sides[1][i] * written;
  }
  if (warp == 0) set(o[row * o_stride + (u64)head * values + j], found + along * written);
}

// Mamba-2's rule: S ← e^(Δ·A)·S + B·(Δ·x)ᵀ, y = Sᵀ·C + d·x. `texts` has every third number: those of segments.
KERNEL_OF(256) ssd_token(const act* mixed, u64 stride, const act* dt, u64 dt_stride, const float* a_log, const float* dt_bias,
                         const float* skip, float least, float most, const u32* rows, const u32* segments, float* states,
                         act* y, u64 y_stride, int heads, int groups, int width, int size) {
  __shared__ float parts[STATE_WARPS][32];
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, columns = heads * width, column = blockIdx.y * 32 + lane;
  bool is = column < columns;
  int head = is ? column / width : 0, group = head / (heads / groups);
  u64 row = part(rows, blockIdx.x).first, text = reinterpret_cast<const ChunksOf*>(segments)[blockIdx.x].text;
  const act *own = mixed + row * stride, *b = own + columns + group * size, *c = b + groups * size;
  float step = softplus(get(dt[row * dt_stride + head]) + dt_bias[head]);
  step = step < least ? least : step;
  step = step > most ? most : step;
  float left = expf(-expf(a_log[head]) * step), x = is ? get(own[column]) : 0.f, found = 0.f;
  float* state = states + text * size * columns + column;
  for (int i = warp; is && i < size; i += STATE_WARPS) {
    float s = left * state[(u64)i * columns] + get(b[i]) * (step * x);
    state[(u64)i * columns] = s;
    found += get(c[i]) * s;
  }
  found = column_sum(found, parts);
  if (is && warp == 0) set(y[row * y_stride + column], found + skip[head] * x);
}
