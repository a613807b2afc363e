// A broker in the process, and connections to it: a target sends bytes and gets what the broker answers.
//
// Used by control_frames, hello_and_readopt and journal. The broker is a whole one, with a directory of its own; only its
// loop does not turn by itself: what has arrived is handled when a target says so. Sockets are pairs, so no accept.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "daemon/src/broker.hpp"
#include "harness.hpp"

namespace atoll_fuzz {

// Starts a broker on directory(). Errors are the broker's. Quiet.
atoll_ipc::daemon::Result<std::unique_ptr<atoll_ipc::daemon::Broker>> start_broker();
// Ends it as a kill would: nothing is written.
void end_broker(std::unique_ptr<atoll_ipc::daemon::Broker>& broker);
// After the first start: confines this process to its directories, and empties them at its end.
void confine_to(const atoll_ipc::daemon::Broker& broker);
// Leaves the layout out of the manifests that lie there: a broker that starts does not read it, and parsing it takes most of a start.
void shorten_manifests();
// `text` with @DIRECTORY@ in place.
std::string with_directory(std::string_view text);

struct Answer {
  nlohmann::json message;
  std::vector<atoll_ipc::protocol::UniqueFd> fds;  // with the first answer of those that came together
};

// A connection of this process. Gone with the object: the client's end is closed and the broker has noticed.
class Line {
 public:
  explicit Line(atoll_ipc::daemon::Broker& broker);
  ~Line();
  // Sends the bytes, at most `piece` at once (0: all), with descriptors, and lets the broker do as they say. Each answer is
  // checked: one JSON object, an error of the list or a result.
  std::vector<Answer> say(std::string_view bytes, std::size_t piece = 0, std::span<const int> fds = {});

 private:
  void turn();
  void hear(std::vector<Answer>& answers);
  [[nodiscard]] atoll_ipc::daemon::Connection* connection();

  atoll_ipc::daemon::Broker& broker_;
  std::uint64_t id_;
  atoll_ipc::protocol::UniqueFd socket_;
  std::string heard_;
};

}  // namespace atoll_fuzz
