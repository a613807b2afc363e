// Which names a user may give: a guard against squatting where several users share a broker.
//
// Asked by Create before something new is made. Without prefixes in the options there is no policy, and the
// first to create a name has it. With at least one, every user has the names below its own (`alice/...`, or its
// number), and below the prefixes given to it or to `*`. Root and the broker's own user may use any name.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "result.hpp"

namespace atoll_ipc::daemon {

class NamePolicy {
 public:
  // Of `USER:PREFIX` texts; invalid_argument names the one that is wrong.
  static Result<NamePolicy> make(const std::vector<std::string>& prefixes);

  // not_permitted says which prefixes the user has.
  [[nodiscard]] Result<void> check(const std::string& name, uid_t uid, uid_t broker) const;
  [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& prefixes() const noexcept { return prefixes_; }

 private:
  std::vector<std::pair<std::string, std::string>> prefixes_;  // user or *, prefix
};

}  // namespace atoll_ipc::daemon
