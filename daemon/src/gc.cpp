// Gc: what could be cleaned up, why, and the proof; and doing it.
//
// Four sorts: files in the broker's own directory that belong to no segment; directories of this user's
// brokers whose runtime directory is gone; drained lanes that have no producer; segments that cannot be
// used (kept: only their owner may decide). SPEC.md and docs describe the command.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "access.hpp"
#include "guard.hpp"
#include "methods.hpp"
#include "segment_files.hpp"

namespace atoll_ipc::daemon {

using nlohmann::json;
using protocol::Role;

namespace {

struct Findings {
  json rows = json::array();
  std::uint64_t bytes = 0;
  void add(bool remove, const std::string& name, std::uint64_t size, const std::string& reason, const std::string& proof) {
    rows.push_back({{"action", remove ? "remove" : "keep"}, {"name", name}, {"bytes", size}, {"reason", reason}, {"proof", proof}});
    if (remove) bytes += size;
  }
};

// Nothing, where it cannot be looked into now: then nothing is found there.
std::vector<std::string> listed(int directory) {
  auto names = list_directory(directory);
  return names ? std::move(*names) : std::vector<std::string>();
}

// Did its producer say that nothing more will come? `unknown`: the answer where the file cannot be looked into now.
bool finished(Segment& segment, const Lane& lane, bool unknown) {
  auto mapping = map_segment_file(segment, *segment.file(Role::lane, lane.number));
  bool found = unknown;
  if (mapping) static_cast<void>(guarded([&] { found = (*mapping)->as<protocol::LaneHeader>()->finished.load_acquire() != 0; }));
  return found;
}

// Every group of the stream has read the lane to its end and nothing of it is open.
bool drained(Segment& segment, const Lane& lane) {
  if (segment.groups.empty()) return false;
  auto lane_mapping = map_segment_file(segment, *segment.file(Role::lane, lane.number));
  if (!lane_mapping) return false;
  const auto& header = *(*lane_mapping)->as<protocol::LaneHeader>();
  for (const auto& [id, group] : segment.groups) {
    if (group.aside) continue;  // reads no more
    auto mapping = map_segment_file(segment, *segment.file(Role::group, id));
    if (!mapping || group.damaged) return false;
    const auto& file = *(*mapping)->as<protocol::GroupFile>();
    bool done = false;
    const bool whole = guarded([&] {
      done = file.lanes[lane.number].cursor.load_acquire() == header.tail.load_acquire() && file.lanes[lane.number].incarnation.load_acquire() == lane.incarnation;
      for (const protocol::Claim& claim : file.claims) done = done && (claim.state.load_acquire() == 0 || claim.lane != lane.number);
    });
    if (!whole || !done) return false;
  }
  return true;
}

void find_strays(Broker& broker, bool apply, Findings& out) {
  for (const std::string& entry : listed(broker.runtime.shm.get())) {
    if (entry == "bells" || entry == "runtime") continue;
    const bool owned = std::any_of(broker.store->all().begin(), broker.store->all().end(), [&](const auto& each) { return each.second->directory_name() == entry; });
    if (owned) continue;
    out.add(true, broker.runtime.shm_path + "/" + entry, allocated_bytes_at(broker.runtime.shm.get(), entry), "belongs to no segment",
            "no manifest in " + broker.runtime.segments_path + " names it");
    if (!apply) continue;
    if (::unlinkat(broker.runtime.shm.get(), entry.c_str(), 0) != 0) remove_tree_at(broker.runtime.shm.get(), entry);
  }
}

void find_vanished(Broker& broker, bool apply, Findings& out) {
  const std::string own = directory_id(broker.runtime.path);
  for (const std::string& id : listed(broker.runtime.shm_parent.get())) {
    if (id == own) continue;
    const std::string where = "/dev/shm/atoll-" + std::to_string(::geteuid()) + "/" + id;
    auto directory = open_directory_at(broker.runtime.shm_parent.get(), id);
    if (!directory) {
      out.add(false, where, 0, "is not a directory of a broker", directory.error().message);
      continue;
    }
    const auto list = list_directory(directory->get());
    if (!list) continue;  // not known to be empty
    const std::vector<std::string>& children = *list;
    if (children.empty()) {
      out.add(true, where, 0, "is empty", "a broker ended before it wrote anything there");
      if (apply) ::unlinkat(broker.runtime.shm_parent.get(), id.c_str(), AT_REMOVEDIR);
      continue;
    }
    std::uint64_t bytes = 0;
    for (const std::string& child : children) bytes += allocated_bytes_at(directory->get(), child);
    auto text = read_file_at(directory->get(), "runtime", 4096, "the file runtime");
    std::string runtime = text ? *text : std::string();
    while (!runtime.empty() && runtime.back() == '\n') runtime.pop_back();
    if (runtime.empty() || directory_id(runtime) != id) {
      out.add(false, where, bytes, "does not say whose it is", "its file `runtime` is missing or names another directory");
      continue;
    }
    if (::flock(directory->get(), LOCK_EX | LOCK_NB) != 0) continue;  // a broker uses it, whose runtime directory is not to be seen from here
    struct stat status {};
    if (::stat((runtime + "/lock").c_str(), &status) == 0 || errno != ENOENT) continue;  // its broker is there, or may come back
    out.add(true, where, bytes, "its broker's runtime directory is gone", runtime + "/lock does not exist");
    if (!apply) continue;
    for (const std::string& child : children)
      if (::unlinkat(directory->get(), child.c_str(), 0) != 0) remove_tree_at(directory->get(), child);
    remove_tree_at(broker.runtime.shm_parent.get(), id);
  }
}

void find_drained_lanes(Broker& broker, uid_t uid, bool apply, Findings& out) {
  for (const auto& [name, segment] : broker.store->all()) {
    if (segment->broken || !segment->stream() || !has_right(segment->manifest, uid, Right::admin)) continue;
    if (segment->lanes.empty()) continue;
    std::vector<unsigned> idle;
    const Lane& first = segment->lanes.begin()->second;  // stays
    for (const auto& [number, lane] : segment->lanes)
      // One that says finished must stay if no other says so: readers would not hear of the end.
      if (!lane.owner && lane.last_uid != kNobodyKnown && !lane.damaged && number != first.number && drained(*segment, lane) &&
          (!finished(*segment, lane, true) || finished(*segment, first, false)))
        idle.push_back(number);
    for (const unsigned number : idle) {
      const std::uint64_t size = segment->file(Role::lane, number)->size;
      if (apply && !broker.store->remove_lane(*segment, number)) continue;
      out.add(true, name + " lane " + std::to_string(number), size, "has no producer and every group has read it",
              "all cursors are at its tail and no claim is open");
    }
  }
}

}  // namespace

Result<Reply> Methods::gc(Connection& connection, Arguments& in) {
  const bool apply = in.flag("apply");
  if (auto wrong = in.done(); !wrong) return fail(wrong.error());
  const bool own = connection.peer.uid == 0 || connection.peer.uid == ::geteuid();
  Findings findings;
  if (own) {
    find_strays(broker_, apply, findings);
    find_vanished(broker_, apply, findings);
  }
  find_drained_lanes(broker_, connection.peer.uid, apply, findings);
  for (const auto& [name, segment] : broker_.store->all())
    if (segment->broken && !segment->awaiting_memory && has_right(segment->manifest, connection.peer.uid, Right::admin))
      findings.add(false, name, segment->bytes(), "cannot be used: " + std::string(protocol::error_text(segment->broken->code).name), segment->broken->message);
  Reply reply;
  reply.parameters = {{"findings", std::move(findings.rows)}, {"bytes", findings.bytes}};
  return reply;
}

}  // namespace atoll_ipc::daemon
