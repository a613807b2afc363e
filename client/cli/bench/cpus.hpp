// Where the processes of a measurement run.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "atoll/atoll.hpp"

namespace atoll_ipc::cli::bench {

// One for each half.
using Cpus = std::array<int, 2>;

// "0,1"; nothing if it is something else.
std::optional<Cpus> parse_cpus(const std::string& text);
// An error that names the possible ones, if this process may not run there.
Result<void> check_cpus(const Cpus& cpus);
// The calling process, from now on.
Result<void> pin_to(int cpu);

}  // namespace atoll_ipc::cli::bench
