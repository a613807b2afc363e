// The broker's only loop: descriptors that become ready, and times that come.
//
// One thread. A handler may remove itself or others; a removed handler is not called again, even if
// its event was already fetched. Timers are called in order of their time. Whatever throws, for want of memory, is
// logged: a handler is called again when its descriptor is ready again, a timer a little later.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>

#include "atoll/protocol/wire.hpp"
#include "result.hpp"

namespace atoll_ipc::daemon {

class EventLoop {
 public:
  using Handler = std::function<void(std::uint32_t events)>;
  using TimerId = std::uint64_t;

  static Result<std::unique_ptr<EventLoop>> make();

  // Watches `fd` until forget(fd). The caller keeps the descriptor.
  Result<void> watch(int fd, std::uint32_t events, Handler handler);
  void change(int fd, std::uint32_t events) noexcept;
  void forget(int fd) noexcept;

  // Calls `action` once, `delay_ns` from now.
  TimerId after(std::int64_t delay_ns, std::function<void()> action);
  void cancel(TimerId id) noexcept;

  // `work` is done after each look at the descriptors; as long as it says that there is more, nobody sleeps.
  void between(std::function<bool()> work) { between_ = std::move(work); }

  // Until stop().
  Result<void> run();
  void stop() noexcept { stopped_ = true; }

 private:
  struct Watched {
    std::shared_ptr<Handler> handler;
    std::uint32_t events = 0;
  };

  void run_due_timers();

  protocol::UniqueFd epoll_;
  std::unordered_map<int, Watched> watched_;
  std::map<std::pair<std::int64_t, TimerId>, std::function<void()>> timers_;
  std::unordered_map<TimerId, std::int64_t> timer_times_;
  std::function<bool()> between_;
  TimerId next_timer_ = 1;
  bool stopped_ = false;
};

}  // namespace atoll_ipc::daemon
