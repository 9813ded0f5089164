#include "framework/trial/kernel_tables.h"

#include <gtest/gtest.h>

#include <map>

namespace aqlm_exp::trial {
namespace {

std::map<std::string, results::Value> as_map(const results::KeyValues& values) {
  std::map<std::string, results::Value> out;
  for (const auto& [key, value] : values) EXPECT_TRUE(out.emplace(key, value).second) << key;
  return out;
}

backend::Candidate candidate(const std::string& name, const std::string& verdict, double time_us) {
  backend::Candidate out;
  out.name = name;
  out.verdict = verdict;
  out.time_us = time_us;
  out.rel_error = 1e-4;
  out.resident_bytes = verdict.starts_with("backend") ? 0 : 100;
  return out;
}

TEST(KernelTables, NameWinnersLosersAndRefusals) {
  backend::Choice choice;
  choice.format = "aqlm 2x8 g8";
  choice.out_features = 512, choice.in_features = 256, choice.num_layers = 7, choice.tolerance = 2e-3;
  choice.dtype = "Float";
  choice.candidates = {candidate("cpu_lut/cpu_lut_avx2", "chosen", 12.5), candidate("dequantise", "slower", 300),
                       candidate("cpu_generic", "inexact", 0), candidate("cuda", "backend cuda needs a GPU", 0)};
  results::TrialRecord record;
  file_choices(record, {choice});
  const auto found = as_map(record.provenance);
  const std::string at = "kernels/aqlm_2x8_g8_512x256_b1/";
  EXPECT_EQ(std::get<std::string>(found.at(at + "chosen")), "cpu_lut/cpu_lut_avx2");
  EXPECT_EQ(std::get<int64_t>(found.at(at + "num_layers")), 7);
  EXPECT_EQ(std::get<double>(found.at(at + "cpu_lut_avx2/time_us")), 12.5);
  EXPECT_EQ(std::get<std::string>(found.at(at + "dequantise/verdict")), "slower");
  EXPECT_EQ(std::get<double>(found.at(at + "cpu_generic/rel_error")), 1e-4);
  EXPECT_FALSE(found.contains(at + "cpu_generic/time_us"));  // thrown out before it was timed
  EXPECT_EQ(std::get<std::string>(found.at(at + "cuda/verdict")), "backend cuda needs a GPU");
  EXPECT_FALSE(found.contains(at + "cuda/rel_error"));
}

TEST(KernelTables, GiveEachKernelItsShareOfTheTime) {
  results::TrialRecord record;
  file_shares(record, {{"cpu_lut_avx2", 8, 0.75, 0.75}, {"other", 0, 0.25, 0.25}});
  const auto found = as_map(record.timing);
  EXPECT_EQ(std::get<double>(found.at("kernels/cpu_lut_avx2/share")), 0.75);
  EXPECT_EQ(std::get<int64_t>(found.at("kernels/cpu_lut_avx2/calls")), 8);
  EXPECT_EQ(std::get<double>(found.at("kernels/other/seconds")), 0.25);
}

}  // namespace
}  // namespace aqlm_exp::trial
