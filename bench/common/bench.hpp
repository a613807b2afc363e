// What every C++ contender of the benchmark shares: its command line, its clock, the payload that is
// written and checked, and the four loops (ping, pong, send, receive) that measure.
//
// A contender is a program whose main() calls bench::run<Transport>(argc, argv). A Transport has
//   Transport(const bench::Arguments&)   the accepting side (pong, receive) creates, then calls
//                                        bench::announce_ready(); the other side opens what it made
//   void send(const std::byte* data, std::size_t size)           writes the payload into the transport
//   void receive(use)                    waits for a message and calls use(const std::byte*, size)
//   static constexpr bool kBatches       if true, also send_many(records) and receive_many(use, max)
//
// Promise: the loops are the same code for every contender, so that a difference is the transport's.
// Every process prints one line of JSON and ends with status 0, or says why on stderr and ends with 1.
#pragma once

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bench {

enum class Role { ping, pong, send, receive, alone };
enum class Wait { spin, block };

// The command line, the same for every contender (the driver pins processes to CPUs):
//   ROLE --size BYTES --count MESSAGES --path DIRECTORY [--wait spin|block] [--batch N]
//   [--takes N] [--capacity BYTES] [--align 16|64] [--variant NAME] [--touch all|ends] [--seconds S]
// The role `alone` is for programs that measure something without a partner; they get --seconds.
struct Arguments {
  Role role = Role::send;
  std::size_t size = 64;
  std::uint64_t count = 1000;
  std::string path;  // a directory for this run alone: sockets, files, names are made from it
  Wait wait = Wait::spin;
  std::size_t batch = 1;  // messages sent at once
  std::size_t takes = 0;  // messages received at once; 0: as many as are sent at once
  std::uint64_t capacity = 1u << 20;  // bytes of each ring, where a contender has rings
  std::uint32_t align = 16;
  std::string variant;  // a contender's own choice
  // ends: only the first and the last word are written and checked, by contenders that lend memory.
  bool ends_only = false;
  double seconds = 0.1;

  [[nodiscard]] bool accepts() const { return role == Role::pong || role == Role::receive; }
  [[nodiscard]] bool echoes() const { return role == Role::ping || role == Role::pong; }
};

[[noreturn]] inline void fail(const std::string& what) {
  throw std::runtime_error(what);
}
[[noreturn]] inline void fail_errno(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

inline Arguments parse(int argc, char** argv) {
  Arguments arguments;
  if (argc < 2) fail("usage: ROLE --size N --count N --path DIR [--wait spin|block] [--batch N] "
                     "[--capacity N] [--align N]");
  const std::string_view role = argv[1];
  if (role == "ping") arguments.role = Role::ping;
  else if (role == "pong") arguments.role = Role::pong;
  else if (role == "send") arguments.role = Role::send;
  else if (role == "receive") arguments.role = Role::receive;
  else if (role == "alone") arguments.role = Role::alone;
  else fail("role must be ping, pong, send, receive or alone, not " + std::string(role));
  for (int i = 2; i < argc; i += 2) {
    const std::string_view option = argv[i];
    if (i + 1 == argc) fail("a value is missing after " + std::string(option));
    const std::string value = argv[i + 1];
    if (option == "--path") arguments.path = value;
    else if (option == "--wait") arguments.wait = value == "block" ? Wait::block : Wait::spin;
    else if (option == "--size") arguments.size = std::stoull(value);
    else if (option == "--count") arguments.count = std::stoull(value);
    else if (option == "--batch") arguments.batch = std::stoull(value);
    else if (option == "--takes") arguments.takes = std::stoull(value);
    else if (option == "--capacity") arguments.capacity = std::stoull(value);
    else if (option == "--variant") arguments.variant = value;
    else if (option == "--seconds") arguments.seconds = std::stod(value);
    else if (option == "--touch") arguments.ends_only = value == "ends";
    else if (option == "--align") arguments.align = static_cast<std::uint32_t>(std::stoul(value));
    else fail("unknown option " + std::string(option));
  }
  if (arguments.path.empty()) fail("--path is missing");
  if (arguments.size < 64 || arguments.size % 64 != 0) fail("--size must be a multiple of 64");
  if (arguments.count < 2) fail("--count must be at least 2");
  if (arguments.batch < 1) fail("--batch must be at least 1");
  return arguments;
}

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

inline std::uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

// The cheapest clock there is, in ticks of its own; TickScale turns ticks into nanoseconds by
// comparing both clocks over the whole run.
inline std::uint64_t ticks() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  return monotonic_ns();
#endif
}
class TickScale {
 public:
  TickScale() : ticks_(ticks()), ns_(monotonic_ns()) {}
  [[nodiscard]] double ns_per_tick() const {
    const std::uint64_t t = ticks(), n = monotonic_ns();
    return static_cast<double>(n - ns_) / static_cast<double>(t - ticks_);
  }

 private:
  std::uint64_t ticks_, ns_;
};

// User and system time of all threads of this process.
inline double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec); };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// The message: a fixed pattern with the message's number in the first and, multiplied, in the last
// word. A receiver reads every byte and compares the sum of all words with what it must be.
class Payload {
 public:
  explicit Payload(const Arguments& arguments) : size_(arguments.size), words_(size_ / 8), ends_only_(arguments.ends_only) {
    data_ = static_cast<std::uint64_t*>(::operator new(size_, std::align_val_t{64}));
    for (std::size_t i = 0; i < words_; ++i) data_[i] = 0x9e3779b97f4a7c15u * (i + 1);
    data_[0] = data_[words_ - 1] = 0;
    base_ = sum(bytes(), size_);
  }
  ~Payload() { ::operator delete(data_, std::align_val_t{64}); }
  Payload(const Payload&) = delete;
  Payload& operator=(const Payload&) = delete;

