// Atoll, from C++: streams, one for each direction, through the C++ interface and libatoll.so.
//
// The receiving side creates the stream and joins its group; the sender opens it. `send` copies in, views
// are checked in place and released at once. --wait spin: receive with a deadline of now, in a loop;
// --wait block: receive, which spins for a while and then sleeps. The group is exclusive (one consumer,
// no lock); --variant shared takes a group that several consumers may share, which is the default;
// --variant loan fills each record in place instead (`loan`, `commit`).
#include "expect.hpp"

namespace {

using bench::expect;

class Streams {
 public:
  static constexpr bool kBatches = true;
  explicit Streams(const bench::Arguments& arguments)
      : Streams(arguments, expect(atoll_ipc::Client::connect(), "connect")) {}

  Streams(const Streams&) = delete;
  Streams& operator=(const Streams&) = delete;
  ~Streams() {
    producer_.reset();
    consumer_.reset();
    for (const auto& name : remove_) static_cast<void>(client_.remove(name, true));
  }

  void send(const std::byte* data, std::size_t size) {
    if (loans_) {
      auto loan = expect(producer_->loan(size), "loan");
      bench::write_into(loan.data().data(), data, size, ends_only_);
      expect(loan.commit(), "commit");
    } else {
      expect(producer_->send(std::span(data, size)), "send");
    }
  }
  void send_many(std::span<const std::span<const std::byte>> records) {
    expect(producer_->send_many(records), "send_many");
  }
  template <class Use>
  void receive(Use&& use) {
    for (;;) {
      auto view = consumer_->receive(deadline_);
      if (__builtin_expect(view.has_value(), 1)) {
        use(view->data().data(), view->data().size());
        return;
      }
      if (view.error().code() != atoll_ipc::Errc::timed_out) expect(std::move(view), "receive");
      bench::pause();
    }
  }
  template <class Use>
  void receive_many(Use&& use, std::size_t max) {
    for (;;) {
      auto views = consumer_->receive_many(max, deadline_);
      if (views.has_value()) {
        for (const auto& view : *views) use(view.data().data(), view.data().size());
        return;
      }
      if (views.error().code() != atoll_ipc::Errc::timed_out) expect(std::move(views), "receive_many");
      bench::pause();
    }
  }

 private:
  Streams(const bench::Arguments& arguments, atoll_ipc::Client client)
      : client_(std::move(client)),
        loans_(arguments.variant == "loan"),
        ends_only_(arguments.ends_only),
        deadline_(arguments.wait == bench::Wait::spin ? atoll_ipc::Deadline::now() : atoll_ipc::Deadline::never()) {
    // The run's directory tells its streams from other runs'.
    const std::string run = "bench/" + arguments.path.substr(arguments.path.rfind('/') + 1);
    const std::string in = run + (arguments.accepts() ? "/forth" : "/back");
    const std::string out = run + (arguments.accepts() ? "/back" : "/forth");
    const bool reads = arguments.role != bench::Role::send, writes = arguments.role != bench::Role::receive;
    if (arguments.accepts()) {
      atoll_ipc::StreamOptions options;
      options.capacity = arguments.capacity;
      options.alignment = arguments.align;
      expect(client_.create(in, options), "create");
      if (writes) expect(client_.create(out, options), "create");
    }
    atoll_ipc::ConsumerOptions options;
    options.exclusive = arguments.variant != "shared";
    if (reads) consumer_ = expect(client_.open_consumer(in, options), "open_consumer");
    if (writes) producer_ = expect(client_.open_producer(out), "open_producer");
    if (arguments.accepts()) bench::announce_ready();
    // Who receives the last message removes the streams.
    if (arguments.role == bench::Role::ping) remove_ = {in, out};
    if (arguments.role == bench::Role::receive) remove_ = {in};
  }

  atoll_ipc::Client client_;
  bool loans_, ends_only_;
  atoll_ipc::Deadline deadline_;
  std::optional<atoll_ipc::Producer> producer_;
  std::optional<atoll_ipc::Consumer> consumer_;
  std::vector<std::string> remove_;
};

}  // namespace

int main(int argc, char** argv) { return bench::run<Streams>(argc, argv); }
