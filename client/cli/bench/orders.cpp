#include "orders.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "../terminal.hpp"

namespace atoll_ipc::cli::bench {

Result<void> tell(int fd, const Json& message) {
  const std::string text = message.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (::send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size())) return {};
  return fail(Errc::system_error, "the other half of the measurement has ended");
}

std::optional<Json> hear(int fd) {
  std::string text(8192, '\0');
  ssize_t got = 0;
  do got = ::recv(fd, text.data(), text.size(), 0);
  while (got < 0 && errno == EINTR && stop_signal() == 0);
  if (got <= 0) return std::nullopt;
  Json message = Json::parse(text.substr(0, static_cast<std::size_t>(got)), nullptr, false);
  if (!message.is_object()) return std::nullopt;
  return message;
}

bool readable(int fd, int timeout_ms) {
  pollfd poll{fd, POLLIN, 0};
  return ::poll(&poll, 1, timeout_ms) > 0;
}

Json told(const Error& error) {
  return {{"error", {{"code", static_cast<int>(error.code())}, {"message", std::string(error.message())}, {"segment", std::string(error.segment())},
                     {"detail", error.detail()}, {"fix", std::string(error.fix())}}}};
}

Error error_told(const Json& message) {
  const Json& error = message.at("error");
  return Error(static_cast<Errc>(error.at("code").get<int>()), error.at("message").get<std::string>(), error.at("segment").get<std::string>(),
               error.at("detail").get<std::uint64_t>(), error.at("fix").get<std::string>());
}

}  // namespace atoll_ipc::cli::bench