  void stamp(std::uint64_t number) {
    data_[0] = number;
    data_[words_ - 1] = number * kOdd;
  }
  [[nodiscard]] const std::byte* bytes() const { return reinterpret_cast<const std::byte*>(data_); }
  // 1 if these bytes are not message `number`.
  [[nodiscard]] std::uint64_t wrong(const std::byte* data, std::size_t size, std::uint64_t number) const {
    if (__builtin_expect(ends_only_, 0))
      return (size != size_) | (word(data) != number) | (word(data + size_ - 8) != number * kOdd);
    return (size != size_) | (sum(data, size_) != base_ + number + number * kOdd);
  }

 private:
  static constexpr std::uint64_t kOdd = 0xd1342543de82ef95u;
  using Vector [[gnu::vector_size(16)]] = std::uint64_t;
  [[gnu::always_inline]] static inline Vector load(const std::byte* from) {  // not always aligned
    Vector value;
    std::memcpy(&value, from, sizeof value);
    return value;
  }

  [[gnu::always_inline]] static inline std::uint64_t sum(const std::byte* data, std::size_t size) {
    Vector a = load(data), b = load(data + 16), c = load(data + 32), d = load(data + 48);
    for (std::size_t i = 64; i < size; i += 64) {
      a += load(data + i);
      b += load(data + i + 16);
      c += load(data + i + 32);
      d += load(data + i + 48);
    }
    const Vector all = (a + b) + (c + d);
    return all[0] + all[1];
  }

  [[gnu::always_inline]] static inline std::uint64_t word(const std::byte* from) {
    std::uint64_t value;
    std::memcpy(&value, from, sizeof value);
    return value;
  }

  std::size_t size_, words_;
  bool ends_only_;
  std::uint64_t* data_;
  std::uint64_t base_;
};

