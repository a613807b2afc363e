#include "broker.hpp"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <csignal>
#include <limits>

#include "atoll/protocol/kill_point.hpp"
#include "bell_tower.hpp"
#include "clock.hpp"
#include "guard.hpp"
#include "methods.hpp"
#include "service_notify.hpp"

namespace atoll_ipc::daemon {
namespace {

constexpr std::int64_t kAcceptPauseNs = 100'000'000;
constexpr std::int64_t kUnseenCheckNs = 500'000'000;
constexpr int kAcceptedAtOnce = 16;
constexpr std::size_t kMostRefusedAtOnce = 64;  // of one user
constexpr std::size_t kMostRefusedOfAll = 512;
constexpr std::int64_t kLingerCheckNs = 1'000'000'000;

}  // namespace

Result<std::unique_ptr<Broker>> Broker::make(Options options) {
  std::unique_ptr<Broker> broker(new Broker);
  broker->options = std::move(options);
  if (auto started = broker->start(); !started) return fail(started.error());
  return broker;
}

Broker::~Broker() {
  ended_.clear();
  connections.clear();
}

Result<void> Broker::start() {
  auto policy = NamePolicy::make(options.name_prefixes);
  if (!policy) return fail(policy.error());
  name_policy = std::move(*policy);
  // They may be added later.
  const auto known = [](const std::string& user) { uid_t uid = 0; return user == "*" || user_id(user, uid); };
  for (const auto& [user, limits_of_user] : options.user_overrides)
    if (!known(user)) spdlog::warn("user-limit speaks of '{}', who is no user here", user);
  for (const auto& [user, prefix] : name_policy.prefixes())
    if (!known(user)) spdlog::warn("name-prefix speaks of '{}', who is no user here", user);
  started_ns = real_ns();
  started_monotonic_ns = monotonic_ns();
  auto opened = RuntimeDirectory::open(options);
  if (!opened) return fail(opened.error());
  runtime = std::move(*opened);
  install_guard();
  auto made = EventLoop::make();
  if (!made) return fail(made.error());
  loop = std::move(*made);

  Replay replay;
  auto read = Journal::open(runtime.directory.get(), replay);
  if (!read) return fail(read.error());
  journal = std::move(*read);
  if (replay.damaged_lines > 0) spdlog::warn("the journal has {} damaged lines; they were skipped", replay.damaged_lines);
  for (const nlohmann::json& entry : replay.entries)
    if (entry["t"] == "journal") epoch = std::max(epoch, entry_number(entry, "epoch"));
  ++epoch;

  store = std::make_unique<SegmentStore>(runtime, journal);
  slots = std::make_unique<Slots>(journal);
  recovery = std::make_unique<Recovery>(*loop, *store, *slots);
  limits = std::make_unique<Limits>(options, *store, *slots);
  methods_ = std::make_unique<Methods>(*this);
  events_ = {[this](Connection& connection) { turns_.ask(connection.peer.uid, connection.id); },
             [this](Connection& connection, std::string_view frame) { methods_->handle(connection, frame); },
             [this](Connection& connection, std::string_view why) { on_connection_end(connection, why); }};

  // The journal's new epoch first: a broker that dies while adopting still used this one up.
  {
    std::vector<nlohmann::json> entries = replay.entries;
    std::erase_if(entries, [](const nlohmann::json& entry) { return entry["t"] == "journal"; });
    entries.insert(entries.begin(), {{"t", "journal"}, {"version", kJournalVersion}, {"epoch", epoch}});
    if (auto written = journal.rewrite(entries); !written) return written;
  }
  ATOLL_KILL_POINT("broker.start.journal");
  if (auto adopted = store->adopt_all(replay, epoch); !adopted) return adopted;
  ATOLL_KILL_POINT("broker.start.adopted");
  slots->replay(replay, store->all());
  ATOLL_KILL_POINT("broker.start.slots");
  if (auto recovered = recover(); !recovered) return recovered;
  ATOLL_KILL_POINT("broker.start.recovered");
  if (auto written = write_journal(); !written) return written;
  loop->between([this] {
    ended_.clear();
    const bool more = turns_.round([this](std::uint64_t id) {
      const auto at = connections.find(id);
      if (at != connections.end()) at->second->take_turn();
    });
    ended_.clear();
    return more;
  });
  return listen();
}

// Processes that the journal names: the ended are dealt with, the others watched. Fails before anything is dealt with.
Result<void> Broker::recover() {
  std::vector<SlotKey> ended;
  std::size_t alive = 0;
  for (auto& [number, slot] : slots->all()) {
    if (slot.attachments.empty()) {
      ended.push_back(slot.key);
      continue;
    }
    if (slot.process.pid <= 0) {
      ++alive;
      continue;
    }
    auto pidfd = open_process(slot.process);
    if (!pidfd && wants(pidfd.error())) return fail(pidfd.error());
    if (!pidfd) {  // a sandbox forbids to look: end_grace() finds out in another way
      spdlog::warn("{}", pidfd.error().message);
      ++alive;
      continue;
    }
    slot.pidfd = std::move(*pidfd);
    if (!slot.pidfd || has_ended(slot.pidfd.get())) {
      ended.push_back(slot.key);
    } else {
      ++alive;
    }
  }
  // Lanes and groups must know their owners before anybody's death is dealt with.
  for (const auto& [name, segment] : store->all()) recovery->bind(segment);
  for (const SlotKey key : ended) recovery->process_ended(key);
  for (auto& [number, slot] : slots->all())
    if (slot.pidfd) watch_process(slot);
  const bool waiting_for_memory = std::any_of(store->all().begin(), store->all().end(), [](const auto& entry) { return entry.second->awaiting_memory; });
  if (alive > 0 || waiting_for_memory) {
    recovering = true;
    spdlog::info("recovering: {} processes may come back within {} s", alive, options.grace_s);
    loop->after(static_cast<std::int64_t>(options.grace_s * 1e9), [this] { end_grace(); });
  }
  return {};
}

void Broker::end_grace() {
  recovering = false;
  for (const auto& [name, segment] : store->all())
    if (segment->awaiting_memory) {
      if (store->end_wait(*segment))
        recovery->bind(segment);
      else
        spdlog::error("'{}' is lost: its memory had no name and nobody offered it back", name);
    }
  std::vector<SlotKey> unseen;
  for (const auto& [number, slot] : slots->all())
    if (!slot.pidfd && slot.connection == 0) unseen.push_back(slot.key);
  for (const SlotKey key : unseen) check_unseen(key);
}

// A slot whose process no pidfd can tell of: ended when its byte lock on `life` is free, its pid and start
// time are gone or unknowable, and it has had its time to come back.
void Broker::check_unseen(SlotKey key) {
  const Slot* slot = slots->find(key);
  if (slot == nullptr || slot->pidfd || slot->connection != 0) return;
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = key.slot;
  lock.l_len = 1;
  const bool free = ::fcntl(runtime.life.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
  const bool visible = slot->process.pid > 0 && slot->process.start_time != 0 && start_time_of(slot->process.pid) == slot->process.start_time;
  if (free && !visible) {
    spdlog::info("slot {}: its lock is free and its process unknown", key.slot);
    return process_ended(key);
  }
  loop->after(kUnseenCheckNs, [this, key] { check_unseen(key); });
}

Result<void> Broker::write_journal() {
  std::vector<nlohmann::json> entries{{{"t", "journal"}, {"version", kJournalVersion}, {"epoch", epoch}}};
  slots->save(entries, store->generation());
  store->save(entries);
  return journal.rewrite(entries);
}

Result<void> Broker::compact_journal_if_wanted() {
  if (!journal.rewrite_wanted()) return {};
  auto written = write_journal();
  if (!written) spdlog::error("{}", written.error().message);
  return journal.incomplete() ? written : Result<void>{};
}

Result<void> Broker::listen() {
  sigset_t handled;
  ::sigemptyset(&handled);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&handled, signal);
  ::sigprocmask(SIG_BLOCK, &handled, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  signals_ = UniqueFd(::signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return fail_errno(errno, "signalfd");
  if (auto watched = loop->watch(signals_.get(), EPOLLIN, [this](std::uint32_t) { on_signal(); }); !watched) return watched;

  spare_ = UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  listener_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener_) return fail_errno(errno, "a socket to listen on");
  // What lies there is a dead broker's: we hold the lock. Only a socket is removed, never a file.
  struct stat status {};
  if (::fstatat(runtime.directory.get(), runtime.socket_name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
    if (!S_ISSOCK(status.st_mode)) return fail(Errc::bad_runtime_directory, runtime.socket_path + " exists and is not a socket", {}, 0, "move it away, or use another --socket");
    ::unlinkat(runtime.directory.get(), runtime.socket_name.c_str(), 0);
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, runtime.socket_path.c_str(), runtime.socket_path.size() + 1);
  const mode_t before = ::umask(options.allow_other_users ? 0111 : 0177);
  const int bound = ::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int error = errno;
  ::umask(before);
  if (bound != 0) return fail_directory(error, "the socket " + runtime.socket_path + " cannot be made");
  ATOLL_KILL_POINT("broker.listen");
  if (::listen(listener_.get(), 4096) != 0) return fail_errno(errno, "listen");
  return loop->watch(listener_.get(), EPOLLIN, [this](std::uint32_t) { accept_some(); });
}

// Whoever waits without a deadline looks again once a minute: a hint may have been lost to a vandal.
void Broker::wake_waiters_each_minute() {
  loop->after(static_cast<std::int64_t>(protocol::kWaitCeilingNs), [this] {
    announce_life(*runtime.bells);  // it may have been written over
    static_cast<void>(guarded([&] { futex_wake(runtime.bells->life, std::numeric_limits<int>::max()); }));
    wake_waiters_each_minute();
  });
}

Result<void> Broker::run() {
  announce_life(*runtime.bells);
  ATOLL_KILL_POINT("broker.start.announced");
  wake_waiters_each_minute();
  watch_idleness();
  spdlog::info("atolld {} serves {} (epoch {}, {} segments)", ATOLL_VERSION, runtime.socket_path, epoch, store->all().size());
  notify_service("READY=1\nSTATUS=serving " + runtime.socket_path);
  auto ran = loop->run();
  leave();
  return ran;
}

void Broker::refuse_newcomer() {
  // No descriptor is left: the spare one lets us take the newcomer off the queue and drop it.
  spare_.reset();
  { const UniqueFd dropped(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)); }
  spare_ = UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!accept_paused_logged_) spdlog::error("no descriptor is left: newcomers are dropped (raise the limit with LimitNOFILE or ulimit -n)");
  accept_paused_logged_ = true;
  loop->change(listener_.get(), 0);
  loop->after(kAcceptPauseNs, [this] {
    if (listener_) loop->change(listener_.get(), EPOLLIN);
  });
}

void Broker::accept_some() {
  for (int i = 0; i < kAcceptedAtOnce && listener_; ++i) {
    UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) return refuse_newcomer();
      return;
    }
    const auto user = peer_user(socket.get());
    if (!user) continue;
    const uid_t uid = *user;
    if (uid == 65534 && !options.allow_unknown_users) {
      if (!unknown_user_logged_) spdlog::warn("a process of an unknown user (65534) was refused; further ones are refused without a word");
      unknown_user_logged_ = true;
      continue;
    }
    Tally of_user;
    std::size_t all = lingering_.size();
    std::size_t refused = 0, refused_of_user = 0;
    for (const auto& [other, connection] : connections) {
      ++(connection->refused ? refused : all);
      if (connection->peer.uid != uid) continue;
      if (connection->refused)
        ++refused_of_user;
      else
        of_user.add(connection->peer);
    }
    for (const Lingering& each : lingering_)
      if (each.peer.uid == uid) of_user.add(each.peer);
    auto allowed = limits->check_connections(uid, of_user, all);
    std::int64_t delay_ns = 0;
    if (allowed) {
      if (auto delay = limits->connection_delay_ns(uid))
        delay_ns = *delay;
      else
        allowed = fail(delay.error());
    }
    // So many hear why; who floods is not worth looking up.
    if (!allowed && (refused_of_user >= kMostRefusedAtOnce || refused >= kMostRefusedOfAll)) continue;
    UniqueFd pidfd;
    auto peer = peer_of(socket.get(), pidfd);
    if (!peer) continue;
    if (allowed) allowed = limits->check_connection(*peer, of_user);
    const std::uint64_t id = next_connection_++;
    auto connection = std::make_unique<Connection>(*loop, id, std::move(socket), std::move(*peer), std::move(pidfd), events_);
    if (!allowed) connection->refused = allowed.error();
    if (delay_ns == 0) {
      if (!connection->start()) continue;
    } else {
      loop->after(delay_ns, [this, id] {
        const auto at = connections.find(id);
        if (at != connections.end() && !at->second->start()) at->second->close_when_sent("it could not be watched");
      });
    }
    loop->cancel(idle_timer_);
    idle_timer_ = 0;
    connections.emplace(id, std::move(connection));
  }
}

