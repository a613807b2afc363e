// Who is at the other end: credentials, a pidfd, a start time, a command name. And whether it lives.
//
// Called at accept and after a restart. A process is named by pid and start time together, because
// pids come again; the pidfd then tells of its end. Never kill(pid, 0).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "atoll/protocol/wire.hpp"
#include "result.hpp"

namespace atoll_ipc::daemon {

struct Process {
  pid_t pid = 0;  // 0: of a pid namespace that we cannot see into
  uid_t uid = 0;
  std::uint64_t start_time = 0;  // clock ticks since boot, 0 if unknown
  std::string command;           // for people; control characters replaced
};

// The user that connected; it costs less than the rest.
Result<uid_t> peer_user(int socket);

// The process that connected. `pidfd` stays empty where the kernel gives none.
Result<Process> peer_of(int socket, protocol::UniqueFd& pidfd);

// Start time of a pid now, 0 if there is no such process.
std::uint64_t start_time_of(pid_t pid);

// A pidfd for exactly this process (pid and start time), or empty if it has ended. An error: that could not be found out,
// for want of descriptors or memory, say; a living process must not be taken for an ended one then.
Result<protocol::UniqueFd> open_process(const Process& process);

// A readable pidfd belongs to a process that has ended.
bool has_ended(int pidfd) noexcept;

// Tells this boot of the machine from others; empty if that cannot be known.
const std::string& boot_id();

std::string user_name(uid_t uid);
// False if there is no such user. Takes a name or a number. Of a name some seconds late.
bool user_id(const std::string& text, uid_t& uid);

}  // namespace atoll_ipc::daemon
