#include "in_process_broker.hpp"

#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>


namespace atoll_fuzz {

using namespace atoll_ipc;
using namespace atoll_ipc::daemon;
using nlohmann::json;

namespace {

std::string& shm_directory() {
  static std::string path;
  return path;
}

bool is_known(const json& message) {
  const auto error = message.find("error");
  if (error == message.end()) return message.contains("parameters") && message["parameters"].is_object();
  if (!error->is_string()) return false;
  const std::string name = *error;
  for (const char* of_varlink : {"InvalidParameter", "InterfaceNotFound", "MethodNotFound"})
    if (name == std::string("org.varlink.service.") + of_varlink) return true;
  for (const auto& text : protocol::kErrorTexts)
    if (name == std::string("dev.atoll.Broker.") + text.wire_name) return true;
  return false;
}

}  // namespace

atoll_ipc::daemon::Result<std::unique_ptr<Broker>> start_broker() {
  spdlog::set_level(spdlog::level::off);
  Options options;
  options.socket_path = directory() + "/atoll.sock";
  options.user_limits.bytes = 8u << 20;
  auto broker = Broker::make(options);
  // The broker takes its signals from a descriptor; here they end the process as ever.
  sigset_t all;
  ::sigemptyset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  return broker;
}

void end_broker(std::unique_ptr<Broker>& broker) {
  broker->connections.clear();
  broker.reset();
}

void confine_to(const Broker& broker) {
  shm_directory() = broker.runtime.shm_path;
  confine({directory(), shm_directory()});
  // The folder itself lies where this process may not write any more: its name for fuzz.py is the file that says whose it is.
  std::atexit([] {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(shm_directory(), ignored))
      if (entry.path().filename() != "runtime") std::filesystem::remove_all(entry.path(), ignored);
  });
}

void shorten_manifests() {
  for (const auto& entry : std::filesystem::directory_iterator(directory() + "/segments")) {
    std::ifstream in(entry.path());
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    nlohmann::json manifest = nlohmann::json::parse(text);
    manifest.erase("layout");
    std::ofstream(entry.path()) << manifest.dump();
  }
}

std::string with_directory(std::string_view text) {
  constexpr std::string_view mark = "@DIRECTORY@";
  std::string out(text);
  for (std::size_t at = 0; (at = out.find(mark, at)) != std::string::npos; at += directory().size()) out.replace(at, mark.size(), directory());
  return out;
}

Line::Line(Broker& broker) : broker_(broker), id_(broker.next_connection_++) {
  int pair[2];
  require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0, "there are descriptors for a connection");
  socket_ = protocol::UniqueFd(pair[0]);
  protocol::UniqueFd theirs(pair[1]);
  protocol::UniqueFd pidfd;
  static const Process self = [&] { return peer_of(theirs.get(), pidfd).value(); }();
  pidfd = std::move(open_process(self).value());
  auto made = std::make_unique<Connection>(*broker.loop, id_, std::move(theirs), self, std::move(pidfd), broker.events_);
  require(made->start().has_value(), "a connection can be watched");
  broker.connections.emplace(id_, std::move(made));
}

Line::~Line() {
  socket_.reset();
  if (Connection* mine = connection()) mine->on_ready(EPOLLIN | EPOLLHUP | EPOLLRDHUP);
  turn();
}

Connection* Line::connection() {
  const auto at = broker_.connections.find(id_);
  return at == broker_.connections.end() ? nullptr : at->second.get();
}

// What is due now, and no more: the loop's own run() would wait for more.
void Line::turn() {
  const bool stopped = std::exchange(broker_.loop->stopped_, false);
  broker_.loop->run_due_timers();
  while (broker_.loop->between_ && broker_.loop->between_()) {
  }
  broker_.loop->stopped_ = broker_.loop->stopped_ || stopped;
}

std::vector<Answer> Line::say(std::string_view bytes, std::size_t piece, std::span<const int> fds) {
  std::vector<Answer> answers;
  if (piece == 0) piece = 32 * 1024;
  while (!bytes.empty() && connection() != nullptr) {
    const ssize_t n = protocol::send_some(socket_.get(), bytes.substr(0, piece), fds, MSG_DONTWAIT);
    fds = {};
    if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
    int before = -1;
    for (int unread = 0; connection() != nullptr && ::ioctl(connection()->socket_.get(), FIONREAD, &unread) == 0 && unread > 0 && unread != before; before = unread) {
      connection()->on_ready(EPOLLIN);
      turn();
    }
    hear(answers);
    if (n <= 0) break;  // it does not read on: a call waits for its answer
  }
  if (Connection* mine = connection()) mine->on_ready(EPOLLOUT);
  turn();
  hear(answers);
  return answers;
}

void Line::hear(std::vector<Answer>& answers) {
  std::vector<protocol::UniqueFd> fds;
  char buffer[32 * 1024];
  for (ssize_t n; (n = protocol::receive_some(socket_.get(), buffer, fds, MSG_DONTWAIT)) > 0;) {
    heard_.append(buffer, static_cast<std::size_t>(n));
    if (Connection* mine = connection()) mine->on_ready(EPOLLOUT);
  }
  for (std::size_t end; (end = heard_.find('\0')) != std::string::npos; heard_.erase(0, end + 1)) {
    Answer answer{json::parse(heard_.substr(0, end), nullptr, false), std::move(fds)};
    fds.clear();
    require(answer.message.is_object() && is_known(answer.message), "every answer is a result or an error of the list");
    answers.push_back(std::move(answer));
  }
}

}  // namespace atoll_fuzz
