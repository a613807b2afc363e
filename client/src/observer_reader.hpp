// An observer: copies of records, nothing held back, nothing taken away.
//
// Its position is private. A copy counts only if the record could not have been overwritten meanwhile
// (SPEC.md, "Observers"); else the reader goes on at the earliest boundary and tells how many it missed.
#pragma once

#include <map>
#include <memory>

#include "reader_engine.hpp"

namespace atoll_ipc {

class ObserverReader final : public ReaderEngine {
 public:
  ObserverReader(Attached attached, const ObserverOptions& options);
  Result<void> open();

  const detail::Item* item_of(std::uint64_t token) const noexcept override { return &copies_held_.at(token).item; }

 private:
  Errc do_release(std::uint64_t token) override;
  Errc do_acknowledge(std::uint64_t) override { return Errc::ok; }
  Errc do_acknowledge_up_to(std::uint64_t) override { return Errc::ok; }
  Errc do_reject(std::uint64_t) override { return Errc::ok; }
  Errc fill(Raw* out, std::size_t max, std::size_t& count) override;
  bool anything() override;
  std::uint64_t next_in(const Lane& lane) const noexcept override { return lane.position; }
  void lane_added(Lane& lane) override;
  std::uint64_t outstanding() const override { return copies_held_.size(); }

  enum class Step { record, skipped, nothing, damaged };
  Step step(Lane& lane, Raw& out);
  // False: the lane's own words leave nowhere to go on, which no producer writes.
  bool catch_up(Lane& lane);
  [[nodiscard]] bool overtaken(const Lane& lane, std::uint64_t position) const noexcept {
    return lane.header->limit.load_acquire() > position + geometry_.capacity;
  }

  const ObserverOptions options_;
  bool opened_ = false;
  struct Copy {
    detail::Item item;
    std::unique_ptr<std::byte[]> bytes;
  };
  std::map<std::uint64_t, Copy> copies_held_;  // by token
  std::uint64_t next_token_ = 1;
};

}  // namespace atoll_ipc
