// A library to preload that makes calls of the C library fail when it is told to: for tests/faults.
//
// ATOLL_FAULTS names a file of eight 64-bit numbers (Faults, below). A test writes them while the program runs: which calls
// count, and that the Nth of them fails, or that one and all after it; it reads how many there were and how many failed.
// What fails does nothing but set errno. Without the variable, or with no call chosen, everything goes to the C library.
// A program may say that only a part of it counts (atoll_failing_scope); one that never does counts as a whole.
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <cstring>

extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
}

namespace {

// In the order of CALLS in faults.py.
enum Call {
  kOpen, kCreate, kSocket, kAccept, kMemfd, kEpollCreate, kEpollControl, kEpollWait, kSignalfd, kEventfd, kPipe, kPidfd, kPeerPidfd,
  kRights, kReceive, kSend, kConnect, kBind, kReserve, kWrite, kWriteAt, kRead, kReadAt, kMakeDirectory, kRename, kUnlink, kTruncate,
  kSync, kMap, kControl, kStat, kRoom, kSleep, kPoll, kThread, kAllocate, kRandom, kChangeMode, kList, kFork
};

struct Faults {
  std::uint64_t calls;   // a bit for each Call that counts
  std::uint64_t at;      // the first of them that fails, from 1
  std::uint64_t count;   // how many fail
  std::uint64_t error;   // errno
  std::uint64_t half;    // not 0: a write or send does half of what it was asked instead of failing
  std::uint64_t seen;    // calls that counted
  std::uint64_t failed;  // of them
  std::uint64_t smallest;  // allocations below this size never fail
};

Faults* faults = nullptr;
std::uint64_t inside = 1;

bool counts_and_fails(Call call) noexcept {
  if (faults == nullptr || ((__atomic_load_n(&faults->calls, __ATOMIC_ACQUIRE) >> call) & 1) == 0) return false;
  if (__atomic_load_n(&inside, __ATOMIC_RELAXED) == 0) return false;
  const std::uint64_t number = __atomic_add_fetch(&faults->seen, 1, __ATOMIC_RELAXED);
  if (number < faults->at || number - faults->at >= faults->count) return false;
  __atomic_add_fetch(&faults->failed, 1, __ATOMIC_RELAXED);
  return true;
}

bool fails(Call call) noexcept {
  if (!counts_and_fails(call)) return false;
  errno = static_cast<int>(faults->error);
  return true;
}

bool no_memory_for(std::size_t size) noexcept { return faults != nullptr && size >= faults->smallest && fails(kAllocate); }

// Half of a write, or none: `length` is changed, or true is returned.
bool fails_or_halves(Call call, std::size_t& length) noexcept {
  if (faults == nullptr || faults->half == 0) return fails(call);
  if (length > 1 && counts_and_fails(call)) length /= 2;
  return false;
}

template <class Function>
Function* real(Function*& known, const char* name) noexcept {
  if (known == nullptr) known = reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
  return known;
}

__attribute__((constructor)) void begin() noexcept {
  const char* const path = std::getenv("ATOLL_FAULTS");
  if (path == nullptr) return;
  const long fd = ::syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
  if (fd < 0) return;
  void* const memory = ::mmap(nullptr, sizeof(Faults), PROT_READ | PROT_WRITE, MAP_SHARED, static_cast<int>(fd), 0);
  ::close(static_cast<int>(fd));
  if (memory != MAP_FAILED) faults = static_cast<Faults*>(memory);
}

}  // namespace

#define REAL(name) static decltype(name)* known_##name; const auto next = real(known_##name, #name)

extern "C" {

void atoll_failing_scope(int counts) { __atomic_store_n(&inside, counts, __ATOMIC_RELAXED); }

// ---- Memory ----

void* malloc(std::size_t size) { return no_memory_for(size) ? nullptr : __libc_malloc(size); }
void* calloc(std::size_t count, std::size_t size) { return no_memory_for(count * size) ? nullptr : __libc_calloc(count, size); }
void* realloc(void* memory, std::size_t size) { return no_memory_for(size) ? nullptr : __libc_realloc(memory, size); }
void* aligned_alloc(std::size_t alignment, std::size_t size) { return no_memory_for(size) ? nullptr : __libc_memalign(alignment, size); }

void* mmap(void* address, std::size_t length, int protection, int flags, int fd, off_t offset) {
  if (fails(kMap)) return MAP_FAILED;
  return reinterpret_cast<void*>(::syscall(SYS_mmap, address, length, protection, flags, fd, offset));
}

// ---- Files ----

int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  REAL(open);
  return fails((flags & O_CREAT) != 0 ? kCreate : kOpen) ? -1 : next(path, flags, mode);
}

