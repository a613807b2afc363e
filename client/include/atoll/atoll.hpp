// Atoll's C++ interface: connect to the broker, create segments, and use them.
//
//   using namespace atoll_ipc;
//   Client client = or_throw(Client::connect());
//   or_throw(client.create("prices", StreamOptions{}));
//   Producer producer = or_throw(client.open_producer("prices"));
//   or_throw(producer.send("one"));
//   Consumer consumer = or_throw(client.open_consumer("prices", {.group = "g1"}));
//   View view = or_throw(consumer.receive());        // view.text() == "one"
//
// Without exceptions: `if (auto sent = producer.send("one"); !sent) report(sent.error().message());`
// Rules for all of it: calls never throw (but for out of memory), print, abort or install signal
// handlers. A handle is used by one thread at a time; different handles at once by different threads.
// Client may be used by several threads at once. After fork() inherited handles answer `forked`.
// Moved-from and closed handles answer `closed`. (The namespace is atoll_ipc because <cstdlib> has a
// function named atoll.) What each call does in detail is said in atoll.h, its C twin.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "atoll/error.hpp"
#include "atoll/fast_path.hpp"

namespace atoll_ipc {

// Internal engines: see client/src. Declared here only so that handles can own them.
class Session;
class ProducerEngine;
class ReaderEngine;
class BytesEngine;
struct EngineAccess;  // the C interface's way to the engines

#if defined(__GNUC__)
#define ATOLL_CXX_API __attribute__((visibility("default")))
#else
#define ATOLL_CXX_API
#endif

// How long a call may wait. Relative, and turned into a point in time only when the call has to wait,
// so that a call that need not wait reads no clock.
class Deadline {
 public:
  [[nodiscard]] static constexpr Deadline never() noexcept { return Deadline(-1); }
  [[nodiscard]] static constexpr Deadline now() noexcept { return Deadline(0); }  // try once
  template <class Rep, class Period>
  [[nodiscard]] static constexpr Deadline in(std::chrono::duration<Rep, Period> time) noexcept {
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
    return Deadline(ns < 0 ? 0 : ns);
  }
  // As in atoll.h: negative = never.
  [[nodiscard]] static constexpr Deadline from_timeout_ns(std::int64_t ns) noexcept { return Deadline(ns < 0 ? -1 : ns); }
  [[nodiscard]] constexpr std::int64_t timeout_ns() const noexcept { return timeout_ns_; }

 private:
  explicit constexpr Deadline(std::int64_t ns) noexcept : timeout_ns_(ns) {}
  std::int64_t timeout_ns_;
};

enum class Content : std::uint16_t { bytes = 0, text = 1, json = 2, array = 3 };
enum class WhenFull : std::uint32_t { block = 0, drop_new = 1, overwrite = 2 };
enum class Backing : std::uint32_t { shm = 0, file = 1, memfd = 2 };
enum class Start : std::uint32_t { earliest = 0, latest = 1, back = 2 };
enum class MapMode : std::uint32_t { read = 0, write = 1, copy = 2 };

struct ConnectOptions {
  std::string socket_path;  // empty: $ATOLL_SOCKET, else the user's own, else /run/atoll/
  std::string atolld_path;  // empty: $ATOLLD, else beside the library or command, else PATH
  std::string language = "C++";
  bool start_broker = true;
  // Waits answer `interrupted` when a signal handler ran; so do calls to a broker that has not answered for a second,
  // which may have been carried out or not.
  bool interruptible = false;
  // Most that one call to the broker may take, starting it included. Negative: no limit; zero: 10 s.
  std::chrono::nanoseconds timeout = std::chrono::seconds(10);
};

struct StreamOptions {
  std::uint64_t capacity = 1u << 20;  // bytes of each lane; rounded up to a power of two
  WhenFull when_full = WhenFull::block;
  std::uint32_t alignment = 16;  // of payloads: 16 or 64
  Backing backing = Backing::shm;
  std::string directory;  // backing file
  std::string access;     // "USER:RIGHTS,..." with RIGHTS of p c o a
};

struct BytesOptions {
  std::uint64_t size = 0;
  std::optional<std::uint64_t> put_size;  // none: size up to 16 MiB, else 0
  Backing backing = Backing::shm;
  std::string directory;
  std::string access;
};

struct ConsumerOptions {
  std::string group = "default";
  bool manual = false;     // releasing a view does not acknowledge it
  bool exclusive = false;  // one consumer at a time, no lock
  bool ephemeral = false;  // the group ends with its last consumer
  bool private_views = false;  // views are copy-on-write: a stray store harms only this process
  bool spin = false;           // receive() waits by looking and never sleeps: for a consumer with a CPU of its own
  Start start = Start::earliest;
  std::uint64_t back = 0;      // Start::back: records back in each lane
  std::uint32_t prefetch = 0;  // most records claimed ahead, 1..64; 0: chosen
  Deadline wait = Deadline::now();  // for the segment to appear
};

struct ObserverOptions {
  Start start = Start::latest;
  std::uint64_t back = 0;
  Deadline wait = Deadline::now();
};

// A record's payload memory to fill in place; commit it or abort it (the destructor aborts).
// Must not outlive its Producer's close.
class ATOLL_CXX_API Loan {
 public:
  Loan(Loan&& other) noexcept : fast_(std::exchange(other.fast_, nullptr)), data_(other.data_), token_(other.token_) {}
  Loan& operator=(Loan&& other) noexcept {
    if (this != &other) {
      static_cast<void>(abort());
      fast_ = std::exchange(other.fast_, nullptr);
      data_ = other.data_;
      token_ = other.token_;
    }
    return *this;
  }
  ~Loan() {
    if (fast_ != nullptr) static_cast<void>(abort());
  }
  [[nodiscard]] std::span<std::byte> data() const noexcept { return data_; }
  [[gnu::always_inline]] Result<void> commit() {
    if (fast_ == nullptr || !fast_->commit_fast(token_)) [[unlikely]]
      return settle(true);
    if (fast_->somebody_sleeps()) [[unlikely]]
      wake();
    fast_ = nullptr;
    return {};
  }
  Result<void> abort() { return settle(false); }

