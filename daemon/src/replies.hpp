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
  std::string manifest;  // the parameter of this name, as JSON text; empty where there is none
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

template <class Json>
[[nodiscard]] std::string text_of(const Json& message) {
  return message.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Like result_reply(), but as text: the manifest is printed once for each segment, and parsing it again only to print it
// with the rest would cost more than all the rest.
[[nodiscard]] inline std::string text_of(const Reply& reply) {
  std::string text = R"({"parameters":)" + text_of(reply.parameters);
  if (!reply.manifest.empty()) {
    text.back() = ',';  // there are other parameters
    text += R"("manifest":)" + reply.manifest + "}";
  }
  return text + "}";
}

}  // namespace atoll_ipc::daemon
