// The other half of a measurement, as the user's half sees it: a process that obeys. Ended by the destructor.
//
// Started before there is a connection to the broker, which does not survive a fork.
#pragma once

#include <sys/types.h>

#include "../command.hpp"
#include "../output.hpp"

namespace atoll_ipc::cli::bench {

class OtherHalf {
 public:
  static Result<OtherHalf> start(const Context& context);
  OtherHalf(OtherHalf&& other) noexcept;
  OtherHalf& operator=(OtherHalf&&) = delete;
  ~OtherHalf();

  Result<void> begin(const Json& order);
  // The answer to the order.
  Result<void> finish();
  Result<void> order(const Json& order);
  // Is there a reason to stop: the user, or the other half's error?
  Result<void> look();

 private:
  OtherHalf(int fd, pid_t pid) : fd_(fd), pid_(pid) {}
  int fd_;
  pid_t pid_;
  bool answered_ = true;
};

}  // namespace atoll_ipc::cli::bench
