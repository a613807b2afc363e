// See client.hpp.
#include "client.hpp"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "atoll/atoll.h"
#include "bytes.hpp"
#include "consumer.hpp"
#include "environment.hpp"
#include "producer.hpp"
#include "values.hpp"

namespace atoll_node {
namespace {

// Shared by the JavaScript object and the work under way: the last one closes the connection.
using SharedClient = std::shared_ptr<atoll_client>;

SharedClient client_of(const Napi::Value& value) { return *value.As<Napi::External<SharedClient>>().Data(); }

const char* or_null(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }

// A C handle on its way from the working thread to JavaScript: closed if it does not arrive.
template <class T, void (*Close)(T*)>
struct Opened {
  T* handle = nullptr;
  Opened() = default;
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;
  ~Opened() { Close(handle); }
  T* take() { return std::exchange(handle, nullptr); }
};

// connect({socket, atolld, start, timeoutMs}) -> Promise of a client
Napi::Value connect(const Napi::CallbackInfo& info) {
  const auto given = info[0].As<Napi::Object>();
  using Result = Opened<atoll_client, atoll_client_close>;
  return Task<Result>::start(
      info.Env(),
      [socket = string_option(given, "socket"), atolld = string_option(given, "atolld"),
       start = number_option(given, "start", 1), timeout = number_option(given, "timeoutMs", 0)](Result& result, atoll_error* error) {
        atoll_connect_options options = ATOLL_CONNECT_OPTIONS_INIT;
        options.flags = start != 0 ? 0 : ATOLL_CONNECT_NO_START;
        options.socket_path = or_null(socket);
        options.atolld_path = or_null(atolld);
        options.language = "Node";
        options.timeout_ns = nanoseconds(timeout);
        return atoll_client_connect(&options, &result.handle, error);
      },
      [](Napi::Env env, Result& result) -> Napi::Value {
        return Napi::External<SharedClient>::New(env, new SharedClient(result.take(), atoll_client_close),
                                                 [](Napi::Env, SharedClient* client) { delete client; });
      });
}

// disconnect(client): the connection ends with the last work that uses it.
Napi::Value disconnect(const Napi::CallbackInfo& info) {
  info[0].As<Napi::External<SharedClient>>().Data()->reset();
  return info.Env().Undefined();
}

// call(client, method, parametersJson) -> Promise of the reply's parameters
Napi::Value call(const Napi::CallbackInfo& info) {
  return Task<std::string>::start(
      info.Env(),
      [client = client_of(info[0]), method = info[1].As<Napi::String>().Utf8Value(),
       parameters = info[2].As<Napi::String>().Utf8Value()](std::string& reply, atoll_error* error) {
        char* text = nullptr;
        const atoll_status status = atoll_client_call(client.get(), method.c_str(), parameters.c_str(), &text, error);
        if (status == ATOLL_OK) reply = text;
        atoll_string_free(text);
        return status;
      },
      [](Napi::Env env, std::string& reply) { return parse_json(env, reply); });
}

// create(client, name, {kind, backing, whenFull, capacity, alignment, size, putSize, directory, access})
Napi::Value create(const Napi::CallbackInfo& info) {
  const auto given = info[2].As<Napi::Object>();
  atoll_create_options options = ATOLL_CREATE_OPTIONS_INIT;
  options.kind = static_cast<std::uint32_t>(number_option(given, "kind", 0));
  options.backing = static_cast<std::uint32_t>(number_option(given, "backing", 0));
  options.when_full = static_cast<std::uint32_t>(number_option(given, "whenFull", 0));
  options.alignment = static_cast<std::uint32_t>(number_option(given, "alignment", 0));
  options.capacity = unsigned_option(given, "capacity");
  options.size = unsigned_option(given, "size");
  options.put_size = static_cast<std::int64_t>(number_option(given, "putSize", 0));
  return Task<bool>::start(
      info.Env(),
      [client = client_of(info[0]), name = info[1].As<Napi::String>().Utf8Value(), options,
       directory = string_option(given, "directory"), access = string_option(given, "access")](bool& made, atoll_error* error) mutable {
        options.directory = or_null(directory);
        options.access = or_null(access);
        int created = 0;
        const atoll_status status = atoll_client_create(client.get(), name.c_str(), &options, &created, error);
        made = created != 0;
        return status;
      },
      [](Napi::Env env, bool& made) { return Napi::Boolean::New(env, made); });
}

// remove(client, name, force)
Napi::Value remove(const Napi::CallbackInfo& info) {
  return Task<bool>::start(
      info.Env(),
      [client = client_of(info[0]), name = info[1].As<Napi::String>().Utf8Value(),
       force = info[2].As<Napi::Boolean>().Value()](bool&, atoll_error* error) {
        return atoll_client_remove(client.get(), name.c_str(), force ? 1 : 0, error);
      },
      [](Napi::Env env, bool&) { return env.Undefined(); });
}

// [External, its number] as lib/ wants an opened handle.
template <class HandleType, class C>
Napi::Value opened_handle(Napi::Env env, C* c_handle) {
  auto handle = std::make_unique<HandleType>(Environment::of(env), c_handle);
  Napi::Array pair = Napi::Array::New(env, 2);
  pair.Set(1u, Napi::Number::New(env, handle->id()));
  pair.Set(0u, Napi::Value(env, to_external(env, std::move(handle))));
  return pair;
}

// openProducer(client, name, waitMs)
Napi::Value open_producer(const Napi::CallbackInfo& info) {
  using Result = Opened<atoll_producer, atoll_producer_close>;
  return Task<Result>::start(
      info.Env(),
      [client = client_of(info[0]), name = info[1].As<Napi::String>().Utf8Value(),
       wait = info[2].As<Napi::Number>().DoubleValue()](Result& result, atoll_error* error) {
        atoll_producer_options options = ATOLL_PRODUCER_OPTIONS_INIT;
        options.wait_ns = nanoseconds(wait);
        return atoll_client_open_producer(client.get(), name.c_str(), &options, &result.handle, error);
      },
      [](Napi::Env env, Result& result) { return opened_handle<Producer>(env, result.take()); });
}

// openConsumer(client, name, {observer, group, flags, start, back, prefetch, waitMs})
Napi::Value open_consumer(const Napi::CallbackInfo& info) {
  const auto given = info[2].As<Napi::Object>();
  atoll_consumer_options options = ATOLL_CONSUMER_OPTIONS_INIT;
  options.flags = static_cast<std::uint32_t>(number_option(given, "flags", 0));
  options.start = static_cast<std::uint32_t>(number_option(given, "start", 0));
  options.prefetch = static_cast<std::uint32_t>(number_option(given, "prefetch", 0));
  options.start_back = unsigned_option(given, "back");
  options.wait_ns = nanoseconds(number_option(given, "waitMs", 0));
  using Result = Opened<atoll_consumer, atoll_consumer_close>;
  return Task<Result>::start(
      info.Env(),
      [client = client_of(info[0]), name = info[1].As<Napi::String>().Utf8Value(), options,
       group = given.Get("group").IsUndefined() ? std::optional<std::string>() : string_option(given, "group"), observer = number_option(given, "observer", 0) != 0](
          Result& result, atoll_error* error) mutable {
        options.group = group ? group->c_str() : nullptr;
        return (observer ? atoll_client_open_observer : atoll_client_open_consumer)(client.get(), name.c_str(), &options,
                                                                                    &result.handle, error);
      },
      [](Napi::Env env, Result& result) { return opened_handle<Consumer>(env, result.take()); });
}

// openBytes(client, name, mode, waitMs)
Napi::Value open_bytes(const Napi::CallbackInfo& info) {
  using Result = Opened<atoll_bytes, atoll_bytes_close>;
  return Task<Result>::start(
      info.Env(),
      [client = client_of(info[0]), name = info[1].As<Napi::String>().Utf8Value(),
       mode = info[2].As<Napi::Number>().Uint32Value(), wait = info[3].As<Napi::Number>().DoubleValue()](
          Result& result, atoll_error* error) {
        atoll_bytes_options options = ATOLL_BYTES_OPTIONS_INIT;
        options.mode = mode;
        options.wait_ns = nanoseconds(wait);
        return atoll_client_open_bytes(client.get(), name.c_str(), &options, &result.handle, error);
      },
      [](Napi::Env env, Result& result) { return opened_handle<Bytes>(env, result.take()); });
}

}  // namespace

void export_client(Napi::Env env, Napi::Object exports) {
  exports.Set("connect", Napi::Function::New(env, connect));
  exports.Set("disconnect", Napi::Function::New(env, disconnect));
  exports.Set("call", Napi::Function::New(env, call));
  exports.Set("create", Napi::Function::New(env, create));
  exports.Set("remove", Napi::Function::New(env, remove));
  exports.Set("openProducer", Napi::Function::New(env, open_producer));
  exports.Set("openConsumer", Napi::Function::New(env, open_consumer));
  exports.Set("openBytes", Napi::Function::New(env, open_bytes));
}

}  // namespace atoll_node
