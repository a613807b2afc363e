#include "files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include <algorithm>
#include <memory>

#include "control_group.hpp"

namespace atoll_ipc::daemon {
namespace {

namespace bip = boost::interprocess;

// What mapped_region asks of a mappable thing, for a descriptor that we have.
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

// openat2 where the kernel and the sandbox have it, else openat without following the last link.
int open_beneath(int directory, const char* name, int flags, unsigned mode) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC | O_NOFOLLOW);
  how.mode = (flags & O_CREAT) != 0 ? mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  long fd;
  do fd = ::syscall(SYS_openat2, directory, name, &how, sizeof how);
  while (fd < 0 && errno == EINTR);
  if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) return static_cast<int>(fd);
  return ::openat(directory, name, flags | O_CLOEXEC | O_NOFOLLOW, mode);
}

constexpr std::uint64_t kUnseen = 1u << 20;        // bytes that are reserved between two looks at the control group
constexpr std::uint64_t kLeftToOthers = 2u << 20;  // of what it allows
constexpr auto kTmpfs = 0x01021994;                // TMPFS_MAGIC, which memfds have, too

// Looking takes as long as making a small segment, so it is done for every MiB.
Result<void> check_control_group(int fd, std::uint64_t size, const std::string& what) {
  static std::uint64_t unseen = 0;
  struct statfs system {};
  if (::fstatfs(fd, &system) != 0 || system.f_type != kTmpfs) return {};
  unseen += std::min(size, kUnseen);
  if (unseen < kUnseen) return {};
  const auto group = tightest_control_group();
  if (group && size + kLeftToOthers > group->left())
    return fail(Errc::no_space,
                what + ": " + std::to_string(size) + " bytes are needed, the broker's control group allows " + std::to_string(group->limit) + " and uses " +
                    std::to_string(group->used), {}, size, "remove segments, or raise the memory limit of " + group->path + " (of the container, or of the service)");
  unseen = 0;
  return {};
}

Result<void> reserve(int fd, std::uint64_t size, const std::string& what) {
  if (auto allowed = check_control_group(fd, size, what); !allowed) return allowed;
  int error = 0;
  do error = ::fallocate(fd, 0, 0, static_cast<off_t>(size)) == 0 ? 0 : errno;
  while (error == EINTR);
  if (error == EOPNOTSUPP) error = ::posix_fallocate(fd, 0, static_cast<off_t>(size));
  if (error == 0) return {};
  if (error == ENOSPC || error == EDQUOT || error == EFBIG || error == ENOMEM) {
    const auto room = room_of(fd, what);
    const std::uint64_t free = room ? room->free : 0;
    return fail(Errc::no_space,
                what + ": " + std::to_string(size) + " bytes are needed, " + std::to_string(free) + " are free on its file system", {}, size);
  }
  return fail_errno(error, "reserving " + std::to_string(size) + " bytes for " + what);
}

Result<void> check_directory(int fd, const std::string& path, bool shared) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return fail_errno(errno, "fstat of " + path);
  if (!S_ISDIR(status.st_mode)) return fail(Errc::bad_runtime_directory, path + " is not a directory");
  if (status.st_uid != ::geteuid())
    return fail(Errc::bad_runtime_directory,
                path + " belongs to user " + std::to_string(status.st_uid) + ", the broker runs as user " + std::to_string(::geteuid()),
                {}, status.st_uid);
  const unsigned forbidden = shared ? 022u : 077u;
  if ((status.st_mode & forbidden) != 0) {
    char mode[8];
    std::snprintf(mode, sizeof mode, "%04o", status.st_mode & 07777u);
    return fail(Errc::bad_runtime_directory, path + " has mode " + mode + ", which lets other users in", {}, status.st_mode & 07777u,
                "chmod " + std::string(shared ? "0755 " : "0700 ") + path);
  }
  return {};
}

}  // namespace

