// Atoll with more than two processes: how the rate and the shares hold as producers and consumers grow.
//
// --variant PxC: P producers, C consumers in one shared group; PxCg: each consumer has a group of its own.
// Every producer and consumer is a process that connects for itself; nothing is pinned. All send and receive
// until the time is over, blocking as a user would; the parent reads everybody's counter at both ends of
// the window. --batch N receives with receive_many. Each message is checked, and its place in the order where a
// group has one consumer. Prints messages received a second by all consumers, and `fair`: the smallest
// share of a producer or consumer, 1 being an equal one.
#include <sys/mman.h>

#include <array>
#include <atomic>

#include "../common/children.hpp"
#include "expect.hpp"

namespace {

using bench::expect;

constexpr int kMost = 16;

// One writer each, on a line of its own.
struct alignas(128) Cell {
  std::atomic<std::uint64_t> count, errors, cpu_us;
};
struct Board {
  alignas(128) std::atomic<bool> stop;
  std::array<Cell, kMost> producers, consumers;
};

struct Shape {
  int producers = 1, consumers = 1;
  bool groups = false;
};

Shape parse_shape(const std::string& text) {
  Shape shape;
  char groups = 0;
  if (std::sscanf(text.c_str(), "%dx%d%c", &shape.producers, &shape.consumers, &groups) < 2 || shape.producers < 1 ||
      shape.consumers < 1 || shape.producers > kMost || shape.consumers > kMost)
    bench::fail("--variant must be PxC or PxCg, not " + text);
  shape.groups = groups == 'g';
  return shape;
}

void produce(const bench::Arguments& arguments, const std::string& name, bench::Children& children, Board& board, Cell& own) {
  auto client = expect(atoll_ipc::Client::connect(), "connect");
  auto producer = expect(client.open_producer(name, atoll_ipc::Deadline::in(std::chrono::seconds(10))), "open_producer");
  bench::Payload payload(arguments);
  children.ready();
  for (std::uint64_t number = 0; !board.stop.load(std::memory_order_relaxed);) {
    payload.stamp(number);
    expect(producer.send(std::span(payload.bytes(), arguments.size)), "send");
    own.count.store(++number, std::memory_order_relaxed);
  }
  expect(producer.finish(), "finish");
  own.cpu_us = static_cast<std::uint64_t>(1e6 * bench::cpu_seconds());
}

void consume(const bench::Arguments& arguments, const std::string& name, const std::string& group, bool in_order,
             bench::Children& children, Cell& own) {
  auto client = expect(atoll_ipc::Client::connect(), "connect");
  atoll_ipc::ConsumerOptions options;
  options.group = group;
  options.wait = atoll_ipc::Deadline::in(std::chrono::seconds(10));
  auto consumer = expect(client.open_consumer(name, options), "open_consumer");
  const bench::Payload expected(arguments);
  std::array<std::uint64_t, 256> next{};
  std::uint64_t count = 0, errors = 0;
  const auto check = [&](std::span<const std::byte> data, unsigned lane) {
    std::uint64_t number = 0;
    std::memcpy(&number, data.data(), std::min(sizeof number, data.size()));
    auto& wanted = next[lane & 255];
    errors += expected.wrong(data.data(), data.size(), number) | (in_order && number != wanted);
    wanted = number + 1;
    own.count.store(++count, std::memory_order_relaxed);
  };
  children.ready();
  for (;;) {
    atoll_ipc::Errc problem;
    if (arguments.batch > 1) {
      auto views = consumer.receive_many(arguments.batch);
      if (views) {
        for (const auto& record : *views) check(record.data(), views->lane());
        continue;
      }
      problem = views.error().code();
    } else {
      auto view = consumer.receive();
      if (view) {
        check(view->data(), view->lane());
        continue;
      }
      problem = view.error().code();
    }
    if (problem == atoll_ipc::Errc::ended) break;
    bench::fail("receive failed");
  }
  own.errors = errors;
  own.cpu_us = static_cast<std::uint64_t>(1e6 * bench::cpu_seconds());
}

// What each did between two looks at the counters: the sum, and the smallest part as a share of an equal one.
struct Shares {
  std::uint64_t sum = 0;
  double smallest = 1;
};
Shares shares(const std::array<Cell, kMost>& cells, const std::array<std::uint64_t, kMost>& before, int many) {
  Shares out;
  std::uint64_t least = UINT64_MAX;
  for (std::size_t i = 0; i < static_cast<std::size_t>(many); ++i) {
    const std::uint64_t own = cells[i].count.load(std::memory_order_relaxed) - before[i];
    out.sum += own;
    least = std::min(least, own);
  }
  if (out.sum > 0) out.smallest = static_cast<double>(least) * many / static_cast<double>(out.sum);
  return out;
}
std::array<std::uint64_t, kMost> counts(const std::array<Cell, kMost>& cells) {
  std::array<std::uint64_t, kMost> out{};
  for (std::size_t i = 0; i < kMost; ++i) out[i] = cells[i].count.load(std::memory_order_relaxed);
  return out;
}

void run(const bench::Arguments& arguments) {
  const Shape shape = parse_shape(arguments.variant);
  void* memory = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) bench::fail_errno("cannot map");
  Board& board = *new (memory) Board{};
  const std::string name = "bench/" + arguments.path.substr(arguments.path.rfind('/') + 1) + "/crowd";

  bench::Children children;  // started before the parent connects: handles are not inherited
  for (int i = 0; i < shape.consumers; ++i)
    children.start([&, i] {
      const std::string group = shape.groups ? "g" + std::to_string(i) : "g";
      consume(arguments, name, group, shape.groups || shape.consumers == 1, children, board.consumers[static_cast<std::size_t>(i)]);
    });
  for (int i = 0; i < shape.producers; ++i)
    children.start([&, i] { produce(arguments, name, children, board, board.producers[static_cast<std::size_t>(i)]); });

  auto client = expect(atoll_ipc::Client::connect(), "connect");
  atoll_ipc::StreamOptions options;
  options.capacity = arguments.capacity;
  options.alignment = arguments.align;
  expect(client.create(name, options), "create");
  children.wait_ready();
  children.go();
  bench::Children::watch(arguments.seconds / 4);  // everybody is running by then
  const auto sent_before = counts(board.producers), received_before = counts(board.consumers);
  const std::uint64_t begin = bench::monotonic_ns();
  bench::Children::watch(arguments.seconds);
  const double seconds = 1e-9 * static_cast<double>(bench::monotonic_ns() - begin);
  const Shares sent = shares(board.producers, sent_before, shape.producers);
  const Shares received = shares(board.consumers, received_before, shape.consumers);
  board.stop = true;
  children.join();
  expect(client.remove(name, true), "remove");

  std::uint64_t errors = 0, cpu_us = 0, all = 0;
  for (const auto* cells : {&board.producers, &board.consumers})
    for (const Cell& cell : *cells) {
      errors += cell.errors;
      cpu_us += cell.cpu_us;
    }
  for (const Cell& cell : board.consumers) all += cell.count;
  std::printf("{\"count\": %llu, \"errors\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"rate\": %.1f, \"fair\": %.4f, "
              "\"fair_producers\": %.4f, \"fair_consumers\": %.4f}\n",
              static_cast<unsigned long long>(all), static_cast<unsigned long long>(errors), seconds, 1e-6 * static_cast<double>(cpu_us),
              static_cast<double>(received.sum) / seconds, std::min(sent.smallest, received.smallest), sent.smallest, received.smallest);
}

}  // namespace

int main(int argc, char** argv) { return bench::run_alone(argc, argv, run); }
