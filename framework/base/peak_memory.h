// The most memory this process held resident, in all and since a moment.
#pragma once

#include <cstdint>

namespace aqlm_exp {

/// Largest resident size of the process since its start, in bytes. Correct also after restart_host_peak().
int64_t host_peak_bytes();
/// Resident size now, in bytes.
int64_t host_resident_bytes();

/// Starts a new measurement: host_peak_since_restart_bytes() then counts from the present size.
/// @return false where the kernel does not allow it (/proc/self/clear_refs): peaks then count from the start
bool restart_host_peak();
int64_t host_peak_since_restart_bytes();

}  // namespace aqlm_exp
