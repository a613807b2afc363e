// atoll bench: measures this machine: latency and rate between two processes, for records of several sizes.
//
// The command forks before it connects; each half then has a connection of its own. This one (the user's)
// gives orders to the other over a socket, takes the times and prints. Each size has two streams, ping and pong,
// removed when it is done: by this half however it ends, by the other one if this one was killed. Every record
// carries its number at both ends, and who receives it sums all its words. Everything that waits comes back after
// kPatience and looks whether the user, the time limit or the other half's end asks to stop.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "broker.hpp"
#include "exit_status.hpp"
#include "report.hpp"
#include "table.hpp"
#include "text.hpp"

namespace atoll_ipc::cli {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

constexpr auto kPatience = std::chrono::milliseconds(200);
constexpr unsigned kPollsAtOnce = 1u << 14;        // of a spinning receiver, before it looks whether to stop
constexpr std::size_t kMostSamples = 1u << 20;     // round trips of one measurement
constexpr std::uint64_t kSmallest = 8, kLargest = 256u << 20;  // bytes of a record
constexpr std::uint64_t kMostAtOnce = 64;          // records of one send_many
constexpr const char* kEverySize[] = {"64", "1KiB", "64KiB", "1MiB"};

struct BenchOptions {
  std::vector<std::string> sizes;
  double seconds = 10;
  std::optional<std::array<int, 2>> cpus;
};

struct Geometry {
  std::uint64_t size, capacity, at_once;
  std::uint32_t alignment;
  explicit Geometry(std::uint64_t bytes)
      : size(bytes), capacity(std::max<std::uint64_t>(std::bit_ceil(8 * bytes), 1u << 20)),
        at_once(std::clamp<std::uint64_t>(capacity / 4 / bytes, 1, kMostAtOnce)), alignment(bytes < 1024 ? 16 : 64) {}
};

// ---- Records ----

std::uint64_t sum_of(const std::byte* data, std::size_t bytes) {
  std::array<std::uint64_t, 4> sums{};  // four, so that the processor need not wait for each addition
  std::size_t at = 0;
  const auto word = [&](std::size_t offset) {
    std::uint64_t value = 0;
    std::memcpy(&value, data + offset, 8);
    return value;
  };
  for (; at + 32 <= bytes; at += 32)
    for (std::size_t i = 0; i < 4; ++i) sums[i] += word(at + 8 * i);
  for (; at + 8 <= bytes; at += 8) sums[0] += word(at);
  for (; at < bytes; ++at) sums[1] += static_cast<std::uint64_t>(data[at]);
  return sums[0] + sums[1] + sums[2] + sums[3];
}

// What is sent: bytes of which the first and the last whole word are the record's number.
class Payload {
 public:
  explicit Payload(std::uint64_t size) : bytes_(size), last_(size / 8 * 8 - 8) {
    for (std::size_t i = 0; i < size; ++i) bytes_[i] = static_cast<std::byte>(i * 31 + 7);
    number(0);
    rest_ = sum_of(bytes_.data(), size);
  }
  void number(std::uint64_t n) {
    std::memcpy(bytes_.data(), &n, 8);
    std::memcpy(bytes_.data() + last_, &n, 8);
  }
  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }
  // Reads all of `got`.
  [[nodiscard]] bool is(std::span<const std::byte> got, std::uint64_t n) const {
    return got.size() == bytes_.size() && sum_of(got.data(), got.size()) == rest_ + (last_ == 0 ? n : 2 * n);
  }

 private:
  std::vector<std::byte> bytes_;
  std::size_t last_;
  std::uint64_t rest_ = 0;
};

tl::unexpected<Error> wrong_record(std::uint64_t n) {
  return fail(Errc::system_error, "record " + with_thousands(n) + " did not arrive as it was sent", {}, n, "report this as a defect of Atoll");
}

// A record of another content ends a measurement.
constexpr Content kLast = Content::text;

struct Handles {
  Producer producer;
  Consumer consumer;
};

std::string ping(const std::string& name) { return name + "/ping"; }
std::string pong(const std::string& name) { return name + "/pong"; }

Result<Handles> open_handles(Client& client, const std::string& sends, const std::string& receives) {
  ConsumerOptions options;
  options.group = "bench";
  options.exclusive = true;
  auto consumer = client.open_consumer(receives, options);
  if (!consumer) return tl::unexpected(consumer.error());
  auto producer = client.open_producer(sends);
  if (!producer) return tl::unexpected(producer.error());
  return Handles{std::move(*producer), std::move(*consumer)};
}

