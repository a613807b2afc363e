// Messages over a stream of bytes, each behind its length in 4 bytes: what pipe and Unix socket share.
//
// Sending is one write of length and payload, or of up to 64 of them. Receiving reads as much as is there (up to 256 KiB,
// or one large message) and uses payloads where they then lie. A Channel has
//   Channel(const bench::Arguments&)            connects both sides
//   ssize_t write(iovec* parts, std::size_t)    as writev
//   ssize_t read(std::byte*, std::size_t)       as read; both may fail with EAGAIN: then asked again after a pause
#pragma once

#include <sys/uio.h>

#include "bench.hpp"

namespace bench {

template <class Channel>
class FramedStream {
 public:
  static constexpr bool kBatches = true;
  explicit FramedStream(const Arguments& arguments)
      : channel_(arguments), buffer_(std::max<std::size_t>(256u << 10, 2 * (arguments.size + kPrefix))) {}

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

  // After a call that failed: returns if it is to be repeated.
  static void try_again(const char* what) {
    if (errno == EAGAIN) return pause();
    if (errno != EINTR) fail_errno(what);
  }
  void write_all(iovec* parts, std::size_t count) {
    while (count > 0) {
      const ssize_t n = channel_.write(parts, count);
      if (n < 0) {
        try_again("cannot send");
        continue;
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
      const ssize_t n = channel_.read(&buffer_[end_], buffer_.size() - end_);
      if (n > 0) {
        end_ += static_cast<std::size_t>(n);
        return;
      }
      if (n == 0) fail("the other side closed the connection");
      try_again("cannot receive");
    }
  }

  Channel channel_;
  std::vector<std::byte> buffer_;
  std::size_t begin_ = 0, end_ = 0;
};

}  // namespace bench
