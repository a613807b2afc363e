// The segment store: every segment by name; creating, describing, adopting and removing them.
//
// The commit point of a creation is the manifest's rename, of a removal the manifest's unlink; the
// journal's INTENT before either tells a restarted broker what to undo or finish. Policy (rights,
// limits) is the caller's.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "journal.hpp"
#include "runtime_directory.hpp"
#include "segment.hpp"

namespace atoll_ipc::daemon {

// Where a new group starts.
struct GroupStart {
  enum class From { earliest, latest, back } from = From::earliest;
  std::uint64_t back = 0;
};

class SegmentStore {
 public:
  SegmentStore(RuntimeDirectory& runtime, Journal& journal) : runtime_(runtime), journal_(journal) {}

  // At start: what the journal left unfinished, then every manifest. Broken segments are kept, marked.
  Result<void> adopt_all(const Replay& replay, std::uint64_t epoch);
  // What the next broker must know of segments and cannot read from them.
  void save(std::vector<nlohmann::json>& entries) const;

  [[nodiscard]] SegmentPtr find(const std::string& name) const;
  [[nodiscard]] const std::map<std::string, SegmentPtr>& all() const noexcept { return segments_; }

  // `draft`: name, kind, backing, directory, geometry, access, uid. For a file backing whose directory
  // holds data of this name already, that data is adopted; `adopted` tells.
  Result<SegmentPtr> create(protocol::Manifest draft, bool& adopted);
  // A newest manifest of this name in the directory of a file backing, if there is one.
  [[nodiscard]] Result<protocol::Manifest> find_saved(const std::string& name, const std::string& directory) const;
  void remove(const SegmentPtr& segment);
  // A `file` segment that another broker had: taken up, if that one let go of it.
  Result<void> adopt_again(Segment& segment);

  // A file for a new lane, state closed; its number is the lowest free one.
  Result<Lane*> add_lane(Segment& segment);
  Result<void> remove_lane(Segment& segment, unsigned number);
  Result<Group*> add_group(Segment& segment, const std::string& name, std::uint32_t flags, const GroupStart& start);
  Result<void> remove_group(Segment& segment, unsigned id);
  // The file of a lane or group that is spoilt: not given out again, also not by the next broker.
  void set_aside(Segment& segment, const protocol::ManifestFile& file);
  // A group that is set aside: nobody comes to it any more, and no producer that comes could learn how far it has
  // read. It holds nobody back from here on.
  void set_group_aside(Segment& segment, Group& group, const std::string& why);
  // After a restart: the last step of making a group may be missing.
  static Result<void> raise_starts(Segment& segment);

  // changes + 1, and wakes who sleeps on the segment.
  void changed(Segment& segment);
  void ring(Segment& segment);

  // A file offered by a client that held it: taken if it is one that the journal says a lost memfd segment had.
  bool offer_memory(const UniqueFd& fd);
  // Nobody offers any more. With its control files it goes on, without lanes and groups that nobody held; else it is lost.
  bool end_wait(Segment& segment);

  [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }
  [[nodiscard]] std::uint64_t epoch() const noexcept { return epoch_; }
  [[nodiscard]] RuntimeDirectory& runtime() noexcept { return runtime_; }

 private:
  Result<void> publish(Segment& segment);
  void recall(Segment& segment);
  Result<void> adopt(Segment& segment);
  Result<void> adopt_data(Segment& segment);
  Result<void> adopt_files(Segment& segment, bool others_may_write = false);
  Result<void> adopt_manifest(const std::string& file_name);
  Result<void> finish_interrupted(const Replay& replay);
  Result<void> finish_creation(const SegmentPtr& segment);
  void journal_memory(const Segment& segment, protocol::Role role, unsigned index);
  Result<void> unlist(Segment& segment, protocol::Role role, unsigned index);
  void take_memory(Segment& segment);
  void take_back(Segment& segment, const protocol::ManifestFile& file);
  void remove_files(Segment& segment) noexcept;
  void unlink_files(Segment& segment);
  void remove_strays(Segment& segment) noexcept;

  RuntimeDirectory& runtime_;
  Journal& journal_;
  std::map<std::string, SegmentPtr> segments_;
  // Until every manifest is adopted: what the journal says of a segment (Segment has the same).
  struct Noted {
    std::map<std::pair<protocol::Role, unsigned>, FileIdentity> memory;
    std::map<unsigned, uid_t> producers;
    std::map<unsigned, std::uint64_t> owners;  // lanes that an attachment holds: its producer
    std::set<std::tuple<protocol::Role, unsigned, std::uint64_t>> aside;
  };
  struct Remembered {
    std::map<std::pair<std::string, std::uint64_t>, Noted> segments;  // by name and generation
    explicit Remembered(const Replay& replay);
    Remembered() = default;
  };
  [[nodiscard]] const Noted* noted(const Segment& segment) const;

  Remembered remembered_;
  std::uint64_t generation_ = 0;
  std::uint64_t epoch_ = 0;
};

}  // namespace atoll_ipc::daemon