 private:
  friend class Producer;
  Loan(detail::FastProducer* fast, std::span<std::byte> data, std::uint64_t token) noexcept : fast_(fast), data_(data), token_(token) {}
  Result<void> settle(bool commit);
  void wake() noexcept;
  detail::FastProducer* fast_;
  std::span<std::byte> data_;
  std::uint64_t token_;
};

struct ProducerInfo {
  std::uint32_t lane;
  std::uint64_t capacity, max_payload, sequence, dropped, blocked;
  std::uint32_t alignment;
  WhenFull when_full;
};

// Writes a stream through a lane of its own.
class ATOLL_CXX_API Producer {
 public:
  Producer(Producer&& other) noexcept : fast_(std::exchange(other.fast_, nullptr)) {}
  Producer& operator=(Producer&& other) noexcept {
    if (this != &other) {
      close();
      fast_ = std::exchange(other.fast_, nullptr);
    }
    return *this;
  }
  ~Producer() { close(); }  // open loans are aborted

  Result<void> send(std::span<const std::byte> data, Deadline deadline = Deadline::never(), Content content = Content::bytes) {
    if (fast_ == nullptr || !fast_->store_fast(data.data(), data.size(), static_cast<std::uint16_t>(content))) [[unlikely]]
      return send_slow(data, deadline, content);
    if (fast_->somebody_sleeps()) [[unlikely]]
      wake();
    return {};
  }
  Result<void> send(std::string_view text, Deadline deadline = Deadline::never(), Content content = Content::text) {
    return send(std::as_bytes(std::span(text.data(), text.size())), deadline, content);
  }
  // `sent` (may be null) receives how many were stored or dropped, also on failure.
  Result<void> send_many(std::span<const std::span<const std::byte>> records, Deadline deadline = Deadline::never(),
                         Content content = Content::bytes, std::size_t* sent = nullptr);
  [[gnu::always_inline]] Result<Loan> loan(std::uint64_t length, Deadline deadline = Deadline::never(), Content content = Content::bytes) {
    std::byte* const data = fast_ != nullptr ? fast_->loan_fast(length, static_cast<std::uint16_t>(content)) : nullptr;
    if (data == nullptr) [[unlikely]]
      return loan_slow(length, deadline, content);
    return Loan(fast_, {data, static_cast<std::size_t>(length)}, fast_->only_loan_);
  }
  Result<void> finish();
  Result<int> event_fd();
  Result<void> set_notify(void (*notify)(void*), void* context);
  [[nodiscard]] Result<ProducerInfo> info() const;
  void close() noexcept;

