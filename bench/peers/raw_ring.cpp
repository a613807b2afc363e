// The raw ring: what this machine allows. One producer, one consumer, nothing else.
//
// It does for a stranger's message what Atoll does (any length, contiguous, aligned payload, one copy
// in, read in place) and nothing of what else Atoll does: no groups, no deaths, no checks, no broker.
//
//   record:  | commit u32 | length u32 | unused u64 | payload, aligned | ...        never wraps
//
// Choices, each measured against the others in interleaved runs (two processes, two CPUs):
// - The commit word stands in the record's header, next to the payload: one cache line to wait for.
//   No instruction of the fast path is locked; the release store is the only ordering.
// - The commit word holds the number of the lap. What an earlier lap left there is then nearly always
//   seen to be old, and the word behind a record has to be cleared only if it could be taken for one
//   of this lap (bytes of a payload can look like anything): a load instead of a store, and the line
//   that the reader waits on is written once, not twice. With payloads aligned to 64: 195 ns against
//   232 between far cores, 178 million messages a second against 109 between near ones; aligned to 16,
//   no difference. A 64-bit position as commit word, never cleared, was no better.
//   `--variant terminator` always clears.
// - Producer and consumer keep copies of each other's position; the consumer publishes its own
//   every eighth of the ring (2, 16 and 32 were no better).
// - A consumer that has just emptied the ring while records were streaming in pauses four times for
//   each record it had in a row, at most 256 times (about 3 us), before it looks again: it then finds
//   many instead of pulling the producer's line away for one. 45 became 190 million messages a second;
//   at most 64 gave 4 to 15 % less, 512 and 2048 no more. In ping-pong nothing comes in a row and it looks again at once.
// - Small payloads are copied by four 16-byte moves in line, large ones by memcpy.
// - Prefetching (for read or for write, 192 to 1024 bytes ahead) gained nothing that repeated.
// - A batch is published by its first commit word, stored last.
// --wait block: sleeps on a futex at once when there is nothing, with the fence that this costs.
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>

#include <atomic>

#include "../common/bench.hpp"
#include "../common/shared_file.hpp"

namespace {

struct Header {
  alignas(128) std::atomic<std::uint64_t> reader;     // everything below was read
  alignas(128) std::atomic<std::uint32_t> asleep;     // 1: the reader sleeps on this word
};
constexpr std::size_t kHeaderSize = 4096;

struct Record {
  std::atomic<std::uint32_t> commit;
  std::uint32_t length;
  std::uint64_t unused;
};
static_assert(sizeof(Record) == 16);

constexpr std::uint32_t kData = 1, kPadding = 2;  // with the lap, from 1, in the bits from 2 on
constexpr std::uint32_t kMostPauses = 256;

inline void copy(std::byte* to, const std::byte* from, std::size_t size) {
  using Vector [[gnu::vector_size(16), gnu::may_alias, gnu::aligned(16)]] = std::uint64_t;
  if (size > 256) {
    std::memcpy(to, from, size);
    return;
  }
  for (std::size_t i = 0; i < size; i += 64) {  // sizes are multiples of 64
    const auto* f = reinterpret_cast<const Vector*>(from + i);
    auto* t = reinterpret_cast<Vector*>(to + i);
    const Vector a = f[0], b = f[1], c = f[2], d = f[3];
    t[0] = a;
    t[1] = b;
    t[2] = c;
    t[3] = d;
  }
}

template <bool kAlwaysTerminate>
class Ring {
 public:
  Ring(const std::string& path, const bench::Arguments& arguments)
      : file_(path, kHeaderSize + arguments.capacity, arguments.accepts()),
        header_(reinterpret_cast<Header*>(file_.data())),
        data_(file_.data() + kHeaderSize),
        capacity_(arguments.capacity),
        capacity_log2_(static_cast<unsigned>(__builtin_ctzll(arguments.capacity))),
        align_(arguments.align),
        block_(arguments.wait == bench::Wait::block) {
    if ((capacity_ & (capacity_ - 1)) != 0) bench::fail("--capacity must be a power of two");
    if (2 * (span(arguments.size) + sizeof(Record)) > capacity_) bench::fail("--capacity is too small for --size");
  }

  void send(const std::byte* data, std::size_t size) {
    const std::uint64_t at = place(size);
    fill(at, data, size).commit.store(word(at, kData), std::memory_order_release);
    tail_ = at + span(size);
    wake();
  }

  void send_many(std::span<const std::span<const std::byte>> records) {
    for (std::size_t i = 0; i < records.size();) {
      // As many as fit without waiting or wrapping, and at least one.
      const std::uint64_t first = place(records[i].size());
      Record& opener = fill(first, records[i].data(), records[i].size());
      tail_ = first + span(records[i++].size());
      for (; i < records.size(); ++i) {
        const std::uint64_t n = span(records[i].size());
        if ((tail_ & (capacity_ - 1)) + n > capacity_ || tail_ + n + sizeof(Record) > reader_ + capacity_) break;
        fill(tail_, records[i].data(), records[i].size()).commit.store(word(tail_, kData), std::memory_order_relaxed);
        tail_ += n;
      }
      opener.commit.store(word(first, kData), std::memory_order_release);
      wake();
    }
  }