Result<Mapping> Mapping::map(int fd, std::uint64_t size, bool writable, const std::string& what) {
  const auto is = file_size(fd, what);
  if (!is) return fail(is.error());
  if (*is < size || size == 0)
    return fail(Errc::truncated_file, what + " has " + std::to_string(*is) + " bytes, " + std::to_string(size) + " are needed", {}, size);
  Mapping mapping;
  const bip::mode_t mode = writable ? bip::read_write : bip::read_only;
  try {
    mapping.region_ = bip::mapped_region(Descriptor(fd, mode), mode, 0, size);
  } catch (const bip::interprocess_exception& exception) {
    return fail_errno(exception.get_native_error(), "mapping " + what);
  }
  return mapping;
}

Result<UniqueFd> open_directory(const std::string& path, bool shared) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) {
    if (errno == ELOOP || errno == ENOTDIR) return fail(Errc::bad_runtime_directory, path + " is a link or no directory");
    const int error = errno;
    struct stat status {};
    // Closed to us: where anybody may make directories, somebody else was first.
    const bool others = error == EACCES && ::lstat(path.c_str(), &status) == 0 && status.st_uid != ::geteuid();
    if (auto cause = fail_errno(error, "opening the directory " + path); wants(cause.value())) return cause;
    return fail(Errc::bad_runtime_directory,
                "the directory " + path + " cannot be opened: " + std::strerror(error) + (others ? "; it belongs to user " + std::to_string(status.st_uid) : ""));
  }
  if (auto right = check_directory(fd.get(), path, shared); !right) return fail(right.error());
  return fd;
}

Result<UniqueFd> make_directory(const std::string& path, bool shared) {
  if (::mkdir(path.c_str(), shared ? 0755 : 0700) != 0 && errno != EEXIST)
    return fail_directory(errno, "the directory " + path + " cannot be made");
  return open_directory(path, shared);
}

Result<UniqueFd> open_directory_at(int directory, const std::string& name) {
  UniqueFd fd(open_beneath(directory, name.c_str(), O_RDONLY | O_DIRECTORY, 0));
  if (!fd) return fail_errno(errno, "opening the directory " + name);
  if (auto right = check_directory(fd.get(), name, false); !right) return fail(right.error());
  return fd;
}

Result<UniqueFd> make_directory_at(int directory, const std::string& name, const std::string& where) {
  if (::mkdirat(directory, name.c_str(), 0700) != 0 && errno != EEXIST)
    return fail_errno(errno, "making the directory " + name + " in " + where);
  return open_directory_at(directory, name);
}

Result<UniqueFd> open_file_at(int directory, const std::string& name, bool writable, const std::string& what) {
  UniqueFd fd(open_beneath(directory, name.c_str(), (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK, 0));
  if (!fd) {
    if (errno == ENOENT) return fail(Errc::truncated_file, what + " is missing");
    return fail_errno(errno, "opening " + what);
  }
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return fail_errno(errno, "fstat of " + what);
  if (!S_ISREG(status.st_mode) || status.st_uid != ::geteuid() || status.st_nlink != 1)
    return fail(Errc::not_permitted, what + " is not a regular file of the broker's user with one name", {}, 0, "remove other names of it (hard links)");
  return fd;
}

Result<UniqueFd> create_file_at(int directory, const std::string& name, std::uint64_t size, const std::string& what) {
  UniqueFd fd(open_beneath(directory, name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600));
  if (!fd) return fail_errno(errno, "creating " + what);
  if (size != 0)
    if (auto reserved = reserve(fd.get(), size, what); !reserved) {
      ::unlinkat(directory, name.c_str(), 0);
      return fail(reserved.error());
    }
  return fd;
}

Result<UniqueFd> create_memfd(const std::string& name, std::uint64_t size) {
  UniqueFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) {
    if (errno == ENOSYS) return fail(Errc::not_supported, "this kernel has no memfd_create");
    return fail_errno(errno, "memfd_create");
  }
  // The default lets any user who sees the descriptor reopen it writable.
  if (::fchmod(fd.get(), 0600) != 0) return fail_errno(errno, "fchmod of a memfd");
  if (auto reserved = reserve(fd.get(), size, "the memfd " + name); !reserved) return fail(reserved.error());
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) return fail_errno(errno, "sealing a memfd");
  return fd;
}

Result<UniqueFd> reopen(int fd, bool writable, const std::string& what) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  int fd_again;
  do fd_again = ::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
  while (fd_again < 0 && errno == EINTR);
  UniqueFd again(fd_again);
  if (!again) return fail_errno(errno, "opening " + what + " again");
  return again;
}

