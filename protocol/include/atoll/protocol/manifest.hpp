// The manifest: the JSON text that describes a segment completely, as the broker publishes it.
//
// manifest_text() is the broker's; parse_manifest() is everybody's and believes nothing: a field that
// is missing, of another type or out of range is `bad_manifest` naming the field. The file's schema is
// protocol/manifest.schema.json; SPEC.md, "Manifest".
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "atoll/protocol/failure.hpp"
#include "atoll/protocol/group.hpp"
#include "atoll/protocol/header_check.hpp"
#include "atoll/protocol/manifest_layout.hpp"
#include "atoll/protocol/names.hpp"

namespace atoll_ipc::protocol {

inline constexpr std::size_t kMaxManifest = 256 * 1024;

enum class Backing : std::uint8_t { shm, file, memfd };

struct AccessRule {
  std::string user;                 // a name, a number, or "*"
  std::vector<std::string> rights;  // of produce, consume, observe, admin
  bool operator==(const AccessRule&) const = default;
};

struct ManifestFile {
  Role role = Role::header;
  unsigned index = 0;             // lane number or group id; else 0
  std::uint64_t incarnation = 0;  // of a lane or group; else 0
  std::string group;              // name of a group; else empty
  std::uint32_t group_flags = 0;  // kGroupExclusive | kGroupEphemeral
  std::uint64_t size = 0;
  std::string path;               // absolute; empty for a memfd
};

struct Manifest {
  std::string name;
  Kind kind = Kind::stream;
  Backing backing = Backing::shm;
  std::string directory;  // backing file: where its directory is; else empty
  std::uint64_t generation = 0;
  std::array<std::uint8_t, 16> uuid{};
  std::uint32_t uid = 0;  // owner
  std::uint64_t created_ns = 0;
  std::uint64_t capacity = 0;  // stream: of each lane
  WhenFull when_full = WhenFull::block;
  std::uint32_t alignment = 16;
  std::uint64_t size = 0;      // bytes: of the content
  std::uint64_t put_size = 0;  // bytes: of staging
  std::vector<AccessRule> access;
  std::vector<ManifestFile> files;
};

[[nodiscard]] constexpr const char* kind_name(Kind kind) noexcept {
  switch (kind) {
    case Kind::stream: return "stream";
    case Kind::table: return "table";
    case Kind::log: return "log";
    case Kind::pool: return "pool";
    case Kind::bytes: return "bytes";
  }
  return "unknown";
}
[[nodiscard]] constexpr const char* backing_name(Backing backing) noexcept {
  return backing == Backing::shm ? "shm" : backing == Backing::file ? "file" : "memfd";
}
[[nodiscard]] constexpr const char* when_full_name(WhenFull when_full) noexcept {
  return when_full == WhenFull::block ? "block" : when_full == WhenFull::drop_new ? "drop-new" : "overwrite";
}

[[nodiscard]] inline std::string uuid_text(const std::array<std::uint8_t, 16>& uuid) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out.push_back('-');
    out.push_back(digits[uuid[i] >> 4]);
    out.push_back(digits[uuid[i] & 15]);
  }
  return out;
}

[[nodiscard]] inline std::optional<std::array<std::uint8_t, 16>> parse_uuid(std::string_view text) {
  std::array<std::uint8_t, 16> uuid{};
  unsigned nibbles = 0;
  if (text.size() != 36) return std::nullopt;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (c != '-') return std::nullopt;
      continue;
    }
    const int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (value < 0) return std::nullopt;
    uuid[nibbles / 2] = static_cast<std::uint8_t>(uuid[nibbles / 2] << 4 | value);
    ++nibbles;
  }
  return uuid;
}

// What a manifest says of its segment, but for the files and the layout. It stays the same as long as the segment lives.
// Filled field by field: an initializer list would copy each of them twice.
[[nodiscard]] inline nlohmann::ordered_json manifest_head(const Manifest& manifest) {
  nlohmann::ordered_json out = nlohmann::ordered_json::object();
  out.get_ref<nlohmann::ordered_json::object_t&>().reserve(24);  // a vector with constant keys: it copies when it grows
  out["manifest_version"] = 1;
  out["layout_version"] = kLayoutVersion;
  out["min_reader_version"] = kMinReaderVersion;
  out["byte_order"] = "little";
  out["required_features"] = 0;
  out["optional_features"] = 0;
  out["name"] = manifest.name;
  out["kind"] = kind_name(manifest.kind);
  out["backing"] = backing_name(manifest.backing);
  out["generation"] = manifest.generation;
  out["uuid"] = uuid_text(manifest.uuid);
  out["uid"] = manifest.uid;
  out["created_ns"] = manifest.created_ns;
  out["granule"] = kGranule;
  if (manifest.backing == Backing::file) out["directory"] = manifest.directory;
  out["alignment"] = manifest.alignment;
  if (manifest.kind == Kind::stream) {
    out["capacity"] = manifest.capacity;
    out["when_full"] = when_full_name(manifest.when_full);
    out["lane_max"] = kMaxLanes;
    out["group_max"] = kMaxGroups;
  } else {
    out["size"] = manifest.size;
    out["put_size"] = manifest.put_size;
  }
  out["access"] = nlohmann::ordered_json::array();
  for (const AccessRule& rule : manifest.access) out["access"].push_back({{"user", rule.user}, {"rights", rule.rights}});
  return out;
}