// Writes a message into memory that a transport lent: all of it, or its two ends.
inline void write_into(std::byte* to, const std::byte* message, std::size_t size, bool ends_only) {
  if (ends_only) {
    std::memcpy(to, message, 8);
    std::memcpy(to + size - 8, message + size - 8, 8);
  } else {
    std::memcpy(to, message, size);
  }
}

// Tells the driver that the other side can be started.
inline void announce_ready() {
  std::puts("{\"ready\": true}");
  std::fflush(stdout);
}

// Round trips in ticks; printed as one-way nanoseconds (half). Clocks tick in steps (10 ns on some
// machines, a quarter of the fastest round trip), so equal samples are taken as spread evenly over
// the step they stand for: a percentile moves smoothly instead of jumping by a step.
class Samples {
 public:
  explicit Samples(std::uint64_t count) { ticks_.reserve(count); }
  void add(std::uint64_t round_trip) { ticks_.push_back(static_cast<std::uint32_t>(std::min<std::uint64_t>(round_trip, UINT32_MAX))); }
  std::string json(double ns_per_tick) {
    std::sort(ticks_.begin(), ticks_.end());
    static constexpr struct { const char* name; double part; } kPoints[] = {
        {"min", 0}, {"p1", .01}, {"p10", .10}, {"p25", .25}, {"p50", .50}, {"p75", .75}, {"p90", .90}, {"p95", .95}, {"p98", .98},
        {"p99", .99}, {"p99.5", .995}, {"p99.8", .998}, {"p99.9", .999}, {"p99.95", .9995}, {"p99.99", .9999}, {"max", 1}};
    std::string out;
    for (const auto& point : kPoints) {
      char text[64];
      std::snprintf(text, sizeof text, ", \"%s\": %.1f", point.name, at(point.part) * ns_per_tick / 2);
      out += text;
    }
    return out;
  }

 private:
  [[nodiscard]] double at(double part) const {
    const double place = part * static_cast<double>(ticks_.size() - 1);
    const std::uint32_t value = ticks_[static_cast<std::size_t>(place)];
    const auto [first, last] = std::equal_range(ticks_.begin(), ticks_.end(), value);
    const double low = first == ticks_.begin() ? value : 0.5 * (*(first - 1) + static_cast<double>(value));
    const double high = last == ticks_.end() ? value : 0.5 * (*last + static_cast<double>(value));
    const double inside = (place - static_cast<double>(first - ticks_.begin()) + 0.5) / static_cast<double>(last - first);
    return low + (high - low) * std::clamp(inside, 0.0, 1.0);
  }

  std::vector<std::uint32_t> ticks_;
};

template <class Transport>
void ping(Transport& transport, const Arguments& arguments) {
  Payload payload(arguments), expected(arguments);
  const std::uint64_t warm_up = arguments.count / 10;
  Samples samples(arguments.count);
  std::uint64_t errors = 0, number = 0;
  const auto round_trip = [&] {
    payload.stamp(number);
    transport.send(payload.bytes(), arguments.size);
    transport.receive([&](const std::byte* data, std::size_t size) { errors += expected.wrong(data, size, number); });
    ++number;
  };
  for (std::uint64_t i = 0; i < warm_up; ++i) round_trip();
  const double cpu = cpu_seconds();
  const std::uint64_t begin = monotonic_ns();
  const TickScale scale;
  std::uint64_t before = ticks();
  for (std::uint64_t i = 0; i < arguments.count; ++i) {
    round_trip();
    const std::uint64_t now = ticks();
    samples.add(now - before);
    before = now;
  }
  const double seconds = 1e-9 * static_cast<double>(monotonic_ns() - begin);
  const double used = cpu_seconds() - cpu;
  std::printf("{\"count\": %llu, \"errors\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f%s}\n",
              static_cast<unsigned long long>(arguments.count), static_cast<unsigned long long>(errors), seconds, used,
              samples.json(scale.ns_per_tick()).c_str());
}

