#include "records.hpp"

#include <array>
#include <cstring>

#include "../text.hpp"

namespace atoll_ipc::cli::bench {
namespace {

std::uint64_t sum_of(const std::byte* data, std::size_t bytes) {
  std::array<std::uint64_t, 4> sums{};  // four, so that the processor need not wait for each addition
  std::size_t at = 0;
  const auto word = [&](std::size_t offset) {
    std::uint64_t value = 0;
    std::memcpy(&value, data + offset, 8);
    return value;
  };
  for (; at + 32 <= bytes; at += 32)
    for (std::size_t i = 0; i < 4; ++i) sums[i] += word(at + 8 * i);
  for (; at + 8 <= bytes; at += 8) sums[0] += word(at);
  for (; at < bytes; ++at) sums[1] += static_cast<std::uint64_t>(data[at]);
  return sums[0] + sums[1] + sums[2] + sums[3];
}

}  // namespace

Payload::Payload(std::uint64_t size) : bytes_(size), last_(size / 8 * 8 - 8) {
  for (std::size_t i = 0; i < size; ++i) bytes_[i] = static_cast<std::byte>(i * 31 + 7);
  number(0);
  rest_ = sum_of(bytes_.data(), size);
}

void Payload::number(std::uint64_t n) {
  std::memcpy(bytes_.data(), &n, 8);
  std::memcpy(bytes_.data() + last_, &n, 8);
}

bool Payload::is(std::span<const std::byte> got, std::uint64_t n) const {
  return got.size() == bytes_.size() && sum_of(got.data(), got.size()) == rest_ + (last_ == 0 ? n : 2 * n);
}

tl::unexpected<Error> wrong_record(std::uint64_t n) {
  return fail(Errc::system_error, "record " + with_thousands(n) + " did not arrive as it was sent", {}, n, "report this as a defect of Atoll");
}

}  // namespace atoll_ipc::cli::bench
