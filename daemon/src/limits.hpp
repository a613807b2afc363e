// The limits per user and of the whole broker: what is used is counted from what there is.
//
// Called before something is made. A refusal is limit_reached and names the limit, what is used and
// by whom; too little memory is no_space and names what is needed, what is free and where.
#pragma once

#include <map>

#include "options.hpp"
#include "segment_store.hpp"
#include "slots.hpp"

namespace atoll_ipc::daemon {

class Limits {
 public:
  Limits(const Options& options, const SegmentStore& store) : options_(options), store_(store) {}

  [[nodiscard]] const UserLimits& of(uid_t uid);
  // Bytes that a user may have on a file system of this size.
  [[nodiscard]] static std::uint64_t bytes_limit(const UserLimits& limits, std::uint64_t total) noexcept;

  // One more segment of `bytes` bytes, on the file system of `directory`.
  Result<void> check_segment(const protocol::Manifest& draft, std::uint64_t bytes, int directory, const std::string& where);
  // One more lane (or group file) of an existing segment, paid by its owner.
  Result<void> check_growth(const Segment& segment, std::uint64_t bytes, bool lane, int directory, const std::string& where);
  Result<void> check_connection(uid_t uid, std::uint64_t of_user, std::uint64_t of_all);
  // How long a newcomer of this user waits until it is served, so that none connects faster than the rate.
  // Counts the attempt. More than kLongestDelayNs is refused.
  Result<std::int64_t> connection_delay_ns(uid_t uid);
  static constexpr std::int64_t kLongestDelayNs = 2'000'000'000;
  Result<void> check_watch(uid_t uid, std::uint64_t of_user, std::uint64_t of_all);

  // In memory, or in files.
  [[nodiscard]] std::uint64_t bytes_of(uid_t uid, bool in_files) const;
  [[nodiscard]] std::uint64_t bytes_of_all(bool in_files) const;

 private:
  Result<void> check_bytes(const protocol::Manifest& manifest, std::uint64_t bytes, int directory, const std::string& where);
  [[nodiscard]] Failure reached(const std::string& name, const std::string& limit, std::uint64_t used, std::uint64_t most, uid_t uid) const;

  struct Bucket {
    double tokens = 0;
    std::int64_t at_ns = 0;
  };
  const Options& options_;
  const SegmentStore& store_;
  std::map<uid_t, UserLimits> resolved_;
  std::map<uid_t, Bucket> buckets_;
};

}  // namespace atoll_ipc::daemon