// The text as it is published: indented, with the files, and with the layout that makes it enough for a reader.
[[nodiscard]] inline std::string manifest_text(const Manifest& manifest) {
  // Written once for each kind.
  const auto ending = [](const nlohmann::json& layout) {
    nlohmann::ordered_json last;
    last["layout"] = layout;
    return "," + last.dump(1).substr(1) + "\n";
  };
  static const std::string of_stream = ending(stream_layout()), of_bytes = ending(bytes_layout());
  nlohmann::ordered_json out = manifest_head(manifest);
  out["files"] = nlohmann::ordered_json::array();
  for (const ManifestFile& file : manifest.files) {
    nlohmann::ordered_json row = nlohmann::ordered_json::object();
    row.get_ref<nlohmann::ordered_json::object_t&>().reserve(8);
    row["role"] = role_name(file.role);
    if (file.role == Role::lane) row["lane"] = file.index;
    if (file.role == Role::group) {
      row["group"] = file.group;
      row["id"] = file.index;
      row["exclusive"] = (file.group_flags & kGroupExclusive) != 0;
      row["ephemeral"] = (file.group_flags & kGroupEphemeral) != 0;
    }
    if (file.role == Role::lane || file.role == Role::group) row["incarnation"] = file.incarnation;
    row["size"] = file.size;
    if (file.path.empty())
      row["path"] = nullptr;
    else
      row["path"] = file.path;
    out["files"].push_back(std::move(row));
  }
  std::string text = out.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.resize(text.size() - 2);  // without "\n}"
  return text + (manifest.kind == Kind::stream ? of_stream : of_bytes);
}

namespace detail {

// Reads fields of one object and remembers the first thing wrong.
class ManifestReader {
 public:
  explicit ManifestReader(const nlohmann::json& object, std::string prefix = {}) : object_(object), prefix_(std::move(prefix)) {}

  std::uint64_t number(const char* field, std::uint64_t least, std::uint64_t most) {
    const nlohmann::json* value = find(field);
    if (value == nullptr) return least;
    if (!value->is_number_integer() || (!value->is_number_unsigned() && value->get<std::int64_t>() < 0)) return wrong(field, "is not a whole number"), least;
    const auto n = value->get<std::uint64_t>();
    if (n < least || n > most)
      return wrong(field, "is " + std::to_string(n) + ", not " + std::to_string(least) + " to " + std::to_string(most)), least;
    return n;
  }
  std::string text(const char* field) {
    const nlohmann::json* value = find(field);
    if (value == nullptr) return {};
    if (!value->is_string()) return wrong(field, "is not a string"), std::string();
    return value->get<std::string>();
  }
  bool flag(const char* field) {
    const nlohmann::json* value = find(field);
    if (value == nullptr) return false;
    if (!value->is_boolean()) return wrong(field, "is neither true nor false"), false;
    return value->get<bool>();
  }
  const nlohmann::json& list(const char* field) {
    static const nlohmann::json none = nlohmann::json::array();
    const nlohmann::json* value = find(field);
    if (value == nullptr) return none;
    if (!value->is_array()) return wrong(field, "is not an array"), none;
    return *value;
  }
  void wrong(const std::string& field, const std::string& why) {
    if (!failure_) failure_ = Failure{Errc::bad_manifest, "the manifest's field '" + prefix_ + field + "' " + why, {}, 0, {}};
  }
  [[nodiscard]] const Check& failure() const noexcept { return failure_; }
  void adopt(const Check& other) {
    if (!failure_) failure_ = other;
  }

