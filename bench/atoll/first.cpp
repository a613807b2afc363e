// How long it takes from nothing to the first message: connect, create a stream with a lane of 256 KiB, open
// a consumer and a producer, send, receive, check. One run of the process, one sample: nothing is warm.
//
// The broker is the one that runs (bench/run started it); --variant none: there is none, and connecting starts it.
#include "broker.hpp"

namespace {

using bench::expect;

void run(const bench::Arguments& arguments) {
  const bool none = arguments.variant == "none";
  const atoll_ipc::ConnectOptions where = none ? bench::own_broker(arguments) : atoll_ipc::ConnectOptions{};
  const std::string name = "bench/" + arguments.path.substr(arguments.path.rfind('/') + 1) + "/first";
  bench::Payload payload(arguments);
  payload.stamp(7);

  const double cpu = bench::cpu_seconds();
  const std::uint64_t begin = bench::monotonic_ns();
  auto client = expect(atoll_ipc::Client::connect(where), "connect");
  atoll_ipc::StreamOptions options;
  options.capacity = 256u << 10;
  expect(client.create(name, options), "create");
  auto consumer = expect(client.open_consumer(name), "open_consumer");
  auto producer = expect(client.open_producer(name), "open_producer");
  expect(producer.send(std::span(payload.bytes(), arguments.size)), "send");
  auto view = expect(consumer.receive(), "receive");
  const std::uint64_t wrong = payload.wrong(view.data().data(), view.data().size(), 7);
  const std::uint64_t took = bench::monotonic_ns() - begin;
  const double used = bench::cpu_seconds() - cpu;

  expect(view.release(), "release");
  consumer.close();
  producer.close();
  expect(client.remove(name, true), "remove");
  const int pid = none ? bench::broker_facts(client).pid : 0;
  std::printf("{\"count\": 1, \"errors\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"ms\": %.4f, \"broker_pid\": %d}\n",
              static_cast<unsigned long long>(wrong), 1e-9 * static_cast<double>(took), used, 1e-6 * static_cast<double>(took), pid);
}

}  // namespace

int main(int argc, char** argv) { return bench::run_alone(argc, argv, run); }
