// atoll status, atoll stop: the broker itself.
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <memory>

#include "broker.hpp"
#include "exit_status.hpp"
#include "fields.hpp"
#include "report.hpp"
#include "stored.hpp"
#include "table.hpp"

namespace atoll_ipc::cli {
namespace {

std::string plural(std::uint64_t count, const char* one) { return std::to_string(count) + " " + one + (count == 1 ? "" : "s"); }

Result<int> status_without_broker(const Context& context) {
  const std::string socket = socket_path(context.socket);
  const std::size_t segments = stored_segments(socket).size();
  if (context.json) {
    output().write_json({{"running", false}, {"socket", socket}, {"segments", segments}});
    return kNoBroker;
  }
  Facts facts;
  facts.add("broker", "none is running; commands that need one start it");
  facts.add("socket", socket, Cut::start);
  facts.add("segments", std::to_string(segments));
  facts.print(output());
  return kNoBroker;
}

Result<int> run_status(const Context& context) {
  const TimeLimit limit(context);
  auto client = connect_to_look(context, limit);
  if (!client) return tl::unexpected(client.error());
  if (!*client) return status_without_broker(context);
  const auto status = call(**client, "Status");
  if (!status) return tl::unexpected(status.error());
  if (context.json) {
    Json object = {{"running", true}};
    object.update(*status);
    output().write_json(object);
    return kOk;
  }
  Facts facts;
  facts.add("broker", std::string(is_true(*status, "recovering") ? "recovering" : "running") + ", version " + text_of(*status, "broker_version") + ", process " +
                          text_of(*status, "pid") + ", up " + age_for_people(number_of(*status, "uptime_ns") / 1'000'000'000) +
                          (is_true(*status, "autostarted") ? ", started by a client" : ""));
  facts.add("epoch", text_of(*status, "epoch"));
  facts.add("socket", text_of(*status, "socket"), Cut::start);
  facts.add("memory in", text_of(*status, "shm_directory"), Cut::start);
  facts.add("log", text_of(*status, "log"), Cut::start);
  const std::uint64_t processes = number_of(*status, "slots");
  facts.add("clients", plural(number_of(*status, "connections"), "connection") + ", " + std::to_string(processes) +
                           (processes == 1 ? " process" : " processes"));
  facts.add("segments", text_of(*status, "segments") + ", " + size_for_people(number_of(*status, "bytes")) + " of " +
                            size_for_people(number_of(*status, "bytes_limit")) + " that you may use");
  facts.add("memory", size_for_people(number_of(*status, "free")) + " free of " + size_for_people(number_of(*status, "total")));
  facts.print(output());
  return kOk;
}

// A descriptor of the broker's process that is readable once it has ended; -1 if it has, or if it
// cannot be seen from here (another pid namespace).
int open_broker_process(std::uint64_t pid) {
  std::ifstream comm("/proc/" + std::to_string(pid) + "/comm");
  std::string name;
  std::getline(comm, name);
  if (name != "atolld") return -1;
  return static_cast<int>(::syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0));
}

Result<int> run_stop(const Context& context) {
  const TimeLimit limit(context);
  auto client = connect_to_look(context, limit);
  if (!client) return tl::unexpected(client.error());
  std::uint64_t clients = 0;
  if (*client) {
    const auto status = call(**client, "Status");
    if (!status) return tl::unexpected(status.error());
    const int process = open_broker_process(number_of(*status, "pid"));
    const auto stopped = call(**client, "Stop");
    if (!stopped) {
      if (process >= 0) ::close(process);
      return tl::unexpected(stopped.error());
    }
    clients = number_of(*stopped, "clients");
    if (process >= 0) {
      // Gone when the command returns, so that what follows meets no broker that is about to leave.
      const auto ended = wait_for(limit, [&](Deadline deadline) -> Result<void> {
        pollfd wait[] = {{process, POLLIN, 0}, {stop_fd(), POLLIN, 0}};
        ::poll(wait, 2, static_cast<int>(deadline.timeout_ns() / 1'000'000));
        if (wait[0].revents != 0) return {};
        return fail(Errc::timed_out, "the broker was told to stop and has not ended yet", {}, 0, "look at its log; `atoll status` names it");
      });
      ::close(process);
      if (!ended) return tl::unexpected(ended.error());
    }
  }
  if (context.json)
    output().write_json({{"stopped", client->has_value()}, {"clients", clients}});
  else if (!*client)
    note("no broker was running");
  return kOk;
}

}  // namespace

void add_status(CLI::App& app, Context& context) {
  CLI::App& command = add_command(app, context, "status",
                                  "Tell how the broker is. Its process, socket, log, limits and use. Only looks: starts none; exit status 7 if "
                                  "there is none.",
                                  "atoll status\n"
                                  "atoll status --json | jq -r .log\n");
  command.callback([&context] { context.run = [&context] { return run_status(context); }; });
}

void add_stop(CLI::App& app, Context& context) {
  CLI::App& command = add_command(app, context, "stop",
                                  "Stop the broker, and wait until it has ended. Segments stay, but for those of backing memfd; programs that use "
                                  "them go on and start a new broker when they need one.",
                                  "atoll stop\n"
                                  "atoll stop --timeout 5\n");
  command.callback([&context] { context.run = [&context] { return run_stop(context); }; });
}

}  // namespace atoll_ipc::cli
