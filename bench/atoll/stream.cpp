// Atoll, from C++: streams, one for each direction, through the C++ interface and libatoll.so.
//
// The receiving side creates the stream and joins its group; the sender opens it. `send` copies in, views
// are checked in place and released at once. --wait spin: a consumer that only looks and never sleeps;
// --wait block: the default, which looks for a while and then sleeps. The group is exclusive (one consumer,
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

  // In line, as in a user's own loop, and as the compiler does with the raw ring's.
  [[gnu::always_inline]] void send(const std::byte* data, std::size_t size) {
    if (loans_) {
      auto loan = producer_->loan(size);
      if (!loan) [[unlikely]]
        expect(std::move(loan), "loan");
      bench::write_into(loan->data().data(), data, size, ends_only_);
      if (auto committed = loan->commit(); !committed) [[unlikely]]
        expect(std::move(committed), "commit");
    } else {
      if (auto sent = producer_->send(std::span(data, size)); !sent) [[unlikely]]
        expect(std::move(sent), "send");
    }
  }
  void send_many(std::span<const std::span<const std::byte>> records) {
    expect(producer_->send_many(records), "send_many");
  }
  template <class Use>
  [[gnu::always_inline]] void receive(Use&& use) {
    auto view = consumer_->receive();
    if (!view) [[unlikely]]
      expect(std::move(view), "receive");
    use(view->data().data(), view->data().size());
  }
  template <class Use>
  void receive_many(Use&& use, std::size_t max) {
    const auto views = expect(consumer_->receive_many(max), "receive_many");
    for (const auto& view : views) use(view.data().data(), view.data().size());
  }

 private:
  Streams(const bench::Arguments& arguments, atoll_ipc::Client client)
      : client_(std::move(client)),
        loans_(arguments.variant == "loan"),
        ends_only_(arguments.ends_only) {
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
    options.spin = arguments.wait == bench::Wait::spin;
    if (reads) consumer_ = expect(client_.open_consumer(in, options), "open_consumer");
    if (writes) producer_ = expect(client_.open_producer(out), "open_producer");
    if (arguments.accepts()) bench::announce_ready();
    // Who receives the last message removes the streams.
    if (arguments.role == bench::Role::ping) remove_ = {in, out};
    if (arguments.role == bench::Role::receive) remove_ = {in};
  }

  atoll_ipc::Client client_;
  bool loans_, ends_only_;
  std::optional<atoll_ipc::Producer> producer_;
  std::optional<atoll_ipc::Consumer> consumer_;
  std::vector<std::string> remove_;
};

}  // namespace

int main(int argc, char** argv) { return bench::run<Streams>(argc, argv); }
