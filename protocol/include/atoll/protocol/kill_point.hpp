// Named points at which a test can kill the process.
//
// Client and broker name a point at each store that others can see: ATOLL_KILL_POINT("send.commit.before").
// Compiled in only with ATOLL_KILL_POINTS; then the environment variable ATOLL_KILL_AT=NAME:N makes
// the N-th passage of that point (1 = first) raise SIGKILL, and ATOLL_KILL_LIST=FILE appends the name
// of every point at its first passage, so that a test can see that it is reached.
#pragma once

#if defined(ATOLL_KILL_POINTS)
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace atoll_ipc::protocol {

// `seen` is the call site's own first-passage mark.
inline void kill_point(const char* name, std::atomic<bool>& seen) noexcept {
  static const char* const at = std::getenv("ATOLL_KILL_AT");
  static const char* const list = std::getenv("ATOLL_KILL_LIST");
  static std::atomic<long> left{at && std::strrchr(at, ':') ? std::atol(std::strrchr(at, ':') + 1) : 1};
  if (list && !seen.exchange(true)) {
    const int fd = ::open(list, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) {
      char line[128];
      const std::size_t n = std::strlen(name) < 126 ? std::strlen(name) : 126;
      std::memcpy(line, name, n);
      line[n] = '\n';
      [[maybe_unused]] const auto written = ::write(fd, line, n + 1);
      ::close(fd);
    }
  }
  if (!at) return;
  const char* colon = std::strrchr(at, ':');
  const std::size_t n = colon ? static_cast<std::size_t>(colon - at) : std::strlen(at);
  if (std::strlen(name) == n && std::strncmp(name, at, n) == 0 && left.fetch_sub(1) == 1) {
    ::kill(::getpid(), SIGKILL);
    for (;;) ::pause();
  }
}

}  // namespace atoll_ipc::protocol

#define ATOLL_KILL_POINT(name)                              \
  do {                                                      \
    static std::atomic<bool> atoll_kill_point_seen{false};  \
    ::atoll_ipc::protocol::kill_point(name, atoll_kill_point_seen); \
  } while (false)
#else
#define ATOLL_KILL_POINT(name) \
  do {                         \
  } while (false)
#endif
