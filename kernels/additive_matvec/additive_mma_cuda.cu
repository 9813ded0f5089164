// Designs B and C1 of design/performance.md sections 1.6 and 1.7: codewords are tensor-core fragments as they lie in
// memory (kernels/platform/mma_tiles.cuh), so one read of a codeword serves up to 32 tokens.
//   PackedWords  Kx8: codewords from shared memory. Eight copies of each codebook, one per 16-byte bank group, make the
//                random LDS.128 free of conflicts (7.9 of 8 a clock and SM, gate.md section 4).
//   GatherWords  1x9 to 1x16: codewords by plain cached loads. Up to 128 KiB of codebook lives in L1 (660 G codes/s on
//   an
//                H200), 1 MiB in L2 (167 G/s whatever is tried: gate.md section 2), at a cost that hardly depends on
//                batch.
#include "kernels/additive_matvec/additive_cuda.h"
#include "kernels/platform/mma_tiles.cuh"

namespace aqlm_exp::additive_matvec {
namespace {

using kernels::Status;
namespace mma = kernels::mma;

/// Two k16 steps of a 16-row tile: `low` is rows 2r, `high` rows 2r + 1, eight weights each.
__device__ __forceinline__ void multiply_octet(float (&acc)[4], const uint4& low, const uint4& high, const uint4& x) {
  kernels::mma_16816(acc, low.x, high.x, low.y, high.y, x.x, x.y);
  kernels::mma_16816(acc, low.z, high.z, low.w, high.w, x.z, x.w);
}

__device__ __forceinline__ uint32_t add_pair(uint32_t a, uint32_t b) {
  const __half2 sum = __hadd2(*reinterpret_cast<const __half2*>(&a), *reinterpret_cast<const __half2*>(&b));
  return *reinterpret_cast<const uint32_t*>(&sum);
}
__device__ __forceinline__ uint4 add_halves(const uint4& a, const uint4& b) {
  return make_uint4(add_pair(a.x, b.x), add_pair(a.y, b.y), add_pair(a.z, b.z), add_pair(a.w, b.w));
}

template <int Books>
struct PackedWords {
  static_assert(Books == 1 || Books % 2 == 0);
  static constexpr int kParts = 1, kTogether = Books <= 2 ? 2 : 1, kGather = 16;
  static constexpr int kUnits = Books == 1 ? 1 : Books / 2;   // per block of 32 groups
  static constexpr int kTables = Books == 1 ? 1 : Books / 2;  // of 64 KiB: [entry][slot][copy 0..7] codewords
  struct Weights {
    const unsigned char* codes;
    const __half* codebooks;
    int64_t unit_bytes;
    int entries;
  };
  struct Codes {
    uint32_t words[kUnits][8];  // rows 2r, 2r + 1 x two slots
    int slot;                   // one codebook only: the slot that holds this block
  };
  __host__ __device__ static int64_t shared_bytes(const Weights&) { return int64_t{kTables} * 65536; }
  __device__ static constexpr int octet(int s, int t) { return 4 * s + t; }

  __device__ PackedWords(const Weights& weights, unsigned char* shared, int lane)
      : w(weights),
        table(shared),
        base(kernels::shared_address(shared)),
        row(lane >> 2),
        quad(lane & 3),
        copy(static_cast<uint32_t>(lane & 7) * 16) {}