  template <class Use>
  bool poll(Use&& use) {
    for (;;) {
      const Record& record = at(position_);
      const std::uint32_t commit = record.commit.load(std::memory_order_acquire);
      if (__builtin_expect(commit == word(position_, kData), 1)) {
        use(reinterpret_cast<const std::byte*>(&record) + payload_offset(), std::size_t{record.length});
        position_ += span(record.length);
        if (position_ - published_ >= capacity_ / 8) {
          header_->reader.store(position_, std::memory_order_release);
          published_ = position_;
        }
        return true;
      }
      if (commit != word(position_, kPadding)) return false;
      position_ += record.length;
    }
  }

  template <class Use>
  void receive(Use&& use) {
    if (__builtin_expect(poll(use), 1)) {
      ++in_a_row_;
      return;
    }
    for (std::uint32_t i = std::min(4 * std::exchange(in_a_row_, 0), kMostPauses); i > 0; --i) bench::pause();
    while (!poll(use)) {
      if (block_) sleep();
      else bench::pause();
    }
  }

 private:
  [[nodiscard]] Record& at(std::uint64_t position) const {
    return *reinterpret_cast<Record*>(data_ + (position & (capacity_ - 1)));
  }
  [[nodiscard]] std::uint64_t payload_offset() const { return align_; }  // 16 or 64: the header fits in it
  [[nodiscard]] std::uint64_t span(std::uint64_t size) const { return align_ + ((size + align_ - 1) & ~(align_ - 1)); }
  [[nodiscard]] std::uint32_t word(std::uint64_t position, std::uint32_t kind) const {
    return (static_cast<std::uint32_t>(position >> capacity_log2_) + 1) << 2 | kind;
  }
  // Makes sure that a reader finds no record at `position` before one is written there. To be called
  // before the record in front of it is committed.
  void end_at(std::uint64_t position) {
    auto& commit = at(position).commit;
    if (kAlwaysTerminate || __builtin_expect((commit.load(std::memory_order_relaxed) | 3) == word(position, 3), 0))
      commit.store(0, std::memory_order_relaxed);
  }

  // Where a record of this size goes. Writes padding if it does not fit before the end, and waits for room.
  std::uint64_t place(std::size_t size) {
    const std::uint64_t n = span(size), left = capacity_ - (tail_ & (capacity_ - 1));
    if (__builtin_expect(n <= left, 1)) {
      wait_for_room(tail_ + n + sizeof(Record));
      return tail_;
    }
    wait_for_room(tail_ + left + n + sizeof(Record));
    end_at(tail_ + left);
    Record& padding = at(tail_);
    padding.length = static_cast<std::uint32_t>(left);
    padding.commit.store(word(tail_, kPadding), std::memory_order_release);
    return tail_ + left;
  }

  Record& fill(std::uint64_t position, const std::byte* data, std::size_t size) {
    Record& record = at(position);
    record.length = static_cast<std::uint32_t>(size);
    end_at(position + span(size));
    copy(reinterpret_cast<std::byte*>(&record) + payload_offset(), data, size);
    return record;
  }

  void wait_for_room(std::uint64_t end) {
    if (__builtin_expect(end - reader_ <= capacity_, 1)) return;
    for (;;) {
      reader_ = header_->reader.load(std::memory_order_acquire);
      if (end - reader_ <= capacity_) return;
      if (block_) sched_yield();
      else bench::pause();
    }
  }

  void wake() {
    if (!block_) return;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (header_->asleep.load(std::memory_order_relaxed) == 0) return;
    header_->asleep.store(0, std::memory_order_relaxed);
    syscall(SYS_futex, &header_->asleep, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  }
  void sleep() {
    header_->asleep.store(1, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const std::uint32_t commit = at(position_).commit.load(std::memory_order_acquire);
    if (commit == word(position_, kData) || commit == word(position_, kPadding)) return;
    syscall(SYS_futex, &header_->asleep, FUTEX_WAIT, 1, nullptr, nullptr, 0);
  }

  bench::SharedFile file_;
  Header* header_;
  std::byte* data_;
  std::uint64_t capacity_;
  unsigned capacity_log2_;
  std::uint64_t align_;
  bool block_;
  std::uint64_t tail_ = 0, reader_ = 0;         // producer's
  std::uint64_t position_ = 0, published_ = 0;  // consumer's
  std::uint32_t in_a_row_ = 0;  // records found without waiting
};

template <bool kAlwaysTerminate>
struct Rings {
  static constexpr bool kBatches = true;
  explicit Rings(const bench::Arguments& arguments)
      : out(arguments.path + (arguments.accepts() ? "/back" : "/forth"), arguments),
        in(arguments.path + (arguments.accepts() ? "/forth" : "/back"), arguments) {
    if (arguments.accepts()) bench::announce_ready();
  }
  void send(const std::byte* data, std::size_t size) { out.send(data, size); }
  void send_many(std::span<const std::span<const std::byte>> records) { out.send_many(records); }
  template <class Use>
  void receive(Use&& use) {
    in.receive(use);
  }
  template <class Use>
  void receive_many(Use&& use, std::size_t max) {
    in.receive(use);
    for (std::size_t i = 1; i < max && in.poll(use); ++i) {
    }
  }
  Ring<kAlwaysTerminate> out, in;
};

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i + 1 < argc; ++i)
    if (std::string_view(argv[i]) == "--variant" && std::string_view(argv[i + 1]) == "terminator")
      return bench::run<Rings<true>>(argc, argv);
  return bench::run<Rings<false>>(argc, argv);
}
