// A client's connection: frames in, replies out, never blocking, everything bounded.
//
// Owned by the broker, which is told of frames and of the end through Events. A whole frame waits for its
// turn (take_turn()); meanwhile nothing more is read. Calls are answered in order: while one waits
// (hold()), later ones stay in the buffer. Limits: first frame 2 s and 4 KiB (more
// only for Hello), 5 s from a frame's first byte to its last, 64 KiB a frame, 1 MiB of unread replies,
// 5 s without progress in sending them.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "event_loop.hpp"
#include "process.hpp"
#include "segment.hpp"

namespace atoll_ipc::daemon {

class Connection {
 public:
  struct Events {
    std::function<void(Connection&)> on_turn_wanted;  // a whole frame is there; once until take_turn()
    std::function<void(Connection&, std::string_view frame)> on_frame;
    std::function<void(Connection&, std::string_view why)> on_end;  // destroys the connection, later
  };

  Connection(EventLoop& loop, std::uint64_t id, UniqueFd socket, Process peer, UniqueFd pidfd, const Events& events);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  Result<void> start();
  // Queues a message; descriptors go with its first byte.
  void send(const nlohmann::json& message);
  void send(std::string text, std::vector<UniqueFd> fds);
  // The frame being handled is answered later; release() goes on with what has arrived meanwhile.
  void hold() noexcept { held_ = true; }
  void release();
  // Handles one frame.
  void take_turn();
  // Descriptors that the client has been sent and has not taken; nearly so, unless it is asked to look.
  [[nodiscard]] std::size_t unread_descriptors(bool look);
  // At the end: the socket, for as long as descriptors lie in it.
  [[nodiscard]] UniqueFd give_socket();
  // From now on the kernel refuses descriptors that the client sends, where it can (Linux 6.16).
  void refuse_descriptors() noexcept;
  // After what is queued has been sent.
  void close_when_sent(const std::string& why);
  // What has arrived, handled now; then as much as possible sent. For the end of the broker.
  void drain();
  [[nodiscard]] bool idle() const noexcept { return out_.empty(); }

  std::uint64_t id;
  Process peer;
  UniqueFd pidfd;                    // until Hello gives it to the slot
  std::optional<SlotKey> slot;       // after Hello
  std::optional<Failure> refused;    // over a limit: the first call is answered with this
  std::vector<UniqueFd> offered;     // descriptors that came with the frame being handled
  std::string waiting_for;           // a segment's name, while held
  std::optional<nlohmann::json> waiting_attach;  // the Attach to carry out when it appears
  EventLoop::TimerId wait_timer = 0;

 private:
  struct Message {
    std::string text;
    std::size_t sent = 0;
    std::vector<UniqueFd> fds;
  };
  void on_ready(std::uint32_t events);
  // A connection for which there is no memory in the middle of something is ended: what follows would be out of step.
  template <class Work>
  void or_end(const Work& work) noexcept;
  void look(std::uint32_t events);
  void take_next();
  void read();
  void look_for_frame();
  void write();
  void end(std::string_view why) noexcept;
  void protocol_error(const std::string& what, const std::string& fix);
  void time_limit(std::int64_t delay_ns, const char* why);

  EventLoop& loop_;
  UniqueFd socket_;
  const Events& events_;
  std::string in_;
  std::deque<Message> out_;
  std::size_t queued_ = 0;
  std::size_t unread_fds_ = 0;
  bool greeted_ = false;
  bool held_ = false;
  bool turn_wanted_ = false;
  bool paused_ = false;  // nothing is read until the turn has come
  bool closing_ = false;
  bool ended_ = false;
  std::string closing_why_;
  EventLoop::TimerId in_timer_ = 0;
  EventLoop::TimerId out_timer_ = 0;
};

}  // namespace atoll_ipc::daemon
