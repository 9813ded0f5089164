// Models that tests use.
#pragma once

#include <filesystem>
#include <string>

#include "framework/model/model.h"

namespace aqlm_exp::test {

/// models/qwen2-5m of the source tree.
std::filesystem::path embedded_model();

/// A folder of the shared material unpacked under the build folder ("qwen2-17m" from models/qwen2-17m.tar.xz), or an
/// empty path where AQLM_EXP_SHARED (default: ../shared beside the source tree) has none: the test should then skip,
/// giving skip_reason().
std::filesystem::path shared_model(const std::string& name);
/// A file of the shared material ("data/novels_test.txt"), or an empty path.
std::filesystem::path shared_file(const std::string& name);
std::string skip_reason();

/// The Python that tests compare with: $AQLM_EXP_TEST_PYTHON, or what the build folder's file test-python names
/// (./bootstrap --test-tools writes it); empty where there is none or it cannot import `modules` ("aqlm,
/// transformers").
/// @param variable  asked first; tests that need other versions than the rest name one of their own
std::string test_python(const std::string& modules, const char* variable = "AQLM_EXP_TEST_PYTHON");

/// A model of two blocks with random weights: hidden 32, 4 heads / 2 kv heads, MLP 64, vocabulary 50.
model::Model tiny_model(uint64_t seed);

}  // namespace aqlm_exp::test
