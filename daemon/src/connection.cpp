#include "connection.hpp"

#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include <array>

#include "replies.hpp"

namespace atoll_ipc::daemon {
namespace {

constexpr std::int64_t kFirstFrameNs = 2'000'000'000;
constexpr std::int64_t kMidFrameNs = 5'000'000'000;
constexpr std::int64_t kUnreadNs = 5'000'000'000;
constexpr std::size_t kMaxQueued = 1 << 20;
constexpr std::size_t kMaxUnreadFds = 256;  // more than any two replies carry

}  // namespace

Connection::Connection(EventLoop& loop, std::uint64_t number, UniqueFd socket, Process process, UniqueFd process_fd, const Events& events)
    : id(number), peer(std::move(process)), pidfd(std::move(process_fd)), loop_(loop), socket_(std::move(socket)), events_(events) {}

Connection::~Connection() {
  loop_.cancel(in_timer_);
  loop_.cancel(out_timer_);
  loop_.cancel(wait_timer);
  loop_.forget(socket_.get());
}

Result<void> Connection::start() {
  time_limit(kFirstFrameNs, "no call arrived within 2 s");
  return loop_.watch(socket_.get(), EPOLLIN | EPOLLRDHUP, [this](std::uint32_t events) { on_ready(events); });
}

void Connection::time_limit(std::int64_t delay_ns, const char* why) {
  loop_.cancel(in_timer_);
  in_timer_ = 0;
  in_timer_ = loop_.after(delay_ns, [this, why] { end(why); });
}

void Connection::end(std::string_view why) noexcept {
  if (ended_) return;
  ended_ = true;
  events_.on_end(*this, why);
}

template <class Work>
void Connection::or_end(const Work& work) noexcept {
  try {
    work();
  } catch (const std::exception& exception) {
    end(exception.what());
  }
}

void Connection::on_ready(std::uint32_t events) {
  or_end([&] { look(events); });
}

void Connection::look(std::uint32_t events) {
  if (ended_) return;
  if ((events & EPOLLOUT) != 0) write();
  // While a call waits for its answer only the end of the connection is of interest.
  if ((events & (EPOLLHUP | EPOLLERR)) != 0 || (held_ && (events & EPOLLRDHUP) != 0)) {
    if (!closing_ || (events & (EPOLLHUP | EPOLLERR)) != 0) return end("closed by the client");
  }
  if (!ended_ && (events & (EPOLLIN | EPOLLRDHUP)) != 0) read();
}

void Connection::read() {
  if (turn_wanted_) {
    paused_ = true;
    loop_.change(socket_.get(), out_.empty() ? 0u : EPOLLOUT);
    return;
  }
  if (held_ && in_.size() >= protocol::kMaxFrame) {
    // Enough for now; the rest stays in the kernel until the call in hand is answered.
    loop_.change(socket_.get(), EPOLLRDHUP | (out_.empty() ? 0u : EPOLLOUT));
    return;
  }
  std::array<char, 16 * 1024> buffer;
  bool truncated = false;
  const ssize_t n = protocol::receive_some(socket_.get(), buffer, offered, MSG_DONTWAIT, &truncated);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
  if (n <= 0) return end(n == 0 ? "closed by the client" : std::string("recvmsg: ") + std::strerror(errno));
  if (closing_) {
    offered.clear();
    return;
  }
  if (truncated || offered.size() > protocol::kMaxFdsPerMessage) {
    offered.clear();
    return protocol_error("the message carries more descriptors than are taken", "send at most " + std::to_string(protocol::kMaxFdsPerMessage));
  }
  in_.append(buffer.data(), static_cast<std::size_t>(n));
  look_for_frame();
}

// A whole frame asks for its turn; what cannot become one ends the connection.
void Connection::look_for_frame() {
  if (turn_wanted_ || held_ || closing_ || ended_) return;
  // Only a Hello, which may name many attachments, is long as a first call.
  const bool short_first =
      !greeted_ && std::string_view(in_).substr(0, protocol::kMaxFirstFrame).find("dev.atoll.Broker.Hello") == std::string_view::npos;
  const std::size_t limit = short_first ? protocol::kMaxFirstFrame : protocol::kMaxFrame;
  const std::size_t end_of_frame = in_.find('\0');
  if (end_of_frame == std::string::npos ? in_.size() >= limit : end_of_frame >= limit)
    return protocol_error("the message is longer than " + std::to_string(limit) + " bytes", "send less in one call");
  if (end_of_frame == std::string::npos && !in_.empty()) {
    if (in_timer_ == 0) time_limit(kMidFrameNs, "a message was not complete within 5 s");
    return;
  }
  if (end_of_frame != std::string::npos || greeted_) {
    loop_.cancel(in_timer_);
    in_timer_ = 0;
  }
  if (end_of_frame == std::string::npos) return;
  turn_wanted_ = true;
  events_.on_turn_wanted(*this);
}

void Connection::take_turn() {
  or_end([&] { take_next(); });
}

void Connection::take_next() {
  if (!turn_wanted_) return;
  turn_wanted_ = false;
  if (held_ || closing_ || ended_) return;
  const std::size_t end_of_frame = in_.find('\0');
  const std::string frame = in_.substr(0, end_of_frame);
  in_.erase(0, end_of_frame + 1);
  events_.on_frame(*this, frame);
  greeted_ = true;
  offered.clear();
  look_for_frame();
  if (ended_ || turn_wanted_ || !paused_) return;
  paused_ = false;
  loop_.change(socket_.get(), EPOLLIN | EPOLLRDHUP | (out_.empty() ? 0u : EPOLLOUT));
}

std::size_t Connection::unread_descriptors(bool look) {
  int unread = 0;
  if (look && unread_fds_ != 0 && out_.empty() && ::ioctl(socket_.get(), SIOCOUTQ, &unread) == 0 && unread == 0) unread_fds_ = 0;
  return unread_fds_;
}

UniqueFd Connection::give_socket() {
  loop_.forget(socket_.get());
  return std::move(socket_);
}

void Connection::refuse_descriptors() noexcept {
  constexpr int kPassRights = 83;  // SO_PASSRIGHTS, newer than the headers
  const int off = 0;
  ::setsockopt(socket_.get(), SOL_SOCKET, kPassRights, &off, sizeof off);
}

void Connection::release() {
  held_ = false;
  waiting_for.clear();
  waiting_attach.reset();
  loop_.cancel(wait_timer);
  wait_timer = 0;
  loop_.change(socket_.get(), EPOLLIN | EPOLLRDHUP | (out_.empty() ? 0u : EPOLLOUT));
  look_for_frame();
}

void Connection::protocol_error(const std::string& what, const std::string& fix) {
  send(error_reply({Errc::protocol_error, what, {}, 0, fix}));
  close_when_sent(what);
}

void Connection::send(const nlohmann::json& message) { send(text_of(message), {}); }

void Connection::send(std::string text, std::vector<UniqueFd> fds) {
  if (ended_) return;
  Message out;
  out.text = std::move(text);
  out.text.push_back('\0');
  if (!fds.empty()) {
    unread_fds_ = unread_descriptors(true) + fds.size();
    if (unread_fds_ > kMaxUnreadFds) return close_when_sent("it does not take the descriptors that it asked for");
  }
  out.fds = std::move(fds);
  queued_ += out.text.size();
  out_.push_back(std::move(out));
  if (queued_ > kMaxQueued + out_.back().text.size()) return end("it does not read its replies");
  write();
}

void Connection::write() {
  while (!out_.empty()) {
    Message& message = out_.front();
    std::vector<int> fds;
    for (const UniqueFd& fd : message.fds) fds.push_back(fd.get());
    const ssize_t n = protocol::send_some(socket_.get(), std::string_view(message.text).substr(message.sent), fds, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ETOOMANYREFS)) break;
    if (n < 0) return end(std::string("sendmsg: ") + std::strerror(errno));
    message.fds.clear();
    message.sent += static_cast<std::size_t>(n);
    queued_ -= static_cast<std::size_t>(n);
    loop_.cancel(out_timer_);
    out_timer_ = 0;
    if (message.sent == message.text.size()) out_.pop_front();
  }
  if (out_.empty() && closing_) return end(closing_why_);
  if (!out_.empty() && out_timer_ == 0)
    out_timer_ = loop_.after(kUnreadNs, [this] { end("it did not read its replies for 5 s"); });
  loop_.change(socket_.get(), EPOLLIN | EPOLLRDHUP | (out_.empty() ? 0u : EPOLLOUT));
}

void Connection::close_when_sent(const std::string& why) {
  closing_ = true;
  closing_why_ = why;
  if (out_.empty()) end(why);
}

void Connection::drain() {
  while (turn_wanted_ && !ended_) take_turn();
  if (!ended_) or_end([&] { read(); });
  while (turn_wanted_ && !ended_) take_turn();
  if (!ended_) or_end([&] { write(); });
}

}  // namespace atoll_ipc::daemon
