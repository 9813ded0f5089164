// Facts about the HDF5 library in use.
#pragma once

#include <string>

namespace aqlm_exp::results {

/// "1.10.8"
std::string hdf5_version();

}  // namespace aqlm_exp::results
