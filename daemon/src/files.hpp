// Files and mappings: making, opening and mapping files so that nobody can slip another one in.
//
// Called by everything of the broker that touches the file system. Directories are held by descriptor
// and files opened beneath them without following links; a file must be regular, ours, and have one
// name. New files are exclusive, 0600 and reserved in full before they are used.
#pragma once

#include <boost/interprocess/mapped_region.hpp>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "atoll/protocol/wire.hpp"
#include "result.hpp"

namespace atoll_ipc::daemon {

using protocol::UniqueFd;

// A whole file mapped read-write and shared, through Boost.Interprocess.
class Mapping {
 public:
  Mapping() = default;
  // Fails with truncated_file if the file is shorter than `size`.
  static Result<Mapping> map(int fd, std::uint64_t size, bool writable, const std::string& what);
  [[nodiscard]] std::byte* data() const noexcept { return static_cast<std::byte*>(region_.get_address()); }
  [[nodiscard]] std::uint64_t size() const noexcept { return region_.get_size(); }
  explicit operator bool() const noexcept { return region_.get_size() != 0; }
  template <class T>
  [[nodiscard]] T* as() const noexcept {
    return reinterpret_cast<T*>(data());
  }

 private:
  boost::interprocess::mapped_region region_;
};

// Which file it is: no other has these two in this boot of the machine as long as it is there; of memory without a name, none
// that comes after it either.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  auto operator<=>(const FileIdentity&) const = default;
};
Result<FileIdentity> identity_of(int fd, const std::string& what);

struct FileSystemRoom {
  std::uint64_t total = 0;
  std::uint64_t free = 0;
};

// A directory that must exist, belong to us and not be a link. `shared`: others may look into it.
Result<UniqueFd> open_directory(const std::string& path, bool shared = false);
// The same, made (0700) if it is missing; parents are not.
Result<UniqueFd> make_directory(const std::string& path, bool shared = false);
// A child of `directory`.
Result<UniqueFd> open_directory_at(int directory, const std::string& name);
Result<UniqueFd> make_directory_at(int directory, const std::string& name, const std::string& where);

// An existing file of ours beneath `directory`.
Result<UniqueFd> open_file_at(int directory, const std::string& name, bool writable, const std::string& what);
// A new file of `size` bytes, all reserved.
Result<UniqueFd> create_file_at(int directory, const std::string& name, std::uint64_t size, const std::string& what);
Result<UniqueFd> create_memfd(const std::string& name, std::uint64_t size);
// The same file again with its own open mode. Works for memfds too.
Result<UniqueFd> reopen(int fd, bool writable, const std::string& what);

Result<std::string> read_file_at(int directory, const std::string& name, std::size_t most, const std::string& what);
// Replaces the file as one, by rename. `durable`: survives a power failure.
Result<void> replace_file_at(int directory, const std::string& name, std::string_view text, bool durable, const std::string& what);
Result<std::vector<std::string>> list_directory(int directory);
// Removes the directory's files and the directory itself; missing is fine. Never follows links.
void remove_tree_at(int directory, const std::string& name) noexcept;
// Bytes allocated to the files of a directory.
std::uint64_t allocated_bytes_at(int directory, const std::string& name) noexcept;
Result<std::uint64_t> file_size(int fd, const std::string& what);
Result<FileSystemRoom> room_of(int fd, const std::string& what);

}  // namespace atoll_ipc::daemon
