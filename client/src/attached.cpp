#include "attached.hpp"

#include <sys/stat.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

#include "atoll/protocol/header_check.hpp"
#include "atoll/protocol/kill_point.hpp"
#include "bell_ringer.hpp"

namespace atoll_ipc {
namespace {

using nlohmann::json;
using protocol::Role;
using protocol::UniqueFd;

tl::unexpected<Error> failed(protocol::Failure failure) {
  return fail(failure.code, std::move(failure.message), std::move(failure.segment), failure.detail, std::move(failure.fix));
}

std::optional<Role> role_of(const std::string& name) {
  for (const Role role : {Role::header, Role::lane, Role::group, Role::bell, Role::data})
    if (name == protocol::role_name(role)) return role;
  return std::nullopt;
}

struct Modes {
  Access lane = Access::read;
  Access data = Access::read;
};

Result<AttachedFile> adopt(const protocol::Manifest& manifest, const json& described, UniqueFd fd, const Modes& modes) {
  AttachedFile file;
  const auto role = role_of(described.at("role").get<std::string>());
  if (!role) return fail(Errc::protocol_error, "the broker sent a file of unknown role for '" + manifest.name + "'", manifest.name);
  file.role = *role;
  if (*role == Role::lane) file.index = described.at("lane").get<unsigned>();
  if (*role == Role::group) file.index = described.at("id").get<unsigned>();
  if (described.contains("incarnation") && described["incarnation"].is_number_unsigned()) file.incarnation = described["incarnation"].get<std::uint64_t>();
  if ((*role == Role::lane && file.index >= protocol::kMaxLanes) || (*role == Role::group && file.index >= protocol::kMaxGroups))
    return fail(Errc::protocol_error, "the broker sent file number " + std::to_string(file.index) + " of '" + manifest.name + "'", manifest.name);
  const bool writable = described.at("writable").get<bool>();
  const auto size = described.at("size").get<std::uint64_t>();

  struct stat status {};
  std::array<std::byte, protocol::kPageSize> page{};
  if (::fstat(fd.get(), &status) != 0) return fail(Errc::system_error, std::string("fstat: ") + std::strerror(errno), manifest.name);
  const ssize_t n = ::pread(fd.get(), page.data(), page.size(), 0);
  if (n < 0) return fail(Errc::system_error, std::string("reading a header page: ") + std::strerror(errno), manifest.name);
  protocol::HeaderPage checked{};
  if (auto failure = protocol::check_header_page(std::span(page).first(static_cast<std::size_t>(n)),
                                                 {.role = *role, .kind = manifest.kind, .index = static_cast<std::uint16_t>(file.index),
                                                  .generation = manifest.generation, .uuid = manifest.uuid, .file_size = size, .segment = manifest.name},
                                                 static_cast<std::uint64_t>(status.st_size), &checked))
    return failed(std::move(*failure));
  const std::uint64_t capacity = manifest.kind == protocol::Kind::stream ? manifest.capacity : manifest.size;
  if (checked.capacity != capacity || checked.alignment != manifest.alignment)
    return fail(Errc::bad_header, "a file of '" + manifest.name + "' has another geometry than the manifest says", manifest.name);
  const std::uint64_t needed = *role == Role::header  ? sizeof(protocol::SegmentHeader)
                               : *role == Role::group ? sizeof(protocol::GroupFile)
                               : *role == Role::bell  ? sizeof(protocol::BellFile)
                                                      : protocol::kPageSize + capacity;
  if (size < needed) return fail(Errc::bad_header, "a file of '" + manifest.name + "' is too small for its role", manifest.name);

  const Access access = *role == Role::lane && !writable ? modes.lane : *role == Role::data ? modes.data : writable ? Access::write : Access::read;
  // The producer's pages are made now rather than while it sends. A reader finds them there, sixteen at a fault.
  const bool prefault = *role == Role::lane && access == Access::write && size <= (64u << 20);
  auto mapping = Mapping::map(std::move(fd), size, access, manifest.backing == protocol::Backing::memfd || *role == Role::data, prefault, manifest.name);
  if (!mapping) return tl::unexpected(mapping.error());
  file.mapping = std::move(*mapping);
  return file;
}

Result<std::vector<AttachedFile>> adopt_all(const protocol::Manifest& manifest, Reply& reply, const Modes& modes) {
  std::vector<AttachedFile> files;
  const json& fds = reply.parameters.at("fds");
  if (fds.size() != reply.fds.size())
    return fail(Errc::protocol_error, "the broker announced " + std::to_string(fds.size()) + " files of '" + manifest.name + "' and sent " + std::to_string(reply.fds.size()), manifest.name);
  for (std::size_t i = 0; i < fds.size(); ++i) {
    auto file = adopt(manifest, fds[i], std::move(reply.fds[i]), modes);
    ATOLL_KILL_POINT("attach.mapped");
    if (!file) return tl::unexpected(file.error());
    files.push_back(std::move(*file));
  }
  return files;
}

// Given back unless it is let go of: also when memory runs out or the answer makes no sense.
struct Pending {
  Session& session;
  const ConnectOptions& how;
  std::shared_ptr<Attachment> attachment;
  ~Pending() {
    if (attachment) session.detach(how, attachment);
  }
};

}  // namespace

Result<Mapping> Attached::take(Role role) {
  for (auto file = files.begin(); file != files.end(); ++file)
    if (file->role == role) {
      Mapping mapping = std::move(file->mapping);
      files.erase(file);
      return mapping;
    }
  return fail(Errc::protocol_error, std::string("the broker sent no ") + protocol::role_name(role) + " file of '" + manifest.name + "'", manifest.name);
}

protocol::RingGeometry Attached::geometry() const noexcept {
  return {manifest.capacity, static_cast<unsigned>(std::countr_zero(manifest.capacity)), manifest.alignment};
}

Result<Attached> attach(const std::shared_ptr<Session>& session, const ConnectOptions& how, const AttachRequest& request) {
  json parameters{{"name", request.name}, {"role", request.role}};
  if (!request.group.empty()) parameters["group"] = request.group;
  if (!request.group_options.is_null()) parameters["group_options"] = request.group_options;
  if (request.role == "map") parameters["writable"] = request.writable;
  Clock clock(request.wait);
  for (;;) {
    auto reply = session->call(how, "Attach", parameters);
    if (!reply && reply.error().code() == Errc::unknown_segment && clock.left() != 0) {
      if (auto waited = session->wait_for_segment(how, request.name, clock.left()); !waited) return tl::unexpected(waited.error());
      continue;
    }
    if (!reply) return tl::unexpected(reply.error());
    try {
      Attached attached;
      attached.session = session;
      attached.how = how;
      attached.attachment = std::make_shared<Attachment>();
      Attachment& attachment = *attached.attachment;
      const json& in = reply->parameters;
      attachment.id = in.at("attachment").get<std::int64_t>();
      attachment.name = request.name;
      attachment.role = request.role;
      attachment.group = request.group;
      attached.changes = in.at("changes").get<std::uint64_t>();
      if (in.contains("lane") && in["lane"].is_number()) attachment.lane = attached.lane = in["lane"].get<unsigned>();
      if (in.contains("group_id") && in["group_id"].is_number()) attached.group_id = in["group_id"].get<unsigned>();
      ATOLL_KILL_POINT("attach.answered");
      session->remember(attached.attachment);
      Pending pending{*session, how, attached.attachment};
      if (auto failure = protocol::read_manifest(in.at("manifest"), protocol::ManifestPart::head, attached.manifest)) {
        if (failure->segment.empty()) failure->segment = request.name;
        return failed(std::move(*failure));
      }
      attachment.generation = attached.manifest.generation;
      if (attached.manifest.kind != request.kind)
        return tl::unexpected(Error(Errc::wrong_kind, "'" + request.name + "' is of kind " + protocol::kind_name(attached.manifest.kind) + ", not " + protocol::kind_name(request.kind), request.name));
      auto files = adopt_all(attached.manifest, *reply, {request.lane_access, request.data_access});
      if (!files) return tl::unexpected(files.error());
      attached.files = std::move(*files);
      for (const AttachedFile& file : attached.files)
        if (attached.manifest.backing == protocol::Backing::memfd) attachment.memory.push_back(file.mapping.fd());
      pending.attachment.reset();
      return attached;
    } catch (const json::exception& exception) {
      return fail(Errc::protocol_error, "the broker's Attach of '" + request.name + "': " + exception.what(), request.name);
    }
  }
}

Result<Refreshed> refresh(Attached& attached, const json& lanes, const json& groups, Access lane_access) {
  if (attached.attachment->lost.load())
    return fail(Errc::removed, "the broker does not know this handle of '" + attached.attachment->name + "' any more", attached.attachment->name);
  auto reply = attached.session->call(attached.how, "Refresh", json{{"attachment", attached.attachment->id}, {"lanes", lanes}, {"groups", groups}});
  if (!reply) return tl::unexpected(reply.error());
  try {
    Refreshed refreshed;
    ATOLL_KILL_POINT("refresh.answered");
    auto files = adopt_all(attached.manifest, *reply, {lane_access, Access::read});
    if (!files) return tl::unexpected(files.error());
    refreshed.files = std::move(*files);
    // The segment, or a consumer's group, is gone: waits of this handle end with `removed`.
    if (reply->parameters.value("state", "live") == "removed") attached.attachment->lost.store(true);
    for (const json& number : reply->parameters.at("gone_lanes")) refreshed.gone_lanes.push_back(number.get<unsigned>());
    for (const json& number : reply->parameters.at("gone_groups")) refreshed.gone_groups.push_back(number.get<unsigned>());
    return refreshed;
  } catch (const json::exception& exception) {
    return fail(Errc::protocol_error, "the broker's Refresh of '" + attached.attachment->name + "': " + exception.what(), attached.attachment->name);
  }
}

}  // namespace atoll_ipc
