// Products of small tiles, by a warp together: tensor cores multiply pairs of bf16 and sum in f32. On the CPU, and in f32, the
// lanes show each other what they hold. With g = lane / 4 and t = lane % 4, a lane holds of
//   a left operand (16, 16):  rows g and g + 8 in columns 2t, 2t + 1, then the same in columns 2t + 8, 2t + 9;
//   a right operand (16, 8):  rows 2t, 2t + 1, then 2t + 8, 2t + 9 of column g;
//   a result (16, 8):         columns 2t, 2t + 1 of row g, then of row g + 8.
#if defined(__CUDA_ARCH__) && !defined(ACT_F32)
#define TENSOR_CORES
#endif

struct alignas(2 * sizeof(act)) Pair {
  act v[2];
};

__device__ __forceinline__ Pair pair(float first, float second) {
  Pair both;
#ifdef TENSOR_CORES
  asm("cvt.rn.bf16x2.f32 %0, %2, %1;" : "=r"(*reinterpret_cast<u32*>(&both)) : "f"(first), "f"(second));
#else
  set(both.v[0], first);
  set(both.v[1], second);
#endif
  return both;
}

struct Left {
  Pair v[4];
};
struct Operands {
  Left left;
  Pair right[2];
};

#ifdef ON_CPU
using fibers::Warp;
#elif !defined(TENSOR_CORES)
template <class T>
struct Warp {
  T mine;
  __device__ __forceinline__ explicit Warp(const T& mine) : mine(mine) {}
  __device__ __forceinline__ T operator[](u32 lane) const {
    T value;
    const u32* from = reinterpret_cast<const u32*>(&mine);
    u32* to = reinterpret_cast<u32*>(&value);
#pragma unroll
    for (u32 i = 0; i < sizeof(T) / 4; ++i) to[i] = __shfl_sync(0xffffffffu, from[i], lane);
    return value;
  }
};
#endif

// c += a·b
__device__ __forceinline__ void multiply_add(float (&c)[4], const Left& a, const Pair& b0, const Pair& b1) {
#ifdef TENSOR_CORES
  const u32* x = reinterpret_cast<const u32*>(&a);
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(*reinterpret_cast<const u32*>(&b0)),
        "r"(*reinterpret_cast<const u32*>(&b1)));
#else
  u32 g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  Operands mine = {a, {b0, b1}};
  Warp<Operands> all(mine);
#pragma unroll 1
  for (u32 other = 0; other < 4; ++other) {
    Operands rows = all[4 * g + other], first = all[8 * t + other], second = all[8 * t + 4 + other];
    for (int half = 0; half < 2; ++half) {
      for (int k = 0; k < 2; ++k) {
        float upper = get(rows.left.v[2 * half].v[k]), lower = get(rows.left.v[2 * half + 1].v[k]);
        float x = get(first.right[half].v[k]), y = get(second.right[half].v[k]);
        c[0] += upper * x, c[1] += upper * y, c[2] += lower * x, c[3] += lower * y;
      }
    }
  }
#endif
}

// Eight values of a row: what is copied at once.
struct alignas(16) Chunk {
  act v[8];
};

// A tile in shared memory has D columns. Its chunks are exchanged within their row, in each of eight neighbouring rows in
// another way, so that eight lanes that read a column of chunks don't wait for each other.
template <int D>
__device__ __forceinline__ Chunk* chunk_at(Chunk* tile, int row, int chunk) {
  return tile + row * (D / 8) + (chunk ^ (row & 7));
}

__device__ __forceinline__ u32 shared_address([[maybe_unused]] const void* at) {
  u32 address = 0;
#ifdef TENSOR_CORES
  asm("{\n\t.reg .u64 a;\n\tcvta.to.shared.u64 a, %1;\n\tcvt.u32.u64 %0, a;\n\t}" : "=r"(address) : "l"(at));
#endif
  return address;
}

// Copies a chunk to shared memory, zeros if there is none; it is there once `wait_for_copies` returns.
__device__ __forceinline__ void copy_chunk(Chunk* to, const act* from) {
  if (!from) {
    for (int i = 0; i < 8; ++i) set(to->v[i], 0.f);
    return;
  }
#ifdef TENSOR_CORES
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
#else
  *to = *reinterpret_cast<const Chunk*>(from);
#endif
}

