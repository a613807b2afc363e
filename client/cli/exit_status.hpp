// The exit statuses of the command `atoll`, and which error gives which.
//
// Scripts depend on them: a number never changes its meaning. The same table is in `atoll --help` and
// in atoll.1; tests/e2e compares them.
#pragma once

#include "atoll/error.hpp"

namespace atoll_ipc::cli {

inline constexpr int kOk = 0;
inline constexpr int kFailed = 1;  // anything not below; gc: there is something to clean up
inline constexpr int kUsage = 2;
inline constexpr int kNotFound = 3;
inline constexpr int kTimedOut = 4;
inline constexpr int kNotPermitted = 5;
inline constexpr int kNoRoom = 6;
inline constexpr int kNoBroker = 7;
inline constexpr int kInUse = 8;
inline constexpr int kEnded = 9;
inline constexpr int kDamaged = 10;

[[nodiscard]] int exit_status(Errc code) noexcept;

// The table as `atoll --help` shows it.
inline constexpr const char* kExitStatusTable =
    "   0  done\n"
    "   1  it failed in a way not listed here; gc: there is something to clean up\n"
    "   2  wrong use: an option, a name or a size is not possible\n"
    "   3  there is no such segment or group\n"
    "   4  the time limit passed first\n"
    "   5  not permitted\n"
    "   6  no room: memory, a limit of the broker, or a record that is too large\n"
    "   7  no broker can be reached or started\n"
    "   8  in use, or exists with other options\n"
    "   9  the stream ended before the records asked for came\n"
    "  10  a file of the segment is damaged or lost\n"
    " 130  interrupted (Ctrl-C); 141: the reader of the output went away;\n"
    "      143: terminated. The command then ends by that signal itself.\n";

}  // namespace atoll_ipc::cli
