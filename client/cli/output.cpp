#include "output.hpp"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "terminal.hpp"
#include "text.hpp"

namespace atoll_ipc::cli {
namespace {

constexpr std::size_t kFlushAt = 64 * 1024;

}  // namespace

Output::Output() : on_terminal_(is_terminal(STDOUT_FILENO)), colours_(use_colours(STDOUT_FILENO)) {}

void Output::write(std::string_view text) {
  if (error_ != 0) return;
  buffer_ += text;
  if (buffer_.size() >= kFlushAt) static_cast<void>(flush());
}

void Output::write_json(const Json& value, int indent) {
  write(value.dump(indent, ' ', on_terminal_, Json::error_handler_t::replace) + "\n");
}

Result<void> Output::flush() {
  std::string_view rest = buffer_;
  while (error_ == 0 && !rest.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, rest.data(), rest.size());
    if (written >= 0) {
      rest.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {  // somebody made our output non-blocking
      pollfd wait[] = {{STDOUT_FILENO, POLLOUT, 0}, {stop_fd(), POLLIN, 0}};
      if (::poll(wait, 2, -1) > 0 && wait[1].revents != 0 && wait[0].revents == 0) error_ = EINTR;
    } else if (errno != EINTR || stop_signal() != 0) {
      error_ = errno;
    }
  }
  buffer_.clear();
  if (error_ == 0) return {};
  if (error_ == EINTR) return fail(Errc::interrupted);
  return fail(Errc::system_error, std::string("standard output: ") + std::strerror(error_), {}, static_cast<std::uint64_t>(error_),
              "give the output a place that can take it; what was not written was not acknowledged");
}

bool Output::reader_gone() const noexcept { return error_ == EPIPE; }

std::string Output::safe(std::string_view text) const {
  return on_terminal_ ? escape_for_terminal(text, false) : std::string(text);
}

Output& output() {
  static Output instance;
  return instance;
}

}  // namespace atoll_ipc::cli
