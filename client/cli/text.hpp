// Text for people and from people: sizes, ages, numbers, and bytes made safe for a terminal.
//
// Used by every command. Nothing here prints.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace atoll_ipc::cli {

// "4096", "64KiB", "64K", "1MiB", "1M", "1G", "1.5M": powers of 1024; "B" at the end is allowed.
// Nothing if it is no size or does not fit.
[[nodiscard]] std::optional<std::uint64_t> parse_size(std::string_view text);

// "0", "812", "64K", "1.1M": at most five characters.
[[nodiscard]] std::string size_for_people(std::uint64_t bytes);
// "12s", "5m", "3h", "2d".
[[nodiscard]] std::string age_for_people(std::uint64_t seconds);
// "231,083"
[[nodiscard]] std::string with_thousands(std::uint64_t number);
// "2026-11-21 04:12:50 UTC"
[[nodiscard]] std::string time_for_people(std::uint64_t nanoseconds_since_1970);

[[nodiscard]] bool is_utf8(std::string_view bytes) noexcept;
[[nodiscard]] std::string base64(std::string_view bytes);

// What a terminal can be shown: control characters, invalid UTF-8 and the characters that change
// the direction of writing become \xNN or \uNNNN; a backslash stays. Lines and tabs stay if asked.
[[nodiscard]] std::string escape_for_terminal(std::string_view bytes, bool keep_lines);

// Columns that UTF-8 text takes, one for each code point.
[[nodiscard]] std::size_t columns(std::string_view text) noexcept;

enum class Cut { end, start };  // which side is left out
// At most `width` columns, an ellipsis in place of what was left out.
[[nodiscard]] std::string cut_to(std::string_view text, std::size_t width, Cut side);

}  // namespace atoll_ipc::cli
