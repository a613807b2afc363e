#include "text.hpp"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>

namespace atoll_ipc::cli {
namespace {

// The code point at `at`, and how many bytes it has; 0 bytes: not UTF-8.
struct CodePoint {
  std::uint32_t value;
  std::size_t bytes;
};

CodePoint decode(std::string_view text, std::size_t at) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[at + i])); };
  const std::uint32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  const std::size_t length = first >= 0xf0 && first <= 0xf4 ? 4 : first >= 0xe0 && first < 0xf0 ? 3 : first >= 0xc2 && first < 0xe0 ? 2 : 0;
  if (length == 0 || at + length > text.size()) return {0, 0};
  std::uint32_t value = first & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0u) != 0x80) return {0, 0};
    value = (value << 6) | (byte(i) & 0x3fu);
  }
  const bool too_long = (length == 3 && value < 0x800) || (length == 4 && value < 0x10000);
  if (too_long || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return {0, 0};
  return {value, length};
}

bool is_control(std::uint32_t point) noexcept { return point < 0x20 || (point >= 0x7f && point < 0xa0); }

// Marks that change the direction of writing, and separators that some terminals take for a line end.
bool is_deceptive(std::uint32_t point) noexcept {
  return point == 0x061c || (point >= 0x200b && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
         (point >= 0x2066 && point <= 0x2069) || point == 0xfeff;
}

// One column wide. "…" where the locale can show it.
std::string_view ellipsis() {
  static const bool utf8 = [] {
    for (const char* variable : {"LC_ALL", "LC_CTYPE", "LANG"})
      if (const char* value = std::getenv(variable); value != nullptr && *value != '\0') {
        const std::string_view locale = value;
        return locale.find("UTF-8") != locale.npos || locale.find("utf8") != locale.npos || locale.find("UTF8") != locale.npos ||
               locale.find("utf-8") != locale.npos;
      }
    return false;
  }();
  return utf8 ? "…" : "~";
}

template <class... Arguments>
std::string format(const char* pattern, Arguments... arguments) {
  std::array<char, 64> buffer{};
  std::snprintf(buffer.data(), buffer.size(), pattern, arguments...);
  return buffer.data();
}

}  // namespace

std::optional<std::uint64_t> parse_size(std::string_view text) {
  double number = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (problem != std::errc{} || number < 0) return std::nullopt;
  std::string unit;
  for (const char c : std::string_view(end, static_cast<std::size_t>(text.data() + text.size() - end)))
    unit += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  int shift = 0;
  if (!unit.empty() && unit != "b") {
    static constexpr std::string_view kUnits = "kmgt";
    const auto place = kUnits.find(unit.front());
    if (place == std::string_view::npos || (unit.size() > 1 && unit.substr(1) != "ib" && unit.substr(1) != "b" && unit.substr(1) != "i"))
      return std::nullopt;
    shift = 10 * (static_cast<int>(place) + 1);
  }
  if (shift == 0 || number == std::floor(number)) {  // whole numbers stay exact
    std::uint64_t whole = 0;
    const auto [whole_end, whole_problem] = std::from_chars(text.data(), end, whole);
    if (whole_problem == std::errc{} && whole_end == end) {
      if (whole > (UINT64_MAX >> shift)) return std::nullopt;
      return whole << shift;
    }
  }
  const double bytes = std::ldexp(number, shift);
  if (bytes != std::floor(bytes) || bytes >= 9.2e18) return std::nullopt;
  return static_cast<std::uint64_t>(bytes);
}

std::string size_for_people(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes);
  static constexpr std::string_view kUnits = "KMGTPE";
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (value /= 1024; value >= 1023.5 && unit + 1 < kUnits.size(); value /= 1024) ++unit;
  const bool whole = value >= 9.95 || value == std::floor(value);
  return format(whole ? "%.0f%c" : "%.1f%c", value, kUnits[unit]);
}

std::string age_for_people(std::uint64_t seconds) {
  if (seconds < 120) return std::to_string(seconds) + "s";
  if (seconds < 7200) return std::to_string(seconds / 60) + "m";
  if (seconds < 172800) return std::to_string(seconds / 3600) + "h";
  return std::to_string(seconds / 86400) + "d";
}

std::string with_thousands(std::uint64_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t place = digits.size(); place > 3;) digits.insert(place -= 3, 1, ',');
  return digits;
}

std::string time_for_people(std::uint64_t nanoseconds_since_1970) {
  const auto seconds = static_cast<std::time_t>(nanoseconds_since_1970 / 1'000'000'000);
  std::tm parts{};
  std::array<char, 40> buffer{};
  if (::gmtime_r(&seconds, &parts) == nullptr || std::strftime(buffer.data(), buffer.size(), "%Y-%m-%d %H:%M:%S UTC", &parts) == 0) return "?";
  return buffer.data();
}

bool is_utf8(std::string_view bytes) noexcept {
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t length = decode(bytes, at).bytes;
    if (length == 0) return false;
    at += length;
  }
  return true;
}

std::string base64(std::string_view bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    const std::size_t left = bytes.size() - at;
    std::uint32_t three = 0;
    for (std::size_t i = 0; i < 3; ++i)
      three = (three << 8) | (i < left ? static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[at + i])) : 0u);
    out += kDigits[three >> 18];
    out += kDigits[(three >> 12) & 63];
    out += left > 1 ? kDigits[(three >> 6) & 63] : '=';
    out += left > 2 ? kDigits[three & 63] : '=';
  }
  return out;
}

std::string escape_for_terminal(std::string_view bytes, bool keep_lines) {
  std::string out;
  out.reserve(bytes.size());
  for (std::size_t at = 0; at < bytes.size();) {
    const CodePoint point = decode(bytes, at);
    const std::size_t length = point.bytes == 0 ? 1 : point.bytes;
    const bool kept_line = keep_lines && (point.value == '\n' || point.value == '\t');
    if (point.bytes == 0 || (is_control(point.value) && !kept_line && point.value < 0x80)) {
      out += format("\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(bytes[at])));
    } else if ((is_control(point.value) && !kept_line) || is_deceptive(point.value)) {
      out += format("\\u%04x", point.value);
    } else {
      out += bytes.substr(at, length);
    }
    at += length;
  }
  return out;
}

std::size_t columns(std::string_view text) noexcept {
  std::size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xc0u) != 0x80;
  return count;
}

std::string cut_to(std::string_view text, std::size_t width, Cut side) {
  std::size_t surplus = columns(text);
  if (surplus <= width) return std::string(text);
  if (width == 0) return {};
  surplus -= width - 1;  // code points to leave out; the ellipsis takes one column
  const auto starts_code_point = [&](std::size_t at) { return (static_cast<unsigned char>(text[at]) & 0xc0u) != 0x80; };
  if (side == Cut::start) {
    std::size_t at = 0;
    for (; surplus > 0; --surplus)
      for (++at; at < text.size() && !starts_code_point(at);) ++at;
    return std::string(ellipsis()).append(text.substr(at));
  }
  std::size_t at = text.size();
  for (; surplus > 0; --surplus)
    for (--at; at > 0 && !starts_code_point(at);) --at;
  return std::string(text.substr(0, at)).append(ellipsis());
}

}  // namespace atoll_ipc::cli
