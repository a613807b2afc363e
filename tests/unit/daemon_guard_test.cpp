// The SIGBUS guard, the mappings it protects, and files that nobody can slip in.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <string>

#include "files.hpp"
#include "guard.hpp"

using namespace atoll_ipc;
using namespace atoll_ipc::daemon;

namespace {

struct Folder {
  std::string path;
  UniqueFd fd;
  Folder() {
    char name[] = "/tmp/atoll-unit-XXXXXX";
    path = ::mkdtemp(name);
    fd = UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  ~Folder() {
    const auto slash = path.rfind('/');
    const UniqueFd above(::open(path.substr(0, slash).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    remove_tree_at(above.get(), path.substr(slash + 1));
  }
};

}  // namespace

TEST_CASE("memory that its owner cut away is reported, again and again, and does not kill") {
  install_guard();
  auto fd = create_memfd("guard", 8192);
  REQUIRE_FALSE(fd->get() < 0);
  // Sealed memory cannot be cut; an ordinary file can.
  CHECK(::ftruncate(fd->get(), 4096) != 0);
  const UniqueFd plain(::memfd_create("plain", MFD_CLOEXEC));
  REQUIRE(::ftruncate(plain.get(), 8192) == 0);
  auto mapping = Mapping::map(plain.get(), 8192, true, "plain");
  REQUIRE(mapping);
  auto* bytes = reinterpret_cast<volatile char*>(mapping->data());
  CHECK(guarded([&] { bytes[5000] = 1; }));
  REQUIRE(::ftruncate(plain.get(), 4096) == 0);
  for (int i = 0; i < 3; ++i) {
    CHECK_FALSE(guarded([&] { bytes[5000] = 1; }));
    CHECK(guarded([&] { bytes[5] = 1; }));
  }
}

TEST_CASE("a file that is too short is not mapped at all") {
  const UniqueFd plain(::memfd_create("plain", MFD_CLOEXEC));
  REQUIRE(::ftruncate(plain.get(), 4000) == 0);
  const auto mapping = Mapping::map(plain.get(), 4096, false, "the file");
  REQUIRE_FALSE(mapping);
  CHECK(mapping.error().code == Errc::truncated_file);
}

TEST_CASE("a new file is reserved in full, private, and never an old one") {
  Folder folder;
  const auto fd = create_file_at(folder.fd.get(), "new", 100000, "the new file");
  REQUIRE(fd);
  struct stat status {};
  REQUIRE(::fstat(fd->get(), &status) == 0);
  CHECK(status.st_size == 100000);
  CHECK(status.st_blocks * 512 >= 100000);
  CHECK((status.st_mode & 07777) == 0600);
  CHECK_FALSE(create_file_at(folder.fd.get(), "new", 1, "the new file"));
}

TEST_CASE("links, second names, directories and pipes are no files of ours") {
  Folder folder;
  REQUIRE(create_file_at(folder.fd.get(), "plain", 10, "plain"));
  REQUIRE(open_file_at(folder.fd.get(), "plain", true, "plain"));
  REQUIRE(::symlinkat("plain", folder.fd.get(), "soft") == 0);
  REQUIRE(::mkfifoat(folder.fd.get(), "pipe", 0600) == 0);
  REQUIRE(::mkdirat(folder.fd.get(), "folder", 0700) == 0);
  CHECK_FALSE(open_file_at(folder.fd.get(), "soft", false, "soft"));
  CHECK_FALSE(open_file_at(folder.fd.get(), "pipe", false, "pipe"));
  CHECK_FALSE(open_file_at(folder.fd.get(), "folder", false, "folder"));
  CHECK_FALSE(open_file_at(folder.fd.get(), "../etc/passwd", false, "outside"));
  CHECK_FALSE(open_file_at(folder.fd.get(), "/etc/passwd", false, "outside"));
  REQUIRE(::linkat(folder.fd.get(), "plain", folder.fd.get(), "hard", 0) == 0);
  CHECK_FALSE(open_file_at(folder.fd.get(), "hard", false, "hard"));
  CHECK_FALSE(open_file_at(folder.fd.get(), "plain", false, "plain"));
}

TEST_CASE("a file is replaced as one and its leftovers are not in the way") {
  Folder folder;
  REQUIRE(create_file_at(folder.fd.get(), "m.new", 5, "a leftover"));
  REQUIRE(replace_file_at(folder.fd.get(), "m", "first", false, "m"));
  REQUIRE(replace_file_at(folder.fd.get(), "m", "second", true, "m"));
  CHECK(*read_file_at(folder.fd.get(), "m", 100, "m") == "second");
  CHECK_FALSE(read_file_at(folder.fd.get(), "m", 5, "m"));
  CHECK(list_directory(folder.fd.get()).value().size() == 1);
}

TEST_CASE("removing a tree does not follow links out of it") {
  Folder folder;
  Folder other;
  REQUIRE(create_file_at(other.fd.get(), "precious", 1, "precious"));
  REQUIRE(::mkdirat(folder.fd.get(), "tree", 0700) == 0);
  REQUIRE(::symlinkat(other.path.c_str(), folder.fd.get(), "tree/link") == 0);
  remove_tree_at(folder.fd.get(), "tree");
  CHECK(list_directory(folder.fd.get()).value().empty());
  CHECK(list_directory(other.fd.get()).value().size() == 1);
}
