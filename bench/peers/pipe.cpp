// Two named pipes, one for each direction, with a 4-byte length before each message.
//
// Sending is one writev. The pipes are made as large as an unprivileged process may (1 MiB). Only --wait block.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/framed_stream.hpp"

namespace {

class Pipes {
 public:
  explicit Pipes(const bench::Arguments& arguments) {
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

  ssize_t write(iovec* parts, std::size_t count) { return writev(out_, parts, static_cast<int>(count)); }
  ssize_t read(std::byte* into, std::size_t size) { return ::read(in_, into, size); }

 private:
  static int open_end(const std::string& path, int mode) {
    const int fd = open(path.c_str(), mode | O_CLOEXEC);
    if (fd < 0) bench::fail_errno("cannot open " + path);
    static_cast<void>(fcntl(fd, F_SETPIPE_SZ, 1 << 20));  // if not allowed, it stays at 64 KiB
    return fd;
  }

  int in_ = -1, out_ = -1;
};

}  // namespace

int main(int argc, char** argv) { return bench::run<bench::FramedStream<Pipes>>(argc, argv); }
