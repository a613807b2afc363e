// The control socket's framing: bytes and descriptors, protocol/wire.hpp.
#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <array>
#include <string>

#include "atoll/protocol/wire.hpp"

using namespace atoll_ipc::protocol;

namespace {

struct Pair {
  UniqueFd left;
  UniqueFd right;
  Pair() {
    int fds[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    left.reset(fds[0]);
    right.reset(fds[1]);
  }
};

bool open_fd(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

std::array<ino_t, 2> inodes(int a, int b) {
  struct stat first {}, second {};
  REQUIRE(::fstat(a, &first) == 0);
  REQUIRE(::fstat(b, &second) == 0);
  return {first.st_ino, second.st_ino};
}

}  // namespace

TEST_CASE("a message arrives as it was sent") {
  Pair pair;
  const std::string message("{\"method\":\"x\"}\0", 15);
  CHECK(send_some(pair.left.get(), message, {}, 0) == 15);
  std::array<char, 64> buffer{};
  std::vector<UniqueFd> fds;
  CHECK(receive_some(pair.right.get(), buffer, fds, 0) == 15);
  CHECK(std::string(buffer.data(), 15) == message);
  CHECK(fds.empty());
}

TEST_CASE("descriptors arrive with the first byte of their message, in order, and are closed on exec") {
  Pair pair;
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  UniqueFd a(ends[0]);
  UniqueFd b(ends[1]);
  const UniqueFd other(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const std::array<int, 2> sent{other.get(), a.get()};
  CHECK(send_some(pair.left.get(), "reply", sent, 0) == 5);
  char first = 0;
  std::vector<UniqueFd> fds;
  bool truncated = true;
  CHECK(receive_some(pair.right.get(), {&first, 1}, fds, 0, &truncated) == 1);
  CHECK_FALSE(truncated);
  REQUIRE(fds.size() == 2);
  const auto null = inodes(fds[0].get(), other.get());
  const auto pipe = inodes(fds[1].get(), a.get());
  CHECK(null[0] == null[1]);
  CHECK(pipe[0] == pipe[1]);
  for (const UniqueFd& fd : fds) CHECK((::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
  std::array<char, 8> rest{};
  CHECK(receive_some(pair.right.get(), rest, fds, 0) == 4);
  CHECK(fds.size() == 2);
}

TEST_CASE("as many descriptors as a message may carry go through, and one more is refused before anything is sent") {
  Pair pair;
  const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  std::vector<int> many(kMaxFdsPerMessage, null.get());
  CHECK(send_some(pair.left.get(), "x", many, 0) == 1);
  std::array<char, 8> buffer{};
  std::vector<UniqueFd> fds;
  CHECK(receive_some(pair.right.get(), buffer, fds, 0) == 1);
  CHECK(fds.size() == kMaxFdsPerMessage);
  many.push_back(null.get());
  CHECK(send_some(pair.left.get(), "x", many, 0) == -1);
  CHECK(errno == EMSGSIZE);
  CHECK(receive_some(pair.right.get(), buffer, fds, MSG_DONTWAIT) == -1);
}

TEST_CASE("descriptors that came with a message nobody wanted are closed with their owner") {
  int kept = -1;
  {
    Pair pair;
    const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const std::array<int, 1> sent{null.get()};
    send_some(pair.left.get(), "x", sent, 0);
    char byte = 0;
    std::vector<UniqueFd> fds;
    receive_some(pair.right.get(), {&byte, 1}, fds, 0);
    REQUIRE(fds.size() == 1);
    kept = fds[0].get();
    CHECK(open_fd(kept));
  }
  CHECK_FALSE(open_fd(kept));
}

TEST_CASE("the other side's end is 0 when reading and an error, not a signal, when writing") {
  Pair pair;
  pair.right.reset();
  char byte = 0;
  std::vector<UniqueFd> fds;
  CHECK(receive_some(pair.left.get(), {&byte, 1}, fds, 0) == 0);
  CHECK(send_some(pair.left.get(), "x", {}, 0) == -1);
  CHECK(errno == EPIPE);
}

TEST_CASE("a descriptor has one owner: moving it empties the other, resetting closes, releasing does not") {
  UniqueFd a(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int number = a.get();
  UniqueFd b(std::move(a));
  CHECK(a.get() == -1);  // NOLINT(bugprone-use-after-move): that is the promise
  CHECK(b.get() == number);
  a = std::move(b);
  CHECK(a.get() == number);
  const int released = a.release();
  CHECK_FALSE(static_cast<bool>(a));
  CHECK(open_fd(released));
  a.reset(released);
  a.reset();
  CHECK_FALSE(open_fd(released));
}

TEST_CASE("closing a descriptor leaves errno as it was") {
  UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  errno = ENOSPC;
  fd.reset();
  CHECK(errno == ENOSPC);
}
