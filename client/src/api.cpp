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

Result<bool> create_with(Session& session, std::string_view name, json options) {
  if (auto valid = check_name(name); !valid) return tl::unexpected(valid.error());
  auto reply = session.call("Create", json{{"name", name}, {"options", std::move(options)}});
  if (!reply) return tl::unexpected(reply.error());
  return reply->parameters.value("created", true);
}

}  // namespace

// ---- Loan ----

Loan& Loan::operator=(Loan&& other) noexcept {
  if (this != &other) {
    static_cast<void>(abort());
    engine_ = std::exchange(other.engine_, nullptr);
    data_ = other.data_;
    token_ = other.token_;
  }
  return *this;
}
Loan::~Loan() {
  if (engine_ != nullptr) static_cast<void>(abort());
}
Result<void> Loan::commit() {
  if (engine_ == nullptr) return fail(Errc::invalid_argument, "this loan was committed or aborted already", {}, 0, "commit or abort a loan once");
  return std::exchange(engine_, nullptr)->settle(token_, true);
}
Result<void> Loan::abort() {
  if (engine_ == nullptr) return fail(Errc::invalid_argument, "this loan was committed or aborted already", {}, 0, "commit or abort a loan once");
  return std::exchange(engine_, nullptr)->settle(token_, false);
}

// ---- Producer ----

Producer::Producer(std::unique_ptr<ProducerEngine> engine) noexcept : engine_(std::move(engine)) {}
Producer::Producer(Producer&&) noexcept = default;
Producer& Producer::operator=(Producer&&) noexcept = default;
Producer::~Producer() = default;
void Producer::close() noexcept { engine_.reset(); }

Result<void> Producer::send(std::span<const std::byte> data, Deadline deadline, Content content) {
  if (!engine_) return fail(Errc::closed);
  const Errc code = engine_->send(data.data(), data.size(), static_cast<std::uint16_t>(content), deadline);
  if (code == Errc::ok) [[likely]]
    return {};
  return tl::unexpected(engine_->detail_error(code, data.size()));
}

Result<void> Producer::send_many(std::span<const std::span<const std::byte>> records, Deadline deadline, Content content, std::size_t* sent) {
  if (sent != nullptr) *sent = 0;
  if (!engine_) return fail(Errc::closed);
  std::size_t n = 0;
  Errc code = Errc::ok;
  for (const auto& record : records) {
    code = engine_->store(record.data(), record.size(), static_cast<std::uint16_t>(content), deadline);
    if (code != Errc::ok && code != Errc::dropped) break;
    code = Errc::ok;
    ++n;
  }
  engine_->flush();
  if (sent != nullptr) *sent = n;
  if (code == Errc::ok) return {};
  return tl::unexpected(engine_->detail_error(code, records[n].size()));
}

Result<Loan> Producer::loan(std::uint64_t length, Deadline deadline, Content content) {
  if (!engine_) return fail(Errc::closed);
  auto lent = engine_->loan(length, static_cast<std::uint16_t>(content), deadline);
  if (!lent) return tl::unexpected(lent.error());
  return Loan(engine_.get(), {lent->data, static_cast<std::size_t>(length)}, lent->token);
}

Result<void> Producer::finish() { return engine_ ? engine_->finish() : fail(Errc::closed); }
Result<int> Producer::event_fd() { return engine_ ? engine_->event_fd() : fail(Errc::closed); }
Result<void> Producer::set_notify(void (*notify)(void*), void* context) { return engine_ ? engine_->set_notify(notify, context) : fail(Errc::closed); }
Result<ProducerInfo> Producer::info() const { return engine_ ? engine_->info() : fail(Errc::closed); }

// ---- View ----

