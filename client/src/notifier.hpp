// The waiter thread: turns bells into descriptors and callbacks for event loops.
//
// One per session, started when an event_fd or a callback is first asked for. It sleeps on the
// process's bell and, when it rings, tells every armed Notice. Engines own Notices; a Notice is armed
// when a try found nothing (the engine has enlisted on its segment's list by then).
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "atoll/error.hpp"
#include "atoll/protocol/wire.hpp"

namespace atoll_ipc {

class Session;

// One engine's wish to be told. Used by that engine's thread; told by the waiter thread.
class Notice {
 public:
  [[nodiscard]] bool wanted() const noexcept { return event_ || callback_ != nullptr; }

 private:
  friend class Notifier;
  protocol::UniqueFd event_;
  void (*callback_)(void*) = nullptr;
  void* context_ = nullptr;
  bool armed_ = false;   // under the notifier's mutex
  bool listed_ = false;
};

class Notifier {
 public:
  explicit Notifier(Session& session);
  ~Notifier();
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;

  // The notice's descriptor, made at the first call; readable until the engine found nothing.
  Result<int> event_fd(Notice& notice);
  // nullptr takes it off; returns once no call is under way.
  Result<void> set_callback(Notice& notice, void (*callback)(void*), void* context);
  // The engine found nothing and is about to enlist: tell it at the next ring.
  void arm(Notice& notice);
  // The engine knows that there may be something: tell now.
  void tell(Notice& notice);
  // Before the engine goes away.
  void remove(Notice& notice) noexcept;

 private:
  void run();
  void tell_locked(Notice& notice);
  Result<void> start_locked();
  void list_locked(Notice& notice);

  Session& session_;
  std::mutex mutex_;
  std::vector<Notice*> notices_;
  std::thread thread_;
  std::atomic<bool> stop_{false};
};

}  // namespace atoll_ipc
