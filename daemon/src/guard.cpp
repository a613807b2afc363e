#include "guard.hpp"

#include <ucontext.h>
#include <unistd.h>

namespace atoll_ipc::daemon {
namespace detail {
sigjmp_buf guard_point;
volatile sig_atomic_t guard_armed = 0;
}  // namespace detail

namespace {
void on_bus_error(int, siginfo_t*, void* context) {
  if (detail::guard_armed != 0) {
    detail::guard_armed = 0;
    // The jump leaves the mask alone (saving it would cost every guarded() a system call): put back what was.
    ::pthread_sigmask(SIG_SETMASK, &static_cast<ucontext_t*>(context)->uc_sigmask, nullptr);
    siglongjmp(detail::guard_point, 1);
  }
  // Not ours: die of it, as if there were no handler.
  struct sigaction plain {};
  plain.sa_handler = SIG_DFL;
  ::sigaction(SIGBUS, &plain, nullptr);
}
}  // namespace

void install_guard() {
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &action, nullptr);
}

}  // namespace atoll_ipc::daemon
