// Kernels that are wrong on purpose, on the CPU alone: what the tests expect to be reported.
KERNEL faulty_barrier(float* to) {
  if (threadIdx.x % 2 == 0) __syncthreads();
  to[threadIdx.x] = 1.f;
}
KERNEL faulty_exchange(float* to) {
  if (threadIdx.x < 7) to[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.f, 1);
}
KERNEL faulty_end(float* to, int width) {
  for (int i = threadIdx.x; i <= width; i += blockDim.x) to[i] = 1.f;
}
KERNEL faulty_shared(float* to) {
  __shared__ float never_written[64];
  to[threadIdx.x] = never_written[threadIdx.x];
}
KERNEL faulty_race(float* to) {
  __shared__ float values[64];
  values[threadIdx.x] = threadIdx.x;
  to[threadIdx.x] = values[63 - threadIdx.x];
}
