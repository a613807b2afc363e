// The parameters of a call, read field by field: the first thing wrong is remembered with its name.
//
// Called by the methods. A field that is null counts as absent. After reading, done() says whether all
// was well, and refuses fields that the method does not have, so that a misspelt option is not ignored.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "result.hpp"

namespace atoll_ipc::daemon {

class Arguments {
 public:
  explicit Arguments(const nlohmann::json& object, std::string prefix = {}) : object_(object), prefix_(std::move(prefix)) {}

  std::string text(const char* field) { return required(field) ? string_of(field) : std::string(); }
  std::optional<std::string> optional_text(const char* field) {
    return find(field) != nullptr ? std::optional(string_of(field)) : std::nullopt;
  }
  std::int64_t number(const char* field, std::int64_t least, std::int64_t most) {
    return required(field) ? number_of(field, least, most) : least;
  }
  std::optional<std::int64_t> optional_number(const char* field, std::int64_t least, std::int64_t most) {
    return find(field) != nullptr ? std::optional(number_of(field, least, most)) : std::nullopt;
  }
  bool flag(const char* field, bool absent = false) {
    const nlohmann::json* value = find(field);
    if (value == nullptr) return absent;
    if (!value->is_boolean()) wrong_type(field, "true or false");
    return value->is_boolean() && value->get<bool>();
  }
  // Empty if absent (and not required).
  const nlohmann::json& object(const char* field, bool needed) {
    static const nlohmann::json none = nlohmann::json::object();
    const nlohmann::json* value = needed ? (required(field) ? find(field) : nullptr) : find(field);
    if (value == nullptr) return none;
    if (value->is_object()) return *value;
    wrong_type(field, "an object");
    return none;
  }
  const nlohmann::json& array(const char* field, bool needed) {
    static const nlohmann::json none = nlohmann::json::array();
    const nlohmann::json* value = needed ? (required(field) ? find(field) : nullptr) : find(field);
    if (value == nullptr) return none;
    if (value->is_array()) return *value;
    wrong_type(field, "an array");
    return none;
  }
  [[nodiscard]] const nlohmann::json& all() const noexcept { return object_; }
  [[nodiscard]] bool has(const char* field) { return find(field) != nullptr; }

  void refuse(Failure failure) {
    if (!failure_) failure_ = std::move(failure);
  }
  // Of its range, not of its type.
  void bad_value(const std::string& field, const std::string& why) {
    refuse({Errc::invalid_argument, "the parameter '" + prefix_ + field + "' " + why, {}, 0, {}});
  }
  [[nodiscard]] Result<void> done() {
    for (const auto& [key, value] : object_.items())
      if (asked_.count(key) == 0)
        refuse({Errc::protocol_error, "there is no parameter '" + prefix_ + key.substr(0, 64) + "' here", {}, 0,
                "leave it out; dev.atoll.Broker.varlink lists the parameters of each method"});
    if (failure_) return fail(*failure_);
    return {};
  }
  [[nodiscard]] const std::optional<Failure>& failure() const noexcept { return failure_; }

 private:
  const nlohmann::json* find(const char* field) {
    asked_.insert(field);
    const auto at = object_.find(field);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
  }
  bool required(const char* field) {
    if (find(field) != nullptr) return true;
    refuse({Errc::protocol_error, "the parameter '" + prefix_ + field + "' is missing", {}, 0, "send it; see dev.atoll.Broker.varlink"});
    return false;
  }
  void wrong_type(const char* field, const char* wanted) {
    refuse({Errc::protocol_error, "the parameter '" + prefix_ + field + "' is not " + wanted, {}, 0, std::string("send ") + wanted});
  }
  std::string string_of(const char* field) {
    const nlohmann::json* value = find(field);
    if (value->is_string()) return value->get<std::string>();
    wrong_type(field, "a string");
    return {};
  }
  std::int64_t number_of(const char* field, std::int64_t least, std::int64_t most) {
    const nlohmann::json* value = find(field);
    if (!value->is_number_integer()) {
      // A number too long for 64 bits arrives as a fraction: it is of the right type, but out of range.
      if (value->is_number())
        bad_value(field, "is " + value->dump() + ", allowed is a whole number from " + std::to_string(least) + " to " + std::to_string(most));
      else
        wrong_type(field, "a whole number");
      return least;
    }
    const bool too_large = value->is_number_unsigned() && value->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX);
    const std::int64_t n = too_large ? 0 : value->get<std::int64_t>();
    if (!too_large && n >= least && n <= most) return n;
    bad_value(field, "is " + value->dump() + ", allowed is " + std::to_string(least) + " to " + std::to_string(most));
    return least;
  }

  const nlohmann::json& object_;
  std::string prefix_;
  std::set<std::string> asked_;
  std::optional<Failure> failure_;
};

}  // namespace atoll_ipc::daemon
