// Takes the lock of a cache item, says so, and starts to write the item without ever ending: what a trial looks like
// that is killed at the worst moment. Arguments: cache folder, item.
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "framework/trial/sweep_cache.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  aqlm_exp::trial::SweepCache cache(argv[1], uint64_t{1} << 30);
  const aqlm_exp::trial::SweepCache::Lock lock(cache, argv[2]);
  cache.store(argv[2], 100, [](const std::filesystem::path& path) {
    std::ofstream(path.string() + ".tmp-1-1") << "half of it";
    std::puts("holding");
    std::fflush(stdout);
    ::pause();
  });
  return 0;
}
