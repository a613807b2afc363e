// The addon's entry: what lib/native.js gets. One call of this per JavaScript environment.
#include <napi.h>

#include "atoll/atoll.h"
#include "bytes.hpp"
#include "client.hpp"
#include "consumer.hpp"
#include "environment.hpp"
#include "plain.hpp"
#include "producer.hpp"
#include "values.hpp"

namespace atoll_node {
namespace {

// setListener(function): called with the number of a handle that the library woke
Napi::Value set_listener(const Napi::CallbackInfo& info) {
  Environment::of(info.Env()).set_listener(info[0].As<Napi::Function>());
  return info.Env().Undefined();
}

// hold() and letGo(): whether a wake-up that is awaited keeps the process alive
Napi::Value hold(const Napi::CallbackInfo& info) {
  Environment::of(info.Env()).hold();
  return info.Env().Undefined();
}
Napi::Value let_go(const Napi::CallbackInfo& info) {
  Environment::of(info.Env()).let_go();
  return info.Env().Undefined();
}

// notify(handle, on) -> status: whether from now on the library wakes this handle
napi_value notify(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  auto& handle = handle_of<Handle>(env, arguments[0]);
  bool on = false;
  napi_get_value_bool(env, arguments[1], &on);
  return to_js(env, static_cast<std::int32_t>(handle.set_notify(on ? &Environment::wake : nullptr, handle.wake_context(),
                                                                Environment::of(env).fresh_error())));
}

// lastError() -> {code, message, segment, fix, detail} of the synchronous call that just failed
Napi::Value last_error(const Napi::CallbackInfo& info) {
  return error_object(info.Env(), Environment::of(info.Env()).last_error());
}

// detach(ArrayBuffer)
Napi::Value detach(const Napi::CallbackInfo& info) {
  napi_detach_arraybuffer(info.Env(), info[0]);
  return info.Env().Undefined();
}

// parseJson(text)
Napi::Value parse_json_text(const Napi::CallbackInfo& info) {
  return parse_json(info.Env(), info[0].As<Napi::String>().Utf8Value());
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  Environment::start(env);
  exports.Set("version", Napi::String::New(env, atoll_version()));
  exports.Set("setListener", Napi::Function::New(env, set_listener));
  exports.Set("hold", Napi::Function::New(env, hold));
  exports.Set("letGo", Napi::Function::New(env, let_go));
  export_plain(env, exports, "notify", notify);
  exports.Set("lastError", Napi::Function::New(env, last_error));
  exports.Set("detach", Napi::Function::New(env, detach));
  exports.Set("parseJson", Napi::Function::New(env, parse_json_text));
  exports.Set("closeHandle", Napi::Function::New(env, close_handle));
  export_client(env, exports);
  export_producer(env, exports);
  export_consumer(env, exports);
  export_bytes(env, exports);
  return exports;
}

}  // namespace
}  // namespace atoll_node

static Napi::Object atoll_node_init(Napi::Env env, Napi::Object exports) { return atoll_node::init(env, exports); }
NODE_API_MODULE(atoll, atoll_node_init)