 private:
  friend class Client;
  friend struct EngineAccess;
  explicit Producer(std::unique_ptr<ProducerEngine> engine) noexcept;
  Result<void> send_slow(std::span<const std::byte> data, Deadline deadline, Content content);
  Result<Loan> loan_slow(std::uint64_t length, Deadline deadline, Content content);
  void wake() noexcept;
  detail::FastProducer* fast_;  // a ProducerEngine, owned
};

// A received record. Released by its destructor or release(). In the default (automatic) mode
// releasing acknowledges; in manual mode call acknowledge() or reject().
// Must not be used after its Consumer or Observer is closed.
class ATOLL_CXX_API View {
 public:
  View() noexcept = default;
  View(View&& other) noexcept
      : fast_(std::exchange(other.fast_, nullptr)), item_(other.item_), token_(other.token_), lost_(other.lost_), lane_(other.lane_), deliveries_(other.deliveries_) {}
  View& operator=(View&& other) noexcept {
    if (this != &other) {
      if (fast_ != nullptr) static_cast<void>(release());
      fast_ = std::exchange(other.fast_, nullptr);
      item_ = other.item_;
      token_ = other.token_;
      lost_ = other.lost_;
      lane_ = other.lane_;
      deliveries_ = other.deliveries_;
    }
    return *this;
  }
  [[gnu::always_inline]] ~View() {
    if (fast_ != nullptr) static_cast<void>(release());
  }
  // Empty after release().
  [[nodiscard]] std::span<const std::byte> data() const noexcept { return fast_ != nullptr ? std::span<const std::byte>(item_->data, item_->length) : std::span<const std::byte>(); }
  [[nodiscard]] std::string_view text() const noexcept { return fast_ != nullptr ? std::string_view(reinterpret_cast<const char*>(item_->data), item_->length) : std::string_view(); }
  [[nodiscard]] std::uint64_t sequence() const noexcept { return fast_ != nullptr ? item_->sequence : 0; }
  [[nodiscard]] std::uint64_t lost() const noexcept { return lost_; }
  [[nodiscard]] unsigned lane() const noexcept { return lane_; }
  [[nodiscard]] Content content() const noexcept { return fast_ != nullptr ? static_cast<Content>(item_->content()) : Content::bytes; }
  [[nodiscard]] unsigned deliveries() const noexcept { return deliveries_; }
  [[nodiscard]] bool redelivered() const noexcept { return deliveries_ > 1; }
  [[gnu::always_inline]] Result<void> release() {
    detail::FastReader* const fast = std::exchange(fast_, nullptr);
    if (fast == nullptr) [[unlikely]]
      return release_slow(fast, token_);
    const auto released = fast->release_fast(token_, item_);
    if (released == detail::FastReader::Released::no) [[unlikely]]
      return release_slow(fast, token_);
    if (released == detail::FastReader::Released::and_wake) [[unlikely]]
      wake(fast);
    return {};
  }
  Result<void> acknowledge();
  Result<void> acknowledge_up_to();
  Result<void> reject();

 private:
  friend class Consumer;
  friend class Observer;
  friend class Views;
  View(detail::FastReader* fast, const detail::Item* item, std::uint64_t token, std::uint64_t lost, std::uint16_t lane, std::uint16_t deliveries) noexcept
      : fast_(fast), item_(item), token_(token), lost_(lost), lane_(lane), deliveries_(deliveries) {}
  // With values, not `this`: so a view can live in registers.
  static Result<void> release_slow(detail::FastReader* fast, std::uint64_t token);
  static void wake(detail::FastReader* fast) noexcept;
  detail::FastReader* fast_ = nullptr;
  const detail::Item* item_ = nullptr;  // valid until the release
  std::uint64_t token_ = 0;
  std::uint64_t lost_ = 0;
  std::uint16_t lane_ = 0;
  std::uint16_t deliveries_ = 0;
};

// The records of one receive_many: one lane's, in order, at most 64. Released together by the destructor
// or release(); acknowledged by that in automatic mode, else by acknowledge() or reject().
//   for (const auto& record : views) use(record.data());
// Elements are looked at in place and end with their Views. Must not be used after its Consumer is closed.
class ATOLL_CXX_API Views {
 public:
  class Record {
   public:
    [[nodiscard]] std::span<const std::byte> data() const noexcept { return {item_->data, item_->length}; }
    [[nodiscard]] std::string_view text() const noexcept { return {reinterpret_cast<const char*>(item_->data), item_->length}; }
    [[nodiscard]] std::uint64_t sequence() const noexcept { return item_->sequence; }
    [[nodiscard]] Content content() const noexcept { return static_cast<Content>(item_->content()); }

