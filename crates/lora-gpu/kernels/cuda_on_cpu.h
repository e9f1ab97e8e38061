// What the kernels take from CUDA's compiler, for a C++17 one: a stand-in, so that they run in tests where there is no GPU.
//
// Threads of a block are fibers: `__syncthreads` and exchanges within a warp switch between them. Blocks run one after
// another, and one kernel at a time. It is stricter than a GPU: every barrier must be reached by all threads of its block or
// warp, shared memory is filled with NaN before each block, and the order of warps and lanes changes after each barrier, so
// that a missing one shows.
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#ifndef __x86_64__
#include <ucontext.h>
#endif

#define __device__
#define __forceinline__ inline
#define KERNEL void
#define KERNEL_OF(threads) void
#define ON_CPU
#ifdef __ELF__
#define __shared__ static __attribute__((section("on_cpu_shared")))
extern "C" char __start_on_cpu_shared[] __attribute__((visibility("hidden")));
extern "C" char __stop_on_cpu_shared[] __attribute__((visibility("hidden")));
#else
#define __shared__ static  // a block after another, so that one copy is enough
#endif

namespace {
struct Coordinates {
  unsigned x, y, z;
};
Coordinates threadIdx, blockIdx, blockDim, gridDim;

namespace fibers {
constexpr unsigned WARP = 32, MOST = 1024;
constexpr size_t STACK = 64 << 10;
constexpr unsigned CANARY = 0x5afe57ac;

#ifdef __x86_64__
// Registers that the compiler may not lose; it saves the others around `change`, which clobbers them.
struct Context {
  void *sp, *ip, *bp;
  void start(char* stack, void (*entry)()) {
    void** top = reinterpret_cast<void**>(stack + STACK) - 1;  // as if `entry` had been called
    *top = nullptr;
    sp = top, ip = reinterpret_cast<void*>(entry), bp = nullptr;
  }
};
__attribute__((noinline)) void change(Context* from, Context* to) {
  asm volatile(
      "movq %%rsp, 0(%0)\n\t"
      "leaq 1f(%%rip), %%rax\n\t"
      "movq %%rax, 8(%0)\n\t"
      "movq %%rbp, 16(%0)\n\t"
      "movq 0(%1), %%rsp\n\t"
      "movq 16(%1), %%rbp\n\t"
      "jmpq *8(%1)\n\t"
      "1:"
      : "+D"(from), "+S"(to)
      :
      : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3",
        "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc", "memory");
}
#else
struct Context {
  ucontext_t saved;
  void start(char* stack, void (*entry)()) {
    getcontext(&saved);
    saved.uc_stack.ss_sp = stack, saved.uc_stack.ss_size = STACK, saved.uc_link = nullptr;
    makecontext(&saved, entry, 0);
  }
};
void change(Context* from, Context* to) { swapcontext(&from->saved, &to->saved); }
#endif

enum State { READY, AT_BLOCK, AT_WARP, ENDED };
struct Fiber {
  Context context;
  State state;
  unsigned exchanges;
  char* stack;
};
Fiber all[MOST];
Context scheduler;
unsigned running;
bool backwards;
// What a lane shows to its warp: this exchange's values and the last one's, which some lane may not have read yet.
constexpr size_t SHOWN = 64;
unsigned char shown[2][MOST][SHOWN];
void (*body)();
char message[256];

void wait(State state) {
  Fiber& me = all[running];
  me.state = state;
  change(&me.context, &scheduler);
}

void entry() {
  body();
  wait(ENDED);
}

bool are(unsigned first, unsigned end, State state) {
  while (first < end && all[first].state == state) ++first;
  return first == end;
}

void release(unsigned first, unsigned end) {
  for (; first < end; ++first) all[first].state = READY;
  backwards = !backwards;
}

// Runs the lanes of a warp until none goes on without the other warps.
void run_warp(unsigned first) {
  for (;;) {
    for (unsigned i = 0; i < WARP; ++i) {
      running = first + (backwards ? WARP - 1 - i : i);
      if (all[running].state != READY) continue;
      threadIdx = {running, 0, 0};
      change(&scheduler, &all[running].context);
    }
    if (!are(first, first + WARP, AT_WARP)) return;
    release(first, first + WARP);
  }
}

unsigned count(State state) {
  unsigned found = 0;
  for (unsigned i = 0; i < blockDim.x; ++i) found += all[i].state == state;
  return found;
}

bool prepare() {
#ifdef __ELF__
  std::memset(__start_on_cpu_shared, 0xff, size_t(__stop_on_cpu_shared - __start_on_cpu_shared));
#endif
  for (unsigned i = 0; i < blockDim.x; ++i) {
    Fiber& fiber = all[i];
    if (!fiber.stack && !(fiber.stack = static_cast<char*>(std::malloc(STACK)))) return false;
    std::memcpy(fiber.stack, &CANARY, sizeof CANARY);
    fiber.context.start(fiber.stack, entry);
    fiber.state = READY;
    fiber.exchanges = 0;
  }
  return true;
}

// Runs all threads of a block to their end; what is wrong if they can't get there.
const char* run_block() {
  if (!prepare()) return "there is no memory for its threads";
  for (;;) {
    const bool from_the_last = backwards;
    for (unsigned i = 0, warps = blockDim.x / WARP; i < warps; ++i) run_warp((from_the_last ? warps - 1 - i : i) * WARP);
    if (are(0, blockDim.x, ENDED)) break;
    if (!are(0, blockDim.x, AT_BLOCK)) {
      std::snprintf(message, sizeof message,
                    "threads of block (%u, %u, %u) wait for each other in vain: of %u, %u are at __syncthreads, %u at an "
                    "exchange within their warp, %u have ended",
                    blockIdx.x, blockIdx.y, blockIdx.z, blockDim.x, count(AT_BLOCK), count(AT_WARP), count(ENDED));
      return message;
    }
    release(0, blockDim.x);
  }
  for (unsigned i = 0; i < blockDim.x; ++i) {
    if (std::memcmp(all[i].stack, &CANARY, sizeof CANARY)) return "a thread needs more stack than there is";
  }
  return nullptr;
}

// What the lanes of a warp show to each other: to be read before the next exchange.
template <class T>
struct Warp {
  static_assert(sizeof(T) <= SHOWN, "values of a few registers");
  unsigned char (*values)[SHOWN];
  explicit Warp(const T& mine) {
    unsigned me = running;
    auto& all_shown = shown[all[me].exchanges++ % 2];
    std::memcpy(all_shown[me], &mine, sizeof(T));
    wait(AT_WARP);
    values = all_shown + me / WARP * WARP;
  }
  T operator[](unsigned lane) const {
    T value;
    std::memcpy(&value, values[lane % WARP], sizeof(T));
    return value;
  }
};

// A kernel's parameters, a letter each, as the host says them: p an address, i int, l unsigned long long, f float.
template <class T>
struct Letter;
template <class T>
struct Letter<T*> {
  static constexpr char is = 'p';
};
template <>
struct Letter<int> {
  static constexpr char is = 'i';
};
template <>
struct Letter<unsigned long long> {
  static constexpr char is = 'l';
};
template <>
struct Letter<float> {
  static constexpr char is = 'f';
};

template <class... A, size_t... I>
void call(void (*kernel)(A...), void** args, std::index_sequence<I...>) {
  kernel(*static_cast<A*>(args[I])...);
}

template <class... A>
const char* launch(void (*kernel)(A...), const unsigned* blocks, unsigned threads, const char* letters, void** args) {
  static const char expected[] = {Letter<A>::is..., 0};
  if (std::strcmp(expected, letters)) {
    std::snprintf(message, sizeof message, "it takes arguments %s, not %s", expected, letters);
    return message;
  }
  if (threads == 0 || threads > MOST || threads % WARP) return "blocks must be of whole warps, 1024 threads at most";
  static void (*bound)(A...);
  static void** bound_args;
  bound = kernel, bound_args = args;
  body = [] { call(bound, bound_args, std::index_sequence_for<A...>{}); };
  gridDim = {blocks[0], blocks[1], blocks[2]};
  blockDim = {threads, 1, 1};
  for (unsigned z = 0; z < blocks[2]; ++z) {
    for (unsigned y = 0; y < blocks[1]; ++y) {
      for (unsigned x = 0; x < blocks[0]; ++x) {
        blockIdx = {x, y, z};
        if (const char* wrong = run_block()) return wrong;
      }
    }
  }
  return nullptr;
}

// The entry of a kernel in the table that the host sees.
template <auto kernel>
const char* run(const unsigned* blocks, unsigned threads, const char* letters, void** args) {
  return launch(kernel, blocks, threads, letters, args);
}
}  // namespace fibers

inline void __syncthreads() { fibers::wait(fibers::AT_BLOCK); }
template <class T>
T __shfl_xor_sync(unsigned, T value, int lanes) {
  return fibers::Warp<T>(value)[fibers::running % fibers::WARP ^ unsigned(lanes)];
}
inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
}  // namespace

// A line of the table: a kernel's name and its entry.
struct OnCpuKernel {
  const char* name;
  const char* (*run)(const unsigned*, unsigned, const char*, void**);
};
