// Memory kept back for when there is none: what the broker has begun it brings to an end with it.
//
// Every `new` of the program comes here first (reserve.cpp). While the system refuses memory the reserve serves instead,
// so that deaths are dealt with, connections ended and a call in hand answered. Whoever could take on more work asks
// memory_is_short() first and refuses it. When the reserve is used up too, `new` throws std::bad_alloc: the event loop
// survives that (event_loop.hpp).
#pragma once

namespace atoll_ipc::daemon {

// The reserve was drawn on, and the system still refuses memory.
[[nodiscard]] bool memory_is_short() noexcept;

}  // namespace atoll_ipc::daemon
