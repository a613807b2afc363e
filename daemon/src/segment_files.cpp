#include "segment_files.hpp"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "atoll/protocol/bytes.hpp"

namespace atoll_ipc::daemon {
namespace {

std::string file_name(const protocol::ManifestFile& file) {
  std::string name = protocol::role_name(file.role);
  if (file.role == protocol::Role::lane || file.role == protocol::Role::group)
    name += "-" + std::to_string(file.index) + "." + std::to_string(file.incarnation);
  return name;
}

Result<void> write_all(int fd, std::span<const std::byte> content, const std::string& what) {
  std::size_t done = 0;
  while (done < content.size()) {
    const ssize_t n = ::pwrite(fd, content.data() + done, content.size() - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(errno, "writing " + what);
    done += static_cast<std::size_t>(n);
  }
  return {};
}

const protocol::ManifestFile& main_file(const Segment& segment) {
  return *segment.file(segment.stream() ? protocol::Role::header : protocol::Role::data);
}

Result<void> map_control(Segment& segment, int main, int bell) {
  auto main_mapping = Mapping::map(main, protocol::kPageSize, true, describe(segment, main_file(segment)));
  if (!main_mapping) return fail(main_mapping.error());
  auto bell_mapping = Mapping::map(bell, protocol::kPageSize, true, describe(segment, *segment.file(protocol::Role::bell)));
  if (!bell_mapping) return fail(bell_mapping.error());
  segment.header = std::move(*main_mapping);
  segment.bell = std::move(*bell_mapping);
  return {};
}

}  // namespace

protocol::HeaderPage make_header_page(const protocol::Manifest& manifest, const protocol::ManifestFile& file) {
  protocol::HeaderPage page{};
  page.magic = protocol::kMagic;
  page.layout_version = protocol::kLayoutVersion;
  page.min_reader_version = protocol::kMinReaderVersion;
  page.kind = static_cast<std::uint16_t>(manifest.kind);
  page.header_length = protocol::kPageSize;
  page.generation = manifest.generation;
  page.uuid = manifest.uuid;
  page.granule = protocol::kGranule;
  page.alignment = manifest.alignment;
  page.capacity = manifest.kind == protocol::Kind::stream ? manifest.capacity : manifest.size;
  page.lane_max = manifest.kind == protocol::Kind::stream ? protocol::kMaxLanes : 0;
  page.group_max = manifest.kind == protocol::Kind::stream ? protocol::kMaxGroups : 0;
  page.role = static_cast<std::uint16_t>(file.role);
  page.index = static_cast<std::uint16_t>(file.index);
  page.file_size = file.size;
  page.data_offset = protocol::kPageSize;
  page.created_ns = manifest.created_ns;
  return page;
}

std::string describe(const Segment& segment, const protocol::ManifestFile& file) {
  return "the " + file_name(file) + " file of '" + segment.name() + "'";
}

std::uint64_t staging_offset(const protocol::Manifest& manifest) noexcept {
  return protocol::kPageSize + protocol::round_up(manifest.size, protocol::kPageSize);
}

Result<UniqueFd> create_segment_file(Segment& segment, protocol::ManifestFile& file, std::span<const std::byte> content) {
  const std::string what = describe(segment, file);
  const bool memfd = segment.manifest.backing == protocol::Backing::memfd;
  auto fd = memfd ? create_memfd(segment.directory_name() + "/" + file_name(file), file.size)
                  : create_file_at(segment.directory.get(), file_name(file), file.size, what);
  if (!fd) {
    Failure failure = fd.error();
    failure.segment = segment.name();
    return fail(std::move(failure));
  }
  if (auto written = write_all(fd->get(), content, what); !written) {
    if (!memfd) ::unlinkat(segment.directory.get(), file_name(file).c_str(), 0);
    Failure failure = written.error();
    failure.segment = segment.name();
    return fail(std::move(failure));
  }
  if (!memfd) {
    file.path = segment.directory_path + "/" + file_name(file);
    return fd;
  }
  // Only a lane is sealed further, by the broker, once its producer has mapped it.
  if (file.role != protocol::Role::lane) ::fcntl(fd->get(), F_ADD_SEALS, F_SEAL_SEAL);
  auto copy = reopen(fd->get(), true, what);
  if (!copy) return copy;
  auto identity = identity_of(fd->get(), what);
  if (!identity) return fail(identity.error());
  segment.memory[{file.role, file.index}] = *identity;
  segment.memfds[{file.role, file.index}] = std::move(*fd);
  return copy;
}

void remove_segment_file(Segment& segment, const protocol::ManifestFile& file) noexcept {
  segment.memfds.erase({file.role, file.index});
  segment.memory.erase({file.role, file.index});
  segment.aside.erase({file.role, file.index, file.incarnation});
  try {
    if (segment.directory) ::unlinkat(segment.directory.get(), file_name(file).c_str(), 0);
  } catch (const std::bad_alloc&) {
    // The next broker removes what no manifest names.
  }
}

namespace {

// What every client may write would take the whole segment along if its header page were spoilt. It says nothing that is
// not known: written anew.
bool write_page_again(const Segment& segment, const protocol::ManifestFile& file, int fd) {
  if (file.role != protocol::Role::bell && file.role != protocol::Role::data) return false;
  const std::string what = describe(segment, file);
  const protocol::HeaderPage page = make_header_page(segment.manifest, file);
  auto writable = reopen(fd, true, what);
  if (!writable || !write_all(writable->get(), std::as_bytes(std::span(&page, 1)), what)) return false;
  spdlog::warn("{}: its header page was spoilt, and is written again", what);
  return true;
}

}  // namespace

Result<UniqueFd> open_segment_file(const Segment& segment, const protocol::ManifestFile& file, bool writable) {
  const std::string what = describe(segment, file);
  Result<UniqueFd> fd = UniqueFd();
  if (segment.manifest.backing == protocol::Backing::memfd) {
    const auto at = segment.memfds.find({file.role, file.index});
    if (at == segment.memfds.end()) return fail(Errc::segment_lost, what + " had no name and nobody held it", segment.name());
    fd = reopen(at->second.get(), writable, what);
  } else {
    fd = open_file_at(segment.directory.get(), file_name(file), writable, what);
  }
  if (!fd) {
    Failure failure = fd.error();
    failure.segment = segment.name();
    return fail(std::move(failure));
  }
  std::array<std::byte, sizeof(protocol::HeaderPage)> page{};
  ssize_t n;
  do n = ::pread(fd->get(), page.data(), page.size(), 0);
  while (n < 0 && errno == EINTR);
  if (n < 0) return fail_errno(errno, "reading " + what, segment.name());
  auto size = file_size(fd->get(), what);
  if (!size) return fail(size.error());
  protocol::ExpectedPage expected;
  expected.role = file.role;
  expected.kind = segment.manifest.kind;
  expected.index = static_cast<std::uint16_t>(file.index);
  expected.generation = segment.manifest.generation;
  expected.uuid = segment.manifest.uuid;
  expected.file_size = file.size;
  expected.segment = segment.name();
  protocol::HeaderPage checked{};
  auto wrong = protocol::check_header_page(std::span(page.data(), static_cast<std::size_t>(n)), expected, *size, &checked);
  const std::uint64_t capacity = segment.stream() ? segment.manifest.capacity : segment.manifest.size;
  if (!wrong && (checked.capacity != capacity || checked.alignment != segment.manifest.alignment))
    wrong = Failure{Errc::bad_header, what + " has another capacity or alignment than the manifest", segment.name(), checked.capacity, {}};
  if (wrong && (wrong->code == Errc::truncated_file || !write_page_again(segment, file, fd->get()))) return fail(*wrong);
  return fd;
}

std::uint64_t resident_bytes(const Segment& segment) {
  std::uint64_t sum = 0;
  struct stat status {};
  for (const auto& [key, fd] : segment.memfds)
    if (::fstat(fd.get(), &status) == 0) sum += static_cast<std::uint64_t>(status.st_blocks) * 512;
  if (!segment.directory) return sum;
  for (const protocol::ManifestFile& file : segment.manifest.files)
    if (::fstatat(segment.directory.get(), file_name(file).c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0)
      sum += static_cast<std::uint64_t>(status.st_blocks) * 512;
  return sum;
}

Result<std::shared_ptr<Mapping>> map_segment_file(Segment& segment, const protocol::ManifestFile& file) {
  if (file.role == protocol::Role::lane) {
    const auto at = segment.lanes.find(file.index);
    if (at != segment.lanes.end() && at->second.mapping) return at->second.mapping;
  }
  auto fd = open_segment_file(segment, file, true);
  if (!fd) return fail(fd.error());
  auto mapping = Mapping::map(fd->get(), file.size, true, describe(segment, file));
  if (!mapping) return fail(mapping.error());
  return std::make_shared<Mapping>(std::move(*mapping));
}

Result<void> map_control_files(Segment& segment) {
  auto main_fd = open_segment_file(segment, main_file(segment), true);
  if (!main_fd) return fail(main_fd.error());
  auto bell_fd = open_segment_file(segment, *segment.file(protocol::Role::bell), true);
  if (!bell_fd) return fail(bell_fd.error());
  return map_control(segment, main_fd->get(), bell_fd->get());
}

Result<void> create_control_files(Segment& segment) {
  protocol::Manifest& manifest = segment.manifest;
  protocol::ManifestFile bell;
  bell.role = protocol::Role::bell;
  bell.size = protocol::kPageSize;
  const protocol::HeaderPage bell_page = make_header_page(manifest, bell);
  auto bell_fd = create_segment_file(segment, bell, std::as_bytes(std::span(&bell_page, 1)));
  if (!bell_fd) return fail(bell_fd.error());

  protocol::ManifestFile main;
  Result<UniqueFd> main_fd = UniqueFd();
  if (segment.stream()) {
    main.role = protocol::Role::header;
    main.size = protocol::kPageSize;
    auto content = std::make_unique<protocol::SegmentHeader>();
    std::memset(static_cast<void*>(content.get()), 0, sizeof *content);
    content->page = make_header_page(manifest, main);
    content->state.raw = static_cast<std::uint32_t>(protocol::SegmentState::live);
    content->changes.raw = 1;
    content->when_full.raw = static_cast<std::uint32_t>(manifest.when_full);
    main_fd = create_segment_file(segment, main, std::as_bytes(std::span(content.get(), 1)));
  } else {
    main.role = protocol::Role::data;
    main.size = staging_offset(manifest) + protocol::round_up(manifest.put_size, protocol::kPageSize);
    auto content = std::make_unique<protocol::BytesHeader>();
    std::memset(static_cast<void*>(content.get()), 0, sizeof *content);
    content->page = make_header_page(manifest, main);
    content->state.raw = static_cast<std::uint32_t>(protocol::SegmentState::live);
    content->changes.raw = 1;
    content->put_size = manifest.put_size;
    content->staging_offset = staging_offset(manifest);
    main_fd = create_segment_file(segment, main, std::as_bytes(std::span(content.get(), 1)));
  }
  if (!main_fd) return fail(main_fd.error());
  manifest.files.push_back(std::move(main));
  manifest.files.push_back(std::move(bell));
  return map_control(segment, main_fd->get(), bell_fd->get());
}

}  // namespace atoll_ipc::daemon
