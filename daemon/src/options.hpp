// The broker's options: from the command line and a configuration file, both through CLI11.
//
// Called by main. Every flag may also stand in the file, by its long name without dashes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "result.hpp"

namespace atoll_ipc::daemon {

// Of one user. limits.hpp says how they are counted; kLimitNames (options.cpp) how they are called.
struct UserLimits {
  std::uint64_t connections = 256;  // and processes that hold something without one
  std::uint64_t connections_per_second = 250;
  std::uint64_t connection_burst = 500;
  std::uint64_t segments = 1024;
  std::uint64_t bytes = 0;  // 0: a quarter of the file system, at most 4 GiB; half of one under 1 GiB that no other user has part of
  std::uint64_t lanes = 4096;
  std::uint64_t attachments = 16384;
  std::uint64_t memfds = 0;         // files of memfd segments, each a descriptor of the broker; 0: a quarter of what it may open
  std::uint64_t watches = 64;       // connections that wait for a segment
  std::uint64_t descriptors = 1024; // sent and not yet taken
  std::uint64_t program_share = 50; // percent of what the user's other programs leave that one program may have
};

struct BrokerLimits {
  std::uint64_t connections = 4096;
  std::uint64_t segments = 8192;
  std::uint64_t lanes = 65536;
  std::uint64_t attachments = 65536;
  std::uint64_t watches = 1024;
  std::uint64_t descriptors = 4096;
};

struct Options {
  std::string socket_path;
  bool autostart = false;
  double idle_exit_s = 0;  // 0: never; with autostart 30
  std::string log_level = "info";
  std::string log_file;
  bool allow_other_users = false;  // others may connect; what they may do is up to each segment
  bool allow_unknown_users = false;
  double grace_s = 5;
  UserLimits user_limits;
  std::map<std::string, UserLimits> user_overrides;  // by name or number
  BrokerLimits broker_limits;
  std::vector<std::string> name_prefixes;  // USER:PREFIX, USER may be *; see name_policy.hpp
};

struct Parsed {
  Options options;
  bool exit_now = false;  // --help, --version, or a mistake that was reported
  int status = 0;
};

// Prints help and mistakes itself, as CLI11 does.
Parsed parse_options(int argc, char** argv);

// "NAME:limit=value" applied over `base`.
Result<void> apply_override(Options& options, const std::string& text);

// Where the socket is when nobody says: ATOLL_SOCKET, XDG_RUNTIME_DIR, /tmp/atoll-<uid>.
std::string default_socket_path();

}  // namespace atoll_ipc::daemon