Result<std::string> read_file_at(int directory, const std::string& name, std::size_t most, const std::string& what) {
  auto fd = open_file_at(directory, name, false, what);
  if (!fd) return fail(fd.error());
  std::string text;
  char buffer[16 * 1024];
  for (;;) {
    const ssize_t n = ::read(fd->get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(errno, "reading " + what);
    if (n == 0) return text;
    text.append(buffer, static_cast<std::size_t>(n));
    if (text.size() > most) return fail(Errc::bad_manifest, what + " is larger than " + std::to_string(most) + " bytes");
  }
}

Result<void> replace_file_at(int directory, const std::string& name, std::string_view text, bool durable, const std::string& what) {
  const std::string temporary = name + ".new";
  ::unlinkat(directory, temporary.c_str(), 0);
  auto fd = create_file_at(directory, temporary, 0, what);
  if (!fd) return fail(fd.error());
  const auto give_up = [&](const char* step) {
    const int error = errno;
    ::unlinkat(directory, temporary.c_str(), 0);
    return fail_errno(error, std::string(step) + " " + what);
  };
  while (!text.empty()) {
    const ssize_t n = ::write(fd->get(), text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return give_up("writing");
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  if (durable && ::fsync(fd->get()) != 0) return give_up("fsync of");
  if (::renameat(directory, temporary.c_str(), directory, name.c_str()) != 0) return give_up("renaming");
  if (durable) ::fsync(directory);
  return {};
}

Result<std::vector<std::string>> list_directory(int directory) {
  std::vector<std::string> names;
  const UniqueFd copy(::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!copy) return fail_errno(errno, "opening a directory to list it");
  // Not opendir: that takes memory which the reserve does not have (reserve.hpp).
  alignas(dirent64) char buffer[8 * 1024];
  for (;;) {
    const ssize_t n = ::getdents64(copy.get(), buffer, sizeof buffer);
    if (n < 0) return fail_errno(errno, "reading a directory");
    if (n == 0) return names;
    for (ssize_t at = 0; at < n;) {
      const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
      at += entry->d_reclen;
    }
  }
}

void remove_tree_at(int directory, const std::string& name) noexcept {
  try {
    {
      const UniqueFd inner(open_beneath(directory, name.c_str(), O_RDONLY | O_DIRECTORY, 0));
      const auto children = inner ? list_directory(inner.get()) : Result<std::vector<std::string>>{};
      for (const std::string& child : children ? *children : std::vector<std::string>{})
        if (::unlinkat(inner.get(), child.c_str(), 0) != 0 && (errno == EISDIR || errno == EPERM)) remove_tree_at(inner.get(), child);
    }
    ::unlinkat(directory, name.c_str(), AT_REMOVEDIR);
  } catch (...) {
    // Out of memory: gc finds what is left.
  }
}

std::uint64_t allocated_bytes_at(int directory, const std::string& name) noexcept {
  std::uint64_t bytes = 0;
  try {
    const UniqueFd inner(open_beneath(directory, name.c_str(), O_RDONLY | O_DIRECTORY, 0));
    if (!inner) return 0;
    const auto children = list_directory(inner.get());
    if (!children) return 0;
    for (const std::string& child : *children) {
      struct stat status {};
      if (::fstatat(inner.get(), child.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
  } catch (...) {
  }
  return bytes;
}

Result<FileIdentity> identity_of(int fd, const std::string& what) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return fail_errno(errno, "fstat of " + what);
  return FileIdentity{status.st_dev, status.st_ino};
}

Result<std::uint64_t> file_size(int fd, const std::string& what) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return fail_errno(errno, "fstat of " + what);
  return static_cast<std::uint64_t>(status.st_size);
}

Result<FileSystemRoom> room_of(int fd, const std::string& what) {
  struct statvfs status {};
  if (::fstatvfs(fd, &status) != 0) return fail_errno(errno, "fstatvfs of " + what);
  return FileSystemRoom{static_cast<std::uint64_t>(status.f_blocks) * status.f_frsize,
                        static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize};
}

}  // namespace atoll_ipc::daemon