int openat(int directory, const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  REAL(openat);
  return fails((flags & O_CREAT) != 0 ? kCreate : kOpen) ? -1 : next(directory, path, flags, mode);
}

long syscall(long number, ...) {
  long a[6];
  va_list more;
  va_start(more, number);
  for (long& each : a) each = va_arg(more, long);
  va_end(more);
  if (number == SYS_openat2) {
    std::uint64_t flags;  // the first member of open_how
    std::memcpy(&flags, reinterpret_cast<const void*>(a[2]), sizeof flags);
    if (fails((flags & O_CREAT) != 0 ? kCreate : kOpen)) return -1;
  }
  if (number == SYS_pidfd_open && fails(kPidfd)) return -1;
  constexpr long kFutexWaitv = 449;
  if ((number == kFutexWaitv || (number == SYS_futex && (a[1] & 127) == 0)) && fails(kSleep)) return -1;
  REAL(syscall);
  return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

DIR* opendir(const char* path) {
  REAL(opendir);
  return fails(kOpen) ? nullptr : next(path);
}
ssize_t getdents64(int fd, void* into, std::size_t length) noexcept {
  REAL(getdents64);
  return fails(kList) ? -1 : next(fd, into, length);
}
int fallocate(int fd, int mode, off_t offset, off_t length) {
  REAL(fallocate);
  return fails(kReserve) ? -1 : next(fd, mode, offset, length);
}
int posix_fallocate(int fd, off_t offset, off_t length) {
  REAL(posix_fallocate);
  return fails(kReserve) ? errno : next(fd, offset, length);
}
ssize_t write(int fd, const void* from, std::size_t length) {
  REAL(write);
  return fails_or_halves(kWrite, length) ? -1 : next(fd, from, length);
}
ssize_t pwrite(int fd, const void* from, std::size_t length, off_t offset) {
  REAL(pwrite);
  return fails_or_halves(kWriteAt, length) ? -1 : next(fd, from, length, offset);
}
ssize_t read(int fd, void* into, std::size_t length) {
  REAL(read);
  return fails(kRead) ? -1 : next(fd, into, length);
}
ssize_t pread(int fd, void* into, std::size_t length, off_t offset) {
  REAL(pread);
  return fails(kReadAt) ? -1 : next(fd, into, length, offset);
}
int mkdir(const char* path, mode_t mode) {
  REAL(mkdir);
  return fails(kMakeDirectory) ? -1 : next(path, mode);
}
int mkdirat(int directory, const char* path, mode_t mode) {
  REAL(mkdirat);
  return fails(kMakeDirectory) ? -1 : next(directory, path, mode);
}
int renameat(int from, const char* old, int to, const char* name) {
  REAL(renameat);
  return fails(kRename) ? -1 : next(from, old, to, name);
}
int unlinkat(int directory, const char* path, int flags) {
  REAL(unlinkat);
  return fails(kUnlink) ? -1 : next(directory, path, flags);
}
int ftruncate(int fd, off_t length) {
  REAL(ftruncate);
  return fails(kTruncate) ? -1 : next(fd, length);
}
int fsync(int fd) {
  REAL(fsync);
  return fails(kSync) ? -1 : next(fd);
}
int msync(void* address, std::size_t length, int flags) {
  REAL(msync);
  return fails(kSync) ? -1 : next(address, length, flags);
}
int fchmod(int fd, mode_t mode) {
  REAL(fchmod);
  return fails(kChangeMode) ? -1 : next(fd, mode);
}
int fstat(int fd, struct stat* status) {
  static int (*known)(int, struct stat*);
  return fails(kStat) ? -1 : real(known, "fstat")(fd, status);
}
int fstatvfs(int fd, struct statvfs* status) {
  static int (*known)(int, struct statvfs*);
  return fails(kRoom) ? -1 : real(known, "fstatvfs")(fd, status);
}
int memfd_create(const char* name, unsigned flags) noexcept {
  REAL(memfd_create);
  return fails(kMemfd) ? -1 : next(name, flags);
}
int fcntl(int fd, int command, ...) {
  va_list more;
  va_start(more, command);
  void* const argument = va_arg(more, void*);
  va_end(more);
  REAL(fcntl);
  return fails(kControl) ? -1 : next(fd, command, argument);
}

// ---- Sockets ----

int socket(int domain, int type, int protocol) noexcept {
  REAL(socket);
  return fails(kSocket) ? -1 : next(domain, type, protocol);
}
int bind(int fd, const sockaddr* address, socklen_t length) noexcept {
  REAL(bind);
  return fails(kBind) ? -1 : next(fd, address, length);
}
int connect(int fd, const sockaddr* address, socklen_t length) {
  REAL(connect);
  return fails(kConnect) ? -1 : next(fd, address, length);
}
int accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
  REAL(accept4);
  return fails(kAccept) ? -1 : next(fd, address, length, flags);
}
int getsockopt(int fd, int level, int option, void* value, socklen_t* length) noexcept {
  constexpr int kPeerPidfdOption = 77;  // SO_PEERPIDFD
  REAL(getsockopt);
  return level == SOL_SOCKET && option == kPeerPidfdOption && fails(kPeerPidfd) ? -1 : next(fd, level, option, value, length);
}
ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  std::size_t length = message->msg_iov[0].iov_len;
  REAL(sendmsg);
  if (fails_or_halves(kSend, length)) return -1;
  iovec part{message->msg_iov[0].iov_base, length};
  msghdr shorter = *message;
  shorter.msg_iov = &part;
  return next(fd, &shorter, flags);
}
// Descriptors that find no room are closed by the kernel, and the message says that it was cut.
ssize_t recvmsg(int fd, msghdr* message, int flags) {
  REAL(recvmsg);
  if (fails(kReceive)) return -1;
  const ssize_t n = next(fd, message, flags);
  const cmsghdr* const rights = n > 0 ? CMSG_FIRSTHDR(message) : nullptr;
  if (rights == nullptr || rights->cmsg_type != SCM_RIGHTS || !counts_and_fails(kRights)) return n;
  for (std::size_t at = CMSG_LEN(0); at < rights->cmsg_len; at += sizeof(int)) {
    int dropped;
    std::memcpy(&dropped, reinterpret_cast<const char*>(rights) + at, sizeof dropped);
    ::close(dropped);
  }
  message->msg_controllen = 0;
  message->msg_flags |= MSG_CTRUNC;
  return n;
}

