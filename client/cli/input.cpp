#include "input.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "terminal.hpp"
#include "text.hpp"

namespace atoll_ipc::cli {

Result<Input> Input::open(const std::string& path) {
  const bool standard = path.empty() || path == "-";
  const std::string name = standard ? "standard input" : path;
  const int fd = standard ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status {};
  if (fd < 0 || ::fstat(fd, &status) != 0) {
    const int problem = errno;
    if (fd > STDIN_FILENO) ::close(fd);
    return fail(Errc::invalid_argument, "cannot read " + name + ": " + std::strerror(problem), {}, static_cast<std::uint64_t>(problem),
                "name a file that exists and that you may read");
  }
  if (S_ISDIR(status.st_mode)) {
    if (!standard) ::close(fd);
    return fail(Errc::invalid_argument, "cannot read " + name + ": it is a directory", {}, EISDIR, "name a file");
  }
  return Input(fd, name, S_ISREG(status.st_mode) ? std::optional(static_cast<std::uint64_t>(status.st_size)) : std::nullopt);
}

Input::Input(Input&& other) noexcept : fd_(std::exchange(other.fd_, -1)), name_(std::move(other.name_)), size_(other.size_) {}

Input::~Input() {
  if (fd_ > STDIN_FILENO) ::close(fd_);
}

Result<bool> Input::read_some(std::string& into, const TimeLimit& limit) {
  constexpr std::size_t kChunk = 64 * 1024;
  for (;;) {
    if (stop_signal() != 0) return fail(Errc::interrupted);
    // Waiting in poll, beside the signals' own descriptor, leaves no gap in which one could be missed.
    pollfd wait[] = {{fd_, POLLIN, 0}, {stop_fd(), POLLIN, 0}};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(limit.left(std::chrono::hours(1)));
    if (::poll(wait, 2, limit.limited() ? static_cast<int>(left.count()) : -1) < 0 && errno != EINTR) break;
    if (wait[0].revents == 0) {
      if (limit.passed()) return fail(Errc::timed_out, name_ + " did not end within the time limit");
      continue;
    }
    const std::size_t before = into.size();
    into.resize(before + kChunk);
    const ssize_t got = ::read(fd_, into.data() + before, kChunk);
    into.resize(before + (got > 0 ? static_cast<std::size_t>(got) : 0));
    if (got >= 0) return got > 0;
    if (errno != EINTR && errno != EAGAIN) break;
  }
  return fail(Errc::system_error, "cannot read " + name_ + ": " + std::strerror(errno), {}, static_cast<std::uint64_t>(errno));
}

Result<std::string> Input::read_all(std::uint64_t most, std::string_view what, const TimeLimit& limit) {
  std::string all;
  for (;;) {
    const auto more = read_some(all, limit);
    if (!more) return tl::unexpected(more.error());
    if (all.size() > most)
      return fail(Errc::too_large, name_ + " has more than " + std::to_string(most) + " bytes, " + std::string(what), {}, most);
    if (!*more) return all;
  }
}

}  // namespace atoll_ipc::cli
