// A CPU workspace for tests: poisoned, with guard bytes behind it.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace aqlm_exp::code_search {

class Workspace {
 public:
  explicit Workspace(int64_t bytes)
      : bytes_(static_cast<size_t>(bytes)),
        data_(static_cast<unsigned char*>(std::aligned_alloc(64, (bytes_ + 127) / 64 * 64)), std::free) {
    std::memset(data_.get(), 0xFF, bytes_ + 64);
  }
  void* data() const { return data_.get(); }
  void expect_guard_intact() const {
    for (size_t i = bytes_; i < bytes_ + 64; ++i) ASSERT_EQ(data_.get()[i], 0xFF) << "written past the workspace";
  }

 private:
  size_t bytes_;
  std::unique_ptr<unsigned char, void (*)(void*)> data_;
};

}  // namespace aqlm_exp::code_search
