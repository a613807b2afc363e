// Fields of the broker's replies, read without trusting them: a field that is missing or of another
// type is empty, 0 or no items.
#pragma once

#include <cstdint>
#include <string>

#include "output.hpp"

namespace atoll_ipc::cli {

// Strings as they are, numbers in digits, booleans as yes and no.
[[nodiscard]] inline std::string text_of(const Json& object, const char* key) {
  const auto value = object.find(key);
  if (value == object.end() || value->is_null()) return "";
  if (value->is_string()) return value->get<std::string>();
  if (value->is_boolean()) return value->get<bool>() ? "yes" : "no";
  return value->dump();
}

[[nodiscard]] inline std::uint64_t number_of(const Json& object, const char* key) {
  const auto value = object.find(key);
  return value != object.end() && value->is_number_unsigned() ? value->get<std::uint64_t>() : 0;
}

[[nodiscard]] inline bool is_true(const Json& object, const char* key) { return object.value(key, Json()) == true; }

[[nodiscard]] inline Json array_of(const Json& object, const char* key) {
  Json value = object.value(key, Json());
  return value.is_array() ? value : Json::array();
}

}  // namespace atoll_ipc::cli
