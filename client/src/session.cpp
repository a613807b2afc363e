#include "session.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <map>

#include "atoll/protocol/failure.hpp"
#include "atoll/protocol/kill_point.hpp"
#include "atoll/protocol/names.hpp"
#include "bell_ringer.hpp"
#include "notifier.hpp"

namespace atoll_ipc {
namespace {

using nlohmann::json;
using protocol::UniqueFd;

constexpr std::string_view kErrorPrefix = "dev.atoll.Broker.";

constexpr std::int64_t kUsualNs = 10'000'000'000;
constexpr std::int64_t kSliceNs = 100'000'000;
// Of a call; negative: no limit.
std::int64_t nanoseconds(std::chrono::nanoseconds time) { return time.count() < 0 ? -1 : time.count() == 0 ? kUsualNs : time.count(); }

// A reply that carries an error, as ours.
Error error_of(const json& message) {
  const std::string name = message.value("error", "");
  const json parameters = message.contains("parameters") && message["parameters"].is_object() ? message["parameters"] : json::object();
  if (name.compare(0, kErrorPrefix.size(), kErrorPrefix) == 0) {
    const std::string wire = name.substr(kErrorPrefix.size());
    for (const protocol::ErrorText& text : protocol::kErrorTexts)
      if (wire == text.wire_name)
        return Error(text.code, parameters.value("message", ""), parameters.value("segment", ""),
                     parameters.contains("detail") && parameters["detail"].is_number_unsigned() ? parameters["detail"].get<std::uint64_t>() : 0,
                     parameters.value("fix", ""));
  }
  return Error(Errc::protocol_error, "the broker answered " + name + " " + parameters.dump(-1, ' ', false, json::error_handler_t::replace));
}

constexpr int kAttempts = 20;  // how many brokers may end under one call

bool connection_lost(const Error& error) { return error.code() == Errc::no_broker; }

std::mutex registry_mutex;
std::map<std::string, std::weak_ptr<Session>>& registry() {
  static auto* sessions = new std::map<std::string, std::weak_ptr<Session>>;  // outlives static destructors
  return *sessions;
}

}  // namespace

Session::Session(const ConnectOptions& first, BrokerAddress address)
    : language_(first.language), address_(std::move(address)), identity_(process_identity()), revival_(first) {
  revival_.timeout = {};
  revival_.interruptible = false;
}

Result<std::shared_ptr<Session>> Session::get(const ConnectOptions& options) {
  auto address = find_broker_address(options.socket_path);
  if (!address) return tl::unexpected(address.error());
  register_for_membarrier();
  std::shared_ptr<Session> session;
  {
    const std::lock_guard lock(registry_mutex);
    auto& known = registry()[address->path];
    session = known.lock();
    if (!session || !same_process(process_page(), session->identity_)) {
      session.reset(new Session(options, *address));
      known = session;
    }
  }
  Clock clock(Deadline::from_timeout_ns(nanoseconds(options.timeout)));
  auto lock = session->enter(clock);
  if (!lock) return tl::unexpected(lock.error());
  if (options.start_broker && !session->revival_.start_broker) {
    session->revival_.start_broker = true;
    session->revival_.atolld_path = options.atolld_path;
  }
  if (!session->socket_)
    if (auto connected = session->connect_locked(options, clock, clock); !connected) return tl::unexpected(connected.error());
  return session;
}

Session::~Session() {
  // In a forked child everything here is the parent's; closing the copies of its descriptors is all.
  if (!same_process(process_page(), identity_)) static_cast<void>(notifier_.release());
}

// In slices by the system's clock, whose jumps do no harm then.
Result<std::unique_lock<std::timed_mutex>> Session::enter(Clock& clock) {
  std::unique_lock lock(mutex_, std::try_to_lock);
  while (!lock.owns_lock()) {
    const std::int64_t left = clock.left();
    if (left == 0) return fail(Errc::timed_out, "another call of this process to the broker at " + address_.path + " was under way all the time");
    static_cast<void>(lock.try_lock_until(std::chrono::system_clock::now() + std::chrono::nanoseconds(left < 0 ? kSliceNs : std::min(left, kSliceNs))));
  }
  return lock;
}

Result<UniqueFd> Session::reach_locked(const ConnectOptions& how, Clock& clock) {
  std::int64_t pause_ns = 200'000;
  const std::int64_t begin = monotonic_ns();
  bool started = false, signalled = false;
  BrokerStart start;
  const bool only_machine = this->only_machine();
  const std::string& machine = address_.machine ? address_.path : address_.fallback;
  for (;;) {
    auto socket = connect_to_broker(only_machine ? machine : address_.path);
    if (socket) over_machine_ = only_machine;
    if (!only_machine && !address_.fallback.empty() && !socket && socket.error().code() == Errc::no_broker) {
      if (auto reached = connect_to_broker(machine)) {
        over_machine_ = true;
        return reached;
      }
    }
    if (socket || (socket.error().code() != Errc::timed_out && (socket.error().code() != Errc::no_broker || !how.start_broker))) return socket;
    const std::int64_t left = clock.left();
    const bool late = left >= 0 && left < pause_ns;
    const bool busy = socket.error().code() == Errc::timed_out;
    if (busy) {
      if (late) return socket;
    } else if (only_machine) {
      if (attachments_.empty() || late)
        return fail(Errc::no_broker, "the machine's broker at " + machine + " is away (" + std::string(socket.error().message()) + ")", {}, 0,
                    "start it (`systemctl start atolld`); what is open goes on with it");
    } else if (!started || pause_ns >= 100'000'000) {
      auto started_now = start_broker(how.atolld_path, address_);
      if (!started_now) return tl::unexpected(started_now.error());
      start.listen(std::move(*started_now));
      started = true;
      if (pause_ns >= 100'000'000) pause_ns = 10'000'000;
    }
    if (late)
      return fail(Errc::no_broker, "a broker was started for " + address_.path + " but did not answer in time (" + std::string(socket.error().message()) + ")", {}, 0,
                  "run `atolld --socket " + address_.path + "` by hand to see why, or read atolld.log beside the socket");
    if (auto waited = start.wait(pause_ns); !waited) {
      if (waited.error().code() != Errc::interrupted) return tl::unexpected(waited.error());
      signalled = how.interruptible;
    }
    if (signalled && monotonic_ns() >= begin + kUninterruptedNs) return fail(Errc::interrupted);
    pause_ns = std::min<std::int64_t>(pause_ns + pause_ns / 2, 100'000'000);
  }
}

Result<void> Session::connect_locked(const ConnectOptions& how, Clock& to_reach, Clock& clock) {
  for (int attempt = 0;; ++attempt) {
    static_cast<void>(clock.left());  // it runs from here
    socket_.reset();
    auto socket = reach_locked(how, to_reach);
    if (!socket) return tl::unexpected(socket.error());
    socket_ = std::move(*socket);
    ATOLL_KILL_POINT("hello.connected");
    Result<void> hello;
    try {
      hello = hello_locked(how, clock);
    } catch (...) {
      socket_.reset();  // a connection without its Hello is of no use to the next call
      throw;
    }
    if (hello) return hello;
    socket_.reset();
    // A broker that is just ending: the next one answers.
    const bool ending = connection_lost(hello.error()) || hello.error().code() == Errc::shutting_down;
    if (!ending || !how.start_broker || attempt >= kAttempts || clock.left() == 0) return hello;
  }
}

Result<void> Session::hello_locked(const ConnectOptions& how, Clock& clock) {
  json parameters{{"interface_version", protocol::kInterfaceVersion}, {"library", ATOLL_VERSION}, {"language", language_}};
  std::vector<int> memory;
  if (!token_.empty()) {
    parameters["token"] = token_;
    parameters["slot"] = slot();
    parameters["slot_generation"] = slot_generation();
    json list = json::array();
    for (const auto& attachment : attachments_) {
      json row{{"name", attachment->name}, {"generation", attachment->generation}, {"attachment", attachment->id}, {"role", attachment->role}};
      if (attachment->lane) row["lane"] = *attachment->lane;
      if (!attachment->group.empty()) row["group"] = attachment->group;
      list.push_back(std::move(row));
      memory.insert(memory.end(), attachment->memory.begin(), attachment->memory.end());
    }
    parameters["attachments"] = std::move(list);
  }
  if (memory.size() > protocol::kMaxFdsPerMessage) memory.resize(protocol::kMaxFdsPerMessage);
  auto reply = exchange_locked(socket_.get(), "Hello", parameters, memory, {clock, how.interruptible}, {});
  if (!reply) return tl::unexpected(reply.error());
  try {
    const json& in = reply->parameters;
    if (in.at("layout_version").get<int>() != protocol::kLayoutVersion)
      return fail(Errc::wrong_version, "the broker uses layout " + std::to_string(in["layout_version"].get<int>()) + ", this library (" ATOLL_VERSION ") layout " +
                                           std::to_string(protocol::kLayoutVersion));
    const auto slot = in.at("slot").get<unsigned>();
    if (slot >= protocol::kMaxSlots) return fail(Errc::protocol_error, "the broker gave slot " + std::to_string(slot));
    const bool known = in.at("known").get<bool>();
    UniqueFd bells;
    UniqueFd life;
    const json& fds = in.at("fds");
    for (std::size_t i = 0; i < fds.size() && i < reply->fds.size(); ++i) {
      const auto role = fds[i].at("role").get<std::string>();
      if (role == "bells") bells = std::move(reply->fds[i]);
      if (role == "life") life = std::move(reply->fds[i]);
    }
    if (!bells || !life) return fail(Errc::protocol_error, "the broker's Hello came without its descriptors");
    struct stat status {};
    if (::fstat(bells.get(), &status) != 0 || bells_mappings_.empty() || status.st_ino != bells_inode_) {
      auto mapping = Mapping::map(std::move(bells), protocol::kBellsFileSize, Access::write, false, false, "the broker's bells");
      if (!mapping) return tl::unexpected(mapping.error());
      bells_mappings_.push_back(std::make_unique<Mapping>(std::move(*mapping)));
      bells_inode_ = status.st_ino;
      bells_.store(bells_mappings_.back()->as<protocol::BellsFile>(), std::memory_order_release);
      ATOLL_KILL_POINT("hello.bells");
    }
    // Held as long as this process uses the slot: what a broker looks at that cannot see our pid.
    struct flock lock {};
    lock.l_type = F_RDLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = slot;
    lock.l_len = 1;
    static_cast<void>(::fcntl(life.get(), F_OFD_SETLK, &lock));
    ATOLL_KILL_POINT("hello.lock");
    life_ = std::move(life);
    slot_.store(slot, std::memory_order_relaxed);
    slot_generation_.store(in.at("slot_generation").get<std::uint32_t>(), std::memory_order_relaxed);
    token_ = in.at("token").get<std::string>();
    if (!known) {
      for (const auto& attachment : attachments_) attachment->lost.store(true);
      attachments_.clear();
    } else if (in.contains("lost")) {
      for (const json& id : in["lost"])
        for (const auto& attachment : attachments_)
          if (attachment->id == id.get<std::int64_t>()) attachment->lost.store(true);
      std::erase_if(attachments_, [](const auto& attachment) { return attachment->lost.load(); });
    }
    return {};
  } catch (const json::exception& exception) {
    return fail(Errc::protocol_error, std::string("the broker's Hello: ") + exception.what());
  }
}

Result<Reply> Session::exchange_locked(int socket, std::string_view method, const json& parameters, std::span<const int> fds, const Patience& patience,
                                       Wanted wanted) {
  std::string text = json{{"method", std::string(kErrorPrefix) + std::string(method)}, {"parameters", parameters}}.dump(-1, ' ', false, json::error_handler_t::replace);
  text.push_back('\0');
  Clock& clock = patience.clock;
  const std::int64_t begin = patience.interruptible ? monotonic_ns() : 0;
  bool signalled = false;
  // Waits until the socket is ready for `events`.
  const auto ready = [&](short events) -> Result<void> {
    for (;;) {
      const std::int64_t left = clock.left();
      const std::int64_t kept = signalled ? std::max<std::int64_t>(begin + patience.uninterrupted_ns - monotonic_ns(), 0) : -1;
      const std::int64_t slice = kept >= 0 && (left < 0 || left > kept) ? kept : left;
      const timespec time{slice / 1'000'000'000, slice % 1'000'000'000};
      pollfd entry{socket, events, 0};
      const int n = ::ppoll(&entry, 1, slice < 0 ? nullptr : &time, nullptr);
      if (n > 0) return {};
      if (n < 0 && errno != EINTR) return fail(Errc::system_error, std::string("ppoll: ") + std::strerror(errno));
      if (n < 0) signalled = patience.interruptible;
      if (signalled && monotonic_ns() >= begin + patience.uninterrupted_ns) return fail(Errc::interrupted);
      if (n == 0 && slice == left) return fail(Errc::timed_out, "the broker did not answer " + std::string(method) + " in time");
    }
  };
  const auto lost = [&](const char* what) {
    return fail(Errc::no_broker, "the connection to the broker at " + address_.path + " was lost (" + what + ") during " + std::string(method));
  };

  for (std::size_t sent = 0; sent < text.size();) {
    const ssize_t n = protocol::send_some(socket, std::string_view(text).substr(sent), sent == 0 ? fds : std::span<const int>(), MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) {
      if (auto writable = ready(POLLOUT); !writable) return tl::unexpected(writable.error());
      continue;
    }
    if (n < 0) return lost(std::strerror(errno));
    sent += static_cast<std::size_t>(n);
  }
  ATOLL_KILL_POINT("call.asked");
  Reply reply;
  std::string received;
  char buffer[16 * 1024];
  // Sleeps at once: on a CPU that the broker shares, looking first would only keep it from answering.
  for (;;) {
    if (auto readable = ready(POLLIN); !readable) return tl::unexpected(readable.error());
    bool truncated = false;
    const ssize_t n = protocol::receive_some(socket, buffer, reply.fds, MSG_DONTWAIT, &truncated);
    if (n < 0 && errno == EAGAIN) continue;
    if (n <= 0) return lost(n == 0 ? "closed by the broker" : std::strerror(errno));
    if (truncated) return fail(Errc::no_descriptors, "this process has no descriptors left to receive the files of " + std::string(method));
    received.append(buffer, static_cast<std::size_t>(n));
    if (received.back() == '\0') break;
    if (received.size() > protocol::kMaxReply) return fail(Errc::protocol_error, "the broker's reply is too long");
  }
  ATOLL_KILL_POINT("call.answered");
  if (wanted.answered != nullptr) *wanted.answered = true;
  received.pop_back();
  constexpr std::string_view result = "{\"parameters\":";
  if (wanted.for_text && received.starts_with(result) && received.back() == '}') {
    reply.text = received.substr(result.size(), received.size() - result.size() - 1);
    return reply;
  }
  json message = json::parse(received, nullptr, false);
  if (!message.is_object()) return fail(Errc::protocol_error, "the broker's reply is not JSON");
  if (message.contains("error")) return tl::unexpected(error_of(message));
  reply.parameters = message.contains("parameters") ? std::move(message["parameters"]) : json::object();
  if (wanted.for_text) reply.text = reply.parameters.dump(-1, ' ', false, json::error_handler_t::replace);
  return reply;
}

// On the session's connection. One on which a call ended before its answer was read is given up: the answer to it would be
// taken for the next one's. What the broker gave us in it, it takes back when the next Hello does not name it.
Result<Reply> Session::exchange_in_step(std::string_view method, const json& parameters, const Patience& patience, bool for_text) {
  struct Exchange {
    UniqueFd& socket;
    bool answered = false;
    ~Exchange() {
      if (!answered) socket.reset();
    }
  } exchange{socket_};
  return exchange_locked(socket_.get(), method, parameters, {}, patience, {for_text, &exchange.answered});
}

Result<std::string> Session::call_for_text(const ConnectOptions& how, std::string_view method, json parameters) {
  auto reply = call(how, method, std::move(parameters), true);
  if (!reply) return tl::unexpected(reply.error());
  return std::move(reply->text);
}

Result<Reply> Session::call(const ConnectOptions& how, std::string_view method, json parameters, bool for_text) {
  if (!same_process(process_page(), identity_)) return fail(Errc::forked);
  Clock clock(Deadline::from_timeout_ns(nanoseconds(how.timeout)));
  static_cast<void>(clock.left());  // it runs from here
  auto lock = enter(clock);
  if (!lock) return tl::unexpected(lock.error());
  for (int attempt = 0;; ++attempt) {
    if (!socket_)
      if (auto connected = connect_locked(how, clock, clock); !connected) return tl::unexpected(connected.error());
    auto reply = exchange_in_step(method, parameters, {clock, how.interruptible}, for_text);
    if (reply) return reply;
    const Errc code = reply.error().code();
    if (code == Errc::protocol_error) socket_.reset();
    // The broker that was asked first died after doing it.
    if (attempt > 0 && method == "Remove" && (code == Errc::unknown_segment || code == Errc::unknown_group)) return Reply{json::object(), "{}", {}};
    const bool again = connection_lost(reply.error()) || code == Errc::shutting_down;
    if (!again) return reply;
    socket_.reset();
    if (method == "Stop" || attempt >= kAttempts || clock.left() == 0) return reply;
  }
}

Result<void> Session::wait_for_segment(const ConnectOptions& how, const std::string& name, std::int64_t timeout_ns) {
  if (!same_process(process_page(), identity_)) return fail(Errc::forked);
  Clock clock(Deadline::from_timeout_ns(timeout_ns));
  for (;;) {
    static_cast<void>(clock.left());  // it runs from here
    UniqueFd socket;
    {
      Clock to_reach(Deadline::from_timeout_ns(nanoseconds(how.timeout)));
      auto lock = enter(to_reach);
      if (!lock) return tl::unexpected(lock.error());
      auto reached = reach_locked(how, to_reach);
      if (!reached) return tl::unexpected(reached.error());
      socket = std::move(*reached);
    }
    const std::int64_t left = clock.left();
    const std::int64_t wait_ms = left < 0 ? -1 : (left + 999'999) / 1'000'000;
    Clock to_answer(Deadline::from_timeout_ns(left < 0 ? -1 : left + 1'000'000'000));
    auto reply = exchange_locked(socket.get(), "Await", json{{"name", name}, {"wait_ms", wait_ms}}, {}, {to_answer, how.interruptible, 0}, {});
    if (reply) return {};
    const bool broker_gone = connection_lost(reply.error()) || reply.error().code() == Errc::shutting_down;
    if (!broker_gone || clock.left() == 0) return tl::unexpected(reply.error());
  }
}

void Session::remember(const std::shared_ptr<Attachment>& attachment) {
  const std::lock_guard lock(mutex_);
  attachments_.push_back(attachment);
}

void Session::detach(const ConnectOptions& how, const std::shared_ptr<Attachment>& attachment) noexcept {
  if (!same_process(process_page(), identity_)) return;
  try {
    const std::int64_t limit = nanoseconds(how.timeout);
    Clock clock(Deadline::from_timeout_ns(limit < 0 ? kUsualNs : std::min(limit, kUsualNs)));
    const std::lock_guard lock(mutex_);
    std::erase(attachments_, attachment);
    if (!socket_ || attachment->lost.load()) return;
    ATOLL_KILL_POINT("detach.asking");
    // If the broker is gone, its successor hears of it by the attachment's absence from the next Hello.
    // The same if it could not do it: without this connection the next call says Hello, and does not name it.
    if (!exchange_in_step("Detach", json{{"attachment", attachment->id}}, {clock})) socket_.reset();
    ATOLL_KILL_POINT("detach.answered");
  } catch (...) {
    // Out of memory: the broker finds out when this process ends.
  }
}

void Session::revive() noexcept {
  if (!same_process(process_page(), identity_)) return;
  try {
    const std::lock_guard lock(mutex_);
    const std::int64_t now = monotonic_ns();
    if (now - last_revival_ns_ < 100'000'000) return;
    last_revival_ns_ = now;
    if (socket_) {
      char byte;
      const ssize_t n = ::recv(socket_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
      if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;  // it lives
    }
    // Who sleeps hears records while the machine's broker is away, and asks again soon: nothing to wait for here.
    Clock to_reach(Deadline::from_timeout_ns(only_machine() ? 0 : 1'000'000'000)), clock(Deadline::from_timeout_ns(kUsualNs));
    static_cast<void>(connect_locked(revival_, to_reach, clock));
    ATOLL_KILL_POINT("revive.connected");
  } catch (...) {
  }
}

Notifier& Session::notifier() {
  const std::lock_guard lock(mutex_);
  if (!notifier_) notifier_ = std::make_unique<Notifier>(*this);
  return *notifier_;
}

}  // namespace atoll_ipc
