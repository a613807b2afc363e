// A consumer or observer as JavaScript holds it, and the functions of lib/reader.js.
//
// One crossing fetches many records onto a *desk*, three ArrayBuffers: their atoll_views into the *ledger*,
// which JavaScript reads sequence numbers from; their payloads into the *slab*, each at an offset that is a
// multiple of 16; offsets and lengths into the *columns*, N words of 32 bits each. (A zero-copy reader has no
// slab: consumerView makes an ArrayBuffer of a view's own memory.) They belong to lib/desk.js, which keeps
// them alive and undetached while they are set here.
#pragma once

#include <napi.h>

#include <cstdint>
#include <deque>
#include <functional>

#include "atoll/atoll.h"
#include "environment.hpp"

namespace atoll_node {

class Consumer final : public Handle {
 public:
  Consumer(Environment& environment, atoll_consumer* consumer) : Handle(environment), consumer_(consumer) {}
  ~Consumer() override { abandon(); }

  std::function<void()> take() override;
  atoll_status set_notify(void (*notify)(void*), void* context, atoll_error* error) override {
    return atoll_consumer_set_notify(consumer_, notify, context, error);
  }
  atoll_consumer* get() const { return consumer_; }

  struct Desk {
    atoll_view* views = nullptr;
    std::uint32_t* offsets = nullptr;
    std::uint32_t* lengths = nullptr;
    std::uint32_t size = 0;
    std::uint32_t used = 0;
    unsigned char* slab = nullptr;
    std::size_t slab_size = 0;
    std::size_t slab_used = 0;
  };

  // Fetches up to `max` records onto what is left of the desk; see consumerFetch.
  std::int32_t fetch(std::uint32_t max, std::int64_t timeout_ns, std::uint32_t mode, atoll_error* error);

  // Forgets what JavaScript wrote into a view: the pages show the lane again. Without this they would stay
  // this process's own, and hide what producers write there later.
  void discard_writes(const atoll_view& view) const;

  Desk desk;
  bool private_views = false;  // payloads are seen in a copy-on-write mapping
  // Received from the library, but the slab was full. First in the next fetch.
  std::deque<atoll_view> left_over;

 private:
  std::int32_t fetch_piece(std::uint32_t max, std::int64_t timeout_ns, std::uint32_t mode, atoll_error* error);

  atoll_consumer* consumer_;
  // What went wrong after some records were fetched: told by the next fetch.
  std::int32_t postponed_ = 0;
  atoll_error postponed_error_ = ATOLL_ERROR_INIT;
};

void export_consumer(napi_env env, napi_value exports);

}  // namespace atoll_node