// Ends a group of copies.
__device__ __forceinline__ void group_copies() {
#ifdef TENSOR_CORES
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits for all groups of copies of this thread but the last `newer`.
template <int newer>
__device__ __forceinline__ void wait_for_copies() {
#ifdef TENSOR_CORES
  asm volatile("cp.async.wait_group %0;" ::"n"(newer) : "memory");
#endif
}

// Copies ROWS rows to a tile by a block of THREADS: row(i) is where the i-th begins, or null for zeros; columns behind
// `columns` are zeros. A thread takes one column of chunks, every STEP-th row.
template <int ROWS, int D, int THREADS, class F>
__device__ __forceinline__ void copy_rows(Chunk* tile, int columns, F row) {
  constexpr int STEP = THREADS / (D / 8);
  static_assert(STEP % 8 == 0 && ROWS % STEP == 0, "chunks are exchanged alike in all rows of a thread");
  int c = threadIdx.x % (D / 8), first = threadIdx.x / (D / 8);
  bool is = c * 8 < columns;
  Chunk* to = chunk_at<D>(tile, first, c);
#pragma unroll
  for (int r = 0; r < ROWS; r += STEP) {
    const act* from = is ? row(first + r) : nullptr;
    copy_chunk(to + r * (D / 8), from ? from + c * 8 : nullptr);
  }
}

// Four matrices (8, 8) of shared memory: each lane names a row, those of the first matrix first. It gets two neighbours of
// row g of each.
__device__ __forceinline__ Left read_matrices(const Chunk* row) {
  Left to;
#ifdef TENSOR_CORES
  u32* x = reinterpret_cast<u32*>(&to);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(shared_address(row))
               : "memory");
#else
  u32 g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  Warp<const Chunk*> rows(row);
  for (u32 i = 0; i < 4; ++i) {
    const Chunk* from = rows[8 * i + g];
    for (u32 k = 0; k < 2; ++k) to.v[i].v[k] = from->v[2 * t + k];
  }
#endif
  return to;
}

// The same of the transposed matrices: two neighbours of column g.
__device__ __forceinline__ Left read_transposed(const Chunk* row) {
  Left to;
#ifdef TENSOR_CORES
  u32* x = reinterpret_cast<u32*>(&to);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(shared_address(row))
               : "memory");
#else
  u32 g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  Warp<const Chunk*> rows(row);
  for (u32 i = 0; i < 4; ++i) {
    for (u32 k = 0; k < 2; ++k) to.v[i].v[k] = rows[8 * i + 2 * t + k]->v[g];
  }
#endif
  return to;
}

// A left operand: 16 rows and columns of a tile.
template <int D>
__device__ __forceinline__ Left left_of(Chunk* tile, int row, int column) {
  int lane = threadIdx.x % 32;
  return read_matrices(chunk_at<D>(tile, row + lane % 16, column / 8 + lane / 16));
}

// Two right operands, of the transposed tile: 16 of its rows are the columns of the product, 8 for each operand, and 16 of its
// columns are summed over.
template <int D>
__device__ __forceinline__ Left right_of_transposed(Chunk* tile, int row, int column) {
  int lane = threadIdx.x % 32;
  return read_matrices(chunk_at<D>(tile, row + lane % 8 + lane / 16 * 8, column / 8 + lane / 8 % 2));
}

// Two right operands of the tile itself: 16 of its rows are summed over, and 16 of its columns are the product's.
template <int D>
__device__ __forceinline__ Left right_of(Chunk* tile, int row, int column) {
  int lane = threadIdx.x % 32;
  return read_transposed(chunk_at<D>(tile, row + lane % 16, column / 8 + lane / 16));
}

// Both products of a left operand with two right ones.
__device__ __forceinline__ void multiply_add_two(float (&c0)[4], float (&c1)[4], const Left& a, const Left& b) {
  multiply_add(c0, a, b.v[0], b.v[1]);
  multiply_add(c1, a, b.v[2], b.v[3]);
}

// Two neighbouring results (16, 8) as a left operand.
__device__ __forceinline__ Left as_left(const float (&c0)[4], const float (&c1)[4]) {
  Left to = {{pair(c0[0], c0[1]), pair(c0[2], c0[3]), pair(c1[0], c1[1]), pair(c1[2], c1[3])}};
  return to;
}

// Sum and maximum over the lanes that hold a row of a result.
template <class Op>
__device__ __forceinline__ float over_row(float value, Op op) {
  value = op(value, __shfl_xor_sync(0xffffffffu, value, 1));
  return op(value, __shfl_xor_sync(0xffffffffu, value, 2));
}