// Calls until it succeeds: again when nothing came, if half.look() finds nothing to stop for.
template <class Half, class Call>
auto keep_trying(Half& half, bool spin, Call&& call) -> decltype(call(Deadline::now())) {
  for (;;) {
    for (unsigned i = 0; i < (spin ? kPollsAtOnce : 1); ++i) {
      auto result = spin ? call(Deadline::now()) : call(Deadline::in(kPatience));
      if (result || (result.error().code() != Errc::timed_out && result.error().code() != Errc::interrupted)) return result;
    }
    if (auto goes_on = half.look(); !goes_on) return tl::unexpected(goes_on.error());
  }
}

template <class Half>
Result<void> send_last(Half& half, Producer& producer) {
  return keep_trying(half, false, [&](Deadline wait) { return producer.send(std::string_view("end"), wait, kLast); });
}

// Both streams of a size, also if they are gone already.
void remove_streams(Client& client, const std::string& name) {
  for (const std::string& stream : {ping(name), pong(name)})
    for (int tries = 0; tries < 5; ++tries)  // a signal may interrupt it
      if (const auto removed = client.remove(stream, true); removed || removed.error().code() != Errc::interrupted) break;
}

Result<void> pin_to(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(cpu), &set);
  if (::sched_setaffinity(0, sizeof set, &set) == 0) return {};
  return fail(Errc::system_error, "cannot run on CPU " + std::to_string(cpu) + ": " + std::strerror(errno));
}

// ---- Between the halves: a JSON object a packet ----

Result<void> tell(int fd, const Json& message) {
  const std::string text = message.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (::send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size())) return {};
  return fail(Errc::system_error, "the other half of the measurement has ended");
}

// Nothing: the other half has gone.
std::optional<Json> hear(int fd) {
  std::string text(8192, '\0');
  ssize_t got = 0;
  do got = ::recv(fd, text.data(), text.size(), 0);
  while (got < 0 && errno == EINTR && stop_signal() == 0);
  if (got <= 0) return std::nullopt;
  Json message = Json::parse(text.substr(0, static_cast<std::size_t>(got)), nullptr, false);
  if (!message.is_object()) return std::nullopt;
  return message;
}

bool readable(int fd, int timeout_ms) {
  pollfd poll{fd, POLLIN, 0};
  return ::poll(&poll, 1, timeout_ms) > 0;
}

Json told(const Error& error) {
  return {{"error", {{"code", static_cast<int>(error.code())}, {"message", std::string(error.message())}, {"segment", std::string(error.segment())},
                     {"detail", error.detail()}, {"fix", std::string(error.fix())}}}};
}

// ---- The other half ----

class OtherHalf {
 public:
  OtherHalf(const Context& context, int fd) : context_(context), fd_(fd) {}

  // Obeys until the socket ends.
  void run() {
    while (const auto order = hear(fd_)) {
      const auto done = obey(*order);
      if (!tell(fd_, done ? Json::object() : told(done.error()))) break;
    }
    handles_.reset();
    if (client_) remove_streams(*client_, name_);  // those of a user's half that was killed
  }
  // Has the user's half gone?
  Result<void> look() {
    if (readable(fd_, 0)) return fail(Errc::interrupted);  // it says nothing while it waits for us, but hangs up
    return {};
  }

 private:
  Result<void> obey(const Json& order) {
    const std::string what = order.at("do");
    if (what == "begin") return begin(order.at("name"), order.at("cpu"));
    if (what == "open") return open();
    if (what == "echo") return echo(order.at("size"), order.at("spin"));
    if (what == "send") return send(order.at("size"), order.at("at_once"), nanoseconds(order.at("ns").get<std::int64_t>()));
    handles_.reset();  // "close"
    return {};
  }

  // Before there are streams, so that it knows what to remove.
  Result<void> begin(const std::string& name, int cpu) {
    name_ = name;
    auto client = connect(context_, TimeLimit(context_));
    if (!client) return tl::unexpected(client.error());
    client_.emplace(std::move(*client));
    return cpu >= 0 ? pin_to(cpu) : Result<void>();
  }

  Result<void> open() {
    auto handles = open_handles(*client_, pong(name_), ping(name_));
    if (!handles) return tl::unexpected(handles.error());
    handles_.emplace(std::move(*handles));
    return {};
  }

