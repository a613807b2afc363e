// Where the broker listens, and how to start one.
//
// Used by Session only. SPEC.md, "Control protocol".
#pragma once

#include <string>

#include "atoll/error.hpp"
#include "atoll/protocol/wire.hpp"

namespace atoll_ipc {

struct BrokerAddress {
  std::string path;        // of the socket
  std::string fallback;    // the system's, tried if nobody listens at `path`; or empty
  bool default_directory;  // the directory may be made by us
};

// From the option, $ATOLL_SOCKET, $XDG_RUNTIME_DIR, /tmp/atoll-<uid>.
Result<BrokerAddress> find_broker_address(const std::string& option);

// One connect(2), checking who listens. no_broker: nobody does.
Result<protocol::UniqueFd> connect_to_broker(const std::string& path, bool system_service);

// Starts `atolld --autostart --socket PATH`, detached: own session, no descriptors of ours.
// Returns once it is under way; connecting tells whether it came up.
Result<void> start_broker(const std::string& atolld_option, const BrokerAddress& address);

}  // namespace atoll_ipc
