// Boost.Interprocess message_queue: what a C++ programmer finds in Boost.
//
// One queue for each direction, as many messages as fit in --capacity bytes (at least 4). It copies in
// and out; the payload is checked in the receiver's buffer. --wait spin: try_receive in a loop;
// --wait block: receive, which sleeps on a process-shared condition.
#include <boost/interprocess/ipc/message_queue.hpp>

#include "../common/bench.hpp"

namespace {

using Queue = boost::interprocess::message_queue;

std::string queue_name(const bench::Arguments& arguments, bool forth) {
  // A name of shared memory, not a path: the run's directory made into one component.
  std::string name = arguments.path + (forth ? "-forth" : "-back");
  std::replace(name.begin(), name.end(), '/', '_');
  return name;
}

class Queues {
 public:
  static constexpr bool kBatches = false;
  explicit Queues(const bench::Arguments& arguments)
      : spin_(arguments.wait == bench::Wait::spin),
        buffer_(arguments.size + 64),
        out_(open(arguments, !arguments.accepts())),
        in_(open(arguments, arguments.accepts())) {
    into_ = buffer_.data();
    if (arguments.accepts()) bench::announce_ready();
    else
      for (const bool forth : {true, false}) Queue::remove(queue_name(arguments, forth).c_str());
  }
  void send(const std::byte* data, std::size_t size) {
    if (spin_)
      while (!out_->try_send(data, size, 0)) bench::pause();
    else
      out_->send(data, size, 0);
  }
  template <class Use>
  void receive(Use&& use) {
    Queue::size_type size = 0;
    unsigned priority = 0;
    if (spin_)
      while (!in_->try_receive(into_, buffer_.size(), size, priority)) bench::pause();
    else
      in_->receive(into_, buffer_.size(), size, priority);
    use(into_, std::size_t{size});
  }

 private:
  static std::unique_ptr<Queue> open(const bench::Arguments& arguments, bool forth) {
    using namespace boost::interprocess;
    const std::string name = queue_name(arguments, forth);
    if (!arguments.accepts()) return std::make_unique<Queue>(open_only, name.c_str());
    const std::size_t messages = std::max<std::size_t>(4, arguments.capacity / arguments.size);
    return std::make_unique<Queue>(create_only, name.c_str(), messages, arguments.size, permissions(0600));
  }
  bool spin_;
  std::vector<std::byte> buffer_;
  std::byte* into_ = nullptr;
  std::unique_ptr<Queue> out_, in_;
};

}  // namespace

int main(int argc, char** argv) { return bench::run<Queues>(argc, argv); }
