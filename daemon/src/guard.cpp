#include "guard.hpp"

#include <unistd.h>

namespace atoll_ipc::daemon {
namespace detail {
sigjmp_buf guard_point;
volatile sig_atomic_t guard_armed = 0;
}  // namespace detail

namespace {
void on_bus_error(int) {
  if (detail::guard_armed != 0) {
    detail::guard_armed = 0;
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
  action.sa_handler = on_bus_error;
  action.sa_flags = SA_NODEFER;  // the jump does not restore the mask
  ::sigaction(SIGBUS, &action, nullptr);
}

}  // namespace atoll_ipc::daemon
