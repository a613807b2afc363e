// A mapped file of a segment, by descriptor.
//
// Used by every engine. Mapping is Boost.Interprocess's; what is added here is the check of the
// header page and that nothing of the file is believed later: the geometry is a private copy.
#pragma once

#include <boost/interprocess/mapped_region.hpp>
#include <cstddef>
#include <cstdint>
#include <string>

#include "atoll/error.hpp"
#include "atoll/protocol/header_page.hpp"
#include "atoll/protocol/wire.hpp"

namespace atoll_ipc {

enum class Access : std::uint8_t { read, write, private_copy };

class Mapping {
 public:
  Mapping() noexcept = default;

  // Maps `size` bytes from the start. The descriptor is kept only if `keep`. prefault: touch the
  // pages now rather than at first use.
  static Result<Mapping> map(protocol::UniqueFd fd, std::uint64_t size, Access access, bool keep, bool prefault,
                             const std::string& segment);

  [[nodiscard]] std::byte* data() const noexcept { return static_cast<std::byte*>(region_.get_address()); }
  [[nodiscard]] std::uint64_t size() const noexcept { return region_.get_size(); }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  template <class T>
  [[nodiscard]] T* as() const noexcept {
    return reinterpret_cast<T*>(data());
  }
  [[nodiscard]] boost::interprocess::mapped_region& region() noexcept { return region_; }

 private:
  boost::interprocess::mapped_region region_;
  protocol::UniqueFd fd_;
};

}  // namespace atoll_ipc