void Broker::on_connection_end(Connection& connection, std::string_view why) noexcept {
  try {
    give_up(connection, why);
  } catch (const std::exception& exception) {
    spdlog::error("the end of connection {}: {}", connection.id, exception.what());
  }
  // It may be on the stack above us: out of the map now, destroyed when the loop is back.
  if (const auto at = connections.find(connection.id); at != connections.end()) ended_.insert(connections.extract(at));
  try {
    watch_idleness();
  } catch (const std::exception& exception) {
    spdlog::error("idleness is not watched: {}", exception.what());
  }
}

// What is to be done for a connection that ends, as far as there is memory for it.
void Broker::give_up(Connection& connection, std::string_view why) {
  spdlog::debug("connection {} of process {} ({}) ended: {}", connection.id, connection.peer.pid, connection.peer.command, why);
  if (connection.slot) {
    Slot* slot = slots->find(*connection.slot);
    if (slot != nullptr && slot->connection == connection.id) {
      slot->connection = 0;
      if (slot->attachments.empty())
        forget_slot(slot->key);
      else if (!slot->pidfd)
        loop->after(static_cast<std::int64_t>(options.grace_s * 1e9), [this, key = slot->key] { check_unseen(key); });
      // Otherwise quarantined: the pidfd will tell.
    }
  }
  if (connection.unread_descriptors(true) != 0) linger(connection);
  ATOLL_KILL_POINT("broker.connection.ended");
}

