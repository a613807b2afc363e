// Replies as JSON: results and errors in Varlink's form.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "files.hpp"
#include "result.hpp"

namespace atoll_ipc::daemon {

struct Reply {
  nlohmann::json parameters = nlohmann::json::object();
  std::string manifest;  // also a parameter if it is not empty; apart, since dump() takes long over long strings
  std::vector<UniqueFd> fds;
  bool deferred = false;  // the method answers later
};

[[nodiscard]] inline nlohmann::json error_reply(const Failure& failure) {
  const protocol::ErrorText& text = protocol::error_text(failure.code);
  return {{"error", std::string("dev.atoll.Broker.") + text.wire_name},
          {"parameters",
           {{"code", static_cast<int>(failure.code)},
            {"message", failure.message.empty() ? text.summary : failure.message},
            {"segment", failure.segment},
            {"fix", failure.fix.empty() ? text.fix : failure.fix},
            {"detail", failure.detail}}}};
}

// org.varlink.service's own errors: for requests that are no call of ours at all.
[[nodiscard]] inline nlohmann::json varlink_error(const std::string& name, const std::string& field, const std::string& value) {
  return {{"error", "org.varlink.service." + name}, {"parameters", {{field, value}}}};
}

[[nodiscard]] inline nlohmann::json result_reply(nlohmann::json parameters) { return {{"parameters", std::move(parameters)}}; }

[[nodiscard]] inline std::string text_of(const nlohmann::json& message) {
  return message.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// The reply as it is sent, with the manifest, a text that dump() made and so is valid.
[[nodiscard]] inline std::string text_of(Reply& reply) {
  const std::string_view manifest = reply.manifest;
  if (!manifest.empty()) reply.parameters["manifest"] = "";
  std::string text = text_of(result_reply(std::move(reply.parameters)));
  if (manifest.empty()) return text;
  constexpr std::string_view place = "\"manifest\":\"";
  const std::size_t at = text.find(place) + place.size();
  std::string out = text.substr(0, at);
  out.resize(at + 2 * manifest.size());
  char* to = out.data() + at;
  for (const char c : manifest) {
    if (c == '"' || c == '\\' || c == '\n') *to++ = '\\';
    *to++ = c == '\n' ? 'n' : c;
  }
  out.resize(static_cast<std::size_t>(to - out.data()));
  return out.append(text, at);
}

}  // namespace atoll_ipc::daemon
