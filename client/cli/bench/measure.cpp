#include "measure.hpp"

#include <cmath>

namespace atoll_ipc::cli::bench {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

constexpr std::size_t kMostSamples = 1u << 20;  // round trips of one measurement

}  // namespace

std::optional<std::uint32_t> Latency::at(double part) const {
  if (static_cast<double>(samples.size()) * (1 - part) < 0.999) return std::nullopt;
  return samples[static_cast<std::size_t>(std::ceil(part * static_cast<double>(samples.size()))) - 1];
}

Result<Figures> Measurement::measure(const Geometry& geometry, nanoseconds time, const std::function<void(const char*)>& before) {
  struct Remove {
    Measurement& measurement;
    ~Remove() { remove_streams(measurement.client_, measurement.name_); }
  } remove{*this};
  StreamOptions stream;
  stream.capacity = geometry.capacity;
  stream.alignment = geometry.alignment;
  for (const std::string& each : {ping(name_), pong(name_)})
    if (const auto created = client_.create(each, stream); !created) return tl::unexpected(created.error());
  auto handles = open_handles(client_, ping(name_), pong(name_));
  if (!handles) return tl::unexpected(handles.error());
  if (const auto opened = other_.order({{"do", "open"}}); !opened) return tl::unexpected(opened.error());

  Figures figures{geometry};
  for (const bool blocking : {false, true}) {
    before(blocking ? "latency, blocking" : "latency, spinning");
    auto latency = measure_latency(*handles, geometry.size, !blocking, time);
    if (!latency) return tl::unexpected(latency.error());
    figures.latency[blocking] = std::move(*latency);
  }
  for (const bool batched : {false, true}) {
    before(batched ? "rate, batched" : "rate, one by one");
    const auto rate = measure_rate(*handles, geometry, batched ? geometry.at_once : 1, time);
    if (!rate) return tl::unexpected(rate.error());
    figures.rate[batched] = *rate;
  }
  if (const auto closed = other_.order({{"do", "close"}}); !closed) return tl::unexpected(closed.error());
  return figures;
}

Result<void> Measurement::look() {
  if (limit_.passed()) return fail(Errc::timed_out);
  return other_.look();
}

// Half of each round trip. A tenth of the time warms up and does not count.
Result<Latency> Measurement::measure_latency(Handles& handles, std::uint64_t size, bool spin, nanoseconds time) {
  if (auto begun = other_.begin({{"do", "echo"}, {"size", size}, {"spin", spin}}); !begun) return tl::unexpected(begun.error());
  Payload payload(size);
  std::vector<std::uint32_t> samples(kMostSamples);  // zeroed: no page is touched for the first time while measuring
  std::size_t count = 0;
  auto before = Clock::now();
  const auto warm = before + time / 10, end = before + time;
  for (std::uint64_t n = 0; before < end && count < samples.size(); ++n) {
    payload.number(n);
    if (auto sent = keep_trying(*this, false, [&](Deadline wait) { return handles.producer.send(payload.bytes(), wait); }); !sent) return tl::unexpected(sent.error());
    auto view = keep_trying(*this, spin, [&](Deadline wait) { return handles.consumer.receive(wait); });
    if (!view) return tl::unexpected(view.error());
    if (!payload.is(view->data(), n)) return wrong_record(n);
    if (auto released = view->release(); !released) return tl::unexpected(released.error());
    const auto now = Clock::now();
    const auto half = std::chrono::duration_cast<nanoseconds>(now - before).count() / 2;
    if (before >= warm) samples[count++] = static_cast<std::uint32_t>(std::min<std::int64_t>(half, UINT32_MAX));
    before = now;
  }
  if (auto ended = send_last(*this, handles.producer); !ended) return tl::unexpected(ended.error());
  if (auto answered = other_.finish(); !answered) return tl::unexpected(answered.error());
  samples.resize(count);
  std::sort(samples.begin(), samples.end());
  return Latency{std::move(samples)};
}

// Records received and checked, from the first one received to the last.
Result<Rate> Measurement::measure_rate(Handles& handles, const Geometry& geometry, std::uint64_t at_once, nanoseconds time) {
  const Json order = {{"do", "send"}, {"size", geometry.size}, {"at_once", at_once}, {"ns", static_cast<std::int64_t>(time.count())}};
  if (auto begun = other_.begin(order); !begun) return tl::unexpected(begun.error());
  const Payload payload(geometry.size);
  std::uint64_t n = 0;
  Clock::time_point began;
  for (bool ended = false; !ended;) {
    if (at_once == 1) {
      auto view = keep_trying(*this, false, [&](Deadline wait) { return handles.consumer.receive(wait); });
      if (!view) return tl::unexpected(view.error());
      if (view->content() == kLast) break;
      if (n == 0) began = Clock::now();
      if (!payload.is(view->data(), n)) return wrong_record(n);
      ++n;
      if (auto released = view->release(); !released) return tl::unexpected(released.error());
      continue;
    }
    auto views = keep_trying(*this, false, [&](Deadline wait) { return handles.consumer.receive_many(kMostAtOnce, wait); });
    if (!views) return tl::unexpected(views.error());
    if (n == 0) began = Clock::now();
    for (const auto& record : *views) {
      ended = record.content() == kLast;
      if (ended) break;
      if (!payload.is(record.data(), n)) return wrong_record(n);
      ++n;
    }
    if (auto released = views->release(); !released) return tl::unexpected(released.error());
  }
  const std::chrono::duration<double> took = Clock::now() - began;
  if (auto answered = other_.finish(); !answered) return tl::unexpected(answered.error());
  return Rate{n, n > 0 ? took.count() : 0};
}

}  // namespace atoll_ipc::cli::bench
