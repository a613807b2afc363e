// A bytes segment: the content in place, and put and get of whole contents.
//
// SPEC.md, "Bytes". One thread at a time; put takes the segment's lock.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "atoll/protocol/bytes.hpp"
#include "attached.hpp"
#include "bell_ringer.hpp"
#include "notifier.hpp"

namespace atoll_ipc {

class BytesEngine {
 public:
  static Result<std::unique_ptr<BytesEngine>> open(const std::shared_ptr<Session>& session, const ConnectOptions& how, const std::string& name, MapMode mode,
                                                   Deadline wait);
  ~BytesEngine();
  BytesEngine(const BytesEngine&) = delete;
  BytesEngine& operator=(const BytesEngine&) = delete;

  [[nodiscard]] std::span<std::byte> content() const noexcept {
    return foreign() ? std::span<std::byte>() : std::span(mapping_.data() + protocol::kPageSize, static_cast<std::size_t>(size_));
  }
  [[nodiscard]] MapMode mode() const noexcept { return mode_; }
  Result<void> read_at(std::uint64_t offset, std::span<std::byte> into) const;
  Result<void> write_at(std::uint64_t offset, std::span<const std::byte> data);
  Result<void> flush(std::uint64_t offset, std::uint64_t length, bool wait);
  Result<void> put(std::span<const std::byte> data, Deadline deadline);
  struct Got {
    std::uint64_t length = 0;
    std::uint64_t version = 0;
  };
  Result<Got> get(std::span<std::byte> into, std::uint64_t after, Deadline deadline);
  Result<int> event_fd();
  Result<void> set_notify(void (*notify)(void*), void* context);
  [[nodiscard]] Result<BytesInfo> info() const;

 private:
  BytesEngine(Attached attached, MapMode mode);
  Result<void> adopt();
  [[nodiscard]] bool foreign() const noexcept { return !same_process(*process_, identity_); }
  Result<void> check_range(std::uint64_t offset, std::uint64_t length, const char* what) const;
  // With copy-on-write views the counters are read through a mapping of their own.
  [[nodiscard]] const protocol::BytesHeader& shared() const noexcept { return *shared_; }

  Attached attached_;
  MapMode mode_;
  Mapping mapping_;
  Mapping shared_mapping_;
  Mapping bell_mapping_;
  const protocol::BytesHeader* shared_ = nullptr;
  protocol::BellFile* bell_ = nullptr;
  ProcessPage* process_ = nullptr;
  std::uint64_t identity_ = 0;
  std::uint64_t size_ = 0;
  std::uint64_t put_size_ = 0;
  std::uint64_t staging_ = 0;
  bool interruptible_ = false;
  Sleeper sleeper_;
  Notice notice_;
};

}  // namespace atoll_ipc
