// iceoryx (1): a publisher and a subscriber for each direction, through its daemon RouDi.
//
// As its documentation advises for speed: memory is lent, filled and published; the receiver takes it and
// reads it in place. The queue holds as many messages as fit in --capacity, at most its 256, and a publisher
// waits when it is full. --wait spin: take in a loop; --wait block: a WaitSet. --touch ends: nothing is copied.
#include <iceoryx_posh/popo/untyped_publisher.hpp>
#include <iceoryx_posh/popo/untyped_subscriber.hpp>
#include <iceoryx_posh/popo/wait_set.hpp>
#include <iceoryx_posh/runtime/posh_runtime.hpp>

#include "../common/bench.hpp"

namespace {

using iox::capro::IdString_t;

iox::capro::ServiceDescription service(const bench::Arguments& arguments, bool forth) {
  const std::string run = arguments.path.substr(arguments.path.rfind('/') + 1);
  return {IdString_t(iox::cxx::TruncateToCapacity, "bench"), IdString_t(iox::cxx::TruncateToCapacity, run),
          IdString_t(iox::cxx::TruncateToCapacity, forth ? "forth" : "back")};
}

class Topics {
 public:
  static constexpr bool kBatches = false;
  explicit Topics(const bench::Arguments& arguments)
      : ends_only_(arguments.ends_only),
        align_(arguments.align),
        size_(arguments.size),
        block_(arguments.wait == bench::Wait::block),
        accepts_(arguments.accepts()),
        publisher_(service(arguments, !accepts_), publisher_options()),
        subscriber_(service(arguments, accepts_), subscriber_options(arguments)) {
    if (block_) waits_.attachState(subscriber_, iox::popo::SubscriberState::HAS_DATA).or_else([](auto) { bench::fail("cannot attach"); });
    if (accepts_) bench::announce_ready();
    // Both sides begin when each has found the other; the subscriptions are made by RouDi.
    wait_until([&] { return subscriber_.getSubscriptionState() == iox::SubscribeState::SUBSCRIBED; });
    wait_until([&] { return publisher_.hasSubscribers(); });
    answer();
  }

  void send(const std::byte* data, std::size_t size) {
    publisher_.loan(static_cast<std::uint32_t>(size), align_)
        .and_then([&](void* to) {
          bench::write_into(static_cast<std::byte*>(to), data, size, ends_only_);
          publisher_.publish(to);
        })
        .or_else([](auto) { bench::fail("no memory was lent"); });
  }
  template <class Use>
  void receive(Use&& use) {
    for (bool got = false; !got;) {
      subscriber_.take()
          .and_then([&](const void* data) {
            got = true;
            use(static_cast<const std::byte*>(data), size_);
            subscriber_.release(data);
          })
          .or_else([&](auto problem) {
            if (problem != iox::popo::ChunkReceiveResult::NO_CHUNK_AVAILABLE) bench::fail("cannot take");
            if (block_) static_cast<void>(waits_.wait());
            else bench::pause();
          });
    }
  }

 private:
  static iox::popo::PublisherOptions publisher_options() {
    iox::popo::PublisherOptions options;
    options.subscriberTooSlowPolicy = iox::popo::ConsumerTooSlowPolicy::WAIT_FOR_CONSUMER;
    return options;
  }
  static iox::popo::SubscriberOptions subscriber_options(const bench::Arguments& arguments) {
    iox::popo::SubscriberOptions options;
    options.queueFullPolicy = iox::popo::QueueFullPolicy::BLOCK_PRODUCER;
    options.queueCapacity = std::clamp<std::uint64_t>(arguments.capacity / arguments.size, 4, 256);
    return options;
  }
  template <class Condition>
  static void wait_until(Condition&& condition) {
    while (!condition()) sched_yield();  // bounded by the driver, which ends us
  }
  // Nothing may be sent before the other side listens: the accepting side says so, the other waits for it.
  void answer() {
    std::byte hello[64] = {};
    if (accepts_) send_raw(hello, sizeof hello);
    else receive([](const std::byte*, std::size_t) {});
  }
  void send_raw(const std::byte* data, std::size_t size) {
    publisher_.loan(static_cast<std::uint32_t>(size), align_).and_then([&](void* to) {
      std::memcpy(to, data, size);
      publisher_.publish(to);
    });
  }

  bool ends_only_;
  std::uint32_t align_;
  std::size_t size_;
  bool block_, accepts_;
  iox::popo::UntypedPublisher publisher_;
  iox::popo::UntypedSubscriber subscriber_;
  iox::popo::WaitSet<> waits_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::string name = "bench-" + std::to_string(getpid());
  iox::runtime::PoshRuntime::initRuntime(iox::RuntimeName_t(iox::cxx::TruncateToCapacity, name));
  return bench::run<Topics>(argc, argv);
}