 private:
  const nlohmann::json* find(const char* field) {
    const auto at = object_.find(field);
    if (at != object_.end()) return &*at;
    wrong(field, "is missing");
    return nullptr;
  }
  const nlohmann::json& object_;
  std::string prefix_;
  Check failure_;
};

inline ManifestFile parse_manifest_file(ManifestReader& in, Backing backing, const nlohmann::json& row) {
  ManifestFile file;
  const std::string role = in.text("role");
  bool known = false;
  for (const Role candidate : {Role::header, Role::lane, Role::group, Role::bell, Role::data})
    if (role == role_name(candidate)) file.role = candidate, known = true;
  if (!known) in.wrong("role", "is '" + role + "', which layout 1 does not have");
  if (file.role == Role::lane) file.index = static_cast<unsigned>(in.number("lane", 0, kMaxLanes - 1));
  if (file.role == Role::group) {
    file.index = static_cast<unsigned>(in.number("id", 0, kMaxGroups - 1));
    file.group = in.text("group");
    if (!valid_group(file.group)) in.wrong("group", "is no valid group name");
    file.group_flags = (in.flag("exclusive") ? kGroupExclusive : 0) | (in.flag("ephemeral") ? kGroupEphemeral : 0);
  }
  if (file.role == Role::lane || file.role == Role::group) file.incarnation = in.number("incarnation", 1, UINT64_MAX);
  file.size = in.number("size", kPageSize, UINT64_MAX / 2);
  const auto path = row.find("path");
  if (backing == Backing::memfd) {
    if (path == row.end() || !path->is_null()) in.wrong("path", "is not null, as it must be for a memfd");
  } else {
    file.path = in.text("path");
    if (file.path.empty() || file.path.front() != '/') in.wrong("path", "is not an absolute path");
  }
  return file;
}

}  // namespace detail

