// How commands reach the broker, and how they wait.
//
// Commands that do something start a broker; commands that only look (ls, show, manifest, status, gc
// without --apply) never do.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

#include "atoll/atoll.hpp"
#include "command.hpp"
#include "output.hpp"
#include "terminal.hpp"

namespace atoll_ipc::cli {

// --timeout, counted from when the command started.
class TimeLimit {
 public:
  explicit TimeLimit(const Context& context);
  [[nodiscard]] bool passed() const;
  [[nodiscard]] bool limited() const noexcept { return end_.has_value(); }
  // What is left of it, but at most `most`.
  [[nodiscard]] std::chrono::nanoseconds left(std::chrono::nanoseconds most) const;

 private:
  using Clock = std::chrono::steady_clock;
  std::optional<Clock::time_point> end_;
};

// Repeats a call that may wait until it answers something else than "not yet", the time limit has
// passed, or the user stopped the command. Each wait is a second at most: a signal that arrives just
// before the library sleeps is then noticed all the same.
template <class Call>
auto wait_for(const TimeLimit& limit, Call&& call) -> decltype(call(Deadline::now())) {
  for (;;) {
    if (stop_signal() != 0) return fail(Errc::interrupted);
    auto result = call(Deadline::in(limit.left(std::chrono::seconds(1))));
    if (result) return result;
    const Errc code = result.error().code();
    if (code == Errc::interrupted ? stop_signal() != 0 : code != Errc::timed_out || limit.passed()) return result;
  }
}

// As wait_for if `wait` is set; else one try.
template <class Call>
auto wait_or_try(bool wait, const TimeLimit& limit, Call&& call) -> decltype(call(Deadline::now())) {
  return wait ? wait_for(limit, call) : call(Deadline::now());
}

// Starts a broker if there is none.
Result<Client> connect(const Context& context, const TimeLimit& limit);
// Nothing if there is no broker.
Result<std::optional<Client>> connect_to_look(const Context& context, const TimeLimit& limit);

// A method of dev.atoll.Broker.
Result<Json> call(Client& client, std::string_view method, const Json& parameters = Json::object());

}  // namespace atoll_ipc::cli
