// The broker: what listens, who is connected, and everything they share. Wires the parts together.
//
// main makes one, run() serves until it is asked to stop. Methods (methods.hpp) work on it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "connection.hpp"
#include "event_loop.hpp"
#include "journal.hpp"
#include "limits.hpp"
#include "name_policy.hpp"
#include "options.hpp"
#include "recovery.hpp"
#include "runtime_directory.hpp"
#include "segment_store.hpp"
#include "slots.hpp"
#include "turns.hpp"

namespace atoll_ipc::daemon {

class Methods;

class Broker {
 public:
  static Result<std::unique_ptr<Broker>> make(Options options);
  ~Broker();
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  // Serves until stop() or a signal. The socket accepts when this is called.
  Result<void> run();
  // Answers what has arrived, then ends.
  void stop(const std::string& why);

  // What methods work on.
  Options options;
  NamePolicy name_policy;
  RuntimeDirectory runtime;
  Journal journal;
  std::unique_ptr<EventLoop> loop;
  std::unique_ptr<SegmentStore> store;
  std::unique_ptr<Slots> slots;
  std::unique_ptr<Recovery> recovery;
  std::unique_ptr<Limits> limits;
  std::map<std::uint64_t, std::unique_ptr<Connection>> connections;
  std::uint64_t started_ns = 0;  // real time
  std::int64_t started_monotonic_ns = 0;
  std::uint64_t epoch = 0;
  bool stopping = false;
  bool recovering = false;

  // Watches the slot's process; its end is then dealt with.
  void watch_process(const Slot& slot);
  // The slot holds nothing and nobody is connected to it.
  void forget_slot(SlotKey key);
  // Somebody waits for this name: the waits are looked at again.
  void segment_appeared(const std::string& name);
  [[nodiscard]] Tally waits_of(uid_t uid) const;
  [[nodiscard]] std::size_t waits() const;
  // Also when a line could not be added. Fails if one is missing still: a restart would not know what was just done.
  Result<void> compact_journal_if_wanted();
  // Before descriptors are sent to a client of this user.
  Result<void> check_descriptors(uid_t uid);

 private:
  Broker() = default;
  Result<void> start();
  Result<void> listen();
  Result<void> recover();
  void end_grace();
  void check_unseen(SlotKey key);
  void accept_some();
  void refuse_newcomer();
  void on_connection_end(Connection& connection, std::string_view why) noexcept;
  void give_up(Connection& connection, std::string_view why);
  void process_ended(SlotKey key);
  void on_signal();
  void watch_idleness();
  void wake_waiters_each_minute();
  Result<void> write_journal();
  void leave();
  void linger(Connection& connection);
  void look_after_lingering();
  void forget_taken();

  // A connection that has ended, with descriptors that its client has not taken.
  struct Lingering {
    Process peer;
    std::size_t descriptors = 0;
    UniqueFd socket;
  };
  std::vector<Lingering> lingering_;
  EventLoop::TimerId linger_timer_ = 0;
  Turns turns_;
  std::map<std::uint64_t, std::unique_ptr<Connection>> ended_;  // destroyed when the loop is back
  UniqueFd listener_;
  UniqueFd signals_;
  UniqueFd spare_;
  std::unique_ptr<Methods> methods_;
  Connection::Events events_;
  std::uint64_t next_connection_ = 1;
  EventLoop::TimerId idle_timer_ = 0;
  bool accept_paused_logged_ = false;
  bool unknown_user_logged_ = false;
};

}  // namespace atoll_ipc::daemon
