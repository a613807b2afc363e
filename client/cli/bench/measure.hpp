// One size's measurements, and their figures: latency and rate between this process and the other half.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "../broker.hpp"
#include "other_half.hpp"
#include "streams.hpp"

namespace atoll_ipc::cli::bench {

struct Geometry {
  std::uint64_t size, capacity, at_once;
  std::uint32_t alignment;
  explicit Geometry(std::uint64_t bytes)
      : size(bytes), capacity(std::max<std::uint64_t>(std::bit_ceil(8 * bytes), 1u << 20)),
        at_once(std::clamp<std::uint64_t>(capacity / 4 / bytes, 1, kMostAtOnce)), alignment(bytes < 1024 ? 16 : 64) {}
};

struct Latency {
  std::vector<std::uint32_t> samples;  // nanoseconds one way, sorted
  // Nothing if there are too few round trips to tell.
  [[nodiscard]] std::optional<std::uint32_t> at(double part) const;
};

struct Rate {
  std::uint64_t records = 0;
  double seconds = 0;
};

struct Figures {
  Geometry geometry;
  std::array<Latency, 2> latency{};  // spinning, blocking
  std::array<Rate, 2> rate{};        // one at a time, at_once at a time
};

class Measurement {
 public:
  Measurement(Client& client, OtherHalf& other, const TimeLimit& limit, std::string name)
      : client_(client), other_(other), limit_(limit), name_(std::move(name)) {}

  // Its streams are removed in the end, however it ends. `before` is told what comes.
  Result<Figures> measure(const Geometry& geometry, std::chrono::nanoseconds time, const std::function<void(const char*)>& before);
  // Is there a reason to stop?
  Result<void> look();

 private:
  Result<Latency> measure_latency(Handles& handles, std::uint64_t size, bool spin, std::chrono::nanoseconds time);
  Result<Rate> measure_rate(Handles& handles, const Geometry& geometry, std::uint64_t at_once, std::chrono::nanoseconds time);

  Client& client_;
  OtherHalf& other_;
  const TimeLimit& limit_;
  std::string name_;
};

}  // namespace atoll_ipc::cli::bench