template <class Transport>
void pong(Transport& transport, const Arguments& arguments) {
  Payload payload(arguments), expected(arguments);
  const std::uint64_t warm_up = arguments.count / 10;
  std::uint64_t errors = 0;
  double cpu = 0;
  for (std::uint64_t number = 0; number < arguments.count + warm_up; ++number) {
    if (number == warm_up) cpu = cpu_seconds();
    transport.receive([&](const std::byte* data, std::size_t size) { errors += expected.wrong(data, size, number); });
    payload.stamp(number);
    transport.send(payload.bytes(), arguments.size);
  }
  std::printf("{\"count\": %llu, \"errors\": %llu, \"cpu_seconds\": %.6f}\n", static_cast<unsigned long long>(arguments.count),
              static_cast<unsigned long long>(errors), cpu_seconds() - cpu);
}

template <class Transport>
void send(Transport& transport, const Arguments& arguments) {
  Payload payload(arguments);
  const double cpu = cpu_seconds();
  if constexpr (Transport::kBatches) {
    if (arguments.batch > 1) {
      std::vector<std::unique_ptr<Payload>> payloads;
      std::vector<std::span<const std::byte>> records;
      for (std::size_t i = 0; i < arguments.batch; ++i) {
        payloads.push_back(std::make_unique<Payload>(arguments));
        records.emplace_back(payloads.back()->bytes(), arguments.size);
      }
      for (std::uint64_t number = 0; number < arguments.count;) {
        const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(arguments.batch, arguments.count - number));
        for (std::size_t i = 0; i < n; ++i) payloads[i]->stamp(number++);
        transport.send_many(std::span(records.data(), n));
      }
    }
  }
  if (arguments.batch == 1) {
    for (std::uint64_t number = 0; number < arguments.count; ++number) {
      payload.stamp(number);
      transport.send(payload.bytes(), arguments.size);
    }
  }
  std::printf("{\"count\": %llu, \"cpu_seconds\": %.6f}\n", static_cast<unsigned long long>(arguments.count), cpu_seconds() - cpu);
}

// The time runs from the first message received to the last one checked.
template <class Transport>
void receive(Transport& transport, const Arguments& arguments) {
  Payload expected(arguments);
  std::uint64_t errors = 0, number = 0, begin = 0;
  double cpu = 0;
  const auto check = [&](const std::byte* data, std::size_t size) { errors += expected.wrong(data, size, number++); };
  transport.receive(check);
  begin = monotonic_ns();
  cpu = cpu_seconds();
  if constexpr (Transport::kBatches) {
    const std::size_t takes = arguments.takes > 0 ? arguments.takes : arguments.batch;
    if (takes > 1)
      while (number < arguments.count) transport.receive_many(check, takes);
  }
  while (number < arguments.count) transport.receive(check);
  const double seconds = 1e-9 * static_cast<double>(monotonic_ns() - begin);
  std::printf("{\"count\": %llu, \"errors\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"rate\": %.1f}\n",
              static_cast<unsigned long long>(number), static_cast<unsigned long long>(errors), seconds, cpu_seconds() - cpu,
              static_cast<double>(number - 1) / seconds);
}

// For the role `alone`: `work(arguments)` prints the line of JSON.
template <class Work>
int run_alone(int argc, char** argv, Work&& work) {
  try {
    work(parse(argc, argv));
    std::fflush(stdout);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return 1;
  }
}

template <class Transport>
int run(int argc, char** argv) {
  return run_alone(argc, argv, [](const Arguments& arguments) {
    if ((arguments.batch > 1 || arguments.takes > 1) && !Transport::kBatches) fail("this contender has no batches");
    Transport transport(arguments);
    switch (arguments.role) {
      case Role::ping: ping(transport, arguments); break;
      case Role::pong: pong(transport, arguments); break;
      case Role::send: send(transport, arguments); break;
      case Role::receive: receive(transport, arguments); break;
      case Role::alone: fail("this contender needs a partner");
    }
  });
}

}  // namespace bench
