// Errors as values: Error and Result<T>.
//
// Every call of the C++ interface that can fail returns a Result. Making one that carries only a
// code costs no allocation, so that polling (timed_out) stays cheap. For programs that rather have
// exceptions: or_throw(call(...)).
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <type_traits>
#include <utility>

#include "atoll/protocol/errors.hpp"

namespace atoll_ipc {

class [[nodiscard]] Error {
 public:
  explicit Error(Errc code) noexcept : code_(code) {}
  // message: what happened and where. fix empty: the one of the list.
  Error(Errc code, std::string message, std::string segment = {}, std::uint64_t detail = 0, std::string fix = {})
      : code_(code),
        text_(std::make_shared<const Text>(Text{std::move(message), std::move(segment), std::move(fix), detail})) {}

  [[nodiscard]] Errc code() const noexcept { return code_; }
  // The name that every language uses: "no_space".
  [[nodiscard]] const char* name() const noexcept { return protocol::error_text(code_).name; }
  // What happened, and where.
  [[nodiscard]] std::string_view message() const noexcept {
    return text_ && !text_->message.empty() ? std::string_view(text_->message) : protocol::error_text(code_).summary;
  }
  // The segment's name, or empty.
  [[nodiscard]] std::string_view segment() const noexcept {
    return text_ ? std::string_view(text_->segment) : std::string_view();
  }
  // How to mend it.
  [[nodiscard]] std::string_view fix() const noexcept {
    return text_ && !text_->fix.empty() ? std::string_view(text_->fix) : protocol::error_text(code_).fix;
  }
  // The number that the message speaks of, else 0.
  [[nodiscard]] std::uint64_t detail() const noexcept { return text_ ? text_->detail : 0; }

 private:
  struct Text {
    std::string message;
    std::string segment;
    std::string fix;
    std::uint64_t detail;
  };
  Errc code_;
  std::shared_ptr<const Text> text_;  // null: the list's own words
};

template <class T>
using Result = tl::expected<T, Error>;

// An Error that was thrown. what(): its name, what happened, and on a second line how to mend it.
class Exception : public std::runtime_error {
 public:
  explicit Exception(Error error)
      : std::runtime_error(std::string(error.name()) + ": " + std::string(error.message()) + "\nfix: " + std::string(error.fix())), error_(std::move(error)) {}
  [[nodiscard]] const Error& error() const noexcept { return error_; }

 private:
  Error error_;
};

// The value of a result that has one; throws Exception if it holds an error.
template <class T>
T or_throw(Result<T> result) {
  if (!result) [[unlikely]]
    throw Exception(std::move(result).error());
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

[[nodiscard]] inline tl::unexpected<Error> fail(Errc code) { return tl::unexpected<Error>(Error(code)); }
[[nodiscard]] inline tl::unexpected<Error> fail(Errc code, std::string message, std::string segment = {},
                                                std::uint64_t detail = 0, std::string fix = {}) {
  return tl::unexpected<Error>(Error(code, std::move(message), std::move(segment), detail, std::move(fix)));
}

}  // namespace atoll_ipc
