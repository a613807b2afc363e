// ZeroMQ over ipc://, with libzmq's own C interface: a PAIR socket each, default options.
//
// zmq_send copies in; the payload is checked inside the received zmq_msg_t. It always sleeps in the
// kernel between its threads, so there is only --wait block. Its thread shares the process's CPU.
#include <zmq.h>

#include "../common/bench.hpp"

namespace {

class Pair {
 public:
  static constexpr bool kBatches = false;
  explicit Pair(const bench::Arguments& arguments) : context_(zmq_ctx_new()), socket_(zmq_socket(context_, ZMQ_PAIR)) {
    if (!socket_) fail("cannot make a socket");
    const std::string address = "ipc://" + arguments.path + "/zeromq";
    if (arguments.accepts()) {
      if (zmq_bind(socket_, address.c_str()) != 0) fail("cannot bind " + address);
      bench::announce_ready();
    } else if (zmq_connect(socket_, address.c_str()) != 0) {
      fail("cannot connect to " + address);
    }
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;
  ~Pair() {
    zmq_close(socket_);
    zmq_ctx_term(context_);  // waits until everything was handed over
  }
  void send(const std::byte* data, std::size_t size) {
    if (zmq_send(socket_, data, size, 0) < 0) fail("cannot send");
  }
  template <class Use>
  void receive(Use&& use) {
    zmq_msg_t message;
    zmq_msg_init(&message);
    if (zmq_msg_recv(&message, socket_, 0) < 0) fail("cannot receive");
    use(static_cast<const std::byte*>(zmq_msg_data(&message)), zmq_msg_size(&message));
    zmq_msg_close(&message);
  }

 private:
  [[noreturn]] static void fail(const std::string& what) { bench::fail(what + ": " + zmq_strerror(zmq_errno())); }
  void* context_;
  void* socket_;
};

}  // namespace

int main(int argc, char** argv) { return bench::run<Pair>(argc, argv); }
