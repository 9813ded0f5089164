# libtorch as an imported target, without Torch's own CMake scripts: those want nvcc whenever the wheel is a CUDA build.
# Only the CPU half is linked; framework/backend opens the CUDA half at run time when a GPU is asked for, so that a run
# on the CPU starts in 0.4 s in place of 0.75 s and does not map 2 GB of GPU code.
find_package(Python3 COMPONENTS Interpreter REQUIRED)
set(AQLM_EXP_TORCH_DIR "" CACHE PATH "Folder of the torch package (holds lib/libtorch_cpu.so); empty: ask Python")
if(NOT AQLM_EXP_TORCH_DIR)
  execute_process(
    COMMAND ${Python3_EXECUTABLE} -c
            "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
    OUTPUT_VARIABLE AQLM_EXP_TORCH_FOUND OUTPUT_STRIP_TRAILING_WHITESPACE)
  set(AQLM_EXP_TORCH_DIR "${AQLM_EXP_TORCH_FOUND}" CACHE PATH "" FORCE)
endif()
if(NOT EXISTS "${AQLM_EXP_TORCH_DIR}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "torch: got folder \"${AQLM_EXP_TORCH_DIR}\", need one with lib/libtorch_cpu.so; "
                      "run ./bootstrap, or pass -DAQLM_EXP_TORCH_DIR=<site-packages>/torch")
endif()
file(STRINGS "${AQLM_EXP_TORCH_DIR}/version.py" AQLM_EXP_TORCH_VERSION_LINE REGEX "^__version__")
string(REGEX MATCH "[0-9][^'\"]*" AQLM_EXP_TORCH_VERSION "${AQLM_EXP_TORCH_VERSION_LINE}")
message(STATUS "torch ${AQLM_EXP_TORCH_VERSION}: ${AQLM_EXP_TORCH_DIR}")

add_library(aqlm_exp_torch INTERFACE)
add_library(aqlm_exp::torch ALIAS aqlm_exp_torch)
target_include_directories(aqlm_exp_torch SYSTEM INTERFACE "${AQLM_EXP_TORCH_DIR}/include"
                           "${AQLM_EXP_TORCH_DIR}/include/torch/csrc/api/include")
target_link_libraries(aqlm_exp_torch INTERFACE "${AQLM_EXP_TORCH_DIR}/lib/libtorch_cpu.so"
                      "${AQLM_EXP_TORCH_DIR}/lib/libc10.so")
target_link_options(aqlm_exp_torch INTERFACE "LINKER:-rpath,${AQLM_EXP_TORCH_DIR}/lib")
