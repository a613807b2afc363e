// The two clocks: monotonic for time limits, real for what people read.
#pragma once

#include <ctime>
#include <cstdint>

namespace atoll_ipc::daemon {

[[nodiscard]] inline std::int64_t clock_ns(clockid_t clock) noexcept {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}
[[nodiscard]] inline std::int64_t monotonic_ns() noexcept { return clock_ns(CLOCK_MONOTONIC); }
[[nodiscard]] inline std::uint64_t real_ns() noexcept { return static_cast<std::uint64_t>(clock_ns(CLOCK_REALTIME)); }

}  // namespace atoll_ipc::daemon
