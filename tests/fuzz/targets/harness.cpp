#include "harness.hpp"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace atoll_fuzz {
namespace {

[[noreturn]] void broken(const char* what) {
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

}  // namespace

int lowest_free_descriptor() {
  const int fd = ::dup(2);
  ::close(fd);
  return fd;
}
bool compares_descriptors_itself = false;

void require(bool holds, const char* promise) {
  if (!holds) broken(promise);
}
void require(bool holds, const std::string& promise) {
  if (!holds) broken(promise.c_str());
}

void require_known(atoll_ipc::Errc code) {
  if (code == atoll_ipc::Errc::ok) return;
  for (const auto& text : atoll_ipc::protocol::kErrorTexts)
    if (text.code == code) return;
  broken("every error is one of the list");
}

File::File(std::size_t size) : fd_(::memfd_create("atoll-fuzz", MFD_CLOEXEC)), hole_(size), size_(size) {
  if (!fd_ || ::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) broken("there is memory for the target's files");
  void* const data = ::mmap(hole_.address(), size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd_.get(), 0);
  if (data == MAP_FAILED) broken("there is room for the target's files");
  data_ = static_cast<std::byte*>(data);
}

void File::patch(Input& input, unsigned count) noexcept {
  for (; count > 0 && !input.empty(); --count) {
    const std::size_t offset = std::size_t{input.take<std::uint16_t>()} * 4 % size_;
    const auto bytes = input.take_bytes(input.take<std::uint8_t>());
    const std::size_t n = bytes.size() < size_ - offset ? bytes.size() : size_ - offset;
    if (n > 0) std::memcpy(data_ + offset, bytes.data(), n);
  }
}

Hole::Hole(std::size_t size) : size_(size) {
  void* const begin = ::mmap(nullptr, size + 2 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (begin == MAP_FAILED) broken("there is room for guard pages");
  begin_ = static_cast<std::byte*>(begin);
  ::munmap(address(), size);
}

Hole::~Hole() {
  ::munmap(begin_, 4096);
  ::munmap(address() + size_, 4096);
}

const std::string& directory() {
  static const std::string made = [] {
    std::string path = std::filesystem::temp_directory_path() / "atoll-fuzz-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) broken("TMPDIR can be written");
    return path;
  }();
  static const int at_end = std::atexit([] {
    std::error_code ignored;
    std::filesystem::remove_all(directory(), ignored);
  });
  static_cast<void>(at_end);
  return made;
}

void confine(const std::vector<std::string>& directories) {
  landlock_ruleset_attr rules{};
  rules.handled_access_fs = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
                            LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;
  const atoll_ipc::protocol::UniqueFd ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0)));
  if (!ruleset) return;
  const auto allow = [&](const std::string& path) {
    const atoll_ipc::protocol::UniqueFd fd(::open(path.c_str(), O_PATH | O_CLOEXEC));
    landlock_path_beneath_attr beneath{};
    beneath.allowed_access = rules.handled_access_fs;
    beneath.parent_fd = fd.get();
    if (fd) ::syscall(SYS_landlock_add_rule, ruleset.get(), LANDLOCK_RULE_PATH_BENEATH, &beneath, 0);
  };
  for (const std::string& path : directories) allow(path);
  if (const char* more = std::getenv("ATOLL_FUZZ_WRITABLE"))
    for (std::string_view left = more; !left.empty();) {
      const auto end = left.find(':');
      allow(std::string(left.substr(0, end)));
      left.remove_prefix(end == std::string_view::npos ? left.size() : end + 1);
    }
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  ::syscall(SYS_landlock_restrict_self, ruleset.get(), 0);
}

}  // namespace atoll_fuzz

extern "C" int LLVMFuzzerInitialize(int* count, char*** words) {
  // Naming functions as they are reached starts a symbolizer, whose pipes would count as left open.
  static std::vector<char*> all(*words, *words + *count);
  static char quiet[] = "-print_funcs=0";
  all.push_back(quiet);
  all.push_back(nullptr);
  *count = static_cast<int>(all.size()) - 1;
  *words = all.data();
  atoll_fuzz::prepare();
  atoll_fuzz::run(atoll_fuzz::Input({}));  // what is made at first use is made now, before descriptors are counted
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool planted = std::getenv("ATOLL_FUZZ_PLANTED") != nullptr;
  if (planted && size > 0 && data[0] == '!') atoll_fuzz::require(false, "the planted one");
  const int before = atoll_fuzz::lowest_free_descriptor();
  atoll_fuzz::run(atoll_fuzz::Input({data, size}));
  atoll_fuzz::require(atoll_fuzz::compares_descriptors_itself || atoll_fuzz::lowest_free_descriptor() == before, "no descriptor is left open");
  return 0;
}
