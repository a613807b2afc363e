// Methods by which a process comes to hold something: Await, Attach, Refresh, Detach.
#include <fcntl.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "access.hpp"
#include "atoll/protocol/kill_point.hpp"
#include "guard.hpp"
#include "lane_recovery.hpp"
#include "methods.hpp"
#include "segment_files.hpp"

namespace atoll_ipc::daemon {

using nlohmann::json;
using protocol::Backing;
using protocol::Role;

namespace {

// How often lanes, groups or members of the segment have changed.
std::uint64_t changes_of(Segment& segment) {
  std::uint64_t changes = 0;
  if (segment.header)
    static_cast<void>(guarded([&] { changes = (segment.stream() ? segment.stream_header()->changes : segment.bytes_header()->changes).load_acquire(); }));
  return changes;
}

}  // namespace

Result<Reply> Methods::await(Connection& connection, Arguments& in) {
  const std::string name = in.text("name");
  const std::int64_t wait_ms = in.number("wait_ms", -1, INT64_MAX / 1'000'000);
  if (auto wrong = in.done(); !wrong) return fail(wrong.error());
  auto found = usable(name);
  if (found) {
    Reply reply;
    reply.parameters = {{"kind", protocol::kind_name((*found)->manifest.kind)}, {"generation", (*found)->manifest.generation}};
    return reply;
  }
  if (found.error().code != Errc::unknown_segment) return fail(found.error());
  return wait_for(connection, name, wait_ms);
}

Result<Reply> Methods::wait_for(Connection& connection, const std::string& name, std::int64_t wait_ms) {
  if (wait_ms == 0) return fail(Errc::timed_out, "there is no segment '" + name + "' yet", name);
  if (broker_.stopping) return fail(Errc::shutting_down, "the broker is stopping", name);
  if (auto allowed = broker_.limits->check_watch(connection.peer, broker_.waits_of(connection.peer.uid), broker_.waits()); !allowed)
    return fail(allowed.error());
  connection.waiting_for = name;
  connection.hold();
  if (wait_ms > 0)
    connection.wait_timer = broker_.loop->after(wait_ms * 1'000'000, [&connection, name, wait_ms] {
      connection.send(error_reply({Errc::timed_out, "no segment '" + name + "' appeared within " + std::to_string(wait_ms) + " ms", name,
                                   static_cast<std::uint64_t>(wait_ms), {}}));
      connection.release();
    });
  Reply reply;
  reply.deferred = true;
  return reply;
}

void Methods::wait_over(Connection& connection) {
  const SegmentPtr segment = broker_.store->find(connection.waiting_for);
  if (!segment) return;
  if (connection.waiting_attach) {
    const json parameters = std::move(*connection.waiting_attach);
    Arguments arguments(parameters);
    auto allowed = broker_.check_descriptors(connection.peer.uid);
    answer(connection, allowed ? attach(connection, arguments) : fail(allowed.error()), false);
  } else {
    connection.send(result_reply({{"kind", protocol::kind_name(segment->manifest.kind)}, {"generation", segment->manifest.generation}}));
  }
  connection.release();
}

void Methods::give_up_wait(Connection& connection) {
  connection.send(error_reply({Errc::shutting_down, "the broker is stopping", connection.waiting_for, 0, {}}));
  connection.release();
}

Result<void> Methods::add_fd(Reply& reply, const Segment& segment, const protocol::ManifestFile& file, bool writable) {
  auto fd = open_segment_file(segment, file, writable);
  if (!fd) return fail(fd.error());
  json row = json::object();
  row["role"] = protocol::role_name(file.role);
  row["size"] = file.size;
  row["writable"] = writable;
  if (file.role == Role::lane) row["lane"] = file.index;
  if (file.role == Role::lane || file.role == Role::group) row["incarnation"] = file.incarnation;
  if (file.role == Role::group) {
    row["group"] = file.group;
    row["id"] = file.index;
  }
  reply.parameters["fds"].push_back(std::move(row));
  reply.fds.push_back(std::move(*fd));
  return {};
}

// The spoilt file of one lane or group must not keep the others from a client.
bool Methods::ends_there(Segment& segment, const protocol::ManifestFile& file, const Failure& failure) {
  if (!spoilt(failure)) return false;
  if (file.role == Role::group) {
    broker_.store->set_group_aside(segment, segment.groups[file.index], failure.message);
  } else if (file.role == Role::lane) {
    if (!std::exchange(segment.lanes[file.index].damaged, true)) spdlog::error("{}", failure.message);
    broker_.store->set_aside(segment, file);
  } else {
    return false;
  }
  return true;
}

// An idle lane of the stream where there is one, else a new file. Its mapping.
Result<std::shared_ptr<Mapping>> Methods::give_lane(const SegmentPtr& segment, const Process& who, Attachment& attachment) {
  Lane* chosen = nullptr;
  Lane* worse = nullptr;  // a group may not come through what its last producer left there
  std::shared_ptr<Mapping> mapping, worse_mapping;
  for (auto& [number, lane] : segment->lanes) {
    if (lane.owner || lane.damaged || lane.sealed) continue;
    // A memfd lane is sealed for one producer. From another user nothing is taken over: a child of his may still write there.
    if (segment->manifest.backing == Backing::memfd && lane.producer_id != 0) continue;
    if (lane.producer_id != 0 && lane.last_uid != who.uid) continue;
    Recovery::IdleLane found;
    if (broker_.recovery->settle_idle_lane(*segment, lane, found) != Recovery::LaneResult::sound) continue;
    const bool through = broker_.recovery->groups_come_through(*segment, lane, found);
    (through ? chosen : worse) = &lane;
    (through ? mapping : worse_mapping) = std::move(found.mapping);
    if (through) break;
  }
  if (chosen == nullptr) {
    auto made = add_lane(segment, who);
    if (!made && worse == nullptr) return fail(made.error());
    chosen = made ? *made : worse;
    if (!made) mapping = std::move(worse_mapping);
  }
  attachment.lane = chosen->number;
  attachment.producer_id = broker_.slots->next_producer();
  if (mapping) return mapping;
  return map_segment_file(*segment, *segment->file(Role::lane, chosen->number));
}

Result<Lane*> Methods::add_lane(const SegmentPtr& segment, const Process& who) {
  const std::uint64_t bytes = protocol::lane_file_size(segment->manifest.capacity);
  const bool file = segment->manifest.backing == Backing::file;
  if (segment->lanes.size() < protocol::kMaxLanes)
    if (auto allowed = broker_.limits->check_growth(who, *segment, bytes, true, file ? segment->directory.get() : broker_.runtime.shm.get(),
                                                    file ? segment->manifest.directory : "/dev/shm");
        !allowed)
      return fail(allowed.error());
  return broker_.store->add_lane(*segment);
}

Result<void> Methods::give_group(const SegmentPtr& segment, const Process& who, Arguments& options, Attachment& attachment, bool& created, bool may_create) {
  const bool exclusive = options.flag("exclusive");
  const bool ephemeral = options.flag("ephemeral");
  const bool says_exclusive = options.has("exclusive");
  const bool says_ephemeral = options.has("ephemeral");
  const std::string start_text = options.optional_text("start").value_or("earliest");
  GroupStart start;
  const auto back = options.optional_number("start_back", 0, INT64_MAX);
  if (start_text == "latest")
    start.from = GroupStart::From::latest;
  else if (start_text == "back")
    start.from = GroupStart::From::back;
  else if (start_text != "earliest")
    options.bad_value("start", "is '" + start_text.substr(0, 40) + "', which is neither earliest, latest nor back");
  if (start.from == GroupStart::From::back && !back) options.bad_value("start_back", "is missing, as start is back");
  start.back = static_cast<std::uint64_t>(back.value_or(0));
  if (auto wrong = options.done(); !wrong) return wrong;
  Group* group = segment->group_named(attachment.group_name);
  if (group == nullptr && may_create) {
    if (segment->groups.size() < protocol::kMaxGroups) {
      const bool file = segment->manifest.backing == Backing::file;
      if (auto allowed = broker_.limits->check_growth(who, *segment, sizeof(protocol::GroupFile), false,
                                                      file ? segment->directory.get() : broker_.runtime.shm.get(),
                                                      file ? segment->manifest.directory : "/dev/shm");
          !allowed)
        return allowed;
    }
    const std::uint32_t flags = (exclusive ? protocol::kGroupExclusive : 0) | (ephemeral ? protocol::kGroupEphemeral : 0);
    auto made = broker_.store->add_group(*segment, attachment.group_name, flags, start);
    if (!made) return fail(made.error());
    group = *made;
    created = true;
  }
  if (group->damaged)
    return fail(Errc::group_damaged, "group '" + group->name + "' of '" + segment->name() + (group->aside ? "': its file was spoilt" : "' holds values that no consumer writes"), segment->name());
  const bool is_exclusive = (group->flags & protocol::kGroupExclusive) != 0;
  const bool is_ephemeral = (group->flags & protocol::kGroupEphemeral) != 0;
  if ((says_exclusive && exclusive != is_exclusive) || (says_ephemeral && ephemeral != is_ephemeral)) {
    const auto words = [](bool e, bool m) { return std::string(e ? "exclusive" : "shared") + (m ? ", ephemeral" : ", lasting"); };
    return fail(Errc::exists_with_other_options,
                "group '" + group->name + "' of '" + segment->name() + "' exists as " + words(is_exclusive, is_ephemeral) + "; asked for " +
                    words(says_exclusive ? exclusive : is_exclusive, says_ephemeral ? ephemeral : is_ephemeral),
                segment->name());
  }
  if (is_exclusive && !group->members.empty())
    return fail(Errc::group_exclusive, "group '" + group->name + "' of '" + segment->name() + "' belongs to one consumer at a time and has one", segment->name());
  attachment.group = group->id;
  attachment.group_incarnation = group->incarnation;
  return {};
}

Result<Reply> Methods::attach(Connection& connection, Arguments& in) {
  const std::string name = in.text("name");
  const std::string role_text = in.text("role");
  const auto group_name = in.optional_text("group");
  const json& group_options = in.object("group_options", false);
  const bool writable = in.flag("writable");
  const std::int64_t wait_ms = in.optional_number("wait_ms", -1, INT64_MAX / 1'000'000).value_or(0);
  if (auto wrong = in.done(); !wrong) return fail(wrong.error());
  const auto role = parse_attach_role(role_text);
  if (!role) return fail(Errc::invalid_argument, "the parameter 'role' is '" + role_text.substr(0, 40) + "', which is neither produce, consume, observe nor map", name);
  if (!connection.slot) return fail(Errc::protocol_error, "Attach needs a slot: say Hello first", name, 0, "call Hello as the first call of the connection");
  Slot* slot = broker_.slots->find(*connection.slot);
  if (slot == nullptr) return fail(Errc::protocol_error, "this connection's slot is gone", name, 0, "connect again");
  auto found = usable(name);
  if (!found && found.error().code == Errc::unknown_segment && wait_ms != 0) {
    auto waiting = wait_for(connection, name, wait_ms);
    if (waiting) connection.waiting_attach = in.all();
    return waiting;
  }
  if (!found) return fail(found.error());
  const SegmentPtr segment = *found;
  const uid_t uid = connection.peer.uid;
  const bool for_stream = *role != AttachRole::map;
  if (segment->stream() != for_stream)
    return fail(Errc::wrong_kind, "'" + name + "' is of kind " + protocol::kind_name(segment->manifest.kind) + "; role " + role_text + " is for " + (for_stream ? "stream" : "bytes"), name);
  const Right right = *role == AttachRole::produce || (*role == AttachRole::map && writable) ? Right::produce
                      : *role == AttachRole::consume                                         ? Right::consume
                                                                                             : Right::observe;
  if (auto allowed = check_right(segment->manifest, uid, right); !allowed) return fail(allowed.error());
  if (auto allowed = broker_.limits->check_attachment(*slot, name); !allowed) return fail(allowed.error());

  Attachment attachment;
  attachment.segment = segment;
  attachment.role = *role;
  attachment.writable = writable;
  bool created = false;
  if (*role == AttachRole::consume) {
    if (!group_name) return fail(Errc::protocol_error, "the parameter 'group' is missing", name, 0, "name the group to read through");
    if (!protocol::valid_group(*group_name)) return fail(Errc::invalid_name, "'" + group_name->substr(0, 64) + "' is not a valid group name", name);
    attachment.group_name = *group_name;
    Arguments options(group_options, "group_options.");
    if (auto given = give_group(segment, connection.peer, options, attachment, created, true); !given) {
      Failure failure = given.error();
      failure.segment = name;
      return fail(std::move(failure));
    }
  }
  std::shared_ptr<Mapping> lane_mapping;
  if (*role == AttachRole::produce) {
    auto given = give_lane(segment, connection.peer, attachment);
    if (!given) return fail(given.error());
    lane_mapping = std::move(*given);
  }

  // A group that was made for nobody would hold the stream's producers back.
  std::optional<unsigned> made_group = created ? attachment.group : std::nullopt;
  const auto undo = [&](Failure failure) {
    if (made_group) static_cast<void>(broker_.store->remove_group(*segment, *made_group));
    return fail(std::move(failure));
  };
  // Descriptors first: with them missing nothing else has happened yet that must be undone.
  Reply reply;
  reply.parameters = {{"fds", json::array()}};
  for (const protocol::ManifestFile& file : segment->manifest.files) {
    bool wanted = true;
    bool may_write = file.role == Role::bell;
    if (file.role == Role::lane) {
      wanted = *role != AttachRole::produce || file.index == attachment.lane;
      may_write = *role == AttachRole::produce;
      // A damaged lane is not read any more; the others are.
      if (wanted && !may_write && segment->lanes[file.index].damaged) continue;
    } else if (file.role == Role::group) {
      wanted = *role == AttachRole::produce || file.index == attachment.group;
      may_write = *role == AttachRole::consume;
    } else if (file.role == Role::data) {
      may_write = writable;
    }
    if (!wanted) continue;
    if (auto added = add_fd(reply, *segment, file, may_write); !added) {
      const bool set_aside = ends_there(*segment, file, added.error());
      if (set_aside && file.role == Role::group && *role == AttachRole::produce) continue;
      Failure failure = added.error();
      // Whoever is the first to meet it hears of it.
      if (set_aside && file.role == Role::lane) failure.fix = "open it again: the stream goes on without this lane";
      if (set_aside && file.role == Role::group) failure = {Errc::group_damaged, "group '" + *group_name + "' of '" + name + "': " + failure.message, name, 0, {}};
      return undo(std::move(failure));
    }
  }

  ATOLL_KILL_POINT("broker.attach.before");
  const Attachment& held = broker_.slots->attach(*slot, std::move(attachment));
  if (held.lane) {
    Lane& lane = segment->lanes[*held.lane];
    lane.owner = slot->key;
    lane.last_uid = uid;
    lane.producer_id = held.producer_id;
    lane.state = protocol::LaneState::owned;
    auto& header = *lane_mapping->as<protocol::LaneHeader>();
    const SlotKey key = slot->key;
    const std::uint64_t producer = held.producer_id;
    const bool set = guarded([&] { set_lane_owner(header, protocol::LaneState::owned, key.slot, key.generation, producer); });
    if (!set) {
      lane.damaged = true;
      broker_.recovery->give_back(held.id);
      return fail(Errc::lane_damaged, "lane " + std::to_string(lane.number) + " of '" + name + "' was cut", name);
    }
  }
  if (held.group) {
    Group& group = segment->groups[*held.group];
    group.members.insert(held.id);
    broker_.recovery->store_members(*segment, group);
  }
  ATOLL_KILL_POINT("broker.attach.after");
  // A broker that comes after this one must know of it: else it takes the lane, or the group's member, for nobody's.
  if (auto written = broker_.compact_journal_if_wanted(); !written) {
    broker_.recovery->give_back(held.id);
    Failure failure = written.error();
    failure.segment = name;
    return undo(std::move(failure));
  }
  reply.parameters["attachment"] = held.id;
  reply.parameters["created"] = created;
  if (segment->manifest_head.empty()) segment->manifest_head = text_of(protocol::manifest_head(segment->manifest));
  reply.manifest = segment->manifest_head;
  reply.parameters["changes"] = changes_of(*segment);
  if (held.lane) {
    reply.parameters["lane"] = *held.lane;
    reply.parameters["producer_id"] = held.producer_id;
  }
  if (held.group) reply.parameters["group_id"] = *held.group;
  return reply;
}

void Methods::seal_lane(Segment& segment, unsigned number) {
  const auto at = segment.memfds.find({Role::lane, number});
  const auto lane = segment.lanes.find(number);
  if (at == segment.memfds.end() || lane == segment.lanes.end() || lane->second.sealed) return;
  // Its one producer has mapped it; from here on nobody gets a writable mapping any more.
  if (::fcntl(at->second.get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0)
    spdlog::warn("'{}' lane {}: sealing failed: {}", segment.name(), number, std::strerror(errno));
}

Result<Reply> Methods::refresh(Connection& connection, Arguments& in) {
  const std::int64_t id = in.number("attachment", 0, INT64_MAX);
  const json& lanes = in.array("lanes", true);
  const json& groups = in.array("groups", true);
  const auto pairs = [&](const json& list, const char* field) {
    std::map<std::uint64_t, std::uint64_t> out;
    for (const json& pair : list) {
      if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number_unsigned() || !pair[1].is_number_unsigned()) {
        in.refuse({Errc::protocol_error, std::string("the parameter '") + field + "' is not a list of [number, incarnation]", {}, 0, "send pairs of whole numbers"});
        break;
      }
      out[pair[0].get<std::uint64_t>()] = pair[1].get<std::uint64_t>();
    }
    return out;
  };
  const auto has_lanes = pairs(lanes, "lanes");
  const auto has_groups = pairs(groups, "groups");
  if (auto wrong = in.done(); !wrong) return fail(wrong.error());
  Attachment* attachment = broker_.slots->attachment(id);
  if (attachment == nullptr || !connection.slot || attachment->slot != *connection.slot)
    return fail(Errc::invalid_argument, "the parameter 'attachment' is " + std::to_string(id) + ", which this connection does not hold", {}, static_cast<std::uint64_t>(id),
                "attach again");
  Segment& segment = *attachment->segment;
  Reply reply;
  json& out = reply.parameters;
  out = {{"state", segment.removed ? "removed" : "live"}, {"changes", changes_of(segment)}, {"fds", json::array()}, {"gone_lanes", json::array()}, {"gone_groups", json::array()}};
  if (segment.removed) return reply;
  if (!attachment->mapped && attachment->lane && segment.manifest.backing == Backing::memfd) seal_lane(segment, *attachment->lane);
  attachment->mapped = true;
  const bool reads_lanes = attachment->role == AttachRole::consume || attachment->role == AttachRole::observe;
  const bool watches_groups = attachment->role == AttachRole::produce;
  for (const protocol::ManifestFile& file : segment.manifest.files) {
    const bool lane = file.role == Role::lane && reads_lanes && !segment.lanes[file.index].damaged;
    const bool group = file.role == Role::group && watches_groups;
    if (!lane && !group) continue;
    const auto& has = lane ? has_lanes : has_groups;
    const auto at = has.find(file.index);
    if (at != has.end() && at->second == file.incarnation) continue;
    if (auto added = add_fd(reply, segment, file, false); !added && !ends_there(segment, file, added.error())) return fail(added.error());
  }
  for (const auto& [number, incarnation] : has_lanes) {
    const auto at = segment.lanes.find(static_cast<unsigned>(number));
    if (number >= protocol::kMaxLanes || at == segment.lanes.end()) out["gone_lanes"].push_back(number);
  }
  for (const auto& [number, incarnation] : has_groups) {
    const auto at = segment.groups.find(static_cast<unsigned>(number));
    if (number >= protocol::kMaxGroups || at == segment.groups.end()) out["gone_groups"].push_back(number);
  }
  // A consumer whose group was removed holds nothing any more.
  if (attachment->role == AttachRole::consume && !attachment->group) out["state"] = "removed";
  return reply;
}

Result<Reply> Methods::detach(Connection& connection, Arguments& in) {
  const std::int64_t id = in.number("attachment", 0, INT64_MAX);
  if (auto wrong = in.done(); !wrong) return fail(wrong.error());
  const Attachment* attachment = broker_.slots->attachment(id);
  // Repeated after a lost connection: it is given back already.
  if (attachment == nullptr) return Reply{};
  if (!connection.slot || attachment->slot != *connection.slot)
    return fail(Errc::invalid_argument, "the parameter 'attachment' is " + std::to_string(id) + ", which this connection does not hold", {}, static_cast<std::uint64_t>(id));
  broker_.recovery->give_back(id);
  return Reply{};
}

}  // namespace atoll_ipc::daemon
