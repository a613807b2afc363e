#include "terminal.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace atoll_ipc::cli {
namespace {

volatile std::sig_atomic_t g_stop_signal = 0;
int g_stop_fd = -1;

void note_signal(int signal) {
  const int saved = errno;
  g_stop_signal = signal;
  const std::uint64_t one = 1;
  // Nothing can be done in a handler if this fails; waits come back every second anyway.
  if (::write(g_stop_fd, &one, sizeof one) < 0) errno = saved;
  errno = saved;
}

}  // namespace

bool is_terminal(int fd) noexcept { return ::isatty(fd) == 1; }

std::size_t terminal_width() noexcept {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  if (const char* given = std::getenv("COLUMNS"); given != nullptr) {
    const long width = std::strtol(given, nullptr, 10);
    if (width > 0 && width < 10000) return static_cast<std::size_t>(width);
  }
  return 80;
}

bool use_colours(int fd) noexcept {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return is_terminal(fd) && (no_color == nullptr || *no_color == '\0') && term != nullptr && std::string_view(term) != "dumb";
}

void keep_standard_descriptors() noexcept {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(fd, F_GETFD) < 0 && errno == EBADF && ::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd) ::_exit(1);
}

void watch_signals() noexcept {
  g_stop_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  struct sigaction action {};
  action.sa_handler = note_signal;
  action.sa_flags = SA_RESETHAND;  // no SA_RESTART: waits must come back
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

int stop_signal() noexcept { return g_stop_signal; }
int stop_fd() noexcept { return g_stop_fd; }

void die_by(int signal) noexcept {
  std::signal(signal, SIG_DFL);
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, signal);
  ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
  ::raise(signal);
  ::_exit(128 + signal);
}

}  // namespace atoll_ipc::cli
