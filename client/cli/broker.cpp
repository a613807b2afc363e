#include "broker.hpp"

#include <algorithm>

namespace atoll_ipc::cli {
namespace {

Result<Client> connect_with(const Context& context, const TimeLimit& limit, bool start_broker) {
  ConnectOptions options;
  options.socket_path = context.socket;
  options.start_broker = start_broker;
  options.interruptible = true;
  // A short --timeout is meant for records, not for the moment that a broker may take to start.
  options.timeout = std::max<std::chrono::nanoseconds>(limit.left(std::chrono::seconds(10)), std::chrono::seconds(1));
  auto client = Client::connect(options);
  while (!client && client.error().code() == Errc::interrupted && stop_signal() == 0) client = Client::connect(options);
  return client;
}

}  // namespace

TimeLimit::TimeLimit(const Context& context) {
  if (context.timeout_s)
    end_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(*context.timeout_s));
}

bool TimeLimit::passed() const { return end_ && Clock::now() >= *end_; }

std::chrono::nanoseconds TimeLimit::left(std::chrono::nanoseconds most) const {
  if (!end_) return most;
  return std::clamp(std::chrono::duration_cast<std::chrono::nanoseconds>(*end_ - Clock::now()), std::chrono::nanoseconds(0), most);
}

Result<Client> connect(const Context& context, const TimeLimit& limit) { return connect_with(context, limit, true); }

Result<std::optional<Client>> connect_to_look(const Context& context, const TimeLimit& limit) {
  auto client = connect_with(context, limit, false);
  if (client) return std::optional<Client>(std::move(*client));
  if (client.error().code() == Errc::no_broker) return std::optional<Client>();
  return tl::unexpected(client.error());
}

Result<Json> call(Client& client, std::string_view method, const Json& parameters) {
  auto reply = client.call(method, parameters.dump(-1, ' ', false, Json::error_handler_t::replace));
  while (!reply && reply.error().code() == Errc::interrupted && stop_signal() == 0)
    reply = client.call(method, parameters.dump(-1, ' ', false, Json::error_handler_t::replace));
  if (!reply) return tl::unexpected(reply.error());
  Json parsed = Json::parse(*reply, nullptr, false);
  if (!parsed.is_object()) return fail(Errc::protocol_error, "the broker's reply to " + std::string(method) + " is no JSON object");
  return parsed;
}

}  // namespace atoll_ipc::cli
