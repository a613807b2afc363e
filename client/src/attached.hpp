// What Attach and Refresh bring: the manifest, and files checked and mapped.
//
// Used by the engines when they open and when lanes or groups changed. Every file is checked against
// the manifest and its own header page before it is mapped (SPEC.md, "Header page").
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "atoll/protocol/header_page.hpp"
#include "atoll/protocol/lane_walk.hpp"
#include "atoll/protocol/manifest.hpp"
#include "mapping.hpp"
#include "session.hpp"

namespace atoll_ipc {

struct AttachedFile {
  protocol::Role role = protocol::Role::header;
  unsigned index = 0;             // lane number or group id
  std::uint64_t incarnation = 0;  // of the lane
  Mapping mapping;
};

struct Attached {
  std::shared_ptr<Session> session;
  ConnectOptions how;  // its client's, for the calls that it makes later
  std::shared_ptr<Attachment> attachment;
  protocol::Manifest manifest;
  std::optional<unsigned> lane;
  unsigned group_id = 0;
  std::uint64_t changes = 0;  // the header's counter when the files were listed
  std::vector<AttachedFile> files;

  // Takes the one file of this role out; bad_manifest if the broker sent none.
  Result<Mapping> take(protocol::Role role);
  [[nodiscard]] protocol::RingGeometry geometry() const noexcept;
};

struct AttachRequest {
  std::string name;
  std::string role;  // "produce", "consume", "observe", "map"
  protocol::Kind kind = protocol::Kind::stream;
  std::string group;
  nlohmann::json group_options;  // or null
  bool writable = false;
  Access lane_access = Access::read;  // private_copy for views that may be scribbled on
  Access data_access = Access::read;
  Deadline wait = Deadline::now();
};

Result<Attached> attach(const std::shared_ptr<Session>& session, const ConnectOptions& how, const AttachRequest& request);

// The files that are new since: `lanes` and `groups` are what the engine has, as [number, incarnation].
struct Refreshed {
  std::vector<AttachedFile> files;
  std::vector<unsigned> gone_lanes;
  std::vector<unsigned> gone_groups;
};
Result<Refreshed> refresh(Attached& attached, const nlohmann::json& lanes, const nlohmann::json& groups, Access lane_access);

}  // namespace atoll_ipc