  /// Codewords on their way to the table: they are asked for before the first codes, behind which they would arrive.
  template <int Threads>
  struct Setup {
    uint4 words[(Books * 256 + Threads - 1) / Threads];
  };
  template <int Threads>
  __device__ void begin(Setup<Threads>& setup) const {
#pragma unroll
    for (int k = 0; k < (Books * 256 + Threads - 1) / Threads; ++k) {
      const int i = static_cast<int>(threadIdx.x) + k * Threads, entry = i & 255, book = i >> 8;
      setup.words[k] = book < Books && entry < w.entries
                           ? kernels::load_stream16(w.codebooks + (book * w.entries + entry) * 8)
                           : make_uint4(0, 0, 0, 0);
    }
  }
  /// A thread stores the eight copies of its codewords; the order is turned by lane, so that the eight lanes of a store
  /// phase meet eight bank groups.
  template <int Threads>
  __device__ void finish(const Setup<Threads>& setup) const {
#pragma unroll
    for (int k = 0; k < (Books * 256 + Threads - 1) / Threads; ++k) {
      const int i = static_cast<int>(threadIdx.x) + k * Threads, entry = i & 255, book = i >> 8;
      if (book >= Books) continue;
      unsigned char* to = table + (book >> 1) * 65536 + entry * 256 + (book & 1) * 128;
#pragma unroll
      for (int copy_at = 0; copy_at < 8; ++copy_at)
        *reinterpret_cast<uint4*>(to + ((copy_at + i) & 7) * 16) = setup.words[k];
    }
  }
  __device__ void fetch(Codes& codes, int tile, int block, int, int blocks) const {
    if constexpr (Books == 1) codes.slot = block & 1;
    const int unit = Books == 1 ? block >> 1 : block * kUnits;
    const unsigned char* from =
        w.codes + unit * w.unit_bytes + int64_t{tile} * 1024 + (row >> 2) * 512 + quad * 16 + (row & 3) * 4;
#pragma unroll
    for (int u = 0; u < kUnits; ++u)
#pragma unroll
      for (int s = 0; s < 8; ++s)
        codes.words[u][s] = block < blocks ? kernels::load_stream4(from + u * w.unit_bytes + s * 64) : 0U;
  }
  /// From 9 tokens on the two codewords of a slot pair are added in fp16 first, which halves the products; the sum is
  /// rounded to 2^-12 of itself then, as the reference's kernels do at every batch.
  template <int Tiles8, int N, int Used, class X>
  __device__ void multiply(const Codes (&codes)[N], X&& x, float (&acc)[N][Tiles8][4]) const {
    constexpr int kSlots = Books == 1 ? 1 : 2;
    constexpr bool kAdd = Tiles8 > 1 && kSlots == 2;
#pragma unroll
    for (int s = 0; s < 8; ++s)
#pragma unroll
      for (int u = 0; u < kUnits; ++u) {
        uint4 low[Used][kSlots], high[Used][kSlots];
#pragma unroll
        for (int k = 0; k < Used; ++k) {
          const uint32_t word = Books == 1 && codes[k].slot ? codes[k].words[u][s] >> 8 : codes[k].words[u][s];
#pragma unroll
          for (int slot = 0; slot < kSlots; ++slot) {
            const uint32_t at = base + u * 65536 + slot * 128;
            // copy in byte 0, the code in byte 1
            low[k][slot] = kernels::load_shared16(at + __byte_perm(word, copy, 0x6604 | (slot << 4)));
            high[k][slot] = kernels::load_shared16(at + __byte_perm(word, copy, 0x6604 | ((slot + 2) << 4)));
          }
        }
        if constexpr (kAdd) {
#pragma unroll
          for (int k = 0; k < Used; ++k) {
            low[k][0] = add_halves(low[k][0], low[k][kSlots - 1]);
            high[k][0] = add_halves(high[k][0], high[k][kSlots - 1]);
          }
        }
#pragma unroll
        for (int slot = 0; slot < (kAdd ? 1 : kSlots); ++slot)
#pragma unroll
          for (int n = 0; n < Tiles8; ++n)
#pragma unroll
            for (int k = 0; k < Used; ++k) multiply_octet(acc[k][n], low[k][slot], high[k][slot], x(s, 0, n));
      }
  }

  const Weights& w;
  unsigned char* table;
  uint32_t base;
  int row, quad;
  uint32_t copy;
};

template <int Books, int Parts>
struct GatherWords {
  static constexpr int kParts = Parts, kTogether = 1, kGather = 1;  // what is not shared memory is L1
  struct Weights {
    const uint16_t* codes;  // [rows][groups][Books]
    const __half* codebooks;
    int64_t rows, groups;
    int nbits;
  };
  struct Codes {
    uint32_t words[2][4 * Books];  // rows 2r and 2r + 1, eight groups
  };
  __host__ __device__ static int64_t shared_bytes(const Weights&) { return 0; }
  __device__ static constexpr int octet(int s, int t) { return 8 * t + s; }

