// The figures of all sizes: tables for people, or JSON.
#pragma once

#include <vector>

#include "cpus.hpp"
#include "measure.hpp"

namespace atoll_ipc::cli::bench {

struct LeftOut {
  std::uint64_t size;
  Error reason;
};

void show(const std::vector<Figures>& all, const std::vector<LeftOut>& left_out, bool pinned);
void show_json(double seconds, const std::optional<Cpus>& cpus, const std::vector<Figures>& all, const std::vector<LeftOut>& left_out);

}  // namespace atoll_ipc::cli::bench
