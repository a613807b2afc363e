#include "cpus.hpp"

#include <sched.h>

#include <cerrno>
#include <charconv>
#include <cstring>

namespace atoll_ipc::cli::bench {

std::optional<Cpus> parse_cpus(const std::string& text) {
  Cpus cpus{};
  const char* const end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, cpus[0]);
  if (first.ec != std::errc{} || first.ptr == end || *first.ptr != ',') return std::nullopt;
  const auto second = std::from_chars(first.ptr + 1, end, cpus[1]);
  if (second.ec != std::errc{} || second.ptr != end) return std::nullopt;
  for (const int cpu : cpus)
    if (cpu < 0 || cpu >= CPU_SETSIZE) return std::nullopt;
  return cpus;
}

Result<void> check_cpus(const Cpus& cpus) {
  cpu_set_t possible;
  CPU_ZERO(&possible);
  if (::sched_getaffinity(0, sizeof possible, &possible) != 0) return fail(Errc::system_error, std::string("sched_getaffinity: ") + std::strerror(errno));
  std::string list;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &possible)) list += (list.empty() ? "" : ",") + std::to_string(cpu);
  for (const int cpu : cpus)
    if (!CPU_ISSET(static_cast<unsigned>(cpu), &possible))
      return fail(Errc::invalid_argument, "CPU " + std::to_string(cpu) + " is not one that this process may run on", {}, static_cast<std::uint64_t>(cpu), "choose from " + list);
  return {};
}

Result<void> pin_to(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(cpu), &set);
  if (::sched_setaffinity(0, sizeof set, &set) == 0) return {};
  return fail(Errc::system_error, "cannot run on CPU " + std::to_string(cpu) + ": " + std::strerror(errno));
}

}  // namespace atoll_ipc::cli::bench
