#include "show.hpp"

#include <cmath>
#include <cstdio>

#include "../output.hpp"
#include "../table.hpp"
#include "../text.hpp"

namespace atoll_ipc::cli::bench {
namespace {

double per_second(const Rate& rate, double what) { return rate.seconds > 0 ? what * static_cast<double>(rate.records) / rate.seconds : 0; }

// "126ns", "1.2us", "19us"
std::string time_for_people_short(std::optional<std::uint32_t> ns) {
  if (!ns) return "";
  static constexpr const char* kUnits[] = {"ns", "us", "ms", "s"};
  double value = *ns;
  std::size_t unit = 0;
  for (; value >= 999.5 && unit < 3; value /= 1000) ++unit;
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), unit > 0 && value < 9.95 ? "%.1f%s" : "%.0f%s", value, kUnits[unit]);
  return text.data();
}

// A receiver that spins on the sender's CPU keeps it from sending until its time slice ends.
bool shared_a_cpu(const Figures& figures) {
  const auto spinning = figures.latency[0].at(0.5), blocking = figures.latency[1].at(0.5);
  return spinning && blocking && *spinning > 500'000 && *spinning > 8 * static_cast<std::uint64_t>(*blocking);
}

Json described(const Latency& latency) {
  const auto number = [](std::optional<std::uint32_t> ns) { return ns ? Json(*ns) : Json(); };
  return {{"round_trips", latency.samples.size()}, {"p50_ns", number(latency.at(0.5))}, {"p99_ns", number(latency.at(0.99))}, {"p99_9_ns", number(latency.at(0.999))}};
}

Json described(const Rate& rate, std::uint64_t at_once, std::uint64_t size) {
  return {{"at_once", at_once}, {"records", rate.records}, {"records_per_s", std::round(per_second(rate, 1))},
          {"mb_per_s", std::round(per_second(rate, static_cast<double>(size) / 1e5)) / 10}};
}

}  // namespace

void show(const std::vector<Figures>& all, const std::vector<LeftOut>& left_out, bool pinned) {
  static constexpr const char* kReceivers[] = {"spinning", "blocking"};
  output().write("One way: half a round trip between two processes\n");
  Table latency({{"SIZE", true}, {"RECEIVER"}, {"P50", true}, {"P99", true}, {"P99.9", true}, {"ROUND-TRIPS", true}});
  for (const Figures& figures : all)
    for (std::size_t i = 0; i < 2; ++i) {
      const Latency& one = figures.latency[i];
      latency.add({size_for_people(figures.geometry.size), kReceivers[i], time_for_people_short(one.at(0.5)), time_for_people_short(one.at(0.99)),
                   time_for_people_short(one.at(0.999)), with_thousands(one.samples.size())});
    }
  latency.print(output());
  output().write("\nRate: one process sends, the other receives and checks\n");
  Table rate({{"SIZE", true}, {"AT-ONCE", true}, {"RECORDS/S", true}, {"MB/S", true}});
  for (const Figures& figures : all)
    for (std::size_t i = 0; i < 2; ++i) {
      const Rate& one = figures.rate[i];
      rate.add({size_for_people(figures.geometry.size), i == 0 ? "1" : std::to_string(figures.geometry.at_once),
                with_thousands(static_cast<std::uint64_t>(per_second(one, 1))),
                with_thousands(static_cast<std::uint64_t>(per_second(one, static_cast<double>(figures.geometry.size) / 1e6)))});
    }
  rate.print(output());
  if (!pinned && std::any_of(all.begin(), all.end(), shared_a_cpu))
    output().write("\nSpinning was slow where the kernel ran both processes on one CPU, as it may on a\nbusy machine: --cpu 0,1 keeps them apart.\n");
  for (const LeftOut& one : left_out) {
    output().write("\nleft out: " + size_for_people(one.size) + ": " + output().safe(one.reason.message()) + "\n");
    if (!one.reason.fix().empty()) output().write("  fix: " + output().safe(one.reason.fix()) + "\n");
  }
}

void show_json(double seconds, const std::optional<Cpus>& cpus, const std::vector<Figures>& all, const std::vector<LeftOut>& left_out) {
  Json sizes = Json::array();
  for (const Figures& figures : all) {
    const Geometry& geometry = figures.geometry;
    sizes.push_back({{"size", geometry.size}, {"capacity", geometry.capacity}, {"alignment", geometry.alignment},
                     {"latency", {{"spinning", described(figures.latency[0])}, {"blocking", described(figures.latency[1])}}},
                     {"rate", {{"single", described(figures.rate[0], 1, geometry.size)}, {"batched", described(figures.rate[1], geometry.at_once, geometry.size)}}}});
  }
  Json missing = Json::array();
  for (const LeftOut& one : left_out)
    missing.push_back({{"size", one.size}, {"name", one.reason.name()}, {"reason", std::string(one.reason.message())}, {"fix", std::string(one.reason.fix())}});
  output().write_json({{"seconds", seconds}, {"cpus", cpus ? Json(*cpus) : Json()}, {"sizes", std::move(sizes)}, {"left_out", std::move(missing)}});
}

}  // namespace atoll_ipc::cli::bench
