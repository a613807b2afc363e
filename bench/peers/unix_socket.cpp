// A Unix stream socket with a 4-byte length before each message: what everybody has without installing
// anything. Default buffer sizes.
//
// Sending is one sendmsg of length and payload, or with --batch one of all of them. Receiving reads
// as much as is there (up to 256 KiB, or one large message) and checks payloads where they then lie.
// --wait spin: never sleeps in the kernel; --wait block: always.
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "../common/bench.hpp"

namespace {

class Stream {
 public:
  static constexpr bool kBatches = true;
  explicit Stream(const bench::Arguments& arguments)
      : flags_(arguments.wait == bench::Wait::spin ? MSG_DONTWAIT | MSG_NOSIGNAL : MSG_NOSIGNAL),
        buffer_(std::max<std::size_t>(256u << 10, 2 * (arguments.size + kPrefix))) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = arguments.path + "/socket";
    if (path.size() >= sizeof address.sun_path) bench::fail("the socket's path is too long: " + path);
    std::memcpy(address.sun_path, path.c_str(), path.size());
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const auto* name = reinterpret_cast<const sockaddr*>(&address);
    if (arguments.accepts()) {
      if (bind(fd, name, sizeof address) != 0 || listen(fd, 1) != 0) bench::fail_errno("cannot listen on " + path);
      bench::announce_ready();
      fd_ = accept4(fd, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd_ < 0) bench::fail_errno("cannot accept");
      close(fd);
    } else {
      if (connect(fd, name, sizeof address) != 0) bench::fail_errno("cannot connect to " + path);
      unlink(path.c_str());
      fd_ = fd;
    }
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { close(fd_); }

  void send(const std::byte* data, std::size_t size) {
    const std::span<const std::byte> one(data, size);
    send_many(std::span(&one, 1));
  }
  void send_many(std::span<const std::span<const std::byte>> records) {
    iovec parts[2 * kMostGlued];
    std::uint32_t lengths[kMostGlued];
    while (!records.empty()) {
      const std::size_t n = std::min(records.size(), kMostGlued);
      for (std::size_t i = 0; i < n; ++i) {
        lengths[i] = static_cast<std::uint32_t>(records[i].size());
        parts[2 * i] = {&lengths[i], kPrefix};
        parts[2 * i + 1] = {const_cast<std::byte*>(records[i].data()), records[i].size()};
      }
      write_all(parts, 2 * n);
      records = records.subspan(n);
    }
  }

  template <class Use>
  void receive(Use&& use) {
    while (!take(use)) read_more();
  }
  template <class Use>
  void receive_many(Use&& use, std::size_t max) {
    receive(use);
    for (std::size_t i = 1; i < max && take(use); ++i) {
    }
  }

 private:
  static constexpr std::size_t kPrefix = sizeof(std::uint32_t), kMostGlued = 64;

  void write_all(iovec* parts, std::size_t count) {
    while (count > 0) {
      msghdr message{};
      message.msg_iov = parts;
      message.msg_iovlen = count;
      const ssize_t n = sendmsg(fd_, &message, flags_);
      if (n < 0) {
        if (errno == EAGAIN) {
          bench::pause();
          continue;
        }
        if (errno == EINTR) continue;
        bench::fail_errno("cannot send");
      }
      auto left = static_cast<std::size_t>(n);
      while (count > 0 && left >= parts->iov_len) {
        left -= parts->iov_len;
        ++parts;
        --count;
      }
      if (count > 0) {
        parts->iov_base = static_cast<std::byte*>(parts->iov_base) + left;
        parts->iov_len -= left;
      }
    }
  }

  template <class Use>
  bool take(Use&& use) {
    if (end_ - begin_ < kPrefix) return false;
    std::uint32_t size = 0;
    std::memcpy(&size, &buffer_[begin_], kPrefix);
    if (end_ - begin_ < kPrefix + size) return false;
    use(&buffer_[begin_ + kPrefix], std::size_t{size});
    begin_ += kPrefix + size;
    return true;
  }
  void read_more() {
    if (begin_ > 0) std::memmove(buffer_.data(), &buffer_[begin_], end_ - begin_);
    end_ -= std::exchange(begin_, 0);
    for (;;) {
      const ssize_t n = recv(fd_, &buffer_[end_], buffer_.size() - end_, flags_);
      if (n > 0) {
        end_ += static_cast<std::size_t>(n);
        return;
      }
      if (n == 0) bench::fail("the other side closed the socket");
      if (errno == EAGAIN) bench::pause();
      else if (errno != EINTR) bench::fail_errno("cannot receive");
    }
  }

  int fd_ = -1;
  int flags_;
  std::vector<std::byte> buffer_;
  std::size_t begin_ = 0, end_ = 0;
};

}  // namespace

int main(int argc, char** argv) { return bench::run<Stream>(argc, argv); }
