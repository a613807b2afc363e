#include "event_loop.hpp"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <climits>

#include "clock.hpp"

namespace atoll_ipc::daemon {
namespace {

constexpr std::int64_t kShortageNs = 100'000'000;

// Only want of memory is thrown here (reserve.hpp). False if it was; then the others are given time to go.
template <class Work>
bool done(const Work& work) noexcept {
  try {
    work();
    return true;
  } catch (const std::exception& exception) {
    spdlog::error("something was left undone: {}", exception.what());
    ::poll(nullptr, 0, 10);
    return false;
  }
}

}  // namespace

Result<std::unique_ptr<EventLoop>> EventLoop::make() {
  auto loop = std::make_unique<EventLoop>();
  loop->epoll_ = protocol::UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!loop->epoll_) return fail_errno(errno, "epoll_create1");
  return loop;
}

Result<void> EventLoop::watch(int fd, std::uint32_t events, Handler handler) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  watched_[fd] = {std::make_shared<Handler>(std::move(handler)), events};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return {};
  const int error = errno;
  watched_.erase(fd);
  return fail_errno(error, "epoll_ctl");
}

void EventLoop::change(int fd, std::uint32_t events) noexcept {
  const auto at = watched_.find(fd);
  if (at == watched_.end() || std::exchange(at->second.events, events) == events) return;
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void EventLoop::forget(int fd) noexcept {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  watched_.erase(fd);
}

EventLoop::TimerId EventLoop::after(std::int64_t delay_ns, std::function<void()> action) {
  const TimerId id = next_timer_++;
  const std::int64_t at = monotonic_ns() + std::max<std::int64_t>(delay_ns, 0);
  timer_times_.emplace(id, at);  // alone it does no harm
  timers_.emplace(std::pair{at, id}, std::move(action));
  return id;
}

void EventLoop::cancel(TimerId id) noexcept {
  const auto at = timer_times_.find(id);
  if (at == timer_times_.end()) return;
  timers_.erase({at->second, id});
  timer_times_.erase(at);
}

void EventLoop::run_due_timers() {
  // Only those due now: a timer that sets itself again at once does not starve the descriptors.
  const std::int64_t now = monotonic_ns();
  while (!timers_.empty() && timers_.begin()->first.first <= now && !stopped_) {
    auto node = timers_.extract(timers_.begin());
    auto time = timer_times_.extract(node.key().second);
    if (done(node.mapped())) continue;
    time.mapped() = node.key().first = now + kShortageNs;
    timer_times_.insert(std::move(time));
    timers_.insert(std::move(node));
  }
}

Result<void> EventLoop::run() {
  std::array<epoll_event, 64> events;
  bool more = false;
  while (!stopped_) {
    int timeout = -1;
    if (!timers_.empty()) {
      const std::int64_t left = timers_.begin()->first.first - monotonic_ns();
      timeout = static_cast<int>(std::clamp<std::int64_t>((left + 999'999) / 1'000'000, 0, INT_MAX));
    }
    if (more) timeout = 0;
    const int n = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout);
    if (n < 0 && errno != EINTR) return fail_errno(errno, "epoll_wait");
    // The handlers' addresses first: a descriptor closed and opened again in this round is another one.
    std::array<std::shared_ptr<Handler>, 64> called;
    for (int i = 0; i < n; ++i) {
      const auto at = watched_.find(events[static_cast<std::size_t>(i)].data.fd);
      if (at != watched_.end()) called[static_cast<std::size_t>(i)] = at->second.handler;
    }
    for (int i = 0; i < n && !stopped_; ++i) {
      const auto index = static_cast<std::size_t>(i);
      const auto at = watched_.find(events[index].data.fd);
      if (called[index] && at != watched_.end() && at->second.handler == called[index])
        static_cast<void>(done([&] { (*called[index])(events[index].events); }));
    }
    run_due_timers();
    more = false;
    if (between_ && !stopped_ && !done([&] { more = between_(); })) more = true;  // what was left undone is looked for again
  }
  return {};
}

}  // namespace atoll_ipc::daemon
