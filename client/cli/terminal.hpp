// What is known of the terminal, and the signals by which its user ends the command.
//
// Signals: SIGINT and SIGTERM are noted, so that a command can stop between two records; the second
// one ends the process at once. SIGPIPE is ignored: writes tell. A command that was stopped by a
// signal ends by it (die_by), so that the shell sees why.
#pragma once

#include <cstddef>

namespace atoll_ipc::cli {

[[nodiscard]] bool is_terminal(int fd) noexcept;
// Columns of the terminal on standard output; 80 if it does not say.
[[nodiscard]] std::size_t terminal_width() noexcept;
// Colours are for terminals, and not with NO_COLOR or TERM=dumb.
[[nodiscard]] bool use_colours(int fd) noexcept;

// Puts /dev/null where a standard descriptor is closed, so that no other file is taken for it. Using it is an error then.
void keep_standard_descriptors() noexcept;
void watch_signals() noexcept;
// The signal that asked this command to stop, or 0.
[[nodiscard]] int stop_signal() noexcept;
// Readable once stop_signal() is set: for poll beside a file that is read.
[[nodiscard]] int stop_fd() noexcept;
// Ends the process by this signal.
[[noreturn]] void die_by(int signal) noexcept;

}  // namespace atoll_ipc::cli
