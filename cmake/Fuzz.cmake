# aqlm_exp_fuzz(name SRCS name_fuzz.cpp DEPS ... [SLOW]): a fuzz target, i.e. a source that defines LLVMFuzzerTestOneInput.
# Always: the ctest entry fuzz_<name>, which replays tests/fuzz/corpus/<name>/ and some thousand fixed mutations of it.
# With -DAQLM_EXP_FUZZ=ON under clang: the libFuzzer program <name>_fuzz, everything built with ASan and UBSan, and held
# to the memory rule by tests/fuzz/heap_rule.cpp:
#   cmake -S . -B build-fuzz -G Ninja -DAQLM_EXP_FUZZ=ON -DAQLM_EXP_CUDA=OFF -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++
#   build-fuzz/safetensors_fuzz -max_total_time=1800 work tests/fuzz/corpus/safetensors
if(AQLM_EXP_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "AQLM_EXP_FUZZ: got compiler ${CMAKE_CXX_COMPILER_ID}, libFuzzer needs clang; "
                        "add -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g)
  add_link_options(-fsanitize=address,undefined)
endif()

# The libFuzzer program of sources that define LLVMFuzzerTestOneInput: tests/fuzz/heap_rule.cpp stands in front of it.
function(aqlm_exp_libfuzzer program)
  if(NOT TARGET aqlm_exp_heap_rule)
    add_library(aqlm_exp_heap_rule OBJECT ${PROJECT_SOURCE_DIR}/tests/fuzz/heap_rule.cpp)
    aqlm_exp_configure(aqlm_exp_heap_rule)
  endif()
  add_executable(${program} ${ARGN} $<TARGET_OBJECTS:aqlm_exp_heap_rule>)
  aqlm_exp_configure(${program})
  target_compile_definitions(${program} PRIVATE AQLM_EXP_LIBFUZZER LLVMFuzzerTestOneInput=aqlm_exp_fuzz_target)
  target_link_options(${program} PRIVATE -fsanitize=fuzzer)
endfunction()

function(aqlm_exp_fuzz name)
  cmake_parse_arguments(ARG "SLOW" "" "SRCS;DEPS" ${ARGN})
  if(NOT BUILD_TESTING)
    return()
  endif()
  set(corpus ${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${name})
  if(ARG_SLOW)
    aqlm_exp_test(fuzz_${name} SRCS ${ARG_SRCS} ${PROJECT_SOURCE_DIR}/tests/fuzz/replay.cpp DEPS ${ARG_DEPS} SLOW)
  else()
    aqlm_exp_test(fuzz_${name} SRCS ${ARG_SRCS} ${PROJECT_SOURCE_DIR}/tests/fuzz/replay.cpp DEPS ${ARG_DEPS})
  endif()
  target_compile_definitions(fuzz_${name}_test PRIVATE AQLM_EXP_CORPUS="${corpus}")
  if(AQLM_EXP_FUZZ)
    aqlm_exp_libfuzzer(${name}_fuzz ${ARG_SRCS})
    target_link_libraries(${name}_fuzz PRIVATE ${ARG_DEPS})
  endif()
endfunction()
