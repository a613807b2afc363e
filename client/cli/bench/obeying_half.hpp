// The half of a measurement that the user does not see: it does what the user's half orders over a socket.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "../command.hpp"
#include "../output.hpp"
#include "streams.hpp"

namespace atoll_ipc::cli::bench {

class ObeyingHalf {
 public:
  ObeyingHalf(const Context& context, int fd) : context_(context), fd_(fd) {}

  // Obeys until the socket ends.
  void run();
  // Has the user's half gone?
  Result<void> look();

 private:
  Result<void> obey(const Json& order);
  // Before there are streams, so that it knows what to remove.
  Result<void> begin(const std::string& name, int cpu);
  Result<void> open();
  // Sends every record back, until the last one.
  Result<void> echo(std::uint64_t size, bool spin);
  Result<void> send(std::uint64_t size, std::uint64_t at_once, std::chrono::nanoseconds time);

  const Context& context_;
  int fd_;
  std::string name_;
  std::optional<Client> client_;
  std::optional<Handles> handles_;
};

}  // namespace atoll_ipc::cli::bench
