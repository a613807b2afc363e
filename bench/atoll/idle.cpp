// What Atoll costs when nothing happens: wake-ups, the broker's memory, and a stream's memory beside its lanes.
//
// A fresh broker, one process that waits in `receive` and one that holds a producer and sends nothing. For
// --seconds the voluntary context switches of all threads of each are counted (a process that wakes has to
// go to sleep again) and given a minute. The window begins a second after all are there, for what follows an attach to be over.
// `stream_kib`: what all files of the stream take, but for its lanes.
#include <filesystem>

#include "../common/children.hpp"
#include "broker.hpp"

namespace {

using bench::expect;

std::uint64_t wake_ups(pid_t process) {
  std::uint64_t sum = 0;
  const std::string tasks = "/proc/" + std::to_string(process) + "/task";
  for (const auto& task : std::filesystem::directory_iterator(tasks))
    sum += bench::process_status(task.path().string() + "/status")["voluntary_ctxt_switches"];
  return sum;
}

// What files take, those of lanes or all others. The broker keeps a segment's files in one directory (SPEC.md).
std::uint64_t allocated(const std::string& directory, bool lanes) {
  std::uint64_t sum = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    struct stat status{};
    const std::string file = entry.path().filename().string();
    if (file.starts_with("lane-") == lanes && entry.is_regular_file() && stat(entry.path().c_str(), &status) == 0)
      sum += static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  return sum;
}

void run(const bench::Arguments& arguments) {
  const auto broker = bench::own_broker(arguments);
  const std::string name = "bench/idle";
  auto client = std::make_unique<atoll_ipc::Client>(expect(atoll_ipc::Client::connect(broker), "connect"));
  const bench::BrokerFacts facts = bench::broker_facts(*client);
  const std::uint64_t without = allocated(facts.shm_directory, false);
  atoll_ipc::StreamOptions options;
  options.capacity = arguments.capacity;
  expect(client->create(name, options), "create");

  bench::Children children;
  const pid_t consumer = children.start([&] {
    auto own = expect(atoll_ipc::Client::connect(broker), "connect");
    auto reader = expect(own.open_consumer(name), "open_consumer");
    children.ready_and_go_on();
    expect(reader.receive(), "receive");
  });
  const pid_t producer = children.start([&] {
    auto own = expect(atoll_ipc::Client::connect(broker), "connect");
    auto writer = expect(own.open_producer(name), "open_producer");
    children.ready();
    expect(writer.send("done"), "send");
  });
  children.wait_ready();
  bench::Children::watch(1);
  const std::uint64_t of_broker = wake_ups(facts.pid), of_consumer = wake_ups(consumer), of_producer = wake_ups(producer);
  const std::uint64_t begin = bench::monotonic_ns();
  bench::Children::watch(arguments.seconds);
  const double seconds = 1e-9 * static_cast<double>(bench::monotonic_ns() - begin);
  const auto a_minute = [&](std::uint64_t before, std::uint64_t after) { return 60 * static_cast<double>(after - before) / seconds; };
  const double broker_after = a_minute(of_broker, wake_ups(facts.pid)), consumer_after = a_minute(of_consumer, wake_ups(consumer));
  const double producer_after = a_minute(of_producer, wake_ups(producer));
  const std::uint64_t stream = allocated(facts.shm_directory, false) - without;
  const std::uint64_t lanes = allocated(facts.shm_directory, true);
  const std::uint64_t resident = bench::resident_kib(facts.pid);
  children.go();
  children.join();
  expect(client->remove(name, true), "remove");
  std::printf("{\"count\": 1, \"errors\": 0, \"cpu_seconds\": 0, \"seconds\": %.1f, \"broker_wakeups_a_minute\": %.1f, \"consumer_wakeups_a_minute\": %.1f, "
              "\"producer_wakeups_a_minute\": %.1f, \"broker_kib\": %llu, \"stream_kib\": %.0f, \"lanes_kib\": %.0f, \"broker_pid\": %d}\n",
              seconds, broker_after, consumer_after, producer_after, static_cast<unsigned long long>(resident),
              static_cast<double>(stream) / 1024, static_cast<double>(lanes) / 1024, facts.pid);
}

}  // namespace

int main(int argc, char** argv) { return bench::run_alone(argc, argv, run); }
