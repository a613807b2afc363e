// The C interface: the same engines, with statuses for results. No C++ type or exception crosses it.
#include "atoll/atoll.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "atoll/atoll.hpp"
#include "bytes_engine.hpp"
#include "copy_bytes.hpp"
#include "producer_engine.hpp"
#include "reader_engine.hpp"
#include "session.hpp"

namespace ai = atoll_ipc;
using ai::Deadline;
using ai::Errc;
using ai::Error;

static_assert(sizeof(atoll_view) == sizeof(ai::detail::RawView) && offsetof(atoll_view, token) == offsetof(ai::detail::RawView, token) &&
              offsetof(atoll_view, lane) == offsetof(ai::detail::RawView, lane) && offsetof(atoll_view, lost) == offsetof(ai::detail::RawView, lost));

struct atoll_client {
  ai::Client client;
  bool interruptible;
};
struct atoll_producer {
  std::unique_ptr<ai::ProducerEngine> engine;
};
struct atoll_consumer {
  std::unique_ptr<ai::ReaderEngine> engine;
};
struct atoll_bytes {
  std::unique_ptr<ai::BytesEngine> engine;
};

// The engines behind a client's handles: the C interface holds them itself, since a handle there has
// no C++ wrapper to go through on every call.
namespace atoll_ipc {
struct EngineAccess {
  static std::shared_ptr<Session>& session(Client& client) { return client.session_; }
  static std::unique_ptr<ProducerEngine> take(Producer& producer) { return std::unique_ptr<ProducerEngine>(static_cast<ProducerEngine*>(std::exchange(producer.fast_, nullptr))); }
  static std::unique_ptr<ReaderEngine> take(Consumer& consumer) { return std::unique_ptr<ReaderEngine>(static_cast<ReaderEngine*>(std::exchange(consumer.fast_, nullptr))); }
  static std::unique_ptr<ReaderEngine> take(Observer& observer) { return std::unique_ptr<ReaderEngine>(static_cast<ReaderEngine*>(std::exchange(observer.fast_, nullptr))); }
  static std::unique_ptr<BytesEngine> take(Bytes& bytes) { return std::move(bytes.engine_); }
};
}  // namespace atoll_ipc

namespace {

void copy_text(char* to, std::size_t size, std::string_view text) {
  std::size_t n = std::min(text.size(), size - 1);
  // Not in the middle of a UTF-8 sequence.
  while (n < text.size() && n > 0 && (static_cast<unsigned char>(text[n]) & 0xc0) == 0x80) --n;
  atoll_ipc::copy_bytes(to, text.data(), n);
  to[n] = '\0';
}

atoll_status report(const Error& problem, atoll_error* error) {
  if (error != nullptr && error->struct_size >= sizeof(atoll_error)) {
    error->code = static_cast<int32_t>(problem.code());
    error->detail = problem.detail();
    copy_text(error->message, sizeof error->message, problem.message());
    copy_text(error->segment, sizeof error->segment, problem.segment());
    copy_text(error->fix, sizeof error->fix, problem.fix());
  }
  return static_cast<atoll_status>(problem.code());
}

atoll_status null_argument(const char* what, atoll_error* error) {
  return report(Error(Errc::invalid_argument, std::string(what) + " is NULL"), error);
}

// Runs `body`, which returns an atoll_status; memory running out becomes a status.
template <class Body>
atoll_status guarded(atoll_error* error, Body&& body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return report(Error(Errc::no_space), error);
  } catch (const std::exception& exception) {
    try {
      return report(Error(Errc::system_error, exception.what()), error);
    } catch (...) {
      return ATOLL_SYSTEM_ERROR;
    }
  } catch (...) {
    return ATOLL_SYSTEM_ERROR;
  }
}

// The caller's options, as far as they go, over the defaults.
template <class Options>
Options read_options(const Options* given, const Options& defaults) {
  Options options = defaults;
  if (given != nullptr) {
    const std::size_t size = std::min<std::size_t>(given->struct_size, sizeof(Options));
    std::memcpy(&options, given, size);
    options.struct_size = sizeof(Options);
  }
  return options;
}
template <class Info>
atoll_status write_info(Info full, Info* out) {
  const std::uint32_t size = out->struct_size;
  full.struct_size = size;
  std::memcpy(out, &full, std::min<std::size_t>(size, sizeof(Info)));
  return ATOLL_OK;
}