View& View::operator=(View&& other) noexcept {
  if (this != &other) {
    if (engine_ != nullptr) static_cast<void>(release());
    engine_ = std::exchange(other.engine_, nullptr);
    raw_ = other.raw_;
  }
  return *this;
}
Result<void> View::release() {
  if (engine_ == nullptr) return fail(Errc::view_released);
  ReaderEngine* engine = std::exchange(engine_, nullptr);
  raw_.data = nullptr;
  raw_.length = 0;
  const Errc code = engine->release(raw_.token);
  if (code == Errc::ok) [[likely]]
    return {};
  return tl::unexpected(engine->detail_error(code));
}
Result<void> View::acknowledge() { return engine_ != nullptr ? result_of(engine_->acknowledge(raw_.token), *engine_) : fail(Errc::view_released); }
Result<void> View::acknowledge_up_to() { return engine_ != nullptr ? result_of(engine_->acknowledge_up_to(raw_.token), *engine_) : fail(Errc::view_released); }
Result<void> View::reject() { return engine_ != nullptr ? result_of(engine_->reject(raw_.token), *engine_) : fail(Errc::view_released); }

// ---- Consumer and Observer ----

Consumer::Consumer(std::unique_ptr<ReaderEngine> engine) noexcept : engine_(std::move(engine)) {}
Consumer::Consumer(Consumer&&) noexcept = default;
Consumer& Consumer::operator=(Consumer&&) noexcept = default;
Consumer::~Consumer() = default;
void Consumer::close() noexcept { engine_.reset(); }

Result<View> Consumer::receive(Deadline deadline) {
  if (!engine_) return fail(Errc::closed);
  View::Raw raw;
  std::size_t count = 0;
  const Errc code = engine_->receive(&raw, 1, count, deadline);
  if (code == Errc::ok) [[likely]]
    return View(engine_.get(), raw);
  return tl::unexpected(engine_->detail_error(code));
}

Result<std::vector<View>> Consumer::receive_many(std::size_t max, Deadline deadline) {
  if (!engine_) return fail(Errc::closed);
  std::vector<View> views;
  View::Raw raw[256];
  while (views.size() < max) {
    std::size_t count = 0;
    const Errc code = engine_->receive(raw, std::min<std::size_t>(max - views.size(), std::size(raw)), count, views.empty() ? deadline : Deadline::now());
    if (code != Errc::ok) {
      if (views.empty()) return tl::unexpected(engine_->detail_error(code));
      break;
    }
    if (views.empty()) views.reserve(std::min<std::size_t>(max, std::max<std::size_t>(count, 64)));
    for (std::size_t i = 0; i < count; ++i) views.push_back(View(engine_.get(), raw[i]));
    if (count < std::size(raw)) break;
  }
  return views;
}

Result<int> Consumer::event_fd() { return engine_ ? engine_->event_fd() : fail(Errc::closed); }
Result<void> Consumer::set_notify(void (*notify)(void*), void* context) { return engine_ ? engine_->set_notify(notify, context) : fail(Errc::closed); }
Result<ReaderInfo> Consumer::info() const { return engine_ ? engine_->info() : fail(Errc::closed); }

Observer::Observer(std::unique_ptr<ReaderEngine> engine) noexcept : engine_(std::move(engine)) {}
Observer::Observer(Observer&&) noexcept = default;
Observer& Observer::operator=(Observer&&) noexcept = default;
Observer::~Observer() = default;
void Observer::close() noexcept { engine_.reset(); }

Result<View> Observer::receive(Deadline deadline) {
  if (!engine_) return fail(Errc::closed);
  View::Raw raw;
  std::size_t count = 0;
  const Errc code = engine_->receive(&raw, 1, count, deadline);
  if (code == Errc::ok) return View(engine_.get(), raw);
  return tl::unexpected(engine_->detail_error(code));
}
Result<int> Observer::event_fd() { return engine_ ? engine_->event_fd() : fail(Errc::closed); }
Result<void> Observer::set_notify(void (*notify)(void*), void* context) { return engine_ ? engine_->set_notify(notify, context) : fail(Errc::closed); }
Result<ReaderInfo> Observer::info() const { return engine_ ? engine_->info() : fail(Errc::closed); }

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

