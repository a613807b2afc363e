// memcpy for lengths that may be 0 with pointers that may be null: C++ forbids that to memcpy itself.
#pragma once

#include <cstddef>
#include <cstring>

namespace atoll_ipc {

inline void copy_bytes(void* to, const void* from, std::size_t length) noexcept {
  if (length != 0) std::memcpy(to, from, length);
}

}  // namespace atoll_ipc
