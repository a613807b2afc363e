#include "manifest_text.hpp"

namespace atoll_ipc {

std::string take_manifest(std::string& reply) {
  constexpr std::string_view member = "\"manifest\":\"";
  const std::size_t at = reply.find(member);
  // After one of these a quote begins a member's name: inside a string a quote has a backslash before it.
  if (at == std::string::npos || at == 0 || (reply[at - 1] != '{' && reply[at - 1] != ',')) return {};
  const std::size_t begin = at + member.size();
  std::string text(reply.size() - begin, '\0');
  std::size_t length = 0;
  for (std::size_t i = begin; i < reply.size(); ++i) {
    char c = reply[i];
    if (c == '"') {
      text.resize(length);
      reply.erase(begin, i - begin);
      return text;
    }
    if (static_cast<unsigned char>(c) < 32) return {};
    if (c == '\\') {
      if (++i == reply.size()) return {};
      c = reply[i];
      if (c == 'n')
        c = '\n';
      else if (c != '"' && c != '\\')
        return {};
    }
    text[length++] = c;
  }
  return {};
}

std::string without_layout(std::string_view manifest) {
  constexpr std::string_view member = "\"layout\"";
  std::size_t value = std::string_view::npos;
  int depth = 0;
  for (std::size_t i = 0; i < manifest.size(); ++i) {
    const char c = manifest[i];
    if (c == '"') {
      const std::size_t begin = i;
      for (++i; i < manifest.size() && manifest[i] != '"'; ++i)
        if (manifest[i] == '\\') ++i;
      // A string between commas of the outermost object that an object follows is a member's name.
      if (depth != 1 || value != std::string_view::npos || manifest.substr(begin, i + 1 - begin) != member) continue;
      const std::size_t next = manifest.find_first_not_of(" \t\n\r:", i + 1);
      if (next != std::string_view::npos && manifest[next] == '{') value = next;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      --depth;
      if (depth == 1 && value != std::string_view::npos && i > value)
        return std::string(manifest.substr(0, value)).append("0").append(manifest.substr(i + 1));
    }
  }
  return std::string(manifest);
}

}  // namespace atoll_ipc
