// Holding the process-shared mutex of a file, and changing what it guards as one.
//
// Used by group readers and by put. Takes the process-private mutex first (a slot is a process, not a
// thread), then the lock word; repairs first if the word says so. SPEC.md, "Lock word and redo".
#pragma once

#include <cstdint>
#include <mutex>

#include "atoll/error.hpp"
#include "atoll/protocol/lock_word.hpp"
#include "atoll/protocol/repair.hpp"
#include "session.hpp"

namespace atoll_ipc {

class SharedLock {
 public:
  SharedLock(Session& session, protocol::Word32& word, std::uint64_t key) noexcept : session_(session), word_(word), private_(session.private_mutex(key), std::defer_lock) {}
  ~SharedLock() { release(); }
  SharedLock(const SharedLock&) = delete;
  SharedLock& operator=(const SharedLock&) = delete;

  // ok; timed_out; interrupted. `repair` is called with the lock held if it is marked needs-repair.
  template <class Repair>
  Errc take(Deadline deadline, bool interruptible, Repair&& repair) {
    bool needs_repair = false;
    const Errc taken = take_word(deadline, interruptible, needs_repair);
    if (taken == Errc::ok && needs_repair) {
      repair();
      word_.fetch_and(~protocol::kLockNeedsRepair);
    }
    return taken;
  }
  void release() noexcept;

 private:
  Errc take_word(Deadline deadline, bool interruptible, bool& needs_repair);

  Session& session_;
  protocol::Word32& word_;
  std::unique_lock<std::mutex> private_;
  bool held_ = false;
};

// Writes the redo list, then does the stores. The lock is held.
class RedoWriter {
 public:
  RedoWriter(std::byte* file, protocol::Redo& redo) noexcept : file_(file), redo_(redo) { redo_.copy_length = 0; }
  void add(std::uint64_t offset, std::uint64_t value) noexcept {
    if (count_ < protocol::kRedoMax) redo_.entries[count_++] = {offset, value};
  }
  // The address must be in the file.
  void add(const void* word, std::uint64_t value) noexcept {
    add(static_cast<std::uint64_t>(static_cast<const std::byte*>(word) - file_), value);
  }
  void apply() noexcept;

 private:
  std::byte* file_;
  protocol::Redo& redo_;
  std::uint32_t count_ = 0;
};

}  // namespace atoll_ipc