// Descriptors that lie in a closed connection's socket count against the broker in the kernel until the client takes
// them or hangs up, and against the client's user here: the socket is kept to see when that is.
void Broker::linger(Connection& connection) {
  lingering_.push_back({connection.peer, connection.unread_descriptors(false), connection.give_socket()});
  ::shutdown(lingering_.back().socket.get(), SHUT_RDWR);
  if (linger_timer_ == 0) look_after_lingering();
}

void Broker::look_after_lingering() {
  forget_taken();
  linger_timer_ = lingering_.empty() ? 0 : loop->after(kLingerCheckNs, [this] { look_after_lingering(); });
}

void Broker::forget_taken() {
  std::erase_if(lingering_, [](const Lingering& each) {
    int unread = 0;
    return ::ioctl(each.socket.get(), SIOCOUTQ, &unread) != 0 || unread == 0;
  });
}

Result<void> Broker::check_descriptors(uid_t uid) {
  const auto look = [&](bool closely) {
    std::size_t of_user = 0;
    std::size_t of_all = 0;
    const auto count = [&](uid_t whose, std::size_t number) {
      of_all += number;
      of_user += whose == uid ? number : 0;
    };
    for (const auto& [id, connection] : connections) count(connection->peer.uid, connection->unread_descriptors(closely));
    if (closely) forget_taken();
    for (const Lingering& each : lingering_) count(each.peer.uid, each.descriptors);
    return limits->check_descriptors(uid, of_user, of_all);
  };
  auto allowed = look(false);
  return allowed ? allowed : look(true);
}

