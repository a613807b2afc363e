// Results of the broker's own calls: a value or a Failure that can be sent to a client as it is.
//
// The rule: whoever finds the failure writes its message with what and where; callers pass it up
// unchanged or handle it. Nothing here throws on purpose.
#pragma once

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "atoll/protocol/failure.hpp"

namespace atoll_ipc::daemon {

using protocol::Failure;

template <class T>
using Result = tl::expected<T, Failure>;

[[nodiscard]] inline tl::unexpected<Failure> fail(Errc code, std::string message, std::string_view segment = {},
                                                  std::uint64_t detail = 0, std::string fix = {}) {
  return tl::unexpected(Failure{code, std::move(message), std::string(segment), detail, std::move(fix)});
}

[[nodiscard]] inline tl::unexpected<Failure> fail(Failure failure) { return tl::unexpected(std::move(failure)); }

// Want of descriptors, memory or something of the kernel's: later it may go well.
[[nodiscard]] inline bool passes(const Failure& failure) noexcept {
  return failure.code == Errc::no_descriptors || failure.code == Errc::no_space || failure.code == Errc::system_error;
}

// The file is not as the broker made it: cut, missing, or written over where only the broker writes. Nothing else is damage.
[[nodiscard]] inline bool spoilt(const Failure& failure) noexcept {
  return failure.code == Errc::bad_header || failure.code == Errc::wrong_version || failure.code == Errc::wrong_byte_order || failure.code == Errc::truncated_file;
}

// Want of descriptors, memory or room on a disk: nothing is wrong with what was asked for.
[[nodiscard]] inline bool wants(const Failure& failure) noexcept { return failure.code == Errc::no_descriptors || failure.code == Errc::no_space; }

// A failed system call: errno chooses the code, `what` names the call and its object.
[[nodiscard]] inline tl::unexpected<Failure> fail_errno(int error, const std::string& what, std::string_view segment = {}) {
  Errc code = Errc::system_error;
  if (error == EMFILE || error == ENFILE) code = Errc::no_descriptors;
  if (error == ENOSPC || error == EDQUOT || error == ENOMEM) code = Errc::no_space;
  if (error == EACCES || error == EPERM || error == EROFS) code = Errc::not_permitted;
  return fail(code, what + ": " + std::strerror(error), segment, static_cast<std::uint64_t>(error),
              code == Errc::not_permitted ? "give the broker's user write access there, or choose another place" : "");
}

// The same of what a broker needs in its runtime directory before it can serve at all.
[[nodiscard]] inline tl::unexpected<Failure> fail_directory(int error, const std::string& what) {
  auto failure = fail_errno(error, what);
  if (wants(failure.value())) return failure;
  return daemon::fail(Errc::bad_runtime_directory, what + ": " + std::strerror(error));
}

}  // namespace atoll_ipc::daemon
