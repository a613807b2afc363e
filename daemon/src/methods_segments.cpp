// Methods on segments as a whole: Create, Remove, List, Show, Manifest.
#include <spdlog/spdlog.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "access.hpp"
#include "clock.hpp"
#include "data_directory.hpp"
#include "methods.hpp"
#include "segment_files.hpp"

namespace atoll_ipc::daemon {

using nlohmann::json;
using protocol::Backing;
using protocol::Kind;
using protocol::Role;

namespace {

constexpr std::uint64_t kDefaultCapacity = 1 << 20;

std::vector<protocol::AccessRule> read_access(Arguments& in, const json& list) {
  std::vector<protocol::AccessRule> access;
  for (const json& row : list) {
    if (!row.is_object()) {
      in.bad_value("access", "holds something that is no object");
      break;
    }
    Arguments fields(row, "options.access[].");
    protocol::AccessRule rule;
    rule.user = fields.text("user");
    uid_t uid = 0;
    if (!fields.failure() && rule.user != "*" && !user_id(rule.user, uid)) fields.bad_value("user", "names '" + rule.user.substr(0, 64) + "', which is no user here");
    for (const json& right : fields.array("rights", true)) {
      const bool known = right == "produce" || right == "consume" || right == "observe" || right == "admin";
      if (!known)
        fields.bad_value("rights", "holds " + right.dump().substr(0, 40) + ", which is neither produce, consume, observe nor admin");
      else
        rule.rights.push_back(right.get<std::string>());
    }
    if (auto wrong = fields.done(); !wrong) in.refuse(wrong.error());
    access.push_back(std::move(rule));
  }
  if (access.size() > 64) in.bad_value("access", "has more than 64 entries");
  return access;
}

// Options as asked for: what was not said is filled in. `said` tells which of them were.
struct AskedOptions {
  protocol::Manifest draft;
  std::set<std::string> said;
};

Result<AskedOptions> read_options(const json& object) {
  Arguments in(object, "options.");
  AskedOptions asked;
  protocol::Manifest& draft = asked.draft;
  for (const auto& [key, value] : object.items())
    if (!value.is_null()) asked.said.insert(key);
  const std::string kind = in.text("kind");
  if (kind == "stream")
    draft.kind = Kind::stream;
  else if (kind == "bytes")
    draft.kind = Kind::bytes;
  else if (kind == "table" || kind == "log" || kind == "pool")
    in.refuse({Errc::not_supported, "this broker (" ATOLL_VERSION ") makes no segments of kind " + kind, {}, 0, "use stream or bytes"});
  else
    in.bad_value("kind", "is '" + kind.substr(0, 40) + "', which is neither stream nor bytes");
  const std::string backing = in.optional_text("backing").value_or("shm");
  if (backing == "shm")
    draft.backing = Backing::shm;
  else if (backing == "file")
    draft.backing = Backing::file;
  else if (backing == "memfd")
    draft.backing = Backing::memfd;
  else
    in.bad_value("backing", "is '" + backing.substr(0, 40) + "', which is neither shm, file nor memfd");
  draft.directory = in.optional_text("directory").value_or("");
  while (draft.directory.size() > 1 && draft.directory.back() == '/') draft.directory.pop_back();
  if (draft.backing == Backing::file && (draft.directory.empty() || draft.directory.front() != '/'))
    in.bad_value("directory", "must be an absolute path when backing is file");
  if (draft.backing != Backing::file && !draft.directory.empty()) in.bad_value("directory", "is for backing file only");

  const auto capacity = in.optional_number("capacity", 0, INT64_MAX);
  const auto when_full = in.optional_text("when_full");
  const auto alignment = in.optional_number("alignment", 0, INT64_MAX);
  const auto size = in.optional_number("size", 0, INT64_MAX);
  const auto put_size = in.optional_number("put_size", 0, INT64_MAX);
  draft.access = read_access(in, in.array("access", false));
  const auto geometry = [&](const std::string& why, std::uint64_t number) { in.refuse({Errc::invalid_geometry, why, {}, number, {}}); };
  if (draft.kind == Kind::stream) {
    if (size || put_size) in.bad_value(size ? "size" : "put_size", "is for kind bytes; a stream has capacity");
    draft.capacity = static_cast<std::uint64_t>(capacity.value_or(kDefaultCapacity));
    if (draft.capacity < protocol::kMinCapacity || draft.capacity > protocol::kMaxCapacity)
      geometry("the capacity is " + std::to_string(draft.capacity) + "; it must be from 4096 to 4294967296, and is rounded up to a power of two", draft.capacity);
    else
      draft.capacity = std::bit_ceil(draft.capacity);
    draft.alignment = static_cast<std::uint32_t>(std::min<std::int64_t>(alignment.value_or(16), UINT32_MAX));
    if (draft.alignment != 16 && draft.alignment != 64) geometry("the alignment is " + std::to_string(draft.alignment) + "; it must be 16 or 64", draft.alignment);
    const std::string mode = when_full.value_or("block");
    if (mode == "block")
      draft.when_full = protocol::WhenFull::block;
    else if (mode == "drop-new")
      draft.when_full = protocol::WhenFull::drop_new;
    else if (mode == "overwrite")
      draft.when_full = protocol::WhenFull::overwrite;
    else
      in.bad_value("when_full", "is '" + mode.substr(0, 40) + "', which is neither block, drop-new nor overwrite");
  } else {
    if (capacity || when_full) in.bad_value(capacity ? "capacity" : "when_full", "is for kind stream; a bytes segment has size");
    draft.alignment = 64;
    if (alignment && *alignment != 64) geometry("the alignment of a bytes segment is 64, not " + std::to_string(*alignment), static_cast<std::uint64_t>(*alignment));
    if (!size && !in.failure())
      in.refuse({Errc::protocol_error, "the parameter 'options.size' is missing", {}, 0, "say how many bytes the segment shall hold"});
    draft.size = static_cast<std::uint64_t>(size.value_or(1));
    if (draft.size < 1 || draft.size > protocol::kMaxBytesSize)
      geometry("the size is " + std::to_string(draft.size) + "; it must be 1 to " + std::to_string(protocol::kMaxBytesSize), draft.size);
    draft.put_size = put_size ? static_cast<std::uint64_t>(*put_size) : draft.size <= protocol::kDefaultPutLimit ? draft.size : 0;
    if (draft.put_size > draft.size) geometry("put_size is " + std::to_string(draft.put_size) + ", more than the size " + std::to_string(draft.size), draft.put_size);
  }
  if (auto wrong = in.done(); !wrong) return fail(wrong.error());
  return asked;
}

// Says how the existing segment differs from what was asked, naming both; empty if it does not.
std::string difference(const protocol::Manifest& is, const AskedOptions& asked) {
  const protocol::Manifest& want = asked.draft;
  std::string out;
  const auto differ = [&](const char* what, const std::string& a, const std::string& b, bool always) {
    if (a == b || !(always || asked.said.count(what) != 0)) return;
    if (!out.empty()) out += "; ";
    out += std::string(what) + " is " + a + ", asked for " + b;
  };
  differ("kind", protocol::kind_name(is.kind), protocol::kind_name(want.kind), true);
  if (!out.empty()) return out;
  differ("backing", protocol::backing_name(is.backing), protocol::backing_name(want.backing), false);
  differ("directory", is.directory, want.directory, false);
  if (is.kind == Kind::stream) {
    differ("capacity", std::to_string(is.capacity), std::to_string(want.capacity), false);
    differ("when_full", protocol::when_full_name(is.when_full), protocol::when_full_name(want.when_full), false);
    differ("alignment", std::to_string(is.alignment), std::to_string(want.alignment), false);
  } else {
    differ("size", std::to_string(is.size), std::to_string(want.size), false);
    differ("put_size", std::to_string(is.put_size), std::to_string(want.put_size), false);
  }
  if (asked.said.count("access") != 0 && is.access != want.access) {
    const auto text = [](const std::vector<protocol::AccessRule>& rules) {
      json list = json::array();
      for (const auto& rule : rules) list.push_back({{"user", rule.user}, {"rights", rule.rights}});
      return list.dump();
    };
    differ("access", text(is.access), text(want.access), true);
  }
  return out;
}

std::uint64_t bytes_needed(const protocol::Manifest& draft) {
  if (draft.kind == Kind::stream) return 2 * protocol::kPageSize + protocol::lane_file_size(draft.capacity);
  return protocol::kPageSize + staging_offset(draft) + protocol::round_up(draft.put_size, protocol::kPageSize);
}

std::string state_of_segment(const Segment& segment) {
  if (segment.broken) return protocol::error_text(segment.broken->code).name;
  if (segment.removed) return "removed";
  for (const auto& [number, lane] : segment.lanes)
    if (lane.damaged) return "damaged";
  for (const auto& [id, group] : segment.groups)
    if (group.damaged) return "damaged";
  return "live";
}

// A copy of a file's first bytes, taken by read and not through a mapping.
template <class T>
bool read_copy(const Segment& segment, const protocol::ManifestFile& file, T& into) {
  auto fd = open_segment_file(segment, file, false);
  return fd && ::pread(fd->get(), static_cast<void*>(&into), sizeof into, 0) == static_cast<ssize_t>(sizeof into);
}

}  // namespace

json describe_segment(Broker& broker, const Segment& segment) {
  int producers = 0;
  int consumers = 0;
  int observers = 0;
  for (const std::int64_t id : segment.attachments) {
    const Attachment* attachment = broker.slots->attachment(id);
    if (attachment == nullptr) continue;
    // Who maps bytes writable is a producer of them, who only reads an observer.
    if (attachment->role == AttachRole::produce || (attachment->role == AttachRole::map && attachment->writable))
      ++producers;
    else if (attachment->role == AttachRole::consume)
      ++consumers;
    else
      ++observers;
  }
  const protocol::Manifest& m = segment.manifest;
  const std::uint64_t now = real_ns();
  // Of one whose manifest cannot be read only the directory is known.
  const bool unread = segment.broken && m.backing == Backing::shm;
  return {{"name", m.name},
          {"kind", protocol::kind_name(m.kind)},
          {"backing", protocol::backing_name(m.backing)},
          {"size", segment.bytes()},
          {"resident", unread ? allocated_bytes_at(broker.runtime.shm.get(), segment.directory_name()) : resident_bytes(segment)},
          {"owner", user_name(m.uid)},
          {"uid", m.uid},
          {"producers", producers},
          {"consumers", consumers},
          {"observers", observers},
          {"lanes", segment.lanes.size()},
          {"groups", segment.groups.size()},
          {"state", state_of_segment(segment)},
          {"generation", m.generation},
          {"uuid", protocol::uuid_text(m.uuid)},
          {"created_ns", m.created_ns},
          {"age_ns", now > m.created_ns ? now - m.created_ns : 0}};
}

Result<Reply> Methods::create(Connection& connection, Arguments& in) {
  const std::string name = in.text("name");
  const json& object = in.object("options", true);
  if (auto wrong = in.done(); !wrong) return fail(wrong.error());
  if (!protocol::valid_name(name)) {
    auto invalid = existing(name);
    return fail(invalid.error());
  }
  auto asked = read_options(object);
  if (!asked) {
    Failure failure = asked.error();
    failure.segment = name;
    return fail(std::move(failure));
  }
  Reply reply;
  SegmentPtr segment = broker_.store->find(name);
  // Nothing is left of it, and those who may have held it had their time to come back.
  if (segment && segment->broken && segment->broken->code == Errc::segment_lost && !segment->awaiting_memory &&
      has_right(segment->manifest, connection.peer.uid, Right::admin)) {
    broker_.store->remove(segment);
    segment.reset();
  }
  // Another broker had it when this one asked last.
  if (segment && segment->broken && segment->broken->code == Errc::in_use && has_right(segment->manifest, connection.peer.uid, Right::admin)) {
    auto adopted = broker_.store->adopt_again(*segment);
    broker_.recovery->bind(segment);  // if it is whole now, though its manifest could not be published
    if (!adopted) return fail(adopted.error());
  }
  if (segment) {
    if (segment->broken) return fail(*segment->broken);
    if (!has_any_right(segment->manifest, connection.peer.uid)) return fail(check_right(segment->manifest, connection.peer.uid, Right::admin).error());
    if (const std::string other = difference(segment->manifest, *asked); !other.empty())
      return fail(Errc::exists_with_other_options, "'" + name + "' exists with other options: " + other, name);
    reply.parameters = {{"created", false}, {"segment", describe_segment(broker_, *segment)}};
    return reply;
  }
  if (auto allowed = broker_.name_policy.check(name, connection.peer.uid, ::geteuid()); !allowed) return fail(allowed.error());
  protocol::Manifest draft = asked->draft;
  draft.name = name;
  draft.uid = connection.peer.uid;
  UniqueFd where;
  bool there = false;
  if (draft.backing == Backing::file) {
    // On behalf of a user the broker writes only where that user could. As its own user, anywhere it can.
    if (connection.peer.uid != ::geteuid() && connection.peer.uid != 0)
      return fail(Errc::not_permitted, "backing file is for the broker's own user (" + user_name(::geteuid()) + ")", name, connection.peer.uid,
                  "use backing shm or memfd, or a broker of your own");
    auto opened = open_data_directory(draft.directory);
    if (!opened) {
      Failure failure = opened.error();
      failure.segment = name;
      return fail(std::move(failure));
    }
    where = std::move(*opened);
    if (auto saved = broker_.store->find_saved(name, draft.directory)) {
      if (const std::string other = difference(*saved, *asked); !other.empty())
        return fail(Errc::exists_with_other_options, "'" + name + "' exists in " + draft.directory + " with other options: " + other, name);
      there = true;
    }
  }
  const std::uint64_t needed = bytes_needed(draft);
  const std::string place = draft.backing == Backing::file ? draft.directory : "/dev/shm";
  if (auto allowed = broker_.limits->check_segment(connection.peer, draft, needed, there, where ? where.get() : broker_.runtime.shm.get(), place); !allowed)
    return fail(allowed.error());
  bool adopted = false;
  auto made = broker_.store->create(std::move(draft), adopted);
  if (!made) return fail(made.error());
  (*made)->maker = connection.peer;
  if (adopted) broker_.recovery->bind(*made);
  spdlog::info("'{}' {}: {} generation {}, {} bytes, for {}", name, adopted ? "adopted" : "created", protocol::kind_name((*made)->manifest.kind),
               (*made)->manifest.generation, (*made)->bytes(), user_name(connection.peer.uid));
  reply.parameters = {{"created", !adopted}, {"segment", describe_segment(broker_, **made)}};
  broker_.segment_appeared(name);
  return reply;
}

Result<Reply> Methods::remove(Connection& connection, Arguments& in) {
  const std::string name = in.text("name");
  const auto group_name = in.optional_text("group");
  const bool force = in.flag("force");
  if (auto wrong = in.done(); !wrong) return fail(wrong.error());
  auto found = existing(name);
  if (!found) return fail(found.error());
  Segment& segment = **found;
  // A manifest that cannot be read names no owner: only the broker's user and root may act then.
  const bool nobody = segment.broken && segment.manifest.generation == 0;
  if (nobody ? connection.peer.uid != 0 && connection.peer.uid != ::geteuid() : false)
    return fail(Errc::not_permitted, "only the broker's user or root may remove '" + name + "'", name);
  if (!nobody)
    if (auto right = check_right(segment.manifest, connection.peer.uid, Right::admin); !right) return fail(right.error());
  Reply reply;
  reply.parameters = {{"removed", true}};
  if (group_name) {
    if (segment.broken) return fail(*segment.broken);
    if (!segment.stream()) return fail(Errc::wrong_kind, "'" + name + "' is of kind bytes and has no groups", name);
    Group* group = segment.group_named(*group_name);
    if (group == nullptr) return fail(Errc::unknown_group, "'" + name + "' has no group '" + group_name->substr(0, 64) + "'", name);
    if (!group->members.empty() && !force)
      return fail(Errc::in_use, "group '" + group->name + "' of '" + name + "' has " + std::to_string(group->members.size()) + " consumers", name,
                  group->members.size());
    const std::set<std::int64_t> members = group->members;
    if (auto gone = broker_.store->remove_group(segment, group->id); !gone) return fail(gone.error());
    for (const std::int64_t id : members)
      if (Attachment* attachment = broker_.slots->attachment(id)) attachment->group.reset();
    broker_.recovery->ring_everybody(segment);
    return reply;
  }
  if (!segment.attachments.empty() && !force) {
    std::set<std::string> who;
    for (const std::int64_t id : segment.attachments)
      if (const Attachment* attachment = broker_.slots->attachment(id))
        if (const Slot* slot = broker_.slots->find(attachment->slot); slot != nullptr && who.size() < 3)
          who.insert(slot->process.command + " (process " + std::to_string(slot->process.pid) + ")");
    std::string names;
    for (const std::string& each : who) names += (names.empty() ? "" : ", ") + each;
    return fail(Errc::in_use, "'" + name + "' is used by " + names + (segment.attachments.size() > who.size() ? " and others" : ""), name,
                segment.attachments.size());
  }
  const SegmentPtr keep = *found;
  broker_.store->remove(keep);
  broker_.recovery->ring_everybody(*keep);
  spdlog::info("'{}' removed by {}", name, user_name(connection.peer.uid));
  return reply;
}

Result<Reply> Methods::list(Connection& connection, Arguments& in) {
  const std::string prefix = in.optional_text("prefix").value_or("");
  if (auto wrong = in.done(); !wrong) return fail(wrong.error());
  json rows = json::array();
  for (const auto& [name, segment] : broker_.store->all()) {
    if (name.compare(0, prefix.size(), prefix) != 0 || !has_any_right(segment->manifest, connection.peer.uid)) continue;
    rows.push_back(describe_segment(broker_, *segment));
  }
  Reply reply;
  reply.parameters = {{"segments", std::move(rows)}};
  return reply;
}

Result<Reply> Methods::manifest(Connection& connection, Arguments& in) {
  const std::string name = in.text("name");
  if (auto wrong = in.done(); !wrong) return fail(wrong.error());
  auto found = usable(name);
  if (!found) return fail(found.error());
  if (!has_any_right((*found)->manifest, connection.peer.uid)) return fail(check_right((*found)->manifest, connection.peer.uid, Right::observe).error());
  Reply reply;
  const std::string file = protocol::path_component(name) + ".json";
  reply.parameters = {{"manifest", (*found)->manifest_text}, {"path", broker_.runtime.segments_path + "/" + file}};
  if ((*found)->manifest.backing == Backing::file) reply.parameters["path"] = (*found)->directory_path + "/manifest.json";
  return reply;
}

namespace {

json describe_lane(Broker& broker, const Segment& segment, const Lane& lane) {
  const protocol::ManifestFile& file = *segment.file(Role::lane, lane.number);
  static constexpr const char* kStates[] = {"", "owned", "closed", "orphaned"};
  json row{{"lane", lane.number},   {"incarnation", lane.incarnation}, {"state", kStates[static_cast<unsigned>(lane.state)]},
           {"tail", 0},             {"sequence", 0},                   {"finished", false},
           {"dropped", 0},          {"blocked", 0},                    {"aborted", 0},
           {"wake_mode", "fenced"}, {"size", file.size}};
  if (lane.damaged) row["state"] = "damaged";
  if (lane.owner)
    if (const Slot* slot = broker.slots->find(*lane.owner)) row["pid"] = slot->process.pid;
  auto header = std::make_unique<protocol::LaneHeader>();
  if (!read_copy(segment, file, *header)) {
    row["state"] = "damaged";
    return row;
  }
  row["tail"] = header->tail.raw;
  row["sequence"] = header->sequence.raw;
  row["finished"] = header->finished.raw != 0;
  row["dropped"] = header->dropped.raw;
  row["blocked"] = header->blocked.raw;
  row["aborted"] = header->aborted.raw;
  row["wake_mode"] = header->wake_mode.raw == static_cast<std::uint32_t>(protocol::WakeMode::registered) ? "registered" : "fenced";
  return row;
}

json describe_group(const Segment& segment, const Group& group, const json& lanes) {
  json row{{"name", group.name},
           {"id", group.id},
           {"exclusive", (group.flags & protocol::kGroupExclusive) != 0},
           {"ephemeral", (group.flags & protocol::kGroupEphemeral) != 0},
           {"members", group.members.size()},
           {"claims", 0},
           {"lag", 0},
           {"lanes", json::array()}};
  auto file = std::make_unique<protocol::GroupFile>();
  if (!read_copy(segment, *segment.file(Role::group, group.id), *file)) return row;
  std::uint64_t open_records[protocol::kMaxLanes] = {};
  std::uint64_t claims = 0;
  for (const protocol::Claim& claim : file->claims) {
    if (claim.state.raw == 0 || claim.lane >= protocol::kMaxLanes || claim.count > protocol::kClaimRecords) continue;
    ++claims;
    const auto done = static_cast<unsigned>(__builtin_popcountll(claim.acked.raw));
    open_records[claim.lane] += claim.count > done ? claim.count - done : 0;
  }
  std::uint64_t lag_of_all = 0;
  for (const json& lane : lanes) {
    const auto number = lane["lane"].get<unsigned>();
    const protocol::LanePosition& position = file->lanes[number];
    const std::uint64_t sequence = lane["sequence"];
    const std::uint64_t lag = (sequence > position.next_sequence.raw ? sequence - position.next_sequence.raw : 0) + open_records[number];
    lag_of_all += lag;
    row["lanes"].push_back({{"lane", number},
                            {"cursor", position.cursor.raw},
                            {"next", position.next.raw},
                            {"next_sequence", position.next_sequence.raw},
                            {"lost", position.lost.raw},
                            {"redelivered", position.redelivered.raw},
                            {"lag", lag}});
  }
  row["claims"] = claims;
  row["lag"] = lag_of_all;
  return row;
}

}  // namespace

Result<Reply> Methods::show(Connection& connection, Arguments& in) {
  const std::string name = in.text("name");
  if (auto wrong = in.done(); !wrong) return fail(wrong.error());
  auto found = existing(name);
  if (!found) return fail(found.error());
  const Segment& segment = **found;
  if (!has_any_right(segment.manifest, connection.peer.uid)) return fail(check_right(segment.manifest, connection.peer.uid, Right::observe).error());
  Reply reply;
  json& out = reply.parameters;
  out = {{"segment", describe_segment(broker_, segment)}, {"manifest", segment.manifest_text}, {"lanes", json::array()}, {"groups", json::array()}, {"clients", json::array()}};
  if (!segment.broken) {
    for (const auto& [number, lane] : segment.lanes) out["lanes"].push_back(describe_lane(broker_, segment, lane));
    for (const auto& [id, group] : segment.groups) out["groups"].push_back(describe_group(segment, group, out["lanes"]));
    if (!segment.stream()) {
      auto header = std::make_unique<protocol::BytesHeader>();
      if (read_copy(segment, *segment.file(Role::data), *header)) {
        out["length"] = header->length.raw;
        out["version"] = header->version.raw;
      }
    }
  }
  for (const std::int64_t id : segment.attachments) {
    const Attachment* attachment = broker_.slots->attachment(id);
    const Slot* slot = attachment == nullptr ? nullptr : broker_.slots->find(attachment->slot);
    if (slot == nullptr) continue;
    json row{{"pid", slot->process.pid},
             {"command", slot->process.command},
             {"uid", slot->process.uid},
             {"slot", slot->key.slot},
             {"role", attach_role_name(attachment->role)},
             {"state", slot->connection != 0 ? "connected" : "quarantined"}};
    if (attachment->lane) row["lane"] = *attachment->lane;
    if (!attachment->group_name.empty()) row["group"] = attachment->group_name;
    if (attachment->role == AttachRole::map) row["writable"] = attachment->writable;
    out["clients"].push_back(std::move(row));
  }
  return reply;
}

}  // namespace atoll_ipc::daemon
