// See consumer.hpp.
#include "consumer.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "plain.hpp"
#include "values.hpp"

namespace atoll_node {

// lib/desk.js reads the ledger by these places.
static_assert(sizeof(atoll_view) == 48, "the Node package needs a 64-bit machine");
static_assert(offsetof(atoll_view, length) == 8 && offsetof(atoll_view, sequence) == 16 && offsetof(atoll_view, lost) == 24);
static_assert(offsetof(atoll_view, lane) == 32 && offsetof(atoll_view, content) == 34 && offsetof(atoll_view, deliveries) == 36);

namespace {

constexpr std::size_t kAlignment = 16;  // of payloads in a slab: any TypedArray can lie on one

// Bits of fetch's mode; lib/reader.js has the same.
constexpr std::uint32_t kCopy = 1;     // copy payloads into the slab
constexpr std::uint32_t kRelease = 2;  // and release the views at once
constexpr std::uint32_t kRewind = 4;   // what lies on the desk is not in use any more: start anew

// Records that are released at once are fetched in pieces: their views stay in the cache between the library and
// the copy, and the producer gets its room back sooner.
constexpr std::uint32_t kPiece = 64;

constexpr std::size_t padded(std::uint64_t length) {
  return (static_cast<std::size_t>(length) + kAlignment - 1) & ~(kAlignment - 1);
}

}  // namespace

std::function<void()> Consumer::take() {
  atoll_consumer* consumer = std::exchange(consumer_, nullptr);
  if (consumer == nullptr) return {};
  desk = {};
  left_over.clear();
  return [consumer, wake = wake_] {
    atoll_consumer_set_notify(consumer, nullptr, nullptr, nullptr);
    atoll_consumer_close(consumer);
  };
}

void Consumer::discard_writes(const atoll_view& view) const {
  if (!private_views || view.length == 0) return;
  static const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto data = reinterpret_cast<std::uintptr_t>(view.data);
  const std::uintptr_t begin = data & ~(page - 1);
  const std::uintptr_t end = (data + view.length + page - 1) & ~(page - 1);
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::int32_t Consumer::fetch(std::uint32_t max, std::int64_t timeout_ns, std::uint32_t mode, atoll_error* error) {
  if ((mode & kRewind) != 0) desk.used = 0, desk.slab_used = 0;
  if (postponed_ != 0) {
    *error = postponed_error_;
    return std::exchange(postponed_, 0);
  }
  if ((mode & kRelease) == 0) return fetch_piece(max, timeout_ns, mode, error);
  std::uint32_t total = 0;
  for (;;) {
    const std::uint32_t piece = std::min(max - total, kPiece);
    const std::int32_t n = fetch_piece(piece, total == 0 ? timeout_ns : 0, mode, error);
    if (n < 0 && total == 0) return n;
    if (n < 0) {
      if (n != -std::int32_t{ATOLL_TIMED_OUT} && n != -kNeedsRoom) {
        postponed_ = n;
        postponed_error_ = *error;
      }
      return static_cast<std::int32_t>(total);
    }
    total += static_cast<std::uint32_t>(n);
    if (total == max || static_cast<std::uint32_t>(n) < piece) return static_cast<std::int32_t>(total);
  }
}

std::int32_t Consumer::fetch_piece(std::uint32_t max, std::int64_t timeout_ns, std::uint32_t mode, atoll_error* error) {
  max = std::min(max, desk.size - desk.used);
  atoll_view* const views = desk.views + desk.used;
  std::size_t count = std::min<std::size_t>(max, left_over.size());
  const bool again = count != 0;
  if (again) {
    std::copy_n(left_over.begin(), count, views);
  } else {
    const atoll_status status = atoll_consumer_receive_many(consumer_, timeout_ns, views, max, &count, error);
    if (status != ATOLL_OK) return -static_cast<std::int32_t>(status);
  }

  std::uint32_t* const offsets = desk.offsets + desk.used;
  std::uint32_t* const lengths = desk.lengths + desk.used;
  std::size_t taken = 0;
  if ((mode & kCopy) != 0) {
    std::size_t used = desk.slab_used;
    for (; taken < count; ++taken) {
      const atoll_view& view = views[taken];
      if (view.length > desk.slab_size - used) break;
      offsets[taken] = static_cast<std::uint32_t>(used);
      lengths[taken] = static_cast<std::uint32_t>(view.length);
      std::memcpy(desk.slab + used, view.data, view.length);
      used = std::min(desk.slab_size, used + padded(view.length));
    }
    desk.slab_used = used;
  } else {
    for (; taken < count; ++taken) lengths[taken] = static_cast<std::uint32_t>(views[taken].length);
  }
  if (again) {
    left_over.erase(left_over.begin(), left_over.begin() + static_cast<std::ptrdiff_t>(taken));
  } else if (taken < count) {
    left_over.assign(views + taken, views + count);
  }
  if (taken == 0) return -kNeedsRoom;
  if ((mode & kRelease) != 0) {
    const atoll_status status = atoll_consumer_release_many(consumer_, views, taken, error);
    if (status != ATOLL_OK) return -static_cast<std::int32_t>(status);
  }
  desk.used += static_cast<std::uint32_t>(taken);
  return static_cast<std::int32_t>(taken);
}

namespace {

Consumer* consumer_of(napi_env env, napi_value external, atoll_error* error) {
  auto& consumer = handle_of<Consumer>(env, external);
  if (consumer.get() != nullptr) return &consumer;
  error->code = ATOLL_CLOSED;
  return nullptr;
}

// The memory of an ArrayBuffer; nothing if it is none.
template <class T>
std::size_t memory_of(napi_env env, napi_value buffer, T** data) {
  void* memory = nullptr;
  std::size_t length = 0;
  if (napi_get_arraybuffer_info(env, buffer, &memory, &length) != napi_ok) return 0;
  *data = static_cast<T*>(memory);
  return length / sizeof(T);
}

// consumerSetDesk(handle, ledger, columns, slab or undefined, used): the slab is empty, of the rest `used` records
// are not
napi_value set_desk(napi_env env, napi_callback_info info) {
  const Arguments<5> arguments(env, info);
  auto& consumer = handle_of<Consumer>(env, arguments[0]);
  Consumer::Desk desk;
  const std::size_t size = std::min(memory_of(env, arguments[1], &desk.views), memory_of(env, arguments[2], &desk.offsets) / 2);
  desk.lengths = desk.offsets + size;
  desk.size = static_cast<std::uint32_t>(size);
  desk.used = std::min(desk.size, to_uint(env, arguments[4]));
  desk.slab_size = memory_of(env, arguments[3], &desk.slab);
  consumer.desk = desk;
  return nullptr;
}

// consumerNeeds(handle) -> bytes of the record that did not fit
napi_value needs(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  const auto& consumer = handle_of<Consumer>(env, arguments[0]);
  napi_value value = nullptr;
  napi_create_double(env, consumer.left_over.empty() ? 0 : static_cast<double>(consumer.left_over.front().length), &value);
  return value;
}

// consumerFetch(handle, max, mode, releaseFrom, releaseCount) -> number of records, or -status. Releases a
// run of the ledger first, so that a loop of fetches crosses once a batch.
napi_value fetch(napi_env env, napi_callback_info info) {
  const Arguments<5> arguments(env, info);
  atoll_error* error = Environment::of(env).fresh_error();
  Consumer* consumer = consumer_of(env, arguments[0], error);
  if (consumer == nullptr) return to_js(env, -std::int32_t{ATOLL_CLOSED});
  const std::uint32_t from = to_uint(env, arguments[3]);
  const std::uint32_t count = to_uint(env, arguments[4]);
  if (count != 0) {
    const atoll_status status = atoll_consumer_release_many(consumer->get(), consumer->desk.views + from, count, error);
    if (status != ATOLL_OK) return to_js(env, -static_cast<std::int32_t>(status));
  }
  return to_js(env, consumer->fetch(to_uint(env, arguments[1]), 0, to_uint(env, arguments[2]), error));
}

// consumerFetchBlocking(handle, max, mode, timeoutMs) -> as consumerFetch; blocks the thread
napi_value fetch_blocking(napi_env env, napi_callback_info info) {
  const Arguments<4> arguments(env, info);
  atoll_error* error = Environment::of(env).fresh_error();
  Consumer* consumer = consumer_of(env, arguments[0], error);
  if (consumer == nullptr) return to_js(env, -std::int32_t{ATOLL_CLOSED});
  double timeout = 0;
  napi_get_value_double(env, arguments[3], &timeout);
  return to_js(env, consumer->fetch(to_uint(env, arguments[1]), nanoseconds(timeout), to_uint(env, arguments[2]), error));
}

// consumerRelease(handle, from, count) -> status: of the desk that is set
napi_value release(napi_env env, napi_callback_info info) {
  const Arguments<3> arguments(env, info);
  atoll_error* error = Environment::of(env).fresh_error();
  const Consumer* consumer = consumer_of(env, arguments[0], error);
  if (consumer == nullptr) return to_js(env, std::int32_t{ATOLL_CLOSED});
  return to_js(env, static_cast<std::int32_t>(atoll_consumer_release_many(
                        consumer->get(), consumer->desk.views + to_uint(env, arguments[1]), to_uint(env, arguments[2]), error)));
}

// consumerSettle(handle, ledger, index, how, count) -> status: `count` records from `index` on, up to the first
// that fails. how: 0 release, 1 acknowledge, 2 acknowledge up to, 3 reject
napi_value settle(napi_env env, napi_callback_info info) {
  const Arguments<5> arguments(env, info);
  atoll_error* error = Environment::of(env).fresh_error();
  const Consumer* consumer = consumer_of(env, arguments[0], error);
  if (consumer == nullptr) return to_js(env, std::int32_t{ATOLL_CLOSED});
  const atoll_view* view = nullptr;
  memory_of(env, arguments[1], &view);
  view += to_uint(env, arguments[2]);
  static constexpr decltype(&atoll_consumer_release) kWays[] = {atoll_consumer_release, atoll_consumer_acknowledge,
                                                                atoll_consumer_acknowledge_up_to, atoll_consumer_reject};
  const std::uint32_t how = to_uint(env, arguments[3]) & 3;
  atoll_status status = ATOLL_OK;
  for (std::uint32_t left = to_uint(env, arguments[4]); left > 0 && status == ATOLL_OK; --left, ++view) {
    if (how == 0) consumer->discard_writes(*view);
    status = kWays[how](consumer->get(), view, error);
  }
  return to_js(env, static_cast<std::int32_t>(status));
}

// consumerPrivateViews(handle): the consumer was opened with them
napi_value set_private_views(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  auto& consumer = handle_of<Consumer>(env, arguments[0]);
  atoll_consumer_info about{};
  about.struct_size = sizeof about;
  consumer.private_views = atoll_consumer_get_info(consumer.get(), &about, nullptr) == ATOLL_OK && about.copies == 0;
  return nullptr;
}

// consumerView(handle, ledger, index) -> ArrayBuffer over the payload in place, or a status
napi_value view_in_place(napi_env env, napi_callback_info info) {
  const Arguments<3> arguments(env, info);
  atoll_error* error = Environment::of(env).fresh_error();
  if (consumer_of(env, arguments[0], error) == nullptr) return to_js(env, std::int32_t{ATOLL_CLOSED});
  const atoll_view* views = nullptr;
  memory_of(env, arguments[1], &views);
  const atoll_view& view = views[to_uint(env, arguments[2])];
  napi_value buffer = nullptr;
  void* ignored = nullptr;
  const napi_status made = view.length == 0
                               ? napi_create_arraybuffer(env, 0, &ignored, &buffer)
                               : napi_create_external_arraybuffer(env, const_cast<void*>(view.data), view.length,
                                                                  [](napi_env, void*, void*) {}, nullptr, &buffer);
  if (made == napi_ok) return buffer;
  error->code = ATOLL_NOT_SUPPORTED;
  std::strncpy(error->message, "this JavaScript engine refuses memory of others as an ArrayBuffer", sizeof error->message - 1);
  std::strncpy(error->fix, "open the consumer without zeroCopy", sizeof error->fix - 1);
  return to_js(env, std::int32_t{ATOLL_NOT_SUPPORTED});
}

// consumerInfo(handle) -> object, or a status
Napi::Value get_info(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  atoll_error* error = Environment::of(env).fresh_error();
  const Consumer* consumer = consumer_of(env, info[0], error);
  if (consumer == nullptr) return Napi::Number::New(env, ATOLL_CLOSED);
  atoll_consumer_info raw{};
  raw.struct_size = sizeof raw;
  const atoll_status status = atoll_consumer_get_info(consumer->get(), &raw, error);
  if (status != ATOLL_OK) return Napi::Number::New(env, status);
  Napi::Object object = Napi::Object::New(env);
  object.Set("alignment", Napi::Number::New(env, raw.alignment));
  object.Set("received", Napi::BigInt::New(env, raw.received));
  object.Set("lost", Napi::BigInt::New(env, raw.lost));
  object.Set("outstanding", Napi::BigInt::New(env, raw.outstanding));
  object.Set("lanes", Napi::Number::New(env, raw.lanes));
  object.Set("copies", Napi::Boolean::New(env, raw.copies != 0));
  return object;
}

}  // namespace

void export_consumer(napi_env env, napi_value exports) {
  export_plain(env, exports, "consumerSetDesk", set_desk);
  export_plain(env, exports, "consumerNeeds", needs);
  export_plain(env, exports, "consumerFetch", fetch);
  export_plain(env, exports, "consumerFetchBlocking", fetch_blocking);
  export_plain(env, exports, "consumerRelease", release);
  export_plain(env, exports, "consumerSettle", settle);
  export_plain(env, exports, "consumerPrivateViews", set_private_views);
  export_plain(env, exports, "consumerView", view_in_place);
  Napi::Object(env, exports).Set("consumerInfo", Napi::Function::New(env, get_info));
}

}  // namespace atoll_node
