// A member of a group: claims runs of records, gives them out, and says when they are done.
//
// A Batch is a claim (or, in an exclusive group, a private run of records that grows) on its way from
// claimed to done. Views name their record by batch serial and index in it. What needs neither the lock nor
// a decision is done by FastReader (atoll/fast_path.hpp) on the current batch. Follows SPEC.md, "Groups".
// group_reader.cpp claims and gives; group_settle.cpp takes back.
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
  Result<void> open();

  const detail::Item* item_of(std::uint64_t token) const noexcept override;

 private:
  friend class ReaderEngine;
  using Item = detail::Item;
  // Up to 64 records of one lane on their way from claimed to done. Bits are by index.
  struct Batch {
    std::uint64_t serial = 0;
    Lane* from = nullptr;              // null: the lane is gone, and its number may be another's
    unsigned lane = 0;
    std::uint16_t deliveries = 1;
    unsigned given = 0;                // records given to the caller
    unsigned count = 0;                // records of a claim; of an exclusive batch: so far
    std::uint64_t released = 0;
    std::uint64_t acked = 0;
    std::uint64_t rejected = 0;
    std::uint64_t done = 0;            // published
    std::uint64_t inherited = 0;       // done by earlier holders: not given again
    std::array<Item, protocol::kClaimRecords> items;
    std::shared_ptr<Mapping> mapping;  // of the lane: views stay valid if the lane goes
    int claim = -1;                    // index in the group file; -1 in an exclusive group
    unsigned known = 0;                // records in `items`; fewer than `count` if the lane went on or was scribbled on
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    bool finished = false;
    bool recalled = false;             // exclusive: its records are given again; its views decide nothing any more
    std::vector<std::unique_ptr<std::byte[]>> copies;  // overwrite streams
    [[nodiscard]] std::uint64_t all() const noexcept { return count == 64 ? ~0ull : (1ull << count) - 1; }
    // Every record was given, and its view released with a decision.
    [[nodiscard]] bool decided() const noexcept { return given == count && (released & (acked | rejected)) == all(); }
  };

  void pause_fast() noexcept override;
  void open_fast() noexcept override;
  Errc do_release(std::uint64_t token) override { return do_release_run(token, 1); }
  Errc do_release_run(std::uint64_t token, std::uint32_t count) override;
  Errc do_acknowledge(std::uint64_t token) override;
  Errc do_acknowledge_up_to(std::uint64_t token) override;
  Errc do_reject(std::uint64_t token) override;
  Errc fill(Raw* out, std::size_t max, std::size_t& count) override;
  bool fill_alike(Raw& out, std::uint64_t after) override;
  const Lane* only_lane() override;
  bool anything() override;
  std::uint64_t next_in(const Lane& lane) const noexcept override;
  bool others_hold() override;
  void lane_added(Lane& lane) override;
  void lane_leaves(const Lane& lane) override;
  std::uint64_t outstanding() const override;

  [[nodiscard]] Lane* lane_of(unsigned number) noexcept;
  [[nodiscard]] protocol::LanePosition& place_of(const Lane& lane) const noexcept { return group_->lanes[lane.number]; }
  [[nodiscard]] unsigned most() const noexcept;
  // Makes current_ the batch of the next record. ok with current_ null: nothing there.
  Errc claim();
  Errc claim_shared(Batch*& batch);
  Errc claim_exclusive();
  Errc take_returned(RedoWriter& redo, Batch*& batch);
  struct Run {
    std::uint64_t end = 0;
    std::uint64_t next_sequence = 0;
    std::uint64_t first_sequence = 0;
    unsigned count = 0;
    bool damaged = false;
  };
  // Walks records from `position`, at most `limit` of them (64 at once), and notes them in `items`.
  Run walk(const Lane& lane, std::uint64_t position, std::uint64_t sequence, unsigned limit, Item* items) const noexcept;
  [[nodiscard]] bool plenty(const Lane& lane, std::uint64_t next, const Run& run) const noexcept;
  // False: lane and group leave nowhere to go on, which nobody writes.
  bool catch_up(Lane& lane, std::uint64_t& next, std::uint64_t& sequence, RedoWriter* redo);
  [[nodiscard]] bool possible(const Lane& lane, std::uint64_t cursor, std::uint64_t next) const noexcept;
  Errc impossible(Lane& lane, std::uint64_t next);
  // A batch for the next records of the lane; it becomes one of batches_ by keep().
  Batch& spare_batch();
  Batch& keep(Lane& lane);
  bool give(Batch& batch, Raw& out);
  void set_current(Batch* batch) noexcept;
  Errc find(std::uint64_t token, Batch*& batch, std::uint64_t& bit) noexcept;
  Errc settle(Batch& batch);
  Errc settle_exclusive(Batch& batch);
  void go_back(Batch& batch) noexcept;
  Errc return_one(Batch& batch, unsigned index);
  Errc finish_claim(Batch& batch);
  void move_exclusive_cursor(const Batch& batch) noexcept;
  void drop_finished() noexcept;
  [[nodiscard]] std::uint64_t least_begin(unsigned lane, int except, std::uint64_t otherwise) const noexcept;
  void leave() noexcept;
  [[nodiscard]] std::uint64_t lock_key() const noexcept;
  // Wakes the lane's producer, if it sleeps until there is as much room as the cursor leaves now.
  void cursor_moved(const Lane& lane) noexcept;
  void wake_producer() noexcept override { cursor_moved(*fast_->from); }

  Mapping group_mapping_;
  protocol::GroupFile* group_ = nullptr;
  std::uint64_t me_ = 0;  // first eight bytes of a claim that is held by us
  bool exclusive_ = false;
  unsigned prefetch_ = 0;
  std::deque<std::unique_ptr<Batch>> batches_;  // by serial, without gaps
  std::uint64_t first_serial_ = 1;
  std::uint64_t next_serial_ = 1;
  Batch* current_ = nullptr;  // has records to give, or grows
  Batch* fast_ = nullptr;     // what FastReader works on: current_, or none
  unsigned fast_given_ = 0;   // its records that were given when FastReader got it
  Batch* recent_ = nullptr;   // where find() found something last
  std::unique_ptr<Batch> spare_;
};

}  // namespace atoll_ipc
