// The worker of the C++ interface. See README.md here.
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "atoll/atoll.hpp"

namespace {

using namespace atoll_ipc;
using namespace std::chrono_literals;

// So long that a wake-up that is lost is noticed.
const Deadline kLong = Deadline::in(60s);

std::atomic<bool> stop{false};
static_assert(std::atomic<bool>::is_always_lock_free);

[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "worker: %s\n", what.c_str());
  std::exit(1);
}

template <class T>
T taken(Result<T> result, const char* what) {
  if (!result) give_up(std::string(what) + ": " + result.error().name() + ": " + std::string(result.error().message()));
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

struct Head {
  std::uint32_t id, length;
  std::uint64_t sequence;
};
struct Event {
  std::uint32_t kind, id;
  std::uint64_t sequence;
  std::uint32_t deliveries, lost;
  std::uint64_t time;
};
static_assert(sizeof(Head) == 16 && sizeof(Event) == 32);

std::uint32_t length_of(std::uint32_t id, std::uint64_t sequence) {
  return static_cast<std::uint32_t>(16 + (sequence * sequence * 31 + std::uint64_t{id} * 17) % 700);
}

void fill(std::byte* to, std::uint32_t id, std::uint64_t sequence) {
  const Head head{id, length_of(id, sequence), sequence};
  std::memcpy(to, &head, sizeof head);
  for (std::uint32_t j = 16; j < head.length; ++j) to[j] = static_cast<std::byte>(sequence * 37 + id + j);
}

Head checked(std::span<const std::byte> data) {
  Head head{};
  if (data.size() < sizeof head) give_up("a record of " + std::to_string(data.size()) + " bytes");
  std::memcpy(&head, data.data(), sizeof head);
  std::vector<std::byte> expected(length_of(head.id, head.sequence));
  fill(expected.data(), head.id, head.sequence);
  if (data.size() != expected.size() || std::memcmp(data.data(), expected.data(), data.size()) != 0)
    give_up("record " + std::to_string(head.sequence) + " of producer " + std::to_string(head.id) + " is not what was sent");
  return head;
}

// Until it is done or the worker is to stop; true: done.
template <class Call>
bool insist(Call&& call, const char* what) {
  for (;;) {
    auto result = call();
    if (result) return true;
    const Errc code = result.error().code();
    if (code != Errc::timed_out && code != Errc::interrupted) give_up(std::string(what) + ": " + result.error().name() + ": " + std::string(result.error().message()));
    if (stop) return false;
  }
}

void produce(Client& client, const std::string& stream, std::uint32_t id, const char* path) {
  const int report = ::open(path, O_RDWR | O_CLOEXEC);
  if (report < 0) give_up("no report");
  const auto say = [&](std::uint64_t number, off_t at) {
    if (::pwrite(report, &number, sizeof number, at) != sizeof number) give_up("cannot report");
  };
  Producer producer = taken(client.open_producer(stream, Deadline::in(20s)), "open_producer");
  std::vector<std::byte> records[3] = {std::vector<std::byte>(716), std::vector<std::byte>(716), std::vector<std::byte>(716)};
  for (std::uint64_t next = 0; !stop;) {
    const std::uint64_t phase = next % 16;
    const std::uint64_t count = phase == 10 || phase == 13 ? 3 : 1;
    say(next + count, 0);
    if (phase == 10) {
      std::vector<Loan> loans;
      for (std::uint64_t i = 0; i < count; ++i) {
        if (!insist([&] {
              auto lent = producer.loan(length_of(id, next + i), kLong);
              if (lent) loans.push_back(std::move(*lent));
              return lent ? Result<void>{} : Result<void>(tl::unexpected(lent.error()));
            }, "loan")) return;
        fill(loans.back().data().data(), id, next + i);
        say(next + count, 0);  // to be a while in this state
      }
      for (; !loans.empty(); loans.pop_back()) {
        taken(loans.back().commit(), "commit");
        say(next + count, 0);
      }
    } else if (count == 1) {
      fill(records[0].data(), id, next);
      if (!insist([&] { return producer.send(std::span(records[0]).first(length_of(id, next)), kLong); }, "send")) return;
    } else {
      std::vector<std::span<const std::byte>> spans;
      for (std::uint64_t i = 0; i < count; ++i) {
        fill(records[i].data(), id, next + i);
        spans.push_back(std::span(records[i]).first(length_of(id, next + i)));
      }
      std::size_t done = 0;
      if (!insist([&] {
            std::size_t sent = 0;
            auto result = producer.send_many(std::span(spans).subspan(done), kLong, Content::bytes, &sent);
            done += sent;
            say(next + done, 8);
            return result;
          }, "send_many")) return;
    }
    next += count;
    say(next, 8);
    if (next % 64 == 0) std::this_thread::sleep_for(2ms);
  }
}

std::uint64_t now() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(time.tv_nsec);
}

