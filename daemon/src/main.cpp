// atolld: the broker. Reads its options, opens its log, and serves.
#include <fcntl.h>
#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "broker.hpp"
#include "options.hpp"

namespace {

using atoll_ipc::daemon::Broker;
using atoll_ipc::daemon::Options;

constexpr std::size_t kLogSize = 8 << 20;

int report(const atoll_ipc::protocol::Failure& failure) {
  const auto& text = atoll_ipc::protocol::error_text(failure.code);
  spdlog::error("{}: {}", text.name, failure.message);
  std::fprintf(stderr, "atolld: %s: %s\nfix: %s\n", text.name, failure.message.c_str(),
               failure.fix.empty() ? text.fix : failure.fix.c_str());
  return 1;
}

// Started by a client: nothing of it may be kept open, or `x=$(atoll create ...)` would not return. Standard
// error is a pipe to the client; it hears there why the broker does not come up, and that it did when it is closed.
void leave_starter() {
  ::setsid();
  ::close_range(3, ~0u, 0);
  const int null = ::open("/dev/null", O_RDWR);
  if (null >= 0) {
    ::dup2(null, 0);
    ::dup2(null, 1);
    if (null > 2) ::close(null);
  }
  static_cast<void>(!::chdir("/"));
}

void stop_complaining() {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null >= 0) ::dup2(null, 2);
  ::close(null);
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// Nobody but the owner may read what this process knows; core dumps of it are of no use to others.
void open_log(Options& options) {
  if (options.log_file.empty() && options.autostart) {
    const auto slash = options.socket_path.rfind('/');
    options.log_file = options.socket_path.substr(0, slash) + "/atolld.log";
  }
  std::shared_ptr<spdlog::logger> logger;
  if (!options.log_file.empty()) {
    try {
      // Calls are logged that anybody may make as often as he likes: the file and one before it are all there is.
      logger = spdlog::rotating_logger_st("atolld", options.log_file, kLogSize, 1);
    } catch (const spdlog::spdlog_ex& exception) {
      std::fprintf(stderr, "atolld: the log file %s cannot be opened (%s); logging to standard error\n", options.log_file.c_str(), exception.what());
      options.log_file.clear();
    }
  }
  if (!logger) logger = spdlog::stderr_logger_st("atolld");
  logger->set_pattern(options.log_file.empty() && std::getenv("JOURNAL_STREAM") != nullptr ? "%l: %v" : "%Y-%m-%dT%H:%M:%S.%e%z %l: %v");
  logger->set_level(spdlog::level::from_str(options.log_level == "warn" ? "warning" : options.log_level));
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(logger);
}

int serve(int argc, char** argv) {
  auto parsed = atoll_ipc::daemon::parse_options(argc, argv);
  if (parsed.exit_now) return parsed.status;
  Options& options = parsed.options;
  if (options.autostart) leave_starter();
  ::umask(0077);
  raise_descriptor_limit();
  // The log lies in the runtime directory, which may not be there yet; Broker::make checks it properly. A client that starts us
  // has made it: where it is gone nobody wants us any more.
  if (const auto slash = options.socket_path.rfind('/'); slash != std::string::npos && slash != 0) {
    const std::string directory = options.socket_path.substr(0, slash);
    if (options.autostart && ::access(directory.c_str(), F_OK) != 0)
      return report(atoll_ipc::protocol::Failure{atoll_ipc::Errc::bad_runtime_directory, "the runtime directory " + directory + " was removed", {}, 0, {}});
    ::mkdir(directory.c_str(), options.allow_other_users ? 0755 : 0700);
  }
  open_log(options);
  auto broker = Broker::make(options);
  if (!broker) {
    // Twenty clients may have started twenty of us: all but one leave without a word.
    if (options.autostart && broker.error().code == atoll_ipc::Errc::broker_running) return 0;
    return report(broker.error());
  }
  if (options.autostart) stop_complaining();
  if (auto ran = (*broker)->run(); !ran) return report(ran.error());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return serve(argc, argv);
  } catch (const std::exception& exception) {
    // Before it serves, or while it ends: nothing that is written down is half done.
    std::fprintf(stderr, "atolld: system_error: %s\nfix: give it more memory\n", exception.what());
    return 1;
  }
}
