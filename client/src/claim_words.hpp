// A claim's fields as the 8-byte words in which they are stored and redone.
//
// Used by the two halves of GroupReader. See protocol::Claim.
#pragma once

#include <cstddef>
#include <cstdint>

#include "atoll/protocol/group.hpp"

namespace atoll_ipc {

// The first eight bytes of a claim: state, slot, slot generation.
[[nodiscard]] inline std::uint64_t claim_head(protocol::ClaimState state, unsigned slot, std::uint32_t generation) noexcept {
  return static_cast<std::uint64_t>(state) | static_cast<std::uint64_t>(slot & 0xffff) << 16 | static_cast<std::uint64_t>(generation) << 32;
}
// The second eight: lane, count, deliveries.
[[nodiscard]] inline std::uint64_t claim_body(unsigned lane, unsigned count, unsigned deliveries) noexcept {
  return static_cast<std::uint64_t>(lane & 0xffff) | static_cast<std::uint64_t>(count & 0xffff) << 16 | static_cast<std::uint64_t>(deliveries & 0xffff) << 32;
}
[[nodiscard]] inline const std::byte* field(const protocol::Claim& claim, std::size_t offset) noexcept {
  return reinterpret_cast<const std::byte*>(&claim) + offset;
}
[[nodiscard]] inline std::uint64_t word_at(const protocol::Claim& claim, std::size_t offset) noexcept {
  return reinterpret_cast<const protocol::Word64*>(field(claim, offset))->load_acquire();
}

}  // namespace atoll_ipc