  __device__ GatherWords(const Weights& weights, unsigned char*, int lane)
      : w(weights), row(lane >> 2), quad(lane & 3), mask((1U << weights.nbits) - 1U) {}
  template <int Threads>
  struct Setup {};
  template <int Threads>
  __device__ void begin(Setup<Threads>&) const {}
  template <int Threads>
  __device__ void finish(const Setup<Threads>&) const {}
  __device__ void fetch(Codes& codes, int tile, int block, int, int) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t at = int64_t{tile} * 16 + 2 * row + i, group = int64_t{block} * 32 + 8 * quad;
      const uint16_t* from = w.codes + (at * w.groups + group) * Books;
      const bool inside = at < w.rows && group < w.groups;
      if (w.groups % 8 == 0) {
#pragma unroll
        for (int k = 0; k < Books; ++k) {
          const uint4 v = inside ? kernels::load_stream16(from + k * 8) : make_uint4(0, 0, 0, 0);
          codes.words[i][4 * k] = v.x, codes.words[i][4 * k + 1] = v.y;
          codes.words[i][4 * k + 2] = v.z, codes.words[i][4 * k + 3] = v.w;
        }
      } else {  // rows are not 16-byte aligned
#pragma unroll
        for (int k = 0; k < 4 * Books; ++k) {
          const int64_t left = inside ? (w.groups - group) * Books - 2 * k : 0;
          const uint32_t a = left > 0 ? __ldg(from + 2 * k) : 0U, b = left > 1 ? __ldg(from + 2 * k + 1) : 0U;
          codes.words[i][k] = a | b << 16;
        }
      }
    }
  }
  __device__ uint4 word(const uint32_t (&row_codes)[4 * Books], int index, int book, int part) const {
    const uint32_t pair = row_codes[index >> 1];
    const uint32_t code = (index & 1 ? pair >> 16 : pair) & mask;
    return kernels::load_table16(w.codebooks + (((static_cast<uint32_t>(book) << w.nbits) + code) * Parts + part) * 8);
  }
  template <int Tiles8, int N, int Used, class X>
  __device__ void multiply(const Codes (&codes)[N], X&& x, float (&acc)[N][Tiles8][4]) const {
#pragma unroll
    for (int s = 0; s < 8; ++s)
#pragma unroll
      for (int m = 0; m < Books; ++m)
#pragma unroll
        for (int part = 0; part < Parts; ++part) {
          const uint4 low = word(codes[0].words[0], s * Books + m, m, part);
          const uint4 high = word(codes[0].words[1], s * Books + m, m, part);
#pragma unroll
          for (int n = 0; n < Tiles8; ++n) multiply_octet(acc[0][n], low, high, x(s, part, n));
        }
  }

  const Weights& w;
  int row, quad;
  uint32_t mask;
};

/// The tokens [done, done + count) of a call.
template <class Common>
void set_call(Common& common, const AdditiveShape& shape, const AdditiveCudaCall& call, int64_t done, int64_t count) {
  common.x = static_cast<const __half*>(call.x) + done * shape.in_features;
  common.out.scales = static_cast<const __half*>(call.scales);
  common.out.bias = static_cast<const __half*>(call.bias);
  common.out.residual = call.residual ? static_cast<const __half*>(call.residual) + done * shape.out_features : nullptr;
  common.out.y = static_cast<__half*>(call.y) + done * shape.out_features;
  common.rows = shape.out_features;
  common.in_features = shape.in_features;
  common.batch = static_cast<int>(count);
}

template <int Books>
Status run_packed(const AdditiveShape& shape, const AdditiveCudaCall& call) {
  using Decoder = PackedWords<Books>;
  const auto stream = static_cast<cudaStream_t>(call.stream);
  for (int64_t done = 0; done < call.batch; done += 32) {
    const int64_t count = call.batch - done < 32 ? call.batch - done : 32;
    mma::Params<Decoder> p{};
    set_call(p.common, shape, call, done, count);
    p.weights = {static_cast<const unsigned char*>(call.codes), static_cast<const __half*>(call.codebooks),
                 (shape.out_features + 15) / 16 * 1024, static_cast<int>(shape.codebook_size())};
    Status status;
    if (count <= 8)
      status = mma::run<Decoder, 1, 16, 1, true, 1>(p, call.programmatic, stream);
    else if (count <= 16 && Books == 2)
      // Half the warps with twice the inputs: 16 of them have too few registers for x (16.2 against 18.4 us, 2x8, b16,
      // 14336x4096, H200). Up to 8 tokens it is the other way round (14.2 against 13.6).
      status = mma::run < Decoder, 2, Books == 2 ? 8 : 16, Books == 2 ? 2 : 1, true, 1 > (p, call.programmatic, stream);
    else if (count <= 16)
      status = mma::run<Decoder, 2, 16, 1, true, 1>(p, call.programmatic, stream);
    else
      status = mma::run<Decoder, 4, 8, 1, true, 1>(p, call.programmatic, stream);
    if (status != Status::kOk) return status;
  }
  return Status::kOk;
}

