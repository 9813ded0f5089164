// Processor time of this process: what a bound on an algorithm means, however busy the machine is.
#pragma once

#include <ctime>

namespace aqlm_exp::text {

class CpuStopwatch {
 public:
  double elapsed_s() const { return static_cast<double>(std::clock() - start_) / CLOCKS_PER_SEC; }

 private:
  std::clock_t start_ = std::clock();
};

}  // namespace aqlm_exp::text
