// A failure as data: what the client's errors and the broker's error replies are made of.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "atoll/protocol/errors.hpp"

namespace atoll_ipc::protocol {

struct Failure {
  Errc code = Errc::system_error;
  std::string message;   // what happened, and where
  std::string segment;   // name, or empty
  std::uint64_t detail = 0;
  std::string fix;       // empty: the list's own words
};

// What a check returns: nothing if all is well.
using Check = std::optional<Failure>;

}  // namespace atoll_ipc::protocol