Client::Client(std::shared_ptr<Session> session, bool interruptible) noexcept : session_(std::move(session)), interruptible_(interruptible) {}

Result<Client> Client::connect(const ConnectOptions& options) {
  auto session = Session::get(options);
  if (!session) return tl::unexpected(session.error());
  return Client(std::move(*session), options.interruptible);
}

Result<bool> Client::create(std::string_view name, const StreamOptions& stream) {
  auto options = common_options(stream.backing, stream.directory, stream.access);
  if (!options) return tl::unexpected(options.error());
  (*options)["kind"] = "stream";
  if (stream.capacity != 0) (*options)["capacity"] = stream.capacity;
  if (stream.alignment != 0) (*options)["alignment"] = stream.alignment;
  (*options)["when_full"] = stream.when_full == WhenFull::block ? "block" : stream.when_full == WhenFull::drop_new ? "drop-new" : "overwrite";
  return create_with(*session_, name, std::move(*options));
}

Result<bool> Client::create(std::string_view name, const BytesOptions& bytes) {
  auto options = common_options(bytes.backing, bytes.directory, bytes.access);
  if (!options) return tl::unexpected(options.error());
  (*options)["kind"] = "bytes";
  (*options)["size"] = bytes.size;
  if (bytes.put_size) (*options)["put_size"] = *bytes.put_size;
  return create_with(*session_, name, std::move(*options));
}

Result<void> Client::remove(std::string_view name, bool force) {
  if (auto valid = check_name(name); !valid) return valid;
  auto reply = session_->call("Remove", json{{"name", name}, {"force", force}});
  if (!reply) return tl::unexpected(reply.error());
  return {};
}

Result<Producer> Client::open_producer(std::string_view name, Deadline wait) {
  if (auto valid = check_name(name); !valid) return tl::unexpected(valid.error());
  auto engine = ProducerEngine::open(session_, std::string(name), wait, interruptible_);
  if (!engine) return tl::unexpected(engine.error());
  return Producer(std::move(*engine));
}

Result<Consumer> Client::open_consumer(std::string_view name, const ConsumerOptions& options) {
  if (auto valid = check_name(name); !valid) return tl::unexpected(valid.error());
  if (!protocol::valid_group(options.group))
    return fail(Errc::invalid_name, "'" + options.group.substr(0, 200) + "' is not a valid group name", std::string(name), 0,
                "use 1 to 64 of A-Z a-z 0-9 . _ -, starting with a letter, a digit or _");
  auto engine = ReaderEngine::open_group(session_, std::string(name), options, options.private_views, interruptible_);
  if (!engine) return tl::unexpected(engine.error());
  return Consumer(std::move(*engine));
}

Result<Observer> Client::open_observer(std::string_view name, const ObserverOptions& options) {
  if (auto valid = check_name(name); !valid) return tl::unexpected(valid.error());
  auto engine = ReaderEngine::open_observer(session_, std::string(name), options, interruptible_);
  if (!engine) return tl::unexpected(engine.error());
  return Observer(std::move(*engine));
}

Result<Bytes> Client::open_bytes(std::string_view name, MapMode mode, Deadline wait) {
  if (auto valid = check_name(name); !valid) return tl::unexpected(valid.error());
  auto engine = BytesEngine::open(session_, std::string(name), mode, wait, interruptible_);
  if (!engine) return tl::unexpected(engine.error());
  return Bytes(std::move(*engine));
}

Result<std::string> Client::call(std::string_view method, std::string_view parameters_json) {
  json parameters = json::parse(parameters_json, nullptr, false);
  if (!parameters.is_object()) return fail(Errc::invalid_argument, "the parameters of " + std::string(method) + " are not a JSON object");
  auto reply = session_->call(method, std::move(parameters));
  if (!reply) return tl::unexpected(reply.error());
  return reply->parameters.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace atoll_ipc
