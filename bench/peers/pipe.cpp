// Two named pipes, one for each direction, with a 4-byte length before each message.
//
// Sending is one writev of length and payload, or with --batch one of all of them. Receiving reads as
// much as is there (up to 256 KiB, or one large message) and checks payloads where they then lie. The
// pipes are made as large as an unprivileged process may (1 MiB). Only --wait block.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../common/bench.hpp"

namespace {

class Pipes {
 public:
  static constexpr bool kBatches = true;
  explicit Pipes(const bench::Arguments& arguments)
      : buffer_(std::max<std::size_t>(256u << 10, 2 * (arguments.size + kPrefix))) {
    const std::string forth = arguments.path + "/forth", back = arguments.path + "/back";
    if (arguments.accepts()) {
      if (mkfifo(forth.c_str(), 0600) != 0 || mkfifo(back.c_str(), 0600) != 0) bench::fail_errno("cannot make a pipe");
      bench::announce_ready();
      in_ = open_end(forth, O_RDONLY);
      out_ = open_end(back, O_WRONLY);
    } else {
      out_ = open_end(forth, O_WRONLY);
      in_ = open_end(back, O_RDONLY);
    }
  }
  Pipes(const Pipes&) = delete;
  Pipes& operator=(const Pipes&) = delete;
  ~Pipes() {
    close(in_);
    close(out_);
  }

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

  static int open_end(const std::string& path, int mode) {
    const int fd = open(path.c_str(), mode | O_CLOEXEC);
    if (fd < 0) bench::fail_errno("cannot open " + path);
    static_cast<void>(fcntl(fd, F_SETPIPE_SZ, 1 << 20));  // if not allowed, it stays at 64 KiB
    return fd;
  }
  void write_all(iovec* parts, std::size_t count) {
    while (count > 0) {
      const ssize_t n = writev(out_, parts, static_cast<int>(count));
      if (n < 0) {
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
      const ssize_t n = read(in_, &buffer_[end_], buffer_.size() - end_);
      if (n > 0) {
        end_ += static_cast<std::size_t>(n);
        return;
      }
      if (n == 0) bench::fail("the other side closed the pipe");
      if (errno != EINTR) bench::fail_errno("cannot receive");
    }
  }

  int in_ = -1, out_ = -1;
  std::vector<std::byte> buffer_;
  std::size_t begin_ = 0, end_ = 0;
};

}  // namespace

int main(int argc, char** argv) { return bench::run<Pipes>(argc, argv); }
