// A memory pool of libtorch's CUDA allocator for the tensors that a captured graph makes: they keep their addresses as
// long as the pool lives. The allocator is reached through the CUDA half of libtorch, which is opened at run time only.
#pragma once

#include <c10/core/Stream.h>

#include <memory>

namespace aqlm_exp::generate {

class GraphPool {
 public:
  /// @param stream what is allocated for this stream while a Scope is open comes from the pool
  explicit GraphPool(c10::Stream stream);
  ~GraphPool();
  GraphPool(const GraphPool&) = delete;
  GraphPool& operator=(const GraphPool&) = delete;

  class Scope {
   public:
    explicit Scope(GraphPool& pool);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    GraphPool& pool_;
  };

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace aqlm_exp::generate
