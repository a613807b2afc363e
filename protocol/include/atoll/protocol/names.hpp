// Names of segments and groups: which are valid, and how one becomes a single path component.
//
// Called by the broker before a name touches the file system and by clients for an early error.
// SPEC.md, "Names".
#pragma once

#include <string>
#include <string_view>

namespace atoll_ipc::protocol {

inline constexpr std::size_t kMaxName = 128;

// 1..128 of [A-Za-z0-9._/-]; parts separated by single slashes; no part empty or starting with '.'
// or '-'.
[[nodiscard]] constexpr bool valid_name(std::string_view name) noexcept {
  if (name.empty() || name.size() > kMaxName) return false;
  bool at_start = true;
  for (const char c : name) {
    const bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    if (at_start ? !plain : !(plain || c == '.' || c == '-' || c == '/')) return false;
    at_start = c == '/';
  }
  return !at_start;
}

// A group's name follows the same rules without slashes, 1..64.
[[nodiscard]] constexpr bool valid_group(std::string_view name) noexcept {
  return name.size() <= 64 && valid_name(name) && name.find('/') == std::string_view::npos;
}

// "a/b" -> "a+b": '+' is in no valid name, so this can be undone and no two names meet.
[[nodiscard]] inline std::string path_component(std::string_view name) {
  std::string out(name);
  for (char& c : out)
    if (c == '/') c = '+';
  return out;
}

}  // namespace atoll_ipc::protocol
