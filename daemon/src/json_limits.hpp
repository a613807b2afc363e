// Reading a control message that may be hostile: bounded depth and number of keys, no key twice,
// valid UTF-8, nothing but one object.
//
// Called for every frame before anything else looks at it. A failure is protocol_error and says what is
// wrong and where: at a byte, or at a field by its path.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "result.hpp"

namespace atoll_ipc::daemon {

inline constexpr unsigned kMaxJsonDepth = 16;
inline constexpr unsigned kMaxJsonKeys = 4096;

Result<nlohmann::json> parse_message(std::string_view text);

}  // namespace atoll_ipc::daemon
