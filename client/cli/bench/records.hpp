// What is sent while measuring: records that carry their number at both ends, and are read as a whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "atoll/atoll.hpp"

namespace atoll_ipc::cli::bench {

// Bytes of which the first and the last whole word are the record's number.
class Payload {
 public:
  explicit Payload(std::uint64_t size);
  void number(std::uint64_t n);
  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }
  // Reads all of `got`.
  [[nodiscard]] bool is(std::span<const std::byte> got, std::uint64_t n) const;

 private:
  std::vector<std::byte> bytes_;
  std::size_t last_;
  std::uint64_t rest_ = 0;
};

// A record of another content ends a measurement.
inline constexpr Content kLast = Content::text;

tl::unexpected<Error> wrong_record(std::uint64_t n);

}  // namespace atoll_ipc::cli::bench