  // Sends every record back, until the last one.
  Result<void> echo(std::uint64_t size, bool spin) {
    const Payload payload(size);
    for (std::uint64_t n = 0;; ++n) {
      auto view = keep_trying(*this, spin, [&](Deadline wait) { return handles_->consumer.receive(wait); });
      if (!view) return tl::unexpected(view.error());
      if (view->content() == kLast) return {};
      if (!payload.is(view->data(), n)) return wrong_record(n);
      if (auto sent = keep_trying(*this, false, [&](Deadline wait) { return handles_->producer.send(view->data(), wait); }); !sent) return sent;
    }
  }

  Result<void> send(std::uint64_t size, std::uint64_t at_once, nanoseconds time) {
    std::vector<Payload> payloads(at_once, Payload(size));
    std::vector<std::span<const std::byte>> records;
    for (const Payload& payload : payloads) records.push_back(payload.bytes());
    const std::uint64_t between_looks = std::clamp<std::uint64_t>((64u << 10) / size, 1, 64);  // at the clock
    const auto end = Clock::now() + time;
    for (std::uint64_t n = 0, next_look = 0;;) {
      if (n >= next_look) {
        if (Clock::now() >= end) break;
        next_look = n + between_looks;
      }
      for (Payload& payload : payloads) payload.number(n++);
      std::size_t done = 0;
      const auto sent = keep_trying(*this, false, [&](Deadline wait) -> Result<void> {
        if (at_once == 1) return handles_->producer.send(records.front(), wait);
        std::size_t now = 0;
        auto result = handles_->producer.send_many(std::span(records).subspan(done), wait, Content::bytes, &now);
        done += now;
        return result;
      });
      if (!sent) return sent;
    }
    return send_last(*this, handles_->producer);
  }


  const Context& context_;
  int fd_;
  std::string name_;
  std::optional<Client> client_;
  std::optional<Handles> handles_;
};

// The other half, as this one sees it: a process that obeys. Ended by the destructor.
class Other {
 public:
  static Result<Other> start(const Context& context) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) return fail(Errc::system_error, std::string("socketpair: ") + std::strerror(errno));
    const pid_t pid = ::fork();
    if (pid < 0) {
      ::close(ends[0]);
      ::close(ends[1]);
      return fail(Errc::system_error, std::string("cannot start a second process: ") + std::strerror(errno));
    }
    if (pid == 0) {
      std::signal(SIGINT, SIG_IGN);  // Ctrl-C reaches both: the user's half tells this one
      std::signal(SIGTERM, SIG_IGN);
      ::close(ends[0]);
      OtherHalf(context, ends[1]).run();
      ::_exit(0);
    }
    ::close(ends[1]);
    return Other(ends[0], pid);
  }
  Other(Other&& other) noexcept : fd_(std::exchange(other.fd_, -1)), pid_(std::exchange(other.pid_, -1)), answered_(other.answered_) {}
  Other& operator=(Other&&) = delete;
  ~Other() {
    if (pid_ < 0) return;
    ::close(fd_);
    // It ends within kPatience; if something holds it up it is killed.
    if (const int ended = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)); ended >= 0) {
      if (!readable(ended, 5000)) ::kill(pid_, SIGKILL);
      ::close(ended);
    }
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }

  Result<void> begin(const Json& order) {
    answered_ = false;
    return tell(fd_, order);
  }
  // The answer to the order.
  Result<void> finish() {
    while (!answered_) {
      if (auto well = look(); !well) return well;
      if (!answered_) static_cast<void>(readable(fd_, static_cast<int>(kPatience.count())));
    }
    return {};
  }
  Result<void> order(const Json& order) {
    if (auto begun = begin(order); !begun) return begun;
    return finish();
  }
  // Is there a reason to stop: the user, or the other half's error?
  Result<void> look() {
    if (stop_signal() != 0) return fail(Errc::interrupted);
    if (!readable(fd_, 0)) return {};
    const auto answer = hear(fd_);
    if (!answer) return fail(Errc::system_error, "the other half of the measurement ended unexpectedly", {}, 0, "try again; if somebody killed it that is all");
    answered_ = true;
    if (!answer->contains("error")) return {};
    const Json& error = answer->at("error");
    return fail(static_cast<Errc>(error.at("code").get<int>()), error.at("message").get<std::string>(), error.at("segment").get<std::string>(),
                error.at("detail").get<std::uint64_t>(), error.at("fix").get<std::string>());
  }

 private:
  Other(int fd, pid_t pid) : fd_(fd), pid_(pid) {}
  int fd_;
  pid_t pid_;
  bool answered_ = true;
};

