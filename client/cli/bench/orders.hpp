// Between the halves of a measurement: a JSON object a packet, over a socket.
#pragma once

#include <optional>

#include "../output.hpp"

namespace atoll_ipc::cli::bench {

Result<void> tell(int fd, const Json& message);
// Nothing: the other half has gone.
std::optional<Json> hear(int fd);
// Waits so long for something to hear, the socket's end included.
bool readable(int fd, int timeout_ms);

// An error as a message, and back.
Json told(const Error& error);
Error error_told(const Json& message);

}  // namespace atoll_ipc::cli::bench
