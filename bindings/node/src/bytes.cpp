// See bytes.hpp.
#include "bytes.hpp"

#include <cstdint>
#include <utility>

#include "plain.hpp"
#include "values.hpp"

namespace atoll_node {

std::function<void()> Bytes::take() {
  atoll_bytes* bytes = std::exchange(bytes_, nullptr);
  if (bytes == nullptr) return {};
  return [bytes, wake = wake_] {
    atoll_bytes_set_notify(bytes, nullptr, nullptr, nullptr);
    atoll_bytes_close(bytes);
  };
}

namespace {

Napi::Value status_value(Napi::Env env, std::int32_t status) { return Napi::Number::New(env, status); }

Bytes* bytes_of(const Napi::CallbackInfo& info, atoll_error* error) {
  auto& bytes = handle_of<Bytes>(info.Env(), info[0]);
  if (bytes.get() != nullptr) return &bytes;
  error->code = ATOLL_CLOSED;
  return nullptr;
}

// bytesTransfer(handle, offset, bytes, write) -> status: readAt and writeAt
Napi::Value transfer(const Napi::CallbackInfo& info) {
  atoll_error* error = Environment::of(info.Env()).fresh_error();
  const Bytes* bytes = bytes_of(info, error);
  if (bytes == nullptr) return status_value(info.Env(), ATOLL_CLOSED);
  std::uint64_t offset = 0;
  const void* data = nullptr;
  std::size_t length = 0;
  if (!read_unsigned(info.Env(), info[1], &offset) || !read_bytes(info.Env(), info[2], &data, &length)) {
    return status_value(info.Env(), kNotBytes);
  }
  return status_value(info.Env(), info[3].As<Napi::Boolean>().Value()
                                      ? atoll_bytes_write_at(bytes->get(), offset, data, length, error)
                                      : atoll_bytes_read_at(bytes->get(), offset, const_cast<void*>(data), length, error));
}

// bytesPut(handle, bytes) -> status
Napi::Value put(const Napi::CallbackInfo& info) {
  atoll_error* error = Environment::of(info.Env()).fresh_error();
  const Bytes* bytes = bytes_of(info, error);
  if (bytes == nullptr) return status_value(info.Env(), ATOLL_CLOSED);
  const void* data = nullptr;
  std::size_t length = 0;
  if (!read_bytes(info.Env(), info[1], &data, &length)) return status_value(info.Env(), kNotBytes);
  return status_value(info.Env(), atoll_bytes_put(bytes->get(), data, length, 0, error));
}

// bytesGet(handle, after, bytes) -> [length, version], or a status
Napi::Value get(const Napi::CallbackInfo& info) {
  atoll_error* error = Environment::of(info.Env()).fresh_error();
  const Bytes* bytes = bytes_of(info, error);
  if (bytes == nullptr) return status_value(info.Env(), ATOLL_CLOSED);
  std::uint64_t after = 0;
  const void* data = nullptr;
  std::size_t capacity = 0;
  if (!read_unsigned(info.Env(), info[1], &after) || !read_bytes(info.Env(), info[2], &data, &capacity)) {
    return status_value(info.Env(), kNotBytes);
  }
  std::uint64_t length = 0;
  std::uint64_t version = 0;
  const atoll_status status =
      atoll_bytes_get(bytes->get(), after, 0, const_cast<void*>(data), capacity, &length, &version, error);
  if (status != ATOLL_OK) return status_value(info.Env(), status);
  Napi::Array pair = Napi::Array::New(info.Env(), 2);
  pair.Set(0u, Napi::Number::New(info.Env(), static_cast<double>(length)));
  pair.Set(1u, Napi::BigInt::New(info.Env(), version));
  return pair;
}

// bytesMemory(handle) -> ArrayBuffer over the mapping, or a status
Napi::Value memory(const Napi::CallbackInfo& info) {
  atoll_error* error = Environment::of(info.Env()).fresh_error();
  const Bytes* bytes = bytes_of(info, error);
  if (bytes == nullptr) return status_value(info.Env(), ATOLL_CLOSED);
  napi_value buffer = nullptr;
  const napi_status made =
      napi_create_external_arraybuffer(info.Env(), atoll_bytes_data(bytes->get()), atoll_bytes_size(bytes->get()),
                                       [](napi_env, void*, void*) {}, nullptr, &buffer);
  if (made != napi_ok) {
    error->code = ATOLL_NOT_SUPPORTED;
    return status_value(info.Env(), ATOLL_NOT_SUPPORTED);
  }
  return Napi::Value(info.Env(), buffer);
}

struct Nothing {};

// bytesFlush(handle, offset, length, wait) -> Promise. Runs on another thread, as it waits for the disk; lib/
// keeps put, get, and close from running meanwhile.
Napi::Value flush(const Napi::CallbackInfo& info) {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  read_unsigned(info.Env(), info[1], &offset);
  read_unsigned(info.Env(), info[2], &length);
  atoll_bytes* bytes = handle_of<Bytes>(info.Env(), info[0]).get();
  return Task<Nothing>::start(
      info.Env(),
      [bytes, offset, length, wait = info[3].As<Napi::Boolean>().Value()](Nothing&, atoll_error* error) {
        return atoll_bytes_flush(bytes, offset, length, wait ? 1 : 0, error);
      },
      [](Napi::Env env, Nothing&) { return env.Undefined(); });
}

// bytesInfo(handle) -> object, or a status
Napi::Value get_info(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  atoll_error* error = Environment::of(env).fresh_error();
  const Bytes* bytes = bytes_of(info, error);
  if (bytes == nullptr) return status_value(env, ATOLL_CLOSED);
  atoll_bytes_info raw{};
  raw.struct_size = sizeof raw;
  const atoll_status status = atoll_bytes_get_info(bytes->get(), &raw, error);
  if (status != ATOLL_OK) return status_value(env, status);
  Napi::Object object = Napi::Object::New(env);
  object.Set("mode", Napi::Number::New(env, raw.mode));
  object.Set("size", Napi::Number::New(env, static_cast<double>(raw.size)));
  object.Set("putSize", Napi::Number::New(env, static_cast<double>(raw.put_size)));
  object.Set("length", Napi::Number::New(env, static_cast<double>(raw.length)));
  object.Set("version", Napi::BigInt::New(env, raw.version));
  return object;
}

}  // namespace

void export_bytes(Napi::Env env, Napi::Object exports) {
  exports.Set("bytesTransfer", Napi::Function::New(env, transfer));
  exports.Set("bytesPut", Napi::Function::New(env, put));
  exports.Set("bytesGet", Napi::Function::New(env, get));
  exports.Set("bytesMemory", Napi::Function::New(env, memory));
  exports.Set("bytesFlush", Napi::Function::New(env, flush));
  exports.Set("bytesInfo", Napi::Function::New(env, get_info));
}

}  // namespace atoll_node