// ---- Measuring ----

struct Latency {
  std::vector<std::uint32_t> samples;  // nanoseconds one way, sorted
  // Nothing if there are too few round trips to tell.
  [[nodiscard]] std::optional<std::uint32_t> at(double part) const {
    if (static_cast<double>(samples.size()) * (1 - part) < 0.999) return std::nullopt;
    return samples[static_cast<std::size_t>(std::ceil(part * static_cast<double>(samples.size()))) - 1];
  }
};

struct Rate {
  std::uint64_t records = 0;
  double seconds = 0;
};

struct Figures {
  Geometry geometry;
  std::array<Latency, 2> latency{};  // spinning, blocking
  std::array<Rate, 2> rate{};        // one at a time, at_once at a time
};

struct LeftOut {
  std::uint64_t size;
  Error reason;
};

class Bench {
 public:
  Bench(Client& client, Other& other, const TimeLimit& limit, std::string name)
      : client_(client), other_(other), limit_(limit), name_(std::move(name)) {}

  // `before` is told what comes.
  template <class Before>
  Result<Figures> measure(const Geometry& geometry, nanoseconds time, Before&& before) {
    struct Remove {
      Bench& bench;
      ~Remove() { remove_streams(bench.client_, bench.name_); }
    } remove{*this};
    StreamOptions stream;
    stream.capacity = geometry.capacity;
    stream.alignment = geometry.alignment;
    for (const std::string& each : {ping(name_), pong(name_)})
      if (const auto created = client_.create(each, stream); !created) return tl::unexpected(created.error());
    auto handles = open_handles(client_, ping(name_), pong(name_));
    if (!handles) return tl::unexpected(handles.error());
    if (const auto opened = other_.order({{"do", "open"}}); !opened) return tl::unexpected(opened.error());

    Figures figures{geometry};
    for (const bool blocking : {false, true}) {
      before(blocking ? "latency, blocking" : "latency, spinning");
      auto latency = measure_latency(*handles, geometry.size, !blocking, time);
      if (!latency) return tl::unexpected(latency.error());
      figures.latency[blocking] = std::move(*latency);
    }
    for (const bool batched : {false, true}) {
      before(batched ? "rate, batched" : "rate, one by one");
      const auto rate = measure_rate(*handles, geometry, batched ? geometry.at_once : 1, time);
      if (!rate) return tl::unexpected(rate.error());
      figures.rate[batched] = *rate;
    }
    if (const auto closed = other_.order({{"do", "close"}}); !closed) return tl::unexpected(closed.error());
    return figures;
  }
  // Is there a reason to stop?
  Result<void> look() {
    if (limit_.passed()) return fail(Errc::timed_out);
    return other_.look();
  }

 private:
  // Half of each round trip. A tenth of the time warms up and does not count.
  Result<Latency> measure_latency(Handles& handles, std::uint64_t size, bool spin, nanoseconds time) {
    if (auto begun = other_.begin({{"do", "echo"}, {"size", size}, {"spin", spin}}); !begun) return tl::unexpected(begun.error());
    Payload payload(size);
    std::vector<std::uint32_t> samples(kMostSamples);  // zeroed: no page is touched for the first time while measuring
    std::size_t count = 0;
    auto before = Clock::now();
    const auto warm = before + time / 10, end = before + time;
    for (std::uint64_t n = 0; before < end && count < samples.size(); ++n) {
      payload.number(n);
      if (auto sent = keep_trying(*this, false, [&](Deadline wait) { return handles.producer.send(payload.bytes(), wait); }); !sent) return tl::unexpected(sent.error());
      auto view = keep_trying(*this, spin, [&](Deadline wait) { return handles.consumer.receive(wait); });
      if (!view) return tl::unexpected(view.error());
      if (!payload.is(view->data(), n)) return wrong_record(n);
      if (auto released = view->release(); !released) return tl::unexpected(released.error());
      const auto now = Clock::now();
      const auto half = std::chrono::duration_cast<nanoseconds>(now - before).count() / 2;
      if (before >= warm) samples[count++] = static_cast<std::uint32_t>(std::min<std::int64_t>(half, UINT32_MAX));
      before = now;
    }
    if (auto ended = send_last(*this, handles.producer); !ended) return tl::unexpected(ended.error());
    if (auto answered = other_.finish(); !answered) return tl::unexpected(answered.error());
    samples.resize(count);
    std::sort(samples.begin(), samples.end());
    return Latency{std::move(samples)};
  }

