#include "process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <optional>

#include "clock.hpp"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

namespace atoll_ipc::daemon {
namespace {

constexpr std::int64_t kUserKnownNs = 5'000'000'000;

// Empty, with errno, if it cannot be read.
std::string read_small(const std::string& path) {
  const protocol::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char buffer[1024];
  const ssize_t n = fd ? ::read(fd.get(), buffer, sizeof buffer) : -1;
  return n <= 0 ? std::string() : std::string(buffer, static_cast<std::size_t>(n));
}

protocol::UniqueFd pidfd_open(pid_t pid) {
  protocol::UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  return fd;
}

struct Facts {
  std::string command;
  std::uint64_t start_time = 0;  // 0: there is no such process
};
Facts look_at(pid_t pid) {
  if (pid <= 0) return {};
  const std::string stat = read_small("/proc/" + std::to_string(pid) + "/stat");
  // The command, field 2, is in parentheses and may hold anything; field 22 counts from the last one.
  const std::size_t open = stat.find('('), close = stat.rfind(')');
  if (open == std::string::npos || close == std::string::npos || close < open) return {};
  Facts facts;
  facts.command = stat.substr(open + 1, close - open - 1);
  for (char& c : facts.command)
    if (static_cast<unsigned char>(c) < 32 || static_cast<unsigned char>(c) >= 127) c = '?';
  std::size_t at = close;
  for (int field = 2; field < 22; ++field) {
    at = stat.find(' ', at + 1);
    if (at == std::string::npos) return facts;
  }
  facts.start_time = std::strtoull(stat.c_str() + at + 1, nullptr, 10);
  return facts;
}

}  // namespace

std::uint64_t start_time_of(pid_t pid) { return look_at(pid).start_time; }

Result<uid_t> peer_user(int socket) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return fail_errno(errno, "SO_PEERCRED");
  return credentials.uid;
}

Result<Process> peer_of(int socket, protocol::UniqueFd& pidfd) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return fail_errno(errno, "SO_PEERCRED");
  Process process;
  process.pid = credentials.pid;
  process.uid = credentials.uid;
  Facts facts = look_at(process.pid);
  process.command = std::move(facts.command);
  process.start_time = facts.start_time;
  int fd = -1;
  length = sizeof fd;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &length) == 0 && fd >= 0) {
    pidfd = protocol::UniqueFd(fd);
  } else if (process.pid > 0) {
    // The pid may have been reused between connect and now: only a start time that is the same
    // before and after proves that the descriptor is of the process whose start time we note.
    pidfd = pidfd_open(process.pid);
    if (!pidfd || process.start_time == 0 || start_time_of(process.pid) != process.start_time) pidfd.reset();
  }
  return process;
}

Result<protocol::UniqueFd> open_process(const Process& process) {
  if (process.pid <= 0) return protocol::UniqueFd();
  const auto unknown = [&] { return fail_errno(errno, "finding out whether process " + std::to_string(process.pid) + " lives"); };
  errno = 0;
  protocol::UniqueFd fd = pidfd_open(process.pid);
  if (!fd && errno != ESRCH && errno != EINVAL) return unknown();  // EINVAL: a thread of another process has that number now
  if (!fd || process.start_time == 0) return fd;
  errno = 0;
  const std::uint64_t now = start_time_of(process.pid);
  if (now == 0 && errno != ENOENT && errno != ESRCH && errno != 0) return unknown();
  return now == process.start_time ? std::move(fd) : protocol::UniqueFd();
}

bool has_ended(int pidfd) noexcept {
  pollfd entry{pidfd, POLLIN, 0};
  return ::poll(&entry, 1, 0) == 1 && (entry.revents & POLLIN) != 0;
}

const std::string& boot_id() {
  static const std::string id = [] {
    std::string text = read_small("/proc/sys/kernel/random/boot_id");
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
  }();
  return id;
}

std::string user_name(uid_t uid) {
  static std::map<uid_t, std::string> known;
  const auto at = known.find(uid);
  if (at != known.end()) return at->second;
  const passwd* entry = ::getpwuid(uid);
  const std::string name = entry != nullptr ? entry->pw_name : std::to_string(uid);
  if (known.size() < 1024) known.emplace(uid, name);
  return name;
}

bool user_id(const std::string& text, uid_t& uid) {
  if (!text.empty() && text.find_first_not_of("0123456789") == std::string::npos && text.size() <= 10) {
    const unsigned long long number = std::strtoull(text.c_str(), nullptr, 10);
    if (number >= UINT32_MAX) return false;
    uid = static_cast<uid_t>(number);
    return true;
  }
  // Looked up for each rule of each call: the answer, also that there is none, counts for some seconds.
  struct Answer {
    std::optional<uid_t> uid;
    std::int64_t until_ns = 0;
  };
  static std::map<std::string, Answer> known;
  const std::int64_t now = monotonic_ns();
  auto at = known.find(text);
  if (at == known.end() || at->second.until_ns < now) {
    if (known.size() >= 1024) known.clear();
    errno = 0;
    const passwd* entry = ::getpwnam(text.c_str());
    if (entry == nullptr && errno != 0 && errno != ENOENT && errno != ESRCH) return false;  // not known
    at = known.insert_or_assign(text, Answer{entry != nullptr ? std::optional(entry->pw_uid) : std::nullopt, now + kUserKnownNs}).first;
  }
  if (at->second.uid) uid = *at->second.uid;
  return at->second.uid.has_value();
}

}  // namespace atoll_ipc::daemon
