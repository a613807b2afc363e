// The SIGBUS guard: touching shared memory that a client may have truncated.
//
// A client can cut a file that it may write; a load beyond the new end then raises SIGBUS. The broker
// makes every access to such memory inside guarded(), which returns false if that happened. The
// work must own nothing that a destructor frees (it is left by siglongjmp) and must not nest.
// daemon/ only: a program may install signal handlers, a library may not.
#pragma once

#include <setjmp.h>
#include <signal.h>

namespace atoll_ipc::daemon {

// Once, before the first guarded().
void install_guard();

namespace detail {
extern sigjmp_buf guard_point;
extern volatile sig_atomic_t guard_armed;
}  // namespace detail

// Runs `work`. False: the memory was not all there; what was done before stays done.
template <class Work>
[[nodiscard]] bool guarded(Work&& work) noexcept {
  if (sigsetjmp(detail::guard_point, 0) != 0) return false;
  detail::guard_armed = 1;
  work();
  detail::guard_armed = 0;
  return true;
}

}  // namespace atoll_ipc::daemon
