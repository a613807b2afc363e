// A member of a group: claims runs of records, gives them out, and says when they are done.
//
// A Batch is a claim (or, in an exclusive group, a private run of records) on its way from claimed to
// done. Views name their record by batch serial and index in it. Follows SPEC.md, "Groups".
#pragma once

#include <array>
#include <deque>
#include <memory>

#include "atoll/protocol/group.hpp"
#include "reader_engine.hpp"
#include "shared_lock.hpp"

namespace atoll_ipc {

class GroupReader final : public ReaderEngine {
 public:
  GroupReader(Attached attached, const ConsumerOptions& options);
  ~GroupReader() override;
  Result<void> open(bool interruptible);

  Errc release(std::uint64_t token) override;
  Errc acknowledge(std::uint64_t token) override;
  Errc acknowledge_up_to(std::uint64_t token) override;
  Errc reject(std::uint64_t token) override;

 private:
  friend class ReaderEngine;
  // One record of a batch, as it was found when the batch was claimed; not read again from the lane.
  struct Item {
    std::uint64_t position = 0;
    std::uint64_t end = 0;
    std::uint64_t sequence = 0;
    std::uint32_t length = 0;
    std::uint16_t flags = 0;
    std::uint8_t extension_length = 0;
  };
  struct Batch {
    std::uint64_t serial = 0;
    std::shared_ptr<Mapping> mapping;  // of the lane: views stay valid if the lane goes
    unsigned lane = 0;
    const std::byte* ring = nullptr;
    int claim = -1;  // index in the group file; -1 in an exclusive group
    std::uint16_t deliveries = 1;
    unsigned count = 0;              // records
    unsigned known = 0;              // of them, in `items`; fewer if the lane went on or was scribbled on
    unsigned given = 0;              // of them, to the caller
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    std::uint64_t released = 0;      // bits by index
    std::uint64_t acked = 0;
    std::uint64_t rejected = 0;
    std::uint64_t done = 0;          // published in the claim
    std::uint64_t redelivered_below = 0;
    bool finished = false;
    std::array<Item, protocol::kClaimRecords> items;
    std::vector<std::unique_ptr<std::byte[]>> copies;           // overwrite streams
    [[nodiscard]] std::uint64_t all() const noexcept { return count == 64 ? ~0ull : (1ull << count) - 1; }
  };

  Errc fill(Raw* out, std::size_t max, std::size_t& count) override;
  bool anything() override;
  bool lane_read(const Lane& lane, std::uint64_t end) override;
  bool others_hold() override;
  void lane_added(Lane& lane) override;
  std::uint64_t outstanding() const override;

  [[nodiscard]] Lane* lane_of(unsigned number) noexcept;
  [[nodiscard]] protocol::LanePosition& place_of(const Lane& lane) const noexcept { return group_->lanes[lane.number]; }
  [[nodiscard]] unsigned most() const noexcept;
  // Gets the next batch. ok with batch null: nothing there.
  Errc claim(Batch*& batch);
  Errc claim_shared(Batch*& batch);
  Errc claim_exclusive(Batch*& batch);
  Errc take_returned(RedoWriter& redo, Batch*& batch);
  struct Run {
    std::uint64_t end = 0;
    std::uint64_t next_sequence = 0;
    std::uint64_t first_sequence = 0;
    unsigned count = 0;
    bool damaged = false;
  };
  // Walks records from `position`, at most `limit` of them, and notes them in `items`.
  Run walk(const Lane& lane, std::uint64_t position, std::uint64_t sequence, unsigned limit, Item* items) const noexcept;
  // False: lane and group leave nowhere to go on, which nobody writes.
  bool catch_up(Lane& lane, std::uint64_t& next, std::uint64_t& sequence, RedoWriter* redo);
  [[nodiscard]] bool possible(const Lane& lane, std::uint64_t cursor, std::uint64_t next) const noexcept;
  Errc impossible(Lane& lane, std::uint64_t next);
  // A batch for the next records of the lane; it becomes one of batches_ by keep().
  Batch& spare_batch();
  Batch& keep(Lane& lane);
  bool give(Batch& batch, Raw& out);
  Errc find(std::uint64_t token, Batch*& batch, std::uint64_t& bit) noexcept;
  Errc settle(Batch& batch);
  Errc return_one(Batch& batch, unsigned index);
  Errc finish_claim(Batch& batch);
  void move_exclusive_cursor(Batch& batch) noexcept;
  void drop_finished() noexcept;
  [[nodiscard]] std::uint64_t least_begin(unsigned lane, int except, std::uint64_t otherwise) const noexcept;
  void leave() noexcept;
  [[nodiscard]] std::uint64_t lock_key() const noexcept;
  void cursor_moved() noexcept { ring(bell_->room, attached_.session->bells(), !registered_for_membarrier(*process_)); }

  Mapping group_mapping_;
  protocol::GroupFile* group_ = nullptr;
  std::uint64_t me_ = 0;  // first eight bytes of a claim that is held by us
  bool exclusive_ = false;
  bool manual_ = false;
  unsigned prefetch_ = 0;
  std::deque<std::unique_ptr<Batch>> batches_;  // by serial, without gaps
  std::uint64_t first_serial_ = 1;
  std::uint64_t next_serial_ = 1;
  Batch* current_ = nullptr;  // has records to give
  Batch* recent_ = nullptr;   // where find() found something last
  std::unique_ptr<Batch> spare_;
};

}  // namespace atoll_ipc