   private:
    friend class Views;
    explicit Record(const detail::Item* item) noexcept : item_(item) {}
    const detail::Item* item_;
  };
  class Iterator {
   public:
    using value_type = Record;
    using difference_type = std::ptrdiff_t;
    Iterator() noexcept = default;
    Record operator*() const noexcept { return Record(item_); }
    Iterator& operator++() noexcept { return ++item_, *this; }
    Iterator operator++(int) noexcept { return Iterator(item_++); }
    bool operator==(const Iterator&) const noexcept = default;

   private:
    friend class Views;
    explicit Iterator(const detail::Item* item) noexcept : item_(item) {}
    const detail::Item* item_ = nullptr;
  };

  Views() noexcept = default;
  Views(Views&& other) noexcept
      : fast_(std::exchange(other.fast_, nullptr)), items_(other.items_), token_(other.token_), lost_(other.lost_),
        count_(std::exchange(other.count_, 0)), lane_(other.lane_), deliveries_(other.deliveries_) {}
  Views& operator=(Views&& other) noexcept {
    if (this != &other) {
      if (fast_ != nullptr) static_cast<void>(release());
      fast_ = std::exchange(other.fast_, nullptr);
      items_ = other.items_;
      token_ = other.token_;
      lost_ = other.lost_;
      count_ = std::exchange(other.count_, 0);
      lane_ = other.lane_;
      deliveries_ = other.deliveries_;
    }
    return *this;
  }
  ~Views() {
    if (fast_ != nullptr) static_cast<void>(release());
  }
  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
  [[nodiscard]] Record operator[](std::size_t index) const noexcept { return Record(items_ + index); }  // index < size()
  [[nodiscard]] Iterator begin() const noexcept { return Iterator(items_); }
  [[nodiscard]] Iterator end() const noexcept { return Iterator(items_ + count_); }
  // Records lost between the one received before these and the last of these.
  [[nodiscard]] std::uint64_t lost() const noexcept { return lost_; }
  [[nodiscard]] unsigned lane() const noexcept { return lane_; }
  [[nodiscard]] unsigned deliveries() const noexcept { return deliveries_; }
  [[nodiscard]] bool redelivered() const noexcept { return deliveries_ > 1; }
  Result<void> release() {
    detail::FastReader* const fast = std::exchange(fast_, nullptr);
    const std::uint32_t count = std::exchange(count_, 0);
    if (fast == nullptr) [[unlikely]]
      return release_slow(fast, token_, count);
    const auto released = fast->release_fast(token_, items_ + count - 1, count);
    if (released == detail::FastReader::Released::no) [[unlikely]]
      return release_slow(fast, token_, count);
    if (released == detail::FastReader::Released::and_wake) [[unlikely]]
      View::wake(fast);
    return {};
  }
  Result<void> acknowledge();  // all of them, and what was received before them
  Result<void> acknowledge(std::size_t index);
  Result<void> reject(std::size_t index);

 private:
  friend class Consumer;
  static Result<void> release_slow(detail::FastReader* fast, std::uint64_t token, std::uint32_t count);
  detail::FastReader* fast_ = nullptr;
  const detail::Item* items_ = nullptr;
  std::uint64_t token_ = 0;  // of the first
  std::uint64_t lost_ = 0;
  std::uint32_t count_ = 0;
  std::uint16_t lane_ = 0;
  std::uint16_t deliveries_ = 0;
};

struct ReaderInfo {
  std::uint32_t alignment;
  std::uint64_t received, lost, outstanding;
  std::uint32_t lanes;
  bool copies;
};

// A member of a group.
class ATOLL_CXX_API Consumer {
 public:
  Consumer(Consumer&& other) noexcept : fast_(std::exchange(other.fast_, nullptr)) {}
  Consumer& operator=(Consumer&& other) noexcept {
    if (this != &other) {
      close();
      fast_ = std::exchange(other.fast_, nullptr);
    }
    return *this;
  }
  ~Consumer() { close(); }
  [[gnu::always_inline]] Result<View> receive(Deadline deadline = Deadline::never()) {
    detail::FastReader* const fast = fast_;
    if (fast != nullptr) [[likely]] {
      const std::uint64_t token = fast->token_;
      if (const detail::Item* const item = fast->next(); item != nullptr) [[likely]]
        return View(fast, item, token, 0, fast->lane_, fast->deliveries_);
      if (deadline.timeout_ns() == 0 && fast->surely_nothing()) return fail(Errc::timed_out);
    }
    return receive_slow(fast, deadline);
  }
  // Waits for the first only. 1 to `max` records; at most 64, and of one lane.
  Result<Views> receive_many(std::size_t max = 64, Deadline deadline = Deadline::never());
  Result<int> event_fd();
  Result<void> set_notify(void (*notify)(void*), void* context);
  [[nodiscard]] Result<ReaderInfo> info() const;
  void close() noexcept;

