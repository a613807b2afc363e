// Atoll with 1,000 segments and 200 clients, on a fresh broker: `atoll ls`, an attach, the broker's memory.
//
// The clients are processes, each with a connection and a consumer that it holds. `ls_ms`: the command from its
// start to its end, its output read; `attach_ms`: a new connection and a producer on a segment that exists. Both
// are medians of 9.
#include <fcntl.h>
#include <spawn.h>

#include "../common/children.hpp"
#include "broker.hpp"

namespace {

using bench::expect;

constexpr int kSegments = 1000, kClients = 200, kTimes = 9;

std::string segment(int number) { return "bench/many/" + std::to_string(number); }

double milliseconds_since(std::uint64_t begin) { return 1e-6 * static_cast<double>(bench::monotonic_ns() - begin); }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Runs `atoll ls` of the same build as the broker, and returns how many lines it printed.
std::size_t list(const std::string& socket) {
  const char* broker = std::getenv("ATOLLD");
  if (broker == nullptr) bench::fail("ATOLLD is not set");
  std::string command(broker);
  command = command.substr(0, command.rfind('/')) + "/atoll";
  int out[2];
  if (pipe2(out, O_CLOEXEC) != 0) bench::fail_errno("cannot make a pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  const char* arguments[] = {command.c_str(), "ls", nullptr};
  setenv("ATOLL_SOCKET", socket.c_str(), 1);
  pid_t child = 0;
  const int error = posix_spawn(&child, command.c_str(), &actions, nullptr, const_cast<char**>(arguments), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(out[1]);
  if (error != 0) bench::fail("cannot run " + command + ": " + std::strerror(error));
  std::size_t lines = 0;
  char buffer[65536];
  for (ssize_t n; (n = read(out[0], buffer, sizeof buffer)) > 0;) lines += static_cast<std::size_t>(std::count(buffer, buffer + n, '\n'));
  close(out[0]);
  int status = 0;
  if (waitpid(child, &status, 0) != child || status != 0) bench::fail("atoll ls failed");
  return lines;
}

// A program may take half of what its user may have, and this one makes everything.
void start_broker(const std::string& socket) {
  const char* program = std::getenv("ATOLLD");
  if (program == nullptr) bench::fail("ATOLLD is not set");
  const char* arguments[] = {program, "--socket", socket.c_str(), "--program-share", "100", nullptr};
  pid_t child = 0;
  if (const int error = posix_spawn(&child, program, nullptr, nullptr, const_cast<char**>(arguments), environ); error != 0)
    bench::fail(std::string("cannot run ") + program + ": " + std::strerror(error));
  for (int i = 0; i < 5000; ++i) {
    if (access(socket.c_str(), F_OK) == 0) return;
    usleep(1000);
  }
  bench::fail("the broker did not start");
}

void run(const bench::Arguments& arguments) {
  const auto broker = bench::own_broker(arguments);
  start_broker(broker.socket_path);
  auto client = expect(atoll_ipc::Client::connect(broker), "connect");
  const bench::BrokerFacts facts = bench::broker_facts(client);
  std::uint64_t begin = bench::monotonic_ns();
  atoll_ipc::StreamOptions options;
  options.capacity = 64u << 10;
  for (int i = 0; i < kSegments; ++i) expect(client.create(segment(i), options), "create");
  const double create_ms = milliseconds_since(begin) / kSegments;

  bench::Children children;
  for (int i = 0; i < kClients; ++i)
    children.start([&, i] {
      auto own = expect(atoll_ipc::Client::connect(broker), "connect");
      auto consumer = expect(own.open_consumer(segment(i)), "open_consumer");
      children.ready();
    });
  children.wait_ready();

  std::vector<double> ls_ms, attach_ms;
  std::uint64_t wrong = 0;
  for (int i = 0; i < kTimes; ++i) {
    begin = bench::monotonic_ns();
    wrong += list(broker.socket_path) < kSegments;
    ls_ms.push_back(milliseconds_since(begin));
    begin = bench::monotonic_ns();
    auto own = expect(atoll_ipc::Client::connect(broker), "connect");
    auto producer = expect(own.open_producer(segment(kSegments - 1 - i)), "open_producer");
    attach_ms.push_back(milliseconds_since(begin));
  }
  const std::uint64_t resident = bench::resident_kib(facts.pid);
  children.go();
  children.join();
  std::printf("{\"count\": 1, \"errors\": %llu, \"seconds\": 1, \"cpu_seconds\": 0, \"ls_ms\": %.3f, \"attach_ms\": %.3f, \"create_ms\": %.3f, "
              "\"broker_kib\": %llu, \"broker_pid\": %d}\n",
              static_cast<unsigned long long>(wrong), median(ls_ms), median(attach_ms), create_ms,
              static_cast<unsigned long long>(resident), facts.pid);
}

}  // namespace

int main(int argc, char** argv) { return bench::run_alone(argc, argv, run); }