void consume(Client& client, const std::string& stream, const std::string& group, const std::string& mode, const char* path) {
  const int log = ::open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
  if (log < 0) give_up("no log");
  const auto note = [&](std::uint32_t kind, const Head& head, const View& view) {
    const Event event{kind, head.id, head.sequence, view.deliveries(), static_cast<std::uint32_t>(view.lost()), now()};
    if (::write(log, &event, sizeof event) != sizeof event) give_up("cannot log");
  };
  ConsumerOptions options;
  options.group = group;
  options.manual = mode == "manual";
  options.exclusive = mode == "exclusive";
  options.wait = Deadline::in(20s);
  std::optional<Consumer> consumer;
  for (const std::uint64_t begin = now(); !consumer;) {
    auto opened = client.open_consumer(stream, options);
    if (opened) consumer.emplace(std::move(*opened));
    // Its predecessor's death is not yet noticed, or it still ends.
    else if (opened.error().code() != Errc::group_exclusive || now() - begin > 20'000'000'000u) taken(std::move(opened), "open_consumer");
    if (stop) return;
  }
  while (!stop) {
    auto received = consumer->receive(kLong);
    if (!received && (received.error().code() == Errc::timed_out || received.error().code() == Errc::interrupted)) continue;
    View view = taken(std::move(received), "receive");
    const Head head = checked(view.data());
    note(1, head, view);
    if (options.manual && head.sequence % 50 == 0 && view.deliveries() == 1) {
      taken(view.reject(), "reject");
      taken(view.release(), "release");
      continue;
    }
    if (options.manual) taken(view.acknowledge(), "acknowledge");
    const unsigned deliveries = view.deliveries();
    taken(view.release(), "release");
    const Event event{2, head.id, head.sequence, deliveries, 0, now()};
    if (::write(log, &event, sizeof event) != sizeof event) give_up("cannot log");
  }
}

// What is counted in a report: two numbers, the same, that grow while this worker works.
class Report {
 public:
  explicit Report(const char* path) : file_(::open(path, O_RDWR | O_CLOEXEC)) {
    if (file_ < 0) give_up("no report");
  }
  void one_more() {
    ++count_;
    const std::uint64_t numbers[2] = {count_, count_};
    if (::pwrite(file_, numbers, sizeof numbers, 0) != sizeof numbers) give_up("cannot report");
  }

 private:
  int file_;
  std::uint64_t count_ = 0;
};

// Of a producer that died among its loans the last may be committed and those before it aborted: not lost, never sent.
bool may_be_aborted_before(std::uint64_t sequence, std::uint64_t last) {
  const std::uint64_t phase = sequence % 16;
  return (phase == 11 || phase == 12) && last + 3 >= sequence;
}

// Of each producer in order, whole, and what is missing is told of.
void observe(Client& client, const std::string& stream, const char* path) {
  Report report(path);
  ObserverOptions options;
  options.wait = Deadline::in(20s);
  Observer observer = taken(client.open_observer(stream, options), "open_observer");
  std::map<std::uint32_t, std::uint64_t> last;
  while (!stop) {
    auto received = observer.receive(kLong);
    if (!received && (received.error().code() == Errc::timed_out || received.error().code() == Errc::interrupted)) continue;
    View view = taken(std::move(received), "receive");
    const Head head = checked(view.data());
    const auto [at, first] = last.try_emplace(head.id, head.sequence);
    if (!first) {
      const std::string what = "record " + std::to_string(head.sequence) + " of producer " + std::to_string(head.id) + " came after " + std::to_string(at->second);
      if (head.sequence <= at->second) give_up(what);
      if (head.sequence != at->second + 1 && view.lost() == 0 && !may_be_aborted_before(head.sequence, at->second)) give_up(what + ", and nothing was said of those between");
      at->second = head.sequence;
    }
    report.one_more();
  }
}

void put(Client& client, const std::string& segment, std::uint32_t id, const char* path) {
  Report report(path);
  Bytes bytes = taken(client.open_bytes(segment, MapMode::write, Deadline::in(20s)), "open_bytes");
  std::vector<std::byte> content(716);
  for (std::uint64_t sequence = 0; !stop; ++sequence) {
    fill(content.data(), id, sequence);
    if (!insist([&] { return bytes.put(std::span(content).first(length_of(id, sequence)), kLong); }, "put")) return;
    report.one_more();
    if (sequence % 64 == 0) std::this_thread::sleep_for(2ms);
  }
}

// Every content is whole, and of each putter they come in order.
void get(Client& client, const std::string& segment, const char* path) {
  Report report(path);
  Bytes bytes = taken(client.open_bytes(segment, MapMode::read, Deadline::in(20s)), "open_bytes");
  std::map<std::uint32_t, std::uint64_t> last;
  for (std::uint64_t version = 0; !stop;) {
    auto got = bytes.get(version, kLong);
    if (!got && (got.error().code() == Errc::timed_out || got.error().code() == Errc::interrupted)) continue;
    const Contents contents = taken(std::move(got), "get");
    if (contents.version <= version) give_up("version " + std::to_string(contents.version) + " came after " + std::to_string(version));
    version = contents.version;
    const Head head = checked(contents.data);
    const auto [at, first] = last.try_emplace(head.id, head.sequence);
    if (!first && head.sequence <= at->second) give_up("content " + std::to_string(head.sequence) + " of putter " + std::to_string(head.id) + " came after " + std::to_string(at->second));
    at->second = head.sequence;
    report.one_more();
  }
}

// One record goes to and fro; each side holds it for a while, which ends at any moment of the other's wait.
void converse(Client& client, const std::string& from, const std::string& to, bool begins, const char* path) {
  Report report(path);
  ConsumerOptions options;
  options.exclusive = true;
  options.wait = Deadline::in(20s);
  Consumer consumer = taken(client.open_consumer(from, options), "open_consumer");
  Producer producer = taken(client.open_producer(to, Deadline::in(20s)), "open_producer");
  std::vector<std::byte> record(716);
  std::minstd_rand random(begins ? 1 : 2);
  for (std::uint64_t sequence = 0; !stop; ++sequence) {
    if (!begins || sequence > 0) {
      std::optional<View> view;
      if (!insist([&] {
            auto received = consumer.receive(kLong);
            if (received) view.emplace(std::move(*received));
            return received ? Result<void>{} : Result<void>(tl::unexpected(received.error()));
          }, "receive")) return;
      static_cast<void>(checked(view->data()));
    }
    const std::uint64_t until = now() + random() % 80'000;
    while (now() < until) {
    }
    fill(record.data(), begins ? 1 : 2, sequence);
    if (!insist([&] { return producer.send(std::span(record).first(length_of(begins ? 1 : 2, sequence)), kLong); }, "send")) return;
    report.one_more();
  }
}

}  // namespace

int main(int argc, char** argv) {
  struct sigaction action {};
  action.sa_handler = [](int) { stop = true; };  // without SA_RESTART: waits end with `interrupted`
  ::sigaction(SIGTERM, &action, nullptr);
  if (argc < 4 || argc > 6) give_up("usage: see README.md");
  const std::string role = argv[1];
  ConnectOptions options;
  options.interruptible = true;
  Client client = taken(Client::connect(options), "connect");
  if (role == "produce") produce(client, argv[2], static_cast<std::uint32_t>(std::stoul(argv[3])), argv[4]);
  else if (role == "observe") observe(client, argv[2], argv[3]);
  else if (role == "put") put(client, argv[2], static_cast<std::uint32_t>(std::stoul(argv[3])), argv[4]);
  else if (role == "get") get(client, argv[2], argv[3]);
  else if (role == "ask") converse(client, std::string("answer") + argv[2], std::string("ask") + argv[2], true, argv[3]);
  else if (role == "answer") converse(client, std::string("ask") + argv[2], std::string("answer") + argv[2], false, argv[3]);
  else consume(client, argv[2], argv[3], argv[4], argv[5]);
  return 0;
}