  // Records received and checked, from the first one received to the last.
  Result<Rate> measure_rate(Handles& handles, const Geometry& geometry, std::uint64_t at_once, nanoseconds time) {
    const Json order = {{"do", "send"}, {"size", geometry.size}, {"at_once", at_once}, {"ns", static_cast<std::int64_t>(time.count())}};
    if (auto begun = other_.begin(order); !begun) return tl::unexpected(begun.error());
    const Payload payload(geometry.size);
    std::uint64_t n = 0;
    Clock::time_point began;
    for (bool ended = false; !ended;) {
      if (at_once == 1) {
        auto view = keep_trying(*this, false, [&](Deadline wait) { return handles.consumer.receive(wait); });
        if (!view) return tl::unexpected(view.error());
        if (view->content() == kLast) break;
        if (n == 0) began = Clock::now();
        if (!payload.is(view->data(), n)) return wrong_record(n);
        ++n;
        if (auto released = view->release(); !released) return tl::unexpected(released.error());
        continue;
      }
      auto views = keep_trying(*this, false, [&](Deadline wait) { return handles.consumer.receive_many(kMostAtOnce, wait); });
      if (!views) return tl::unexpected(views.error());
      if (n == 0) began = Clock::now();
      for (const auto& record : *views) {
        ended = record.content() == kLast;
        if (ended) break;
        if (!payload.is(record.data(), n)) return wrong_record(n);
        ++n;
      }
      if (auto released = views->release(); !released) return tl::unexpected(released.error());
    }
    const std::chrono::duration<double> took = Clock::now() - began;
    if (auto answered = other_.finish(); !answered) return tl::unexpected(answered.error());
    return Rate{n, n > 0 ? took.count() : 0};
  }

  Client& client_;
  Other& other_;
  const TimeLimit& limit_;
  std::string name_;
};

// ---- Showing ----

double per_second(const Rate& rate, double what) { return rate.seconds > 0 ? what * static_cast<double>(rate.records) / rate.seconds : 0; }

// "126ns", "1.2us", "19us"
std::string time_for_people_short(std::optional<std::uint32_t> ns) {
  if (!ns) return "";
  static constexpr const char* kUnits[] = {"ns", "us", "ms", "s"};
  double value = *ns;
  std::size_t unit = 0;
  for (; value >= 999.5 && unit < 3; value /= 1000) ++unit;
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), unit > 0 && value < 9.95 ? "%.1f%s" : "%.0f%s", value, kUnits[unit]);
  return text.data();
}

// A receiver that spins on the sender's CPU keeps it from sending until its time slice ends.
bool shared_a_cpu(const Figures& figures) {
  const auto spinning = figures.latency[0].at(0.5), blocking = figures.latency[1].at(0.5);
  return spinning && blocking && *spinning > 500'000 && *spinning > 8 * static_cast<std::uint64_t>(*blocking);
}

void show(const std::vector<Figures>& all, const std::vector<LeftOut>& left_out, bool pinned) {
  static constexpr const char* kReceivers[] = {"spinning", "blocking"};
  output().write("One way: half a round trip between two processes\n");
  Table latency({{"SIZE", true}, {"RECEIVER"}, {"P50", true}, {"P99", true}, {"P99.9", true}, {"ROUND-TRIPS", true}});
  for (const Figures& figures : all)
    for (std::size_t i = 0; i < 2; ++i) {
      const Latency& one = figures.latency[i];
      latency.add({size_for_people(figures.geometry.size), kReceivers[i], time_for_people_short(one.at(0.5)), time_for_people_short(one.at(0.99)),
                   time_for_people_short(one.at(0.999)), with_thousands(one.samples.size())});
    }
  latency.print(output());
  output().write("\nRate: one process sends, the other receives and checks\n");
  Table rate({{"SIZE", true}, {"AT-ONCE", true}, {"RECORDS/S", true}, {"MB/S", true}});
  for (const Figures& figures : all)
    for (std::size_t i = 0; i < 2; ++i) {
      const Rate& one = figures.rate[i];
      rate.add({size_for_people(figures.geometry.size), i == 0 ? "1" : std::to_string(figures.geometry.at_once),
                with_thousands(static_cast<std::uint64_t>(per_second(one, 1))),
                with_thousands(static_cast<std::uint64_t>(per_second(one, static_cast<double>(figures.geometry.size) / 1e6)))});
    }
  rate.print(output());
  if (!pinned && std::any_of(all.begin(), all.end(), shared_a_cpu))
    output().write("\nSpinning was slow where the kernel ran both processes on one CPU, as it may on a\nbusy machine: --cpu 0,1 keeps them apart.\n");
  for (const LeftOut& one : left_out) {
    output().write("\nleft out: " + size_for_people(one.size) + ": " + output().safe(one.reason.message()) + "\n");
    if (!one.reason.fix().empty()) output().write("  fix: " + output().safe(one.reason.fix()) + "\n");
  }
}

