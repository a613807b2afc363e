#include "obeying_half.hpp"

#include <algorithm>
#include <vector>

#include "../broker.hpp"
#include "cpus.hpp"
#include "orders.hpp"

namespace atoll_ipc::cli::bench {

using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

void ObeyingHalf::run() {
  while (const auto order = hear(fd_)) {
    const auto done = obey(*order);
    if (!tell(fd_, done ? Json::object() : told(done.error()))) break;
  }
  handles_.reset();
  if (client_) remove_streams(*client_, name_);  // those of a user's half that was killed
}

Result<void> ObeyingHalf::look() {
  if (readable(fd_, 0)) return fail(Errc::interrupted);  // it says nothing while it waits for us, but hangs up
  return {};
}

Result<void> ObeyingHalf::obey(const Json& order) {
  const std::string what = order.at("do");
  if (what == "begin") return begin(order.at("name"), order.at("cpu"));
  if (what == "open") return open();
  if (what == "echo") return echo(order.at("size"), order.at("spin"));
  if (what == "send") return send(order.at("size"), order.at("at_once"), nanoseconds(order.at("ns").get<std::int64_t>()));
  handles_.reset();  // "close"
  return {};
}

Result<void> ObeyingHalf::begin(const std::string& name, int cpu) {
  name_ = name;
  auto client = connect(context_, TimeLimit(context_));
  if (!client) return tl::unexpected(client.error());
  client_.emplace(std::move(*client));
  return cpu >= 0 ? pin_to(cpu) : Result<void>();
}

Result<void> ObeyingHalf::open() {
  auto handles = open_handles(*client_, pong(name_), ping(name_));
  if (!handles) return tl::unexpected(handles.error());
  handles_.emplace(std::move(*handles));
  return {};
}

Result<void> ObeyingHalf::echo(std::uint64_t size, bool spin) {
  const Payload payload(size);
  for (std::uint64_t n = 0;; ++n) {
    auto view = keep_trying(*this, spin, [&](Deadline wait) { return handles_->consumer.receive(wait); });
    if (!view) return tl::unexpected(view.error());
    if (view->content() == kLast) return {};
    if (!payload.is(view->data(), n)) return wrong_record(n);
    if (auto sent = keep_trying(*this, false, [&](Deadline wait) { return handles_->producer.send(view->data(), wait); }); !sent) return sent;
  }
}

Result<void> ObeyingHalf::send(std::uint64_t size, std::uint64_t at_once, nanoseconds time) {
  std::vector<Payload> payloads(at_once, Payload(size));
  std::vector<std::span<const std::byte>> records;
  for (const Payload& payload : payloads) records.push_back(payload.bytes());
  const std::uint64_t between_looks = std::clamp<std::uint64_t>((64u << 10) / size, 1, 64);  // at the clock
  const auto end = Clock::now() + time;
  for (std::uint64_t n = 0, next_look = 0;;) {
    if (n >= next_look) {
      if (Clock::now() >= end) break;
      next_look = n + between_looks;
    }
    for (Payload& payload : payloads) payload.number(n++);
    std::size_t done = 0;
    const auto sent = keep_trying(*this, false, [&](Deadline wait) -> Result<void> {
      if (at_once == 1) return handles_->producer.send(records.front(), wait);
      std::size_t now = 0;
      auto result = handles_->producer.send_many(std::span(records).subspan(done), wait, Content::bytes, &now);
      done += now;
      return result;
    });
    if (!sent) return sent;
  }
  return send_last(*this, handles_->producer);
}

}  // namespace atoll_ipc::cli::bench
