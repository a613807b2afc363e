// Telling systemd how we are, when it asked (Type=notify): a datagram to NOTIFY_SOCKET.
#pragma once

#include <string_view>

namespace atoll_ipc::daemon {

// "READY=1", "STOPPING=1", ... Nothing happens without NOTIFY_SOCKET.
void notify_service(std::string_view state) noexcept;

}  // namespace atoll_ipc::daemon
