# Writes build_info.cpp; run as a script in each build, touches the file only when something changed.
# cmake -DSOURCE_DIR=... -DOUT=... -DVERSION=... -DCOMPILER=... -DFLAGS=... -DBUILD_TYPE=... -P BuildInfo.cmake
set(commit "unknown")
set(dirty false)
set(build_id "unknown")
find_program(GIT git)
if(GIT)
  execute_process(COMMAND ${GIT} rev-parse HEAD WORKING_DIRECTORY ${SOURCE_DIR} OUTPUT_VARIABLE head
                  OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed ERROR_QUIET)
  if(NOT failed)
    set(commit ${head})
    string(SUBSTRING ${head} 0 12 build_id)
    execute_process(COMMAND ${GIT} diff HEAD WORKING_DIRECTORY ${SOURCE_DIR} OUTPUT_VARIABLE changes ERROR_QUIET)
    if(NOT changes STREQUAL "")
      set(dirty true)
      string(SHA256 hash "${changes}")
      string(SUBSTRING ${hash} 0 8 hash)
      string(APPEND build_id "+${hash}")
    endif()
  endif()
endif()
string(CONFIGURE [[
#include "framework/base/build_info.h"

namespace aqlm_exp {

const BuildInfo& build_info() {
  static const BuildInfo info{"@VERSION@", "@commit@", @dirty@, "@build_id@", "@COMPILER@", "@FLAGS@", "@BUILD_TYPE@"};
  return info;
}

}  // namespace aqlm_exp
]] text @ONLY)
set(old "")
if(EXISTS ${OUT})
  file(READ ${OUT} old)
endif()
if(NOT old STREQUAL text)
  file(WRITE ${OUT} "${text}")
endif()
