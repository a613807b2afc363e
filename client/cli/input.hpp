// What a command reads: standard input or a file, whole or line by line.
//
// A read ends early when the user stops the command (Errc::interrupted) or the time limit passes. Errors name the file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "atoll/error.hpp"
#include "broker.hpp"

namespace atoll_ipc::cli {

class Input {
 public:
  // Empty or "-": standard input.
  static Result<Input> open(const std::string& path);
  Input(Input&& other) noexcept;
  Input& operator=(Input&&) = delete;
  ~Input();

  // What can be had now, appended to `into`, up to 64 KiB: waits for the first byte only. False: the end.
  Result<bool> read_some(std::string& into, const TimeLimit& limit);
  // Everything. too_large once it is more than `most` bytes; `what` says of what that is the limit.
  Result<std::string> read_all(std::uint64_t most, std::string_view what, const TimeLimit& limit);
  // Of a regular file; for progress.
  [[nodiscard]] std::optional<std::uint64_t> size() const noexcept { return size_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  Input(int fd, std::string name, std::optional<std::uint64_t> size) : fd_(fd), name_(std::move(name)), size_(size) {}
  int fd_;
  std::string name_;
  std::optional<std::uint64_t> size_;
};

}  // namespace atoll_ipc::cli
