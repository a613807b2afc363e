#include "mapping.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cstring>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace atoll_ipc {
namespace {

namespace bip = boost::interprocess;

// What mapped_region asks of a mappable thing, for a descriptor that came over a socket.
class Descriptor {
 public:
  Descriptor(int fd, bip::mode_t mode) noexcept : fd_(fd), mode_(mode) {}
  [[nodiscard]] bip::mapping_handle_t get_mapping_handle() const noexcept {
    return bip::ipcdetail::mapping_handle_from_file_handle(fd_);
  }
  [[nodiscard]] bip::mode_t get_mode() const noexcept { return mode_; }

 private:
  int fd_;
  bip::mode_t mode_;
};

bip::mode_t mode_of(Access access) noexcept {
  switch (access) {
    case Access::read: return bip::read_only;
    case Access::write: return bip::read_write;
    default: return bip::copy_on_write;
  }
}

}  // namespace

Result<Mapping> Mapping::map(protocol::UniqueFd fd, std::uint64_t size, Access access, bool keep, bool prefault,
                             const std::string& segment) {
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0)
    return fail(Errc::system_error, "fstat of a file of '" + segment + "': " + std::strerror(errno), segment);
  if (static_cast<std::uint64_t>(status.st_size) < size || size < protocol::kPageSize)
    return fail(Errc::truncated_file,
                "a file of '" + segment + "' has " + std::to_string(status.st_size) + " bytes, " + std::to_string(size) + " are needed",
                segment, size);
  Mapping mapping;
  try {
    mapping.region_ = bip::mapped_region(Descriptor(fd.get(), mode_of(access)), mode_of(access), 0, size);
  } catch (const bip::interprocess_exception& exception) {
    const Errc code = exception.get_native_error() == ENOMEM ? Errc::no_space
                      : exception.get_native_error() == EACCES || exception.get_native_error() == EPERM ? Errc::not_permitted
                                                                                                         : Errc::system_error;
    return fail(code, "mapping " + std::to_string(size) + " bytes of '" + segment + "': " + exception.what(), segment, size);
  }
  // Best effort: an old kernel faults later instead.
  if (prefault)
    static_cast<void>(::madvise(mapping.region_.get_address(), size, access == Access::write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ));
  if (keep) mapping.fd_ = std::move(fd);
  return mapping;
}

}  // namespace atoll_ipc
