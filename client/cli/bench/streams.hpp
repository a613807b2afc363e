// The two streams of a measurement, NAME/ping and NAME/pong, and how both halves use them.
#pragma once

#include <chrono>
#include <string>

#include "atoll/atoll.hpp"
#include "records.hpp"

namespace atoll_ipc::cli::bench {

// Everything that waits comes back after this time and looks whether there is a reason to stop.
inline constexpr auto kPatience = std::chrono::milliseconds(200);
inline constexpr unsigned kPollsAtOnce = 1u << 14;  // of a spinning receiver, before it looks
inline constexpr std::uint64_t kMostAtOnce = 64;    // records of one send_many

inline std::string ping(const std::string& name) { return name + "/ping"; }
inline std::string pong(const std::string& name) { return name + "/pong"; }

struct Handles {
  Producer producer;
  Consumer consumer;
};

// A producer of `sends` and the exclusive consumer of `receives`.
Result<Handles> open_handles(Client& client, const std::string& sends, const std::string& receives);
// Both streams, also if they are gone already.
void remove_streams(Client& client, const std::string& name);

// Calls until it succeeds: again when nothing came, if half.look() finds nothing to stop for.
template <class Half, class Call>
auto keep_trying(Half& half, bool spin, Call&& call) -> decltype(call(Deadline::now())) {
  for (;;) {
    for (unsigned i = 0; i < (spin ? kPollsAtOnce : 1); ++i) {
      auto result = spin ? call(Deadline::now()) : call(Deadline::in(kPatience));
      if (result || (result.error().code() != Errc::timed_out && result.error().code() != Errc::interrupted)) return result;
    }
    if (auto goes_on = half.look(); !goes_on) return tl::unexpected(goes_on.error());
  }
}

template <class Half>
Result<void> send_last(Half& half, Producer& producer) {
  return keep_trying(half, false, [&](Deadline wait) { return producer.send(std::string_view("end"), wait, kLast); });
}

}  // namespace atoll_ipc::cli::bench
