#include "runtime_directory.hpp"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <climits>
#include <cstdlib>

#include "atoll/protocol/header_check.hpp"
#include "atoll/protocol/kill_point.hpp"
#include "clock.hpp"
#include "guard.hpp"

namespace atoll_ipc::daemon {
namespace {

Result<std::string> real_directory(const std::string& path) {
  char resolved[PATH_MAX];
  if (::realpath(path.c_str(), resolved) == nullptr)
    return fail_directory(errno, "the runtime directory " + path + " cannot be resolved");
  return std::string(resolved);
}

Result<UniqueFd> take_lock(const RuntimeDirectory& runtime) {
  UniqueFd fd(::openat(runtime.directory.get(), "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return fail_directory(errno, "the lock file in the runtime directory " + runtime.path + " cannot be made");
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    char text[32] = {};
    const ssize_t n = ::pread(fd.get(), text, sizeof text - 1, 0);
    const unsigned long pid = n > 0 ? std::strtoul(text, nullptr, 10) : 0;
    return fail(Errc::broker_running,
                "another broker" + (pid != 0 ? " (process " + std::to_string(pid) + ")" : std::string()) + " already serves " + runtime.path,
                {}, pid);
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd.get(), 0) != 0 || ::pwrite(fd.get(), pid.data(), pid.size(), 0) < 0)
    return fail_directory(errno, "the lock file in " + runtime.path + " cannot be written");
  return fd;
}

protocol::HeaderPage bells_page() {
  protocol::HeaderPage page{};
  page.magic = protocol::kMagic;
  page.layout_version = protocol::kLayoutVersion;
  page.min_reader_version = protocol::kMinReaderVersion;
  page.header_length = protocol::kPageSize;
  page.generation = 1;
  page.granule = protocol::kGranule;
  page.role = static_cast<std::uint16_t>(protocol::Role::bells);
  page.file_size = protocol::kBellsFileSize;
  page.data_offset = protocol::kPageSize;
  page.created_ns = real_ns();
  static_cast<void>(::getrandom(page.uuid.data(), page.uuid.size(), 0));
  return page;
}

// Every client writes the bells, so among users that distrust each other they must not be a file that one
// of them can cut: sealed memory then, new with each broker.
Result<UniqueFd> make_sealed_bells() {
  auto made = create_memfd("bells", protocol::kBellsFileSize);
  if (!made) return made;
  const protocol::HeaderPage page = bells_page();
  if (::pwrite(made->get(), &page, sizeof page, 0) != sizeof page) return fail_errno(errno, "writing the bells");
  ::fcntl(made->get(), F_ADD_SEALS, F_SEAL_SEAL);
  return made;
}

// An earlier broker's bells are kept: clients sleep on them. Anything else by that name is replaced.
Result<UniqueFd> open_bells(const RuntimeDirectory& runtime) {
  const std::string what = "the bells file of " + runtime.shm_path;
  protocol::ExpectedPage expected;
  expected.role = protocol::Role::bells;
  expected.file_size = protocol::kBellsFileSize;
  if (auto old = open_file_at(runtime.shm.get(), "bells", true, what)) {
    protocol::HeaderPage page{};
    const ssize_t n = ::pread(old->get(), &page, sizeof page, 0);
    if (n < 0) return fail_errno(errno, "reading " + what);
    auto size = file_size(old->get(), what);
    if (!size) return fail(size.error());
    if (n == sizeof page) {
      expected.generation = page.generation;
      expected.uuid = page.uuid;
      if (!protocol::check_header_page(std::as_bytes(std::span(&page, 1)), expected, *size)) return old;
    }
  } else if (passes(old.error())) {
    return old;  // clients sleep on them: not replaced because they could not be looked at
  }
  ::unlinkat(runtime.shm.get(), "bells", 0);
  ::unlinkat(runtime.shm.get(), "bells.new", 0);
  auto made = create_file_at(runtime.shm.get(), "bells.new", protocol::kBellsFileSize, what);
  if (!made) return made;
  const protocol::HeaderPage page = bells_page();
  if (::pwrite(made->get(), &page, sizeof page, 0) != sizeof page) return fail_errno(errno, "writing " + what);
  ATOLL_KILL_POINT("broker.bells.rename");
  if (::renameat(runtime.shm.get(), "bells.new", runtime.shm.get(), "bells") != 0) return fail_errno(errno, "renaming " + what);
  return made;
}

}  // namespace

std::string directory_id(const std::string& path) {
  std::uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : path) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

Result<RuntimeDirectory> RuntimeDirectory::open(const Options& options) {
  RuntimeDirectory runtime;
  if (options.socket_path.size() > protocol::kMaxSocketPath)
    return fail(Errc::socket_path_too_long,
                "the socket's path has " + std::to_string(options.socket_path.size()) + " bytes, at most " +
                    std::to_string(protocol::kMaxSocketPath) + " are possible: " + options.socket_path,
                {}, options.socket_path.size());
  const auto slash = options.socket_path.rfind('/');
  if (slash == std::string::npos || slash + 1 == options.socket_path.size())
    return fail(Errc::bad_runtime_directory, "'" + options.socket_path + "' is no path of a socket");
  const std::string parent = slash == 0 ? "/" : options.socket_path.substr(0, slash);
  runtime.socket_name = options.socket_path.substr(slash + 1);
  auto directory = make_directory(parent, options.allow_other_users);
  if (!directory) return fail(directory.error());
  runtime.directory = std::move(*directory);
  auto real = real_directory(parent);
  if (!real) return fail(real.error());
  runtime.path = *real;
  runtime.socket_path = options.socket_path;
  auto lock = take_lock(runtime);
  if (!lock) return fail(lock.error());
  runtime.lock = std::move(*lock);
  auto segments = make_directory_at(runtime.directory.get(), "segments", runtime.path);
  if (!segments) return wants(segments.error()) ? fail(segments.error()) : fail(Errc::bad_runtime_directory, segments.error().message);
  runtime.segments = std::move(*segments);
  runtime.segments_path = runtime.path + "/segments";

  const std::string shm_parent = "/dev/shm/atoll-" + std::to_string(::geteuid());
  const std::string id = directory_id(runtime.path);
  runtime.shm_path = shm_parent + "/" + id;
  // Another broker of this user may end or clean up meanwhile and remove what is empty as it finds it.
  for (int attempt = 1;; ++attempt) {
    auto above = make_directory(shm_parent);
    auto shm = above ? make_directory_at(above->get(), id, shm_parent) : fail(above.error());
    // The lock in the runtime directory is not seen by a broker in another mount namespace, whose directory has the same path
    // and whose /dev/shm is the same: as in containers that share it.
    if (shm && ::flock(shm->get(), LOCK_EX | LOCK_NB) != 0) {
      const int why = errno;
      if (why == EWOULDBLOCK && attempt < 10) {  // somebody who cleans up looks at it, perhaps
        ::poll(nullptr, 0, 10);
        continue;
      }
      if (why != EWOULDBLOCK) return fail_errno(why, "locking " + runtime.shm_path);
      return fail(Errc::broker_running, "another broker already serves a directory " + runtime.path + " and uses " + runtime.shm_path, {}, 0, "stop that one (it may run in another container or mount namespace), or give this one another --socket");
    }
    auto written = shm ? replace_file_at(shm->get(), "runtime", runtime.path + "\n", false, runtime.shm_path + "/runtime") : Result<void>(fail(shm.error()));
    if (written) {
      runtime.shm_parent = std::move(*above);
      runtime.shm = std::move(*shm);
      break;
    }
    if (attempt == 10) return fail(written.error());
  }

  UniqueFd life(::openat(runtime.directory.get(), "life", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!life) return fail_directory(errno, "the life file in " + runtime.path + " cannot be made");
  runtime.life = std::move(life);
  auto bells = options.allow_other_users ? make_sealed_bells() : open_bells(runtime);
  if (!bells) return fail(bells.error());
  auto mapping = Mapping::map(bells->get(), protocol::kBellsFileSize, true, "the bells file");
  if (!mapping) return fail(mapping.error());
  runtime.bells_file = std::move(*bells);
  runtime.bells_mapping = std::move(*mapping);
  runtime.bells = runtime.bells_mapping.as<protocol::BellsFile>();
  return runtime;
}

void announce_life(protocol::BellsFile& bells) {
  // One entry, in private memory, whose word lies `futex_offset` away in the shared file.
  static robust_list entry;
  static robust_list_head head;
  head.list.next = &entry;
  entry.next = &head.list;
  head.futex_offset = reinterpret_cast<char*>(&bells.life) - reinterpret_cast<char*>(&entry);
  head.list_op_pending = nullptr;
  if (!guarded([&] { bells.life.exchange(static_cast<std::uint32_t>(::gettid()) | protocol::kLifeWaiters); })) return;
  ::syscall(SYS_set_robust_list, &head, sizeof head);
  ::syscall(SYS_futex, &bells.life, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace atoll_ipc::daemon