// ---- Waiting, and the rest ----

int epoll_create1(int flags) noexcept {
  REAL(epoll_create1);
  return fails(kEpollCreate) ? -1 : next(flags);
}
int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept {
  REAL(epoll_ctl);
  return operation == EPOLL_CTL_ADD && fails(kEpollControl) ? -1 : next(epoll, operation, fd, event);
}
int epoll_wait(int epoll, epoll_event* events, int most, int timeout) {
  REAL(epoll_wait);
  return fails(kEpollWait) ? -1 : next(epoll, events, most, timeout);
}
int poll(pollfd* entries, nfds_t count, int timeout) {
  REAL(poll);
  return fails(kPoll) ? -1 : next(entries, count, timeout);
}
int signalfd(int fd, const sigset_t* mask, int flags) noexcept {
  REAL(signalfd);
  return fails(kSignalfd) ? -1 : next(fd, mask, flags);
}
int eventfd(unsigned value, int flags) noexcept {
  REAL(eventfd);
  return fails(kEventfd) ? -1 : next(value, flags);
}
int pipe2(int ends[2], int flags) noexcept {
  REAL(pipe2);
  return fails(kPipe) ? -1 : next(ends, flags);
}
ssize_t getrandom(void* into, std::size_t length, unsigned flags) {
  REAL(getrandom);
  return fails(kRandom) ? -1 : next(into, length, flags);
}
pid_t fork() noexcept {
  REAL(fork);
  return fails(kFork) ? -1 : next();
}
int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*), void* argument) noexcept {
  REAL(pthread_create);
  return fails(kThread) ? errno : next(thread, attributes, body, argument);
}
}
