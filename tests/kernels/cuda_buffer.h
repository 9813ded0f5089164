// Device memory for tests: poisoned, with guard bytes behind it that must stay untouched.
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "kernels/platform/half.h"

namespace aqlm_exp::kernels {

inline bool has_hopper() {
  int count = 0, major = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0 &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0) == cudaSuccess && major == 9;
}

#define AQLM_EXP_NEEDS_HOPPER() \
  if (!aqlm_exp::kernels::has_hopper()) GTEST_SKIP() << "needs a GPU of compute capability 9.0; none is here"

class CudaBuffer {
 public:
  explicit CudaBuffer(size_t bytes) : bytes_(bytes) {
    EXPECT_EQ(cudaMalloc(&data_, bytes + kGuard), cudaSuccess);
    EXPECT_EQ(cudaMemset(data_, 0xFF, bytes + kGuard), cudaSuccess);
  }
  CudaBuffer(const void* host, size_t bytes) : CudaBuffer(bytes) {
    EXPECT_EQ(cudaMemcpy(data_, host, bytes, cudaMemcpyHostToDevice), cudaSuccess);
  }
  CudaBuffer(CudaBuffer&& other) noexcept : data_(other.data_), bytes_(other.bytes_) { other.data_ = nullptr; }
  CudaBuffer(const CudaBuffer&) = delete;
  CudaBuffer& operator=(const CudaBuffer&) = delete;
  ~CudaBuffer() { cudaFree(data_); }
  void* data() const { return data_; }

  template <typename T>
  std::vector<T> read() const {
    std::vector<unsigned char> all(bytes_ + kGuard);
    EXPECT_EQ(cudaMemcpy(all.data(), data_, all.size(), cudaMemcpyDeviceToHost), cudaSuccess);
    for (size_t i = 0; i < kGuard; ++i) EXPECT_EQ(all[bytes_ + i], 0xFF) << "written past the end";
    std::vector<T> values(bytes_ / sizeof(T));
    std::memcpy(values.data(), all.data(), values.size() * sizeof(T));
    return values;
  }

 private:
  static constexpr size_t kGuard = 256;
  void* data_ = nullptr;
  size_t bytes_;
};

inline std::vector<uint16_t> to_half(const std::vector<float>& values) {
  std::vector<uint16_t> out;
  out.reserve(values.size());
  for (float value : values) out.push_back(float_to_half(value));
  return out;
}
inline CudaBuffer half_buffer(const std::vector<float>& values) {
  const std::vector<uint16_t> half = to_half(values);
  return CudaBuffer(half.data(), half.size() * 2);
}
/// Rounds to fp16 in place, so that the reference sees what the device sees.
inline void round_to_half(std::vector<float>& values) {
  for (float& value : values) value = half_to_float(float_to_half(value));
}

}  // namespace aqlm_exp::kernels
