#include "notifier.hpp"

#include <signal.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <system_error>

#include "bell_ringer.hpp"
#include "session.hpp"

namespace atoll_ipc {

Notifier::Notifier(Session& session) : session_(session) {}

Notifier::~Notifier() {
  if (!thread_.joinable()) return;
  stop_.store(true);
  protocol::Bell& bell = session_.bells().bells[session_.slot()];
  bell.sequence.fetch_add(1);
  futex_wake(bell.sequence, INT_MAX);
  thread_.join();
}

Result<void> Notifier::start_locked() {
  if (thread_.joinable()) return {};
  // The application's signals are not for this thread.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  Result<void> result;
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& error) {
    result = fail(Errc::system_error, std::string("starting the waiter thread: ") + error.what());
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return result;
}

void Notifier::list_locked(Notice& notice) {
  if (notice.listed_) return;
  notices_.push_back(&notice);
  notice.listed_ = true;
}

Result<int> Notifier::event_fd(Notice& notice) {
  const std::lock_guard lock(mutex_);
  if (!notice.event_) {
    // Readable from the start: the first look is the engine's.
    notice.event_.reset(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!notice.event_)
      return fail(errno == EMFILE || errno == ENFILE ? Errc::no_descriptors : Errc::system_error, std::string("eventfd: ") + std::strerror(errno));
  }
  if (auto started = start_locked(); !started) return tl::unexpected(started.error());
  list_locked(notice);
  return notice.event_.get();
}

Result<void> Notifier::set_callback(Notice& notice, void (*callback)(void*), void* context) {
  // The waiter thread calls under the mutex, so once it is ours no call is under way.
  const std::lock_guard lock(mutex_);
  notice.callback_ = callback;
  notice.context_ = context;
  if (callback == nullptr) {
    // An engine that has a descriptor still wants to be told; else it may go away without remove().
    if (!notice.event_) {
      std::erase(notices_, &notice);
      notice.listed_ = false;
    }
    return {};
  }
  if (auto started = start_locked(); !started) return started;
  list_locked(notice);
  return {};
}

void Notifier::arm(Notice& notice) {
  const std::lock_guard lock(mutex_);
  notice.armed_ = true;
  if (notice.event_) {
    eventfd_t drained;
    static_cast<void>(::eventfd_read(notice.event_.get(), &drained));
  }
}

void Notifier::tell(Notice& notice) {
  const std::lock_guard lock(mutex_);
  tell_locked(notice);
}

void Notifier::tell_locked(Notice& notice) {
  if (!notice.armed_) return;
  notice.armed_ = false;
  if (notice.event_) static_cast<void>(::eventfd_write(notice.event_.get(), 1));
  if (notice.callback_ != nullptr) notice.callback_(notice.context_);
}

void Notifier::remove(Notice& notice) noexcept {
  const std::lock_guard lock(mutex_);
  std::erase(notices_, &notice);
  notice.listed_ = false;
  notice.callback_ = nullptr;
}

void Notifier::run() {
  Clock clock(Deadline::never());
  while (!stop_.load()) {
    // Engines enlist and mark the bell asleep themselves when they arm; here only the words are kept.
    protocol::BellsFile& bells = session_.bells();
    protocol::Bell& bell = bells.bells[session_.slot()];
    Sleeper::Armed armed{};
    armed.bell = bell.sequence.load_acquire();
    armed.life = bells.life.load_acquire();
    {
      const std::lock_guard lock(mutex_);
      for (Notice* notice : notices_) tell_locked(*notice);
    }
    // What is armed from here on rings the bell after `armed.bell` was read, or is told by the engine.
    if (stop_.load()) break;
    static_cast<void>(Sleeper::doze(session_, armed, clock, false));
  }
}

}  // namespace atoll_ipc
