// What goes to standard error: errors, notes and progress.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "atoll/error.hpp"

namespace atoll_ipc::cli {

// "atoll: <message>" and "  fix: <fix>", or with json one object {"error": {...}}.
void report(const Error& error, bool json);
// "atoll: <text>": something the user should know that is no error.
void note(std::string_view text);

// One line on a terminal that says how far a command has come, once it has taken more than a second;
// nothing elsewhere. It is wiped before anything else is printed there and at the end.
class Progress {
 public:
  // shown: false switches it off, e.g. while records scroll over the same terminal.
  explicit Progress(bool shown);
  ~Progress() { wipe(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  // Cheap: `line` is asked for at most five times a second.
  void update(const std::function<std::string()>& line);
  void wipe() noexcept;

 private:
  using Clock = std::chrono::steady_clock;
  bool shown_;
  bool on_screen_ = false;
  Clock::time_point next_;
};

// "12,345 records, 1.1M, 230,000 records/s" for progress lines.
std::string rate_line(std::string_view verb, std::uint64_t records, std::uint64_t bytes, std::chrono::steady_clock::time_point since);

}  // namespace atoll_ipc::cli
