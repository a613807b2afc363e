// The C++ interface over the engines: handles that own them and turn codes into errors.
#include "atoll/atoll.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "access_list.hpp"
#include "atoll/protocol/names.hpp"
#include "bytes_engine.hpp"
#include "producer_engine.hpp"
#include "reader_engine.hpp"
#include "session.hpp"

namespace atoll_ipc {
namespace {

using nlohmann::json;

Result<void> check_name(std::string_view name) {
  if (protocol::valid_name(name)) return {};
  return fail(Errc::invalid_name, "'" + std::string(name.substr(0, 200)) + "' is not a valid segment name", std::string(name.substr(0, 128)));
}

Result<void> result_of(Errc code, const ReaderEngine& engine) {
  if (code == Errc::ok) return {};
  return tl::unexpected(engine.detail_error(code));
}

const char* text_of(Backing backing) { return backing == Backing::shm ? "shm" : backing == Backing::file ? "file" : "memfd"; }

Result<json> common_options(Backing backing, const std::string& directory, const std::string& access) {
  json options{{"backing", text_of(backing)}};
  if (!directory.empty()) options["directory"] = directory;
  if (!access.empty()) {
    auto list = parse_access_list(access);
    if (!list) return tl::unexpected(list.error());
    options["access"] = std::move(*list);
  }
  return options;
}

Result<bool> create_with(Session& session, const ConnectOptions& how, std::string_view name, json options) {
  if (auto valid = check_name(name); !valid) return tl::unexpected(valid.error());
  auto reply = session.call(how, "Create", json{{"name", name}, {"options", std::move(options)}});
  if (!reply) return tl::unexpected(reply.error());
  return reply->parameters.value("created", true);
}

ProducerEngine& engine_of(detail::FastProducer* fast) noexcept { return *static_cast<ProducerEngine*>(fast); }
ReaderEngine& engine_of(detail::FastReader* fast) noexcept { return *static_cast<ReaderEngine*>(fast); }

}  // namespace

// ---- Loan ----

Result<void> Loan::settle(bool commit) {
  if (fast_ == nullptr) return fail(Errc::invalid_argument, "this loan was committed or aborted already", {}, 0, "commit or abort a loan once");
  return engine_of(std::exchange(fast_, nullptr)).settle(token_, commit);
}
void Loan::wake() noexcept { engine_of(fast_).wake(); }

// ---- Producer ----

Producer::Producer(std::unique_ptr<ProducerEngine> engine) noexcept : fast_(engine.release()) {}
void Producer::close() noexcept { delete static_cast<ProducerEngine*>(std::exchange(fast_, nullptr)); }
void Producer::wake() noexcept { engine_of(fast_).wake(); }

Result<void> Producer::send_slow(std::span<const std::byte> data, Deadline deadline, Content content) {
  if (fast_ == nullptr) return fail(Errc::closed);
  ProducerEngine& engine = engine_of(fast_);
  const Errc code = engine.send(data.data(), data.size(), static_cast<std::uint16_t>(content), deadline);
  if (code == Errc::ok) return {};
  return tl::unexpected(engine.detail_error(code, data.size()));
}

Result<void> Producer::send_many(std::span<const std::span<const std::byte>> records, Deadline deadline, Content content, std::size_t* sent) {
  if (sent != nullptr) *sent = 0;
  if (fast_ == nullptr) return fail(Errc::closed);
  ProducerEngine& engine = engine_of(fast_);
  std::size_t n = 0;
  const Errc code = engine.send_many(records.size(), n, static_cast<std::uint16_t>(content), deadline, [&](std::size_t i) { return records[i]; });
  if (sent != nullptr) *sent = n;
  if (code == Errc::ok) return {};
  return tl::unexpected(engine.detail_error(code, records[n].size()));
}

Result<Loan> Producer::loan_slow(std::uint64_t length, Deadline deadline, Content content) {
  if (fast_ == nullptr) return fail(Errc::closed);
  auto lent = engine_of(fast_).loan(length, static_cast<std::uint16_t>(content), deadline);
  if (!lent) return tl::unexpected(lent.error());
  return Loan(fast_, {lent->data, static_cast<std::size_t>(length)}, lent->token);
}

Result<void> Producer::finish() { return fast_ ? engine_of(fast_).finish() : fail(Errc::closed); }
Result<int> Producer::event_fd() { return fast_ ? engine_of(fast_).event_fd() : fail(Errc::closed); }
Result<void> Producer::set_notify(void (*notify)(void*), void* context) { return fast_ ? engine_of(fast_).set_notify(notify, context) : fail(Errc::closed); }
Result<ProducerInfo> Producer::info() const { return fast_ ? engine_of(fast_).info() : fail(Errc::closed); }

// ---- View and Views ----

Result<void> View::release_slow(detail::FastReader* fast, std::uint64_t token) {
  if (fast == nullptr) return fail(Errc::view_released);
  return result_of(engine_of(fast).release_slow(token), engine_of(fast));
}
void View::wake(detail::FastReader* fast) noexcept { engine_of(fast).wake_producer(); }
Result<void> View::acknowledge() { return fast_ != nullptr ? result_of(engine_of(fast_).acknowledge(token_), engine_of(fast_)) : fail(Errc::view_released); }
Result<void> View::acknowledge_up_to() { return fast_ != nullptr ? result_of(engine_of(fast_).acknowledge_up_to(token_), engine_of(fast_)) : fail(Errc::view_released); }
Result<void> View::reject() { return fast_ != nullptr ? result_of(engine_of(fast_).reject(token_), engine_of(fast_)) : fail(Errc::view_released); }

Result<void> Views::release_slow(detail::FastReader* fast, std::uint64_t token, std::uint32_t count) {
  if (fast == nullptr) return fail(Errc::view_released);
  return result_of(engine_of(fast).release_run(token, count), engine_of(fast));
}
Result<void> Views::acknowledge() {
  if (fast_ == nullptr) return fail(Errc::view_released);
  return result_of(engine_of(fast_).acknowledge_up_to(token_ + count_ - 1), engine_of(fast_));
}
Result<void> Views::acknowledge(std::size_t index) {
  if (fast_ == nullptr || index >= count_) return fail(Errc::view_released);
  return result_of(engine_of(fast_).acknowledge(token_ + index), engine_of(fast_));
}
Result<void> Views::reject(std::size_t index) {
  if (fast_ == nullptr || index >= count_) return fail(Errc::view_released);
  return result_of(engine_of(fast_).reject(token_ + index), engine_of(fast_));
}

// ---- Consumer and Observer ----

Consumer::Consumer(std::unique_ptr<ReaderEngine> engine) noexcept : fast_(engine.release()) {}
void Consumer::close() noexcept { delete static_cast<ReaderEngine*>(std::exchange(fast_, nullptr)); }

// After next() said no.
Result<View> Consumer::receive_slow(detail::FastReader* fast, Deadline deadline) {
  if (fast == nullptr) return fail(Errc::closed);
  if (fast->watch(deadline.timeout_ns())) {
    const std::uint64_t token = fast->token_;
    if (const detail::Item* const item = fast->next(); item != nullptr) return View(fast, item, token, 0, fast->lane_, fast->deliveries_);
  }
  ReaderEngine& engine = engine_of(fast);
  ReaderEngine::Raw raw;
  std::size_t count = 0;
  if (const Errc code = engine.receive_slow(&raw, 1, count, deadline); code != Errc::ok) return tl::unexpected(engine.detail_error(code, deadline.timeout_ns() != 0));
  return View(fast, engine.item_of(raw.token), raw.token, raw.lost, raw.lane, raw.deliveries);
}

Result<Views> Consumer::receive_many(std::size_t max, Deadline deadline) {
  if (fast_ == nullptr) return fail(Errc::closed);
  Views views;
  if (max == 0) return views;
  ReaderEngine& engine = engine_of(fast_);
  ReaderEngine::Run run;
  if (const Errc code = engine.receive_run(run, max, deadline); code != Errc::ok) return tl::unexpected(engine.detail_error(code, deadline.timeout_ns() != 0));
  views.fast_ = fast_;
  views.items_ = run.items;
  views.token_ = run.token;
  views.lost_ = run.lost;
  views.count_ = run.count;
  views.lane_ = run.lane;
  views.deliveries_ = run.deliveries;
  return views;
}

Result<int> Consumer::event_fd() { return fast_ ? engine_of(fast_).event_fd() : fail(Errc::closed); }
Result<void> Consumer::set_notify(void (*notify)(void*), void* context) { return fast_ ? engine_of(fast_).set_notify(notify, context) : fail(Errc::closed); }
Result<ReaderInfo> Consumer::info() const { return fast_ ? engine_of(fast_).info() : fail(Errc::closed); }

Observer::Observer(std::unique_ptr<ReaderEngine> engine) noexcept : fast_(engine.release()) {}
void Observer::close() noexcept { delete static_cast<ReaderEngine*>(std::exchange(fast_, nullptr)); }

Result<View> Observer::receive(Deadline deadline) {
  if (fast_ == nullptr) return fail(Errc::closed);
  ReaderEngine& engine = engine_of(fast_);
  ReaderEngine::Raw raw;
  std::size_t count = 0;
  const Errc code = engine.receive(&raw, 1, count, deadline);
  if (code == Errc::ok) return View(fast_, engine.item_of(raw.token), raw.token, raw.lost, raw.lane, raw.deliveries);
  return tl::unexpected(engine.detail_error(code, deadline.timeout_ns() != 0));
}
Result<int> Observer::event_fd() { return fast_ ? engine_of(fast_).event_fd() : fail(Errc::closed); }
Result<void> Observer::set_notify(void (*notify)(void*), void* context) { return fast_ ? engine_of(fast_).set_notify(notify, context) : fail(Errc::closed); }
Result<ReaderInfo> Observer::info() const { return fast_ ? engine_of(fast_).info() : fail(Errc::closed); }

// ---- Bytes ----

Bytes::Bytes(std::unique_ptr<BytesEngine> engine) noexcept : engine_(std::move(engine)) {}
Bytes::Bytes(Bytes&&) noexcept = default;
Bytes& Bytes::operator=(Bytes&&) noexcept = default;
Bytes::~Bytes() = default;
void Bytes::close() noexcept { engine_.reset(); }

std::span<const std::byte> Bytes::data() const noexcept { return engine_ ? std::span<const std::byte>(engine_->content()) : std::span<const std::byte>(); }
std::span<std::byte> Bytes::writable() noexcept {
  return engine_ && engine_->mode() != MapMode::read ? engine_->content() : std::span<std::byte>();
}
Result<void> Bytes::read_at(std::uint64_t offset, std::span<std::byte> into) const { return engine_ ? engine_->read_at(offset, into) : fail(Errc::closed); }
Result<void> Bytes::write_at(std::uint64_t offset, std::span<const std::byte> data) { return engine_ ? engine_->write_at(offset, data) : fail(Errc::closed); }
Result<void> Bytes::flush(std::uint64_t offset, std::uint64_t length, bool wait) { return engine_ ? engine_->flush(offset, length, wait) : fail(Errc::closed); }
Result<void> Bytes::put(std::span<const std::byte> data, Deadline deadline) { return engine_ ? engine_->put(data, deadline) : fail(Errc::closed); }

Result<Contents> Bytes::get(std::uint64_t after, Deadline deadline) {
  if (!engine_) return fail(Errc::closed);
  Contents contents;
  auto info = engine_->info();
  if (!info) return tl::unexpected(info.error());
  contents.data.resize(static_cast<std::size_t>(std::min(info->length, info->size)));
  for (;;) {
    auto got = engine_->get(contents.data, after, deadline);
    if (!got && got.error().code() == Errc::too_large && got.error().detail() <= info->size) {
      contents.data.resize(static_cast<std::size_t>(got.error().detail()));
      continue;
    }
    if (!got) return tl::unexpected(got.error());
    contents.data.resize(static_cast<std::size_t>(got->length));
    contents.version = got->version;
    return contents;
  }
}

Result<Contents> Bytes::get_into(std::span<std::byte> into, std::size_t* length, std::uint64_t after, Deadline deadline) {
  if (!engine_) return fail(Errc::closed);
  auto got = engine_->get(into, after, deadline);
  if (!got) return tl::unexpected(got.error());
  if (length != nullptr) *length = static_cast<std::size_t>(got->length);
  Contents contents;
  contents.version = got->version;
  return contents;
}
Result<int> Bytes::event_fd() { return engine_ ? engine_->event_fd() : fail(Errc::closed); }
Result<void> Bytes::set_notify(void (*notify)(void*), void* context) { return engine_ ? engine_->set_notify(notify, context) : fail(Errc::closed); }
Result<BytesInfo> Bytes::info() const { return engine_ ? engine_->info() : fail(Errc::closed); }

// ---- Client ----

Client::Client(std::shared_ptr<Session> session, ConnectOptions options) noexcept : session_(std::move(session)), options_(std::move(options)) {}

Result<Client> Client::connect_from(const ConnectOptions& options, std::uint32_t interface) {
  if (interface != detail::kInterface)
    return fail(Errc::wrong_version, "this program was compiled with version " + std::to_string(interface) + " of libatoll's C++ interface and runs with version " +
                                         std::to_string(detail::kInterface), {}, interface, "compile it again with the headers of the library that is installed");
  auto session = Session::get(options);
  if (!session) return tl::unexpected(session.error());
  return Client(std::move(*session), options);
}

Result<bool> Client::create(std::string_view name, const StreamOptions& stream) {
  auto options = common_options(stream.backing, stream.directory, stream.access);
  if (!options) return tl::unexpected(options.error());
  (*options)["kind"] = "stream";
  if (stream.capacity != 0) (*options)["capacity"] = stream.capacity;
  if (stream.alignment != 0) (*options)["alignment"] = stream.alignment;
  (*options)["when_full"] = stream.when_full == WhenFull::block ? "block" : stream.when_full == WhenFull::drop_new ? "drop-new" : "overwrite";
  return create_with(*session_, options_, name, std::move(*options));
}

Result<bool> Client::create(std::string_view name, const BytesOptions& bytes) {
  auto options = common_options(bytes.backing, bytes.directory, bytes.access);
  if (!options) return tl::unexpected(options.error());
  (*options)["kind"] = "bytes";
  (*options)["size"] = bytes.size;
  if (bytes.put_size) (*options)["put_size"] = *bytes.put_size;
  return create_with(*session_, options_, name, std::move(*options));
}

Result<void> Client::remove(std::string_view name, bool force) {
  if (auto valid = check_name(name); !valid) return valid;
  auto reply = session_->call(options_, "Remove", json{{"name", name}, {"force", force}});
  if (!reply) return tl::unexpected(reply.error());
  return {};
}

Result<Producer> Client::open_producer(std::string_view name, Deadline wait) {
  if (auto valid = check_name(name); !valid) return tl::unexpected(valid.error());
  auto engine = ProducerEngine::open(session_, options_, std::string(name), wait);
  if (!engine) return tl::unexpected(engine.error());
  return Producer(std::move(*engine));
}

Result<Consumer> Client::open_consumer(std::string_view name, const ConsumerOptions& options) {
  if (auto valid = check_name(name); !valid) return tl::unexpected(valid.error());
  if (!protocol::valid_group(options.group))
    return fail(Errc::invalid_name, "'" + options.group.substr(0, 200) + "' is not a valid group name", std::string(name), 0,
                "use 1 to 64 of A-Z a-z 0-9 . _ -, starting with a letter, a digit or _");
  auto engine = ReaderEngine::open_group(session_, options_, std::string(name), options);
  if (!engine) return tl::unexpected(engine.error());
  return Consumer(std::move(*engine));
}

Result<Observer> Client::open_observer(std::string_view name, const ObserverOptions& options) {
  if (auto valid = check_name(name); !valid) return tl::unexpected(valid.error());
  auto engine = ReaderEngine::open_observer(session_, options_, std::string(name), options);
  if (!engine) return tl::unexpected(engine.error());
  return Observer(std::move(*engine));
}

Result<Bytes> Client::open_bytes(std::string_view name, MapMode mode, Deadline wait) {
  if (auto valid = check_name(name); !valid) return tl::unexpected(valid.error());
  auto engine = BytesEngine::open(session_, options_, std::string(name), mode, wait);
  if (!engine) return tl::unexpected(engine.error());
  return Bytes(std::move(*engine));
}

Result<std::string> Client::call(std::string_view method, std::string_view parameters_json) {
  json parameters = json::parse(parameters_json, nullptr, false);
  if (!parameters.is_object()) return fail(Errc::invalid_argument, "the parameters of " + std::string(method) + " are not a JSON object");
  return session_->call_for_text(options_, method, std::move(parameters));
}

}  // namespace atoll_ipc
