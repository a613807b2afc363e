// A consumer or observer as JavaScript holds it, and the functions of lib/reader.js.
//
// One crossing fetches many records. Their atoll_views go into a *ledger*, an ArrayBuffer that JavaScript
// reads sequence numbers from: N views of 48 bytes, then N 32-bit offsets, so 52 N bytes. Their payloads are
// copied into a *slab*, another ArrayBuffer, each at its offset, a multiple of 16. (A zero-copy reader has no
// slab: consumerView makes an ArrayBuffer of a view's own memory.) Both belong to lib/, which keeps them
// alive and undetached while they are set here.
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

  struct Ledger {
    atoll_view* views = nullptr;
    std::uint32_t* offsets = nullptr;
    std::uint32_t size = 0;
    std::uint32_t used = 0;
  };
  struct Slab {
    unsigned char* data = nullptr;
    std::size_t size = 0;
    std::size_t used = 0;
  };

  // Fetches up to `max` records into what is left of the ledger and the slab; see consumerFetch.
  std::int32_t fetch(std::uint32_t max, std::int64_t timeout_ns, std::uint32_t mode, atoll_error* error);

  // Forgets what JavaScript wrote into a view: the pages show the lane again. Without this they would stay
  // this process's own, and hide what producers write there later.
  void discard_writes(const atoll_view& view) const;

  Ledger ledger;
  Slab slab;
  bool private_views = false;  // payloads are seen in a copy-on-write mapping
  // Received from the library, but the slab was full. First in the next fetch.
  std::deque<atoll_view> left_over;

 private:
  atoll_consumer* consumer_;
};

void export_consumer(napi_env env, napi_value exports);

}  // namespace atoll_node
