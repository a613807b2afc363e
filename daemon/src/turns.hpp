// Whose call is carried out next: one call of each user in turn, and of a user's connections one after the other.
//
// Owned by the broker. A connection asks when a whole call has arrived; round() is called between two looks at the
// sockets. So a user who sends calls as fast as it can, over however many connections, delays another's
// call by one of its own at a time.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <utility>
#include <vector>

namespace atoll_ipc::daemon {

class Turns {
 public:
  void ask(uid_t user, std::uint64_t connection) { waiting_[user].push_back(connection); }

  // Gives the longest waiting connection of each user its turn. True if others wait.
  bool round(const std::function<void(std::uint64_t connection)>& turn) {
    std::vector<std::uint64_t> next;
    next.reserve(waiting_.size());  // what is taken out below is not lost for want of memory
    for (auto at = waiting_.begin(); at != waiting_.end();) {
      next.push_back(at->second.front());
      at->second.pop_front();
      at = at->second.empty() ? waiting_.erase(at) : std::next(at);
    }
    for (const std::uint64_t connection : next) turn(connection);
    return !waiting_.empty();
  }

 private:
  std::map<uid_t, std::deque<std::uint64_t>> waiting_;
};

}  // namespace atoll_ipc::daemon
