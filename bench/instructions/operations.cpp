// The C++ and C operations whose instructions bench/instructions/run counts.
//
// Run by it under callgrind, with ATOLL_SOCKET set to a broker of its own. Goes through phases: each one
// ends with mark(), where callgrind writes down the instructions since the last mark, and is announced on
// standard output as "COUNT NAME", or "0 -" for what only prepares the next one. Before each phase that
// counts, the same operations have run once: the ring has been written once around, everything is warm.
// Status 1 with a message if a call fails; the streams are gone with the broker.
#include <sys/resource.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "atoll/atoll.h"
#include "atoll/atoll.hpp"

namespace {

using namespace atoll_ipc;

constexpr unsigned kLength = 64;    // bytes of a record
constexpr unsigned kCount = 12'000;  // records of a phase: nearly a ring of 1 MiB, so that each phase crosses its end once
constexpr unsigned kBatch = 60;      // records of send_many and receive_many; divides kCount, and is at most 64

void end(const char* what, const char* why) {
  std::fprintf(stderr, "operations: %s: %s\n", what, why);
  std::exit(1);
}

template <class T>
T must(const char* what, Result<T> result) {
  if (!result) end(what, std::string(result.error().message()).c_str());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

void must(const char* what, atoll_status status, const atoll_error& error) {
  if (status != ATOLL_OK) end(what, error.message);
}

// Callgrind ends a phase when this libc function is called (--dump-before): it does nothing else here.
void mark() { static_cast<void>(::getpriority(PRIO_PROCESS, 0)); }

// Not inlined: the operation is compiled for itself, as in a user's loop.
template <class Operation>
[[gnu::noinline]] void repeat(unsigned count, Operation operation) {
  for (unsigned i = 0; i < count; ++i) operation();
}

template <class Operation>
void phase(const char* name, unsigned count, unsigned at_once, Operation operation) {
  mark();
  std::printf("0 -\n");
  repeat(count / at_once, operation);
  mark();
  std::printf("%u %s\n", count, name);
}

// What one stream, one producer and one consumer take turns in: fill, drain, fill, drain; the second ones count.
template <class Fill, class Drain>
void fill_and_drain(const char* fill_name, const char* drain_name, unsigned at_once, Fill fill, Drain drain) {
  repeat(kCount / at_once, fill);
  repeat(kCount / at_once, drain);
  phase(fill_name, kCount, at_once, fill);
  phase(drain_name, kCount, at_once, drain);
}

struct Pair {
  Producer producer;
  Consumer consumer;
};

Pair open(Client& client, const char* name, bool exclusive) {
  must("create", client.create(name, StreamOptions{}));
  ConsumerOptions options;
  options.exclusive = exclusive;
  Consumer consumer = must("open_consumer", client.open_consumer(name, options));
  return {must("open_producer", client.open_producer(name)), std::move(consumer)};
}

void count_cpp(Client& client) {
  const std::array<std::byte, kLength> record{};
  std::array<std::span<const std::byte>, kBatch> batch;
  batch.fill(record);

  for (const bool exclusive : {true, false}) {
    const std::string group = exclusive ? ", exclusive" : ", shared";
    {
      Pair pair = open(client, exclusive ? "one/exclusive" : "one/shared", exclusive);
      const auto send = [&] { must("send", pair.producer.send(record)); };
      const auto loan = [&] {
        Loan lent = must("loan", pair.producer.loan(kLength));
        lent.data()[0] = std::byte{1};
        must("commit", lent.commit());
      };
      const auto receive = [&] {
        View view = must("receive", pair.consumer.receive());
        if (view.data().size() != kLength) end("receive", "a record of another length");
        must("release", view.release());
      };
      if (exclusive)
        fill_and_drain("C++ send", "C++ receive and release, exclusive", 1, send, receive);
      else
        fill_and_drain("C++ loan and commit", "C++ receive and release, shared", 1, loan, receive);
      const auto turn = [&] {
        send();
        receive();
      };
      repeat(kCount, turn);
      phase(("C++ send, then receive it" + group).c_str(), kCount, 1, turn);
      const auto poll = [&] {
        if (pair.consumer.receive(Deadline::now())) end("receive", "a record that nobody sent");
      };
      repeat(kCount, poll);
      phase(("C++ poll of an empty stream" + group).c_str(), kCount, 1, poll);
    }
    {
      Pair pair = open(client, exclusive ? "many/exclusive" : "many/shared", exclusive);
      const auto send = [&] { must("send_many", pair.producer.send_many(batch)); };
      const auto receive = [&] {
        for (std::size_t taken = 0; taken < kBatch;) {
          Views views = must("receive_many", pair.consumer.receive_many(kBatch - taken));
          for (const auto& one : views)
            if (one.data().size() != kLength) end("receive_many", "a record of another length");
          taken += views.size();
          must("release", views.release());
        }
      };
      fill_and_drain(exclusive ? "C++ send_many" : "-", ("C++ receive_many and release" + group).c_str(), kBatch, send, receive);
    }
  }
}

void count_c(bool exclusive) {
  const std::array<std::byte, kLength> record{};
  const char* const name = exclusive ? "c/exclusive" : "c/shared";
  atoll_error error = ATOLL_ERROR_INIT;
  atoll_client* client = nullptr;
  atoll_producer* producer = nullptr;
  atoll_consumer* consumer = nullptr;
  must("atoll_client_connect", atoll_client_connect(nullptr, &client, &error), error);
  atoll_create_options create = ATOLL_CREATE_OPTIONS_INIT;
  must("atoll_client_create", atoll_client_create(client, name, &create, nullptr, &error), error);
  atoll_consumer_options options = ATOLL_CONSUMER_OPTIONS_INIT;
  options.flags = exclusive ? ATOLL_CONSUMER_EXCLUSIVE : 0;
  must("atoll_client_open_consumer", atoll_client_open_consumer(client, name, &options, &consumer, &error), error);
  must("atoll_client_open_producer", atoll_client_open_producer(client, name, nullptr, &producer, &error), error);
  fill_and_drain(
      exclusive ? "C send" : "-", exclusive ? "C receive and release, exclusive" : "C receive and release, shared", 1,
      [&] { must("atoll_producer_send", atoll_producer_send(producer, record.data(), kLength, ATOLL_CONTENT_BYTES, -1, &error), error); },
      [&] {
        atoll_view view;
        must("atoll_consumer_receive", atoll_consumer_receive(consumer, -1, &view, &error), error);
        if (view.length != kLength) end("atoll_consumer_receive", "a record of another length");
        must("atoll_consumer_release", atoll_consumer_release(consumer, &view, &error), error);
      });
  atoll_producer_close(producer);
  atoll_consumer_close(consumer);
  atoll_client_close(client);
}

}  // namespace

int main() {
  Client client = must("connect", Client::connect());
  count_cpp(client);
  count_c(true);
  count_c(false);
  return std::fflush(stdout) == 0 ? 0 : 1;
}
