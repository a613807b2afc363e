// The bare steps from connect to the first message: what this machine takes for them, without Atoll.
//
// A process that waits on a Unix socket stands for the broker. Four requests, as for Hello, create, open a consumer
// and open a producer: it creates, reserves and fills the same files in memory (header, bell, lane of 256 KiB, group),
// writes the manifest beside them and renames it, twice, and hands over descriptors; the client maps them and touches
// the lane, as Atoll's does. Then one message is written and read through the lane. No JSON, no checks, no journal,
// nothing that survives a death: only the system calls without which no broker could do it.
//
// Role `alone`; prints "ms".
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "../common/children.hpp"

namespace {

constexpr std::size_t kPage = 4096, kLane = kPage + (256u << 10), kGroup = 10 * kPage, kManifest = 9400;
constexpr std::size_t kMostFds = 4;

void need(bool good, const char* what) {
  if (!good) bench::fail_errno(what);
}

// ---- The broker's half ----

void create(const std::string& path, std::size_t size) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  need(fd >= 0 && fallocate(fd, 0, 0, static_cast<off_t>(size)) == 0, "cannot create a file");
  const std::vector<char> page(std::min(size, kPage), 'h');
  need(pwrite(fd, page.data(), page.size(), 0) == static_cast<ssize_t>(page.size()), "cannot fill a file");
  close(fd);
}

void publish(const std::string& directory) {
  const std::string text(kManifest, 'm'), made = directory + "/manifest.new";
  const int fd = open(made.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  need(fd >= 0 && write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()), "cannot write the manifest");
  need(rename(made.c_str(), (directory + "/manifest").c_str()) == 0, "cannot rename the manifest");
  close(fd);
}

void answer(int socket, const std::vector<std::string>& files) {
  char text[1200] = {};
  iovec part{text, sizeof text};
  alignas(cmsghdr) char control[CMSG_SPACE(kMostFds * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  std::vector<int> fds;
  for (const auto& file : files) {
    fds.push_back(open(file.c_str(), O_RDWR | O_CLOEXEC));
    need(fds.back() >= 0, "cannot open a file");
  }
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* const head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(head), fds.data(), fds.size() * sizeof(int));
  }
  need(sendmsg(socket, &message, MSG_NOSIGNAL) == sizeof text, "cannot answer");
  for (const int fd : fds) close(fd);
}

void serve(int listener, const std::string& directory) {
  const int socket = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  need(socket >= 0, "cannot accept");
  const std::string header = directory + "/header", bell = directory + "/bell", lane = directory + "/lane", group = directory + "/group";
  char request[256];
  for (int number = 0; recv(socket, request, sizeof request, 0) > 0; ++number) {
    switch (number) {
      case 0: answer(socket, {directory + "/bells", directory + "/bells"}); break;
      case 1:
        create(bell, kPage);
        create(header, kPage);
        create(lane, kLane);
        publish(directory);
        answer(socket, {});
        break;
      case 2:
        create(group, kGroup);
        publish(directory);
        answer(socket, {header, bell, lane, group});
        break;
      default: answer(socket, {header, bell, lane, group}); break;
    }
  }
  close(socket);
}

// ---- The client's half ----

std::vector<int> ask(int socket) {
  const char request[180] = {};
  need(send(socket, request, sizeof request, MSG_NOSIGNAL) == sizeof request, "cannot ask");
  pollfd entry{socket, POLLIN, 0};
  need(poll(&entry, 1, 10'000) == 1, "no answer");
  char text[16384];
  iovec part{text, sizeof text};
  alignas(cmsghdr) char control[CMSG_SPACE(kMostFds * sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  need(recvmsg(socket, &message, MSG_CMSG_CLOEXEC) > 0, "no answer");
  const cmsghdr* const head = CMSG_FIRSTHDR(&message);
  if (head == nullptr) return {};
  std::vector<int> fds((head->cmsg_len - CMSG_LEN(0)) / sizeof(int));
  std::memcpy(fds.data(), CMSG_DATA(head), fds.size() * sizeof(int));
  return fds;
}

std::byte* map(int fd, std::size_t size, bool touch) {
  struct stat status {};
  need(fstat(fd, &status) == 0 && static_cast<std::size_t>(status.st_size) == size, "a file has another size");
  void* const at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  need(at != MAP_FAILED, "cannot map a file");
  if (touch) madvise(at, size, MADV_POPULATE_WRITE);
  close(fd);
  return static_cast<std::byte*>(at);
}

void run(const bench::Arguments& arguments) {
  mkdir(arguments.path.c_str(), 0700);
  create(arguments.path + "/bells", kLane);
  sockaddr_un address{AF_UNIX, {}};
  const std::string name = arguments.path + "/socket";
  if (name.size() >= sizeof address.sun_path) bench::fail("--path is too long");
  std::memcpy(address.sun_path, name.c_str(), name.size());
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  need(bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 && listen(listener, 1) == 0, "cannot listen");
  bench::Children broker;
  broker.start([&] {
    broker.ready_and_go_on();
    serve(listener, arguments.path);
  });
  broker.wait_ready();
  bench::Payload payload(arguments);
  payload.stamp(7);

  const double cpu = bench::cpu_seconds();
  const std::uint64_t begin = bench::monotonic_ns();
  const int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  need(connect(connection, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0, "cannot connect");
  const auto hello = ask(connection);
  map(hello.at(0), kLane, false);
  ask(connection);
  const auto consumer = ask(connection);
  map(consumer.at(0), kPage, false);
  map(consumer.at(1), kPage, false);
  const std::byte* const reads = map(consumer.at(2), kLane, false);
  map(consumer.at(3), kGroup, false);
  const auto producer = ask(connection);
  map(producer.at(0), kPage, false);
  map(producer.at(1), kPage, false);
  std::byte* const writes = map(producer.at(2), kLane, true);
  map(producer.at(3), kGroup, false);
  std::memcpy(writes + kPage, payload.bytes(), arguments.size);
  const std::uint64_t wrong = payload.wrong(reads + kPage, arguments.size, 7);
  const std::uint64_t took = bench::monotonic_ns() - begin;
  const double used = bench::cpu_seconds() - cpu;

  close(connection);
  broker.join();
  std::printf("{\"count\": 1, \"errors\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"ms\": %.4f}\n", static_cast<unsigned long long>(wrong),
              1e-9 * static_cast<double>(took), used, 1e-6 * static_cast<double>(took));
}

}  // namespace

int main(int argc, char** argv) { return bench::run_alone(argc, argv, run); }
