/* LD_PRELOAD: fsync answers EIO, once for each process, for files whose path holds $AQLM_EXP_FAIL_FSYNC. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int fsync(int fd) {
  static int done = 0;
  const char* part = getenv("AQLM_EXP_FAIL_FSYNC");
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(link, path, sizeof path - 1);
  path[size > 0 ? size : 0] = '\0';
  if (!done && part != NULL && strstr(path, part) != NULL) {
    done = 1;
    errno = EIO;
    return -1;
  }
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  return real(fd);
}
