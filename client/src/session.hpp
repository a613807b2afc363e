// The connection to the broker that a process has: one for each socket path, shared by all its
// clients and handles.
//
// Gives the process its slot and its bell, calls methods, and comes back by itself after the broker
// was restarted: Hello with the old token and the list of what this process holds. Thread-safe: calls
// are made one at a time under a mutex. Never used in a forked child (see process.hpp).
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "atoll/atoll.hpp"
#include "atoll/protocol/bell.hpp"
#include "atoll/protocol/wire.hpp"
#include "broker_address.hpp"
#include "mapping.hpp"

namespace atoll_ipc {

class Clock;
class Notifier;

// Something this process holds at the broker. Shared by the engine that uses it and the session that
// names it again after a restart.
struct Attachment {
  std::int64_t id = 0;
  std::string name;
  std::uint64_t generation = 0;
  std::string role;
  std::optional<unsigned> lane;
  std::string group;
  std::vector<int> memory;         // descriptors of memfd files, to offer back; owned by the engine's mappings
  std::atomic<bool> lost{false};   // the broker does not know it any more
};

struct Reply {
  nlohmann::json parameters;
  std::string text;  // of the parameters, instead of them, if so asked
  std::vector<protocol::UniqueFd> fds;
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  // The process's session for this address; made if there is none.
  static Result<std::shared_ptr<Session>> get(const ConnectOptions& options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // `how`: of the client that calls: how long it waits, whether it starts a broker, whether signals interrupt it.
  Result<Reply> call(const ConnectOptions& how, std::string_view method, nlohmann::json parameters) { return call(how, method, std::move(parameters), false); }
  // For who passes the reply on: its parameters as JSON text, not parsed here.
  Result<std::string> call_for_text(const ConnectOptions& how, std::string_view method, nlohmann::json parameters);
  // A call that may take `timeout_ns` (negative: no limit): on a connection of its own, so that it holds up
  // nobody. Used to wait for a segment to appear; the attachment is then made by call().
  Result<void> wait_for_segment(const ConnectOptions& how, const std::string& name, std::int64_t timeout_ns);

  // After a successful Attach: remembers it for the next Hello.
  void remember(const std::shared_ptr<Attachment>& attachment);
  // Gives it back to the broker, if one is there.
  void detach(const ConnectOptions& how, const std::shared_ptr<Attachment>& attachment) noexcept;

  // The broker is known to be dead: connect again, starting one if allowed. At most one attempt per
  // 100 ms, whoever asks.
  void revive() noexcept;

  [[nodiscard]] unsigned slot() const noexcept { return slot_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint32_t slot_generation() const noexcept { return slot_generation_.load(std::memory_order_relaxed); }
  [[nodiscard]] protocol::BellsFile& bells() const noexcept { return *bells_.load(std::memory_order_acquire); }
  [[nodiscard]] std::uint64_t identity() const noexcept { return identity_; }
  [[nodiscard]] const std::string& socket_path() const noexcept { return address_.path; }
  // The process-private mutex of a shared lock: threads take it first. By segment and file.
  [[nodiscard]] std::mutex& private_mutex(std::uint64_t key) noexcept { return private_mutexes_[key % private_mutexes_.size()]; }
  // The process's waiter thread for event loops; started at first use.
  Notifier& notifier();

 private:
  // How one exchange waits.
  struct Patience {
    Clock& clock;
    bool interruptible = false;
    std::int64_t uninterrupted_ns = kUninterruptedNs;  // so long it waits all the same
  };
  struct Wanted {
    bool for_text = false;
    bool* answered = nullptr;
  };

  // Most calls are over long before: they are not broken off and repeated because of some signal.
  static constexpr std::int64_t kUninterruptedNs = 1'000'000'000;

  Session(const ConnectOptions& first, BrokerAddress address);

  Result<Reply> call(const ConnectOptions& how, std::string_view method, nlohmann::json parameters, bool for_text);
  // The session, when it is this call's turn.
  Result<std::unique_lock<std::timed_mutex>> enter(Clock& clock);
  Result<void> connect_locked(const ConnectOptions& how, Clock& to_reach, Clock& clock);
  Result<void> hello_locked(const ConnectOptions& how, Clock& clock);
  Result<Reply> exchange_locked(int socket, std::string_view method, const nlohmann::json& parameters, std::span<const int> fds, const Patience& patience,
                                Wanted wanted);
  Result<Reply> exchange_in_step(std::string_view method, const nlohmann::json& parameters, const Patience& patience, bool for_text = false);
  Result<protocol::UniqueFd> reach_locked(const ConnectOptions& how, Clock& clock);
  // Nobody but the machine's broker will do: no other one knows what this session has open over it. While it is away, as
  // when it is restarted, that is waited for.
  [[nodiscard]] bool only_machine() const noexcept { return address_.machine || (over_machine_ && !attachments_.empty()); }

  const std::string language_;
  BrokerAddress address_;
  const std::uint64_t identity_;

  std::timed_mutex mutex_;  // guards what follows up to the atomics
  ConnectOptions revival_;  // what revive() may do: of the client that allowed most
  bool over_machine_ = false;  // the machine's broker was reached last
  protocol::UniqueFd socket_;
  protocol::UniqueFd life_;
  std::string token_;
  std::vector<std::shared_ptr<Attachment>> attachments_;
  std::vector<std::unique_ptr<Mapping>> bells_mappings_;  // old ones stay: sleepers may look at them
  std::uint64_t bells_inode_ = 0;
  std::int64_t last_revival_ns_ = 0;
  std::unique_ptr<Notifier> notifier_;

  std::atomic<unsigned> slot_{0};
  std::atomic<std::uint32_t> slot_generation_{0};
  std::atomic<protocol::BellsFile*> bells_{nullptr};
  std::array<std::mutex, 16> private_mutexes_;
};

}  // namespace atoll_ipc
