// A bytes segment as JavaScript holds it, and the functions of lib/bytes.js. put and get try once; lib/
// tries again when the library wakes it.
#pragma once

#include <napi.h>

#include <functional>

#include "atoll/atoll.h"
#include "environment.hpp"

namespace atoll_node {

class Bytes final : public Handle {
 public:
  Bytes(Environment& environment, atoll_bytes* bytes) : Handle(environment), bytes_(bytes) {}
  ~Bytes() override { abandon(); }

  std::function<void()> take() override;
  atoll_status set_notify(void (*notify)(void*), void* context, atoll_error* error) override {
    return atoll_bytes_set_notify(bytes_, notify, context, error);
  }
  atoll_bytes* get() const { return bytes_; }

 private:
  atoll_bytes* bytes_;
};

void export_bytes(Napi::Env env, Napi::Object exports);

}  // namespace atoll_node
