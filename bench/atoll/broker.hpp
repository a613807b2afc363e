// A broker of a measurement's own: started by the first connect, as for a user who has none running.
//
// Its process id goes to the driver, in "broker_pid" of the printed line; the driver ends it. Should we fail
// before that, the broker leaves by itself when it has been idle for a while.
#pragma once

#include <sys/stat.h>

#include <fstream>
#include <map>

#include "expect.hpp"

namespace bench {

inline atoll_ipc::ConnectOptions own_broker(const Arguments& arguments) {
  const std::string directory = arguments.path + "/broker";
  mkdir(directory.c_str(), 0700);
  atoll_ipc::ConnectOptions options;
  options.socket_path = directory + "/socket";
  return options;
}

// A member of a reply of the broker; enough of JSON for the two that are asked for.
inline std::string member(const std::string& json, const std::string& name) {
  std::size_t at = json.find("\"" + name + "\":");
  if (at == std::string::npos) fail("the broker's reply has no " + name);
  at += name.size() + 3;
  while (json[at] == ' ' || json[at] == '"') ++at;
  return json.substr(at, json.find_first_of(",}\"", at) - at);
}

struct BrokerFacts {
  int pid = 0;
  std::string shm_directory;
};
inline BrokerFacts broker_facts(atoll_ipc::Client& client) {
  const std::string status = expect(client.call("Status"), "Status");
  return {std::stoi(member(status, "pid")), member(status, "shm_directory")};
}

// The numbers of /proc/PID/status: kilobytes, counts.
inline std::map<std::string, std::uint64_t> process_status(const std::string& path) {
  std::ifstream file(path);
  if (!file) fail("cannot read " + path);
  std::map<std::string, std::uint64_t> out;
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (colon != std::string::npos) out[line.substr(0, colon)] = std::strtoull(line.c_str() + colon + 1, nullptr, 10);
  }
  return out;
}
inline std::uint64_t resident_kib(int pid) {
  auto status = process_status("/proc/" + std::to_string(pid) + "/status");
  return status["RssAnon"] + status["RssFile"] + status["RssShmem"];
}

}  // namespace bench
