// The limits per user, per program and of the whole broker: what is used is counted from what there is.
//
// Asked before something is made. A refusal is limit_reached and names the limit, what is used, the user, and
// the program that has most of it; too little memory is no_space and names what is needed, what is free and where.
// A program (a process: several connections of one count together) gets at most its share of what the other
// programs of its user leave, half unless told otherwise, so that none starves its user's others. What a
// program made and left behind when it ended counts as the others'; so does what is of processes whose number
// the broker cannot see, which for the same reason have no share of their own.
#pragma once

#include <map>

#include "options.hpp"
#include "segment_store.hpp"
#include "slots.hpp"

namespace atoll_ipc::daemon {

// How much of something one user has, program by program.
class Tally {
 public:
  void add(const Process& program, std::uint64_t amount = 1);
  [[nodiscard]] std::uint64_t total() const noexcept { return total_; }
  [[nodiscard]] std::uint64_t of(const Process& program) const;
  // "900 of them by ffmpeg (process 12)": who has most; empty if no program has any.
  [[nodiscard]] std::string largest() const;

 private:
  struct Row {
    std::uint64_t amount = 0;
    std::string command;
  };
  std::map<std::pair<pid_t, std::uint64_t>, Row> programs_;  // by pid and start time
  std::uint64_t total_ = 0;
};

class Limits {
 public:
  Limits(const Options& options, const SegmentStore& store, Slots& slots) : options_(options), store_(store), slots_(slots) {}

  [[nodiscard]] const UserLimits& of(uid_t uid);
  // Bytes that a user may have on a file system of this size. `shared`: with other users.
  [[nodiscard]] static std::uint64_t bytes_limit(const UserLimits& limits, std::uint64_t total, bool shared) noexcept;
  [[nodiscard]] std::uint64_t bytes_limit_of(uid_t uid, std::uint64_t total) { return bytes_limit(of(uid), total, options_.allow_other_users); }

  // One more segment of `bytes` bytes, on the file system of `directory`, made by `who`; `there`: its files exist already.
  Result<void> check_segment(const Process& who, const protocol::Manifest& draft, std::uint64_t bytes, bool there, int directory, const std::string& where);
  // One more lane (or group file) of an existing segment, for `who`, paid by the segment's owner.
  Result<void> check_growth(const Process& who, const Segment& segment, std::uint64_t bytes, bool lane, int directory, const std::string& where);
  // One more connection of this user; then, when it is known which, of this program.
  Result<void> check_connections(uid_t uid, const Tally& of_user, std::uint64_t of_all);
  Result<void> check_connection(const Process& who, const Tally& of_user);
  // One more slot: a process that has said Hello, connected or holding something.
  Result<void> check_slot(const Process& who);
  Result<void> check_attachment(const Slot& slot, const std::string& segment);
  Result<void> check_watch(const Process& who, const Tally& of_user, std::uint64_t of_all);
  // Descriptors that were sent to the user's connections and lie there.
  Result<void> check_descriptors(uid_t uid, std::uint64_t of_user, std::uint64_t of_all);
  // How long a newcomer of this user waits until it is served, so that none connects faster than the rate.
  // Counts the attempt. More than kLongestDelayNs is refused.
  Result<std::int64_t> connection_delay_ns(uid_t uid);
  static constexpr std::int64_t kLongestDelayNs = 2'000'000'000;

  // In memory, or in files.
  [[nodiscard]] std::uint64_t bytes_of(uid_t uid, bool in_files) const;
  [[nodiscard]] std::uint64_t bytes_of_all(bool in_files) const;

  // `more` of `what` ("segments") for `who`, whose user has `tally` and may have `most`; `share` in percent.
  static Result<void> check_share(const Process& who, uid_t payer, const Tally& tally, std::uint64_t more, std::uint64_t most, std::uint64_t share,
                                  const std::string& what, const std::string& segment);

 private:
  Result<void> check(const Process& who, uid_t payer, const Tally& tally, std::uint64_t more, std::uint64_t most, const std::string& what,
                     const std::string& segment);
  Result<void> check_bytes(const Process& who, const protocol::Manifest& manifest, std::uint64_t bytes, bool there, int directory, const std::string& where);
  Result<void> check_guest(const Process& who, const Segment& segment);
  Result<void> check_memfds(const Process& who, const protocol::Manifest& manifest, std::uint64_t more);

  struct Bucket {
    double tokens = 0;
    std::int64_t at_ns = 0;
  };
  const Options& options_;
  const SegmentStore& store_;
  Slots& slots_;
  std::map<uid_t, Bucket> buckets_;
};

}  // namespace atoll_ipc::daemon
