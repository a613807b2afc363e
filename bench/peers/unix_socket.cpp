// A Unix stream socket with a 4-byte length before each message: what everybody has without installing
// anything. Default buffer sizes.
//
// Sending is one sendmsg. --wait spin: never sleeps in the kernel; --wait block: always.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../common/framed_stream.hpp"

namespace {

class Socket {
 public:
  explicit Socket(const bench::Arguments& arguments)
      : flags_(arguments.wait == bench::Wait::spin ? MSG_DONTWAIT | MSG_NOSIGNAL : MSG_NOSIGNAL) {
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
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() { close(fd_); }

  ssize_t write(iovec* parts, std::size_t count) {
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = count;
    return sendmsg(fd_, &message, flags_);
  }
  ssize_t read(std::byte* into, std::size_t size) { return recv(fd_, into, size, flags_); }

 private:
  int fd_ = -1;
  int flags_;
};

}  // namespace

int main(int argc, char** argv) { return bench::run<bench::FramedStream<Socket>>(argc, argv); }
