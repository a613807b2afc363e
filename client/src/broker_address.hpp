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
  std::string fallback;    // the machine's, tried if nobody listens at `path`; or empty
  bool machine = false;    // `path` is the machine's, which clients do not start
};

// From the option, $ATOLL_SOCKET, $XDG_RUNTIME_DIR, /tmp/atoll-<uid>.
Result<BrokerAddress> find_broker_address(const std::string& option);

// One connect(2), checking who listens: this user, root, or at protocol::kMachineSocket its owner. no_broker: nobody does;
// timed_out: it has not taken those before yet.
Result<protocol::UniqueFd> connect_to_broker(const std::string& path);

// Starts `atolld --autostart --socket PATH`, detached: own session, no descriptors of ours but a pipe.
// Returns the pipe's end once it is under way; a BrokerStart listens at it.
Result<protocol::UniqueFd> start_broker(const std::string& atolld_option, const BrokerAddress& address);

// Waits for a broker to come up. The one that this process started closes its pipe when it listens, or says
// there why it cannot.
class BrokerStart {
 public:
  // After start_broker().
  void listen(protocol::UniqueFd pipe) noexcept {
    heard_ = std::move(pipe);
    text_.clear();
  }
  // Waits at most so long; connecting tells whether it is up. Fails with the broker's own error if it gave up, with
  // `interrupted` if a signal handler ran.
  Result<void> wait(std::int64_t nanoseconds);

 private:
  [[nodiscard]] Result<void> verdict() const;
  protocol::UniqueFd heard_;
  std::string text_;
};

}  // namespace atoll_ipc
