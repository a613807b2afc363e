// Child processes of one program, for measurements that need more processes than two.
//
// The parent starts them with `start`, waits until each has called `ready`, lets them go on together with
// `go`, and collects them with `join`. A child that fails says why on stderr and the parent fails too. All
// of them end with the parent, whatever happens to it.
#pragma once

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>

#include "bench.hpp"

namespace bench {

class Children {
 public:
  Children() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    if (pipe(ready_) != 0 || pipe(go_) != 0) fail_errno("cannot make a pipe");
  }
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;
  ~Children() {
    for (const pid_t child : pids_) {
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
    }
  }

  // The child runs `work` and ends. Returns its process id.
  pid_t start(const std::function<void()>& work) {
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child < 0) fail_errno("cannot fork");
    if (child > 0) {
      pids_.push_back(child);
      return child;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    close(ready_[0]);
    close(go_[1]);
    try {
      work();
      _exit(0);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
      _exit(1);
    }
  }

  // In a child: says that it is ready, and goes on at once or waits for `go`.
  void ready_and_go_on() {
    const char byte = 1;
    if (write(ready_[1], &byte, 1) != 1) fail_errno("cannot say ready");
  }
  void ready() {
    ready_and_go_on();
    char byte;
    while (read(go_[0], &byte, 1) < 0 && errno == EINTR) {
    }
  }

  // In the parent: waits for all of them; fails when one has ended.
  void wait_ready() {
    close(ready_[1]);
    for (std::size_t i = 0; i < pids_.size(); ++i) {
      char byte;
      if (read(ready_[0], &byte, 1) != 1) fail("a child process ended early");
    }
  }
  void go() { close(go_[1]); }

  // Waits for so long, but fails at once when a child ends.
  static void watch(double seconds) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    const std::uint64_t end = monotonic_ns() + static_cast<std::uint64_t>(1e9 * seconds);
    for (std::uint64_t now = monotonic_ns(); now < end; now = monotonic_ns()) {
      const timespec left{static_cast<time_t>((end - now) / 1'000'000'000), static_cast<long>((end - now) % 1'000'000'000)};
      // The signal may also be that of the helper that started a broker: connect() has waited for it.
      siginfo_t ended{};
      if (sigtimedwait(&set, nullptr, &left) == SIGCHLD && waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid != 0)
        fail("a child process ended early");
    }
  }

  void join() {
    bool good = true;
    for (const pid_t child : pids_) {
      int status = 0;
      good = waitpid(child, &status, 0) == child && status == 0 && good;
    }
    pids_.clear();
    if (!good) fail("a child process failed");
  }

 private:
  int ready_[2], go_[2];
  std::vector<pid_t> pids_;
};

}  // namespace bench