// Reads and checks a manifest, or manifest_head()'s part of one; the layout is not looked at. On failure `out` is untouched.
enum class ManifestPart : bool { whole, head };
[[nodiscard]] inline Check read_manifest(const nlohmann::json& json, ManifestPart part, Manifest& out) {
  const auto bad = [](Errc code, std::string message, std::string segment = {}) {
    return Failure{code, std::move(message), std::move(segment), 0, {}};
  };
  if (!json.is_object()) return bad(Errc::bad_manifest, "the manifest is no JSON object");
  detail::ManifestReader in(json);
  Manifest manifest;
  manifest.name = in.text("name");
  if (!valid_name(manifest.name)) in.wrong("name", "is no valid name");
  const std::string segment = valid_name(manifest.name) ? manifest.name : std::string();

  // Versions before anything that a newer one might have changed.
  const auto order = json.find("byte_order");
  if (order != json.end() && *order == "big") return bad(Errc::wrong_byte_order, "the manifest of '" + segment + "' is of a big-endian machine", segment);
  if (in.text("byte_order") != "little") in.wrong("byte_order", "is neither little nor big");
  const std::uint64_t layout = in.number("layout_version", 1, UINT16_MAX);
  const std::uint64_t least = in.number("min_reader_version", 1, UINT16_MAX);
  const std::uint64_t required = in.number("required_features", 0, UINT64_MAX);
  if (!in.failure() && (least > kLayoutVersion || (required & ~kKnownRequiredFeatures) != 0)) {
    Failure failure = bad(Errc::wrong_version,
                          "the segment '" + segment + "' has layout " + std::to_string(layout) + " and needs a reader of at least " +
                              std::to_string(least) + (required != 0 ? " with features " + std::to_string(required) : std::string()) +
                              "; this program reads layout " + std::to_string(kLayoutVersion),
                          segment);
    failure.detail = least;
    return failure;
  }

  const std::string kind = in.text("kind");
  if (kind == "stream")
    manifest.kind = Kind::stream;
  else if (kind == "bytes")
    manifest.kind = Kind::bytes;
  else
    in.wrong("kind", "is '" + kind + "', which layout 1 does not have");
  const std::string backing = in.text("backing");
  if (backing == "shm")
    manifest.backing = Backing::shm;
  else if (backing == "file")
    manifest.backing = Backing::file;
  else if (backing == "memfd")
    manifest.backing = Backing::memfd;
  else
    in.wrong("backing", "is neither shm, file nor memfd");
  if (manifest.backing == Backing::file) {
    manifest.directory = in.text("directory");
    if (manifest.directory.empty() || manifest.directory.front() != '/') in.wrong("directory", "is not an absolute path");
  }
  manifest.generation = in.number("generation", 1, UINT64_MAX);
  if (const auto uuid = parse_uuid(in.text("uuid")))
    manifest.uuid = *uuid;
  else
    in.wrong("uuid", "is no uuid");
  manifest.uid = static_cast<std::uint32_t>(in.number("uid", 0, UINT32_MAX));
  manifest.created_ns = in.number("created_ns", 0, UINT64_MAX);
  if (in.number("granule", kGranule, kGranule) != kGranule) in.wrong("granule", "is not 65536");
  manifest.alignment = static_cast<std::uint32_t>(in.number("alignment", 16, 64));
  if (manifest.alignment != 16 && manifest.alignment != 64) in.wrong("alignment", "is neither 16 nor 64");

  if (manifest.kind == Kind::stream) {
    manifest.capacity = in.number("capacity", kMinCapacity, kMaxCapacity);
    if ((manifest.capacity & (manifest.capacity - 1)) != 0) in.wrong("capacity", "is no power of two");
    const std::string when_full = in.text("when_full");
    if (when_full == "block")
      manifest.when_full = WhenFull::block;
    else if (when_full == "drop-new")
      manifest.when_full = WhenFull::drop_new;
    else if (when_full == "overwrite")
      manifest.when_full = WhenFull::overwrite;
    else
      in.wrong("when_full", "is neither block, drop-new nor overwrite");
  } else {
    manifest.size = in.number("size", 1, kMaxBytesSize);
    manifest.put_size = in.number("put_size", 0, kMaxBytesSize);
  }

  for (const nlohmann::json& row : in.list("access")) {
    AccessRule rule;
    if (!row.is_object()) {
      in.wrong("access", "holds something that is no object");
      break;
    }
    detail::ManifestReader fields(row, "access[].");
    rule.user = fields.text("user");
    for (const nlohmann::json& right : fields.list("rights")) {
      if (!right.is_string()) {
        fields.wrong("rights", "holds something that is no string");
        break;
      }
      rule.rights.push_back(right.get<std::string>());
    }
    in.adopt(fields.failure());
    manifest.access.push_back(std::move(rule));
  }

  static const nlohmann::json none = nlohmann::json::array();
  unsigned headers = 0;
  unsigned bells = 0;
  unsigned data = 0;
  std::uint64_t lanes = 0;
  std::uint64_t groups = 0;
  for (const nlohmann::json& row : part == ManifestPart::whole ? in.list("files") : none) {
    if (!row.is_object()) {
      in.wrong("files", "holds something that is no object");
      break;
    }
    detail::ManifestReader fields(row, "files[].");
    ManifestFile file = detail::parse_manifest_file(fields, manifest.backing, row);
    std::uint64_t right_size = kPageSize;
    if (file.role == Role::lane) right_size = lane_file_size(manifest.capacity);
    if (file.role == Role::group) right_size = sizeof(GroupFile);
    if (file.role == Role::data ? file.size < kPageSize + manifest.size + manifest.put_size : file.size != right_size)
      fields.wrong("size", "is " + std::to_string(file.size) + ", which does not fit the " + role_name(file.role) + " file's geometry");
    const std::uint64_t bit = 1ull << file.index;
    if ((file.role == Role::lane && (lanes & bit) != 0) || (file.role == Role::group && (groups & bit) != 0))
      fields.wrong(file.role == Role::lane ? "lane" : "id", "names the same number twice");
    if (file.role == Role::lane) lanes |= bit;
    if (file.role == Role::group) groups |= bit;
    headers += file.role == Role::header ? 1u : 0u;
    bells += file.role == Role::bell ? 1u : 0u;
    data += file.role == Role::data ? 1u : 0u;
    in.adopt(fields.failure());
    manifest.files.push_back(std::move(file));
  }
  const bool stream = manifest.kind == Kind::stream;
  if (part == ManifestPart::whole && (bells != 1 || headers != (stream ? 1u : 0u) || data != (stream ? 0u : 1u) || (!stream && (lanes | groups) != 0)))
    in.wrong("files", std::string("does not hold exactly the files of a ") + kind_name(manifest.kind));

  if (in.failure()) {
    Failure failure = *in.failure();
    failure.segment = segment;
    return failure;
  }
  out = std::move(manifest);
  return {};
}

// The same for a manifest's text, as it is published.
[[nodiscard]] inline Check parse_manifest(std::string_view text, Manifest& out) {
  if (text.size() > kMaxManifest)
    return Failure{Errc::bad_manifest, "the manifest has " + std::to_string(text.size()) + " bytes, at most 262144 are allowed", {}, 0, {}};
  return read_manifest(nlohmann::json::parse(text, nullptr, false), ManifestPart::whole, out);
}

}  // namespace atoll_ipc::protocol