void Broker::watch_process(const Slot& slot) {
  if (!slot.pidfd) return;
  const SlotKey key = slot.key;
  if (loop->watch(slot.pidfd.get(), EPOLLIN, [this, key](std::uint32_t) { process_ended(key); })) return;
  // The kernel watches no more descriptors for us: looked at now and then, until it does.
  loop->after(kUnseenCheckNs, [this, key] {
    const Slot* still = slots->find(key);
    if (still == nullptr || !still->pidfd) return;
    if (has_ended(still->pidfd.get())) return process_ended(key);
    watch_process(*still);
  });
}

void Broker::process_ended(SlotKey key) {
  Slot* slot = slots->find(key);
  if (slot == nullptr) return;
  const int pidfd = slot->pidfd.get();
  const std::uint64_t connection = slot->connection;
  recovery->process_ended(key);
  // Only now: if there was no memory for it, the descriptor says again that the process has ended.
  loop->forget(pidfd);
  // A forked child may keep the dead process's socket open; nothing more is owed to it.
  const auto at = connections.find(connection);
  if (at != connections.end()) {
    at->second->slot.reset();
    at->second->close_when_sent("its process has ended");
  }
  static_cast<void>(compact_journal_if_wanted());
}

void Broker::forget_slot(SlotKey key) {
  Slot* slot = slots->find(key);
  if (slot == nullptr || !slot->attachments.empty()) return;
  if (slot->pidfd) loop->forget(slot->pidfd.get());
  slots->release(key);
}

