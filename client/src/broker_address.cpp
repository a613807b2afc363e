#include "broker_address.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <string_view>
#include <vector>

namespace atoll_ipc {
namespace {

std::string directory_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

bool executable(const std::string& path) { return !path.empty() && ::access(path.c_str(), X_OK) == 0; }

// Beside the file that holds this code, or in the places where an installation puts it.
std::string find_atolld(const std::string& option) {
  if (!option.empty()) return option;
  if (const char* from_environment = ::secure_getenv("ATOLLD"); from_environment != nullptr && *from_environment != '\0')
    return from_environment;
  std::vector<std::string> directories;
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(&find_broker_address), &info) != 0 && info.dli_fname != nullptr)
    if (const std::string directory = directory_of(info.dli_fname); !directory.empty()) directories.push_back(directory);
  char self[PATH_MAX];
  const ssize_t n = ::readlink("/proc/self/exe", self, sizeof self);
  if (n > 0) directories.push_back(directory_of(std::string(self, static_cast<std::size_t>(n))));
  for (const std::string& directory : directories)
    for (const char* place : {"/atolld", "/../bin/atolld", "/../../bin/atolld", "/../sbin/atolld"})
      if (executable(directory + place)) return directory + place;
  if (const char* path = std::getenv("PATH"); path != nullptr) {
    std::string list = path;
    for (std::size_t begin = 0; begin <= list.size();) {
      const std::size_t end = std::min(list.find(':', begin), list.size());
      const std::string candidate = list.substr(begin, end - begin) + "/atolld";
      if (candidate.front() == '/' && executable(candidate)) return candidate;
      begin = end + 1;
    }
  }
  return {};
}

bool fill_address(const std::string& path, sockaddr_un& address) {
  if (path.size() > protocol::kMaxSocketPath) return false;
  address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return true;
}

tl::unexpected<Error> path_too_long(const std::string& path) {
  return fail(Errc::socket_path_too_long,
              "the socket's path '" + path + "' has " + std::to_string(path.size()) + " bytes, at most " +
                  std::to_string(protocol::kMaxSocketPath) + " are possible",
              {}, path.size());
}

// The machine's socket by another name, as /var/run/atoll/atoll.sock is one.
bool means_the_machines(const std::string& path) {
  const std::string_view machine = protocol::kMachineSocket;
  const auto slash = path.rfind('/');
  if (path.compare(slash, std::string::npos, machine.substr(machine.rfind('/'))) != 0) return false;
  struct stat theirs {}, there {};
  return ::stat(directory_of(std::string(machine)).c_str(), &theirs) == 0 && ::stat(directory_of(path).c_str(), &there) == 0 &&
         theirs.st_dev == there.st_dev && theirs.st_ino == there.st_ino;
}

}  // namespace

Result<BrokerAddress> find_broker_address(const std::string& option) {
  BrokerAddress address{option, {}};
  if (address.path.empty())
    if (const char* given = ::secure_getenv("ATOLL_SOCKET"); given != nullptr) address.path = given;
  if (address.path.empty()) {
    const char* runtime = ::secure_getenv("XDG_RUNTIME_DIR");
    address.path = runtime != nullptr && *runtime == '/' ? std::string(runtime) + "/atoll/atoll.sock"
                                                         : "/tmp/atoll-" + std::to_string(::geteuid()) + "/atoll.sock";
    if (::access(protocol::kMachineSocket, F_OK) == 0) address.fallback = protocol::kMachineSocket;
  } else if (address.path.front() != '/') {
    char here[PATH_MAX];
    if (::getcwd(here, sizeof here) == nullptr) return fail(Errc::system_error, std::string("getcwd: ") + std::strerror(errno));
    address.path = std::string(here) + "/" + address.path;
  }
  if (address.path.size() > protocol::kMaxSocketPath) return path_too_long(address.path);
  if (means_the_machines(address.path)) address.path = protocol::kMachineSocket;
  address.machine = address.path == protocol::kMachineSocket;
  return address;
}

Result<protocol::UniqueFd> connect_to_broker(const std::string& path) {
  sockaddr_un address;
  if (!fill_address(path, address)) return path_too_long(path);
  protocol::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket)
    return fail(errno == EMFILE || errno == ENFILE ? Errc::no_descriptors : Errc::system_error,
                std::string("a socket to reach the broker: ") + std::strerror(errno));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EACCES || errno == EPERM)
      return fail(Errc::not_permitted, "the broker's socket " + path + " is closed to your user", {}, 0,
                  "ask whoever runs that broker for access, or set ATOLL_SOCKET to your own");
    if (errno == EAGAIN) return fail(Errc::timed_out, "the broker at " + path + " does not take connections in time");
    return fail(Errc::no_broker, "no broker listens at " + path + " (" + std::strerror(errno) + ")");
  }
  ucred peer{};
  socklen_t length = sizeof peer;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
    return fail(Errc::system_error, std::string("SO_PEERCRED: ") + std::strerror(errno));
  bool trusted = peer.uid == ::geteuid() || peer.uid == 0;
  if (!trusted && path == protocol::kMachineSocket) {
    struct stat status {};
    trusted = ::stat(directory_of(path).c_str(), &status) == 0 && status.st_uid == peer.uid;
  }
  if (!trusted)
    return fail(Errc::untrusted_broker, "the broker at " + path + " runs as user " + std::to_string(peer.uid) + ", you are user " +
                                            std::to_string(::geteuid()), {}, peer.uid);
  return socket;
}

