// Named points at which a test can kill or stop the process.
//
// Client and broker name a point at each store that others can see: ATOLL_KILL_POINT("send.committed").
// Compiled in only with ATOLL_KILL_POINTS; then these environment variables say what happens there:
//   ATOLL_KILL_AT=NAME:N   the N-th passage of that point (1 = first) raises SIGKILL
//   ATOLL_STOP_AT=NAME:N   the same with SIGSTOP; after SIGCONT the process goes on
//   ATOLL_KILL_LIST=FILE   the first eight passages of every point append its name, so that a test can see
//                          that it is reached, and how often
#pragma once

#if defined(ATOLL_KILL_POINTS)
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace atoll_ipc::protocol {

// What NAME:N of an environment variable asks for.
class KillWish {
 public:
  explicit KillWish(const char* variable) noexcept : text_(std::getenv(variable)) {
    if (text_ == nullptr) return;
    const char* const colon = std::strrchr(text_, ':');
    length_ = colon != nullptr ? static_cast<std::size_t>(colon - text_) : std::strlen(text_);
    left_ = colon != nullptr ? std::atol(colon + 1) : 1;
  }
  bool comes_true(const char* name) noexcept {
    return text_ != nullptr && std::strlen(name) == length_ && std::strncmp(name, text_, length_) == 0 && left_.fetch_sub(1) == 1;
  }

 private:
  const char* text_;
  std::size_t length_ = 0;
  std::atomic<long> left_{0};
};

inline void append_kill_point(const char* file, const char* name) noexcept {
  const int fd = ::open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return;
  char line[128];
  const std::size_t n = std::strlen(name) < 126 ? std::strlen(name) : 126;
  std::memcpy(line, name, n);
  line[n] = '\n';
  [[maybe_unused]] const auto written = ::write(fd, line, n + 1);
  ::close(fd);
}

// `passages` counts those of the call site.
inline void kill_point(const char* name, std::atomic<unsigned>& passages) noexcept {
  static KillWish kill_at("ATOLL_KILL_AT");
  static KillWish stop_at("ATOLL_STOP_AT");
  static const char* const list = std::getenv("ATOLL_KILL_LIST");
  if (list != nullptr && passages.load() < 8 && passages.fetch_add(1) < 8) append_kill_point(list, name);
  if (stop_at.comes_true(name)) ::kill(::getpid(), SIGSTOP);
  if (kill_at.comes_true(name)) {
    ::kill(::getpid(), SIGKILL);
    for (;;) ::pause();
  }
}

}  // namespace atoll_ipc::protocol

#define ATOLL_KILL_POINT(name)                                          \
  do {                                                                  \
    static std::atomic<unsigned> atoll_kill_point_passages{0};          \
    ::atoll_ipc::protocol::kill_point(name, atoll_kill_point_passages); \
  } while (false)
#else
#define ATOLL_KILL_POINT(name) \
  do {                         \
  } while (false)
#endif