template <int Books, int Parts>
Status run_gather(const AdditiveShape& shape, const AdditiveCudaCall& call) {
  using Decoder = GatherWords<Books, Parts>;
  const auto stream = static_cast<cudaStream_t>(call.stream);
  for (int64_t done = 0; done < call.batch; done += 32) {
    const int64_t count = call.batch - done < 32 ? call.batch - done : 32;
    mma::Params<Decoder> p{};
    set_call(p.common, shape, call, done, count);
    p.weights = {static_cast<const uint16_t*>(call.codes), static_cast<const __half*>(call.codebooks),
                 shape.out_features, shape.num_in_groups(), shape.nbits_per_codebook};
    Status status;
    if constexpr (Parts == 1) {
      if (count <= 8)
        status = mma::run<Decoder, 1, 8, 2, true, 1>(p, call.programmatic, stream);
      else if (count <= 16)
        status = mma::run<Decoder, 2, 8, 2, true, 1>(p, call.programmatic, stream);
      else
        status = mma::run<Decoder, 4, 8, 1, true, 1>(p, call.programmatic, stream);
    } else {
      if (count <= 8)
        status = mma::run<Decoder, 1, 8, 1, true, 1>(p, call.programmatic, stream);
      else if (count <= 16)
        status = mma::run<Decoder, 2, 8, 1, true, 1>(p, call.programmatic, stream);
      else
        status = mma::run<Decoder, 4, 4, 1, false, 1>(p, call.programmatic, stream);
    }
    if (status != Status::kOk) return status;
  }
  return Status::kOk;
}

constexpr int64_t kMaxBatch = 64;

}  // namespace

Status additive_mma_cuda_supports(const AdditiveShape& shape, int64_t batch) noexcept {
  const int books = shape.num_codebooks;
  const bool ok = shape.valid() && shape.nbits_per_codebook <= 8 && shape.out_group_size == 1 &&
                  shape.scale_groups == 1 && shape.in_group_size == 8 && (books == 1 || books == 2 || books == 4) &&
                  batch >= 1 && batch <= kMaxBatch;
  return ok ? Status::kOk : Status::kUnsupportedShape;
}

Status additive_mma_cuda_f16(const AdditiveShape& shape, const AdditiveCudaCall& call) noexcept {
  const Status status = additive_mma_cuda_supports(shape, call.batch);
  if (status != Status::kOk) return status;
  return shape.num_codebooks == 1   ? run_packed<1>(shape, call)
         : shape.num_codebooks == 2 ? run_packed<2>(shape, call)
                                    : run_packed<4>(shape, call);
}

Status additive_gather_cuda_supports(const AdditiveShape& shape, int64_t batch) noexcept {
  const bool ok = shape.valid() && shape.nbits_per_codebook >= 9 && shape.out_group_size == 1 &&
                  shape.scale_groups == 1 && (shape.in_group_size == 8 || shape.in_group_size == 16) &&
                  shape.num_codebooks <= 2 && batch >= 1 && batch <= kMaxBatch;
  return ok ? Status::kOk : Status::kUnsupportedShape;
}

Status additive_gather_cuda_f16(const AdditiveShape& shape, const AdditiveCudaCall& call) noexcept {
  const Status status = additive_gather_cuda_supports(shape, call.batch);
  if (status != Status::kOk) return status;
  if (shape.num_codebooks == 1)
    return shape.in_group_size == 8 ? run_gather<1, 1>(shape, call) : run_gather<1, 2>(shape, call);
  return shape.in_group_size == 8 ? run_gather<2, 1>(shape, call) : run_gather<2, 2>(shape, call);
}

}  // namespace aqlm_exp::additive_matvec
