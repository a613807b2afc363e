// See producer.hpp.
#include "producer.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "plain.hpp"
#include "values.hpp"

namespace atoll_node {

std::function<void()> Producer::take() {
  atoll_producer* producer = std::exchange(producer_, nullptr);
  if (producer == nullptr) return {};
  loans.clear();
  return [producer, wake = wake_] {
    atoll_producer_set_notify(producer, nullptr, nullptr, nullptr);
    atoll_producer_close(producer);
  };
}

namespace {

constexpr std::size_t kShortText = 4096;

// The producer of argument 0, or null with last_error() set.
Producer* producer_of(napi_env env, napi_value external, atoll_error* error) {
  auto& producer = handle_of<Producer>(env, external);
  if (producer.get() != nullptr) return &producer;
  error->code = ATOLL_CLOSED;
  return nullptr;
}

// producerSendView(handle, TypedArray or DataView) -> undefined if it was stored, else a status. The shortest way
// from JavaScript into the ring: each call of Node-API counts here. lib/ has checked that it is a view.
napi_value send_view(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  const auto& producer = handle_of<Producer>(env, arguments[0]);
  void* data = nullptr;
  std::size_t length = 0;
  napi_get_buffer_info(env, arguments[1], &data, &length);
  atoll_error* error = producer.environment().fresh_error();
  const atoll_status status = atoll_producer_send(producer.get(), data, length, ATOLL_CONTENT_BYTES, 0, error);
  if (status == ATOLL_OK) [[likely]]
    return nullptr;
  return to_js(env, static_cast<std::int32_t>(producer.get() != nullptr ? status : ATOLL_CLOSED));
}

// producerSend(handle, bytes, content) -> status
napi_value send(napi_env env, napi_callback_info info) {
  const Arguments<3> arguments(env, info);
  atoll_error* error = Environment::of(env).fresh_error();
  const Producer* producer = producer_of(env, arguments[0], error);
  if (producer == nullptr) return to_js(env, std::int32_t{ATOLL_CLOSED});
  const void* data = nullptr;
  std::size_t length = 0;
  if (!read_bytes(env, arguments[1], &data, &length)) return to_js(env, kNotBytes);
  return to_js(env, static_cast<std::int32_t>(
                        atoll_producer_send(producer->get(), data, length, to_uint(env, arguments[2]), 0, error)));
}

// producerSendText(handle, string, content) -> status
napi_value send_text(napi_env env, napi_callback_info info) {
  const Arguments<3> arguments(env, info);
  atoll_error* error = Environment::of(env).fresh_error();
  const Producer* producer = producer_of(env, arguments[0], error);
  if (producer == nullptr) return to_js(env, std::int32_t{ATOLL_CLOSED});
  std::array<char, kShortText> text;
  std::unique_ptr<char[]> longer;
  char* data = text.data();
  std::size_t length = 0;
  if (napi_get_value_string_utf8(env, arguments[1], data, text.size(), &length) != napi_ok) return to_js(env, kNotBytes);
  if (length + 4 >= text.size()) {  // it may have been cut, before a character that did not fit
    napi_get_value_string_utf8(env, arguments[1], nullptr, 0, &length);
    longer = std::make_unique_for_overwrite<char[]>(length + 1);
    data = longer.get();
    napi_get_value_string_utf8(env, arguments[1], data, length + 1, &length);
  }
  return to_js(env, static_cast<std::int32_t>(
                        atoll_producer_send(producer->get(), data, length, to_uint(env, arguments[2]), 0, error)));
}

// producerSendTwo(handle, head, body, content) -> status: one record of two parts
napi_value send_two(napi_env env, napi_callback_info info) {
  const Arguments<4> arguments(env, info);
  atoll_error* error = Environment::of(env).fresh_error();
  const Producer* producer = producer_of(env, arguments[0], error);
  if (producer == nullptr) return to_js(env, std::int32_t{ATOLL_CLOSED});
  const void* head = nullptr;
  const void* body = nullptr;
  std::size_t head_length = 0;
  std::size_t body_length = 0;
  if (!read_bytes(env, arguments[1], &head, &head_length) || !read_bytes(env, arguments[2], &body, &body_length)) {
    return to_js(env, kNotBytes);
  }
  atoll_loan loan;
  atoll_status status =
      atoll_producer_loan(producer->get(), head_length + body_length, to_uint(env, arguments[3]), 0, &loan, error);
  if (status == ATOLL_OK) {
    if (head_length != 0) std::memcpy(loan.data, head, head_length);
    if (body_length != 0) std::memcpy(static_cast<char*>(loan.data) + head_length, body, body_length);
    status = atoll_producer_commit(producer->get(), &loan, error);
  }
  return to_js(env, static_cast<std::int32_t>(status));
}

// producerSendMany(handle, content, record, record, ...) -> how many were stored or dropped; the status is
// lastError()'s code. The records are arguments, at most kMostRecords, because taking them out of an array
// costs more than sending them. Only bytes: lib/ makes them of strings.
napi_value send_many(napi_env env, napi_callback_info info) {
  constexpr std::size_t kMostRecords = 512;  // lib/producer.js has the same
  std::array<napi_value, 2 + kMostRecords> arguments;
  std::size_t given = arguments.size();
  napi_get_cb_info(env, info, &given, arguments.data(), nullptr, nullptr);
  const std::size_t count = std::min(given, arguments.size()) - 2;
  atoll_error* error = Environment::of(env).fresh_error();
  const Producer* producer = producer_of(env, arguments[0], error);
  if (producer == nullptr) return to_js(env, std::uint32_t{0});

  std::array<atoll_slice, kMostRecords> slices;
  std::size_t ready = 0;
  for (; ready < count; ++ready) {
    std::size_t length = 0;
    if (!read_bytes(env, arguments[2 + ready], &slices[ready].data, &length)) break;
    slices[ready].length = length;
  }
  std::size_t sent = 0;
  atoll_status status = ATOLL_OK;
  if (ready != 0) {
    status = atoll_producer_send_many(producer->get(), slices.data(), ready, to_uint(env, arguments[1]), 0, &sent, error);
  }
  error->code = status != ATOLL_OK ? static_cast<std::int32_t>(status) : ready < count ? kNotBytes : 0;
  return to_js(env, static_cast<std::uint32_t>(sent));
}

// producerLoan(handle, length, content) -> [number, ArrayBuffer] over the lane's memory, or a status
napi_value loan(napi_env env, napi_callback_info info) {
  const Arguments<3> arguments(env, info);
  atoll_error* error = Environment::of(env).fresh_error();
  Producer* producer = producer_of(env, arguments[0], error);
  if (producer == nullptr) return to_js(env, std::int32_t{ATOLL_CLOSED});
  std::uint64_t length = 0;
  if (!read_unsigned(env, arguments[1], &length)) return to_js(env, kNotBytes);
  atoll_loan loan;
  const atoll_status status = atoll_producer_loan(producer->get(), length, to_uint(env, arguments[2]), 0, &loan, error);
  if (status != ATOLL_OK) return to_js(env, static_cast<std::int32_t>(status));
  napi_value buffer = nullptr;
  void* ignored = nullptr;
  const napi_status made =
      length == 0 ? napi_create_arraybuffer(env, 0, &ignored, &buffer)
                  : napi_create_external_arraybuffer(env, loan.data, length, [](napi_env, void*, void*) {}, nullptr, &buffer);
  if (made != napi_ok) {
    atoll_producer_abort(producer->get(), &loan, nullptr);
    error->code = ATOLL_NOT_SUPPORTED;
    std::strncpy(error->message, "this JavaScript engine refuses memory of others as an ArrayBuffer", sizeof error->message - 1);
    std::strncpy(error->fix, "use send", sizeof error->fix - 1);
    return to_js(env, std::int32_t{ATOLL_NOT_SUPPORTED});
  }
  const std::uint32_t number = producer->next_loan++;
  producer->loans.emplace(number, loan);
  napi_value pair = nullptr;
  napi_create_array_with_length(env, 2, &pair);
  napi_set_element(env, pair, 0, to_js(env, number));
  napi_set_element(env, pair, 1, buffer);
  return pair;
}

// producerEndLoan(handle, number, ArrayBuffer, commit) -> status. The ArrayBuffer is detached in any case.
napi_value end_loan(napi_env env, napi_callback_info info) {
  const Arguments<4> arguments(env, info);
  atoll_error* error = Environment::of(env).fresh_error();
  napi_detach_arraybuffer(env, arguments[2]);
  Producer* producer = producer_of(env, arguments[0], error);
  if (producer == nullptr) return to_js(env, std::int32_t{ATOLL_CLOSED});
  const auto found = producer->loans.find(to_uint(env, arguments[1]));
  if (found == producer->loans.end()) return to_js(env, std::int32_t{ATOLL_INVALID_ARGUMENT});
  const atoll_loan loan = found->second;
  producer->loans.erase(found);
  bool commit = false;
  napi_get_value_bool(env, arguments[3], &commit);
  return to_js(env, static_cast<std::int32_t>((commit ? atoll_producer_commit : atoll_producer_abort)(producer->get(), &loan, error)));
}

// producerFinish(handle) -> status
napi_value finish(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  atoll_error* error = Environment::of(env).fresh_error();
  const Producer* producer = producer_of(env, arguments[0], error);
  if (producer == nullptr) return to_js(env, std::int32_t{ATOLL_CLOSED});
  return to_js(env, static_cast<std::int32_t>(atoll_producer_finish(producer->get(), error)));
}

// producerInfo(handle) -> object, or a status
Napi::Value get_info(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  atoll_error* error = Environment::of(env).fresh_error();
  const Producer* producer = producer_of(env, info[0], error);
  if (producer == nullptr) return Napi::Number::New(env, ATOLL_CLOSED);
  atoll_producer_info raw{};
  raw.struct_size = sizeof raw;
  const atoll_status status = atoll_producer_get_info(producer->get(), &raw, error);
  if (status != ATOLL_OK) return Napi::Number::New(env, status);
  Napi::Object object = Napi::Object::New(env);
  object.Set("lane", Napi::Number::New(env, raw.lane));
  object.Set("capacity", Napi::Number::New(env, static_cast<double>(raw.capacity)));
  object.Set("maxPayload", Napi::Number::New(env, static_cast<double>(raw.max_payload)));
  object.Set("sequence", Napi::BigInt::New(env, raw.sequence));
  object.Set("dropped", Napi::BigInt::New(env, raw.dropped));
  object.Set("blocked", Napi::BigInt::New(env, raw.blocked));
  object.Set("alignment", Napi::Number::New(env, raw.alignment));
  object.Set("whenFull", Napi::Number::New(env, raw.when_full));
  return object;
}

}  // namespace

void export_producer(napi_env env, napi_value exports) {
  export_plain(env, exports, "producerSend", send);
  export_plain(env, exports, "producerSendView", send_view);
  export_plain(env, exports, "producerSendText", send_text);
  export_plain(env, exports, "producerSendTwo", send_two);
  export_plain(env, exports, "producerSendMany", send_many);
  export_plain(env, exports, "producerLoan", loan);
  export_plain(env, exports, "producerEndLoan", end_loan);
  export_plain(env, exports, "producerFinish", finish);
  Napi::Object(env, exports).Set("producerInfo", Napi::Function::New(env, get_info));
}

}  // namespace atoll_node
