// The control socket's framing: NUL-terminated messages with descriptors beside them.
//
// Called by the client (blocking) and the broker (non-blocking). Owns no policy: limits are the
// caller's. SPEC.md, "Control protocol".
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace atoll_ipc::protocol {

inline constexpr int kInterfaceVersion = 1;
inline constexpr std::size_t kMaxFrame = 64 * 1024;        // a call
inline constexpr std::size_t kMaxFirstFrame = 4 * 1024;    // the first call of a connection without attachments
inline constexpr std::size_t kMaxReply = 4 * 1024 * 1024;  // a reply, as a client accepts it
inline constexpr std::size_t kMaxFdsPerMessage = 100;      // 64 lanes, 16 groups and a few
inline constexpr std::size_t kMaxSocketPath = 107;
// Of the machine's broker: the service that all users share. Its user is whoever owns the directory.
inline constexpr const char* kMachineSocket = "/run/atoll/atoll.sock";

// Owns a descriptor.
class UniqueFd {
 public:
  UniqueFd() noexcept = default;
  explicit UniqueFd(int fd) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~UniqueFd() { reset(); }
  void reset(int fd = -1) noexcept {
    if (fd_ >= 0) {
      const int saved = errno;
      ::close(fd_);
      errno = saved;
    }
    fd_ = fd;
  }
  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// One recvmsg. Returns bytes read, 0 at the end, -1 with errno. Received descriptors are appended
// (close-on-exec). `truncated`: the kernel dropped some for want of room.
inline ssize_t receive_some(int socket, std::span<char> into, std::vector<UniqueFd>& fds, int flags,
                            bool* truncated = nullptr) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxFdsPerMessage)];
  iovec iov{into.data(), into.size()};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n;
  do n = ::recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  if (n < 0) return n;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    const auto descriptor = [&](std::size_t i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      return UniqueFd(fd);
    };
    try {
      fds.reserve(fds.size() + count);
    } catch (...) {
      for (std::size_t i = 0; i < count; ++i) descriptor(i).reset();  // ours already: nobody else would close them
      throw;
    }
    for (std::size_t i = 0; i < count; ++i) fds.push_back(descriptor(i));
  }
  if (truncated) *truncated = (message.msg_flags & MSG_CTRUNC) != 0;
  return n;
}

// One sendmsg; the descriptors go with its first byte. Never raises SIGPIPE.
inline ssize_t send_some(int socket, std::string_view data, std::span<const int> fds, int flags) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxFdsPerMessage)] = {};
  iovec iov{const_cast<char*>(data.data()), data.size()};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    if (fds.size() > kMaxFdsPerMessage) {
      errno = EMSGSIZE;
      return -1;
    }
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(c), fds.data(), sizeof(int) * fds.size());
  }
  ssize_t n;
  do n = ::sendmsg(socket, &message, flags | MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return n;
}

}  // namespace atoll_ipc::protocol
