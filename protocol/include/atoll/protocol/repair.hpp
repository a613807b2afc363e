// Applying a redo area: what the broker does after a holder's death, and whoever takes a lock that is
// marked needs-repair. Doing it twice is harmless. SPEC.md, "Lock word and redo".
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "atoll/protocol/bytes.hpp"
#include "atoll/protocol/fence.hpp"
#include "atoll/protocol/group.hpp"
#include "atoll/protocol/kill_point.hpp"
#include "atoll/protocol/lock_word.hpp"

namespace atoll_ipc::protocol {

enum class Repaired { nothing_to_do, applied, damaged };

// Entries may name 8-byte words in [first, last) of the file.
[[nodiscard]] inline Repaired apply_redo(std::byte* file, Redo& redo, std::uint64_t first, std::uint64_t last) noexcept {
  const std::uint32_t count = redo.count.load_acquire();
  if (count == 0) return Repaired::nothing_to_do;
  if (count > kRedoMax) return Repaired::damaged;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t offset = redo.entries[i].offset;
    if (offset % 8 != 0 || offset < first || offset >= last || last - offset < 8) return Repaired::damaged;
  }
  for (std::uint32_t i = 0; i < count; ++i)
    reinterpret_cast<Word64*>(file + redo.entries[i].offset)->store_release(redo.entries[i].value);
  ATOLL_KILL_POINT("redo.applied");
  redo.count.store_release(0);
  return Repaired::applied;
}

// A group file: `returned`, positions and claims.
[[nodiscard]] inline Repaired repair_group(GroupFile& group) noexcept {
  return apply_redo(reinterpret_cast<std::byte*>(&group), group.redo, offsetof(GroupFile, returned), sizeof(GroupFile));
}

// A bytes segment: staging -> content, then length and version, then the sequence counter.
// `size` and `put_size` are the caller's checked copies.
[[nodiscard]] inline Repaired repair_bytes(BytesHeader& header, std::uint64_t size, std::uint64_t put_size,
                                           std::uint64_t staging_offset) noexcept {
  auto* file = reinterpret_cast<std::byte*>(&header);
  Repaired result = Repaired::nothing_to_do;
  if (header.redo.count.load_acquire() != 0) {
    const std::uint64_t length = header.redo.copy_length;
    if (length > put_size || length > size) return Repaired::damaged;
    const std::uint64_t change = header.change.load_relaxed();
    header.change.store_relaxed(change | 1);
    release_fence();
    std::memcpy(file + kPageSize, file + staging_offset, length);
    result = apply_redo(file, header.redo, offsetof(BytesHeader, length), offsetof(BytesHeader, version) + 8);
  }
  const std::uint64_t change = header.change.load_relaxed();
  if ((change & 1) != 0) {
    header.change.store_release(change + 1);
    result = result == Repaired::damaged ? result : Repaired::applied;
  }
  return result;
}

}  // namespace atoll_ipc::protocol
