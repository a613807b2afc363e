// nng over ipc://: a PAIR0 socket each, default options.
//
// nng_send copies in; the payload is checked inside the received message. It has its own threads, which
// share the process's CPU, and always sleeps between them, so there is only --wait block.
#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>

#include <atomic>

#include "../common/bench.hpp"

namespace {

class Pair {
 public:
  static constexpr bool kBatches = false;
  explicit Pair(const bench::Arguments& arguments) {
    expect(nng_pair0_open(&socket_), "open a socket");
    const std::string address = "ipc://" + arguments.path + "/nng";
    if (arguments.accepts()) {
      expect(nng_pipe_notify(socket_, NNG_PIPE_EV_REM_POST, other_left, &left_), "watch the connection");
      expect(nng_listen(socket_, address.c_str(), nullptr, 0), "listen");
      bench::announce_ready();
    } else {
      expect(nng_dial(socket_, address.c_str(), nullptr, 0), "dial");
    }
    role_ = arguments.role;
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;
  ~Pair() {
    // nng_close throws away what was not handed over. So a sender closes when the receiver has said that it
    // has everything, and the accepting side when the other has closed.
    if (role_ == bench::Role::send) {
      nng_msg* message = nullptr;
      if (nng_recvmsg(socket_, &message, 0) == 0) nng_msg_free(message);
    }
    if (role_ == bench::Role::receive) static_cast<void>(nng_send(socket_, const_cast<char*>("done"), 4, 0));
    if (role_ == bench::Role::receive || role_ == bench::Role::pong) left_.wait(false);
    nng_close(socket_);
  }
  void send(const std::byte* data, std::size_t size) {
    expect(nng_send(socket_, const_cast<std::byte*>(data), size, 0), "send");
  }
  template <class Use>
  void receive(Use&& use) {
    nng_msg* message = nullptr;
    expect(nng_recvmsg(socket_, &message, 0), "receive");
    use(static_cast<const std::byte*>(nng_msg_body(message)), nng_msg_len(message));
    nng_msg_free(message);
  }

 private:
  static void expect(int status, const char* what) {
    if (status != 0) bench::fail(std::string("cannot ") + what + ": " + nng_strerror(status));
  }
  static void other_left(nng_pipe, nng_pipe_ev, void* left) {
    static_cast<std::atomic<bool>*>(left)->store(true);
    static_cast<std::atomic<bool>*>(left)->notify_one();
  }
  nng_socket socket_ = NNG_SOCKET_INITIALIZER;
  bench::Role role_ = bench::Role::ping;
  std::atomic<bool> left_ = false;
};

}  // namespace

int main(int argc, char** argv) { return bench::run<Pair>(argc, argv); }
