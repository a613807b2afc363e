// Atoll's C++ interface: connect to the broker, create segments, and use them.
//
//   auto client   = atoll_ipc::Client::connect().value();
//   client.create("prices", atoll_ipc::StreamOptions{});
//   auto producer = client.open_producer("prices").value();
//   producer.send("one");
//   auto consumer = client.open_consumer("prices", {.group = "g1"}).value();
//   auto view     = consumer.receive().value();      // view.text() == "one"
//
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
  bool interruptible = false;  // waits answer `interrupted` when a signal handler ran
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
  Loan(Loan&& other) noexcept : engine_(std::exchange(other.engine_, nullptr)), data_(other.data_), token_(other.token_) {}
  Loan& operator=(Loan&& other) noexcept;
  ~Loan();
  [[nodiscard]] std::span<std::byte> data() const noexcept { return data_; }
  Result<void> commit();
  Result<void> abort();

 private:
  friend class Producer;
  Loan(ProducerEngine* engine, std::span<std::byte> data, std::uint64_t token) noexcept
      : engine_(engine), data_(data), token_(token) {}
  ProducerEngine* engine_;
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
  Producer(Producer&&) noexcept;
  Producer& operator=(Producer&&) noexcept;
  ~Producer();  // closes; open loans are aborted

  Result<void> send(std::span<const std::byte> data, Deadline deadline = Deadline::never(), Content content = Content::bytes);
  Result<void> send(std::string_view text, Deadline deadline = Deadline::never(), Content content = Content::text) {
    return send(std::as_bytes(std::span(text.data(), text.size())), deadline, content);
  }
  // `sent` (may be null) receives how many were stored or dropped, also on failure.
  Result<void> send_many(std::span<const std::span<const std::byte>> records, Deadline deadline = Deadline::never(),
                         Content content = Content::bytes, std::size_t* sent = nullptr);
  Result<Loan> loan(std::uint64_t length, Deadline deadline = Deadline::never(), Content content = Content::bytes);
  Result<void> finish();
  Result<int> event_fd();
  Result<void> set_notify(void (*notify)(void*), void* context);
  [[nodiscard]] Result<ProducerInfo> info() const;
  void close() noexcept;

 private:
  friend class Client;
  friend struct EngineAccess;
  explicit Producer(std::unique_ptr<ProducerEngine> engine) noexcept;
  std::unique_ptr<ProducerEngine> engine_;
};

// A received record. Released by its destructor or release(). In the default (automatic) mode
// releasing acknowledges; in manual mode call acknowledge() or reject().
// Must not be used after its Consumer or Observer is closed.
class ATOLL_CXX_API View {
 public:
  View() noexcept = default;
  View(View&& other) noexcept : engine_(std::exchange(other.engine_, nullptr)), raw_(other.raw_) {}
  View& operator=(View&& other) noexcept;
  ~View() {
    if (engine_) static_cast<void>(release());
  }
  [[nodiscard]] std::span<const std::byte> data() const noexcept { return {static_cast<const std::byte*>(raw_.data), static_cast<std::size_t>(raw_.length)}; }
  [[nodiscard]] std::string_view text() const noexcept { return {static_cast<const char*>(raw_.data), static_cast<std::size_t>(raw_.length)}; }
  [[nodiscard]] std::uint64_t sequence() const noexcept { return raw_.sequence; }
  [[nodiscard]] std::uint64_t lost() const noexcept { return raw_.lost; }
  [[nodiscard]] unsigned lane() const noexcept { return raw_.lane; }
  [[nodiscard]] Content content() const noexcept { return static_cast<Content>(raw_.content); }
  [[nodiscard]] unsigned deliveries() const noexcept { return raw_.deliveries; }
  [[nodiscard]] bool redelivered() const noexcept { return raw_.deliveries > 1; }
  Result<void> release();
  Result<void> acknowledge();
  Result<void> acknowledge_up_to();
  Result<void> reject();

  // The same fields, in the same order, as atoll_view.
  struct Raw {
    const void* data;
    std::uint64_t length, sequence, lost;
    std::uint16_t lane, content, deliveries, reserved;
    std::uint64_t token;
  };

 private:
  friend class Consumer;
  friend class Observer;
  View(ReaderEngine* engine, const Raw& raw) noexcept : engine_(engine), raw_(raw) {}
  ReaderEngine* engine_ = nullptr;
  Raw raw_{};
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
  Consumer(Consumer&&) noexcept;
  Consumer& operator=(Consumer&&) noexcept;
  ~Consumer();
  Result<View> receive(Deadline deadline = Deadline::never());
  Result<std::vector<View>> receive_many(std::size_t max, Deadline deadline = Deadline::never());
  Result<int> event_fd();
  Result<void> set_notify(void (*notify)(void*), void* context);
  [[nodiscard]] Result<ReaderInfo> info() const;
  void close() noexcept;

 private:
  friend class Client;
  friend struct EngineAccess;
  explicit Consumer(std::unique_ptr<ReaderEngine> engine) noexcept;
  std::unique_ptr<ReaderEngine> engine_;
};

// Watches a stream: takes nothing away, holds nothing back, gets copies.
class ATOLL_CXX_API Observer {
 public:
  Observer(Observer&&) noexcept;
  Observer& operator=(Observer&&) noexcept;
  ~Observer();
  Result<View> receive(Deadline deadline = Deadline::never());
  Result<int> event_fd();
  Result<void> set_notify(void (*notify)(void*), void* context);
  [[nodiscard]] Result<ReaderInfo> info() const;
  void close() noexcept;

 private:
  friend class Client;
  friend struct EngineAccess;
  explicit Observer(std::unique_ptr<ReaderEngine> engine) noexcept;
  std::unique_ptr<ReaderEngine> engine_;
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
  static Result<Client> connect(const ConnectOptions& options = {});

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
  Client(std::shared_ptr<Session> session, bool interruptible) noexcept;
  std::shared_ptr<Session> session_;
  bool interruptible_;
};

}  // namespace atoll_ipc
