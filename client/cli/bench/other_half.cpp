#include "other_half.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "../terminal.hpp"
#include "obeying_half.hpp"
#include "orders.hpp"

namespace atoll_ipc::cli::bench {

Result<OtherHalf> OtherHalf::start(const Context& context) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) return fail(Errc::system_error, std::string("socketpair: ") + std::strerror(errno));
  const pid_t pid = ::fork();
  if (pid < 0) {
    ::close(ends[0]);
    ::close(ends[1]);
    return fail(Errc::system_error, std::string("cannot start a second process: ") + std::strerror(errno));
  }
  if (pid == 0) {
    std::signal(SIGINT, SIG_IGN);  // Ctrl-C reaches both: the user's half tells this one
    std::signal(SIGTERM, SIG_IGN);
    ::close(ends[0]);
    ObeyingHalf(context, ends[1]).run();
    ::_exit(0);
  }
  ::close(ends[1]);
  return OtherHalf(ends[0], pid);
}

OtherHalf::OtherHalf(OtherHalf&& other) noexcept : fd_(std::exchange(other.fd_, -1)), pid_(std::exchange(other.pid_, -1)), answered_(other.answered_) {}

OtherHalf::~OtherHalf() {
  if (pid_ < 0) return;
  ::close(fd_);
  // It ends within kPatience; if something holds it up it is killed.
  if (const int ended = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)); ended >= 0) {
    if (!readable(ended, 5000)) ::kill(pid_, SIGKILL);
    ::close(ended);
  }
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Result<void> OtherHalf::begin(const Json& order) {
  answered_ = false;
  return tell(fd_, order);
}

Result<void> OtherHalf::finish() {
  while (!answered_) {
    if (auto well = look(); !well) return well;
    if (!answered_) static_cast<void>(readable(fd_, static_cast<int>(kPatience.count())));
  }
  return {};
}

Result<void> OtherHalf::order(const Json& order) {
  if (auto begun = begin(order); !begun) return begun;
  return finish();
}

Result<void> OtherHalf::look() {
  if (stop_signal() != 0) return fail(Errc::interrupted);
  if (!readable(fd_, 0)) return {};
  const auto answer = hear(fd_);
  if (!answer) return fail(Errc::system_error, "the other half of the measurement ended unexpectedly", {}, 0, "try again; if somebody killed it that is all");
  answered_ = true;
  if (!answer->contains("error")) return {};
  return tl::unexpected(error_told(*answer));
}

}  // namespace atoll_ipc::cli::bench
