// The hot functions take Node-API's plain C calls: a C++ wrapper per argument costs as much as a send.
#pragma once

#include <node_api.h>

#include <cstddef>
#include <cstdint>

namespace atoll_node {

// What a function returns besides the numbers of atoll_status.
inline constexpr int kNotBytes = 1000;   // the argument is no kind of bytes
inline constexpr int kNeedsRoom = 1001;  // the next record needs a larger slab: see consumerNeeds

template <std::size_t N>
struct Arguments {
  napi_value value[N];
  Arguments(napi_env env, napi_callback_info info) {
    std::size_t count = N;
    napi_get_cb_info(env, info, &count, value, nullptr, nullptr);  // missing ones are undefined
  }
  napi_value operator[](std::size_t i) const { return value[i]; }
};

inline napi_value to_js(napi_env env, std::int32_t number) {
  napi_value value = nullptr;
  napi_create_int32(env, number, &value);
  return value;
}
inline napi_value to_js(napi_env env, std::uint32_t number) {
  napi_value value = nullptr;
  napi_create_uint32(env, number, &value);
  return value;
}
inline std::uint32_t to_uint(napi_env env, napi_value value) {
  std::uint32_t number = 0;
  napi_get_value_uint32(env, value, &number);
  return number;
}

inline void export_plain(napi_env env, napi_value exports, const char* name, napi_callback function) {
  napi_value value = nullptr;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value);
  napi_set_named_property(env, exports, name, value);
}

}  // namespace atoll_node
