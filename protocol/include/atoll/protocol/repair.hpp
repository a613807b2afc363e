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

// A private copy of a redo area. It is checked and applied from here, never from the file: whoever may
// write the file could change it between the two.
struct CheckedRedo {
  Repaired state = Repaired::nothing_to_do;  // applied: it may be applied
  std::uint64_t copy_length = 0;
  std::uint32_t count = 0;
  RedoEntry entries[kRedoMax] = {};
};

// `allowed(offset)`: may an entry name the 8-byte word at `offset`, a multiple of 8?
template <class Allowed>
[[nodiscard]] CheckedRedo check_redo(const Redo& redo, Allowed allowed) noexcept {
  CheckedRedo checked;
  checked.count = redo.count.load_acquire();
  if (checked.count == 0) return checked;
  checked.state = Repaired::damaged;
  if (checked.count > kRedoMax) return checked;
  checked.copy_length = __atomic_load_n(&redo.copy_length, __ATOMIC_RELAXED);
  for (std::uint32_t i = 0; i < checked.count; ++i) {
    checked.entries[i].offset = __atomic_load_n(&redo.entries[i].offset, __ATOMIC_RELAXED);
    checked.entries[i].value = __atomic_load_n(&redo.entries[i].value, __ATOMIC_RELAXED);
    if (checked.entries[i].offset % 8 != 0 || !allowed(checked.entries[i].offset)) return checked;
  }
  checked.state = Repaired::applied;
  return checked;
}

// Does the stores of a redo that was found good, then takes it off.
inline void apply_redo(std::byte* file, Redo& redo, const CheckedRedo& checked) noexcept {
  for (std::uint32_t i = 0; i < checked.count; ++i) {
    reinterpret_cast<Word64*>(file + checked.entries[i].offset)->store_release(checked.entries[i].value);
    ATOLL_KILL_POINT("redo.entry");
  }
  ATOLL_KILL_POINT("redo.applied");
  redo.count.store_release(0);
}

// A group file: `returned`, `claims_used`, positions and claims.
[[nodiscard]] inline Repaired repair_group(GroupFile& group) noexcept {
  const CheckedRedo checked = check_redo(group.redo, [](std::uint64_t offset) {
    return offset == offsetof(GroupFile, returned) || offset == offsetof(GroupFile, claims_used) ||
           (offset >= offsetof(GroupFile, lanes) && offset < sizeof(GroupFile));
  });
  if (checked.state == Repaired::applied) apply_redo(reinterpret_cast<std::byte*>(&group), group.redo, checked);
  return checked.state;
}

// A bytes segment: staging -> content, then length and version, then the sequence counter. After damage the
// old content stays. `size`, `put_size` and `staging_offset` are the caller's checked copies.
[[nodiscard]] inline Repaired repair_bytes(BytesHeader& header, std::uint64_t size, std::uint64_t put_size,
                                           std::uint64_t staging_offset) noexcept {
  auto* file = reinterpret_cast<std::byte*>(&header);
  const CheckedRedo checked = check_redo(header.redo, [](std::uint64_t offset) {
    return offset == offsetof(BytesHeader, length) || offset == offsetof(BytesHeader, version);
  });
  Repaired result = checked.state;
  if (result == Repaired::applied && (checked.copy_length > put_size || checked.copy_length > size)) result = Repaired::damaged;
  if (result == Repaired::applied) {
    header.change.store_relaxed(header.change.load_relaxed() | 1);
    ATOLL_KILL_POINT("bytes.repair.odd");
    release_fence();
    std::memcpy(file + kPageSize, file + staging_offset, checked.copy_length);
    ATOLL_KILL_POINT("bytes.repair.copied");
    apply_redo(file, header.redo, checked);
  }
  const std::uint64_t change = header.change.load_relaxed();
  if ((change & 1) != 0) {
    header.change.store_release(change + 1);
    ATOLL_KILL_POINT("bytes.repair.even");
    if (result == Repaired::nothing_to_do) result = Repaired::applied;
  }
  return result;
}

}  // namespace atoll_ipc::protocol