 private:
  friend class Client;
  friend struct EngineAccess;
  explicit Consumer(std::unique_ptr<ReaderEngine> engine) noexcept;
  static Result<View> receive_slow(detail::FastReader* fast, Deadline deadline);
  detail::FastReader* fast_;  // a ReaderEngine, owned
};

// Watches a stream: takes nothing away, holds nothing back, gets copies.
class ATOLL_CXX_API Observer {
 public:
  Observer(Observer&& other) noexcept : fast_(std::exchange(other.fast_, nullptr)) {}
  Observer& operator=(Observer&& other) noexcept {
    if (this != &other) {
      close();
      fast_ = std::exchange(other.fast_, nullptr);
    }
    return *this;
  }
  ~Observer() { close(); }
  Result<View> receive(Deadline deadline = Deadline::never());
  Result<int> event_fd();
  Result<void> set_notify(void (*notify)(void*), void* context);
  [[nodiscard]] Result<ReaderInfo> info() const;
  void close() noexcept;

 private:
  friend class Client;
  friend struct EngineAccess;
  explicit Observer(std::unique_ptr<ReaderEngine> engine) noexcept;
  detail::FastReader* fast_;  // a ReaderEngine, owned
};

struct BytesInfo {
  std::uint64_t size, put_size, length, version;
  MapMode mode;
};
struct Contents {
  std::vector<std::byte> data;
  std::uint64_t version = 0;
};

// A plain piece of shared memory.
class ATOLL_CXX_API Bytes {
 public:
  Bytes(Bytes&&) noexcept;
  Bytes& operator=(Bytes&&) noexcept;
  ~Bytes();
  [[nodiscard]] std::span<const std::byte> data() const noexcept;
  // Empty with MapMode::read.
  [[nodiscard]] std::span<std::byte> writable() noexcept;
  Result<void> read_at(std::uint64_t offset, std::span<std::byte> into) const;
  Result<void> write_at(std::uint64_t offset, std::span<const std::byte> data);
  Result<void> flush(std::uint64_t offset = 0, std::uint64_t length = 0, bool wait = true);
  Result<void> put(std::span<const std::byte> data, Deadline deadline = Deadline::never());
  // The content last put, whole, once its version is above `after`.
  Result<Contents> get(std::uint64_t after = 0, Deadline deadline = Deadline::never());
  // Into a buffer of the caller's; too_large (detail: bytes needed) if it does not fit.
  Result<Contents> get_into(std::span<std::byte> into, std::size_t* length, std::uint64_t after, Deadline deadline);
  Result<int> event_fd();
  Result<void> set_notify(void (*notify)(void*), void* context);
  [[nodiscard]] Result<BytesInfo> info() const;
  void close() noexcept;

 private:
  friend class Client;
  friend struct EngineAccess;
  explicit Bytes(std::unique_ptr<BytesEngine> engine) noexcept;
  std::unique_ptr<BytesEngine> engine_;
};

// A connection to the broker. Copies share it; handles keep what they need of it alive.
class ATOLL_CXX_API Client {
 public:
  static Result<Client> connect(const ConnectOptions& options = {}) { return connect_from(options, detail::kInterface); }

  // True: made now. False: was there, with the same options.
  Result<bool> create(std::string_view name, const StreamOptions& options);
  Result<bool> create(std::string_view name, const BytesOptions& options);
  Result<void> remove(std::string_view name, bool force = false);
  Result<Producer> open_producer(std::string_view name, Deadline wait = Deadline::now());
  Result<Consumer> open_consumer(std::string_view name, const ConsumerOptions& options = {});
  Result<Observer> open_observer(std::string_view name, const ObserverOptions& options = {});
  Result<Bytes> open_bytes(std::string_view name, MapMode mode = MapMode::read, Deadline wait = Deadline::now());
  // A method of dev.atoll.Broker; parameters and reply are JSON objects.
  Result<std::string> call(std::string_view method, std::string_view parameters_json = "{}");

 private:
  friend struct EngineAccess;
  // `interface`: the one the caller was compiled with (fast_path.hpp); another one than the library's is refused.
  static Result<Client> connect_from(const ConnectOptions& options, std::uint32_t interface);
  Client(std::shared_ptr<Session> session, ConnectOptions options) noexcept;
  std::shared_ptr<Session> session_;
  ConnectOptions options_;
};

}  // namespace atoll_ipc
