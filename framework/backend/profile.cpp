#include "framework/backend/profile.h"

#include <algorithm>

namespace aqlm_exp::backend {
namespace {

thread_local Profile* current_profile = nullptr;

}  // namespace

Profile::Profile(at::Device device) : clock_(device), outer_(current_profile) {
  current_profile = this;
  clock_.mark();
}
Profile::~Profile() { current_profile = outer_; }

Profile* Profile::current() { return current_profile; }

void Profile::end(const std::string& kernel) {
  clock_.mark();
  kernels_.push_back(kernel);
}

std::vector<Profile::Share> Profile::shares() {
  clock_.mark();
  const std::vector<double> intervals = clock_.intervals_s();  // between, kernel, between, kernel, ..., between
  std::vector<Share> rows;
  Share other{.kernel = "other"};
  double total = 0;
  for (size_t i = 0; i < intervals.size(); ++i) {
    total += intervals[i];
    if (i % 2 == 0) {
      other.seconds += intervals[i];
      continue;
    }
    const std::string& kernel = kernels_[i / 2];
    auto row = std::find_if(rows.begin(), rows.end(), [&](const Share& share) { return share.kernel == kernel; });
    if (row == rows.end()) row = rows.insert(rows.end(), Share{.kernel = kernel});
    row->calls += 1;
    row->seconds += intervals[i];
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Share& a, const Share& b) { return a.seconds > b.seconds; });
  rows.push_back(other);
  for (Share& row : rows) row.fraction = total > 0 ? row.seconds / total : 0;
  return rows;
}

}  // namespace aqlm_exp::backend
