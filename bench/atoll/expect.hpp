// What the C++ programs on Atoll share: its interface, and `expect`, which ends a program that cannot go on.
#pragma once

#include <atoll/atoll.hpp>

#include "../common/bench.hpp"

namespace bench {

template <class T>
T expect(atoll_ipc::Result<T> result, const char* what) {
  if (!result) fail(std::string(what) + ": " + result.error().name() + ": " + std::string(result.error().message()));
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

}  // namespace bench