template <class T>
atoll_status status_of(const ai::Result<T>& result, atoll_error* error) {
  return result ? ATOLL_OK : report(result.error(), error);
}

atoll_status reader_status(Errc code, const ai::ReaderEngine& engine, atoll_error* error, bool waited = false) {
  if (code == Errc::ok) [[likely]]
    return ATOLL_OK;
  return guarded(error, [&] { return report(engine.detail_error(code, waited), error); });
}

}  // namespace

extern "C" {

const char* atoll_status_name(int32_t status) {
  if (status == 0) return "ok";
  for (const auto& text : ai::protocol::kErrorTexts)
    if (static_cast<int32_t>(text.code) == status) return text.name;
  return "unknown";
}

const char* atoll_version(void) { return ATOLL_VERSION; }

// ---- Client ----

atoll_status atoll_client_connect(const atoll_connect_options* given, atoll_client** out, atoll_error* error) {
  return guarded(error, [&] {
    if (out == nullptr) return null_argument("out", error);
    const atoll_connect_options in = read_options(given, atoll_connect_options ATOLL_CONNECT_OPTIONS_INIT);
    ai::ConnectOptions options;
    if (in.socket_path != nullptr) options.socket_path = in.socket_path;
    if (in.atolld_path != nullptr) options.atolld_path = in.atolld_path;
    options.language = in.language != nullptr ? in.language : "C";
    options.start_broker = (in.flags & ATOLL_CONNECT_NO_START) == 0;
    options.interruptible = (in.flags & ATOLL_CONNECT_INTERRUPTIBLE) != 0;
    options.timeout = std::chrono::nanoseconds(in.timeout_ns);
    auto client = ai::Client::connect(options);
    if (!client) return report(client.error(), error);
    *out = new atoll_client{std::move(*client), options.interruptible};
    return ATOLL_OK;
  });
}

void atoll_client_close(atoll_client* client) { delete client; }

atoll_status atoll_client_call(atoll_client* client, const char* method, const char* parameters_json, char** reply_json, atoll_error* error) {
  return guarded(error, [&] {
    if (client == nullptr) return null_argument("client", error);
    if (method == nullptr || reply_json == nullptr) return null_argument("method or reply_json", error);
    auto reply = client->client.call(method, parameters_json != nullptr ? parameters_json : "{}");
    if (!reply) return report(reply.error(), error);
    char* text = static_cast<char*>(std::malloc(reply->size() + 1));
    if (text == nullptr) throw std::bad_alloc();
    std::memcpy(text, reply->c_str(), reply->size() + 1);
    *reply_json = text;
    return ATOLL_OK;
  });
}

void atoll_string_free(char* string) { std::free(string); }

atoll_status atoll_client_create(atoll_client* client, const char* name, const atoll_create_options* given, int* created, atoll_error* error) {
  return guarded(error, [&] {
    if (client == nullptr) return null_argument("client", error);
    if (name == nullptr) return null_argument("name", error);
    const atoll_create_options in = read_options(given, atoll_create_options ATOLL_CREATE_OPTIONS_INIT);
    if (in.backing > ATOLL_BACKING_MEMFD || in.when_full > ATOLL_OVERWRITE || (in.kind != 0 && in.kind != ATOLL_KIND_STREAM && in.kind != ATOLL_KIND_BYTES))
      return report(Error(Errc::invalid_argument, "kind, backing or when_full is not one of its values", name), error);
    ai::Result<bool> made = false;
    if (in.kind == ATOLL_KIND_BYTES) {
      ai::BytesOptions options;
      options.size = in.size;
      if (in.put_size > 0) options.put_size = static_cast<std::uint64_t>(in.put_size);
      if (in.put_size < 0) options.put_size = 0;
      options.backing = static_cast<ai::Backing>(in.backing);
      if (in.directory != nullptr) options.directory = in.directory;
      if (in.access != nullptr) options.access = in.access;
      made = client->client.create(name, options);
    } else {
      ai::StreamOptions options;
      if (in.capacity != 0) options.capacity = in.capacity;
      if (in.alignment != 0) options.alignment = in.alignment;
      options.when_full = static_cast<ai::WhenFull>(in.when_full);
      options.backing = static_cast<ai::Backing>(in.backing);
      if (in.directory != nullptr) options.directory = in.directory;
      if (in.access != nullptr) options.access = in.access;
      made = client->client.create(name, options);
    }
    if (!made) return report(made.error(), error);
    if (created != nullptr) *created = *made ? 1 : 0;
    return ATOLL_OK;
  });
}

atoll_status atoll_client_remove(atoll_client* client, const char* name, int force, atoll_error* error) {
  return guarded(error, [&] {
    if (client == nullptr) return null_argument("client", error);
    if (name == nullptr) return null_argument("name", error);
    return status_of(client->client.remove(name, force != 0), error);
  });
}

// ---- Producer ----

atoll_status atoll_client_open_producer(atoll_client* client, const char* name, const atoll_producer_options* given, atoll_producer** out, atoll_error* error) {
  return guarded(error, [&] {
    if (client == nullptr) return null_argument("client", error);
    if (name == nullptr || out == nullptr) return null_argument("name or out", error);
    const atoll_producer_options in = read_options(given, atoll_producer_options ATOLL_PRODUCER_OPTIONS_INIT);
    auto producer = client->client.open_producer(name, Deadline::from_timeout_ns(in.wait_ns));
    if (!producer) return report(producer.error(), error);
    *out = new atoll_producer{ai::EngineAccess::take(*producer)};
    return ATOLL_OK;
  });
}

void atoll_producer_close(atoll_producer* producer) { delete producer; }

// What is done for every record stands first in its function and calls nothing; the rest is in one of its own, so that
// it costs no stack frame.
[[gnu::noinline]] static atoll_status send_slowly(atoll_producer* producer, const void* data, uint64_t length, std::uint16_t content, int64_t timeout_ns,
                                                  atoll_error* error) noexcept {
  return guarded(error, [&] {
    const Errc code = producer->engine->send(data, length, content, Deadline::from_timeout_ns(timeout_ns));
    return code == Errc::ok ? ATOLL_OK : report(producer->engine->detail_error(code, length), error);
  });
}

atoll_status atoll_producer_send(atoll_producer* producer, const void* data, uint64_t length, uint32_t content, int64_t timeout_ns, atoll_error* error) {
  if (producer == nullptr) [[unlikely]]
    return null_argument("producer", error);
  ai::ProducerEngine& engine = *producer->engine;
  const auto type = static_cast<std::uint16_t>(content & ai::protocol::kContentMask);
  if (!engine.store_fast(data, length, type)) [[unlikely]]
    return send_slowly(producer, data, length, type, timeout_ns, error);
  engine.flush();
  return ATOLL_OK;
}

atoll_status atoll_producer_send_many(atoll_producer* producer, const atoll_slice* slices, size_t count, uint32_t content, int64_t timeout_ns, size_t* sent,
                                      atoll_error* error) {
  if (sent == nullptr) return null_argument("sent", error);
  *sent = 0;
  if (producer == nullptr) return null_argument("producer", error);
  return guarded(error, [&] {
    std::size_t n = 0;
    const Errc code = producer->engine->send_many(count, n, static_cast<std::uint16_t>(content & ai::protocol::kContentMask), Deadline::from_timeout_ns(timeout_ns),
                                                  [&](std::size_t i) { return std::span(static_cast<const std::byte*>(slices[i].data), slices[i].length); });
    *sent = n;
    if (code == Errc::ok) return ATOLL_OK;
    return report(producer->engine->detail_error(code, slices[n].length), error);
  });
}

atoll_status atoll_producer_loan(atoll_producer* producer, uint64_t length, uint32_t content, int64_t timeout_ns, atoll_loan* out, atoll_error* error) {
  if (producer == nullptr || out == nullptr) return null_argument("producer or out", error);
  return guarded(error, [&] {
    auto lent = producer->engine->loan(length, static_cast<std::uint16_t>(content & ai::protocol::kContentMask), Deadline::from_timeout_ns(timeout_ns));
    if (!lent) return report(lent.error(), error);
    *out = {lent->data, length, lent->token};
    return ATOLL_OK;
  });
}

static atoll_status settle(atoll_producer* producer, const atoll_loan* loan, bool commit, atoll_error* error) {
  if (producer == nullptr || loan == nullptr) return null_argument("producer or loan", error);
  return guarded(error, [&] { return status_of(producer->engine->settle(loan->token, commit), error); });
}
atoll_status atoll_producer_commit(atoll_producer* producer, const atoll_loan* loan, atoll_error* error) { return settle(producer, loan, true, error); }
atoll_status atoll_producer_abort(atoll_producer* producer, const atoll_loan* loan, atoll_error* error) { return settle(producer, loan, false, error); }

atoll_status atoll_producer_finish(atoll_producer* producer, atoll_error* error) {
  if (producer == nullptr) return null_argument("producer", error);
  return guarded(error, [&] { return status_of(producer->engine->finish(), error); });
}

atoll_status atoll_producer_get_info(atoll_producer* producer, atoll_producer_info* info, atoll_error* error) {
  if (producer == nullptr || info == nullptr) return null_argument("producer or info", error);
  return guarded(error, [&] {
    const auto now = producer->engine->info();
    if (!now) return report(now.error(), error);
    return write_info(atoll_producer_info{0, now->lane, now->capacity, now->max_payload, now->sequence, now->dropped, now->blocked, now->alignment,
                                          static_cast<uint32_t>(now->when_full)},
                      info);
  });
}

// ---- Consumer and observer ----

static ai::Start start_of(uint32_t start) { return start == ATOLL_START_LATEST ? ai::Start::latest : start == ATOLL_START_BACK ? ai::Start::back : ai::Start::earliest; }

atoll_status atoll_client_open_consumer(atoll_client* client, const char* name, const atoll_consumer_options* given, atoll_consumer** out, atoll_error* error) {
  return guarded(error, [&] {
    if (client == nullptr) return null_argument("client", error);
    if (name == nullptr || out == nullptr) return null_argument("name or out", error);
    const atoll_consumer_options in = read_options(given, atoll_consumer_options ATOLL_CONSUMER_OPTIONS_INIT);
    if (in.start > ATOLL_START_BACK) return report(Error(Errc::invalid_argument, "start is not one of its values", name), error);
    ai::ConsumerOptions options;
    if (in.group != nullptr) options.group = in.group;
    options.manual = (in.flags & ATOLL_CONSUMER_MANUAL) != 0;
    options.exclusive = (in.flags & ATOLL_CONSUMER_EXCLUSIVE) != 0;
    options.ephemeral = (in.flags & ATOLL_CONSUMER_EPHEMERAL) != 0;
    options.spin = (in.flags & ATOLL_CONSUMER_SPIN) != 0;
    options.private_views = (in.flags & ATOLL_CONSUMER_PRIVATE_VIEWS) != 0;
    options.start = start_of(in.start);
    options.back = in.start_back;
    options.prefetch = in.prefetch;
    options.wait = Deadline::from_timeout_ns(in.wait_ns);
    auto consumer = client->client.open_consumer(name, options);
    if (!consumer) return report(consumer.error(), error);
    *out = new atoll_consumer{ai::EngineAccess::take(*consumer)};
    return ATOLL_OK;
  });
}

atoll_status atoll_client_open_observer(atoll_client* client, const char* name, const atoll_consumer_options* given, atoll_consumer** out, atoll_error* error) {
  return guarded(error, [&] {
    if (client == nullptr) return null_argument("client", error);
    if (name == nullptr || out == nullptr) return null_argument("name or out", error);
    const atoll_consumer_options in = read_options(given, atoll_consumer_options ATOLL_CONSUMER_OPTIONS_INIT);
    if (in.start > ATOLL_START_BACK) return report(Error(Errc::invalid_argument, "start is not one of its values", name), error);
    auto observer = client->client.open_observer(name, {start_of(in.start), in.start_back, Deadline::from_timeout_ns(in.wait_ns)});
    if (!observer) return report(observer.error(), error);
    *out = new atoll_consumer{ai::EngineAccess::take(*observer)};
    return ATOLL_OK;
  });
}

void atoll_consumer_close(atoll_consumer* consumer) { delete consumer; }

atoll_status atoll_consumer_receive_many(atoll_consumer* consumer, int64_t timeout_ns, atoll_view* out, size_t max, size_t* count, atoll_error* error) {
  if (count == nullptr) return null_argument("count", error);
  *count = 0;
  if (consumer == nullptr || out == nullptr) return null_argument("consumer or out", error);
  return guarded(error, [&] {
    std::size_t n = 0;
    const Errc code = consumer->engine->receive(reinterpret_cast<ai::detail::RawView*>(out), max, n, Deadline::from_timeout_ns(timeout_ns));
    *count = n;
    return reader_status(code, *consumer->engine, error, timeout_ns != 0);
  });
}

[[gnu::noinline]] static atoll_status receive_slowly(atoll_consumer* consumer, int64_t timeout_ns, atoll_view* out, atoll_error* error) noexcept {
  size_t count = 0;
  return atoll_consumer_receive_many(consumer, timeout_ns, out, 1, &count, error);
}

atoll_status atoll_consumer_receive(atoll_consumer* consumer, int64_t timeout_ns, atoll_view* out, atoll_error* error) {
  if (consumer != nullptr && out != nullptr && consumer->engine->take(*reinterpret_cast<ai::detail::RawView*>(out))) [[likely]]
    return ATOLL_OK;
  return receive_slowly(consumer, timeout_ns, out, error);
}

[[gnu::noinline]] static atoll_status release_slowly(atoll_consumer* consumer, const atoll_view* view, atoll_error* error) noexcept {
  if (consumer == nullptr || view == nullptr) return null_argument("consumer or view", error);
  return guarded(error, [&] { return reader_status(consumer->engine->release(view->token), *consumer->engine, error); });
}

atoll_status atoll_consumer_release(atoll_consumer* consumer, const atoll_view* view, atoll_error* error) {
  if (consumer != nullptr && view != nullptr && consumer->engine->release_at_once(view->token)) [[likely]]
    return ATOLL_OK;
  return release_slowly(consumer, view, error);
}

atoll_status atoll_consumer_release_many(atoll_consumer* consumer, const atoll_view* views, size_t count, atoll_error* error) {
  if (consumer == nullptr || (views == nullptr && count > 0)) return null_argument("consumer or views", error);
  return guarded(error, [&] {
    for (size_t i = 0; i < count;) {
      // Views that follow each other in one batch (the token's upper bits) are released as one.
      const std::uint64_t token = views[i].token;
      std::uint32_t n = 1;
      while (i + n < count && views[i + n].token == token + n && (token + n) >> 6 == token >> 6) ++n;
      if (const Errc code = consumer->engine->release_run(token, n); code != Errc::ok) return reader_status(code, *consumer->engine, error);
      i += n;
    }
    return ATOLL_OK;
  });
}

atoll_status atoll_consumer_acknowledge(atoll_consumer* consumer, const atoll_view* view, atoll_error* error) {
  if (consumer == nullptr || view == nullptr) return null_argument("consumer or view", error);
  return guarded(error, [&] { return reader_status(consumer->engine->acknowledge(view->token), *consumer->engine, error); });
}
atoll_status atoll_consumer_acknowledge_up_to(atoll_consumer* consumer, const atoll_view* view, atoll_error* error) {
  if (consumer == nullptr || view == nullptr) return null_argument("consumer or view", error);
  return guarded(error, [&] { return reader_status(consumer->engine->acknowledge_up_to(view->token), *consumer->engine, error); });
}
atoll_status atoll_consumer_reject(atoll_consumer* consumer, const atoll_view* view, atoll_error* error) {
  if (consumer == nullptr || view == nullptr) return null_argument("consumer or view", error);
  return guarded(error, [&] { return reader_status(consumer->engine->reject(view->token), *consumer->engine, error); });
}

atoll_status atoll_consumer_get_info(atoll_consumer* consumer, atoll_consumer_info* info, atoll_error* error) {
  if (consumer == nullptr || info == nullptr) return null_argument("consumer or info", error);
  return guarded(error, [&] {
    const auto now = consumer->engine->info();
    if (!now) return report(now.error(), error);
    return write_info(atoll_consumer_info{0, now->alignment, now->received, now->lost, now->outstanding, now->lanes, now->copies ? 1u : 0u}, info);
  });
}

// ---- Bytes ----

atoll_status atoll_client_open_bytes(atoll_client* client, const char* name, const atoll_bytes_options* given, atoll_bytes** out, atoll_error* error) {
  return guarded(error, [&] {
    if (client == nullptr) return null_argument("client", error);
    if (name == nullptr || out == nullptr) return null_argument("name or out", error);
    const atoll_bytes_options in = read_options(given, atoll_bytes_options ATOLL_BYTES_OPTIONS_INIT);
    if (in.mode > ATOLL_MAP_COPY) return report(Error(Errc::invalid_argument, "mode is not one of its values", name), error);
    auto bytes = client->client.open_bytes(name, static_cast<ai::MapMode>(in.mode), Deadline::from_timeout_ns(in.wait_ns));
    if (!bytes) return report(bytes.error(), error);
    *out = new atoll_bytes{ai::EngineAccess::take(*bytes)};
    return ATOLL_OK;
  });
}

void atoll_bytes_close(atoll_bytes* bytes) { delete bytes; }
void* atoll_bytes_data(atoll_bytes* bytes) { return bytes != nullptr ? bytes->engine->content().data() : nullptr; }
uint64_t atoll_bytes_size(const atoll_bytes* bytes) { return bytes != nullptr ? bytes->engine->content().size() : 0; }

atoll_status atoll_bytes_read_at(atoll_bytes* bytes, uint64_t offset, void* data, uint64_t length, atoll_error* error) {
  if (bytes == nullptr || (data == nullptr && length > 0)) return null_argument("bytes or data", error);
  return guarded(error, [&] { return status_of(bytes->engine->read_at(offset, {static_cast<std::byte*>(data), static_cast<std::size_t>(length)}), error); });
}
atoll_status atoll_bytes_write_at(atoll_bytes* bytes, uint64_t offset, const void* data, uint64_t length, atoll_error* error) {
  if (bytes == nullptr || (data == nullptr && length > 0)) return null_argument("bytes or data", error);
  return guarded(error, [&] { return status_of(bytes->engine->write_at(offset, {static_cast<const std::byte*>(data), static_cast<std::size_t>(length)}), error); });
}
atoll_status atoll_bytes_flush(atoll_bytes* bytes, uint64_t offset, uint64_t length, int wait, atoll_error* error) {
  if (bytes == nullptr) return null_argument("bytes", error);
  return guarded(error, [&] { return status_of(bytes->engine->flush(offset, length, wait != 0), error); });
}
atoll_status atoll_bytes_put(atoll_bytes* bytes, const void* data, uint64_t length, int64_t timeout_ns, atoll_error* error) {
  if (bytes == nullptr || (data == nullptr && length > 0)) return null_argument("bytes or data", error);
  return guarded(error, [&] {
    return status_of(bytes->engine->put({static_cast<const std::byte*>(data), static_cast<std::size_t>(length)}, Deadline::from_timeout_ns(timeout_ns)), error);
  });
}
atoll_status atoll_bytes_get(atoll_bytes* bytes, uint64_t after, int64_t timeout_ns, void* buffer, uint64_t capacity, uint64_t* length, uint64_t* version,
                             atoll_error* error) {
  if (bytes == nullptr || (buffer == nullptr && capacity > 0)) return null_argument("bytes or buffer", error);
  return guarded(error, [&] {
    auto got = bytes->engine->get({static_cast<std::byte*>(buffer), static_cast<std::size_t>(capacity)}, after, Deadline::from_timeout_ns(timeout_ns));
    if (!got) return report(got.error(), error);
    if (length != nullptr) *length = got->length;
    if (version != nullptr) *version = got->version;
    return ATOLL_OK;
  });
}
atoll_status atoll_bytes_get_info(atoll_bytes* bytes, atoll_bytes_info* info, atoll_error* error) {
  if (bytes == nullptr || info == nullptr) return null_argument("bytes or info", error);
  return guarded(error, [&] {
    const auto now = bytes->engine->info();
    if (!now) return report(now.error(), error);
    return write_info(atoll_bytes_info{0, static_cast<uint32_t>(now->mode), now->size, now->put_size, now->length, now->version}, info);
  });
}

// ---- Event loops ----

#define ATOLL_EVENTS(noun)                                                                                       \
  atoll_status atoll_##noun##_event_fd(atoll_##noun* handle, int* fd, atoll_error* error) {                      \
    if (handle == nullptr || fd == nullptr) return null_argument(#noun " or fd", error);                         \
    return guarded(error, [&] {                                                                                  \
      auto made = handle->engine->event_fd();                                                                    \
      if (!made) return report(made.error(), error);                                                             \
      *fd = *made;                                                                                               \
      return ATOLL_OK;                                                                                           \
    });                                                                                                          \
  }                                                                                                              \
  atoll_status atoll_##noun##_set_notify(atoll_##noun* handle, void (*notify)(void*), void* context, atoll_error* error) { \
    if (handle == nullptr) return null_argument(#noun, error);                                                   \
    return guarded(error, [&] { return status_of(handle->engine->set_notify(notify, context), error); });        \
  }

ATOLL_EVENTS(consumer)
ATOLL_EVENTS(producer)
ATOLL_EVENTS(bytes)

}  // extern "C"
