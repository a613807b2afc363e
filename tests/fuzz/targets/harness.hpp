// What the fuzz targets share: taking input apart, files with guard pages, a client without a broker, a broker's lock-up.
//
// Each target (tests/fuzz/targets/<target>.cpp) defines prepare() and run(); harness.cpp gives them to libFuzzer. A target
// says what must hold with require(), which ends the process as a crash does, so that libFuzzer keeps the input. After each
// input no descriptor may be left open. The targets see private members (-fno-access-control), so that product code has
// no seams for them. With ATOLL_FUZZ_PLANTED set an input that begins with '!' breaks a property: tests see that it is told.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "atoll/protocol/errors.hpp"
#include "atoll/protocol/wire.hpp"

namespace atoll_fuzz {

// Once per process, before the first input.
void prepare();

// Takes an input apart, front to back. Where it is used up there are zeros.
class Input {
 public:
  explicit Input(std::span<const std::uint8_t> bytes) noexcept : bytes_(bytes) {}
  template <class T>
  T take() noexcept {
    static_assert(std::is_integral_v<T>);
    T value = 0;
    const std::size_t n = bytes_.size() < sizeof value ? bytes_.size() : sizeof value;
    if (n > 0) std::memcpy(&value, bytes_.data(), n);
    bytes_ = bytes_.subspan(n);
    return value;
  }
  [[nodiscard]] std::span<const std::uint8_t> take_bytes(std::size_t n) noexcept {
    const auto taken = bytes_.first(n < bytes_.size() ? n : bytes_.size());
    bytes_ = bytes_.subspan(taken.size());
    return taken;
  }
  [[nodiscard]] std::string_view rest() const noexcept { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }
  [[nodiscard]] bool empty() const noexcept { return bytes_.empty(); }

 private:
  std::span<const std::uint8_t> bytes_;
};

void run(Input input);

// The lowest free descriptor: grows when one is left open. Compared before and after each input, unless the target does it
// itself, where what it keeps changes.
[[nodiscard]] int lowest_free_descriptor();
extern bool compares_descriptors_itself;

// Ends the process, saying what was promised, if it does not hold.
void require(bool holds, const char* promise);
void require(bool holds, const std::string& promise);
// Is this one of the errors of protocol/errors.json?
void require_known(atoll_ipc::Errc code);

// Room in the address space for `size` bytes with a page before and one behind that nobody may touch. address() is free
// until something is mapped there.
class Hole {
 public:
  explicit Hole(std::size_t size);
  ~Hole();
  Hole(const Hole&) = delete;
  Hole& operator=(const Hole&) = delete;
  [[nodiscard]] std::byte* address() const noexcept { return begin_ + 4096; }

 private:
  std::byte* begin_;
  std::size_t size_;
};

// A file in memory that is made once and written anew for each input. Inputs describe its bytes as patches: u16 offset / 4,
// u8 length, the bytes; what they leave is zero (or what the target wrote first). seeds.py writes the same. Lies in a hole.
class File {
 public:
  explicit File(std::size_t size);
  [[nodiscard]] std::byte* data() noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  template <class T>
  [[nodiscard]] T& as() noexcept {
    return *reinterpret_cast<T*>(data_);
  }
  void clear() noexcept { std::memset(data_, 0, size_); }
  // `count` patches; a patch that leads out of the file is cut.
  void patch(Input& input, unsigned count) noexcept;
  [[nodiscard]] std::vector<std::byte> copy() const { return {data_, data_ + size_}; }

 private:
  atoll_ipc::protocol::UniqueFd fd_;
  Hole hole_;
  std::byte* data_;
  std::size_t size_;
};

// A private directory for a broker, made at the first call and gone when the process ends in any orderly way (script/fuzz
// removes what a crash leaves). Beneath TMPDIR.
const std::string& directory();

// From here on this process writes, makes and removes files only beneath these directories and those of ATOLL_FUZZ_WRITABLE
// (Landlock; without it nothing is forbidden). For targets that do as hostile messages say.
void confine(const std::vector<std::string>& directories);

}  // namespace atoll_fuzz