Tally Broker::waits_of(uid_t uid) const {
  Tally waits;
  for (const auto& [id, connection] : connections)
    if (connection->peer.uid == uid && !connection->waiting_for.empty()) waits.add(connection->peer);
  return waits;
}

std::size_t Broker::waits() const {
  return static_cast<std::size_t>(
      std::count_if(connections.begin(), connections.end(), [](const auto& entry) { return !entry.second->waiting_for.empty(); }));
}

void Broker::segment_appeared(const std::string& name) {
  std::vector<std::uint64_t> waiting;
  for (const auto& [id, connection] : connections)
    if (connection->waiting_for == name) waiting.push_back(id);
  for (const std::uint64_t id : waiting) {
    const auto at = connections.find(id);
    if (at != connections.end()) methods_->wait_over(*at->second);
  }
}

void Broker::on_signal() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGHUP) {
      spdlog::info("SIGHUP: nothing to read again; restart to change options");
      continue;
    }
    stop(info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
  }
}

void Broker::stop(const std::string& why) {
  if (stopping) return;
  stopping = true;
  ATOLL_KILL_POINT("broker.stop.begun");
  spdlog::info("stopping: {}", why);
  notify_service("STOPPING=1");
  // From now on nobody finds us; the next client starts a new broker.
  ::unlinkat(runtime.directory.get(), runtime.socket_name.c_str(), 0);
  ATOLL_KILL_POINT("broker.stop.unbound");
  if (listener_) loop->forget(listener_.get());
  listener_.reset();
  // After the call in hand has been answered.
  loop->after(0, [this] {
    std::vector<std::uint64_t> ids;
    for (const auto& [id, connection] : connections) ids.push_back(id);
    for (const std::uint64_t id : ids) {
      const auto at = connections.find(id);
      if (at == connections.end()) continue;
      if (!at->second->waiting_for.empty()) methods_->give_up_wait(*at->second);
      at->second->drain();
    }
    const bool all_sent = std::all_of(connections.begin(), connections.end(), [](const auto& entry) { return entry.second->idle(); });
    if (all_sent) return loop->stop();
    // Somebody is slow to read: a second more, no longer.
    loop->after(1'000'000'000, [this] { loop->stop(); });
  });
}

void Broker::watch_idleness() {
  if (options.idle_exit_s <= 0 || !connections.empty() || idle_timer_ != 0 || stopping) return;
  idle_timer_ = loop->after(static_cast<std::int64_t>(options.idle_exit_s * 1e9), [this] {
    idle_timer_ = 0;
    if (!connections.empty()) return;
    const bool holds_memory = std::any_of(store->all().begin(), store->all().end(), [](const auto& entry) {
      return entry.second->manifest.backing == protocol::Backing::memfd && !entry.second->broken;
    });
    if (holds_memory) return watch_idleness();
    stop("idle");
  });
}

void Broker::leave() {
  connections.clear();
  std::vector<SegmentPtr> memory;
  for (const auto& [name, segment] : store->all())
    if (segment->manifest.backing == protocol::Backing::memfd) memory.push_back(segment);
  // Without us nobody can find them any more.
  for (const SegmentPtr& segment : memory) store->remove(segment);
  ATOLL_KILL_POINT("broker.stop.memory");
  if (auto written = write_journal(); !written) spdlog::error("{}", written.error().message);
  if (store->all().empty()) {
    // Nothing is left to come back to: leave nothing behind but the lock (removing that would let two
    // brokers hold one each) and the log.
    ::unlinkat(runtime.directory.get(), "journal", 0);
    ATOLL_KILL_POINT("broker.stop.journal");
    ::unlinkat(runtime.directory.get(), "life", 0);
    ::unlinkat(runtime.directory.get(), "segments", AT_REMOVEDIR);
    ATOLL_KILL_POINT("broker.stop.directory");
    remove_tree_at(runtime.shm_parent.get(), directory_id(runtime.path));
    ::rmdir(("/dev/shm/atoll-" + std::to_string(::geteuid())).c_str());
  }
  spdlog::info("ended");
}

}  // namespace atoll_ipc::daemon