Json described(const Latency& latency) {
  const auto number = [](std::optional<std::uint32_t> ns) { return ns ? Json(*ns) : Json(); };
  return {{"round_trips", latency.samples.size()}, {"p50_ns", number(latency.at(0.5))}, {"p99_ns", number(latency.at(0.99))}, {"p99_9_ns", number(latency.at(0.999))}};
}

Json described(const Rate& rate, std::uint64_t at_once, std::uint64_t size) {
  return {{"at_once", at_once}, {"records", rate.records}, {"records_per_s", std::round(per_second(rate, 1))},
          {"mb_per_s", std::round(per_second(rate, static_cast<double>(size) / 1e5)) / 10}};
}

void show_json(const BenchOptions& options, const std::vector<Figures>& all, const std::vector<LeftOut>& left_out) {
  Json sizes = Json::array();
  for (const Figures& figures : all) {
    const Geometry& geometry = figures.geometry;
    sizes.push_back({{"size", geometry.size}, {"capacity", geometry.capacity}, {"alignment", geometry.alignment},
                     {"latency", {{"spinning", described(figures.latency[0])}, {"blocking", described(figures.latency[1])}}},
                     {"rate", {{"single", described(figures.rate[0], 1, geometry.size)}, {"batched", described(figures.rate[1], geometry.at_once, geometry.size)}}}});
  }
  Json missing = Json::array();
  for (const LeftOut& one : left_out)
    missing.push_back({{"size", one.size}, {"name", one.reason.name()}, {"reason", std::string(one.reason.message())}, {"fix", std::string(one.reason.fix())}});
  output().write_json({{"seconds", options.seconds}, {"cpus", options.cpus ? Json(*options.cpus) : Json()}, {"sizes", std::move(sizes)}, {"left_out", std::move(missing)}});
}

// ---- The command ----

// Errors that say "not with this size", not "not at all".
bool is_of_this_size(Errc code) {
  return code == Errc::no_space || code == Errc::limit_reached || code == Errc::too_large || code == Errc::invalid_geometry;
}

Result<void> check_cpus(const std::array<int, 2>& cpus) {
  cpu_set_t possible;
  CPU_ZERO(&possible);
  if (::sched_getaffinity(0, sizeof possible, &possible) != 0) return fail(Errc::system_error, std::string("sched_getaffinity: ") + std::strerror(errno));
  std::string list;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &possible)) list += (list.empty() ? "" : ",") + std::to_string(cpu);
  for (const int cpu : cpus)
    if (!CPU_ISSET(static_cast<unsigned>(cpu), &possible))
      return fail(Errc::invalid_argument, "CPU " + std::to_string(cpu) + " is not one that this process may run on", {}, static_cast<std::uint64_t>(cpu), "choose from " + list);
  return {};
}

