// Code search on tensors: shapes, dtypes and devices are checked here, then kernels/code_search does the work, on the
// CPU with torch's number of threads or on the tensors' GPU in its current stream.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/code_search/code_search.h"

namespace aqlm_exp::search {

using code_search::SweepKind;
using code_search::SweepSearch;

struct Nearest {
  at::Tensor index;  ///< [batches, rows] int32
  at::Tensor score;  ///< [batches, rows] float32
};

/// Can `nearest` run there? Where not (a GPU: group sizes other than 4, 8, 16; a GPU that is not of compute capability
/// 9.0, or a build without CUDA), the caller needs a form of its own.
bool nearest_supported(const at::Tensor& queries, const at::Tensor& book);
/// index[b, r] = argmin_k bias[b, k] - 2 <queries[b, r], book[k]>, lowest k on ties. All float32, on one device.
/// @param queries [batches, rows, g]
/// @param book [codewords, g]
/// @param bias [batches, codewords]; or undefined: book[k] metric[b] book[k]^T
/// @param metric [batches, g, g]; undefined beside an undefined bias: the identity, i.e. Euclidean distance
/// @throws DataError naming the tensor that does not fit, or where nearest_supported says no
Nearest nearest(const at::Tensor& queries, const at::Tensor& book, const at::Tensor& bias, const at::Tensor& metric);

struct Accumulated {
  at::Tensor sums;    ///< [codewords, g] float32
  at::Tensor counts;  ///< [codewords, batches] float32
};
/// sums[k] = sum of weights[r] values[b, r] over all b, r with index[b, r] = k; counts[k, b] = sum of weights[r] over r
/// alone. The same bits on every device and for every number of threads (fixed point). Finite values only.
/// @param index [batches, rows] int32, 0..codewords-1
/// @param values [batches, rows, g] float32
/// @param weights [rows] float32, or undefined: 1
/// @throws DataError naming the tensor that does not fit
Accumulated accumulate(const at::Tensor& index, const at::Tensor& values, const at::Tensor& weights, int64_t codewords);

/// One sweep over the groups of a layer; code_search::SweepCall says what each tensor means. All float32 unless said.
struct Sweep {
  SweepKind kind = SweepKind::kErrorFeedback;
  SweepSearch search = SweepSearch::kExact;
  int64_t candidates = 16;  ///< of kStages
  at::Tensor target;        ///< [rows, inputs], natural order of groups
  at::Tensor feedback;      ///< [inputs, inputs], visiting order
  at::Tensor metric;        ///< [groups, g, g], visiting order
  at::Tensor order;         ///< [groups] int32, or undefined: groups are visited as they lie
  at::Tensor scales;        ///< [rows]
  at::Tensor codebooks;     ///< [books, 2^nbits, g]
  at::Tensor book_order;    ///< [groups, books] int32 for kOneBook, or undefined
};

/// Can `run` do this sweep on its device? See nearest_supported; on a GPU kStages takes up to 32 candidates.
bool supported(const Sweep& sweep);
/// @param codes [rows, groups, books] int32, natural order of groups; changed in place
/// @return [rows] float32: the rows' loss, or for coordinate descent its change
/// @throws DataError naming the tensor that does not fit, or where supported() says no
at::Tensor run(const Sweep& sweep, at::Tensor& codes);

}  // namespace aqlm_exp::search
