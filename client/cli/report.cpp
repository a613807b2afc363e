#include "report.hpp"

#include <unistd.h>

#include <cstdio>

#include "exit_status.hpp"
#include "output.hpp"
#include "terminal.hpp"
#include "text.hpp"

namespace atoll_ipc::cli {
namespace {

// On a terminal messages may hold what others chose (names, commands); elsewhere they stay as they are.
std::string shown(std::string_view text) {
  return is_terminal(STDERR_FILENO) ? escape_for_terminal(text, true) : std::string(text);
}

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stderr); }

std::string title() { return use_colours(STDERR_FILENO) ? "\x1b[1;31matoll:\x1b[0m " : "atoll: "; }

}  // namespace

void report(const Error& error, bool json) {
  if (json) {
    const Json object = {{"error",
                          {{"name", error.name()},
                           {"code", static_cast<int>(error.code())},
                           {"message", std::string(error.message())},
                           {"segment", std::string(error.segment())},
                           {"fix", std::string(error.fix())},
                           {"detail", error.detail()},
                           {"exit_status", exit_status(error.code())}}}};
    print(object.dump(-1, ' ', is_terminal(STDERR_FILENO), Json::error_handler_t::replace) + "\n");
    return;
  }
  std::string line = shown(error.message());
  if (!error.segment().empty() && line.find(error.segment()) == line.npos) line = shown(error.segment()) + ": " + line;
  print(title() + line + "\n");
  if (!error.fix().empty()) print("  fix: " + shown(error.fix()) + "\n");
}

void note(std::string_view text) { print("atoll: " + shown(text) + "\n"); }

Progress::Progress(bool shown_here) : shown_(shown_here && is_terminal(STDERR_FILENO)), next_(Clock::now() + std::chrono::seconds(1)) {}

void Progress::update(const std::function<std::string()>& line) {
  if (!shown_) return;
  const auto now = Clock::now();
  if (now < next_) return;
  // A job in the background keeps still. (-1: the terminal is not the one that controls us.)
  if (const pid_t front = ::tcgetpgrp(STDERR_FILENO); front >= 0 && front != ::getpgrp()) return;
  next_ = now + std::chrono::milliseconds(200);
  const std::size_t width = terminal_width();
  print("\r" + cut_to(line(), width > 1 ? width - 1 : width, Cut::end) + "\x1b[K");
  on_screen_ = true;
}

void Progress::wipe() noexcept {
  if (!on_screen_) return;
  std::fputs("\r\x1b[K", stderr);
  on_screen_ = false;
}

std::string rate_line(std::string_view verb, std::uint64_t records, std::uint64_t bytes, std::chrono::steady_clock::time_point since) {
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
  const auto rate = static_cast<std::uint64_t>(seconds > 0 ? static_cast<double>(records) / seconds : 0);
  return std::string(verb) + " " + with_thousands(records) + " records, " + size_for_people(bytes) + ", " + with_thousands(rate) +
         " records/s";
}

}  // namespace atoll_ipc::cli
