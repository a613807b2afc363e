// A bare futex ping-pong: what two processes pay that sleep until the other has something for them.
//
// Two words, one for each direction, with one message behind each. The sender writes the message, adds
// one to the word and calls FUTEX_WAKE; the receiver calls FUTEX_WAIT until the word has changed. No
// spinning, no queue: only ping and pong, and only --wait block.
#include <linux/futex.h>
#include <sys/syscall.h>

#include <atomic>

#include "../common/bench.hpp"
#include "../common/shared_file.hpp"

namespace {

struct Half {
  explicit Half(const std::string& path, const bench::Arguments& arguments)
      : file(path, 4096 + arguments.size, arguments.accepts()),
        word(reinterpret_cast<std::atomic<std::uint32_t>*>(file.data())),
        message(file.data() + 64) {}
  bench::SharedFile file;
  std::atomic<std::uint32_t>* word;
  std::byte* message;
};

class Words {
 public:
  static constexpr bool kBatches = false;
  explicit Words(const bench::Arguments& arguments)
      : size_(arguments.size),
        out_(arguments.path + (arguments.accepts() ? "/back" : "/forth"), arguments),
        in_(arguments.path + (arguments.accepts() ? "/forth" : "/back"), arguments) {
    if (!arguments.echoes()) bench::fail("this contender only plays ping-pong");
    if (arguments.accepts()) bench::announce_ready();
  }
  void send(const std::byte* data, std::size_t size) {
    std::memcpy(out_.message, data, size);
    out_.word->fetch_add(1, std::memory_order_release);
    syscall(SYS_futex, out_.word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  }
  template <class Use>
  void receive(Use&& use) {
    while (in_.word->load(std::memory_order_acquire) == seen_)
      syscall(SYS_futex, in_.word, FUTEX_WAIT, seen_, nullptr, nullptr, 0);
    ++seen_;
    use(static_cast<const std::byte*>(in_.message), size_);
  }

 private:
  std::size_t size_;
  Half out_, in_;
  std::uint32_t seen_ = 0;
};

}  // namespace

int main(int argc, char** argv) { return bench::run<Words>(argc, argv); }
