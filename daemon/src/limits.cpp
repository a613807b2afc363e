#include "limits.hpp"

#include <algorithm>

#include "clock.hpp"
#include "process.hpp"

namespace atoll_ipc::daemon {

const UserLimits& Limits::of(uid_t uid) {
  const auto known = resolved_.find(uid);
  if (known != resolved_.end()) return known->second;
  const UserLimits* limits = &options_.user_limits;
  for (const auto& [user, own] : options_.user_overrides) {
    uid_t named = 0;
    if (user_id(user, named) && named == uid) limits = &own;
  }
  return resolved_.emplace(uid, *limits).first->second;
}

std::uint64_t Limits::bytes_limit(const UserLimits& limits, std::uint64_t total) noexcept {
  if (limits.bytes != 0) return limits.bytes;
  if (total < 1ull << 30) return total / 2;
  return std::min<std::uint64_t>(total / 4, 4ull << 30);
}

Failure Limits::reached(const std::string& name, const std::string& limit, std::uint64_t used, std::uint64_t most, uid_t uid) const {
  return Failure{Errc::limit_reached,
                 "the limit of " + std::to_string(most) + " " + limit + " is reached: user " + user_name(uid) + " has " + std::to_string(used), name, most, {}};
}

std::uint64_t Limits::bytes_of(uid_t uid, bool in_files) const {
  std::uint64_t sum = 0;
  for (const auto& [name, segment] : store_.all())
    if (segment->manifest.uid == uid && (segment->manifest.backing == protocol::Backing::file) == in_files) sum += segment->bytes();
  return sum;
}

std::uint64_t Limits::bytes_of_all(bool in_files) const {
  std::uint64_t sum = 0;
  for (const auto& [name, segment] : store_.all())
    if ((segment->manifest.backing == protocol::Backing::file) == in_files) sum += segment->bytes();
  return sum;
}

Result<void> Limits::check_bytes(const protocol::Manifest& manifest, std::uint64_t bytes, int directory, const std::string& where) {
  const std::string& name = manifest.name;
  const uid_t uid = manifest.uid;
  const bool in_files = manifest.backing == protocol::Backing::file;
  auto room = room_of(directory, where);
  if (!room) return fail(room.error());
  // Too little memory before a limit: it is what the operator of a small container must hear.
  const std::uint64_t floor = room->total / 10;
  if (bytes > room->free)
    return fail(Errc::no_space,
                "'" + name + "' needs " + std::to_string(bytes) + " bytes, " + where + " has " + std::to_string(room->free) + " of " +
                    std::to_string(room->total) + " free",
                name, bytes);
  // Of a disk the last tenth is its owner's to fill; without free memory the whole machine suffers.
  if (!in_files && room->free - bytes < floor)
    return fail(Errc::no_space,
                "'" + name + "' needs " + std::to_string(bytes) + " bytes; " + where + " has " + std::to_string(room->free) + " of " +
                    std::to_string(room->total) + " free, of which the last tenth (" + std::to_string(floor) + ") is kept",
                name, bytes);
  const std::uint64_t most = bytes_limit(of(uid), room->total);
  const std::uint64_t used = bytes_of(uid, in_files);
  if (used + bytes > most) {
    Failure failure = reached(name, "bytes", used, most, uid);
    failure.message += ", " + std::to_string(bytes) + " more are asked for";
    return fail(std::move(failure));
  }
  const std::uint64_t all = bytes_of_all(in_files);
  if (all + bytes > std::max(room->total / 2, most)) {
    return fail(Errc::limit_reached,
                "the broker's limit of half of " + where + " (" + std::to_string(room->total / 2) + " bytes) is reached: all users have " +
                    std::to_string(all) + ", " + std::to_string(bytes) + " more are asked for",
                name, room->total / 2);
  }
  return {};
}

Result<void> Limits::check_segment(const protocol::Manifest& draft, std::uint64_t bytes, int directory, const std::string& where) {
  const std::string& name = draft.name;
  const uid_t uid = draft.uid;
  std::uint64_t own = 0;
  for (const auto& [other, segment] : store_.all()) own += segment->manifest.uid == uid ? 1 : 0;
  if (own >= of(uid).segments) return fail(reached(name, "segments of a user", own, of(uid).segments, uid));
  if (store_.all().size() >= options_.broker_limits.segments)
    return fail(Errc::limit_reached, "the broker's limit of " + std::to_string(options_.broker_limits.segments) + " segments is reached", name,
                options_.broker_limits.segments);
  return check_bytes(draft, bytes, directory, where);
}

Result<void> Limits::check_growth(const Segment& segment, std::uint64_t bytes, bool lane, int directory, const std::string& where) {
  const uid_t uid = segment.manifest.uid;
  if (lane) {
    std::uint64_t own = 0;
    std::uint64_t all = 0;
    for (const auto& [other, each] : store_.all()) {
      all += each->lanes.size();
      own += each->manifest.uid == uid ? each->lanes.size() : 0;
    }
    if (own >= of(uid).lanes) return fail(reached(segment.name(), "lanes of a user", own, of(uid).lanes, uid));
    if (all >= options_.broker_limits.lanes)
      return fail(Errc::limit_reached, "the broker's limit of " + std::to_string(options_.broker_limits.lanes) + " lanes is reached", segment.name(),
                  options_.broker_limits.lanes);
  }
  return check_bytes(segment.manifest, bytes, directory, where);
}

Result<void> Limits::check_connection(uid_t uid, std::uint64_t of_user, std::uint64_t of_all) {
  const UserLimits& limits = of(uid);
  if (of_user >= limits.connections) return fail(reached({}, "connections of a user", of_user, limits.connections, uid));
  if (of_all >= options_.broker_limits.connections)
    return fail(Errc::limit_reached, "the broker's limit of " + std::to_string(options_.broker_limits.connections) + " connections is reached", {},
                options_.broker_limits.connections);
  return {};
}

Result<std::int64_t> Limits::connection_delay_ns(uid_t uid) {
  const UserLimits& limits = of(uid);
  const auto rate = static_cast<double>(std::max<std::uint64_t>(limits.connections_per_second, 1));
  const auto burst = static_cast<double>(limits.connection_burst);
  const std::int64_t now = monotonic_ns();
  Bucket& bucket = buckets_.try_emplace(uid, Bucket{burst, now}).first->second;
  bucket.tokens = std::min(burst, bucket.tokens + static_cast<double>(now - bucket.at_ns) * 1e-9 * rate);
  bucket.at_ns = now;
  // Below zero: what those who already wait will take.
  const double missing = 1 - bucket.tokens;
  const auto delay = missing <= 0 ? 0 : static_cast<std::int64_t>(missing / rate * 1e9);
  if (delay > kLongestDelayNs)
    return fail(Errc::limit_reached,
                "user " + user_name(uid) + " connects more often than " + std::to_string(limits.connections_per_second) + " times a second", {},
                limits.connections_per_second, "keep a connection open instead of connecting for each call");
  bucket.tokens -= 1;
  return delay;
}

Result<void> Limits::check_watch(uid_t uid, std::uint64_t of_user, std::uint64_t of_all) {
  if (of_user >= of(uid).watches) return fail(reached({}, "waits for a segment", of_user, of(uid).watches, uid));
  if (of_all >= options_.broker_limits.watches)
    return fail(Errc::limit_reached, "the broker's limit of " + std::to_string(options_.broker_limits.watches) + " waits for a segment is reached", {},
                options_.broker_limits.watches);
  return {};
}

}  // namespace atoll_ipc::daemon
