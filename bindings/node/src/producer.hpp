// A producer as JavaScript holds it, and the functions of lib/producer.js. None of them waits: a full ring
// is ATOLL_TIMED_OUT, and lib/ tries again when the library wakes it. They return a status number; what went
// wrong is told by lastError().
#pragma once

#include <napi.h>

#include <cstdint>
#include <functional>
#include <unordered_map>

#include "atoll/atoll.h"
#include "environment.hpp"

namespace atoll_node {

class Producer final : public Handle {
 public:
  Producer(Environment& environment, atoll_producer* producer) : Handle(environment), producer_(producer) {}
  ~Producer() override { abandon(); }

  std::function<void()> take() override;
  atoll_status set_notify(void (*notify)(void*), void* context, atoll_error* error) override {
    return atoll_producer_set_notify(producer_, notify, context, error);
  }
  atoll_producer* get() const { return producer_; }
  // Loans by the number that JavaScript knows them by.
  std::unordered_map<std::uint32_t, atoll_loan> loans;
  std::uint32_t next_loan = 1;

 private:
  atoll_producer* producer_;
};

void export_producer(napi_env env, napi_value exports);

}  // namespace atoll_node
