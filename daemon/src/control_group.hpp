// The memory that the broker's control group (a container, a service) still allows.
//
// Called by files.cpp before it reserves much shared memory: where a group's limit is exceeded the kernel does not
// refuse, it ends a process of the group, which is the broker. So the broker refuses first. A guess: others of the group
// take memory at the same time. Reads /proc/self and the groups' own files; nothing is kept.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace atoll_ipc::daemon {

struct ControlGroup {
  std::string path;          // of the tightest group
  std::uint64_t limit = 0;   // bytes
  std::uint64_t used = 0;    // without what the kernel can drop at once
  [[nodiscard]] std::uint64_t left() const noexcept { return used < limit ? limit - used : 0; }
};

// The group, among this process's and those above it, that leaves the least; none: there is no limit that can be seen.
[[nodiscard]] std::optional<ControlGroup> tightest_control_group() noexcept;

}  // namespace atoll_ipc::daemon