Result<protocol::UniqueFd> start_broker(const std::string& atolld_option, const BrokerAddress& address) {
  const std::string program = find_atolld(atolld_option);
  if (program.empty())
    return fail(Errc::no_broker, "no broker listens at " + address.path + " and the program atolld was not found to start one", {}, 0,
                "install atolld where PATH finds it, or set ATOLLD to its path");
  if (!executable(program))
    return fail(Errc::no_broker, "no broker listens at " + address.path + " and " + program + " cannot be run: " + std::strerror(errno), {},
                0, "set ATOLLD to the path of atolld");
  const std::string directory = directory_of(address.path);
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    return fail(Errc::bad_runtime_directory, "the runtime directory " + directory + " cannot be made: " + std::strerror(errno));
  int complaint[2];
  if (::pipe2(complaint, O_CLOEXEC) != 0)
    return fail(errno == EMFILE || errno == ENFILE ? Errc::no_descriptors : Errc::system_error,
                std::string("a pipe to hear from the broker: ") + std::strerror(errno));
  protocol::UniqueFd heard(complaint[0]);
  const protocol::UniqueFd said(complaint[1]);
  // The broker starts in the root directory: a relative path would name nothing there.
  const std::unique_ptr<char, decltype(&std::free)> whole(::realpath(program.c_str(), nullptr), &std::free);
  const char* const argv[] = {whole ? whole.get() : program.c_str(), "--autostart", "--socket", address.path.c_str(), nullptr};
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  // Forked twice, so that the broker is nobody's child here: no zombie, no SIGCHLD surprise later.
  // Only async-signal-safe calls below, since other threads may hold locks.
  const pid_t child = ::fork();
  if (child == 0) {
    ::setsid();
    const pid_t grandchild = ::fork();
    if (grandchild != 0) ::_exit(grandchild < 0 ? 1 : 0);
    const int null = ::open("/dev/null", O_RDWR);
    if (null >= 0) {
      ::dup2(null, 0);
      ::dup2(null, 1);
    }
    ::dup2(said.get(), 2);
    ::close_range(3, ~0u, 0);
    struct sigaction plain {};
    plain.sa_handler = SIG_DFL;
    for (int signal = 1; signal < 65; ++signal) ::sigaction(signal, &plain, nullptr);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    if (::chdir("/") == 0) ::execv(argv[0], const_cast<char* const*>(argv));
    constexpr std::string_view unrunnable = "atolld: no_broker: the program could not be run\nfix: set ATOLLD to the path of atolld\n";
    static_cast<void>(!::write(2, unrunnable.data(), unrunnable.size()));
    ::_exit(127);
  }
  const int fork_errno = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (child < 0) return fail(Errc::no_broker, std::string("starting a broker: fork: ") + std::strerror(fork_errno));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return heard;
}

Result<void> BrokerStart::wait(std::int64_t nanoseconds) {
  const timespec pause{nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
  if (!heard_) {
    // Another process starts it: there is nothing to wait on.
    if (::nanosleep(&pause, nullptr) != 0) return fail(Errc::interrupted);
    return {};
  }
  pollfd entry{heard_.get(), POLLIN, 0};
  const int heard = ::ppoll(&entry, 1, &pause, nullptr);
  if (heard < 0 && errno == EINTR) return fail(Errc::interrupted);
  if (heard <= 0) return {};
  char buffer[1024];
  const ssize_t n = ::read(heard_.get(), buffer, sizeof buffer);
  if (n < 0 && errno == EINTR) return {};
  if (n > 0 && text_.size() < 16 * sizeof buffer) {
    text_.append(buffer, static_cast<std::size_t>(n));
    return {};
  }
  heard_.reset();
  return verdict();
}

// The line "atolld: NAME: MESSAGE" of a broker that gave up, and its "fix: TEXT".
Result<void> BrokerStart::verdict() const {
  constexpr std::string_view begin = "atolld: ";
  const auto rest_of_line = [&](std::size_t from) { return text_.substr(from, text_.find('\n', from) - from); };
  for (std::size_t line = 0; line < text_.size(); line = std::min(text_.find('\n', line), text_.size() - 1) + 1) {
    if (text_.compare(line, begin.size(), begin) != 0) continue;
    for (const protocol::ErrorText& known : protocol::kErrorTexts) {
      const std::string name = std::string(begin) + known.name + ": ";
      if (text_.compare(line, name.size(), name) != 0) continue;
      const std::size_t fix = text_.find("\nfix: ", line);
      return fail(known.code, "no broker could be started: " + rest_of_line(line + name.size()), {}, 0,
                  fix == std::string::npos ? std::string(known.fix) : rest_of_line(fix + 6));
    }
  }
  return {};
}

}  // namespace atoll_ipc