Result<int> run_bench(const Context& context, const BenchOptions& options) {
  const TimeLimit limit(context);
  if (options.cpus)
    if (const auto possible = check_cpus(*options.cpus); !possible) return tl::unexpected(possible.error());
  auto other = Other::start(context);  // before there is a connection: it does not survive a fork
  if (!other) return tl::unexpected(other.error());
  auto client = connect(context, limit);  // before pinning: the broker may run where it likes
  if (!client) return tl::unexpected(client.error());
  if (options.cpus)
    if (const auto pinned = pin_to((*options.cpus)[0]); !pinned) return tl::unexpected(pinned.error());

  const std::string name = "atoll-bench/" + std::to_string(::getpid());
  if (const auto begun = other->order({{"do", "begin"}, {"name", name}, {"cpu", options.cpus ? (*options.cpus)[1] : -1}}); !begun)
    return tl::unexpected(begun.error());

  const std::size_t measurements = options.sizes.size() * 4;
  const auto time = std::chrono::duration_cast<nanoseconds>(std::chrono::duration<double>(options.seconds / static_cast<double>(measurements)));
  Progress progress(true);
  std::size_t done = 0;
  std::vector<Figures> all;
  std::vector<LeftOut> left_out;
  Bench bench(*client, *other, limit, name);
  for (std::size_t i = 0; i < options.sizes.size(); ++i) {
    const Geometry geometry(*parse_size(options.sizes[i]));
    auto figures = bench.measure(geometry, time, [&](const char* what) {
      progress.update([&] { return "measurement " + std::to_string(done + 1) + " of " + std::to_string(measurements) + ": " + size_for_people(geometry.size) + ", " + what; });
      ++done;
    });
    if (figures) {
      all.push_back(std::move(*figures));
    } else if (is_of_this_size(figures.error().code())) {
      left_out.push_back({geometry.size, figures.error()});
      done = 4 * (i + 1);
    } else {
      return tl::unexpected(figures.error());
    }
  }
  progress.wipe();
  if (all.empty()) return tl::unexpected(left_out.front().reason);
  if (context.json)
    show_json(options, all, left_out);
  else
    show(all, left_out, options.cpus.has_value());
  return kOk;
}

std::optional<std::array<int, 2>> parse_cpus(const std::string& text) {
  std::array<int, 2> cpus{};
  const char* const end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, cpus[0]);
  if (first.ec != std::errc{} || first.ptr == end || *first.ptr != ',') return std::nullopt;
  const auto second = std::from_chars(first.ptr + 1, end, cpus[1]);
  if (second.ec != std::errc{} || second.ptr != end) return std::nullopt;
  for (const int cpu : cpus)
    if (cpu < 0 || cpu >= CPU_SETSIZE) return std::nullopt;
  return cpus;
}

}  // namespace

void add_bench(CLI::App& app, Context& context) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App& command = add_command(
      app, context, "bench",
      "Measure this machine: latency and rate of streams between two processes. Takes about ten seconds. One way is half a round trip; spinning: the "
      "receivers ask again and again, blocking: they wait as programs do. Rates are of send and receive one by one, and of send_many and receive_many. "
      "Every record is written and read as a whole. A dash means that there were too few round trips to tell. Its streams, atoll-bench/..., are "
      "removed in the end. A size for which there is no memory is left out, and named.",
      "atoll bench\n"
      "atoll bench --size 64 --size 4KiB --seconds 4\n"
      "atoll bench --cpu 0,1\n"
      "atoll bench --json | jq '.sizes[] | [.size, .latency.spinning.p50_ns]'\n");
  command.add_option("--size", options->sizes, "of the records, from 8 to 256MiB; may be repeated (default: 64, 1KiB, 64KiB and 1MiB)")
      ->type_name("SIZE")
      ->expected(1)
      ->take_all()
      ->check([](const std::string& text) -> std::string {
        const auto size = parse_size(text);
        return size && *size >= kSmallest && *size <= kLargest ? "" : "'" + text + "' is no size from 8 to 256MiB (64, 4KiB, 1MiB)";
      });
  command
      .add_option_function<std::string>(
          "--seconds",
          [options](const std::string& text) {
            const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), options->seconds);
            if (problem != std::errc{} || end != text.data() + text.size() || !(options->seconds >= 0.1 && options->seconds <= 3600))
              throw CLI::ValidationError("--seconds", "'" + text + "' is no number of seconds from 0.1 to 3600");
          },
          "measure this long altogether (default: 10)")
      ->type_name("SECONDS");
  command
      .add_option_function<std::string>(
          "--cpu",
          [options](const std::string& text) {
            options->cpus = parse_cpus(text);
            if (!options->cpus) throw CLI::ValidationError("--cpu", "'" + text + "' is not two numbers of CPUs (0,1)");
          },
          "run one process on CPU A and the other on B, which may be the same (default: where the kernel puts them)")
      ->type_name("A,B");
  command.callback([&context, options] {
    if (options->sizes.empty()) options->sizes.assign(std::begin(kEverySize), std::end(kEverySize));
    context.run = [&context, options] { return run_bench(context, *options); };
  });
}

}  // namespace atoll_ipc::cli
