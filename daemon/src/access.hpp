// Who may do what with a segment: its owner and root everything, others what its access list says.
#pragma once

#include <sys/types.h>

#include <string_view>

#include "atoll/protocol/manifest.hpp"
#include "process.hpp"
#include "result.hpp"

namespace atoll_ipc::daemon {

enum class Right : std::uint8_t { produce, consume, observe, admin };

[[nodiscard]] constexpr const char* right_name(Right right) noexcept {
  switch (right) {
    case Right::produce: return "produce";
    case Right::consume: return "consume";
    case Right::observe: return "observe";
    case Right::admin: return "admin";
  }
  return "admin";
}

// `admin` includes the others.
[[nodiscard]] inline bool has_right(const protocol::Manifest& manifest, uid_t uid, Right right) {
  if (uid == 0 || uid == manifest.uid) return true;
  for (const protocol::AccessRule& rule : manifest.access) {
    uid_t named = 0;
    if (rule.user != "*" && (!user_id(rule.user, named) || named != uid)) continue;
    for (const std::string& granted : rule.rights)
      if (granted == right_name(right) || granted == "admin") return true;
  }
  return false;
}

[[nodiscard]] inline bool has_any_right(const protocol::Manifest& manifest, uid_t uid) {
  return has_right(manifest, uid, Right::observe) || has_right(manifest, uid, Right::consume) || has_right(manifest, uid, Right::produce);
}

[[nodiscard]] inline Result<void> check_right(const protocol::Manifest& manifest, uid_t uid, Right right) {
  if (has_right(manifest, uid, right)) return {};
  return fail(Errc::not_permitted,
              "user " + user_name(uid) + " has no right to " + (right == Right::admin ? "administer" : right_name(right)) + " '" + manifest.name +
                  "', which belongs to " + user_name(manifest.uid),
              manifest.name, uid);
}

}  // namespace atoll_ipc::daemon
